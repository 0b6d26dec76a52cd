"""The judge: deaf to level, calibrated, honest about its accuracy, and the same after saving."""

import json
import os
import re

import numpy as np
import pytest
from samples import speech

from emolib import audio, corpora, ser
from emolib.ser.acoustics import SAMPLE_RATE, analyse
from emolib.ser.linear import calibration_error, fit_discriminant, fit_temperature

RATE = 16_000


def sentence(emotion: str, speaker: float, seed: int) -> audio.Wave:
    """Return half a second that is low and dull if sad, high and bright if angry, with a voice of its own."""
    rng = np.random.default_rng(int(100 * speaker) + seed)
    time_s = np.arange(RATE // 2) / RATE
    high = emotion == "angry"
    f0_hz = (110 + 12 * speaker) * (1.6 if high else 1.0) * (1 + 0.05 * np.sin(9 * time_s + seed))
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    voice = sum(np.sin(k * phase) / k ** (1.0 if high else 1.8) for k in range(1, 15))
    envelope = np.clip(np.sin(2 * np.pi * 4 * time_s + rng.uniform(0, 6)) + 0.6, 0, 1)
    return (0.1 * voice * envelope + 0.003 * rng.standard_normal(len(time_s))).astype(np.float32)


@pytest.fixture(scope="module")
def clips():
    rows = [(e, s, i) for e in ("angry", "sad") for s in range(4) for i in range(4)]
    waves = [sentence(*row) for row in rows]
    return waves, np.array([row[0] for row in rows]), np.array([f"s{row[1]}" for row in rows])


@pytest.fixture(scope="module")
def judge(clips):
    waves, emotions, speakers = clips
    return ser.Judge().fit(waves, RATE, emotions, speakers)


# ------------------------------------------------------------------------------------- acoustics


def test_measures_do_not_know_the_level():
    wave = speech(1.0)
    loud, quiet = ser.acoustics(wave, RATE), ser.acoustics(0.01 * wave, RATE)
    np.testing.assert_allclose(loud, quiet, atol=2e-3)


def test_how_long_the_silence_at_the_ends_is_does_not_matter():
    wave = speech(1.0)
    short, long = np.pad(wave, (5 * 160, 5 * 160)), np.pad(wave, (40 * 160, 90 * 160))
    np.testing.assert_allclose(ser.acoustics(short, RATE), ser.acoustics(long, RATE), atol=2e-3)


def test_the_pitch_of_a_buzz_is_found():
    time_s = np.arange(RATE) / RATE
    for f0_hz in (90, 150, 240, 400):
        wave = 0.1 * sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 9))
        frames = analyse(wave.astype(np.float32), RATE)
        assert frames.voiced[5:-5].all()
        found = 150 * 2.0 ** np.median(frames.pitch_oct[frames.voiced])
        assert abs(found / f0_hz - 1) < 0.03


def test_noise_has_no_voice():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert analyse(noise, RATE).voiced.mean() < 0.1


@pytest.mark.parametrize("n_samples", [400, 500, 900, 3_000, 200_000])
def test_clips_of_any_length_have_finite_measures_of_one_number(n_samples):
    wave = speech(n_samples / RATE + 0.1, seed=3)[-n_samples:]
    measures = ser.acoustics(wave, RATE)
    assert measures.shape == ser.acoustics(speech(1.0), RATE).shape and np.isfinite(measures).all()


def test_the_rate_is_taken_into_account():
    wave = speech(1.0, sample_rate=SAMPLE_RATE)
    there = audio.resample(wave, SAMPLE_RATE, 44_100)
    difference = np.abs(ser.acoustics(there, 44_100) - ser.acoustics(wave, SAMPLE_RATE))
    assert np.median(difference) < 0.02


@pytest.mark.parametrize(
    "wave, why",
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.full(RATE, np.nan, np.float32), "finite"),
        (speech(0.02), "too short"),
        (np.zeros((RATE, 2), np.float32), "one channel"),
    ],
)
def test_what_is_no_speech_is_refused(judge, wave, why):
    with pytest.raises(audio.AudioError, match=f"wave 1: .*{why}"):
        judge.predict_proba([speech(0.5), wave], RATE)


# ------------------------------------------------------------------------------------- the judge


def test_it_tells_voices_of_speakers_it_never_heard(judge):
    waves = [sentence(emotion, 1.5, i) for emotion in ("angry", "sad") for i in range(3)]
    probability = judge.predict_proba(waves, RATE)
    assert probability.shape == (6, 2) and probability.dtype == np.float64
    np.testing.assert_allclose(probability.sum(1), 1)
    assert judge.predict(waves, RATE).tolist() == ["angry"] * 3 + ["sad"] * 3
    assert (probability[:3, judge.column("angry")] > 0.5).all()


def test_loudness_alone_cannot_win(judge):
    wave = sentence("sad", 2.5, 1)
    by_level = judge.predict_proba([wave, 0.02 * wave, 5 * wave], RATE)
    np.testing.assert_allclose(by_level, np.tile(by_level[0], (3, 1)), atol=1e-3)


def test_its_accuracy_stands_beside_its_name(judge):
    assert judge.natural_ua_.value > 0.9
    assert set(judge.natural_recall_) == {"angry", "sad"}
    assert re.search(r"2 emotions, 32 clips of 4 speakers; natural speech .* chance 0\.500", repr(judge))


