"""The batches that are drawn from speech: crops, speeds, masks, rooms, channels and noises.

Every batch is a function of the seed and the step alone, so a training that is resumed needs no state of a
sampler. Targets come from the clean clip and the network reads the perturbed one, so it learns what of a
voice survives a channel.

References
----------
S. Chen et al. (2022), "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
arXiv:2110.13900 (noise and overlapped utterances). T. Ko et al. (2015), "Audio augmentation for speech
recognition", Interspeech, 3586-3589 (speed).
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import audio
from emolib.pretrain import Clips, Speech

from .targets import HOP, PITCH, PITCH_SCALE_ST, SAMPLE_RATE, WINDOW, Targets, n_frames

if TYPE_CHECKING:
    from .recipe import Settings

_REVERB_SAMPLES = 4_800  # 0.3 s: what comes later lies below the noise
_EQ_TERMS = 6
#: A piece of a clip, (S,), and where the targets of its frames are, (T,).
Crop = tuple[audio.Wave, NDArray[np.int64]]


class Batch(NamedTuple):
    """B crops of S samples and T frames, each followed by silence up to S, and their targets.

    Attributes
    ----------
    waves : float32 tensor, (B, S), mean 0 and variance 1 over each crop
    inside : int64 tensor, (B, S); 1 where there is a crop
    valid, masked : bool tensor, (B, T); frames of the crop, and those that the network doesn't see
    units : int64 tensor, (B, T)
    acoustics, known : float32 and bool tensor, (B, T, A)
    expression : float32 tensor, (B, E)
    expression_units : int64 tensor, (B,)
    """

    waves: Tensor
    inside: Tensor
    valid: Tensor
    masked: Tensor
    units: Tensor
    acoustics: Tensor
    known: Tensor
    expression: Tensor
    expression_units: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move everything to a device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Batches:
    """Draw batches from some of the clips.

    Parameters
    ----------
    speech : Speech, N clips
    targets : Targets of the same clips
    clips : int64 array; those to draw from
    settings : Settings
    """

    def __init__(self, speech: Speech, targets: Targets, clips: Clips, settings: "Settings") -> None:
        self.speech, self.targets, self.clips, self.settings = speech, targets, clips, settings
        self._chances = speech.chances(clips)
        self.crop_samples = round(settings.crop_s * SAMPLE_RATE)

    def training(self, step: int) -> Batch:
        """Return the batch of a step: perturbed, and the same whenever it is asked for."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, step))
        clips = rng.choice(self.clips, settings.batch_size, p=self._chances)
        speeds = np.exp(rng.uniform(-settings.speed, settings.speed, len(clips)))
        crops = [self._crop(int(clip), float(speed), rng) for clip, speed in zip(clips, speeds, strict=True)]
        masked = rng.random(len(clips)) < settings.masked_share
        return self._collate(clips, crops, speeds, masked, settings.perturbation, rng)

    def validation(self) -> list[Batch]:
        """Return every clip once, unperturbed, with masks that are always the same."""
        size = self.settings.batch_size
        batches = []
        for start in range(0, len(self.clips), size):
            rng = np.random.default_rng((self.settings.seed, start))
            clips = self.clips[start : start + size]
            spans = self.speech.spans[clips]
            crops = [self._cut(clip, a, b, 1.0) for clip, (a, b) in zip(clips, spans, strict=True)]
            speeds, masked = np.ones(len(clips)), np.ones(len(clips), bool)
            batches.append(self._collate(clips, crops, speeds, masked, 0.0, rng))
        return batches

    def _crop(self, clip: int, speed: float, rng: np.random.Generator) -> Crop:
        """Cut a random piece of a clip: half of them with silence around the clip, half of them shorter."""
        first, last = (int(edge) for edge in self.speech.spans[clip])
        if rng.random() < 0.5:
            first = int(rng.integers(0, first + 1))
            last = int(rng.integers(last, len(self.speech.waves[clip]) + 1))
        wanted = int(self.crop_samples * speed * (rng.uniform(0.5, 1) if rng.random() < 0.5 else 1))
        spare = last - first - wanted
        start = first + (int(rng.integers(0, spare + 1)) if spare > 0 else 0)
        return self._cut(clip, start // HOP * HOP, min(start + wanted, last), speed)

    def _cut(self, clip: int, first: int, last: int, speed: float) -> Crop:
        """Return a piece of a clip at another speed, (S,), and where the targets of its frames are, (T,).

        Speed moves pitch, resonances and tempo together: another speaker, whose habit moves as well, so that
        targets relative to the speaker stay true.
        """
        wave = self.speech.wave(clip, first, last)
        if abs(speed - 1) > 0.005:
            wave = soxr.resample(wave, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
        wave = wave[: self.crop_samples]
        wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
        centre = first + speed * (np.arange(n_frames(len(wave))) * HOP + WINDOW / 2)  # samples of the clip
        begin, end = self.targets.starts[clip : clip + 2]
        frame = np.round((centre - WINDOW / 2) / HOP).astype(np.int64)
        return wave, begin + np.clip(frame, 0, end - begin - 1)

    def _collate(
        self, clips: Clips, crops: list[Crop], speeds: NDArray[np.float64],
        masked: NDArray[np.bool_], perturbation: float, rng: np.random.Generator,
    ) -> Batch:  # fmt: skip
        n, settings, targets = len(crops), self.settings, self.targets
        n_all = n_frames(self.crop_samples)
        waves = np.zeros((n, self.crop_samples), np.float32)
        inside, frames = np.zeros(waves.shape, np.int64), np.zeros((n, n_all), np.int64)
        valid, mask = np.zeros((n, n_all), bool), np.zeros((n, n_all), bool)
        for row, (wave, own) in enumerate(crops):
            waves[row, : len(wave)] = wave / (np.sqrt(np.mean(wave**2)) + 1e-5)
            inside[row, : len(wave)], valid[row, : len(own)], frames[row, : len(own)] = 1, True, own
            if masked[row]:
                for start in np.flatnonzero(rng.random(n_all) < settings.mask_chance):
                    mask[row, start : start + settings.mask_frames] = True
        speech = torch.from_numpy(waves)
        if perturbation > 0:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            speech = perturb(speech, perturbation, generator)
        acoustics = targets.acoustics[frames]
        acoustics[..., PITCH] += (12 * np.log2(speeds) / PITCH_SCALE_ST)[:, None]
        arrays = (
            valid, mask & valid, targets.units[frames], acoustics,
            targets.known[frames] & valid[..., None],
            targets.expression[clips], targets.expression_units[clips],
        )  # fmt: skip
        where = torch.from_numpy(inside)
        return Batch(_normalise(speech, where), where, *map(torch.from_numpy, arrays))


def _normalise(waves: Tensor, inside: Tensor) -> Tensor:
    """Give each crop mean 0 and variance 1 as its feature extractor does, and silence beyond it."""
    count = inside.sum(dim=1, keepdim=True)
    centred = (waves - (waves * inside).sum(dim=1, keepdim=True) / count) * inside
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()


# ------------------------------------------------------------------------------------- perturbation


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
    changed = torch.fft.irfft(torch.fft.rfft(waves, length) * transfer, length)[:, : waves.shape[1]]
    changed = changed / (changed.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    changed = changed + draws.switch(0.6) * draws.decibels(-40, -5) * _noise(draws, waves.shape[1])
    changed = changed + draws.switch(0.15) * draws.decibels(-20, -5) * _other_voices(waves, generator)
    overloaded = draws.switch(0.15)
    return (1 - overloaded) * changed + overloaded * torch.tanh(changed * draws.uniform(0.3, 1.5))


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
    hz = torch.linspace(0, SAMPLE_RATE / 2, length // 2 + 1, device=draws.device)[None]
    octaves = torch.log2(hz.clamp(min=40) / 40) / math.log2(SAMPLE_RATE / 2 / 40)  # in [0, 1]
    order = torch.arange(1, _EQ_TERMS + 1, device=draws.device).float()
    curve = draws.normal(_EQ_TERMS) * 7 / order.sqrt() @ torch.cos(math.pi * order[:, None] * octaves)
    below, above = draws.uniform(50, 400), 10 ** draws.uniform(math.log10(2500), math.log10(7500))
    high_pass = (24 * torch.log2((below / hz.clamp(min=20)).clamp(min=1))).clamp(max=60)  # 24 dB an octave
    low_pass = (30 * torch.log2((hz / above).clamp(min=1))).clamp(max=60)
    gain_db = draws.switch(0.7) * curve - draws.switch(0.35) * high_pass - draws.switch(0.5) * low_pass
    return 10 ** (gain_db / 20)


def _impulse_response(draws: _Draws) -> Tensor:
    """Return rooms, (B, 4800): the direct sound, then noise, 0 to 15 dB less, that decays in 0.1 to 0.8 s."""
    time_s = torch.arange(_REVERB_SAMPLES, device=draws.device)[None] / SAMPLE_RATE
    tail = draws.normal(_REVERB_SAMPLES) * torch.exp(-6.9 * time_s / draws.uniform(0.1, 0.8))
    tail[:, :32] = 0  # 2 ms until the first reflection
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
    response = draws.switch(0.5) * draws.decibels(-15, 0) * tail
    response[:, 0] = 1
    return response


def _noise(draws: _Draws, n_samples: int) -> Tensor:
    """Return noise at unit level, (B, S), between white and pink squared."""
    spectrum = torch.fft.rfft(draws.normal(n_samples))
    hz = torch.linspace(0, SAMPLE_RATE / 2, spectrum.shape[1], device=draws.device)[None]
    noise = torch.fft.irfft(spectrum * (hz.clamp(min=30) / 1000) ** -draws.uniform(0, 1), n_samples)
    return noise / noise.std(dim=1, keepdim=True)


def _other_voices(waves: Tensor, generator: torch.Generator) -> Tensor:
    """Return, for each wave, another one of the batch."""
    if len(waves) == 1:
        return torch.zeros_like(waves)
    return waves.roll(int(torch.randint(1, len(waves), (1,), generator=generator)), dims=0)
