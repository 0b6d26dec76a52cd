"""Latent steering: delta 0 changes nothing, every frame moves as asked, what can't work is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from samples import speech, write_corpus

from emolib import audio, encoders, mapper, steering
from emolib.axis import EmotionAxis
from emolib.mapper.network import Mapper, Network
from emolib.steering import LatentSteerer, evidence
from emolib.vocoder import GriffinLim

RATE, LAYER, WIDTH = 22_050, 2, 32


def fit_axis(network: encoders.Encoder, *, width: int = WIDTH, **provenance: object) -> EmotionAxis:
    """Fit an axis between two clouds; it says that it comes from the network's layer."""
    rng = np.random.default_rng(0)
    y = np.repeat(["calm", "angry"], 20)
    X = rng.normal(size=(40, width)) + np.outer(y == "angry", np.linspace(0, 3, width))
    made = {"encoder": network.name, "fingerprint": network.fingerprint, "layer": LAYER, "pooling": "mean"}
    return EmotionAxis("calm", "angry", "mean-difference").fit(X, y, provenance=made | provenance)


def untrained_mapper(encoder: encoders.Encoder, *, width: int = WIDTH, layer: int = LAYER) -> Mapper:
    """Return a mapper of random weights: a steerer must keep its promises whatever the mapper makes."""
    import torch

    settings = dataclasses.replace(mapper.Settings(), width=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(width, settings)
        torch.nn.init.normal_(network.leave.weight, std=0.1)
    made = {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "layer": layer}
    return Mapper(network, settings, made)


@pytest.fixture(scope="module")
def encoder(model_folder):
    return encoders.load(str(model_folder()), layers=[LAYER], device="cpu")


@pytest.fixture(scope="module")
def steerer(encoder):
    return LatentSteerer(encoder, fit_axis(encoder), untrained_mapper(encoder), GriffinLim(n_iter=2))


@pytest.fixture(scope="module")
def rebuilder(encoder):
    parts = encoder, fit_axis(encoder), untrained_mapper(encoder), GriffinLim(n_iter=2)
    return LatentSteerer(*parts, rebuild=True, allow_extrapolation=True)


# ------------------------------------------------------------------------------------- what is promised


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 48_000])
def test_delta_0_gives_the_wave_back_sample_for_sample(steerer, sample_rate):
    wave = speech(0.7, sample_rate=sample_rate)
    kept = wave.copy()
    assert np.array_equal(steerer.steer(wave, sample_rate, 0), wave)
    assert np.array_equal(wave, kept)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("name", ["steerer", "rebuilder"])
def test_length_and_level_are_kept(name, sample_rate, request):
    wave = speech(0.7, sample_rate=sample_rate)
    steered = request.getfixturevalue(name).steer(wave, sample_rate, -0.8)
    assert steered.dtype == np.float32 and steered.shape == wave.shape
    assert np.abs(steered).max() <= 1
    at_most = audio.rms_dbfs(wave)  # less where a peak would pass full scale
    assert audio.rms_dbfs(steered) == pytest.approx(at_most, abs=0.01) or np.abs(steered).max() > 0.999
    assert not np.array_equal(steered, wave)


def test_channels_are_averaged(steerer):
    wave = speech(0.5, sample_rate=RATE)
    stereo = np.stack([1.5 * wave, 0.5 * wave], axis=1)
    np.testing.assert_allclose(steerer.steer(stereo, RATE, 0), wave, atol=1e-6)
    assert steerer.steer(stereo, RATE, 0.5).shape == wave.shape


def test_steer_is_analyse_and_render(steerer):
    wave = speech(0.5, sample_rate=RATE)
    analysis = steerer.analyse(wave, RATE)
    assert np.array_equal(steerer.render(analysis, 0.4), steerer.steer(wave, RATE, 0.4))


def test_an_analysis_serves_every_delta(steerer, monkeypatch):
    analysis = steerer.analyse(speech(0.5, sample_rate=RATE), RATE)
    monkeypatch.setattr(steerer.encoder, "encode", lambda *_: pytest.fail("encoded again"))
    first = [steerer.render(analysis, delta) for delta in (0.5, -0.5)]
    assert np.array_equal(steerer.render(analysis, 0.5), first[0]) and not np.array_equal(*first)


def test_frames_are_those_that_axis_and_mapper_learn_from(steerer, tmp_path):
    path = audio.write(tmp_path / "clip.wav", speech(0.7, sample_rate=44_100), 44_100)
    [stored] = steerer.encoder.encode([audio.load(path, 16_000)[0]], 16_000)  # as an extraction does
    assert np.array_equal(steerer.analyse(*audio.load(path)).frames, stored[0])


