"""The command that moves speech from one emotion towards another: steer."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emolib.cli.app import AsJson, CorpusOption, Device, EncoderName, Root, Table, app, finish, load_clips
from emolib.paths import DEFAULT_ENCODER


class MethodName(StrEnum):
    """Ways to steer."""

    latent = "latent"
    prosody = "prosody"
    hybrid = "hybrid"


@app.command()
def steer(
    recording: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A recording of one speaker, any format and rate.")
    ],
    delta: Annotated[
        float, typer.Option("--delta", help="How far: 0 changes nothing, 1 is one emotion further.")
    ],
    out: Annotated[Path, typer.Option("--output", "--out", help="Where to write: .wav, .flac or .ogg.")],
    method: Annotated[MethodName, typer.Option("--method", help="What is moved.")] = MethodName.prosody,
    source: Annotated[str, typer.Option("--source", help="The emotion that it is spoken in.")] = "calm",
    target: Annotated[str, typer.Option("--target", help="The emotion to move towards.")] = "angry",
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[int, typer.Option("--layer", help="Of latent and hybrid steering.")] = 3,
    allow_extrapolation: Annotated[
        bool, typer.Option("--allow-extrapolation", help="Take deltas beyond -1 to 1.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Move a recording from one emotion towards another.

    Prosody is steered by what was learned from actors (RAVDESS) and is shipped, from neutral or calm to an
    emotion at its strongest. Another method, or a corpus that is named, learns from that corpus the
    first time; other methods from the embedded one by default, whose voices are no humans'.

    JSON: target_probability, source_probability, duration_s.
    """
    from emolib import audio, steering
    from emolib.steering import shipped

    delta = steering.check_delta(delta, allow_extrapolation=allow_extrapolation)
    wave, sample_rate = audio.load(recording)
    unnamed = corpus_option is None and root is None and table is None
    if unnamed and method is MethodName.prosody and shipped.available():
        steerer: steering.Steerer = shipped.steerer(source, target, allow_extrapolation=allow_extrapolation)
        teachers, judge = "ravdess", shipped.judge()
    else:
        clips = load_clips(None, corpus_option, root, table)
        steerer = steering.prepare(
            method.value, source, target, manifest=clips, encoder=encoder, layer=layer, device=device,
            allow_extrapolation=allow_extrapolation, progress=sys.stderr.isatty(),
        )  # fmt: skip
        teachers, judge = str(clips["corpus"].iloc[0]), steering.judge(clips)
    steered = steerer.steer(wave, sample_rate, delta)
    audio.write(out, steered, sample_rate)
    probability = judge.predict_proba([steered], sample_rate)[0]
    before = judge.predict_proba([wave], sample_rate)[0]
    heard = {word: float(probability[judge.column(word)]) for word in (source, target)}
    for word in (source, target):
        print(f"P({word}) {before[judge.column(word)]:.2f} before, {heard[word]:.2f} after")
    print(f"{judge}\nlearned from {teachers}, wrote {out}")
    finish(
        {
            "target_probability": heard[target],
            "source_probability": heard[source],
            "duration_s": len(steered) / sample_rate,
            "method": method.value,
            "delta": delta,
            "learned_from": teachers,
            "natural_ua": judge.natural_ua_.value,
            "output": str(out),
        },
        as_json,
    )
