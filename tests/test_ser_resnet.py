"""The ResNet hears speech and no padding, learns from training clips alone, and can be kept."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emolib import ser

SMALL = ser.ResNetSettings(widths=(4, 8, 8), steps=40, batch_size=16, crop=32, rate=1e-2, dropout=0.0)


def clips(
    n_each: int = 12, seed: int = 0, n_frames: int = 48, classes: tuple[str, ...] = ("angry", "sad", "happy")
):
    """Return spectrograms of 32 bands in which each class has a band of its own; padding on both sides."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(classes, n_each)
    values = rng.normal(-5, 1, (len(labels), 32, n_frames)).astype(np.float32)
    mask = np.zeros((len(labels), n_frames), bool)
    for i, label in enumerate(labels):
        values[i, 4 + 8 * classes.index(label)] += 4
        start = rng.integers(0, n_frames // 4)
        mask[i, start : start + rng.integers(n_frames // 2, 3 * n_frames // 4)] = True
    return of(np.where(mask[:, None], values, np.float32(-23)), mask, labels)


def of(values, mask, labels) -> SimpleNamespace:
    return SimpleNamespace(values=values, mask=mask, labels=labels)


@pytest.fixture(scope="module")
def fitted() -> ser.ResNetRecogniser:
    return ser.ResNetRecogniser(SMALL).fit(clips())


def test_clips_never_heard_are_recognised(fitted):
    heard = clips(seed=1)
    chances = fitted.predict_proba(heard)
    assert chances.shape == (36, 3) and np.allclose(chances.sum(1), 1) and (chances >= 0).all()
    assert fitted.classes_.tolist() == ["angry", "happy", "sad"]
    assert (fitted.predict(heard) == heard.labels).mean() > 0.9
    shuffled = replace_labels(clips(), np.random.default_rng(0).permutation(clips().labels))
    wrong = ser.ResNetRecogniser(SMALL).fit(shuffled)
    assert (wrong.predict(heard) == heard.labels).mean() < 0.7


def replace_labels(mels, labels) -> SimpleNamespace:
    return of(mels.values, mels.mask, labels)


def test_features_are_what_the_answer_is_read_off(fitted):
    features = fitted.features(clips(seed=1))
    assert features.shape == (36, 16) and np.isfinite(features).all()
    assert not np.allclose(features[0], features[-1])


def test_padding_is_not_heard(fitted):
    heard = clips(4, seed=2)
    values = np.pad(heard.values, ((0, 0), (0, 0), (17, 40)), constant_values=99)
    longer = of(values, np.pad(heard.mask, ((0, 0), (17, 40))), heard.labels)
    assert np.allclose(fitted.predict_proba(longer), fitted.predict_proba(heard), atol=1e-6)
    louder = of(np.where(heard.mask[:, None], heard.values, np.nan), heard.mask, heard.labels)
    assert np.allclose(fitted.predict_proba(louder), fitted.predict_proba(heard), atol=1e-6)


def test_a_clip_is_judged_alike_alone_and_beside_longer_ones(fitted):
    heard = clips(4, seed=3)
    together = fitted.predict_proba(heard)
    alone = [
        fitted.predict_proba(of(heard.values[i : i + 1], heard.mask[i : i + 1], heard.labels[:1]))[0]
        for i in range(12)
    ]
    assert np.allclose(alone, together, atol=1e-5), "up to the rounding of float32"


def test_normalisation_is_that_of_training_speech(fitted):
    speech = np.concatenate(
        [value[:, mask] for value, mask in zip(clips().values, clips().mask, strict=True)], axis=1
    )
    assert np.allclose(fitted.mean_, speech.mean(1), atol=1e-4)
    assert np.allclose(fitted.scale_, speech.std(1), atol=1e-4)
    before = fitted.mean_.copy()
    fitted.predict_proba(clips(seed=9))
    assert np.array_equal(fitted.mean_, before)


def test_recognisers_of_other_clips_can_share_a_normaliser(fitted):
    other = ser.ResNetRecogniser(replace(SMALL, steps=1)).fit(clips(seed=7), normalised_by=clips())
    assert np.array_equal(other.mean_, fitted.mean_) and np.array_equal(other.scale_, fitted.scale_)


def test_a_seed_gives_one_recogniser_and_leaves_torch_as_it_was(fitted):
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    again = ser.ResNetRecogniser(SMALL).fit(clips())
    assert torch.rand(1) == wanted
    assert np.array_equal(again.predict_proba(clips(seed=1)), fitted.predict_proba(clips(seed=1)))
    other = ser.ResNetRecogniser(replace(SMALL, seed=1)).fit(clips())
    assert not np.allclose(other.predict_proba(clips(seed=1)), fitted.predict_proba(clips(seed=1)))


@pytest.mark.parametrize("n_each", [1, 30])
def test_more_clips_are_no_more_steps(n_each):
    done = ser.ResNetRecogniser(replace(SMALL, steps=5)).fit(clips(n_each))
    assert len(done.losses_) == 5


def test_every_class_is_drawn_alike():
    mels, settings = clips(), replace(SMALL, batch_size=18)
    rare = np.r_[0:12, 12:14, 24:27]
    few = of(mels.values[rare], mels.mask[rare], mels.labels[rare])
    recogniser = ser.ResNetRecogniser(replace(settings, steps=1)).fit(few)
    codes = np.unique(few.labels, return_inverse=True)[1]
    _, _, targets = recogniser._batch(recogniser._pack(few), codes, np.random.default_rng(0))
    assert targets.sum(0).tolist() == [6, 6, 6]


@pytest.mark.parametrize(
    "more", [{"spec_augment": True}, {"mixup": 0.3}, {"spec_augment": True, "mixup": 0.3}]
)
def test_classical_augmentation_changes_training_alone(more, fitted):
    done = ser.ResNetRecogniser(replace(SMALL, steps=80, **more)).fit(clips())
    assert (done.predict(clips(seed=1)) == clips(seed=1).labels).mean() > 0.55, "chance is 0.33"
    assert not np.allclose(done.losses_[:40], fitted.losses_)


def test_stripes_of_bands_and_frames_are_hidden():
    batch = np.ones((200, 20, 30), np.float32)
    hidden = ser.spec_augment(batch, np.random.default_rng(0), n_masks=1, max_bands=6, max_frames=9) == 0
    bands, frames = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert bands.max() == 6 and frames.max() == 9 and bands.min() == frames.min() == 0
    whole = hidden.all(2)[:, :, None] | hidden.all(1)[:, None]
    assert np.array_equal(hidden, whole), "nothing but stripes"
    edges = np.abs(np.diff(np.pad(hidden.all(2), ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
    assert set(edges) == {0, 2}, "of one piece"
    assert (batch == 1).all()


def test_mixed_clips_have_mixed_targets():
    values = np.repeat(np.arange(4, dtype=np.float32)[:, None, None], 6, axis=2)
    mixed, targets = ser.mixup(values, np.eye(4, dtype=np.float32), np.random.default_rng(0), alpha=1.0)
    assert np.allclose(targets.sum(1), 1)
    assert np.allclose(targets @ np.arange(4), mixed[:, 0, 0], atol=1e-6)
    with pytest.raises(ValueError, match="above 0"):
        ser.mixup(values, np.eye(4, dtype=np.float32), np.random.default_rng(0), alpha=0.0)


def test_kept_and_loaded_it_answers_the_same(fitted, tmp_path):
    folder = fitted.save(tmp_path / "resnet")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    again = ser.ResNetRecogniser.load(folder)
    assert again.settings == fitted.settings
    assert np.array_equal(again.predict_proba(clips(seed=1)), fitted.predict_proba(clips(seed=1)))
    assert np.array_equal(again.features(clips(seed=1)), fitted.features(clips(seed=1)))


def test_a_folder_without_a_recogniser_is_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match="holds no recogniser"):
        ser.ResNetRecogniser.load(tmp_path)
    folder = fitted.save(tmp_path / "resnet")
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["widths"] = [4, 8, 12]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="holds no recogniser"):
        ser.ResNetRecogniser.load(folder)


def test_a_warm_start_goes_on_from_what_was_learned(fitted):
    few = clips(2, seed=5)
    done = fitted.warm_start(
        of(few.values[:4], few.mask[:4], few.labels[:4]), replace(SMALL, steps=1, rate=1e-6)
    )
    assert np.array_equal(done.mean_, fitted.mean_) and done.classes_.tolist() == fitted.classes_.tolist()
    assert (done.predict(clips(seed=1)) == clips(seed=1).labels).mean() > 0.8
    with pytest.raises(ValueError, match="labels bored"):
        fitted.warm_start(replace_labels(few, np.full(6, "bored")), SMALL)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: of(m.values[:, 0], m.mask, m.labels), "expected .N, M, T."),
        (lambda m: of(m.values, m.mask[:, 1:], m.labels), "expected .N, M, T."),
        (lambda m: of(m.values, m.mask, m.labels[1:]), "35 labels for 36 clips"),
        (lambda m: of(m.values + np.nan, m.mask, m.labels), "NaN or infinity"),
        (lambda m: of(m.values, m.mask & (np.arange(36) > 1)[:, None], m.labels), "2 clips have no frame"),
        (lambda m: of(m.values[:12], m.mask[:12], m.labels[:12]), "one class, 'angry'"),
        (lambda m: of(m.values[:0], m.mask[:0], m.labels[:0]), "N at least 1"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ser.ResNetRecogniser(SMALL).fit(change(clips()))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"crop": 0}, {"widths": (8,)}, {"rate": 0.0}, {"mixup": -1.0}, {"dropout": 1.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        ser.ResNetRecogniser(replace(SMALL, **wrong))


def test_what_cannot_be_heard_is_refused(fitted):
    heard = clips(2)
    with pytest.raises(ValueError, match="isn't fitted"):
        ser.ResNetRecogniser(SMALL).predict(heard)
    with pytest.raises(ValueError, match="16 bands; this recogniser hears 32"):
        fitted.predict(of(heard.values[:, :16], heard.mask, heard.labels))


def test_a_rate_that_is_too_high_stops_with_a_reason():
    with pytest.raises(ValueError, match="lower rate"):
        ser.ResNetRecogniser(replace(SMALL, rate=1e30)).fit(clips())
