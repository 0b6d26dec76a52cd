"""Damaged headers of sound files: a short run of the fuzzer, and what its long runs have found."""

import time

import header_fuzz
import pytest
import soundfile as sf
from fault_tally import repeats, tried
from samples import refused, speech

from emolib import audio

#: Cases that were findings once, and what they were.
FOUND = {
    103902: "a stereo WAV that lost half a frame was read as one frame shorter",
    313156: "an AIFF of 1 Hz grew to a gigabyte when it was brought to an encoder's rate",
    12574: "a WAV of 32-bit floats near 1e38 overflowed when it was resampled",
}


def test_changed_headers_give_sound_or_a_reason():
    n = 100 * repeats()
    with tried(f"{n} files with changed headers, in a process of their own"):
        assert header_fuzz.in_a_process(0, n, 300) == []


@pytest.mark.long
def test_an_hour_of_changed_headers():
    header_fuzz.hunt(minutes=60, first=int(time.time()))


def test_what_was_found(tmp_path):
    for case in FOUND:
        with tried("a case that the fuzzer found once"):
            assert header_fuzz.try_cases(case, case + 1, tmp_path) == []


def test_an_ogg_is_read_with_something_behind_it_and_refused_where_it_breaks_off(tmp_path):
    path = tmp_path / "clip.ogg"
    for kind in ("VORBIS", "OPUS"):
        sf.write(path, speech(3.0), 16_000, format="OGG", subtype=kind)
        data = path.read_bytes()
        path.write_bytes(data + bytes(200))
        assert len(audio.load(path, 16_000)[0]) == 48_000, kind
        for share in (0.95, 0.7, 0.5, 0.3):
            path.write_bytes(data[: int(share * len(data))])
            with tried("an Ogg stream that breaks off"):
                refused(r"clip\.ogg: ", audio.load, path)


def test_rf64_rates_and_samples_that_no_speech_has_are_refused(tmp_path):
    path, wave = tmp_path / "clip.wav", speech(3.0)
    sf.write(path, wave, 16_000, format="RF64")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(r"truncated, 1\.\d\d s of the 3\.00 s", audio.load, path)
    for rate in (1, 999):
        sf.write(path, wave, rate)
        refused(f"rate of {rate} Hz; expected at least 1000 Hz", audio.load, path, 16_000)
    for wave[100] in (1e12, 3e38):
        sf.write(path, wave, 16_000, subtype="FLOAT")
        refused("holds NaN, infinite samples, or some past 1e", audio.load, path, 24_000)
