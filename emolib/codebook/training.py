"""Training of residual codebooks and of their entropy models, and the search for codes.

Codebooks: k-means first, then moving averages over batches, then no code left idle; each stage learns what
the stages before it left over. Entropy models: one for each rate, trained on the codes that the rate below
chose. The search takes the codes of least distortion + lam x bits, greedily or with several hypotheses a row.
A row may stop after any stage: the search follows its best paths to the last stage, remembers at each stage
what stopping there would have cost, and takes the cheapest of all.

All arrays here are centred rows, float32.

References
----------
Residual quantization: Y. Chen, T. Guan, C. Wang (2010), "Approximate Nearest Neighbor Search by Residual
Vector Quantization", doi:10.3390/s101211259. Moving averages: A. van den Oord, O. Vinyals, K. Kavukcuoglu
(2017), "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1. Replacement of idle codes:
N. Zeghidour et al. (2021), "SoundStream", arXiv:2107.03312. Rates: P. A. Chou, T. Lookabaugh, R. M. Gray
(1989), "Entropy-constrained vector quantization", doi:10.1109/29.17498. Beam search over stages: A. Babenko,
V. Lempitsky (2014), "Additive Quantization for Extreme Vector Compression", doi:10.1109/CVPR.2014.124.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from emolib.codebook.coding import EntropyModel, Symbols, fit_model

Array = NDArray[np.float32]

#: Rows whose distances to all codes are held at once: the table should stay in the processor's cache.
CHUNK = 2048
#: Rows a step of moving averages, and the share of an average that a step keeps.
BATCH, DECAY = 1024, 0.8
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


def train_stages(rows: Array, n_stages: int, n_codes: int, n_iter: int, n_epochs: int, seed: int) -> Array:
    """Train the codebooks of all stages, (Q, K, D).

    Parameters
    ----------
    rows : float32 array, (N, D); N of at least K
    n_stages, n_codes : int, Q and K
    n_iter : int; iterations of k-means at each stage
    n_epochs : int; passes of moving averages over all stages together
    seed : int
    """
    rng = np.random.default_rng(seed)
    residual, stages = rows.copy(), []
    for _ in range(n_stages):
        stages.append(_cluster(residual, n_codes, n_iter, rng))
        residual -= stages[-1][nearest(residual, stages[-1])]
    codes = np.stack(stages)
    for epoch in range(n_epochs):
        _average(rows, codes, rng, revive=epoch < n_epochs - 1)
    return _fill_idle(rows, codes, rng)


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
    chosen = sparse.csc_array((ones, symbols, np.arange(len(rows) + 1)), shape=(n_codes, len(rows)))
    return np.bincount(symbols, minlength=n_codes).astype(np.float32), chosen @ rows


def _average(rows: Array, codes: Array, rng: np.random.Generator, *, revive: bool) -> None:
    """Move all codes, in place, to moving averages of the residuals that choose them, batch by batch."""
    n_stages, n_codes, _ = codes.shape
    order = rng.permutation(len(rows))
    counts = np.full((n_stages, n_codes), min(BATCH, len(rows)) / n_codes, dtype=np.float32)
    sums = codes * counts[..., None]
    for start in range(0, len(order), BATCH):
        residual = rows[order[start : start + BATCH]]
        for q in range(n_stages):
            symbols = nearest(residual, codes[q])
            left = residual - codes[q][symbols]
            count, total = _sums(residual, symbols, n_codes)
            counts[q] = DECAY * counts[q] + (1 - DECAY) * count
            sums[q] = DECAY * sums[q] + (1 - DECAY) * total
            idle = np.flatnonzero(counts[q] < IDLE * counts[q].mean())
            if revive and len(idle):
                counts[q][idle] = counts[q].mean()
                sums[q][idle] = residual[rng.integers(len(residual), size=len(idle))] * counts[q].mean()
            codes[q] = sums[q] / np.maximum(counts[q], 1e-6)[:, None]
            residual = left


def _fill_idle(rows: Array, codes: Array, rng: np.random.Generator, n_rounds: int = 10) -> Array:
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


#: Stops that a rate's first entropy model counts at each stage, in shares of the rows: where stopping seems
#: dear it is never tried. At a high lambda a start with many stops is tried as well; the cheaper stays.
FIRST_STOPS, MANY_STOPS_FROM = (0.1, 10.0), 0.03


def train_models(
    rows: Array, codes: Array, rates: Sequence[float], starts: NDArray[np.bool_] | None
) -> list[EntropyModel]:
    """Return the entropy models of one group by rate.

    Parameters
    ----------
    rows : float32 array, (N, D)
    codes : float32 array, (Q, K, D)
    rates : sequence of float; lambda, rising from 0
    starts : bool array, (N,), optional; where given, the row before is a context too
    """
    n_codes = codes.shape[1]
    symbols = choose(rows, codes, None, 0.0)
    models = [fit_model(symbols, n_codes, starts)]
    for lam in list(rates)[1:]:
        shares = FIRST_STOPS if lam >= MANY_STOPS_FROM else FIRST_STOPS[:1]
        tried = [_choose_again(rows, codes, symbols, lam, share) for share in shares]
        _, symbols, model = min(tried, key=lambda entry: entry[0])
        models.append(model if starts is None else fit_model(symbols, n_codes, starts))
    return models


def _choose_again(
    rows: Array, codes: Array, symbols: Symbols, lam: float, stops: float
) -> tuple[float, Symbols, EntropyModel]:
    """Choose codes under a model of earlier ones with extra stops; return cost, codes and their model."""
    n_codes = codes.shape[1]
    for share in (stops, 0.0):
        symbols = choose(rows, codes, fit_model(symbols, n_codes, stops=share), lam)
    model = fit_model(symbols, n_codes)
    return cost(rows, codes, symbols, model, lam), symbols, model


def cost(rows: Array, codes: Array, symbols: Symbols, model: EntropyModel, lam: float) -> float:
    """Return distortion + lambda x bits of chosen symbols."""
    padded = np.concatenate([codes, np.zeros_like(codes[:, :1])], axis=1)
    left = rows - sum(padded[q][column] for q, column in enumerate(symbols.T))
    return float(np.square(left).sum() + lam * model.code_lengths(symbols).sum())


def choose(rows: Array, codes: Array, model: EntropyModel | None, lam: float, beam: int = 1) -> Symbols:
    """Choose the codes of independent rows, (N, Q); K from the stage on at which a row stops.

    Parameters
    ----------
    rows : float32 array, (N, D)
    codes : float32 array, (Q, K, D)
    model : EntropyModel, optional
        Of independent rows, or of rows in sequence, which are then chosen one after another. Without one,
        or with a lam of 0, distortion alone counts and no row stops.
    lam : float
        Squared distance that a bit is worth.
    beam : int
        Hypotheses kept a row.
    """
    if lam == 0:
        model = None
    above = None if model is None or model.rows is None else np.full((1, len(codes)), codes.shape[1])
    size = max(1, CHUNK // beam) if above is None else 1
    parts = []
    for start in range(0, len(rows), size):
        parts.append(_choose_chunk(rows[start : start + size], codes, model, lam, beam, above))
        above = above if above is None else parts[-1]
    return np.concatenate(parts) if parts else np.empty((0, len(codes)), dtype=np.int64)


def _choose_chunk(
    rows: Array, codes: Array, model: EntropyModel | None, lam: float, beam: int, above: Symbols | None
) -> Symbols:
    """Search one chunk; B hypotheses a row are kept flat, row by row, as N x B entries."""
    n, (n_stages, n_codes) = len(rows), codes.shape[:2]
    squares = np.einsum("qkd,qkd->qk", codes, codes)
    residual, paths = rows, np.full((n, n_stages), n_codes)
    error, rate = np.einsum("nd,nd->n", rows, rows), np.zeros(n, dtype=np.float32)
    best, stopped = np.full(n, np.inf, dtype=np.float32), paths.copy()
    live = 1
    for q in range(n_stages):
        scores = residual @ codes[q].T
        scores *= -2
        scores += squares[q]
        scores += (error + rate)[:, None]
        if model is not None:
            before = paths[:, q - 1] if q else np.full(len(paths), n_codes)
            lengths = lam * model.bits(q, before, None if above is None else above[:, q].repeat(len(before)))
            _stop(error + rate + lengths[:, -1], paths, live, best, stopped)
            scores += lengths[:, :-1]
        kept = min(beam, live * n_codes)
        parent, symbol = _cheapest(scores.reshape(n, live * n_codes), kept, n_codes, live)
        total = scores[parent, symbol]
        residual = residual[parent] - codes[q][symbol]
        error = np.einsum("nd,nd->n", residual, residual)
        rate = total - error if model is not None else np.zeros(len(total), dtype=np.float32)
        paths, live = paths[parent], kept
        paths[:, q] = symbol
    _stop(error + rate, paths, live, best, stopped)
    return stopped


def _cheapest(scores: Array, kept: int, n_codes: int, live: int) -> tuple[Symbols, Symbols]:
    """Return parents, as flat numbers, and symbols of the `kept` cheapest continuations of each row."""
    at = scores.argmin(axis=1)[:, None]
    if kept > 1:
        at = np.argpartition(scores, kept - 1, axis=1)[:, :kept]
    parent = np.arange(len(scores))[:, None] * live + at // n_codes
    return parent.ravel(), (at % n_codes).ravel()


def _stop(cost: Array, paths: Symbols, live: int, best: Array, stopped: Symbols) -> None:
    """Where stopping now is the cheapest end so far, remember it: `best` and `stopped` change in place."""
    cost = cost.reshape(-1, live)
    which = cost.argmin(axis=1)
    rows = np.arange(len(cost))
    better = cost[rows, which] < best
    best[better] = cost[rows, which][better]
    stopped[better] = paths[(rows * live + which)[better]]
