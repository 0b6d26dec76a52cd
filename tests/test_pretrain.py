"""Pretraining an encoder and a vocoder: targets that mean what they say, segments, results, refusals.

What a kill or a bad loss does to a training is in test_training.py and faults/.
"""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from samples import HIFIGAN, NANO, PRETRAINING, VOCODING, refused, speech
from transformers import AutoFeatureExtractor, SpeechT5HifiGan, Wav2Vec2Model

from emolib import audio, encoders, pretrain, vocoder
from emolib.audio import HIFIGAN_MEL
from emolib.training import CHECKPOINT

SR = 16_000
targets, batches = NANO.measures, importlib.import_module(".batches", NANO.__package__)
TINY = dataclasses.replace(PRETRAINING, steps=6, validate_every=2, checkpoint_every=2)
TRAININGS = {"encoder": (NANO.pretrain, TINY), "vocoder": (HIFIGAN.train_vocoder, VOCODING)}


def voice(f0_hz: float, seconds: float = 0.8, seed: int = 0) -> audio.Wave:
    """Harmonics with a slow rise and fall, in a little noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * SR)) / SR
    tone = sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 12))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s)
    return (0.1 * syllables * tone + 0.001 * rng.standard_normal(len(time_s))).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> pd.DataFrame:
    """Eight clips of two voices, with labels that must not matter."""
    folder, rows = tmp_path_factory.mktemp("clips"), []
    for n in range(8):
        speaker = "low" if n < 4 else "high"
        wave = voice((110 if speaker == "low" else 220) * (1 + 0.05 * (n % 4)), 0.7 + 0.05 * n, n)
        path = audio.write(folder / f"{n}.wav", wave, SR)
        rows.append({"path": str(path), "corpus": "toy", "speaker": speaker, "emotion": "happy"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def loaded(manifest) -> pretrain.Speech:
    return pretrain.load_speech(manifest, SR)


@pytest.fixture(scope="module")
def made(loaded) -> targets.Targets:
    return NANO.measure(loaded, TINY)


def train(kind: str, manifest: pd.DataFrame, out: Path, **changes: object) -> pretrain.Pretraining:
    function, settings = TRAININGS[kind]
    return function(manifest, out, dataclasses.replace(settings, **changes), device="cpu", progress=False)


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory) -> dict[str, pretrain.Pretraining]:
    return {kind: train(kind, manifest, tmp_path_factory.mktemp(kind)) for kind in TRAININGS}


# ------------------------------------------------------------------------------------- measures, targets


def test_frames_measure_pitch_and_align_with_the_encoder():
    wave, hnr = voice(150.0), targets.VOICE.index("hnr_db")
    noise = 0.1 * np.random.default_rng(0).standard_normal(SR).astype(np.float32)
    frames = targets.analyse(wave)
    assert len(frames.f0_hz) == (len(wave) - 400) // 320 + 1 and frames.voiced.mean() > 0.8
    assert np.median(frames.f0_hz[frames.voiced]) == pytest.approx(150, rel=0.02)
    assert frames.voice[:, hnr].mean() > targets.analyse(noise).voice[:, hnr].mean() + 5


def test_functionals_follow_level_and_pitch():
    waves = voice(150.0), 2 * voice(150.0), voice(300.0)
    plain, louder, higher = (targets.functionals(targets.analyse(wave)) for wave in waves)
    assert plain.shape == (91,) and np.isfinite([plain, louder, higher]).all()
    level = 37 + 11 + 8  # twice the amplitude moves the level by 6 dB, and of the rest nothing
    assert louder[level] - plain[level] == pytest.approx(6.02, abs=0.01)
    np.testing.assert_allclose(np.delete(louder - plain, level), 0, atol=0.02)
    assert higher[37] - plain[37] == pytest.approx(12, abs=0.5)  # an octave


def test_targets_are_relative_to_the_speaker_and_survive_a_file(made, tmp_path):
    expression = made.expression[:, :91]  # the relative half
    assert max(np.abs(expression[:4].mean(0)).max(), np.abs(expression[4:].mean(0)).max()) < 0.5
    # the same steps of pitch around two habits an octave apart are the same targets
    spans = zip(made.starts, made.starts[1:], strict=False)
    pitch = [np.median(made.acoustics[a:b, 0][made.known[a:b, 0]]) for a, b in spans]
    np.testing.assert_allclose(pitch[:4], pitch[4:], atol=0.1)
    assert made.units.max() < TINY.n_units
    made.save(tmp_path / "targets.safetensors", "abc")
    identity, back = targets.Targets.load(tmp_path / "targets.safetensors")
    assert identity == "abc" and all(np.array_equal(a, b) for a, b in zip(made, back, strict=True))


# ------------------------------------------------------------------------------------- batches


def test_a_speed_moves_crops_and_targets_together(loaded, made):
    drawn = batches.Batches(loaded, made, np.arange(8), TINY)
    for speed in (0.9, 1.0, 1.1):
        wave, frames = drawn._cut(1, 640, 640 + round(0.5 * SR * speed), speed)
        assert len(wave) == pytest.approx(0.5 * SR, abs=2)
        assert len(frames) == targets.n_frames(len(wave))
        centre = 640 + speed * ((len(frames) - 1) * 320 + 200)
        assert frames[-1] - made.starts[1] == pytest.approx((centre - 200) / 320, abs=0.51)
    first, second = drawn.training(3), drawn.training(3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.waves, drawn.training(4).waves)


def test_perturbation_is_seeded_bounded_and_off_at_zero():
    waves = torch.randn(6, 8_000)

    def perturbed(strength: float, seed: int) -> torch.Tensor:
        return batches.perturb(waves, strength, torch.Generator().manual_seed(seed))

    assert torch.equal(perturbed(1.0, 1), perturbed(1.0, 1)) and torch.isfinite(perturbed(1.0, 2)).all()
    unit = waves / waves.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(perturbed(0.0, 1), unit, atol=1e-4, rtol=1e-4)
    assert (perturbed(1.0, 1) - unit).square().mean() > 0.1


def test_segments_of_the_vocoder_are_pieces_with_their_own_frames_at_spread_levels(loaded):
    waves_22k = [np.repeat(wave, 2) for wave in loaded.waves]
    speech_22k = pretrain.Speech(waves_22k, 2 * loaded.spans, loaded.speakers, 22_050, [])
    settings = dataclasses.replace(VOCODING, batch_size=16)
    waves, again, other = (HIFIGAN.draw(speech_22k, np.arange(8), settings, step) for step in (3, 3, 4))
    assert HIFIGAN.log_mel(waves).shape == (16, 24, 80)
    assert torch.equal(waves, again) and not torch.equal(waves, other)
    levels = [audio.rms_dbfs(wave) for wave in waves.numpy()]
    assert -50 < min(levels) < -33 and -27 < max(levels) < -15
    wave = speech(1.0, sample_rate=22_050)
    padded = np.pad(wave, (1024 - 256) // 2, mode="reflect")
    found = HIFIGAN.log_mel(torch.from_numpy(padded)[None])[0].numpy()
    np.testing.assert_allclose(found, audio.log_mel(wave, 22_050), atol=1e-4)


def test_a_clip_shorter_than_a_segment_is_followed_by_silence(loaded):
    short = pretrain.Speech([loaded.waves[0][:3_000]], np.array([[0, 3_000]]), ["low"], 22_050, [])
    waves = HIFIGAN.draw(short, np.array([0]), VOCODING, 0)
    assert torch.isfinite(HIFIGAN.log_mel(waves)).all() and waves[:, -1000:].abs().max() == 0


def test_held_out_speakers_are_for_validation_alone(loaded):
    training, validation = HIFIGAN.split(loaded, ["low"], VOCODING)
    assert list(training) == [4, 5, 6, 7] and set(validation) < {0, 1, 2, 3}
    training, validation = HIFIGAN.split(loaded, [], VOCODING)
    assert sorted([*training, *validation]) == list(range(8)) and len(validation) == 2
    refused("held-out speaker 's9' is not in the manifest", HIFIGAN.split, loaded, ["s9"], VOCODING)
    refused("0 clips to train on", HIFIGAN.split, loaded, ["low", "high"], VOCODING)


# ------------------------------------------------------------------------------------- networks, losses


def test_the_first_layer_starts_as_a_spectrogram():
    bank, at_500 = NANO.filter_bank(768, 400), round(96 * (500 - 50) / 950)
    own, far = slice(4 * at_500, 4 * at_500 + 4), slice(4 * 80, 4 * 80 + 4)  # 96 frequencies up to 1 kHz
    phases = np.linspace(0, 2 * np.pi, 8)[:, None]
    tones = np.sin(2 * np.pi * 500 * np.arange(400) / SR + phases).astype(np.float32)
    responses = np.maximum(bank @ tones.T, 0)
    magnitudes = np.sqrt(np.square(responses[own]).sum(axis=0))
    assert (responses[far].max(axis=0) < 0.1 * responses[own].max(axis=0)).all()
    assert bank.shape == (768, 400) and np.ptp(magnitudes) < 0.05 * np.mean(magnitudes)  # whatever the phase


def test_an_untrained_generator_lets_its_input_through():
    torch.manual_seed(0)
    config = HIFIGAN.generator_config(HIFIGAN.VocoderSettings())
    network = HIFIGAN.untrained(config, torch.zeros(80), torch.ones(80))
    with torch.inference_mode():
        waves = network(torch.randn(2, 20, 80))
    assert 0.05 < waves.std() < 0.8 and waves.shape == (2, 20 * 256)


def test_the_vocoders_loss_is_least_for_the_same_wave():
    wave = torch.from_numpy(speech(0.5, sample_rate=22_050))[None]
    noisy = wave + 0.01 * torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))
    waves = wave, -wave, noisy, 0 * wave
    zero, turned, some, more = (float(HIFIGAN.loss_of(given, wave, VOCODING)) for given in waves)
    assert zero == turned == 0 < some < more  # the sign of a wave can't be known


# ------------------------------------------------------------------------------------- the trainings


def test_both_networks_are_ordinary_ones(trained):
    for kind, steps in (("encoder", [2, 4, 6]), ("vocoder", [3, 6])):
        weights = load_file(trained[kind].folder / "model.safetensors").values()
        curve = pd.read_csv(trained[kind].folder / pretrain.CURVE)
        assert {tensor.dtype for tensor in weights} == {torch.float16}
        assert list(curve["step"]) == steps and np.isfinite(curve).all(axis=None)
    folder = trained["encoder"].folder
    Wav2Vec2Model.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert extractor.do_normalize and extractor.sampling_rate == SR
    states = encoders.load(str(folder), device="cpu").encode([voice(120.0)], SR)
    assert states[0].shape == (3, targets.n_frames(len(voice(120.0))), 32)
    folder = trained["vocoder"].folder
    SpeechT5HifiGan.from_pretrained(folder)
    network = vocoder.load(str(folder))
    assert isinstance(network, vocoder.HiFiGAN) and network.refine == 2 and network.spec == HIFIGAN_MEL
    assert network.vocode(audio.log_mel(speech(0.5), SR)).shape == (43 * 256,)
    samples = sorted(path.name for path in (folder / HIFIGAN.SAMPLES).iterdir())
    assert samples == [f"{n}-step-{step:06d}.flac" for n in (0, 1) for step in (3, 6)]


@pytest.mark.parametrize("kind", TRAININGS)
def test_labels_are_never_read_and_more_steps_continue(trained, manifest, tmp_path, kind):
    again = train(kind, manifest[["path", "corpus", "speaker"]], tmp_path)
    expected, found = (load_file(done.folder / CHECKPOINT) for done in (trained[kind], again))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], value) for name, value in found.items())
    more = train(kind, manifest, tmp_path, steps=8)
    assert (again.steps, more.steps) == (6, 8)
    assert list(more.validation["step"]) == [*again.validation["step"], 8]
    refused("was made from other clips, settings", train, kind, manifest, tmp_path, seed=1)
    refused("was made from other clips, settings", train, kind, manifest.iloc[:7], tmp_path)


def test_the_vocoders_loss_falls(manifest, tmp_path):
    done = train("vocoder", manifest, tmp_path, steps=40, validate_every=10)
    assert done.validation["loss"].iloc[-1] < 0.8 * done.validation["loss"].iloc[0]


def test_a_clip_that_pesq_cannot_rate_is_counted_and_ends_nothing(tmp_path):
    rows = []
    for n, seconds in enumerate((0.1, 1.2, 1.0, 1.1)):
        path = audio.write(tmp_path / f"{n}.wav", speech(seconds, seed=n), SR)
        rows.append({"path": str(path), "speaker": "out" if n < 2 else "in"})
    settings, options = dataclasses.replace(VOCODING, steps=1), {"device": "cpu", "progress": False}
    done = HIFIGAN.train_vocoder(pd.DataFrame(rows), tmp_path / "v", settings, hold_out=["out"], **options)
    last = done.validation.iloc[-1]
    assert last["n_pesq"] == 1 and last[["loss", "log_mel_l1", "pesq", "pesq_refined"]].notna().all()


def test_what_can_not_be_trained_is_refused_and_skipped_clips_are_listed(manifest, tmp_path):
    refused("no recipe.py in .*hifigan-micro; expected a checkout", pretrain.recipe, "hifigan-micro")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    short = audio.write(tmp_path / "short.wav", voice(200.0, 0.04), SR)
    unfit = pd.DataFrame({"path": [str(tmp_path / "broken.wav"), str(short)]})
    for kind, rows, changes, message in (
        ("encoder", manifest[:0], {}, "the manifest has no clips"),
        ("encoder", manifest[:1], {}, "1 of 1 clips can be used and at least 2"),
        ("vocoder", unfit, {}, r"0 of 2 clips can be used.*broken\.wav"),
        ("encoder", manifest, {"n_units": 100_000}, r"a vocabulary of 100000 units for .* frames"),
        ("encoder", manifest, {"n_expression_units": 9}, "a vocabulary of 9 units for 8 clips"),
        ("vocoder", manifest, {"rates": (8, 8)}, r"rates \(8, 8\) multiply to 64; expected .* 256"),
    ):
        refused(message, train, kind, rows, tmp_path / "none", **changes)
    rows = pd.concat([manifest[["path"]], unfit], ignore_index=True)
    for kind in TRAININGS:
        done = train(kind, rows, tmp_path / kind, steps=1)
        assert (done.n_clips, done.steps, len(done.skipped)) == (8, 1, 2)
