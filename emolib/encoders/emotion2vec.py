"""emotion2vec as a frozen encoder, from its published state dict, which gives its dimensions too.

The network is data2vec 2.0's for audio: the wav2vec 2.0 front end with layer norms, five positional
convolutions, ten extra tokens, four blocks and eight more, attention biased by distance (ALiBi).

References
----------
Z. Ma et al. (2023), "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation",
arXiv:2312.15185; A. Baevski et al. (2022), data2vec 2.0, arXiv:2212.07525; O. Press et al. (2021), ALiBi,
arXiv:2108.12409.
"""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from emolib.encoders.transformer import TransformerEncoder
from emolib.encoders.wav2vec2 import FrontEnd

#: Names of the published files of weights.
WEIGHTS = ("model.pt", "emotion2vec_base.pt")
_AUDIO = "modality_encoders.AUDIO."


def read(path: Path) -> dict[str, Tensor]:
    """Read a published state dict, in float32; nothing pickled is run.

    Raises
    ------
    ValueError
        If it is not emotion2vec's.
    """
    is_plain = path.suffix == ".safetensors"
    held: Any = load_file(path) if is_plain else torch.load(path, "cpu", weights_only=True)
    held = held.get("model", held)
    state = {name.removeprefix("d2v_model."): tensor.float() for name, tensor in held.items()}
    if f"{_AUDIO}alibi_scale" not in state or "norm.weight" in state:
        expected = "data2vec 2.0's tensors, norms after each block"
        raise ValueError(f"{path} holds no emotion2vec; expected {expected}")
    return state


