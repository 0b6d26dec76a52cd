"""WORLD: each setting moves what it names, and all zeros move nothing."""

import numpy as np
import pytest

from emolib import world
from emolib.demo import espeak
from emolib.world import Settings


@pytest.fixture(scope="module")
def plain() -> world.Speech:
    return world.analyse(*espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2"))


def reshape(speech: world.Speech, **settings: float) -> world.Speech:
    return world.reshape(speech, Settings(**settings), np.random.default_rng(0))


def pitch_st(speech: world.Speech) -> np.ndarray:
    return 12 * np.log2(speech.f0_hz[speech.f0_hz > 0])


def test_zero_settings_are_the_identity(plain):
    same = reshape(plain)
    np.testing.assert_allclose(same.f0_hz, plain.f0_hz, rtol=1e-9)
    np.testing.assert_allclose(same.log_envelope, plain.log_envelope, rtol=1e-9)
    np.testing.assert_allclose(same.aperiodicity, plain.aperiodicity, rtol=1e-9)


def test_resynthesis_keeps_level_and_length(plain):
    wave, _ = espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2")
    again = world.synthesise(plain)
    assert again.dtype == np.float32 and np.isfinite(again).all()
    assert len(again) == pytest.approx(len(wave), rel=0.1)
    assert 20 * np.log10(again.std() / wave.std()) == pytest.approx(0, abs=2)


def test_pitch_and_range(plain):
    higher = pitch_st(reshape(plain, pitch_st=3.0))
    np.testing.assert_allclose(higher - pitch_st(plain), 3.0, atol=1e-9)
    wider = pitch_st(reshape(plain, range_log=np.log(1.5)))
    assert wider.std() / pitch_st(plain).std() == pytest.approx(1.5, rel=1e-6)
    assert wider.mean() == pytest.approx(pitch_st(plain).mean())


def test_contour_shapes(plain):
    voiced = plain.f0_hz > 0
    tail = pitch_st(reshape(plain, final_st=3.0)) - pitch_st(plain)
    assert tail[0] == pytest.approx(0) and tail[-1] == pytest.approx(3.0)
    slope = pitch_st(reshape(plain, slope_st=2.0)) - pitch_st(plain)
    assert slope[0] == pytest.approx(1.0) and slope[-1] == pytest.approx(-1.0)
    loud = plain.energy_db[voiced] > np.median(plain.energy_db[voiced])
    for shape in ("abrupt_st", "wave_st"):
        change = pitch_st(reshape(plain, **{shape: 2.0})) - pitch_st(plain)
        assert change[loud].mean() > change[~loud].mean() + 0.3
        assert change.mean() == pytest.approx(0, abs=1e-6)


def test_rate_and_pause(plain):
    frames = len(plain.f0_hz)
    slow = reshape(plain, rate_log=np.log(0.8))
    assert 1.15 * frames < len(slow.f0_hz) < 1.3 * frames
    assert (slow.f0_hz > 0).mean() > (plain.f0_hz > 0).mean()  # vowels give way more
    assert len(reshape(plain, pause_s=0.1).f0_hz) == pytest.approx(frames + 20, abs=1)


def test_voice_quality(plain):
    bright = (reshape(plain, tilt_db=2.0).log_envelope - plain.log_envelope)[plain.f0_hz > 0]
    hertz = np.linspace(0, plain.sample_rate / 2, bright.shape[1])
    at_1k, at_4k = np.abs(hertz - 1000).argmin(), np.abs(hertz - 4000).argmin()
    assert (bright[:, at_4k] - bright[:, at_1k]).mean() * 10 / np.log(10) == pytest.approx(4.0, abs=0.1)
    breathy, tense = reshape(plain, breath=0.3).aperiodicity, reshape(plain, breath=-0.3).aperiodicity
    assert (breathy >= plain.aperiodicity).all() and (tense <= plain.aperiodicity).all()
    assert breathy.max() <= 1 and breathy.mean() > plain.aperiodicity.mean() > tense.mean()
    shaken = reshape(plain, jitter=1.0)
    assert np.std(pitch_st(shaken) - pitch_st(plain)) == pytest.approx(12 * np.log2(1.01), rel=0.1)
    assert reshape(plain, shimmer_db=1.0).energy_db.std() != plain.energy_db.std()


def test_formants_move_up():
    peak = np.zeros((3, 513))
    peak[:, 100] = 1.0
    assert (world.warp_formants(peak, 1.1).argmax(axis=1) == 110).all()
    np.testing.assert_array_equal(world.warp_formants(peak, 1.0), peak)


def test_speech_without_a_pitch_is_refused():
    noise = np.random.default_rng(0).standard_normal(22_050).astype(np.float32) * 1e-3
    with pytest.raises(ValueError, match="no voiced frame"):
        world.analyse(noise, 22_050)


def test_a_single_frame_is_reshaped_like_any_other(plain):
    voiced = int(np.flatnonzero(plain.f0_hz)[10])
    one = world.Speech(*(part[voiced : voiced + 1] for part in plain[:3]), plain.sample_rate)
    np.testing.assert_allclose(reshape(one).log_envelope, one.log_envelope)
    moved = reshape(one, pitch_st=12.0, formants=5.0, tilt_db=3.0, breath=0.2)
    assert moved.f0_hz == pytest.approx(2 * one.f0_hz) and np.isfinite(moved.log_envelope).all()
