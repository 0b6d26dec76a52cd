"""Damaged headers of sound files: a short run of the fuzzer, and what its long runs have found."""

import io
from pathlib import Path

import header_fuzz
import numpy as np
import pytest
import soundfile as sf
from fault_tally import repeats, tried
from samples import speech

from emolib import audio

#: Cases that were findings once, and what they were.
FOUND = {
    103902: "a stereo WAV that lost half a frame was read as one frame shorter",
    313156: "an AIFF of 1 Hz grew to a gigabyte when it was brought to an encoder's rate",
    12574: "a WAV of 32-bit floats near 1e38 overflowed when it was resampled",
}


@pytest.mark.parametrize("first", range(5))
def test_changed_headers_give_sound_or_a_reason(first):
    n = 40 * repeats()
    with tried(f"{n} files with changed headers, in a process of their own"):
        assert header_fuzz.in_a_process(first * n, (first + 1) * n, 120) == []


@pytest.mark.parametrize("case", FOUND, ids=FOUND.values())
def test_what_was_found(tmp_path, case):
    with tried("a case that the fuzzer found once"):
        assert header_fuzz.try_cases(case, case + 1, tmp_path) == []


@pytest.mark.parametrize("share", [0.95, 0.7, 0.5, 0.3])
@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
def test_an_ogg_that_breaks_off_is_refused(tmp_path, kind, share):
    data = written(tmp_path, "OGG", kind)
    path = tmp_path / "cut.ogg"
    path.write_bytes(data[: int(share * len(data))])
    with tried("an Ogg stream that breaks off"), pytest.raises(audio.AudioError, match=r"cut\.ogg: "):
        audio.load(path)


@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
def test_an_ogg_with_something_behind_it_is_read(tmp_path, kind):
    data = written(tmp_path, "OGG", kind)
    path = tmp_path / "tagged.ogg"
    path.write_bytes(data + bytes(200))
    assert len(audio.load(path, 16_000)[0]) == 48_000


def test_an_rf64_that_breaks_off_is_refused(tmp_path):
    data = written(tmp_path, "RF64", "PCM_16")
    path = tmp_path / "cut.wav"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(audio.AudioError, match=r"truncated, 1\.\d\d s of the 3\.00 s"):
        audio.load(path)


def test_a_wav_that_lost_half_a_frame_is_refused(tmp_path):
    sf.write(tmp_path / "clip.wav", np.stack([speech(0.4)] * 2, axis=1), 16_000, format="WAV")
    path = tmp_path / "clip.wav"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(audio.AudioError, match="truncated"):
        audio.load(path)


@pytest.mark.parametrize("rate", [1, 999])
def test_a_rate_that_no_speech_has_is_refused(tmp_path, rate):
    sf.write(tmp_path / "clip.wav", speech(0.4), rate)
    with pytest.raises(audio.AudioError, match=f"a sampling rate of {rate} Hz; expected at least 1000 Hz"):
        audio.load(tmp_path / "clip.wav", 16_000)


@pytest.mark.parametrize("value", [1e12, 3e38])
def test_samples_that_would_overflow_are_refused(tmp_path, value):
    wave = speech(0.4)
    wave[100] = value
    sf.write(tmp_path / "clip.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="holds NaN, infinite samples, or some past 1e"):
        audio.load(tmp_path / "clip.wav", 24_000)


def written(folder: Path, kind: str, subtype: str) -> bytes:
    """Return three seconds of speech in a format."""
    buffer = io.BytesIO()
    sf.write(buffer, speech(3.0), 16_000, format=kind, subtype=subtype)
    return buffer.getvalue()
