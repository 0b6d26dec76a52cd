"""Generators: spectrograms, autoencoder, diffusion, training, sampling, and measures of generated clips."""

import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkout import ROOT
from samples import refused, speech
from torch.distributions import Normal, kl_divergence
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore

from emolib import corpora, generate
from emolib.audio import EMOGEN_MEL
from emolib.generate import Generator, Mels, Normaliser, Settings, networks, quality, training
from emolib.generate.generator import sources
from emolib.generate.mels import FLOOR, N_FRAMES, N_MELS, centred, mel_of
from emolib.generate.networks import PLACES, VAE, Patches, Posterior
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
    values, clips = (tilt + texture - 8).astype(np.float32), np.arange(n_clips)
    return Mels(values, mask, labels, np.array([f"s{i // 2 % 4}" for i in clips]), clips.astype(str))


@pytest.fixture(scope="module")
def mels() -> Mels:
    return some_mels()


@pytest.fixture(scope="module")
def trained(mels, tmp_path_factory):
    """A tiny generator and its folder."""
    folder = tmp_path_factory.mktemp("generator")
    return generate.train(mels, folder, replace(TINY, preview_every=8), device="cpu"), folder


# ------------------------------------------------------------------------------------- spectrograms


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
    assert np.allclose(mel_of(0.1 * wave, rate)[0], values, atol=1e-3)  # whatever the level


