"""From labels to a manifest: every file is found, decoded once from end to end, measured, and counted once.

Nothing is dropped in silence: what can't be used is listed with its reason, what stands twice with the clip
it repeats.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import audio
from emolib.corpora import manifest
from emolib.corpora.catalogue import CorpusInfo
from emolib.corpora.manifest import Label, Note, Skipped

#: Endings that are looked for, in any case; .m4a, which libsndfile doesn't read, so that it's reported.
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a"})
_LFS_POINTER = b"version https://git-lfs"
_POINTER_REASON = "a Git LFS pointer, not the sound itself; run `git lfs pull` or `emolib fetch`"


@dataclass(frozen=True)
class Sound:
    """What a file itself says, or a part of it: rate in Hz, channels, duration in s, and two digests.

    `content` is the samples' digest, which copies in other containers share; `sha256` is that of the file's
    bytes, and of a part again that of its samples.
    """

    sample_rate: int
    channels: int
    duration_s: float
    sha256: str
    content: str


def sound_files(root: Path) -> list[Path]:
    """Return every sound file under a folder, sorted by path.

    Hidden files and macOS's leftovers are passed over; links to folders are followed, each folder once.

    Raises
    ------
    OSError
        If a folder can't be listed.
    """
    found: list[Path] = []
    met = {Path(root).resolve()}
    for folder, subfolders, names in os.walk(root, onerror=_raise, followlinks=True):
        for name in sorted(subfolders):
            real = Path(folder, name).resolve()
            if real in met or _hidden(name):
                subfolders.remove(name)
            met.add(real)
        sounds = (name for name in names if Path(name).suffix.lower() in SUFFIXES)
        found += [Path(folder, name) for name in sounds if not _hidden(name)]
    return sorted(found)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _raise(error: OSError) -> None:
    raise error


def measure(path: Path, start_s: float = math.nan, end_s: float = math.nan) -> Sound | Skipped:
    """Decode a file, or a part of it, and return its measures, or the reason why it's unfit."""
    try:
        samples, sample_rate = audio.read(path, start_s, end_s)
        audio.check_speech(audio.mono(samples), sample_rate, path.name)
        content = hashlib.sha256(f"{sample_rate} {samples.shape}".encode())
        content.update(np.ascontiguousarray(samples).data)
        digest = content.hexdigest()
        if math.isnan(start_s) and math.isnan(end_s):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except audio.AudioError as error:
        is_pointer = _starts_with(path, _LFS_POINTER)
        return Skipped(path, _POINTER_REASON if is_pointer else str(error).removeprefix(f"{path.name}: "))
    except (OSError, ValueError) as error:  # no permission; a name that the system or libsndfile refuses
        return Skipped(path, f"can't be read ({error})")
    return Sound(sample_rate, samples.shape[1], len(samples) / sample_rate, digest, content.hexdigest())


def _sound(label: Label) -> Sound | Skipped:
    """Measure a label's clip; one channel of several can't be asked for, since channels are averaged."""
    sound = measure(label.path, label.start_s, label.end_s)
    if isinstance(sound, Sound) and sound.channels > 1 and str(label.extra.get("channel", "")).strip():
        return Skipped(
            label.path,
            f"its row names a channel, but the {sound.channels} channels of a file are averaged; write each "
            "channel to a file of its own, or remove the column",
        )
    return sound


def _starts_with(path: Path, start: bytes) -> bool:
    """Tell whether a regular file, which a FIFO is not, begins with some bytes."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _printable(path: Path) -> str:
    """Return a path as text that can be printed in one line, whatever bytes its name holds."""
    text = os.fsencode(path).decode("utf-8", errors="replace")
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _measure_all(name: str, labels: list[Label]) -> Iterator[tuple[Label, Sound | Skipped]]:
    """Measure in threads, which pays since decoding and hashing let go of the interpreter's lock."""
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        sounds = pool.map(_sound, labels)
        # No bar where the work is short, and none in a file or a notebook's stored output.
        yield from zip(
            labels, tqdm(sounds, name, total=len(labels), unit="clip", delay=2, disable=None), strict=True
        )


