"""Channels alter what they say, leave the rest, and are the same whenever a clip is asked for."""

import numpy as np
import pytest
from scipy import signal

from emolib import channels

RATE = 16_000
NOISE = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.1


def spectrum_db(wave):
    hz, power = signal.welch(wave, RATE, nperseg=1024)
    return hz, 10 * np.log10(power)


@pytest.mark.parametrize("channel", channels.CHANNELS)
def test_a_clip_always_gets_the_same_channel_and_another_clip_another(channel):
    once, again, other = (channels.through(NOISE, RATE, channel, name) for name in ("a", "a", "b"))
    assert once.dtype == np.float32 and once.shape == NOISE.shape and np.isfinite(once).all()
    assert np.array_equal(once, again)
    assert not np.allclose(once, NOISE, atol=1e-4)
    assert np.array_equal(once, other) == (channel == "telephone")  # the only one that draws nothing


def test_telephone_keeps_its_band_and_nothing_else():
    hz, before = spectrum_db(NOISE)
    gain = spectrum_db(channels.through(NOISE, RATE, "telephone", "a"))[1] - before
    assert np.abs(gain[(hz > 450) & (hz < 2600)]).max() < 1.5
    assert gain[(hz > 20) & (hz < 120)].max() < -20 and gain[(hz > 5500) & (hz < 7900)].max() < -20


def test_colour_changes_the_spectrum_and_not_the_level():
    coloured = channels.through(NOISE, RATE, "colour", "a")
    assert np.sqrt(np.mean(coloured**2)) == pytest.approx(np.sqrt(np.mean(NOISE**2)), rel=1e-4)
    gain = spectrum_db(coloured)[1] - spectrum_db(NOISE)[1]
    assert 3 < np.ptp(signal.savgol_filter(gain, 31, 2)) < 40


def test_a_room_is_heard_after_the_sound_has_ended():
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    heard = channels.through(click, RATE, "room", "a")
    assert heard[100] == pytest.approx(1, abs=1e-5) and not heard[:100].round(6).any()
    early, late = (np.sum(heard[start : start + 800] ** 2) for start in (101, 101 + 2400))
    assert 1 >= early > 3 * late


def test_level_is_a_factor():
    louder = channels.through(NOISE, RATE, "level", "a")
    factor = louder[0] / NOISE[0]
    assert np.allclose(louder, factor * NOISE, rtol=1e-4)
    assert -20 <= 20 * np.log10(factor) <= 6


def test_an_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="'radio'; expected one of telephone"):
        channels.through(NOISE, RATE, "radio", "a")
