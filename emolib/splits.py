"""Folds for cross-validation: speaker-disjoint by default, and refused where a speaker is on both sides.

References
----------
EmoBox's actor folds for RAVDESS: Z. Ma et al. (2024), "EmoBox: Multilingual Multi-corpus Speech Emotion
Recognition Toolkit and Benchmark", arXiv:2406.07162.
"""

from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

Scheme = Literal["speaker", "loso", "emobox", "random", "rendition"]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

#: Test speakers of each published fold.
EMOBOX_RAVDESS = tuple(
    tuple(f"ravdess-{actor}" for actor in fold.split())
    for fold in ("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22")
)


def folds(
    manifest: pd.DataFrame, scheme: Scheme = "speaker", *, n_folds: int = 6, seed: int = 0
) -> list[Fold]:
    """Cut a manifest into folds.

    Parameters
    ----------
    manifest : DataFrame
        Its columns speaker and emotion are used; by ``rendition`` text_id and intensity, too.
    scheme : {"speaker", "loso", "emobox", "random", "rendition"}
        ``speaker``: groups of whole speakers, emotions balanced as far as that goes. ``loso``: one speaker at
        a time. ``emobox``: RAVDESS's six published actor folds. ``random``: clips at random, which leaks
        speakers into the training set; only for showing how much that flatters. ``rendition``: as ``random``,
        but all takes of a rendition (one speaker, emotion, sentence and intensity) are on one side.
    n_folds : int
        For ``speaker``, ``random`` and ``rendition``; at most the number of speakers in the first, and of an
        emotion's clips or renditions.
    seed : int
        For ``speaker``, ``random`` and ``rendition``.

    Returns
    -------
    folds : list of (train, test), integer row numbers

    Raises
    ------
    ValueError
        If the scheme is unknown or the manifest does not allow it.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"unknown folds {scheme!r}; expected one of: {', '.join(get_args(Scheme))}")
    speakers, emotions = manifest["speaker"].to_numpy(), manifest["emotion"].to_numpy()
    if scheme == "random":
        return _random(emotions, n_folds, seed)
    if scheme == "rendition":
        return _by_rendition(manifest, n_folds, seed)
    n_speakers = len(np.unique(speakers))
    if n_speakers < 2:
        raise ValueError(f"{n_speakers} speaker; {scheme!r} folds need at least two speakers")
    if scheme == "emobox":
        cut = _emobox(manifest)
    elif scheme == "loso":
        cut = list(LeaveOneGroupOut().split(speakers, groups=speakers))
    else:
        most = int(np.unique(emotions, return_counts=True)[1].max())
        if most < 2:
            raise ValueError(
                "every emotion has a single clip; 'speaker' folds need one with two clips or more"
            )
        splitter = StratifiedGroupKFold(min(n_folds, n_speakers, most), shuffle=True, random_state=seed)
        cut = list(splitter.split(speakers, emotions, speakers))
        cut = [(train, test) for train, test in cut if len(test)]
    for train, test in cut:
        check_disjoint(speakers[train], speakers[test])
    return cut


def check_disjoint(train_speakers: ArrayLike, test_speakers: ArrayLike) -> None:
    """Raise ValueError if a speaker is on both sides of a split."""
    shared = sorted(set(np.asarray(train_speakers).tolist()) & set(np.asarray(test_speakers).tolist()))
    if shared:
        raise ValueError(
            f"speakers {', '.join(map(str, shared[:5]))}{' ...' if len(shared) > 5 else ''} are in both the "
            f"training and the test set; cut by whole speakers (splits.folds does)"
        )


def halves(rows: NDArray[np.intp], speakers: ArrayLike, seed: int = 0) -> Fold:
    """Cut rows into two halves of whole speakers.

    Parameters
    ----------
    rows : int array, (n,)
    speakers : array-like, (N,); of all rows that there are
    seed : int

    Raises
    ------
    ValueError
        If the rows are of one speaker.
    """
    speakers = np.asarray(speakers)[rows]
    names = np.random.default_rng(seed).permutation(np.unique(speakers))
    if len(names) < 2:
        raise ValueError(f"{len(names)} speaker; two halves need at least two speakers")
    first = np.isin(speakers, names[: (len(names) + 1) // 2])
    return rows[first], rows[~first]


def _random(emotions: NDArray, n_folds: int, seed: int) -> list[Fold]:
    rarest = int(np.unique(emotions, return_counts=True)[1].min())
    if rarest < 2:
        raise ValueError("an emotion has a single clip; random folds need at least two of each")
    splitter = StratifiedKFold(min(n_folds, rarest), shuffle=True, random_state=seed)
    return list(splitter.split(emotions, emotions))


def _by_rendition(manifest: pd.DataFrame, n_folds: int, seed: int) -> list[Fold]:
    if n_unnamed := int((manifest["text_id"].fillna("").astype(str) == "").sum()):
        raise ValueError(
            f"{n_unnamed} of {len(manifest)} clips have no text_id; 'rendition' folds need it in all: use "
            f"'speaker' or 'random'"
        )
    renditions = manifest.groupby(["speaker", "emotion", "text_id", "intensity"], dropna=False).ngroup()
    rarest = int(renditions.groupby(manifest["emotion"]).nunique().min())
    if rarest < 2:
        raise ValueError("an emotion has a single rendition; 'rendition' folds need at least two of each")
    splitter = StratifiedGroupKFold(min(n_folds, rarest), shuffle=True, random_state=seed)
    return list(splitter.split(renditions, manifest["emotion"], renditions))


def _emobox(manifest: pd.DataFrame) -> list[Fold]:
    speakers = manifest["speaker"].to_numpy()
    known = {actor for fold in EMOBOX_RAVDESS for actor in fold}
    if strangers := sorted(set(speakers) - known):
        raise ValueError(
            f"'emobox' folds with the speaker {strangers[0]}; they are published for ravdess-01 to "
            f"ravdess-24 only: use 'speaker' or 'loso'"
        )
    tests = [np.flatnonzero(np.isin(speakers, actors)) for actors in EMOBOX_RAVDESS]
    tests = [test for test in tests if len(test)]
    if len(tests) < 2:
        raise ValueError("all actors are in one published fold; use 'speaker' or 'loso'")
    return [(np.setdiff1d(np.arange(len(speakers)), test), test) for test in tests]
