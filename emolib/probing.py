"""Where emotion is linear: logistic probes by layer, and the geometry of classes.

The probe is deliberately weak: what it finds was there. Its scaler is fitted inside each fold, and its layer,
where it may choose one, is chosen on training folds alone.

It sees averages over time only. The neural baseline, attention pooling over frames, learns which frames
count: if it does better, emotion is in the timing as well.

References
----------
G. Alain, Y. Bengio (2016), "Understanding intermediate layers using linear classifier probes",
arXiv:1610.01644. Silhouettes: P. J. Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7. Taking each speaker's
own level and spread away: C. Busso, A. Metallinou, S. Narayanan (2011), "Iterative Feature Normalization for
Emotional Speech Detection", ICASSP, doi:10.1109/ICASSP.2011.5947652. Attentive pooling: K. Okabe, T.
Koshinaka, K. Shinoda (2018), "Attentive Statistics Pooling for Deep Speaker Embedding", arXiv:1803.10963.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mode
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from emolib import emotions, metrics, scheduling, splits, threads
from emolib.corpora.tables import VOTES
from emolib.metrics import Interval
from emolib.training import Recipe, Training


@dataclass(frozen=True)
class Probe:
    """The held-out answers of a probe, and what they are worth.

    Attributes
    ----------
    y_true, y_pred : str arrays, (N,); clips in the order of their manifest, each predicted by a probe that
        never saw it
    speakers : str array, (N,)
    layer : int or str, optional
        The layer, or the one chosen most often where each fold chose its own; "1+2+3" where these are joined.
    """

    y_true: NDArray
    y_pred: NDArray
    speakers: NDArray
    layer: int | str | None = None

    @property
    def ua(self) -> Interval:
        """Unweighted accuracy with its interval over speakers."""
        return metrics.ua_interval(self.y_true, self.y_pred, self.speakers)

    @property
    def wa(self) -> float:
        """Weighted accuracy."""
        return metrics.weighted_accuracy(self.y_true, self.y_pred)

    @property
    def macro_f1(self) -> float:
        """Macro-averaged F1 score."""
        return metrics.macro_f1(self.y_true, self.y_pred)

    def lead_over(self, other: "Probe") -> Interval:
        """Return by how much its UA is above another's on the same clips, the same speakers drawn for both.

        Raises ValueError if the clips are others.
        """
        if not np.array_equal(self.y_true, other.y_true) or not np.array_equal(self.speakers, other.speakers):
            raise ValueError("two probes of different clips; expected the same clips in the same order")
        return metrics.ua_interval(self.y_true, self.y_pred, self.speakers, over=other.y_pred)

    def __len__(self) -> int:
        return len(self.y_true)


def make_probe(regularisation: float = 0.1, seed: int = 0) -> Pipeline:
    """Return the project's probe: standardised features into a multinomial logistic regression.

    Parameters
    ----------
    regularisation : float
        scikit-learn's C. The default suits some hundred to some thousand clips in 100 to 2,000 dimensions.
    seed : int
    """
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=regularisation, max_iter=2000, random_state=seed)
    )


def cross_validate(
    features: ArrayLike, manifest: pd.DataFrame, folds: Sequence[splits.Fold], *,
    test_features: ArrayLike | None = None, estimator: Any | None = None, layer: int | str | None = None,
    client: Any = None,
) -> Probe:  # fmt: skip
    """Predict every clip with a probe that was trained without its fold.

    Parameters
    ----------
    features : array-like, (N, D), in the order of the manifest
    manifest : DataFrame, N rows
    folds : list of (train, test), as `splits.folds` returns them
    test_features : array-like, (N, D), optional
        The same clips as they are in testing, over another channel for instance; `features` by default.
    estimator : scikit-learn classifier, optional
        `make_probe` by default; it is cloned for each fold.
    layer : int or str, optional
        Passed on to the result.
    client : distributed.Client, optional
        Train each fold on one of its workers, as `scheduling.connect` yields it; the answers are the same.

    Raises
    ------
    ValueError
        If the lengths differ, a feature is not finite, a clip is in no test fold, or a training fold has one
        class.
    """
    X = checked_features(features, manifest)
    tested = X if test_features is None else checked_features(test_features, manifest)
    if tested.shape != X.shape:
        raise ValueError(f"test features of shape {tested.shape}; expected the features' {X.shape}")
    return _held_out({layer: (X, tested)}, manifest, folds, estimator=estimator, client=client)


def choose_layer(
    layers: dict[int, NDArray] | dict[int | str, NDArray], manifest: pd.DataFrame,
    folds: Sequence[splits.Fold], *, scheme: splits.Scheme = "speaker", partial: bool = False,
    client: Any = None,
) -> Probe:  # fmt: skip
    """Predict every clip at the layer that was best on its training folds alone.

    Parameters
    ----------
    layers : dict of layer to features, (N, D)
    manifest : DataFrame, N rows
    folds : list of (train, test)
    scheme : str
        How the training part is cut again to choose; ``speaker`` unless a leak is to be shown. A single layer
        leaves no choice, and its training part is not cut.
    partial : bool
        Leave clips that are in no test fold out of the result; they are refused by default.
    client : distributed.Client, optional
        Choose and train for each fold on one of its workers.

    Raises
    ------
    ValueError
        As `cross_validate` does, and if a training part cannot be cut again: choosing takes three speakers.

    Notes
    -----
    A layer that is chosen on the clips it is then judged by is chosen partly for its luck with them.
    """
    tables = {k: checked_features(X, manifest) for k, X in layers.items()}
    both = {k: (X, X) for k, X in tables.items()}
    return _held_out(both, manifest, folds, scheme=scheme, partial=partial, client=client)


# ------------------------------------------------------------------------------------- soft labels


@dataclass(frozen=True)
class SoftProbe:
    """The held-out answers of a probe to clips whose raters differ, and what they are worth.

    Attributes
    ----------
    y_true, y_pred : float64 arrays, (N, C); shares of the raters, and probabilities, each row's sum is 1
    words : tuple of C str
    speakers : str array, (N,)
    layer : int or str, optional
        The layer, or the one chosen most often where each fold chose its own.
    """

    y_true: NDArray[np.float64]
    y_pred: NDArray[np.float64]
    words: tuple[str, ...]
    speakers: NDArray
    layer: int | str | None = None

    @property
    def cross_entropy(self) -> Interval:
        """The mean of -sum_c p_c ln q_c, in nats; the entropy of the raters is the least it can be."""
        return metrics.mean_interval(self._cross_entropies(), self.speakers)

    @property
    def jensen_shannon(self) -> Interval:
        """The mean Jensen-Shannon divergence in bits: 0 for equal shares, 1 for none in common."""
        middle = (self.y_true + self.y_pred) / 2
        both = (special.rel_entr(p, middle).sum(axis=1) for p in (self.y_true, self.y_pred))
        return metrics.mean_interval(sum(both) / 2 / np.log(2), self.speakers)

    def n_best(self, n: int) -> Interval:
        """Return the share of clips whose most chosen emotion is among the n most probable ones.

        Where several were chosen most often, each of them will do.
        """
        ranks = np.argsort(np.argsort(-self.y_pred, axis=1, kind="stable"), axis=1)
        is_most = self.y_true == self.y_true.max(axis=1, keepdims=True)
        return metrics.mean_interval((is_most & (ranks < n)).any(axis=1), self.speakers)

    def lead_over(self, other: "SoftProbe") -> Interval:
        """Return by how much its cross-entropy is below another's on the same clips."""
        if not np.array_equal(self.y_true, other.y_true):
            raise ValueError("two probes of different clips; expected the same clips in the same order")
        return metrics.difference_interval(other._cross_entropies(), self._cross_entropies(), self.speakers)

    def _cross_entropies(self) -> NDArray[np.float64]:
        return -(self.y_true * np.log(np.maximum(self.y_pred, 1e-12))).sum(axis=1)

    def __len__(self) -> int:
        return len(self.y_true)


