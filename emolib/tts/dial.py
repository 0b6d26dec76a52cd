"""What the dial turns: prosodic settings of an emotion's name, and how far they are followed.

Between a plain voice (`voices`) and what it says with emotion (`speaking`). All settings are differences from
the plain rendition, so that alpha scales them: 0 leaves the voice as it is, below 0 it goes the other way.
"""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

from emolib import demo, emotions, expression
from emolib.tts.references import LIMITS
from emolib.world import Settings

#: Where each emotion lies on the plane of affect.
ANCHORS: Mapping[str, emotions.Anchor] = MappingProxyType(
    {**emotions.ANCHORS["emodb"], **emotions.ANCHORS["iemocap"], **demo.ANCHORS}
)
#: How far alpha reaches: plainly, and with extrapolation.
ALPHA, ALPHA_EXTRAPOLATED = 1.0, 2.0
_NEVER_NEGATIVE = ("jitter", "shimmer_db", "pause_s")


def toward(emotion: str) -> Settings:
    """Return what the rules of `expression` change between the neutral voice and an emotion.

    Raises
    ------
    ValueError
        If the emotion is not in the vocabulary.
    """
    anchor = ANCHORS[emotions.check(emotion)]
    neutral = expression.express("neutral", *ANCHORS["neutral"])
    return _difference(expression.express(emotion, anchor.valence, anchor.arousal), neutral)


def shapes(source: str, target: str, weight: float) -> Settings:
    """Return `weight` times what the rules say of two emotions and `references.between` can't measure.

    Raises
    ------
    ValueError
        If an emotion is not in the vocabulary.
    """
    difference = asdict(_difference(toward(target), toward(source)))
    return Settings(**{name: 0.0 if name in LIMITS else weight * d for name, d in difference.items()})


def together(one: Settings, other: Settings) -> Settings:
    """Return the sum of two settings."""
    return Settings(**{name: value + getattr(other, name) for name, value in asdict(one).items()})


def turned(settings: Settings, alpha: float, *, allow_extrapolation: bool = False) -> Settings:
    """Turn the dial.

    Parameters
    ----------
    settings : Settings
        What alpha 1 does.
    alpha : float, in [-1, 1]; with `allow_extrapolation` in [-2, 2]
    allow_extrapolation : bool

    Returns
    -------
    Settings
        `alpha` times the settings; jitter, shimmer and hesitation, which a plain voice has none to spare of,
        not below 0.

    Raises
    ------
    ValueError
        If alpha is out of range.
    """
    check_alpha(alpha, allow_extrapolation=allow_extrapolation)
    values = {name: alpha * value for name, value in asdict(settings).items()}
    return Settings(**values | {name: max(values[name], 0.0) for name in _NEVER_NEGATIVE})


def check_alpha(alpha: float, *, allow_extrapolation: bool = False) -> None:
    """Raise ValueError unless alpha is in [-1, 1], or with `allow_extrapolation` in [-2, 2]."""
    reach = ALPHA_EXTRAPOLATED if allow_extrapolation else ALPHA
    if not -reach <= alpha <= reach:  # also true of NaN
        more = "" if allow_extrapolation else f", or to {ALPHA_EXTRAPOLATED:g} with allow_extrapolation"
        raise ValueError(f"alpha {alpha}; expected a number from {-reach:g} to {reach:g}{more}")


def _difference(settings: Settings, other: Settings) -> Settings:
    return together(settings, Settings(**{name: -value for name, value in asdict(other).items()}))
