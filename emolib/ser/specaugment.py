"""The cheap rivals of generated data: bands and frames left out of a spectrogram, and clips mixed in pairs.

First stage of the ResNet: it changes batches while the network trains, at no cost to speak of.

References
----------
D. S. Park et al. (2019), "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
arXiv:1904.08779. H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz (2018), "mixup: Beyond Empirical Risk
Minimization", arXiv:1710.09412.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def spec_augment(
    batch: Array, rng: np.random.Generator, *, n_masks: int = 1, max_bands: int = 16, max_frames: int = 8
) -> Array:
    """Return a batch with stripes of bands and of frames set to zero, which is each band's training mean.

    Parameters
    ----------
    batch : float32 array, (B, M, T); normalised
    rng : Generator
    n_masks : int; stripes of either kind
    max_bands, max_frames : int; the widths are drawn uniformly from 0 to these, and cut to half the batch's

    Notes
    -----
    Time warping, the third part of SpecAugment, is left out: its authors found that it adds least.
    """
    n, n_bands, n_frames = batch.shape
    kept = np.ones_like(batch, dtype=bool)
    for length, most, axis in ((n_bands, max_bands, 1), (n_frames, max_frames, 2)):
        places = np.arange(length)
        for _ in range(n_masks):
            widths = rng.integers(0, min(most, length // 2) + 1, n)
            starts = rng.integers(0, length - widths + 1)
            hidden = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
            kept &= ~np.expand_dims(hidden, 3 - axis)
    return batch * kept


def mixup(
    batch: Array, targets: Array, rng: np.random.Generator, *, alpha: float = 0.3
) -> tuple[Array, Array]:
    """Return a batch in which each clip is mixed with another, and its targets mixed likewise.

    Parameters
    ----------
    batch : float32 array, (B, M, T)
    targets : float32 array, (B, C); probabilities
    rng : Generator
    alpha : float above 0; of the Beta distribution that shares are drawn from

    Raises
    ------
    ValueError
        If alpha isn't above 0.
    """
    if alpha <= 0:
        raise ValueError(f"alpha={alpha}; expected a number above 0, or no mixup at all")
    other, share = rng.permutation(len(batch)), rng.beta(alpha, alpha, len(batch)).astype(np.float32)
    keep = share[:, None, None]
    mixed = keep * batch + (1 - keep) * batch[other]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[other]
