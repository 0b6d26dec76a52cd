"""How an emotion sounds: published rules from emotion, valence and arousal to acoustic settings.

The stage between a plain spoken sentence (`espeak`, `world`) and the embedded corpus (`demo`). `RULES` is the
whole theory: each row says what moves which acoustic parameter by how much, and who found that. The published
findings are mostly directions ("much higher"); the amounts are this project's, below what actors reach.

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

from collections.abc import Mapping
from dataclasses import fields
from typing import Literal, NamedTuple

from emolib import emotions
from emolib.world import Settings

#: Everything that an emotion can move.
PARAMETERS = tuple(field.name for field in fields(Settings))

Source = Literal["MA93", "BS96", "BS00", "S01", "C90", "own"]


class Rule(NamedTuple):
    """One row of the theory: `amount` of `parameter` for each unit of `driver`.

    `driver` is ``"arousal"`` or ``"valence"``, in [-1, 1], or an emotion, 1 where it is expressed. What an
    emotion does to a parameter is the sum over its drivers; `finding` is the published direction of that sum.
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
_NEVER_NEGATIVE = ("jitter", "shimmer_db", "pause_s")


def express(
    emotion: str,
    valence: float,
    arousal: float,
    *,
    strength: Mapping[str, float] | None = None,
    take: Mapping[str, float] | None = None,
) -> Settings:
    """Apply `RULES`.

    Parameters
    ----------
    emotion : str
        A word of the vocabulary; one that no rule names is expressed by its valence and arousal alone.
    valence, arousal : float, in [-1, 1]
    strength : mapping from parameter to float, optional
        A speaker's own way: the factor on each parameter, 1 by default.
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
        if name in _NEVER_NEGATIVE:
            values[name] = max(values[name], 0.0)
    return Settings(**values)
