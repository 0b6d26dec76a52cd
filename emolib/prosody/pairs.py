"""Two renditions of one sentence: analysed, aligned, paired as examples to learn from, and compared.

Frames are aligned by phone labels where a corpus has them (EmoDB), by dynamic time warping elsewhere.

References
----------
Dynamic time warping: H. Sakoe, S. Chiba (1978), "Dynamic programming algorithm optimization for spoken word
recognition", IEEE TASSP 26(1), doi:10.1109/TASSP.1978.1163055. EmoDB's labels: F. Burkhardt et al. (2005), "A
database of German emotional speech", Interspeech. Mel-cepstral distortion: R. F. Kubichek (1993),
"Mel-cepstral distance measure for objective speech quality assessment", IEEE PacRim; of WORLD's envelope as
in T. Kaneko, H. Kameoka (2018), "CycleGAN-VC", EUSIPCO, arXiv:1711.11293.
"""

import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, emotions, quality, threads
from emolib.audio import HIFIGAN_MEL, Wave
from emolib.corpora.tables import VOTES
from emolib.prosody import analysis
from emolib.prosody.analysis import SILENCE, Contours, contours, relative_energy, relative_pitch, smooth
from emolib.world import HOP_MS, Array

LEAST_SPEAKERS = 6  # what fewer voices have in common is chance
MOST_PAIRS = 60  # of each speaker, spread evenly over the sentences: more add little
_STRIDE = 2  # every 10 ms: a phone is longer, and the matrix is a quarter as large
_BAND = 0.3  # how far, as a share of the longer clip, the path may leave the diagonal
_RATE_FRAMES = 31  # local rate is one of syllables, not of frames
_N_BANDS, _ORDER = 40, 24  # mel bands of the envelope up to 8 kHz, and the coefficients taken from them


class Phone(NamedTuple):
    """A labelled part of speech: its label and where it ends, in s from the start of the spoken span."""

    label: str
    end_s: float


class Rendition(NamedTuple):
    """One analysed clip: its contours, and its phones where the corpus has labels of them."""

    contours: Contours
    phones: tuple[Phone, ...] = ()