def test_clips_of_other_emotions_and_broken_ones_are_listed(manifest, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    manifest.loc[1, "path"] = str(broken)
    mels, skipped = generate.load_mels(manifest, ["angry"])
    assert set(mels.labels) == {"angry"} and len(mels) + len(skipped) == len(manifest)
    reasons = {entry["clip"]: entry["reason"] for entry in skipped}
    assert "broken.wav" in reasons[manifest["clip"][1]] and "calm" in reasons[manifest["clip"][0]]
    refused("no clip of bored", generate.load_mels, manifest, ["bored"])


def test_mels_can_be_taken_and_joined_and_wrong_ones_are_refused(mels):
    odd = mels.take(np.arange(len(mels)) % 2 == 1)
    assert len(odd) == len(mels) // 2 and set(odd.labels) == {"sad"}
    both = odd.joined(mels.take([0]))
    assert len(both) == len(odd) + 1 and both.clips[-1] == "0"
    assert mels.durations_s.max() <= 4.0
    for change, message in (
        ({"values": np.zeros((2, 80, N_FRAMES))}, r"shape \(2, 80, 172\); expected"),
        ({"values": np.full((2, N_MELS, N_FRAMES), np.nan)}, "NaN"),
        ({"mask": np.zeros((2, N_FRAMES), bool)}, "no frame of speech"),
        ({"labels": np.array(["sad"])}, "one of each"),
    ):
        refused(message, Mels, **vars(mels.take([0, 1])) | change)


def test_the_normaliser_measures_speech_alone_and_can_be_undone(mels):
    normaliser = Normaliser.fit(mels)
    scaled = normaliser.apply(mels)
    frames = scaled.transpose(0, 2, 1)[mels.mask]
    assert np.allclose(frames.mean(0), 0, atol=1e-4) and np.allclose(frames.std(0), 1, atol=1e-3)
    assert (scaled[np.broadcast_to(~mels.mask[:, None], scaled.shape)] == 0).all()
    assert np.allclose(normaliser.invert(scaled, mels.mask), mels.values, atol=1e-4)


def test_sound_is_as_long_as_the_speech_and_audible():
    rate = EMOGEN_MEL.sample_rate
    values, mask = mel_of(speech(1.0, sample_rate=rate), rate)
    clip = Mels(values[None], mask[None], *(np.array([x]) for x in ("sad", "s", "c")))
    (found,) = generate.to_sound(clip)
    assert len(found) == mask.sum() * EMOGEN_MEL.hop_length and np.abs(found).max() <= 1
    again, _ = mel_of(found, rate)
    assert np.corrcoef(again[:, mask].ravel(), values[:, mask].ravel())[0, 1] > 0.8


# ------------------------------------------------------------------------------------- the autoencoder


@pytest.fixture(scope="module")
def smooth() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth normalised spectrograms and masks of differing lengths."""
    texture = np.random.default_rng(0).standard_normal((24, N_MELS, N_FRAMES))
    mask = torch.from_numpy(some_mels(24).mask)
    return torch.from_numpy(np.cumsum(texture, axis=2) / 8).float() * mask[:, None], mask


def test_the_divergence_is_that_of_two_gaussians():
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(5, 7), torch.randn(5, 7))
    own = Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance))
    assert torch.allclose(posterior.divergence(), kl_divergence(own, Normal(0.0, 1.0)), atol=1e-5)
    drawn = posterior.sample(torch.randn(20_000, 5, 7))
    assert torch.allclose(drawn.mean(0), own.mean, atol=0.1)
    assert torch.allclose(drawn.std(0), own.stddev, rtol=0.03)


def test_clips_come_back_in_their_shape_and_every_weight_learns(smooth):
    torch.manual_seed(0)
    network, (values, mask) = VAE((8, 16), 8), (part[:4] for part in smooth)
    with torch.no_grad():  # the last layers start at 0, and let no gradient through before a step
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    found = network(values, mask, torch.randn(4, *network.shape))
    assert network.shape == (8, *PLACES) == tuple(found["posterior"].mean.shape[1:])
    assert found["values"].shape == values.shape and found["mask_logits"].shape == mask.shape
    networks.vae_loss(found, values, mask, beta=0.1, spectral=0.5).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_padding_costs_nothing_in_the_spectrogram_but_its_length_does(smooth):
    values, mask = (part[:4] for part in smooth)

    def loss(decoded: torch.Tensor, logits: torch.Tensor = 40.0 * mask - 20.0) -> networks.Losses:
        posterior = Posterior(torch.zeros(4, 8), torch.zeros(4, 8))
        found = {"posterior": posterior, "values": decoded, "mask_logits": logits}
        return networks.vae_loss(found, values, mask, beta=0.1, spectral=0.5)

    plain = loss(values + 0.3)
    padded = loss(torch.where(mask[:, None], values + 0.3, torch.tensor(99.0)))
    assert torch.allclose(plain.reconstruction, torch.tensor(0.09), atol=1e-5)
    assert torch.equal(plain.total, padded.total)
    assert plain.spectral < 1e-5 and plain.mask < 1e-6 and plain.divergence == 0
    assert loss(values, torch.full(mask.shape, 20.0)).mask > 1
    smeared = torch.nn.functional.avg_pool2d(values[:, None], (1, 9), stride=1, padding=(0, 4))[:, 0]
    assert loss(smeared).spectral > 10 * loss(values + 0.1).spectral


def test_patches_start_at_their_principal_components(smooth):
    torch.manual_seed(0)
    values, mask = smooth
    patches = Patches(256)
    patches.fit(values, mask, noise=1e-6)
    planes = networks.padded(values)
    assert torch.equal(Patches.cut(planes)[0, 1, 2].reshape(16, 16), planes[0, 16:32, 32:48])
    again = patches.decode(patches.encode(planes)[0])
    spoken = networks.padded(mask)[:, None].expand_as(planes)
    assert torch.allclose(again[spoken], planes[spoken], atol=0.02)  # all axes: nothing is lost
    few = Patches(8)
    few.fit(values, mask, noise=0.05)
    mean, log_variance = few.encode(planes)
    lost = (few.decode(mean) - planes)[spoken].square().mean() / planes[spoken].var()
    assert lost < 0.3
    spread = mean.permute(0, 2, 3, 1).flatten(0, 2).var(0) + log_variance.exp()[0, :, 0, 0]
    assert 0.2 < float(spread.mean().detach()) < 2.0  # mean and spread of a posterior add up to the prior's


# ------------------------------------------------------------------------------------- diffusion


class Oracle(torch.nn.Module):
    """A denoiser that knows the clean planes of its two classes; class 2 is none, whose planes are 0."""

    none = 2

    def __init__(self, clean: torch.Tensor) -> None:
        super().__init__()
        self.clean = torch.cat([clean, torch.zeros_like(clean[:1])])
        self.kept = networks.scheduler("ddpm").alphas_cumprod
        self.seen: list[torch.Tensor] = []

    def forward(self, planes: torch.Tensor, times: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        self.seen.append(classes)
        kept = self.kept[times]
        return (planes - kept.sqrt() * self.clean[classes]) / (1 - kept).sqrt()


def test_every_sampler_ends_at_what_the_network_knows():
    torch.manual_seed(0)
    clean, classes, noise = torch.randn(2, 3, 4, 4), torch.tensor([1, 0, 1]), torch.randn(3, 3, 4, 4)
    for sampler, steps in (("dpm++", 20), ("ddim", 25), ("ddpm", 1000)):
        found = networks.draw(Oracle(clean), noise, classes, sampler=sampler, steps=steps, guidance=1.0)
        assert torch.allclose(found, clean[classes], atol=0.05), sampler


def test_guidance_goes_from_no_class_through_the_class():
    torch.manual_seed(0)
    clean, classes = torch.randn(2, 3, 4, 4), torch.tensor([0, 1])
    oracle, noise = Oracle(clean), torch.randn(2, 3, 4, 4)
    assert torch.allclose(networks.draw(oracle, noise, classes, guidance=3.0), 3 * clean, atol=0.1)
    assert torch.allclose(networks.draw(oracle, noise, classes, guidance=0.0), 0 * clean, atol=0.1)
    oracle.seen.clear()
    networks.draw(oracle, noise, classes, guidance=1.0)
    assert all(len(seen) == 2 for seen in oracle.seen)  # the class alone: half the work


def test_the_loss_of_the_noise_is_the_error_of_the_velocity():
    betas = networks.scheduler("ddpm").betas
    assert len(betas) == 1000 and torch.allclose(betas[[0, -1]], torch.tensor([1e-4, 0.02]))
    torch.manual_seed(0)
    network = networks.Denoiser((4, 8, 12), (16, 16), 1, 2)
    clean, noise = torch.randn(3, 4, 8, 12), torch.randn(3, 4, 8, 12)
    times, classes = torch.tensor([0, 400, 999]), torch.tensor([0, 1, 2])
    noisy = networks.scheduler("ddpm").add_noise(clean, noise, times)
    kept = network.kept[times]
    with torch.no_grad():
        velocity = network.unet(noisy, times, classes).sample
        found = networks.noise_loss(network(noisy, times, classes), noise, torch.ones(3, 1, 1, 1), kept)
    share = kept[:, None, None, None]
    target = share.sqrt() * noise - (1 - share).sqrt() * clean
    assert torch.allclose(found, (velocity - target).square().mean(), rtol=1e-3)


# ------------------------------------------------------------------------------------- training


def test_training_leaves_a_generator_its_curves_and_a_preview(trained, mels, monkeypatch):
    generator, folder = trained
    assert generator.classes == ("angry", "sad") and generator.record["n_clips"] == len(mels)
    assert [path.name for path in (folder / training.PREVIEWS).iterdir()] == ["step-000008.png"]
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written == {training.CURVE, training.VAE_CURVE, "config.json", "model.safetensors"}
    assert not list(folder.rglob("*checkpoint*")) and np.isfinite(generator.record["loss"])
    monkeypatch.setattr(Training, "advance", pytest.fail)
    again = generate.train(mels, folder, replace(TINY, preview_every=8), device="cpu")
    assert again.record == generator.record
    refused("other settings or other clips", generate.train, mels.take(range(8)), folder, TINY, device="cpu")


def test_the_record_is_of_the_validation_whose_weights_were_kept(mels, tmp_path, monkeypatch):
    loss, n_validations = networks.vae_loss, []

    def growing(*parts, **weights):
        """Return losses that rise from validation to validation."""
        n_validations.append(torch.is_grad_enabled())
        return networks.Losses(*(x + 100 * n_validations.count(False) for x in loss(*parts, **weights)))

    monkeypatch.setattr(networks, "vae_loss", growing)
    record = generate.train(mels, tmp_path, TINY, device="cpu").record["autoencoder"]
    table = np.genfromtxt(tmp_path / training.VAE_CURVE, delimiter=",", names=True)
    assert table["step"].tolist() == [3, 6] and table["total"][0] < table["total"][1]
    assert (record["step"], record["total"]) == (3, pytest.approx(table["total"][0]))


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_killed_training_goes_on_to_equal_losses_and_weights(trained, mels, tmp_path, monkeypatch):
    advance, calls = Training.advance, []

    def dying(*parts):
        calls.append(1)
        if len(calls) in (5, 3 + TINY.vae_steps + 5):  # two steps of the autoencoder are made again
            raise Killed
        return advance(*parts)

    monkeypatch.setattr(Training, "advance", dying)
    for folder in (tmp_path / training.AUTOENCODER, tmp_path):
        with pytest.raises(Killed):
            generate.train(mels, tmp_path, TINY, device="cpu")
        assert (folder / CHECKPOINT).is_file()
    resumed, (whole, folder) = generate.train(mels, tmp_path, TINY, device="cpu"), trained
    for name in (training.CURVE, training.VAE_CURVE):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    for part in ("denoiser", "space"):
        states = [getattr(generator, part).state_dict() for generator in (resumed, whole)]
        assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_what_cannot_be_trained_is_refused(mels, tmp_path):
    for clips, options, message in (
        (mels, {"classes": ["angry", "sad", "happy"]}, "no clip of class happy"),
        (mels, {"classes": ["angry"]}, "unknown class sad; expected some of: angry"),
        (mels.take([0]), {}, "all 1 clips are held out and none is left"),
    ):
        refused(message, generate.train, clips, tmp_path, TINY, device="cpu", **options)
    for name, value in {
        "space": "wave", "precision": "int8", "steps": 0, "label_dropout": 1.0, "widths": (10,),
        "vae_widths": (8,), "rate": float("nan"),
    }.items():  # fmt: skip
        refused(f"{name}=.*expected", replace(TINY, **{name: value}).check)


def test_held_out_clips_are_whole_speakers_or_a_share_of_few(mels):
    held = hold_out(mels, 0.25, 0)
    assert not set(mels.speakers[held]) & set(mels.speakers[~held])
    held = hold_out(mels.take(mels.speakers == "s0"), 0.25, 0)
    assert held.sum() == 1 and not held.all()


def test_every_clip_is_used_once_per_pass():
    rows = np.concatenate([batch_rows(step, 10, 4, seed=3) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


def test_spectrograms_can_diffuse_themselves_and_in_mixed_precision(mels, tmp_path):
    settings = replace(TINY, space="mel", widths=(8, 8, 8), steps=2, batch=2, precision="bf16")
    generator = generate.train(mels, tmp_path, settings, device="cpu")
    assert len(Generator.load(tmp_path).sample(["sad"], steps=2)) == 1
    again = generator.reconstruct(mels.take([0, 1]))
    assert np.allclose(again.values, mels.take([0, 1]).values, atol=1e-3)
    latent = replace(TINY, precision="bf16", steps=2, vae_steps=3)
    generator = generate.train(mels, tmp_path / "latent", latent, device="cpu")
    assert np.isfinite(generator.record["loss"]) and len(generator.reconstruct(mels.take([0, 1]))) == 2


# ------------------------------------------------------------------------------------- sampling


def test_the_comparison_of_samplers_has_a_judge_of_other_speakers(trained, monkeypatch):
    script = runpy.run_path(str(ROOT / "benchmarks" / "sampling.py"))
    voices, taught, judged = corpora.load("demo"), [], []
    monkeypatch.setattr(corpora, "load", lambda _: voices.groupby(["speaker", "emotion"]).head(1))
    monkeypatch.setattr(generate, "train", lambda mels, *_: taught.append(mels) or trained[0])
    kept = script["measure"].__globals__

    class Judge(kept["LinearDiscriminantAnalysis"]):
        def fit(self, X, y):
            judged.append((X, y))
            return super().fit(X, y)

    monkeypatch.setitem(kept, "LinearDiscriminantAnalysis", Judge)
    monkeypatch.setitem(kept, "SAMPLERS", {"dpm": ("dpm++", 2), "ddpm": ("ddpm", 3)})
    found = script["measure"]()
    [(X, y)], others = judged, kept["speech"]()[1]
    assert set(others.speakers) | set(taught[0].speakers) == set(voices["speaker"])
    assert not set(others.speakers) & set(taught[0].speakers)
    assert np.array_equal(X, kept["statistics"](others, Normaliser.fit(taught[0])))
    assert np.array_equal(y, others.labels) and 0 <= found["sampling_ua_dpm"] <= 1


def test_samples_are_of_their_labels_and_repeat_with_their_seed(trained, tmp_path, monkeypatch):
    generator, _ = trained
    labels = ["sad", "angry", "sad"]
    first = generator.sample(labels, steps=3)
    assert first.labels.tolist() == labels and set(first.speakers) == {"generated"}
    assert len(set(first.clips)) == 3 and np.isfinite(first.values).all()
    again = Generator.load(generator.save(tmp_path / "copy"))
    assert again.settings == generator.settings and again.record == generator.record
    assert np.array_equal(first.values, again.sample(labels, steps=3).values)
    monkeypatch.setattr("emolib.generate.generator._BATCH", 1)
    assert np.allclose(first.values, generator.sample(labels, steps=3).values, atol=1e-3)
    assert not np.array_equal(first.values, generator.sample(labels, steps=3, seed=1).values)
    drawn = {torch.rand(1, generator=s).item() for seed in range(20) for s in sources(seed)}
    assert len(drawn) == 40, "no two seeds share their noise"


def test_a_clip_is_shown_on_its_way_from_noise(trained):
    strip, clip = trained[0].denoise("sad"), trained[0].sample(["sad"])
    assert len(strip) == 6 and (strip.mask == strip.mask[0]).all()
    assert np.allclose(strip.values[-1], clip.values[0], atol=1e-3)


def test_what_makes_no_sense_is_refused(trained):
    generator, folder = trained
    for call, message in (
        (lambda: generator.sample(["bored"]), "unknown class bored; expected some of: angry, sad"),
        (lambda: generator.sample([]), "no labels"),
        (lambda: generator.sample(["sad"], guidance=50), "guidance 50; expected 0 to 20"),
        (lambda: generator.sample(["sad"], guidance=float("nan")), "guidance nan"),
        (lambda: generator.sample(["sad"], steps=1001), "1001 sampling steps"),
        (lambda: generator.sample(["sad"], sampler="euler"), "unknown sampler 'euler'; expected one of"),
        (lambda: Generator.load(folder / "nowhere"), "no Generator in"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            call()


# ------------------------------------------------------------------------------------- quality


class AsGiven(torch.nn.Module):
    """A feature network for torchmetrics that is given features already."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.num_features = n_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def normal(n: int, mean: float = 0.0, std: float = 1.0, seed: int = 0, width: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, std, (n, width))


def test_the_frechet_distance_is_that_of_torchmetrics():
    rival = FrechetInceptionDistance(feature=AsGiven(4)).set_dtype(torch.float64)
    rival.update(torch.from_numpy(normal(40)), real=True)
    rival.update(torch.from_numpy(normal(50, 1.0, seed=1)), real=False)
    found = quality.frechet_distance(normal(40), normal(50, 1.0, seed=1))
    assert found.value == pytest.approx(float(rival.compute()), rel=1e-6)
    same = quality.frechet_distance(normal(50), normal(50), speakers=np.arange(50) % 4)
    assert same.value == pytest.approx(0, abs=1e-6) and np.isnan(same.low)  # four speakers are too few
    sets, speakers = (normal(60), normal(60, 1.0, seed=1)), np.arange(60) % 6
    many, again = (quality.frechet_distance(*sets, speakers=speakers) for _ in range(2))
    assert many == again and 0 <= many.low < many.value < many.high


def test_the_frechet_distance_of_wide_features_is_that_of_their_main_components():
    wide = np.random.default_rng(3).normal(size=(16, 192)) @ np.diag(np.geomspace(1, 1e-2, 192))
    a, b = (normal(120, seed=seed, width=16) @ wide for seed in (0, 1))
    noise = 1e-3 * normal(240, seed=2, width=192)
    found = quality.frechet_distance(a + noise[:120], b + noise[120:]).value
    axes = np.linalg.svd(a - a.mean(0), full_matrices=False)[2][:16].T
    assert found == pytest.approx(quality.frechet_distance(a @ axes, b @ axes).value, rel=0.01)


def test_the_inception_score_goes_from_1_to_the_number_of_classes():
    unsure, sure = np.full((30, 3), 1 / 3), np.eye(3)[np.arange(30) % 3]
    assert quality.inception_score(unsure).value == pytest.approx(1)
    assert quality.inception_score(sure).value == pytest.approx(3, rel=1e-3)
    assert quality.inception_score(np.eye(3)[np.zeros(30, int)]).value == pytest.approx(1)
    found = quality.inception_score(0.5 * unsure + 0.5 * sure)
    assert 1 < found.low < found.value < found.high < 3
    rival = InceptionScore(feature=AsGiven(3), splits=1)
    rival.update(torch.from_numpy(np.log(0.5 * unsure + 0.5 * sure)))
    assert found.value == pytest.approx(float(rival.compute()[0]), rel=1e-5)


def test_precision_and_recall_tell_lack_of_quality_from_lack_of_variety():
    real = normal(300, width=2)
    assert quality.precision_recall(real, normal(300, seed=1, width=2))[0] > 0.9
    far = quality.precision_recall(real, normal(300, 50.0, seed=1, width=2))
    assert far == (0.0, 0.0)
    narrow = quality.precision_recall(real, normal(300, 0.0, 0.1, seed=1, width=2))
    wide = quality.precision_recall(real, normal(300, 0.0, 8.0, seed=1, width=2))
    assert narrow[0] > 0.95 and narrow[1] < 0.3
    assert wide[0] < 0.3 and wide[1] > 0.7


def test_copies_are_found():
    mels = some_mels(24)
    normaliser = Normaliser.fit(mels)
    training = quality.mel_features(mels, normaliser)
    first, second = normaliser.apply(mels.take([0, 1]))
    apart = np.sqrt(np.mean((first - second) ** 2))
    assert np.linalg.norm(training[0] - training[1]) == pytest.approx(apart, rel=1e-4)
    audit = quality.copy_audit(training, mels.speakers, training[[3, 5]] + 1e-4)
    assert audit.share == 1.0
    other = quality.mel_features(some_mels(24, seed=9), normaliser)
    assert quality.copy_audit(training, mels.speakers, other).share < 1.0
    apart = np.linalg.norm(training[:, None] - training, axis=2) + 99 * np.eye(24)
    apart[mels.speakers[:, None] != mels.speakers] = 99
    by_nearest_clips = np.quantile(apart.min(axis=1), 0.01)  # and not by pairs
    assert audit.threshold == pytest.approx(by_nearest_clips, rel=1e-3)


def test_what_cannot_be_measured_is_refused():
    for call, message in (
        (lambda: quality.frechet_distance(normal(9), normal(9, width=3)), "4 and 3 dimensions"),
        (lambda: quality.frechet_distance(normal(1), normal(9)), "at least two clips"),
        (lambda: quality.frechet_distance(normal(9) * np.nan, normal(9)), "finite"),
        (lambda: quality.frechet_distance(normal(9), normal(9), speakers=["a"]), "1 speakers of 9 clips"),
        (lambda: quality.inception_score(normal(9)), "no probabilities"),
        (lambda: quality.precision_recall(normal(3), normal(9)), "3 real and 9 generated clips"),
        (lambda: quality.copy_audit(normal(3), ["a", "b", "c"], normal(3)), "no speaker has two"),
    ):
        refused(message, call)
