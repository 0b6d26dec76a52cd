"""Generators: what they hear, what their parts compute, and what training, sampling and saving keep."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from samples import speech

from emolib import audio, generate
from emolib.audio import EMOGEN_MEL
from emolib.generate import Generator, Mels, Normaliser, Settings, diffusion, training
from emolib.generate.generator import sources
from emolib.generate.mels import FLOOR, N_FRAMES, N_MELS, centred, mel_of
from emolib.generate.training import batch_rows, hold_out
from emolib.training import CHECKPOINT, Training

TINY = Settings(
    vae_widths=(8, 8), latent_channels=8, vae_steps=6, vae_every=3, vae_batch=4, widths=(16, 16), steps=8,
    batch=4, average=0.9, checkpoint_every=3, preview_every=0,
)  # fmt: skip


def some_mels(n_clips: int = 16, seed: int = 0) -> Mels:
    """Return clips of two classes, of differing lengths and tilts, by four speakers."""
    rng = np.random.default_rng(seed)
    labels = np.array(["angry", "sad"])[np.arange(n_clips) % 2]
    mask = np.stack([centred(n) for n in rng.integers(60, N_FRAMES + 1, n_clips)])
    tilt = np.linspace(-1, 1, N_MELS)[None, :, None] * np.where(labels == "angry", 3, -3)[:, None, None]
    texture = np.cumsum(rng.standard_normal((n_clips, N_MELS, N_FRAMES)), axis=2) / 5
    speakers = np.array([f"s{i // 2 % 4}" for i in range(n_clips)])
    return Mels(
        (tilt + texture - 8).astype(np.float32), mask, labels, speakers, np.arange(n_clips).astype(str)
    )


@pytest.fixture(scope="module")
def mels() -> Mels:
    return some_mels()


@pytest.fixture(scope="module")
def trained(mels, tmp_path_factory):
    """A tiny generator and its folder."""
    folder = tmp_path_factory.mktemp("generator")
    return generate.train(mels, folder, replace(TINY, preview_every=8), device="cpu"), folder


# ------------------------------------------------------------------------------------- what is heard


def test_a_clip_is_cropped_or_padded_around_its_centre():
    rate = EMOGEN_MEL.sample_rate
    values, mask = mel_of(speech(1.0, sample_rate=rate), rate)
    assert values.shape == (N_MELS, N_FRAMES) and mask.sum() == rate // EMOGEN_MEL.hop_length
    first, last = np.flatnonzero(mask)[[0, -1]]
    assert abs(first - (N_FRAMES - 1 - last)) <= 1
    assert (values[:, ~mask] == FLOOR).all() and (values[:, mask] > FLOOR).any()
    wave = speech(6.0, sample_rate=rate)
    values, mask = mel_of(wave, rate)
    middle, _ = mel_of(wave[rate : 5 * rate], rate)
    assert mask.all() and np.array_equal(values, middle)
    assert np.allclose(mel_of(0.1 * wave, rate)[0], values, atol=1e-3)  # the level is no cue


def test_clips_of_other_emotions_and_broken_ones_are_listed(manifest, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    manifest.loc[1, "path"] = str(broken)
    mels, skipped = generate.load_mels(manifest, ["angry"])
    assert set(mels.labels) == {"angry"} and len(mels) + len(skipped) == len(manifest)
    reasons = {entry["clip"]: entry["reason"] for entry in skipped}
    assert "broken.wav" in reasons[manifest["clip"][1]] and "calm" in reasons[manifest["clip"][0]]
    with pytest.raises(ValueError, match="no clip of bored"):
        generate.load_mels(manifest, ["bored"])


def test_mels_can_be_taken_and_joined(mels):
    odd = mels.take(np.arange(len(mels)) % 2 == 1)
    assert len(odd) == len(mels) // 2 and set(odd.labels) == {"sad"}
    both = odd.joined(mels.take([0]))
    assert len(both) == len(odd) + 1 and both.clips[-1] == "0"
    assert len(mels.take([])) == 0
    assert mels.durations_s.max() <= 4.0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"values": np.zeros((2, 80, N_FRAMES))}, r"shape \(2, 80, 172\); expected"),
        ({"values": np.full((2, N_MELS, N_FRAMES), np.nan)}, "NaN"),
        ({"mask": np.zeros((2, N_FRAMES), bool)}, "no frame of speech"),
        ({"labels": np.array(["sad"])}, "one of each"),
    ],
)
def test_wrong_mels_are_refused(mels, change, message):
    two = mels.take([0, 1])
    parts = {name: getattr(two, name) for name in ("values", "mask", "labels", "speakers", "clips")}
    with pytest.raises(ValueError, match=message):
        Mels(**parts | change)


def test_the_normaliser_hears_speech_alone_and_can_be_undone(mels):
    normaliser = Normaliser.fit(mels)
    scaled = normaliser.apply(mels)
    frames = scaled.transpose(0, 2, 1)[mels.mask]
    assert np.allclose(frames.mean(0), 0, atol=1e-4) and np.allclose(frames.std(0), 1, atol=1e-3)
    assert (scaled[np.broadcast_to(~mels.mask[:, None], scaled.shape)] == 0).all()
    assert np.allclose(normaliser.invert(scaled, mels.mask), mels.values, atol=1e-4)


# ------------------------------------------------------------------------------------- diffusion


class Oracle(torch.nn.Module):
    """A denoiser that knows the clean planes of its two classes; class 2 is none, whose planes are 0."""

    none = 2

    def __init__(self, clean: torch.Tensor) -> None:
        super().__init__()
        self.clean = torch.cat([clean, torch.zeros_like(clean[:1])])
        self.kept = diffusion.scheduler("ddpm").alphas_cumprod
        self.seen: list[torch.Tensor] = []

    def forward(self, planes: torch.Tensor, times: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        self.seen.append(classes)
        kept = self.kept[times]
        return (planes - kept.sqrt() * self.clean[classes]) / (1 - kept).sqrt()


@pytest.mark.parametrize("sampler, steps", [("dpm++", 20), ("ddim", 25), ("ddpm", 1000)])
def test_every_sampler_ends_at_what_the_network_knows(sampler, steps):
    torch.manual_seed(0)
    clean, classes = torch.randn(2, 3, 4, 4), torch.tensor([1, 0, 1])
    found = diffusion.draw(
        Oracle(clean), torch.randn(3, 3, 4, 4), classes, sampler=sampler, steps=steps, guidance=1.0
    )
    assert torch.allclose(found, clean[classes], atol=0.05)


def test_guidance_goes_from_no_class_through_the_class():
    torch.manual_seed(0)
    clean, classes = torch.randn(2, 3, 4, 4), torch.tensor([0, 1])
    oracle, noise = Oracle(clean), torch.randn(2, 3, 4, 4)
    assert torch.allclose(diffusion.draw(oracle, noise, classes, guidance=3.0), 3 * clean, atol=0.1)
    assert torch.allclose(diffusion.draw(oracle, noise, classes, guidance=0.0), 0 * clean, atol=0.1)
    oracle.seen.clear()
    diffusion.draw(oracle, noise, classes, guidance=1.0)
    assert all(len(seen) == 2 for seen in oracle.seen)  # the class alone: half the work


def test_a_denoising_step_has_the_mean_that_bayes_gives():
    schedule = diffusion.scheduler("ddpm")
    beta, kept = schedule.betas.double(), schedule.alphas_cumprod.double()
    assert len(beta) == 1000 and torch.allclose(beta[[0, -1]], torch.tensor([1e-4, 0.02]).double())
    clean, noise = torch.tensor([[0.7]]).double(), torch.tensor([[-1.3]]).double()
    for t in (1, 10, 500, 999):
        noisy = kept[t].sqrt() * clean + (1 - kept[t]).sqrt() * noise
        before, alpha = kept[t - 1], 1 - beta[t]
        # precision-weighted: N(sqrt(before) clean, 1 - before) is seen through N(sqrt(alpha) x, beta)
        mean = (before.sqrt() * clean / (1 - before) + alpha.sqrt() * noisy / beta[t]) / (
            1 / (1 - before) + alpha / beta[t]
        )
        drawn = schedule.step(noise, t, noisy, generator=torch.Generator().manual_seed(t)).prev_sample
        spread = (beta[t] * (1 - before) / (1 - kept[t])).sqrt()
        added = spread * torch.randn(1, 1, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        assert torch.allclose(drawn - added, mean, atol=3e-4)


def test_the_loss_of_the_noise_is_the_error_of_the_velocity():
    torch.manual_seed(0)
    network = diffusion.Denoiser(4, (8, 12), (16, 16), 1, 2)
    clean, noise = torch.randn(3, 4, 8, 12), torch.randn(3, 4, 8, 12)
    times, classes = torch.tensor([0, 400, 999]), torch.tensor([0, 1, 2])
    noisy = diffusion.noised(clean, noise, times)
    kept = network.kept[times]
    with torch.no_grad():
        velocity = network.unet(noisy, times, classes).sample
        found = diffusion.loss(network(noisy, times, classes), noise, torch.ones(3, 1, 1, 1), kept)
    share = kept[:, None, None, None]
    target = share.sqrt() * noise - (1 - share).sqrt() * clean
    assert torch.allclose(found, (velocity - target).square().mean(), rtol=1e-3)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="unknown sampler 'euler'; expected one of"):
        diffusion.scheduler("euler")


# ------------------------------------------------------------------------------------- training


def test_training_leaves_a_generator_its_curves_and_a_preview(trained, mels):
    generator, folder = trained
    assert generator.classes == ("angry", "sad") and generator.record["n_clips"] == len(mels)
    assert (folder / training.CURVE).is_file() and (folder / training.VAE_CURVE).is_file()
    assert [path.name for path in (folder / training.PREVIEWS).iterdir()] == ["step-000008.png"]
    assert not list(folder.glob("*checkpoint*")) and not list(folder.glob("*.tmp"))
    assert np.isfinite(generator.record["loss"])


def test_the_record_tells_the_look_that_was_kept(mels, tmp_path, monkeypatch):
    look, calls = autoencoding._loss, []

    def growing(*parts):
        """Return losses that rise from look to look."""
        calls.append(torch.is_grad_enabled())
        return autoencoding.vaes.Losses(*(x + 100 * calls.count(False) for x in look(*parts)))

    monkeypatch.setattr(autoencoding, "_loss", growing)
    record = generate.train(mels, tmp_path, TINY, device="cpu").record["autoencoder"]
    looks = np.genfromtxt(tmp_path / training.VAE_CURVE, delimiter=",", names=True)
    steps, reconstruction = looks["step"], looks["reconstruction"]
    assert steps.tolist() == [3, 6] and reconstruction[0] < reconstruction[1]
    assert (record["step"], record["reconstruction"]) == (3, pytest.approx(reconstruction[0]))


def test_no_two_seeds_share_their_noise():
    drawn = {torch.rand(1, generator=s).item() for seed in range(20) for s in sources(seed)}
    assert len(drawn) == 40


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("kill_at", [5, TINY.vae_steps + 5], ids=["autoencoder", "diffusion"])
def test_a_killed_training_goes_on_to_equal_losses_and_weights(trained, mels, tmp_path, monkeypatch, kill_at):
    descend, calls = Fit.descend, []

    def dying(fit, loss, folder):
        calls.append(1)
        if len(calls) == kill_at:
            raise Killed
        return descend(fit, loss, folder)

    monkeypatch.setattr(Fit, "descend", dying)
    with pytest.raises(Killed):
        generate.train(mels, tmp_path, TINY, device="cpu")
    monkeypatch.setattr(Fit, "descend", descend)
    assert list(tmp_path.glob("*checkpoint*"))
    resumed = generate.train(mels, tmp_path, TINY, device="cpu")
    whole, folder = trained
    assert (tmp_path / training.CURVE).read_text() == (folder / training.CURVE).read_text()
    assert (tmp_path / training.VAE_CURVE).read_text() == (folder / training.VAE_CURVE).read_text()
    for part in ("denoiser", "space"):
        states = [getattr(generator, part).state_dict() for generator in (resumed, whole)]
        assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(mels, tmp_path, monkeypatch):
    loss, calls = diffusion.loss, []

    def spoiled(*parts):
        calls.append(1)
        return loss(*parts) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(diffusion, "loss", spoiled)
    with pytest.raises(ValueError, match=r"the loss at step 5 is nan .* is kept"):
        generate.train(mels, tmp_path, TINY, device="cpu")
    with safe_open(tmp_path / training.CHECKPOINT, "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 3
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118
    monkeypatch.setattr(diffusion, "loss", loss)
    assert generate.train(mels, tmp_path, TINY, device="cpu").record["loss"] > 0


def test_a_finished_training_is_returned_and_another_is_refused(trained, mels, monkeypatch):
    generator, folder = trained
    monkeypatch.setattr(Fit, "descend", pytest.fail)
    again = generate.train(mels, folder, replace(TINY, preview_every=8), device="cpu")
    assert again.record == generator.record
    with pytest.raises(ValueError, match="other settings or other clips"):
        generate.train(mels.take(range(8)), folder, TINY, device="cpu")


def test_what_cannot_be_trained_is_refused(mels, tmp_path):
    with pytest.raises(ValueError, match="no clip of class happy"):
        generate.train(mels, tmp_path, TINY, classes=["angry", "sad", "happy"])
    with pytest.raises(ValueError, match="clips of sad, none of the classes"):
        generate.train(mels, tmp_path, TINY, classes=["angry"])
    with pytest.raises(ValueError, match="1 clips; expected at least 2"):
        generate.train(mels.take([0]), tmp_path, TINY)
    with pytest.raises(ValueError, match="holdout names nobody"):
        generate.train(mels, tmp_path, TINY, holdout=["nobody"])
    with pytest.raises(ValueError, match="are held out and none is left"):
        generate.train(mels, tmp_path, TINY, holdout=["s0", "s1", "s2", "s3"])


@pytest.mark.parametrize(
    "change",
    [{"space": "wave"}, {"steps": 0}, {"label_dropout": 1.0}, {"widths": (10,)}, {"rate": float("nan")}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Settings.quick(**change)


def test_held_out_clips_are_whole_speakers_or_a_share_of_few(mels):
    held = hold_out(mels, 0.25, 0)
    assert not set(mels.speakers[held]) & set(mels.speakers[~held])
    alone = mels.take(mels.speakers == "s0")
    held = hold_out(alone, 0.25, 0)
    assert held.sum() == 1 and not held.all()


def test_every_clip_is_heard_once_a_pass():
    rows = np.concatenate([batch_rows(step, 10, 4, seed=3) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


def test_spectrograms_can_diffuse_themselves(mels, tmp_path):
    settings = replace(TINY, space="mel", widths=(8, 8, 8), steps=2, batch=2)
    generator = generate.train(mels, tmp_path, settings, device="cpu")
    assert generator.vae is None
    assert len(Generator.load(tmp_path).sample(["sad"], steps=2)) == 1
    again = generator.reconstruct(mels.take([0, 1]))
    assert np.allclose(again.values, mels.take([0, 1]).values, atol=1e-3)


def test_a_conditional_autoencoder_and_mixed_precision_train_too(mels, tmp_path):
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        settings = replace(TINY, vae_conditional=True, precision="bf16", steps=2, vae_steps=3)
        generator = generate.train(mels, tmp_path, settings, device="cpu")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert len(generator.reconstruct(mels.take([0, 1]))) == 2
    assert np.isfinite(generator.record["loss"])


# ------------------------------------------------------------------------------------- sampling


def test_samples_are_of_their_labels_and_repeat_with_their_seed(trained):
    generator, _ = trained
    labels = ["sad", "angry", "sad"]
    first = generator.sample(labels, steps=3)
    assert first.labels.tolist() == labels and set(first.speakers) == {"generated"}
    assert len(set(first.clips)) == 3 and np.isfinite(first.values).all()
    assert np.array_equal(first.values, generator.sample(labels, steps=3).values)
    assert np.allclose(first.values, generator.sample(labels, steps=3, batch=1).values, atol=1e-3)
    assert not np.array_equal(first.values, generator.sample(labels, steps=3, seed=1).values)


def test_a_saved_generator_samples_the_same(trained, tmp_path):
    generator, _ = trained
    again = Generator.load(generator.save(tmp_path / "copy"))
    assert np.array_equal(generator.preview(steps=2).values, again.preview(steps=2).values)
    assert again.settings == generator.settings and again.record == generator.record


def test_enhancement_keeps_more_of_a_clip_the_less_it_noises(trained, mels):
    generator, _ = trained
    clips = mels.take([0, 1, 2, 3])
    through = generator.reconstruct(clips)
    distance = {
        strength: np.abs(generator.enhance(clips, strength=strength, steps=10).values - through.values).mean()
        for strength in (0.0, 0.2, 1.0)
    }
    assert distance[0.0] == 0 < distance[0.2] < distance[1.0]
    turned = generator.enhance(clips, ["sad"] * 4, strength=0.2, sampler="ddim", steps=10)
    assert set(turned.labels) == {"sad"} and np.array_equal(turned.mask, clips.mask)
    assert turned.clips.tolist() == clips.clips.tolist()


def test_what_makes_no_sense_is_refused(trained, mels):
    generator, folder = trained
    for call, message in (
        (lambda: generator.sample(["bored"]), "unknown class bored; expected some of: angry, sad"),
        (lambda: generator.sample([]), "no labels"),
        (lambda: generator.sample(["sad"], guidance=50), "guidance 50; expected 0 to 20"),
        (lambda: generator.sample(["sad"], guidance=float("nan")), "guidance nan"),
        (lambda: generator.sample(["sad"], steps=1001), "1001 sampling steps"),
        (lambda: generator.sample(["sad"], sampler="euler"), "unknown sampler"),
        (lambda: generator.enhance(mels, strength=1.5), "strength 1.5"),
        (lambda: generator.enhance(mels, ["sad"]), "1 labels for 16 clips"),
        (lambda: Generator.load(folder / "nowhere"), "holds no generator"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# ------------------------------------------------------------------------------------- sound


def test_sound_is_as_long_as_the_speech_and_audible(mels):
    rate = EMOGEN_MEL.sample_rate
    wave = speech(1.0, sample_rate=rate)
    values, mask = mel_of(wave, rate)
    clip = Mels(values[None], mask[None], *(np.array([x]) for x in ("sad", "s", "c")))
    (found,) = generate.to_sound(clip, n_iter=20)
    assert len(found) == mask.sum() * EMOGEN_MEL.hop_length and np.abs(found).max() <= 1
    again, _ = mel_of(found, rate)
    assert np.corrcoef(again[:, mask].ravel(), values[:, mask].ravel())[0, 1] > 0.8
    assert len(generate.to_sound(values, n_iter=1)[0]) == len(found)


def test_a_vocoder_of_other_spectrograms_is_refused(mels):
    for name in ("hifigan-nano", "mel-griffin-lim"):
        with pytest.raises(ValueError, match=f"'{name}' doesn't read"):
            generate.to_sound(mels, name)
    with pytest.raises(ValueError, match=r"shape \(80, 10\)"):
        generate.to_sound(np.zeros((80, 10)))
    assert audio.HIFIGAN_MEL.hop_length != EMOGEN_MEL.hop_length
