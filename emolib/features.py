"""Extraction of features into a resumable store, and out of it into the classic tree of .npy files.

The store plans blocks of clips that lack something, a block is encoded, and becomes a shard. What a shard
holds depends on its block alone, so an extraction that was killed and started again ends bit-equal to an
undisturbed one, and redoes at most the block that it was in.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import blocks, encoders, paths, scheduling
from emolib.encoders import Encoder
from emolib.store import Block, FeatureStore, Pooling, StoreConfig

__all__ = ["Extraction", "FeatureStore", "Pooling", "export_npy", "extract"]

#: A block is closed at this many clips or this many seconds of speech: it bounds memory, and what a kill can
#: cost.
BLOCK_CLIPS, BLOCK_S = 64, 600.0


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
    manifest: pd.DataFrame,
    encoder: str | Encoder = encoders.DEFAULT,
    *,
    layers: Sequence[int] | None = None,
    frames: bool = False,
    url: str | Path | None = None,
    device: str = "auto",
    precision: encoders.Precision = "float32",
    replace: bool = False,
    progress: bool = False,
    client: Any = None,
) -> Extraction:
    """Encode the clips of a manifest into a feature store; what is there already is kept.

    Clips, layers and frames that are missing come in shards of their own, and nothing else is encoded.

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
        something else, or if an encoder that has no name is to go to workers.
    """
    started = time.perf_counter()
    if manifest.empty:
        raise ValueError("an empty manifest; expected at least one clip")
    if manifest["clip"].duplicated().any():
        twice = manifest["clip"][manifest["clip"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice!r} stands twice in the manifest; expected unique names")
    name = encoder if isinstance(encoder, str) else encoder.name
    if client and not isinstance(encoder, str):
        raise ValueError(f"the encoder {name!r} is an object, which is not sent to workers; give its name")
    here = "cpu" if client else device  # the workers' device may be none of this machine's
    if isinstance(encoder, str):
        encoder = encoders.load(name, layers=layers, device=here, precision=precision)
    config = StoreConfig(
        name, encoder.fingerprint, tuple(encoder.layers), encoder.width, encoder.hop_s, frames
    )
    url = url or paths.feature_store(str(manifest["corpus"].iloc[0]), name)
    store = FeatureStore.open(url, config, replace=replace)
    with store.writing():
        store.tidy()
        missing = store.missing(manifest)
        todo = store.plan(manifest, _blocks(manifest["duration_s"].to_numpy()))
        with tqdm(total=int(missing.sum()), desc=f"extract {name}", unit="clip", disable=not progress) as bar:
            if client:
                settings = {"device": device, "precision": precision}
                skipped = _fill_by_workers(store, todo, settings, client, bar)
            else:
                skipped = _fill(store, todo, encoder, bar)
        store.tidy()
    return Extraction(
        store=store.narrow(manifest),
        n_new=int(missing.sum()) - len(skipped),
        n_cached=int((~missing).sum()),
        skipped=skipped,
        seconds=time.perf_counter() - started,
        speech_s=float(manifest["duration_s"][missing].sum()),
    )


def _fill(store: FeatureStore, todo: list[Block], encoder: Encoder, bar: tqdm) -> list[dict[str, str]]:
    """Encode blocks one by one while the next is loaded; return what was skipped."""
    skipped: list[dict[str, str]] = []
    with ThreadPoolExecutor(1) as loader:
        upcoming = loader.submit(blocks.load_block, todo[0].clips, encoder.sample_rate) if todo else None
        for position, block in enumerate(todo):
            assert upcoming is not None
            waves, reasons = upcoming.result()
            if position + 1 < len(todo):
                upcoming = loader.submit(blocks.load_block, todo[position + 1].clips, encoder.sample_rate)
            states, refused = blocks.encode_block(encoder, waves, block.layers)
            skipped += _entries(reasons | refused)
            if states:
                names = list(states)
                digests = block.clips.set_index("clip")["sha256"][names].tolist()
                store.append(names, digests, list(states.values()), layers=block.layers, number=block.number)
            bar.update(len(block.clips))
    return skipped


def _fill_by_workers(
    store: FeatureStore, todo: list[Block], settings: dict[str, Any], client: Any, bar: tqdm
) -> list[dict[str, str]]:
    """Let workers encode blocks and write them as shards; return what was skipped, in the blocks' order."""
    url = store.url if "://" in store.url else str(Path(store.url).absolute())
    settings |= {"url": url, "config": asdict(store.config)}
    tasks = (blocks.describe(block) | settings for block in todo)
    skipped: dict[str, str] = {}
    for task, result in scheduling.outcomes(client, blocks.encode_task, tasks):
        skipped |= result()
        bar.update(len(task["clip"]))
    return _entries(
        {clip: skipped[clip] for block in todo for clip in block.clips["clip"] if clip in skipped}
    )


def _entries(reasons: dict[str, str]) -> list[dict[str, str]]:
    return [{"clip": clip, "reason": why} for clip, why in reasons.items()]


def _blocks(durations_s: NDArray[np.float64]) -> Iterator[slice]:
    """Yield the borders of blocks of clips."""
    start, length_s = 0, 0.0
    for i, duration_s in enumerate(durations_s):
        if i > start and (i - start == BLOCK_CLIPS or length_s + duration_s > BLOCK_S):
            yield slice(start, i)
            start, length_s = i, 0.0
        length_s += duration_s
    if start < len(durations_s):
        yield slice(start, len(durations_s))


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
