"""The mapper: encoder frames and mel frames of the same clips, aligned, and the network between them.

Encoder frame t of the wav2vec 2.0 family sees samples 320 t to 320 t + 399 at 16 kHz, so its centre is at
sample 320 t + 199.5; Whisper's is at 320 t, 12.5 ms earlier. The store says when the first one is. Mel frame
m of `audio.log_mel` is centred on sample 256 m + 128 at 22,050 Hz. A mel frame therefore lies between two
encoder frames, and is interpolated between them at its exact position.

An encoder that standardises its input gives the same frames for a whisper and for the same whisper made
louder: no map from frames can know a clip's level. So every target is the mel-spectrogram of the clip without
its mean and at one level, `LEVEL_DBFS`. The clip's own level is one number, put back after the mapping by
`at_level`. Changes of level within a clip stay.

In the network, frames are standardised, a stack of residual blocks runs at the encoder's rate, the result is
interpolated at the exact positions of the mel frames, a second stack runs there, and its output is added to
that of a linear part. Without blocks, the linear part is the whole mapper: the baseline of `fit_linear`.

References
----------
Residual stacks of dilated convolutions: A. van den Oord et al. (2016), "WaveNet: A Generative Model for Raw
Audio", arXiv:1609.03499. Speech from self-supervised features: A. Polyak et al. (2021), "Speech Resynthesis
from Discrete Disentangled Self-Supervised Representations", arXiv:2104.00355.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from emolib import audio, files, threads
from emolib.audio import HIFIGAN_MEL
from emolib.encoders import Encoder
from emolib.store import FIRST_FRAME_S, FeatureStore
from emolib.training import Recipe

RATE, HOP, FIELD = 16_000, 320, 400
HOP_S = HOP / RATE
_MEL_HOP_S = HIFIGAN_MEL.hop_length / HIFIGAN_MEL.sample_rate
#: The root-mean-square level of every target, over the whole clip: the customary one of ITU-T P.56.
LEVEL_DBFS = -26.0
FLOOR = float(np.log(HIFIGAN_MEL.floor))
Mel = NDArray[np.float32]


def check_hop(hop_s: float, encoder: str) -> None:
    """Raise ValueError unless frames come every 20 ms, as those of wav2vec 2.0 and Whisper do."""
    if not np.isclose(hop_s, HOP_S, rtol=1e-6):
        raise ValueError(
            f"{encoder} gives a frame every {1000 * hop_s:.4g} ms; a mapper reads one every "
            f"{1000 * HOP_S:.0f} ms: use a network of the wav2vec 2.0 or Whisper family"
        )


def mel_frames(n_frames: int) -> int:
    """Return how many whole mel frames the samples under `n_frames` encoder frames hold.

    A clip can hold up to two more: its last samples, too few for another encoder frame, were not encoded.
    """
    seconds = ((n_frames - 1) * HOP + FIELD) / RATE
    return HIFIGAN_MEL.frames(int(seconds * HIFIGAN_MEL.sample_rate))


def positions(n_mels: int, start: int = 0, *, first_frame_s: float = FIRST_FRAME_S) -> NDArray[np.float64]:
    """Return the positions of `n_mels` mel frames among encoder frames, the first of them being `start`.

    2.5 is half-way between frames 2 and 3; frame 0 is centred `first_frame_s` from the clip's beginning.
    Positions are not clipped to the frames that a clip has.
    """
    centres_s = (np.arange(start, start + n_mels) + 0.5) * _MEL_HOP_S
    return np.asarray((centres_s - first_frame_s) / HOP_S, dtype=np.float64)


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
    first_frame_s : float, s from a clip's beginning to the centre of its first frame
    """

    clips: list[str]
    speakers: list[str]
    frames: list[NDArray[np.float16]]
    mels: list[Mel]
    first_frame_s: float = FIRST_FRAME_S

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, speakers: set[str]) -> "Pairs":
        """Return the clips of some speakers."""
        return self.at([i for i, speaker in enumerate(self.speakers) if speaker in speakers])

    def at(self, rows: list[int]) -> "Pairs":
        """Return some of the clips, by their numbers."""
        lists = ("clips", "speakers", "frames", "mels")
        chosen: dict[str, Any] = {name: [getattr(self, name)[i] for i in rows] for name in lists}
        return replace(self, **chosen)

    def positions(self, n_mels: int, start: int = 0) -> NDArray[np.float64]:
        """Return the positions of mel frames among these clips' frames, as `positions` gives them."""
        return positions(n_mels, start, first_frame_s=self.first_frame_s)


