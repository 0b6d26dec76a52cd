"""Folds for cross-validation: disjoint by speakers, sentences or both, and refused where they are not.

References
----------
EmoBox's actor folds for RAVDESS: Z. Ma et al. (2024), "EmoBox: Multilingual Multi-corpus Speech Emotion
Recognition Toolkit and Benchmark", arXiv:2406.07162.
"""

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold
from threadpoolctl import threadpool_limits

Scheme = Literal["speaker", "loso", "text", "speaker+text", "emobox", "random", "rendition"]
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
        Its columns speaker and emotion are used; text_id by those with sentences, and intensity by
        ``rendition``, too.
    scheme : {"speaker", "loso", "text", "speaker+text", "emobox", "random", "rendition"}
        ``speaker``: groups of whole speakers, emotions balanced as far as that goes. ``loso``: one speaker at
        a time. ``text``: groups of whole sentences, by text_id; speakers are on both sides. ``speaker+text``:
        a test fold is a group of sentences by a group of speakers, and its training set the other sentences
        by the other speakers. Training sets are smaller than with ``speaker``: with six groups of each, about
        25/36 of the clips in place of 5/6; with two sentences, 5/12. ``emobox``: RAVDESS's six published
        actor folds. ``random``: clips at random, which leaks speakers into the training set; only for showing
        how much that flatters. ``rendition``: as ``random``, but all takes of a rendition (one speaker,
        emotion, sentence and intensity) are on one side.
    n_folds : int
        For all but ``loso`` and ``emobox``; at most the number of speakers, of sentences, and of an emotion's
        clips or renditions. ``speaker+text`` makes so many groups of speakers and of sentences, and has a
        fold for each pair of groups.
    seed : int
        For all but ``loso`` and ``emobox``.

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
    if scheme in ("random", "rendition"):
        return _at_random(manifest, scheme, n_folds, seed)
    speakers, emotions = manifest["speaker"].to_numpy(), manifest["emotion"].to_numpy()
    if scheme == "text":
        return _grouped(sentences(manifest), emotions, n_folds, seed)
    n_speakers = len(np.unique(speakers))
    if n_speakers < 2:
        raise ValueError(f"{n_speakers} speaker; {scheme!r} folds need at least two speakers")
    if scheme == "emobox":
        cut = _emobox(manifest)
    elif scheme == "loso":
        cut = list(LeaveOneGroupOut().split(speakers, groups=speakers))
    else:
        cut = _grouped(speakers, emotions, n_folds, seed)
    if scheme == "speaker+text":
        cut = _crossed(cut, _grouped(sentences(manifest), emotions, n_folds, seed))
    for train, test in cut:
        check_disjoint(speakers[train], speakers[test])
    return cut


def held_out(
    cut: Iterable[Fold], shape: tuple[int, ...], answer: Callable[[NDArray, NDArray], ArrayLike]
) -> NDArray[np.float64]:
    """Return what ``answer(train, test)`` says of the test rows of each fold, as one array, (N, ...).

    Raises ValueError if a row is in no test fold.
    """
    found = np.full(shape, np.nan)
    # on problems of this size the threads of BLAS wait for each other longer than they work
    with threadpool_limits(1):
        for train, test in cut:
            found[test] = answer(train, test)
    if n_left := int(np.isnan(found.reshape(len(found), -1)).any(axis=1).sum()):
        raise ValueError(f"{n_left} of {len(found)} clips are in no test fold")
    return found


def published(manifest: pd.DataFrame, folder: str | Path) -> list[Fold]:
    """Read published folds in EmoBox's layout: ``fold_<k>/*_train_fold_<k>.jsonl`` and its ``_test_`` twin.

    A line is a JSON object that names its sound under ``wav``; a clip is known by that file's name, without
    folder and extension. Speakers may be on both sides: see `audit`.

    Parameters
    ----------
    manifest : DataFrame; its columns path and clip are used
    folder : str or Path; such as ``EmoBox/data/emodb``

    Returns
    -------
    folds : list of (train, test), integer row numbers; clips of the manifest that no list names are in none

    Raises
    ------
    ValueError
        If the folder has no such lists, one can't be read, a clip is on both sides, a side has no clip of the
        manifest, or two clips of it have one file name.

    Warns
    -----
    UserWarning
        If the lists name clips that the manifest lacks.
    """
    found = Path(folder).glob("fold_*/*_train_fold_*[0-9].jsonl")
    lists = sorted(found, key=lambda path: int(path.stem.rpartition("_")[2]))
    if not lists:
        raise ValueError(f"{folder}: no published folds; expected fold_1/<name>_train_fold_1.jsonl and so on")
    named = zip(manifest["path"], manifest["clip"], strict=True)  # a shipped embedding has no path
    stems = pd.Series([Path(path or clip).stem for path, clip in named])
    if stems.duplicated().any():
        raise ValueError(
            f"two clips are named {stems[stems.duplicated()].iloc[0]!r}; published lists tell clips by the "
            f"name of their file alone: rename one"
        )
    rows = {stem: row for row, stem in enumerate(stems)}
    cut, absent = [], set[str]()
    for path in lists:
        test_path = path.with_name(path.name.replace("_train_fold_", "_test_fold_"))
        names = [_listed(side) for side in (path, test_path)]
        check_disjoint(names[0], names[1], "clips")
        absent |= {name for side in names for name in side} - set(rows)
        train, test = (np.array([rows[n] for n in side if n in rows], np.intp) for side in names)
        if not len(train) or not len(test):
            raise ValueError(f"{path.parent}: lists {names[0][:1]} ..., and none is in the manifest")
        cut.append((train, test))
    if absent:
        told = f"{len(absent)} listed clips are not in the manifest, such as {min(absent)}"
        warnings.warn(told, stacklevel=2)
    return cut


