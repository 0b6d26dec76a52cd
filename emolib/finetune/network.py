"""A fine-tuning's settings, its clips and its network, and `FineTuned`, which reads it from its folder.

What no training changes is computed once: all states of a frozen encoder, and what lies under the blocks that
learn. They come from the feature store, pooled or as frames; an encoder that learns as a whole reads waves.

The network has an encoder, learned weights over its layers, a bottleneck and a head. Weighting, pooling and
bottleneck are linear, so pooled features are the mean of the frames', and a frozen encoder's states may be
pooled before anything is learned. Its folder holds ``config.json``, ``model.safetensors`` (the head) and
``encoder/``, which transformers reads.

References
----------
S.-w. Yang et al. (2021), "SUPERB", arXiv:2105.01051 (weighted layers); E. Zhou, Y. Zhang, Z. Duan (2023),
arXiv:2311.14816 (mean pooling and a bottleneck of 100). The CCC as a loss: F. Weninger et al. (2016),
"Discriminatively Trained Recurrent Neural Networks for Continuous Dimensional Emotion Recognition", IJCAI.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from emolib import audio, encoders, features, files
from emolib.encoders import inputs_of, load_model, quiet_transformers
from emolib.encoders.transformer import attention_bias

AXES = ("valence", "arousal")
Free = int | Literal["all"]
#: Numbers of clips.
Rows = NDArray[np.intp]


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
            return
        n_free, n_blocks = settings.free_layers, len(self.encoder.encoder.layers)
        if n_free != "all" and n_free > n_blocks:
            raise ValueError(f"free_layers={n_free}; the encoder has {n_blocks}: expected at most that")
        if can_resume(self.encoder, n_free):
            self._read(manifest, encoder, device)
            self._read_frames(encoder, n_blocks - int(n_free), device)
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

    def _read_frames(self, encoder: str, layer: int, device: str) -> None:
        """Read the frames that enter the first block that learns, extracting what is missing."""
        done = features.extract(self.manifest, encoder, layers=[layer], frames=True, device=device)
        read = (done.store.frames(clip, layer) for clip in self.manifest["clip"])
        self.frames = [torch.from_numpy(frames).half() for frames in read]
        self.hop_s, self.first_free = done.store.config.hop_s, layer

    def _load(self, manifest: pd.DataFrame) -> None:
        waves, reasons = features.load_waves(manifest, self.sample_rate)
        self.skipped = [{"clip": clip, "reason": reason} for clip, reason in reasons.items()]
        self.manifest = manifest[manifest["clip"].isin(waves)].reset_index(drop=True)
        self.waves = [waves[clip] for clip in self.manifest["clip"]]

    def batch(self, rows: Rows, crop_s: float = np.inf, rng: np.random.Generator | None = None) -> Any:
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


# ------------------------------------------------------------------------------------- the network


_KIND, ENCODER = "fine-tuned encoder", "encoder"


class Head(nn.Module):
    """From all layers' states to features and an answer.

    Parameters
    ----------
    n_layers, width : int; L and D of the encoder
    bottleneck, n_out : int
    dropout : float
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_layers: int, width: int, bottleneck: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(n_layers))
        self.register_buffer("mean", torch.zeros(n_layers, width))
        self.register_buffer("scale", torch.ones(n_layers, width))
        self.squeeze = nn.Linear(width, bottleneck)
        self.answer = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(bottleneck, n_out))

    def standardise(self, states: Tensor) -> None:
        """Learn every layer's mean and deviation from pooled states, (N, L, D)."""
        self.mean.copy_(states.mean(0))
        self.scale.copy_(states.std(0, correction=0).clamp_min(1e-4))

    def features(self, states: Tensor) -> Tensor:
        """Turn states, (..., L, D), into features, (..., B)."""
        weight = self.mix.softmax(0)
        return self.squeeze((weight[:, None] * (states - self.mean) / self.scale).sum(-2))

    def forward(self, states: Tensor) -> Tensor:
        """Turn pooled states, (N, L, D), into logits or ratings, (N, C)."""
        return self.answer(self.features(states))


class Whole(nn.Module):
    """Encoder and head as one module, so that gradients of both are joined across GPUs.

    Parameters
    ----------
    encoder : network, or a baseline's name
    head : Head
    normalise : bool; whether it wants waves of zero mean and unit variance
    """

    def __init__(self, encoder: Any, head: Head, normalise: bool) -> None:
        super().__init__()
        self.encoder = encoder if isinstance(encoder, nn.Module) else None
        self.head, self.normalise = head, normalise

    def forward(self, batch: Tensor | Cut | list[audio.Wave]) -> Tensor:
        """Turn pooled states, (N, L, D), stored frames, or waves into answers, (N, C)."""
        return self.head(states_of(self.encoder, batch, self.normalise).to(self.head.mix.device))


def free(model: Any, layers: Free) -> list[nn.Parameter]:
    """Freeze a network but for its top layers, and return what may learn.

    Its own masking and dropping of layers are turned off: every state of every frame is read.
    """
    model.config.apply_spec_augment, model.config.layerdrop = False, 0.0
    model.requires_grad_(layers == "all")
    if layers != "all" and layers:
        model.encoder.layers[-layers:].requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def states_of(model: Any, batch: Tensor | Cut | list[audio.Wave], normalise: bool) -> Tensor:
    """Return pooled states at every layer, (N, L, D): as given, from stored frames on, or of waves."""
    if isinstance(batch, Tensor):
        return batch
    return resumed_states(model, batch) if isinstance(batch, Cut) else pooled_states(model, batch, normalise)


