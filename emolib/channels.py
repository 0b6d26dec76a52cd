"""Simulated recording channels, to test which features survive them.

Used on test clips only: training clips stay as they are. The perturbations in training of the shipped encoder
are drawn by other code, with other filters and other rooms.

References
----------
ITU-T G.712 (2001), "Transmission performance characteristics of pulse code modulation channels" (the band of
a telephone). H. Kuttruff (2016), "Room Acoustics", CRC Press (exponential decay of a room's response).
"""

import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from emolib.audio import Wave

Channel = Literal["telephone", "colour", "room", "level", "all"]
CHANNELS: tuple[Channel, ...] = ("telephone", "colour", "room", "level", "all")

_BAND_HZ = (300.0, 3400.0)
_SHELF_HZ, _SHELF_DB = 1000.0, 9.0
_DECAY_S, _DIRECT_TO_ROOM_DB = (0.2, 0.6), (0.0, 8.0)
_LEVEL_DB = (-20.0, 6.0)


def through(wave: Wave, sample_rate: int, channel: Channel, name: str) -> Wave:
    """Return a clip as it would sound through another channel.

    Parameters
    ----------
    wave : float32 array, (S,); sample_rate : int, Hz, above 6,800
    channel : {"telephone", "colour", "room", "level", "all"}
        300 to 3,400 Hz; a tilt about 1 kHz of up to 9 dB either way, with one resonance or notch of as
        much; a room whose sound decays by 60 dB in 0.2 to 0.6 s, 0 to 8 dB below the direct sound; a level
        of -20 to +6 dB; or one after the other.
    name : str
        The clip's name: it seeds what is drawn, so that a clip always gets the same channel.

    Returns
    -------
    altered : float32 array, (S,)

    Raises
    ------
    ValueError
        If the channel is unknown.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel {channel!r}; expected one of {', '.join(CHANNELS)}")
    samples = np.asarray(wave, dtype=np.float64)
    for step in CHANNELS[:-1] if channel == "all" else (channel,):
        rng = np.random.default_rng(zlib.crc32(f"{step} {name}".encode()))
        samples = _STEPS[step](samples, sample_rate, rng)
    return samples.astype(np.float32)


def _telephone(samples: NDArray, sample_rate: int, rng: np.random.Generator) -> NDArray:
    return signal.sosfilt(signal.butter(4, _BAND_HZ, "bandpass", fs=sample_rate, output="sos"), samples)


def _colour(samples: NDArray, sample_rate: int, rng: np.random.Generator) -> NDArray:
    """Tilt the spectrum about 1 kHz, and lift or lower a band somewhere; the level stays."""
    hz = np.fft.rfftfreq(len(samples), 1 / sample_rate)
    octaves = np.log2(np.maximum(hz, 60.0) / _SHELF_HZ)
    tilt_db = rng.uniform(-_SHELF_DB, _SHELF_DB) * np.tanh(octaves)
    centre = rng.uniform(-1.5, 2.0)  # octaves from 1 kHz
    band_db = rng.uniform(-_SHELF_DB, _SHELF_DB) * np.exp(-0.5 * ((octaves - centre) / 0.5) ** 2)
    coloured = np.fft.irfft(np.fft.rfft(samples) * 10 ** ((tilt_db + band_db) / 20), len(samples))
    return coloured * np.sqrt(np.mean(samples**2) / max(np.mean(coloured**2), 1e-20))


def _room(samples: NDArray, sample_rate: int, rng: np.random.Generator) -> NDArray:
    decay_s = rng.uniform(*_DECAY_S)
    time_s = np.arange(int(decay_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    tail *= 10 ** (-rng.uniform(*_DIRECT_TO_ROOM_DB) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return signal.fftconvolve(samples, tail)[: len(samples)]


def _level(samples: NDArray, sample_rate: int, rng: np.random.Generator) -> NDArray:
    return samples * 10 ** (rng.uniform(*_LEVEL_DB) / 20)


_STEPS = {"telephone": _telephone, "colour": _colour, "room": _room, "level": _level}
