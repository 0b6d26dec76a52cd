"""One direction from one emotion to another, and what it is worth on speech that it never saw.

`EmotionAxis` finds it in one of four ways, projects, shifts, combines and saves; `fit_axis` takes it from a
feature store and `fit_axes` fits several; `EmotionSubspace` spans more than two emotions. `cross_project` and
`transfer` hold speakers, sentences and corpora out, `random_aucs` and `shuffled_aucs` are what it must beat,
`ladder` and its like ask whether stronger is further.

References
----------
A. Zou et al. (2023), "Representation Engineering: A Top-Down Approach to AI Transparency", arXiv:2310.01405.
N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive Activation Addition", arXiv:2312.06681.
"""

from emolib.axis.controls import random_aucs, shuffle_labels, shuffled_aucs
from emolib.axis.directions import METHODS, Method
from emolib.axis.estimator import EmotionAxis
from emolib.axis.evaluation import choose_layer, cross_project, sentence_folds, transfer
from emolib.axis.families import cosine_table, fit_axes, fit_axis
from emolib.axis.scores import HeldOut, auc, auc_interval
from emolib.axis.strength import evenness, ladder, strength_auc
from emolib.axis.subspace import EmotionSubspace

__all__ = [
    "METHODS",
    "EmotionAxis",
    "EmotionSubspace",
    "HeldOut",
    "Method",
    "auc",
    "auc_interval",
    "choose_layer",
    "cosine_table",
    "cross_project",
    "evenness",
    "fit_axes",
    "fit_axis",
    "ladder",
    "random_aucs",
    "sentence_folds",
    "shuffle_labels",
    "shuffled_aucs",
    "strength_auc",
    "transfer",
]
