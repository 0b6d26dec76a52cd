"""Prosody: speech taken apart into pitch, timing, energy and voice quality, and what emotion does to each.

The stages, in order: `analysis` (a recording into WORLD's parameters), `features` (contours and statistics),
`alignment` (which frame belongs to which), `ridge` (the regression), `pairs` (what is learned from),
`transform` (what is learned) and, beside them, `distances` (what a conversion is judged by).

Examples
--------
>>> from emolib import prosody
>>> found = prosody.pairs(manifest, "neutral", "angry")  # doctest: +SKIP
>>> transform = prosody.ProsodyTransform("neutral", "angry").fit(found.pairs)  # doctest: +SKIP
"""

from emolib.prosody.analysis import Recording, record, repair_voicing, resynthesise
from emolib.prosody.distances import Distance, Track, distance, mean_distance, track
from emolib.prosody.features import Contours, contours, statistics, summary
from emolib.prosody.pairs import Pair, Parallel, Renditions, pairs, renditions
from emolib.prosody.transform import VERSION, ProsodyTransform

__all__ = [
    "VERSION", "Contours", "Distance", "Pair", "Parallel", "ProsodyTransform", "Recording", "Renditions",
    "Track", "contours", "distance", "mean_distance", "pairs", "record", "renditions", "repair_voicing",
    "resynthesise", "statistics", "summary", "track",
]  # fmt: skip
