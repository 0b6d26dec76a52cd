"""`EmotionAxis`: the direction from one emotion to another in the space of an encoder's features.

`fit_axes`, `cosine_table` and `EmotionSubspace` are about the directions of several emotions.

References
----------
Mean difference: N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive Activation Addition",
arXiv:2312.06681. Principal component: A. Zou et al. (2023), "Representation Engineering", arXiv:2310.01405.
Shrinkage: O. Ledoit, M. Wolf (2004), doi:10.1016/S0047-259X(03)00096-4. Resultant length: K. V. Mardia,
P. E. Jupp (2000), "Directional Statistics". The subspace of class means, here without whitening: C. R. Rao
(1948), "The Utilization of Multiple Measurements in Problems of Biological Classification",
doi:10.1111/j.2517-6161.1948.tb00008.x.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, solve
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from emolib import __version__, emotions, files, results
from emolib.axis import hooks
from emolib.probing import LabelledTransformer, centre_speakers, group_means
from emolib.store import FeatureStore, Pooling

METHODS = ("mean-difference", "logistic", "lda", "pca")
Floats = NDArray[np.float64]

#: What an axis and the features that it is applied to must share.
_IDENTITY = ("encoder", "fingerprint", "layer", "pooling")


class EmotionAxis(files.Saved, LabelledTransformer):
    """One direction from a source emotion to a target emotion.

    Parameters
    ----------
    source, target : str, optional
        Labels in y. Clips of other labels only help to estimate each speaker's mean. None takes the first,
        or the last, of y's labels in sorted order.
    method : {"logistic", "mean-difference", "lda", "pca"}
        ``mean-difference``: every speaker's difference of means at unit length, averaged. ``logistic`` and
        ``lda``: the discriminant of speaker-centred clips. ``pca``: their first principal component. The
        discriminants separate best on the corpus that they were fitted on; the mean difference transfers
        best.
    regularisation : float
        scikit-learn's C of the logistic regression, on features at unit spread within the emotions. It is a
        tenth of the probe's: it separates unseen speakers as well, and loses less on other corpora.

    Attributes
    ----------
    direction_ : float64 array, (D,), unit length
    scale_ : float; the distance between the two emotions along the direction, in the features' unit
    origin_ : float64 array, (D,); the source emotion's mean, each speaker counting once
    centre_ : float64 array, (D,); the mean of the speakers' means
    source_, target_ : str; the labels that were taken
    speakers_ : list; the speakers fitted on, one None without groups
    speaker_directions_ : float64 array, (S, D); each speaker's own axis, unit length
    resultant_length_ : float; 1 if the speakers' own axes agree, about S ** -0.5 by chance
    incomplete_ : list of str; a sentence for each speaker who lacks one of the emotions and was left out

    Notes
    -----
    Clips project to ``(x - origin_) @ direction_ / scale_``: 0 at the source's mean, 1 at the target's, so
    that a shift by 1 means "one emotion further" on every axis.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["calm", "angry"], 50)
    >>> X = rng.normal(size=(100, 8)) + np.outer(y == "angry", [4, 0, 0, 0, 0, 0, 0, 0])
    >>> axis = EmotionAxis("calm", "angry").fit(X, y)
    >>> axis.project(X[y == "angry"]).mean().round(2)
    np.float64(1.0)
    """

    KIND, ALONE = "EmotionAxis", True

    def __init__(
        self, source: str | None = "calm", target: str | None = "angry", method: str = "logistic", *,
        regularisation: float = 0.01,
    ) -> None:  # fmt: skip
        self.source, self.target = source, target
        self.method, self.regularisation = method, regularisation

    def fit(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, *,
        provenance: Mapping[str, object] | None = None,
    ) -> Self:  # fmt: skip
        """Find the direction.

        Parameters
        ----------
        X : array-like, (N, D)
        y : array-like of str, (N,)
            Emotions, also others than the two: a speaker's mean is taken over all of their clips.
        groups : array-like, (N,), optional
            Speakers. Without them all clips count as one speaker's, and voices mix with emotions.
        provenance : mapping, optional
            encoder, fingerprint, layer, pooling and corpus of the features, as `fit_axis` gives them.

        Raises
        ------
        ValueError
            If an emotion is not in y, no speaker has both, or the emotions do not differ.

        Warns
        -----
        UserWarning
            If a speaker is left out because they have one of the two emotions only.
        """
        X, y = map(np.asarray, validate_data(self, X, y, dtype=np.float64))
        self.source_, self.target_ = two_labels(y, self.source, self.target)
        speakers = _speakers(groups, X)
        chosen, self.incomplete_ = complete_speakers(y, speakers, self.source_, self.target_)
        if self.incomplete_:
            warnings.warn(f"left out: {'; '.join(self.incomplete_)}", UserWarning, stacklevel=2)
        self.speakers_ = [None] if groups is None else chosen
        known, is_source, is_target = np.isin(speakers, chosen), y == self.source_, y == self.target_
        rows = known & (is_source | is_target)
        self._find(_centred(X, speakers)[rows], is_target[rows], speakers[rows])
        self.centre_, self.origin_, end = (
            group_means(X[some], speakers[some]).mean(axis=0)
            for some in (known, known & is_source, known & is_target)
        )
        self.scale_ = float((end - self.origin_) @ self.direction_)
        unknown = dict.fromkeys((*_IDENTITY, "corpus", "commit"))
        named = [str(name) for name in self.speakers_ if name is not None]
        own = {"speakers": named, "n": int(rows.sum()), "emolib": __version__}
        self.provenance_: dict[str, Any] = unknown | dict(provenance or {}) | own
        return self

    def _find(self, X: Floats, is_target: NDArray[np.bool_], speakers: NDArray) -> None:
        """Set the direction from speaker-centred clips of both emotions."""
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; expected one of: {', '.join(METHODS)}")
        target, source = (group_means(X[some], speakers[some]) for some in (is_target, ~is_target))
        differences = target - source
        length = np.linalg.norm(differences, axis=1, keepdims=True)
        units = np.divide(differences, length, out=np.zeros_like(differences), where=length > 0)
        direction = {
            "mean-difference": lambda: units.mean(axis=0),
            "logistic": lambda: _logistic(X, is_target, self.regularisation),
            "lda": lambda: _lda(X, is_target),
            "pca": lambda: _widest(X - X.mean(axis=0)),
        }[self.method]()
        size, towards = np.linalg.norm(direction), differences.mean(axis=0) @ direction
        if not size > 0 or towards == 0:
            why = "the two emotions' features have the same mean, or do not vary"
            raise ValueError(f"no direction by {self.method!r}: {why}")
        self.direction_ = direction / size * np.sign(towards)
        self.speaker_directions_ = units
        self.resultant_length_ = float(np.linalg.norm(units.mean(axis=0)))

    @property
    def vector_(self) -> Floats:
        """``scale_ * direction_``, (D,): the step from the source emotion to the target."""
        return self.scale_ * self.direction_

    def project(self, X: ArrayLike, groups: ArrayLike | None = None) -> Floats:
        """Return where clips lie on the axis, (N,): 0 at the source emotion's mean, 1 at the target's.

        Parameters
        ----------
        X : array-like, (N, D)
        groups : array-like, (N,), optional
            Speakers; each one's mean over these very clips is moved to `centre_` first. That needs several
            clips of each, in more than one emotion, but no label.
        """
        check_is_fitted(self)
        clips = np.asarray(validate_data(self, X, reset=False, dtype=np.float64))
        if groups is not None:
            clips = centre_speakers(clips, _speakers(groups, clips)) + self.centre_
        return (clips - self.origin_) @ self.direction_ / self.scale_

    def transform(self, X: ArrayLike) -> Floats:
        """Return `project(X)` as a column, (N, 1), for use in a pipeline."""
        return self.project(X)[:, None]

    def shift(self, X: ArrayLike, delta: float | ArrayLike) -> NDArray[np.floating]:
        """Move clips or frames along the axis.

        Parameters
        ----------
        X : array-like, (N, D)
        delta : float or array-like, (N,)
            1 is one emotion further, -1 one back.

        Returns
        -------
        shifted : array, (N, D), ``X + delta * scale_ * direction_``; float32 if X is
        """
        check_is_fitted(self)
        rows = np.asarray(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))
        steps = np.asarray(delta, dtype=np.float64)
        if not np.isfinite(steps).all() or steps.shape not in ((), (len(rows),)):
            raise ValueError(
                f"delta {delta!r}; expected a finite number, or one for each of {len(rows)} rows"
            )
        return rows + (steps[..., None] * self.vector_).astype(rows.dtype)

    def apply(
        self, model: Any, strengths: Mapping[int, float | ArrayLike], *, operator: hooks.Operator = "add",
        frames: slice | ArrayLike | None = None, keep_norm: bool = False, blocks: str | None = None,
    ) -> AbstractContextManager[None]:  # fmt: skip
        """Move a network's hidden states along the axis while the context is open.

        Parameters
        ----------
        model : Encoder, voice of `emolib.tts`, or torch module
        strengths : mapping of layer to strength
            1 is one emotion further. An axis that knows its layer takes that one alone; `apply_axes` takes
            several axes, each at its own.
        operator, frames, keep_norm, blocks
            As `apply_axes` takes them, which also says what is raised.

        Examples
        --------
        >>> with axis.apply(encoder, {3: 0.5}, operator="rotate"):  # doctest: +SKIP
        ...     [hidden_states] = encoder.encode([wave], 16_000)
        """
        check_is_fitted(self)
        plan = {layer: (self, strength) for layer, strength in strengths.items()}
        return hooks.apply_axes(
            model, plan, operator=operator, frames=frames, keep_norm=keep_norm, blocks=blocks
        )

    def speaker_cosines(self) -> Floats:
        """Return the cosine similarity among the speakers' own axes, (S, S)."""
        check_is_fitted(self, "speaker_directions_")
        return np.clip(self.speaker_directions_ @ self.speaker_directions_.T, -1, 1)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the axis comes from: encoder, fingerprint, layer, pooling, corpus, speakers, n, commit."""
        check_is_fitted(self)
        return dict(self.provenance_)

    def check(
        self, *, encoder: str | None = None, fingerprint: str | None = None, layer: int | None = None,
        pooling: str | None = None,
    ) -> None:  # fmt: skip
        """Raise ValueError if the axis was fitted on features of another encoder, layer or pooling.

        Properties of the features that are left out are not compared, nor those that an axis of bare arrays
        lacks. The same weights under another path are the same encoder.
        """
        check_is_fitted(self)
        own, its = self.provenance_, dict(zip(_IDENTITY, (encoder, fingerprint, layer, pooling), strict=True))
        shared = [name for name in _IDENTITY if None not in (own.get(name), its[name])]
        if "fingerprint" in shared and own["fingerprint"] == its["fingerprint"]:
            shared = [name for name in shared if name != "encoder"]
        if differing := [name for name in shared if own[name] != its[name]]:
            mine, theirs = (", ".join(f"{name} {of[name]}" for name in differing) for of in (own, its))
            raise ValueError(
                f"the axis {self.source_} to {self.target_} was fitted on features of {mine}; these are of "
                f"{theirs}: fit one on features like these, or take features like its own"
            )

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        check_is_fitted(self)
        # the columns' names come from the table that was fitted on, and are no part of the model
        fitted = {k: v for k, v in vars(self).items() if k.endswith("_") and k != "feature_names_in_"}
        arrays = {name: value for name, value in fitted.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in fitted.items() if name not in arrays}
        return {"parameters": self.get_params(), "fitted": plain}, arrays

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any) -> Self:
        axis = cls(**config["parameters"])
        axis.__dict__.update(config["fitted"] | arrays)
        return axis

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # scikit-learn's checks label clips with numbers, which an axis between named emotions refuses;
        # EmotionAxis(None, None) takes them, and passes
        tags._skip_test = None not in (self.source, self.target)
        return tags


def fit_axis(
    manifest: pd.DataFrame, store: FeatureStore, layer: int, *, source: str = "calm", target: str = "angry",
    method: str = "logistic", pooling: Pooling = "mean",
) -> EmotionAxis:  # fmt: skip
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
    X, config = store.pooled(layer, pooling, manifest["clip"].tolist()), store.config
    identity = (config.encoder, config.fingerprint, layer, pooling)
    provenance = dict(zip(_IDENTITY, identity, strict=True)) | {
        "corpus": " + ".join(sorted(set(manifest["corpus"]))),
        "commit": results.environment("cpu")["commit"],
    }
    axis = EmotionAxis(source, target, method)
    return axis.fit(X, manifest["emotion"], manifest["speaker"], provenance=provenance)


def two_labels(y: NDArray, source: str | None, target: str | None) -> tuple[Any, Any]:
    """Return the labels of the two emotions; None stands for the first, or the last, in sorted order.

    Raises
    ------
    ValueError
        If y lacks one of them, or both are the same.
    """
    present = np.unique(y).tolist()
    chosen = (present[0] if source is None else source, present[-1] if target is None else target)
    for label in chosen:
        if label not in present:
            raise ValueError(f"no clip of emotion {label!r}; those there are: {', '.join(map(str, present))}")
    if chosen[0] == chosen[1]:
        raise ValueError(f"one class, {chosen[0]!r}, as both source and target; an axis needs two")
    return chosen


def complete_speakers(y: NDArray, speakers: NDArray, source: Any, target: Any) -> tuple[list[Any], list[str]]:
    """Return the speakers who have clips of both emotions, sorted, and a sentence for each who has only one.

    Raises
    ------
    ValueError
        If no speaker has both.
    """
    of_source, of_target = (set(speakers[y == emotion].tolist()) for emotion in (source, target))
    if not of_source & of_target:
        raise ValueError(
            f"no speaker has clips of both {source!r} and {target!r}; an axis is learned from differences "
            f"within speakers"
        )
    sentences = [
        f"speaker {name} has no clip of {target if name in of_source else source!r}"
        for name in sorted(of_source ^ of_target)
    ]
    return sorted(of_source & of_target), sentences


def _speakers(groups: ArrayLike | None, X: Floats) -> NDArray:
    """Return each row's speaker, (N,); without groups all rows have the same one."""
    speakers = np.zeros(len(X), dtype=int) if groups is None else column_or_1d(groups)
    check_consistent_length(X, speakers)
    return speakers


