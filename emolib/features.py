"""Extraction of features into a resumable store, and out of it into the classic tree of .npy files.

Clips are taken in blocks; a block becomes a shard. What a shard holds depends on its block alone, so an
extraction that was killed and started again ends bit-equal to an undisturbed one, and redoes at most the
block that it was in.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, encoders, paths
from emolib.encoders import Encoder
from emolib.store import FeatureStore, Pooling, StoreConfig

__all__ = ["Extraction", "FeatureStore", "Pooling", "export_npy", "extract"]

#: A block is closed at this many clips or this many seconds of speech: it bounds memory, and what a kill can
#: cost.
BLOCK_CLIPS, BLOCK_S = 64, 600.0


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes
    ----------
    store : FeatureStore
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
    progress: bool = False,
) -> Extraction:
    """Encode the clips of a manifest into a feature store; what is there already is kept.

    Parameters
    ----------
    manifest : DataFrame
        As `corpora.load` returns it: clip, corpus, path, sha256 and duration_s are used.
    encoder : str or Encoder
        A name for `encoders.load`, or an encoder, which then brings its own layers, device and precision.
    layers : sequence of int, optional
        All by default.
    frames : bool
        Keep every frame as well (half precision, some 100 kB a clip and layer), not only mean and standard
        deviation.
    url : str or Path, optional
        The store's folder or fsspec URL; ``data/features/<corpus>/<encoder>`` by default.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    extraction : Extraction

    Raises
    ------
    ValueError
        If the manifest is empty or names a clip twice, if the folder belongs to something else, or if an
        encoder that is given lacks layers that the store holds.

    Notes
    -----
    The store is started anew when the encoder's weights or precision changed, or when it lacks a layer or the
    frames.
    """
    started = time.perf_counter()
    if manifest.empty:
        raise ValueError("an empty manifest; expected at least one clip")
    if manifest["clip"].duplicated().any():
        twice = manifest["clip"][manifest["clip"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice!r} stands twice in the manifest; expected unique names")
    name = encoder if isinstance(encoder, str) else encoder.name
    by_name = isinstance(encoder, str)
    if isinstance(encoder, str):
        encoder = encoders.load(name, layers=layers, device=device, precision=precision)
    config = StoreConfig(
        name, encoder.fingerprint, tuple(encoder.layers), encoder.width, encoder.hop_s, frames
    )
    url = url or paths.feature_store(str(manifest["corpus"].iloc[0]), name)
    store = FeatureStore.open(url, config, grow=by_name)
    with store.writing():
        store.tidy()
        missing = store.missing(manifest)
        if missing.any() and store.config.layers != tuple(encoder.layers):
            # the store holds more layers than were asked for now, and new clips must have them too
            if not by_name:
                raise ValueError(
                    f"{store.url} holds layers {list(store.config.layers)}, the encoder {name!r} gives "
                    f"{list(encoder.layers)}; load it with the store's, or extract into another folder"
                )
            encoder = encoders.load(name, layers=store.config.layers, device=device, precision=precision)
        skipped = _fill(store, manifest, missing, encoder, progress)
        store.tidy()
    return Extraction(
        store=store,
        n_new=int(missing.sum()) - len(skipped),
        n_cached=int((~missing).sum()),
        skipped=skipped,
        seconds=time.perf_counter() - started,
        speech_s=float(manifest["duration_s"][missing].sum()),
    )


def _fill(
    store: FeatureStore, manifest: pd.DataFrame, missing: NDArray[np.bool_], encoder: Encoder, progress: bool
) -> list[dict[str, str]]:
    """Encode the missing clips block by block while the next block is loaded; return what was skipped."""
    # blocks are cut from the whole manifest: what is there already must not move their borders
    blocks = [manifest.iloc[block][missing[block]] for block in _blocks(manifest["duration_s"].to_numpy())]
    blocks = [block for block in blocks if len(block)]
    skipped: list[dict[str, str]] = []
    bar = tqdm(total=int(missing.sum()), desc=f"extract {encoder.name}", unit="clip", disable=not progress)
    with ThreadPoolExecutor(1) as loader, bar:
        upcoming = loader.submit(_load_block, blocks[0], encoder.sample_rate) if blocks else None
        for number, block in enumerate(blocks):
            assert upcoming is not None
            waves, reasons = upcoming.result()
            if number + 1 < len(blocks):
                upcoming = loader.submit(_load_block, blocks[number + 1], encoder.sample_rate)
            states, refused = _encode_block(encoder, waves)
            skipped += [{"clip": clip, "reason": why} for clip, why in (reasons | refused).items()]
            if states:
                digests = block.set_index("clip")["sha256"]
                store.append(list(states), digests[list(states)].tolist(), list(states.values()))
            bar.update(len(block))
    return skipped


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


def _load_block(block: pd.DataFrame, sample_rate: int) -> tuple[dict[str, audio.Wave], dict[str, str]]:
    """Load a block's clips; return waves and reasons for refusal, by clip."""
    waves, reasons = {}, {}
    for clip, path in zip(block["clip"], block["path"], strict=True):
        try:
            waves[clip] = audio.load(path, sample_rate)[0]
        except audio.AudioError as error:
            reasons[clip] = str(error)
    return waves, reasons


def _encode_block(
    encoder: Encoder, waves: dict[str, audio.Wave]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Encode a block's waves; return hidden states and reasons for refusal, by clip."""
    try:
        return dict(zip(waves, encoder.encode(list(waves.values()), encoder.sample_rate), strict=True)), {}
    except audio.AudioError:
        pass
    states, reasons = {}, {}
    for clip, wave in waves.items():  # one of them was refused: find out which
        try:
            states[clip] = encoder.encode([wave], encoder.sample_rate)[0]
        except audio.AudioError as error:
            reasons[clip] = str(error)
    return states, reasons


def export_npy(store: FeatureStore, manifest: pd.DataFrame, out: str | Path, layer: int) -> int:
    """Write one layer's frames as the classic tree ``Actor_<speaker>/<clip>.npy`` of (T, D) float32 arrays.

    Returns
    -------
    n : int; files written

    Raises
    ------
    ValueError
        If a clip or the layer is not in the store, or the store holds no frames.
    """
    for clip, speaker in zip(manifest["clip"], manifest["speaker"], strict=True):
        target = Path(out) / f"Actor_{paths.folder_name(speaker)}" / f"{paths.folder_name(clip)}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, store.frames(clip, layer), allow_pickle=False)
    return len(manifest)
