"""A folder of features: an index table and numbered safetensors shards, each written whole or not at all.

A shard holds some layers of some clips, with or without their frames; layers and frames that are asked for
later come in shards of their own, and what is finished stays. Each shard's header repeats its part of the
index: ``index.csv`` saves opening every shard, and is never needed to get anything back. The folder may be
any fsspec URL; a local one may be read and written by several processes at once.
"""

import contextlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib.atomic import write_file
from emolib.shards import INDEX, DamagedShard, Shard, pack

Pooling = Literal["mean", "mean+std"]
_SHARD = re.compile(r"shard-(\d{6,})\.safetensors")
_OWN = re.compile(r"(config\.json|index\.csv|shard-\d{6,}\.safetensors)((\.\d+)?\.tmp)?")


@dataclass(frozen=True)
class StoreConfig:
    """Whose features, of which layers, and whether every frame is kept."""

    encoder: str
    fingerprint: str
    layers: tuple[int, ...]
    width: int
    hop_s: float
    frames: bool

    def identity(self) -> dict[str, Any]:
        """Return what all features of a store have in common; its ``config.json`` holds this."""
        return {name: getattr(self, name) for name in ("encoder", "fingerprint", "width", "hop_s")}


@dataclass(frozen=True)
class Block:
    """What becomes one shard: some rows of a manifest, the layers that they lack, and the shard's number."""

    clips: pd.DataFrame
    layers: tuple[int, ...]
    number: int


