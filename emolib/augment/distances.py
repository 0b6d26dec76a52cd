"""How near two clips are to each other, and what near means.

Stage of `emolib.augment` before the audit. Clips are compared by their log-mel-spectrograms, each levelled,
averaged over 4 bands and 4 frames: the distance is the root mean square over places where either speaks.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from emolib.generate.mels import Mels

#: The share of training clips that have another clip of their speaker nearer than what is called near.
NEAR = 0.01


def fingerprints(mels: Mels) -> list[str]:
    """Return a hash of each clip's spectrogram; equal ones are the same clip."""
    return [sha256(np.ascontiguousarray(value).tobytes()).hexdigest() for value in mels.values]


def distances(a: Mels, b: Mels) -> NDArray[np.float32]:
    """Return the distance of each clip of one set to each of another, (N, K), in nepers of energy."""
    (x, x_weight), (y, y_weight) = _small(a), _small(b)
    square = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    both = x_weight.sum(1)[:, None] + y_weight.sum(1) - x_weight @ y_weight.T  # places where either speaks
    return np.sqrt(np.maximum(square, 0) / np.maximum(both, 1))


def near_distance(train: Mels) -> float:
    """Return the distance within which 1 % of the training clips have another clip of their speaker."""
    nearest = []
    for name in np.unique(train.speakers):
        own = train.take(train.speakers == name)
        apart = distances(own, own)
        np.fill_diagonal(apart, np.inf)
        nearest.append(apart.min(1))
    known = np.concatenate(nearest)
    known = known[np.isfinite(known)]
    return float(np.quantile(known, NEAR)) if len(known) else 0.0


def _small(mels: Mels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return levelled speech and its weights, by 4 bands and 4 frames, (N, M/4 * T/4); 0 in padding."""
    n, n_bands, n_frames = mels.values.shape
    mask = np.broadcast_to(mels.mask[:, None], mels.values.shape).astype(np.float32)
    level = (mels.values * mask).sum((1, 2)) / mask.sum((1, 2))
    speech = (mels.values - level[:, None, None]) * mask
    places = (n, n_bands // 4, 4, n_frames // 4, 4)
    cut = slice(n_bands // 4 * 4), slice(n_frames // 4 * 4)
    speech, mask = (part[:, *cut].reshape(places) for part in (speech, mask))
    return speech.mean((2, 4)).reshape(n, -1), mask.max((2, 4)).reshape(n, -1)
