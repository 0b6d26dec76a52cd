"""One shard of a feature store: some clips' features in one safetensors file, readable by ranges of bytes.

Tensors stand layer by layer, so that any one layer of any one clip is a single range of bytes: ``mean`` and
``std``, (L, N, D) float32, and where asked for ``frames``, (L, all T, D). The header carries its own part of
the store's index: clips, the SHA-256 of their files, and their numbers of frames.

References
----------
The safetensors format: github.com/huggingface/safetensors.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from safetensors.numpy import save as to_safetensors

_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
#: Columns of a store's index; `start` is a clip's first frame in its shard.
INDEX = {"clip": str, "sha256": str, "n_frames": int, "shard": int, "row": int, "start": int}


class DamagedShard(ValueError):
    """A shard that is not whole."""


class Shard:
    """Read a shard.

    Parameters
    ----------
    filesystem : fsspec filesystem
    path : str

    Raises
    ------
    DamagedShard
        If the header can't be read, or the file is not as long as it states.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        try:
            with filesystem.open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(size)) if size < 1 << 28 else {}
            self._rows = json.loads(header.pop("__metadata__")["index"])
            self._tensors: dict[str, dict[str, Any]] = header
            length = 8 + size + max(entry["data_offsets"][1] for entry in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise DamagedShard(f"{path} is damaged") from None
        self._base = 8 + size
        if filesystem.size(path) != length:
            raise DamagedShard(f"{path} is damaged")

    def index(self, number: int) -> pd.DataFrame:
        """Return this shard's rows of the store's index, as shard `number`."""
        return index_rows(self._rows, number)

    def read(self, name: str, position: int, span: tuple[int, int] | None = None) -> NDArray[Any]:
        """Read one layer of one tensor, (rows, D), or a span of its rows."""
        entry = self._tensors[name]
        dtype = _DTYPES[entry["dtype"]]
        _, n_rows, width = entry["shape"]
        first, last = span or (0, n_rows)
        stride = width * dtype.itemsize
        offset = self._base + entry["data_offsets"][0] + (position * n_rows + first) * stride
        data = self._filesystem.cat_file(self._path, offset, offset + (last - first) * stride)
        return np.frombuffer(data, dtype).reshape(last - first, width)


def pack(
    clips: Sequence[str], digests: Sequence[str], states: Sequence[NDArray[np.float32]], *, frames: bool
) -> tuple[bytes, dict[str, list[Any]]]:
    """Turn clips' hidden states into the bytes of a shard and its part of the index.

    Parameters
    ----------
    clips, digests : sequences of str, N: clip names and the SHA-256 of their files
    states : sequence of float32 arrays, (L, T, D), N of them
    frames : bool; keep every frame beside mean and standard deviation
    """
    tensors = {
        "mean": np.stack([state.mean(axis=1, dtype=np.float64) for state in states], axis=1),
        "std": np.stack([state.std(axis=1, dtype=np.float64) for state in states], axis=1),
    }
    tensors = {name: table.astype(np.float32) for name, table in tensors.items()}
    if frames:
        joined = np.concatenate(states, axis=1)
        # half precision unless a network's activations pass its range
        tensors["frames"] = joined if np.abs(joined).max() > 6e4 else joined.astype(np.float16)
    lengths = [state.shape[1] for state in states]
    rows: dict[str, list[Any]] = {"clip": list(clips), "sha256": list(digests), "n_frames": lengths}
    return to_safetensors(tensors, {"index": json.dumps(rows)}), rows


def index_rows(rows: dict[str, list[Any]], shard: int) -> pd.DataFrame:
    """Turn a shard's own part of the index into rows of the index table."""
    frame = pd.DataFrame(rows).assign(shard=shard, row=range(len(rows["clip"])))
    return frame.assign(start=frame["n_frames"].cumsum() - frame["n_frames"])[list(INDEX)]
