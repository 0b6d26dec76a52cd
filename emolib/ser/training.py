"""A judge from a manifest, kept on disk: trained once, and again only when what it learns from changes.

Last stage of `emolib.ser`.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import atomic, audio
from emolib.ser.acoustics import acoustics
from emolib.ser.judge import EARS, Judge

#: File in a trained part's folder that says what it was made from.
RECIPE = "recipe.json"


def train(manifest: pd.DataFrame, out: str | Path | None = None, *, without: Collection[str] = ()) -> Judge:
    """Train a judge on a manifest's clips, or load it where it was trained on just these before.

    Parameters
    ----------
    manifest : DataFrame
        Its columns path, sha256, speaker and emotion are used.
    out : str or Path, optional
        Folder to keep the judge in; nothing is kept by default.
    without : collection of str
        Speakers to leave out: those that it is going to judge.

    Raises
    ------
    ValueError
        If a speaker to leave out isn't in the manifest, a clip can't be heard, the folder holds files that
        were not made here, or as `Judge.fit` does.
    """
    if unknown := sorted(set(without) - set(manifest["speaker"])):
        known = ", ".join(sorted(set(manifest["speaker"])))
        raise ValueError(f"no speaker {', '.join(unknown)} in the manifest; it has: {known}")
    clips = manifest[~manifest["speaker"].isin(list(without))]
    recipe = {"ears": EARS, "clips": digest(clips)}
    if out is None:
        return _fitted(clips)
    made: list[Judge] = []

    def fill(place: Path) -> None:
        made.append(_fitted(clips))
        made[0].save(place)

    place = atomic.build_folder(Path(out), RECIPE, recipe, fill)
    return made[0] if made else Judge.load(place)


def _fitted(clips: pd.DataFrame) -> Judge:
    if clips.empty:
        raise ValueError("no clip to train a judge on; expected speakers beside those left out")
    X = np.stack([acoustics(*audio.load_clip(row)) for row in clips.to_dict("records")])
    return Judge().fit_measures(X, clips["emotion"], clips["speaker"])


def digest(clips: pd.DataFrame) -> str:
    """Return a hash of what is learned from the clips of a manifest: sounds, speakers and emotions."""
    rows = clips[["sha256", "speaker", "emotion"]].astype(str).agg("|".join, axis=1)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
