"""A judge from a manifest, kept on disk: trained once, and again only when what it learns from changes.

Last stage of `emolib.ser`.
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import audio
from emolib.atomic import write_file
from emolib.ser.acoustics import acoustics
from emolib.ser.judge import EARS, Judge

_RECIPE = "recipe.json"


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
        If a speaker to leave out isn't in the manifest, a clip can't be heard, or as `Judge.fit` does.
    """
    if unknown := sorted(set(without) - set(manifest["speaker"])):
        known = ", ".join(sorted(set(manifest["speaker"])))
        raise ValueError(f"no speaker {', '.join(unknown)} in the manifest; it has: {known}")
    clips = manifest[~manifest["speaker"].isin(list(without))]
    recipe = {"ears": EARS, "clips": digest(clips)}
    if out is not None and _recipe_in(Path(out)) == recipe:
        return Judge.load(out)
    if clips.empty:
        raise ValueError("no clip to train a judge on; expected speakers beside those left out")
    X = np.stack([acoustics(*audio.load_clip(row)) for row in clips.to_dict("records")])
    judge = Judge().fit_measures(X, clips["emotion"], clips["speaker"])
    if out is not None:
        (Path(out) / _RECIPE).unlink(missing_ok=True)  # until the new one is whole, none is vouched for
        judge.save(out)
        write_file(Path(out) / _RECIPE, (json.dumps(recipe, indent=1) + "\n").encode())
    return judge


def digest(clips: pd.DataFrame) -> str:
    """Return a hash of what is learned from the clips of a manifest: sounds, speakers and emotions."""
    rows = clips[["sha256", "speaker", "emotion"]].astype(str).agg("|".join, axis=1)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _recipe_in(folder: Path) -> dict[str, str] | None:
    try:
        return json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
