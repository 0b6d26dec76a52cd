"""The synthetic speakers: what sets their voices apart, and how each of them expresses emotion.

From `espeak` (plain words) through `world` (their parameters) and `expression` (the rules) to an emotional
wave: the speech of the embedded corpus (`demo`).
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emolib import audio, espeak, expression, world
from emolib.audio import Wave

#: Spread, between speakers, of the logarithm of how strongly they use each acoustic parameter.
STRENGTH_SD = 0.2
#: Level of the neutral voice: the loudest anger still has headroom.
LEVEL_DBFS = -30.0
#: Level of the room's noise, the same in every clip.
ROOM_DBFS = -72.0
_EDGE_S = 0.04


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker.

    Attributes
    ----------
    speaker : str
    gender : str, ``"female"`` or ``"male"``
    variant : str; espeak-ng's voice
    rate : int, words a minute
    pitch_st : float, semitones above the variant's own pitch
    formants : float, percent above the variant's own resonances: a shorter vocal tract
    tilt_db : float, dB an octave
    breath : float, share of harmonic energy turned to noise
    gain_db : float, dB; nearness to the microphone
    """

    speaker: str
    gender: str
    variant: str
    rate: int
    pitch_st: float
    formants: float
    tilt_db: float
    breath: float
    gain_db: float


VOICES = (
    Voice("F1", "female", "en-us+f2", 172, 0.0, 0.0, 0.0, 0.04, 0.0),
    Voice("F2", "female", "en-us+f5", 184, 1.0, 1.0, 0.3, 0.00, 1.0),
    Voice("F3", "female", "en-us+f1", 162, -0.5, -1.5, -0.3, 0.10, -1.0),
    Voice("F4", "female", "en-us+f2", 178, 2.5, 1.5, -0.1, 0.00, 0.5),
    Voice("M1", "male", "en-us+m3", 170, 1.0, 0.0, 0.0, 0.02, -0.5),
    Voice("M2", "male", "en-us+m6", 182, 3.0, 1.5, -0.3, 0.08, 1.0),
    Voice("M3", "male", "en-us+m1", 160, 0.5, -1.0, 0.3, 0.04, -1.0),
    Voice("M4", "male", "en-us+m4", 188, 4.5, -1.5, 0.2, 0.00, 0.0),
)


def render(
    voice: Voice,
    sentence: str,
    emotion: str,
    valence: float,
    arousal: float,
    *,
    name: str = "",
    seed: int = 0,
) -> tuple[Wave, int]:
    """Speak a sentence with emotion.

    Parameters
    ----------
    voice : Voice
    sentence : str
        The text, in the language of the voice's variant.
    emotion : str
    valence, arousal : float, in [-1, 1]
    name : str
        Names the take: equal arguments give equal samples, another name gives another take.
    seed : int

    Returns
    -------
    wave : float32 array, (S,), in [-1, 1]
    sample_rate : int, Hz; 22,050

    Raises
    ------
    ValueError
        As `expression.express` and `espeak.speak` do.
    """
    rng = generator(seed, f"{name}|{sentence}")
    take = dict(zip(expression.PARAMETERS, rng.standard_normal(len(expression.PARAMETERS)), strict=True))
    settings = expression.express(emotion, valence, arousal, strength=strength(voice, seed), take=take)
    speech = world.reshape(_plain(voice, sentence), settings, rng)
    wave = np.pad(world.synthesise(speech), int(_EDGE_S * speech.sample_rate))
    wave = audio.level(wave, LEVEL_DBFS + voice.gain_db + settings.level_db)
    room = 10 ** (ROOM_DBFS / 20) * rng.standard_normal(len(wave))
    return np.clip(wave + room, -1, 1).astype(np.float32), speech.sample_rate


def strength(voice: Voice, seed: int = 0) -> dict[str, float]:
    """Draw how strongly a speaker uses each acoustic parameter: factors around 1."""
    draws = generator(seed, f"strength of {voice.speaker}").standard_normal(len(expression.PARAMETERS))
    return dict(zip(expression.PARAMETERS, np.exp(STRENGTH_SD * draws).tolist(), strict=True))


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator that belongs to a name, whatever was drawn before it and in whichever process."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])])


@lru_cache(maxsize=4)
def _plain(voice: Voice, sentence: str) -> world.Speech:
    """Return a voice's unemotional rendition of a sentence, in WORLD's parameters."""
    wave, sample_rate = espeak.speak(sentence, voice=voice.variant, rate=voice.rate)
    body = world.Settings(
        pitch_st=voice.pitch_st, formants=voice.formants, tilt_db=voice.tilt_db, breath=voice.breath
    )
    return world.reshape(world.analyse(wave, sample_rate), body, generator(0, voice.speaker))
