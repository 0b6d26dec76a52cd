"""One shard of a feature store: some clips' features in one safetensors file, readable by ranges of bytes.

Tensors are stored layer by layer, so that any one layer of any one clip is a single range of bytes: ``mean``
and ``std``, (L, N, D) float32, and where asked for ``frames``, (L, all T, D). The header carries its own part
of the store's index: its layers, clips, the SHA-256 of their files, and their numbers of frames; and a
checksum of each range that is read on its own, so that no flipped bit passes for a feature.

References
----------
The safetensors format: github.com/huggingface/safetensors.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from safetensors.numpy import save as to_safetensors

_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
#: What a shard's own part of the index says of each clip.
ROWS = ("clip", "sha256", "n_frames")
#: Columns of a store's index: `start` is a clip's first frame in its shard, `layers` are the shard's, with
#: spaces between, and `frames` tells whether it holds frames.
INDEX = {
    "clip": str, "sha256": str, "n_frames": int, "shard": int, "row": int, "start": int, "layers": str,
    "frames": bool,
}  # fmt: skip


class DamagedShard(ValueError):
    """A shard that is not whole."""


class Shard:
    """Read a shard.

    Parameters
    ----------
    filesystem : fsspec filesystem
    path : str
    layers : sequence of int
        Of a shard that does not say which layers it holds, as those of earlier versions.

    Raises
    ------
    DamagedShard
        If the header can't be read, or the file is not as long as it states.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str, layers: Sequence[int] = ()) -> None:
        self._filesystem, self._path = filesystem, path
        try:
            with filesystem.open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(size)) if size < 1 << 28 else {}
            self._rows = json.loads(header.pop("__metadata__")["index"])
            self._checksums: dict[str, list[Any]] = self._rows.pop("crc32", {})  # older shards have none
            if set(self._rows) - {"layers"} != set(ROWS):
                raise ValueError("an index of other columns")
            if self._checksums and self._checksums["index"] != [_checksum(self._rows)]:
                raise ValueError("an index that is not as it was written")
            self.layers = tuple(map(int, self._rows.pop("layers", layers)))
            self._shapes = {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
            if not {"mean", "std"} <= set(header) or any(
                len(shape) != 3 or shape[0] != len(self.layers) for shape in self._shapes.values()
            ):
                raise ValueError("tensors of other names or shapes")
            self._stored = {name: np.dtype(_DTYPES[entry["dtype"]]) for name, entry in header.items()}
            self._tensors: dict[str, dict[str, Any]] = header
            length = 8 + size + max(entry["data_offsets"][1] for entry in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise DamagedShard(f"{path} is damaged") from None
        self._base = 8 + size
        if filesystem.size(path) != length:
            raise DamagedShard(f"{path} is damaged")

    def index(self, number: int) -> pd.DataFrame:
        """Return this shard's rows of the store's index, as shard `number`."""
        rows = pd.DataFrame({name: self._rows[name] for name in ROWS})
        return rows.assign(
            shard=number,
            row=range(len(rows)),
            start=rows["n_frames"].cumsum() - rows["n_frames"],
            layers=" ".join(map(str, self.layers)),
            frames="frames" in self._tensors,
        )[list(INDEX)]

    def expect(self, clips: Sequence[str], rows: Sequence[int]) -> None:
        """Raise DamagedShard unless these clips stand in these rows, as an index says."""
        own = dict(enumerate(self._rows["clip"]))
        for clip, row in zip(clips, rows, strict=True):
            if own.get(row) != clip:
                raise DamagedShard(
                    f"the index beside {self._path} does not fit it: clip {clip!r} is not in row {row}; "
                    f"delete index.csv, which is made again from the shards"
                )

    def pooled(self, name: str, layer: int) -> NDArray[np.float32]:
        """Return one layer of one pooled tensor, (N, D)."""
        position = self._position(layer)
        return self._read(name, position, None, self._checksums.get(name, [None] * (position + 1))[position])

    def frames(self, row: int, layer: int) -> NDArray[Any]:
        """Return the frames of the clip in one row at one layer, (T, D)."""
        position, lengths = self._position(layer), self._rows["n_frames"]
        span = (sum(lengths[:row]), sum(lengths[: row + 1]))
        known = self._checksums.get("frames")
        return self._read("frames", position, span, known[position][row] if known else None)

    def _position(self, layer: int) -> int:
        if layer not in self.layers:
            raise DamagedShard(
                f"the index beside {self._path} does not fit it: layer {layer} is not in it; delete "
                f"index.csv, which is made again from the shards"
            )
        return self.layers.index(layer)

    def _read(
        self, name: str, position: int, span: tuple[int, int] | None, checksum: int | None
    ) -> NDArray[Any]:
        """Read one layer of one tensor, (rows, D), or a span of its rows, and check it where that can be."""
        entry = self._tensors.get(name)
        if entry is None:
            raise DamagedShard(f"{self._path} is damaged: it has no {name}; delete it and extract again")
        dtype = self._stored[name]
        _, n_rows, width = self._shapes[name]
        first, last = span or (0, n_rows)
        stride = width * dtype.itemsize
        offset = self._base + entry["data_offsets"][0] + (position * n_rows + first) * stride
        end = offset + (last - first) * stride
        data = self._filesystem.cat_file(self._path, start=offset, end=end)  # by name: their order differs
        if checksum is not None and zlib.crc32(data) != checksum:
            raise DamagedShard(
                f"{self._path} is damaged: its {name} at layer number {position} is not what was written; "
                f"delete the file and extract again"
            )
        return np.frombuffer(data, dtype).reshape(last - first, width)


def pack(
    clips: Sequence[str],
    digests: Sequence[str],
    states: Sequence[NDArray[np.float32]],
    layers: Sequence[int],
    *,
    frames: bool,
) -> bytes:
    """Turn clips' hidden states into the bytes of a shard.

    Parameters
    ----------
    clips, digests : sequences of str, N: clip names and the SHA-256 of their files
    states : sequence of float32 arrays, (L, T, D), N of them
    layers : sequence of int, L
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
    # safetensors writes an array's memory as it lies, whatever its strides
    tensors = {name: np.ascontiguousarray(table) for name, table in tensors.items()}
    lengths = [state.shape[1] for state in states]
    rows: dict[str, list[Any]] = dict(zip(ROWS, (list(clips), list(digests), lengths), strict=True))
    rows["layers"] = list(layers)
    checksums: dict[str, list[Any]] = {
        name: [zlib.crc32(layer.tobytes()) for layer in tensors[name]] for name in ("mean", "std")
    }
    if frames:
        ends = np.cumsum(lengths)[:-1]
        checksums["frames"] = [
            [zlib.crc32(clip.tobytes()) for clip in np.split(layer, ends)] for layer in tensors["frames"]
        ]
    checksums["index"] = [_checksum(rows)]
    # one entry: safetensors writes several in an order that changes from process to process
    return to_safetensors(tensors, {"index": json.dumps(rows | {"crc32": checksums})})


def _checksum(rows: dict[str, list[Any]]) -> int:
    return zlib.crc32(json.dumps(rows).encode())
