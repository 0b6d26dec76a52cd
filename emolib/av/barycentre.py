"""The reduction in closed form: a clip lies between the anchors, as near to each as its class is likely.

Second stage of `emolib.av`. A Gaussian of shrunken covariance, shared by all classes, gives each class's
probability p_k(x); a clip lies at

    z(x) = sum_k p_k(x) (a_k + w B (x - c_k)),

with a_k the anchor of class k, c_k its centroid, and B the linear map that best takes clips to anchors. The
first term pulls each class to its anchor; the second keeps a clip's place within its class. Shrinkage,
temperature of the probabilities and w are chosen on held-out clips, by the CCC of z with the anchor of the
clip's own class: categories decide, no rating does.

References
----------
Discriminant analysis: R. A. Fisher (1936), doi:10.1111/j.1469-1809.1936.tb02137.x. Shrinkage: J. H. Friedman
(1989), "Regularized Discriminant Analysis", doi:10.1080/01621459.1989.10478752. Temperature: C. Guo et al.
(2017), "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

Array = NDArray[np.float64]

SHRINKAGES = (0.2, 0.4, 0.6, 0.8)
TEMPERATURES = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
#: Held-out anchors can't see what is inside a class, and would always do without it: it has a floor.
WITHINS = (0.25, 0.5, 0.75, 1.0)
#: Taken where no clip can be held out: every class has a single one.
UNTUNED = (0.6, 2.8, 0.25)
_FOLDS = 5


@dataclass(frozen=True)
class Barycentre:
    """The reduction, ready to place clips.

    Attributes
    ----------
    mean, scale : (D,); of the training features, which are standardised
    weight, bias : (D, C) and (C,); of the classes' log-likelihoods
    residual : (D, 2); w B
    offset : (C, 2); what a clip at the probability of class k adds: a_k - w B c_k
    temperature : float
    """

    mean: Array
    scale: Array
    weight: Array
    bias: Array
    residual: Array
    offset: Array
    temperature: float

    def __call__(self, X: Array) -> Array:
        """Place clips, (N, D), on the plane, (N, 2): each by itself."""
        X = (X - self.mean) / self.scale
        return softmax(X @ self.weight + self.bias, self.temperature) @ self.offset + X @ self.residual


@dataclass(frozen=True)
class Settings:
    """What is chosen on held-out clips, and the CCC that they reach there."""

    shrinkage: float
    temperature: float
    within: float
    score: float


@dataclass(frozen=True)
class _Moments:
    """Sums over clips, from which any union's centroids and covariance follow without a second look."""

    counts: Array  # (C,)
    sums: Array  # (C, D)
    products: Array  # (D, D); the upper half alone: it takes half the time, and is all that is needed

    @classmethod
    def of(cls, X: Array, codes: NDArray[np.intp], n_classes: int) -> "_Moments":
        member = np.eye(n_classes)[codes]
        return cls(member.sum(0), member.T @ X, dsyrk(1.0, X.T))

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(self.counts + other.counts, self.sums + other.sums, self.products + other.products)

    def __sub__(self, other: "_Moments") -> "_Moments":
        return _Moments(self.counts - other.counts, self.sums - other.sums, self.products - other.products)

    def centroids(self) -> Array:
        return self.sums / np.maximum(self.counts, 1)[:, None]

    def covariance(self) -> Array:
        """Return the covariance within classes, (D, D), whose upper half counts."""
        between = self.centroids().T @ self.sums
        return (self.products - between) / max(self.counts.sum(), 1)


@dataclass(frozen=True)
class _Held:
    """What a model without a fold says of the fold's clips: scores (n, C), and both terms of B."""

    rows: NDArray[np.intp]
    scores: Array
    linear: Array  # (n, 2); B x
    centres: Array  # (C, 2); B c_k


def fit(
    X: Array,
    codes: NDArray[np.intp],
    anchors: Array,
    folds: NDArray[np.intp] | None = None,
    fixed: tuple[float | None, float | None, float | None] = (None, None, None),
) -> tuple[Barycentre, Settings]:
    """Fit the reduction.

    Parameters
    ----------
    X : (N, D), finite
    codes : (N,); class numbers
    anchors : (C, 2)
    folds : (N,), optional; the fold that each clip is held out with, by `deal` in equal parts by default
    fixed : shrinkage, temperature and within-class weight; None is chosen on held-out clips

    Returns
    -------
    reduction : Barycentre
    settings : Settings
    """
    mean = X.mean(axis=0)
    X = X - mean
    scale = np.sqrt(np.einsum("nd,nd->d", X, X) / len(X))
    scale[scale <= 1e-12 * (1 + np.abs(mean))] = 1.0  # a feature that never changes
    X /= scale
    folds = deal(codes) if folds is None else folds
    parts = {f: _Moments.of(X[folds == f], codes[folds == f], len(anchors)) for f in np.unique(folds)}
    whole = sum(parts.values(), start=_Moments(np.zeros(len(anchors)), np.zeros(()), np.zeros(())))
    settings = _choose(X, codes, anchors, folds, parts, whole, fixed)
    centroids, [(_, weight, bias)] = _discriminants(whole, (settings.shrinkage,))
    linear = weight @ _to_anchors(centroids @ weight, anchors)
    offset = anchors - settings.within * centroids @ linear
    reduction = Barycentre(mean, scale, weight, bias, settings.within * linear, offset, settings.temperature)
    return reduction, settings


