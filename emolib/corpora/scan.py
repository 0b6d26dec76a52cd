"""From labels to a manifest: every file is found, decoded once from end to end, measured, and counted once.

What was measured is kept in ``data/manifests/``, so that a file is decoded again only after it was changed.
Nothing is dropped in silence: what can't be used is listed with its reason, what stands twice with the clip
it repeats.
"""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from emolib import audio, files, paths, threads
from emolib.corpora import manifest
from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped

#: Endings of files in which sound is packed, perhaps with a picture.
CONTAINERS = frozenset({".m4a", ".mp4", ".webm"})
#: Endings that are looked for, in any case; what a file holds is told by its content.
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}) | CONTAINERS
#: Shorter runs of zeros at a clip's end are no padding: a 16-bit recording may end so by itself.
SHORTEST_PADDING_S = 0.05
#: A file that was changed so shortly ago might be changed again without a later time of change.
_SETTLED_S = 2.0
_LFS_POINTER = b"version https://git-lfs"
_POINTER_REASON = "a Git LFS pointer, not the sound itself; run `git lfs pull` or `emolib fetch`"


@dataclass(frozen=True)
class Sound:
    """What a file itself says, or a part of it: rate in Hz, channels, duration in s, and two digests.

    `content` is the samples' digest, which copies in other containers share; `sha256` is that of the file's
    bytes, and of a part again that of its samples. Start and end are NaN for the whole file; `padding_s` is
    how long the last samples are exactly zero.
    """

    sample_rate: int
    channels: int
    duration_s: float
    sha256: str
    content: str
    start_s: float
    end_s: float
    padding_s: float


def sound_files(root: Path) -> list[Path]:
    """Return every sound file under a folder, sorted by path.

    Hidden files and macOS's leftovers are passed over; links to folders are followed, each folder once.

    Raises
    ------
    OSError
        If a folder can't be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    found, met = list[Path](), {Path(root).resolve()}
    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        for name in sorted(subfolders):
            real = Path(folder, name).resolve()
            if real in met or _hidden(name):
                subfolders.remove(name)
            met.add(real)
        kept = (name for name in names if Path(name).suffix.lower() in SUFFIXES and not _hidden(name))
        found += [Path(folder, name) for name in kept]
    return sorted(found)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def measure(
    path: Path, start_s: float = math.nan, end_s: float = math.nan, *, trim_silence: bool = False
) -> Sound | Skipped:
    """Decode a file, or a part of it, and return its measures, or the reason why it's unfit.

    With `trim_silence`, what is exactly zero at its end, and longer than `SHORTEST_PADDING_S`, is left out.
    """
    try:
        samples, sample_rate = audio.read(path, start_s, end_s)
        zeros = audio.trailing_zeros(samples)
        if trim_silence and SHORTEST_PADDING_S * sample_rate < zeros < len(samples):
            samples, zeros = samples[: len(samples) - zeros], 0
            start_s = 0.0 if math.isnan(start_s) else start_s
            end_s = start_s + len(samples) / sample_rate
        audio.check_speech(audio.mono(samples), sample_rate, path.name)
        content = hashlib.sha256(f"{sample_rate} {samples.shape}".encode())
        content.update(np.ascontiguousarray(samples).data)
        digest = content.hexdigest()
        if math.isnan(start_s) and math.isnan(end_s):
            digest = files.sha256(path)
    except audio.AudioError as error:
        reason = _POINTER_REASON if _is_pointer(path) else str(error).removeprefix(f"{path.name}: ")
        return Skipped(path, reason)
    except (OSError, ValueError) as error:  # no permission; a name that the system or libsndfile refuses
        return Skipped(path, f"can't be read ({error})")
    return Sound(
        sample_rate, samples.shape[1], len(samples) / sample_rate, digest, content.hexdigest(), start_s,
        end_s, zeros / sample_rate,
    )  # fmt: skip


def _is_pointer(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():  # a FIFO would block for ever
            with path.open("rb") as file:
                return file.read(len(_LFS_POINTER)) == _LFS_POINTER
    return False


def _printable(path: Path | str) -> str:
    """Return a path as text that can be printed in one line, whatever bytes its name holds."""
    text = os.fsencode(path).decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def assemble(
    info: CorpusInfo, items: Iterable[Label | Skipped | Note], where: str | Path, *,
    trim_silence: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Turn what a parser yields into a manifest.

    Parameters
    ----------
    info : CorpusInfo
    items : iterable of Label, Skipped or Note
    where : str or Path
        The folder or table that was read, for messages.
    trim_silence : bool
        End each clip, by `end_s`, where nothing but exact zeros follows.

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
    labels = [replace(item, corpus=item.corpus or info.name) for item in items if isinstance(item, Label)]
    labels = [replace(one, speaker=manifest.full_speaker(one.corpus, one.speaker)) for one in labels]
    labels.sort(key=lambda label: (label.path, label.start_s, label.end_s))
    sounds = _measured(info.name, labels, where, trim_silence)
    rows, repeats, unfit = _keep(info, zip(labels, sounds, strict=True))
    skipped = [item for item in items if isinstance(item, Skipped)] + unfit
    if not rows:
        raise ValueError(f"{info.name}: no usable clip in {where}; {_what_was_found(len(repeats), skipped)}")
    table = manifest.frame(rows)
    padding_s = table.pop("padding_s")
    published = f" of {info.clips} published" if info.clips is not None else ""
    notes = [f"{len(table)}{published} clips found", *_remarks(table, repeats)]
    if n_padded := (padding_s > SHORTEST_PADDING_S).sum():
        notes.append(
            f"{n_padded} clips end in exact zeros, up to {padding_s.max():.2f} s of them: notebook 00 tells "
            "whether that gives labels away, --trim-silence leaves it out"
        )
    notes += [item.text for item in items if isinstance(item, Note)]
    table.attrs["skipped"] = [{"path": _printable(s.path), "reason": s.reason} for s in skipped]
    table.attrs["duplicates"] = [
        {"path": _printable(label.path), "clip": kept.clip, "differs": ", ".join(differs)}
        for label, kept, differs in repeats
    ]
    table.attrs["notes"] = [f"{info.name}: {note}" for note in notes]
    return table


def _measured(name: str, labels: list[Label], where: str | Path, trim_silence: bool) -> list[Sound | Skipped]:
    """Measure the clips whose files are new or have changed; take the others' measures from what is kept."""
    place = hashlib.sha256(os.fsencode(where) + bytes([trim_silence])).hexdigest()[:10]
    note = paths.data() / "manifests" / f"{paths.folder_name(name)}-{place}.json"
    told = files.read_json(note)
    kept = told["sounds"] if told.get("digest") == _digest(told.get("sounds")) else {}
    keys = list(map(_key, labels))
    todo = [label for label, key in zip(labels, keys, strict=True) if key not in kept]
    # No bar where the work is short, and none in a file or a notebook's stored output.
    bar = tqdm(todo, name, unit="clip", delay=2, disable=None)
    fresh = iter(
        threads.each(lambda one: measure(one.path, one.start_s, one.end_s, trim_silence=trim_silence), bar)
    )
    sounds = [Sound(*kept[key]) if key in kept else next(fresh) for key in keys]
    pairs = zip(keys, sounds, strict=True)
    keep = {key: astuple(sound) for key, sound in pairs if key and isinstance(sound, Sound)}
    if keep.keys() != kept.keys():
        with contextlib.suppress(OSError):  # a home that can't be written to
            files.write_json(note, {"digest": _digest(keep), "sounds": keep})
    return sounds


