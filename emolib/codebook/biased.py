"""Codebooks of one emotion each: how to train, join and mix them.

References
----------
Codebooks specialised on emotions and a router over them: "Emotion-aware quantization" (2026),
arXiv:2603.21224.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from emolib import emotions
from emolib.codebook.quantizer import ResidualQuantizer


def balanced_rows(
    labels: ArrayLike, speakers: ArrayLike, *, seed: int = 0, least: int = 2
) -> dict[str, NDArray]:
    """Draw equally many clips of the same speakers for every emotion.

    Parameters
    ----------
    labels, speakers : array-likes, (N,)
    seed : int
    least : int
        Clips an emotion must get.

    Returns
    -------
    rows : dict of emotion to row numbers; of each speaker as many as their rarest emotion has

    Raises
    ------
    ValueError
        If that leaves fewer than `least` clips; the message names the emotion that is rarest.
    """
    table = pd.DataFrame({"emotion": np.asarray(labels), "speaker": np.asarray(speakers)})
    counts = pd.crosstab(table["speaker"], table["emotion"])
    each = counts.min(axis=1)
    if (n := int(each.sum())) < least:
        rarest = counts.sum().idxmin()
        raise ValueError(
            f"{n} clips for each of {counts.shape[1]} emotions, from speakers who have them all; expected "
            f"{least}: leave {rarest!r} out, which has {counts[rarest].sum()} clips, or ask for fewer codes"
        )
    rng, rows = np.random.default_rng(seed), {}
    for emotion in emotions.ordered(table["emotion"].tolist()):
        parts = []
        for speaker, number in each.items():
            mine = np.flatnonzero((table["emotion"] == emotion) & (table["speaker"] == speaker))
            parts.append(rng.permutation(mine)[:number])
        rows[emotion] = np.sort(np.concatenate(parts))
    return rows


def train_books(
    X: ArrayLike, rows: Mapping[str, NDArray], template: ResidualQuantizer
) -> dict[str, ResidualQuantizer]:
    """Train one codebook an emotion, each a clone of `template`, on its rows of X."""
    X = np.asarray(X)
    return {emotion: clone(template).fit(X[chosen]) for emotion, chosen in rows.items()}


def biased_rows(
    rows: Mapping[str, NDArray], favourite: str, share: float, *, seed: int = 0
) -> NDArray[np.intp]:
    """Draw as many rows as one emotion has, `share` of them of the favourite, the rest of all others alike.

    Raises
    ------
    ValueError
        If the share is not in [0, 1] or the favourite is unknown.
    """
    if favourite not in rows or not 0 <= share <= 1:
        raise ValueError(
            f"favourite={favourite!r}, share={share}; expected one of {', '.join(rows)} and a share in [0, 1]"
        )
    rng, n = np.random.default_rng(seed), len(rows[favourite])
    others = np.concatenate([chosen for emotion, chosen in rows.items() if emotion != favourite])
    n_own = round(share * n)
    own = rng.permutation(rows[favourite])[:n_own]
    return np.sort(np.concatenate([own, rng.permutation(others)[: n - n_own]]))


def union(books: Sequence[ResidualQuantizer], base: ResidualQuantizer, X: ArrayLike) -> ResidualQuantizer:
    """Join codebooks: at each stage all codes of all books stand to choose from.

    Parameters
    ----------
    books : sequence of ResidualQuantizer, of equal stages
    base : ResidualQuantizer; its origin and scale are kept, each book's own origin goes into its first codes
    X : array-like, (N, D); what the entropy model is trained on
    """
    return base.with_codes(np.concatenate([_moved(book, base) for book in books], axis=1), X)


def alternate(books: Sequence[ResidualQuantizer], base: ResidualQuantizer, X: ArrayLike) -> ResidualQuantizer:
    """Take the first stage from the first book, the second from the second, and so on in turn."""
    moved = [_moved(book, base) for book in books]
    return base.with_codes(np.stack([moved[q % len(books)][q] for q in range(len(moved[0]))]), X)


def barycentre(
    quantizer: ResidualQuantizer,
    first: ArrayLike,
    second: ArrayLike,
    *,
    share: float = 0.5,
    spread: float = 0.1,
) -> NDArray[np.float32]:
    """Mix two references by the mean of their distributions over codes, stage by stage.

    Parameters
    ----------
    quantizer : ResidualQuantizer, of one group
    first, second : array-likes, (N, D)
    share : float in [0, 1]; of `second` in the mean
    spread : float
        Temperature: a code whose squared distance is larger by so much (in units of `scale_`^2) is e times
        less likely.

    Returns
    -------
    mixed : float32 array, (N, D); the sum over stages of the codes' expectations
    """
    left = [quantizer.centred(rows) for rows in (first, second)]
    total = np.zeros_like(left[0])
    for stage in quantizer.codes_[0]:
        chances = [_chances(rows, stage, spread) for rows in left]
        total += ((1 - share) * chances[0] + share * chances[1]).astype(np.float32) @ stage
        left = [rows - chance.astype(np.float32) @ stage for rows, chance in zip(left, chances, strict=True)]
    return total * np.float32(quantizer.scale_) + quantizer.mean_


def _chances(rows: NDArray, stage: NDArray, spread: float) -> NDArray:
    far = np.square(rows).sum(axis=1)[:, None] - 2 * rows @ stage.T + np.square(stage).sum(axis=1)
    weights = np.exp(-(far - far.min(axis=1, keepdims=True)) / spread)
    return weights / weights.sum(axis=1, keepdims=True)


def _moved(book: ResidualQuantizer, base: ResidualQuantizer) -> NDArray[np.float32]:
    """Return a book's codes, (Q, K, D), as seen from another's origin and in its scale."""
    codes = book.codes_[0] * np.float32(book.scale_ / base.scale_)
    codes[0] += (book.mean_ - base.mean_) / np.float32(base.scale_)
    return codes
