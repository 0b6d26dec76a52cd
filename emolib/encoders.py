"""Frozen speech encoders by name: self-supervised transformers, untrained controls and hand-made baselines.

``load("wav2vec2-nano")`` or any Hugging Face id or local folder of a wav2vec2, HuBERT, WavLM or
data2vec-audio model; ``random:<name>`` is the same architecture untrained; ``logmel`` and ``prosody`` are the
baselines that every claim is held against. All encode waves to hidden states behind one interface.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from emolib import audio, paths
from emolib.baselines import LogMel, Prosody
from emolib.pretrained import load_model
from emolib.training import torch_device
from emolib.transformer import TransformerEncoder
from emolib.whisper import WhisperEncoder

DEFAULT = paths.DEFAULT_ENCODER
BASELINES = ("logmel", "prosody")
Precision = Literal["float32", "bfloat16"]


class Encoder(Protocol):
    """What every encoder offers.

    Attributes
    ----------
    name : str
    sample_rate : int, Hz
    layers : tuple of int; the layers that `encode` returns, in its order
    width : int, D
    hop_s : float, s between frames
    fingerprint : str; changes when the features would
    """

    name: str
    sample_rate: int
    layers: tuple[int, ...]
    width: int
    hop_s: float
    fingerprint: str

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to hidden states, one float32 array (L, T, D) a wave."""
        ...


def load(
    name: str = DEFAULT,
    *,
    layers: Sequence[int] | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    seed: int = 0,
) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name : str
        A baseline, a folder in ``models/``, any folder, or a Hugging Face id; ``random:`` in front leaves it
        untrained.
    layers : sequence of int, optional
        The layers to return: 0 is the transformer's input, k the output of block k. All by default. Blocks
        above the highest are never run.
    device : str
        ``auto`` takes CUDA where there is one.
    precision : {"float32", "bfloat16"}
        bfloat16 halves the time on processors that have it; the cosine to float32 stays above 0.999.
    seed : int
        Of the weights of ``random:``.

    Raises
    ------
    ValueError
        If the name, a layer, the device or the precision is unknown.
    """
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"unknown precision {precision!r}; expected 'float32' or 'bfloat16'")
    if name in BASELINES:
        if layers is not None and tuple(layers) != (0,):
            raise ValueError(f"layers {list(layers)} of {name!r}; a baseline has layer 0 alone")
        return LogMel() if name == "logmel" else Prosody()
    model, sample_rate, normalise = load_model(name, seed)
    settings = {"layers": layers, "device": torch_device(device), "dtype": getattr(torch, precision)}
    if model.config.model_type == "whisper":
        return WhisperEncoder(name, model, **settings)
    return TransformerEncoder(name, model, sample_rate, normalise, **settings)