def test_it_is_the_same_twice_and_after_saving(judge, clips, tmp_path):
    waves, emotions, speakers = clips
    again = ser.Judge().fit(waves, [RATE] * len(waves), emotions, speakers)
    loaded = ser.Judge.load(judge.save(tmp_path / "judge"))
    expected = judge.predict_proba(waves, RATE)
    assert np.array_equal(again.predict_proba(waves, RATE), expected)
    assert np.array_equal(loaded.predict_proba(waves, RATE), expected)
    assert repr(loaded) == repr(judge) and loaded.speakers_ == judge.speakers_


def test_it_says_whom_it_must_not_judge(judge):
    judge.check_unheard(["s9", "x"])
    with pytest.raises(ValueError, match="s2"):
        judge.check_unheard(["s2", "s9"])


def test_an_emotion_it_does_not_know(judge):
    with pytest.raises(ValueError, match=r"'happy'.*angry, sad"):
        judge.column("happy")


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda w, e, s: (w, RATE, e[:-1], s), "emotions"),
        (lambda w, e, s: (w, [RATE], e, s), "sampling rates"),
        (lambda w, e, s: (w, RATE, np.full(len(w), "sad"), s), "one emotion"),
        (lambda w, e, s: (w, RATE, e, np.full(len(w), "s0")), "one speaker"),
        (lambda w, e, s: (w, RATE, np.where(s == "s0", "angry", "sad"), s), "alone"),
        (lambda w, e, s: (w[::8], RATE, e[::8], s[::8]), "more clips than emotions"),
    ],
)
def test_training_refuses_what_it_cannot_learn_from(clips, change, why):
    waves, emotions, speakers = clips
    with pytest.raises(ValueError, match=why):
        ser.Judge().fit(*change(waves, emotions, speakers))


def test_unfitted_and_foreign_folders(judge, tmp_path):
    assert repr(ser.Judge()) == "Judge(not fitted)"
    with pytest.raises(ValueError, match="fitted"):
        ser.Judge().predict_proba([speech(0.5)], RATE)
    with pytest.raises(FileNotFoundError, match="no judge"):
        ser.Judge.load(tmp_path)
    config = json.loads((judge.save(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"ears": "other"}))
    with pytest.raises(ValueError, match="train again"):
        ser.Judge.load(tmp_path)


# ------------------------------------------------------------------------------------- calibration


def test_temperature_recovers_the_factor_that_scores_were_stretched_by():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    codes = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    assert abs(fit_temperature(5 * logits, codes) - 5) < 0.5


def test_calibration_error_of_the_sure_and_wrong_is_one():
    assert calibration_error(np.ones(10), np.zeros(10, bool)) == 1
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)


def test_the_calibration_error_is_of_speakers_whom_the_temperature_was_not_fitted_on(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.tile(["angry", "calm", "sad"], 40)
    speakers = np.repeat([f"s{i}" for i in range(6)], 20)
    X = rng.normal(size=(120, 5)) + 0.7 * (y[:, None] == ["angry", "calm", "sad", "", ""])
    fitted_on = []

    def spy(scores, codes):
        fitted_on.append({tuple(row) for row in scores})
        return fit_temperature(scores, codes)

    monkeypatch.setattr("emolib.ser.judge.fit_temperature", spy)
    heard = {}
    monkeypatch.setattr(
        "emolib.ser.judge.calibration_error", lambda p, right: heard.update(p=p, right=right) or 0.0
    )
    ser.Judge(n_folds=3).fit_measures(X, y, speakers)
    everything = max(fitted_on, key=len)
    assert len(everything) == 120 and sorted(map(len, fitted_on)) == [80, 80, 80, 120]
    held_out = [everything - some for some in fitted_on if len(some) == 80]
    assert set.union(*held_out) == everything  # each clip is judged by a temperature of other speakers
    assert len(heard["p"]) == 120 and heard["p"].min() > 0.33 and heard["right"].mean() > 0.4


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_discriminant_is_scikit_learns(n_classes):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    codes = np.arange(90) % n_classes
    X = rng.normal(size=(90, 6)) + codes[:, None]
    scaled = (X - X.mean(0)) / X.std(0)
    even = np.full(n_classes, 1 / n_classes)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=even).fit(scaled, codes)
    scores = fit_discriminant(X, codes, n_classes, 0.3).scores(X)
    assert (scores.argmax(1) == reference.predict(scaled)).all()


# ------------------------------------------------------------------------------------- from a manifest


def test_a_judge_is_trained_once_and_again_when_its_clips_change(manifest, tmp_path, monkeypatch):
    trained = ser.train(manifest, tmp_path / "judge", without=["03"])
    assert trained.speakers_ == ("01", "02")
    monkeypatch.setattr("emolib.ser.training.acoustics", lambda *_: pytest.fail("heard again"))
    kept = ser.train(manifest, tmp_path / "judge", without=["03"])
    assert repr(kept) == repr(trained)
    monkeypatch.undo()
    assert ser.train(manifest, tmp_path / "judge").speakers_ == ("01", "02", "03")
    with pytest.raises(ValueError, match="no speaker 99"):
        ser.train(manifest, without=["99"])
    with pytest.raises(ValueError, match="no clip"):
        ser.train(manifest, without=["01", "02", "03"])


@pytest.mark.skipif(not os.environ.get("EMOLIB_CORPORA"), reason="EMOLIB_CORPORA is not set: no real speech")
def test_half_of_ravdess_is_enough_to_beat_log_mel_statistics():
    manifest = corpora.load("ravdess")
    manifest = manifest[manifest["speaker"] <= "ravdess-08"]
    judge = ser.train(manifest)
    assert judge.natural_ua_.value > 0.42  # log-mel statistics, on all speakers
    assert judge.calibration_error_ < 0.08
