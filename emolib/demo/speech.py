"""How a synthetic speaker expresses an emotion: published rules, and the voices that follow them.

`RULES` is the whole theory: each row says what changes which acoustic parameter by how much, and who found
that. The published findings are mostly directions ("much higher"); the amounts are this project's own and
smaller than those of actors. `render` speaks by these rules: from `espeak` through `world` to a wave.

References
----------
MA93: I. R. Murray, J. L. Arnott (1993), "Toward the simulation of emotion in synthetic speech: A review of
    the literature on human vocal emotion", JASA 93(2), 1097-1108, doi:10.1121/1.405558. Table I.
BS96: R. Banse, K. R. Scherer (1996), "Acoustic profiles in vocal emotion expression", Journal of Personality
    and Social Psychology 70(3), 614-636, doi:10.1037/0022-3514.70.3.614. Table 6.
BS00: F. Burkhardt, W. F. Sendlmeier (2000), "Verification of acoustical correlates of emotional speech using
    formant-synthesis", ISCA Workshop on Speech and Emotion, 151-156; its settings as tabulated by S01b.
C90: J. E. Cahn (1990), "The generation of affect in synthesized speech", Journal of the American Voice I/O
    Society 8, 1-19; its settings as tabulated by S01b.
S01: M. Schröder, R. Cowie, E. Douglas-Cowie, M. Westerdijk, S. Gielen (2001), "Acoustic correlates of emotion
    dimensions in view of speech synthesis", Eurospeech, doi:10.21437/Eurospeech.2001-34.
S01b: M. Schröder (2001), "Emotional speech synthesis: A review", Eurospeech,
    doi:10.21437/Eurospeech.2001-150. Table 1.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from emolib import audio, emotions, world
from emolib.audio import Wave
from emolib.demo import espeak
from emolib.world import Settings

#: Of all that is drawn: clips are the same wherever they are rendered.
SEED = 0
#: Everything that an emotion can change.
PARAMETERS = tuple(field.name for field in fields(Settings))

Source = Literal["MA93", "BS96", "BS00", "S01", "C90", "own"]


class Rule(NamedTuple):
    """One published finding as a rule: `amount` of `parameter` for each unit of `driver`.

    `driver` is ``"arousal"`` or ``"valence"``, in [-1, 1], or an emotion, 1 where it is expressed. The effect
    of an emotion on a parameter is the sum over its drivers; `finding` is the published direction of it.
    """

    driver: str
    parameter: str
    amount: float
    source: Source
    finding: str


RULES = (
    Rule("arousal", "pitch_st", 4.5, "S01", "activation: higher F0"),
    Rule("arousal", "range_log", 0.35, "S01", "activation: wider F0 range"),
    Rule("arousal", "level_db", 9.0, "S01", "activation: more intensity"),
    Rule("arousal", "tilt_db", 1.6, "S01", "activation: flatter spectral slope"),
    Rule("arousal", "pause_s", -0.03, "S01", "activation: shorter pauses"),
    Rule("arousal", "rate_log", 0.10, "own", "effort quickens"),
    Rule("arousal", "breath", -0.15, "own", "effort closes the glottis"),
    Rule("valence", "final_st", 0.8, "S01", "negative evaluation: faster F0 falls"),
    Rule("valence", "pause_s", -0.02, "S01", "negative evaluation: longer pauses"),
    Rule("valence", "formants", 4.0, "MA93", "smiling raises formant frequencies"),
    Rule("happy", "pitch_st", 1.2, "MA93", "pitch average much higher (BS00: +50 %)"),
    Rule("happy", "range_log", 0.30, "BS00", "F0 range +100 % (MA93: much wider)"),
    Rule("happy", "rate_log", 0.09, "BS00", "tempo +30 % (MA93: faster or slower)"),
    Rule("happy", "formants", 1.2, "BS00", "lip spreading: F1 and F2 +10 %"),
    Rule("happy", "wave_st", 2.0, "BS00", "wave contour: stressed syllables raised, those between lowered"),
    Rule("happy", "final_st", 3.0, "MA93", "smooth, upward inflections"),
    Rule("happy", "breath", 0.18, "MA93", "breathy, blaring"),
    Rule("angry", "pitch_st", 0.8, "MA93", "pitch average very much higher"),
    Rule("angry", "range_log", 0.18, "MA93", "pitch range much wider"),
    Rule("angry", "rate_log", 0.04, "MA93", "slightly faster"),
    Rule("angry", "level_db", 1.5, "MA93", "intensity higher"),
    Rule("angry", "tilt_db", 0.7, "BS96", "hot anger: a small share of energy below 1 kHz"),
    Rule("angry", "abrupt_st", 2.5, "MA93", "abrupt pitch changes on stressed syllables"),
    Rule("angry", "breath", 0.06, "MA93", "breathy, chest tone"),
    Rule("angry", "jitter", 0.4, "own", "roughness of a pressed voice"),
    Rule("sad", "pitch_st", -0.3, "MA93", "pitch average slightly lower"),
    Rule("sad", "range_log", -0.25, "MA93", "pitch range slightly narrower"),
    Rule("sad", "rate_log", -0.12, "MA93", "slightly slower"),
    Rule("sad", "level_db", -1.8, "MA93", "intensity lower"),
    Rule("sad", "tilt_db", -0.9, "C90", "brilliance -9 of 10"),
    Rule("sad", "breath", 0.30, "C90", "breathiness +10 of 10"),
    Rule("sad", "slope_st", 1.5, "MA93", "downward inflections"),
    Rule("sad", "pause_s", 0.05, "C90", "more pauses, fluent and hesitating"),
    Rule("fearful", "pitch_st", 2.3, "MA93", "pitch average very much higher (BS00: +150 %, falsetto)"),
    Rule("fearful", "rate_log", 0.13, "MA93", "much faster (BS00: tempo +30 %)"),
    Rule("fearful", "level_db", -3.8, "MA93", "intensity normal"),
    Rule("fearful", "jitter", 1.0, "MA93", "irregular voicing"),
    Rule("fearful", "shimmer_db", 0.9, "MA93", "irregular voicing"),
    Rule("fearful", "tilt_db", -1.0, "own", "falsetto's source falls more steeply"),
    Rule("fearful", "breath", 0.15, "own", "falsetto leaks air"),
    Rule("disgust", "pitch_st", -3.6, "MA93", "pitch average very much lower"),
    Rule("disgust", "range_log", -0.04, "MA93", "pitch range slightly wider"),
    Rule("disgust", "rate_log", -0.24, "MA93", "very much slower"),
    Rule("disgust", "level_db", -4.5, "MA93", "intensity lower"),
    Rule("disgust", "final_st", -1.4, "MA93", "wide, downward terminal inflections"),
    Rule("disgust", "jitter", 0.7, "MA93", "grumbled, chest tone"),
    Rule("disgust", "shimmer_db", 0.6, "MA93", "grumbled, chest tone"),
    Rule("disgust", "formants", -1.5, "own", "a tightened pharynx and raised lip mirror the smile"),
    Rule("calm", "range_log", -0.06, "own", "even and settled"),
    Rule("calm", "rate_log", -0.05, "own", "unhurried"),
    Rule("calm", "breath", 0.06, "own", "soft onset"),
)

#: How much takes differ where emotion, valence and arousal are equal: standard deviations.
TAKE_SD = Settings(
    pitch_st=0.7, range_log=0.10, rate_log=0.04, level_db=0.9, tilt_db=0.3, breath=0.05, jitter=0.15,
    shimmer_db=0.15, formants=0.6, abrupt_st=0.4, wave_st=0.4, slope_st=0.5, final_st=0.6, pause_s=0.015,
)  # fmt: skip
#: What even the neutral voice has of each.
RESTING = Settings(jitter=0.4, shimmer_db=0.3)
#: A plain voice has none of these to lose.
NEVER_NEGATIVE = ("jitter", "shimmer_db", "pause_s")


def express(
    emotion: str, valence: float, arousal: float, *,
    strength: Mapping[str, float] | None = None, take: Mapping[str, float] | None = None,
) -> Settings:  # fmt: skip
    """Apply `RULES`.

    Parameters
    ----------
    emotion : str
        A word of the vocabulary; one that no rule names is expressed by its valence and arousal alone.
    valence, arousal : float, in [-1, 1]
    strength : mapping from parameter to float, optional
        The speaker's factor on each parameter, 1 by default.
    take : mapping from parameter to float, optional
        What this take adds, in standard deviations of `TAKE_SD`.

    Raises
    ------
    ValueError
        If the emotion is not in the vocabulary, or a coordinate is outside [-1, 1].
    """
    drivers = {emotions.check(emotion): 1.0, "valence": valence, "arousal": arousal}
    for name in ("valence", "arousal"):
        if not -1 <= drivers[name] <= 1:
            raise ValueError(f"{name} {drivers[name]}; expected a number in [-1, 1]")
    values = dict.fromkeys(PARAMETERS, 0.0)
    for rule in RULES:
        values[rule.parameter] += rule.amount * drivers.get(rule.driver, 0.0)
    for name in PARAMETERS:
        values[name] *= (strength or {}).get(name, 1.0)
        values[name] += getattr(RESTING, name) + getattr(TAKE_SD, name) * (take or {}).get(name, 0.0)
        if name in NEVER_NEGATIVE:
            values[name] = max(values[name], 0.0)
    return Settings(**values)


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
    voice: Voice, sentence: str, emotion: str, valence: float, arousal: float, *, name: str = ""
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

    Returns
    -------
    wave : float32 array, (S,), in [-1, 1]
    sample_rate : int, Hz; 22,050

    Raises
    ------
    ValueError
        As `express` and `espeak.speak` do.
    """
    rng = generator(f"{name}|{sentence}")
    take = dict(zip(PARAMETERS, rng.standard_normal(len(PARAMETERS)), strict=True))
    settings = express(emotion, valence, arousal, strength=strength(voice), take=take)
    speech = world.reshape(_plain(voice, sentence), settings, rng)
    wave = np.pad(world.synthesise(speech), int(_EDGE_S * speech.sample_rate))
    wave = audio.level(wave, LEVEL_DBFS + voice.gain_db + settings.level_db)
    room = 10 ** (ROOM_DBFS / 20) * rng.standard_normal(len(wave))
    return np.clip(wave + room, -1, 1).astype(np.float32), speech.sample_rate


def strength(voice: Voice) -> dict[str, float]:
    """Draw how strongly a speaker uses each acoustic parameter: factors around 1."""
    draws = generator(f"strength of {voice.speaker}").standard_normal(len(PARAMETERS))
    return dict(zip(PARAMETERS, np.exp(STRENGTH_SD * draws).tolist(), strict=True))


def generator(name: str) -> np.random.Generator:
    """Return the generator that belongs to a name, whatever was drawn before it and in whichever process."""
    return np.random.default_rng([SEED, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])])


@lru_cache(maxsize=4)
def _plain(voice: Voice, sentence: str) -> world.Speech:
    """Return a voice's unemotional rendition of a sentence, in WORLD's parameters."""
    wave, sample_rate = espeak.speak(sentence, voice=voice.variant, rate=voice.rate)
    body = Settings(
        pitch_st=voice.pitch_st, formants=voice.formants, tilt_db=voice.tilt_db, breath=voice.breath
    )
    return world.reshape(world.analyse(wave, sample_rate), body, generator(voice.speaker))
