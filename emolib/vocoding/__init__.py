"""Training of small HiFi-GAN vocoders.

``train(manifest, out)`` makes a vocoder that `emolib.vocoder` loads by its folder. The stages, in order:
`losses`, `batches` (what is heard), `discriminators`, `generator`, `trainer`, `train`; `settings` holds the
recipe whose measures stand in ``models/hifigan-nano``.
"""

from emolib.vocoding.settings import Settings
from emolib.vocoding.train import Training, train

__all__ = ["Settings", "Training", "train"]
