"""The HiFi-GAN generator as a Hugging Face `SpeechT5HifiGan`, from its own folder or the original's files.

The original repository's checkpoints (V1, V2, V3, universal) become the same network: weight norm is folded
into plain weights, and the shorter residual blocks of V3, which transformers lacks, are put in their place.

References
----------
J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis", arXiv:2010.05646; the layout of its checkpoints is that of the repository jik876/hifi-gan.
Weight norm: T. Salimans, D. P. Kingma (2016), arXiv:1602.07868.
"""

import json
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from emolib import atomic
from emolib.audio import HIFIGAN_MEL, MelSpec

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_ARCHITECTURE = (
    "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes",
    "resblock_dilation_sizes",
)  # fmt: skip


class ShortBlock(nn.Module):
    """A residual block of one convolution a dilation, "ResBlock2" of the original; (B, C, T) to (B, C, T)."""

    def __init__(self, channels: int, kernel_size: int, dilations: list[int], slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size, dilation=d, padding=d * (kernel_size - 1) // 2)
            for d in dilations
        )

    def forward(self, hidden: Tensor) -> Tensor:
        for conv in self.convs:
            hidden = hidden + conv(F.leaky_relu(hidden, self.slope))
        return hidden


def build(config: SpeechT5HifiGanConfig) -> SpeechT5HifiGan:
    """Return an untrained generator; ``config.resblock`` of "2" gives it the residual blocks of V3."""
    network = SpeechT5HifiGan(config)
    if getattr(config, "resblock", "1") == "2":
        n_kernels = len(config.resblock_kernel_sizes)
        for n in range(len(network.resblocks)):
            kernel_size = config.resblock_kernel_sizes[n % n_kernels]
            dilations = config.resblock_dilation_sizes[n % n_kernels]
            channels = config.upsample_initial_channel // 2 ** (n // n_kernels + 1)
            network.resblocks[n] = ShortBlock(channels, kernel_size, dilations, config.leaky_relu_slope)
    return network.eval()


def mel_spec(config: SpeechT5HifiGanConfig) -> MelSpec:
    """Return the mel-spectrogram that a generator reads.

    Raises
    ------
    ValueError
        If the configuration states none and isn't at 22,050 Hz either, so that it can't be guessed.
    """
    hop_length = prod(config.upsample_rates)
    stated = all(hasattr(config, name) for name in ("n_fft", "fmin", "fmax"))
    if not stated and config.sampling_rate != HIFIGAN_MEL.sample_rate:
        raise ValueError(
            f"a vocoder at {config.sampling_rate} Hz without n_fft, fmin and fmax in its configuration; its "
            f"mel-spectrogram is unknown: add them, or give a vocoder at {HIFIGAN_MEL.sample_rate} Hz"
        )
    n_fft, fmin, fmax = (
        getattr(config, name, getattr(HIFIGAN_MEL, name)) for name in ("n_fft", "fmin", "fmax")
    )
    return MelSpec(config.sampling_rate, n_fft, hop_length, config.model_in_dim, fmin, fmax)


