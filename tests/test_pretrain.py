"""Pretraining: targets that mean what they say, a killed training that loses nothing, refusals."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, Wav2Vec2Model

from emolib import audio, encoders, pretrain
from emolib.pretrain import analysis, batches, filters, perturb, targets, train

SR = 16_000
TINY = pretrain.Settings(
    width=32, n_layers=2, n_heads=2, feed_forward=32, conv_widths=(32, 16), n_units=8, n_expression_units=3,
    unit_layer=1, acoustic_layer=1, expression_layer=2, batch_size=4, crop_s=0.6, steps=6, warmup=2,
    validate_every=2, checkpoint_every=2, validation_share=0.2,
)  # fmt: skip


def voice(f0_hz: float, seconds: float = 0.8, seed: int = 0) -> audio.Wave:
    """Harmonics with a slow rise and fall, in a little noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * SR)) / SR
    tone = sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 12))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s)
    return (0.1 * syllables * tone + 0.001 * rng.standard_normal(len(time_s))).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Eight clips of two voices, with labels that must not matter."""
    folder, rows = tmp_path_factory.mktemp("clips"), []
    for n in range(8):
        speaker = "low" if n < 4 else "high"
        wave = voice((110 if speaker == "low" else 220) * (1 + 0.05 * (n % 4)), 0.7 + 0.05 * n, n)
        path = audio.write(folder / f"{n}.wav", wave, SR)
        rows.append(
            {"path": str(path), "corpus": "toy", "speaker": speaker, "emotion": ["happy", "sad"][n % 2]}
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def trained(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pretrain.Pretraining:
    return pretrain.pretrain(manifest, tmp_path_factory.mktemp("trained"), TINY, device="cpu", progress=False)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / train.CHECKPOINT)


def same_tensors(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_frames_measure_pitch_and_align_with_the_encoder() -> None:
    wave = voice(150.0)
    frames = analysis.analyse(wave)
    assert len(frames.f0_hz) == (len(wave) - 400) // 320 + 1
    assert frames.voiced.mean() > 0.8
    assert np.median(frames.f0_hz[frames.voiced]) == pytest.approx(150, rel=0.02)
    noise = np.random.default_rng(0).standard_normal(SR).astype(np.float32) * 0.1
    hnr = analysis.VOICE.index("hnr_db")
    assert frames.voice[:, hnr].mean() > analysis.analyse(noise).voice[:, hnr].mean() + 5


def test_functionals_follow_level_and_pitch() -> None:
    plain, louder, higher = voice(150.0), 2 * voice(150.0), voice(300.0)
    a, b, c = (analysis.functionals(analysis.analyse(wave)) for wave in (plain, louder, higher))
    assert a.shape == (91,)
    assert np.isfinite([a, b, c]).all()
    # twice the amplitude moves the level by 6 dB, and of the rest nothing
    level = 37 + 11 + 8
    assert b[level] - a[level] == pytest.approx(6.02, abs=0.01)
    np.testing.assert_allclose(np.delete(b - a, level), 0, atol=0.02)
    assert c[37] - a[37] == pytest.approx(12, abs=0.5)  # an octave


def test_targets_are_relative_to_the_speaker(manifest: pd.DataFrame) -> None:
    speech, skipped = batches.load_speech(manifest)
    assert not skipped
    made = batches.measure(speech, TINY)
    expression = made.expression[:, :91]  # the relative half
    assert np.abs(expression[:4].mean(0)).max() < 0.5
    assert np.abs(expression[4:].mean(0)).max() < 0.5
    # the same steps of pitch around two habits an octave apart are the same targets
    pitch = [
        np.median(made.acoustics[a:b, 0][made.known[a:b, 0]])
        for a, b in zip(made.starts, made.starts[1:], strict=False)
    ]
    np.testing.assert_allclose(pitch[:4], pitch[4:], atol=0.1)
    assert made.units.max() < TINY.n_units


def test_labels_are_never_read(manifest: pd.DataFrame, trained: pretrain.Pretraining, tmp_path: Path) -> None:
    blind = manifest[["path", "corpus", "speaker"]]
    again = pretrain.pretrain(blind, tmp_path, TINY, device="cpu", progress=False)
    assert same_tensors(checkpoint(again.folder), checkpoint(trained.folder))


def test_a_speed_moves_crops_and_targets_together(manifest: pd.DataFrame) -> None:
    speech, _ = batches.load_speech(manifest)
    made = batches.measure(speech, TINY)
    drawn = batches.Batches(speech, made, np.arange(8), TINY)
    for speed in (0.9, 1.0, 1.1):
        wave, frames = drawn._cut(1, 640, 640 + round(0.5 * SR * speed), speed)
        assert len(wave) == pytest.approx(0.5 * SR, abs=2)
        assert len(frames) == analysis.n_frames(len(wave))
        centre = 640 + speed * ((len(frames) - 1) * 320 + 200)
        assert frames[-1] - made.starts[1] == pytest.approx((centre - 200) / 320, abs=0.51)
    first, second = drawn.training(3), drawn.training(3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.waves, drawn.training(4).waves)


def test_perturbation_is_seeded_bounded_and_off_at_zero() -> None:
    waves = torch.randn(6, 8_000)

    def heard(strength: float, seed: int) -> torch.Tensor:
        return perturb.perturb(waves, strength, torch.Generator().manual_seed(seed))

    assert torch.equal(heard(1.0, 1), heard(1.0, 1))
    assert torch.isfinite(heard(1.0, 2)).all()
    unit = waves / waves.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(heard(0.0, 1), unit, atol=1e-4, rtol=1e-4)
    assert (heard(1.0, 1) - unit).square().mean() > 0.1


def test_the_first_layer_starts_as_a_spectrogram() -> None:
    bank = filters.filter_bank(768, 400)
    assert bank.shape == (768, 400)
    at_500 = round(96 * (500 - 50) / 950)  # of 96 frequencies from 50 Hz to 1 kHz, in four phases each
    own, far = slice(4 * at_500, 4 * at_500 + 4), slice(4 * 80, 4 * 80 + 4)
    magnitudes = []
    for phase in np.linspace(0, 2 * np.pi, 8):
        tone = np.sin(2 * np.pi * 500 * np.arange(400) / SR + phase).astype(np.float32)
        response = np.maximum(bank @ tone, 0)
        magnitudes.append(np.sqrt(np.square(response[own]).sum()))
        assert response[far].max() < 0.1 * response[own].max()
    assert np.ptp(magnitudes) < 0.05 * np.mean(magnitudes)  # whatever the phase


def test_more_steps_go_on_from_the_end(manifest: pd.DataFrame, tmp_path: Path) -> None:
    def attempt(steps: int) -> pretrain.Pretraining:
        settings = dataclasses.replace(TINY, steps=steps, decay_share=0.0)
        return pretrain.pretrain(manifest, tmp_path / str(steps), settings, device="cpu", progress=False)

    first = attempt(2)
    (tmp_path / "2").rename(tmp_path / "4")
    second = attempt(4)
    assert (first.steps, second.steps) == (2, 4)
    assert list(second.validation["step"]) == [2, 4]


def test_the_result_is_an_ordinary_encoder(trained: pretrain.Pretraining) -> None:
    weights = load_file(trained.folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    Wav2Vec2Model.from_pretrained(trained.folder)
    extractor = AutoFeatureExtractor.from_pretrained(trained.folder)
    assert extractor.do_normalize
    assert extractor.sampling_rate == SR
    states = encoders.load(str(trained.folder), device="cpu").encode([voice(120.0)], SR)
    assert states[0].shape == (3, analysis.n_frames(len(voice(120.0))), 32)
    curve = pd.read_csv(trained.folder / train.CURVE)
    assert list(curve["step"]) == [2, 4, 6]
    assert np.isfinite(curve).all(axis=None)


def test_a_killed_training_ends_bit_equal(
    manifest: pd.DataFrame, trained: pretrain.Pretraining, tmp_path: Path
) -> None:
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "settings.json").write_text(json.dumps(dataclasses.asdict(TINY)))
    script = textwrap.dedent("""
        import json, sys, time
        import pandas as pd, torch
        from emolib import pretrain
        from emolib.pretrain import train
        torch.set_num_threads(int(sys.argv[2]))
        settings = json.load(open(sys.argv[1] + "/settings.json"))
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        advance = train.Trainer.advance
        def slowly(self, out):
            if self.step == 3:
                time.sleep(60)  # wait here to be killed
            return advance(self, out)
        train.Trainer.advance = slowly
        pretrain.pretrain(
            pd.read_csv(sys.argv[1] + "/manifest.csv"), sys.argv[1] + "/out",
            pretrain.Settings(**settings), device="cpu", progress=False)
    """)
    threads = str(torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), threads])
    path = tmp_path / "out" / train.CHECKPOINT
    deadline = time.monotonic() + 50
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.exists()
    resumed = pretrain.pretrain(manifest, tmp_path / "out", TINY, device="cpu", progress=False)
    assert resumed.steps == TINY.steps
    assert same_tensors(checkpoint(resumed.folder), checkpoint(trained.folder))
    assert resumed.validation.equals(trained.validation)


def test_a_nan_loss_is_refused_and_the_last_good_checkpoint_kept(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = train.Network.total

    def broken(self: train.Network, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        loss = total(self, losses)
        broken.calls += self.training
        return loss * float("nan") if broken.calls > 3 else loss

    broken.calls = 0
    monkeypatch.setattr(train.Network, "total", broken)
    with pytest.raises(ValueError, match=r"loss at step 4 is nan.*last good checkpoint"):
        pretrain.pretrain(manifest, tmp_path, TINY, device="cpu", progress=False)
    kept = checkpoint(tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert kept["optimiser.step.unit.bias"] == 2


def test_what_can_not_be_trained_is_refused(manifest: pd.DataFrame, tmp_path: Path) -> None:
    def attempt(rows: pd.DataFrame, **changes: int) -> None:
        pretrain.pretrain(rows, tmp_path, dataclasses.replace(TINY, **changes), device="cpu", progress=False)

    with pytest.raises(ValueError, match="the manifest has no clips"):
        attempt(manifest.iloc[:0])
    with pytest.raises(ValueError, match=r"a vocabulary of 100000 units for .* frames"):
        attempt(manifest, n_units=100_000)
    with pytest.raises(ValueError, match="a vocabulary of 9 units for 8 clips"):
        attempt(manifest, n_expression_units=9)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"0 of 1 clips can be used.*broken\.wav"):
        attempt(pd.DataFrame({"path": [str(tmp_path / "broken.wav")]}))


def test_a_checkpoint_of_another_training_is_refused(
    manifest: pd.DataFrame, trained: pretrain.Pretraining
) -> None:
    other = dataclasses.replace(TINY, seed=1)
    with pytest.raises(ValueError, match="other settings or other speech"):
        pretrain.pretrain(manifest, trained.folder, other, device="cpu", progress=False)


def test_skipped_clips_are_told(manifest: pd.DataFrame, tmp_path: Path) -> None:
    short = audio.write(tmp_path / "short.wav", voice(200.0, 0.1), SR)
    rows = pd.concat([manifest[["path"]], pd.DataFrame({"path": [str(short)]})], ignore_index=True)
    settings = dataclasses.replace(TINY, steps=1)
    done = pretrain.pretrain(rows, tmp_path / "out", settings, device="cpu", progress=False)
    assert done.n_clips == 8
    assert [row["path"] for row in done.skipped] == [str(short)]
    assert done.steps == 1


def test_targets_come_back_from_disk(manifest: pd.DataFrame, tmp_path: Path) -> None:
    speech, _ = batches.load_speech(manifest)
    made = batches.measure(speech, TINY)
    made.save(tmp_path / "targets.safetensors", "abc")
    identity, back = targets.Targets.load(tmp_path / "targets.safetensors")
    assert identity == "abc"
    assert all(np.array_equal(a, b) for a, b in zip(made, back, strict=True))
