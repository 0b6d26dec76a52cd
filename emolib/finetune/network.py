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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emolib.audio import Wave
from emolib.finetune.settings import Free
from emolib.transformer import inputs_of


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


def pooled_states(model: Any, waves: Sequence[Wave], normalise: bool) -> Tensor:
    """Return waves' hidden states at every layer, averaged over their own frames: (B, L, D)."""
    device = next(model.parameters()).device
    ready = [(w - w.mean()) / np.sqrt(w.var() + 1e-7) if normalise else w for w in waves]
    batch = nn.utils.rnn.pad_sequence(
        [torch.from_numpy(w.astype(np.float32)) for w in ready], batch_first=True
    )
    lengths = torch.tensor([len(w) for w in ready])
    mask = (torch.arange(batch.shape[1])[None] < lengths[:, None]).to(device)
    with _states(model.encoder.layers) as states:
        model(batch.to(device), attention_mask=mask)
    n_frames = model._get_feat_extract_output_lengths(lengths).to(device)
    valid = (torch.arange(states[0].shape[1], device=device)[None] < n_frames[:, None]).float()[..., None]
    return torch.stack([(state * valid).sum(1) / valid.sum(1) for state in states], dim=1)


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
