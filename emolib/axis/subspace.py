"""Directions of several emotions: axes from one source, their similarity, and the subspace of the means.

References
----------
C. R. Rao (1948), "The Utilization of Multiple Measurements in Problems of Biological Classification",
doi:10.1111/j.2517-6161.1948.tb00008.x: the subspace of class means, here without whitening.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils.validation import check_is_fitted, validate_data

from emolib import emotions
from emolib.axis.estimator import EmotionAxis, Floats, centred, speakers_of
from emolib.probing import LabelledTransformer, centre_speakers, group_means


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
    for name, row in zip(directions, rows, strict=True):
        if not np.linalg.norm(row) > 0:
            raise ValueError(f"{name!r} has length 0; it has no direction")
    table = np.clip(cosine_similarity(np.stack(rows)), -1, 1)
    return pd.DataFrame(table, index=list(directions), columns=list(directions))


class EmotionSubspace(LabelledTransformer):
    """The subspace that the means of speaker-centred emotions span.

    Parameters
    ----------
    emotions : sequence of str, optional
        All labels in y by default.
    n_components : int, optional
        By default as many as the means span, at most one less than emotions.

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
        """Find the subspace; the parameters are those of `EmotionAxis.fit`.

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
        means = group_means(centred(X, speakers)[rows], y[rows])
        _, widths, components = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
        count = self._count(widths)
        self.components_ = components[:count]
        self.shares_ = np.square(widths[:count]) / np.square(widths).sum()
        self.centroids_ = means @ self.components_.T
        self.centre_ = group_means(X, speakers).mean(axis=0)
        return self

    def transform(self, X: ArrayLike, groups: ArrayLike | None = None) -> Floats:
        """Return coordinates in the subspace, (N, K), 0 at `centre_`, or at each speaker of groups."""
        check_is_fitted(self)
        clips = np.asarray(validate_data(self, X, reset=False, dtype=np.float64))
        if groups is not None:
            return centre_speakers(clips, speakers_of(groups, len(clips))) @ self.components_.T
        return (clips - self.centre_) @ self.components_.T

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
