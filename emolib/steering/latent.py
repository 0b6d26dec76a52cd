"""Steering in an encoder's own space: every frame is moved along an axis, and mapped back to sound.

The effect of a shift on the sound is the difference between the mapped frames with it and without. By default
that is added to the clip's own mel-spectrogram, and the clip's own wave is changed until it has the sum
(`emolib.phase`): what the mapper can't rebuild stays as it was spoken. With ``rebuild=True`` everything is
mapped and vocoded instead, as is usual.

References
----------
Moving hidden states along a direction: N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive
Activation Addition", arXiv:2312.06681. Speech from hidden states: A. Polyak et al. (2021), "Speech
Resynthesis from Discrete Disentangled Self-Supervised Representations", arXiv:2104.00355.
"""

import copy
from dataclasses import dataclass

import librosa
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib import audio, phase
from emolib.audio import HIFIGAN_MEL, Wave
from emolib.axis import EmotionAxis
from emolib.encoders import Encoder
from emolib.mapper import Mapper
from emolib.prosody.analysis import checked
from emolib.steering.base import Steerer, check_delta
from emolib.vocoder import Vocoder

#: Iterations that fit the clip's wave to the moved spectrogram; more change little.
N_ITER = 8


@dataclass(frozen=True)
class Analysis:
    """A clip taken apart.

    Attributes
    ----------
    wave : float32 array, (S,); as it came, several channels averaged
    sample_rate : int, Hz
    resampled : float32 array, (M * hop,); at the mel-spectrogram's rate, whole frames
    frames : float32 array, (T, D); the encoder's layer
    log_mel : float32 array, (M, 80); the clip's own
    mapped : float32 array, (M, 80); what the mapper makes of the frames
    level_dbfs : float, dB
    """

    wave: Wave
    sample_rate: int
    resampled: Wave
    frames: NDArray[np.float32]
    log_mel: NDArray[np.float32]
    mapped: NDArray[np.float32]
    level_dbfs: float


class LatentSteerer(Steerer):
    """Move speech along an axis in an encoder's layer.

    Parameters
    ----------
    encoder : Encoder
        Must return the axis's layer.
    axis : EmotionAxis
        Of mean-pooled features: an axis of means moves single frames as well.
    mapper : Mapper
        Of the same encoder and layer.
    vocoder : Vocoder
        Used with ``rebuild=True`` alone.
    rebuild : bool
        Map and vocode the whole clip, not the difference alone.
    allow_extrapolation : bool
        Take deltas beyond [-1, 1].

    Raises
    ------
    ValueError
        If the axis or the mapper belongs to another encoder or layer, or the vocoder reads another
        mel-spectrogram.

    Notes
    -----
    The output has the input's sampling rate, length and root-mean-square level (less where its peak would
    pass full scale). Delta 0 gives the input back, sample for sample.
    """

    def __init__(
        self, encoder: Encoder, axis: EmotionAxis, mapper: Mapper, vocoder: Vocoder, *,
        rebuild: bool = False, allow_extrapolation: bool = False,
    ) -> None:  # fmt: skip
        mapper.check_encoder(encoder)
        axis.check(encoder=encoder.name, fingerprint=encoder.fingerprint, layer=mapper.layer, pooling="mean")
        if len(axis.direction_) != mapper.width:
            raise ValueError(
                f"an axis in {len(axis.direction_)} dimensions and a mapper of {mapper.width}; fit the axis "
                f"on layer {mapper.layer} of {mapper.encoder!r}"
            )
        if vocoder.spec != HIFIGAN_MEL:
            raise ValueError(f"a vocoder of {vocoder.spec}; the mapper writes {HIFIGAN_MEL}")
        self.encoder, self.axis, self.mapper, self.vocoder = encoder, axis, mapper, vocoder
        self.rebuild, self.allow_extrapolation = rebuild, allow_extrapolation
        self.source, self.target = str(axis.source_), str(axis.target_)

    def along(self, direction: ArrayLike) -> "LatentSteerer":
        """Return a steerer that moves as far in another direction, as a baseline of the axis.

        Parameters
        ----------
        direction : array-like, (D,); its length doesn't matter

        Raises
        ------
        ValueError
            If it has another width, or no length.
        """
        values = np.asarray(direction, np.float64)
        length = float(np.linalg.norm(values))
        if values.shape != self.axis.direction_.shape or not 0 < length < np.inf:
            raise ValueError(
                f"a direction of shape {values.shape} and length {length:g}; expected "
                f"{self.axis.direction_.shape} and a length above 0"
            )
        other = copy.copy(self)
        other.axis = copy.copy(self.axis)
        other.axis.direction_ = values / length
        return other

    def analyse(self, wave: Wave, sample_rate: int) -> Analysis:
        """Encode a wave and map it back unmoved."""
        wave, sample_rate = checked(wave, sample_rate), int(sample_rate)
        resampled = audio.resample(wave, sample_rate, HIFIGAN_MEL.sample_rate)
        n_frames = HIFIGAN_MEL.frames(len(resampled))
        # straight from its own rate, as the frames that axis and mapper learned from
        states = self.encoder.encode([wave], sample_rate)[0]
        frames = states[self.encoder.layers.index(self.mapper.layer)]
        level_dbfs = audio.rms_dbfs(resampled - resampled.mean())  # the encoder takes the mean out, too
        resampled = resampled[: n_frames * HIFIGAN_MEL.hop_length]
        log_mel = audio.log_mel(resampled, HIFIGAN_MEL.sample_rate)
        mapped = self.mapper.map(frames, n_frames=n_frames, level_dbfs=level_dbfs)
        return Analysis(wave, sample_rate, resampled, frames, log_mel, mapped, level_dbfs)

    def moved_mel(self, analysis: Analysis, delta: float) -> NDArray[np.float32]:
        """Return the log-mel-spectrogram, (M, 80), that an analysed clip is given at `delta`."""
        frames = self.axis.shift(analysis.frames, delta).astype(np.float32)
        moved = self.mapper.map(frames, n_frames=len(analysis.mapped), level_dbfs=analysis.level_dbfs)
        return moved if self.rebuild else analysis.log_mel + moved - analysis.mapped

    def render(self, analysis: Analysis, delta: float) -> Wave:
        """Return an analysed clip moved by `delta`; float32, (S,), at its own sampling rate."""
        delta = check_delta(delta, allow_extrapolation=self.allow_extrapolation)
        if delta == 0:
            return analysis.wave.copy()
        log_mel, clip = self.moved_mel(analysis, delta), analysis.wave
        if self.rebuild:
            made = self.vocoder.vocode(log_mel)
        else:  # the change alone is resampled: on the way and back the clip would lose its highest band
            made = phase.fit_to_mel(analysis.resampled, log_mel, n_iter=N_ITER) - analysis.resampled
        made = audio.resample(made, HIFIGAN_MEL.sample_rate, analysis.sample_rate)
        made = librosa.util.fix_length(made, size=len(clip))
        return audio.level(made if self.rebuild else clip + made, audio.rms_dbfs(clip))
