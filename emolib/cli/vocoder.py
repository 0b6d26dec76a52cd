"""The command that trains a vocoder."""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from emolib.cli.app import AsJson, Device, Table, app, default_folder, finish, load_clips, print_skipped


@app.command("train-vocoder")
def train_vocoder(
    corpora_names: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS...", help="Corpora to learn from; demo by default.")
    ] = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the vocoder; one in models/ for these clips and settings."),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out",
            help="A speaker, as ravdess-01, never to train on, but to validate with; can be repeated.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps; the recipe's by default.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights and segments.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a small HiFi-GAN vocoder on speech; resumes after a kill.

    JSON: folder, steps, loss, log_mel_l1, pesq, pesq_refined, clips, skipped, speech_s, seconds.
    """
    from dataclasses import replace

    from emolib import pretrain

    names = corpora_names or (["folder"] if table else ["demo"])
    clips = pd.concat([load_clips(name, None, None, table if name == "folder" else None) for name in names])
    settings = replace(pretrain.VocoderSettings(), seed=seed)
    settings = replace(settings, steps=steps) if steps is not None else settings
    folder = out or default_folder("vocoder", clips, sorted(hold_out or []), settings)
    done = pretrain.train_vocoder(
        clips, folder, settings, hold_out=hold_out or [], device=device, resume=resume,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print_skipped(done.skipped)
    last = done.validation.iloc[-1]
    print(
        f"{done.steps} steps on {done.n_clips} clips; held-out clips: log-mel L1 {last['log_mel_l1']:.3f}, "
        f"PESQ {last['pesq']:.2f}, refined {last['pesq_refined']:.2f}: {done.folder}"
    )
    finish(
        {
            "folder": str(done.folder),
            "steps": done.steps,
            **{name: float(last[name]) for name in ("loss", "log_mel_l1", "pesq", "pesq_refined")},
            "clips": done.n_clips,
            "skipped": len(done.skipped),
            "speech_s": round(done.speech_s, 1),
            "seconds": round(done.seconds, 1),
        },
        as_json,
    )
