"""Axes tried on clips that they never saw: of other speakers, other sentences, other corpora.

Fifth stage of `emolib.axis`: everything here ends in a `HeldOut`, whose AUC is the verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from emolib import splits
from emolib.axis.directions import Floats
from emolib.axis.estimator import EmotionAxis
from emolib.axis.scores import HeldOut
from emolib.axis.selection import complete_speakers, two_labels
from emolib.probing import centre_speakers


def cross_project(
    X: ArrayLike,
    manifest: pd.DataFrame,
    folds: Sequence[splits.Fold],
    *,
    source: str = "calm",
    target: str = "angry",
    method: str = "logistic",
    centre: bool = True,
    layer: int | None = None,
) -> HeldOut:
    """Project every clip, of any emotion, on an axis fitted without its fold.

    Parameters
    ----------
    X : array-like, (N, D), in the order of the manifest
    manifest : DataFrame, N rows; speaker and emotion are used
    folds : list of (train, test)
        ``splits.folds(manifest, "loso")`` leaves one speaker out; `sentence_folds` leaves sentences out.
    source, target, method
        As `EmotionAxis` takes them.
    centre : bool
        Take each speaker's mean over all of their clips away, of the unseen ones too. That uses no label, but
        several clips of the speaker in several emotions at once; False judges each clip by itself.
    layer : int, optional
        Passed on to the result.

    Raises
    ------
    ValueError
        If lengths differ, a feature is not finite, an emotion is missing, or a clip is in no test fold.
    """
    clips, labels, speakers = checked(X, manifest)
    two_labels(labels, source, target)
    _, incomplete = complete_speakers(labels, speakers, source, target)
    clips = centre_speakers(clips, speakers) if centre else clips
    projections = np.full(len(clips), np.nan)
    # on problems of this size the threads of BLAS wait for each other longer than they work
    with threadpool_limits(1):
        for train, test in folds:
            axis = EmotionAxis(source, target, method).fit(clips[train], labels[train], speakers[train])
            projections[test] = axis.project(clips[test])
    if n_left := int(np.isnan(projections).sum()):
        raise ValueError(f"{n_left} of {len(clips)} clips are in no test fold")
    return HeldOut(projections, labels, speakers, source, target, method, layer, incomplete)


def transfer(
    axis: EmotionAxis,
    X: ArrayLike,
    manifest: pd.DataFrame,
    *,
    source: str | None = None,
    target: str | None = None,
    centre: bool = True,
) -> HeldOut:
    """Project another corpus's clips on a fitted axis.

    Parameters
    ----------
    axis : EmotionAxis
    X : array-like, (N, D), features of the axis's own layer and pooling
    manifest : DataFrame, N rows
    source, target : str, optional
        The emotions to be told apart, the axis's own by default; a corpus without calm may have neutral.
    centre : bool
        As in `cross_project`.
    """
    clips, labels, speakers = checked(X, manifest)
    source, target = source or axis.source_, target or axis.target_
    two_labels(labels, source, target)
    _, incomplete = complete_speakers(labels, speakers, source, target)
    projections = axis.project(clips, speakers if centre else None)
    layer = axis.provenance["layer"]
    return HeldOut(projections, labels, speakers, source, target, axis.method, layer, incomplete)


def choose_layer(
    layers: Mapping[int, ArrayLike],
    manifest: pd.DataFrame,
    folds: Sequence[splits.Fold],
    *,
    source: str = "calm",
    target: str = "angry",
    method: str = "logistic",
    centre: bool = True,
) -> HeldOut:
    """Project every clip at the layer that was best among its training speakers alone.

    Parameters
    ----------
    layers : mapping of layer to features, (N, D)
    manifest, folds, source, target, method, centre
        As in `cross_project`.

    Returns
    -------
    held_out : HeldOut; its layer is the one chosen most often

    Raises
    ------
    ValueError
        As `cross_project` does, and if three speakers aren't there for choosing.
    """
    project = partial(cross_project, source=source, target=target, method=method, centre=centre)
    if len(layers) == 1:
        [(layer, X)] = layers.items()
        return project(X, manifest, folds, layer=layer)
    everywhere = {k: project(X, manifest, folds) for k, X in layers.items()}
    chosen = []
    result = next(iter(everywhere.values()))
    projections = np.empty(len(manifest))
    for train, test in folds:
        part = manifest.iloc[train].reset_index(drop=True)
        inner = splits.folds(part, "speaker", n_folds=3)
        scores = {k: project(np.asarray(X)[train], part, inner).score for k, X in layers.items()}
        chosen.append(max(scores, key=lambda k: scores[k]))
        projections[test] = everywhere[chosen[-1]].projections[test]
    return replace(result, projections=projections, layer=max(sorted(set(chosen)), key=chosen.count))


def sentence_folds(
    manifest: pd.DataFrame, *, new_speakers: bool = False, most: int = 20
) -> list[splits.Fold]:
    """Cut a manifest by sentences: each is tested by an axis that never heard it.

    Parameters
    ----------
    manifest : DataFrame; text_id and speaker are used
    new_speakers : bool
        Hold the speakers of the test clips out as well, one at a time. Without it they are known, and a good
        score says nothing about others.
    most : int
        More sentences than that are held out in groups.

    Raises
    ------
    ValueError
        If the manifest does not tell two sentences apart.
    """
    texts = manifest["text_id"].astype(object).fillna("").to_numpy().astype(str)
    n_texts = len(np.unique(texts))
    if n_texts < 2 or "" in texts:
        raise ValueError(f"{n_texts} sentence in text_id, or clips without; expected two or more, all named")
    cut = list(GroupKFold(min(n_texts, most)).split(texts, groups=texts))
    if not new_speakers:
        return cut
    speakers = manifest["speaker"].to_numpy()
    return [
        (train[speakers[train] != name], test[speakers[test] == name])
        for train, test in cut
        for name in np.unique(speakers[test])
    ]


def checked(X: ArrayLike, manifest: pd.DataFrame) -> tuple[Floats, NDArray, NDArray]:
    """Return features, emotions and speakers of a manifest's clips."""
    clips = np.asarray(X, dtype=np.float64)
    if clips.ndim != 2 or len(clips) != len(manifest):
        raise ValueError(
            f"features of shape {clips.shape} for {len(manifest)} clips; expected ({len(manifest)}, D)"
        )
    if not np.isfinite(clips).all():
        n_bad = int((~np.isfinite(clips)).any(axis=1).sum())
        raise ValueError(f"features of {n_bad} clips are not finite; extract them again")
    return clips, manifest["emotion"].to_numpy().astype(str), manifest["speaker"].to_numpy().astype(str)
