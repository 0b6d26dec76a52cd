"""Embeddings back to sound: frames of one layer to HiFi-GAN's mel-spectrogram, on speakers never heard.

``alignment`` puts an encoder's frames and mel frames on one clock, ``pairs`` lays the two side by side with
the level taken out, ``network`` is the mapper and its linear part, ``linear`` fits that part in closed form,
``crops``, ``trainer`` and ``training`` train the rest.

Examples
--------
>>> from emolib import mapper
>>> mapper.Settings().width
192
"""

from emolib.mapper.alignment import mel_frames, positions
from emolib.mapper.linear import fit_linear
from emolib.mapper.network import Mapper
from emolib.mapper.pairs import LEVEL_DBFS, levelled, load_pairs, mel_l1, target_mel, target_mels
from emolib.mapper.settings import Settings
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
    "target_mel",
    "target_mels",
    "train",
]
