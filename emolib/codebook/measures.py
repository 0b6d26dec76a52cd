"""What a change of embeddings does to each emotion: similarity, margin, and drift by its parts.

All measures are numbers of single clips, so that intervals can be over speakers. Rows are
centred: their origin is the training clips' mean.

Notes
-----
Of a clip of class c that moved by d, with m the classes' centroids and g the mean of those centroids:

- shrinking is d . (g - m_c) / |g - m_c|^2: 1 where the class has lost all that sets it apart;
- drift to class k is d . (m_k - m_c) / |m_k - m_c|^2: 1 where the class has arrived there;
- drift beyond shrinking is the same of what is left of d once its part along g - m_c is taken away. A class
  that merely fades comes nearer to every other one, so this is the fairer number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from emolib import emotions
from emolib.metrics import Interval, draws, percentile_interval


@dataclass(frozen=True)
class Drift:
    """Where clips moved to.

    Attributes
    ----------
    classes : list of str, C
    shrinking : float array, (N,)
    toward : float array, (N, C); NaN towards the clip's own class
    beyond : float array, (N, C); the same without what shrinking explains
    """

    classes: list[str]
    shrinking: NDArray[np.float64]
    toward: NDArray[np.float64]
    beyond: NDArray[np.float64]


def class_centroids(X: ArrayLike, labels: ArrayLike) -> pd.DataFrame:
    """Return the mean of each emotion's rows, (C, D), in the order of `emotions.ordered`."""
    X, y = np.asarray(X, dtype=np.float64), np.asarray(labels)
    names = emotions.ordered(y.tolist())
    return pd.DataFrame(np.stack([X[y == name].mean(axis=0) for name in names]), index=names)


