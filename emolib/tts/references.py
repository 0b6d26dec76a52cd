"""What two reference clips' prosody differs in, as settings that can be given to any voice.

The measuring half of the dial (`dial`): the statistics are those of `prosody`, the counting of syllables is
here.

References
----------
N. H. de Jong, T. Wempe (2009), "Praat script to detect syllable nuclei and measure speech rate
automatically", Behavior Research Methods 41(2), 385-390, doi:10.3758/BRM.41.2.385.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from emolib import audio
from emolib.prosody import analysis, features
from emolib.world import HOP_MS, Settings, Speech

#: What two clips of different words can show, and how far each difference is believed.
LIMITS: Mapping[str, float] = MappingProxyType(
    {"pitch_st": 12.0, "range_log": 1.0, "rate_log": 0.5, "level_db": 12.0, "tilt_db": 4.0}
)
_DB = 10 / math.log(10)
_NUCLEI_HZ = (300.0, 3500.0)  # where vowels are loud, and hum and friction are not


def between(source: str | Path, target: str | Path) -> Settings:
    """Measure what two clips' prosody differs in.

    Parameters
    ----------
    source, target : str or Path
        Sound files of 0.2 to 120 s, mono or stereo, at any rate: a calm clip and an angry one. Best of one
        speaker who says the same at one distance from the microphone: all that differs is taken for emotion.

    Returns
    -------
    Settings
        Pitch, its range, rate (syllable nuclei a second), level and spectral tilt, each at most `LIMITS`. Of
        the others, contour shapes and voice quality, two clips of different words say little: they are 0.

    Raises
    ------
    ValueError
        If a clip can't be read, is silent, too short, too long, or whispered.
    """
    before, after = measure(source), measure(target)
    return Settings(
        **{name: float(np.clip(after[name] - before[name], -most, most)) for name, most in LIMITS.items()}
    )


def measure(path: str | Path) -> dict[str, float]:
    """Return a clip's prosody under the names of `LIMITS`, in their units and logarithms.

    Raises
    ------
    ValueError
        As `between` does.
    """
    samples, sample_rate = audio.read(path)
    try:
        speech = analysis.record(samples, sample_rate).speech
    except ValueError as error:
        raise ValueError(f"reference {Path(path).name}: {error}") from None
    values = dict(
        zip(features.STATISTICS, features.statistics(features.contours(speech)).tolist(), strict=True)
    )
    return {
        "pitch_st": 12 / math.log(2) * values["log_f0"],
        "range_log": values["log_spread"],
        "rate_log": math.log(syllables_a_second(speech)),
        "level_db": _DB * values["level"],
        "tilt_db": _DB * values["tilt"],
    }


def syllables_a_second(speech: Speech) -> float:
    """Estimate the speaking rate from syllable nuclei: peaks of loudness 2 dB above the dips beside them."""
    hertz = np.linspace(0, speech.sample_rate / 2, speech.log_envelope.shape[1])
    band = (hertz >= _NUCLEI_HZ[0]) & (hertz <= _NUCLEI_HZ[1])
    loudness = _DB * np.log(np.exp(speech.log_envelope[:, band]).mean(axis=1))
    loudness = gaussian_filter1d(np.maximum(loudness, loudness.max() - 60), 15 / HOP_MS)
    nuclei, _ = find_peaks(loudness, height=loudness.max() - 25, prominence=2)
    spoken = np.flatnonzero(loudness > loudness.max() - 35)
    duration_s = (spoken[-1] - spoken[0] + 1) * HOP_MS / 1000
    return max(len(nuclei), 1) / duration_s
