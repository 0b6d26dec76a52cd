"""Small discriminators: spectrograms at several resolutions, and the wave folded at several periods.

Third stage of `emolib.vocoding`, a fraction of the published sizes so that two cores can train them.

References
----------
W. Jang et al. (2021), "UnivNet", arXiv:2106.07889, and A. Defossez et al. (2022), "High Fidelity Neural Audio
Compression", arXiv:2210.13438 (spectrograms). J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN", arXiv:2010.05646
(periods, feature matching). X. Mao et al. (2016), arXiv:1611.04076 (least squares).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.1
_QUIETEST = 1e-3


class _Stack(nn.Module):
    """Convolutions whose outputs are all kept: the features, the last of them the verdict."""

    layers: nn.ModuleList

    def forward(self, hidden: Tensor) -> list[Tensor]:
        features = []
        for layer in self.layers[:-1]:
            hidden = F.leaky_relu(layer(hidden), _SLOPE)
            features.append(hidden)
        return [*features, self.layers[-1](hidden)]


class SpectrogramDiscriminator(_Stack):
    """Judge complex spectrograms with windows of `size` samples."""

    def __init__(self, size: int, channels: int = 12) -> None:
        super().__init__()
        self.size = size
        strided = [nn.Conv2d(channels, channels, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
        self.layers = nn.ModuleList(
            [nn.Conv2d(2, channels, (3, 9), (1, 2), (1, 4)), *strided, nn.Conv2d(channels, 1, 3, padding=1)]
        )

    def forward(self, waves: Tensor) -> list[Tensor]:
        window = torch.hann_window(self.size, device=waves.device)
        spectrum = torch.stft(waves, self.size, self.size // 4, window=window, return_complex=True)
        scaled = spectrum / self.size**0.5
        planes = torch.stack([scaled.real, scaled.imag], dim=1).transpose(2, 3)
        return super().forward(planes)


class PeriodDiscriminator(_Stack):
    """Judge every `period`-th sample of a wave."""

    def __init__(self, period: int, widths: tuple[int, ...] = (1, 8, 16, 32, 64)) -> None:
        super().__init__()
        self.period = period
        strided = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList([*strided, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))])

    def forward(self, waves: Tensor) -> list[Tensor]:
        whole = waves.shape[1] // self.period * self.period
        return super().forward(waves[:, :whole].view(len(waves), 1, -1, self.period))


class Discriminators(nn.Module):
    """All of them; waves, (B, S), to one list of features each."""

    def __init__(
        self, sizes: tuple[int, ...] = (512, 1024, 2048), periods: tuple[int, ...] = (2, 3, 5, 7)
    ) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [*map(SpectrogramDiscriminator, sizes), *map(PeriodDiscriminator, periods)]
        )

    def forward(self, waves: Tensor) -> list[list[Tensor]]:
        return [judge(waves) for judge in self.judges]


def same_level(waves: Tensor, target: Tensor) -> Tensor:
    """Scale waves, (B, S), by what brings their targets to a root-mean-square of 0.1."""
    level = target.square().mean(dim=1, keepdim=True).sqrt().clamp(min=_QUIETEST)
    return 0.1 * waves / level


def discriminator_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Return the least-squares loss: real waves are 1, generated ones are 0."""
    losses = [
        (own[-1].float() - 1).square().mean() + other[-1].float().square().mean()
        for own, other in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the generator's adversarial loss, and how far its features are from the real wave's."""
    fooled = torch.stack([(other[-1].float() - 1).square().mean() for other in fake]).mean()
    distances = [
        (a.detach() - b).abs().float().mean() / a.detach().abs().float().mean().clamp(min=1e-6)
        for own, other in zip(real, fake, strict=True)
        for a, b in zip(own[:-1], other[:-1], strict=True)
    ]
    return fooled, torch.stack(distances).mean()
