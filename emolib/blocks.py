"""A block of clips: loaded, encoded, and what could not be, by clip; and the same as a task on a worker."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import audio, scheduling
from emolib.encoders import Encoder
from emolib.store import Block, FeatureStore, StoreConfig

#: The columns that say which sound a clip is.
_PLACE = ("clip", "path", "start_s", "end_s")


def load_block(block: pd.DataFrame, sample_rate: int) -> tuple[dict[str, audio.Wave], dict[str, str]]:
    """Load a block's clips; return waves and reasons for refusal, by clip."""
    waves, reasons = {}, {}
    for row in block.to_dict("records"):
        try:
            waves[row["clip"]] = audio.load_clip(row, sample_rate)[0]
        except audio.AudioError as error:
            reasons[row["clip"]] = str(error)
    return waves, reasons


def encode_block(
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


def describe(block: Block) -> dict[str, Any]:
    """Return a block as plain values, for a task."""
    columns = {name: block.clips[name].tolist() for name in (*_PLACE, "sha256")}
    return {"number": block.number, "layers": block.layers, **columns}


def encode_task(task: dict[str, Any]) -> dict[str, str]:
    """Encode one block on a worker, and write it as a shard of a store that all machines see.

    Parameters
    ----------
    task : dict
        What `describe` returns, and "url", "config" (of the store, with all layers that were asked for),
        "device" and "precision".

    Returns
    -------
    skipped : dict of clip to the reason why it could not be encoded

    Raises
    ------
    ValueError
        If the worker has another encoder of that name, or does not see the store.
    """
    config = StoreConfig(**task["config"] | {"layers": tuple(task["config"]["layers"])})
    encoder = scheduling.worker_encoder(config.encoder, config.layers, task["device"], task["precision"])
    if encoder.fingerprint != config.fingerprint:
        raise ValueError(
            f"a worker's encoder {config.encoder!r} has other weights ({encoder.fingerprint}) than the "
            f"client's ({config.fingerprint}); give every machine the same model"
        )
    waves, reasons = load_block(pd.DataFrame({k: task[k] for k in _PLACE}), encoder.sample_rate)
    states, refused = encode_block(encoder, waves, task["layers"])
    if states:
        digests = dict(zip(task["clip"], task["sha256"], strict=True))
        FeatureStore.write_shard(
            task["url"],
            replace(config, layers=tuple(task["layers"])),
            task["number"],
            list(states),
            [digests[clip] for clip in states],
            list(states.values()),
        )
    return reasons | refused
