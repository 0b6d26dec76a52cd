"""Axes tested on clips that they were not fitted on: of other speakers, other sentences, other corpora.

The measure is the area under the ROC curve (AUC): how often a clip of the target emotion projects further
than one of the source emotion. It needs no threshold, and 0.5 is chance. The baselines are directions drawn
at random, and axes fitted on shuffled labels.

References
----------
The AUC as the Mann-Whitney statistic: J. A. Hanley, B. J. McNeil (1982), doi:10.1148/radiology.143.1.7063747.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mode

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from emolib import splits
from emolib.axis.estimator import EmotionAxis, Floats, complete_speakers, two_labels
from emolib.metrics import Interval, draws, mean_interval, percentile_interval, speaker_bootstrap
from emolib.probing import best_layer, centre_speakers, checked_features

#: A corpus's words for the strength of an acted emotion.
INTENSITIES = ("normal", "strong")


@dataclass(frozen=True)
class HeldOut:
    """Where every clip lies on an axis that was fitted without it.

    Attributes
    ----------
    projections : float64 array, (N,); 0 at the source emotion's mean of the training clips, 1 at the target's
    emotions, speakers : arrays, (N,)
    source, target : str
    layer : int, optional
    """

    projections: Floats
    emotions: NDArray
    speakers: NDArray
    source: str
    target: str
    layer: int | None

    @property
    def rows(self) -> NDArray[np.bool_]:
        """The clips that the AUC is of: of both emotions, of speakers who have both."""
        return _rows(self.emotions, self.speakers, self.source, self.target)

    @property
    def incomplete(self) -> list[str]:
        """A sentence for each speaker who lacks one of the emotions: the AUC leaves them out."""
        return complete_speakers(self.emotions, self.speakers, self.source, self.target)[1]

    @property
    def auc(self) -> Interval:
        """AUC of the target emotion against the source, with its interval over speakers."""
        rows = self.rows
        return auc_interval(self.projections[rows], self.emotions[rows] == self.target, self.speakers[rows])

    @property
    def n_speakers(self) -> int:
        """The number of speakers that the AUC is of."""
        return len(np.unique(self.speakers[self.rows]))


def auc(projections: ArrayLike, is_target: ArrayLike) -> Floats:
    """Return the AUC of one or several projections, (N,) or (N, K); ties count half.

    Raises ValueError unless `is_target`, (N,), holds both values.
    """
    mask = np.asarray(is_target, dtype=bool)
    n_target = int(mask.sum())
    if n_target in (0, len(mask)):
        raise ValueError(f"{n_target} of {len(mask)} clips are of the target emotion; expected some, not all")
    ranks = rankdata(projections, axis=0)[mask].sum(axis=0)
    return (ranks - n_target * (n_target + 1) / 2) / (n_target * (len(mask) - n_target))


def auc_interval(
    projections: ArrayLike, is_target: ArrayLike, speakers: ArrayLike, *, seed: int = 0
) -> Interval:
    """Return an AUC with its interval over speakers.

    The numbers are those of `metrics.speaker_bootstrap`, some hundred times as fast: pairs of clips are
    compared once and counted by pairs of speakers, and a resample then only weights these counts.
    """
    values, mask = np.asarray(projections, dtype=np.float64), np.asarray(is_target, dtype=bool)
    value = float(auc(values, mask))
    names, codes = np.unique(np.asarray(speakers), return_inverse=True)
    n = len(names)
    wins = np.empty((n, n))  # how often target clips of each speaker exceed source clips of each other
    for j in range(n):
        others = np.sort(values[~mask & (codes == j)])
        below = np.searchsorted(others, values[mask], "left") + np.searchsorted(others, values[mask], "right")
        wins[:, j] = np.bincount(codes[mask], weights=below / 2, minlength=n)
    n_target, n_source = (np.bincount(codes[of], minlength=n) for of in (mask, ~mask))
    times = draws(n, seed)
    pairs = (times @ n_target) * (times @ n_source)
    won = ((times @ wins) * times).sum(axis=1)
    # if few speakers have both emotions, a resample may hold one emotion alone: it has no AUC
    resampled = np.divide(won, pairs, out=np.full(len(times), np.nan), where=pairs > 0)
    return percentile_interval(value, resampled, n)


def cross_project(
    X: ArrayLike, manifest: pd.DataFrame, folds: Sequence[splits.Fold], *, source: str = "calm",
    target: str = "angry", method: str = "logistic", centre: bool = True, layer: int | None = None,
) -> HeldOut:  # fmt: skip
    """Project every clip, of any emotion, on an axis fitted without its fold.

    Parameters
    ----------
    X : array-like, (N, D), in the order of the manifest
    manifest : DataFrame, N rows; speaker and emotion are used
    folds : list of (train, test)
        ``splits.folds(manifest, "loso")`` holds one speaker out at a time; `sentence_folds` holds out
        sentences.
    source, target, method
        As `EmotionAxis` takes them.
    centre : bool
        Take each speaker's mean over all of their clips away, also of the unseen speakers. That uses no
        label, but several clips of the speaker in several emotions at once; with False each clip is
        projected by itself.
    layer : int, optional
        Passed on to the result.

    Raises
    ------
    ValueError
        If lengths differ, a feature is not finite, an emotion is missing, or a clip is in no test fold.
    """
    clips, labels, speakers = _checked(X, manifest, source, target)
    clips = centre_speakers(clips, speakers) if centre else clips

    def project(train: NDArray, test: NDArray) -> Floats:
        axis = EmotionAxis(source, target, method).fit(clips[train], labels[train], speakers[train])
        return axis.project(clips[test])

    projections = splits.held_out(folds, (len(clips),), project)
    return HeldOut(projections, labels, speakers, source, target, layer)


def transfer(
    axis: EmotionAxis, X: ArrayLike, manifest: pd.DataFrame, *, source: str | None = None,
    target: str | None = None, centre: bool = True,
) -> HeldOut:  # fmt: skip
    """Project another corpus's clips on a fitted axis.

    Parameters
    ----------
    axis : EmotionAxis
    X : array-like, (N, D), features of the axis's own layer and pooling
    manifest : DataFrame, N rows
    source, target : str, optional
        The emotions to separate, by default the axis's own; a corpus without calm may have neutral.
    centre : bool
        As in `cross_project`.
    """
    source, target = source or axis.source_, target or axis.target_
    clips, labels, speakers = _checked(X, manifest, source, target)
    projections = axis.project(clips, speakers if centre else None)
    return HeldOut(projections, labels, speakers, source, target, axis.provenance["layer"])


def choose_layer(
    layers: Mapping[int, ArrayLike], manifest: pd.DataFrame, folds: Sequence[splits.Fold], *,
    source: str = "calm", target: str = "angry", method: str = "logistic", centre: bool = True,
) -> HeldOut:  # fmt: skip
    """Project every clip at the layer that was best among its fold's training speakers.

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
        As `cross_project` does, and if a fold has fewer than three training speakers to choose by.
    """
    project = partial(cross_project, source=source, target=target, method=method, centre=centre)
    everywhere = {k: project(X, manifest, folds) for k, X in layers.items()}
    chosen, projections = [], np.empty(len(manifest))
    for train, test in folds:
        parts = {k: np.asarray(X)[train] for k, X in layers.items()}
        chosen.append(best_layer(parts, manifest.iloc[train], lambda *part: project(*part).auc.value))
        projections[test] = everywhere[chosen[-1]].projections[test]
    most_often = mode(sorted(chosen))
    return replace(everywhere[most_often], projections=projections, layer=most_often)


def sentence_folds(manifest: pd.DataFrame, *, new_speakers: bool = False) -> list[splits.Fold]:
    """Split a manifest by sentences: each is tested by an axis that was fitted without it.

    More than twenty sentences are held out in groups.

    Parameters
    ----------
    manifest : DataFrame; text_id and speaker are used
    new_speakers : bool
        Hold out the speakers of the test clips as well, one at a time. Without it they are known, and a good
        score says nothing about others.

    Raises
    ------
    ValueError
        If the manifest does not distinguish two sentences.
    """
    texts = splits.sentences(manifest)
    folds = list(GroupKFold(min(len(np.unique(texts)), 20)).split(texts, groups=texts))
    if not new_speakers:
        return folds
    speakers = manifest["speaker"].to_numpy()
    return [
        (train[speakers[train] != name], test[speakers[test] == name])
        for train, test in folds
        for name in np.unique(speakers[test])
    ]


def _checked(
    X: ArrayLike, manifest: pd.DataFrame, source: str, target: str
) -> tuple[Floats, NDArray, NDArray]:
    """Return features, emotions and speakers of a manifest's clips, some of which are of both emotions."""
    clips = checked_features(np.asarray(X, dtype=np.float64), manifest)
    labels, speakers = (manifest[name].to_numpy().astype(str) for name in ("emotion", "speaker"))
    two_labels(labels, source, target)
    return clips, labels, speakers


