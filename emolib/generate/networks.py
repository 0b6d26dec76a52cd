"""The two networks of a generator: a variational autoencoder, and a diffusion in its latents.

The autoencoder reads a normalised spectrogram and the mask of its speech, and gives both back: padding costs
nothing in the spectrogram, and the latent contains how long a clip is. The diffusion's network is diffusers'
`UNet2DModel` with an embedding of the class, and the schedulers are diffusers' own.

References
----------
D. P. Kingma, M. Welling (2014), "Auto-Encoding Variational Bayes", arXiv:1312.6114. I. Higgins et al. (2017),
"beta-VAE", ICLR. Residual blocks: K. He et al. (2016), arXiv:1512.03385; sub-pixel upsampling: W. Shi et al.
(2016), arXiv:1609.05158. Its linear part starts as probabilistic principal component analysis: M. E. Tipping,
C. M. Bishop (1999), Journal of the Royal Statistical Society B 61(3), 611-622. J. Ho, A. Jain, P. Abbeel
(2020), "Denoising Diffusion Probabilistic Models", arXiv:2006.11239. J. Song, C. Meng, S. Ermon (2021),
"Denoising Diffusion Implicit Models", arXiv:2010.02502. C. Lu et al. (2022), "DPM-Solver++",
arXiv:2211.01095. J. Ho, T. Salimans (2022), "Classifier-Free Diffusion Guidance", arXiv:2207.12598.
T. Salimans, J. Ho (2022), "Progressive Distillation", arXiv:2202.00512.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from emolib.generate.mels import N_FRAMES, N_MELS

#: Bands and frames of a patch, which is one place of the latent.
PATCH = 16
#: Frames that the network sees: a clip's, to the next multiple of two patches.
PADDED_FRAMES = 192
#: Places of the latent: bands by frames.
PLACES = (N_MELS // PATCH, PADDED_FRAMES // PATCH)
_LOG_VARIANCE = (-12.0, 6.0)  # beyond these a posterior is a point, or far wider than the prior
_MASK_WEIGHT = 0.2


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents: its mean and the logarithm of its variance, of one shape."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise: the reparametrisation."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def divergence(self) -> Tensor:
        """Return the Kullback-Leibler divergence from a standard Gaussian in nats, of each dimension."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)


