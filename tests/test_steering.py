"""Steering: delta 0 changes nothing, every frame moves as asked, roles stay apart, bad input is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from samples import Gain, needs_whisper, refused, speech, write_corpus

from emolib import audio, corpora, demo, encoders, instruments, mapper, prosody, steering, world
from emolib.axis import EmotionAxis
from emolib.demo import espeak
from emolib.mapper.network import Mapper, Network
from emolib.prosody import ProsodyTransform, analysis
from emolib.prosody.transform import NOISE, Linear
from emolib.steering import HybridSteerer, LatentSteerer, ProsodySteerer, Steerer, shipped, trial
from emolib.steering.preparation import at_full_strength
from emolib.studies import steering as study
from emolib.vocoder import GriffinLim

RATE, LAYER, WIDTH = 22_050, 2, 32


def fit_axis(network: encoders.Encoder, *, width: int = WIDTH, **provenance: object) -> EmotionAxis:
    """Fit an axis between two clouds; its provenance is the network's layer."""
    rng = np.random.default_rng(0)
    y = np.repeat(["calm", "angry"], 20)
    X = rng.normal(size=(40, width)) + np.outer(y == "angry", np.linspace(0, 3, width))
    made = {"encoder": network.name, "fingerprint": network.fingerprint, "layer": LAYER, "pooling": "mean"}
    return EmotionAxis("calm", "angry", "mean-difference").fit(X, y, provenance=made | provenance)


