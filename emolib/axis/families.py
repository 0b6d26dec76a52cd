"""Axes from a feature store, several at once, and what they have in common.

Third stage of `emolib.axis`, around `EmotionAxis`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from emolib import emotions, results
from emolib.axis.estimator import EmotionAxis
from emolib.store import FeatureStore, Pooling


def fit_axis(
    manifest: pd.DataFrame,
    store: FeatureStore,
    layer: int,
    *,
    source: str = "calm",
    target: str = "angry",
    method: str = "logistic",
    pooling: Pooling = "mean",
) -> EmotionAxis:
    """Fit an axis on every clip of a manifest, and note where it comes from.

    Parameters
    ----------
    manifest : DataFrame, N rows; clip, corpus, speaker and emotion are used
    store : FeatureStore that holds these clips
    layer : int
    source, target, method
        As `EmotionAxis` takes them.
    pooling : {"mean", "mean+std"}
        An axis of means moves single frames as well; one of means and deviations does not.

    Raises
    ------
    ValueError
        If a clip or the layer is not in the store, or as `EmotionAxis.fit` does.
    """
    X = store.pooled(layer, pooling, manifest["clip"].tolist())
    provenance = {
        "encoder": store.config.encoder,
        "fingerprint": store.config.fingerprint,
        "layer": layer,
        "pooling": pooling,
        "corpus": " + ".join(sorted(set(manifest["corpus"]))),
        "commit": results.environment("cpu")["commit"],
    }
    axis = EmotionAxis(source, target, method)
    return axis.fit(X, manifest["emotion"], manifest["speaker"], provenance=provenance)


def fit_axes(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    source: str = "neutral",
    targets: Sequence[str] | None = None,
    method: str = "logistic",
    provenance: Mapping[str, object] | None = None,
) -> dict[str, EmotionAxis]:
    """Fit one axis from a source to each of several emotions.

    Parameters
    ----------
    X : array-like, (N, D)
    y : array-like of emotions, (N,)
    groups : array-like, (N,), optional; speakers
    source : str
    targets : sequence of str, optional
        All other emotions in y by default.
    method, provenance
        As `EmotionAxis` takes them.

    Returns
    -------
    axes : dict of target to EmotionAxis, in the vocabulary's order
    """
    present = emotions.ordered(np.asarray(y).astype(str).tolist())
    chosen = [name for name in present if name != source] if targets is None else list(targets)
    return {
        name: EmotionAxis(source, name, method).fit(X, y, groups, provenance=provenance) for name in chosen
    }


def cosine_table(directions: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Return the cosine similarity among directions, (D,) each, as a symmetric table.

    Notes
    -----
    Two random directions in D dimensions have a cosine of 0 with a standard deviation of D ** -0.5.

    Raises
    ------
    ValueError
        If their lengths differ or one is zero.
    """
    rows = [np.asarray(direction, dtype=np.float64) for direction in directions.values()]
    if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1:
        raise ValueError(f"directions of shapes {[row.shape for row in rows]}; expected one width, (D,)")
    lengths = [float(np.linalg.norm(row)) for row in rows]
    if not min(lengths) > 0:
        raise ValueError(f"{list(directions)[int(np.argmin(lengths))]!r} has length 0; it has no direction")
    units = np.stack(rows) / np.array(lengths)[:, None]
    return pd.DataFrame(np.clip(units @ units.T, -1, 1), index=list(directions), columns=list(directions))
