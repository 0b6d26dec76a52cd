"""Who learns from whom: halves of the speakers, shares of their clips, and the split that leaks.

First stage of `emolib.augment`.

References
----------
The split that leaks is that of Y.-J. Kim, S.-P. Lee (2024), "A Generation of Enhanced Data by Variational
Autoencoders and Diffusion Modeling", Electronics 13(7), 1314, doi:10.3390/electronics13071314: clips at
random, 8 to 2, whoever speaks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.splits import Fold, check_disjoint

Protocol = Literal["disjoint", "flattering"]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Condition:
    """What a recogniser is trained on.

    Attributes
    ----------
    name : str
    real : bool; the real training clips
    classical : bool; SpecAugment of every batch
    mixup : bool; mixup of every batch as well
    generated : float; generated clips, as a share of the number of real ones
    steps : float; share of the optimiser's steps that are taken
    selected : bool; of twice as many generated clips, those that a recogniser of the same real training clips
        gives the highest probability of their class
    first : bool; hears generated clips in the first half of its steps alone, and real ones to the end
    warm : bool; starts from the network that chose generated clips, which heard every clip
    """

    name: str
    real: bool = True
    classical: bool = False
    mixup: bool = False
    generated: float = 0.0
    steps: float = 1.0
    selected: bool = False
    first: bool = False
    warm: bool = False


#: Plain training, and the cheap rival. Where `BOTH` draws generated clips, these repeat real ones.
REAL, CLASSICAL = Condition("real"), Condition("classical", classical=True)
#: Real clips in one half of the draws, generated clips in the other.
BOTH = Condition("classical + generated 100 %", classical=True, generated=1.0)
#: Each real clip is drawn as often as in `BOTH`, and nothing else is.
EQUAL = Condition("classical at equal exposure", classical=True, steps=0.5)
ALONE = Condition("generated only", real=False, generated=1.0)
#: These decide whether generation helps.
DECIDING = (REAL, CLASSICAL, BOTH, EQUAL)


def conditions(amounts: tuple[float, ...]) -> list[Condition]:
    """Return the conditions of the speaker-disjoint protocol, those that decide first.

    Mixup stands beside SpecAugment, not in it: where it does harm, a rival with it would be the weaker one.

    Parameters
    ----------
    amounts : tuple of float; of generated clips, as shares of the real ones
    """
    more = [Condition(f"generated {100 * amount:.0f} %", generated=amount) for amount in amounts]
    more.sort(key=lambda condition: condition.generated != 1.0)
    chosen = Condition("classical + selected 100 %", classical=True, generated=1.0, selected=True)
    first = Condition("classical + generated 100 % first", classical=True, generated=1.0, first=True)
    mixed = Condition("classical + mixup", classical=True, mixup=True)
    return [REAL, CLASSICAL, BOTH, EQUAL, first, *more[:1], ALONE, mixed, *more[1:], chosen]


#: What the published protocol does, one step after the other.
FLATTERING = (
    REAL,
    CLASSICAL,
    Condition("generated 100 %", generated=1.0),
    Condition("generated 100 %, chosen by the judge", generated=1.0, selected=True),
    Condition("generated 100 %, judged by the network that chose", generated=1.0, selected=True, warm=True),
)


def halves(
    labels: ArrayLike, speakers: ArrayLike, genders: Mapping[str, str], *, seed: int = 0
) -> list[Fold]:
    """Cut clips into two halves of the speakers, of equal gender; each half is tested once.

    Parameters
    ----------
    labels, speakers : array-likes of str, (N,)
    genders : mapping of speaker to gender; who is missing has none
    seed : int

    Returns
    -------
    folds : list of two (train, test), row numbers

    Raises
    ------
    ValueError
        If there are fewer than two speakers, or one half lacks a class.
    """
    labels, speakers = np.asarray(labels).astype(str), np.asarray(speakers).astype(str)
    names, rng = np.unique(speakers), np.random.default_rng(seed)
    if len(names) < 2:
        raise ValueError(f"{len(names)} speaker; two halves need at least two speakers")
    order = [
        name
        for gender in sorted({genders.get(name, "") for name in names})
        for name in rng.permutation([name for name in names if genders.get(name, "") == gender])
    ]
    first = np.isin(speakers, order[::2])  # every second of each gender
    for side in (first, ~first):
        if lacking := sorted(set(labels) - set(labels[side])):
            raise ValueError(
                f"speakers {', '.join(np.unique(speakers[side]))} have no clip of {', '.join(lacking)}; "
                f"expected all classes in both halves: take another seed, or leave that class out"
            )
    a, b = np.flatnonzero(first), np.flatnonzero(~first)
    check_disjoint(speakers[a], speakers[b])
    return [(a, b), (b, a)]


def share_of(labels: ArrayLike, speakers: ArrayLike, share: float, *, seed: int = 0) -> Rows:
    """Return row numbers of a share of the clips: of each class alike, of each speaker as far as that goes.

    Parameters
    ----------
    labels, speakers : array-likes of str, (N,)
    share : float, above 0 and up to 1
    seed : int; a smaller share of one seed lies within a larger one

    Raises
    ------
    ValueError
        If the share is out of range, or leaves less than two clips of a class.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share}; expected a number above 0 and up to 1")
    labels, speakers = np.asarray(labels).astype(str), np.asarray(speakers).astype(str)
    kept = []
    for name in np.unique(labels).tolist():
        rows = in_turn(speakers, np.flatnonzero(labels == name), seed)
        n_kept = round(share * len(rows))
        if n_kept < 2:
            raise ValueError(
                f"{100 * share:g} % of {len(rows)} clips of {name!r} are {n_kept}; expected at least two: "
                f"take a larger share"
            )
        kept.append(rows[:n_kept])
    return np.sort(np.concatenate(kept))


def in_turn(groups: NDArray, rows: Rows, seed: int) -> Rows:
    """Return rows in an order in which the groups take turns, each group's own at random."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(rows)
    turn = np.empty(len(rows), int)
    for name in np.unique(groups[rows]):
        own = groups[rows] == name
        turn[own] = np.arange(own.sum())
    return rows[np.lexsort((rng.random(len(rows)), turn))]


def leaky(labels: ArrayLike, *, test_share: float = 0.2, seed: int = 0) -> Fold:
    """Cut clips at random, each class alike, whoever speaks them: (train, test).

    Raises
    ------
    ValueError
        If a class has fewer than two clips.
    """
    labels, rng = np.asarray(labels).astype(str), np.random.default_rng(seed)
    test = []
    for name in np.unique(labels).tolist():
        rows = rng.permutation(np.flatnonzero(labels == name))
        if len(rows) < 2:
            raise ValueError(f"{len(rows)} clip of {name!r}; a split at random needs at least two")
        test.append(rows[: max(1, round(test_share * len(rows)))])
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), held), held