def _centred(X: Floats, speakers: NDArray) -> Floats:
    """Take each speaker's mean away; what rounding leaves of a constant feature becomes 0."""
    result = centre_speakers(X, speakers)
    result[:, np.abs(result).max(axis=0) <= 1e-12 * np.abs(X).max(axis=0)] = 0
    return result


def _widest(X: Floats) -> Floats:
    """Return the direction in which centred rows vary most."""
    last = X.shape[1] - 1
    return eigh(X.T @ X, subset_by_index=(last, last))[1][:, 0]


def _logistic(X: Floats, is_target: NDArray[np.bool_], regularisation: float) -> Floats:
    """Return the weights of a logistic regression, each feature at unit spread within the classes."""
    # at unit spread over both classes, the features that separate them would be shrunk the most
    _, deviation = _within(X, is_target)
    model = LogisticRegression(C=regularisation, tol=1e-6, max_iter=2000)
    return model.fit(X / deviation, is_target).coef_[0] / deviation


def _lda(X: Floats, is_target: NDArray[np.bool_]) -> Floats:
    """Return Fisher's discriminant under a shrunk covariance within the classes."""
    within, deviation = _within(X, is_target)
    difference = X[is_target].mean(axis=0) - X[~is_target].mean(axis=0)
    covariance, _ = ledoit_wolf(within / deviation, assume_centered=True)
    # a floor keeps it invertible where the classes have no spread, or a feature none
    floor = 1e-9 * np.eye(len(covariance))
    return solve(covariance + floor, difference / deviation, assume_a="pos") / deviation


