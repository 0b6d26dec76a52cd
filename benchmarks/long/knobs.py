"""What each knob of prosody does to what it is named after, measured in the sound.

    python benchmarks/long/knobs.py

A sentence of each of the eight embedded voices, turned to five settings and analysed anew. The table has
the mean change of the knob's own measure, and in how many clips it never falls from one setting to the next.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from emolib import demo, prosody
from emolib.prosody.analysis import checked, decompose
from emolib.steering import shipped
from emolib.world import Speech

SETTINGS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def statistic(name: str) -> Callable[[Speech], float]:
    """Return a function that measures one of `prosody.STATISTICS`."""
    return lambda speech: float(prosody.statistics(prosody.contours(speech))[prosody.STATISTICS.index(name)])


def noise(speech: Speech) -> float:
    """Return the mean aperiodicity from 1 to 8 kHz of the voiced frames."""
    hertz = np.linspace(0, speech.sample_rate / 2, speech.aperiodicity.shape[1])
    return float(speech.aperiodicity[speech.f0_hz > 0][:, (hertz > 1_000) & (hertz < 8_000)].mean())


#: A knob's measure, its unit, and a factor that brings it to the unit.
MEASURES = {
    "pitch": (statistic("log_f0"), "semitones", 12 / np.log(2)),
    "range": (statistic("log_spread"), "log of the F0 deviation", 1.0),
    "tempo": (statistic("log_duration"), "log of 1 / duration", -1.0),
    "effort": (statistic("tilt"), "dB an octave", 10 / np.log(10)),
    "breathiness": (noise, "aperiodicity, 1 to 8 kHz", 1.0),
}


def responses(knob: str, wave: np.ndarray, sample_rate: int) -> list[float]:
    """Return a knob's measure of a clip at each setting, found in the sound that is made."""
    recording = prosody.record(wave, sample_rate)
    transform = shipped.steerer("neutral", "angry").transform  # at delta 0 it changes nothing itself
    measure, _, factor = MEASURES[knob]
    found = []
    for setting in SETTINGS:
        speech = transform.apply(recording.speech, 0.0, knobs={knob: setting})
        made = prosody.resynthesise(recording, speech)
        speech = decompose(checked(made, sample_rate), sample_rate)
        found.append(factor * measure(speech.between(*speech.spoken_span())))
    return found


if __name__ == "__main__":
    rows = []
    for name, (_, unit, _) in MEASURES.items():
        clips = [
            responses(name, *demo.render(voice, demo.SENTENCES[text], "neutral", 0.0, 0.0))
            for voice in demo.VOICES
            for text in ("s6",)
        ]
        change = np.array(clips) - np.array(clips)[:, [2]]
        rising = int((np.diff(change, axis=1) > 0).all(axis=1).sum())
        means = dict(zip(map(str, SETTINGS), change.mean(axis=0).round(2), strict=True))
        rows.append({"knob": name, "unit": unit} | means | {"rises": f"{rising} of {len(clips)}"})
    print(pd.DataFrame(rows).to_string(index=False))
