"""Which clips an axis is learned from: those of two emotions, by speakers who have both.

Part of `emolib.axis`, between the names in a table and the directions.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from emolib.axis.directions import Floats
from emolib.probing import centre_speakers


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


def speakers_of(groups: ArrayLike | None, n: int) -> NDArray:
    """Return each row's speaker, (N,); without groups everybody is one."""
    if groups is None:
        return np.zeros(n, dtype=int)
    speakers = column_or_1d(np.asarray(groups))
    if len(speakers) != n:
        raise ValueError(f"{len(speakers)} groups for {n} rows of X; expected one speaker a row")
    return speakers


def complete_speakers(y: NDArray, speakers: NDArray, source: Any, target: Any) -> tuple[list[Any], list[str]]:
    """Return the speakers who have clips of both emotions, sorted, and a sentence for each who has one alone.

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


def centred(X: Floats, speakers: NDArray) -> Floats:
    """Take each speaker's mean away; what rounding leaves of a constant feature is no variation."""
    result = centre_speakers(X, speakers)
    result[:, np.abs(result).max(axis=0) <= 1e-12 * np.abs(X).max(axis=0)] = 0
    return result
