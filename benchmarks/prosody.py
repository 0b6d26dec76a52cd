"""A new delta on a clip of 3 s that has been analysed, against analysing it anew each time.

The clip is spoken by espeak-ng at 22,050 Hz; the transform is the one from neutral to angry in ``models/``.
"""

import time
from collections.abc import Callable

import numpy as np

from emolib import paths
from emolib.audio import Wave
from emolib.demo import espeak
from emolib.prosody import ProsodyTransform
from emolib.steering.prosodic import ProsodySteerer

TEXT = "The meeting has moved to the second floor, and the bus leaves from the north gate."
DURATION_S, REPEATS = 3.0, 15


def clip() -> tuple[Wave, int]:
    """Return three seconds of speech and their rate, Hz."""
    wave, rate = espeak.speak(TEXT, voice="en-us+f2", rate=160)
    return wave[: round(DURATION_S * rate)], rate


def median_s(action: Callable[[float], object]) -> float:
    """Return the median seconds that an action takes over deltas of either sign."""
    seconds = []
    for delta in np.linspace(-1, 1, REPEATS + 1):
        started = time.perf_counter()
        action(float(delta))
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def measure() -> dict[str, float]:
    """Return prosody_render (times as fast as anew), prosody_render_s and prosody_steer_s (seconds)."""
    wave, rate = clip()
    transform = ProsodyTransform.load(paths.model("prosody-ravdess") / "neutral-angry")
    steering = ProsodySteerer(transform)
    analysis = steering.analyse(wave, rate)
    steering.render(analysis, 0.5)  # the tables of bands are made once
    render_s = median_s(lambda delta: steering.render(analysis, delta))
    steer_s = median_s(lambda delta: steering.steer(wave, rate, delta))
    return {"prosody_render": steer_s / render_s, "prosody_render_s": render_s, "prosody_steer_s": steer_s}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
