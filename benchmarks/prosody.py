"""A new delta on a clip of 3 s that has been analysed, against analysing it anew each time.

The clip is spoken by the embedded synthesiser at 22,050 Hz; the transform is made from two reference clips,
and costs what a learned one costs.
"""

import time
from collections.abc import Callable

import numpy as np

from emolib import espeak, prosody, world
from emolib.audio import Wave
from emolib.prosody import ProsodyTransform
from emolib.steering.prosodic import ProsodySteerer

TEXT = "The meeting has moved to the second floor, and the bus leaves from the north gate."
DURATION_S, REPEATS = 3.0, 15


def clip() -> tuple[Wave, int]:
    """Return three seconds of speech and their rate, Hz."""
    wave, rate = espeak.speak(TEXT, voice="en-us+f2", rate=160)
    return wave[: round(DURATION_S * rate)], rate


def steerer(wave: Wave, rate: int) -> ProsodySteerer:
    """Return a steerer that raises, slows and brightens."""
    plain = prosody.record(wave, rate).speech
    settings = world.Settings(pitch_st=4.0, rate_log=-0.05, tilt_db=2.0)
    moved = world.reshape(plain, settings, np.random.default_rng(0))
    return ProsodySteerer(ProsodyTransform.from_references(plain, moved, same_words=True))


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
    steering = steerer(wave, rate)
    analysis = steering.analyse(wave, rate)
    steering.render(analysis, 0.5)  # the tables of bands are made once
    render_s = median_s(lambda delta: steering.render(analysis, delta))
    steer_s = median_s(lambda delta: steering.steer(wave, rate, delta))
    return {"prosody_render": steer_s / render_s, "prosody_render_s": render_s, "prosody_steer_s": steer_s}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
