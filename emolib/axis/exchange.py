"""Axes as control vectors in a GGUF file, which repeng and llama.cpp read and write as well.

One tensor a layer, ``direction.<number>``, holds `EmotionAxis.vector_`, so that a coefficient of 1 is one
emotion further. Those programs count blocks from 0: ``direction.2`` belongs to the output of the third block,
which is layer 3 here. What else an axis knows lies in a string of JSON that other programs pass over.

References
----------
T. Vogel (2024), "repeng", github.com/vgel/repeng; G. Gerganov et al., "GGUF", github.com/ggml-org/ggml.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emolib import files
from emolib.axis.estimator import EmotionAxis

_ARCHITECTURE, _OWN = "controlvector", "emolib.axes"
_PREFIX = "direction."
_NEEDED = "control vectors in GGUF", "pip install 'gguf>=0.10'"


def write_gguf(path: str | Path, axes: Mapping[int, EmotionAxis]) -> Path:
    """Write axes, each of its layer, as control vectors.

    Parameters
    ----------
    path : str or Path
    axes : mapping of layer to EmotionAxis
        Layers as `Encoder.encode` counts them, from 1: the format has no place for what enters the first
        block. llama.cpp refuses files with layer 1 as well; repeng reads them.

    Raises
    ------
    ValueError
        If the package gguf isn't installed, there is no axis, one is of another layer than it is given for,
        or a layer is below 1.
    """
    gguf = files.optional("gguf", *_NEEDED)
    if not axes or min(axes) < 1:
        raise ValueError(f"axes of layers {sorted(axes)}; expected at least one, each of layer 1 or above")
    told: dict[int, dict[str, Any]] = {}
    for layer, axis in axes.items():
        axis.check(layer=layer)
        config, arrays = axis._saved()
        told[layer] = config | {name: arrays[name].tolist() for name in ("origin_", "centre_")}
    first = next(iter(axes.values())).provenance
    hint = first.get("encoder") or first.get("model_hint") or "unknown"
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "axes.gguf"
        writer = gguf.GGUFWriter(whole, _ARCHITECTURE)
        writer.add_string(f"{_ARCHITECTURE}.model_hint", str(hint))
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(axes))
        writer.add_string(_OWN, json.dumps(told))
        for layer, axis in sorted(axes.items()):
            writer.add_tensor(f"{_PREFIX}{layer - 1}", axis.vector_.astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files.write_file(Path(path), whole.read_bytes())
    return Path(path)


def read_gguf(path: str | Path, source: str = "negative", target: str = "positive") -> dict[int, EmotionAxis]:
    """Read control vectors as axes by layer.

    Parameters
    ----------
    path : str or Path
    source, target : str
        What a vector of another program leads from and to; the format doesn't say. Its axes project from 0,
        not from the mean of the source.

    Raises
    ------
    ValueError
        If the package gguf isn't installed, or the file holds no control vectors.
    """
    gguf = files.optional("gguf", *_NEEDED)
    try:
        reader = gguf.GGUFReader(path)
    except ValueError as error:
        raise ValueError(f"{path} is no GGUF file ({error}); expected one with control vectors") from None
    held = {name: field.contents() for name, field in reader.fields.items()}
    kind, told = held.get("general.architecture"), json.loads(held.get(_OWN, "{}"))
    vectors = {tensor.name: tensor.data for tensor in reader.tensors if tensor.name.startswith(_PREFIX)}
    if kind != _ARCHITECTURE or not vectors:
        raise ValueError(f"{path} holds {len(vectors)} directions of {kind!r}; expected {_ARCHITECTURE!r}")
    made = {}
    for name, data in vectors.items():
        layer, vector = int(name.removeprefix(_PREFIX)) + 1, np.asarray(data, np.float64)
        hint = str(held.get(f"{_ARCHITECTURE}.model_hint", "unknown"))
        fitted = {
            "source_": source, "target_": target, "speakers_": [], "n_features_in_": len(vector),
            "provenance_": {"model_hint": hint, "layer": layer, "pooling": "mean"},
        }  # fmt: skip
        theirs = {"parameters": {"source": source, "target": target}, "fitted": fitted}
        config, size = told.get(str(layer), theirs), float(np.linalg.norm(vector))
        config["fitted"]["scale_"] = size
        zeros = np.zeros_like(vector)
        arrays = {name: np.array(config.get(name, zeros)) for name in ("origin_", "centre_")}
        arrays |= {"direction_": vector / size, "speaker_directions_": np.empty((0, len(vector)))}
        made[layer] = EmotionAxis._loaded(config, arrays)
    return dict(sorted(made.items()))
