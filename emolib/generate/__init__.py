"""Generators of mel-spectrograms by emotion: a variational autoencoder and a class-conditional diffusion.

``train(mels, folder)`` makes one, ``Generator.load(folder)`` reads it, its `sample` draws clips and
`to_sound` makes them audible. `mels` holds the clips, `vae` and `diffusion` the two networks, `generator`
what is saved, `training` how it is trained, and `quality` measures generated clips.
"""

from emolib.generate.generator import Generator, Settings
from emolib.generate.mels import SAMPLE_RATE, SIX, Mels, Normaliser, load_mels, to_sound
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