def save_network(network: SpeechT5HifiGan, folder: Path, *, half: bool = False) -> None:
    """Write ``model.safetensors`` and then ``config.json``, each whole or not at all.

    Parameters
    ----------
    network : SpeechT5HifiGan
    folder : Path
    half : bool; write half precision, which halves the file and costs about 60 dB of signal to noise
    """
    dtype = torch.float16 if half else torch.float32
    weights = {k: v.detach().cpu().to(dtype).contiguous() for k, v in network.state_dict().items()}
    config = {**network.config.to_dict(), "architectures": ["SpeechT5HifiGan"]}
    atomic.write_file(folder / WEIGHTS, save(weights, {"format": "pt"}))
    atomic.write_file(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def load_network(folder: Path) -> SpeechT5HifiGan:
    """Read a generator from a folder with ``config.json`` and ``model.safetensors``, in single precision.

    Raises
    ------
    ValueError
        If a file is missing or broken, or the weights aren't those of the configuration.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.get("model_type") != SpeechT5HifiGanConfig.model_type:
            raise ValueError(
                f"it is a {config.get('model_type')!r} model; expected {SpeechT5HifiGanConfig.model_type}"
            )
        network = build(SpeechT5HifiGanConfig.from_dict(config))
        weights = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
        network.load_state_dict(weights)
    except (OSError, ValueError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder} holds no usable HiFi-GAN vocoder: {reason}") from error
    return network


def convert(config: Mapping[str, Any], state_dict: Mapping[str, Any]) -> SpeechT5HifiGan:
    """Turn a generator of jik876/hifi-gan into a `SpeechT5HifiGan` with the same output.

    Parameters
    ----------
    config : mapping; the repository's JSON configuration
    state_dict : mapping; a generator's tensors, or the checkpoint that holds them as ``generator``

    Raises
    ------
    ValueError
        If the configuration lacks a key, contradicts itself, or isn't that of the tensors.
    """
    network = build(_config(config))
    tensors = state_dict.get("generator", state_dict)
    plain = fold_weight_norm(tensors)
    renamed = {re.sub(r"^ups\.", "upsampler.", name): tensor.float() for name, tensor in plain.items()}
    n_mels = network.config.model_in_dim
    renamed |= {"mean": torch.zeros(n_mels), "scale": torch.ones(n_mels)}  # the original doesn't normalise
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the checkpoint isn't a generator of this configuration: {reason}") from None
    return network


def read_config(path: Path) -> dict[str, Any]:
    """Read the JSON configuration of an original generator.

    Raises
    ------
    ValueError
        If the file is missing or holds no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no HiFi-GAN configuration ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: no HiFi-GAN configuration; expected a JSON object")
    return config


def read_tensors(path: Path) -> Mapping[str, Any]:
    """Read an original checkpoint, of which nothing but tensors is accepted: no code in it is run.

    Raises
    ------
    ValueError
        If the file is missing, or holds anything else.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that isn't one of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: no checkpoint of plain tensors ({reason})") from error
    if not isinstance(tensors, Mapping):
        raise ValueError(f"{path}: no checkpoint of plain tensors (it holds a {type(tensors).__name__})")
    return tensors


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return plain weights: w = g v / |v|, the norm over all axes but the first; other tensors as they are.

    Both spellings of PyTorch are read: ``weight_g`` with ``weight_v``, and
    ``parametrizations.weight.original0`` with ``original1``.
    """
    old = {
        re.sub(
            r"\.parametrizations\.weight\.original([01])$", lambda m: ".weight_" + "gv"[int(m[1])], name
        ): tensor
        for name, tensor in tensors.items()
    }
    plain = {}
    for name, tensor in old.items():
        if name.endswith(".weight_v"):
            gain = old[f"{name[:-1]}g"].double()
            norm = tensor.double().flatten(1).norm(dim=1).view(gain.shape)
            plain[name.removesuffix("_v")] = (gain * tensor.double() / norm).to(tensor.dtype)
        elif not name.endswith(".weight_g"):
            plain[name] = tensor
    return plain


def _config(original: Mapping[str, Any]) -> SpeechT5HifiGanConfig:
    """Translate the original's configuration, and check it against itself."""
    missing = [name for name in (*_ARCHITECTURE, "resblock") if name not in original]
    if missing:
        raise ValueError(
            f"a HiFi-GAN configuration without {', '.join(missing)}; expected the generator's JSON"
        )
    spec = HIFIGAN_MEL
    n_fft = original.get("n_fft", spec.n_fft)
    hop_length, blocks = prod(original["upsample_rates"]), str(original["resblock"])
    if original.get("hop_size", hop_length) != hop_length or original.get("win_size", n_fft) != n_fft:
        raise ValueError(
            f"hop_size {original.get('hop_size')} and win_size {original.get('win_size')}; expected the "
            f"product of upsample_rates, {hop_length}, and n_fft, {n_fft}"
        )
    if blocks not in ("1", "2"):
        raise ValueError(f"resblock {blocks!r}; expected '1' (V1, V2, universal) or '2' (V3)")
    architecture = {name: original[name] for name in _ARCHITECTURE}
    if blocks == "1":  # the original reads three dilations of each kernel, whatever is stated
        dilations = architecture["resblock_dilation_sizes"]
        architecture["resblock_dilation_sizes"] = [list(sizes)[:3] for sizes in dilations]
    sample_rate = original.get("sampling_rate", spec.sample_rate)
    mel = {
        "model_in_dim": original.get("num_mels", spec.n_mels), "sampling_rate": sample_rate, "n_fft": n_fft,
        "fmin": original.get("fmin", spec.fmin), "fmax": original.get("fmax", spec.fmax) or sample_rate / 2,
    }  # fmt: skip
    return SpeechT5HifiGanConfig.from_dict(
        {**architecture, **mel, "resblock": blocks, "normalize_before": False}
    )
