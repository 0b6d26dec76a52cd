"""Reading every pooled vector of a finished store, against one .npy file a clip.

1440 clips (as many as RAVDESS has) of 768 numbers at 13 layers, as wav2vec2-base gives them; layer 5 is read.
Both are read with a warm disk cache, and the store is opened anew each time.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emolib.store import FeatureStore, StoreConfig

N_CLIPS, N_LAYERS, WIDTH, LAYER, BLOCK, REPEATS = 1440, 13, 768, 5, 64, 5


def build(folder: Path) -> tuple[Path, Path]:
    """Write a store, and layer 5 of it as a tree of .npy files; return both."""
    rng = np.random.default_rng(0)
    store = FeatureStore.open(
        folder / "store",
        StoreConfig("benchmark", "none", tuple(range(N_LAYERS)), WIDTH, hop_s=0.02, frames=False),
    )
    (folder / "npy").mkdir()
    with store.writing():
        for start in range(0, N_CLIPS, BLOCK):
            clips = [f"clip-{i:05d}" for i in range(start, min(start + BLOCK, N_CLIPS))]
            states = [rng.standard_normal((N_LAYERS, 2, WIDTH), dtype=np.float32) for _ in clips]
            store.append(clips, clips, states)
            for clip, state in zip(clips, states, strict=True):
                np.save(folder / "npy" / f"{clip}.npy", state[LAYER].mean(0), allow_pickle=False)
        store.tidy()
    return folder / "store", folder / "npy"


def fastest(read: Callable[[], NDArray[np.float32]]) -> tuple[float, NDArray[np.float32]]:
    """Return the least seconds that a read took, and what it read."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        vectors = read()
        seconds.append(time.perf_counter() - started)
    return min(seconds), vectors


def measure() -> dict[str, float]:
    """Return store_read (times as fast as .npy files), store_read_s and store_npy_s (seconds)."""
    with tempfile.TemporaryDirectory() as folder:
        store, tree = build(Path(folder))
        store_s, ours = fastest(lambda: FeatureStore(store).pooled(LAYER))
        npy_s, theirs = fastest(lambda: np.stack([np.load(path) for path in sorted(tree.iterdir())]))
    if not np.allclose(ours, theirs, atol=1e-6):
        raise ValueError("the store and the .npy files hold different vectors")
    return {"store_read": npy_s / store_s, "store_read_s": store_s, "store_npy_s": npy_s}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