class Patches(nn.Module):
    """The linear part of the autoencoder: each patch of 16 bands by 16 frames on axes of its own row.

    It starts at the patches' principal components and is learned from there. Without it the convolutions
    take minutes for what an eigenvalue problem of 256 dimensions gives in a second.

    Parameters
    ----------
    channels : int; axes of each row of patches
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        rows, n_values = PLACES[0], PATCH * PATCH
        self.centre = nn.Parameter(torch.zeros(rows, n_values))
        self.read = nn.Parameter(0.02 * torch.randn(rows, n_values, channels))
        self.write = nn.Parameter(0.02 * torch.randn(rows, channels, n_values))
        self.log_variance = nn.Parameter(torch.full((rows, channels), -2.0))

    @staticmethod
    def cut(values: Tensor) -> Tensor:
        """Return the patches, (N, rows, columns, 256), of planes (N, 128, 192)."""
        parts = values.unflatten(2, (PLACES[1], PATCH)).unflatten(1, (PLACES[0], PATCH))
        return parts.permute(0, 1, 3, 2, 4).flatten(3)

    def encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (N, channels, rows, columns), of planes (N, 128, 192)."""
        centred = self.cut(values) - self.centre[:, None]
        mean = torch.einsum("nrtp,rpc->ncrt", centred, self.read)
        return mean, self.log_variance.T[None, :, :, None].expand_as(mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Return planes, (N, 128, 192), of latents (N, channels, rows, columns)."""
        patches = torch.einsum("ncrt,rcp->nrtp", latents, self.write) + self.centre[:, None]
        parts = patches.unflatten(3, (PATCH, PATCH)).permute(0, 1, 3, 2, 4)
        return parts.flatten(3).flatten(1, 2)

    @torch.no_grad()
    def fit(self, values: Tensor, mask: Tensor, noise: float) -> None:
        """Start at the principal components of clips.

        Parameters
        ----------
        values : float tensor, (N, 128, 172), normalised; mask : bool tensor, (N, 172)
        noise : float; the variance of a bin that the loss assumes
        """
        spoken = padded(mask.float()).unflatten(1, (PLACES[1], PATCH)).any(2)
        patches, n_axes = self.cut(padded(values)), self.read.shape[2]
        for row in range(PLACES[0]):
            found = patches[:, row][spoken].double()
            power, axes = torch.linalg.eigh(torch.cov(found.T))
            power, axes = power.flip(0)[:n_axes].clamp(min=1e-6), axes.flip(1)[:, :n_axes]
            self.centre[row] = found.mean(0).float()
            self.read[row] = (axes * power.sqrt() / (power + noise)).float()
            self.write[row] = (axes * power.sqrt()).T.float()
            self.log_variance[row] = torch.log(noise / (power + noise)).float()


class _Block(nn.Module):
    """A residual block of two convolutions, which starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = _zero(nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), last,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class VAE(nn.Module):
    """A convolutional variational autoencoder with residual blocks and a linear part.

    Parameters
    ----------
    widths : pair of int; channels at an eighth and at a sixteenth of the spectrogram's resolution
    channels : int; of the latent, which is (channels, 8, 12)
    """

    def __init__(self, widths: Sequence[int] = (64, 96), channels: int = 32) -> None:
        super().__init__()
        fine, coarse = widths
        self.shape = (channels, *PLACES)
        self.stem = nn.Conv2d(2, fine, 12, stride=8, padding=2)
        self.down = nn.Sequential(
            _Block(fine), nn.Conv2d(fine, coarse, 4, stride=2, padding=1), _Block(coarse), _Block(coarse),
            nn.GroupNorm(8, coarse), nn.SiLU(),
        )  # fmt: skip
        self.up = nn.Sequential(
            _Block(coarse), _Block(coarse), nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2.0),
            _Block(fine), nn.GroupNorm(8, fine), nn.SiLU(),
            _zero(nn.Conv2d(fine, 2 * 64, 3, padding=1)), nn.PixelShuffle(8),
        )  # fmt: skip
        self.patches = Patches(channels)
        self.leave = _zero(nn.Conv2d(coarse, 2 * channels, 3, padding=1))
        self.enter = nn.Conv2d(channels, coarse, 3, padding=1)

    def encode(self, values: Tensor, mask: Tensor) -> Posterior:
        """Return the posterior over the latents of clips.

        Parameters
        ----------
        values : float tensor, (N, 128, 172), normalised, 0 in padding
        mask : bool tensor, (N, 172)
        """
        values = padded(values)
        frames = padded(mask.to(values.dtype))[:, None].expand_as(values)
        hidden = self.down(self.stem(torch.stack([values, frames], 1)))
        mean, log_variance = self.leave(hidden).float().chunk(2, dim=1)
        linear = self.patches.encode(values)
        return Posterior(mean + linear[0], (log_variance + linear[1]).clamp(*_LOG_VARIANCE))

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised spectrograms, (N, 128, 172), and the logits of their masks, (N, 172)."""
        values, frames = self.up(self.enter(latents)).float().unbind(1)
        values = values + self.patches.decode(latents)
        return values[..., :N_FRAMES], frames[..., :N_FRAMES].mean(1)

    def forward(self, values: Tensor, mask: Tensor, noise: Tensor) -> dict[str, Any]:
        """Return what `loss` needs of clips whose latents are drawn with some noise, (N, *shape)."""
        posterior = self.encode(values, mask)
        decoded, mask_logits = self.decode(posterior.sample(noise))
        return {"posterior": posterior, "values": decoded, "mask_logits": mask_logits}


class Losses(NamedTuple):
    """Parts of the autoencoder's loss, means over clips."""

    total: Tensor
    reconstruction: Tensor
    spectral: Tensor
    divergence: Tensor
    mask: Tensor


def vae_loss(found: dict[str, Any], values: Tensor, mask: Tensor, *, beta: float, spectral: float) -> Losses:
    """Return the loss of autoencoded clips.

    Parameters
    ----------
    found : what `VAE.forward` returns
    values : float tensor, (N, 128, 172), normalised; mask : bool tensor, (N, 172)
    beta, spectral : float; weights

    Notes
    -----
    reconstruction + spectral weight * spectral + beta * divergence + 0.2 * mask. Reconstruction is the mean
    squared error of the bins that are speech; spectral the mean absolute error of their differences along
    time and along frequency, which keeps onsets and harmonics sharp; divergence the sum over latent
    dimensions, in nats, over the number of mel bins, padding included; mask the cross-entropy of every
    frame's mask.
    """
    weight = mask[:, None].float()
    error = (found["values"] - values) * weight
    reconstruction = error.square().sum() / (weight.sum() * N_MELS)
    both = weight[..., 1:] * weight[..., :-1]
    in_time = ((error[..., 1:] - error[..., :-1]).abs() * both).sum() / (both.sum() * N_MELS).clamp(min=1)
    in_frequency = (error[:, 1:] - error[:, :-1]).abs().sum() / (weight.sum() * (N_MELS - 1))
    differences = in_time + in_frequency
    divergence = found["posterior"].divergence().sum() / values.numel()
    frames = F.binary_cross_entropy_with_logits(found["mask_logits"], mask.float())
    total = reconstruction + spectral * differences + beta * divergence + _MASK_WEIGHT * frames
    return Losses(total, reconstruction, differences, divergence, frames)


def padded(x: Tensor) -> Tensor:
    """Return frames, (..., 172), with zeros to the network's 192."""
    return F.pad(x, (0, PADDED_FRAMES - x.shape[-1]))


