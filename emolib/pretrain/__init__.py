"""Training from nothing of what the package can ship: a small wav2vec 2.0 encoder, and a HiFi-GAN vocoder.

``pretrain(manifest, out)`` makes an encoder without labels that `emolib.encoders` loads by its folder:
measures of each clip become `targets`, which the network predicts from a perturbed clip (`batches`).
`Settings` holds the recipe of the shipped ``wav2vec2-nano``. ``train_vocoder(manifest, out)`` makes a vocoder
that `emolib.vocoder` loads.
"""

from emolib.pretrain.batches import Pretraining
from emolib.pretrain.encoder import Settings, pretrain
from emolib.pretrain.hifigan import VocoderSettings, train_vocoder
