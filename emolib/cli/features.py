"""Commands on encoders and their features: extract, export-npy, probe."""

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
    Folds,
    PoolingName,
    Precision,
    PrecisionName,
    Root,
    Scheduler,
    Store,
    Table,
    app,
    finish,
    load_clips,
    pooled_layers,
    print_skipped,
    whole_number,
)
from emolib.paths import DEFAULT_ENCODER


@app.command()
def extract(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            help="0 is the transformer's input, k the output of block k; several with commas, or all.",
        ),
    ] = "all",
    frames: Annotated[
        bool, typer.Option(help="Keep every frame as well, some 100 kB a clip and layer.")
    ] = True,
    device: Device = "auto",
    precision: Precision = PrecisionName.float32,
    store: Annotated[
        str | None,
        typer.Option(
            "--out", "--store", help="Folder or fsspec URL to write; data/features/CORPUS/ENCODER by default."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what other weights or another precision have made.")
    ] = False,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Encode a corpus into its feature store; what is there already is kept."""
    from emolib import features, scheduling

    clips = load_clips(corpus, corpus_option, root, table)
    layers = None if layer == "all" else [whole_number(part) for part in layer.split(",")]
    with scheduling.connect(scheduler) as client:
        done = features.extract(
            clips, encoder, layers=layers, frames=frames, url=store, device=device,
            precision=precision.value, replace=replace, progress=sys.stderr.isatty(), client=client,
        )  # fmt: skip
    print_skipped(done.skipped)
    print(f"{done.n_new} clips encoded in {done.seconds:.1f} s, {done.n_cached} were there: {done.store.url}")
    finish(
        {
            "clips": len(done.store),
            "new": done.n_new,
            "cached": done.n_cached,
            "skipped": len(done.skipped),
            "layers": list(done.store.config.layers),
            "seconds": round(done.seconds, 3),
            "speech_s": round(done.speech_s, 3),
            "store": done.store.url,
        },
        as_json,
    )


@app.command("export-npy")
def export_npy(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        int, typer.Option("--layer", help="The layer to write; 0 is the transformer's input.")
    ] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", help="Folder to write the tree into.")] = Path("features_npy"),
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write one layer as the classic tree Actor_01/<clip>.npy of (time, features) arrays."""
    from emolib import features

    clips = load_clips(corpus, corpus_option, root, table)
    done = features.extract(clips, encoder, layers=[layer], frames=True, url=store, device=device)
    there = clips[~done.store.missing(clips)]
    n = features.export_npy(done.store, there, out, layer)
    print_skipped(done.skipped)
    print(f"wrote {n} files to {out}")
    finish({"files": n, "skipped": len(done.skipped), "folder": str(out)}, as_json)


@app.command()
def probe(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str, typer.Option("--layer", help="A layer, or best: chosen on each fold's training speakers.")
    ] = "best",
    pooling: Annotated[
        PoolingName, typer.Option("--pooling", help="How to pool frames.")
    ] = PoolingName.mean_std,
    folds: Annotated[
        Folds, typer.Option("--folds", help="emobox is for ravdess; random leaks speakers.")
    ] = Folds.speaker,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the cut.")] = 0,
    store: Store = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write each clip's held-out answer here, as CSV.")
    ] = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Probe an encoder's layers for emotion; JSON: ua, ua_low, ua_high, wa, macro_f1, layer, n."""
    from emolib import probing, scheduling, splits

    clips = load_clips(corpus, corpus_option, root, table)
    clips, X, _ = pooled_layers(clips, encoder, layer, pooling, store=store, device=device)
    cut = splits.folds(clips, folds.value, seed=seed)
    scheme: splits.Scheme = "random" if folds is Folds.random else "speaker"
    with scheduling.connect(scheduler) as client:
        answer = probing.choose_layer(X, clips, cut, scheme=scheme, client=client)
    ua = answer.ua
    n_speakers, chance = clips["speaker"].nunique(), 1 / clips["emotion"].nunique()
    print(f"{len(clips)} clips, {n_speakers} speakers, {folds.value} folds, layer {answer.layer}")
    print(f"UA {ua}, chance {chance:.3f}, WA {answer.wa:.3f}, macro-F1 {answer.macro_f1:.3f}")
    if out:
        clips[["clip", "speaker", "emotion"]].assign(predicted=answer.y_pred).to_csv(out, index=False)
    finish(
        {
            "ua": ua.value,
            "ua_low": ua.low,
            "ua_high": ua.high,
            "wa": answer.wa,
            "macro_f1": answer.macro_f1,
            "layer": answer.layer,
            "n": len(answer),
        },
        as_json,
    )
