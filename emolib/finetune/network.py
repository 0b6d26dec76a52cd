"""The network that is fine-tuned, and `FineTuned`, which reads it from its folder as an encoder.

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

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor
from transformers.utils import logging

from emolib import audio, encoders, files
from emolib.encoders import inputs_of
from emolib.finetune.speech import Cut, Free, Settings

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

    Raises
    ------
    ValueError
        If it has fewer layers.
    """
    model.config.apply_spec_augment, model.config.layerdrop = False, 0.0
    model.requires_grad_(layers == "all")
    blocks = model.encoder.layers
    if layers != "all":
        if layers > len(blocks):
            raise ValueError(f"free_layers={layers}; the encoder has {len(blocks)}: expected at most that")
        for block in blocks[len(blocks) - layers :]:
            block.requires_grad_(True)
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
        with _states(model.encoder.layers) as states:
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
    mask = torch.zeros(valid.shape, dtype=kind, device=device)
    mask = mask.masked_fill(~valid, torch.finfo(kind).min)[:, None, None]
    pooled = [*cut.below.to(device).unbind(1), _average(state, valid)]
    for block in blocks:
        output = block(state, attention_mask=None if valid.all() else mask)
        state = output[0] if isinstance(output, tuple) else output
        pooled.append(_average(state.float(), valid))
    return torch.stack(pooled, dim=1)


def _average(state: Tensor, valid: Tensor) -> Tensor:
    weight = valid[..., None].to(state.dtype)
    return (state * weight).sum(1) / weight.sum(1)


@contextlib.contextmanager
def _states(blocks: nn.ModuleList) -> Iterator[list[Tensor]]:
    """Collect what enters the blocks and what leaves the last, as frozen encoders give it."""

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    with inputs_of(blocks) as states:
        handle = blocks[-1].register_forward_hook(keep)
        try:
            yield states
        finally:
            handle.remove()


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
            raise ValueError(
                f"{folder} holds no fine-tuned encoder ({error}); make one by `finetune`"
            ) from error
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
        self.sample_rate, self.hop_s = self._base.sample_rate, self._base.hop_s
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


def write(
    folder: Path,
    model: Any,
    normalise: bool,
    head: Head,
    classes: Sequence[str],
    settings: Settings,
    identity: str,
) -> None:
    """Write a fine-tuned encoder, or a baseline's name in its place; ``config.json`` comes last."""
    if not isinstance(model, str):
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model.save_pretrained(folder / ENCODER)
        finally:
            if shown:
                logging.enable_progress_bar()
        Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder / ENCODER)
    arrays = {name: value.numpy(force=True) for name, value in head.state_dict().items()}
    base = model if isinstance(model, str) else str(folder / ENCODER)
    config = {
        "encoder": encoders.load(base, device="cpu").fingerprint,
        "classes": list(classes), "settings": asdict(settings),
        "baseline": model if isinstance(model, str) else None, "identity": identity,
    }  # fmt: skip
    files.write_model(folder, _KIND, config, arrays)