def _within(X: Floats, is_target: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the clips' differences from their class's mean, (N, D), and their deviations, 1 where 0."""
    within = X - group_means(X, is_target)[is_target.astype(int)]
    deviation = within.std(axis=0)
    return within, np.where(deviation > 0, deviation, 1.0)


# ------------------------------------------------------------------------------------- several emotions


def fit_axes(
    X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, *, source: str = "neutral",
    method: str = "logistic",
) -> dict[str, EmotionAxis]:  # fmt: skip
    """Fit one axis from a source to each of the other emotions in y.

    The parameters are those of `EmotionAxis.fit`; the axes come in the vocabulary's order.
    """
    present = emotions.ordered(np.asarray(y).astype(str).tolist())
    return {name: EmotionAxis(source, name, method).fit(X, y, groups) for name in present if name != source}


def cosine_table(directions: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Return the cosine similarity among directions, (D,) each and none of length 0, as a symmetric table.

    Notes
    -----
    Two random directions in D dimensions have a cosine of 0 with a standard deviation of D ** -0.5.
    """
    rows = np.stack([np.asarray(direction, dtype=np.float64) for direction in directions.values()])
    if not (lengths := np.linalg.norm(rows, axis=1)).all():
        raise ValueError(f"directions of lengths {lengths.tolist()}; one of length 0 is none")
    table = np.clip(cosine_similarity(rows), -1, 1)
    return pd.DataFrame(table, index=list(directions), columns=list(directions))


class EmotionSubspace(LabelledTransformer):
    """The subspace that the means of speaker-centred emotions span.

    Parameters
    ----------
    n_components : int, optional
        By default as many as the means span, at most one less than emotions.

    Attributes
    ----------
    components_ : float64 array, (K, D), orthonormal, the widest first
    centre_ : float64 array, (D,); the mean of the speakers' means
    """

    def __init__(self, n_components: int | None = None) -> None:
        self.n_components = n_components

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Find the subspace; the parameters are those of `EmotionAxis.fit`.

        Raises
        ------
        ValueError
            If the emotions' means span fewer components than are asked for, or none.
        """
        X, y = map(np.asarray, validate_data(self, X, y, dtype=np.float64))
        speakers = _speakers(groups, X)
        means = group_means(_centred(X, speakers), y)
        _, widths, components = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
        spanned = int((widths > 1e-9 * widths[0]).sum())
        count = spanned if self.n_components is None else self.n_components
        if not 1 <= count <= spanned:
            raise ValueError(f"n_components {count}; the means of {len(means)} classes span {spanned}")
        self.components_ = components[:count]
        self.centre_ = group_means(X, speakers).mean(axis=0)
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Return coordinates in the subspace, (N, K), 0 at `centre_`."""
        check_is_fitted(self)
        clips = np.asarray(validate_data(self, X, reset=False, dtype=np.float64))
        return (clips - self.centre_) @ self.components_.T
