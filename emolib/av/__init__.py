"""Arousal and valence from categories: class anchors, reductions that pull towards them, and their judgement.

A reduction sees features, a category for each clip, and where each category lies on the plane (`anchors`); no
rating of any clip. `AVLearner` is the estimator, with a reduction in closed form (`barycentre`) and one by
UMAP (`layout`); `evaluate` places every clip of a corpus by a reduction that never heard its speaker.
"""

from emolib.av.anchors import JOINED, resolve
from emolib.av.evaluate import Plane, lines, place, standardise_speakers, transfer
from emolib.av.learner import AVLearner, Method

__all__ = [
    "JOINED",
    "AVLearner",
    "Method",
    "Plane",
    "lines",
    "place",
    "resolve",
    "standardise_speakers",
    "transfer",
]
