"""Clips as log-mel-spectrograms of one size, with a mask of their padding, and back to sound.

Every clip is `audio.EMOGEN_MEL`: 22,050 Hz, 128 bands, 172 frames of 23 ms, 4.0 s cut from its centre; a
shorter one is in the centre of padding, which the mask leaves out.

Back to sound goes plain Griffin-Lim. The project's vocoder networks and its Griffin-Lim on the mel scale read
`audio.HIFIGAN_MEL`, magnitudes of 46 ms every 12 ms in 80 bands, and `EMOGEN_MEL` has the energy of 93 ms
every 23 ms in 128: the one can't be computed from the other.

References
----------
N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from emolib import audio, vocoder
from emolib.audio import EMOGEN_MEL, Wave

#: The classes that RAVDESS and EmoDB share, sorted.
SIX = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
_N_SAMPLES = round(EMOGEN_MEL.sample_rate * (EMOGEN_MEL.duration_s or 0.0))
N_FRAMES = EMOGEN_MEL.frames(_N_SAMPLES)
N_MELS = EMOGEN_MEL.n_mels
#: What padding holds: the logarithm of the least energy.
FLOOR = float(np.log(np.float32(EMOGEN_MEL.floor)))
#: Peak of a wave before its spectrogram is taken, so that the level is no cue.
PEAK = 0.95
#: Sampling rate, in Hz, and root-mean-square level, in dB relative to full scale, of waves that are made.
SAMPLE_RATE, LEVEL_DBFS = EMOGEN_MEL.sample_rate, -26.0


@dataclass(frozen=True, eq=False)
class Mels:
    """Log-mel-spectrograms of clips.

    Attributes
    ----------
    values : float32 array, (N, 128, 172); natural logarithm of energies, not normalised; padding is `FLOOR`
    mask : bool array, (N, 172); True where a frame is speech, False where it is padding
    labels, speakers, clips : arrays of str, (N,)

    Raises
    ------
    ValueError
        If a shape is wrong, lengths differ, a value is not finite, or a clip has no frame of speech.
    """

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]
    labels: NDArray[Any]
    speakers: NDArray[Any]
    clips: NDArray[Any]

    def __post_init__(self) -> None:
        values, mask = np.asarray(self.values, np.float32), np.asarray(self.mask, bool)
        if values.ndim != 3 or values.shape[1:] != (N_MELS, N_FRAMES):
            raise ValueError(
                f"log-mel-spectrograms of shape {values.shape}; expected (N, {N_MELS}, {N_FRAMES}): bands, "
                f"then frames, of audio.EMOGEN_MEL: make them with generate.load_mels"
            )
        texts = [np.asarray(texts).astype(str) for texts in (self.labels, self.speakers, self.clips)]
        if mask.shape != (len(values), N_FRAMES) or {text.shape for text in texts} != {(len(values),)}:
            raise ValueError(
                f"a mask of shape {mask.shape} and {[len(text) for text in texts]} labels, speakers and "
                f"clips for {len(values)} spectrograms; expected (N, {N_FRAMES}), and one of each for each"
            )
        if not np.isfinite(values).all():
            raise ValueError("a spectrogram holds NaN or infinity; expected finite natural logarithms")
        if not mask.any(1).all():
            raise ValueError("a clip has no frame of speech in its mask; leave such clips out")
        values = np.where(mask[:, None], values, np.float32(FLOOR))
        for name, value in zip(vars(self), (values, mask, *texts), strict=True):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: ArrayLike) -> "Mels":
        """Return some clips, by their numbers or by a mask over clips, (N,)."""
        return Mels(*(part[np.asarray(indices)] for part in vars(self).values()))

    def joined(self, other: "Mels") -> "Mels":
        """Return these clips and, after them, another set's."""
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return Mels(*(np.concatenate(parts) for parts in both))

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """Return each clip's length without padding, (N,), in s."""
        return self.mask.sum(1) * EMOGEN_MEL.hop_length / EMOGEN_MEL.sample_rate


