"""Steering for human voices with no corpus at hand: transforms and a judge learned from RAVDESS, shipped.

The transforms move speech from neutral and calm to each strong emotion. They were learned from two thirds of
the actors, and the judge from the rest. `make` wrote what is shipped.
"""

import re
from functools import partial
from pathlib import Path

import pandas as pd

from emolib import av, files, paths, prosody, ser
from emolib.steering.preparation import at_full_strength, blended, rotations
from emolib.steering.prosodic import ProsodySteerer

#: The name of the folder in ``models/``.
FOLDER = "prosody-ravdess"
SOURCES = ("neutral", "calm")
TARGETS = ("angry", "happy", "sad", "fearful", "disgust", "surprised")
_JUDGE = "judge"


def available() -> bool:
    """Return whether the parts are where models are kept."""
    return (paths.model(FOLDER) / _JUDGE / files.CONFIG).is_file()


def steerer(source: str, target: str, *, allow_extrapolation: bool = False) -> ProsodySteerer:
    """Return the shipped steerer from one emotion to another.

    Raises
    ------
    ValueError
        If none is shipped for them.
    """
    for word, known in ((source, SOURCES), (target, TARGETS)):
        if word not in known:
            raise ValueError(
                f"nothing shipped leads from {source} to {target}; it leads from {' and '.join(SOURCES)} to "
                f"{', '.join(TARGETS)}: name a corpus to learn from (`--corpus`)"
            )
    transform = prosody.ProsodyTransform.load(paths.model(FOLDER) / f"{source}-{target}")
    return ProsodySteerer(transform, allow_extrapolation=allow_extrapolation)


def blend(source: str, valence: float, arousal: float) -> ProsodySteerer:
    """Return a shipped steerer whose delta 1 is a point of the plane; see `Studio.blend`."""
    words = (source, *TARGETS)
    anchors = {word: (v, a) for word, (v, a) in zip(words, av.resolve(words).tolist(), strict=True)}
    return blended(source, (valence, arousal), anchors, partial(steerer, source))


def judge() -> ser.Judge:
    """Return the shipped judge of eight emotions, trained on actors who taught no shipped transform."""
    return ser.Judge.load(paths.model(FOLDER) / _JUDGE)


def speaker(path: Path) -> str | None:
    """Return the actor of a file with a name of RAVDESS, as the judge calls them; None for any other file."""
    match = re.fullmatch(r"(?:[0-9]{2}-){6}([0-9]{2})", path.stem)
    if match is None:
        return None
    known = {name.removeprefix("ravdess-"): name for name in judge().speakers_}
    return known.get(match[1], f"ravdess-{match[1]}")


def make(manifest: pd.DataFrame, folder: Path | None = None, *, progress: bool = False) -> Path:
    """Learn all parts from RAVDESS and write them: one transform a folder, and the judge's.

    Parameters
    ----------
    manifest : DataFrame; the corpus
    folder : Path, optional; where they are shipped by default
    progress : bool
    """
    folder = folder or paths.models() / FOLDER
    [first, *_] = rotations(manifest, 3)
    makers = manifest[manifest["speaker"].isin([*first.makers, *first.heard])].reset_index(drop=True)
    parts = {source: at_full_strength(makers, source, TARGETS) for source in SOURCES}
    wanted = pd.concat(parts.values()).drop_duplicates("clip")
    analysed = prosody.renditions(wanted, progress=progress)
    for source, acted in parts.items():
        for target in TARGETS:
            found = prosody.pairs(acted, source, target, analysed=analysed).pairs
            prosody.ProsodyTransform(source, target).fit(found).save(folder / f"{source}-{target}")
    ser.train(manifest, folder / _JUDGE, without=sorted(set(makers["speaker"])))
    return folder
