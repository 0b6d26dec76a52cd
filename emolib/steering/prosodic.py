"""Steering by prosody, alone or with a smaller step along the latent axis.

`ProsodySteerer` moves pitch, timing, energy and voice quality by a `prosody.ProsodyTransform`; the words and
the speaker stay. `HybridSteerer` joins two steerers.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from emolib import audio, prosody
from emolib.audio import Wave
from emolib.prosody import Contours, ProsodyTransform, Recording
from emolib.steering.base import Steerer, check_delta

#: Of delta, what a hybrid steerer moves speech along the latent axis.
LATENT_SHARE = 0.5


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
    known = [steerer for steerer in steerers if isinstance(steerer, ProsodySteerer)]
    if len(known) < len(steerers):
        raise ValueError("several emotions at once by a latent steerer; expected prosodic ones alone")
    transform = ProsodyTransform.blend([steerer.transform for steerer in known], weights)
    far = any(steerer.allow_extrapolation for steerer in known)
    return ProsodySteerer(transform, allow_extrapolation=far)


class HybridSteerer(Steerer):
    """Move speech by prosody, and what comes out along an axis by `LATENT_SHARE` of delta.

    Parameters
    ----------
    prosodic, latent : Steerer
        Of equal source and target; the prosodic one is rendered first. Deltas beyond [-1, 1] are taken if it
        takes them.

    Raises
    ------
    ValueError
        If the steerers lead elsewhere.

    Notes
    -----
    The output has the input's sampling rate and level, and the length that prosody gives it. Delta 0 gives
    the input back, sample for sample. Prosody analyses a clip once; the latent steerer must analyse what
    prosody rendered, at each delta.
    """

    def __init__(self, prosodic: ProsodySteerer, latent: Steerer) -> None:
        if (prosodic.source, prosodic.target) != (latent.source, latent.target):
            raise ValueError(
                f"steerers from {prosodic.source} to {prosodic.target} and from {latent.source} to "
                f"{latent.target}; expected the same two emotions"
            )
        self.prosodic, self.latent = prosodic, latent
        self.source, self.target = prosodic.source, prosodic.target

    def turned(self, knobs: Mapping[str, float]) -> "HybridSteerer":
        """Return a steerer whose prosodic one has other knobs; it renders what this one analysed."""
        return HybridSteerer(self.prosodic.turned(knobs), self.latent)

    def analyse(self, wave: Wave, sample_rate: int) -> ProsodicAnalysis:
        """Analyse a wave as its prosodic steerer does."""
        return self.prosodic.analyse(wave, sample_rate)

    def render(self, analysis: ProsodicAnalysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, at its own sampling rate."""
        wave = self.prosodic.render(analysis, delta)
        if delta == 0:
            return wave
        return np.asarray(self.latent.steer(wave, analysis.recording.sample_rate, LATENT_SHARE * delta))
