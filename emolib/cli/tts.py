"""The command that speaks: tts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emolib.cli.app import AsJson, app, finish
from emolib.paths import DEFAULT_ENCODER

if TYPE_CHECKING:
    from emolib.tts import AxisScore


@app.command()
def tts(
    text: Annotated[str, typer.Option("--text", help="What to say, in the voice's language.")],
    out: Annotated[Path, typer.Option("--out", help="Sound file to write: .wav, .flac or .ogg.")],
    ref_calm: Annotated[
        Path | None, typer.Option("--ref-calm", help="A recording of calm speech: the dial turns from it ...")
    ] = None,
    ref_angry: Annotated[
        Path | None,
        typer.Option("--ref-angry", help="... to this one of angry speech, at alpha 1."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="An emotion in place of references; angry by default.")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="How far to go, -1 to 1; 0 is the plain voice.")
    ] = 1.0,
    allow_extrapolation: Annotated[
        bool, typer.Option("--allow-extrapolation", help="Let alpha reach -2 to 2.")
    ] = False,
    voice: Annotated[
        str,
        typer.Option(
            "--voice", help="A language of espeak-ng (de, en-us+f2), a folder, or a Hugging Face id."
        ),
    ] = "en-us",
    vocoder: Annotated[
        str | None, typer.Option("--vocoder", help="Folder or id, for SpeechT5 and FastSpeech2-Conformer.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", help="A number; for SpeechT5 a .npy file of an x-vector.")
    ] = None,
    axis: Annotated[
        Path | None,
        typer.Option("--axis", help="Folder of a saved axis; one of the embedded voices by default."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help=f"What the default axis listens with; {DEFAULT_ENCODER} by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Speak a text with emotion; JSON: axis_score, axis_score_plain, axis, duration_s, alpha, voice, out."""
    from emolib import audio
    from emolib.tts import check_alpha, load_voice, speak

    check_alpha(alpha, allow_extrapolation=allow_extrapolation)
    if (ref_calm is None) != (ref_angry is None):
        given = "--ref-calm" if ref_angry is None else "--ref-angry"
        raise ValueError(f"{given} alone; expected both references, or --target")
    clips = (ref_calm, ref_angry) if ref_calm and ref_angry else None
    speaking = load_voice(voice, vocoder=vocoder, speaker=speaker)
    plain, sample_rate = speaking.say(text)
    score = _listener(axis, encoder, target if clips is None else None)
    wave, _ = speak(
        text,
        voice=speaking,
        target=target,
        alpha=alpha,
        clips=clips,
        score=score,
        allow_extrapolation=allow_extrapolation,
    )
    audio.write(out, wave, sample_rate)
    scores = [score(heard, sample_rate) if score else None for heard in (wave, plain)]
    duration_s = round(len(wave) / sample_rate, 3)
    goal = "the second reference" if clips else target or "angry"
    print(f"{duration_s:.2f} s by {voice}, alpha {alpha:g} toward {goal}: {out}")
    named = f"{score.axis.source_} to {score.axis.target_}" if score else None
    if score:
        print(f"axis score {scores[0]:.2f} from {named}; the plain voice {scores[1]:.2f}")
    finish(
        {
            "axis_score": scores[0],
            "axis_score_plain": scores[1],
            "axis": named,
            "duration_s": duration_s,
            "alpha": alpha,
            "voice": voice,
            "out": str(out),
        },
        as_json,
    )


def _listener(folder: Path | None, encoder: str | None, target: str | None) -> "AxisScore | None":
    """Return what scores the result; nothing, and say so, where the default encoder isn't at hand."""
    from emolib import paths
    from emolib.axis import EmotionAxis
    from emolib.tts import AxisScore, embedded_score

    if folder is not None:
        if encoder is not None:
            raise ValueError(f"--encoder {encoder!r} beside --axis; a saved axis names its own encoder")
        return AxisScore(EmotionAxis.load(folder))
    ends = ("calm", "angry") if target in (None, "angry", "neutral") else ("neutral", str(target))
    if encoder is None and not (paths.model(DEFAULT_ENCODER) / "config.json").is_file():
        print(f"no axis score, and references count by prosody alone: {DEFAULT_ENCODER} isn't in models/")
        return None
    return embedded_score(*ends, encoder or DEFAULT_ENCODER)
