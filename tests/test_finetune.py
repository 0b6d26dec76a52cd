"""Fine-tuning: a frozen and a free encoder, resumption to the bit, and features that any store holds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from samples import save_model, speech, write_corpus

from emolib import encoders, features, finetune, metrics
from emolib.encoders import load_model
from emolib.finetune import FineTuned, Settings, network, trainer
from emolib.finetune.speech import Speech

QUICK = Settings(n_epochs=4, batch_size=4, crop_s=0.4, bottleneck=8, seed=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))


@pytest.fixture
def encoder(model_folder):
    return str(model_folder(num_hidden_layers=2))


@pytest.mark.parametrize("free", [0, 1, "all"])
def test_only_what_is_free_learns(manifest, encoder, tmp_path, free):
    settings = dataclasses.replace(QUICK, free_layers=free, warm_start=False)
    done = finetune.finetune(manifest, tmp_path / "out", settings, encoder=encoder)
    assert len(done.curve) == 4 and done.n_clips == 10 and done.curve["score"].between(0, 1).all()
    assert done.best_epoch in range(1, 5) and len(done.held_out) == 1
    before, after = load_model(encoder)[0], load_model(str(tmp_path / "out" / "encoder"))[0]
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    changed = {name for (name, a), b in pairs if not torch.equal(a, b)}
    if free == 0:
        assert not changed
    elif free == 1:
        assert changed and all(name.startswith("encoder.layers.1.") for name in changed)
    else:
        assert any(name.startswith("feature_extractor") for name in changed)


@pytest.mark.parametrize("changes", [{}, {"batch_size": 2, "accumulation": 2}, {"precision": "fp16"}])
def test_a_killed_training_ends_as_an_undisturbed_one(manifest, encoder, tmp_path, changes):
    settings = dataclasses.replace(QUICK, free_layers=1, patience=9, **changes)
    finetune.finetune(manifest, tmp_path / "once", settings, encoder=encoder)
    half = dataclasses.replace(settings, n_epochs=2)
    finetune.finetune(manifest, tmp_path / "twice", half, encoder=encoder)
    done = finetune.finetune(manifest, tmp_path / "twice", settings, encoder=encoder)
    assert len(done.curve) == 4
    for name in ("model.safetensors", "encoder/model.safetensors", "validation.csv"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_scale_of_half_precision_is_kept(manifest, tmp_path):
    """On a processor there is none: it is put in."""
    settings = dataclasses.replace(QUICK, precision="fp16")
    trainers = []
    for scale in (8.0, 2.0):
        speech = Speech(manifest, "logmel", settings, "cpu")
        trainers.append(trainer.Trainer(speech, settings, "cpu", "same"))
        trainers[-1].accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainers[0].checkpoint().write(tmp_path / "checkpoint")
    trainers[1].restore(tmp_path / "checkpoint")
    assert trainers[1].accelerator.scaler.get_scale() == 8.0


def test_batches_that_are_left_at_an_epochs_end_make_a_step_of_their_own(manifest, tmp_path, monkeypatch):
    """Six clips in twos are three batches: a step of two, and one of one."""
    sizes, step = [], trainer.Trainer._step
    monkeypatch.setattr(trainer.Trainer, "_step", lambda *a: sizes.append(len(a[1])) or step(*a))
    settings = dataclasses.replace(QUICK, batch_size=2, accumulation=2, n_epochs=2)
    finetune.finetune(manifest, tmp_path / "out", settings, encoder="logmel")
    assert sizes == [2, 1] * 2


def test_accumulated_batches_weigh_as_one(manifest, tmp_path):
    """Without dropout and class weights, two batches of three are one of six."""
    even = manifest.iloc[[0, 1, 3, 4, 6, 7, 2, 5]].reset_index(drop=True)
    heads = []
    for n, (batch_size, accumulation) in enumerate(((6, 1), (3, 2))):
        settings = dataclasses.replace(
            QUICK, batch_size=batch_size, accumulation=accumulation, n_epochs=2, dropout=0.0,
            class_weights=False, seed=next(s for s in range(9) if drawn_last(even, s) == "03"),
        )  # fmt: skip
        finetune.finetune(even, tmp_path / str(n), settings, encoder="logmel")
        heads.append(FineTuned(tmp_path / str(n)).head.state_dict())
    for name, value in heads[0].items():
        torch.testing.assert_close(heads[1][name], value, atol=1e-4, rtol=1e-3)


def drawn_last(manifest: pd.DataFrame, seed: int) -> str:
    """Return the speaker whom a seed holds out."""
    return str(np.random.default_rng(seed).permutation(np.unique(manifest["speaker"].astype(str)))[0])


def test_the_quoted_score_is_of_speakers_who_chose_nothing(manifest, tmp_path):
    settings = dataclasses.replace(QUICK, tested=0.3, n_epochs=6)
    done = finetune.finetune(manifest, tmp_path / "out", settings, encoder="logmel")
    assert len(done.tested) == len(done.held_out) == 1 and done.tested != done.held_out
    own = manifest[manifest["speaker"].isin(done.tested)]
    answers = finetune.infer(tmp_path / "out", own, url=tmp_path / "features").answers
    assert done.score == metrics.unweighted_accuracy(
        own["emotion"].to_numpy(), answers["predicted"].to_numpy()
    )
    # what they say decides nothing: with their labels exchanged, weights and curve stay
    swapped = own["emotion"].map({"calm": "angry", "angry": "calm"})
    other = finetune.finetune(
        manifest.assign(emotion=swapped.reindex(manifest.index).fillna(manifest["emotion"])),
        tmp_path / "other", dataclasses.replace(settings, class_weights=False), encoder="logmel",
    )  # fmt: skip
    plain = finetune.finetune(
        manifest, tmp_path / "plain", dataclasses.replace(settings, class_weights=False), encoder="logmel"
    )
    pd.testing.assert_frame_equal(other.curve, plain.curve)
    assert other.score == pytest.approx(1 - plain.score)
    assert np.isnan(finetune.finetune(manifest, tmp_path / "none", QUICK, encoder="logmel").score)
    with pytest.raises(ValueError, match="at least 3"):
        finetune.finetune(manifest[manifest["speaker"] != "03"], tmp_path / "few", settings, encoder="logmel")


@pytest.mark.parametrize("free", [0, "all"])
def test_other_weights_under_the_encoders_name_are_refused(manifest, tmp_path, free):
    settings = dataclasses.replace(QUICK, free_layers=free, warm_start=False, n_epochs=1)
    for seed in (0, 1):
        save_model(tmp_path / "encoder", seed=seed, num_hidden_layers=1)
        if seed:
            with pytest.raises(ValueError, match=r"another encoder|other weights"):
                finetune.finetune(manifest, tmp_path / "out", settings, encoder=str(tmp_path / "encoder"))
        else:
            finetune.finetune(manifest, tmp_path / "out", settings, encoder=str(tmp_path / "encoder"))
    save_model(tmp_path / "out" / "encoder", seed=2, num_hidden_layers=1)
    with pytest.raises(ValueError, match="not the one that its head was trained with"):
        FineTuned(tmp_path / "out")


def test_a_checkpoint_of_something_else_is_refused(manifest, encoder, tmp_path):
    finetune.finetune(manifest, tmp_path, QUICK, encoder=encoder)
    with pytest.raises(ValueError, match="other settings"):
        finetune.finetune(manifest, tmp_path, dataclasses.replace(QUICK, seed=2), encoder=encoder)
    other = dataclasses.replace(QUICK, seed=2)
    assert len(finetune.finetune(manifest, tmp_path, other, encoder=encoder, resume=False).curve) == 4
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        finetune.finetune(manifest, tmp_path, other, encoder=encoder)


def test_its_pooled_frames_are_what_it_answers_from(manifest, encoder, tmp_path):
    finetune.finetune(manifest, tmp_path / "out", QUICK, encoder=encoder)
    tuned = FineTuned(tmp_path / "out")
    (frames,) = tuned.encode([speech(0.5)], 16_000)
    assert frames.shape[0] == 1 and frames.shape[2] == tuned.width == 8 and frames.dtype == np.float32
    found = finetune.infer(tmp_path / "out", manifest)
    clips = manifest["clip"].tolist()
    assert found.path.parent.name == "finetuned-out" and found.answers["clip"].tolist() == clips
    np.testing.assert_allclose(found.answers[tuned.classes].sum(axis=1), 1, atol=1e-5)
    best = found.answers[tuned.classes].to_numpy().argmax(axis=1)
    assert found.answers["predicted"].tolist() == [tuned.classes[i] for i in best]
    # pooling first and squeezing first are the same: all of it is linear
    store = features.extract(manifest, encoder).store
    states = np.stack([store.pooled(k, "mean", clips) for k in store.config.layers], axis=1)
    with torch.inference_mode():
        squeezed = tuned.head.features(torch.from_numpy(states)).numpy()
    np.testing.assert_allclose(found.store.pooled(0, "mean", clips), squeezed, atol=2e-4)


def test_training_states_equal_the_frozen_encoders(encoder):
    """At any mixture of lengths: nothing is padded, which a group norm over time would see."""
    model, _, normalise = load_model(encoder)
    waves = [speech(0.5), speech(0.3, seed=1), speech(0.5, seed=2)]
    with torch.no_grad():
        ours = network.pooled_states(model.eval(), waves, normalise).numpy()
    theirs = np.stack([state.mean(axis=1) for state in encoders.load(encoder).encode(waves, 16_000)])
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_resumed_at_the_free_blocks_equal_those_of_the_waves(encoder, dtype):
    model, _, normalise = load_model(encoder)
    waves = [speech(0.5), speech(0.4, seed=2)]
    frozen = encoders.load(encoder).encode(waves, 16_000)
    frames = [torch.from_numpy(states[1]) for states in frozen]
    below = torch.stack([torch.from_numpy(states[:1].mean(axis=1)) for states in frozen])
    lengths = torch.tensor([len(part) for part in frames])
    cut = network.Cut(below, torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        resumed = network.states_of(model.eval(), cut, normalise)
    with torch.no_grad():
        whole = network.states_of(model, waves, normalise)
    assert resumed.shape == whole.shape and resumed.dtype == torch.float32
    np.testing.assert_allclose(resumed, whole, atol=1e-3 if dtype == torch.float32 else 0.05)


def test_trainings_of_differing_precision_can_follow_each_other(manifest, encoder, tmp_path):
    for name, precision in (("a", "no"), ("b", "bf16"), ("c", "no")):
        settings = dataclasses.replace(QUICK, free_layers=1, n_epochs=1, precision=precision)
        finetune.finetune(manifest, tmp_path / name, settings, encoder=encoder)
    heads = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ac"]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("free", [1, "all"])
def test_a_warm_start_is_the_frozen_head_and_is_kept_unless_beaten(manifest, encoder, tmp_path, free):
    """With rates of next to nothing, no epoch can be better than the start."""
    frozen = dataclasses.replace(QUICK, n_epochs=Settings.n_epochs, patience=Settings.patience)
    first = finetune.finetune(manifest, tmp_path / "frozen", frozen, encoder=encoder)
    still = dataclasses.replace(QUICK, free_layers=free, n_epochs=1, head_rate=1e-12, encoder_rate=1e-12)
    done = finetune.finetune(manifest, tmp_path / "warm", still, encoder=encoder)
    assert done.best_epoch == 0 and done.curve["score"].max() <= first.curve["score"].max()
    heads = [FineTuned(tmp_path / name).head.state_dict() for name in ("frozen", "warm")]
    assert all(torch.equal(heads[0][name], value) for name, value in heads[1].items())
    cold = dataclasses.replace(still, warm_start=False)
    assert finetune.finetune(manifest, tmp_path / "cold", cold, encoder=encoder).best_epoch == 1


def test_wavlms_blocks_cannot_go_on_by_themselves(tmp_path, model_folder):
    model = load_model(str(model_folder(num_hidden_layers=2)))[0]
    assert network.can_resume(model, 1) and not network.can_resume(model, "all")
    assert not network.can_resume(model, 0)
    model.config.model_type = "wavlm"
    assert not network.can_resume(model, 1)


def test_ratings_are_learned_with_a_ccc_loss(manifest, tmp_path):
    loud = (manifest["emotion"] == "angry").to_numpy(float)
    rated = manifest.assign(arousal=loud - 0.5, valence=0.5 - loud)
    settings = dataclasses.replace(QUICK, target="ratings", n_epochs=3)
    done = finetune.finetune(rated, tmp_path / "out", settings, encoder="logmel")
    assert done.curve["score"].between(-1, 1).all()
    found = finetune.infer(tmp_path / "out", rated)
    assert list(found.answers.columns) == ["clip", "valence", "arousal"]
    a, b = torch.randn(50, 2), torch.randn(50, 2)
    loss = 1 - np.mean([metrics.ccc(a[:, i].numpy(), b[:, i].numpy()) for i in range(2)])
    assert float(network.ccc_loss(a, b)) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"target": "mood"}, "unknown target"),
        ({"free_layers": -1}, "free_layers=-1"),
        ({"free_layers": 9}, "has 2"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"tested": 1.0}, "tested=1.0"),
        ({"precision": "int8"}, "unknown precision"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"target": "ratings"}, "no clip has valence"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(manifest, encoder, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        finetune.finetune(manifest, tmp_path, dataclasses.replace(QUICK, **change), encoder=encoder)


def test_one_class_or_one_speaker_is_refused(manifest, encoder, tmp_path):
    for column, message in (("emotion", "1 emotion"), ("speaker", "1 speaker")):
        with pytest.raises(ValueError, match=message):
            finetune.finetune(manifest.assign(**{column: "calm"}), tmp_path, QUICK, encoder=encoder)


def test_a_folder_of_files_needs_no_table(tmp_path):
    write_corpus(tmp_path / "sound", 3)
    (tmp_path / "sound" / "broken.wav").write_bytes(b"RIFF")
    found = finetune.files_manifest(tmp_path / "sound")
    assert found["clip"].tolist() == ["clip-000.wav", "clip-001.wav", "clip-002.wav"]
    assert len(found.attrs["skipped"]) == 1 and isinstance(found, pd.DataFrame)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no usable sound"):
        finetune.files_manifest(tmp_path / "empty")
