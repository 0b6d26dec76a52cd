"""Generators of mel-spectrograms by emotion: a variational autoencoder and a class-conditional diffusion.

``train(mels, folder)`` makes one, ``Generator.load(folder)`` reads it, its `sample` draws clips and
`to_sound` lets them be heard. The stages, in order: `mels` (what is heard), `settings`, `patches`, `vae`,
`diffusion`, `spaces`, `fitting`, `autoencoding`, `generator`, `training`, `sound`; `quality` measures what
came of it.
"""

from emolib.generate.generator import Generator
from emolib.generate.mels import SIX, Mels, Normaliser, load_mels
from emolib.generate.settings import Settings
from emolib.generate.sound import SAMPLE_RATE, to_sound
from emolib.generate.training import train

__all__ = [
    "SAMPLE_RATE",
    "SIX",
    "Generator",
    "Mels",
    "Normaliser",
    "Settings",
    "load_mels",
    "to_sound",
    "train",
]
