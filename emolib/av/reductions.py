"""Two reductions of features to the plane of valence and arousal: one in closed form, one by UMAP.

`Barycentre`: a Gaussian of shrunken covariance, shared by all classes, gives each class's probability p_k(x);
a clip lies at

    z(x) = sum_k p_k(x) (a_k + w B (x - c_k)),

with a_k the anchor of class k, c_k its centroid, and B the linear map that best takes clips to anchors. The
first term moves each class to its anchor; the second keeps a clip's place within its class. Shrinkage,
temperature of the probabilities and w are chosen on held-out clips, by the CCC of z with the anchor of the
clip's own class. So categories decide, and no rating does.

`Layout`: stock umap-learn, started with each training clip at its class's anchor. UMAP rescales any initial
layout to the square from 0 to 10; the inverse map takes its result back to the plane of the anchors. The
nearest neighbours that it starts from are exact, so they don't depend on a random search. New clips are
placed between their nearest training clips, each by itself, because umap-learn's own ``transform`` places a
batch jointly and at random.

References
----------
Discriminant analysis: R. A. Fisher (1936), doi:10.1111/j.1469-1809.1936.tb02137.x. Shrinkage: J. H. Friedman
(1989), "Regularized Discriminant Analysis", doi:10.1080/01621459.1989.10478752. Temperature: C. Guo et al.
(2017), "On Calibration of Modern Neural Networks", arXiv:1706.04599. UMAP: L. McInnes, J. Healy, J. Melville
(2018), arXiv:1802.03426; anchored, with the default settings here: E. Zhou, Y. Zhang, Z. Duan (2023),
"Learning Arousal-Valence Representation from Categorical Emotion Labels of Speech", arXiv:2311.14816.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

#: What is tried for shrinkage, temperature and the weight within classes. Held-out anchors say nothing about
#: places inside a class and would always choose a weight of 0, so it has a lower limit.
GRIDS = ((0.2, 0.4, 0.6, 0.8), (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0), (0.25, 0.5, 0.75, 1.0))
#: Taken where no clip can be held out because every class has a single one.
UNTUNED = (0.6, 2.8, 0.25)
#: Deviation of a clip's start from its anchor, for UMAP.
START_SD = 0.01
_N_FOLDS, _UMAP_SQUARE = 5, 10.0


@dataclass(frozen=True)
class Barycentre:
    """The reduction in closed form, ready to place clips.

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
        likely = softmax((X @ self.weight + self.bias) / self.temperature, axis=1)
        return likely @ self.offset + X @ self.residual


class Settings(NamedTuple):
    """What is chosen on held-out clips, and the CCC that they reach there."""

    shrinkage: float
    temperature: float
    within: float
    score: float


def fit_barycentre(
    X: Array, codes: Codes, anchors: Array, folds: Codes, fixed: tuple[float | None, ...]
) -> tuple[Barycentre, Settings]:
    """Fit the reduction in closed form.

    Parameters
    ----------
    X : (N, D), finite
    codes : (N,); class numbers
    anchors : (C, 2)
    folds : (N,); the fold that each clip is held out with, as `assign_folds` returns them
    fixed : shrinkage, temperature and within-class weight; None is chosen on held-out clips
    """
    mean, scale = _moments(X)
    X = (X - mean) / scale
    parts = {f: _Sums.of(X[folds == f], codes[folds == f], len(anchors)) for f in np.unique(folds)}
    whole = _Sums(*(np.sum(terms, axis=0) for terms in zip(*parts.values(), strict=True)))
    settings = _choose(X, codes, anchors, folds, parts, whole, fixed)
    centroids, weight, bias, linear = _discriminant(whole, settings.shrinkage, anchors)
    residual = settings.within * linear
    offset = anchors - centroids @ residual
    return Barycentre(mean, scale, weight, bias, residual, offset, settings.temperature), settings


