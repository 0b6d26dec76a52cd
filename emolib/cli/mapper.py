"""The command that trains the road back to sound: train-mapper."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Device,
    EncoderName,
    Root,
    Store,
    Table,
    app,
    finish,
    load_clips,
    print_skipped,
)
from emolib.paths import DEFAULT_ENCODER


@app.command("train-mapper")
def train_mapper(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        int, typer.Option("--layer", help="The layer to map; 0, the transformer's input, sounds best.")
    ] = 0,
    without: Annotated[
        str, typer.Option("--without", help="Speakers to leave out, with commas; judge on these.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the mapper; one in models/ for these clips and settings."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps; the recipe's by default.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, crops and held-out speakers.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Start again where --out holds another training.")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Train the map from a layer's embeddings to mel-spectrograms; resumes after a kill.

    JSON: folder, layer, steps, mel_l1, linear_l1, clips, speakers, held_out, skipped.
    """
    from dataclasses import replace as changed

    from emolib import features, mapper, vocoder

    clips = load_clips(corpus, corpus_option, root, table)
    clips = mapper.leave_out(clips, [name for name in without.split(",") if name])
    bars = sys.stderr.isatty()
    done = features.extract(
        clips, encoder, layers=[layer], frames=True, url=store, device=device, progress=bars
    )
    print_skipped(done.skipped)
    clips = clips[~done.store.missing(clips)]
    settings = changed(mapper.Settings(), seed=seed)
    settings = changed(settings, steps=steps) if steps is not None else settings
    folder = out or mapper.default_folder(clips, done.store, layer, settings)
    trained = mapper.train(
        clips, done.store, layer, folder, settings, vocode=vocoder.load().vocode, device=device,
        resume=resume, replace=replace, progress=bars,
    )  # fmt: skip
    found = trained.provenance
    speakers, held_out = found["speakers"], found["validation_speakers"]
    print(f"{found['steps']} steps on {len(clips)} clips, {len(speakers)} speakers, layer {layer}: {folder}")
    print(
        f"mel L1 {found['mel_l1']:.3f} on {', '.join(held_out)}, not trained on; "
        f"of the linear map alone {found['linear_l1']:.3f}"
    )
    finish(
        {
            "folder": str(folder),
            "layer": layer,
            "steps": found["steps"],
            "mel_l1": found["mel_l1"],
            "linear_l1": found["linear_l1"],
            "clips": len(clips),
            "speakers": len(speakers),
            "held_out": held_out,
            "skipped": len(done.skipped),
        },
        as_json,
    )
