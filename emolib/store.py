"""A folder of features: an index table and numbered safetensors shards, each written whole or not at all.

Each shard's header repeats its part of the index: ``index.csv`` saves opening every shard, and is never
needed to get anything back. The folder may be any fsspec URL; a local one may be read and written by several
processes at once.
"""

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import fsspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib.atomic import write_file
from emolib.shards import INDEX, DamagedShard, Shard, index_rows, pack

Pooling = Literal["mean", "mean+std"]
_SHARD = re.compile(r"shard-(\d{6,})\.safetensors")
_OWN = re.compile(r"(config\.json|index\.csv|shard-\d{6,}\.safetensors)((\.\d+)?\.tmp)?")


@dataclass(frozen=True)
class StoreConfig:
    """What made the features of a store; features of another making can't be mixed in."""

    encoder: str
    fingerprint: str
    layers: tuple[int, ...]
    width: int
    hop_s: float
    frames: bool


class FeatureStore:
    """Features of one corpus under one encoder.

    Parameters
    ----------
    url : str or Path
        A folder or any fsspec URL, such as ``s3://bucket/features/ravdess/wav2vec2-nano``.

    Attributes
    ----------
    config : StoreConfig
    index : DataFrame; one row a clip, sorted by clip: clip, sha256, n_frames, shard, row, start
    damaged : list of str; shards that can't be read, whose clips count as missing

    Raises
    ------
    FileNotFoundError
        If there is no store at `url`.
    """

    index: pd.DataFrame
    damaged: list[str]

    def __init__(self, url: str | Path) -> None:
        self._locate(url)
        if not self._fs.exists(self._path("config.json")):
            raise FileNotFoundError(
                f"no feature store at {self.url}; make one with `emolib extract` or features.extract"
            )
        settings = json.loads(self._fs.cat_file(self._path("config.json")))
        self.config = StoreConfig(**settings | {"layers": tuple(settings["layers"])})
        self.refresh()

    @classmethod
    def open(cls, url: str | Path, config: StoreConfig, *, grow: bool = False) -> "FeatureStore":
        """Open the store at `url` to add to it; start it anew where it lacks what `config` describes.

        Parameters
        ----------
        url : str or Path
        config : StoreConfig
            What is asked for; a store of the same encoder with more layers, or with frames beside, will do.
        grow : bool
            Let a new start keep the layers and frames that the old store had, beside those asked for.

        Raises
        ------
        ValueError
            If the folder belongs to something else.
        """
        store = cls.__new__(cls)
        store._locate(url)
        store._fs.makedirs(store._root, exist_ok=True)
        with store._locked():  # two that start at once must not clear each other's work
            if store._fs.exists(store._path("config.json")):
                try:
                    existing = cls(url)
                except (ValueError, TypeError, KeyError):
                    raise ValueError(
                        f"{store._path('config.json')} is not a feature store's; "
                        f"name another folder, or delete it"
                    ) from None
                if existing.serves(config):
                    return existing
                if grow:
                    config = existing.joined(config)
            for name in filter(_OWN.fullmatch, store._names()):
                store._fs.rm_file(store._path(name))
            store._write("config.json", json.dumps(asdict(config), indent=1).encode())
            return cls(url)

    def serves(self, config: StoreConfig) -> bool:
        """Tell whether this store's features include those that `config` describes."""
        own = self.config
        return (
            (own.encoder, own.fingerprint) == (config.encoder, config.fingerprint)
            and set(config.layers) <= set(own.layers)
            and own.frames >= config.frames
        )

    def joined(self, config: StoreConfig) -> StoreConfig:
        """Return `config` with this store's layers and frames beside its own, where both have one encoder."""
        own = self.config
        if (own.encoder, own.fingerprint) != (config.encoder, config.fingerprint):
            return config
        layers = tuple(sorted({*own.layers, *config.layers}))
        return replace(config, layers=layers, frames=own.frames or config.frames)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        kind = "frames" if self.config.frames else "pooled"
        layers = list(self.config.layers)
        return f"FeatureStore({self.config.encoder}, {len(self)} clips, layers {layers}, {kind})"

    @property
    def clips(self) -> list[str]:
        """The clips in the store, sorted: the rows of `pooled`."""
        return self.index["clip"].tolist()

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
        position, rows = self._position(layer), self._rows(clips)
        out = np.empty((len(rows), len(pooling.split("+")) * self.config.width), np.float32)
        for places in rows.groupby("shard", sort=False).indices.values():
            part = rows.iloc[places]
            shard = self._shard(int(part["shard"].iloc[0]))
            shard.expect(part["clip"].tolist(), part["row"].tolist())
            tables = [shard.pooled(name, position) for name in pooling.split("+")]
            out[part["order"]] = np.concatenate(tables, axis=1)[part["row"]]
        return out

    def frames(self, clip: str, layer: int) -> NDArray[np.float32]:
        """Return one clip's frames at one layer, float32 (T, D).

        Raises
        ------
        ValueError
            If the clip or layer is not in the store, or the store holds pooled features only.
        """
        if not self.config.frames:
            raise ValueError(f"{self.url} holds pooled features only; extract with frames=True (`--frames`)")
        position, row = self._position(layer), self._rows([clip]).iloc[0]
        shard = self._shard(int(row["shard"]))
        shard.expect([clip], [row["row"]])
        return shard.frames(int(row["row"]), position).astype(np.float32)

    def missing(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell for each row of a manifest whether its clip, with this very content, is missing here, (N,)."""
        known = set(zip(self.index["clip"], self.index["sha256"], strict=True))
        pairs = zip(manifest["clip"], manifest["sha256"], strict=True)
        return np.array([pair not in known for pair in pairs], dtype=bool)

    def append(
        self,
        clips: Sequence[str],
        digests: Sequence[str],
        states: Sequence[NDArray[np.float32]],
        number: int | None = None,
    ) -> None:
        """Write one shard.

        Parameters
        ----------
        clips, digests : sequences of str, N: clip names and the SHA-256 of their files
        states : sequence of float32 arrays, (L, T, D), N of them, in the order of the store's layers
        number : int, optional
            The shard's, as `free_numbers` gives it; after the last one by default.
        """
        data, rows = pack(clips, digests, states, frames=self.config.frames)
        number = max(self._shards(), default=-1) + 1 if number is None else number
        self._write(_shard_name(number), data)
        self.index = pd.concat([self.index, index_rows(rows, number)], ignore_index=True)

    def free_numbers(self, blocks: Sequence[Sequence[str]]) -> list[int]:
        """Return numbers for the shards of blocks of clips, which may then be written in any order.

        Gaps that a killed writer left are filled, so that the store ends as if nothing had happened; a block
        with a clip of which an older content is here goes behind everything, for the later shard counts.
        """
        taken, known, numbers, free = set(self._shards()), set(self.index["clip"]), list[int](), 0
        after = max(taken, default=-1) + 1
        for block in blocks:
            while free in taken:
                free += 1
            number = free if known.isdisjoint(block) else max(after, free)
            taken.add(number)
            after = max(after, number + 1)
            numbers.append(number)
        return numbers

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
        """Write one shard of a store that another process holds open, without reading its index.

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
        if seen != json.loads(json.dumps(asdict(config))):
            raise ValueError(
                f"the worker on {os.uname().nodename} does not see the store at {url}; name a folder that "
                f"all machines share, or an object store's URL"
            )
        store.config = config
        store.append(clips, digests, states, number)

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
        # of a clip that stands twice, the later shard holds the newer content
        joined = pd.concat(parts).sort_values(["clip", "shard"]).drop_duplicates("clip", keep="last")
        self.index = joined.reset_index(drop=True)

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
            if FeatureStore(self.url).config != self.config:
                raise ValueError(
                    f"{self.url} was started anew by another process, with other layers or another encoder; "
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

    def _position(self, layer: int) -> int:
        if layer not in self.config.layers:
            raise ValueError(f"layer {layer} is not in {self.url}; it holds {list(self.config.layers)}")
        return self.config.layers.index(layer)

    def _rows(self, clips: Sequence[str] | None) -> pd.DataFrame:
        rows: pd.DataFrame = self.index
        if clips is not None:
            rows = self.index.set_index("clip").reindex(list(clips))
            absent = rows.index[rows["shard"].isna()]
            if len(absent):
                raise ValueError(
                    f"{len(absent)} of {len(rows)} clips are not in {self.url}, the first is {absent[0]!r}; "
                    f"extract them first"
                )
            rows = rows.astype({"shard": int, "row": int, "start": int, "n_frames": int}).reset_index()
        return rows.assign(order=np.arange(len(rows)))

    def _shard(self, number: int) -> Shard:
        return Shard(self._fs, self._path(_shard_name(number)))

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
