"""Commands that fine-tune an encoder and use what came of it: finetune train, finetune infer."""

import dataclasses
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Device,
    EncoderName,
    MixedPrecision,
    Root,
    Store,
    Table,
    app,
    default_folder,
    finish,
    load_clips,
    print_skipped,
    whole_number,
)
from emolib.paths import DEFAULT_ENCODER

commands = typer.Typer(no_args_is_help=True, help="Fine-tune an encoder on emotions, and use it.")
app.add_typer(commands, name="finetune")


class TargetName(StrEnum):
    """What is learned."""

    emotion = "emotion"
    ratings = "ratings"


@commands.command()
def train(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the result; one in models/ for these clips and settings."),
    ] = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    target: Annotated[
        TargetName,
        typer.Option("--target", help="emotion, or ratings of valence and arousal."),
    ] = TargetName.emotion,
    free: Annotated[
        str,
        typer.Option("--free", help="Blocks that learn, from the top; 0 is none, or all."),
    ] = "0",
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs, at most; 60 with --free 0, else 4.")
    ] = None,
    encoder_rate: Annotated[
        float, typer.Option("--encoder-rate", help="Learning rate of what was trained before.")
    ] = 5e-5,
    head_rate: Annotated[
        float | None,
        typer.Option("--head-rate", help="Learning rate of what is new; 3e-3 with --free 0, else 3e-4."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Clips a batch.")] = 32,
    accumulation: Annotated[int, typer.Option("--accumulation", help="Batches a step.")] = 1,
    precision: Annotated[
        MixedPrecision | None,
        typer.Option("--precision", help="no with --free 0, else bf16 by default; or fp16."),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, order and held-out speakers.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    as_json: AsJson = False,
) -> None:
    """Fine-tune an encoder on a corpus's emotions, or its ratings; resumes after a kill.

    Where blocks learn, they begin with the head of a frozen encoder; --free 2 takes minutes on two cores.

    Some speakers choose the epoch that is kept, and others, who decide nothing, are tested.

    JSON: folder, score (tested speakers' UA, or mean CCC), epochs, best_epoch, clips, skipped, seconds.
    """
    from emolib import finetune as tuning

    layers: int | Literal["all"] = "all" if free == "all" else whole_number(free)
    start = tuning.TOP_BLOCKS if layers else tuning.Settings()
    given: dict[str, Any] = {
        "n_epochs": epochs,
        "head_rate": head_rate,
        "precision": precision and precision.value,
    }
    settings = dataclasses.replace(
        start, target=target.value, free_layers=layers, encoder_rate=encoder_rate, batch_size=batch_size,
        accumulation=accumulation, seed=seed, tested=start.held_out,
        **{k: v for k, v in given.items() if v is not None},
    )  # fmt: skip
    clips = load_clips(corpus, corpus_option, root, table)
    folder = out or default_folder("finetuned", clips, encoder, settings)
    done = tuning.finetune(
        clips, folder, settings, encoder=encoder, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    print_skipped(done.skipped)
    name = "UA" if target is TargetName.emotion else "CCC"
    print(
        f"{len(done.curve)} epochs on {done.n_clips} clips, {name} of {', '.join(done.tested)}, who chose "
        f"nothing, {done.score:.3f}: {done.folder}"
    )
    finish(
        {
            "folder": str(done.folder),
            "score": done.score,
            "epochs": len(done.curve),
            "best_epoch": done.best_epoch,
            "clips": done.n_clips,
            "skipped": len(done.skipped),
            "seconds": round(done.seconds, 1),
        },
        as_json,
    )


@commands.command()
def infer(
    model: Annotated[Path, typer.Argument(help="The folder that `emolib finetune train` wrote.")],
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    files: Annotated[Path | None, typer.Option("--files", help="A folder of sound files, no table.")] = None,
    store: Store = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Write a fine-tuned encoder's features to a feature store, with its answers as CSV beside them.

    JSON: clips, skipped, store, answers.
    """
    from emolib import finetune as tuning

    if files and (corpus or corpus_option or table):
        raise ValueError(f"--files {files} beside a corpus; expected one of both")
    skipped: list[dict[str, Any]] = []
    if files:
        clips = tuning.files_manifest(files)
        skipped = clips.attrs["skipped"]
    else:
        clips = load_clips(corpus, corpus_option, root, table)
    done = tuning.infer(model, clips, url=store, device=device)
    print_skipped([*skipped, *done.skipped])
    print(f"features of {len(done.answers)} clips in {done.store.url}, answers in {done.path}")
    finish(
        {
            "clips": len(done.answers),
            "skipped": len(skipped) + len(done.skipped),
            "store": done.store.url,
            "answers": str(done.path),
        },
        as_json,
    )