def levelled(wave: audio.Wave, sample_rate: int) -> tuple[audio.Wave, float]:
    """Return a clip at 22,050 Hz, without its mean, at `LEVEL_DBFS`, and the level that it had, in dBFS."""
    wave = np.asarray(wave, np.float32)
    wave = wave - wave.mean()  # as the encoder does; before resampling, which makes clicks of an offset
    audio.check_speech(wave, sample_rate)
    wave = audio.resample(wave, sample_rate, HIFIGAN_MEL.sample_rate)
    level_dbfs = audio.rms_dbfs(wave)
    return np.float32(10 ** ((LEVEL_DBFS - level_dbfs) / 20)) * wave, level_dbfs


def at_level(log_mel: Mel, level_dbfs: float) -> Mel:
    """Move a mel-spectrogram from `LEVEL_DBFS` to another level; nothing falls below the floor."""
    moved = log_mel + np.float32((level_dbfs - LEVEL_DBFS) * np.log(10) / 20)
    return np.maximum(moved, np.float32(FLOOR))


def target_mels(manifest: pd.DataFrame, *, progress: bool = False) -> dict[str, Mel]:
    """Return each clip's mel-spectrogram at `LEVEL_DBFS`, (M, 80), by clip; the same for all layers."""

    def target(row: audio.Row) -> Mel:
        return audio.log_mel(levelled(*audio.load_clip(row))[0], HIFIGAN_MEL.sample_rate)

    rows = tqdm(manifest.to_dict("records"), "mel-spectrograms", unit="clip", disable=not progress)
    return dict(zip(manifest["clip"], threads.each(target, rows), strict=True))


def load_pairs(
    manifest: pd.DataFrame, store: FeatureStore, layer: int, *, mels: Mapping[str, Mel] | None = None,
    progress: bool = False,
) -> Pairs:  # fmt: skip
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
    mel = [targets[clip] for clip in clips]
    return Pairs(clips, manifest["speaker"].tolist(), frames, mel, store.config.first_frame_s)


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


# ------------------------------------------------------------------------------------- the network