def _digest(sounds: object) -> str:
    """Return a checksum of kept measures and of the code that took them."""
    code = files.code_digest({"audio": Path(audio.__file__), "scan": Path(__file__)})
    return hashlib.sha256(f"{code} {json.dumps(sounds)}".encode()).hexdigest()


def _key(label: Label) -> str:
    """Name a clip, its file's size and times of change; empty where the file may still be changing."""
    with contextlib.suppress(OSError, ValueError):
        told = label.path.stat()
        if time.time() - max(told.st_mtime, told.st_ctime) > _SETTLED_S:
            state = f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns}"
            return f"{str(label.path)!a} {label.start_s} {label.end_s} {state}"
    return ""


#: A clip that repeats another, the one that was kept, and what differs.
_Repeat = tuple[Label, Label, list[str]]


def _keep(
    info: CorpusInfo, measured: Iterable[tuple[Label, Sound | Skipped]]
) -> tuple[list[dict[str, object]], list[_Repeat], list[Skipped]]:
    """Split measured clips into rows, repeats and unfit ones."""
    rows, repeats, unfit = list[dict[str, object]](), list[_Repeat](), list[Skipped]()
    by_content, by_clip = dict[tuple[str, str], Label](), dict[str, Label]()
    for label, sound in measured:
        if isinstance(sound, Skipped):
            unfit.append(sound)
            continue
        if sound.channels > 1 and str(label.extra.get("channel", "")).strip():
            why = (
                f"its row names a channel, but the {sound.channels} channels of a file are averaged; write "
                f"each channel to a file of its own, or remove the column"
            )
            unfit.append(Skipped(label.path, why))
            continue
        # A clip that the publisher issued under two names keeps both: counts stay those of the literature.
        content = (sound.content, label.clip if label.clip in info.twins else "")
        if kept := by_content.get(content):
            differs = [name for name in _TOLD if getattr(label, name) != getattr(kept, name)]
            repeats.append((label, kept, differs))
        elif taken := by_clip.get(label.clip):
            why = f"the clip id {label.clip} belongs to {taken.path}, which sounds different"
            unfit.append(Skipped(label.path, why))
        else:
            by_content[content] = by_clip[label.clip] = label
            values = vars(label) | vars(sound) | {"path": str(label.path.absolute())} | dict(label.extra)
            rows.append({name: value for name, value in values.items() if name not in ("extra", "content")})
    return rows, repeats, unfit


def _what_was_found(n_repeats: int, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"no sound file ({', '.join(sorted(SUFFIXES))}) was found"
    first = f"{_printable(skipped[0].path.name)}: {skipped[0].reason}"
    return f"{len(skipped)} skipped, {n_repeats} duplicates; the first: {first}"


#: What is said of clips that repeat another under another emotion or speaker.
_TOLD = {
    "emotion": "{n} duplicates contradict the clip that was kept: {some}",
    "speaker": "{n} recordings occur under two speakers: {some}: a leak if they fall on both sides of a "
    "split",
}


def _remarks(table: pd.DataFrame, repeats: list[_Repeat]) -> Iterator[str]:
    """Yield what a reader of the numbers should know about a whole manifest."""
    for name, words in _TOLD.items():
        told = [
            f"{_printable(label.path.name)} ({getattr(label, name)}) repeats {kept.clip} "
            f"({getattr(kept, name)})"
            for label, kept, differs in repeats
            if name in differs
        ]
        if told:
            yield words.format(n=len(told), some="; ".join([*told[:5], *["..."] * (len(told) > 5)]))
    twins = table.loc[table["sha256"].duplicated(), "clip"]
    if len(twins):
        yield f"issued twice by the publisher under two names, both kept: {', '.join(twins)}"
    if len(table) >= 20 and (table["duration_s"] == table["duration_s"].iloc[0]).all():
        yield f"each clip lasts {table['duration_s'].iloc[0]:.3f} s: cut or padded, so durations mean nothing"
