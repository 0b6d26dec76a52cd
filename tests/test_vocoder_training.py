"""Training a vocoder: segments that mean what they say, a killed training that loses nothing, refusals."""

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
from samples import speech
from transformers import SpeechT5HifiGan

from emolib import audio, vocoder, vocoding
from emolib.audio import HIFIGAN_MEL
from emolib.vocoding import batches, discriminators, generator, losses, trainer

RATE = HIFIGAN_MEL.sample_rate
TINY = vocoding.Settings(
    channels=32, rates=(16, 16), kernels=(32, 32), block_kernels=(3,), dilations=(1, 3), batch_size=2,
    segment_frames=24, stft_sizes=(256, 1024), adversarial_from=4, steps=6, warmup=2, refine=2,
    validate_every=3, checkpoint_every=2, validation_clips=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Six clips of three speakers, at two rates, with labels that must not matter."""
    folder, rows = tmp_path_factory.mktemp("clips"), []
    for n in range(6):
        rate = 16_000 if n % 2 else 24_000
        path = audio.write(folder / f"{n}.wav", speech(1.0 + 0.1 * n, seed=n, sample_rate=rate), rate)
        rows.append({"path": str(path), "corpus": "toy", "speaker": f"s{n // 2}", "emotion": "sad"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def trained(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> vocoding.Training:
    return train(manifest, tmp_path_factory.mktemp("trained"))


def train(manifest: pd.DataFrame, out: Path, **changes: object) -> vocoding.Training:
    settings = dataclasses.replace(TINY, **changes)
    return vocoding.train(manifest, out, settings, device="cpu", progress=False)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / trainer.CHECKPOINT)


def same_tensors(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ------------------------------------------------------------------------------------- what is heard


def test_the_mel_is_that_of_the_project() -> None:
    wave = speech(1.0, sample_rate=RATE)
    expected = audio.log_mel(wave, RATE)
    made = losses.log_mel(torch.from_numpy(wave)[None], HIFIGAN_MEL)[0].numpy()
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_segments_are_pieces_of_clips_with_their_own_frames(manifest: pd.DataFrame) -> None:
    loaded, skipped = batches.load_speech(manifest)
    assert not skipped
    drawn = batches.Batches(loaded, np.arange(6), TINY)
    batch = drawn.training(3)
    assert batch.log_mel.shape == (2, 24, 80)
    assert batch.waves.shape == (2, 24 * 256)
    # within the segment, frames that reach into nothing beyond it are those of the segment alone
    alone = losses.log_mel(batch.waves, HIFIGAN_MEL)
    torch.testing.assert_close(alone[:, 3:-3], batch.log_mel[:, 3:-3], atol=1e-4, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(batch, drawn.training(3), strict=True))
    assert not torch.equal(batch.waves, drawn.training(4).waves)


def test_levels_are_spread(manifest: pd.DataFrame) -> None:
    loaded, _ = batches.load_speech(manifest)
    settings = dataclasses.replace(TINY, batch_size=16, quietest_dbfs=-40.0, loudest_dbfs=-20.0)
    waves = batches.Batches(loaded, np.arange(6), settings).training(0).waves.numpy()
    levels = [audio.rms_dbfs(wave) for wave in waves]
    assert -50 < min(levels) < -33
    assert -27 < max(levels) < -15


def test_a_clip_shorter_than_a_segment_is_followed_by_silence(tmp_path: Path) -> None:
    path = audio.write(tmp_path / "short.wav", speech(0.15, seed=2, sample_rate=RATE), RATE)
    loaded, _ = batches.load_speech(pd.DataFrame({"path": [str(path)]}))
    batch = batches.Batches(loaded, np.array([0]), TINY).training(0)
    assert torch.isfinite(batch.log_mel).all()
    assert batch.waves[:, -1000:].abs().max() == 0


def test_held_out_speakers_are_for_validation_alone(manifest: pd.DataFrame) -> None:
    loaded, _ = batches.load_speech(manifest)
    training, validation = batches.split(loaded, ["s1"], TINY)
    assert list(training) == [0, 1, 4, 5]
    assert list(validation) == [2, 3]
    training, validation = batches.split(loaded, [], TINY)
    assert sorted([*training, *validation]) == list(range(6))
    assert len(validation) == 2
    with pytest.raises(ValueError, match="held-out speaker 's9' is not in the manifest"):
        batches.split(loaded, ["s9"], TINY)
    with pytest.raises(ValueError, match="0 clips to train on"):
        batches.split(loaded, ["s0", "s1", "s2"], TINY)


# ------------------------------------------------------------------------------------- what is judged


def test_losses_are_least_for_the_same_wave() -> None:
    wave = torch.from_numpy(speech(0.5, sample_rate=RATE))[None]
    noisy = wave + 0.01 * torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))
    zero, some, more = (losses.spectral_loss(given, wave, (256, 1024)) for given in (wave, noisy, 0 * wave))
    assert zero == 0
    assert 0 < some < more
    assert losses.spectral_loss(-wave, wave, (256, 1024)) == 0  # the sign of a wave can't be known


def test_discriminators_tell_what_their_losses_say() -> None:
    real, fake = [[torch.zeros(1), torch.ones(3)]], [[torch.ones(1), torch.zeros(3)]]
    assert discriminators.discriminator_loss(real, fake) == 0
    assert discriminators.discriminator_loss(fake, real) == 2
    assert discriminators.generator_loss(real, fake)[0] == 1
    assert discriminators.generator_loss(real, real) == (0, 0)
    judges = discriminators.Discriminators()
    features = judges(torch.randn(2, 4096))
    assert len(features) == len(judges.judges) == 7
    assert all(len(own[-1]) == 2 for own in features)


def test_the_level_of_a_wave_is_hidden_from_the_discriminators() -> None:
    wave = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0))
    quiet = discriminators.same_level(0.01 * wave, 0.01 * wave)
    torch.testing.assert_close(quiet, discriminators.same_level(wave, wave), rtol=1e-4, atol=1e-6)


def test_an_untrained_generator_lets_its_input_through() -> None:
    config = generator.generator_config(vocoding.Settings())
    torch.manual_seed(0)
    network = generator.untrained(config, torch.zeros(80), torch.ones(80))
    with torch.inference_mode():
        waves = network(torch.randn(2, 20, 80))
    assert 0.05 < waves.std() < 0.8
    assert waves.shape == (2, 20 * 256)


# ------------------------------------------------------------------------------------- the training


def test_a_training_learns_and_leaves_an_ordinary_vocoder(
    trained: vocoding.Training, manifest: pd.DataFrame
) -> None:
    assert trained.steps == 6
    assert trained.n_clips == 6
    assert list(trained.validation["step"]) == [3, 6]
    assert np.isfinite(trained.validation).all(axis=None)
    assert pd.read_csv(trained.folder / trainer.CURVE)["step"].tolist() == [3, 6]
    weights = load_file(trained.folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    SpeechT5HifiGan.from_pretrained(trained.folder)
    made = vocoder.load(str(trained.folder))
    wave = made.vocode(audio.log_mel(speech(0.5, sample_rate=RATE), RATE))
    assert wave.shape == (43 * 256,)
    assert isinstance(made, vocoder.HiFiGAN)
    assert made.refine == 2
    heard = sorted(path.name for path in (trained.folder / trainer.HEARD).iterdir())
    assert heard == [f"{n}-step-{step:06d}.flac" for n in (0, 1) for step in (3, 6)]


def test_the_loss_falls(manifest: pd.DataFrame, tmp_path: Path) -> None:
    done = train(manifest, tmp_path, steps=40, adversarial_from=40, validate_every=10)
    assert done.validation["loss"].iloc[-1] < 0.8 * done.validation["loss"].iloc[0]


def test_labels_are_never_read(manifest: pd.DataFrame, trained: vocoding.Training, tmp_path: Path) -> None:
    again = train(manifest[["path", "corpus", "speaker"]], tmp_path)
    assert same_tensors(checkpoint(again.folder), checkpoint(trained.folder))


def test_discriminators_join_in_when_they_are_told(
    manifest: pd.DataFrame, trained: vocoding.Training, tmp_path: Path
) -> None:
    never = train(manifest, tmp_path, adversarial_from=99)
    joined, alone = checkpoint(trained.folder), checkpoint(never.folder)
    judge = "judges.judges.0.layers.0.weight"
    assert not torch.equal(joined[judge], alone[judge])
    assert not torch.equal(joined["generator.conv_pre.weight"], alone["generator.conv_pre.weight"])
    assert "judges_optimiser.step.judges.0.layers.0.weight" not in alone


def test_a_killed_training_ends_bit_equal(
    manifest: pd.DataFrame, trained: vocoding.Training, tmp_path: Path
) -> None:
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "settings.json").write_text(json.dumps(dataclasses.asdict(TINY)))
    script = textwrap.dedent("""
        import json, sys, time
        import pandas as pd, torch
        from emolib import vocoding
        from emolib.vocoding import trainer
        torch.set_num_threads(int(sys.argv[2]))
        settings = json.load(open(sys.argv[1] + "/settings.json"))
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        advance = trainer.Trainer.advance
        def slowly(self, out):
            if self.step == 5:
                time.sleep(60)  # wait here to be killed
            return advance(self, out)
        trainer.Trainer.advance = slowly
        vocoding.train(
            pd.read_csv(sys.argv[1] + "/manifest.csv"), sys.argv[1] + "/out",
            vocoding.Settings(**settings), device="cpu", progress=False)
    """)
    threads = str(torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), threads])
    path = tmp_path / "out" / trainer.CHECKPOINT
    deadline = time.monotonic() + 50
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.exists()
    resumed = train(manifest, tmp_path / "out")
    assert resumed.steps == TINY.steps
    assert same_tensors(checkpoint(resumed.folder), checkpoint(trained.folder))
    assert resumed.validation.equals(trained.validation)


def test_a_finished_training_is_taken_as_it_is(
    manifest: pd.DataFrame, trained: vocoding.Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Trainer, "advance", lambda *_: pytest.fail("a step was taken"))
    again = train(manifest, trained.folder)
    assert again.steps == 6
    assert again.validation.equals(trained.validation)


def test_more_steps_go_on_from_the_end(manifest: pd.DataFrame, tmp_path: Path) -> None:
    assert train(manifest, tmp_path, steps=2, decay_share=0.0).steps == 2
    done = train(manifest, tmp_path, steps=4, decay_share=0.0)
    assert done.steps == 4
    assert list(done.validation["step"]) == [2, 3, 4]


def test_a_clip_without_an_utterance_is_counted_and_ends_nothing(tmp_path: Path) -> None:
    """Too short for PESQ, long enough to train on; the other held-out clip is rated."""
    rows = []
    for n, seconds in enumerate((0.1, 1.2, 1.0, 1.1)):
        path = audio.write(tmp_path / f"{n}.wav", speech(seconds, seed=n), 16_000)
        rows.append({"path": str(path), "corpus": "toy", "speaker": "out" if n < 2 else "in"})
    settings = dataclasses.replace(TINY, steps=1)
    done = vocoding.train(
        pd.DataFrame(rows), tmp_path / "out", settings, hold_out=["out"], device="cpu", progress=False
    )
    last = done.validation.iloc[-1]
    assert last["n_pesq"] == 1 and last[["loss", "log_mel_l1", "pesq", "pesq_refined"]].notna().all()


# ------------------------------------------------------------------------------------- refusals


def test_a_nan_loss_is_refused_and_the_last_good_checkpoint_kept(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = trainer.Trainer.loss

    def broken(self: trainer.Trainer, waves: torch.Tensor, batch: batches.Batch) -> torch.Tensor:
        return loss(self, waves, batch) * (float("nan") if self.step >= 3 and waves.requires_grad else 1)

    monkeypatch.setattr(trainer.Trainer, "loss", broken)
    with pytest.raises(ValueError, match=r"loss at step 4 is nan.*last good checkpoint"):
        train(manifest, tmp_path)
    kept = checkpoint(tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert kept["optimiser.step.conv_pre.bias"] == 2


def test_what_can_not_be_trained_is_refused(manifest: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the manifest has no clips"):
        train(manifest.iloc[:0], tmp_path)
    with pytest.raises(ValueError, match=r"rates \(8, 8\) multiply to 64; expected .* 256"):
        train(manifest, tmp_path, rates=(8, 8))
    with pytest.raises(ValueError, match="1 of 1 clips can be used and at least 2"):
        train(manifest.iloc[:1], tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"0 of 1 clips can be used.*broken\.wav"):
        train(pd.DataFrame({"path": [str(tmp_path / "broken.wav")]}), tmp_path)


def test_a_checkpoint_of_another_training_is_refused(
    manifest: pd.DataFrame, trained: vocoding.Training
) -> None:
    with pytest.raises(ValueError, match="other settings or other speech"):
        train(manifest, trained.folder, seed=1)
    with pytest.raises(ValueError, match="other settings or other speech"):
        train(manifest.iloc[:5], trained.folder)


def test_skipped_clips_are_told(manifest: pd.DataFrame, tmp_path: Path) -> None:
    short = audio.write(tmp_path / "short.wav", speech(0.04, seed=0), 16_000)
    rows = pd.concat([manifest[["path"]], pd.DataFrame({"path": [str(short)]})], ignore_index=True)
    done = train(rows, tmp_path / "out", steps=1)
    assert done.n_clips == 6
    assert [row["path"] for row in done.skipped] == [str(short)]
