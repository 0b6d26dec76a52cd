"""Prosodic and hybrid steering: the promises of the interface, on a transform made of two reference clips."""

import numpy as np
import pytest
from samples import speech

from emolib import audio, prosody, world
from emolib.demo import espeak
from emolib.prosody import ProsodyTransform, features
from emolib.prosody.transform import NOISE, Linear
from emolib.steering.base import Steerer
from emolib.steering.hybrid import HybridSteerer
from emolib.steering.prosodic import ProsodySteerer
from emolib.world import Settings

RATE = 22_050


@pytest.fixture(scope="module")
def voice() -> audio.Wave:
    wave, rate = espeak.speak("The meeting has moved to the second floor.", voice="en-us+f2")
    assert rate == RATE
    return audio.level(wave, -30.0)


@pytest.fixture(scope="module")
def transform(voice) -> ProsodyTransform:
    """Four semitones up, a tenth slower and 6 dB louder."""
    plain = prosody.record(voice, RATE).speech
    moved = world.reshape(plain, Settings(pitch_st=4.0, rate_log=-0.1), np.random.default_rng(0))
    louder = moved._replace(log_envelope=moved.log_envelope + 0.6 * np.log(10))
    made = ProsodyTransform("neutral", "angry")
    before, after = (prosody.contours(speech) for speech in (plain, louder))
    shift = np.append(prosody.statistics(after) - prosody.statistics(before), np.zeros(features.N_BANDS))
    made.utterance_ = Linear(np.zeros((features.N_VOICE, len(shift))), shift)
    made.frame_ = Linear(np.zeros((features.frame_inputs(before).shape[1], NOISE.stop)), np.zeros(NOISE.stop))
    return made


@pytest.fixture(scope="module")
def steerer(transform) -> ProsodySteerer:
    return ProsodySteerer(transform)


def pitch_hz(wave: audio.Wave, rate: int) -> float:
    return float(np.exp(prosody.statistics(prosody.contours(prosody.record(wave, rate).speech))[0]))


def test_it_is_a_steerer(steerer):
    assert isinstance(steerer, Steerer)


def test_delta_0_gives_the_input_back(steerer, voice):
    for wave in (voice, np.stack([voice, voice], axis=1)):
        given = steerer.steer(wave, RATE, 0)
        np.testing.assert_array_equal(given, voice)
        given[:] = 0  # a copy: the caller may do as he likes
    assert np.abs(voice).max() > 0


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_rate_level_and_length(steerer, voice, rate):
    wave = audio.resample(voice, RATE, rate)
    moved = steerer.steer(wave, rate, 1.0)
    assert moved.dtype == np.float32 and np.isfinite(moved).all() and np.abs(moved).max() <= 1
    assert audio.rms_dbfs(moved) == pytest.approx(audio.rms_dbfs(wave), abs=0.05)
    assert 1.03 < len(moved) / len(wave) < 1.16
    assert 12 * np.log2(pitch_hz(moved, rate) / pitch_hz(wave, rate)) == pytest.approx(4.0, abs=0.4)


def test_one_analysis_serves_every_delta(steerer, voice):
    analysis = steerer.analyse(voice, RATE)
    pitches = [pitch_hz(steerer.render(analysis, delta), RATE) for delta in (-1, -0.5, 0, 0.5, 1)]
    assert (np.diff(pitches) > 0).all()
    np.testing.assert_array_equal(steerer.render(analysis, 0.5), steerer.steer(voice, RATE, 0.5))


def test_the_level_shifts_where_it_is_asked_to(transform, voice):
    shifting = ProsodySteerer(transform, shift_level=True)
    for delta in (-1.0, 0.5, 1.0):
        given = audio.rms_dbfs(shifting.steer(voice, RATE, delta)) - audio.rms_dbfs(voice)
        assert given == pytest.approx(6 * delta, abs=0.7)
    loud = audio.level(voice, -12.0)
    assert np.abs(shifting.steer(loud, RATE, 1.0)).max() <= 1