def test_every_frame_moves_by_the_natural_distance_times_delta(steerer, monkeypatch):
    analysis = steerer.analyse(speech(0.5, sample_rate=RATE), RATE)
    given = []
    monkeypatch.setattr(
        steerer.mapper, "map", lambda frames, **_: given.append(frames) or analysis.mapped.copy()
    )
    steerer.render(analysis, 0.5)
    step = 0.5 * steerer.axis.scale_ * steerer.axis.direction_
    np.testing.assert_allclose(
        given[0] - analysis.frames, np.tile(step, (len(analysis.frames), 1)), atol=1e-5
    )


def test_the_difference_alone_reaches_the_clip_s_own_spectrogram(steerer, rebuilder):
    analysis = steerer.analyse(speech(0.5, sample_rate=RATE), RATE)
    np.testing.assert_allclose(steerer.moved_mel(analysis, 0.0), analysis.log_mel, atol=1e-5)
    np.testing.assert_allclose(rebuilder.moved_mel(analysis, 0.0), analysis.mapped, atol=1e-5)
    small, large = (np.abs(steerer.moved_mel(analysis, d) - analysis.log_mel).mean() for d in (0.1, 1.0))
    assert 0 < small < large


def test_the_wave_gets_the_spectrogram_that_it_was_moved_to(steerer):
    wave = speech(1.0, sample_rate=RATE)
    analysis = steerer.analyse(wave, RATE)
    wanted = steerer.moved_mel(analysis, 1.0)
    found = audio.log_mel(steerer.render(analysis, 1.0), RATE)
    found += np.mean(wanted - found)  # the level is the clip's again
    before = np.abs(wanted - analysis.log_mel - np.mean(wanted - analysis.log_mel)).mean()
    assert np.abs(wanted - found).mean() < 0.5 * before


def test_another_direction_is_followed_as_far(steerer, monkeypatch):
    analysis = steerer.analyse(speech(0.5, sample_rate=RATE), RATE)
    other = steerer.along(-3 * steerer.axis.direction_)
    assert np.array_equal(other.render(analysis, 0.5), steerer.render(analysis, -0.5))
    kept = steerer.axis.direction_.copy()
    steerer.along(np.eye(WIDTH)[0])
    assert np.array_equal(steerer.axis.direction_, kept)
    for direction in (np.zeros(WIDTH), np.ones(WIDTH - 1), np.full(WIDTH, np.nan)):
        with pytest.raises(ValueError, match="direction"):
            steerer.along(direction)


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "wave, why",
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
        (speech(0.01, sample_rate=RATE), r"0\.2 to 120 s"),
        (np.zeros(130 * RATE, np.float32), r"0\.2 to 120 s"),
        (np.zeros((2, 3, 4), np.float32), "shape"),
        (np.zeros(0, np.float32), "shape"),
    ],
)
def test_waves_that_cannot_be_steered(steerer, wave, why):
    for delta in (0, 0.5):
        with pytest.raises(audio.AudioError, match=why):
            steerer.steer(wave, RATE, delta)


@pytest.mark.parametrize("sample_rate", [0, -16_000, 16_000.5])
def test_rates_that_are_none(steerer, sample_rate):
    with pytest.raises(ValueError, match="sampling rate"):
        steerer.steer(speech(0.5), sample_rate, 0.5)


@pytest.mark.parametrize("delta", [1.01, -2, np.nan, np.inf])
def test_deltas_out_of_range(steerer, delta):
    with pytest.raises(ValueError, match=r"allow_extrapolation|finite"):
        steerer.steer(speech(0.5), 16_000, delta)


def test_extrapolation_with_leave(rebuilder):
    assert np.isfinite(rebuilder.steer(speech(0.5), 16_000, 1.5)).all()
    with pytest.raises(ValueError, match="finite"):
        rebuilder.steer(speech(0.5), 16_000, np.nan)


@pytest.mark.parametrize(
    "other", [{"encoder": "x", "fingerprint": "y"}, {"layer": 1}, {"pooling": "mean+std"}], ids=str
)
def test_an_axis_of_other_features(encoder, other):
    with pytest.raises(ValueError, match=str(next(iter(other)))):
        LatentSteerer(encoder, fit_axis(encoder, **other), untrained_mapper(encoder), GriffinLim(2))


def test_an_axis_or_a_mapper_of_another_width_layer_or_encoder(encoder, model_folder):
    with pytest.raises(ValueError, match="dimensions"):
        LatentSteerer(encoder, fit_axis(encoder, width=8), untrained_mapper(encoder), GriffinLim(2))
    with pytest.raises(ValueError, match="layer 1"):
        LatentSteerer(encoder, fit_axis(encoder, layer=1), untrained_mapper(encoder, layer=1), GriffinLim(2))
    other = encoders.load(str(model_folder("hubert")), layers=[LAYER], device="cpu")
    with pytest.raises(ValueError, match="weights"):
        LatentSteerer(other, fit_axis(other), untrained_mapper(encoder), GriffinLim(2))
    with pytest.raises(ValueError, match="vocoder"):
        LatentSteerer(encoder, fit_axis(encoder), untrained_mapper(encoder), GriffinLim(2, audio.EMOGEN_MEL))


