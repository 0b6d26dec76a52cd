"""The numbers that claims are made of: recall averages, agreement, and their intervals over speakers.

References
----------
UA and WA as in B. Schuller et al. (2009), "The INTERSPEECH 2009 Emotion Challenge". The interval is the
percentile bootstrap of B. Efron (1979), doi:10.1214/aos/1176344552, over speakers: clips of one speaker are
not independent. Its levels are expanded as in T. Hesterberg (2015), "What Teachers Should Know About the
Bootstrap", doi:10.1080/00031305.2015.1089789, because a plain percentile interval of few speakers is too
narrow. It says how much a number would change with other speakers. It doesn't contain the variance of
training: the seed is one, and the training sets of different folds overlap.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

Metric = Callable[[NDArray, NDArray], float]

#: With fewer speakers than this, there is no interval: its coverage would be far below the nominal one.
MIN_SPEAKERS = 5
#: The resamples of every bootstrap.
N_RESAMPLES = 1000


class Interval(NamedTuple):
    """An estimate and its interval; both ends are NaN where there are too few speakers for one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return format(self)

    def __format__(self, spec: str) -> str:
        """Return the three numbers, each in a format such as ``+.2f``; by default ``.3f``."""
        value, low, high = (format(number, spec or ".3f") for number in self)
        if np.isnan(self.value):
            return "nan"
        if np.isnan(self.low):
            return f"{value} (no interval: fewer than {MIN_SPEAKERS} speakers)"
        return f"{value} [{low}, {high}]"


def unweighted_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return UA: the mean over the true classes of their recall; a constant answer scores 1 / C."""
    y_true, y_pred = _of_equal_length(y_true, y_pred)
    _, codes = np.unique(y_true, return_inverse=True)
    return float(np.mean(np.bincount(codes, weights=y_true == y_pred) / np.bincount(codes)))


def weighted_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return WA: the share of clips that are right."""
    return float(accuracy_score(y_true, y_pred))


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over the true classes of their F1 score."""
    return float(
        f1_score(y_true, y_pred, labels=np.unique(np.asarray(y_true)), average="macro", zero_division=0)
    )


def speaker_bootstrap(
    metric: Metric, y_true: ArrayLike, y_pred: ArrayLike, speakers: ArrayLike, *, seed: int = 0
) -> Interval:
    """Return a metric with its interval from a bootstrap over speakers.

    Parameters
    ----------
    metric : callable of (y_true, y_pred)
        Resamples where it is NaN are left out.
    y_true, y_pred : array-likes, (N,) or (N, ...)
    speakers : array-like, (N,)
        Whole speakers are drawn with replacement; all clips of one go together.
    seed : int

    Returns
    -------
    interval : Interval; both ends are NaN with fewer than `MIN_SPEAKERS` speakers

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to judge.
    """
    y_true, y_pred, speakers = _of_equal_length(y_true, y_pred, speakers)
    names, codes = np.unique(speakers, return_inverse=True)
    value = float(metric(y_true, y_pred))
    if len(names) < MIN_SPEAKERS:
        return percentile_interval(value, [], len(names))
    clips = (np.repeat(np.arange(len(codes)), times[codes]) for times in draws(len(names), seed))
    resampled = [metric(y_true[drawn], y_pred[drawn]) for drawn in clips]
    return percentile_interval(value, resampled, len(names))


def _of_equal_length(*columns: ArrayLike) -> list[NDArray]:
    """Return what is said of the same clips as arrays, all of one length, which isn't 0."""
    arrays = [np.asarray(column) for column in columns]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise ValueError(f"columns of {lengths} clips; expected equal numbers, at least one")
    return arrays


def ua_interval(
    y_true: ArrayLike, y_pred: ArrayLike, speakers: ArrayLike, *, over: ArrayLike | None = None
) -> Interval:
    """Return UA with its interval from a bootstrap over speakers.

    It equals `speaker_bootstrap` with `unweighted_accuracy` as the metric. It is fast, because a resample
    only needs each speaker's hits and clips by class.

    Parameters
    ----------
    y_true, y_pred, speakers : array-likes, (N,)
    over : array-like, (N,), optional
        Other predictions of the same clips, whose UA is taken away: the interval is that of the lead.
    """
    y_true, speakers, *answers = _of_equal_length(y_true, speakers, y_pred, *([] if over is None else [over]))
    names, codes = np.unique(speakers, return_inverse=True)
    classes, own = np.unique(y_true, return_inverse=True)
    shape, cells = (len(names), len(classes)), codes * len(classes) + own
    times = np.vstack([np.ones(len(names), np.int64), draws(len(names))])  # all of them, then resamples
    clips = times @ np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    uas = []
    for one in answers:
        hits = np.bincount(cells, weights=one == y_true, minlength=shape[0] * shape[1]).reshape(shape)
        recall = np.divide(times @ hits, clips, out=np.full(clips.shape, np.nan), where=clips > 0)
        uas.append(np.nanmean(recall, axis=1))
    value, *resampled = uas[0] - (0 if over is None else uas[1])
    return percentile_interval(float(value), resampled, len(names))