def untrained_mapper(encoder: encoders.Encoder, *, layer: int = LAYER) -> Mapper:
    """Return a mapper of random weights: a steerer must keep its promises whatever the mapper makes."""
    settings = dataclasses.replace(mapper.Settings(), width=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(WIDTH, settings)
        torch.nn.init.normal_(network.leave.weight, std=0.1)
    made = {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "layer": layer}
    return Mapper(network, settings, made)


@pytest.fixture(scope="module")
def encoder(model_folder):
    return encoders.load(str(model_folder()), layers=[LAYER], device="cpu")


@pytest.fixture(scope="module")
def latent(encoder):
    return LatentSteerer(encoder, fit_axis(encoder), untrained_mapper(encoder), GriffinLim(n_iter=2))


@pytest.fixture(scope="module")
def rebuilder(encoder):
    parts = encoder, fit_axis(encoder), untrained_mapper(encoder), GriffinLim(n_iter=2)
    return LatentSteerer(*parts, rebuild=True, allow_extrapolation=True)


@pytest.fixture(scope="module")
def voice() -> audio.Wave:
    return audio.level(espeak.speak("The meeting has moved to the second floor.", voice="en-us+f2")[0], -30.0)


@pytest.fixture(scope="module")
def transform(voice) -> ProsodyTransform:
    """Four semitones up, a tenth slower and 6 dB louder."""
    plain = prosody.record(voice, RATE).speech
    settings = world.Settings(pitch_st=4.0, rate_log=-0.1)
    moved = world.reshape(plain, settings, np.random.default_rng(0))
    louder = moved._replace(log_envelope=moved.log_envelope + 0.6 * np.log(10))
    made = ProsodyTransform("neutral", "angry")
    before, after = (prosody.contours(speech) for speech in (plain, louder))
    shift = np.append(prosody.statistics(after) - prosody.statistics(before), np.zeros(analysis.N_BANDS))
    made.utterance_ = Linear(np.zeros((analysis.N_VOICE, len(shift))), shift)
    made.frame_ = Linear(np.zeros((analysis.frame_inputs(before).shape[1], NOISE.stop)), np.zeros(NOISE.stop))
    return made


@pytest.fixture(scope="module")
def prosodic(transform) -> ProsodySteerer:
    return ProsodySteerer(transform)


# ------------------------------------------------------------------------------------- every steerer


@pytest.mark.parametrize("name", ["latent", "prosodic"])
def test_delta_0_gives_the_wave_back_and_one_analysis_serves_every_delta(name, voice, request):
    steerer = request.getfixturevalue(name)
    assert isinstance(steerer, Steerer)
    for rate in (8_000, RATE, 48_000):
        wave = audio.resample(voice, RATE, rate)
        kept = wave.copy()
        given = steerer.steer(wave, rate, 0)
        assert np.array_equal(given, kept)
        given[:] = 0  # a copy, which the caller may change
        assert np.array_equal(wave, kept)
    analysis = steerer.analyse(np.stack([1.5 * voice, 0.5 * voice], axis=1), RATE)  # channels are averaged
    np.testing.assert_allclose(steerer.render(analysis, 0), voice, atol=1e-6)
    first = [steerer.render(steerer.analyse(voice, RATE), delta) for delta in (0.5, -0.5)]
    assert np.array_equal(steerer.steer(voice, RATE, 0.5), first[0]) and not np.array_equal(*first)


@pytest.mark.parametrize("name", ["latent", "prosodic"])
def test_what_cannot_be_steered_is_refused(name, voice, request):
    steerer = request.getfixturevalue(name)
    for wave, why in ((np.zeros(RATE, np.float32), "silent"), (np.full(RATE, np.nan, np.float32), "NaN")):
        refused(why, steerer.steer, wave, RATE, 0)
    for rate in (0, 16_000.5):
        refused("sampling rate", steerer.steer, voice, rate, 0.5)
    for delta in (1.01, -2, np.nan, np.inf):
        refused(r"allow_extrapolation|finite", steerer.steer, voice, RATE, delta)


# ------------------------------------------------------------------------------------- latent


@pytest.mark.parametrize("name", ["latent", "rebuilder"])
def test_length_and_level_are_kept(name, request):
    for rate in (16_000, RATE, 44_100):
        wave = speech(0.7, sample_rate=rate)
        steered = request.getfixturevalue(name).steer(wave, rate, -0.8)
        assert steered.dtype == np.float32 and steered.shape == wave.shape
        assert np.abs(steered).max() <= 1 and not np.array_equal(steered, wave)
        at_most = audio.rms_dbfs(wave)  # less where a peak would pass full scale
        assert audio.rms_dbfs(steered) == pytest.approx(at_most, abs=0.01) or np.abs(steered).max() > 0.999


def test_frames_are_those_that_axis_and_mapper_learn_from_and_move_by_delta(latent, tmp_path, monkeypatch):
    path = audio.write(tmp_path / "clip.wav", speech(0.7, sample_rate=44_100), 44_100)
    [stored] = latent.encoder.encode([audio.load(path, 16_000)[0]], 16_000)  # as an extraction does
    analysis = latent.analyse(*audio.load(path))
    assert np.array_equal(analysis.frames, stored[0])
    given = []
    monkeypatch.setattr(
        latent.mapper, "map", lambda frames, **_: given.append(frames) or analysis.mapped.copy()
    )
    monkeypatch.setattr(latent.encoder, "encode", lambda *_: pytest.fail("encoded again"))
    latent.render(analysis, 0.5)
    step = np.broadcast_to(0.5 * latent.axis.scale_ * latent.axis.direction_, given[0].shape)
    np.testing.assert_allclose(given[0] - analysis.frames, step, atol=1e-5)


def test_the_wave_gets_the_spectrogram_that_the_mapped_difference_asks_for(latent, rebuilder):
    analysis = latent.analyse(speech(1.0, sample_rate=RATE), RATE)
    np.testing.assert_allclose(latent.moved_mel(analysis, 0.0), analysis.log_mel, atol=1e-5)
    np.testing.assert_allclose(rebuilder.moved_mel(analysis, 0.0), analysis.mapped, atol=1e-5)
    wanted, small = latent.moved_mel(analysis, 1.0), latent.moved_mel(analysis, 0.1)
    assert 0 < np.abs(small - analysis.log_mel).mean() < np.abs(wanted - analysis.log_mel).mean()
    found = audio.log_mel(latent.render(analysis, 1.0), RATE)
    found += np.mean(wanted - found)  # the level is the clip's again
    before = np.abs(wanted - analysis.log_mel - np.mean(wanted - analysis.log_mel)).mean()
    assert np.abs(wanted - found).mean() < 0.5 * before


def test_a_small_shift_is_a_small_change_at_any_rate(latent):
    """The clip itself is not resampled, which would take its highest band away."""
    for rate in (16_000, 48_000):
        hiss = 0.02 * np.random.default_rng(0).standard_normal(rate)
        clip = (speech(1.0, sample_rate=rate) + hiss).astype(np.float32)
        before, after = (np.abs(np.fft.rfft(wave)) for wave in (clip, latent.steer(clip, rate, 1e-3)))
        top = np.linspace(0, rate / 2, len(before)) > 0.96 * rate / 2
        assert np.abs(after - before)[top].sum() < 0.01 * before[top].sum()
        assert np.linalg.norm(after - before) < 0.01 * np.linalg.norm(before)


def test_another_direction_is_followed_as_far(latent, rebuilder):
    analysis, kept = latent.analyse(speech(0.5, sample_rate=RATE), RATE), latent.axis.direction_.copy()
    other = latent.along(-3 * latent.axis.direction_)
    assert np.array_equal(other.render(analysis, 0.5), latent.render(analysis, -0.5))
    assert np.array_equal(latent.axis.direction_, kept)
    for direction in (np.zeros(WIDTH), np.ones(WIDTH - 1), np.full(WIDTH, np.nan)):
        refused("direction", latent.along, direction)
    assert np.isfinite(rebuilder.steer(speech(0.5), 16_000, 1.5)).all(), "it may extrapolate"


def test_parts_that_do_not_belong_together_are_refused(encoder, model_folder):
    other = encoders.load(str(model_folder("hubert")), layers=[LAYER], device="cpu")
    mapped, vocoder = untrained_mapper(encoder), GriffinLim(2)
    for parts, why in (
        ((encoder, fit_axis(encoder, encoder="x", fingerprint="y"), mapped, vocoder), "encoder"),
        ((encoder, fit_axis(encoder, layer=1), mapped, vocoder), "layer"),
        ((encoder, fit_axis(encoder, pooling="mean+std"), mapped, vocoder), "pooling"),
        ((encoder, fit_axis(encoder, width=8), mapped, vocoder), "dimensions"),
        ((encoder, fit_axis(encoder, layer=1), untrained_mapper(encoder, layer=1), vocoder), "layer 1"),
        ((other, fit_axis(other), mapped, vocoder), "weights"),
        ((encoder, fit_axis(encoder), mapped, GriffinLim(2, audio.EMOGEN_MEL)), "vocoder"),
    ):
        refused(why, LatentSteerer, *parts)


# ------------------------------------------------------------------------------------- prosodic, hybrid


def pitch_hz(wave: audio.Wave, rate: int = RATE) -> float:
    return float(np.exp(prosody.statistics(prosody.contours(prosody.record(wave, rate).speech))[0]))


def test_pitch_moves_level_stays_and_length_follows_the_tempo(prosodic, voice):
    for rate in (8_000, 16_000, 48_000):
        wave = audio.resample(voice, RATE, rate)
        moved = prosodic.steer(wave, rate, 1.0)
        assert moved.dtype == np.float32 and np.isfinite(moved).all() and np.abs(moved).max() <= 1
        assert audio.rms_dbfs(moved) == pytest.approx(audio.rms_dbfs(wave), abs=0.05)
        assert 1.03 < len(moved) / len(wave) < 1.16
        assert 12 * np.log2(pitch_hz(moved, rate) / pitch_hz(wave, rate)) == pytest.approx(4.0, abs=0.4)


def test_pitch_follows_delta_and_the_silence_around_stays_silent(prosodic, transform, voice):
    analysis = prosodic.analyse(voice, RATE)
    pitches = [pitch_hz(prosodic.render(analysis, delta)) for delta in (-1, -0.5, 0, 0.5, 1)]
    assert (np.diff(pitches) > 0).all()
    further = ProsodySteerer(transform, allow_extrapolation=True).steer(voice, RATE, 1.5)
    assert 12 * np.log2(pitch_hz(further) / pitch_hz(voice)) == pytest.approx(6.0, abs=0.5)
    pad = np.zeros(RATE, np.float32)
    moved = prosodic.steer(np.concatenate([pad, voice, pad]), RATE, 1.0)
    assert np.abs(moved[: RATE // 2]).max() < 1e-3 and np.abs(moved[-RATE // 2 :]).max() < 1e-3
    refused("voiced", prosodic.steer, 0.01 * np.random.default_rng(0).standard_normal(RATE), RATE, 0.5)


def test_the_level_shifts_where_it_is_asked_to(transform, voice):
    shifting = ProsodySteerer(transform, shift_level=True)
    for delta in (-1.0, 0.5, 1.0):
        given = audio.rms_dbfs(shifting.steer(voice, RATE, delta)) - audio.rms_dbfs(voice)
        assert given == pytest.approx(6 * delta, abs=0.7)
    assert np.abs(shifting.steer(audio.level(voice, -12.0), RATE, 1.0)).max() <= 1


#: The statistic that each knob moves, the least that 1 moves it by beyond 0, and its sign.
MOVED_BY = {"pitch": ("log_f0", 0.25), "range": ("log_spread", 0.3), "tempo": ("log_duration", -0.25)}
MOVED_BY |= {"effort": ("tilt", 0.5), "breathiness": ("noise", 0.03)}  # this voice is noisy already


def heard(wave: audio.Wave) -> dict[str, float]:
    """Return the statistics of a wave, and the mean aperiodicity of its voiced frames from 1 kHz up."""
    speech = prosody.record(wave, RATE).speech
    found = dict(zip(prosody.STATISTICS, prosody.statistics(prosody.contours(speech)), strict=True))
    upper = np.linspace(0, RATE / 2, speech.aperiodicity.shape[1]) > 1_000
    return found | {"noise": float(speech.aperiodicity[speech.f0_hz > 0][:, upper].mean())}


@pytest.mark.parametrize("knob", prosody.KNOBS)
def test_a_knob_moves_what_it_is_named_after_and_leaves_the_rest(prosodic, voice, knob):
    analysis = prosodic.analyse(voice, RATE)
    made = [prosodic.turned({knob: at}).render(analysis, 0) for at in (-1, -0.5, 0.5, 1)]
    values = [heard(wave) for wave in (*made[:2], voice, *made[2:])]
    name, least = MOVED_BY[knob]
    steps = np.sign(least) * np.diff([value[name] for value in values])
    assert (steps > 0).all() and steps[2:].sum() > abs(least) and steps[:2].sum() > abs(least) / 3
    for other in {"log_f0", "log_duration"} - {name}:
        assert values[-1][other] == pytest.approx(values[2][other], abs=0.06), other
    for wave in made:
        assert audio.rms_dbfs(wave) == pytest.approx(audio.rms_dbfs(voice), abs=0.05)


def test_knobs_at_0_change_nothing_and_come_on_top_of_the_emotion(prosodic, transform, voice):
    analysis = prosodic.analyse(voice, RATE)
    still = prosodic.turned(dict.fromkeys(prosody.KNOBS, 0.0))
    assert np.array_equal(still.render(analysis, 0), voice)
    assert np.array_equal(still.render(analysis, 0.5), prosodic.render(analysis, 0.5))
    higher = ProsodySteerer(transform, knobs={"pitch": 0.5})
    assert not any(prosodic.knobs.values())
    both = 12 * np.log2(pitch_hz(higher.render(analysis, 0.5)) / pitch_hz(voice))
    assert both == pytest.approx(2.0 + 3.0, abs=0.5)  # half of the transform, and the knob
    speech = analysis.recording.speech
    assert transform.apply(speech, 0, knobs={"pitch": 0.0}) is speech
    hybrid = HybridSteerer(prosodic, Gain()).turned({"tempo": 1})
    assert len(hybrid.steer(voice, RATE, 0)) < 0.8 * len(voice)
    refused("unknown knob 'warmth'; expected one of: pitch", prosodic.turned, {"warmth": 1})
    for value in (1.1, np.nan):
        refused("expected a number from -1 to 1", transform.apply, speech, 0, knobs={"tempo": value})


def test_a_blend_is_the_weighted_sum_of_prosodic_steerers(prosodic, voice):
    half = steering.blend([prosodic, prosodic], [0.3, 0.2])
    assert np.allclose(half.steer(voice, RATE, 1), prosodic.steer(voice, RATE, 0.5), atol=1e-4)
    assert (half.source, half.target) == ("neutral", "0.30 angry + 0.20 angry")
    refused("latent steerer", steering.blend, [prosodic, Gain()], [0.5, 0.5])


def test_a_hybrid_does_both_in_their_shares(prosodic, voice):
    hybrid = HybridSteerer(prosodic, Gain())
    assert isinstance(hybrid, Steerer)
    expected = prosodic.steer(voice, RATE, 0.4) * np.float32(2**0.2)
    np.testing.assert_allclose(hybrid.steer(voice, RATE, 0.4), expected, rtol=1e-5)
    np.testing.assert_array_equal(hybrid.steer(voice, RATE, 0), voice)
    refused("same two emotions", HybridSteerer, prosodic, Gain("calm", "sad"))
    refused("delta", hybrid.steer, voice, RATE, 1.5)


# ------------------------------------------------------------------------------------- roles and preparation


def corpus(tmp_path, n_speakers: int = 6) -> pd.DataFrame:
    """Write four clips of each speaker, two calm and two angry."""
    table = write_corpus(tmp_path / "corpus", n_clips=4 * n_speakers)
    return table.assign(speaker=[f"s{i // 4}" for i in range(len(table))])


def test_nobody_has_two_roles_and_in_rotations_everybody_is_steered_once():
    for n, n_groups in ((5, 5), (9, 6), (24, 6)):
        names = [f"{i:02d}" for i in range(n)]
        table = pd.DataFrame({"speaker": names, "gender": ["male", "female"] * (n // 2) + ["male"] * (n % 2)})
        rounds = steering.rotations(table)
        assert len(rounds) == n_groups
        assert sorted(name for round_ in rounds for name in round_.heard) == names
        for found in (*rounds, steering.roles(table)):
            assert sorted([*found.makers, *found.judges, *found.heard]) == names
            assert len(found.judges) >= 2 and len(found.makers) >= 2 and found.heard
    for assign in (steering.roles, steering.rotations):
        refused("at least five", assign, table[:4])


def test_only_strong_renditions_are_the_goal():
    emotion = ["neutral", "angry", "angry", "sad", "calm"]
    table = pd.DataFrame({"emotion": emotion, "intensity": ["normal", "normal", "strong", "", "strong"]})
    assert at_full_strength(table, "neutral", ["angry", "sad"]).index.tolist() == [0, 2, 3]


def test_preparing_learns_once_from_makers_and_refuses_what_they_lack(tmp_path, model_folder, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    clips = corpus(tmp_path)
    roles = steering.roles(clips)
    for target, why in {"happy": "'happy'", "rage": "'rage'", "calm": "both"}.items():
        refused(why, steering.prepare, "latent", "calm", target, manifest=clips)
    refused("unknown method", steering.prepare, "magic", manifest=clips)
    assert set(steering.judge(clips).speakers_) == set(roles.judges)
    studio = steering.Studio(clips, encoder=str(model_folder()), layer=LAYER)
    first = studio.steerer("latent", "calm", "angry")
    assert studio.steerer("latent", "calm", "angry") is first
    assert set(first.mapper.provenance["speakers"]) == set(first.axis.provenance["speakers"])
    assert set(first.axis.provenance["speakers"]) == set(roles.makers)
    assert (first.source, first.target) == ("calm", "angry")
    assert np.isfinite(studio.locate(speech(0.5), 16_000)).all()
    monkeypatch.setattr("emolib.mapper.load_pairs", lambda *_, **__: pytest.fail("fitted again"))
    options = {"manifest": clips, "encoder": str(model_folder()), "layer": LAYER}
    again = steering.prepare("latent", "calm", "angry", **options)
    assert np.array_equal(again.steer(speech(0.5), 16_000, 1), first.steer(speech(0.5), 16_000, 1))


def test_the_shares_of_a_point_sum_to_1_and_the_nearest_has_most():
    shares = steering.preparation.shares_at((-0.4, 0.6), {"angry": (-0.43, 0.67), "sad": (-0.63, -0.27)})
    assert sum(shares.values()) == pytest.approx(1) and shares["angry"] > 0.9


def test_what_is_shipped_steers_and_judges(voice):
    if not shipped.available():
        pytest.skip("no shipped parts in this home")
    judge = shipped.judge()
    for source in shipped.SOURCES:
        for target in shipped.TARGETS:
            steerer = shipped.steerer(source, target)
            assert (steerer.source, steerer.target) == (source, target)
            assert not set(steerer.transform.provenance["speakers"]) & set(judge.speakers_)
    moved = shipped.steerer("calm", "angry").steer(voice, RATE, 1.0)
    angry = judge.predict_proba([voice, moved], RATE)[:, judge.column("angry")]
    assert angry[1] > angry[0] and np.isfinite(moved).all()
    for pair in (("sad", "angry"), ("neutral", "calm")):
        refused("--corpus", shipped.steerer, *pair)


def test_a_panel_needs_no_corpus_but_what_is_shipped(voice, monkeypatch):
    if not shipped.available():
        pytest.skip("no shipped parts in this home")
    monkeypatch.setenv("EMOLIB_CORPORA", "/nonexistent")
    studio = shipped.Studio()
    taught = set(studio.makers["speaker"])
    assert not taught & set(shipped.judge().speakers_) and set(studio.makers["path"]) == {""}
    for method in steering.METHODS:
        moved = studio.steerer(method, "calm", "angry")
        assert (moved.source, moved.target) == ("calm", "angry")
        assert np.isfinite(moved.steer(voice, RATE, 0.5)).all()
    assert set(studio.steerer("latent", "calm", "angry").axis.speakers_) == taught
    blend, seen = studio.blend("calm", -0.4, 0.7), prosody.contours(prosody.record(voice, RATE).speech)
    assert np.isfinite(blend.steer(voice, RATE, 1.0)).all()
    without_studio = shipped.blend("calm", -0.4, 0.7).transform
    assert blend.transform.shift(seen) == pytest.approx(without_studio.shift(seen))
    assert np.isfinite(studio.locate(voice, RATE)).all()
    refused("'bored'", studio.steerer, "latent", "calm", "bored")
    refused("unknown method", studio.steerer, "magic", "calm", "angry")


# ------------------------------------------------------------------------------------- the study


def test_trends_and_responses():
    table = trial.trends([-1, 0, 1], [[0.1, 0.2, 0.3], [0.9, 0.5, 0.4], [0.3, 0.3, 0.3]])
    assert table["spearman"].tolist() == pytest.approx([1, -1, 0])
    assert table["slope"].tolist() == pytest.approx([0.1, -0.25, 0])

    class FirstSample:
        def predict_proba(self, waves, sample_rate):
            return np.array([[wave[0], 1 - wave[0]] for wave in waves])

    renders = [lambda d: np.full(9, d), lambda d: np.full(9, d / 2)]
    given = study.respond(renders, RATE, FirstSample(), [0, 0.5, 1])
    np.testing.assert_allclose(given[..., 0], [[0, 0.5, 1], [0, 0.25, 0.5]])


def test_a_clip_is_compared_with_its_speakers_other_clips(monkeypatch):
    monkeypatch.setattr(instruments, "missing", lambda measure: "")
    monkeypatch.setattr(instruments, "voices", lambda waves, rate: np.eye(4))
    others = study.own_voices([speech(0.5, 0, RATE)] * 4, RATE, ["a", "a", "a", "b"])
    np.testing.assert_allclose(others[0], np.array([0, 1, 1, 0]) / np.sqrt(2))
    assert np.isnan(others[3]).all()
    monkeypatch.setattr(instruments, "missing", lambda measure: "not here")
    assert np.isnan(study.own_voices([speech(0.5, 0, RATE)], RATE, ["a"])).all()


def test_what_no_instrument_can_measure_is_nan(monkeypatch):
    waves = [speech(0.8, seed, RATE) for seed in range(2)]
    monkeypatch.setattr(instruments, "missing", lambda measure: "" if measure == "quality" else "not here")
    monkeypatch.setattr(instruments, "opinion", lambda waves, rate: np.array([4.0, 3.0]))
    table = study.measure(waves, RATE, ["a word", "a word"], np.ones((2, 256)))
    assert table.columns.tolist() == list(study.INSTRUMENTS)
    assert table["DistillMOS"].tolist() == [4, 3] and table.drop(columns="DistillMOS").isna().all(axis=None)


def test_instruments_measure_words_voices_and_quality():
    for needed in study.INSTRUMENTS.values():
        if reason := instruments.missing(needed):
            pytest.skip(reason)
    text = "She put the blue folder on the table."
    rate, waves = 22_050, []
    for voice in ("en-us+f2", "en-us+m3"):
        wave, of = espeak.speak(text, voice=voice, rate=150)
        waves.append(audio.resample(wave, of, rate))
    own = instruments.voices(waves[:1], rate)
    table = study.measure(waves, rate, [text, text], np.repeat(own, 2, axis=0))
    assert table["voice cosine"][0] == pytest.approx(1, abs=1e-6) and table["voice cosine"][1] < 0.9
    assert table["word error rate"].between(0, 1).all() and table["DistillMOS"].between(1, 5).all()
    assert study.measure(waves[:1], rate, [""], own)["word error rate"].isna().all()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> pd.DataFrame:
    """Two sentences of six voices of the demo, neutral and angry: 24 clips."""
    part = {"sentences": ("s2", "s3"), "takes": 1, "emotion_words": ("neutral", "angry")}
    root = demo.build(tmp_path_factory.mktemp("demo") / "demo", voices=demo.VOICES[:6], **part, jobs=1)
    return corpora.load("folder", table=root / "demo.csv").assign(intensity="")


def test_a_trial_frames_what_it_measures_and_lists_what_it_leaves_out(manifest):
    first, rounds = manifest["speaker"].iloc[0], steering.rotations(manifest)[:2]
    is_cut = (manifest["speaker"] == first) & (manifest["text_id"] == "s2") & (manifest["emotion"] == "angry")
    material = trial.gather(manifest[~is_cut], "neutral", ["angry"])
    rows, skipped = trial.run(material, "neutral", ["angry"], rounds)
    assert len(skipped) == (first in {speaker for round_ in rounds for speaker in round_.heard})
    assert all("no angry rendition" in entry["reason"] for entry in skipped)
    assert set(rows["way"]) == {"unmodified", "prosody", "natural target"}
    assert rows["p"].between(0, 1).all() and rows["recognised"].isin([0, 1]).all()
    assert rows.loc[rows["way"] != "unmodified", "rises"].isin([0, 1]).all()
    table = study.levels(rows, ["p", "log_f0_rmse"])
    table = table.pivot_table("value", "way", "measure")
    still, moved = table.loc["unmodified"], table.loc["prosody"]
    assert moved["log_f0_rmse"] < still["log_f0_rmse"]
    ratio = trial.ratio(rows, "log_f0_rmse", "prosody", "unmodified")
    assert list(ratio.index) == ["angry", "all"]
    assert ratio.loc["all", "value"] == pytest.approx(moved["log_f0_rmse"] / still["log_f0_rmse"])
    gain = trial.difference(rows, "p", "prosody", "unmodified")
    assert gain.loc["all", "value"] == pytest.approx(moved["p"] - still["p"])
    assert moved["p"] == pytest.approx(rows.loc[rows["way"] == "prosody", "p"].mean())


def test_a_clip_that_fails_at_the_rate_of_a_trial_is_listed_and_ends_nothing(manifest, monkeypatch):
    rounds = steering.rotations(manifest)[:1]
    material = trial.gather(manifest, "neutral", ["angry"])
    spoken = manifest[manifest["speaker"].isin(rounds[0].heard) & (manifest["emotion"] == "neutral")]
    whispered = audio.load_clip(spoken.iloc[0], trial.RATE)[0]
    record = prosody.record

    def only_voiced(wave, *args, **options):
        if np.array_equal(wave, whispered):
            raise ValueError("hardly a voiced frame")
        return record(wave, *args, **options)

    monkeypatch.setattr(prosody, "record", only_voiced)
    rows, skipped = trial.run(material, "neutral", ["angry"], rounds)
    assert skipped == [{"clip": spoken["clip"].iloc[0], "reason": "hardly a voiced frame"}]
    assert set(rows["clip"]) >= set(spoken["clip"][1:]) and spoken["clip"].iloc[0] not in set(rows["clip"])


def test_a_rate_near_0_is_compared_by_its_difference():
    """A share of a rate that is 0 in some resamples has an interval up to many times the natural rate."""
    names, at = [f"s{i}" for i in range(8)], np.arange(8)
    ways = {"prosody": at < 4, "natural target": at == 0}
    tables = [pd.DataFrame({"speaker": names, "way": way, "recognised": hit}) for way, hit in ways.items()]
    rows = pd.concat(tables).assign(target="sad").astype({"recognised": float})
    gain = trial.difference(rows, "recognised", "prosody", "natural target").loc["sad"]
    assert gain["value"] == pytest.approx(3 / 8) and -1 <= gain["low"] < gain["high"] <= 1
    refused("may be near 0", trial.ratio, rows, "recognised", "prosody", "natural target")


# ------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, model_folder, manifest) -> trial.Outcome:
    """A trial of all methods on six voices of the demo, with a judge of people."""
    clips, options = manifest.assign(language="de"), {"encoder": str(model_folder()), "layer": LAYER}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_HOME", str(tmp_path_factory.mktemp("trial") / "home"))
        patch.setattr(trial, "JUDGE_CORPORA", ("emodb",))
        patch.setattr("emolib.instruments.missing", lambda name: f"{name} can't be measured without x")
        return trial.hold(clips, targets=["angry"], per_speaker=1, **options)


@needs_whisper
def test_a_trial_has_every_way_within_its_bounds(outcome):
    assert set(outcome.table["way"]) == {
        "unmodified", "WORLD only", "level only", "prosody", "latent", "hybrid", "natural target",
        "random prosody", "shuffled prosody", "random latent", "shuffled latent",
    }  # fmt: skip
    found = outcome.flat()
    assert found["effect_unmodified_angry"] == 0
    assert found["mcd_db_unmodified_angry"] > found["mcd_db_WORLD_only_angry"] - 1 > 0
    assert found["recognised_minus_natural_prosody_angry"] == pytest.approx(
        found["recognised_prosody_angry"] - found["recognised_natural_target_angry"]
    )
    assert 0 <= found["rises_prosody_angry"] <= 1 and abs(found["spearman_prosody_angry"]) <= 1
    natural = outcome.rows[outcome.rows["way"] == "natural target"]
    assert len(natural) and natural["mcd_db"].isna().all(), "one take each, which is not compared with itself"
    assert not [key for key, value in found.items() if np.isnan(value)]


@needs_whisper
def test_the_judge_of_a_trial_is_of_other_corpora_and_what_is_missing_is_said(outcome):
    told = outcome.setting
    assert told["judge_corpora"] == ["emodb"] and told["corpus"] not in told["judge_corpora"]
    assert set(told["judge_emotions"]) == {"neutral", "angry"} and 0 <= told["judge_ua"] <= 1
    assert len(told["missing"]) == 3 and "reads English" in told["missing"][0]
    assert not {"wer", "voice", "quality"} & set(outcome.table["measure"])
    for sentence in (*told["missing"], "emodb"):
        assert sentence in str(outcome)


@needs_whisper
def test_an_outside_judge_has_no_corpus_of_what_it_judges(monkeypatch):
    monkeypatch.setattr(trial, "JUDGE_CORPORA", ("emodb", "ravdess"))
    clips = pd.DataFrame({"corpus": "ravdess", "speaker": "ravdess-01", "emotion": ["sad", "angry"]})
    found = trial.outside_judge(clips, "cpu")
    assert found.corpora == ("emodb",) and len(found.judge.speakers_) == 10
    assert not any(name.startswith("ravdess") for name in found.judge.speakers_)
    refused("shared|both", trial.outside_judge, clips.assign(speaker="emodb-03"), "cpu")


def test_what_can_not_be_tried(monkeypatch):
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    with pytest.warns(corpora.NoAudioWarning):
        clips = corpora.load("emodb")
    refused("no audio", trial.gather, clips, "neutral", ["angry"])
    refused("magic", trial.hold, clips, methods=["magic"])
    refused("'surprised'", trial.hold, clips, targets=["surprised"])
    refused("another encoder", trial.hold, clips, encoder=trial.JUDGE_ENCODER)


def test_sound_is_compared_at_no_higher_rate_than_it_was_recorded():
    clips = pd.DataFrame({"sample_rate": [48_000, 44_100]})
    assert trial.sample_rate(clips) == trial.RATE
    assert trial.sample_rate(clips.assign(sample_rate=[48_000, 16_000])) == 16_000
