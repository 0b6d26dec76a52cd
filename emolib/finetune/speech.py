"""The settings of a fine-tuning, and the clips that it is trained on.

What no training changes is computed once: all states of a frozen encoder, and what lies under the blocks that
learn. They come from the feature store, pooled or as frames; an encoder that learns as a whole reads waves.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import audio, encoders, features
from emolib.encoders import load_model

AXES = ("valence", "arousal")
Free = int | Literal["all"]


@dataclass(frozen=True)
class Settings:
    """How an encoder is fine-tuned.

    Attributes
    ----------
    target : {"emotion", "ratings"}; cross-entropy over categories, or 1 - CCC over valence and arousal
    free_layers : int or "all"; blocks that learn, from the top. 0 leaves the encoder frozen and takes
        seconds, "all" frees the front end as well
    warm_start : bool; where something of the encoder learns, begin with the head of a frozen one: a head
        that knows nothing first undoes what the encoder knows (A. Kumar et al. 2022, arXiv:2202.10054).
        Nothing worse than it on held-out speakers is kept
    bottleneck : int; width of the features that the answer is read off; dropout : float, of them
    head_rate, encoder_rate : float; learning rates of what is new and of what was trained before
    weight_decay : float
    class_weights : bool; weigh every class the same, however many clips it has
    n_epochs : int, at most; patience : int; epochs without a gain after which it ends
    held_out : float; share of the speakers that decide when to end and which epoch is kept
    tested : float; share of the speakers that decide nothing, and whose score is the one to quote; 0 for none
    batch_size : int, clips; accumulation : int; batches a step
    crop_s : float, s; training clips are cut at random to this length where the encoder learns
    precision : {"no", "bf16", "fp16"}
    seed : int
    """

    target: Literal["emotion", "ratings"] = "emotion"
    free_layers: Free = 0
    warm_start: bool = True
    bottleneck: int = 100
    dropout: float = 0.3
    head_rate: float = 3e-3
    encoder_rate: float = 1e-4
    weight_decay: float = 0.01
    class_weights: bool = True
    n_epochs: int = 60
    patience: int = 10
    held_out: float = 0.15
    tested: float = 0.0
    batch_size: int = 32
    accumulation: int = 1
    crop_s: float = 3.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0

    def check(self) -> "Settings":
        """Return these settings, or raise ValueError if one of them is out of its range."""
        if self.target not in ("emotion", "ratings"):
            raise ValueError(f"unknown target {self.target!r}; expected 'emotion' or 'ratings'")
        if self.free_layers != "all" and (not isinstance(self.free_layers, int) or self.free_layers < 0):
            raise ValueError(f"free_layers={self.free_layers!r}; expected a whole number from 0, or 'all'")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"unknown precision {self.precision!r}; expected 'no', 'bf16' or 'fp16'")
        if not 0 < self.held_out < 1 or not 0 <= self.tested < 1:
            raise ValueError(
                f"held_out={self.held_out}, tested={self.tested}; expected shares of the speakers, between 0 "
                f"and 1; 0 tests nobody"
            )
        for name in ("bottleneck", "n_epochs", "patience", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected 1 or more")
        return self


#: What frees an encoder's top and takes minutes on two cores: few epochs at a low rate, on short cuts.
TOP_BLOCKS = Settings(
    free_layers=2, encoder_rate=5e-5, head_rate=3e-4, n_epochs=4, patience=2, crop_s=2.0, precision="bf16"
)


class Cut(NamedTuple):
    """The output of an encoder's frozen part for some clips, from which its free blocks continue.

    Attributes
    ----------
    below : float32 tensor, (B, k, D); pooled states at the layers under the first free block's input
    frames : float32 tensor, (B, T, D); what enters the first free block, padded
    lengths : int tensor, (B,); frames that count
    """

    below: Tensor
    frames: Tensor
    lengths: Tensor


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

    def batch(
        self, rows: NDArray[np.intp], crop_s: float = np.inf, rng: np.random.Generator | None = None
    ) -> Any:
        """Return pooled states, or frames or waves: of whole clips, or cut at random to a length in s."""

        def cut(clip: Any, rate_hz: float) -> Any:
            if rng is None:
                return clip
            most = max(1, round(crop_s * rate_hz))
            start = int(rng.integers(max(0, len(clip) - most) + 1))
            return clip[start : start + most]

        if self.states is None:
            return [cut(self.waves[row], self.sample_rate) for row in rows]
        if not self.frames:
            return self.states[rows]
        frames = [cut(self.frames[row], 1 / self.hop_s) for row in rows]
        lengths = torch.tensor([len(part) for part in frames])
        padded = torch.nn.utils.rnn.pad_sequence([part.float() for part in frames], batch_first=True)
        return Cut(self.states[rows][:, : self.first_free], padded, lengths)


def usable(manifest: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the clips that settings can train on; raise ValueError if there are too few, or no ratings."""
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


def can_resume(model: Any, layers: Free) -> bool:
    """Tell whether an encoder's free blocks can continue from stored frames.

    WavLM's can't: its blocks hand on a bias of positions that the first one makes.
    """
    return layers != "all" and layers > 0 and model.config.model_type != "wavlm"
