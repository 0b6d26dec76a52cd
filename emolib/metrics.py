"""The numbers that claims are made of: recall averages, agreement, and their intervals over speakers.

References
----------
UA and WA as in B. Schuller et al. (2009), "The INTERSPEECH 2009 Emotion Challenge". The interval is the
percentile bootstrap of B. Efron (1979), doi:10.1214/aos/1176344552, over speakers: clips of one speaker are
not independent.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, f1_score

Metric = Callable[[NDArray, NDArray], float]


class Interval(NamedTuple):
    """An estimate and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def unweighted_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return UA: the mean over the true classes of their recall; a constant answer scores 1 / C."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"{y_true.shape} true values and {y_pred.shape} predictions; expected equal shapes")
    classes, codes = np.unique(y_true, return_inverse=True)
    hits = np.bincount(codes, weights=y_true == y_pred, minlength=len(classes))
    return float(np.mean(hits / np.bincount(codes, minlength=len(classes))))


def weighted_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return WA: the share of clips that are right."""
    return float(accuracy_score(y_true, y_pred))


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over the true classes of their F1 score."""
    return float(
        f1_score(y_true, y_pred, labels=np.unique(np.asarray(y_true)), average="macro", zero_division=0)
    )


def speaker_bootstrap(
    metric: Metric,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    speakers: Sequence[str] | NDArray,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a metric with its percentile interval from a bootstrap over speakers.

    Parameters
    ----------
    metric : callable of (y_true, y_pred)
    y_true, y_pred : array-likes, (N,) or (N, ...)
    speakers : array-like, (N,)
        Whole speakers are drawn with replacement; all clips of one go together.
    n_resamples : int
    confidence : float in (0, 1)
    seed : int

    Returns
    -------
    interval : Interval; with a single speaker both ends are NaN, since nothing is known about another

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to judge.
    """
    y_true, y_pred, speakers = np.asarray(y_true), np.asarray(y_pred), np.asarray(speakers)
    if not len(y_true) == len(y_pred) == len(speakers) > 0:
        raise ValueError(
            f"{len(y_true)} true values, {len(y_pred)} predictions, {len(speakers)} speakers; expected equal "
            f"numbers, at least one"
        )
    _, places, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    clips = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    value = float(metric(y_true, y_pred))
    if len(clips) < 2:
        return Interval(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    resampled = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = np.concatenate([clips[j] for j in rng.integers(len(clips), size=len(clips))])
        resampled[i] = metric(y_true[drawn], y_pred[drawn])
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def eta_squared(values: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of the variance of values, (N,), between the classes of labels, (N,): 0 to 1.

    References
    ----------
    R. A. Fisher (1925), "Statistical Methods for Research Workers": the correlation ratio.
    """
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    total = np.square(values - values.mean()).sum()
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes, minlength=len(classes))
    means = np.bincount(codes, weights=values, minlength=len(classes)) / counts
    between = (counts * np.square(means - values.mean())).sum()
    return float(between / total) if total > 0 else 0.0


def ccc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the concordance correlation coefficient, -1 to 1: agreement in order, level and spread.

    Parameters
    ----------
    y_true, y_pred : array-likes, (N,)

    Returns
    -------
    ccc : float; NaN where neither varies and both are equal, for nothing can then be told

    Raises
    ------
    ValueError
        If the shapes differ or are not (N,), there is nothing to judge, or a value is not finite.

    Notes
    -----
    2 cov(a, b) / (var(a) + var(b) + (mean(a) - mean(b))^2), with the population's moments. A constant answer
    scores 0.

    References
    ----------
    L. I.-K. Lin (1989), "A Concordance Correlation Coefficient to Evaluate Reproducibility",
    doi:10.2307/2532051.
    """
    a, b = np.asarray(y_true, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"values of shapes {a.shape} and {b.shape}; expected two of one shape (N,), N at least 1"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values that are not finite; leave out clips without ratings")
    covariance = np.mean((a - a.mean()) * (b - b.mean()))
    spread = a.var() + b.var() + np.square(a.mean() - b.mean())
    return float(2 * covariance / spread) if spread > 0 else float("nan")