@threadpool_limits.wrap(limits=1)  # last bits depend on the number of threads; studies identify clips by them
def load_mels(manifest: pd.DataFrame, classes: Sequence[str] = SIX) -> tuple[Mels, list[dict[str, str]]]:
    """Read the clips of some emotions as log-mel-spectrograms.

    Parameters
    ----------
    manifest : DataFrame, as `corpora.load` returns it
    classes : sequence of str

    Returns
    -------
    mels : Mels; in the manifest's order
    skipped : list of dict
        clip and reason of each that is of another emotion or that can't be read.

    Raises
    ------
    ValueError
        If no clip is usable.
    """
    skipped: list[dict[str, str]] = []
    kept = []
    for row in manifest.to_dict("records"):
        clip, emotion = row["clip"], row["emotion"]
        try:
            if emotion not in classes:
                raise audio.AudioError(f"its emotion, {emotion}, is none of the classes")
            kept.append((*mel_of(*audio.load_clip(row, SAMPLE_RATE)), emotion, row["speaker"], clip))
        except audio.AudioError as error:
            skipped.append({"clip": str(clip), "reason": str(error)})
    if not kept:
        problem = skipped[0]["reason"] if skipped else "the manifest has no clips"
        raise ValueError(f"no clip of {', '.join(classes)} can be used; the first problem: {problem}")
    values, mask, *texts = zip(*kept, strict=True)
    return Mels(np.stack(values), np.stack(mask), *map(np.asarray, texts)), skipped


def mel_of(wave: Wave, sample_rate: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a wave's log-mel-spectrogram, (128, 172), and the frames that are speech, (172,).

    Raises
    ------
    AudioError
        If the wave is shorter than two thirds of a window (35 ms).
    """
    wave = audio.resample(np.asarray(wave, np.float32), sample_rate, EMOGEN_MEL.sample_rate)
    extra = max(0, len(wave) - _N_SAMPLES)
    wave = wave[extra // 2 : extra // 2 + _N_SAMPLES]
    wave = wave * (PEAK / max(float(np.abs(wave).max()), audio.SILENCE_PEAK))
    frames = audio.log_mel(wave, EMOGEN_MEL.sample_rate, EMOGEN_MEL)
    mask = centred(len(frames))
    values = np.full((N_MELS, N_FRAMES), FLOOR, np.float32)
    values[:, mask] = frames.T
    return values, mask


def centred(n_frames: int) -> NDArray[np.bool_]:
    """Return the mask, (172,), of a clip of some frames in the centre of padding."""
    n_frames = min(max(int(n_frames), 1), N_FRAMES)
    start = (N_FRAMES - n_frames) // 2
    mask = np.zeros(N_FRAMES, bool)
    mask[start : start + n_frames] = True
    return mask


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Level and spread of each band over the speech of the training clips.

    Attributes
    ----------
    mean, std : float32 arrays, (128,)
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def fit(cls, mels: Mels) -> "Normaliser":
        """Measure the frames that are speech."""
        frames = mels.values.transpose(0, 2, 1)[mels.mask].astype(np.float64)  # noqa: PD011
        spread = np.maximum(frames.std(0), 0.1)
        return cls(frames.mean(0).astype(np.float32), spread.astype(np.float32))

    def apply(self, mels: Mels) -> NDArray[np.float32]:
        """Return normalised spectrograms, (N, 128, 172), 0 where there is padding."""
        scaled = (mels.values - self.mean[:, None]) / self.std[:, None]  # noqa: PD011
        return np.where(mels.mask[:, None], scaled, np.float32(0.0))

    def invert(self, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return log-mel-spectrograms of normalised ones, (N, 128, 172); padding becomes `FLOOR`."""
        whole = np.maximum(values * self.std[:, None] + self.mean[:, None], FLOOR)
        return np.where(mask[:, None], whole, np.float32(FLOOR)).astype(np.float32)


def to_sound(mels: Mels) -> list[Wave]:
    """Turn log-mel-spectrograms into waves without their padding, by Griffin-Lim.

    Returns
    -------
    waves : list of float32 arrays, (S,), at 22,050 Hz and -26 dB relative to full scale
    """
    griffin_lim = vocoder.GriffinLim(spec=EMOGEN_MEL)
    speech = [values.T[mask] for values, mask in zip(mels.values, mels.mask, strict=True)]
    return [audio.level(griffin_lim.vocode(frames), LEVEL_DBFS) for frames in speech]