def _listed(path: Path) -> list[str]:
    """Return the names of the sounds in a published list, without folder and extension."""
    try:
        return [Path(json.loads(line)["wav"]).stem for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: no published list ({error!r}); expected one JSON object a line, its sound under 'wav'"
        ) from None


def audit(manifest: pd.DataFrame, cut: list[Fold]) -> pd.DataFrame:
    """Count what is on both sides of each fold.

    Returns
    -------
    table : DataFrame, one row a fold
        train, test : clips; shared_speakers, test_speakers; shared_sentences, test_sentences, by text_id;
        of_known_speakers : the share of test clips whose speaker is in the training set. Clips without a
        text_id count for no sentence.
    """
    speakers, texts = manifest["speaker"].to_numpy(), manifest["text_id"].replace("", np.nan)
    sentences = [[set(texts.iloc[side].dropna()) for side in fold] for fold in cut]
    return pd.DataFrame([
        {
            "train": len(train), "test": len(test),
            "shared_speakers": len(np.intersect1d(speakers[train], speakers[test])),
            "test_speakers": len(np.unique(speakers[test])),
            "shared_sentences": len(said[0] & said[1]), "test_sentences": len(said[1]),
            "of_known_speakers": float(np.isin(speakers[test], speakers[train]).mean()),
        }
        for (train, test), said in zip(cut, sentences, strict=True)
    ])  # fmt: skip


def check_disjoint(train: ArrayLike, test: ArrayLike, names: str = "speakers") -> None:
    """Raise ValueError if a speaker, or whatever `names` says, is on both sides of a split."""
    shared = sorted(set(np.asarray(train).tolist()) & set(np.asarray(test).tolist()))
    if shared:
        raise ValueError(
            f"{names} {', '.join(map(str, shared[:5]))}{' ...' if len(shared) > 5 else ''} are in both the "
            f"training and the test set; cut by whole {names} (splits.folds does)"
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


def sentences(manifest: pd.DataFrame, at_least: int = 2) -> NDArray:
    """Return each clip's sentence, (N,), which its text_id names.

    Raises ValueError if a clip has none, or there are fewer than `at_least`.
    """
    texts = manifest["text_id"].astype(object).fillna("").astype(str).to_numpy()
    if n_unnamed := int((texts == "").sum()):
        raise ValueError(
            f"{n_unnamed} of {len(manifest)} clips have no text_id; folds by sentences need it in all: use "
            f"'speaker' or 'random', or give the sentences of your table in a column text_id"
        )
    if len(np.unique(texts)) < at_least:
        raise ValueError(f"all clips say the sentence {texts[0]!r}; such folds need two: use 'speaker'")
    return texts


def _at_random(manifest: pd.DataFrame, scheme: Scheme, n_folds: int, seed: int) -> list[Fold]:
    """Cut at random, emotions balanced: by clips, or by renditions with all of their takes."""
    emotions, groups, splitter = manifest["emotion"].to_numpy(), None, StratifiedKFold
    units = pd.Series(range(len(manifest)))
    if scheme == "rendition":
        sentences(manifest, at_least=1)
        names = ["speaker", "emotion", "text_id", "intensity"]
        units = groups = manifest.groupby(names, dropna=False).ngroup()
        splitter = StratifiedGroupKFold
    rarest = int(units.groupby(emotions).nunique().min())
    if rarest < 2:
        raise ValueError(f"an emotion has a single clip or rendition; {scheme!r} folds need two of each")
    splitter = splitter(min(n_folds, rarest), shuffle=True, random_state=seed)
    return list(splitter.split(units, emotions, groups))


def _grouped(groups: NDArray, emotions: NDArray, n_folds: int, seed: int) -> list[Fold]:
    """Cut by whole groups, two or more, emotions balanced as far as that goes."""
    most = int(np.unique(emotions, return_counts=True)[1].max())
    if most < 2:
        raise ValueError("every emotion has a single clip; such folds need one with two clips or more")
    n_folds = min(n_folds, len(np.unique(groups)), most)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    return [(train, test) for train, test in splitter.split(groups, emotions, groups) if len(test)]


def _crossed(by_speaker: list[Fold], by_text: list[Fold]) -> list[Fold]:
    """Return a fold for each pair: what is tested by both, and what is trained on by both."""
    pairs = [
        (np.intersect1d(train, other_train), np.intersect1d(test, other_test))
        for train, test in by_speaker
        for other_train, other_test in by_text
    ]
    cut = [(train, test) for train, test in pairs if len(test)]
    if n_empty := sum(not len(train) for train, _ in cut):
        raise ValueError(
            f"{n_empty} of {len(cut)} test folds leave no clip of other speakers and sentences to train on; "
            f"'speaker+text' folds need sentences that several speakers say: use 'speaker' or 'text'"
        )
    return cut


def _emobox(manifest: pd.DataFrame) -> list[Fold]:
    fold_of = {actor: number for number, fold in enumerate(EMOBOX_RAVDESS) for actor in fold}
    if strangers := sorted(set(manifest["speaker"]) - set(fold_of)):
        raise ValueError(
            f"'emobox' folds with the speaker {strangers[0]}; they are published for ravdess-01 to "
            f"ravdess-24 only: use 'speaker' or 'loso'"
        )
    numbers = manifest["speaker"].map(fold_of).to_numpy()
    if len(np.unique(numbers)) < 2:
        raise ValueError("all actors are in one published fold; use 'speaker' or 'loso'")
    return list(LeaveOneGroupOut().split(numbers, groups=numbers))