def votes(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return how many raters chose each emotion, or what share of them: one column an emotion, in order.

    Raises
    ------
    ValueError
        If the manifest has no votes for two emotions, or a clip has none.
    """
    found = {name.removeprefix(VOTES): manifest[name] for name in manifest.columns if name.startswith(VOTES)}
    if len(found) < 2:
        raise ValueError(
            "no votes of raters; soft labels need columns such as votes_angry, or a table with several raters"
        )
    counts = pd.DataFrame(found).reindex(columns=emotions.ordered(list(found))).astype(float).fillna(0)
    unfit = (counts < 0).any(axis=1) | (counts.sum(axis=1) == 0)
    if unfit.any():
        raise ValueError(f"{unfit.sum()} clips have no votes, or negative ones; leave them out")
    return counts


def cross_validate_soft(
    layers: Mapping[Any, NDArray], manifest: pd.DataFrame, folds: Sequence[splits.Fold], *,
    labels: Literal["soft", "hard", "prior"] = "soft",
) -> SoftProbe:  # fmt: skip
    """Predict what share of the raters chose each emotion, by a probe that never saw the clip's fold.

    Parameters
    ----------
    layers : mapping of layer to features, (N, D)
        Where there are several, each fold takes the one of least cross-entropy within its training speakers.
    manifest : DataFrame, N rows, with columns of votes
    folds : list of (train, test)
    labels : {"soft", "hard", "prior"}
        What it is trained on: each rater's choice, the choice of most (the first of those that tie), or, as
        baseline, no features but the training clips' mean shares. All are judged by the raters' shares.

    Raises
    ------
    ValueError
        As `votes` and `cross_validate` do.

    Notes
    -----
    The probe is `make_probe`. A clip stands in its training once for each emotion that was chosen, weighted
    by that emotion's share: the loss is the cross-entropy with the shares.
    """
    counts = votes(manifest)
    shares = counts.to_numpy() / counts.to_numpy().sum(axis=1, keepdims=True)
    tables = {layer: checked_features(X, manifest) for layer, X in layers.items()}
    chosen = list[Any]()

    def gain(X: NDArray, part: pd.DataFrame, inner: list[splits.Fold]) -> float:
        return -cross_validate_soft({0: X}, part, inner, labels=labels).cross_entropy.value

    def answer(train: NDArray, test: NDArray) -> NDArray:
        targets = shares[train]
        if labels == "prior":
            return targets.mean(axis=0)
        best = best_layer({k: X[train] for k, X in tables.items()}, manifest.iloc[train], gain)
        chosen.append(best)
        if labels == "hard":
            targets = np.eye(shares.shape[1])[targets.argmax(axis=1)]
        rows, classes = np.nonzero(targets)
        weights = targets[rows, classes]
        probe = make_probe().fit(
            tables[best][train][rows], classes, standardscaler__sample_weight=weights,
            logisticregression__sample_weight=weights,
        )  # fmt: skip
        answers = np.zeros((len(test), shares.shape[1]))
        answers[:, probe.classes_] = probe.predict_proba(tables[best][test])
        return answers

    y_pred = splits.held_out(folds, shares.shape, answer)
    layer = mode(sorted(chosen, key=str)) if chosen else None
    return SoftProbe(shares, y_pred, tuple(counts.columns), manifest["speaker"].to_numpy(str), layer)


# ------------------------------------------------------------------------------------- geometry of classes


#: What gives a label away without any speech, and what to do about it.
LEAKS = {
    "duration_s": "cut or pad the clips to one length, or show this number beside every result",
    "padding_s": "leave the zeros out with --trim-silence",
    "level_db": "bring the clips to one level, or show this number beside every result",
}


def leaks(measures: pd.DataFrame, manifest: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Probe each measure of how clips were recorded, alone, for the emotion of speakers held out.

    Parameters
    ----------
    measures : DataFrame, N rows; such as `quality.recordings` gives, of which `LEAKS` are used
    manifest : DataFrame, N rows
    seed : int; of the folds

    Returns
    -------
    found : DataFrame
        A row a measure: value (the UA), low, high, chance, and in `warning` a sentence where it is far above
        chance, or nothing.

    Notes
    -----
    The probe is a tree of at most 32 leaves, classes weighted to be equal: a single number may tell a label
    in any shape. Level and duration are also ways to express an emotion; padding is none. Far above chance is
    where the interval (or the value, without one) begins past a quarter of the way from chance to 1.
    """
    folds, chance = splits.folds(manifest, "speaker", seed=seed), 1 / manifest["emotion"].nunique()
    rows = {}
    for name, cure in LEAKS.items():
        tree = DecisionTreeClassifier(max_leaf_nodes=32, class_weight="balanced", random_state=seed)
        ua = cross_validate(measures[[name]].to_numpy(), manifest, folds, estimator=tree).ua
        least = ua.value if np.isnan(ua.low) else ua.low
        told = f"{name} alone tells the emotion with UA {ua} where chance is {chance:.2f}: {cure}"
        warning = told if least > chance + 0.25 * (1 - chance) else ""
        rows[name] = {"value": ua.value, "low": ua.low, "high": ua.high, "chance": chance, "warning": warning}
    return pd.DataFrame.from_dict(rows, "index")


def class_similarity(
    features: ArrayLike, labels: ArrayLike, speakers: ArrayLike | None = None
) -> pd.DataFrame:
    """Return the cosine similarity between the classes' centroids, a symmetric table, (C, C).

    Parameters
    ----------
    features : array-like, (N, D)
    labels : array-like of emotions, (N,)
    speakers : array-like, (N,), optional
        Where given, each speaker's mean is taken away first, so that voices do not hide emotions.

    Notes
    -----
    Features are centred on their common mean: raw centroids all point the same way.
    """
    X = centre_speakers(features, np.zeros(len(np.asarray(labels))) if speakers is None else speakers)
    names = emotions.ordered(np.asarray(labels).tolist())
    centroids = np.stack([X[np.asarray(labels) == name].mean(axis=0) for name in names])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True) + 1e-12
    return pd.DataFrame(centroids @ centroids.T, index=names, columns=names)


