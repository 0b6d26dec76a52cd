"""The reduction by UMAP: a layout of the training clips that starts at their anchors.

Third stage of `emolib.av`. UMAP itself is stock umap-learn. Three things are done around it:

- It squeezes any initial layout into the square from 0 to 10; the same map, backwards, brings its result back
  to the plane of the anchors.
- The nearest neighbours that it starts from are exact, so they don't depend on a random search.
- New clips are placed between their nearest training clips, each by itself: umap-learn's own ``transform``
  places a batch jointly and by chance.

References
----------
L. McInnes, J. Healy, J. Melville (2018), "UMAP: Uniform Manifold Approximation and Projection for Dimension
Reduction", arXiv:1802.03426. Anchored, with these settings: E. Zhou, Y. Zhang, Z. Duan (2023), "Learning
Arousal-Valence Representation from Categorical Emotion Labels of Speech", arXiv:2311.14816.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Array = NDArray[np.float64]

#: Deviation of a clip's start from its anchor.
START_SD = 0.01
_UMAP_SQUARE = 10.0


@dataclass(frozen=True)
class LayoutSettings:
    """The published settings of the anchored UMAP."""

    n_neighbors: int = 20
    n_epochs: int = 150
    negative_sample_rate: int = 10
    min_dist: float = 0.1
    spread: float = 1.0
    learning_rate: float = 0.01
    target_weight: float = 0.1
    repulsion_strength: float = 0.1


@dataclass(frozen=True)
class Layout:
    """The layout of the training clips, ready to place others.

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
        mean of d - d_1, UMAP's local scale; a clip that was trained on keeps its place.
        """
        near, index = neighbours(self.clips, (X - self.mean) / self.scale, self.n_neighbors)
        beyond = near - near[:, :1]
        weight = np.exp(-beyond / np.maximum(beyond.mean(axis=1, keepdims=True), 1e-12))
        same = near <= 1e-6 * (1 + np.linalg.norm(self.clips[index], axis=2))
        weight = np.where(same.any(axis=1, keepdims=True), same, weight)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkd->nd", weight, self.places[index])


def fit(X: Array, codes: NDArray[np.intp], anchors: Array, settings: LayoutSettings, seed: int) -> Layout:
    """Lay out training clips, (N, D), from their classes' anchors, (C, 2).

    Raises
    ------
    ValueError
        If there are too few clips for their neighbours.
    """
    if not 2 <= settings.n_neighbors < len(X):
        raise ValueError(
            f"n_neighbors={settings.n_neighbors} for {len(X)} clips; expected 2 to {len(X) - 1}: give "
            f"more clips or fewer neighbours"
        )
    mean, scale = X.mean(0), X.std(0)
    scale[scale <= 1e-12 * (1 + np.abs(mean))] = 1.0
    X = (X - mean) / scale
    start = anchors[codes] + START_SD * np.random.default_rng(seed).standard_normal((len(X), 2))
    low, span = start.min(0), start.max(0) - start.min(0)
    places = low + _umap(X, codes, start, settings, seed) * span / _UMAP_SQUARE
    return Layout(mean, scale, X, places, settings.n_neighbors)


def neighbours(clips: Array, X: Array, n_neighbors: int) -> tuple[Array, NDArray[np.intp]]:
    """Return the distances to the nearest clips and their numbers, each (N, K), the nearest first."""
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(clips)
    distances, index = search.kneighbors(X)
    return distances, index


def _umap(X: Array, codes: NDArray[np.intp], start: Array, settings: LayoutSettings, seed: int) -> Array:
    import umap  # compiles for seconds: only whoever fits one should wait

    distances, index = neighbours(X, X, settings.n_neighbors)
    reducer = umap.UMAP(
        n_neighbors=settings.n_neighbors, n_epochs=settings.n_epochs, min_dist=settings.min_dist,
        negative_sample_rate=settings.negative_sample_rate, spread=settings.spread,
        learning_rate=settings.learning_rate, target_metric="categorical",
        target_weight=settings.target_weight, repulsion_strength=settings.repulsion_strength,
        init=start.astype(np.float32), random_state=seed, n_jobs=1,
        precomputed_knn=(index, distances.astype(np.float32)),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)  # its own transform isn't used
        return np.asarray(reducer.fit_transform(X.astype(np.float32), y=codes), dtype=np.float64)
