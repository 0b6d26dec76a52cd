"""What a vocoder is judged by while it trains: spectrograms at several resolutions, and the mel-spectrogram.

First stage of `emolib.vocoding`. None of them depends on the absolute phase, which a mel-spectrogram doesn't
tell.

References
----------
R. Yamamoto, E. Song, J.-M. Kim (2020), "Parallel WaveGAN", arXiv:1910.11480 (the multi-resolution loss).
J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN", arXiv:2010.05646 (the mel loss).
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from emolib.audio import MelSpec, mel_filters

_SMALLEST = 1e-4  # magnitudes below it count as silence


def spectral_loss(given: Tensor, target: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the multi-resolution spectral loss of waves, (B, S), against waves, (B, S).

    Notes
    -----
    At each window size, the mean absolute difference of log magnitudes plus the norm of the difference of
    magnitudes over the norm of the target's; the mean over the sizes.
    """
    losses = []
    for size in sizes:
        own, wanted = magnitudes(given, size), magnitudes(target, size)
        distance = (wanted - own).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
        losses.append((own.log() - wanted.log()).abs().mean() + distance.mean())
    return torch.stack(losses).mean()


def magnitudes(waves: Tensor, size: int) -> Tensor:
    """Return magnitudes, (B, size // 2 + 1, T), of waves, (B, S), at a hop of a quarter window."""
    window = torch.hann_window(size, device=waves.device)
    spectrum = torch.stft(waves, size, size // 4, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=_SMALLEST**2).sqrt()


def log_mel(waves: Tensor, spec: MelSpec, *, pad: bool = True) -> Tensor:
    """Return log-mel-spectrograms, (B, T, M), of waves, (B, S), as `audio.log_mel` does.

    Without `pad` the waves hold the margin of (n_fft - hop) / 2 samples on either side already.
    """
    if pad:
        margin = (spec.n_fft - spec.hop_length) // 2
        waves = F.pad(waves[:, None], (margin, margin), mode="reflect")[:, 0]
    window = torch.hann_window(spec.n_fft, device=waves.device)
    spectrum = torch.stft(
        waves, spec.n_fft, spec.hop_length, window=window, center=False, return_complex=True
    )
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    bands = _filters(spec).to(waves.device) @ magnitude
    return bands.clamp(min=spec.floor).log().transpose(1, 2)


@lru_cache(maxsize=2)
def _filters(spec: MelSpec) -> Tensor:
    return torch.from_numpy(mel_filters(spec).copy())