def test_the_silence_around_stays_silent(steerer, voice):
    pad = np.zeros(RATE, np.float32)
    moved = steerer.steer(np.concatenate([pad, voice, pad]), RATE, 1.0)
    assert np.abs(moved[: RATE // 2]).max() < 1e-3 and np.abs(moved[-RATE // 2 :]).max() < 1e-3


@pytest.mark.parametrize("delta", [1.01, -2, np.nan, np.inf])
def test_a_delta_out_of_range_is_refused(steerer, voice, delta):
    with pytest.raises(ValueError, match="delta"):
        steerer.steer(voice, RATE, delta)


def test_extrapolation_by_leave(transform, voice):
    further = ProsodySteerer(transform, allow_extrapolation=True).steer(voice, RATE, 1.5)
    assert 12 * np.log2(pitch_hz(further, RATE) / pitch_hz(voice, RATE)) == pytest.approx(6.0, abs=0.5)


@pytest.mark.parametrize(
    "wave, reason",
    [
        pytest.param(np.zeros(RATE, np.float32), "silent", id="silence"),
        pytest.param(np.full(RATE, np.nan, np.float32), "NaN", id="nan"),
        pytest.param(speech(0.1), "0.2", id="short"),
        pytest.param(np.ones(RATE * 600, np.float32), "600 s", id="ten minutes"),
        pytest.param(0.01 * np.random.default_rng(0).standard_normal(RATE), "voiced", id="whisper"),
    ],
)
def test_what_is_no_speech_is_refused(steerer, wave, reason):
    with pytest.raises(ValueError, match=reason):
        steerer.steer(wave, RATE, 0.5)


class Gain:
    """A steerer that halves or doubles the samples: simple enough to see whether it was asked, and how."""

    def __init__(self, source: str = "neutral", target: str = "angry") -> None:
        self.source, self.target = source, target

    def analyse(self, wave: audio.Wave, sample_rate: int) -> audio.Wave:
        return wave

    def render(self, analysis: audio.Wave, delta: float) -> audio.Wave:
        return (analysis * 2.0**delta).astype(np.float32)

    def steer(self, wave: audio.Wave, sample_rate: int, delta: float) -> audio.Wave:
        return self.render(self.analyse(wave, sample_rate), delta)


def test_a_hybrid_does_both_in_their_shares(steerer, voice):
    hybrid = HybridSteerer(steerer, Gain(), prosodic_share=0.5, latent_share=0.25)
    assert isinstance(hybrid, Steerer)
    expected = steerer.steer(voice, RATE, 0.4) * np.float32(2**0.2)
    np.testing.assert_allclose(hybrid.steer(voice, RATE, 0.8), expected, rtol=1e-5)
    np.testing.assert_array_equal(hybrid.steer(voice, RATE, 0), voice)


def test_a_hybrid_with_one_share_is_that_steerer(steerer, voice):
    alone = HybridSteerer(steerer, Gain(), latent_share=0)
    np.testing.assert_array_equal(alone.steer(voice, RATE, 0.5), steerer.steer(voice, RATE, 0.5))
    other = HybridSteerer(steerer, Gain(), prosodic_share=0, latent_share=1)
    np.testing.assert_allclose(other.steer(voice, RATE, 1), 2 * voice, rtol=1e-6)


def test_a_hybrid_refuses(steerer, voice):
    for shares in ((1.5, 0.5), (np.nan, 0.5), (0.5, -0.1), (0, 0)):
        with pytest.raises(ValueError, match="share"):
            HybridSteerer(steerer, Gain(), prosodic_share=shares[0], latent_share=shares[1])
    with pytest.raises(ValueError, match="same two emotions"):
        HybridSteerer(steerer, Gain("calm", "sad"))
    with pytest.raises(ValueError, match="delta"):
        HybridSteerer(steerer, Gain()).steer(voice, RATE, 1.5)
