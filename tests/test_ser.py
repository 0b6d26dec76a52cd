"""The judge ignores level, is calibrated and states its accuracy; the ResNet uses speech and no padding."""

import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from samples import needs_audio, refused, speech
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from emolib import audio, corpora, encoders, ser
from emolib.ser import network
from emolib.ser.acoustics import SAMPLE_RATE, analyse
from emolib.ser.judge import Discriminant, calibration_error, fit_temperature

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
    X = np.stack([ser.acoustics(sentence(*row), RATE) for row in rows])
    return X, np.array([row[0] for row in rows]), np.array([f"s{row[1]}" for row in rows])


@pytest.fixture(scope="module")
def judge(clips):
    return ser.Judge().fit_measures(*clips)


# ------------------------------------------------------------------------------------- acoustics


def test_level_and_silence_at_the_ends_do_not_matter():
    wave = speech(1.0)
    loud, quiet = ser.acoustics(wave, RATE), ser.acoustics(0.01 * wave, RATE)
    np.testing.assert_allclose(loud, quiet, atol=2e-3)
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
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert analyse(noise, RATE).voiced.mean() < 0.1


def test_clips_of_any_length_and_rate_have_finite_measures_of_one_number():
    expected = ser.acoustics(speech(1.0), RATE)
    for n_samples in (400, 500, 3_000, 200_000):
        measures = ser.acoustics(speech(n_samples / RATE + 0.1, seed=3)[-n_samples:], RATE)
        assert measures.shape == expected.shape and np.isfinite(measures).all()
    resampled = ser.acoustics(audio.resample(speech(1.0), SAMPLE_RATE, 44_100), 44_100)
    assert np.median(np.abs(resampled - expected)) < 0.02


def test_what_is_no_speech_is_refused(judge):
    for wave, why in (
        (np.zeros(RATE, np.float32), "silent"),
        (np.full(RATE, np.nan, np.float32), "finite"),
        (speech(0.02), "too short"),
        (np.zeros((RATE, 2), np.float32), "one channel"),
    ):
        with pytest.raises(audio.AudioError, match=f"wave 1: .*{why}"):
            judge.predict_proba([speech(0.5), wave], RATE)


# ------------------------------------------------------------------------------------- the judge


def test_it_classifies_unseen_speakers_whatever_the_level(judge):
    waves = [sentence(emotion, 1.5, i) for emotion in ("angry", "sad") for i in range(3)]
    probability = judge.predict_proba(waves, RATE)
    assert probability.shape == (6, 2) and probability.dtype == np.float64
    np.testing.assert_allclose(probability.sum(1), 1)
    assert judge.predict(waves, RATE).tolist() == ["angry"] * 3 + ["sad"] * 3
    assert (probability[:3, judge.column("angry")] > 0.5).all()
    by_level = judge.predict_proba([waves[4], 0.02 * waves[4], 5 * waves[4]], RATE)
    np.testing.assert_allclose(by_level, np.tile(by_level[0], (3, 1)), atol=1e-3)


def test_it_states_its_accuracy_its_speakers_and_its_emotions(judge):
    assert judge.natural_ua_.value > 0.9 and set(judge.natural_recall_) == {"angry", "sad"}
    assert re.search(r"2 emotions, 32 clips of 4 speakers; natural speech .* chance 0\.500", repr(judge))
    judge.check_unseen(["s9", "x"])
    refused("s2", judge.check_unseen, ["s2", "s9"])
    refused(r"'happy'.*angry, sad", judge.column, "happy")


def test_it_is_the_same_twice_and_after_saving(judge, clips, tmp_path):
    again, loaded = ser.Judge().fit_measures(*clips), ser.Judge.load(judge.save(tmp_path))
    for other in (again, loaded):
        assert repr(other) == repr(judge) and other.speakers_ == judge.speakers_
        expected = judge.predict_proba_measures(clips[0])
        assert np.array_equal(other.predict_proba_measures(clips[0]), expected)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"ears": "other"}))
    refused("train it again", ser.Judge.load, tmp_path)


