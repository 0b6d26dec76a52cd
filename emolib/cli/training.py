"""Commands that train networks: pretrain."""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from emolib.cli.app import AsJson, Device, Table, app, default_folder, finish, load_clips, print_skipped


@app.command()
def pretrain(
    corpora_names: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS...", help="Corpora to learn from; demo by default.")
    ] = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the network; one in models/ for these clips and settings."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps; the recipe's by default.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, crops and masks.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a small wav2vec 2.0 network on speech, without its labels; resumes after a kill.

    JSON: folder, steps, loss, clips, skipped, speech_s, seconds.
    """
    from dataclasses import replace

    from emolib import pretrain as pretraining

    names = corpora_names or (["folder"] if table else ["demo"])
    clips = pd.concat([load_clips(name, None, None, table if name == "folder" else None) for name in names])
    settings = replace(pretraining.Settings(), seed=seed)
    settings = replace(settings, steps=steps) if steps is not None else settings
    folder = out or default_folder("pretrained", clips, settings)
    done = pretraining.pretrain(
        clips, folder, settings, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    print_skipped(done.skipped)
    loss = float(done.validation["loss"].iloc[-1])
    print(f"{done.steps} steps on {done.n_clips} clips, held-out loss {loss:.3f}: {done.folder}")
    finish(
        {
            "folder": str(done.folder),
            "steps": done.steps,
            "loss": loss,
            "clips": done.n_clips,
            "skipped": len(done.skipped),
            "speech_s": round(done.speech_s, 1),
            "seconds": round(done.seconds, 1),
        },
        as_json,
    )
