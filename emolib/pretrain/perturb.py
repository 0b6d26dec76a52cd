"""Other rooms, channels and noises for a batch of speech, all drawn from a seeded generator.

Third stage of `emolib.pretrain`: targets come from the clean clip, the network hears the perturbed one, and
so learns what of a voice survives a channel. Linear effects are joined into one transfer function.

References
----------
S. Chen et al. (2022), "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
arXiv:2110.13900 (noise and overlapped utterances). T. Ko et al. (2015), "Audio augmentation for speech
recognition", Interspeech, 3586-3589 (speed, applied in `batches`).
"""

import math

import torch
from torch import Tensor

_SAMPLE_RATE = 16_000
_REVERB_SAMPLES = 4_800  # 0.3 s: what comes later lies below the noise
_EQ_TERMS = 6


def perturb(waves: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Give each wave of a batch its own channel, room, noise and overload.

    Parameters
    ----------
    waves : float32 tensor, (B, S), each at unit root-mean-square level
    strength : float, in [0, 1]
        The factor on the probability of each effect: equaliser .7, high-pass .35, low-pass .5, reverberation
        .5, noise .6, a second voice .15, overload .15.
    generator : torch.Generator
        On the processor, whatever device the waves are on, so that a seed means the same everywhere.

    Returns
    -------
    perturbed : float32 tensor, (B, S)
    """
    draws = _Draws(len(waves), strength, generator, waves.device)
    length = _fast_length(waves.shape[1] + _REVERB_SAMPLES)
    transfer = _equaliser(draws, length) * torch.fft.rfft(_impulse_response(draws), length)
    heard = torch.fft.irfft(torch.fft.rfft(waves, length) * transfer, length)[:, : waves.shape[1]]
    heard = heard / (heard.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    heard = heard + draws.switch(0.6) * draws.decibels(-40, -5) * _noise(draws, waves.shape[1])
    heard = heard + draws.switch(0.15) * draws.decibels(-20, -5) * _other_voices(waves, generator)
    overloaded = draws.switch(0.15)
    return (1 - overloaded) * heard + overloaded * torch.tanh(heard * draws.uniform(0.3, 1.5))


class _Draws:
    """Random numbers for a batch of B waves, each (B, 1)."""

    def __init__(self, n: int, strength: float, generator: torch.Generator, device: torch.device) -> None:
        self.n, self.strength, self.generator, self.device = n, strength, generator, device

    def uniform(self, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(self.n, 1, generator=self.generator)).to(self.device)

    def decibels(self, low: float, high: float) -> Tensor:
        return 10 ** (self.uniform(low, high) / 20)

    def switch(self, probability: float) -> Tensor:
        return (self.uniform(0, 1) < probability * self.strength).float()

    def normal(self, width: int) -> Tensor:
        return torch.randn(self.n, width, generator=self.generator).to(self.device)


def _fast_length(n: int) -> int:
    """Return the next length that is 2^k or 3 * 2^k, which FFTs are quick at."""
    power = 1 << (n - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= n else power


def _equaliser(draws: _Draws, length: int) -> Tensor:
    """Return gains, (B, length // 2 + 1): a smooth random curve of about 7 dB, a high-pass and a low-pass."""
    hz = torch.linspace(0, _SAMPLE_RATE / 2, length // 2 + 1, device=draws.device)[None]
    octaves = torch.log2(hz.clamp(min=40) / 40) / math.log2(_SAMPLE_RATE / 2 / 40)  # in [0, 1]
    order = torch.arange(1, _EQ_TERMS + 1, device=draws.device).float()
    curve = draws.normal(_EQ_TERMS) * 7 / order.sqrt() @ torch.cos(math.pi * order[:, None] * octaves)
    below, above = draws.uniform(50, 400), 10 ** draws.uniform(math.log10(2500), math.log10(7500))
    high_pass = (24 * torch.log2((below / hz.clamp(min=20)).clamp(min=1))).clamp(max=60)  # 24 dB an octave
    low_pass = (30 * torch.log2((hz / above).clamp(min=1))).clamp(max=60)
    gain_db = draws.switch(0.7) * curve - draws.switch(0.35) * high_pass - draws.switch(0.5) * low_pass
    return 10 ** (gain_db / 20)


def _impulse_response(draws: _Draws) -> Tensor:
    """Return rooms, (B, 4800): the direct sound, then noise, 0 to 15 dB less, that decays in 0.1 to 0.8 s."""
    time_s = torch.arange(_REVERB_SAMPLES, device=draws.device)[None] / _SAMPLE_RATE
    tail = draws.normal(_REVERB_SAMPLES) * torch.exp(-6.9 * time_s / draws.uniform(0.1, 0.8))
    tail[:, :32] = 0  # 2 ms until the first reflection
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
    response = draws.switch(0.5) * draws.decibels(-15, 0) * tail
    response[:, 0] = 1
    return response


def _noise(draws: _Draws, n_samples: int) -> Tensor:
    """Return noise at unit level, (B, S), between white and pink squared."""
    spectrum = torch.fft.rfft(draws.normal(n_samples))
    hz = torch.linspace(0, _SAMPLE_RATE / 2, spectrum.shape[1], device=draws.device)[None]
    noise = torch.fft.irfft(spectrum * (hz.clamp(min=30) / 1000) ** -draws.uniform(0, 1), n_samples)
    return noise / noise.std(dim=1, keepdim=True)


def _other_voices(waves: Tensor, generator: torch.Generator) -> Tensor:
    """Return, for each wave, another one of the batch."""
    if len(waves) == 1:
        return torch.zeros_like(waves)
    return waves.roll(int(torch.randint(1, len(waves), (1,), generator=generator)), dims=0)