def test_what_it_cannot_learn_from_is_refused(clips, tmp_path):
    X, e, s = clips
    for given, why in (
        ((X, e[:-1], s), "same length"),
        ((X[1:], e, s), "31, .* for 32 clips"),
        ((X, np.full(len(X), "sad"), s), "one emotion"),
        ((X, e, np.full(len(X), "s0")), "1 speaker; .* at least two"),
        ((X, np.where(s == "s0", "angry", "sad"), s), "alone"),
        ((X[::8], e[::8], s[::8]), "more than the number of classes"),
    ):
        refused(why, ser.Judge().fit_measures, *given)
    assert repr(ser.Judge()) == "Judge(not fitted)"
    for call in (lambda: ser.Judge().predict([speech(0.5)], RATE), lambda: ser.Judge().save(tmp_path)):
        refused("isn't fitted", call)
    with pytest.raises(FileNotFoundError, match="no judge"):
        ser.Judge.load(tmp_path)


# ------------------------------------------------------------------------------------- calibration


def test_temperature_recovers_the_factor_that_scores_were_stretched_by():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    codes = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    assert abs(fit_temperature(5 * logits, codes) - 5) < 0.5
    assert calibration_error(np.ones(10), np.zeros(10, bool)) == 1  # sure and wrong
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
    ser.Judge(n_folds=3).fit_measures(X, y, speakers)
    everything = max(fitted_on, key=len)
    assert len(everything) == 120 and sorted(map(len, fitted_on)) == [80, 80, 80, 120]
    held_out = [everything - some for some in fitted_on if len(some) == 80]
    assert set.union(*held_out) == everything  # each clip is judged by a temperature of other speakers


def test_the_discriminant_is_scikit_learns():
    rng = np.random.default_rng(0)
    for n_classes in (2, 3):
        codes = np.arange(90) % n_classes
        X = rng.normal(size=(90, 6)) + codes[:, None]
        scaled, even = (X - X.mean(0)) / X.std(0), np.full(n_classes, 1 / n_classes)
        reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=even).fit(scaled, codes)
        scores = Discriminant.fit(X, codes, n_classes, 0.3).scores(X)
        assert (scores.argmax(1) == reference.predict(scaled)).all()


# ------------------------------------------------------------------------------------- from a manifest


def test_a_judge_is_trained_once_and_again_when_its_clips_change(manifest, tmp_path, monkeypatch):
    trained = ser.train(manifest, tmp_path / "judge", without=["03"])
    assert trained.speakers_ == ("01", "02")
    monkeypatch.setattr("emolib.ser.judge.acoustics", lambda *_: pytest.fail("measured again"))
    kept = ser.train(manifest, tmp_path / "judge", without=["03"])
    assert repr(kept) == repr(trained)
    monkeypatch.undo()
    assert ser.train(manifest, tmp_path / "judge").speakers_ == ("01", "02", "03")
    refused("no speaker 99", ser.train, manifest, without=["99"])
    refused("no clip", ser.train, manifest, without=["01", "02", "03"])


@needs_audio("ravdess")
def test_half_of_ravdess_is_enough_to_beat_log_mel_statistics():
    manifest = corpora.load("ravdess")
    manifest = manifest[manifest["speaker"] <= "ravdess-08"]
    judge = ser.train(manifest)
    assert judge.natural_ua_.value > 0.42  # log-mel statistics, on all speakers
    assert judge.calibration_error_ < 0.08


# ------------------------------------------------------------------------------------- the network

SMALL = ser.ResNetSettings(widths=(4, 8, 8), steps=40, batch_size=16, crop=32, rate=1e-2, dropout=0.0)


