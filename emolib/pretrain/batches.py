"""Speech in memory, and the batches drawn from it: crops, speeds, masks, rooms, channels and noises.

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
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import librosa
import numpy as np
import pandas as pd
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from emolib import audio
from emolib.pretrain.targets import HOP, PITCH, PITCH_SCALE_ST, SAMPLE_RATE, WINDOW, Targets, n_frames
from emolib.training import Loss, Training

if TYPE_CHECKING:
    from emolib.pretrain.encoder import Settings

#: The file of a training's validations.
CURVE = "validation.csv"
_TOP_DB = 40.0  # what is quieter than this, at either end, is not the clip
_REVERB_SAMPLES = 4_800  # 0.3 s: what comes later lies below the noise
_EQ_TERMS = 6
#: Numbers of clips.
Clips = NDArray[np.int64]
#: A piece of a clip, (S,), and where the targets of its frames are, (T,).
Crop = tuple[audio.Wave, NDArray[np.int64]]


@dataclass(frozen=True)
class Pretraining:
    """What a training did.

    Attributes
    ----------
    folder : Path; of the network
    steps : int
    validation : DataFrame; step, and what was measured of the held-out clips
    n_clips, speech_s : int and float; clips used, held-out ones included, and their length with silence
    skipped : list of dict; path and reason of each clip that could not be used
    seconds : float; of this call
    """

    folder: Path
    steps: int
    validation: pd.DataFrame
    n_clips: int
    speech_s: float
    skipped: list[dict[str, str]]
    seconds: float


def carry_out(
    training: Training, batch: Callable[[int], Any], loss: Loss,
    validate: Callable[[], Mapping[str, float]], export: Callable[[Training, Path], None], speech: "Speech",
    out: Path, started: float, *, name: str, progress: bool,
) -> Pretraining:  # fmt: skip
    """Run a training, export it on the way, and tell what it did.

    Parameters
    ----------
    training, batch, loss, validate, export : the training, its batch of a step, the batch's loss, its
        validation, and what writes its network; the recipe has validate_every and checkpoint_every
    speech : Speech
    out : Path; a folder that `training.in_folder` holds
    started : float, s; of `time.monotonic`, when the speech was yet to be loaded
    name : str; of the progress bar
    progress : bool
    """
    settings: Any = training.recipe

    def write() -> None:
        export(training, out)
        pd.DataFrame(training.curve).to_csv(out / CURVE, index=False)

    training.run(
        lambda step: [batch(step).to(training.accelerator.device)], loss, folder=out, validate=validate,
        validate_every=settings.validate_every, checkpoint_every=settings.checkpoint_every,
        events=[(settings.checkpoint_every, write)], name=name, progress=progress,
    )  # fmt: skip
    write()  # always: a training killed after its last checkpoint has not done so
    speech_s = sum(map(len, speech.waves)) / speech.sample_rate
    return Pretraining(
        out, training.step, pd.DataFrame(training.curve), len(speech.waves), speech_s, speech.skipped,
        time.monotonic() - started,
    )  # fmt: skip


@dataclass(frozen=True)
class Speech:
    """N clips at one sampling rate.

    Attributes
    ----------
    waves : list of int16 arrays, (S,)
    spans : int64 array, (N, 2), samples; where the clip begins and ends within the silence around it
    speakers : list of str
    sample_rate : int, Hz
    skipped : list of dict; path and reason of each clip that could not be used
    """

    waves: list[NDArray[np.int16]]
    spans: NDArray[np.int64]
    speakers: list[str]
    sample_rate: int
    skipped: list[dict[str, str]]

    def wave(self, clip: int, first: int = 0, last: int | None = None) -> audio.Wave:
        """Return one clip, or the part from one sample to another, as float32, (S,)."""
        return self.waves[clip][first:last].astype(np.float32) / np.float32(32_768)

    def chances(self, clips: Clips) -> NDArray[np.float64]:
        """Return how likely each of some clips is drawn: a speaker counts as the root of its clips."""
        speakers = np.unique(np.asarray(self.speakers)[clips], return_inverse=True)[1]
        weight = np.bincount(speakers)[speakers] ** -0.5
        return weight / weight.sum()


def load_speech(
    manifest: pd.DataFrame, sample_rate: int = SAMPLE_RATE, *, shortest_s: float = 0.3, progress: bool = False
) -> Speech:
    """Load the clips of a manifest; each row's sound and, where it is there, `speaker` are read.

    Raises
    ------
    ValueError
        If the manifest is empty, or fewer than two clips can be used.
    """
    if len(manifest) == 0:
        raise ValueError("the manifest has no clips; give one with at least a path for each clip to train on")
    waves, spans, speakers, skipped = [], [], [], []
    for row in tqdm(manifest.to_dict("records"), "load", unit="clip", disable=not progress):
        try:
            wave, _ = audio.load_clip(row, sample_rate)
            span = librosa.effects.trim(wave, top_db=_TOP_DB)[1]
            if span[1] - span[0] < shortest_s * sample_rate:
                raise audio.AudioError(f"shorter than {shortest_s} s without its silence")
        except audio.AudioError as error:
            skipped.append({"path": str(row["path"]), "reason": str(error)})
            continue
        waves.append((np.clip(wave, -1, 1) * 32_767).astype(np.int16))
        spans.append(span)
        speakers.append(str(row.get("speaker", "")))
    if len(waves) < 2:
        problem = skipped[0]["reason"] if skipped else "there is one clip"
        raise ValueError(
            f"{len(waves)} of {len(manifest)} clips can be used and at least 2 are needed, one to train on "
            f"and one held out; the first problem: {problem}"
        )
    return Speech(waves, np.asarray(spans, np.int64), speakers, sample_rate, skipped)


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
