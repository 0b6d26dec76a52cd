"""Extraction of features into a resumable store, and out of it into the classic tree of .npy files.

The store plans blocks of clips that lack something; a block is loaded, encoded, and becomes a shard. What a
shard holds depends on its block alone, so an extraction that was killed and started again ends bit-equal to
an undisturbed one, and redoes at most the block that it was in. Each clip was decoded once before, for the
manifest, and is decoded once here: the passes may be days apart, and a corpus doesn't fit into memory.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, corpora, embeddings, encoders, paths, scheduling
from emolib.encoders import Encoder
from emolib.store import FIRST_FRAME_S, Block, FeatureStore, Pooling, StoreConfig

__all__ = ["Extraction", "FeatureStore", "Pooling", "export_npy", "extract", "extract_parts", "unavailable"]

#: The columns of a manifest that a worker needs.
_COLUMNS = ["clip", "path", "start_s", "end_s", "sha256"]
#: Blocks that are written, each with the reasons why clips were refused, by clip.
Done = Iterator[tuple[Block, dict[str, str]]]


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes
    ----------
    store : FeatureStore; of the manifest's clips alone, in the layers that were asked for
    n_new, n_cached : int; clips encoded now, and clips that were there already
    skipped : list of dict; clip and reason of each clip that could not be encoded
    seconds, speech_s : float; time taken, and length of the speech encoded in it
    """

    store: FeatureStore
    n_new: int = 0
    n_cached: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    speech_s: float = 0.0


