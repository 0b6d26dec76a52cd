"""Encoder frames and mel frames of the same clips: aligned in time, with the level taken out.

Encoder frame t of the wav2vec 2.0 family sees samples 320 t to 320 t + 399 at 16 kHz, so its centre is at
sample 320 t + 199.5. Mel frame m of `audio.log_mel` is centred on sample 256 m + 128 at 22,050 Hz. A mel
frame therefore lies between two encoder frames, and is interpolated between them at its exact position.

An encoder that standardises its input gives the same frames for a whisper and for the same whisper made
louder: no map from frames can know a clip's level. So every target is the mel-spectrogram of the clip without
its mean and at one level, `LEVEL_DBFS`. The clip's own level is one number, put back after the mapping by
`at_level`. Changes of level within a clip stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from emolib import audio, threads
from emolib.audio import HIFIGAN_MEL
from emolib.store import FeatureStore

RATE, HOP, FIELD = 16_000, 320, 400
HOP_S = HOP / RATE
_MEL_HOP_S = HIFIGAN_MEL.hop_length / HIFIGAN_MEL.sample_rate
#: From one mel frame to the next, in encoder frames.
MEL_HOP = _MEL_HOP_S / HOP_S
#: The root-mean-square level of every target, over the whole clip: the customary one of ITU-T P.56.
LEVEL_DBFS = -26.0
FLOOR = float(np.log(HIFIGAN_MEL.floor))
Mel = NDArray[np.float32]


def check_hop(hop_s: float, encoder: str) -> None:
    """Raise ValueError unless frames come every 20 ms, as in the wav2vec 2.0 family."""
    if not np.isclose(hop_s, HOP_S, rtol=1e-6):
        raise ValueError(
            f"{encoder} gives a frame every {1000 * hop_s:.4g} ms; a mapper reads one every "
            f"{1000 * HOP_S:.0f} ms: use a network of the wav2vec 2.0 family"
        )


def mel_frames(n_frames: int) -> int:
    """Return how many whole mel frames the samples under `n_frames` encoder frames hold.

    A clip can hold up to two more: its last samples, too few for another encoder frame, were not encoded.
    """
    seconds = ((n_frames - 1) * HOP + FIELD) / RATE
    return HIFIGAN_MEL.frames(int(seconds * HIFIGAN_MEL.sample_rate))


def positions(n_mels: int, start: int = 0) -> NDArray[np.float64]:
    """Return the positions of `n_mels` mel frames among encoder frames, the first of them being `start`.

    2.5 is half-way between frames 2 and 3. Positions are not clipped to the frames that a clip has.
    """
    centres_s = (np.arange(start, start + n_mels) + 0.5) * _MEL_HOP_S
    return np.asarray((centres_s - (FIELD - 1) / 2 / RATE) / HOP_S, dtype=np.float64)


def align(frames: Tensor, places: Tensor) -> Tensor:
    """Interpolate encoder frames, (B, T, C), linearly at the places of mel frames, (B, M), to (B, M, C).

    Places are as `positions` gives them; beyond either end, the first or last frame is repeated.
    """
    n_batch, n_frames, _ = frames.shape
    places = places.clamp(0, n_frames - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=n_frames - 1)
    first = torch.arange(n_batch, device=frames.device)[:, None] * n_frames
    flat = frames.flatten(0, 1)
    weight = (places - low)[..., None].to(frames.dtype)
    # two products rather than a + w (b - a): at a whole place, the frame itself, bit for bit
    return flat[low + first] * (1 - weight) + flat[high + first] * weight


def shifted(frames: Tensor, offsets: Sequence[int]) -> Tensor:
    """Lay the frames at t + each offset side by side, 0 beyond the ends: (B, T, C) to (B, T, C offsets)."""
    reach, n_frames = max(abs(offset) for offset in offsets), frames.shape[1]
    padded = nn.functional.pad(frames, (0, 0, reach, reach))
    return torch.cat([padded[:, reach + o : reach + o + n_frames] for o in offsets], dim=-1)


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
    wave = wave - wave.mean()  # as the encoder does; before resampling, which makes clicks of an offset
    audio.check_speech(wave, sample_rate)
    wave = audio.resample(wave, sample_rate, HIFIGAN_MEL.sample_rate)
    level_dbfs = audio.rms_dbfs(wave)
    return np.float32(10 ** ((LEVEL_DBFS - level_dbfs) / 20)) * wave, level_dbfs


def target_mel(wave: audio.Wave, sample_rate: int) -> tuple[Mel, float]:
    """Return a clip's mel-spectrogram at `LEVEL_DBFS`, (M, 80), and the level that it had, in dBFS."""
    ready, level_dbfs = levelled(wave, sample_rate)
    return audio.log_mel(ready, HIFIGAN_MEL.sample_rate), level_dbfs


def at_level(log_mel: Mel, level_dbfs: float) -> Mel:
    """Move a mel-spectrogram from `LEVEL_DBFS` to another level; nothing falls below the floor."""
    moved = log_mel + np.float32((level_dbfs - LEVEL_DBFS) * np.log(10) / 20)
    return np.maximum(moved, np.float32(FLOOR))


def target_mels(manifest: pd.DataFrame, *, progress: bool = False) -> dict[str, Mel]:
    """Return the target of every clip of a manifest, by clip; the same for all layers."""
    rows = tqdm(manifest.to_dict("records"), "mel-spectrograms", unit="clip", disable=not progress)
    found = threads.each(lambda row: target_mel(*audio.load_clip(row))[0], rows)
    return dict(zip(manifest["clip"], found, strict=True))


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
    clips = manifest["clip"].tolist()
    frames = [_checked(clip, store.frames(clip, layer), targets[clip]) for clip in clips]
    return Pairs(clips, manifest["speaker"].tolist(), frames, [targets[clip] for clip in clips])


def mel_l1(predicted: Mel, target: Mel) -> float:
    """Return the mean absolute difference of two log-mel-spectrograms, (M, 80), in natural logarithms."""
    if predicted.shape != target.shape:
        raise ValueError(f"mel-spectrograms of shapes {predicted.shape} and {target.shape}; expected equal")
    return float(np.abs(predicted.astype(np.float64) - target).mean())


def _checked(clip: str, frames: NDArray, mel: Mel) -> NDArray[np.float16]:
    """Return a clip's frames in half precision if they fit its target."""
    least = mel_frames(len(frames))
    if not (np.isfinite(frames).all() and np.isfinite(mel).all()):
        raise ValueError(f"clip {clip!r} has frames or a target that are not finite; extract it again")
    if not 0 <= len(mel) - least <= 3:
        raise ValueError(
            f"clip {clip!r} has {len(frames)} encoder frames for {len(mel)} mel frames, where {least} to "
            f"{least + 3} belong; extract it again"
        )
    return frames.astype(np.float16)
