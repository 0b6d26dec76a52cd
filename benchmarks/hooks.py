"""What moving hidden states costs: an encoder's time with hooks at all layers, as times its plain one.

One process, one thread, the default encoder, a clip of 3 s. 1 is no cost. Plain and moved passes take turns,
so that whatever else the machine does meets both.
"""

import contextlib
import time

import numpy as np
import torch

from emolib import demo, encoders
from emolib.axis import OPERATORS, EmotionAxis, apply_axes

DURATION_S, REPEATS = 3.0, 60


def measure() -> dict[str, float]:
    """Return, for each operator and for a course over time, the median ratio of neighbouring passes."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    wave, sample_rate = demo.render(demo.VOICES[0], demo.SENTENCES["s6"], "neutral", 0.0, 0.0)
    wave, encoder = np.resize(wave, round(DURATION_S * sample_rate)), encoders.load(device="cpu")
    rng, y = np.random.default_rng(0), np.repeat(["calm", "angry"], 20)
    axis = EmotionAxis("calm", "angry", "mean-difference").fit(
        rng.normal(size=(40, encoder.width)) + (y == "angry")[:, None], y
    )
    ways = {name: (name, 0.5, False) for name in OPERATORS}
    ways |= {"keep_norm": ("add", 0.5, True), "course": ("add", np.linspace(0.1, 1, 50), False)}
    found: dict[str, list[float]] = {name: [] for name in ("plain_s", *ways)}
    try:
        for _ in range(REPEATS):
            for name, (operator, strength, keep_norm) in ways.items():
                plan = dict.fromkeys(encoder.layers, (axis, strength))
                moved = apply_axes(encoder, plan, operator=operator, keep_norm=keep_norm)
                plain_s, moved_s = (_seconds(encoder, wave, sample_rate, c) for c in (None, moved))
                found["plain_s"].append(plain_s)
                found[name].append(moved_s / plain_s)
    finally:
        torch.set_num_threads(n_threads)
    return {f"hooks_{name}": float(np.median(values)) for name, values in found.items()}


def _seconds(
    encoder: encoders.Encoder,
    wave: np.ndarray,
    sample_rate: int,
    hooks: contextlib.AbstractContextManager | None,
) -> float:
    with hooks or contextlib.nullcontext():
        started = time.perf_counter()
        encoder.encode([wave], sample_rate)
        return time.perf_counter() - started


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