def similarity(X: ArrayLike, X_hat: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine between each row and what became of it, (N,); 0 where nothing is left of a row."""
    X, X_hat = np.asarray(X, dtype=np.float64), np.asarray(X_hat, dtype=np.float64)
    lengths = np.linalg.norm(X, axis=1) * np.linalg.norm(X_hat, axis=1)
    cosines = np.einsum("nd,nd->n", X, X_hat) / np.where(lengths > 0, lengths, 1.0)
    cosines[(lengths == 0) & (X_hat == X).all(axis=1)] = 1.0
    return cosines


def distortion(X: ArrayLike, X_hat: ArrayLike) -> float:
    """Return the squared error as a share of the rows' squared length: 0 for a copy, 1 for nothing left.

    Frames come from a store in half precision, whose own rounding is some 1e-7 on this scale: distortions
    near that say nothing.
    """
    X, X_hat = np.asarray(X, dtype=np.float64), np.asarray(X_hat, dtype=np.float64)
    total = np.square(X).sum()
    return float(np.square(X - X_hat).sum() / total) if total > 0 else 0.0


def change(X: ArrayLike, X_hat: ArrayLike, origin: ArrayLike) -> dict[str, float]:
    """Return what coding did to rows as seen from an origin: mean similarity, distortion and shrinking.

    Parameters
    ----------
    X, X_hat : array-likes, (N, D); before and after
    origin : array-like, (D,); the training rows' mean, without which every cosine is near 1
    """
    before, after = (np.asarray(rows, dtype=np.float64) - np.asarray(origin) for rows in (X, X_hat))
    length = np.linalg.norm(before)
    return {
        "similarity": float(similarity(before, after).mean()),
        "distortion": distortion(before, after),
        "shrinking": float(1 - np.linalg.norm(after) / length) if length > 0 else 0.0,
    }


def margins(scores: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return by how much the true class's score exceeds the best other one's, (N,); scores (N, C)."""
    scores, y = np.array(scores, dtype=np.float64), np.asarray(labels)
    own = np.array([list(classes).index(name) for name in y])
    rows = np.arange(len(y))
    true = scores[rows, own].copy()
    scores[rows, own] = -np.inf
    return true - scores.max(axis=1)


def drift(X: ArrayLike, X_hat: ArrayLike, labels: ArrayLike, centroids: pd.DataFrame) -> Drift:
    """Decompose how clips moved.

    Parameters
    ----------
    X, X_hat : array-likes, (N, D); before and after
    labels : array-like of emotions, (N,)
    centroids : DataFrame, (C, D); `class_centroids` of training clips before

    Raises
    ------
    ValueError
        If a label has no centroid, or a centroid is the mean of all.
    """
    moved = np.asarray(X_hat, dtype=np.float64) - np.asarray(X, dtype=np.float64)
    y, classes, means = np.asarray(labels), [str(name) for name in centroids.index], centroids.to_numpy()
    if unknown := sorted(set(y.tolist()) - set(classes)):
        raise ValueError(
            f"no centroid of {', '.join(map(str, unknown))}; expected those of {', '.join(classes)}"
        )
    shrinking, toward, beyond = np.empty(len(y)), *(np.full((len(y), len(classes)), np.nan) for _ in range(2))
    for c, name in enumerate(classes):
        rows, others = np.flatnonzero(y == name), np.delete(np.arange(len(classes)), c)
        inward = means.mean(axis=0) - means[c]
        if (square := inward @ inward) < 1e-24:
            raise ValueError(
                f"the centroid of {name} is the mean of all: it can't shrink; give two classes or more"
            )
        shrinking[rows] = moved[rows] @ inward / square
        ways = means[others] - means[c]
        ways = ways / np.square(ways).sum(axis=1, keepdims=True)
        toward[np.ix_(rows, others)] = moved[rows] @ ways.T
        sideways = moved[rows] - np.outer(shrinking[rows], inward)
        beyond[np.ix_(rows, others)] = sideways @ ways.T
    return Drift(classes, shrinking, toward, beyond)


def leads(toward: ArrayLike, labels: ArrayLike, classes: Sequence[str], target: str = "neutral") -> pd.Series:
    """Return by how much the drift to `target` exceeds that to each other class, (C - 1,).

    Each class's pull is the mean over the source classes (without itself and `target`) of their mean drift
    to it, so that all pulls are over nearly the same clips.
    """
    y = np.asarray(labels)
    return pd.Series(_leads(toward, y, np.zeros(len(y)), classes, target)[0], _rivals(classes, target))


def lead_interval(
    toward: ArrayLike, labels: ArrayLike, speakers: ArrayLike, classes: Sequence[str], target: str = "neutral"
) -> Interval:
    """Return the smallest of `leads`, and the smallest ends of their intervals over speakers.

    Notes
    -----
    The class that draws most among the others isn't chosen on the judged clips: each of them is compared, and
    the claim that `target` draws more than all is made where every interval lies above 0, which is where
    low is above 0. This needs no correction for the number of classes (the intersection-union test of R. L.
    Berger 1982, doi:10.1080/00401706.1982.10487790). Where several classes draw alike, the smallest lead is
    too low on average, so the claim is made too seldom rather than too often.
    """
    return _smallest(_leads(toward, np.asarray(labels), speakers, classes, target), speakers)


def advantage_interval(values: ArrayLike, labels: ArrayLike, speakers: ArrayLike, label: str) -> Interval:
    """Return one class's mean of values, (N,), minus the largest other one, as `lead_interval`."""
    names, means = np.unique(labels), class_means(values, labels, speakers)[..., 0]
    own = names == label
    return _smallest(means[:, own] - means[:, ~own], speakers)


def class_interval(values: ArrayLike, labels: ArrayLike, speakers: ArrayLike) -> Interval:
    """Return the mean over classes of their means of values, (N,), with its interval over speakers.

    NaN values are left out.
    """
    return interval(np.nanmean(class_means(values, labels, speakers)[..., 0], axis=1), speakers)


def class_means(values: ArrayLike, labels: ArrayLike, speakers: ArrayLike) -> NDArray[np.float64]:
    """Return each class's mean of values, (N,) or (N, K): of all clips, then of R resamples, (1 + R, C, K).

    NaN values are left out, and a class without any is NaN.
    """
    classes, people = (np.unique(names, return_inverse=True)[1] for names in (labels, speakers))
    columns = np.asarray(values, dtype=np.float64).reshape(len(classes), -1)
    known = np.isfinite(columns)
    sums = np.zeros((people.max() + 1, classes.max() + 1, columns.shape[1]))
    counts = np.zeros(sums.shape)
    np.add.at(sums, (people, classes), np.where(known, columns, 0))
    np.add.at(counts, (people, classes), known)
    times = np.vstack([np.ones(len(sums), int), draws(len(sums))])
    with np.errstate(invalid="ignore"):
        return np.tensordot(times, sums, 1) / np.tensordot(times, counts, 1)


def interval(numbers: NDArray[np.float64], speakers: ArrayLike) -> Interval:
    """Return the Interval of a number of all clips and then of R resamples, (1 + R,)."""
    return percentile_interval(float(numbers[0]), numbers[1:], len(np.unique(speakers)))


def _smallest(gaps: NDArray[np.float64], speakers: ArrayLike) -> Interval:
    """Return the smallest value, low and high of several gaps, (1 + R, G)."""
    return Interval(*map(float, np.min([interval(gap, speakers) for gap in gaps.T], axis=0)))


def _leads(
    toward: ArrayLike, labels: NDArray, speakers: ArrayLike, classes: Sequence[str], target: str
) -> NDArray[np.float64]:
    """Return `leads` of all clips and of each resample, (1 + R, C - 1)."""
    at, sources = list(classes).index(target), labels != target
    means = class_means(np.asarray(toward)[sources], labels[sources], np.asarray(speakers)[sources])
    pulls = np.nanmean(means, axis=1)
    return pulls[:, [at]] - np.delete(pulls, at, axis=1)


def _rivals(classes: Sequence[str], target: str) -> list[str]:
    return [name for name in classes if name != target]
