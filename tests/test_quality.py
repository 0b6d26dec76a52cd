"""Measures of likeness: best for the same wave, worse the more is broken, and refusals."""

import numpy as np
import pytest
from samples import speech

from emolib import audio, quality

RATE = 22_050
WAVE = speech(2.0, seed=1, sample_rate=RATE)
MEASURES = {
    quality.pesq: (4.644, -1),
    quality.stoi: (1.0, -1),
    quality.mel_cepstral_distortion: (0.0, 1),
    quality.log_mel_l1: (0.0, 1),
}


def noisy(level: float) -> audio.Wave:
    return WAVE + level * np.random.default_rng(0).standard_normal(len(WAVE)).astype(np.float32)


@pytest.mark.parametrize("measure", MEASURES)
def test_each_is_best_for_the_same_wave_and_falls_with_noise(measure) -> None:
    best, worse = MEASURES[measure]
    values = [measure(WAVE, given, RATE) for given in (WAVE, noisy(0.003), noisy(0.03))]
    assert values[0] == pytest.approx(best, abs=1e-3)
    assert np.all(worse * np.diff(values) > 0)


@pytest.mark.parametrize("measure", MEASURES)
def test_unlike_waves_are_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"differ by 0\.50 s"):
        measure(WAVE, WAVE[: -RATE // 2], RATE)
    broken = WAVE.copy()
    broken[5] = np.nan
    with pytest.raises(ValueError, match="wave under test holds NaN"):
        measure(WAVE, broken, RATE)
    with pytest.raises(ValueError, match=r"shape \(2, 4\)"):
        measure(np.zeros((2, 4)), WAVE, RATE)
    with pytest.raises(ValueError, match="sampling rate 0 Hz"):
        measure(WAVE, WAVE, 0)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_frame_less_is_no_difference(measure) -> None:
    best, _ = MEASURES[measure]
    assert measure(WAVE, WAVE[:-300], RATE) == pytest.approx(best, abs=1e-3)


def test_silence_and_scraps_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="PESQ can't rate silence"):
        quality.pesq(WAVE, np.zeros(len(WAVE), np.float32), RATE)
    with pytest.raises(ValueError, match="PESQ finds no utterance"):
        quality.pesq(WAVE[:1000], WAVE[:1000], RATE)
    with pytest.raises(ValueError, match=r"STOI needs 0\.4 s"):
        quality.stoi(WAVE[:4000], WAVE[:4000], RATE)


def test_distortion_is_in_db_of_the_envelope() -> None:
    """An envelope off by a ripple of one cosine differs by what the formula gives, exactly."""
    bands = np.arange(80)
    flat = np.zeros((5, 80))
    ripple = flat + 0.3 * np.cos(np.pi * 4 * (bands + 0.5) / 80)
    expected = np.zeros(24)
    expected[3] = 0.3
    np.testing.assert_allclose(quality.cepstra(ripple), np.tile(expected, (5, 1)), atol=1e-12)
    rms_db = 20 / np.log(10) * np.sqrt(np.square(ripple - flat).mean())
    distortion = 10 / np.log(10) * np.sqrt(2 * np.square(expected).sum())
    assert distortion == pytest.approx(rms_db, rel=1e-9)


def test_a_level_is_no_distortion_but_is_heard_by_log_mel() -> None:
    assert quality.mel_cepstral_distortion(WAVE, 2 * WAVE, RATE) < 0.1
    assert quality.log_mel_l1(WAVE, 2 * WAVE, RATE) == pytest.approx(np.log(2), abs=0.05)


def test_silent_frames_do_not_count_as_speech() -> None:
    padded = np.concatenate([WAVE[: RATE // 2], np.zeros(RATE // 2, np.float32)])
    frames = quality.speech_frames(audio.log_mel(padded, RATE))
    assert frames[:30].mean() > 0.5
    assert not frames[-30:].any()
    with pytest.raises(ValueError, match="order 80 for 80 mel bands"):
        quality.cepstra(np.zeros((3, 80)), 80)