def centre_speakers(features: ArrayLike, speakers: ArrayLike) -> NDArray[np.float64]:
    """Take each speaker's mean away from their features, (N, D); no label is used."""
    X, (_, codes) = np.asarray(features, dtype=np.float64), np.unique(speakers, return_inverse=True)
    return X - group_means(X, speakers)[codes]


def group_means(X: NDArray[np.float64], groups: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of each group's rows, (S, D), groups in sorted order."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    shares = 1 / np.bincount(codes, minlength=len(names))[codes]
    return sparse.csc_array((shares, codes, np.arange(len(X) + 1)), (len(names), len(X))) @ X


def standardise_speakers(
    features: ArrayLike, speakers: ArrayLike, *, n_clips: int | None = None, prior_clips: float = 5.0,
    seed: int = 0,
) -> NDArray[np.floating]:  # fmt: skip
    """Take each speaker's own level and spread out of features; no label is used.

    Parameters
    ----------
    features : array-like, (N, D)
    speakers : array-like, (N,)
    n_clips : int, optional
        Take mean and deviation from so many of a speaker's clips, drawn at random, two or more; from all of
        them by default, and where there are fewer.
    prior_clips : float
        A speaker's mean and variance are averaged with the corpus's, which count as this many clips: of a
        speaker with few clips, little is taken away. 0 takes nothing from other speakers.
    seed : int
        Seed of the draw.

    Returns
    -------
    X : float array, (N, D); float32 where the features are, else float64

    Raises
    ------
    ValueError
        If the lengths differ, or `n_clips` is below two.

    Notes
    -----
    It needs several of a speaker's clips at once, and assumes that all speakers spoke with much the same
    emotions: the clips of a speaker with angry clips only would look neutral. A score on such features is one
    for speakers of whom unlabelled clips are at hand.
    """
    X, names = np.array(features, dtype=np.float64), np.asarray(speakers)
    check_consistent_length(X, names)
    if n_clips is not None and n_clips < 2:
        raise ValueError(f"n_clips {n_clips}; expected two or more, since one clip has no deviation")
    mean, members = X.mean(axis=0), [np.flatnonzero(names == name) for name in np.unique(names)]
    within = sum(np.square(X[rows] - X[rows].mean(axis=0)).sum(axis=0) for rows in members) / len(X)
    rng = np.random.default_rng(seed)
    for rows in members:
        known = X[rows if n_clips is None else rng.permutation(rows)[:n_clips]]
        weight = len(known) / (len(known) + prior_clips)
        spread = np.sqrt(weight * known.var(axis=0) + (1 - weight) * within)
        level = weight * known.mean(axis=0) + (1 - weight) * mean
        X[rows] = (X[rows] - level) / np.where(spread > 1e-12, spread, 1.0)
    return X.astype(np.float32) if np.asarray(features).dtype == np.float32 else X


def linear_cka(a: ArrayLike, b: ArrayLike) -> float:
    """Return the linear centred kernel alignment of two feature sets of the same clips, from 0 to 1.

    Parameters
    ----------
    a, b : array-likes, (N, D) and (N, E)

    Notes
    -----
    CKA = ||A'B||² / (||A'A|| ||B'B||), with centred columns and the Frobenius norm. It is 1 where one is a
    rotation of the other, up to scale.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton (2019), "Similarity of Neural Network Representations
    Revisited", arXiv:1905.00414.
    """
    A, B = (X - X.mean(axis=0) for X in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    scale = np.linalg.norm(A.T @ A) * np.linalg.norm(B.T @ B)
    return float(np.square(A.T @ B).sum() / scale) if scale > 0 else 0.0


def silhouette(features: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> float:
    """Return the mean silhouette of standardised features, from -1 to 1, over 2,000 clips at most."""
    X = StandardScaler().fit_transform(np.asarray(features, dtype=np.float64))
    sample = min(len(X), 2_000)
    return float(silhouette_score(X, np.asarray(labels), sample_size=sample, random_state=seed))


def checked_features(features: ArrayLike, manifest: pd.DataFrame) -> NDArray[Any]:
    """Return features, float32 where they are and else float64.

    Raises
    ------
    ValueError
        If there is not one finite row for each clip of the manifest.
    """
    X, n = np.asarray(features), len(manifest)
    if X.dtype != np.float32:  # which a store gives, and halves the time of a fit
        X = X.astype(np.float64)
    if X.ndim != 2 or len(X) != n:
        raise ValueError(f"features of shape {X.shape} for {n} clips; expected ({n}, D)")
    if not np.isfinite(X).all():
        n_bad = int((~np.isfinite(X)).any(axis=1).sum())
        raise ValueError(f"features of {n_bad} clips are not finite; extract them again")
    return X


def best_layer(
    layers: Mapping[Any, NDArray], part: pd.DataFrame, score: Callable[..., float],
    scheme: splits.Scheme = "speaker",
) -> Any:  # fmt: skip
    """Return the layer of the highest ``score(X, part, folds)`` on a training part by itself."""
    if len(layers) == 1:
        return next(iter(layers))
    part = part.reset_index(drop=True)
    inner = splits.folds(part, scheme, n_folds=3)
    scores = {k: score(X, part, inner) for k, X in layers.items()}
    return max(scores, key=lambda k: scores[k])


#: A fold's test rows, its layers in training and in testing, its training clips, a scheme and an estimator.
_Task = tuple[NDArray[np.intp], dict[Any, tuple[NDArray, NDArray]], pd.DataFrame, splits.Scheme, Any]


def _held_out(
    layers: Mapping[Any, tuple[NDArray, NDArray]], manifest: pd.DataFrame, folds: Sequence[splits.Fold], *,
    scheme: splits.Scheme = "speaker", estimator: Any = None, partial: bool = False, client: Any = None,
) -> Probe:  # fmt: skip
    """Predict every clip from layers as they are in training and in testing, each fold choosing its own."""
    y_pred, chosen = np.full(len(manifest), "", dtype=object), list[Any]()
    tasks = (  # one by one: all at once they would hold the features once a fold
        (test, {k: (X[train], tested[test]) for k, (X, tested) in layers.items()}, manifest.iloc[train],
         scheme, estimator)
        for train, test in folds
    )  # fmt: skip
    here = ((task, functools.partial(_fit_fold, task)) for task in tasks)
    for (test, *_), result in scheduling.outcomes(client, _fit_fold, tasks) if client else here:
        best, y_pred[test] = result()
        chosen.append(best)
    y, speakers, tested = manifest["emotion"].to_numpy().astype(str), manifest["speaker"], y_pred != ""
    if not partial and not tested.all():
        raise ValueError(f"{int((~tested).sum())} of {len(y)} clips are in no test fold")
    layer = mode(sorted(chosen, key=str))
    return Probe(y[tested], y_pred[tested].astype(str), speakers.to_numpy()[tested], layer)


def _fit_fold(task: _Task) -> tuple[Any, NDArray]:
    """Return the layer that is best within a fold's training clips, and its answers to the test clips."""
    _, layers, part, scheme, estimator = task
    best = best_layer({k: X for k, (X, _) in layers.items()}, part, _ua, scheme)
    y = part["emotion"].to_numpy().astype(str)
    if len(np.unique(y)) < 2:
        raise ValueError(f"a training fold holds {str(y[0])!r} alone; a probe needs two emotions")
    probe = make_probe() if estimator is None else clone(estimator)
    # on problems of this size the threads of BLAS wait for each other longer than they work
    with threadpool_limits(1):
        return best, probe.fit(layers[best][0], y).predict(layers[best][1])


def _ua(X: NDArray, part: pd.DataFrame, inner: list[splits.Fold]) -> float:
    probe = cross_validate(X, part, inner)
    return metrics.unweighted_accuracy(probe.y_true, probe.y_pred)


class LabelledTransformer(TransformerMixin, BaseEstimator):
    """A transformer that is fitted on labels as well as features."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


# ------------------------------------------------------------------------------------- a neural baseline


_BATCH, _WIDTH = 32, 64


class _Network(nn.Module):
    """Project frames, weigh them, pool mean and deviation under the weights, and classify."""

    def __init__(self, width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, _WIDTH), nn.GELU(), nn.Dropout(dropout))
        self.attend = nn.Linear(_WIDTH, 1)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * _WIDTH, n_classes))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        hidden = self.project(frames)
        weight = self.attend(hidden).masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
        mean = (weight * hidden).sum(1)
        deviation = ((weight * hidden.square()).sum(1) - mean.square()).clamp_min(1e-6).sqrt()
        return self.classify(torch.cat([mean, deviation], dim=1))


class AttentionPoolingClassifier(ClassifierMixin, BaseEstimator):
    """Classify sequences of frames by attention pooling, on the CPU.

    Parameters
    ----------
    n_epochs : int
    learning_rate, dropout : float
    seed : int

    Attributes
    ----------
    classes_ : array, (C,)
    losses_ : list of float; mean training loss of each epoch

    Notes
    -----
    X is a sequence of N arrays (T, D), each of its own length, or an array (N, D), read as N clips of one
    frame. Frames are standardised by the training set's mean and deviation, and projected to 64 numbers.
    """

    def __init__(
        self, *, n_epochs: int = 20, learning_rate: float = 2e-3, dropout: float = 0.2, seed: int = 0
    ) -> None:
        self.n_epochs, self.learning_rate, self.dropout, self.seed = n_epochs, learning_rate, dropout, seed

    def fit(self, X: Sequence[ArrayLike], y: ArrayLike) -> "AttentionPoolingClassifier":
        """Train on N clips of frames and their labels."""
        labels = validate_data(self, y=y)
        check_classification_targets(labels)
        clips = self._check(X, reset=True)
        check_consistent_length(clips, labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class, {self.classes_[0]}; expected at least two")
        stacked = np.concatenate(clips)
        self.mean_, self.scale_ = stacked.mean(0), stacked.std(0) + 1e-6
        self._train(self._standardise(clips), torch.from_numpy(codes))
        return self

    @torch.inference_mode()
    def predict_proba(self, X: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Return each clip's class probabilities, (N, C)."""
        check_is_fitted(self)
        clips = self._standardise(self._check(X, reset=False))
        batches = [clips[i : i + _BATCH] for i in range(0, len(clips), _BATCH)]
        return torch.cat([self.network_(*_padded(batch)).softmax(1) for batch in batches]).double().numpy()

    def predict(self, X: Sequence[ArrayLike]) -> NDArray:
        """Return each clip's most probable label, (N,)."""
        answers = self.predict_proba(X).argmax(axis=1)  # which refuses where nothing is fitted
        return self.classes_[answers]

    @threads.single()
    def _train(self, clips: list[Tensor], codes: Tensor) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = _Network(self.n_features_in_, len(self.classes_), self.dropout)
        per_epoch = math.ceil(len(clips) / _BATCH)
        steps = self.n_epochs * per_epoch
        recipe = Recipe(
            steps, self.learning_rate, warmup=steps // 3, decay_share=0.7, weight_decay=1e-2,
            max_norm=math.inf, seed=self.seed,
        )  # fmt: skip
        training = Training(self.network_, recipe, device="cpu")

        def batch(step: int) -> list[NDArray[np.intp]]:
            order = np.random.default_rng((self.seed, step // per_epoch)).permutation(len(clips))
            return [order[step % per_epoch * _BATCH :][:_BATCH]]

        def loss(rows: NDArray[np.intp]) -> Tensor:
            logits = training.whole(*_padded([clips[row] for row in rows]))
            return nn.functional.cross_entropy(logits, codes[rows])

        training.run(batch, loss)
        self.losses_ = np.reshape(training.losses, (-1, per_epoch)).mean(axis=1).tolist()

    def _standardise(self, clips: list[NDArray]) -> list[Tensor]:
        return [torch.from_numpy(((clip - self.mean_) / self.scale_).astype(np.float32)) for clip in clips]

    def _check(self, X: Sequence[ArrayLike], *, reset: bool) -> list[NDArray]:
        if not (isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) == 2):
            table = validate_data(self, X, dtype=np.float64, reset=reset)  # one frame a clip
            return list(table[:, None])
        clips = [np.asarray(clip, dtype=np.float64) for clip in X]
        if reset:
            self.n_features_in_ = clips[0].shape[1]
        for i, clip in enumerate(clips):
            if clip.ndim != 2 or clip.shape[1] != self.n_features_in_ or not len(clip):
                expected = f"(T, {self.n_features_in_}) with at least one frame"
                raise ValueError(f"clip {i} has shape {clip.shape}; expected {expected}")
            if not np.isfinite(clip).all():
                raise ValueError(f"clip {i} holds NaN or infinite frames")
        return clips


def _padded(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return clips of differing length as frames, (B, T, D), and a mask, (B, T), true within a clip."""
    lengths = torch.tensor([len(clip) for clip in clips])
    frames = nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
    return frames, torch.arange(frames.shape[1])[None] < lengths[:, None]
