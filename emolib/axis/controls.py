"""Baselines of an axis: directions drawn at random, and axes fitted on shuffled labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from emolib import splits
from emolib.axis.estimator import Floats, complete_speakers, two_labels
from emolib.axis.evaluation import auc, checked, cross_project
from emolib.probing import centre_speakers


def random_aucs(
    X: ArrayLike, manifest: pd.DataFrame, *, source: str = "calm", target: str = "angry",
    n_directions: int = 200, whiten: bool = False, seed: int = 0,
) -> Floats:  # fmt: skip
    """Return the AUCs of directions drawn evenly from the sphere, (n_directions,).

    Parameters
    ----------
    X : array-like, (N, D)
    manifest : DataFrame, N rows
    source, target : str
    n_directions, seed : int
    whiten : bool
        Draw from the sphere of the clips' principal components, each at unit variance.

    Notes
    -----
    Their mean is 0.5, but they spread: features vary along few directions, and where emotion is the widest of
    them, nearly every random direction contains some of it, with either sign. Whitening takes that away.
    Compare with the spread, not with 0.5 alone.
    """
    clips, labels, speakers = checked(X, manifest)
    two_labels(labels, source, target)
    known, _ = complete_speakers(labels, speakers, source, target)
    rows = np.isin(labels, (source, target)) & np.isin(speakers, known)
    points = centre_speakers(clips, speakers)
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):
        if whiten:
            left, widths, _ = np.linalg.svd(points, full_matrices=False)
            points = left[:, widths > 1e-9 * widths[0]]
        projections = points[rows] @ rng.standard_normal((points.shape[1], n_directions))
    return auc(projections, labels[rows] == target)


def shuffled_aucs(
    X: ArrayLike, manifest: pd.DataFrame, folds: Sequence[splits.Fold], *, source: str = "calm",
    target: str = "angry", method: str = "logistic", n_shuffles: int = 20, seed: int = 0,
) -> Floats:  # fmt: skip
    """Return the held-out AUCs of axes fitted on shuffled labels, (n_shuffles,).

    The first parameters are those of `cross_project`. Each speaker's labels of the two emotions are shuffled
    among that speaker's own clips, so that speakers and counts stay as they were.
    """
    rng, pair = np.random.default_rng(seed), (source, target)
    tables = (manifest.assign(emotion=shuffle_labels(manifest, pair, rng)) for _ in range(n_shuffles))
    return np.array(
        [cross_project(X, t, folds, source=source, target=target, method=method).score for t in tables]
    )


def shuffle_labels(
    manifest: pd.DataFrame, among: Sequence[str], rng: np.random.Generator
) -> NDArray[np.object_]:
    """Return the emotions of a manifest, (N,), with those `among` shuffled within each speaker."""
    labels = manifest["emotion"].to_numpy().astype(object)
    for rows in manifest.groupby("speaker").indices.values():
        chosen = rows[np.isin(labels[rows].astype(str), list(among))]
        labels[chosen] = rng.permutation(labels[chosen])
    return labels
