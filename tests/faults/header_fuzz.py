"""A fuzzer of audio files: bytes of their headers are changed, and what comes of it is sound or a reason.

A case is a number: it fixes the file that is harmed and the harm. A file that is refused with `AudioError`,
or read as finite samples, survived; one that brings another error, a signal, a wait, or 300 MiB is a finding,
and so is a file that was only cut short and then read as a shorter one without a word.

``python tests/faults/header_fuzz.py --minutes 60`` runs on from ``--first`` up to the first finding.
"""

import io
import multiprocessing
import resource
import struct
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import soundfile as sf
import typer

from emolib import audio
from emolib.corpora import scan
from emolib.corpora.manifest import Skipped

LONGEST_S, MOST_MIB = 5.0, 300
#: Ending, format and subtype of each file that is harmed; what libsndfile can't write is left out.
FORMATS = (
    (".wav", "WAV", "PCM_16"), (".wav", "WAV", "PCM_24"), (".wav", "WAV", "FLOAT"), (".wav", "WAV", "ULAW"),
    (".wav", "WAVEX", "PCM_16"), (".wav", "RF64", "PCM_16"), (".wav", "WAV", "IMA_ADPCM"),
    (".wav", "AIFF", "PCM_16"), (".wav", "AIFF", "FLOAT"), (".flac", "FLAC", "PCM_16"),
    (".flac", "FLAC", "PCM_24"), (".ogg", "OGG", "VORBIS"), (".ogg", "OGG", "OPUS"),
    (".mp3", "MP3", "MPEG_LAYER_III"),
)  # fmt: skip
_EDGES = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals() -> list[tuple[str, bytes]]:
    """Return the whole files, ending and bytes: a tone with noise, one channel or two.

    They last 0.4 s, and where a stream has pages 2 s, to have several of them.
    """
    rng = np.random.default_rng(0)
    made = []
    for number, (suffix, kind, subtype) in enumerate(FORMATS):
        time_s = np.arange(32_000 if kind in ("OGG", "MP3") else 6_400) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * 220 * time_s) + 0.01 * rng.standard_normal(len(time_s))
        samples = np.stack([wave, wave[::-1]], axis=1) if number % 3 == 1 else wave
        buffer = io.BytesIO()
        sf.write(buffer, samples, 16_000, format=kind, subtype=subtype)
        made.append((suffix, buffer.getvalue()))
    return made


def harmed(number: int, files: list[tuple[str, bytes]]) -> tuple[str, bytes, int | None]:
    """Return a case's ending, its bytes, and, where a file is only cut short, the number of the whole one."""
    rng = np.random.default_rng(number)
    which = int(rng.integers(len(files)))
    suffix, whole = files[which]
    if rng.random() < 0.15:
        return suffix, whole[: int(rng.integers(1, len(whole)))], which
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 6))):
        _harm(data, rng, files)
    if suffix == ".ogg" and rng.random() < 0.7:
        mend_ogg_checksums(data)  # else the harm is found out by the checksum, and goes no deeper
    return suffix, bytes(data), None


def _harm(data: bytearray, rng: np.random.Generator, files: list[tuple[str, bytes]]) -> None:
    reach = len(data) if rng.random() < 0.2 else min(len(data), 200)
    at = int(rng.integers(max(reach, 1)))
    match int(rng.integers(7)):
        case 0:
            data[at : at + 1] = bytes([data[at] ^ (1 << int(rng.integers(8)))]) if at < len(data) else b""
        case 1:
            data[at : at + 1] = bytes([int(rng.integers(256))])
        case 2 | 3:
            order, size = "<>"[int(rng.integers(2))], "BHI"[int(rng.integers(3))]
            value = _EDGES[int(rng.integers(len(_EDGES)))] & (1 << 8 * struct.calcsize(size)) - 1
            data[at : at + struct.calcsize(size)] = struct.pack(order + size, value)
        case 4:
            del data[at : at + int(rng.integers(1, 9))]
        case 5:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        case 6:
            other = files[int(rng.integers(len(files)))][1]
            data[at : at + 32] = other[at : at + 32]


