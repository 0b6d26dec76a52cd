"""What quantization is held against: other changes of equal distortion, or of equal cosine.

All take centred rows, (N, D), and what a quantizer made of them, and return rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def add_noise(X: Rows, X_hat: Rows, rng: np.random.Generator) -> Rows:
    """Move each row as far as the quantizer did, in a direction of chance."""
    way = rng.standard_normal(X.shape)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return X + way * np.linalg.norm(X_hat - X, axis=1, keepdims=True)


def shrink(X: Rows, X_hat: Rows) -> Rows:
    """Move each row as far as the quantizer did, straight to the mean; at most all the way."""
    far = np.linalg.norm(X_hat - X, axis=1, keepdims=True)
    length = np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    return X * np.maximum(0.0, 1.0 - far / length)


def turn(X: Rows, cosines: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    """Turn each row, its length kept, in a direction of chance until its cosine to itself is the one given.

    Parameters
    ----------
    X : float array, (N, D)
    cosines : float array, (N,)
    rng : Generator
    """
    length = np.linalg.norm(X, axis=1, keepdims=True)
    way = rng.standard_normal(X.shape)
    way -= X * np.einsum("nd,nd->n", way, X)[:, None] / np.maximum(length, 1e-12) ** 2
    way *= length / np.linalg.norm(way, axis=1, keepdims=True)
    cosines = np.clip(cosines, -1.0, 1.0)[:, None]
    return cosines * X + np.sqrt(1 - np.square(cosines)) * way


def drop(X: Rows, cosines: NDArray[np.float64]) -> Rows:
    """Set coordinates to the mean, the one that costs most similarity first, until a cosine is reached."""
    order = np.argsort(-np.square(X), axis=1, kind="stable")
    energy = np.take_along_axis(np.square(X), order, axis=1)
    total = np.maximum(energy.sum(axis=1, keepdims=True), 1e-24)
    left = 1 - np.cumsum(energy, axis=1) / total
    dropped = np.hstack([np.ones((len(X), 1)), left[:, :-1]]) > np.square(cosines)[:, None]
    mask = np.zeros(X.shape, dtype=bool)
    np.put_along_axis(mask, order, dropped, axis=1)
    return np.where(mask, 0.0, X)


class Scalar(NamedTuple):
    """Rows rounded to a grid, and the bits a row that their coordinates' entropies ask for."""

    rows: Rows
    bits: float


def round_to_grid(X: Rows, target: float, n_halvings: int = 40) -> Scalar:
    """Round every coordinate to multiples of one step, found by bisection to give a distortion.

    Parameters
    ----------
    X : float array, (N, D)
    target : float; squared error as a share of the squared length, as `measures.distortion` gives it
    n_halvings : int
    """
    low, high, total = 0.0, 4.0 * np.abs(X).max(), np.square(X).sum()
    for _ in range(n_halvings):
        step = (low + high) / 2
        error = np.square(X - step * np.round(X / step)).sum() / total
        low, high = (step, high) if error < target else (low, step)
    levels = np.round(X / high).astype(int)
    return Scalar(high * levels, float(sum(_entropy(column) for column in levels.T)))


def truncate(train: Rows, X: Rows, target: float) -> Rows:
    """Keep as many principal components of the training rows as come closest to a distortion."""
    axes = np.linalg.svd(train, full_matrices=False)[2]
    kept = np.cumsum(np.square(X @ axes.T).sum(axis=0)) / np.square(X).sum()
    n_kept = int(np.abs(1 - np.concatenate([[0.0], kept]) - target).argmin())
    return X @ axes[:n_kept].T @ axes[:n_kept]


def _entropy(levels: NDArray[np.int_]) -> float:
    counts = np.unique(levels, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
