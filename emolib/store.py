"""A folder of features: an index table and numbered safetensors shards, each written whole or not at all.

A shard holds some layers of some clips, with or without their frames; layers and frames that are asked for
later come in shards of their own, and what is finished stays. Each shard's header repeats its part of the
index: ``index.csv`` saves opening every shard, and is never needed to get anything back. The folder may be
any fsspec URL; a local one may be read and written by several processes at once.

Tensors lie layer by layer in a shard, so that any one layer of any one clip is a single range of bytes:
``mean`` and ``std``, (L, N, D) float32, and where asked for ``frames``, (L, all T, D). The header carries a
checksum of each range that is read on its own, so that no flipped bit passes for a feature.

References
----------
The safetensors format: github.com/huggingface/safetensors.
"""

import contextlib
import io
import itertools
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pandas as pd
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from safetensors.numpy import save as to_safetensors

from emolib import files

Pooling = Literal["mean", "mean+std"]
States = Sequence[NDArray[np.float32]]
#: A block is closed at this many clips or this many seconds of speech: it bounds memory, and what a kill can
#: cost.
BLOCK_CLIPS, BLOCK_S = 64, 600.0
_SHARD = re.compile(r"shard-(\d{6,})\.safetensors")
_OWN = re.compile(r"(config\.json|index\.csv|shard-\d{6,}\.safetensors)((\.\d+)?\.tmp)?")
_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
#: From a clip's beginning to the centre of its first frame, in s, where a store doesn't say: that of the
#: wav2vec 2.0 family, whose frame t sees samples 320 t to 320 t + 399 at 16 kHz.
FIRST_FRAME_S = 199.5 / 16_000
#: Columns of a store's index: `start` is a clip's first frame in its shard, `layers` are the shard's, with
#: spaces between, and `frames` tells whether it holds frames.
_INDEX = {
    "clip": str, "sha256": str, "n_frames": int, "shard": int, "row": int, "start": int, "layers": str,
    "frames": bool,
}  # fmt: skip


class DamagedShard(ValueError):
    """A shard that is not whole."""


@dataclass(frozen=True)
class StoreConfig:
    """Whose features, of which layers, and whether every frame is kept.

    `hop_s` is infinite where a clip is one frame. JSON has no word for that: files hold null for it. Frame t
    is centred at `first_frame_s` + t `hop_s` from the clip's beginning.
    """

    encoder: str
    fingerprint: str
    layers: tuple[int, ...]
    width: int
    hop_s: float
    frames: bool
    first_frame_s: float = FIRST_FRAME_S

    def __post_init__(self) -> None:
        if self.hop_s is None:
            object.__setattr__(self, "hop_s", math.inf)

    def identity(self) -> dict[str, Any]:
        """Return what all features of a store have in common."""
        told = {name: getattr(self, name) for name in ("encoder", "fingerprint", "width")}
        return told | {"hop_s": self.hop_s if math.isfinite(self.hop_s) else None}

    def described(self) -> dict[str, Any]:
        """Return what ``config.json`` holds: the identity, and a first frame that isn't wav2vec 2.0's."""
        is_known = self.first_frame_s == FIRST_FRAME_S
        return self.identity() | ({} if is_known else {"first_frame_s": self.first_frame_s})


@dataclass(frozen=True)
class Block:
    """What becomes one shard: some rows of a manifest, the layers that they lack, and the shard's number."""

    clips: pd.DataFrame
    layers: tuple[int, ...]
    number: int


