"""Arousal and valence from categories: class anchors, reductions towards them, and their evaluation.

A reduction is given features, a category for each clip, and where each category lies on the plane; no rating
of any clip. `AVLearner` is the estimator, with a reduction in closed form and one by UMAP; `place` and
`transfer` place every clip by a reduction that was fitted without its speaker; `lines` are the baselines.
"""

from emolib.av.evaluate import Plane, lines, place, transfer
from emolib.av.learner import JOINED, AVLearner, Method, resolve
from emolib.probing import standardise_speakers
