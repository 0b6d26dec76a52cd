"""Seconds of speech that an encoder reads in a second, by device, precision and frames in a batch.

Clips of 1 to 6 s, 3.5 s on average, by their lengths sorted into batches of at most so many frames, padding
included; every layer is kept and comes back to the processor's memory, as an extraction needs it.

    python benchmarks/long/devices.py DEVICE NAME ...

A device is cpu or cuda, a name an encoder's; ``random:facebook/wav2vec2-base`` is that architecture with
random weights.
"""

import sys
import time

import numpy as np

from emolib import encoders

RATE = 16_000
#: Frames in a batch, and clips that are read: on a processor a twentieth of them.
BUDGETS = {"cpu": (2_000, 15_000), "cuda": (2_000, 15_000, 60_000, 240_000)}
N_CLIPS = 600


def measure(name: str, device: str, precision: str) -> dict[int, float]:
    """Return seconds of speech in a second by frames in a batch, the best of three passes."""
    rng, encoder = np.random.default_rng(0), encoders.load(name, device=device, precision=precision)
    n_clips = N_CLIPS if device == "cuda" else N_CLIPS // 20
    waves = [rng.normal(0, 0.1, round(RATE * s)).astype(np.float32) for s in rng.uniform(1, 6, n_clips)]
    speech_s, found = sum(map(len, waves)) / RATE, {}
    for budget in BUDGETS[device]:
        encoder._frame_budget, seconds = budget, []  # type: ignore[attr-defined]
        for _ in range(3):
            started = time.perf_counter()
            encoder.encode(waves, RATE)
            seconds.append(time.perf_counter() - started)
        found[budget] = speech_s / min(seconds)
    return found


if __name__ == "__main__":
    device, names = sys.argv[1], sys.argv[2:] or [encoders.DEFAULT]
    for name in names:
        for precision in ("float32", "bfloat16"):
            for budget, rate in measure(name, device, precision).items():
                print(f"{name:30s} {device:4s} {precision:8s} {budget:8d} frames {rate:8.0f} s/s", flush=True)
