"""Generators of mel-spectrograms by emotion: a variational autoencoder and a class-conditional diffusion.

``train(mels, folder)`` makes one, ``Generator.load(folder)`` reads it, its `sample` draws clips and
`to_sound` makes them audible. `mels` holds the clips, `networks` the autoencoder and the diffusion,
`generator` what is saved, `training` how it is trained, and `quality` measures generated clips.
"""

from emolib.generate.generator import Generator, Settings
from emolib.generate.mels import SAMPLE_RATE, SIX, Mels, Normaliser, load_mels, to_sound
from emolib.generate.training import train
