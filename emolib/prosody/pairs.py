"""The same sentence by the same speaker in two emotions: what a transform learns from.

Fifth stage of `emolib.prosody`: analysis of a manifest's clips, pairs of them, and what changes between the
two of a pair, frame by frame.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, emotions, threads
from emolib.prosody import alignment
from emolib.prosody.alignment import Phone
from emolib.prosody.analysis import record
from emolib.prosody.features import SILENCE, Contours, contours, relative_energy, relative_pitch
from emolib.world import HOP_MS

Array = NDArray[np.float64]


class Rendition(NamedTuple):
    """One analysed clip: its contours, and its phones where the corpus has labels of them."""

    contours: Contours
    phones: tuple[Phone, ...] = ()


class Pair(NamedTuple):
    """Two renditions of one sentence by one speaker.

    Attributes
    ----------
    source, target : Contours, of T and T' frames
    at : float64 array, (T,); where in the target, in frames, each frame of the source is found
    speaker, corpus : str
    """

    source: Contours
    target: Contours
    at: Array
    speaker: str
    corpus: str = ""


class Parallel(NamedTuple):
    """Pairs, and the clips that could not be used: a dict of clip and reason each."""

    pairs: list[Pair]
    skipped: list[dict[str, str]]


class Renditions(NamedTuple):
    """Analysed clips by name, and those that could not be analysed."""

    by_clip: dict[str, Rendition]
    skipped: list[dict[str, str]]


def renditions(manifest: pd.DataFrame, *, progress: bool = False) -> Renditions:
    """Analyse the clips of a manifest, about a tenth of a second each.

    Parameters
    ----------
    manifest : DataFrame; each row's clip and sound are read
    progress : bool; show a bar on standard error
    """
    by_clip: dict[str, Rendition] = {}
    skipped: list[dict[str, str]] = []
    rows = tqdm(manifest.to_dict("records"), desc="prosody", unit="clip", disable=not progress)
    for clip, result in zip(manifest["clip"], threads.each(_analyse, rows), strict=True):
        if isinstance(result, str):
            skipped.append({"clip": clip, "reason": result})
        else:
            by_clip[clip] = result
    return Renditions(by_clip, skipped)


def pairs(
    manifest: pd.DataFrame,
    source: str,
    target: str,
    *,
    per_speaker: int = 60,
    analysed: Renditions | None = None,
    progress: bool = False,
) -> Parallel:
    """Return every pair of a source and a target rendition of one sentence by one speaker.

    Parameters
    ----------
    manifest : DataFrame
        Its columns clip, path, corpus, speaker, emotion and text_id are read. What it leaves out (a test
        set's speakers, weak intensities) is left out of the pairs.
    source, target : str; emotions
    per_speaker : int
        At most so many pairs of each speaker, spread evenly over the sentences: more say little that is new.
    analysed : Renditions, optional
        Of at least the clips that are needed, where they are at hand: several targets then cost one analysis.
    progress : bool; as in `renditions`

    Raises
    ------
    ValueError
        If an emotion isn't in the manifest, no clip says which sentence it is, or no speaker says one
        sentence in both emotions.
    """
    planned = _plan(manifest, source, target, per_speaker)
    wanted = set(planned["source"]) | set(planned["target"])
    found = analysed or renditions(manifest[manifest["clip"].isin(wanted)], progress=progress)
    skipped = [entry for entry in found.skipped if entry["clip"] in wanted]
    lost = {entry["clip"] for entry in skipped}
    if missing := sorted(wanted - lost - set(found.by_clip)):
        raise ValueError(f"{len(missing)} clips were not analysed, {missing[0]} for one; analyse them too")
    usable = planned[~planned["source"].isin(lost) & ~planned["target"].isin(lost)]
    made = [
        Pair(a.contours, b.contours, _positions(a, b), str(row.speaker), str(row.corpus))
        for row in usable.itertuples()
        for a, b in [(found.by_clip[str(row.source)], found.by_clip[str(row.target)])]
    ]
    return Parallel(made, skipped)


def _plan(manifest: pd.DataFrame, source: str, target: str, per_speaker: int) -> pd.DataFrame:
    """Return the clips to pair: columns corpus, speaker, text_id, source and target."""
    present = set(manifest["emotion"])
    for word in (source, target):
        if emotions.check(word) not in present:
            raise ValueError(
                f"no {word} clip in the manifest; it has: {', '.join(emotions.ordered(present)) or 'nothing'}"
            )
    rows = manifest[manifest["text_id"] != ""]
    keys = ["corpus", "speaker", "text_id"]
    sides = [
        rows.loc[rows["emotion"] == word, [*keys, "clip"]].rename(columns={"clip": side})
        for side, word in (("source", source), ("target", target))
    ]
    planned = sides[0].merge(sides[1], on=keys).sort_values([*keys, "source", "target"])
    if planned.empty:
        raise ValueError(
            f"no speaker says one sentence both {source} and {target}: pairs need equal text_id, and the "
            f"manifest has {rows['text_id'].nunique()} different ones"
        )
    kept = [
        group.iloc[np.linspace(0, len(group) - 1, min(per_speaker, len(group))).round().astype(int)]
        for _, group in planned.groupby(keys[:2])
    ]
    return pd.concat(kept, ignore_index=True)


def frame_changes(pair: Pair) -> tuple[Array, Array]:
    """Return what changes from source to target, and how much each frame has to say about it.

    Returns
    -------
    changes : float64 array, (T, 40)
        Relative pitch, relative energy, log local rate (mean 0), 32 bands, logit of the aperiodicity in 5.
    weights : float64 array, (T, 40)
        0 or 1: pitch and noise count where both are voiced, bands where the source isn't silent. Energy
        counts everywhere: pauses become quieter beside loud speech than they were beside soft speech.
    """
    source, target, at = pair.source, pair.target, pair.at
    nearest = np.round(at).astype(int)
    rate = alignment.log_rate(at)
    pitch = np.interp(at, np.arange(len(target.voiced)), relative_pitch(target)) - relative_pitch(source)
    energy = relative_energy(target)[nearest] - relative_energy(source)
    bands, noise = target.bands[nearest] - source.bands, target.noise[nearest] - source.noise
    voiced = (source.voiced & target.voiced[nearest]).astype(float)[:, None]
    spoken = (relative_energy(source) > SILENCE).astype(float)[:, None]
    always = np.ones_like(spoken)
    weights = [voiced, always, always, *[spoken] * bands.shape[1], *[voiced] * noise.shape[1]]
    return np.column_stack([pitch, energy, rate - rate.mean(), bands, noise]), np.hstack(weights)


def _analyse(row: audio.Row) -> Rendition | str:
    """Return a rendition, or in one line why there is none."""
    try:
        recording = record(*audio.load_clip(row))
    except ValueError as error:
        return str(error)
    start_s = len(recording.head) / recording.speech.sample_rate
    length_s = len(recording.speech.f0_hz) * HOP_MS / 1000
    phones = (Phone(p.label, p.end_s - start_s) for p in _phones(row))
    return Rendition(contours(recording.speech), tuple(p for p in phones if 0 < p.end_s < length_s))


def _phones(row: audio.Row) -> list[Phone]:
    """Return the labels that EmoDB keeps beside its folder of waves, or none, as of a part of a file."""
    path = Path(row["path"])
    if not math.isnan(row.get("start_s", math.nan)):
        return []
    files = sorted((path.parent.parent / "lablaut").glob(f"{path.stem}*.lablaut"))
    return alignment.read_phones(files[0]) if files else []


def _positions(source: Rendition, target: Rendition) -> Array:
    """Align by phones where both renditions have labels and most agree, else by dynamic time warping."""
    a, b = source.contours, target.contours
    ends = alignment.shared_phones(source.phones, target.phones)
    if 2 * len(ends) > max(len(source.phones), len(target.phones)):
        return alignment.positions_by_phones(ends, len(a.voiced), len(b.voiced))
    return alignment.positions(a, b)
