"""What a fine-tuning hears: a frozen encoder's pooled states from the feature store, or waves.

Fourth stage of `emolib.finetune`.
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
from emolib.finetune.settings import Settings
from emolib.pretrained import load_model

AXES = ("valence", "arousal")


class Speech:
    """The clips of a training.

    Attributes
    ----------
    manifest : DataFrame; the clips that could be used
    states : float32 tensor, (N, L, D), of a frozen encoder; else None
    waves : list of float32 arrays, (S,), of an encoder that learns
    encoder : network, or a baseline's name
    normalise : bool; whether it wants waves of zero mean and unit variance
    skipped : list of dict, clip and reason
    """

    def __init__(self, manifest: pd.DataFrame, encoder: str, settings: Settings, device: str) -> None:
        self.skipped: list[dict[str, str]] = []
        self.states: Tensor | None = None
        self.waves: list[audio.Wave] = []
        self.encoder: Any = encoder
        self.normalise, self.sample_rate = False, 16_000
        if encoder not in encoders.BASELINES:
            self.encoder, self.sample_rate, self.normalise = load_model(encoder, settings.seed)
        elif settings.free_layers != 0:
            raise ValueError(f"encoder {encoder!r} has nothing that learns; use free_layers=0")
        if settings.free_layers == 0:
            done = features.extract(manifest, encoder, device=device)
            self.skipped = done.skipped
            self.manifest = manifest[~done.store.missing(manifest)].reset_index(drop=True)
            clips = self.manifest["clip"].tolist()
            layers = [done.store.pooled(layer, "mean", clips) for layer in done.store.config.layers]
            self.states = torch.from_numpy(np.stack(layers, axis=1))
        else:
            self._load(manifest)

    def _load(self, manifest: pd.DataFrame) -> None:
        kept = []
        for row, (clip, path) in enumerate(zip(manifest["clip"], manifest["path"], strict=True)):
            try:
                self.waves.append(audio.load(path, self.sample_rate)[0])
                kept.append(row)
            except audio.AudioError as error:
                self.skipped.append({"clip": clip, "reason": str(error)})
        self.manifest = manifest.iloc[kept].reset_index(drop=True)

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
        If there are fewer than two classes or speakers, or no ratings where they are the target.
    """
    if settings.target == "ratings":
        manifest = manifest[manifest[list(AXES)].notna().all(axis=1)]
        if manifest.empty:
            raise ValueError("no clip has valence and arousal; the target 'ratings' needs them")
    elif manifest["emotion"].nunique() < 2:
        raise ValueError(f"{manifest['emotion'].nunique()} emotion in the manifest; expected at least two")
    if manifest["speaker"].nunique() < 2:
        raise ValueError(f"{manifest['speaker'].nunique()} speaker; expected at least two, to hold some out")
    return manifest.reset_index(drop=True)


def identity_of(manifest: pd.DataFrame, settings: Settings, encoder: str) -> str:
    """Digest what the weights depend on; how long to go on may change."""
    fixed = dataclasses.asdict(settings)
    del fixed["n_epochs"], fixed["patience"]
    columns = ["clip", "sha256", "speaker", "emotion", *AXES]
    parts = [json.dumps(fixed, sort_keys=True), encoder, manifest[columns].to_csv(index=False)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
