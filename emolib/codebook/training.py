"""Training of residual codebooks and of their entropy models, and the search for codes.

Codebooks: k-means first, then moving averages over batches, then no code left idle; each stage learns what
the stages before it left over. Entropy models: one for each rate, trained on the codes that the rate below
chose. The search takes the codes of least distortion + lam x bits, stage by stage. A row may stop after any
stage: the search goes on to the last stage, remembers at each stage what stopping there would have cost, and
takes the cheapest end of all.

All arrays here are centred rows, float32.

References
----------
Residual quantization: Y. Chen, T. Guan, C. Wang (2010), "Approximate Nearest Neighbor Search by Residual
Vector Quantization", doi:10.3390/s101211259. Moving averages: A. van den Oord, O. Vinyals, K. Kavukcuoglu
(2017), "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1. Replacement of idle codes:
N. Zeghidour et al. (2021), "SoundStream", arXiv:2107.03312. Rates: P. A. Chou, T. Lookabaugh, R. M. Gray
(1989), "Entropy-constrained vector quantization", doi:10.1109/29.17498.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from emolib.codebook.coding import EntropyModel, Symbols, fit_model

Array = NDArray[np.float32]

#: Shares of the variance that a bit is worth, for which entropy models are kept, rising from 0.
RATES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
#: Iterations of k-means at each stage, and passes of moving averages over all stages together after it.
N_ITER, N_EPOCHS = 5, 12
#: Rows whose distances to all codes are held at once: the table should stay in the processor's cache.
CHUNK = 2048
#: Rows a step of moving averages, and the share of an average that a step keeps.
BATCH, DECAY = 1024, 0.8
#: A code whose moving count falls below this share of an even count is idle.
IDLE = 0.02
#: Times that idle codes are moved at each stage in the end.
N_ROUNDS = 10


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


def train_stages(rows: Array, n_stages: int, n_codes: int, seed: int) -> Array:
    """Train the codebooks of all stages, (Q, K, D), on rows (N, D), N of at least K."""
    rng = np.random.default_rng(seed)
    residual, stages = rows.copy(), []
    for _ in range(n_stages):
        stages.append(_cluster(residual, n_codes, rng))
        residual -= stages[-1][nearest(residual, stages[-1])]
    codes = np.stack(stages)
    for epoch in range(N_EPOCHS):
        _average(rows, codes, rng, revive=epoch < N_EPOCHS - 1)
    return _fill_idle(rows, codes, rng)


def usage(symbols: NDArray, n_codes: int) -> NDArray[np.intp]:
    """Return how often each stage's codes are used, (Q, K); symbols (N, Q), -1 where a stage is unused."""
    return np.stack([np.bincount(column[column >= 0], minlength=n_codes) for column in symbols.T])


def _cluster(rows: Array, n_codes: int, rng: np.random.Generator) -> Array:
    """Return the centres of k-means, (K, D), begun at random rows: begun far apart, they sit on outliers."""
    codes = rows[rng.choice(len(rows), n_codes, replace=False)]
    for _ in range(N_ITER):
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


def _fill_idle(rows: Array, codes: Array, rng: np.random.Generator) -> Array:
    """Move each code to the mean of its rows, and idle ones into the fullest cells, stage after stage."""
    codes, residual = codes.copy(), rows.copy()
    for stage in codes:
        for _ in range(N_ROUNDS):
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


def train_models(rows: Array, codes: Array) -> list[EntropyModel]:
    """Return the entropy models, one for each of `RATES`; rows (N, D), codes (Q, K, D)."""
    n_codes = codes.shape[1]
    symbols = choose(rows, codes, None, 0.0)
    models = [fit_model(symbols, n_codes)]
    for lam in RATES[1:]:
        shares = FIRST_STOPS if lam >= MANY_STOPS_FROM else FIRST_STOPS[:1]
        tried = [_choose_again(rows, codes, symbols, lam, share) for share in shares]
        _, symbols, model = min(tried, key=lambda entry: entry[0])
        models.append(model)
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
    left = rows - add_up(codes, symbols)
    return float(np.square(left).sum() + lam * model.code_lengths(symbols).sum())


def add_up(codes: Array, symbols: NDArray) -> Array:
    """Return the sum of each row's codes, (N, D); symbols (N, Q), K or -1 from where a row stopped."""
    total = np.zeros((len(symbols), codes.shape[2]), dtype=np.float32)
    for stage, column in zip(codes, symbols.T, strict=True):
        total += np.vstack([stage, np.zeros_like(stage[:1])])[column]
    return total


def choose(rows: Array, codes: Array, model: EntropyModel | None, lam: float) -> Symbols:
    """Choose the codes of rows, (N, Q); K from the stage on at which a row stops.

    Parameters
    ----------
    rows : float32 array, (N, D), N of at least 1
    codes : float32 array, (Q, K, D)
    model : EntropyModel, optional
        Without one, or with a lam of 0, distortion alone counts and no row stops.
    lam : float
        Squared distance that a bit is worth.
    """
    model = model if lam else None
    starts = range(0, len(rows), CHUNK)
    return np.concatenate([_choose_chunk(rows[at : at + CHUNK], codes, model, lam) for at in starts])


def _choose_chunk(rows: Array, codes: Array, model: EntropyModel | None, lam: float) -> Symbols:
    n, (n_stages, n_codes) = len(rows), codes.shape[:2]
    squares = np.einsum("qkd,qkd->qk", codes, codes)
    symbols = np.full((n, 1 + n_stages), n_codes)  # K is the context of the first stage
    residual, error = rows, np.einsum("nd,nd->n", rows, rows)
    rate = np.zeros(n, dtype=np.float32)
    ends = np.full((n, 1 + n_stages), np.inf, dtype=np.float32)  # what stopping before each stage costs
    for q in range(n_stages):
        scores = residual @ codes[q].T
        scores *= -2
        scores += squares[q]
        scores += (error + rate)[:, None]
        if model is not None:
            lengths = lam * model.bits[q][symbols[:, q]]
            ends[:, q] = error + rate + lengths[:, -1]
            scores += lengths[:, :-1]
        symbol = symbols[:, q + 1] = scores.argmin(axis=1)
        residual = residual - codes[q][symbol]
        error = np.einsum("nd,nd->n", residual, residual)
        if model is not None:
            rate = scores[np.arange(n), symbol] - error
    ends[:, -1] = error + rate
    return np.where(np.arange(n_stages) < ends.argmin(axis=1)[:, None], symbols[:, 1:], n_codes)
