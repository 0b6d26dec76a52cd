"""Pretraining of small wav2vec 2.0 networks on emotional speech, without labels.

``pretrain(manifest, out)`` makes an encoder that `emolib.encoders` loads by its folder. The stages, in order:
`analysis` (what is measured), `targets` (what is predicted), `perturb` (what is heard), `batches`, `train`;
`settings` holds the recipe of the embedded ``wav2vec2-nano``.
"""

from emolib.pretrain.settings import Settings
from emolib.pretrain.train import Pretraining, pretrain

__all__ = ["Pretraining", "Settings", "pretrain"]
