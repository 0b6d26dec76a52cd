"""From generated mel-spectrograms to sound.

Last stage of `emolib.generate`. `audio.EMOGEN_MEL` holds the energy of 93 ms every 23 ms in 128 bands; the
project's vocoder networks and its Griffin-Lim on the mel scale read `audio.HIFIGAN_MEL`, magnitudes of 46 ms
every 12 ms in 80 bands. What lies between the frames and inside the bands of the one can't be read off the
other, so they are refused rather than fed with guesses, and the wave comes of plain Griffin-Lim.

References
----------
N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emolib import audio, vocoder
from emolib.audio import EMOGEN_MEL, Wave
from emolib.generate.mels import FLOOR, N_MELS, Mels

#: Sampling rate of the waves, in Hz.
SAMPLE_RATE = EMOGEN_MEL.sample_rate
#: Root-mean-square level of the waves, in dB relative to full scale.
LEVEL_DBFS = -26.0


def to_sound(
    mels: Mels | NDArray[np.float32],
    vocoder_name: str = vocoder.GRIFFIN_LIM,
    *,
    n_iter: int = 60,
) -> list[Wave]:
    """Turn log-mel-spectrograms into waves without their padding.

    Parameters
    ----------
    mels : Mels, or float32 array, (128, 172) or (N, 128, 172)
        In an array, frames at the floor at either end are padding.
    vocoder_name : {"griffin-lim"}
    n_iter : int

    Returns
    -------
    waves : list of float32 arrays, (S,), at 22,050 Hz and -26 dB relative to full scale

    Raises
    ------
    ValueError
        If the vocoder reads other spectrograms, a shape is wrong, or a value isn't finite.
    """
    if vocoder_name != vocoder.GRIFFIN_LIM:
        raise ValueError(
            f"vocoder {vocoder_name!r} doesn't read audio.EMOGEN_MEL (energies in {N_MELS} bands, a frame "
            f"every {EMOGEN_MEL.hop_length} samples); use {vocoder.GRIFFIN_LIM!r}"
        )
    way = vocoder.GriffinLim(n_iter, EMOGEN_MEL)
    return [audio.level(way.vocode(frames), LEVEL_DBFS) for frames in _speech(mels)]


def _speech(mels: Mels | NDArray[Any]) -> list[NDArray[np.float32]]:
    """Return each clip's frames of speech, (T, 128)."""
    if isinstance(mels, Mels):
        pairs = zip(mels.values, mels.mask, strict=True)
        return [values.T[mask] for values, mask in pairs]
    arrays = np.asarray(mels, np.float32)
    arrays = arrays[None] if arrays.ndim == 2 else arrays
    if arrays.ndim != 3 or arrays.shape[1] != N_MELS:
        raise ValueError(
            f"a log-mel-spectrogram of shape {np.shape(mels)}; expected bands, then frames: ({N_MELS}, T)"
        )
    found = []
    for values in arrays:
        heard = np.flatnonzero((values > FLOOR + 1e-3).any(0))
        found.append(values.T[heard[0] : heard[-1] + 1] if len(heard) else values.T)
    return found
