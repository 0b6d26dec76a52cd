"""The choice of codes: the least distortion + lam x bits, greedily or with several hypotheses a row.

A row may stop after any stage. The search follows its best paths to the last stage, remembers at each stage
what stopping there would have cost, and takes the cheapest of all.

References
----------
P. A. Chou, T. Lookabaugh, R. M. Gray (1989), "Entropy-constrained vector quantization",
doi:10.1109/29.17498. Beam search over stages: A. Babenko, V. Lempitsky (2014), "Additive Quantization for
Extreme Vector Compression", doi:10.1109/CVPR.2014.124.
"""

import numpy as np

from emolib.codebook.entropy import EntropyModel, Symbols
from emolib.codebook.training import CHUNK, Array


def choose(rows: Array, codes: Array, model: EntropyModel | None, lam: float, beam: int = 1) -> Symbols:
    """Choose the codes of independent rows, (N, Q); K from the stage on at which a row stops.

    Parameters
    ----------
    rows : float32 array, (N, D), centred
    codes : float32 array, (Q, K, D)
    model : EntropyModel, optional
        Of independent rows, or of rows in sequence, which are then chosen one after another. Without one,
        or with a lam of 0, distortion alone counts and no row stops.
    lam : float
        Squared distance that a bit is worth.
    beam : int
        Hypotheses kept a row.
    """
    if model is not None and model.rows is not None and lam > 0:
        return _choose_in_turn(rows, codes, model, lam, beam)
    size = max(1, CHUNK // beam)
    parts = [
        _choose_chunk(rows[start : start + size], codes, model, lam, beam, None)
        for start in range(0, len(rows), size)
    ]
    return np.concatenate(parts) if parts else np.empty((0, len(codes)), dtype=np.int64)


def _choose_in_turn(rows: Array, codes: Array, model: EntropyModel, lam: float, beam: int) -> Symbols:
    above = np.full((1, len(codes)), codes.shape[1])
    chosen = []
    for i in range(len(rows)):
        above = _choose_chunk(rows[i : i + 1], codes, model, lam, beam, above)
        chosen.append(above)
    return np.concatenate(chosen)


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
        if model is not None and lam > 0:
            before = paths[:, q - 1] if q else np.full(len(paths), n_codes)
            lengths = lam * model.bits(q, before, None if above is None else above[:, q].repeat(len(before)))
            _stop(error + rate + lengths[:, -1], paths, live, best, stopped)
            scores += lengths[:, :-1]
        kept = min(beam, live * n_codes)
        parent, symbol = _cheapest(scores.reshape(n, live * n_codes), kept, n_codes, live)
        cost = scores[parent, symbol]
        residual = residual[parent] - codes[q][symbol]
        error = np.einsum("nd,nd->n", residual, residual)
        rate = cost - error if model is not None and lam > 0 else np.zeros(len(cost), dtype=np.float32)
        paths, live = paths[parent], kept
        paths[:, q] = symbol
    _stop(error + rate, paths, live, best, stopped)
    return stopped


def _cheapest(scores: Array, kept: int, n_codes: int, live: int) -> tuple[Symbols, Symbols]:
    """Return parents, as flat numbers, and symbols of the `kept` cheapest continuations of each row."""
    if kept == 1:
        found = scores.argmin(axis=1)[:, None]
    else:
        found = np.argpartition(scores, kept - 1, axis=1)[:, :kept]
    parent = np.arange(len(scores))[:, None] * live + found // n_codes
    return parent.ravel(), (found % n_codes).ravel()


def _stop(cost: Array, paths: Symbols, live: int, best: Array, stopped: Symbols) -> None:
    """Where stopping now is the cheapest end so far, remember it: `best` and `stopped` change in place."""
    cost = cost.reshape(-1, live)
    which = cost.argmin(axis=1)
    rows = np.arange(len(cost))
    better = cost[rows, which] < best
    best[better] = cost[rows, which][better]
    stopped[better] = paths[(rows * live + which)[better]]