class Pair(NamedTuple):
    """Two renditions of one sentence by one speaker.

    Attributes
    ----------
    source, target : Contours, of T and T' frames
    at : float64 array, (T,); the target's frame that each frame of the source corresponds to
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
    rows = tqdm(manifest.to_dict("records"), desc="prosody", unit="clip", disable=not progress)
    found = dict(zip(manifest["clip"], threads.each(_analyse, rows), strict=True))
    failed = {clip: reason for clip, reason in found.items() if isinstance(reason, str)}
    return Renditions(
        {clip: rendition for clip, rendition in found.items() if not isinstance(rendition, str)},
        [{"clip": clip, "reason": reason} for clip, reason in failed.items()],
    )


def corpus_name(manifest: pd.DataFrame) -> str:
    """Return the names of the corpora of a manifest, as one."""
    return "+".join(sorted(set(manifest["corpus"].astype(str))))


def check_emotions(manifest: pd.DataFrame, *wanted: str) -> None:
    """Raise ValueError if an emotion is named twice, or not in a manifest."""
    present = set(manifest["emotion"])
    if absent := [word for word in wanted if word not in present]:
        known = ", ".join(emotions.ordered(present))
        raise ValueError(f"no clip of {absent[0]!r} in these of {corpus_name(manifest)}; they have: {known}")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"source and target are both {wanted[0]!r}; expected two emotions")


def evenly(n: int, most: int) -> NDArray[np.intp]:
    """Return at most so many of the numbers from 0 to n - 1, spread evenly over them."""
    return np.linspace(0, n - 1, min(most, n)).round().astype(int)


def pairs(
    manifest: pd.DataFrame, source: str, target: str, *, agreement: float = 0.5,
    analysed: Renditions | None = None, progress: bool = False,
) -> Parallel:  # fmt: skip
    """Return the pairs of a source and a target rendition of one sentence by one speaker.

    Of each speaker there are `MOST_PAIRS` at most, spread evenly over the sentences.

    Parameters
    ----------
    manifest : DataFrame
        Its columns clip, path, corpus, speaker, emotion and text_id are read. What it leaves out (a test
        set's speakers, weak intensities) is left out of the pairs.
    source, target : str; emotions
    agreement : float
        Where raters have voted (columns such as votes_angry), the share of them who must have heard a clip's
        own emotion. An emotion that fewer than six speakers could teach so keeps all its clips.
    analysed : Renditions, optional
        Of at least the clips that are needed: several targets then cost one analysis.
    progress : bool; as in `renditions`

    Raises
    ------
    ValueError
        If an emotion isn't in the manifest, no clip says which sentence it is, or no speaker says one
        sentence in both emotions.
    """
    check_emotions(manifest, source, target)
    misheard = _misheard(manifest[manifest["emotion"].isin([source, target])], agreement)
    planned = _plan(manifest[~manifest["clip"].isin(misheard)], source, target)
    wanted = set(planned["source"]) | set(planned["target"])
    known = analysed or renditions(manifest[manifest["clip"].isin(wanted)], progress=progress)
    skipped = [entry for entry in known.skipped if entry["clip"] in wanted]
    if missing := sorted(wanted - {entry["clip"] for entry in skipped} - set(known.by_clip)):
        raise ValueError(f"{len(missing)} clips were not analysed, {missing[0]} for one; analyse them too")
    usable = planned[planned[["source", "target"]].isin(list(known.by_clip)).all(axis=1)]
    made = []
    for row in usable.itertuples():
        a, b = known.by_clip[str(row.source)], known.by_clip[str(row.target)]
        made.append(Pair(a.contours, b.contours, _aligned(a, b), str(row.speaker), str(row.corpus)))
    skipped += [{"clip": clip, "reason": reason} for clip, reason in misheard.items()]
    return Parallel(made, skipped)


def _misheard(rows: pd.DataFrame, agreement: float) -> dict[str, str]:
    """Return the clips whose emotion too few of their raters heard, each with the reason."""
    rows = rows.reset_index(drop=True)  # of joined corpora, numbers may repeat
    votes = rows[[name for name in rows.columns if name.startswith(VOTES)]].astype(float).fillna(0)
    found: dict[str, str] = {}
    for emotion, part in rows.groupby("emotion"):
        if f"{VOTES}{emotion}" not in votes:
            continue
        counts = votes.loc[part.index]
        own, everyone = counts[f"{VOTES}{emotion}"], counts.sum(axis=1)
        few = own < agreement * everyone
        if part.loc[~few, "speaker"].nunique() >= LEAST_SPEAKERS:
            told = zip(part.loc[few, "clip"], own[few], everyone[few], strict=True)
            found |= {clip: f"{heard:g} of {asked:g} votes for {emotion}" for clip, heard, asked in told}
    return found


def _plan(manifest: pd.DataFrame, source: str, target: str) -> pd.DataFrame:
    """Return the clips to pair: columns corpus, speaker, text_id, source and target."""
    keys = ["corpus", "speaker", "text_id"]
    rows = manifest[manifest["text_id"] != ""]
    before, after = (rows.loc[rows["emotion"] == word, [*keys, "clip"]] for word in (source, target))
    both = before.merge(after, on=keys).set_axis([*keys, "source", "target"], axis=1)
    planned = both.sort_values([*keys, "source", "target"])
    if planned.empty:
        raise ValueError(
            f"no speaker says one sentence both {source} and {target}: pairs need equal text_id, and the "
            f"manifest has {rows['text_id'].nunique()} different ones"
        )
    kept = [part.iloc[evenly(len(part), MOST_PAIRS)] for _, part in planned.groupby(keys[:2])]
    return pd.concat(kept, ignore_index=True)


def frame_changes(pair: Pair) -> tuple[Array, Array]:
    """Return what changes from source to target, and the weight of each frame.

    Returns
    -------
    changes : float64 array, (T, 40)
        Relative pitch, relative energy, log local rate (mean 0), 32 bands, logit of the aperiodicity in 5.
    weights : float64 array, (T, 40)
        0 or 1: pitch and noise count where both are voiced, bands where the source isn't silent. Energy
        counts everywhere: pauses are quieter relative to loud speech than to soft speech.
    """
    source, target, at = pair.source, pair.target, pair.at
    nearest = np.round(at).astype(int)
    rate = log_rate(at)
    there = np.interp(at, np.arange(len(target.voiced)), relative_pitch(target))
    pitch = there - relative_pitch(source)
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
        recording = analysis.record(*audio.load_clip(row))
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
    return read_phones(files[0]) if files else []


def _aligned(source: Rendition, target: Rendition) -> Array:
    """Align by phones where both renditions have labels and most agree, else by dynamic time warping."""
    a, b = source.contours, target.contours
    ends = shared_phones(source.phones, target.phones)
    if 2 * len(ends) > max(len(source.phones), len(target.phones)):
        return positions_by_phones(ends, len(a.voiced), len(b.voiced))
    return positions(a, b)


def path(source: Array, target: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of frames that dynamic time warping matches.

    Parameters
    ----------
    source, target : float arrays, (T, K) and (T', K); compared by Euclidean distance

    Returns
    -------
    at_source, at_target : integer arrays, (P,); both never fall, from the first frames to the last
    """
    band = max(_BAND, 1.2 * abs(len(source) - len(target)) / max(len(source), len(target)))
    _, steps = librosa.sequence.dtw(
        source.T, target.T, metric="euclidean", global_constraints=band < 1, band_rad=min(band, 1.0)
    )
    return steps[::-1, 0], steps[::-1, 1]


def positions(source: Contours, target: Contours) -> Array:
    """Return the target's frame that each frame of the source corresponds to: (T,), never falling.

    Frames are matched by the spectrum's shape, its level relative to the loudest, and the voicing.
    """
    at_source, at_target = path(_spectral_view(source)[::_STRIDE], _spectral_view(target)[::_STRIDE])
    known = np.unique(at_source)
    mean = np.array([at_target[at_source == frame].mean() for frame in known])
    at = np.interp(np.arange(len(source.voiced)), _STRIDE * known, _STRIDE * mean)
    return np.clip(np.maximum.accumulate(at), 0, len(target.voiced) - 1)


def _spectral_view(c: Contours) -> Array:
    """Return what frames are matched by, (T, 34): bands as deviations, level and voicing."""
    bands = c.bands - c.bands[c.voiced].mean(axis=0)
    return np.column_stack([bands, 2 * relative_energy(c), 4.0 * c.voiced])


def shared_phones(source: Sequence[Phone], target: Sequence[Phone]) -> Array:
    """Return where each phone that both renditions share ends in either of them, (K, 2), s."""
    labels = [phone.label for phone in source], [phone.label for phone in target]
    blocks = SequenceMatcher(None, *labels, autojunk=False).get_matching_blocks()
    matched = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
    return np.array([(source[i].end_s, target[j].end_s) for i, j in matched]).reshape(-1, 2)


def positions_by_phones(ends_s: Array, n_source: int, n_target: int) -> Array:
    """Return what `positions` does from the ends of shared phones, (K, 2), s: linear between them."""
    frames = ends_s * 1000 / HOP_MS
    last = np.array([n_source - 1, n_target - 1])
    inside = ((frames > 0) & (frames < last)).all(axis=1)
    anchors = np.vstack([[0, 0], frames[inside], last])
    return np.maximum.accumulate(np.interp(np.arange(n_source), anchors[:, 0], anchors[:, 1]))


def read_phones(label_file: str | Path) -> list[Phone]:
    """Read a label file of EmoDB (``lablaut/03a01Faxx.lablaut``); ends are in s from the start of the file.

    Diacritics and remarks are left out, so that equal phones have equal labels. Some published files have a
    header and no labels: they give an empty list.

    Raises
    ------
    ValueError
        If it is no label file.
    """
    _, header_end, body = Path(label_file).read_text(encoding="latin-1").partition("#")
    if not header_end:
        raise ValueError(f"{label_file}: no label file; expected a header, a line '#', and the labels")
    rows = re.findall(r"^\s*([0-9.]+)\s+-?\d+[ ]?([^\t;\n]*)", body, flags=re.MULTILINE)
    return [Phone(re.sub(r"[^A-Za-z@]", "", label), float(end)) for end, label in rows]


def log_rate(at: Array) -> Array:
    """Return the logarithm of the local stretch, (T,), that positions, (T,), ask of a source."""
    stretch = np.gradient(smooth(at, _RATE_FRAMES))
    return np.log(np.clip(smooth(stretch, _RATE_FRAMES), 0.25, 4.0))


class Distance(NamedTuple):
    """How far one rendition is from another.

    Attributes
    ----------
    mcd_db : float, dB; mel-cepstral distortion of WORLD's spectral envelopes, which hold no pitch
    log_f0_rmse : float, natural logarithm; NaN where no pair of frames is voiced in both
    """

    mcd_db: float
    log_f0_rmse: float


class Track(NamedTuple):
    """What a wave is compared by, every 11.6 ms of its spoken frames.

    Attributes
    ----------
    envelope : float64 array, (T, 24); mel-cepstral coefficients 1 to 24
    log_f0 : float64 array, (T,); NaN where unvoiced
    """

    envelope: Array
    log_f0: Array


def track(wave: Wave, sample_rate: int) -> Track:
    """Measure a wave for `distance`, so that one rendition can be compared with many.

    Raises
    ------
    ValueError
        As `analysis.record` does.
    """
    recording = analysis.record(wave, sample_rate, aperiodicity=False)
    speech = recording.speech
    log_mel = audio.log_mel(recording.wave, sample_rate)
    hop_s = HIFIGAN_MEL.hop_length / HIFIGAN_MEL.sample_rate
    seconds = (np.arange(len(log_mel)) + 0.5) * hop_s - len(recording.head) / speech.sample_rate
    frames = np.round(seconds * 1000 / HOP_MS).astype(int)
    kept = quality.speech_frames(log_mel) & (frames >= 0) & (frames < len(speech.f0_hz))
    f0_hz, envelope = speech.f0_hz[frames[kept]], speech.log_envelope[frames[kept]]
    bands = analysis.in_bands(0.5 * envelope, speech.sample_rate, _N_BANDS)  # of magnitudes
    log_f0 = np.log(f0_hz, out=np.full(len(f0_hz), np.nan), where=f0_hz > 0)
    return Track(quality.cepstra(bands, _ORDER), log_f0)


def distance(reference: Track, given: Track) -> Distance:
    """Return how far a rendition is from the reference.

    Notes
    -----
    Frames within 40 dB of the loudest are aligned by dynamic time warping of their envelopes' cepstra c.
    Over the P matched pairs, MCD = 10 / ln 10 * mean of sqrt(2 * sum over m of (c_m - c'_m)^2); over those
    voiced in both, RMSE = sqrt(mean of (ln F0 - ln F0')^2). Each rendition is aligned on its own, so that an
    unconverted clip profits from alignment as well.
    """
    i, j = path(reference.envelope, given.envelope)
    pitch = reference.log_f0[i] - given.log_f0[j]
    pitch = pitch[np.isfinite(pitch)]
    rmse = float(np.sqrt(np.mean(pitch**2))) if len(pitch) else float("nan")
    apart = np.square(reference.envelope[i] - given.envelope[j]).sum(axis=1)
    return Distance(float(10 / np.log(10) * np.sqrt(2 * apart).mean()), rmse)


def mean_distance(renditions: Sequence[Track], given: Track) -> Distance:
    """Return the mean distance from renditions; NaN where there is none, or no pair is voiced in both.

    If `given` is itself one of the renditions (the same object), that one is left out: a natural clip is
    compared with the other takes, never with itself.
    """
    apart = [distance(reference, given) for reference in renditions if reference is not given]
    if not apart:
        return Distance(float("nan"), float("nan"))
    known = (column[np.isfinite(column)] for column in np.array(apart).T)
    return Distance(*(float(values.mean()) if len(values) else float("nan") for values in known))
