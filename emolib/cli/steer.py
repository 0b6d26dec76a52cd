"""The command that moves speech from one emotion towards another: steer."""

import hashlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emolib.cli.app import AsJson, CorpusOption, Device, EncoderName, Root, Table, app, finish, load_clips
from emolib.paths import DEFAULT_ENCODER

if TYPE_CHECKING:
    import pandas as pd

    from emolib import ser


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

    The judge never had the recording's speaker: for a clip of the corpus that is learned from, another judge
    is trained where needed. Where that can't be done, the probabilities are left out. Who speaks in any
    other recording is unknown, and the output says so.

    JSON: target_probability, source_probability (null where the judge had the speaker), duration_s, judge.
    """
    from emolib import audio, steering
    from emolib.steering import shipped

    delta = steering.check_delta(delta, allow_extrapolation=allow_extrapolation)
    wave, sample_rate = audio.load(recording)
    unnamed = corpus_option is None and root is None and table is None
    if unnamed and method is MethodName.prosody and shipped.available():
        steerer: steering.Steerer = shipped.steerer(source, target, allow_extrapolation=allow_extrapolation)
        teachers, judge, speaker = "ravdess", shipped.judge(), shipped.speaker(recording)
    else:
        clips = load_clips(None, corpus_option, root, table)
        steerer = steering.prepare(
            method.value, source, target, manifest=clips, encoder=encoder, layer=layer, device=device,
            allow_extrapolation=allow_extrapolation, progress=sys.stderr.isatty(),
        )  # fmt: skip
        teachers, speaker = str(clips["corpus"].iloc[0]), _speaker(recording, clips)
        judge = _judge(clips, speaker)
    steered = steerer.steer(wave, sample_rate, delta)
    audio.write(out, steered, sample_rate)
    after: dict[str, float | None] = dict.fromkeys((source, target))
    fit_to_judge = speaker not in judge.speakers_
    if fit_to_judge:
        probability = judge.predict_proba([steered], sample_rate)[0]
        before = judge.predict_proba([wave], sample_rate)[0]
        for word in (source, target):
            after[word] = float(probability[judge.column(word)])
            print(f"P({word}) {before[judge.column(word)]:.2f} before, {after[word]:.2f} after")
    note = _note(speaker, fit_to_judge)
    print(f"{judge}\n{note}\nlearned from {teachers}, wrote {out}")
    finish(
        {
            "target_probability": after[target],
            "source_probability": after[source],
            "duration_s": len(steered) / sample_rate,
            "method": method.value,
            "delta": delta,
            "learned_from": teachers,
            "judge": note,
            "natural_ua": judge.natural_ua_.value,
            "output": str(out),
        },
        as_json,
    )


def _speaker(recording: Path, clips: "pd.DataFrame") -> str | None:
    """Return who speaks in a clip of a corpus, by its content; None in any other recording."""
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()
    found = clips.loc[clips["sha256"] == digest, "speaker"]
    return None if found.empty else str(found.iloc[0])


def _judge(clips: "pd.DataFrame", speaker: str | None) -> "ser.Judge":
    """Return a corpus's judge, without one of its speakers where two others are left to learn from."""
    from emolib import steering

    chosen = steering.roles(clips).judges
    rest = [name for name in chosen if name != speaker]
    return steering.judge(clips, rest if len(rest) > 1 else chosen)


def _note(speaker: str | None, fit_to_judge: bool) -> str:
    """Return a sentence on whether the judge learned from the recording's speaker."""
    if speaker is None:
        return "the recording's speaker is unknown: it can't be told whether the judge was trained on them"
    if fit_to_judge:
        return f"the judge never had the recording's speaker, {speaker}"
    return f"no probabilities: the judge was trained on the recording's speaker, {speaker}"