def assign_folds(codes: Codes, groups: NDArray | None = None) -> Codes:
    """Assign clips, (N,), to five folds: whole groups where they are given, else class by class.

    Groups go, the largest first, to the fold that has the fewest clips.
    """
    folds = np.empty(len(codes), dtype=np.intp)
    if groups is None or len(np.unique(groups)) < 2:
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            folds[rows] = np.arange(len(rows)) % _N_FOLDS
        return folds
    names, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    filled = np.zeros(min(_N_FOLDS, len(names)))
    for name in np.argsort(-counts, kind="stable"):
        smallest = int(filled.argmin())
        folds[members == name] = smallest
        filled[smallest] += counts[name]
    return folds


class _Sums(NamedTuple):
    """Sums over clips: the centroids and the covariance of any union of folds follow from theirs."""

    counts: Array  # (C,)
    sums: Array  # (C, D)
    products: Array  # (D, D)

    @classmethod
    def of(cls, X: Array, codes: Codes, n_classes: int) -> "_Sums":
        member = np.eye(n_classes)[codes]
        return cls(member.sum(axis=0), member.T @ X, X.T @ X)

    def without(self, part: "_Sums") -> "_Sums":
        return _Sums(*(a - b for a, b in zip(self, part, strict=True)))


def _discriminant(sums: _Sums, shrinkage: float, anchors: Array) -> tuple[Array, Array, Array, Array]:
    """Return centroids, (C, D), weights and biases of the log-likelihoods, (D, C) and (C,), and B, (D, 2)."""
    centroids = sums.sums / np.maximum(sums.counts, 1)[:, None]
    covariance = (sums.products - centroids.T @ sums.sums) / max(sums.counts.sum(), 1)
    diagonal = np.diag_indices(len(covariance))
    level = float(covariance[diagonal].mean())
    covariance *= 1 - shrinkage
    covariance[diagonal] += shrinkage * level + 1e-6
    # LAPACK takes columns: of the transpose, which is the same, it makes no copy
    weight = cho_solve(cho_factor(covariance.T, overwrite_a=True, check_finite=False), centroids.T)
    bias = -0.5 * (centroids * weight.T).sum(axis=1)
    bias[sums.counts == 0] = -np.inf  # a class that is absent is never likely
    # B is the least-squares map from scores to anchors. The centroids' scores, c_j' S^-1 c_k, are also the
    # scores' covariance within classes: classes that can't be distinguished are not moved apart.
    scores = centroids @ weight
    centred = scores - scores.mean(axis=0)
    spread = centred.T @ centred / len(scores) + scores
    spread[np.diag_indices(len(scores))] += 1e-9 * (1 + np.trace(spread))
    to_anchors = np.linalg.solve(spread, centred.T @ (anchors - anchors.mean(axis=0)) / len(scores))
    return centroids, weight, bias, weight @ to_anchors


def _choose(
    X: Array, codes: Codes, anchors: Array, folds: Codes, parts: Mapping[np.intp, _Sums], whole: _Sums,
    fixed: tuple[float | None, ...],
) -> Settings:  # fmt: skip
    """Choose what is not fixed, by the CCC of held-out clips with their own classes' anchors."""
    shrinkages, temperatures, withins = (
        choices if value is None else (value,) for value, choices in zip(fixed, GRIDS, strict=True)
    )
    untuned = [start if value is None else value for value, start in zip(fixed, UNTUNED, strict=True)]
    best = Settings(untuned[0], untuned[1], untuned[2], np.nan)
    counts = {f: whole.counts - part.counts for f, part in parts.items()}  # of the clips that are left
    held = {f: np.flatnonzero((folds == f) & (left[codes] > 0)) for f, left in counts.items()}
    held = {f: rows for f, rows in held.items() if len(rows) and (counts[f] > 0).sum() > 1}
    if not held:
        return best
    own = codes[np.concatenate(list(held.values()))]
    weights = 1 / np.bincount(own, minlength=len(anchors))[own]
    for shrinkage in shrinkages:
        fitted = [
            (X[rows], *_discriminant(whole.without(parts[f]), shrinkage, anchors)) for f, rows in held.items()
        ]
        for temperature in temperatures:
            moved, kept = [], []
            for x, centroids, weight, bias, linear in fitted:
                likely = softmax((x @ weight + bias) / temperature, axis=1)
                moved.append(likely @ anchors)
                kept.append(x @ linear - likely @ (centroids @ linear))
            for within in withins:
                points = np.concatenate(moved) + within * np.concatenate(kept)
                score = _weighted_ccc(points, anchors[own], weights)
                if not score <= best.score:  # also true of the first, against NaN
                    best = Settings(shrinkage, temperature, within, score)
    return best


