"""One direction from one emotion to another, and how well it separates them in unseen speech.

`EmotionAxis` finds it in one of four ways, projects, shifts and saves; `fit_axis` takes it from a feature
store. `fit_axes`, `cosine_table` and `EmotionSubspace` are about several emotions. `cross_project` and
`transfer` hold out speakers, sentences and corpora; `random_aucs` and `shuffled_aucs` are the baselines;
`ladder`, `strength_auc` and `evenness` ask whether stronger emotions project further. `apply_axes` and
`EmotionAxis.apply` move the hidden states of a running network. `write_gguf` and `read_gguf` exchange axes
with other programs.

References
----------
A. Zou et al. (2023), "Representation Engineering: A Top-Down Approach to AI Transparency", arXiv:2310.01405.
N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive Activation Addition", arXiv:2312.06681.
"""

from emolib.axis.estimator import METHODS, EmotionAxis, EmotionSubspace, cosine_table, fit_axes, fit_axis
from emolib.axis.evaluation import (
    HeldOut,
    auc,
    auc_interval,
    choose_layer,
    cross_project,
    evenness,
    ladder,
    random_aucs,
    sentence_folds,
    shuffle_labels,
    shuffled_aucs,
    strength_auc,
    transfer,
)
from emolib.axis.exchange import read_gguf, write_gguf
from emolib.axis.hooks import BLOCKS, OPERATORS, apply_axes