#: Each byte with its bits in reverse: Ogg's checksum is zlib's of mirrored bits, from 0 and as it ends.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def mend_ogg_checksums(data: bytearray) -> None:
    """Write into each page of an Ogg stream the checksum of what it holds now."""
    at = data.find(b"OggS")
    while at >= 0 and at + 27 <= len(data):
        segments = data[at + 27 : at + 27 + data[at + 26]]
        end = min(at + 27 + len(segments) + sum(segments), len(data))
        data[at + 22 : at + 26] = bytes(4)
        mirrored = zlib.crc32(data[at:end].translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        data[at + 22 : at + 26] = struct.pack("<I", int(f"{mirrored:032b}"[::-1], 2))
        at = data.find(b"OggS", end)


def finding(path: Path, whole: int | None) -> str:
    """Read a file as a manifest and an extraction do; return what is wrong with how that ended, if anything.

    Parameters
    ----------
    path : Path
    whole : int, optional
        The number of samples that the file had before it was cut short.
    """
    started, before = time.monotonic(), _peak_mib()
    try:
        sound = scan.measure(path)
        wave, rate = audio.load(path, 16_000)
    except audio.AudioError as error:
        if "\n" in str(error):
            return "a reason of several lines"
        return _dear(started, before)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(sound, Skipped):
        return f"load reads what a manifest skips: {sound.reason}"
    if wave.ndim != 1 or wave.dtype != np.float32 or not np.isfinite(wave).all() or rate != 16_000:
        return f"no wave: {wave.dtype} {wave.shape} at {rate} Hz"
    if whole is not None and len(wave) < whole:
        return f"read as {len(wave)} samples of {whole} without a word"
    return _dear(started, before)


def _dear(started: float, before: int) -> str:
    seconds = time.monotonic() - started
    if seconds > LONGEST_S:
        return f"{seconds:.1f} s"
    taken = _peak_mib() - before
    return f"{taken} MiB of memory" if taken > MOST_MIB else ""


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def try_cases(first: int, last: int, folder: Path) -> list[tuple[int, str]]:
    """Try the cases from `first` to before `last`; return those that found something, and what.

    The case in hand stands in ``<folder>/case``, so that a parent knows it if this process dies.
    """
    files = originals()
    lengths = []
    for suffix, data in files:
        (folder / f"whole{suffix}").write_bytes(data)
        lengths.append(len(audio.load(folder / f"whole{suffix}", 16_000)[0]))
    found = []
    for number in range(first, last):
        suffix, data, which = harmed(number, files)
        path = folder / f"harmed{suffix}"
        path.write_bytes(data)
        (folder / "case").write_text(str(number))
        if what := finding(path, None if which is None else lengths[which]):
            found.append((number, what))
    return found


def in_a_process(first: int, last: int, timeout_s: float) -> list[tuple[int, str]]:
    """Try cases in a process of their own, which a crash of the decoder may take down."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            return pool.apply_async(try_cases, (first, last, Path(folder))).get(timeout_s)
        except multiprocessing.TimeoutError:
            number = int((Path(folder) / "case").read_text())
    around = ((first, number), (number + 1, last))
    others = [found for start, end in around if start < end for found in in_a_process(start, end, timeout_s)]
    return [(number, "a hang or a crash"), *others]


def hunt(minutes: float = 1.0, first: int = 0) -> None:
    """Try cases from a number on for some minutes."""
    started, number = time.monotonic(), first
    while time.monotonic() - started < 60 * minutes:
        assert (found := in_a_process(number, number + 500, 300)) == [], found
        number += 500
    print(f"{number - first} cases from {first}, no findings")


if __name__ == "__main__":
    typer.run(hunt)