@dataclass(frozen=True)
class Settings(Recipe):
    """The network, its losses and how it is optimised; `training.Recipe` describes the rest.

    Attributes
    ----------
    width : int; channels of the residual blocks
    context : int, odd; encoder frames that the linear part reads, the middle one being its own
    slow_dilations : tuple of int; one block each, at the encoder's rate: 0.3 s to either side by default
    fast_dilations : tuple of int; one block each, at the mel's rate
    ridge : float or None
        Penalty of the linear part, relative to the mean variance of a feature; None takes the one with which
        held-out training speakers are rebuilt best.
    delta_weight : float; factor on the loss of differences between neighbouring mel frames
    scales : tuple of int; the loss is taken again on averages over squares of so many frames and bands
    scale_weight : float; factor on the sum of those
    batch_size : int, crops; crop_frames : int, mel frames; the default is 1.6 s
    margin : int; encoder frames of context on either side of a crop
    validation_share : float; share of the speakers that are held out to decide when to stop
    validation_clips : int; clips of theirs that are used, spread evenly
    validate_every, checkpoint_every, sample_every : int, steps; a sample is one clip as sound
    autocast : bool; products in bfloat16 on CUDA
    """

    width: int = 192
    context: int = 5
    slow_dilations: tuple[int, ...] = (1, 2, 4, 8)
    fast_dilations: tuple[int, ...] = (1, 2, 4)
    ridge: float | None = None
    delta_weight: float = 0.5
    scales: tuple[int, ...] = (2, 4, 8)
    scale_weight: float = 0.5
    batch_size: int = 24
    crop_frames: int = 140
    margin: int = 6
    steps: int = 1_500
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.98)
    metric: str = "mel_l1"
    min_gain: float = 1e-3
    validation_share: float = 0.15
    validation_clips: int = 48
    validate_every: int = 250
    checkpoint_every: int = 250
    sample_every: int = 500
    patience: int = 6
    autocast: bool = True

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"a context of {self.context} frames; expected an odd number, such as 5")
        if self.steps < 0 or self.batch_size < 1 or self.crop_frames < max(2, *self.scales):
            raise ValueError(
                f"{self.steps} steps of {self.batch_size} crops of {self.crop_frames} mel frames; expected "
                f"at least 0, 1, and the largest of the scales {self.scales}"
            )

    @property
    def receptive_field(self) -> int:
        """Encoder frames that one mel frame depends on, an odd number; interpolation adds its neighbour."""
        blocks = sum(self.slow_dilations) + math.ceil(sum(self.fast_dilations) * (_MEL_HOP_S / HOP_S))
        return 1 + 2 * max(self.context // 2, blocks)


class _Block(nn.Module):
    """A dilated convolution of three taps as one matrix product, after a norm and around a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.taps = (-dilation, 0, dilation)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(hidden) * mask  # outside the clip, what the clip has at its ends
        return hidden + self.out(nn.functional.gelu(self.mix(shifted(normed, self.taps))))


class Network(nn.Module):
    """Frames, (B, T, D), to mel frames, (B, M, 80), at `LEVEL_DBFS`.

    Parameters
    ----------
    n_features : int, D
    settings : Settings
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_features: int, settings: Settings) -> None:
        super().__init__()
        width, n_mels = settings.width, HIFIGAN_MEL.n_mels
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("deviation", torch.ones(n_features))
        reach = settings.context // 2
        self.offsets = tuple(range(-reach, reach + 1))
        self.linear = nn.Linear(settings.context * n_features, n_mels)
        self.residual = bool(settings.slow_dilations or settings.fast_dilations)
        if self.residual:
            self.enter = nn.Linear(n_features, width)
            self.slow = nn.ModuleList(_Block(width, d) for d in settings.slow_dilations)
            self.phase = nn.Linear(3, width)
            self.fast = nn.ModuleList(_Block(width, d) for d in settings.fast_dilations)
            self.norm = nn.LayerNorm(width)
            self.leave = nn.Linear(width, n_mels)
            nn.init.zeros_(self.leave.weight)  # training starts at the linear part's output
            nn.init.zeros_(self.leave.bias)

    def standardise(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Return frames of zero mean and unit deviation, and zeros outside the clip."""
        return (frames - self.mean) / self.deviation * inside

    def forward(self, frames: Tensor, places: Tensor, inside: Tensor, mel_inside: Tensor) -> Tensor:
        """Map frames, (B, T, D), to mel frames, (B, M, 80).

        Parameters
        ----------
        frames : (B, T, D)
        places : (B, M); of the mel frames among the frames, none beyond the clip's ends
        inside, mel_inside : (B, T, 1) and (B, M, 1); 1 within the clip, 0 beyond its ends
        """
        frames = self.standardise(frames, inside)
        answer = align(self.linear(shifted(frames, self.offsets)).float(), places)
        if not self.residual:
            return answer
        hidden = self.enter(frames).float()
        for block in self.slow:
            hidden = block(hidden, inside)
        turn = 2 * torch.pi * (places - places.floor())
        phase = torch.stack([places - places.floor(), turn.cos(), turn.sin()], dim=-1)
        hidden = align(hidden, places) + self.phase(phase.to(hidden.dtype))
        for block in self.fast:
            hidden = block(hidden, mel_inside)
        return answer + self.leave(self.norm(hidden)).float()


class Mapper(files.Saved):
    """A trained map from one layer of one encoder to HiFi-GAN's mel-spectrogram.

    Parameters
    ----------
    network : Network
    settings : Settings
    provenance : dict
        encoder, fingerprint, layer, first_frame_s, corpus, speakers (those trained on), n, and what training
        adds.

    Attributes
    ----------
    encoder : str; the encoder's name
    layer : int; the layer whose frames are mapped
    width : int, D; the number of features of a frame
    """

    KIND = "mapper"

    def __init__(self, network: Network, settings: Settings, provenance: dict[str, Any]) -> None:
        self.network, self.settings = network.eval(), settings
        self.provenance = dict(provenance)
        self.encoder, self.layer, self.width = provenance["encoder"], provenance["layer"], len(network.mean)

    def __repr__(self) -> str:
        kind = "Mapper" if self.network.residual else "linear Mapper"
        return f"{kind}({self.encoder}, layer {self.layer}, {self.width} features)"

    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ValueError unless an encoder gives the frames that this mapper was trained on."""
        check_hop(encoder.hop_s, encoder.name)
        if encoder.fingerprint != self.provenance["fingerprint"] or self.layer not in encoder.layers:
            raise ValueError(
                f"encoder {encoder.name!r} with layers {list(encoder.layers)} and weights "
                f"{encoder.fingerprint}; this mapper reads layer {self.layer} of {self.encoder!r} with "
                f"weights {self.provenance['fingerprint']}: load that one, or train a mapper for yours"
            )

    @torch.inference_mode()
    def map(
        self, frames: NDArray[np.floating], *, n_frames: int | None = None, level_dbfs: float = LEVEL_DBFS
    ) -> Mel:
        """Map one clip's frames to its log-mel-spectrogram.

        Parameters
        ----------
        frames : float array, (T, D), 50 a second
        n_frames : int, optional
            Mel frames to return; by default as many whole ones as the frames' samples hold. A clip of S
            samples at 22,050 Hz has S // 256, which can be up to two more.
        level_dbfs : float, dB
            The root-mean-square level of the spectrogram; frames don't contain their clip's.

        Returns
        -------
        log_mel : float32 array, (n_frames, 80); natural logarithm, as `audio.log_mel` gives it

        Raises
        ------
        ValueError
            If the frames are none, of another width or not finite, or `n_frames` is more than they reach.
        """
        frames = np.ascontiguousarray(frames, dtype=np.float32)
        if frames.ndim != 2 or len(frames) == 0 or frames.shape[1] != self.width:
            raise ValueError(
                f"frames of shape {frames.shape}; expected (T, {self.width}) with at least one frame, which "
                f"takes one receptive field of {self.encoder} (25 ms)"
            )
        if not np.isfinite(frames).all():
            raise ValueError("the frames hold NaN or infinity; encode a finite wave")
        most = mel_frames(len(frames))
        n_frames = most if n_frames is None else n_frames
        if not 0 < n_frames <= most + 3:
            raise ValueError(
                f"{n_frames} mel frames from {len(frames)} encoder frames; expected 1 to {most + 3}"
            )
        places = positions(n_frames, first_frame_s=self.provenance.get("first_frame_s", FIRST_FRAME_S))
        places, ones = np.clip(places, 0, len(frames) - 1).astype(np.float32), np.ones((1, 1), np.float32)
        batch = (torch.from_numpy(x)[None].to(self.network.mean) for x in (frames, places, ones, ones))
        return at_level(self.network(*batch)[0].float().cpu().numpy(), level_dbfs)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = {name: value.numpy(force=True) for name, value in self.network.state_dict().items()}
        config = {"width": self.width, "settings": asdict(self.settings), "provenance": self.provenance}
        return config, arrays

    @classmethod
    def _loaded(  # type: ignore[override]
        cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], *, device: str = "cpu"
    ) -> "Mapper":
        settings = Settings(**files.from_json(config["settings"]))
        network = Network(config["width"], settings)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(network.to(device), settings, config["provenance"])
