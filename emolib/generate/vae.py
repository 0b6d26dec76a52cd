"""A variational autoencoder of mel-spectrograms, with a latent for the utterance or one for diffusion.

Fourth stage of `emolib.generate`. The network reads a normalised spectrogram and the mask of its speech, and
gives both back: padding costs nothing in the spectrogram, and how long a clip is lies in its latent.

References
----------
D. P. Kingma, M. Welling (2014), "Auto-Encoding Variational Bayes", arXiv:1312.6114. I. Higgins et al. (2017),
"beta-VAE", ICLR. Residual blocks: K. He et al. (2016), arXiv:1512.03385; sub-pixel upsampling: W. Shi et al.
(2016), arXiv:1609.05158.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emolib.generate.mels import N_FRAMES, N_MELS
from emolib.generate.patches import PLACES, Patches, padded
from emolib.generate.settings import Latent

#: Width of the utterance's latent.
UTTERANCE_WIDTH = 32
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


class Block(nn.Module):
    """A residual block of two convolutions, which starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = _silent(nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), last,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _silent(layer: Any) -> Any:
    """Return a layer whose weights are all 0, so that what it adds to starts unchanged."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class VAE(nn.Module):
    """A convolutional variational autoencoder with residual blocks.

    Parameters
    ----------
    latent : {"spatial", "utterance"}
        (channels, 8, 12) for diffusion, or one vector of 32 for the utterance.
    widths : pair of int; channels at an eighth and at a sixteenth of the spectrogram's resolution
    channels : int; of the spatial latent
    n_classes : int; 0 for an unconditional autoencoder
    """

    def __init__(
        self,
        latent: Latent = "spatial",
        widths: Sequence[int] = (64, 96),
        channels: int = 32,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        if latent not in ("spatial", "utterance"):
            raise ValueError(f"unknown latent {latent!r}; expected 'spatial' or 'utterance'")
        fine, coarse = widths
        self.latent, self.n_classes = latent, n_classes
        self.shape: tuple[int, ...] = (channels, *PLACES)
        self.stem = nn.Conv2d(2, fine, 12, stride=8, padding=2)
        self.down = nn.Sequential(
            Block(fine), nn.Conv2d(fine, coarse, 4, stride=2, padding=1), Block(coarse), Block(coarse),
            nn.GroupNorm(8, coarse), nn.SiLU(),
        )  # fmt: skip
        self.up = nn.Sequential(
            Block(coarse), Block(coarse), nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2.0),
            Block(fine), nn.GroupNorm(8, fine), nn.SiLU(),
            _silent(nn.Conv2d(fine, 2 * 64, 3, padding=1)), nn.PixelShuffle(8),
        )  # fmt: skip
        if latent == "spatial":
            self.patches = Patches(channels)
            self.leave: nn.Module = _silent(nn.Conv2d(coarse, 2 * channels, 3, padding=1))
            self.enter: nn.Module = nn.Conv2d(channels, coarse, 3, padding=1)
        else:
            self.shape = (UTTERANCE_WIDTH,)
            n_values = 32 * PLACES[0] * PLACES[1]
            self.leave = nn.Sequential(
                nn.Conv2d(coarse, 32, 1), nn.Flatten(), nn.Linear(n_values, 2 * UTTERANCE_WIDTH)
            )
            self.enter = nn.Sequential(
                nn.Linear(UTTERANCE_WIDTH, n_values), nn.Unflatten(1, (32, *PLACES)), nn.Conv2d(32, coarse, 1)
            )
        if n_classes:
            self.heard_class, self.said_class = nn.Embedding(n_classes, fine), nn.Embedding(n_classes, coarse)

    def encode(self, values: Tensor, mask: Tensor, classes: Tensor | None = None) -> Posterior:
        """Return the posterior over the latents of clips.

        Parameters
        ----------
        values : float tensor, (N, 128, 172), normalised, 0 in padding
        mask : bool tensor, (N, 172)
        classes : int tensor, (N,); needed where the autoencoder is conditional
        """
        values = padded(values)
        frames = padded(mask.to(values.dtype))[:, None].expand_as(values)
        x = self.stem(torch.stack([values, frames], 1))
        if self.n_classes:
            x = x + self.heard_class(classes)[:, :, None, None]
        mean, log_variance = self.leave(self.down(x)).float().chunk(2, dim=1)
        if self.latent == "spatial":
            linear = self.patches.encode(values)
            mean, log_variance = mean + linear[0], log_variance + linear[1]
        return Posterior(mean, log_variance.clamp(*_LOG_VARIANCE))

    def decode(self, latents: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return normalised spectrograms, (N, 128, 172), and the logits of their masks, (N, 172)."""
        x = self.enter(latents)
        if self.n_classes:
            x = x + self.said_class(classes)[:, :, None, None]
        values, frames = self.up(x).float().unbind(1)
        if self.latent == "spatial":
            values = values + self.patches.decode(latents)
        return values[..., :N_FRAMES], frames[..., :N_FRAMES].mean(1)

    def forward(self, values: Tensor, mask: Tensor, classes: Tensor | None, noise: Tensor) -> dict[str, Any]:
        """Return what `loss` needs of clips whose latents are drawn with some noise, (N, *shape)."""
        posterior = self.encode(values, mask, classes)
        decoded, mask_logits = self.decode(posterior.sample(noise), classes)
        return {"posterior": posterior, "values": decoded, "mask_logits": mask_logits}


class Losses(NamedTuple):
    """Parts of the autoencoder's loss, means over clips."""

    total: Tensor
    reconstruction: Tensor
    spectral: Tensor
    divergence: Tensor
    mask: Tensor


def loss(found: dict[str, Any], values: Tensor, mask: Tensor, *, beta: float, spectral: float) -> Losses:
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
    time and along frequency, which keeps onsets and harmonics from being smeared; divergence the sum over
    latent dimensions, in nats, over the number of mel bins, padding included; mask the cross-entropy of every
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