def mean_interval(values: ArrayLike, speakers: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the mean of one value per clip, (N,), with its interval from a bootstrap over speakers.

    It equals `speaker_bootstrap` with the mean as the metric. It is fast, because a resample only needs each
    speaker's sum and number of clips.
    """
    values, speakers = _of_equal_length(np.asarray(values, dtype=np.float64), speakers)
    names, codes = np.unique(speakers, return_inverse=True)
    sums, counts = np.bincount(codes, weights=values), np.bincount(codes)
    times = draws(len(names), seed)
    resampled = (times @ sums) / (times @ counts)
    return percentile_interval(float(values.mean()), resampled, len(names))


def difference_interval(a: ArrayLike, b: ArrayLike, speakers: ArrayLike) -> Interval:
    """Return the mean of a - b, both of the same clips, (N,), with its interval over speakers."""
    a, b = _of_equal_length(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return mean_interval(a - b, speakers)


def draws(n_speakers: int, seed: int | np.random.Generator = 0) -> NDArray[np.int64]:
    """Return how often each of S speakers is drawn in each of R = `N_RESAMPLES` resamples, (R, S)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=N_RESAMPLES)


def percentile_interval(value: float, resampled: ArrayLike, n_speakers: int) -> Interval:
    """Return an estimate with the expanded percentiles of its resamples, (R,); NaN among them are left out.

    Notes
    -----
    Each tail holds Phi(-sqrt(n / (n - 1)) t), with t the 97.5 % quantile of Student's distribution of n - 1
    degrees of freedom: for n = 8 speakers 0.6 % instead of 2.5 %.
    """
    resampled = np.asarray(resampled, dtype=np.float64)
    if n_speakers < MIN_SPEAKERS or np.isnan(resampled).all():
        return Interval(value, float("nan"), float("nan"))
    t = stats.t.ppf(0.975, n_speakers - 1)
    tail = stats.norm.cdf(-np.sqrt(n_speakers / (n_speakers - 1)) * t)
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def eta_squared(values: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of the variance of values, (N,), between the classes of labels, (N,): 0 to 1.

    References
    ----------
    R. A. Fisher (1925), "Statistical Methods for Research Workers": the correlation ratio.
    """
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    total = np.square(values - values.mean()).sum()
    _, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=values) / counts
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
        If the lengths differ, there is nothing to judge, or a value is not finite.

    Notes
    -----
    2 cov(a, b) / (var(a) + var(b) + (mean(a) - mean(b))^2), with the population's moments. A constant answer
    scores 0.

    References
    ----------
    L. I.-K. Lin (1989), "A Concordance Correlation Coefficient to Evaluate Reproducibility",
    doi:10.2307/2532051.
    """
    a, b = _of_equal_length(np.asarray(y_true, dtype=np.float64), np.asarray(y_pred, dtype=np.float64))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values that are not finite; leave out clips without ratings")
    covariance = np.mean((a - a.mean()) * (b - b.mean()))
    spread = a.var() + b.var() + np.square(a.mean() - b.mean())
    return float(2 * covariance / spread) if spread > 0 else float("nan")


class Agreement(NamedTuple):
    """How far raters of the same clips agree.

    Attributes
    ----------
    alpha : float; Krippendorff's, 1 for full agreement, 0 for that of chance
    pairwise : float; the mean over clips of the share of pairs of raters who said the same
    raters : float; how many rated a clip, on average
    """

    alpha: float
    pairwise: float
    raters: float


def agreement(votes: ArrayLike) -> Agreement:
    """Return how far raters agree, who may be as many as they like for each clip.

    Parameters
    ----------
    votes : array-like, (N, C); how many raters chose each class; clips of fewer than two are left out

    Raises
    ------
    ValueError
        If the votes are not whole numbers from 0, or no clip has two.

    Notes
    -----
    With n_ic votes for class c on clip i, n_i on the clip, n_c for the class and n in all, alpha is
    1 - D_o / D_e, where D_o = sum_i (n_i^2 - sum_c n_ic^2) / (n_i - 1) / n and
    D_e = (n^2 - sum_c n_c^2) / (n (n - 1)). It is NaN where all raters chose one class.

    References
    ----------
    K. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", University of Pennsylvania.
    """
    counts = np.asarray(votes, dtype=np.float64)
    if counts.ndim != 2 or (counts < 0).any() or (counts != np.rint(counts)).any():
        raise ValueError("votes that are not counts; expected whole numbers from 0, (N, C)")
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise ValueError("no clip has two raters; agreement needs two or more")
    n_each, n = counts.sum(axis=1), counts.sum()
    unequal = n_each**2 - np.square(counts).sum(axis=1)  # ordered pairs of raters who differ
    observed = (unequal / (n_each - 1)).sum() / n
    expected = (n**2 - np.square(counts.sum(axis=0)).sum()) / (n * (n - 1))
    pairwise = 1 - (unequal / (n_each * (n_each - 1))).mean()
    alpha = 1 - observed / expected if expected > 0 else np.nan
    return Agreement(float(alpha), float(pairwise), float(n_each.mean()))
