"""Steering by both: prosody carries the emotion, and a nudge along the latent axis follows.

Last stage of `emolib.steering`.
"""

from typing import Any, NamedTuple

import numpy as np

from emolib.audio import Wave
from emolib.steering.base import Steerer, check_delta


class HybridAnalysis(NamedTuple):
    """A clip as the first steerer takes it apart, and its sampling rate."""

    first: Any
    sample_rate: int


class HybridSteerer:
    """Move speech by one steerer, and what comes out by another.

    Parameters
    ----------
    prosodic, latent : Steerer
        Any two of equal source and target; the first is rendered first. If deltas beyond [-1, 1] are to be
        taken, both must take them.
    prosodic_share, latent_share : float, in [0, 1]
        Each steerer is given its share of delta; with 0 it isn't heard at all.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].

    Raises
    ------
    ValueError
        If a share is out of its range, both are 0, or the steerers lead elsewhere.

    Notes
    -----
    The output has the input's sampling rate and level, and the length that the first steerer gives it. Delta
    0 gives the input back, sample for sample. The first steerer's analysis is made once a clip; the second
    must take apart what the first one rendered, at each delta.
    """

    def __init__(
        self,
        prosodic: Steerer,
        latent: Steerer,
        *,
        prosodic_share: float = 1.0,
        latent_share: float = 0.5,
        allow_extrapolation: bool = False,
    ) -> None:
        for share in (prosodic_share, latent_share):
            if not 0 <= share <= 1:  # also true of NaN
                raise ValueError(f"a share of {share}; expected a number from 0 to 1")
        if prosodic_share == latent_share == 0:
            raise ValueError("both shares are 0, which moves nothing; expected at least one above 0")
        if (prosodic.source, prosodic.target) != (latent.source, latent.target):
            raise ValueError(
                f"steerers from {prosodic.source} to {prosodic.target} and from {latent.source} to "
                f"{latent.target}; expected the same two emotions"
            )
        self.prosodic, self.latent = prosodic, latent
        self.prosodic_share, self.latent_share = prosodic_share, latent_share
        self.allow_extrapolation = allow_extrapolation
        self.source, self.target = prosodic.source, prosodic.target

    def analyse(self, wave: Wave, sample_rate: int) -> HybridAnalysis:
        """Take a wave apart; raises ValueError as the first steerer does."""
        return HybridAnalysis(self.prosodic.analyse(wave, sample_rate), int(sample_rate))

    def render(self, analysis: HybridAnalysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, at its own sampling rate.

        Raises
        ------
        ValueError
            If delta isn't finite, or beyond [-1, 1] without leave.
        """
        delta = check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        wave = self.prosodic.render(analysis.first, delta * self.prosodic_share)
        if delta * self.latent_share == 0:
            return wave
        return np.asarray(self.latent.steer(wave, analysis.sample_rate, delta * self.latent_share))

    def steer(self, wave: Wave, sample_rate: int, delta: float) -> Wave:
        """Return a wave moved by `delta`: `analyse` and `render` in one.

        Raises
        ------
        ValueError
            As `analyse` and `render` do.
        """
        check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        return self.render(self.analyse(wave, sample_rate), delta)
