"""The autoencoder of generators: its posterior, its divergence, its masked loss and where it starts."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from emolib.generate import vae as vaes
from emolib.generate.mels import N_FRAMES, N_MELS, centred
from emolib.generate.patches import PADDED_FRAMES, PLACES, Patches
from emolib.generate.vae import VAE, Posterior


def clips(n: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return smooth normalised spectrograms and masks of differing lengths."""
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(np.stack([centred(length) for length in rng.integers(60, N_FRAMES + 1, n)]))
    values = torch.from_numpy(np.cumsum(rng.standard_normal((n, N_MELS, N_FRAMES)), axis=2) / 8).float()
    return values * mask[:, None], mask


def small(latent: str = "spatial", n_classes: int = 0) -> VAE:
    torch.manual_seed(0)
    return VAE(latent, (8, 16), 8, n_classes)  # type: ignore[arg-type]


def test_the_divergence_is_that_of_two_gaussians():
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(5, 7), torch.randn(5, 7))
    expected = kl_divergence(
        Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance)), Normal(0.0, 1.0)
    )
    assert torch.allclose(posterior.divergence(), expected, atol=1e-5)
    prior = Posterior(torch.zeros(3), torch.zeros(3))
    assert torch.equal(prior.divergence(), torch.zeros(3))


def test_a_posterior_is_drawn_around_its_mean_with_its_own_spread():
    posterior = Posterior(torch.tensor([3.0, -1.0]), torch.tensor([0.25, 4.0]).log())
    drawn = posterior.sample(torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(drawn.mean(0), posterior.mean, atol=0.06)
    assert torch.allclose(drawn.std(0), torch.tensor([0.5, 2.0]), rtol=0.03)


@pytest.mark.parametrize("latent, shape", [("spatial", (8, *PLACES)), ("utterance", (32,))])
@pytest.mark.parametrize("n_classes", [0, 3])
def test_clips_come_back_in_their_shape_and_every_weight_learns(latent, shape, n_classes):
    network, (values, mask) = small(latent, n_classes), clips()
    classes = torch.tensor([0, 1, 2, 0]) if n_classes else None
    with torch.no_grad():  # the last layers start at 0, and let no gradient through before a step
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    found = network(values, mask, classes, torch.randn(4, *shape))
    assert network.shape == shape == tuple(found["posterior"].mean.shape[1:])
    assert found["values"].shape == values.shape and found["mask_logits"].shape == mask.shape
    vaes.loss(found, values, mask, beta=0.1, spectral=0.5).total.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in network.named_parameters() if "heard_class" not in name)


def test_an_unknown_latent_is_refused():
    with pytest.raises(ValueError, match="unknown latent 'word'; expected"):
        VAE("word")  # type: ignore[arg-type]


def test_padding_costs_nothing_in_the_spectrogram_but_its_length_does():
    values, mask = clips()
    posterior = Posterior(torch.zeros(4, 8), torch.zeros(4, 8))
    found = {"posterior": posterior, "values": values + 0.3, "mask_logits": 40.0 * mask - 20.0}
    noisy = found | {"values": torch.where(mask[:, None], values + 0.3, torch.tensor(99.0))}
    plain, padded = (vaes.loss(case, values, mask, beta=0.1, spectral=0.5) for case in (found, noisy))
    assert torch.allclose(plain.reconstruction, torch.tensor(0.09), atol=1e-5)
    assert torch.equal(plain.total, padded.total)
    assert plain.spectral < 1e-5 and plain.mask < 1e-6 and plain.divergence == 0
    longer = found | {"mask_logits": torch.full(mask.shape, 20.0)}
    assert vaes.loss(longer, values, mask, beta=0.1, spectral=0.5).mask > 1


def test_the_spectral_part_tells_a_smeared_spectrogram():
    values, mask = clips()
    smeared = torch.nn.functional.avg_pool2d(values[:, None], (1, 9), stride=1, padding=(0, 4))[:, 0]
    posterior = Posterior(torch.zeros(4, 8), torch.zeros(4, 8))
    cases = [
        {"posterior": posterior, "values": v, "mask_logits": 1.0 * mask} for v in (smeared, values + 0.1)
    ]
    losses = [vaes.loss(case, values, mask, beta=0.1, spectral=0.5).spectral for case in cases]
    assert losses[0] > 10 * losses[1]


def test_patches_start_at_their_principal_components():
    torch.manual_seed(0)
    values, mask = clips(24)
    patches = Patches(256)
    patches.fit(values, mask, noise=1e-6)
    planes = torch.nn.functional.pad(values, (0, PADDED_FRAMES - N_FRAMES))
    assert torch.equal(Patches.cut(planes)[0, 1, 2].reshape(16, 16), planes[0, 16:32, 32:48])
    again = patches.decode(patches.encode(planes)[0])
    heard = torch.nn.functional.pad(mask, (0, PADDED_FRAMES - N_FRAMES))[:, None].expand_as(planes)
    assert torch.allclose(again[heard], planes[heard], atol=0.02)  # all axes: nothing is lost
    few = Patches(8)
    few.fit(values, mask, noise=0.05)
    mean, log_variance = few.encode(planes)
    lost = (few.decode(mean) - planes)[heard].square().mean() / planes[heard].var()
    assert lost < 0.3
    spread = (
        mean.permute(0, 2, 3, 1)[torch.ones(24, 8, 12, dtype=torch.bool)].var(0)
        + log_variance.exp()[0, :, 0, 0]
    )
    assert 0.2 < float(spread.mean()) < 2.0  # mean and spread of a posterior add up to the prior's


def test_the_mean_alone_is_decoded_where_no_noise_is_given():
    network, (values, mask) = small(), clips()
    network.patches.fit(values, mask, 0.05)
    network.eval()
    with torch.no_grad():
        posterior = network.encode(values, mask)
        found = network(values, mask, None, torch.zeros(4, *network.shape))
        assert torch.equal(found["values"], network.decode(posterior.mean)[0])
        assert not torch.allclose(posterior.mean, posterior.log_variance)
    silent = torch.zeros_like(values)
    assert not torch.allclose(network.encode(silent, mask).mean, posterior.mean)
