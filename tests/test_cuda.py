"""What a GPU computes is what the processor computes, within the tolerance that each test states.

These run wherever torch sees CUDA, and are skipped elsewhere. A training rounds differently at each of its
steps, so that trainings are compared by their losses, after a few steps.
"""

# ruff: noqa: PD011  (spectrograms have values, too)

import dataclasses

import numpy as np
import pandas as pd
import pytest
import test_training
import torch
from samples import HIFIGAN, MAPPING, NANO, PRETRAINING, VOCODING, speech, write_corpus
from test_axis_hooks import RATE, SPEECH_MODELS, WAVES, axis_of, folders  # noqa: F401
from test_encoders import mean_cosine, relative_error
from test_generate import TINY as GENERATING
from test_generate import some_mels
from test_mapper import made  # noqa: F401
from test_vocoder import SMALL, converted, original

from emolib import encoders, finetune, generate, mapper, ser, vocoder
from emolib.axis import OPERATORS, apply_axes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA here")
GPU = "cuda"
FAMILIES = (*SPEECH_MODELS, "w2v-bert", "whisper", "emotion2vec")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> pd.DataFrame:
    return write_corpus(tmp_path_factory.mktemp("clips"))


def losses(frame: pd.DataFrame, *columns: str) -> np.ndarray:
    return frame[list(columns)].to_numpy(float)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_encoders(folders, family):  # noqa: F811
    """Largest difference of a hidden state, in deviations: 1e-4 in float32; cosine above .999 in bfloat16."""
    there, here = (encoders.load(folders[family], device=device) for device in (GPU, "cpu"))
    assert there.fingerprint == here.fingerprint  # so that one store takes both
    together, alone = there.encode(WAVES, RATE), there.encode(WAVES[1:2], RATE)[0]
    for ours, theirs in zip(together, here.encode(WAVES, RATE), strict=True):
        assert ours.dtype == np.float32 and relative_error(ours, theirs) < 1e-4
    assert relative_error(together[1], alone) < 1e-4
    half = encoders.load(folders[family], device=GPU, precision="bfloat16").encode(WAVES, RATE)
    assert min(mean_cosine(a, b) for a, b in zip(half, together, strict=True)) > 0.999


@pytest.mark.parametrize("operator", OPERATORS)
def test_hooks_along_an_axis(folders, operator):  # noqa: F811
    """Strength 0 changes no bit; elsewhere states differ by 1e-4 deviations at most."""
    for family in ("wav2vec2", "whisper"):
        there, here = (encoders.load(folders[family], device=device) for device in (GPU, "cpu"))
        axis, plain = axis_of(here.width), there.encode(WAVES, RATE)
        with apply_axes(there, {2: (axis, 0.0)}, operator=operator):
            assert all(map(np.array_equal, there.encode(WAVES, RATE), plain))
        moved = []
        for encoder in (there, here):
            with apply_axes(encoder, {2: (axis, 0.7)}, operator=operator):
                moved.append(encoder.encode(WAVES, RATE))
        assert max(map(relative_error, *moved)) < 1e-4 < relative_error(moved[0][0], plain[0])


def test_a_vocoder_network(tmp_path):
    """Samples differ by 1e-4 of full scale at most."""
    mel = np.random.default_rng(0).normal(-4, 1, (40, 80)).astype(np.float32)
    folder = converted(tmp_path, SMALL, original(SMALL).state_dict()).save(tmp_path / "vocoder")
    there, here = (vocoder.load(str(folder), device=device).vocode(mel) for device in (GPU, "cpu"))
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_a_generators_training_and_samples(tmp_path):
    """Losses within 1 %; the same weights give the same clips: 99 % of bins within a tenth of a neper."""
    mels = some_mels()
    homes = {device: tmp_path / device for device in (GPU, "cpu")}
    for device, folder in homes.items():
        generate.train(mels, folder, GENERATING, device=device)
    for name, column in (("losses.csv", "loss"), ("autoencoder.csv", "total")):
        curves = [losses(pd.read_csv(folder / name), column) for folder in homes.values()]
        np.testing.assert_allclose(*curves, rtol=0.01)
    there, here = (generate.Generator.load(homes["cpu"], device=device) for device in homes)
    for sampler in ("dpm++", "ddim", "ddpm"):
        clips = [g.sample(["angry", "sad"], sampler=sampler, steps=20, seed=3) for g in (there, here)]
        apart = np.abs(clips[0].values - clips[1].values)
        assert np.array_equal(clips[0].mask, clips[1].mask) and np.quantile(apart, 0.99) < 0.1
    rebuilt = [g.reconstruct(mels).values for g in (there, here)]
    np.testing.assert_allclose(*rebuilt, atol=0.01)