def mels(n_each: int = 12, seed: int = 0) -> SimpleNamespace:
    """Return spectrograms of 32 bands in which each class has a band of its own; padding on both sides."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["angry", "sad", "happy"], n_each)
    values = rng.normal(-5, 1, (len(labels), 32, 48)).astype(np.float32)
    mask = np.zeros((len(labels), 48), bool)
    for i in range(len(labels)):
        values[i, 4 + 8 * (i // n_each)] += 4
        start = rng.integers(0, 12)
        mask[i, start : start + rng.integers(24, 36)] = True
    return of(np.where(mask[:, None], values, np.float32(-23)), mask, labels)


def of(values, mask, labels) -> SimpleNamespace:
    return SimpleNamespace(values=values, mask=mask, labels=labels)


@pytest.fixture(scope="module")
def fitted() -> ser.ResNetRecogniser:
    return ser.ResNetRecogniser(SMALL).fit(mels())


def test_unseen_clips_are_classified(fitted):
    given = mels(seed=1)
    chances, features = fitted.predict_proba(given), fitted.features(given)
    assert features.shape == (36, 16) and np.isfinite(features).all()
    assert not np.allclose(features[0], features[-1])
    assert chances.shape == (36, 3) and np.allclose(chances.sum(1), 1) and (chances >= 0).all()
    assert fitted.classes_.tolist() == ["angry", "happy", "sad"]
    assert (fitted.predict(given) == given.labels).mean() > 0.9
    shuffled = of(mels().values, mels().mask, np.random.default_rng(0).permutation(mels().labels))
    wrong = ser.ResNetRecogniser(SMALL).fit(shuffled)
    assert (wrong.predict(given) == given.labels).mean() < 0.7


def test_padding_and_neighbours_change_no_answer(fitted):
    given = mels(4, seed=2)
    values = np.pad(given.values, ((0, 0), (0, 0), (17, 40)), constant_values=99)
    longer = of(values, np.pad(given.mask, ((0, 0), (17, 40))), given.labels)
    assert np.allclose(fitted.predict_proba(longer), fitted.predict_proba(given), atol=1e-6)
    one_by_one = zip(given.values[:, None], given.mask[:, None], given.labels[:, None], strict=True)
    alone = [fitted.predict_proba(of(*one))[0] for one in one_by_one]
    assert np.allclose(alone, fitted.predict_proba(given), atol=1e-5), "up to the rounding of float32"
    louder = of(np.where(given.mask[:, None], given.values, np.nan), given.mask, given.labels)
    assert np.allclose(fitted.predict_proba(louder), fitted.predict_proba(given), atol=1e-6)


def test_normalisation_is_that_of_training_speech(fitted):
    speech = mels().values.transpose(0, 2, 1)[mels().mask]
    assert np.allclose(fitted.mean_, speech.mean(0), atol=1e-4)
    assert np.allclose(fitted.scale_, speech.std(0), atol=1e-4)
    other = ser.ResNetRecogniser(replace(SMALL, steps=5)).fit(mels(1, seed=7), normalised_by=mels())
    assert np.array_equal(other.mean_, fitted.mean_) and np.array_equal(other.scale_, fitted.scale_)
    assert len(other.losses_) == 5  # fewer clips are no fewer steps


def test_a_seed_gives_one_recogniser_and_leaves_torch_as_it_was(fitted):
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    again = ser.ResNetRecogniser(SMALL).fit(mels())
    assert torch.rand(1) == wanted
    assert np.array_equal(again.predict_proba(mels(seed=1)), fitted.predict_proba(mels(seed=1)))
    other = ser.ResNetRecogniser(replace(SMALL, seed=1)).fit(mels())
    assert not np.allclose(other.predict_proba(mels(seed=1)), fitted.predict_proba(mels(seed=1)))


def test_every_class_is_drawn_alike():
    every = mels()
    rare = np.r_[0:12, 12:14, 24:27]
    few = of(every.values[rare], every.mask[rare], every.labels[rare])
    recogniser = ser.ResNetRecogniser(replace(SMALL, batch_size=18, steps=1)).fit(few)
    codes = np.unique(few.labels, return_inverse=True)[1]
    _, _, targets = recogniser._batch(*recogniser._packed(few), codes, 0)
    assert targets.sum(0).tolist() == [6, 6, 6]


def test_stripes_of_bands_and_frames_are_hidden():
    batch = np.ones((400, 20, 30), np.float32)
    hidden = network.spec_augment(batch, np.random.default_rng(0)) == 0
    bands, frames = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert (bands.min(), bands.max(), frames.min(), frames.max()) == (0, 10, 0, 8), "half the bands at most"
    whole = hidden.all(2)[:, :, None] | hidden.all(1)[:, None]
    assert np.array_equal(hidden, whole) and (batch == 1).all(), "nothing but stripes"
    edges = np.abs(np.diff(np.pad(hidden.all(2), ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
    assert set(edges) == {0, 2}, "of one piece"


def test_mixed_clips_have_mixed_targets():
    values = np.repeat(np.arange(4, dtype=np.float32)[:, None, None], 6, axis=2)
    mixed, targets = network.mixup(values, np.eye(4, dtype=np.float32), np.random.default_rng(0), 1.0)
    assert np.allclose(targets.sum(1), 1)
    assert np.allclose(targets @ np.arange(4), mixed[:, 0, 0], atol=1e-6)


def test_kept_and_loaded_it_answers_the_same(fitted, tmp_path):
    again = ser.ResNetRecogniser.load(fitted.save(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert again.settings == fitted.settings
    assert np.array_equal(again.predict_proba(mels(seed=1)), fitted.predict_proba(mels(seed=1)))
    config = json.loads((tmp_path / "config.json").read_text())
    config["settings"]["widths"] = [4, 8, 12]
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused("can't be read .*size mismatch", ser.ResNetRecogniser.load, tmp_path)


def test_a_warm_start_goes_on_from_what_was_learned(fitted):
    few = mels(2, seed=5)
    lacking = of(few.values[:4], few.mask[:4], few.labels[:4])
    done = fitted.warm_start(lacking, replace(SMALL, steps=1, rate=1e-6))
    assert np.array_equal(done.mean_, fitted.mean_) and done.classes_.tolist() == fitted.classes_.tolist()
    assert (done.predict(mels(seed=1)) == mels(seed=1).labels).mean() > 0.8
    refused("labels bored", fitted.warm_start, of(few.values, few.mask, np.full(6, "bored")), SMALL)


def test_classical_augmentation_changes_training_alone(fitted):
    both = replace(SMALL, steps=80, spec_augment=True, mixup=0.3)
    done = ser.ResNetRecogniser(both).fit(mels())
    assert (done.predict(mels(seed=1)) == mels(seed=1).labels).mean() > 0.55, "chance is 0.33"
    assert not np.allclose(done.losses_[:40], fitted.losses_)


def test_what_the_network_cannot_learn_from_or_read_is_refused(fitted):
    m, frames = mels(), np.arange(36)
    for unfit, message in (
        (of(m.values[:, 0], m.mask, m.labels), "expected .N, M, T."),
        (of(m.values, m.mask[:, 1:], m.labels), "expected .N, M, T."),
        (of(m.values, m.mask, m.labels[1:]), "35 labels for 36 clips"),
        (of(m.values + np.nan, m.mask, m.labels), "NaN or infinity"),
        (of(m.values, m.mask & (frames > 1)[:, None], m.labels), "2 clips have no frame"),
        (of(m.values[:12], m.mask[:12], m.labels[:12]), "one class, 'angry'"),
        (of(m.values[:0], m.mask[:0], m.labels[:0]), "expected .N, M, T."),
    ):
        refused(message, ser.ResNetRecogniser(SMALL).fit, unfit)
    for change in ({"steps": 0}, {"crop": 0}, {"widths": (8,)}, {"rate": 0.0}, {"mixup": -1.0}):
        refused("expected", replace, SMALL, **change)
    refused("isn't fitted", ser.ResNetRecogniser(SMALL).predict, m)
    refused("16 bands; this recogniser reads 32", fitted.predict, of(m.values[:, :16], m.mask, m.labels))
    refused("learning rate below", ser.ResNetRecogniser(replace(SMALL, rate=1e30)).fit, m)


# ------------------------------------------------------------------------------------- dimensions


@pytest.fixture
def published(model_folder, tmp_path) -> Path:
    """A network in the layout of audEERING's: a prefix, a regression head, names of its outputs."""
    folder = tmp_path / "published"
    as_published = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
    shutil.copytree(model_folder(**as_published), folder)
    generator = torch.Generator().manual_seed(0)
    head = {"dense.weight": (32, 32), "dense.bias": (32,), "out_proj.weight": (3, 32), "out_proj.bias": (3,)}
    state = {f"wav2vec2.{key}": tensor for key, tensor in load_file(folder / "model.safetensors").items()}
    state |= {f"classifier.{key}": torch.randn(shape, generator=generator) / 5 for key, shape in head.items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "arousal", "1": "dominance", "2": "valence"}
    config |= {"architectures": ["Wav2Vec2ForSpeechClassification"], "id2label": names, "vocab_size": None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def expected(folder: Path, waves: list[audio.Wave]) -> np.ndarray:
    """Return what transformers' own network and the head on it give, one wave at a time."""
    network = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    head = {key.removeprefix("classifier."): tensor for key, tensor in state.items() if "classifier" in key}
    rows = []
    for wave in waves:
        given = extractor(wave, sampling_rate=RATE, return_tensors="pt").input_values
        with torch.no_grad():
            hidden = network(given).last_hidden_state.mean(dim=1)
            hidden = torch.tanh(hidden @ head["dense.weight"].T + head["dense.bias"])
            rows.append(hidden @ head["out_proj.weight"].T + head["out_proj.bias"])
    return torch.cat(rows).numpy()


def test_a_regression_head_predicts_as_in_transformers_whatever_the_neighbours(published):
    waves = [speech(duration_s, seed) for seed, duration_s in enumerate((0.4, 1.3, 0.4, 2.1, 0.8))]
    model, reference = ser.DimensionalModel(str(published), "cpu"), expected(published, waves)
    together = np.stack([row[0, 0] for row in model.encode(waves, RATE)])
    alone = np.stack([model.encode([wave], RATE)[0][0, 0] for wave in waves])
    for found in (together, alone):
        assert np.abs(found - reference).max() < 1e-5 < 1e-3 < reference.std(axis=0).min()


def test_predictions_are_columns_of_the_manifest(published, manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    audio.write(Path(manifest["path"][4]), speech(0.01), RATE)  # shorter than one frame
    found = ser.dimensional(manifest, str(published), device="cpu")
    columns = [f"predicted_{name}" for name in ser.DIMENSIONS]
    waves = [audio.load(path)[0] for path in manifest["path"].drop(4)]
    reference = 2 * expected(published, waves) - 1
    assert np.abs(found[columns].drop(4).to_numpy() - reference).max() < 2e-5
    assert found[columns].loc[4].isna().all() and list(found)[: len(list(manifest))] == list(manifest)
    assert [entry["clip"] for entry in found.attrs["skipped"]] == ["clip-004"]
    assert "skipped" not in manifest.attrs
    again = ser.dimensional(manifest, str(published), device="cpu")
    assert again.equals(found)


def test_outputs_are_found_by_their_names_and_others_refused(published):
    path, waves = published / "config.json", [speech(0.5)]
    config, reference = json.loads(path.read_text()), expected(published, waves)[0]

    def predicted(*names: str) -> np.ndarray:
        path.write_text(json.dumps(config | {"id2label": dict(enumerate(names))}))
        return ser.DimensionalModel(str(published), "cpu").encode(waves, RATE)[0][0, 0]

    assert np.allclose(predicted("valence", "arousal", "dominance"), reference[[1, 2, 0]], atol=1e-5)
    assert np.allclose(predicted("LABEL_0", "LABEL_1", "LABEL_2"), reference, atol=1e-5)
    others = ("negative", "neutral", "positive")
    refused("outputs .'negative', .*expected .* arousal, dominance, valence", predicted, *others)


def test_a_head_is_read_from_an_older_file_but_from_no_pickle(published, tmp_path):
    waves = [speech(0.5)]
    reference, state = expected(published, waves), load_file(published / "model.safetensors")
    (published / "model.safetensors").unlink()
    place = published / "pytorch_model.bin"
    refused("no usable model", ser.DimensionalModel, str(published))
    torch.save(state, place)
    found = ser.DimensionalModel(str(published), "cpu").encode(waves, RATE)[0][0]
    assert np.allclose(found, reference, atol=1e-5)
    place.write_bytes(pickle.dumps(state | {"classifier.trap": Path("x")}, protocol=2))
    refused("no usable model", ser.DimensionalModel, str(published))
    refused("more than tensors, or is damaged", encoders.read_tensors, str(published), "classifier.")
    torch.save({key: tensor for key, tensor in state.items() if "classifier.out" not in key}, place)
    refused("expected a wav2vec2 model", ser.DimensionalModel, str(published))


def test_the_command_places_clips_by_a_network_s_own_outputs(published, tmp_path, monkeypatch):
    from test_cli import answer, call, write_corpus

    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    table, out = write_corpus(tmp_path / "mine"), tmp_path / "places.csv"
    found = answer("av", "--manifest", table, "--predict", published, "--out", out)
    assert found["clips"] == found["n"] == 24 and found["layer"] is None and -1 <= found["ccc_arousal"] <= 1
    clips = ser.dimensional(corpora.load("folder", table=table), str(published))
    places = np.genfromtxt(out, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert np.allclose(places["valence"], clips["predicted_valence"])
    assert places["clip"].tolist() == clips["clip"].tolist()
    refusal = call("av", "--manifest", table, "--predict", published, "--trained-on", "emodb", code=2).stderr
    assert "fits nothing" in refusal
