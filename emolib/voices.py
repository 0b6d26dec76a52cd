"""Speaker embeddings insensitive to sentences and emotions, to test whether a conversion keeps the voice.

They are statistics of a log-mel-spectrogram, whitened by how they vary within speakers who each speak in
every emotion: what an emotion changes then counts little. They use neither WORLD nor an encoder.

References
----------
Within-class covariance normalisation, compared by cosine: A. O. Hatch, S. Kajarekar, A. Stolcke (2006),
"Within-class covariance normalization for SVM-based speaker recognition", Interspeech; N. Dehak, P. Kenny,
R. Dehak, P. Dumouchel, P. Ouellet (2011), "Front-End Factor Analysis for Speaker Verification", IEEE TASLP
19(4), doi:10.1109/TASL.2010.2064307.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib import audio, quality
from emolib.audio import Wave

Array = NDArray[np.float64]


class Voices:
    """Embed voices by how the clips of some speakers vary, for use on other speakers.

    Parameters
    ----------
    shrinkage : float in [0, 1]
        How far the covariance within speakers is drawn to a multiple of the identity.

    Attributes
    ----------
    speakers_ : tuple of str; the speakers that it was fitted on

    Examples
    --------
    >>> voices = Voices().fit(measures, speakers)  # doctest: +SKIP
    >>> voices.embed(measures) @ voices.embed(measures).T  # doctest: +SKIP
    """

    speakers_: tuple[str, ...]

    def __init__(self, *, shrinkage: float = 0.3) -> None:
        self.shrinkage = shrinkage

    def fit(self, X: ArrayLike, speakers: ArrayLike) -> "Voices":
        """Learn from measures, (N, D), as `measure` gives them, of several clips of each speaker.

        Raises
        ------
        ValueError
            If the lengths differ, a value isn't finite, there are fewer than three speakers, or one of them
            has a single clip.
        """
        X, who = np.asarray(X, np.float64), np.asarray(speakers).astype(str)
        names, counts = np.unique(who, return_counts=True)
        if X.ndim != 2 or len(X) != len(who) or not np.isfinite(X).all():
            raise ValueError(
                f"measures of shape {X.shape} of {len(who)} speakers; expected (N, D), N, all finite"
            )
        if len(names) < 3 or counts.min() < 2:
            raise ValueError(
                f"{len(names)} speakers, one with {counts.min() if len(counts) else 0} clips; expected three "
                f"speakers at least, of two clips at least each"
            )
        self._mean, self._scale = X.mean(axis=0), X.std(axis=0) + 1e-6
        points = (X - self._mean) / self._scale
        own = np.stack([points[who == name].mean(axis=0) for name in names])
        apart = points - own[np.searchsorted(names, who)]
        within, even = apart.T @ apart / len(apart), np.eye(X.shape[1])
        within = (1 - self.shrinkage) * within + (self.shrinkage * np.square(apart).mean() + 1e-9) * even
        self._weights = np.linalg.cholesky(np.linalg.inv(within))
        self.speakers_ = tuple(names.tolist())
        return self

    def embed(self, X: ArrayLike) -> Array:
        """Return embeddings of length 1, (N, D), of measures, (N, D): their products are similarities."""
        if not hasattr(self, "_weights"):
            raise ValueError("these voices aren't fitted; call fit with measures of several speakers")
        points = (np.asarray(X, np.float64) - self._mean) / self._scale @ self._weights
        return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def measure(wave: Wave, sample_rate: int) -> Array:
    """Return the statistics of a clip's speech frames, (256,), independent of their level.

    Mean and deviation of 80 log-mel bands beside the frame's mean, and of 24 cepstra and their changes.
    """
    log_mel = audio.log_mel(wave, sample_rate)
    spoken = quality.speech_frames(log_mel)
    cepstra = quality.cepstra(log_mel)
    changes = np.gradient(cepstra, axis=0) if len(cepstra) > 1 else np.zeros_like(cepstra)
    shape = log_mel - log_mel.mean(axis=1, keepdims=True, dtype=np.float64)
    tracks = np.hstack([shape, cepstra, changes])[spoken]
    return np.concatenate([tracks.mean(axis=0), tracks.std(axis=0)])


def keeps(similarity: ArrayLike, own: NDArray[np.bool_]) -> bool:
    """Return whether the highest of the similarities, (N,), is to a clip of one's own."""
    values = np.asarray(similarity)
    return bool(values[own].max() > values[~own].max())


def measures(waves: Sequence[Wave], sample_rate: int) -> Array:
    """Return `measure` of each wave, (N, 256)."""
    return np.stack([measure(wave, sample_rate) for wave in waves])