def deal(codes: NDArray[np.intp], groups: NDArray | None = None) -> NDArray[np.intp]:
    """Deal clips, (N,), into five folds: whole groups where they are given, else class by class.

    Groups go, the largest first, to the fold that holds the fewest clips.
    """
    folds = np.empty(len(codes), dtype=np.intp)
    if groups is None or len(np.unique(groups)) < 2:
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            folds[rows] = np.arange(len(rows)) % _FOLDS
        return folds
    names, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    filled = np.zeros(min(_FOLDS, len(names)))
    for name in np.argsort(-counts, kind="stable"):
        emptiest = int(filled.argmin())
        folds[members == name] = emptiest
        filled[emptiest] += counts[name]
    return folds


def softmax(scores: Array, temperature: float = 1.0) -> Array:
    """Turn log-likelihoods, (N, C), into probabilities at a temperature."""
    scores = scores / temperature
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def _discriminants(
    moments: _Moments, shrinkages: tuple[float, ...]
) -> tuple[Array, list[tuple[float, Array, Array]]]:
    """Return centroids, (C, D), and for each shrinkage the weights and biases of the log-likelihoods."""
    centroids, covariance = moments.centroids(), moments.covariance()
    diagonal = np.diag_indices(len(covariance))
    level = float(covariance[diagonal].mean())
    made = []
    for shrinkage in shrinkages:
        shrunken = (1 - shrinkage) * covariance
        shrunken[diagonal] += shrinkage * level + 1e-6
        weight = cho_solve(cho_factor(shrunken, overwrite_a=True, check_finite=False), centroids.T)
        bias = -0.5 * (centroids * weight.T).sum(axis=1)
        bias[moments.counts == 0] = -np.inf  # a class that is not there is never likely
        made.append((shrinkage, weight, bias))
    return centroids, made


def _to_anchors(scores: Array, anchors: Array) -> Array:
    """Return the least-squares map, (C, 2), from clips' scores to their anchors.

    `scores`, (C, C), are those of the centroids without the bias, c_j' S^-1 c_k; the same matrix is the
    scores' covariance within classes, so that classes which can't be told apart are not drawn apart.
    """
    centred = scores - scores.mean(0)
    covariance = centred.T @ centred / len(scores) + scores
    covariance[np.diag_indices(len(scores))] += 1e-9 * (1 + np.trace(covariance))
    return np.linalg.solve(covariance, centred.T @ (anchors - anchors.mean(0)) / len(scores))


def _choose(
    X: Array,
    codes: NDArray[np.intp],
    anchors: Array,
    folds: NDArray[np.intp],
    parts: dict[np.intp, _Moments],
    whole: _Moments,
    fixed: tuple[float | None, float | None, float | None],
) -> Settings:
    """Choose what is not fixed, by the CCC of held-out clips with their own classes' anchors."""
    grids = [
        choices if value is None else (value,)
        for value, choices in zip(fixed, (SHRINKAGES, TEMPERATURES, WITHINS), strict=True)
    ]
    untuned = [value if value is not None else start for value, start in zip(fixed, UNTUNED, strict=True)]
    best = Settings(untuned[0], untuned[1], untuned[2], score=np.nan)
    held: dict[float, list[_Held]] = {shrinkage: [] for shrinkage in grids[0]}
    for fold, part in parts.items():
        rest = whole - part
        rows = np.flatnonzero((folds == fold) & (rest.counts[codes] > 0))
        if len(rows) == 0 or (rest.counts > 0).sum() < 2:
            continue
        centroids, made = _discriminants(rest, grids[0])
        for shrinkage, weight, bias in made:
            held[shrinkage].append(_hold(X, rows, centroids, weight, bias, anchors))
    for shrinkage, temperature, within, score in _scores(held, codes, anchors, grids):
        if not score <= best.score:  # also where nothing is there to beat
            best = Settings(shrinkage, temperature, within, score)
    return best


def _hold(
    X: Array, rows: NDArray[np.intp], centroids: Array, weight: Array, bias: Array, anchors: Array
) -> _Held:
    linear = weight @ _to_anchors(centroids @ weight, anchors)
    return _Held(rows, X[rows] @ weight + bias, X[rows] @ linear, centroids @ linear)


def _scores(
    held: dict[float, list[_Held]], codes: NDArray[np.intp], anchors: Array, grids: list[tuple[float, ...]]
) -> Iterator[tuple[float, float, float, float]]:
    """Yield every combination with its score."""
    for shrinkage, temperature in itertools.product(*grids[:2]):
        parts = held[shrinkage]
        if not parts:
            continue
        rows = np.concatenate([part.rows for part in parts])
        likely = [softmax(part.scores, temperature) for part in parts]
        pulled = np.concatenate(likely) @ anchors
        left = np.concatenate([part.linear - p @ part.centres for part, p in zip(parts, likely, strict=True)])
        weight = 1 / np.bincount(codes[rows], minlength=len(anchors))[codes[rows]]
        for within in grids[2]:
            score = _balanced_ccc(pulled + within * left, anchors[codes[rows]], weight)
            yield shrinkage, temperature, within, score


def _balanced_ccc(points: Array, targets: Array, weight: Array) -> float:
    """Return the mean over both axes of the CCC in which every clip has a weight."""
    weight = weight / weight.sum()
    mean, wanted = weight @ points, weight @ targets
    a, b = points - mean, targets - wanted
    spread = weight @ (a * a + b * b) + np.square(mean - wanted)
    return float((2 * weight @ (a * b) / np.maximum(spread, 1e-12)).mean())
