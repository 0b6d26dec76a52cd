"""From a delta to its sound: a clip analysed once against one analysed anew, and against Griffin-Lim.

One process, two threads, a clip of 3 s, the default encoder, layer 3. Mapper and axis have random weights,
which cost what trained ones cost.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from emolib import audio, demo, encoders, mapper, vocoder
from emolib.axis import EmotionAxis
from emolib.mapper.network import Mapper, Network
from emolib.steering import LatentSteerer

LAYER, DURATION_S, N_THREADS, REPEATS = 3, 3.0, 2, 15


def clip() -> tuple[audio.Wave, int]:
    """Return three seconds of a synthetic speaker."""
    wave, sample_rate = demo.render(demo.VOICES[0], demo.SENTENCES["s6"], "neutral", 0.0, 0.0)
    return np.resize(wave, round(DURATION_S * sample_rate)), sample_rate


def steerer(*, rebuild: bool) -> LatentSteerer:
    """Return a latent steerer of the default size; rebuilding, it vocodes by 60 iterations of Griffin-Lim."""
    encoder = encoders.load(layers=[LAYER], device="cpu")
    rng, y = np.random.default_rng(0), np.repeat(["calm", "angry"], 20)
    X = rng.normal(size=(40, encoder.width)) + (y == "angry")[:, None]
    axis = EmotionAxis("calm", "angry", "mean-difference").fit(X, y)
    made = {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "layer": LAYER}
    network = Mapper(Network(encoder.width, mapper.Settings()), mapper.Settings(), made)
    return LatentSteerer(encoder, axis, network, vocoder.GriffinLim(), rebuild=rebuild)


def median_s(run: Callable[[float], object]) -> float:
    """Return the median seconds of a run over deltas, once it is warm."""
    run(0.1)
    seconds = []
    for delta in np.linspace(-1, 1, REPEATS + 1)[1:]:
        started = time.perf_counter()
        run(float(delta) or 0.05)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measure() -> dict[str, float]:
    """Return steering_cached and steering_griffin_lim (how many times as fast), and seconds.

    Returns
    -------
    metrics : dict
        steering_delta_s: from a delta to its sound, analysis cached; steering_anew_s: analysed each time;
        steering_griffin_lim_s: everything mapped and vocoded by 60 iterations, analysis cached.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    try:
        wave, sample_rate = clip()
        ours, rebuilt = steerer(rebuild=False), steerer(rebuild=True)
        analysis = ours.analyse(wave, sample_rate)
        cached_s = median_s(lambda delta: ours.render(analysis, delta))
        anew_s = median_s(lambda delta: ours.steer(wave, sample_rate, delta))
        griffin_lim_s = median_s(lambda delta: rebuilt.render(analysis, delta))
    finally:
        torch.set_num_threads(n_threads)
    return {
        "steering_cached": anew_s / cached_s,
        "steering_griffin_lim": griffin_lim_s / cached_s,
        "steering_delta_s": cached_s,
        "steering_anew_s": anew_s,
        "steering_griffin_lim_s": griffin_lim_s,
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