def extract(
    manifest: pd.DataFrame, encoder: str | Encoder = encoders.DEFAULT, *,
    layers: Sequence[int] | None = None, frames: bool = False, url: str | Path | None = None,
    device: str = "auto", precision: encoders.Precision = "float32", replace: bool = False,
    progress: bool = False, client: Any = None,
) -> Extraction:  # fmt: skip
    """Encode the clips of a manifest into a feature store; what is there already is kept.

    Of clips without audio, as those of shipped embeddings, it returns the embeddings.

    Clips, layers and frames that are missing come in shards of their own, and nothing else is encoded. Where
    nothing is missing, the encoder's network is not even loaded.

    Parameters
    ----------
    manifest : DataFrame
        As `corpora.load` returns it: clip, corpus, path, start_s, end_s, sha256 and duration_s are
        used.
    encoder : str or Encoder
        A name for `encoders.load`, or an encoder, which then brings its own layers, device and precision.
    layers : sequence of int, optional
        All by default.
    frames : bool
        Keep every frame as well, not only mean and standard deviation: some 100 kB per clip and layer, in
        half precision, whose rounding is up to 0.0005 of a value.
    url : str or Path, optional
        The store's folder or fsspec URL; ``data/features/<corpus>/<encoder>`` by default.
    replace : bool
        Where the folder holds features of another encoder, other weights or another precision, delete them.
        Without it such a folder is refused.
    progress : bool
        Show a progress bar on standard error.
    client : distributed.Client, optional
        Encode on its workers, as `scheduling.connect` yields it; they must see the clips and the store under
        the same names as this process, and load the encoder by its name. They give the bits that a process
        of as many threads gives; another number of threads rounds the last ones otherwise.

    Returns
    -------
    extraction : Extraction

    Raises
    ------
    ValueError
        If the manifest is empty or names a clip twice, if the folder holds features of another making or
        something else, if an encoder that has no name is to go to workers, or if the embeddings of clips
        without audio lack what is asked for.
    """
    started = time.perf_counter()
    if manifest.empty:
        raise ValueError("an empty manifest; expected at least one clip")
    if manifest["clip"].duplicated().any():
        twice = manifest["clip"][manifest["clip"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice!r} stands twice in the manifest; expected unique names")
    name = encoder if isinstance(encoder, str) else encoder.name
    if embeddings.lack_audio(manifest):
        if url is not None or precision != "float32":
            raise ValueError(
                f"{manifest['corpus'].iloc[0]}: its clips have no audio to extract into another store or "
                f"precision; leave both out to use the shipped embeddings, or get the audio"
            )
        layers, fingerprint = getattr(encoder, "layers", layers), getattr(encoder, "fingerprint", None)
        shipped = embeddings.shipped(manifest, name, layers, frames=frames, fingerprint=fingerprint)
        return Extraction(shipped.narrow(manifest), n_cached=len(manifest))
    if isinstance(encoder, str):
        here = "cpu" if client else device  # the workers' device may be none of this machine's
        encoder = encoders.load_deferred(name, layers=layers, device=here, precision=precision)
    elif client:
        raise ValueError(f"the encoder {name!r} is an object, which is not sent to workers; give its name")
    first_s = getattr(encoder, "first_frame_s", FIRST_FRAME_S)  # an encoder of the user's own may not say
    layers, width, hop_s = tuple(encoder.layers), encoder.width, encoder.hop_s
    config = StoreConfig(name, encoder.fingerprint, layers, width, hop_s, frames, first_s)
    url = url or paths.feature_store(str(manifest["corpus"].iloc[0]), name)
    store = FeatureStore.open(url, config, replace=replace)
    reasons: dict[str, str] = {}
    with store.writing():
        missing = store.missing(manifest)
        todo = store.plan(manifest)
        settings = {"device": device, "precision": precision}
        done = _by_workers(store, todo, settings, client) if client else _one_by_one(store, todo, encoder)
        with tqdm(total=int(missing.sum()), desc=f"extract {name}", unit="clip", disable=not progress) as bar:
            for block, refused in done:
                reasons |= refused
                bar.update(len(block.clips))
    skipped = [{"clip": c, "reason": reasons[c]} for c in manifest["clip"] if c in reasons]
    n_new, n_cached = int(missing.sum()) - len(reasons), int((~missing).sum())
    seconds, speech_s = time.perf_counter() - started, float(manifest["duration_s"][missing].sum())
    return Extraction(store.narrow(manifest), n_new, n_cached, skipped, seconds, speech_s)


def extract_parts(
    manifest: str | Path, encoder: str | Encoder = encoders.DEFAULT, *, url: str | Path, clips: int = 100_000,
    **options: Any,
) -> Iterator[tuple[pd.DataFrame, Extraction]]:  # fmt: skip
    """Encode a manifest that is too long for memory, part by part, or read what was encoded before.

    Manifest and index are read as a stream, so that this process needs the memory of one part, however many
    there are. Each part is a feature store of its own in the folder, ``part-00000`` and so on.

    Parameters
    ----------
    manifest : str or Path
        A manifest that `corpora.save` wrote, as CSV or as Parquet; a file or an fsspec URL. New rows belong
        at its end: one in the middle moves a clip of each later part into the next, to be encoded there.
    encoder : str or Encoder
    url : str or Path
        The folder or fsspec URL of all parts.
    clips : int
        Clips of a part. A folder keeps to the number that it was begun with.
    **options
        Further parameters of `extract`.

    Yields
    ------
    manifest, extraction : DataFrame, Extraction
        Of one part, in the order of the manifest.

    Raises
    ------
    ValueError
        If the folder's parts are of another size, and as from `extract` and `corpora.read_parts`.

    Examples
    --------
    >>> for clips, done in extract_parts("manifest.csv", url="s3://bucket/features"):  # doctest: +SKIP
    ...     X = done.store.pooled(3, clips=clips["clip"].tolist())
    """
    filesystem, root = fsspec.core.url_to_fs(str(url), use_listings_cache=False)
    note, wanted = f"{root}/parts.json", json.dumps({"clips": clips}).encode()
    filesystem.makedirs(root, exist_ok=True)
    if not filesystem.exists(note):
        filesystem.pipe_file(note, wanted)
    if (held := filesystem.cat_file(note)) != wanted:
        raise ValueError(
            f"{url} is of parts of another size ({held.decode()}) than {clips} clips; give that size "
            f"(`--parts`), or another folder"
        )
    for number, part in enumerate(corpora.read_parts(manifest, clips)):
        yield part, extract(part, encoder, url=f"{url}/part-{number:05d}", **options)


def unavailable(manifest: pd.DataFrame, encoder: str, layers: Sequence[int] | None = None) -> str:
    """Return why a corpus can't be had under an encoder here, in one sentence; empty where it can.

    Clips without audio need embeddings by this encoder; others need its network, or its package.
    """
    try:
        if embeddings.lack_audio(manifest):
            embeddings.shipped(manifest, encoder, layers)
        else:
            encoders.load_deferred(encoder, layers=layers)
    except ValueError as error:
        return str(error)
    return ""


def _one_by_one(store: FeatureStore, todo: list[Block], encoder: Encoder) -> Done:
    """Write blocks while the next is loaded; yield each as it ends."""
    with ThreadPoolExecutor(1) as loader:
        loads = (loader.submit(load_waves, block.clips, encoder.sample_rate) for block in todo)
        ahead = list(itertools.islice(loads, 1))
        for block in todo:
            waves, unreadable = ahead.pop().result()
            ahead += itertools.islice(loads, 1)
            states, refused = _encode(encoder, waves, block.layers)
            store.write(block, states)
            yield block, unreadable | refused


def _by_workers(store: FeatureStore, todo: list[Block], settings: dict[str, Any], client: Any) -> Done:
    """Let workers write blocks; yield each as it ends."""
    url = store.url if "://" in store.url else str(Path(store.url).absolute())
    settings |= {"url": url, "config": store.config}
    tasks = ({"block": replace(block, clips=block.clips[_COLUMNS])} | settings for block in todo)
    for task, result in scheduling.outcomes(client, encode_task, tasks):
        yield task["block"], result()


def encode_task(task: dict[str, Any]) -> dict[str, str]:
    """Encode one block on a worker, and write it as a shard of a store that all machines see.

    Parameters
    ----------
    task : dict
        "block", and the store's "url" and "config", "device" and "precision".

    Returns
    -------
    skipped : dict of clip to the reason why it could not be encoded

    Raises
    ------
    ValueError
        If the worker has another encoder of that name, or does not see the store.
    """
    block, config = task["block"], task["config"]
    encoder = scheduling.worker_encoder(config.encoder, config.layers, task["device"], task["precision"])
    if encoder.fingerprint != config.fingerprint:
        raise ValueError(
            f"a worker's encoder {config.encoder!r} has other weights ({encoder.fingerprint}) than the "
            f"client's ({config.fingerprint}); give every machine the same model"
        )
    waves, unreadable = load_waves(block.clips, encoder.sample_rate)
    states, refused = _encode(encoder, waves, block.layers)
    FeatureStore.join(task["url"], config).write(block, states)
    return unreadable | refused


def load_waves(clips: pd.DataFrame, sample_rate: int) -> tuple[dict[str, audio.Wave], dict[str, str]]:
    """Load the clips of a manifest; return waves, and reasons why others can't be used, by clip."""
    waves, reasons = {}, {}
    for row in clips.to_dict("records"):
        try:
            waves[row["clip"]] = audio.load_clip(row, sample_rate)[0]
        except audio.AudioError as error:
            reasons[row["clip"]] = str(error)
    return waves, reasons


def _encode(
    encoder: Encoder, waves: dict[str, audio.Wave], layers: Sequence[int]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Encode a block's waves; return hidden states of some layers, and reasons for refusal, by clip."""
    kept = [encoder.layers.index(layer) for layer in layers]

    def encode(waves: list[audio.Wave]) -> list[NDArray[np.float32]]:
        states = encoder.encode(waves, encoder.sample_rate)
        return states if len(kept) == len(encoder.layers) else [state[kept] for state in states]

    try:
        return dict(zip(waves, encode(list(waves.values())), strict=True)), {}
    except audio.AudioError:
        pass
    states, reasons = {}, {}
    for clip, wave in waves.items():  # one of them was refused: find out which
        try:
            [states[clip]] = encode([wave])
        except audio.AudioError as error:
            reasons[clip] = str(error)
    return states, reasons


def export_npy(store: FeatureStore, manifest: pd.DataFrame, out: str | Path, layer: int) -> int:
    """Write one layer's frames as the classic tree ``Actor_01/<clip>.npy`` of (T, D) float32 arrays.

    The folder has the corpus's own code of a speaker: 01 of ravdess-01.

    Returns
    -------
    n : int; files written

    Raises
    ------
    ValueError
        If a clip or the layer is not in the store, or the store holds no frames.
    """
    for clip, corpus, speaker in zip(*(manifest[c] for c in ("clip", "corpus", "speaker")), strict=True):
        code = paths.folder_name(speaker.removeprefix(f"{corpus}-"))
        target = Path(out) / f"Actor_{code}" / f"{paths.folder_name(clip)}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, store.frames(clip, layer), allow_pickle=False)
    return len(manifest)