class FeatureStore:
    """Features of one corpus under one encoder.

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
    _former: tuple[int, ...]
    _pinned: "pd.Series[str] | None"

    def __init__(self, url: str | Path) -> None:
        self._locate(url)
        if not self._fs.exists(self._path("config.json")):
            raise FileNotFoundError(
                f"no feature store at {self.url}; make one with `emolib extract` or features.extract"
            )
        settings = json.loads(self._fs.cat_file(self._path("config.json")))
        # a store of an earlier version names its layers here, and not in its shards
        self._former = tuple(settings.pop("layers", ()))
        self.config = StoreConfig(**settings | {"layers": (), "frames": False})
        self.refresh()
        frames = bool(self.index["frames"].any())
        self.config = replace(self.config, layers=self._held_layers(), frames=frames)

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
            if held is not None and held.config.identity() != config.identity():
                if not replace:
                    raise ValueError(_other_making(held, config))
                # config.json last: a kill in between leaves what the same call clears again
                for name in filter(_OWN.fullmatch, store._names()):
                    if name != "config.json":
                        store._fs.rm_file(store._path(name))
                held = None
            if held is None:
                store._write("config.json", json.dumps(config.identity(), indent=1).encode())
            opened = cls(url)
        opened.config, opened._asked = config, True
        return opened

    def _existing(self) -> "FeatureStore | None":
        """Return the store that is in the folder, if there is one; raise ValueError if it's none of ours."""
        if not self._fs.exists(self._path("config.json")):
            if self._shards():
                raise ValueError(
                    f"{self.url} holds shards, but no config.json that says what made them; put it back, "
                    f"delete them, or name another folder"
                )
            return None
        try:
            return FeatureStore(self.url)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(
                f"{self._path('config.json')} is not a feature store's; name another folder, or delete it"
            ) from None

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
        rows = self._rows(layer, self.clips if clips is None else list(clips), frames=False)
        out = np.empty((len(rows), len(pooling.split("+")) * self.config.width), np.float32)
        for places in rows.groupby("shard", sort=False).indices.values():
            part = rows.iloc[places]
            shard = self._shard(int(part["shard"].iloc[0]))
            shard.expect(part["clip"].tolist(), part["row"].tolist())
            tables = [shard.pooled(name, layer) for name in pooling.split("+")]
            out[part["order"]] = np.concatenate(tables, axis=1)[part["row"]]
        return out

    def frames(self, clip: str, layer: int) -> NDArray[np.float32]:
        """Return one clip's frames at one layer, float32 (T, D), as they are kept: in half precision.

        Raises
        ------
        ValueError
            If the clip or layer is not in the store, or without its frames.
        """
        row = self._rows(layer, [clip], frames=True).iloc[0]
        shard = self._shard(int(row["shard"]))
        shard.expect([clip], [row["row"]])
        return shard.frames(int(row["row"]), layer).astype(np.float32)

    def missing(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell for each row of a manifest whether its clip, in this very content, is missing here, (N,).

        Where layers were asked for, a clip that lacks one of them, or its frames, is missing too.
        """
        if self._asked:
            return np.asarray(self.lacking(manifest).any(axis=1))
        return ~_keys(manifest).isin(_keys(self.index)).to_numpy()

    def lacking(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which of the layers that were asked for each row of a manifest lacks, (N, L)."""
        keys = _keys(manifest)
        held = [_keys(self._holding(layer, self.config.frames)) for layer in self.config.layers]
        return np.stack([~keys.isin(there).to_numpy() for there in held], axis=1)

    def plan(self, manifest: pd.DataFrame, parts: Iterable[slice]) -> list[Block]:
        """Return the blocks that are to be encoded and written, in any order: one or more for each part.

        Parameters
        ----------
        manifest : DataFrame; clip and sha256 are used, all columns are carried along
        parts : slices of the manifest's rows
            To be cut from the whole manifest: what is there already must not move their borders.

        Notes
        -----
        Clips that lack the same layers share a block. Its number fills a gap that a killed writer left, so
        that the store ends as if nothing had happened. A block with a clip of which another content is here
        goes behind everything, for the later shard counts.
        """
        lacking = self.lacking(manifest)
        cut: list[tuple[pd.DataFrame, tuple[int, ...]]] = []
        for part in parts:
            for pattern in np.unique(lacking[part], axis=0)[::-1]:
                if pattern.any():
                    rows = manifest.iloc[part][(lacking[part] == pattern).all(axis=1)]
                    cut.append((rows, tuple(np.array(self.config.layers)[pattern].tolist())))
        numbers = self._free_numbers([rows for rows, _ in cut])
        return [Block(rows, layers, number) for (rows, layers), number in zip(cut, numbers, strict=True)]

    def _free_numbers(self, blocks: Sequence[pd.DataFrame]) -> list[int]:
        taken, known, numbers, free = set(self._shards()), set(self.index["clip"]), list[int](), 0
        same = set(_keys(self.index))
        after = max(taken, default=-1) + 1
        for block in blocks:
            while free in taken:
                free += 1
            new = [clip for clip, key in zip(block["clip"], _keys(block), strict=True) if key not in same]
            number = free if known.isdisjoint(new) else max(after, free)
            taken.add(number)
            after = max(after, number + 1)
            numbers.append(number)
        return numbers

    def append(
        self,
        clips: Sequence[str],
        digests: Sequence[str],
        states: Sequence[NDArray[np.float32]],
        *,
        layers: Sequence[int] | None = None,
        number: int | None = None,
    ) -> None:
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
        data = pack(clips, digests, states, layers, frames=self.config.frames)
        number = max(self._shards(), default=-1) + 1 if number is None else number
        self._write(_shard_name(number), data)
        self.index = pd.concat([self.index, self._shard(number).index(number)], ignore_index=True)
        self._places.clear()

    @classmethod
    def write_shard(
        cls,
        url: str,
        config: StoreConfig,
        number: int,
        clips: Sequence[str],
        digests: Sequence[str],
        states: Sequence[NDArray[np.float32]],
    ) -> None:
        """Write one shard, of `config.layers`, of a store that another process holds open.

        Raises
        ------
        ValueError
            If this process does not see that store at `url`.
        """
        store = cls.__new__(cls)
        store._locate(url)
        seen = None
        with contextlib.suppress(FileNotFoundError):
            seen = json.loads(store._fs.cat_file(store._path("config.json")))
        if seen is None or {name: seen.get(name) for name in config.identity()} != config.identity():
            raise ValueError(
                f"the worker on {os.uname().nodename} does not see the store at {url}; name a folder that "
                f"all machines share, or an object store's URL"
            )
        store._write(_shard_name(number), pack(clips, digests, states, config.layers, frames=config.frames))

    def refresh(self, *, verify: bool = False) -> None:
        """Read the index again, and the headers of shards that it does not list; of all, to verify them."""
        shards = self._shards()
        index = _empty_index() if verify else self._read_index()
        index = index[index["shard"].isin(shards)]
        self.damaged = []
        parts = [index]
        for number in sorted(set(shards) - set(index["shard"])):
            try:
                parts.append(self._shard(number).index(number))
            except DamagedShard:
                self.damaged.append(_shard_name(number))
        self.index = pd.concat(parts).sort_values(["clip", "shard"], ignore_index=True)
        self._places.clear()

    def tidy(self) -> None:
        """Write the index; delete damaged shards and what a killed writer left. Writers begin and end so."""
        self.refresh(verify=True)
        for name in self._names():
            if (_OWN.fullmatch(name) and name.endswith(".tmp")) or name in self.damaged:
                self._fs.rm_file(self._path(name))
        self.damaged = []
        data = self.index.to_csv(index=False).encode()
        with contextlib.suppress(FileNotFoundError):
            if self._fs.cat_file(self._path("index.csv")) == data:  # a finished store may be read-only
                return
        self._write("index.csv", data)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for one writer; a second one on this machine waits.

        A remote store has no such lock: let one writer at a time add to it.

        Raises
        ------
        ValueError
            If another process has started the store anew since it was opened.
        """
        with self._locked():
            if FeatureStore(self.url).config.identity() != self.config.identity():
                raise ValueError(
                    f"{self.url} was started anew by another process, with another encoder or other weights; "
                    f"extract again once that is done, or into another folder"
                )
            self.refresh()
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # no such lock on Windows
            fcntl = None  # type: ignore[assignment]
        if not self._local or fcntl is None:
            yield
            return
        descriptor = os.open(self._root, os.O_RDONLY)  # a lock on the folder leaves no file behind
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _locate(self, url: str | Path) -> None:
        self.url = str(url)
        # without a cache of listings: other processes write here too
        self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        self._local = "file" in np.atleast_1d(self._fs.protocol)
        self.index = _empty_index()
        self.damaged = []
        self._former = ()
        self._asked = False  # whether `config` says what was asked for, or what is there
        self._pinned = None
        self._places: dict[tuple[int, bool], pd.DataFrame] = {}

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
        rows = rows.astype({"shard": int, "row": int, "start": int, "n_frames": int}).reset_index()
        return rows.assign(order=np.arange(len(rows)))

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

    def _shard(self, number: int) -> Shard:
        return Shard(self._fs, self._path(_shard_name(number)), self._former)

    def _read_index(self) -> pd.DataFrame:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            data = self._fs.cat_file(self._path("index.csv"))
            return pd.read_csv(
                io.BytesIO(data), dtype=INDEX, keep_default_na=False, encoding_errors="surrogateescape"
            )[list(INDEX)]
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
        found = map(_SHARD.fullmatch, self._names())  # somebody's copy of a shard beside it is none of ours
        return [int(match[1]) for match in found if match]

    def _write(self, name: str, data: bytes) -> None:
        if not self._local:  # object stores show an object only once it is whole
            self._fs.pipe_file(self._path(name), data)
            return
        write_file(Path(self._path(name)), data)


def _empty_index() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in INDEX.items()})


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.safetensors"


def _keys(table: pd.DataFrame) -> "pd.Series[str]":
    """Return what tells clips apart: the name and the content."""
    return table["clip"].astype(str) + "\0" + table["sha256"].astype(str)


def _other_making(held: FeatureStore, config: StoreConfig) -> str:
    own = held.config
    if own.encoder != config.encoder:
        difference = f"the encoder {own.encoder!r}, not of {config.encoder!r}"
    else:
        difference = (
            f"{own.encoder!r} with other weights or another precision ({own.fingerprint}, not "
            f"{config.fingerprint})"
        )
    return (
        f"{held.url} holds features of {difference}; extract into another folder (`--store`), or delete what "
        f"is there with replace=True (`emolib extract --replace`)"
    )
