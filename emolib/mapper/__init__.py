"""Embeddings back to sound: frames of one layer to HiFi-GAN's mel-spectrogram, for unseen speakers.

``network`` aligns an encoder's frames with mel frames, takes the level out, and is the mapper; ``training``
fits its linear part in closed form and trains the rest.

Examples
--------
>>> from emolib import mapper
>>> mapper.Settings().width
192
"""

from emolib.mapper.network import Mapper, Settings, levelled, load_pairs, mel_l1, positions, target_mels
from emolib.mapper.training import default_folder, fit_linear, leave_out, train
