"""Prosody: speech analysed into pitch, timing, energy and voice quality, and what emotion does to each.

`analysis` turns a recording into WORLD's parameters and back, and gives contours and statistics, `pairs`
aligns and compares renditions of one sentence, `transform` learns and applies the change, and turns `KNOBS`
that have nothing to do with emotion.

Examples
--------
>>> from emolib import prosody
>>> parallel = prosody.pairs(manifest, "neutral", "angry")  # doctest: +SKIP
>>> transform = prosody.ProsodyTransform("neutral", "angry").fit(parallel.pairs)  # doctest: +SKIP
"""

from emolib.prosody.analysis import (
    STATISTICS,
    Contours,
    Recording,
    contours,
    record,
    resynthesise,
    statistics,
)
from emolib.prosody.pairs import Pair, Renditions, Track, distance, mean_distance, pairs, renditions, track
from emolib.prosody.transform import KNOBS, VERSION, ProsodyTransform, check_knobs
