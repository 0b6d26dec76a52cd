"""Speech in memory, and the batches drawn from it: crops, speeds, masks.

Fourth stage of `emolib.pretrain`. Every batch is a function of the seed and the step alone, so a
training that is taken up again needs no state of a sampler.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from emolib import audio
from emolib.pretrain.analysis import HOP, SAMPLE_RATE, WINDOW, Array, Frames, analyse, functionals, n_frames
from emolib.pretrain.perturb import perturb
from emolib.pretrain.settings import Settings
from emolib.pretrain.targets import PITCH, PITCH_SCALE_ST, Targets, make_targets

MIN_DURATION_S = 0.3  # below it, rhythm and pitch mean nothing
_TOP_DB = 40.0  # what is quieter than this, at either end, is not the clip


@dataclass(frozen=True)
class Speech:
    """N clips at 16 kHz.

    Attributes
    ----------
    waves : list of int16 arrays, (S,)
    spans : int64 array, (N, 2), samples; where the clip begins and ends within the silence around it
    voices : list of str; each clip's speaker
    """

    waves: list[NDArray[np.int16]]
    spans: NDArray[np.int64]
    voices: list[str]

    @property
    def seconds(self) -> float:
        """Length of all clips together, silence included."""
        return sum(map(len, self.waves)) / SAMPLE_RATE

    def take(self, clips: NDArray[np.int64]) -> "Speech":
        """Return some of the clips."""
        waves, voices = [self.waves[n] for n in clips], [self.voices[n] for n in clips]
        return dataclasses.replace(self, waves=waves, spans=self.spans[clips], voices=voices)

    def wave(self, clip: int) -> audio.Wave:
        """Return one clip as float32, (S,)."""
        return self.waves[clip].astype(np.float32) / np.float32(32_768)


def load_speech(manifest: pd.DataFrame, *, progress: bool = False) -> tuple[Speech, list[dict[str, str]]]:
    """Load the clips of a manifest; each row's sound and, where it is there, `speaker` are read.

    Returns
    -------
    speech : Speech
    skipped : list of dict; path and reason of each clip that can't be used
    """
    waves, spans, voices, skipped = [], [], [], []
    for row in tqdm(manifest.to_dict("records"), "load", unit="clip", disable=not progress):
        path = str(row["path"])
        try:
            wave, _ = audio.load_clip(row, SAMPLE_RATE)
        except audio.AudioError as error:
            skipped.append({"path": path, "reason": str(error)})
            continue
        span = librosa.effects.trim(wave, top_db=_TOP_DB)[1]
        if span[1] - span[0] < MIN_DURATION_S * SAMPLE_RATE:
            skipped.append({"path": path, "reason": f"shorter than {MIN_DURATION_S} s without its silence"})
            continue
        waves.append((np.clip(wave, -1, 1) * 32_767).astype(np.int16))
        spans.append(span)
        voices.append(str(row.get("speaker", "")))
    return Speech(waves, np.array(spans, np.int64).reshape(-1, 2), voices), skipped


def measure(speech: Speech, settings: Settings, *, progress: bool = False) -> Targets:
    """Analyse N clips and make their targets."""
    clips: list[Frames] = []
    summaries: list[Array] = []
    for n in tqdm(range(len(speech.waves)), "analyse", unit="clip", disable=not progress):
        frames = analyse(speech.wave(n))
        first, last = speech.spans[n] // HOP
        clips.append(frames)
        summaries.append(functionals(Frames(*(track[first:last] for track in frames))))
    return make_targets(
        clips, np.stack(summaries), speech.voices,
        n_units=settings.n_units, n_expression_units=settings.n_expression_units, seed=settings.seed,
    )  # fmt: skip


class Batch(NamedTuple):
    """B crops of S samples and T frames, each followed by silence up to S, and their targets.

    Attributes
    ----------
    waves : float32 tensor, (B, S), mean 0 and variance 1 over each crop
    heard : int64 tensor, (B, S); 1 where there is a crop
    valid, masked : bool tensor, (B, T); frames of the crop, and those that the network doesn't see
    units : int64 tensor, (B, T)
    acoustics, known : float32 and bool tensor, (B, T, A)
    expression : float32 tensor, (B, E)
    expression_units : int64 tensor, (B,)
    """

    waves: Tensor
    heard: Tensor
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

    def __init__(
        self, speech: Speech, targets: Targets, clips: NDArray[np.int64], settings: Settings
    ) -> None:
        self.speech, self.targets, self.clips, self.settings = speech, targets, clips, settings
        voices = np.unique(np.asarray(speech.voices)[clips], return_inverse=True)[1]
        weight = np.bincount(voices)[voices] ** -0.5  # a voice counts as the root of its clips
        self._chances = weight / weight.sum()
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
            crops = [
                self._cut(int(n), int(first), int(last), 1.0)
                for n, (first, last) in zip(clips, spans, strict=True)
            ]
            batches.append(
                self._collate(clips, crops, np.ones(len(clips)), np.ones(len(clips), bool), 0.0, rng)
            )
        return batches

    def _crop(
        self, clip: int, speed: float, rng: np.random.Generator
    ) -> tuple[audio.Wave, NDArray[np.int64]]:
        """Cut a random piece of a clip: half of them with silence around the clip, half of them shorter."""
        first, last = (int(edge) for edge in self.speech.spans[clip])
        if rng.random() < 0.5:
            first = int(rng.integers(0, first + 1))
            last = int(rng.integers(last, len(self.speech.waves[clip]) + 1))
        wanted = int(self.crop_samples * speed * (rng.uniform(0.5, 1) if rng.random() < 0.5 else 1))
        spare = last - first - wanted
        start = first + (int(rng.integers(0, spare + 1)) if spare > 0 else 0)
        return self._cut(clip, start // HOP * HOP, min(start + wanted, last), speed)

    def _cut(self, clip: int, first: int, last: int, speed: float) -> tuple[audio.Wave, NDArray[np.int64]]:
        """Return a piece of a clip at another speed, (S,), and where the targets of its frames are, (T,).

        Speed moves pitch, resonances and tempo together: another speaker, whose habit moves as well, so that
        targets relative to the speaker stay true.
        """
        wave = self.speech.waves[clip][first:last].astype(np.float32) / np.float32(32_768)
        if abs(speed - 1) > 0.005:
            wave = soxr.resample(wave, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
        wave = wave[: self.crop_samples]
        wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
        centre = first + speed * (np.arange(n_frames(len(wave))) * HOP + WINDOW / 2)  # samples of the clip
        begin, end = self.targets.starts[clip : clip + 2]
        frame = np.round((centre - WINDOW / 2) / HOP).astype(np.int64)
        return wave, begin + np.clip(frame, 0, end - begin - 1)

    def _collate(
        self,
        clips: NDArray[np.int64],
        crops: list[tuple[audio.Wave, NDArray[np.int64]]],
        speeds: NDArray[np.float64],
        masked: NDArray[np.bool_],
        perturbation: float,
        rng: np.random.Generator,
    ) -> Batch:
        n, settings, targets = len(crops), self.settings, self.targets
        n_all = n_frames(self.crop_samples)
        waves = np.zeros((n, self.crop_samples), np.float32)
        heard, frames = np.zeros(waves.shape, np.int64), np.zeros((n, n_all), np.int64)
        valid, mask = np.zeros((n, n_all), bool), np.zeros((n, n_all), bool)
        for row, (wave, own) in enumerate(crops):
            waves[row, : len(wave)] = wave / (np.sqrt(np.mean(wave**2)) + 1e-5)
            heard[row, : len(wave)], valid[row, : len(own)], frames[row, : len(own)] = 1, True, own
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
        heard_t = torch.from_numpy(heard)
        return Batch(_normalise(speech, heard_t), heard_t, *map(torch.from_numpy, arrays))


def _normalise(waves: Tensor, heard: Tensor) -> Tensor:
    """Give each crop mean 0 and variance 1 as its feature extractor does, and silence beyond it."""
    count = heard.sum(dim=1, keepdim=True)
    centred = (waves - (waves * heard).sum(dim=1, keepdim=True) / count) * heard
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()
