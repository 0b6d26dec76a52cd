"""Where each category lies on the plane of valence and arousal.

First stage of `emolib.av`.

References
----------
The tables are those of `emolib.emotions`. Numbers that stand for no emotion are laid around a circle, after
J. A. Russell (1980), "A circumplex model of affect", Journal of Personality and Social Psychology 39(6),
1161-1178.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib import demo, emotions

Anchors = str | Mapping[str, Sequence[float]] | None

#: Every emotion's anchor: the table of EmoDB, IEMOCAP's where that lacks one, and the demo corpus's calm.
JOINED: Mapping[str, emotions.Anchor] = MappingProxyType(
    {"calm": demo.ANCHORS["calm"]} | dict(emotions.ANCHORS["iemocap"]) | dict(emotions.ANCHORS["emodb"])
)


def resolve(classes: ArrayLike, anchors: Anchors = None) -> NDArray[np.float64]:
    """Return the anchors of classes.

    Parameters
    ----------
    classes : array-like, (C,)
    anchors : str or mapping, optional
        ``joined`` (the default), ``emodb``, ``iemocap``, or a mapping from class to (valence, arousal). Where
        none is given and the classes are numbers, they are laid evenly around the unit circle.

    Returns
    -------
    points : float64 array, (C, 2); valence, arousal

    Raises
    ------
    ValueError
        If the table is unknown, lacks a class, or holds a point that is not two finite numbers.
    """
    names = np.asarray(classes)
    if anchors is None and names.dtype.kind in "biuf":
        angles = 2 * np.pi * np.arange(len(names)) / len(names)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    table = _table("joined" if anchors is None else anchors)
    if lacking := [str(name) for name in names.tolist() if name not in table]:
        raise ValueError(
            f"no anchor for {', '.join(lacking)}; the table has {', '.join(map(str, table))}: "
            f"give anchors as a mapping from class to (valence, arousal)"
        )
    points = [np.asarray(table[name], dtype=np.float64) for name in names.tolist()]
    for name, point in zip(names.tolist(), points, strict=True):
        if point.shape != (2,) or not np.isfinite(point).all():
            raise ValueError(f"anchor {point.tolist()} of {name!r}; expected (valence, arousal), both finite")
    return np.stack(points)


def _table(anchors: str | Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
    if not isinstance(anchors, str):
        return anchors
    tables: dict[str, Mapping[str, Sequence[float]]] = {"joined": JOINED, **emotions.ANCHORS}
    if anchors not in tables:
        raise ValueError(
            f"unknown anchors {anchors!r}; expected {', '.join(tables)}, or a mapping from class to "
            f"(valence, arousal)"
        )
    return tables[anchors]
