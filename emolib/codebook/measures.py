"""What a change of embeddings does to each emotion: similarity, margin, and drift by its parts.

All measures are numbers of single clips, so that `metrics.speaker_bootstrap` can draw speakers. Rows are
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
from emolib.metrics import Interval, speaker_bootstrap


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


def mean_by_class(values: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over the classes of their means of values, (N,); NaN values are left out."""
    values, y = np.asarray(values, dtype=np.float64), np.asarray(labels)
    known = np.isfinite(values)
    names, codes = np.unique(y[known], return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    return float((np.bincount(codes, weights=values[known], minlength=len(names)) / counts).mean())


def lead(toward: NDArray, labels: NDArray, classes: Sequence[str], target: str = "neutral") -> float:
    """Return by how much the drift to `target` exceeds that to the class that draws most among the others.

    Each class's pull is the mean over the source classes (without itself and `target`) of their mean drift
    to it, so that all pulls are over nearly the same clips.
    """
    at = list(classes).index(target)
    sums = np.zeros((len(classes), len(classes)))
    for c, name in enumerate(classes):
        rows = labels == name
        sums[c] = toward[rows].mean(axis=0) if rows.any() and c != at else np.nan
    pulls = np.nanmean(sums[~np.isnan(sums).all(axis=1)], axis=0)
    return float(pulls[at] - np.delete(pulls, at).max())


def lead_interval(
    toward: NDArray, labels: NDArray, speakers: NDArray, classes: Sequence[str], *, target: str = "neutral",
    n_resamples: int = 500,
) -> Interval:  # fmt: skip
    """Return `lead` with its interval from a bootstrap over speakers."""

    def metric(values: NDArray, names: NDArray) -> float:
        return lead(values, names, classes, target)

    return speaker_bootstrap(metric, toward, labels, speakers, n_resamples=n_resamples)


def class_interval(
    values: ArrayLike, labels: ArrayLike, speakers: ArrayLike, *, n_resamples: int = 500
) -> Interval:
    """Return `mean_by_class` with its interval from a bootstrap over speakers."""
    return speaker_bootstrap(
        mean_by_class, np.asarray(values), np.asarray(labels), np.asarray(speakers), n_resamples=n_resamples
    )
