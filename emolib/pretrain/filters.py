"""A first layer that hears as a spectrogram does, to start from.

A convolution as long as a frame, followed by a rectifying activation, is half of a short-time Fourier
transform: filters of one frequency in four phases sum to its magnitude. A network of this size would need
most of its training to find that out from noise, pitch above all, so the front end starts from it and is
then trained on.

References
----------
N. Zeghidour et al. (2018), "Learning Filterbanks from Raw Speech for Phone Recognition", arXiv:1711.01161
(filters that start as a mel filter bank and are trained on). M. Ravanelli, Y. Bengio (2018), "Speaker
Recognition from Raw Waveform with SincNet", arXiv:1808.00158.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_PHASES = 4
_LEVEL_SHARE = 24  # one channel of so many hears nothing but its bias
_SPLIT_HZ = 1_000.0
_LOW_SHARE = 0.5  # of the filters lie below 1 kHz, where harmonics are told apart


@torch.no_grad()
def start_as_spectrogram(layer: nn.Conv1d) -> None:
    """Set the weights of a first layer, 1 channel to C, in place.

    Notes
    -----
    A layer norm over channels follows, which would hide how loud a frame is. One channel in 24 is therefore
    deaf, with a constant bias b: behind the norm it carries b over the level of the frame.
    """
    n_deaf = layer.out_channels // _LEVEL_SHARE
    n_filters = layer.out_channels - n_deaf
    layer.weight.zero_()
    layer.weight[:n_filters, 0] = torch.from_numpy(filter_bank(n_filters, layer.kernel_size[0]))
    assert layer.bias is not None
    layer.bias.zero_()
    layer.bias[n_filters:] = torch.from_numpy(np.geomspace(0.01, 0.3, max(n_deaf, 1)))[:n_deaf]


def filter_bank(n_filters: int, length: int, sample_rate: int = 16_000) -> NDArray[np.float32]:
    """Return windowed sinusoids, (n_filters, length).

    Parameters
    ----------
    n_filters : int
    length : int, samples
    sample_rate : int, Hz

    Notes
    -----
    Half of the filters, from 50 Hz to 1 kHz in equal steps, are as long as the frame, so that the harmonics
    of most voices are resolved. The other half, up to 7.6 kHz in steps that grow with frequency, are half as
    long and stand early or late in the frame, so that they follow its changes. Gain grows with the square
    root of frequency, against the slope of speech.
    """
    n_low = max(1, round(n_filters * _LOW_SHARE / _PHASES))
    n_high = -(-(n_filters - _PHASES * n_low) // (2 * _PHASES)) if n_filters > _PHASES * n_low else 0
    rows = []
    for hz in np.linspace(50, _SPLIT_HZ, n_low):
        rows += _sinusoids(hz, 0, length, length, sample_rate)
    for hz in np.geomspace(_SPLIT_HZ, 7_600, max(n_high, 1))[:n_high]:
        for start in (0, length - length // 2):
            rows += _sinusoids(hz, start, length // 2, length, sample_rate)
    return np.asarray(rows[:n_filters], np.float32)


def _sinusoids(hz: float, start: int, n: int, length: int, sample_rate: int) -> list[NDArray[np.float64]]:
    """Return one frequency in four phases, each n samples long under a Hamming window."""
    time_s = np.arange(n) / sample_rate
    rows = []
    for phase in range(_PHASES):
        row = np.zeros(length)
        row[start : start + n] = np.hamming(n) * np.cos(2 * np.pi * (hz * time_s + phase / _PHASES))
        rows.append(row * np.sqrt(hz / _SPLIT_HZ / (row @ row)))
    return rows
