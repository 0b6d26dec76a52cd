"""Commands that train a generator of emotional speech and use it: generate train, generate sample."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from emolib.cli.app import (
    AsJson,
    CorpusName,
    CorpusOption,
    Device,
    MixedPrecision,
    Profile,
    Root,
    Table,
    app,
    default_folder,
    finish,
    load_clips,
    print_skipped,
)

commands = typer.Typer(no_args_is_help=True, help="Generate emotional speech.")
app.add_typer(commands, name="generate")


class SpaceName(StrEnum):
    """What diffuses."""

    latent = "latent"
    mel = "mel"


class SamplerName(StrEnum):
    """Ways to draw clips."""

    dpm = "dpm++"
    ddim = "ddim"
    ddpm = "ddpm"


@commands.command()
def train(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the generator; one in models/ for these clips and settings."),
    ] = None,
    emotions: Annotated[
        list[str] | None,
        typer.Option("--emotion", help="A class to learn, repeated for each; the six that corpora share."),
    ] = None,
    speakers: Annotated[
        list[str] | None,
        typer.Option("--leave-out", help="A speaker never to learn from; can be repeated."),
    ] = None,
    space: Annotated[
        SpaceName, typer.Option("--space", help="latent, or mel for an accelerator.")
    ] = SpaceName.latent,
    profile: Annotated[Profile, typer.Option("--profile", help="How long to train.")] = Profile.quick,
    steps: Annotated[int | None, typer.Option("--steps", help="Of the diffusion; the profile's.")] = None,
    precision: Annotated[
        MixedPrecision, typer.Option("--precision", help="bf16 or fp16 for mixed precision.")
    ] = MixedPrecision.no,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, order and noise.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a generator of mel-spectrograms on a corpus's emotions; resumes after a kill.

    JSON: folder, classes, clips, speakers, skipped, loss, reconstruction, seconds.
    """
    from emolib import generate

    changes = {"space": space.value, "seed": seed, "precision": precision.value}
    changes |= {} if steps is None else {"steps": steps}
    make = generate.Settings.full if profile is Profile.full else generate.Settings.quick
    settings = make(**changes)
    clips = load_clips(corpus, corpus_option, root, table)
    unknown = sorted(set(speakers or []) - set(clips["speaker"]))
    if unknown:
        known = ", ".join(sorted(set(clips["speaker"])))
        raise ValueError(f"--leave-out {', '.join(unknown)}: no such speaker; expected some of: {known}")
    clips = clips[~clips["speaker"].isin(speakers or [])]
    mels, skipped = generate.load_mels(clips, emotions or generate.SIX)
    print_skipped(skipped)
    folder = out or default_folder("generator", clips, emotions, settings)
    made = generate.train(
        mels, folder, settings, classes=emotions, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    record = made.record
    print(
        f"{settings.steps} steps on {record['n_clips']} clips of {record['n_speakers']} speakers, "
        f"loss {record['loss']:.3f}: {folder}"
    )
    finish(
        {
            "folder": str(folder),
            "classes": list(made.classes),
            "clips": record["n_clips"],
            "speakers": record["n_speakers"],
            "skipped": len(skipped),
            "loss": record["loss"],
            "reconstruction": record.get("autoencoder", {}).get("reconstruction"),
            "seconds": record["seconds"],
        },
        as_json,
    )


@commands.command()
def sample(
    model: Annotated[Path, typer.Argument(help="The folder that `emolib generate train` wrote.")],
    emotions: Annotated[
        list[str] | None,
        typer.Option("--emotion", help="A class, repeated for more; all of them by default."),
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Clips of each class.")] = 4,
    out: Annotated[Path, typer.Option("--out", help="Folder of the clips and of manifest.csv.")] = Path(
        "generated"
    ),
    sampler: Annotated[SamplerName, typer.Option("--sampler", help="dpm++, ddim or ddpm.")] = SamplerName.dpm,
    steps: Annotated[
        int | None, typer.Option("--steps", help="20 by default, for ddim 50, for ddpm 1000.")
    ] = None,
    guidance: Annotated[
        float, typer.Option("--guidance", help="1 is none, more makes classes plainer.")
    ] = 2.0,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write generated clips as WAV, and a manifest.csv that `--manifest` of other commands reads.

    JSON: folder, manifest, clips, classes, speech_s, seconds.
    """
    import time

    from emolib import audio, generate

    if count < 1:
        raise ValueError(f"--count {count}; expected 1 or more clips of each class")
    made = generate.Generator.load(model, device=device)
    labels = [emotion for emotion in emotions or made.classes for _ in range(count)]
    usual = {SamplerName.dpm: 20, SamplerName.ddim: 50, SamplerName.ddpm: 1000}
    started = time.perf_counter()
    mels = made.sample(
        labels, sampler=sampler.value, steps=usual[sampler] if steps is None else steps, guidance=guidance,
        seed=seed,
    )  # fmt: skip
    waves = generate.to_sound(mels)
    for clip, wave in zip(mels.clips, waves, strict=True):
        audio.write(out / f"{clip}.wav", wave, generate.SAMPLE_RATE)
    table = {"path": [f"{clip}.wav" for clip in mels.clips], "speaker": mels.speakers, "emotion": mels.labels}
    pd.DataFrame(table).to_csv(out / "manifest.csv", index=False)
    seconds, speech_s = time.perf_counter() - started, float(mels.durations_s.sum())
    print(f"{len(mels)} clips, {speech_s:.1f} s of speech in {seconds:.1f} s: {out}")
    finish(
        {
            "folder": str(out),
            "manifest": str(out / "manifest.csv"),
            "clips": len(mels),
            "classes": sorted(set(labels)),
            "speech_s": round(speech_s, 2),
            "seconds": round(seconds, 1),
        },
        as_json,
    )
