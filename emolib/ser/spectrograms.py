"""What the ResNet hears of a clip: all of it but the padding."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: Clips, (N, M, T), and how many frames of each are speech, (N,).
Batch = tuple[Array, NDArray[np.int64]]


class Spectrograms(Protocol):
    """What the recogniser learns from and judges, such as `generate.Mels`."""

    @property
    def values(self) -> NDArray[Any]:
        """Log-mel-spectrograms, float32 (N, M, T)."""

    @property
    def mask(self) -> NDArray[Any]:
        """True where there is speech and no padding, bool (N, T)."""

    @property
    def labels(self) -> NDArray[Any]:
        """The classes, str (N,)."""


def speech_of(mels: Spectrograms) -> list[Array]:
    """Return each clip without its padding, (M, T).

    The silence before and after speech stays: beside a wave's peak, its noise tells how loud the speaker was.
    """
    return [value[:, mask] for value, mask in zip(mels.values, mels.mask, strict=True)]


def pack(speech: Sequence[Array], mean: Array, scale: Array) -> Batch:
    """Return normalised clips in one array, zeros behind each, and the frames of each."""
    n_frames = np.array([clip.shape[1] for clip in speech])
    packed = np.zeros((len(speech), len(mean), int(n_frames.max())), np.float32)
    for row, clip in enumerate(speech):
        packed[row, :, : n_frames[row]] = (clip - mean[:, None]) / scale[:, None]
    return packed, n_frames


def check(mels: Spectrograms) -> None:
    """Raise ValueError if spectrograms can't be heard; the message says why."""
    values, mask = np.asarray(mels.values), np.asarray(mels.mask)
    if values.ndim != 3 or not len(values) or mask.shape != (len(values), values.shape[2]):
        raise ValueError(
            f"spectrograms of shape {values.shape} with a mask of shape {mask.shape}; expected (N, M, T) and "
            f"(N, T), N at least 1"
        )
    if len(mels.labels) != len(values):
        raise ValueError(f"{len(mels.labels)} labels for {len(values)} clips; expected one each")
    if not np.isfinite(values[np.broadcast_to(mask[:, None], values.shape)]).all():
        raise ValueError("a spectrogram holds NaN or infinity; expected finite natural logarithms")
    if not mask.any(1).all():
        raise ValueError(f"{int((~mask.any(1)).sum())} clips have no frame of speech; leave them out")
