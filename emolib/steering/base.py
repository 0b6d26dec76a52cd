"""What all steerers share: one interface, and one check of what comes in."""

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emolib import audio
from emolib.audio import Wave

#: Shorter than this, a clip has no contour to steer; longer, it is to be cut into sentences first.
MIN_DURATION_S, MAX_DURATION_S = 0.2, 120.0


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


def check_rate(sample_rate: float) -> int:
    """Return a sampling rate as an integer, or raise ValueError if it is no positive whole number."""
    if int(sample_rate) != sample_rate or sample_rate <= 0:
        raise ValueError(f"a sampling rate of {sample_rate} Hz; expected a positive whole number")
    return int(sample_rate)


def check_input(wave: NDArray, sample_rate: int) -> Wave:
    """Return a wave as float32, (S,); several channels, (S, channels), are averaged.

    Raises
    ------
    AudioError
        If the wave isn't finite, is silent, shorter than 0.2 s or longer than two minutes.
    """
    samples = np.asarray(wave, np.float32)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise audio.AudioError(f"a wave of shape {samples.shape}; expected (S,) or (S, channels)")
    if not np.isfinite(samples).all():
        raise audio.AudioError("the wave holds NaN or infinite samples; expected finite ones in [-1, 1]")
    samples = audio.mono(samples)
    duration_s = len(samples) / sample_rate
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise audio.AudioError(
            f"a wave of {duration_s:.3g} s; steering takes {MIN_DURATION_S:g} to {MAX_DURATION_S:g} s of one "
            f"speaker: cut a longer recording into sentences"
        )
    audio.check_speech(samples, sample_rate, "wave")
    return samples
