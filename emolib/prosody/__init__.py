"""Prosody: speech analysed into pitch, timing, energy and voice quality, and what emotion does to each.

`analysis` turns a recording into WORLD's parameters and back, `features` gives contours and statistics,
`pairs` aligns and compares renditions of one sentence, `transform` learns and applies the change.

Examples
--------
>>> from emolib import prosody
>>> parallel = prosody.pairs(manifest, "neutral", "angry")  # doctest: +SKIP
>>> transform = prosody.ProsodyTransform("neutral", "angry").fit(parallel.pairs)  # doctest: +SKIP
"""

from emolib.prosody.analysis import Recording, record, repair_voicing, resynthesise
from emolib.prosody.features import STATISTICS, Contours, contours, statistics
from emolib.prosody.pairs import (
    Distance,
    Pair,
    Parallel,
    Renditions,
    Track,
    distance,
    mean_distance,
    pairs,
    renditions,
    track,
)
from emolib.prosody.transform import VERSION, ProsodyTransform

__all__ = [
    "STATISTICS", "VERSION", "Contours", "Distance", "Pair", "Parallel", "ProsodyTransform", "Recording",
    "Renditions", "Track", "contours", "distance", "mean_distance", "pairs", "record", "renditions",
    "repair_voicing", "resynthesise", "statistics", "track",
]  # fmt: skip
