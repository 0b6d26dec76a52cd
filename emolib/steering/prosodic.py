"""Steering by prosody: pitch, timing, energy and voice quality are moved; the words and the speaker stay.

Third stage of `emolib.steering`: a `prosody.ProsodyTransform` behind the interface of every steerer.
"""

from typing import NamedTuple

import numpy as np

from emolib import audio, prosody
from emolib.audio import Wave
from emolib.prosody import Contours, ProsodyTransform, Recording
from emolib.steering.base import check_delta, check_input


class ProsodicAnalysis(NamedTuple):
    """A clip taken apart, ready for any delta."""

    recording: Recording
    contours: Contours


class ProsodySteerer:
    """Move speech along a transform learned from parallel pairs.

    Parameters
    ----------
    transform : ProsodyTransform, fitted
    shift_level : bool
        Let the level move as the transform learned: strong anger is some 24 dB louder than neutral speech.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].

    Notes
    -----
    The output has the input's sampling rate and, unless the level is to shift, its root-mean-square level
    (less where its peak would pass full scale). Its length follows the tempo: the silence before and after
    the speech stays as it is, the speech between becomes longer or shorter. Delta 0 gives the input back,
    sample for sample. Content above 12 kHz is lost at any other delta.
    """

    def __init__(
        self, transform: ProsodyTransform, *, shift_level: bool = False, allow_extrapolation: bool = False
    ) -> None:
        self.transform, self.shift_level = transform, shift_level
        self.allow_extrapolation = allow_extrapolation
        self.source, self.target = transform.source, transform.target

    def analyse(self, wave: Wave, sample_rate: int) -> ProsodicAnalysis:
        """Take a wave apart.

        Parameters
        ----------
        wave : float32 array, (S,) or (S, channels), of one speaker
        sample_rate : int, Hz

        Raises
        ------
        ValueError
            If the wave isn't finite, is silent, shorter than 0.2 s or longer than two minutes, or has hardly
            a voiced frame (a whisper).
        """
        recording = prosody.record(check_input(wave, sample_rate), int(sample_rate))
        return ProsodicAnalysis(recording, prosody.contours(recording.speech))

    def render(self, analysis: ProsodicAnalysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, at its own sampling rate.

        Raises
        ------
        ValueError
            If delta isn't finite, or beyond [-1, 1] without leave.
        """
        delta = check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        recording, seen = analysis
        if delta == 0:
            return recording.wave.copy()
        speech = self.transform.apply(recording.speech, delta, seen)
        dbfs = audio.rms_dbfs(recording.wave)
        if self.shift_level:
            dbfs += 10 / np.log(10) * delta * self.transform.shift(seen)["level"]
        return audio.level(prosody.resynthesise(recording, speech), dbfs)

    def steer(self, wave: Wave, sample_rate: int, delta: float) -> Wave:
        """Return a wave moved by `delta`: `analyse` and `render` in one.

        Raises
        ------
        ValueError
            As `analyse` and `render` do.
        """
        check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        return self.render(self.analyse(wave, sample_rate), delta)
