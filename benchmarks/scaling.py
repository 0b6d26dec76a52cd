"""Extraction by two workers, against the same by one: one thread each, an untrained wav2vec2-base.

Workers are started, and their model loaded, before the clock runs; what the client does by itself, loading
the model to know its fingerprint and reading back the shards' headers, is in both times: some seconds, to
which 128 clips, a small corpus, give their due weight. The ratio means little on a machine that is busy with
other things.
"""

import os
import tempfile
import time
from pathlib import Path

import pandas as pd

from emolib import corpora, features, scheduling, store

N_CLIPS, N_WARM, BLOCK_CLIPS, ENCODER, LAYERS = 136, 8, 4, "random:facebook/wav2vec2-base", (6,)


def seconds(manifest: pd.DataFrame, n_workers: int, folder: Path) -> float:
    """Return how long workers that are warm take to extract all but the first clips."""
    with scheduling.connect("local", n_workers=n_workers) as client:
        client.wait_for_workers(n_workers, timeout=120)
        settings = {"layers": LAYERS, "device": "cpu", "client": client, "url": folder / str(n_workers)}
        features.extract(manifest.iloc[:N_WARM], ENCODER, **settings)
        started = time.perf_counter()
        done = features.extract(manifest, ENCODER, **settings)
        ended = time.perf_counter()
    if done.n_new != len(manifest) - N_WARM:
        raise ValueError(f"{done.n_new} clips were encoded; expected {len(manifest) - N_WARM}")
    return ended - started


def measure() -> dict[str, float]:
    """Return two_workers_over_one: how many times as fast two workers are; and the seconds of each."""
    if (os.cpu_count() or 1) < 2:
        raise ValueError("one core; two workers want two")
    manifest = corpora.load("demo").iloc[:: max(1, 672 // N_CLIPS)].head(N_CLIPS).reset_index(drop=True)
    size, store.BLOCK_CLIPS = store.BLOCK_CLIPS, BLOCK_CLIPS
    try:
        with tempfile.TemporaryDirectory() as folder:
            one, two = (seconds(manifest, n, Path(folder)) for n in (1, 2))
    finally:
        store.BLOCK_CLIPS = size
    return {"two_workers_over_one": one / two, "one_worker_s": one, "two_workers_s": two}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.4g}")
