"""Frames and mel-spectrograms of the same clips side by side, with the level taken out.

An encoder that standardises its input gives the same frames for a whisper and for the same whisper turned
up: no map from frames can know a clip's level. So every target is the mel-spectrogram of the clip without its
mean and at one level, `LEVEL_DBFS`; what was taken out is one number a clip, put back after the mapping by
adding ``(level_dbfs - LEVEL_DBFS) ln(10) / 20`` to the logarithms. The course of level within a clip stays.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio
from emolib.mapper.alignment import check_hop, mel_frames
from emolib.store import FeatureStore

#: The root-mean-square level of every target, over the whole clip: ITU-T P.56's customary one.
LEVEL_DBFS = -26.0
FLOOR = float(np.log(audio.HIFIGAN_MEL.floor))
Mel = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Clips as the mapper learns from them.

    Attributes
    ----------
    clips, speakers : lists of str, N
    frames : list of float16 arrays, (T, D)
    mels : list of float32 arrays, (M, 80), natural logarithm, at `LEVEL_DBFS`
    """

    clips: list[str]
    speakers: list[str]
    frames: list[NDArray[np.float16]]
    mels: list[Mel]

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, speakers: set[str]) -> "Pairs":
        """Return the clips of some speakers."""
        return self.at([i for i, speaker in enumerate(self.speakers) if speaker in speakers])

    def at(self, rows: list[int]) -> "Pairs":
        """Return some of the clips, by their numbers."""
        return Pairs(*([column[i] for i in rows] for column in vars(self).values()))


def levelled(wave: audio.Wave, sample_rate: int) -> tuple[audio.Wave, float]:
    """Return a clip at 22,050 Hz, without its mean, at `LEVEL_DBFS`, and the level that it had, in dBFS."""
    wave = np.asarray(wave, np.float32)
    wave = wave - wave.mean()  # as the encoder does; first, since resampling makes clicks of an offset's ends
    audio.check_speech(wave, sample_rate)
    wave = audio.resample(wave, sample_rate, audio.HIFIGAN_MEL.sample_rate)
    level_dbfs = audio.rms_dbfs(wave)
    return np.float32(10 ** ((LEVEL_DBFS - level_dbfs) / 20)) * wave, level_dbfs


def target_mel(wave: audio.Wave, sample_rate: int) -> tuple[Mel, float]:
    """Return a clip's mel-spectrogram at `LEVEL_DBFS`, (M, 80), and the level that it had, in dBFS."""
    ready, level_dbfs = levelled(wave, sample_rate)
    return audio.log_mel(ready, audio.HIFIGAN_MEL.sample_rate), level_dbfs


def at_level(log_mel: Mel, level_dbfs: float) -> Mel:
    """Put a clip's level back: move a mel-spectrogram from `LEVEL_DBFS` to another level, above the floor."""
    moved = log_mel + np.float32((level_dbfs - LEVEL_DBFS) * np.log(10) / 20)
    return np.maximum(moved, np.float32(FLOOR))


def target_mels(manifest: pd.DataFrame, *, progress: bool = False) -> dict[str, Mel]:
    """Return the target of every clip of a manifest, by clip; the same for all layers."""

    def one(row: audio.Row) -> Mel:
        return target_mel(*audio.load_clip(row))[0]

    clips = manifest["clip"].tolist()
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(one, manifest.to_dict("records"))
        bar = tqdm(found, desc="mel-spectrograms", unit="clip", total=len(clips), disable=not progress)
        return dict(zip(clips, bar, strict=True))


def load_pairs(
    manifest: pd.DataFrame,
    store: FeatureStore,
    layer: int,
    *,
    mels: Mapping[str, Mel] | None = None,
    progress: bool = False,
) -> Pairs:
    """Read frames and targets of the clips of a manifest.

    Parameters
    ----------
    manifest : DataFrame; clip, path and speaker are used
    store : FeatureStore, extracted with frames
    layer : int
    mels : mapping of clip to target, optional
        What `target_mels` returned, to share it among layers; made from the sound files by default.

    Raises
    ------
    ValueError
        If the manifest is empty, frames don't come every 20 ms, a clip or the layer is not in the store, or
        frames are not finite or don't last as long as their clip.
    """
    if len(manifest) == 0:
        raise ValueError("the manifest has no clips; give one with clip, path and speaker for each clip")
    check_hop(store.config.hop_s, store.config.encoder)
    targets = target_mels(manifest, progress=progress) if mels is None else mels
    pairs = Pairs([], [], [], [])
    for clip, speaker in zip(manifest["clip"], manifest["speaker"], strict=True):
        frames = store.frames(clip, layer)
        _check_pair(clip, frames, targets[clip])
        for column, value in zip(
            vars(pairs).values(), (clip, speaker, frames.astype(np.float16), targets[clip]), strict=True
        ):
            column.append(value)
    return pairs


def mel_l1(predicted: Mel, target: Mel) -> float:
    """Return the mean absolute difference of two log-mel-spectrograms, (M, 80), in natural logarithms.

    Raises
    ------
    ValueError
        If their shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"mel-spectrograms of shapes {predicted.shape} and {target.shape}; expected equal")
    return float(np.abs(predicted.astype(np.float64) - target).mean())


def _check_pair(clip: str, frames: NDArray, mel: Mel) -> None:
    if not (np.isfinite(frames).all() and np.isfinite(mel).all()):
        raise ValueError(f"clip {clip!r} has frames or a target that are not finite; extract it again")
    if not 0 <= len(mel) - mel_frames(len(frames)) <= 3:
        raise ValueError(
            f"clip {clip!r} has {len(frames)} encoder frames for {len(mel)} mel frames, where "
            f"{mel_frames(len(frames))} to {mel_frames(len(frames)) + 3} belong; extract it again"
        )
