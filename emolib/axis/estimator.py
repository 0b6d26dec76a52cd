"""`EmotionAxis`: the direction from one emotion to another in the space of an encoder's features.

Second stage of `emolib.axis`: names, speakers and units around a direction.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from emolib.axis.algebra import AxisAlgebra
from emolib.axis.directions import (
    Floats,
    class_means,
    find_direction,
    resultant_length,
    speaker_directions,
)
from emolib.axis.provenance import check_same, describe
from emolib.axis.saved import read_model, write_model
from emolib.axis.selection import centred, complete_speakers, speakers_of, two_labels
from emolib.probing import centre_speakers


class EmotionAxis(AxisAlgebra, TransformerMixin, BaseEstimator):
    """One direction from a source emotion to a target emotion.

    Parameters
    ----------
    source, target : str, optional
        Labels in y; any others are of use for centring alone. None takes the first, or the last, of y's
        labels in sorted order.
    method : {"logistic", "mean-difference", "lda", "pca"}
        ``mean-difference``: every speaker's difference of means at unit length, averaged. ``logistic`` and
        ``lda``: the discriminant of speaker-centred clips. ``pca``: their first principal component. The
        discriminants separate best on the corpus that they were fitted on; the mean difference travels best.
    regularisation : float
        scikit-learn's C of the logistic regression, on features at unit spread within the emotions. A tenth
        of the probe's: it separates unseen speakers as well, and loses less on other corpora.

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
    incomplete_ : list of str; a sentence for each speaker left out for want of one of the emotions

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

    direction_: NDArray[np.float64]
    scale_: float
    origin_: NDArray[np.float64]
    centre_: NDArray[np.float64]

    def __init__(
        self,
        source: str | None = "calm",
        target: str | None = "angry",
        method: str = "logistic",
        *,
        regularisation: float = 0.01,
    ) -> None:
        self.source = source
        self.target = target
        self.method = method
        self.regularisation = regularisation

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        provenance: Mapping[str, object] | None = None,
    ) -> Self:
        """Find the direction.

        Parameters
        ----------
        X : array-like, (N, D)
        y : array-like of str, (N,)
            Emotions, more than the two are welcome: a speaker's mean is taken over all of their clips.
        groups : array-like, (N,), optional
            Speakers. Without them everybody counts as one, and voices are not told from emotions.
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
        speakers = speakers_of(groups, len(y))
        chosen, self.incomplete_ = complete_speakers(y, speakers, self.source_, self.target_)
        if self.incomplete_:
            warnings.warn(f"left out: {'; '.join(self.incomplete_)}", UserWarning, stacklevel=2)
        self.speakers_ = [None] if groups is None else chosen
        known, is_source, is_target = np.isin(speakers, chosen), y == self.source_, y == self.target_
        self.centre_ = class_means(X[known], speakers[known]).mean(axis=0)
        rows = known & (is_source | is_target)
        clips = centred(X, speakers)[rows], is_target[rows], speakers[rows]
        self.direction_ = find_direction(*clips, self.method, self.regularisation)
        self.speaker_directions_ = speaker_directions(*clips)
        self.resultant_length_ = resultant_length(self.speaker_directions_)
        means = [class_means(X[rows & of], speakers[rows & of]).mean(axis=0) for of in (is_source, is_target)]
        self.origin_, self.scale_ = means[0], float((means[1] - means[0]) @ self.direction_)
        self.provenance_ = describe(provenance, self.speakers_, int(rows.sum()))
        return self

    def project(self, X: ArrayLike, groups: ArrayLike | None = None) -> Floats:
        """Return where clips lie on the axis: 0 at the source emotion's mean, 1 at the target's.

        Parameters
        ----------
        X : array-like, (N, D)
        groups : array-like, (N,), optional
            Speakers; each one's mean over these very clips is moved to `centre_` first. That asks for several
            clips of each, in more than one emotion, but for no label.

        Returns
        -------
        projections : float64 array, (N,)
        """
        clips = self._checked(X)
        if groups is not None:
            clips = centre_speakers(clips, speakers_of(groups, len(clips))) + self.centre_
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

    def remove(self, X: ArrayLike) -> Floats:
        """Return X without its variation along the axis, (N, D): every row then projects to 0."""
        clips = self._checked(X)
        return clips - np.outer((clips - self.origin_) @ self.direction_, self.direction_)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the axis comes from: encoder, fingerprint, layer, pooling, corpus, speakers, n, commit."""
        check_is_fitted(self)
        return dict(self.provenance_)

    def check(
        self,
        *,
        encoder: str | None = None,
        fingerprint: str | None = None,
        layer: int | None = None,
        pooling: str | None = None,
    ) -> None:
        """Raise ValueError unless the axis belongs to features of this making.

        Parameters
        ----------
        encoder, fingerprint, layer, pooling
            Of the features; those left out are not looked at. What the axis does not know itself, having been
            fitted on bare arrays, can't differ.
        """
        check_is_fitted(self)
        features = {"encoder": encoder, "fingerprint": fingerprint, "layer": layer, "pooling": pooling}
        check_same(self.provenance_, features, f"{self.source_} to {self.target_}")

    def speaker_cosines(self) -> Floats:
        """Return the cosine similarity among the speakers' own axes, (S, S)."""
        check_is_fitted(self, "speaker_directions_")
        return np.clip(self.speaker_directions_ @ self.speaker_directions_.T, -1, 1)

    def save(self, folder: str | Path) -> Path:
        """Write the axis as ``config.json`` and ``model.safetensors``; an axis that is there is replaced.

        Raises
        ------
        ValueError
            If the folder holds anything else.
        """
        check_is_fitted(self)
        return write_model(Path(folder), self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an axis that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If the folder holds something else, or its files do not belong together.
        """
        return read_model(Path(folder), cls)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        # scikit-learn's checks label clips with numbers, which an axis between named emotions refuses;
        # EmotionAxis(None, None) takes them, and passes
        tags._skip_test = None not in (self.source, self.target)
        return tags

    def _checked(self, X: ArrayLike) -> Floats:
        """Return X as it was fitted on, float64 (N, D)."""
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))
