"""Speech in memory, and the segments drawn from it.

Second stage of `emolib.vocoding`. Every batch is a function of the seed and the step alone, so a training
that is taken up again needs no state of a sampler.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from emolib import audio
from emolib.audio import HIFIGAN_MEL, MelSpec
from emolib.vocoding.losses import log_mel
from emolib.vocoding.settings import Settings

_TOP_DB = 40.0  # what is quieter than this, at either end, is not the clip
_AROUND_S = 0.1  # of silence that stays around it
_LONGEST_VALIDATION_S = 4.0


@dataclass(frozen=True)
class Speech:
    """N clips at the spectrogram's rate, without the silence around them.

    Attributes
    ----------
    waves : list of int16 arrays, (S,)
    voices : list of str; each clip's speaker
    """

    waves: list[NDArray[np.int16]]
    voices: list[str]

    @property
    def seconds(self) -> float:
        """Length of all clips together."""
        return sum(map(len, self.waves)) / HIFIGAN_MEL.sample_rate

    def wave(self, clip: int) -> audio.Wave:
        """Return one clip as float32, (S,)."""
        return self.waves[clip].astype(np.float32) / np.float32(32_768)


def load_speech(
    manifest: pd.DataFrame, spec: MelSpec = HIFIGAN_MEL, *, progress: bool = False
) -> tuple[Speech, list[dict[str, str]]]:
    """Load the clips of a manifest; each row's sound and, where it is there, `speaker` are read.

    Returns
    -------
    speech : Speech
    skipped : list of dict; path and reason of each clip that can't be used
    """
    waves, voices, skipped = [], [], []
    for row in tqdm(manifest.to_dict("records"), "load", unit="clip", disable=not progress):
        path = str(row["path"])
        try:
            wave, _ = audio.load_clip(row, spec.sample_rate)
        except audio.AudioError as error:
            skipped.append({"path": path, "reason": str(error)})
            continue
        first, last = librosa.effects.trim(wave, top_db=_TOP_DB)[1]
        around = round(_AROUND_S * spec.sample_rate)
        wave = wave[max(0, first - around) : last + around]
        if len(wave) < spec.n_fft:
            skipped.append({"path": path, "reason": f"shorter than one window of {spec.n_fft} samples"})
            continue
        waves.append((np.clip(wave, -1, 1) * 32_767).astype(np.int16))
        voices.append(str(row.get("speaker", "")))
    return Speech(waves, voices), skipped


def split(
    speech: Speech, hold_out: Collection[str], settings: Settings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the clips to train on and those to validate with.

    Parameters
    ----------
    speech : Speech
    hold_out : collection of str
        Speakers that are never trained on and that validation clips come from. Without any, validation clips
        are drawn from all.
    settings : Settings

    Raises
    ------
    ValueError
        If a speaker isn't there, or nothing is left on either side.
    """
    voices = np.asarray(speech.voices)
    unknown = sorted(set(hold_out) - set(speech.voices))
    if unknown:
        raise ValueError(
            f"held-out speaker {unknown[0]!r} is not in the manifest; expected one such as "
            f"{speech.voices[0]!r}"
        )
    order = np.random.default_rng(settings.seed).permutation(len(voices))
    away = order[np.isin(voices[order], list(hold_out))] if hold_out else order
    validation = away[: settings.validation_clips]
    training = np.setdiff1d(order, away if hold_out else validation)
    if len(training) == 0 or len(validation) == 0:
        raise ValueError(
            f"{len(training)} clips to train on and {len(validation)} to validate with, of {len(voices)}; at "
            f"least one of each is needed: add clips or hold out less"
        )
    return training, np.sort(validation)


class Batch(NamedTuple):
    """B segments.

    Attributes
    ----------
    log_mel : float32 tensor, (B, T, M)
    waves : float32 tensor, (B, T * hop)
    """

    log_mel: Tensor
    waves: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move everything to a device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Batches:
    """Draw batches from some of the clips.

    Parameters
    ----------
    speech : Speech, N clips
    clips : int64 array; those to draw from
    settings : Settings
    """

    def __init__(self, speech: Speech, clips: NDArray[np.int64], settings: Settings) -> None:
        self.speech, self.clips, self.settings, self.spec = speech, clips, settings, HIFIGAN_MEL
        voices = np.unique(np.asarray(speech.voices)[clips], return_inverse=True)[1]
        weight = np.bincount(voices)[voices] ** -0.5  # a voice counts as the root of its clips
        self._chances = weight / weight.sum()

    def training(self, step: int) -> Batch:
        """Return the batch of a step; the same whenever it is asked for."""
        rng = np.random.default_rng((self.settings.seed, step))
        clips = rng.choice(self.clips, self.settings.batch_size, p=self._chances)
        margin = (self.spec.n_fft - self.spec.hop_length) // 2
        waves = torch.from_numpy(np.stack([self._cut(int(clip), rng) for clip in clips]))
        return Batch(log_mel(waves, self.spec, pad=False), waves[:, margin:-margin].contiguous())

    def validation(self) -> list[tuple[NDArray[np.float32], audio.Wave]]:
        """Return every clip as its log-mel-spectrogram, (T, M), and wave, (T * hop,), as recorded."""
        pairs = []
        for clip in self.clips:
            wave = self.speech.wave(int(clip))[: round(_LONGEST_VALIDATION_S * self.spec.sample_rate)]
            wave = wave[: self.spec.frames(len(wave)) * self.spec.hop_length]
            pairs.append((audio.log_mel(wave, self.spec.sample_rate, self.spec), wave))
        return pairs

    def statistics(self, n_clips: int = 256) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of each mel band over some clips, each (M,)."""
        rng = np.random.default_rng(self.settings.seed)
        frames = torch.cat(
            [self.training(int(step)).log_mel.flatten(0, 1)
             for step in rng.integers(2**31, size=max(1, n_clips // self.settings.batch_size))]
        ).double()  # fmt: skip
        return frames.mean(dim=0).float(), frames.std(dim=0).clamp(min=0.1).float()

    def _cut(self, clip: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a random segment of a clip at a random level, with the margin that its frames reach into."""
        settings, spec = self.settings, self.spec
        margin = (spec.n_fft - spec.hop_length) // 2
        wave = audio.level(self.speech.wave(clip), rng.uniform(settings.quietest_dbfs, settings.loudest_dbfs))
        padded = np.pad(wave, margin, mode="reflect")
        wanted = settings.segment_frames * spec.hop_length + 2 * margin
        start = int(rng.integers(0, max(1, len(padded) - wanted + 1)))
        segment = padded[start : start + wanted]
        return np.pad(segment, (0, wanted - len(segment)))