def pooled_states(model: Any, waves: Sequence[audio.Wave], normalise: bool) -> Tensor:
    """Return waves' hidden states at every layer, averaged over frames: (B, L, D).

    Waves of one length share a batch and nothing is padded: a group norm over time would see the padding, and
    an encoder would be trained otherwise than it is used.
    """
    device = next(model.parameters()).device
    ready = [(w - w.mean()) / np.sqrt(w.var() + 1e-7) if normalise else w for w in waves]
    found: dict[int, Tensor] = {}
    for length in sorted({len(wave) for wave in ready}):
        rows = [row for row, wave in enumerate(ready) if len(wave) == length]
        batch = torch.from_numpy(np.stack([ready[row] for row in rows]).astype(np.float32))
        with inputs_of(model.encoder.layers, and_output=True) as states:
            model(batch.to(device))
        pooled = torch.stack([state.float().mean(1) for state in states], dim=1)
        found |= dict(zip(rows, pooled, strict=True))
    return torch.stack([found[row] for row in range(len(ready))])


def resumed_states(model: Any, cut: Cut) -> Tensor:
    """Return hidden states at every layer, averaged over frames, (B, L, D), from the first free block on."""
    blocks = model.encoder.layers[cut.below.shape[1] :]
    device = next(blocks.parameters()).device
    state, lengths = cut.frames.to(device), cut.lengths.to(device)
    valid = torch.arange(state.shape[1], device=device)[None] < lengths[:, None]
    autocast = torch.is_autocast_enabled(device.type)
    kind = torch.get_autocast_dtype(device.type) if autocast else state.dtype
    bias = None if valid.all() else attention_bias(valid, kind)
    pooled = [*cut.below.to(device).unbind(1), _average(state, valid)]
    for block in blocks:
        output = block(state, attention_mask=bias)
        state = output[0] if isinstance(output, tuple) else output
        pooled.append(_average(state.float(), valid))
    return torch.stack(pooled, dim=1)


def _average(state: Tensor, valid: Tensor) -> Tensor:
    weight = valid[..., None].to(state.dtype)
    return (state * weight).sum(1) / weight.sum(1)


def ccc_loss(answers: Tensor, ratings: Tensor) -> Tensor:
    """Return 1 - CCC of answers with ratings, each (N, 2), averaged over the axes."""
    a, b = answers.float(), ratings.float()
    covariance = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    spread = a.var(0, correction=0) + b.var(0, correction=0) + (a.mean(0) - b.mean(0)).square()
    return (1 - 2 * covariance / spread.clamp_min(1e-8)).mean()


# ------------------------------------------------------------------------------------- the result


class FineTuned:
    """A fine-tuned encoder: as any `encoders.Encoder`, with one layer, 0, as wide as its bottleneck.

    Parameters
    ----------
    folder : str or Path; where `finetune` wrote it
    device : str

    Attributes
    ----------
    classes : list of str; what it classifies, or valence and arousal
    settings : Settings

    Raises
    ------
    ValueError
        If there is no fine-tuned encoder in the folder.
    """

    layers: tuple[int, ...] = (0,)

    def __init__(self, folder: str | Path, *, device: str = "auto") -> None:
        folder = Path(folder)
        try:
            config, arrays = files.read_model(folder, _KIND)
            self.settings, self.classes = Settings(**config["settings"]), list(config["classes"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            why = f"{folder} holds no fine-tuned encoder ({error}); make one by `finetune`"
            raise ValueError(why) from error
        base = config["baseline"] or str(folder / ENCODER)
        self._base = encoders.load(base, device=device)
        if self._base.fingerprint != config.get("encoder"):
            raise ValueError(
                f"the encoder in {folder} is not the one that its head was trained with; make it anew by "
                f"`finetune`"
            )
        n_layers, width = arrays["mean"].shape
        self.head = Head(n_layers, width, self.settings.bottleneck, len(self.classes), 0.0).eval()
        self.head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        self.name = f"finetuned-{folder.resolve().name}"
        self.sample_rate = self._base.sample_rate
        self.hop_s, self.first_frame_s = self._base.hop_s, self._base.first_frame_s
        self.width = self.settings.bottleneck
        self.fingerprint = f"{self._base.fingerprint}-{config['sha256'][:16]}"

    @torch.inference_mode()
    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to features, one float32 array (1, T, B) a wave."""
        states = self._base.encode(waves, sample_rate)
        frames = [self.head.features(torch.from_numpy(state).transpose(0, 1)) for state in states]
        return [frame.numpy()[None] for frame in frames]

    @torch.inference_mode()
    def answers(self, features: ArrayLike) -> NDArray[np.float64]:
        """Read class probabilities, or valence and arousal, (N, C), off pooled features, (N, B)."""
        out = self.head.answer(torch.from_numpy(np.asarray(features, dtype=np.float32)))
        return (out.softmax(1) if self.settings.target == "emotion" else out).double().numpy()


def write(folder: Path, speech: Speech, head: Head, classes: list[str], settings: Settings, key: str) -> None:
    """Write a fine-tuned encoder, or a baseline's name in its place; ``config.json`` comes last."""
    baseline = speech.encoder if isinstance(speech.encoder, str) else None
    if baseline is None:
        with quiet_transformers():
            speech.encoder.save_pretrained(folder / ENCODER)
        Wav2Vec2FeatureExtractor(do_normalize=speech.normalise).save_pretrained(folder / ENCODER)
    arrays = {name: value.numpy(force=True) for name, value in head.state_dict().items()}
    fingerprint = encoders.load(baseline or str(folder / ENCODER), device="cpu").fingerprint
    config = {
        "encoder": fingerprint, "classes": classes, "settings": asdict(settings), "baseline": baseline,
        "identity": key,
    }  # fmt: skip
    files.write_model(folder, _KIND, config, arrays)
