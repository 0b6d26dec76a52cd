"""Batches of crops for the training of a mapper; each is a function of the seed and the step."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emolib import audio
from emolib.mapper.alignment import positions
from emolib.mapper.pairs import Pairs
from emolib.mapper.settings import Settings


class Batch(NamedTuple):
    """Crops side by side.

    Attributes
    ----------
    frames : (B, T, D), with a margin around the crop; places : (B, M), of the mel frames among them
    inside, mel_inside : (B, T, 1) and (B, M, 1); 1 within the clip, 0 beyond its ends
    mels : (B, M, 80)
    """

    frames: Tensor
    places: Tensor
    inside: Tensor
    mel_inside: Tensor
    mels: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the network takes."""
        return self.frames, self.places, self.inside, self.mel_inside

    def to(self, device: torch.device) -> "Batch":
        """Move to a device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Crops:
    """Random crops of clips; long clips are drawn more often, as they hold more.

    Parameters
    ----------
    pairs : Pairs
    settings : Settings
    """

    def __init__(self, pairs: Pairs, settings: Settings) -> None:
        self.pairs, self.settings = pairs, settings
        lengths = np.array([len(mel) for mel in pairs.mels], dtype=np.float64)
        self._chance = lengths / lengths.sum()
        self._n_frames = int(np.ceil(positions(settings.crop_frames)[-1])) + 2 + 2 * settings.margin

    def batch(self, step: int) -> Batch:
        """Return the batch of one step."""
        rng = np.random.default_rng([self.settings.seed, step])
        rows = rng.choice(len(self.pairs), self.settings.batch_size, p=self._chance)
        crops = [self.crop(int(row), float(rng.random())) for row in rows]
        return Batch(*(torch.from_numpy(np.stack(parts)) for parts in zip(*crops, strict=True)))

    def crop(self, row: int, where: float) -> tuple[np.ndarray, ...]:
        """Return the arrays of one crop of a clip, `where` from 0 (at its beginning) to 1 (at its end)."""
        frames, mel, n_mels = self.pairs.frames[row], self.pairs.mels[row], self.settings.crop_frames
        first_mel = round(where * max(0, len(mel) - n_mels))
        places = positions(n_mels, first_mel)
        first = int(np.floor(max(places[0], 0))) - self.settings.margin
        own = np.clip(np.arange(first, first + self._n_frames), 0, len(frames) - 1)
        inside = np.isin(np.arange(first, first + self._n_frames), own).astype(np.float32)[:, None]
        cut = np.zeros((n_mels, audio.HIFIGAN_MEL.n_mels), np.float32)
        cut[: len(mel) - first_mel] = mel[first_mel : first_mel + n_mels]
        mel_inside = (np.arange(first_mel, first_mel + n_mels) < len(mel)).astype(np.float32)[:, None]
        held = np.clip(places, 0, len(frames) - 1) - first  # the clip's first and last frames are held
        return frames[own].astype(np.float32), held.astype(np.float32), inside, mel_inside, cut
