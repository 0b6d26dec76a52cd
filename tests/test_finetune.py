"""Fine-tuning: a frozen and a free encoder, resumption to the bit, and features that any store holds."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from samples import refused, save_model, speech, write_corpus

from emolib import encoders, features, finetune, metrics
from emolib.encoders import load_model
from emolib.finetune import Cut, FineTuned, Settings, Speech, Tuning
from emolib.training import CHECKPOINT

QUICK = Settings(n_epochs=4, batch_size=4, crop_s=0.4, bottleneck=8, seed=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))


@pytest.fixture
def encoder(model_folder):
    return str(model_folder(num_hidden_layers=2))


def tune(
    clips: pd.DataFrame, out: Path, encoder: str = "logmel", resume: bool = True, **changes: object
) -> finetune.FineTuning:
    settings = dataclasses.replace(QUICK, **changes)
    return finetune.finetune(clips, out, settings, encoder=encoder, resume=resume)


@pytest.mark.parametrize("free", [0, 1, "all"])
def test_only_what_is_free_learns(manifest, encoder, tmp_path, free):
    done = tune(manifest, tmp_path / "out", encoder, free_layers=free, warm_start=False)
    assert len(done.curve) == 4 and done.n_clips == 10 and done.curve["score"].between(0, 1).all()
    assert done.best_epoch in range(1, 5) and len(done.held_out) == 1
    names = encoder, str(tmp_path / "out" / "encoder")
    before, after = (load_model(name)[0].state_dict() for name in names)
    changed = {".".join(name.split(".")[:3]) for name in before if not torch.equal(before[name], after[name])}
    if free == "all":
        assert "feature_extractor.conv_layers.0" in changed
    else:
        assert changed == {0: set(), 1: {"encoder.layers.1"}}[free]


def test_a_stopped_training_ends_as_an_undisturbed_one(manifest, encoder, tmp_path):
    settings = {"free_layers": 1, "patience": 9, "batch_size": 2, "accumulation": 2}
    tune(manifest, tmp_path / "once", encoder, **settings)
    tune(manifest, tmp_path / "twice", encoder, n_epochs=2, **settings)
    assert len(tune(manifest, tmp_path / "twice", encoder, **settings).curve) == 4
    for name in ("model.safetensors", "encoder/model.safetensors", "validation.csv"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    other = {"seed": 2, "n_epochs": 1, **settings}
    refused("other clips, settings or", tune, manifest, tmp_path / "once", encoder, **other)
    assert len(tune(manifest, tmp_path / "once", encoder, resume=False, **other).curve) == 1
    (tmp_path / "once" / CHECKPOINT).write_bytes(b"half")
    refused("is damaged", tune, manifest, tmp_path / "once", encoder, **other)


def test_an_epoch_has_each_clip_once_and_its_last_step_takes_what_is_left(manifest, monkeypatch):
    """Six clips in twos are three batches: a step of two, and one of one; two processes share the clips."""
    settings = dataclasses.replace(QUICK, batch_size=2, accumulation=2)
    tuning = Tuning(Speech(manifest, "logmel", settings, "cpu"), settings, "cpu")
    steps = tuning._steps(0)
    assert [len(step) for step in steps] == [2, 1] and tuning.per_epoch == 2
    assert sorted(np.concatenate([rows for step in steps for rows in step])) == sorted(tuning.rows["train"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        shares.append({row for step in tuning._steps(0) for rows in step for row in rows})
    assert not shares[0] & shares[1] and len(shares[0]) == len(shares[1]) == 3


def test_the_quoted_score_is_of_speakers_who_chose_nothing(manifest, tmp_path):
    settings = {"tested": 0.3, "n_epochs": 6}
    done = tune(manifest, tmp_path / "out", **settings)
    assert len(done.tested) == len(done.held_out) == 1 and done.tested != done.held_out
    own = manifest[manifest["speaker"].isin(done.tested)]
    answers = finetune.infer(tmp_path / "out", own, url=tmp_path / "features").answers
    assert done.score == metrics.unweighted_accuracy(own["emotion"], answers["predicted"])
    # what they say decides nothing: with their labels exchanged, weights and curve stay
    swapped = own["emotion"].map({"calm": "angry", "angry": "calm"})
    exchanged = manifest.assign(emotion=swapped.reindex(manifest.index).fillna(manifest["emotion"]))
    rows = {"plain": manifest, "other": exchanged}
    plain, other = (tune(rows[name], tmp_path / name, class_weights=False, **settings) for name in rows)
    pd.testing.assert_frame_equal(other.curve, plain.curve)
    assert other.score == pytest.approx(1 - plain.score)
    assert np.isnan(tune(manifest, tmp_path / "none").score)
    two = manifest[manifest["speaker"] != "03"]
    refused("at least 3", tune, two, tmp_path / "few", **settings)


@pytest.mark.parametrize("free", [0, "all"])
def test_other_weights_under_the_encoders_name_are_refused(manifest, tmp_path, free):
    settings = {"free_layers": free, "warm_start": False, "n_epochs": 1}
    encoder = str(save_model(tmp_path / "encoder", num_hidden_layers=1))
    tune(manifest, tmp_path / "out", encoder, **settings)
    save_model(tmp_path / "encoder", seed=1, num_hidden_layers=1)
    refused("encoder weights|other weights", tune, manifest, tmp_path / "out", encoder, **settings)
    save_model(tmp_path / "out" / "encoder", seed=2, num_hidden_layers=1)
    refused("not the one that its head was trained with", FineTuned, tmp_path / "out")


def test_its_pooled_frames_are_what_it_answers_from(manifest, encoder, tmp_path):
    tune(manifest, tmp_path / "out", encoder)
    tuned, found = FineTuned(tmp_path / "out"), finetune.infer(tmp_path / "out", manifest)
    (frames,) = tuned.encode([speech(0.5)], 16_000)
    assert frames.shape[0] == 1 and frames.shape[2] == tuned.width == 8 and frames.dtype == np.float32
    clips = manifest["clip"].tolist()
    assert found.path.parent.name == "finetuned-out" and found.answers["clip"].tolist() == clips
    np.testing.assert_allclose(found.answers[tuned.classes].sum(axis=1), 1, atol=1e-5)
    assert (found.answers["predicted"] == found.answers[tuned.classes].idxmax(axis=1)).all()
    # pooling first and reducing first are the same: all of it is linear
    store = features.extract(manifest, encoder).store
    states = np.stack([store.pooled(k, "mean", clips) for k in store.config.layers], axis=1)
    with torch.inference_mode():
        reduced = tuned.head.features(torch.from_numpy(states)).numpy()
    np.testing.assert_allclose(found.store.pooled(0, "mean", clips), reduced, atol=2e-4)


def test_training_states_equal_the_frozen_encoders(encoder):
    """At any mixture of lengths: nothing is padded, which a group norm over time would see."""
    model, _, normalise = load_model(encoder)
    waves = [speech(0.5), speech(0.3, seed=1), speech(0.5, seed=2)]
    frozen = encoders.load(encoder).encode(waves, 16_000)
    with torch.no_grad():
        whole = finetune.states_of(model.eval(), waves, normalise)
    np.testing.assert_allclose(whole, np.stack([state.mean(axis=1) for state in frozen]), atol=1e-3)
    frames = [torch.from_numpy(states[1]) for states in frozen]
    below = torch.stack([torch.from_numpy(states[:1].mean(axis=1)) for states in frozen])
    lengths = torch.tensor([len(part) for part in frames])
    cut = Cut(below, torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)
    for half, tolerance in ((False, 1e-3), (True, 0.05)):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            resumed = finetune.states_of(model, cut, normalise)
        assert resumed.shape == whole.shape and resumed.dtype == torch.float32
        np.testing.assert_allclose(resumed, whole, atol=tolerance)


def test_free_blocks_continue_from_stored_frames_where_they_can(manifest, encoder, model_folder):
    """WavLM's can't: its blocks hand on a bias of positions that the first one makes."""
    wavlm = str(model_folder("wavlm", num_hidden_layers=2))
    for name, free, stored in ((encoder, 1, 10), (encoder, "all", 0), (wavlm, 1, 0)):
        clips = Speech(manifest, name, dataclasses.replace(QUICK, free_layers=free), "cpu")
        assert (len(clips.frames), len(clips.waves)) == (stored, 10 - stored)


def test_trainings_of_differing_precision_can_follow_each_other(manifest, encoder, tmp_path):
    for name, precision in (("a", "no"), ("b", "bf16"), ("c", "no")):
        tune(manifest, tmp_path / name, encoder, free_layers=1, n_epochs=1, precision=precision)
    heads = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ac"]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("free", [1, "all"])
def test_a_warm_start_is_the_frozen_head_and_is_kept_unless_beaten(manifest, encoder, tmp_path, free):
    """With rates of next to nothing, no epoch can be better than the start."""
    whole = {"n_epochs": Settings.n_epochs, "patience": Settings.patience}
    still = {"free_layers": free, "n_epochs": 1, "head_rate": 1e-12, "encoder_rate": 1e-12}
    first, done = (tune(manifest, tmp_path / str(len(s)), encoder, **s) for s in (whole, still))
    assert done.best_epoch == 0 and done.curve["score"].max() <= first.curve["score"].max()
    heads = [FineTuned(one.folder).head.state_dict() for one in (first, done)]
    assert all(torch.equal(heads[0][name], value) for name, value in heads[1].items())


def test_ratings_are_learned_with_a_ccc_loss(manifest, tmp_path):
    loud = (manifest["emotion"] == "angry").to_numpy(float)
    rated = manifest.assign(arousal=loud - 0.5, valence=0.5 - loud)
    assert tune(rated, tmp_path / "out", target="ratings", n_epochs=3).curve["score"].between(-1, 1).all()
    assert list(finetune.infer(tmp_path / "out", rated).answers.columns) == ["clip", "valence", "arousal"]
    a, b = torch.randn(50, 2), torch.randn(50, 2)
    loss = 1 - np.mean([metrics.ccc(a[:, i].numpy(), b[:, i].numpy()) for i in range(2)])
    assert float(finetune.ccc_loss(a, b)) == pytest.approx(loss, abs=1e-5)


def test_what_cannot_be_trained_is_refused(manifest, encoder, tmp_path):
    same = {name: manifest.assign(**{name: "calm"}) for name in ("emotion", "speaker")}
    for message, clips, changes in (
        ("free_layers=-1", manifest, {"free_layers": -1}),
        ("held_out=1.0", manifest, {"held_out": 1.0}),
        ("tested=1.0", manifest, {"tested": 1.0}),
        ("batch_size=0", manifest, {"batch_size": 0}),
        ("unknown target", manifest, {"target": "mood"}),
        ("unknown precision", manifest, {"precision": "int8"}),
        ("has 2", manifest, {"free_layers": 9}),
        ("no clip has valence", manifest, {"target": "ratings"}),
        ("1 emotion", same["emotion"], {}),
        ("1 speaker", same["speaker"], {}),
    ):
        refused(message, tune, clips, tmp_path, encoder, **changes)
    refused("nothing that learns", tune, manifest, tmp_path, free_layers=1)


def test_a_folder_of_files_needs_no_table(tmp_path):
    write_corpus(tmp_path / "sound", 3)
    (tmp_path / "sound" / "broken.wav").write_bytes(b"RIFF")
    found = finetune.files_manifest(tmp_path / "sound")
    assert found["clip"].tolist() == ["clip-000.wav", "clip-001.wav", "clip-002.wav"]
    assert len(found.attrs["skipped"]) == 1
    (tmp_path / "empty").mkdir()
    refused("no usable sound", finetune.files_manifest, tmp_path / "empty")
