"""A small residual network over log-mel-spectrograms, whose answers do not depend on the padding.

In training, the batch statistics of its normalisation layers include the zeros behind clips that are shorter
than the crop.

Second stage of the ResNet; `emolib.ser.resnet` trains it.

References
----------
K. He, X. Zhang, S. Ren, J. Sun (2016), "Deep Residual Learning for Image Recognition", arXiv:1512.03385. Mean
and deviation over time: D. Snyder et al. (2018), "X-vectors: Robust DNN Embeddings for Speaker Recognition",
doi:10.1109/ICASSP.2018.8461375.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    """Two convolutions of 3 x 3 and the input added to them."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = _hide(torch.relu(self.norms[0](self.first(x))), mask)
        return _hide(torch.relu(self.norms[1](self.second(h)) + self.shortcut(x)), mask)


class ResNet(nn.Module):
    """From normalised log-mel-spectrograms to scores of classes.

    Parameters
    ----------
    n_classes : int
    widths : sequence of int; channels of the stem and of each block. Every block but the first halves the
        resolution, and the stem quarters it
    dropout : float; of the features
    """

    def __init__(
        self, n_classes: int, widths: Sequence[int] = (16, 32, 64, 96), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = itertools.pairwise(widths)
        self.blocks = nn.ModuleList(_Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs))
        self.width = 2 * widths[-1]
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(self.width, n_classes)

    def features(self, x: Tensor, frames: Tensor) -> Tensor:
        """Return mean and deviation over time of what the last block hears, (N, D).

        Parameters
        ----------
        x : float32 tensor, (N, M, T); zero where there is padding, which only follows speech
        frames : int tensor, (N,); the number of frames of speech
        """
        height = torch.linspace(-1, 1, x.shape[1], device=x.device)  # a filter may know its band
        x = torch.stack([x, height[None, :, None].expand_as(x)], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        whole = bool((frames >= x.shape[-1]).all())  # nothing to hide, as in most crops
        mask = None if whole else _mask(frames, x.shape[-1])
        x, mask = self.stem(_hide(x, mask)), _halve(mask)
        x = _hide(torch.relu(self.norm(x)), mask)
        x, mask = nn.functional.max_pool2d(x, 2, ceil_mode=True), _halve(mask)
        for i, block in enumerate(self.blocks):
            mask = mask if i == 0 else _halve(mask)
            x = block(x, mask)
        x = x.float().mean(2)  # over bands: (N, C, T)
        return _statistics(x, torch.ones_like(x[:, :1]) if mask is None else mask[:, 0].float())

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Return scores, (N, C)."""
        return self.head(self.dropout(self.features(x, frames)))


def _mask(frames: Tensor, n_frames: int) -> Tensor:
    """Return where there is speech, (N, 1, 1, T)."""
    return (torch.arange(n_frames, device=frames.device) < frames[:, None])[:, None, None]


def _halve(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[..., ::2]


def _hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x with zeros in the padding."""
    return x if mask is None else x * mask.to(x.dtype)


def _statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Return mean and deviation of x, (N, C, T), over the frames that the mask, (N, 1, T), keeps."""
    count = mask.sum(-1).clamp(min=1)
    mean = (x * mask).sum(-1) / count
    variance = ((x - mean[..., None]).square() * mask).sum(-1) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)