class FeatureStore:
    """Features of one corpus under one encoder.

    To fill a store: ``for block in store.plan(manifest): store.write(block, encode(load(block)))``, while it
    is held with `writing`; `features.extract` does that.

    Parameters
    ----------
    url : str or Path
        A folder or any fsspec URL, such as ``s3://bucket/features/ravdess/wav2vec2-nano``.

    Attributes
    ----------
    config : StoreConfig; its layers and frames are what was asked for, or where nothing was, what is there
    index : DataFrame; a row for each clip of each shard: clip, sha256, n_frames, shard, row, start, layers,
        frames
    damaged : list of str; shards that can't be read, whose clips count as missing

    Raises
    ------
    FileNotFoundError
        If there is no store at `url`.

    Notes
    -----
    A clip is known by its name and the SHA-256 of its file. A store that `features.extract` returns reads
    each clip in the content that the manifest names. One that is opened by its URL alone reads the content
    that was written last.
    """

    index: pd.DataFrame
    damaged: list[str]
    _pinned: "pd.Series[str] | None"

    def __init__(self, url: str | Path) -> None:
        self._locate(url)
        held = self._existing()
        if held is None:
            raise FileNotFoundError(
                f"no feature store at {self.url}; make one with `emolib extract` or features.extract"
            )
        self.refresh()
        self.config = replace(held, layers=self._held_layers(), frames=bool(self.index["frames"].any()))

    @classmethod
    def open(cls, url: str | Path, config: StoreConfig, *, replace: bool = False) -> "FeatureStore":
        """Open the store at `url` to add to it, or make one.

        Parameters
        ----------
        url : str or Path
        config : StoreConfig
            What is asked for.
        replace : bool
            Delete what another encoder, other weights or another precision has made.

        Raises
        ------
        ValueError
            If the folder holds features of another making, and `replace` is False, or something else.
        """
        store = cls.__new__(cls)
        store._locate(url)
        store._fs.makedirs(store._root, exist_ok=True)
        with store._locked():  # two that start at once must not clear each other's work
            held = store._existing()
            if held is not None and held.identity() != config.identity():
                if not replace:
                    raise ValueError(
                        f"{store.url} holds features of {held.encoder!r} ({held.fingerprint}), not of "
                        f"{config.encoder!r} ({config.fingerprint}): other weights or another "
                        f"precision; extract into another folder (`--store`), or delete what is there with "
                        f"replace=True (`emolib extract --replace`)"
                    )
                # config.json last: a kill in between leaves what the same call clears again
                for name in filter(_OWN.fullmatch, store._names()):
                    if name != "config.json":
                        store._fs.rm_file(store._path(name))
                held = None
            if held is None:
                store._write("config.json", json.dumps(config.described(), indent=1).encode())
            opened = cls(url)
        opened.config, opened._asked = config, True
        return opened

    @classmethod
    def join(cls, url: str | Path, config: StoreConfig) -> "FeatureStore":
        """Return a store that another process holds open, to write to; its index is not read.

        Raises
        ------
        ValueError
            If this process does not see that store at `url`.
        """
        store = cls.__new__(cls)
        store._locate(url)
        held = store._existing()
        if held is None or held.identity() != config.identity():
            raise ValueError(
                f"the worker on {os.uname().nodename} does not see the store at {url}; name a folder that "
                f"all machines share, or an object store's URL"
            )
        store.config, store._asked = config, True
        return store

    def narrow(self, manifest: pd.DataFrame) -> "FeatureStore":
        """Read a manifest's clips from now on, each in the content that the manifest names; return self."""
        self._pinned = manifest.set_index("clip")["sha256"]
        self._places.clear()
        return self

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        kind = "frames" if self.config.frames else "pooled"
        layers = list(self.config.layers)
        return f"FeatureStore({self.config.encoder}, {len(self)} clips, layers {layers}, {kind})"

    # ------------------------------------------------------------------------------------- reading

    @property
    def clips(self) -> list[str]:
        """The clips in the store, sorted: the rows of `pooled`. They have all layers that were asked for."""
        if not self._asked:
            return sorted(self._contents().index)
        names = [set(self._where(layer, self.config.frames).index) for layer in self.config.layers]
        return sorted(set.intersection(*names))

    def pooled(
        self, layer: int, pooling: Pooling = "mean", clips: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Return one layer's features pooled over time.

        Parameters
        ----------
        layer : int
        pooling : {"mean", "mean+std"}
            The mean over frames, or the mean and the standard deviation side by side.
        clips : sequence of str, optional
            The clips to return, in this order; all, sorted, by default.

        Returns
        -------
        X : float32 array, (N, D) or (N, 2 D)

        Raises
        ------
        ValueError
            If the layer, the pooling or a clip is not in the store.
        """
        if pooling not in ("mean", "mean+std"):
            raise ValueError(f"unknown pooling {pooling!r}; expected 'mean' or 'mean+std'")
        parts = pooling.split("+")
        rows = self._rows(layer, self.clips if clips is None else list(clips), frames=False)
        out = np.empty((len(rows), len(parts) * self.config.width), np.float32)
        for places in rows.groupby("shard", sort=False).indices.values():
            part = rows.iloc[places]
            shard = self._shard(part["shard"].iloc[0])
            shard.expect(part["clip"].tolist(), part["row"].tolist())
            out[places] = np.concatenate([shard.pooled(name, layer) for name in parts], axis=1)[part["row"]]
        return out

    def frames(self, clip: str, layer: int) -> NDArray[np.float32]:
        """Return one clip's frames at one layer, float32 (T, D), as they are kept: in half precision.

        Raises
        ------
        ValueError
            If the clip or layer is not in the store, or without its frames.
        """
        row = self._rows(layer, [clip], frames=True).iloc[0]
        shard = self._shard(row["shard"])
        shard.expect([clip], [row["row"]])
        return shard.frames(row["row"], layer).astype(np.float32)

    def _rows(self, layer: int, clips: list[str], *, frames: bool) -> pd.DataFrame:
        """Return the rows of the index where a layer of some clips is read, in their order."""
        rows = self._where(layer, frames).reindex(clips)
        absent = rows.index[rows["shard"].isna()]
        if len(absent):
            held = self._holding(layer, frames=False)
            if held.empty and len(self.index):
                layers = list(self._held_layers())
                raise ValueError(f"layer {layer} is not in {self.url}; it holds {layers}: extract it first")
            if frames and len(held) and not held["frames"].any():
                raise ValueError(
                    f"{self.url} holds pooled features only of layer {layer}; extract it with frames=True "
                    f"(`--frames`)"
                )
            raise ValueError(
                f"{len(absent)} of {len(rows)} clips are not in {self.url} with layer {layer}, the first is "
                f"{absent[0]!r}; extract them first"
            )
        return rows.astype({"shard": int, "row": int, "start": int, "n_frames": int}).reset_index()

    def _held_layers(self) -> tuple[int, ...]:
        return tuple(sorted({int(layer) for kind in self.index["layers"].unique() for layer in kind.split()}))

    def _where(self, layer: int, frames: bool) -> pd.DataFrame:
        """Return the rows of the index where a layer is read, by clip: of the first shard that holds it."""
        if (layer, frames) not in self._places:
            rows = self._holding(layer, frames)
            rows = rows[rows["sha256"] == rows["clip"].map(self._contents())]
            self._places[layer, frames] = rows.drop_duplicates("clip").set_index("clip")
        return self._places[layer, frames]

    def _holding(self, layer: int, frames: bool) -> pd.DataFrame:
        """Return the rows of the index whose shards hold a layer, and where asked, its frames."""
        kinds = [kind for kind in self.index["layers"].unique() if str(layer) in kind.split()]
        rows: pd.DataFrame = self.index[self.index["layers"].isin(kinds)]
        return rows[rows["frames"]] if frames else rows

    def _contents(self) -> "pd.Series[str]":
        """Return the SHA-256 in which each clip is read: the manifest's, or that of its last shard."""
        if self._pinned is not None:
            return self._pinned
        return self.index.drop_duplicates("clip", keep="last").set_index("clip")["sha256"]

    # ------------------------------------------------------------------------------------- writing

    def missing(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell for each row of a manifest whether its clip, in this very content, is missing here, (N,).

        Where layers were asked for, a clip that lacks one of them, or its frames, is missing too.
        """
        if self._asked:
            return np.asarray(self._lacking(manifest).any(axis=1))
        return ~_keys(manifest).isin(_keys(self.index)).to_numpy()

    def _lacking(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which of the layers that were asked for each row of a manifest lacks, (N, L)."""
        keys = _keys(manifest)
        held = [_keys(self._holding(layer, self.config.frames)) for layer in self.config.layers]
        return np.stack([~keys.isin(there).to_numpy() for there in held], axis=1)

    def plan(self, manifest: pd.DataFrame) -> list[Block]:
        """Return the blocks that are to be encoded and written, in any order.

        Parameters
        ----------
        manifest : DataFrame; clip, sha256 and duration_s are used, all columns are carried along

        Notes
        -----
        The whole manifest is cut, so what is there already doesn't move the borders. Clips of a part that
        lack the same layers share a block. Its number fills a gap that a killed writer left, so that the
        store ends as if nothing had happened. A block with a clip of which another content is here goes
        behind everything, for the later shard counts.
        """
        lacking = self._lacking(manifest)
        changed = manifest["clip"].isin(self.index["clip"]) & ~_keys(manifest).isin(_keys(self.index))
        taken, blocks = set(self._shards()), list[Block]()
        gaps = (number for number in itertools.count() if number not in taken)
        for part in _parts(manifest["duration_s"].tolist()):
            for pattern in np.unique(lacking[part], axis=0)[::-1]:
                alike = part[(lacking[part] == pattern).all(axis=1)]
                if pattern.any():
                    layers = tuple(np.array(self.config.layers)[pattern].tolist())
                    is_changed = changed.iloc[alike].any()
                    number = max(taken, default=-1) + 1 if is_changed else next(gaps)
                    taken.add(number)
                    blocks.append(Block(manifest.iloc[alike], layers, number))
        return blocks

    def write(self, block: Block, states: Mapping[str, NDArray[np.float32]]) -> None:
        """Write a block's shard: hidden states, (L, T, D), by clip, of all clips that could be encoded."""
        if states:
            clips = list(states)
            digests = block.clips.set_index("clip")["sha256"][clips].tolist()
            self.append(clips, digests, list(states.values()), layers=block.layers, number=block.number)

    def append(
        self, clips: Sequence[str], digests: Sequence[str], states: States, *,
        layers: Sequence[int] | None = None, number: int | None = None,
    ) -> None:  # fmt: skip
        """Write one shard.

        Parameters
        ----------
        clips, digests : sequences of str, N: clip names and the SHA-256 of their files
        states : sequence of float32 arrays, (L, T, D), N of them
        layers : sequence of int, L
            Those of `states`; all that were asked for by default.
        number : int, optional
            The shard's, as `plan` gives it; after the last one by default.
        """
        layers = self.config.layers if layers is None else layers
        data = _pack(clips, digests, states, layers, frames=self.config.frames)
        number = max(self._shards(), default=-1) + 1 if number is None else number
        self._write(_shard_name(number), data)
        self.index = pd.concat([self.index, self._shard(number).index(number)], ignore_index=True)
        self._places.clear()

    def refresh(self, *, verify: bool = False) -> None:
        """Read the index again, and the headers of shards that it does not list; of all, to verify them."""
        shards = self._shards()
        index = _empty_index() if verify else self._read_index()
        parts = [index[index["shard"].isin(shards)]]
        self.damaged = []
        for number in sorted(set(shards) - set(parts[0]["shard"])):
            try:
                parts.append(self._shard(number).index(number))
            except DamagedShard:
                self.damaged.append(_shard_name(number))
        self.index = pd.concat(parts).sort_values(["clip", "shard"], ignore_index=True)
        self._places.clear()

    def tidy(self, *, verify: bool = True) -> None:
        """Write the index; delete damaged shards and what a killed writer left.

        Without `verify`, shards that the index lists are not opened again.
        """
        self.refresh(verify=verify)
        for name in self._names():
            if (_OWN.fullmatch(name) and name.endswith(".tmp")) or name in self.damaged:
                self._fs.rm_file(self._path(name))
        self.damaged = []
        data = self.index.to_csv(index=False).encode()
        if self._read("index.csv") != data:  # a finished store may be read-only
            self._write("index.csv", data)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for one writer, tidied before and after; a second one on this machine waits.

        A remote store has no such lock: let one writer at a time add to it.

        Raises
        ------
        ValueError
            If another process has started the store anew since it was opened.
        """
        with self._locked():
            held = self._existing()
            if held is None or held.identity() != self.config.identity():
                raise ValueError(
                    f"{self.url} was started anew by another process, with another encoder or other weights; "
                    f"extract again once that is done, or into another folder"
                )
            self.tidy()
            yield
            self.tidy(verify=False)  # only what was written since is new

    # ------------------------------------------------------------------------------------- files

    def _locate(self, url: str | Path) -> None:
        self.url = str(url)
        # without a cache of listings: other processes write here too
        self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        self._local = "file" in np.atleast_1d(self._fs.protocol)
        self.index, self.damaged = _empty_index(), []
        self._asked = False  # whether `config` says what was asked for, or what is there
        self._pinned = None
        self._places: dict[tuple[int, bool], pd.DataFrame] = {}

    def _existing(self) -> StoreConfig | None:
        """Return whose features are in the folder, None if nobody's; raise ValueError if it's no store."""
        data = self._read("config.json")
        if data is None:
            if self._shards():
                raise ValueError(
                    f"{self.url} holds shards, but no config.json that says what made them; put it back, "
                    f"delete them, or name another folder"
                )
            return None
        try:
            return StoreConfig(**json.loads(data), layers=(), frames=False)
        except (ValueError, TypeError):
            raise ValueError(
                f"{self._path('config.json')} is not a feature store's; name another folder, or delete it"
            ) from None

    def _locked(self) -> contextlib.AbstractContextManager[Any]:
        return files.locked(Path(self._root), shared=False) if self._local else contextlib.nullcontext()

    def _shard(self, number: int) -> "Shard":
        return Shard(self._fs, self._path(_shard_name(number)))

    def _read_index(self) -> pd.DataFrame:
        with contextlib.suppress(ValueError, KeyError):
            data = io.BytesIO(self._read("index.csv") or b"")
            read = pd.read_csv(data, dtype=_INDEX, keep_default_na=False, encoding_errors="surrogateescape")
            if read["layers"].str.fullmatch(r"\d+( \d+)*").all():  # else damaged: the shards know
                return read[list(_INDEX)]
        return _empty_index()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _names(self) -> list[str]:
        try:
            listed = self._fs.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:  # an object store has no empty folders
            listed = []
        return sorted(str(path).rsplit("/", 1)[-1] for path in listed)

    def _shards(self) -> list[int]:
        return [int(match[1]) for match in map(_SHARD.fullmatch, self._names()) if match]

    def _read(self, name: str) -> bytes | None:
        try:
            return self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        if self._local:
            files.write_file(Path(self._path(name)), data)
        else:  # object stores show an object only once it is whole
            self._fs.pipe_file(self._path(name), data)


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
        self._tensors: dict[str, tuple[int, int, np.dtype, int]] = {}  # rows, width, type, first byte
        try:
            with filesystem.open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(size)) if size < 1 << 28 else {}
            self._rows = json.loads(header.pop("__metadata__")["index"])
            self._checksums: dict[str, list[Any]] = self._rows.pop("crc32")
            if (
                self._checksums.pop("index") != [_checksum(self._rows)]
                or self._checksums.keys() != header.keys()
            ):
                raise ValueError("an index that is not as it was written, or other tensors")
            self.layers = tuple(self._rows["layers"])
            for name, entry in header.items():
                _, n_rows, width = map(int, entry["shape"])
                first_byte = 8 + size + entry["data_offsets"][0]
                self._tensors[name] = n_rows, width, _DTYPES[entry["dtype"]], first_byte
            length = 8 + size + max(entry["data_offsets"][1] for entry in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, struct.error):
            raise DamagedShard(f"{path} is damaged") from None
        if filesystem.size(path) != length:
            raise DamagedShard(f"{path} is damaged")

    def index(self, number: int) -> pd.DataFrame:
        """Return this shard's rows of the store's index, as shard `number`."""
        rows = pd.DataFrame({name: self._rows[name] for name in ("clip", "sha256", "n_frames")})
        return rows.assign(
            shard=number,
            row=range(len(rows)),
            start=rows["n_frames"].cumsum() - rows["n_frames"],
            layers=" ".join(map(str, self.layers)),
            frames="frames" in self._tensors,
        )[list(_INDEX)]

    def expect(self, clips: Sequence[str], rows: Sequence[int]) -> None:
        """Raise DamagedShard unless these clips are in these rows, as an index says."""
        own = dict(enumerate(self._rows["clip"]))
        for clip, row in zip(clips, rows, strict=True):
            if own.get(row) != clip:
                raise self._unlike_index(f"clip {clip!r} is not in row {row}")

    def pooled(self, name: str, layer: int) -> NDArray[np.float32]:
        """Return one layer of one pooled tensor, (N, D)."""
        return self._read(name, layer, 0, len(self._rows["clip"]), self._checksums[name])

    def frames(self, row: int, layer: int) -> NDArray[Any]:
        """Return the frames of the clip in one row at one layer, (T, D)."""
        if "frames" not in self._tensors:
            raise self._unlike_index("it holds no frames")
        lengths = self._rows["n_frames"]
        checksums = [layer[row] for layer in self._checksums["frames"]]
        return self._read("frames", layer, sum(lengths[:row]), lengths[row], checksums)

    def _position(self, layer: int) -> int:
        if layer not in self.layers:
            raise self._unlike_index(f"layer {layer} is not in it")
        return self.layers.index(layer)

    def _unlike_index(self, what: str) -> DamagedShard:
        return DamagedShard(
            f"the index beside {self._path} does not fit it: {what}; delete index.csv, which is made again "
            f"from the shards"
        )

    def _read(self, name: str, layer: int, first: int, n: int, checksums: list[int]) -> NDArray[Any]:
        """Read some rows of one layer of one tensor, (n, D), and check them."""
        position = self._position(layer)
        n_rows, width, dtype, start = self._tensors[name]
        stride = width * dtype.itemsize
        start += (position * n_rows + first) * stride
        # by name: file systems differ in the order of these
        data = self._filesystem.cat_file(self._path, start=start, end=start + n * stride)
        if zlib.crc32(data) != checksums[position]:
            raise DamagedShard(
                f"{self._path} is damaged: its {name} at layer number {position} is not what was written; "
                f"delete the file and extract again"
            )
        return np.frombuffer(data, dtype).reshape(n, width)


def _pack(
    clips: Sequence[str], digests: Sequence[str], states: States, layers: Sequence[int], *, frames: bool
) -> bytes:
    """Turn clips' hidden states, each (L, T, D), into the bytes of a shard."""
    tensors = {
        name: np.stack([pool(state, axis=1, dtype=np.float64) for state in states], axis=1).astype(np.float32)
        for name, pool in (("mean", np.mean), ("std", np.std))
    }
    if frames:
        joined = np.concatenate(states, axis=1)
        # half precision unless a network's activations pass its range
        tensors["frames"] = joined if np.abs(joined).max() > 6e4 else joined.astype(np.float16)
    # safetensors writes an array's memory as it lies, whatever its strides
    tensors = {name: np.ascontiguousarray(table) for name, table in tensors.items()}
    lengths = [state.shape[1] for state in states]
    rows = {"clip": list(clips), "sha256": list(digests), "n_frames": lengths, "layers": list(layers)}
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


def _parts(durations_s: Sequence[float]) -> Iterator[NDArray[np.intp]]:
    """Yield the row numbers of blocks of clips, from their lengths."""
    start, length_s = 0, 0.0
    for i, duration_s in enumerate(durations_s):
        if i > start and (i - start == BLOCK_CLIPS or length_s + duration_s > BLOCK_S):
            yield np.arange(start, i)
            start, length_s = i, 0.0
        length_s += duration_s
    if start < len(durations_s):
        yield np.arange(start, len(durations_s))


def _empty_index() -> pd.DataFrame:
    return pd.DataFrame(columns=list(_INDEX)).astype(_INDEX)


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.safetensors"


def _keys(table: pd.DataFrame) -> "pd.Series[str]":
    """Return what tells clips apart: the name and the content."""
    return table["clip"].astype(str) + "\0" + table["sha256"].astype(str)
