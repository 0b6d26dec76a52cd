"""What all steerers share: one interface, and one check of delta."""

import math
from typing import Any, Protocol, runtime_checkable

from emolib.audio import Wave


@runtime_checkable
class Steerer(Protocol):
    """Anything that moves speech from one emotion towards another.

    Attributes
    ----------
    source, target : str; the emotions at delta 0 and 1
    """

    source: str
    target: str

    def analyse(self, wave: Wave, sample_rate: int) -> Any:
        """Analyse a wave, (S,) or (S, channels), of one speaker once; `render` then takes any delta.

        Raises
        ------
        ValueError
            If the wave isn't finite, is silent, shorter than 0.2 s or longer than two minutes, or the
            sampling rate is no positive whole number.
        """
        ...

    def render(self, analysis: Any, delta: float) -> Wave:
        """Return an analysed wave moved by `delta`, float32, at its own sampling rate.

        Raises
        ------
        ValueError
            If delta isn't finite, or is beyond [-1, 1] and extrapolation isn't allowed.
        """
        ...

    def steer(self, wave: Wave, sample_rate: int, delta: float) -> Wave:
        """Return a wave moved by `delta`: 0 gives it back unchanged, 1 is one emotion further."""
        return self.render(self.analyse(wave, sample_rate), delta)


def check_delta(delta: float, *, allow_extrapolation: bool = False) -> float:
    """Return delta as a float.

    Raises
    ------
    ValueError
        If it isn't finite, or is beyond [-1, 1] and extrapolation isn't allowed.
    """
    value = float(delta)
    if not math.isfinite(value):
        raise ValueError(f"delta {delta}; expected a finite number, 0 for no change")
    if abs(value) > 1 and not allow_extrapolation:
        raise ValueError(
            f"delta {value:g} is further than one emotion, where speech may break up; expected -1 to 1, or "
            f"allow_extrapolation=True (`--allow-extrapolation`)"
        )
    return value
