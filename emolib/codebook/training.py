"""Training of residual codebooks: k-means first, then moving averages over batches, then no code left idle.

Each stage learns what the stages before it left over. All arrays here are centred rows, float32.

References
----------
Residual quantization: Y. Chen, T. Guan, C. Wang (2010), "Approximate Nearest Neighbor Search by Residual
Vector Quantization", doi:10.3390/s101211259. Moving averages: A. van den Oord, O. Vinyals, K. Kavukcuoglu
(2017), "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1. Replacement of idle codes:
N. Zeghidour et al. (2021), "SoundStream", arXiv:2107.03312.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float32]

#: Rows whose distances to all codes are held at once: the table should stay in the processor's cache.
CHUNK = 2048
#: A code whose moving count falls below this share of an even count is idle.
IDLE = 0.02


def nearest(rows: Array, codes: Array) -> NDArray[np.intp]:
    """Return the number of the nearest code to each row, (N,); rows (N, D), codes (K, D)."""
    lengths = np.einsum("kd,kd->k", codes, codes)
    found = np.empty(len(rows), dtype=np.intp)
    for start in range(0, len(rows), CHUNK):
        scores = rows[start : start + CHUNK] @ codes.T
        scores *= -2
        scores += lengths
        found[start : start + CHUNK] = scores.argmin(axis=1)
    return found


def train_stages(
    rows: Array,
    n_stages: int,
    n_codes: int,
    *,
    n_iter: int = 5,
    n_epochs: int = 12,
    batch: int = 1024,
    decay: float = 0.8,
    seed: int = 0,
) -> Array:
    """Train the codebooks of all stages, (Q, K, D).

    Parameters
    ----------
    rows : float32 array, (N, D); N of at least K
    n_stages, n_codes : int, Q and K
    n_iter : int; iterations of k-means at each stage
    n_epochs : int; passes of moving averages over all stages together
    batch : int; rows a step of those
    decay : float in (0, 1); the share of a moving average that a step keeps
    seed : int
    """
    rng = np.random.default_rng(seed)
    residual, stages = rows.copy(), []
    for _ in range(n_stages):
        stages.append(_cluster(residual, n_codes, n_iter, rng))
        residual -= stages[-1][nearest(residual, stages[-1])]
    codes = np.stack(stages)
    for epoch in range(n_epochs):
        _average(rows, codes, rng.permutation(len(rows)), batch, decay, rng, revive=epoch < n_epochs - 1)
    return _settle(rows, codes, rng)


def usage(symbols: NDArray, n_codes: int) -> NDArray[np.intp]:
    """Return how often each stage's codes are used, (Q, K); symbols (N, Q), -1 where a stage is unused."""
    return np.stack([np.bincount(column[column >= 0], minlength=n_codes) for column in symbols.T])


def _cluster(rows: Array, n_codes: int, n_iter: int, rng: np.random.Generator) -> Array:
    """Return the centres of k-means, (K, D), begun at random rows: begun far apart, they sit on outliers."""
    codes = rows[rng.choice(len(rows), n_codes, replace=False)]
    for _ in range(n_iter):
        counts, sums = _sums(rows, nearest(rows, codes), n_codes)
        idle = np.flatnonzero(counts == 0)
        codes = sums / np.maximum(counts, 1)[:, None]
        codes[idle] = rows[rng.integers(len(rows), size=len(idle))]
    return codes


def _sums(rows: Array, symbols: NDArray[np.intp], n_codes: int) -> tuple[NDArray, NDArray]:
    """Return the number of rows of each code, (K,), and their sums, (K, D)."""
    ones = np.ones(len(rows), dtype=np.float32)
    chosen = sparse.csr_array((ones, symbols, np.arange(len(rows) + 1)), shape=(len(rows), n_codes))
    return np.bincount(symbols, minlength=n_codes).astype(np.float32), chosen.T @ rows


def _average(
    rows: Array,
    codes: Array,
    order: NDArray[np.intp],
    batch: int,
    decay: float,
    rng: np.random.Generator,
    *,
    revive: bool,
) -> None:
    """Move all codes, in place, to moving averages of the residuals that choose them, batch by batch."""
    n_stages, n_codes, _ = codes.shape
    counts = np.full((n_stages, n_codes), min(batch, len(rows)) / n_codes, dtype=np.float32)
    sums = codes * counts[..., None]
    for start in range(0, len(order), batch):
        residual = rows[order[start : start + batch]]
        for q in range(n_stages):
            symbols = nearest(residual, codes[q])
            left = residual - codes[q][symbols]
            count, total = _sums(residual, symbols, n_codes)
            counts[q] = decay * counts[q] + (1 - decay) * count
            sums[q] = decay * sums[q] + (1 - decay) * total
            idle = np.flatnonzero(counts[q] < IDLE * counts[q].mean())
            if revive and len(idle):
                counts[q][idle] = counts[q].mean()
                sums[q][idle] = residual[rng.integers(len(residual), size=len(idle))] * counts[q].mean()
            codes[q] = sums[q] / np.maximum(counts[q], 1e-6)[:, None]
            residual = left


def _settle(rows: Array, codes: Array, rng: np.random.Generator, n_rounds: int = 10) -> Array:
    """Move each code to the mean of its rows, and idle ones into the fullest cells, stage after stage."""
    codes, residual = codes.copy(), rows.copy()
    for stage in codes:
        for _ in range(n_rounds):
            symbols = nearest(residual, stage)
            counts, sums = _sums(residual, symbols, len(stage))
            used = counts > 0
            stage[used] = sums[used] / counts[used, None]
            idle = np.flatnonzero(~used)
            if not len(idle):
                break
            crowded = np.flatnonzero(counts[symbols] >= np.median(counts[used]))
            stage[idle] = residual[rng.choice(crowded, size=len(idle))]
        residual -= stage[nearest(residual, stage)]
    return codes