# ------------------------------------------------------------------------------------- roles and preparation


def corpus(tmp_path, n_speakers: int = 6) -> pd.DataFrame:
    """Write four clips of each speaker, two calm and two angry."""
    table = write_corpus(tmp_path / "corpus", n_clips=4 * n_speakers)
    return table.assign(speaker=[f"s{i // 4}" for i in range(len(table))])


def test_every_speaker_has_one_role(tmp_path):
    found = steering.roles(corpus(tmp_path, 9))
    everybody = [*found.makers, *found.judges, *found.heard]
    assert sorted(everybody) == [f"s{i}" for i in range(9)] and min(map(len, found)) >= 2
    with pytest.raises(ValueError, match="4 speakers"):
        steering.roles(corpus(tmp_path, 4))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))


def test_preparing_learns_once_and_from_the_makers_alone(home, tmp_path, model_folder, monkeypatch):
    clips = corpus(tmp_path)
    options = {"manifest": clips, "encoder": str(model_folder()), "layer": LAYER}
    first = steering.prepare("latent", "calm", "angry", **options)
    assert (
        set(first.mapper.provenance["speakers"])
        == set(steering.roles(clips).makers)
        == set(first.axis.provenance["speakers"])
    )
    assert (first.source, first.target) == ("calm", "angry")
    monkeypatch.setattr("emolib.mapper.load_pairs", lambda *_, **__: pytest.fail("fitted again"))
    wave = speech(0.5)
    again = steering.prepare("latent", "calm", "angry", **options)
    assert np.array_equal(again.steer(wave, 16_000, 1), first.steer(wave, 16_000, 1))


def test_preparing_refuses_what_the_corpus_lacks(home, tmp_path):
    clips = corpus(tmp_path)
    wrong = {"happy": "'happy'", "rage": "unknown emotion", "calm": "both"}
    for target, why in wrong.items():
        with pytest.raises(ValueError, match=why):
            steering.prepare("latent", "calm", target, manifest=clips)
    with pytest.raises(ValueError, match="unknown method"):
        steering.prepare("magic", manifest=clips)


def test_the_judge_is_of_other_speakers(home, tmp_path):
    clips = corpus(tmp_path)
    judge = steering.judge(clips)
    assert set(judge.speakers_) == set(steering.roles(clips).judges)
    judge.check_unseen(steering.roles(clips).heard)


# ------------------------------------------------------------------------------------- evidence


def test_trends_of_what_rises_falls_and_stays():
    table = evidence.trends([-1, 0, 1], [[0.1, 0.2, 0.3], [0.9, 0.5, 0.4], [0.3, 0.3, 0.3]])
    assert table["spearman"].tolist() == pytest.approx([1, -1, 0])
    assert table["slope"].tolist() == pytest.approx([0.1, -0.25, 0])


def test_a_response_is_what_the_judge_hears_at_each_delta():
    class Deaf:
        def predict_proba(self, waves, sample_rate):
            return np.array([[wave[0], 1 - wave[0]] for wave in waves])

    heard = evidence.respond(
        [lambda d: np.full(9, d), lambda d: np.full(9, d / 2)], RATE, Deaf(), [0, 0.5, 1]
    )
    np.testing.assert_allclose(heard[..., 0], [[0, 0.5, 1], [0, 0.25, 0.5]])


@pytest.fixture(scope="module")
def ears():
    waves = [speech(0.8, seed, RATE) for seed in range(6)]
    return evidence.fit_ears(waves, RATE, ["a", "a", "b", "b", "c", "c"], n_units=8)


def test_a_clip_is_its_own_voice_and_its_own_words_at_any_level(ears):
    wave = speech(0.8, 1, RATE)
    assert ears.voice_similarity(wave, 0.3 * wave, RATE) == pytest.approx(1, abs=0.02)
    assert ears.unit_agreement(wave, wave, RATE) == 1
    assert ears.unit_agreement(wave, 0.3 * wave, RATE) > 0.9


def test_noise_on_a_clip_costs_agreement_and_another_clip_more(ears):
    wave, other = speech(0.8, 1, RATE), speech(0.8, 4, RATE)
    noisy = wave + 0.01 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    assert ears.unit_agreement(wave, other, RATE) < ears.unit_agreement(wave, noisy, RATE) < 1
    assert ears.voice_similarity(wave, other, RATE) < ears.voice_similarity(wave, noisy, RATE)
    with pytest.raises(ValueError, match="a speaker for each wave"):
        evidence.fit_ears([wave], RATE, [])