def test_a_recognisers_training():
    """It computes in bfloat16 there: losses within 5 %, probabilities of training clips within .1."""
    mels, settings = some_mels(), ser.ResNetSettings(widths=(8, 8), steps=30, batch_size=8)
    there, here = (ser.ResNetRecogniser(settings, device=device).fit(mels) for device in (GPU, "cpu"))
    np.testing.assert_allclose(there.losses_, here.losses_, rtol=0.05, atol=0.02)
    np.testing.assert_allclose(there.predict_proba(mels), here.predict_proba(mels), atol=0.1)


def test_a_mappers_training(made, tmp_path):  # noqa: F811
    """Errors on held-out clips within 1 %, in float32."""
    manifest, store, mels = made
    settings, curves = dataclasses.replace(MAPPING, autocast=False), []
    for device in (GPU, "cpu"):
        mapper.train(manifest, store, 1, tmp_path / device, settings, device=device, mels=mels, vocode=None)
        curves.append(losses(pd.read_csv(tmp_path / device / "validation.csv"), "mel_l1"))
    np.testing.assert_allclose(*curves, rtol=0.01)


TRAININGS = {"encoder": (NANO.pretrain, PRETRAINING), "vocoder": (HIFIGAN.train_vocoder, VOCODING)}


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_pretraining(clips, tmp_path, kind):
    """What is measured of held-out clips lies within 2 %, or .02."""
    train, settings = TRAININGS[kind]
    there, here = (train(clips, tmp_path / device, settings, device=device) for device in (GPU, "cpu"))
    found = [done.validation.to_numpy(float) for done in (there, here)]
    np.testing.assert_allclose(*found, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("free", [0, 1, "all"])
def test_fine_tuning(clips, model_folder, tmp_path, monkeypatch, free):
    """Training losses within 2 %, and vectors of what was tuned within 1e-3 deviations on either device."""
    name, curves = str(model_folder(num_hidden_layers=2)), []
    settings = finetune.Settings(n_epochs=3, batch_size=4, crop_s=0.4, bottleneck=8, free_layers=free, seed=1)
    for device in (GPU, "cpu"):
        monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / f"home-{device}"))
        done = finetune.finetune(clips, tmp_path / device, settings, encoder=name, device=device)
        curves.append(losses(done.curve, "loss"))
    np.testing.assert_allclose(*curves, rtol=0.02)
    waves = [speech(0.7, 5), speech(1.2, 6)]
    tuned = [finetune.FineTuned(tmp_path / "cpu", device=d).encode(waves, RATE) for d in (GPU, "cpu")]
    assert max(map(relative_error, *tuned)) < 1e-3


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_training_goes_on(tmp_path, average):
    """Dropout, optimiser and mean of the weights come back: losses within 1e-5 of an undisturbed one's."""
    whole = test_training.run(test_training.made(device=GPU, average=average))
    with pytest.raises(KeyboardInterrupt):
        test_training.run(test_training.made(device=GPU, average=average), tmp_path, stop_at=8)
    resumed = test_training.run(test_training.made(device=GPU, average=average), tmp_path)
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=1e-5)
    for a, b in zip(*(test_training.weights(fit).values() for fit in (resumed, whole)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
