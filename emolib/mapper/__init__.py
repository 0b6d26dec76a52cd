"""Embeddings back to sound: frames of one layer to HiFi-GAN's mel-spectrogram, for unseen speakers.

``pairs`` aligns an encoder's frames with mel frames and takes the level out, ``network`` is the mapper with
its linear part, ``linear`` fits that part in closed form, ``training`` trains the rest.

Examples
--------
>>> from emolib import mapper
>>> mapper.Settings().width
192
"""

from emolib.mapper.linear import fit_linear
from emolib.mapper.network import Mapper, Settings
from emolib.mapper.pairs import (
    LEVEL_DBFS,
    levelled,
    load_pairs,
    mel_frames,
    mel_l1,
    positions,
    target_mels,
)
from emolib.mapper.training import default_folder, leave_out, train

__all__ = [
    "LEVEL_DBFS",
    "Mapper",
    "Settings",
    "default_folder",
    "fit_linear",
    "leave_out",
    "levelled",
    "load_pairs",
    "mel_frames",
    "mel_l1",
    "positions",
    "target_mels",
    "train",
]
