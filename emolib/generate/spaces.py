"""What diffuses: the autoencoder's latents, or the spectrograms themselves.

Sixth stage of `emolib.generate`. A space turns clips into planes of unit variance and planes into clips; how
long a clip is lies in the planes too, so that it is generated with what is said.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from emolib.generate.mels import N_FRAMES, N_MELS, Mels, Normaliser, centred
from emolib.generate.patches import PATCH, padded
from emolib.generate.vae import VAE

#: Weight of what lies in padding, in the diffusion's loss.
PADDING_WEIGHT = 0.1
_MEL_FRAMES = 176  # a multiple of 16, for four halvings
_BATCH = 64


class Space(Protocol):
    """Where a diffusion takes place.

    Attributes
    ----------
    shape : tuple of 3 int; channels, height, width
    """

    shape: tuple[int, int, int]

    def encode(self, mels: Mels, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return planes, (N, *shape), and the weight of each place in the loss, a shape that broadcasts."""
        ...

    def decode(
        self, planes: Tensor, classes: Tensor, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-mel-spectrograms, (N, 128, 172), and masks, (N, 172): those given, or the planes'."""
        ...


class LatentSpace(nn.Module):
    """Means of the autoencoder's posteriors, each channel scaled to unit variance.

    Parameters
    ----------
    vae : VAE, with a spatial latent
    normaliser : Normaliser
    """

    def __init__(self, vae: VAE, normaliser: Normaliser) -> None:
        super().__init__()
        self.vae, self.normaliser = vae, normaliser
        self.shape = (vae.shape[0], vae.shape[1], vae.shape[2])
        self.register_buffer("centre", torch.zeros(vae.shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(vae.shape[0], 1, 1))

    def fit(self, mels: Mels, classes: Tensor) -> None:
        """Measure level and spread of every channel on training clips."""
        latents = self._latents(mels, classes).double()
        self.centre = latents.mean((0, 2, 3)).float()[:, None, None]
        self.scale = latents.std((0, 2, 3)).clamp(min=1e-3).float()[:, None, None]

    @torch.no_grad()
    def _latents(self, mels: Mels, classes: Tensor) -> Tensor:
        values, mask = tensors(mels, self.normaliser, self.scale.device)
        parts = zip(*(x.split(_BATCH) for x in (values, mask, classes)), strict=True)
        return torch.cat([self.vae.encode(*part).mean for part in parts])

    def encode(self, mels: Mels, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return planes and weights of clips."""
        planes = (self._latents(mels, classes) - self.centre) / self.scale
        mask = torch.from_numpy(mels.mask).float().to(planes.device)
        share = padded(mask).unflatten(1, (-1, PATCH)).mean(2)
        return planes, PADDING_WEIGHT + (1 - PADDING_WEIGHT) * share[:, None, None]

    @torch.no_grad()
    def decode(
        self, planes: Tensor, classes: Tensor, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-mel-spectrograms and masks of planes."""
        latents = planes * self.scale + self.centre
        parts = zip(latents.split(_BATCH), classes.split(_BATCH), strict=True)
        decoded = [self.vae.decode(*part) for part in parts]
        lengths = torch.cat([logits.sigmoid().sum(1) for _, logits in decoded])
        mask = masks(lengths) if mask is None else mask
        return self.normaliser.invert(torch.cat([values for values, _ in decoded]).cpu().numpy(), mask), mask


class MelSpace(nn.Module):
    """Normalised spectrograms, and a second plane that is 1 where a frame is speech and -1 where it isn't.

    Parameters
    ----------
    normaliser : Normaliser
    """

    def __init__(self, normaliser: Normaliser) -> None:
        super().__init__()
        self.normaliser = normaliser
        self.shape = (2, N_MELS, _MEL_FRAMES)

    def encode(self, mels: Mels, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return planes and weights of clips."""
        values, mask = tensors(mels, self.normaliser, classes.device)
        mask = F.pad(mask.float(), (0, _MEL_FRAMES - N_FRAMES))[:, None].expand(-1, N_MELS, -1)
        planes = torch.stack([F.pad(values, (0, _MEL_FRAMES - N_FRAMES)), 2 * mask - 1], 1)
        weight = PADDING_WEIGHT + (1 - PADDING_WEIGHT) * mask
        return planes, torch.stack([weight, torch.ones_like(weight)], 1)

    def decode(
        self, planes: Tensor, classes: Tensor, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return log-mel-spectrograms and masks of planes."""
        planes = planes[..., :N_FRAMES]
        mask = masks((planes[:, 1].mean(1) > 0).sum(1)) if mask is None else mask
        return self.normaliser.invert(planes[:, 0].cpu().numpy(), mask), mask


def tensors(mels: Mels, normaliser: Normaliser, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return clips as a network reads them: normalised values, (N, 128, 172), and masks, (N, 172)."""
    return torch.from_numpy(normaliser.apply(mels)).to(device), torch.from_numpy(mels.mask).to(device)


def masks(lengths: Tensor) -> NDArray[np.bool_]:
    """Return the masks, (N, 172), of clips of some frames, (N,)."""
    return np.stack([centred(round(float(length))) for length in lengths])
