"""Measures of likeness: best for the same wave, worse the more is broken, and refusals."""

import numpy as np
import pytest
from samples import refused, speech

from emolib import audio, quality

RATE = 22_050
WAVE = speech(2.0, seed=1, sample_rate=RATE)
MEASURES = [
    (quality.pesq, 4.644, -1), (quality.stoi, 1.0, -1), (quality.mel_cepstral_distortion, 0.0, 1),
    (quality.log_mel_l1, 0.0, 1),
]  # fmt: skip


@pytest.mark.parametrize("measure, best, worse", MEASURES)
def test_each_is_best_for_the_same_wave_and_refuses_what_is_not_aligned(measure, best, worse):
    noise = np.random.default_rng(0).standard_normal(len(WAVE)).astype(np.float32)
    values = [measure(WAVE, WAVE + level * noise, RATE) for level in (0, 0.003, 0.03)]
    assert values[0] == pytest.approx(best, abs=1e-3) and np.all(worse * np.diff(values) > 0)
    assert measure(WAVE, WAVE[:-300], RATE) == pytest.approx(best, abs=1e-3)  # a frame less
    broken = WAVE.copy()
    broken[5] = np.nan
    for first, second, rate, message in (
        (WAVE, WAVE[: -RATE // 2], RATE, r"differ by 0\.50 s"),
        (WAVE, broken, RATE, "wave under test holds NaN"),
        (np.zeros((2, 4)), WAVE, RATE, r"shape \(2, 4\)"),
        (WAVE, WAVE, 0, "sampling rate 0 Hz"),
    ):
        refused(message, measure, first, second, rate)


def test_silence_and_scraps_are_refused_by_name():
    for measure, first, second, message in (
        (quality.pesq, WAVE, np.zeros(len(WAVE), np.float32), "PESQ can't rate silence"),
        (quality.pesq, WAVE[:1000], WAVE[:1000], "PESQ finds no utterance"),
        (quality.stoi, WAVE[:4000], WAVE[:4000], r"STOI needs 0\.4 s"),
    ):
        refused(message, measure, first, second, RATE)


def test_distortion_is_in_db_of_the_envelope():
    """An envelope off by a ripple of one cosine differs by what the formula gives, exactly."""
    ripple = np.tile(0.3 * np.cos(np.pi * 4 * (np.arange(80) + 0.5) / 80), (5, 1))
    expected = np.zeros(24)
    expected[3] = 0.3
    np.testing.assert_allclose(quality.cepstra(ripple), np.tile(expected, (5, 1)), atol=1e-12)
    rms_db = 20 / np.log(10) * np.sqrt(np.square(ripple).mean())
    assert 10 / np.log(10) * np.sqrt(2 * np.square(expected).sum()) == pytest.approx(rms_db, rel=1e-9)
    assert quality.mel_cepstral_distortion(WAVE, 2 * WAVE, RATE) < 0.1  # a level is no distortion
    assert quality.log_mel_l1(WAVE, 2 * WAVE, RATE) == pytest.approx(np.log(2), abs=0.05)


def test_silent_frames_do_not_count_as_speech():
    padded = np.concatenate([WAVE[: RATE // 2], np.zeros(RATE // 2, np.float32)])
    frames = quality.speech_frames(audio.log_mel(padded, RATE))
    assert frames[:30].mean() > 0.5 and not frames[-30:].any()
    refused("order 80 for 80 mel bands", quality.cepstra, np.zeros((3, 80)), 80)
