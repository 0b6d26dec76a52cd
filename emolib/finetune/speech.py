"""What a fine-tuning hears: a frozen encoder's states from the feature store, pooled or by frames, or waves.

Fourth stage of `emolib.finetune`. What no training changes is computed once: all of a frozen encoder, and
what lies under the blocks that learn.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import audio, encoders, features
from emolib.encoders import load_model
from emolib.finetune.network import Cut, can_resume
from emolib.finetune.settings import Settings

AXES = ("valence", "arousal")


class Speech:
    """The clips of a training.

    Attributes
    ----------
    manifest : DataFrame; the clips that could be used
    states : float32 tensor, (N, L, D), pooled; None where the whole encoder learns
    frames : list of float16 tensors, (T, D); what enters the first block that learns
    hop_s : float, s; of frames
    waves : list of float32 arrays, (S,), of an encoder that learns as a whole
    encoder : network, or a baseline's name
    normalise : bool; whether it wants waves of zero mean and unit variance
    fingerprint : str; of the encoder's weights, before they learn
    skipped : list of dict, clip and reason
    """

    def __init__(self, manifest: pd.DataFrame, encoder: str, settings: Settings, device: str) -> None:
        self.skipped: list[dict[str, str]] = []
        self.states: Tensor | None = None
        self.frames: list[Tensor] = []
        self.waves: list[audio.Wave] = []
        self.encoder: Any = encoder
        self.normalise, self.sample_rate, self.fingerprint = False, 16_000, ""
        self.hop_s, self.first_free = 0.0, 0
        if encoder not in encoders.BASELINES:
            self.encoder, self.sample_rate, self.normalise = load_model(encoder)
        elif settings.free_layers != 0:
            raise ValueError(f"encoder {encoder!r} has nothing that learns; use free_layers=0")
        if settings.free_layers == 0:
            self._read(manifest, encoder, device)
        elif can_resume(self.encoder, settings.free_layers):
            self._read(manifest, encoder, device)
            self._read_frames(encoder, settings.free_layers, device)
        else:
            self._load(manifest)
            self.fingerprint = encoders.load(encoder, device="cpu").fingerprint

    def _read(self, manifest: pd.DataFrame, encoder: str, device: str) -> None:
        """Read pooled states, extracting what is missing."""
        done = features.extract(manifest, encoder, device=device)
        self.skipped, self.fingerprint = done.skipped, done.store.config.fingerprint
        self.manifest = manifest[~done.store.missing(manifest)].reset_index(drop=True)
        clips = self.manifest["clip"].tolist()
        layers = [done.store.pooled(layer, "mean", clips) for layer in done.store.config.layers]
        self.states = torch.from_numpy(np.stack(layers, axis=1))

    def _read_frames(self, encoder: str, n_free: Any, device: str) -> None:
        """Read the frames that enter the first block that learns, extracting what is missing."""
        n_blocks = len(self.encoder.encoder.layers)
        if n_free > n_blocks:
            raise ValueError(f"free_layers={n_free}; the encoder has {n_blocks}: expected at most that")
        layer = n_blocks - n_free
        done = features.extract(self.manifest, encoder, layers=[layer], frames=True, device=device)
        read = (done.store.frames(clip, layer) for clip in self.manifest["clip"])
        self.frames = [torch.from_numpy(frames).half() for frames in read]
        self.hop_s, self.first_free = done.store.config.hop_s, layer

    def _load(self, manifest: pd.DataFrame) -> None:
        kept = []
        for number, row in enumerate(manifest.to_dict("records")):
            try:
                self.waves.append(audio.load_clip(row, self.sample_rate)[0])
                kept.append(number)
            except audio.AudioError as error:
                self.skipped.append({"clip": row["clip"], "reason": str(error)})
        self.manifest = manifest.iloc[kept].reset_index(drop=True)

    def training(self, rows: NDArray[np.intp], crop_s: float, rng: np.random.Generator) -> Any:
        """Return what a network is trained on: states, or frames or waves cut at random to a length in s."""
        if self.frames:
            cut = []
            for row in rows:
                frames, most = self.frames[row], max(1, round(crop_s / self.hop_s))
                start = int(rng.integers(max(0, len(frames) - most) + 1))
                cut.append(frames[start : start + most])
            return self._cut(rows, cut)
        return self.crops(rows, crop_s, rng) if self.states is None else self.states[rows]

    def whole(self, rows: NDArray[np.intp]) -> Any:
        """Return whole clips, as `training` does."""
        if self.frames:
            return self._cut(rows, [self.frames[row] for row in rows])
        return [self.waves[row] for row in rows] if self.states is None else self.states[rows]

    def _cut(self, rows: NDArray[np.intp], frames: list[Tensor]) -> Cut:
        assert self.states is not None
        lengths = torch.tensor([len(part) for part in frames])
        padded = torch.nn.utils.rnn.pad_sequence([part.float() for part in frames], batch_first=True)
        return Cut(self.states[rows][:, : self.first_free], padded, lengths)

    def crops(self, rows: NDArray[np.intp], crop_s: float, rng: np.random.Generator) -> list[audio.Wave]:
        """Return waves of some clips, cut at random."""
        n_samples, cut = round(crop_s * self.sample_rate), []
        for row in rows:
            start = int(rng.integers(max(0, len(self.waves[row]) - n_samples) + 1))
            cut.append(self.waves[row][start : start + n_samples])
        return cut


def usable(manifest: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the clips that settings can train on.

    Raises
    ------
    ValueError
        If there are fewer than two classes, too few speakers, or no ratings where they are the target.
    """
    if settings.target == "ratings":
        manifest = manifest[manifest[list(AXES)].notna().all(axis=1)]
        if manifest.empty:
            raise ValueError("no clip has valence and arousal; the target 'ratings' needs them")
    elif manifest["emotion"].nunique() < 2:
        raise ValueError(f"{manifest['emotion'].nunique()} emotion in the manifest; expected at least two")
    if manifest["speaker"].nunique() < (least := 3 if settings.tested else 2):
        raise ValueError(
            f"{manifest['speaker'].nunique()} speaker; expected at least {least}: some to train on, some to "
            f"choose the epoch by{', and some to test on' if settings.tested else ''}"
        )
    return manifest.reset_index(drop=True)


def identity_of(speech: Speech, settings: Settings) -> str:
    """Digest what the weights depend on; how long to go on may change."""
    fixed = dataclasses.asdict(settings)
    del fixed["n_epochs"], fixed["patience"]
    columns = ["clip", "sha256", "speaker", "emotion", *AXES]
    parts = [
        json.dumps(fixed, sort_keys=True),
        speech.fingerprint,
        speech.manifest[columns].to_csv(index=False),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