def _zero(layer: Any) -> Any:
    """Return a layer whose weights are all 0, so that what it adds to starts unchanged."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


# ------------------------------------------------------------------------------------- the diffusion


N_STEPS = 1000


class Denoiser(nn.Module):
    """A U-Net that estimates the noise in planes of latents or of spectrograms.

    Parameters
    ----------
    shape : tuple of int; of the planes, (channels, height, width)
    widths : sequence of int; channels of the levels, finest first; attention is at the coarsest
    layers : int; residual blocks per level
    n_classes : int; class number `n_classes` stands for none, and is learned where a label is left out

    Notes
    -----
    The estimate is sqrt(1 - a) x + sqrt(a) u(x), with a the schedule's cumulative alpha, x the noisy planes
    and u the network, which therefore learns the velocity (Salimans and Ho, 2022).
    """

    def __init__(
        self, shape: tuple[int, int, int], widths: Sequence[int], layers: int, n_classes: int
    ) -> None:
        super().__init__()
        depth, plain = shape[0], len(widths) - 1
        self.none = n_classes
        self.unet: Any = UNet2DModel(
            sample_size=shape[1:], in_channels=depth, out_channels=depth, block_out_channels=tuple(widths),
            layers_per_block=layers, down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain, num_class_embeds=n_classes + 1,
            norm_num_groups=8, attention_head_dim=min(32, widths[-1]),
        )  # fmt: skip
        self.register_buffer("kept", scheduler("ddpm").alphas_cumprod, persistent=False)

    def forward(self, planes: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Estimate the noise in planes, (N, *shape), at steps, (N,), of 1000."""
        times = times.expand(len(planes))
        kept = self.kept[times][:, None, None, None]  # type: ignore[index]
        velocity = self.unet(planes, times, classes).sample.float()
        return (1 - kept).sqrt() * planes + kept.sqrt() * velocity


_SOLVER: dict[str, Any] = {"algorithm_type": "dpmsolver++", "solver_order": 2, "timestep_spacing": "trailing"}
_SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++": (DPMSolverMultistepScheduler, _SOLVER),
    "ddim": (DDIMScheduler, {"clip_sample": False, "timestep_spacing": "trailing"}),
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
}


def scheduler(sampler: str) -> Any:
    """Return one of diffusers' schedulers over 1000 steps of linear betas from 1e-4 to 0.02."""
    if sampler not in _SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; expected one of: {', '.join(_SAMPLERS)}")
    kind, extra = _SAMPLERS[sampler]
    return kind(N_STEPS, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", **extra)


def noise_loss(estimate: Tensor, noise: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """Return the error of the estimated noise.

    Parameters
    ----------
    estimate, noise : float tensors, (N, channels, height, width)
    weight : float tensor that broadcasts to them; of each place
    kept : float tensor, (N,); the schedule's cumulative alpha at each clip's step

    Notes
    -----
    The mean over clips of the weighted mean squared error, divided by kept: the error of the velocity.
    Otherwise steps of much noise, where a clip's class is decided, hardly count, and a short training
    doesn't learn them.
    """
    error = (F.mse_loss(estimate, noise, reduction="none") * weight).flatten(1).sum(1)
    return (error / weight.expand_as(noise).flatten(1).sum(1) / kept).mean()


def draw(
    network: Denoiser, noise: Tensor, classes: Tensor, sampler: str = "dpm++", steps: int = 20,
    guidance: float = 2.0, generator: torch.Generator | None = None, trace: list[Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Turn noise into planes of some classes.

    Parameters
    ----------
    network : Denoiser
    noise : float tensor, (N, channels, ...)
    classes : int tensor, (N,)
    sampler : {"ddpm", "ddim", "dpm++"}; steps : int, 1 to 1000
    guidance : float
        How far to go from the unconditional noise through the conditional: 1 is no guidance, 0 no class.
    generator : torch.Generator, for the noise that DDPM adds
    trace : list, optional; the planes before the first step and after each are appended to it
    """
    schedule = scheduler(sampler)
    schedule.set_timesteps(steps, device=noise.device)
    planes = noise * schedule.init_noise_sigma
    extra = {} if sampler == "ddim" else {"generator": generator}
    trace = [] if trace is None else trace
    trace.append(planes)
    for time in schedule.timesteps:
        estimate = _guided(network, schedule.scale_model_input(planes, time), time, classes, guidance)
        planes = schedule.step(estimate, time, planes, **extra).prev_sample
        trace.append(planes)
    return planes


def _guided(network: Denoiser, planes: Tensor, time: Tensor, classes: Tensor, guidance: float) -> Tensor:
    """Return the network's estimate of the noise, guided."""
    if guidance == 1.0:
        return network(planes, time, classes)
    both = torch.cat([classes, torch.full_like(classes, network.none)])
    conditional, free = network(torch.cat([planes, planes]), time, both).chunk(2)
    return free + guidance * (conditional - free)