def untrained(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return random weights of the same shapes: norms of one, biases of zero."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, tensor: Tensor) -> Tensor:
        if tensor.ndim in (2, 3) and not name.endswith("extra_tokens"):
            fan_in = tensor[0].numel()
            return torch.randn(tensor.shape, generator=generator) / fan_in**0.5
        return torch.zeros_like(tensor) if name.endswith("bias") else torch.ones_like(tensor)

    return {name: drawn(name, tensor) for name, tensor in state.items()}


class Emotion2vec(nn.Module):
    """The network behind the front end, with the dimensions of a state dict.

    Parameters
    ----------
    state : mapping of str to Tensor; as published
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        audio = {name.removeprefix(_AUDIO): t for name, t in state.items() if name.startswith(_AUDIO)}
        prenet = _numbered(audio, "context_encoder.blocks.")
        blocks = [*prenet, *_numbered(state, "blocks.")]
        width, n_heads = audio["context_encoder.norm.weight"].shape[0], audio["alibi_scale"].numel()
        shape = {"num_hidden_layers": len(blocks), "hidden_size": width}
        self.config = SimpleNamespace(model_type="emotion2vec", **shape)
        convs = enumerate(_numbered(audio, "local_encoder.conv_layers."))
        self.conv_layers = nn.ModuleList(_conv_layer(part, 2 if number else 5) for number, part in convs)
        self.project = nn.Sequential(_norm(audio, "project_features.1"), _linear(audio, "project_features.2"))
        self.positions = nn.ModuleList(map(_position, _numbered(audio, "relative_positional_encoder.")))
        self.norm = _norm(audio, "context_encoder.norm")
        self.extra_tokens = nn.Parameter(audio["extra_tokens"])
        slopes = audio["alibi_scale"].clamp_min(0).reshape(n_heads) * _slopes(n_heads)
        self.slopes = nn.Parameter(slopes[:, None, None])
        self.layers = nn.ModuleList(_Block(part, n_heads) for part in blocks)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn the front end's frames, (B, T, C), into the last block's output, (B, extra + T, D)."""
        hidden = self.project(frames)
        positions = hidden.transpose(1, 2)
        for conv in self.positions:
            positions = conv(positions)[..., : frames.shape[1]]
            positions = functional.layer_norm(positions.transpose(1, 2), hidden.shape[-1:]).transpose(1, 2)
            positions = functional.gelu(positions)
        hidden = hidden + positions.transpose(1, 2)
        n_extra, n_frames = self.extra_tokens.shape[1], hidden.shape[1]
        hidden = torch.cat([self.extra_tokens.expand(len(hidden), -1, -1), hidden], dim=1)
        places = torch.arange(n_frames, device=hidden.device)
        distance = (places[:, None] - places).abs()
        bias = functional.pad(-distance * self.slopes, (n_extra, 0, n_extra, 0))[None]
        hidden = self.norm(hidden)
        for block in self.layers:
            hidden = block(hidden, bias.to(hidden.dtype))
        return hidden


class Emotion2vecEncoder(TransformerEncoder):
    """An emotion2vec network, truncated at the highest layer that is asked for."""

    MODEL_TYPES = ("emotion2vec",)
    _may_pad = False  # the positional convolutions carry what is in the padding back into the clip
    _variance_floor = 1e-5

    def _build_front_end(self) -> FrontEnd:
        return FrontEnd(self.network, self.dtype)

    def _run(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        return self.network(frames)

    def _transform(self, frames: Tensor, valid: Tensor | None) -> list[Tensor]:
        n_extra = self.network.extra_tokens.shape[1]
        return [state[:, n_extra:] for state in super()._transform(frames, valid)]


class _Block(nn.Module):
    def __init__(self, part: Mapping[str, Tensor], n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.proj = _linear(part, "attn.qkv"), _linear(part, "attn.proj")
        self.norm1, self.norm2 = _norm(part, "norm1"), _norm(part, "norm2")
        self.mlp = nn.Sequential(_linear(part, "mlp.fc1"), nn.GELU(), _linear(part, "mlp.fc2"))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self.norm1(x + self.proj(heard.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.mlp(x))


def _numbered(state: Mapping[str, Tensor], prefix: str) -> list[dict[str, Tensor]]:
    """Return the tensors below ``<prefix><number>.``, by number."""
    names = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    numbers = sorted({int(name.partition(".")[0]) for name in names})
    return [
        {n.partition(".")[2]: state[prefix + n] for n in names if n.partition(".")[0] == str(number)}
        for number in numbers
    ]


def _conv_layer(part: Mapping[str, Tensor], stride: int) -> nn.Module:
    """Return a front end's layer as `wav2vec2.FrontEnd` reads it."""
    n_out, n_in, kernel = part["0.weight"].shape
    layer = nn.Module()
    layer.conv = _filled(nn.Conv1d(n_in, n_out, kernel, stride, bias=False), part, "0")
    layer.layer_norm, layer.activation = _norm(part, "2.1"), nn.GELU()
    return layer


def _position(part: Mapping[str, Tensor]) -> nn.Module:
    """Return a positional convolution, which keeps the input's length."""
    n_out, n_in, kernel = part["0.weight"].shape
    return _filled(nn.Conv1d(n_out, n_out, kernel, padding=kernel // 2, groups=n_out // n_in), part, "0")


def _linear(part: Mapping[str, Tensor], name: str) -> nn.Module:
    return _filled(nn.Linear(*part[f"{name}.weight"].shape[::-1]), part, name)


def _norm(part: Mapping[str, Tensor], name: str) -> nn.Module:
    return _filled(nn.LayerNorm(len(part[f"{name}.weight"])), part, name)


def _filled(module: nn.Module, part: Mapping[str, Tensor], name: str) -> nn.Module:
    """Return a module with the tensors below ``<name>.``."""
    module.load_state_dict({kind: part[f"{name}.{kind}"] for kind in module.state_dict()})
    return module


def _slopes(n_heads: int) -> Tensor:
    """Return ALiBi's slopes: geometric for a power of two, else with every second of twice as many behind."""
    power = 1 << (n_heads.bit_length() - 1)
    first = [2 ** (-8 * (k + 1) / power) for k in range(power)]
    rest = [2 ** (-8 * (k + 1) / (2 * power)) for k in range(0, 2 * power, 2)]
    return torch.tensor([*first, *rest][:n_heads])