def assemble(info: CorpusInfo, items: Iterable[Label | Skipped | Note], where: str | Path) -> pd.DataFrame:
    """Turn what a parser yields into a manifest.

    Parameters
    ----------
    info : CorpusInfo
    items : iterable of Label, Skipped or Note
    where : str or Path
        The folder or table that was read, for messages.

    Returns
    -------
    manifest : DataFrame
        `attrs` holds "skipped" (dicts of path, reason), "duplicates" (dicts of path, the clip that was kept,
        and in "differs" whether emotion or speaker is another) and "notes" (strings).

    Raises
    ------
    ValueError
        If no clip is usable.
    """
    items = list(items)
    labels = [_full(info, item) for item in items if isinstance(item, Label)]
    labels.sort(key=lambda label: (label.path, label.start_s, label.end_s))
    skipped = [item for item in items if isinstance(item, Skipped)]
    notes = [item.text for item in items if isinstance(item, Note)]
    rows, repeats, unfit = _keep(info, _measure_all(info.name, labels))
    skipped += unfit
    if not rows:
        raise ValueError(f"{info.name}: no usable clip in {where}; {_what_was_found(len(repeats), skipped)}")
    table = manifest.frame(rows)
    notes = [_count(info, len(table)), *_remarks(table, repeats), *notes]
    table.attrs["skipped"] = [{"path": _printable(s.path), "reason": s.reason} for s in skipped]
    table.attrs["duplicates"] = [
        {"path": _printable(label.path), "clip": kept.clip, "differs": ", ".join(_differs(label, kept))}
        for label, kept in repeats
    ]
    table.attrs["notes"] = [f"{info.name}: {note}" for note in notes]
    return table


def _keep(
    info: CorpusInfo, measured: Iterable[tuple[Label, Sound | Skipped]]
) -> tuple[list[dict[str, object]], list[tuple[Label, Label]], list[Skipped]]:
    """Split measured clips into rows, repeats (each with the clip that was kept) and unfit ones."""
    rows: list[dict[str, object]] = []
    repeats: list[tuple[Label, Label]] = []
    unfit: list[Skipped] = []
    by_content: dict[tuple[str, str], Label] = {}
    by_clip: dict[str, Label] = {}
    for label, sound in measured:
        if isinstance(sound, Skipped):
            unfit.append(sound)
            continue
        # A clip that the publisher issued under two names keeps both: counts stay those of the literature.
        content = (sound.content, label.clip if label.clip in info.twins else "")
        if content in by_content:
            repeats.append((label, by_content[content]))
        elif label.clip in by_clip:
            taken = by_clip[label.clip].path
            unfit.append(
                Skipped(label.path, f"the clip id {label.clip} belongs to {taken}, which sounds different")
            )
        else:
            by_content[content] = by_clip[label.clip] = label
            rows.append(_row(label, sound))
    return rows, repeats, unfit


def _full(info: CorpusInfo, label: Label) -> Label:
    """Return a label that names its corpus, with a speaker who is unique over corpora."""
    corpus = label.corpus or info.name
    return replace(label, corpus=corpus, speaker=manifest.full_speaker(corpus, label.speaker))


def _row(label: Label, sound: Sound) -> dict[str, object]:
    values = {f.name: getattr(label, f.name) for f in fields(Label) if f.name != "extra"}
    values |= {f.name: getattr(sound, f.name) for f in fields(Sound) if f.name != "content"}
    return values | {"path": str(label.path.absolute())} | dict(label.extra)


def _what_was_found(n_repeats: int, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"no sound file ({', '.join(sorted(SUFFIXES))}) was found"
    first = f"{_printable(Path(skipped[0].path.name))}: {skipped[0].reason}"
    return f"{len(skipped)} skipped, {n_repeats} duplicates; the first: {first}"


def _count(info: CorpusInfo, found: int) -> str:
    if info.clips is None:
        return f"{found} clips found"
    return f"{found} of {info.clips} published clips found"


def _differs(label: Label, kept: Label) -> list[str]:
    return [name for name in ("emotion", "speaker") if getattr(label, name) != getattr(kept, name)]


def _some(remarks: list[str]) -> str:
    return "; ".join(remarks[:5]) + ("; ..." if len(remarks) > 5 else "")


def _remarks(table: pd.DataFrame, repeats: list[tuple[Label, Label]]) -> Iterator[str]:
    """Yield what a reader of the numbers should know about a whole manifest."""
    contradictions = [
        f"{_printable(Path(label.path.name))} ({label.emotion}) repeats {kept.clip} ({kept.emotion})"
        for label, kept in repeats
        if label.emotion != kept.emotion
    ]
    if contradictions:
        yield f"{len(contradictions)} duplicates contradict the clip that was kept: {_some(contradictions)}"
    shared = [
        f"{_printable(Path(label.path.name))} ({label.speaker}) repeats {kept.clip} ({kept.speaker})"
        for label, kept in repeats
        if label.speaker != kept.speaker
    ]
    if shared:
        yield (
            f"{len(shared)} recordings occur under two speakers: {_some(shared)}: a leak if they fall on "
            "both sides of a split"
        )
    twins = table.loc[table["sha256"].duplicated(), "clip"]
    if len(twins):
        yield f"issued twice by the publisher under two names, both kept: {', '.join(twins)}"
    if len(table) >= 20 and (table["duration_s"] == table["duration_s"].iloc[0]).all():
        yield f"each clip lasts {table['duration_s'].iloc[0]:.3f} s: cut or padded, so durations mean nothing"
