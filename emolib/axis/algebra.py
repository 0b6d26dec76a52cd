"""Arithmetic of axes: turn round, lengthen, add, subtract, compare, and take one out of another.

Part of `emolib.axis`: what `EmotionAxis` can do with others of its kind. A derived axis projects, shifts and
saves like a fitted one, and says what it was made of.

References
----------
Arithmetic of task vectors: G. Ilharco et al. (2022), "Editing Models with Task Arithmetic", arXiv:2212.04089.
"""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from emolib.axis import provenance
from emolib.axis.directions import Floats


class AxisAlgebra:
    """The arithmetic of `EmotionAxis`; axes of different features are refused with ValueError."""

    direction_: Floats
    origin_: Floats
    centre_: Floats
    scale_: float
    source_: str
    target_: str
    n_features_in_: int
    provenance_: dict[str, Any]

    @property
    def vector_(self) -> Floats:
        """``scale_ * direction_``, (D,): the step from the source emotion to the target."""
        return self.scale_ * self.direction_

    def cosine(self, other: "AxisAlgebra") -> float:
        """Return the cosine similarity to another axis, -1 to 1."""
        self._check_alike(other)
        return float(np.clip(self.direction_ @ other.direction_, -1, 1))

    def orthogonal_to(self, *others: "AxisAlgebra") -> Self:
        """Return this axis without what it shares with others: its cosine to each of them is 0.

        Raises
        ------
        ValueError
            If nothing is left.
        """
        for other in others:
            self._check_alike(other)
        basis = np.linalg.qr(np.stack([other.direction_ for other in others], axis=1))[0]
        step = self.vector_ - basis @ (basis.T @ self.vector_)
        names = ", ".join(f"{other.source_} to {other.target_}" for other in others)
        return self._derived(step, self.origin_, self.source_, f"{self.target_} without {names}", *others)

    def __neg__(self) -> Self:
        return self._derived(-self.vector_, self.origin_ + self.vector_, self.target_, self.source_)

    def __mul__(self, factor: float) -> Self:
        """Return the axis with a longer or shorter step; a negative factor turns it round first."""
        if factor < 0:
            return (-self) * -factor
        return self._derived(factor * self.vector_, self.origin_, self.source_, f"{factor:g} {self.target_}")

    __rmul__ = __mul__

    def __add__(self, other: "AxisAlgebra") -> Self:
        """Return the axis whose step is both steps together."""
        self._check_alike(other)
        pairs = ((self.source_, other.source_), (self.target_, other.target_))
        source, target = (a if a == b else f"{a} + {b}" for a, b in pairs)
        origin = (self.origin_ + other.origin_) / 2
        return self._derived(self.vector_ + other.vector_, origin, source, target, other)

    def __sub__(self, other: "AxisAlgebra") -> Self:
        """Return the axis from where the other leads to where this one does; of one source, best."""
        self._check_alike(other)
        shared = self.source_ == other.source_
        source = other.target_ if shared else f"{self.source_} - {other.source_}"
        target = self.target_ if shared else f"{self.target_} - {other.target_}"
        origin = (self.origin_ + other.origin_) / 2 + other.vector_
        return self._derived(self.vector_ - other.vector_, origin, source, target, other)

    def _check_alike(self, other: "AxisAlgebra") -> None:
        check_is_fitted(self)
        check_is_fitted(other)
        if self.n_features_in_ != other.n_features_in_:
            raise ValueError(
                f"axes of {self.n_features_in_} and {other.n_features_in_} features; expected equal widths"
            )
        name = f"{self.source_} to {self.target_}"
        provenance.check_same(self.provenance_, other.provenance_, name)

    def _derived(
        self, step: Floats, origin: Floats, source: str, target: str, *others: "AxisAlgebra"
    ) -> Self:
        """Return an axis computed from this one and others."""
        length = float(np.linalg.norm(step))
        if not np.isfinite(length) or length <= 1e-9 * self.scale_:
            raise ValueError(f"the axis from {source} to {target} has no direction; its step is {length:g}")
        axis = type(self)(source, target, "derived")  # type: ignore[call-arg]
        axis.direction_, axis.scale_, axis.origin_ = step / length, length, origin
        axis.centre_, axis.n_features_in_ = self.centre_, self.n_features_in_
        axis.source_, axis.target_ = source, target
        axis.provenance_ = provenance.join([self.provenance_, *(other.provenance_ for other in others)])
        return axis
