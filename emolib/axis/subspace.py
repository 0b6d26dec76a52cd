"""`EmotionSubspace`: the few dimensions that the means of several emotions span.

Part of `emolib.axis`: what `EmotionAxis` is to two emotions, this is to more.

References
----------
C. R. Rao (1948), "The Utilization of Multiple Measurements in Problems of Biological Classification",
doi:10.1111/j.2517-6161.1948.tb00008.x: the subspace of class means, here without whitening.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from emolib.axis.directions import Floats, class_means
from emolib.axis.saved import read_model, write_model
from emolib.axis.selection import centred, speakers_of
from emolib.probing import centre_speakers


class EmotionSubspace(TransformerMixin, BaseEstimator):
    """The subspace that the means of speaker-centred emotions span.

    Parameters
    ----------
    emotions : sequence of str, optional
        All labels in y by default.
    n_components : int, optional
        As many as there are, one less than emotions, by default.

    Attributes
    ----------
    components_ : float64 array, (K, D), orthonormal, the widest first
    shares_ : float64 array, (K,); of the variance among the emotions' means
    centroids_ : float64 array, (C, K); the emotions' means in the subspace
    emotions_ : list of str, C, sorted
    centre_ : float64 array, (D,); the mean of the speakers' means
    """

    def __init__(self, emotions: Sequence[str] | None = None, n_components: int | None = None) -> None:
        self.emotions = emotions
        self.n_components = n_components

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Find the subspace.

        Parameters
        ----------
        X : array-like, (N, D)
        y : array-like of str, (N,)
        groups : array-like, (N,), optional; speakers

        Raises
        ------
        ValueError
            If an emotion is not in y, there are fewer than two, they do not differ, or more components are
            asked for than there are.
        """
        X, y = map(np.asarray, validate_data(self, X, y, dtype=np.float64))
        present = np.unique(y).tolist()
        self.emotions_ = present if self.emotions is None else sorted(set(self.emotions))
        if absent := [name for name in self.emotions_ if name not in present]:
            raise ValueError(f"no clip of emotion {absent[0]!r}; y holds: {', '.join(map(str, present))}")
        if len(self.emotions_) < 2:
            raise ValueError(f"one class, {self.emotions_[0]!r}; a subspace needs two or more")
        speakers = speakers_of(groups, len(y))
        rows = np.isin(y, self.emotions_)
        means = class_means(centred(X, speakers)[rows], y[rows])
        _, widths, components = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
        count = self._count(widths)
        self.components_ = components[:count]
        self.shares_ = np.square(widths[:count]) / np.square(widths).sum()
        self.centroids_ = means @ self.components_.T
        self.centre_ = class_means(X, speakers).mean(axis=0)
        return self

    def transform(self, X: ArrayLike, groups: ArrayLike | None = None) -> Floats:
        """Return coordinates in the subspace, (N, K), 0 at `centre_`, or at each speaker of groups."""
        check_is_fitted(self)
        clips = np.asarray(validate_data(self, X, reset=False, dtype=np.float64))
        if groups is not None:
            return centre_speakers(clips, speakers_of(groups, len(clips))) @ self.components_.T
        return (clips - self.centre_) @ self.components_.T

    def remove(self, X: ArrayLike) -> Floats:
        """Return X without its variation in the subspace, (N, D)."""
        return np.asarray(X, dtype=np.float64) - self.transform(X) @ self.components_

    def save(self, folder: str | Path) -> Path:
        """Write the subspace as ``config.json`` and ``model.safetensors``."""
        check_is_fitted(self)
        return write_model(Path(folder), self)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a subspace that `save` wrote."""
        return read_model(Path(folder), cls)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _count(self, widths: Floats) -> int:
        """Return how many components to keep."""
        spanned = int((widths > 1e-9 * widths[0]).sum()) if widths[0] > 0 else 0
        if spanned == 0:
            raise ValueError("the emotions' means are all the same; they span nothing")
        if self.n_components is None:
            return spanned
        if not 1 <= self.n_components <= spanned:
            raise ValueError(
                f"n_components {self.n_components} of {len(self.emotions_)} emotions; they span {spanned}"
            )
        return self.n_components
