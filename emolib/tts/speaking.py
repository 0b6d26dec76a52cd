"""Text to speech with an emotion dial: a voice, a goal, and how far to go there.

The last stage: `loading` and `voices` speak, `dial` and `references` say what to change, `scoring` listens.
"""

from pathlib import Path

from emolib.audio import Wave, load
from emolib.steering.base import Steerer
from emolib.tts import dial, references
from emolib.tts.loading import DEFAULT_VOICE, load_voice
from emolib.tts.scoring import AxisScore
from emolib.tts.voices import Voice
from emolib.world import Settings

#: Two clips: where the dial stands at 0, and where at 1.
References = tuple[str | Path, str | Path]
#: Beyond this distance on the axis, in steps from one emotion to the other, references aren't believed.
_MOST_STEPS = 1.5


def speak(
    text: str,
    *,
    voice: str | Voice = DEFAULT_VOICE,
    target: str | Steerer | None = None,
    alpha: float = 1.0,
    clips: References | None = None,
    score: AxisScore | None = None,
    allow_extrapolation: bool = False,
) -> tuple[Wave, int]:
    """Speak a text with emotion.

    Parameters
    ----------
    text : str
        At most `voices.MAX_CHARACTERS` characters, in the voice's language.
    voice : str or Voice
        As `load_voice` takes it, or one that is loaded.
    target : str or Steerer, optional
        An emotion, rendered by rule (`dial.toward`), angry by default; or a steerer, latent, prosodic or
        hybrid, which then moves the plain voice by alpha as it moves any recording.
    alpha : float, in [-1, 1]
        How far to go: 0 is the plain voice, sample for sample, 1 the target, and below 0 lies its opposite.
    clips : pair of str or Path, optional
        Two reference clips in place of a target, a calm and an angry one for instance: alpha 1 changes the
        voice by what changes from the first to the second (`settings_between`).
    score : AxisScore, optional
        Hears what the clips differ in beyond what can be measured; see `settings_between`.
    allow_extrapolation : bool
        Let alpha reach 2 and -2.

    Returns
    -------
    wave : float32 array, (S,), in [-1, 1]
    sample_rate : int, Hz; the voice's

    Raises
    ------
    ValueError
        If the text, voice, target, alpha or a reference can't be used; the message says why.

    Examples
    --------
    >>> wave, sample_rate = speak("Where have you been?", target="angry", alpha=0.5)
    >>> sample_rate
    22050
    """
    if clips is not None and target is not None:
        raise ValueError(f"both a target, {target!r}, and reference clips; expected one of them")
    speaker = load_voice(voice) if isinstance(voice, str) else voice
    if isinstance(target, Steerer):
        plain, sample_rate = speaker.say(text)
        return target.steer(plain, sample_rate, alpha), sample_rate
    settings = settings_between(*clips, score) if clips is not None else dial.toward(target or "angry")
    settings = dial.turned(settings, alpha, allow_extrapolation=allow_extrapolation)
    return speaker.say(text, settings)


def settings_between(source: str | Path, target: str | Path, score: AxisScore | None = None) -> Settings:
    """Return what changes from one reference clip to another, in prosody and in an encoder's space.

    Parameters
    ----------
    source, target : str or Path
    score : AxisScore, optional

    Returns
    -------
    Settings
        Pitch, range, rate, level and tilt as measured (`references.between`). With `score`, contour shapes
        and voice quality as well: those by which the rules tell the axis's two emotions apart
        (`dial.shapes`), as many times as the clips' embeddings lie apart on the axis, at most 1.5 times.

    Raises
    ------
    ValueError
        If a clip can't be read, is silent, too short, too long, or whispered.
    """
    measured = references.between(source, target)
    if score is None:
        return measured
    steps = score(*load(target)) - score(*load(source))
    steps = min(max(steps, -_MOST_STEPS), _MOST_STEPS)
    return dial.together(measured, dial.shapes(score.axis.source_, score.axis.target_, steps))