def _weighted_ccc(points: Array, targets: Array, weight: Array) -> float:
    """Return the mean over both axes of the CCC in which every clip has a weight."""
    weight = weight / weight.sum()
    mean, wanted = weight @ points, weight @ targets
    a, b = points - mean, targets - wanted
    spread = weight @ (a * a + b * b) + np.square(mean - wanted)
    return float((2 * weight @ (a * b) / np.maximum(spread, 1e-12)).mean())


@dataclass(frozen=True)
class Layout:
    """The layout of the training clips by UMAP, ready to place others.

    Attributes
    ----------
    mean, scale : (D,); of the training features, which are standardised
    clips : (N, D); the standardised training features
    places : (N, 2)
    n_neighbors : int
    """

    mean: Array
    scale: Array
    clips: Array
    places: Array
    n_neighbors: int

    def __call__(self, X: Array) -> Array:
        """Place clips, (N, D), on the plane, (N, 2), each between its nearest training clips.

        Notes
        -----
        The weight of a neighbour falls as exp(-(d - d_1) / s), with d_1 the distance to the nearest and s the
        mean of d - d_1, UMAP's local scale; a training clip keeps its place.
        """
        distances, index = _neighbours(self.clips, (X - self.mean) / self.scale, self.n_neighbors)
        beyond = distances - distances[:, :1]
        weight = np.exp(-beyond / np.maximum(beyond.mean(axis=1, keepdims=True), 1e-12))
        same = distances <= 1e-6 * (1 + np.linalg.norm(self.clips[index], axis=2))
        weight = np.where(same.any(axis=1, keepdims=True), same, weight)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkd->nd", weight, self.places[index])


def fit_layout(X: Array, codes: Codes, anchors: Array, options: Mapping[str, Any], seed: int) -> Layout:
    """Lay out training clips, (N, D), from their classes' anchors, (C, 2), by UMAP with its own options.

    Raises
    ------
    ValueError
        If there are too few clips for their neighbours.
    """
    import umap  # compiles for seconds: only a fit should wait for it

    n_neighbors = options["n_neighbors"]
    if not 2 <= n_neighbors < len(X):
        raise ValueError(
            f"n_neighbors={n_neighbors} for {len(X)} clips; expected 2 to {len(X) - 1}: give more clips or "
            f"fewer neighbours"
        )
    mean, scale = _moments(X)
    X = (X - mean) / scale
    start = anchors[codes] + START_SD * np.random.default_rng(seed).standard_normal((len(X), 2))
    distances, index = _neighbours(X, X, n_neighbors)
    reducer = umap.UMAP(
        **options, target_metric="categorical", init=start.astype(np.float32), random_state=seed, n_jobs=1,
        precomputed_knn=(index, distances.astype(np.float32)),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)  # its own transform isn't used
        laid = np.asarray(reducer.fit_transform(X.astype(np.float32), y=codes), dtype=np.float64)
    places = start.min(axis=0) + laid * np.ptp(start, axis=0) / _UMAP_SQUARE
    return Layout(mean, scale, X, places, n_neighbors)


def _neighbours(clips: Array, X: Array, n_neighbors: int) -> tuple[Array, Codes]:
    """Return the distances to the nearest clips and their numbers, each (N, K), the nearest first."""
    return NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(clips).kneighbors(X)


def _moments(X: Array) -> tuple[Array, Array]:
    """Return the features' means and deviations; 1 for a feature that never changes."""
    mean, scale = X.mean(axis=0), X.std(axis=0)
    return mean, np.where(scale <= 1e-12 * (1 + np.abs(mean)), 1.0, scale)