def _rows(labels: NDArray, speakers: NDArray, source: str, target: str) -> NDArray[np.bool_]:
    known, _ = complete_speakers(labels, speakers, source, target)
    return np.isin(labels, (source, target)) & np.isin(speakers, known)


def ladder(held_out: HeldOut, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the mean projection of the source emotion and of each intensity of the target, with intervals.

    Returns
    -------
    table : DataFrame; step, n, value, low, high; from the source emotion up

    Raises
    ------
    ValueError
        If the target's clips do not have both intensities, normal and strong.
    """
    step = _steps(held_out, manifest)
    names = [held_out.source, *(f"{held_out.target}, {word}" for word in INTENSITIES)]
    rows = []
    for k, name in enumerate(names):
        mean = mean_interval(held_out.projections[step == k], held_out.speakers[step == k])
        rows.append({"step": name, "n": int((step == k).sum()), **mean._asdict()})
    return pd.DataFrame(rows)


def strength_auc(held_out: HeldOut, manifest: pd.DataFrame) -> Interval:
    """Return how often a strong clip of the target emotion projects further than a normal one: an AUC."""
    step = _steps(held_out, manifest)
    rows = step > 0
    return auc_interval(held_out.projections[rows], step[rows] == 2, held_out.speakers[rows])


def evenness(held_out: HeldOut, manifest: pd.DataFrame) -> Interval:
    """Return where the mean of the normal target lies between the source's and the strong target's.

    Returns
    -------
    share : Interval; 0 at the source, 1 at the strong target, 0.5 if the projection rises evenly; NaN where
        strong does not lie beyond the source
    """
    step = _steps(held_out, manifest)
    rows = step >= 0
    return speaker_bootstrap(_share, step[rows], held_out.projections[rows], held_out.speakers[rows])


def _steps(held_out: HeldOut, manifest: pd.DataFrame) -> NDArray[np.intp]:
    """Return each clip's step, (N,): 0 the source, 1 the normal target, 2 the strong target, -1 none."""
    intensity, is_target = manifest["intensity"].to_numpy(), held_out.emotions == held_out.target
    strengths = [is_target & (intensity == word) for word in INTENSITIES]
    if not all(mask.any() for mask in strengths):
        found = sorted({str(word) for word in intensity[is_target]})
        expected = f"clips of both {' and '.join(INTENSITIES)}"
        raise ValueError(f"intensities {found} of {held_out.target!r}; expected {expected}")
    return np.select([held_out.emotions == held_out.source, *strengths], range(3), -1)


def _share(step: NDArray, projections: Floats) -> float:
    source, normal, strong = (
        projections[step == k].mean() if (step == k).any() else np.nan for k in range(3)
    )
    return float((normal - source) / (strong - source)) if strong > source else float("nan")


# ------------------------------------------------------------------------------------- baselines


def random_aucs(
    X: ArrayLike, manifest: pd.DataFrame, *, source: str = "calm", target: str = "angry",
    n_directions: int = 200, whiten: bool = False, seed: int = 0,
) -> Floats:  # fmt: skip
    """Return the AUCs of directions drawn evenly from the sphere, (n_directions,).

    Parameters
    ----------
    X, manifest, source, target
        As for `cross_project`.
    n_directions, seed : int
    whiten : bool
        Draw from the sphere of the clips' principal components, each at unit variance.

    Notes
    -----
    Their mean is 0.5, but they spread: features vary along few directions, and where emotion is the widest of
    them, nearly every random direction contains some of it, with either sign. Whitening takes that away.
    Compare with the spread, not with 0.5 alone.
    """
    clips, labels, speakers = _checked(X, manifest, source, target)
    rows, points = _rows(labels, speakers, source, target), centre_speakers(clips, speakers)
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
        [cross_project(X, t, folds, source=source, target=target, method=method).auc.value for t in tables]
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
