"""The linear part of the autoencoder: patches of a spectrogram, and the axes that each row of them lies on.

Third stage of `emolib.generate`.

References
----------
The start is probabilistic principal component analysis: M. E. Tipping, C. M. Bishop (1999), Journal of the
Royal Statistical Society B 61(3), 611-622.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emolib.generate.mels import N_MELS

#: Bands and frames of a patch, which is one place of the spatial latent.
PATCH = 16
#: Frames that the network sees: a clip's, to the next multiple of two patches.
PADDED_FRAMES = 192
#: Places of the spatial latent: bands by frames.
PLACES = (N_MELS // PATCH, PADDED_FRAMES // PATCH)


class Patches(nn.Module):
    """The linear part of the autoencoder: each patch of 16 bands by 16 frames on axes of its own row.

    It starts at the patches' principal components and is learned from there. Without it the convolutions
    spend minutes on what an eigenvalue problem of 256 dimensions finds in a second.

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
        """Start at the principal components of clips, as a Gaussian of that noise would have them.

        Parameters
        ----------
        values : float tensor, (N, 128, 172), normalised; mask : bool tensor, (N, 172)
        noise : float; the variance that the loss expects in a bin
        """
        heard = padded(mask.float()).unflatten(1, (PLACES[1], PATCH)).any(2)
        patches = self.cut(padded(values))
        for row in range(PLACES[0]):
            found = patches[:, row][heard].double()
            self.centre[row] = found.mean(0).float()
            power, axes = torch.linalg.eigh(torch.cov(found.T))
            power, axes = (
                power.flip(0)[: self.read.shape[2]].clamp(min=1e-6),
                axes.flip(1)[:, : self.read.shape[2]],
            )
            self.read[row] = (axes * power.sqrt() / (power + noise)).float()
            self.write[row] = (axes * power.sqrt()).T.float()
            self.log_variance[row] = torch.log(noise / (power + noise)).float()


def padded(x: Tensor) -> Tensor:
    """Return frames, (..., 172), with zeros to the network's 192."""
    return F.pad(x, (0, PADDED_FRAMES - x.shape[-1]))
