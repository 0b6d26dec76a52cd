"""Residual quantization of real frames, against vector-quantize-pytorch's ResidualVQ.

Eight stages of 256 codes, trained on the same 20,000 frames of the demo corpus at layer 4 in as many passes,
judged on frames of other speakers, on one thread. Theirs: `ResidualVQ` with its documented settings for few
idle codes: k-means initialisation, ten iterations, codes replaced below a moving count of 2. Both code at
full rate, greedily.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from vector_quantize_pytorch import ResidualVQ

from emolib import corpora, features
from emolib.codebook import ResidualQuantizer
from emolib.codebook.training import usage

N_STAGES, N_CODES, LAYER, N_ROWS, N_EPOCHS, BATCH, REPEATS = 8, 256, 4, 20_000, 12, 1024, 3
Rows = NDArray[np.float32]


def frames(n_rows: int = N_ROWS) -> tuple[Rows, Rows]:
    """Return frames of the first three quarters of the demo's speakers, and of the last quarter."""
    manifest = corpora.load("demo")
    store = features.extract(manifest, layers=[LAYER], frames=True).store
    speakers = sorted(manifest["speaker"].unique())
    held = manifest["speaker"].isin(speakers[3 * len(speakers) // 4 :])
    rng, parts = np.random.default_rng(0), []
    for part in (manifest[~held], manifest[held]):
        rows = np.concatenate([store.frames(clip, LAYER) for clip in part["clip"]])
        parts.append(rng.permutation(rows)[:n_rows])
    return parts[0], parts[1]


def fastest(code: Callable[[], NDArray]) -> tuple[float, NDArray]:
    """Return the least seconds that a coding took, and what it gave."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        found = code()
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


def train_theirs(rows: Rows) -> ResidualVQ:
    """Train ResidualVQ on centred rows."""
    torch.manual_seed(0)
    model = ResidualVQ(
        dim=rows.shape[1], num_quantizers=N_STAGES, codebook_size=N_CODES, kmeans_init=True, kmeans_iters=10,
        threshold_ema_dead_code=2,
    ).train()  # fmt: skip
    for _ in range(N_EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH):
            model(torch.from_numpy(rows[batch]))
    return model.eval()


def measure(n_rows: int = N_ROWS) -> dict[str, float]:
    """Return ratios, theirs over ours, and shares of idle codes.

    Returns
    -------
    metrics : dict
        codebook_encoding: how many times as fast ours codes held-out frames; codebook_training: the same of
        training, entropy models included; codebook_distortion: their held-out distortion over ours (above 1:
        ours loses less); codebook_idle and codebook_idle_theirs: share of codes that no training frame uses.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            train, test = frames(n_rows)
            started = time.perf_counter()
            ours = ResidualQuantizer(N_STAGES, N_CODES).fit(train)
            trained = time.perf_counter()
            theirs = train_theirs(train - ours.mean_)
            ended = time.perf_counter()
            ours_s, codes = fastest(lambda: ours.encode(test))
            centred = torch.from_numpy(test - ours.mean_)
            with torch.no_grad():
                theirs_s, found = fastest(lambda: theirs(centred)[0].numpy())
                idle = usage(theirs(torch.from_numpy(train - ours.mean_))[1].numpy(), N_CODES) == 0
    finally:
        torch.set_num_threads(n_threads)
    lost = np.square(ours.decode(codes) - test).sum(dtype=np.float64)
    return {
        "codebook_encoding": theirs_s / ours_s,
        "codebook_training": (ended - trained) / (trained - started),
        "codebook_distortion": float(np.square(found - (test - ours.mean_)).sum(dtype=np.float64) / lost),
        "codebook_idle": float((usage(ours.encode(train), N_CODES) == 0).mean()),
        "codebook_idle_theirs": float(idle.mean()),
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
