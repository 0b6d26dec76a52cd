"""Steering by prosody, alone or with a smaller step along the latent axis.

`ProsodySteerer` moves pitch, timing, energy and voice quality by a `prosody.ProsodyTransform`; the words and
the speaker stay. `HybridSteerer` joins two steerers.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from emolib import audio, prosody
from emolib.audio import Wave
from emolib.prosody import Contours, ProsodyTransform, Recording
from emolib.steering.base import Steerer, check_delta


class ProsodicAnalysis(NamedTuple):
    """WORLD's parameters of a clip, and their contours."""

    recording: Recording
    contours: Contours


def analyse(wave: Wave, sample_rate: int) -> ProsodicAnalysis:
    """Return WORLD's analysis of a wave, which serves every transform."""
    recording = prosody.record(wave, sample_rate)
    return ProsodicAnalysis(recording, prosody.contours(recording.speech))


class ProsodySteerer(Steerer):
    """Move speech along a transform learned from parallel pairs.

    Parameters
    ----------
    transform : ProsodyTransform, fitted
    shift_level : bool
        Let the level move as the transform learned: strong anger is some 24 dB louder than neutral speech.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].
    knobs : mapping of a name in `prosody.KNOBS` to a number in [-1, 1], optional
        What changes apart from the emotion, at any delta; see `turned`.

    Notes
    -----
    The output has the input's sampling rate and, unless the level is to shift, its root-mean-square level
    (less where its peak would pass full scale). Its length follows the tempo: the silence before and after
    the speech stays as it is, the speech between becomes longer or shorter. Delta 0 gives the input back,
    sample for sample, if no knob is turned. Content above 12 kHz is lost otherwise.
    """

    def __init__(
        self, transform: ProsodyTransform, *, shift_level: bool = False, allow_extrapolation: bool = False,
        knobs: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.knobs = prosody.check_knobs(knobs or {})
        self.transform, self.shift_level = transform, shift_level
        self.allow_extrapolation = allow_extrapolation
        self.source, self.target = transform.source, transform.target

    def turned(self, knobs: Mapping[str, float]) -> "ProsodySteerer":
        """Return a steerer with other knobs; it renders what this one analysed."""
        other = copy.copy(self)
        other.knobs = prosody.check_knobs(knobs)
        return other

    def analyse(self, wave: Wave, sample_rate: int) -> ProsodicAnalysis:
        """Analyse a wave with WORLD; also raises ValueError if hardly a frame is voiced (a whisper)."""
        return analyse(wave, sample_rate)

    def render(self, analysis: ProsodicAnalysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, at its own sampling rate."""
        delta = check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        recording, seen = analysis
        if delta == 0 and not any(self.knobs.values()):
            return recording.wave.copy()
        speech = self.transform.apply(recording.speech, delta, seen, knobs=self.knobs)
        dbfs = audio.rms_dbfs(recording.wave)
        if self.shift_level:
            dbfs += 10 / np.log(10) * delta * self.transform.shift(seen)["level"]
        return audio.level(prosody.resynthesise(recording, speech), dbfs)


def blend(steerers: Sequence[Steerer], weights: Sequence[float]) -> ProsodySteerer:
    """Return a steerer whose delta 1 is the weighted sum of several prosodic ones from one source.

    Raises
    ------
    ValueError
        If one isn't prosodic, or as `ProsodyTransform.blend` does.
    """
    transforms = [steerer.transform for steerer in steerers if isinstance(steerer, ProsodySteerer)]
    if len(transforms) < len(steerers):
        raise ValueError("several emotions at once by a latent steerer; expected prosodic ones alone")
    far = any(getattr(steerer, "allow_extrapolation", False) for steerer in steerers)
    return ProsodySteerer(ProsodyTransform.blend(transforms, weights), allow_extrapolation=far)


class HybridAnalysis(NamedTuple):
    """The first steerer's analysis of a clip, and the clip's sampling rate."""

    first: Any
    sample_rate: int


class HybridSteerer(Steerer):
    """Move speech by one steerer, and what comes out by another.

    Parameters
    ----------
    prosodic, latent : Steerer
        Any two of equal source and target; the first is rendered first. If deltas beyond [-1, 1] are to be
        taken, both must take them.
    prosodic_share, latent_share : float, in [0, 1]
        Each steerer is given its share of delta; with 0 it changes nothing.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].

    Raises
    ------
    ValueError
        If a share is out of its range, both are 0, or the steerers lead elsewhere.

    Notes
    -----
    The output has the input's sampling rate and level, and the length that the first steerer gives it. Delta
    0 gives the input back, sample for sample. The first steerer analyses a clip once; the second must
    analyse what the first one rendered, at each delta.
    """

    def __init__(
        self, prosodic: ProsodySteerer, latent: Steerer, *, prosodic_share: float = 1.0,
        latent_share: float = 0.5, allow_extrapolation: bool = False,
    ) -> None:  # fmt: skip
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

    def turned(self, knobs: Mapping[str, float]) -> "HybridSteerer":
        """Return a steerer whose prosodic one has other knobs; it renders what this one analysed."""
        other = copy.copy(self)
        other.prosodic = self.prosodic.turned(knobs)
        return other

    def analyse(self, wave: Wave, sample_rate: int) -> HybridAnalysis:
        """Analyse a wave with the first steerer."""
        return HybridAnalysis(self.prosodic.analyse(wave, sample_rate), int(sample_rate))

    def render(self, analysis: HybridAnalysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, at its own sampling rate."""
        delta = check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        wave = self.prosodic.render(analysis.first, delta * self.prosodic_share)
        if delta * self.latent_share == 0:
            return wave
        return np.asarray(self.latent.steer(wave, analysis.sample_rate, delta * self.latent_share))
