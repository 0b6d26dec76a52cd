"""The network that is fine-tuned: an encoder, learned weights over its layers, a bottleneck and a head.

Second stage of `emolib.finetune`. Weighing, pooling and bottleneck are linear, so that pooled features are
the mean of the frames', and a frozen encoder's states may be pooled before anything is learned.

References
----------
S.-w. Yang et al. (2021), "SUPERB", arXiv:2105.01051 (weighted layers); E. Zhou, Y. Zhang, Z. Duan (2023),
arXiv:2311.14816 (mean pooling and a bottleneck of 100). The CCC as a loss: F. Weninger et al. (2016),
"Discriminatively Trained Recurrent Neural Networks for Continuous Dimensional Emotion Recognition", IJCAI.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib.audio import Wave
from emolib.encoders import inputs_of
from emolib.finetune.settings import Free


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


class Cut(NamedTuple):
    """What the frozen part of an encoder made of some clips: where its free blocks go on.

    Attributes
    ----------
    below : float32 tensor, (B, k, D); pooled states at the layers under the first free block's input
    frames : float32 tensor, (B, T, D); what enters the first free block, padded
    lengths : int tensor, (B,); frames that count
    """

    below: Tensor
    frames: Tensor
    lengths: Tensor


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

    def forward(self, heard: Tensor | Cut | list[Wave]) -> Tensor:
        """Turn pooled states, (N, L, D), the like of them to go on from, or waves into answers, (N, C)."""
        return self.head(states_of(self.encoder, heard, self.normalise).to(self.head.mix.device))


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


def states_of(model: Any, heard: Tensor | Cut | list[Wave], normalise: bool) -> Tensor:
    """Return pooled states at every layer, (N, L, D): as given, from a cut on, or of waves."""
    if isinstance(heard, Tensor):
        return heard
    return resumed_states(model, heard) if isinstance(heard, Cut) else pooled_states(model, heard, normalise)


def pooled_states(model: Any, waves: Sequence[Wave], normalise: bool) -> Tensor:
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


def can_resume(model: Any, layers: Free) -> bool:
    """Tell whether an encoder's free blocks can go on from what was computed before.

    WavLM's can't: its blocks hand on a bias of positions that the first one makes.
    """
    return layers != "all" and layers > 0 and model.config.model_type != "wavlm"


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


def classification_loss(logits: Tensor, codes: Tensor, weight: Tensor | None) -> Tensor:
    """Return the cross-entropy of logits, (N, C), with class numbers, (N,)."""
    return F.cross_entropy(logits.float(), codes, weight)


def ccc_loss(answers: Tensor, ratings: Tensor) -> Tensor:
    """Return 1 - CCC of answers with ratings, each (N, 2), averaged over the axes."""
    a, b = answers.float(), ratings.float()
    covariance = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    spread = a.var(0, correction=0) + b.var(0, correction=0) + (a.mean(0) - b.mean(0)).square()
    return (1 - 2 * covariance / spread.clamp_min(1e-8)).mean()
