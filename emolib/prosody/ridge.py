"""Ridge regression whose penalty is what serves speakers that it hasn't heard.

Fourth stage of `emolib.prosody`. One matrix of products a speaker is kept, so that leaving each of them out
in turn, for each penalty, costs one small solution and no second look at the data.

References
----------
A. E. Hoerl, R. W. Kennard (1970), "Ridge regression: Biased estimation for nonorthogonal problems",
Technometrics 12(1), doi:10.1080/00401706.1970.10488634.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Penalties tried, relative to the number of rows; the last one leaves little but the mean.
PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 30.0)


class Linear(NamedTuple):
    """A linear map from P inputs to R outputs: ``X @ weights + offset``.

    Attributes
    ----------
    weights : float64 array, (P, R)
    offset : float64 array, (R,)
    """

    weights: Array
    offset: Array

    def __call__(self, inputs: Array) -> Array:
        """Map inputs, (..., P), to outputs, (..., R)."""
        return inputs @ self.weights + self.offset


def fit(rows: Mapping[str, tuple[Array, Array, Array]]) -> Linear:
    """Fit outputs to inputs with, for each output, the penalty that is best for a speaker left out.

    Parameters
    ----------
    rows : mapping from speaker to (inputs (N, P), outputs (N, R), weights (N, R))
        A row's weight may differ between outputs: a frame without a voice says nothing about pitch. Every
        speaker counts alike.

    Returns
    -------
    map : Linear; in the inputs' own units, so that maps of equal inputs may be averaged

    Raises
    ------
    ValueError
        If there are no rows.

    Notes
    -----
    With one speaker there is nobody to leave out and the strongest penalty but one is taken.
    """
    if not rows or not all(len(inputs) for inputs, _, _ in rows.values()):
        raise ValueError("no rows to fit; expected at least one for every speaker")
    inputs = np.vstack([x for x, _, _ in rows.values()])
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale < 1e-9] = 1.0
    grams = [_products((x - mean) / scale, y, w) for x, y, w in rows.values()]
    weights = np.stack([_fit_output(output) for output in zip(*grams, strict=True)], axis=1)
    return Linear(weights[1:] / scale[:, None], weights[0] - (mean / scale) @ weights[1:])


def _fit_output(grams: Sequence[Array]) -> Array:
    """Return intercept and weights, (1 + P,), of one output from the speakers' products."""
    known = [gram for gram in grams if gram[0, 0] > 0]
    if not known:
        return np.zeros(len(grams[0]) - 1)
    total = np.sum(known, axis=0)
    if len(known) == 1:
        return _solve(total[None], PENALTIES[-2:-1])[0, 0]
    errors = _errors(np.stack(known), _solve(total - np.stack(known), PENALTIES))
    best = _strongest_among_the_best(errors)
    return _solve(total[None], PENALTIES[best : best + 1])[0, 0]


def _strongest_among_the_best(errors: Array) -> int:
    """Return the last column of errors by speaker, (S, A), within one standard error of the best one."""
    excess = errors - errors[:, [errors.mean(axis=0).argmin()]]
    spread = excess.std(axis=0, ddof=1) / np.sqrt(len(errors))
    return int(np.flatnonzero(excess.mean(axis=0) <= spread)[-1])


def _products(inputs: Array, outputs: Array, weights: Array) -> list[Array]:
    """Return for each output the mean products of (1, inputs, output), (P + 2, P + 2), of one speaker."""
    table = np.column_stack([np.ones(len(inputs)), inputs])
    made: list[Array] = []
    previous = None
    for output, weight in zip(outputs.T, weights.T, strict=True):
        if previous is None or not np.array_equal(weight, previous):  # equal weights share most of the work
            weighted = table * (weight / max(weight.sum(), 1e-12))[:, None]
            square, previous = weighted.T @ table, weight
        cross, power = weighted.T @ output, weighted[:, 0] @ np.square(output)
        made.append(np.block([[square, cross[:, None]], [cross[None], np.array([[power]])]]))
    return made


def _solve(grams: Array, penalties: Sequence[float]) -> Array:
    """Return ridge weights, (S, A, 1 + P), of S products at A penalties; the first, intercept, is free."""
    width = grams.shape[1] - 1
    penalised = np.diag([0.0, *np.ones(width - 1)])
    strength = np.asarray(penalties) * grams[:, :1, 0]
    left = grams[:, None, :-1, :-1] + strength[:, :, None, None] * penalised
    right = np.broadcast_to(grams[:, None, :-1, -1:], (*left.shape[:3], 1))
    return np.asarray(np.linalg.solve(left, right)[..., 0], np.float64)


def _errors(grams: Array, weights: Array) -> Array:
    """Return each speaker's mean squared error, (S, A), by weights, (S, A, 1 + P), from the products."""
    signed = np.concatenate([weights, np.full((*weights.shape[:2], 1), -1.0)], axis=2)
    return ((signed @ grams) * signed).sum(axis=2)
