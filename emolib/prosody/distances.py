"""How far a rendition is from another of the same sentence: envelope and pitch, time aligned, level left out.

Beside `emolib.prosody`'s path: the measures that a conversion is judged by. Both renditions are waves, so
that real speech, converted speech and speech of any other origin are measured alike.

References
----------
Mel-cepstral distortion: R. F. Kubichek (1993), "Mel-cepstral distance measure for objective speech quality
assessment", IEEE PacRim; of WORLD's envelope as in T. Kaneko, H. Kameoka (2018), "CycleGAN-VC", EUSIPCO,
arXiv:1711.11293. Alignment: H. Sakoe, S. Chiba (1978),
doi:10.1109/TASSP.1978.1163055.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emolib import audio, quality
from emolib.audio import HIFIGAN_MEL, Wave
from emolib.prosody.alignment import path
from emolib.prosody.analysis import record
from emolib.prosody.features import band_weights
from emolib.world import HOP_MS

Array = NDArray[np.float64]


#: Mel bands of the envelope, up to 8 kHz, from which 24 coefficients are taken.
_N_BANDS, _ORDER = 40, 24


class Distance(NamedTuple):
    """How far one rendition is from another.

    Attributes
    ----------
    mcd_db : float, dB; mel-cepstral distortion of WORLD's spectral envelopes, which hold no pitch
    log_mel_mcd_db : float, dB; the same of log-mel-spectrograms, in which the lower harmonics show
    log_f0_rmse : float, natural logarithm; NaN where no pair of frames is voiced in both
    """

    mcd_db: float
    log_mel_mcd_db: float
    log_f0_rmse: float


class Track(NamedTuple):
    """What a wave is compared by, every 11.6 ms of its spoken frames.

    Attributes
    ----------
    envelope, log_mel : float64 arrays, (T, 24); mel-cepstral coefficients 1 to 24 of either
    log_f0 : float64 array, (T,); NaN where unvoiced
    """

    envelope: Array
    log_mel: Array
    log_f0: Array


def track(wave: Wave, sample_rate: int) -> Track:
    """Measure a wave for `distance`, so that one rendition can be compared with many.

    Raises
    ------
    ValueError
        As `analysis.record` does.
    """
    recording = record(wave, sample_rate, aperiodicity=False)
    speech = recording.speech
    log_mel = audio.log_mel(recording.wave, sample_rate)
    hop_s = HIFIGAN_MEL.hop_length / HIFIGAN_MEL.sample_rate
    seconds = (np.arange(len(log_mel)) + 0.5) * hop_s - len(recording.head) / speech.sample_rate
    frames = np.round(seconds * 1000 / HOP_MS).astype(int)
    kept = quality.speech_frames(log_mel) & (frames >= 0) & (frames < len(speech.f0_hz))
    f0_hz, envelope = speech.f0_hz[frames[kept]], speech.log_envelope[frames[kept]]
    bands = 0.5 * envelope @ band_weights(speech.sample_rate, envelope.shape[1], _N_BANDS)  # magnitudes
    log_f0 = np.log(f0_hz, out=np.full(len(f0_hz), np.nan), where=f0_hz > 0)
    return Track(quality.cepstra(bands, _ORDER), quality.cepstra(log_mel, _ORDER)[kept], log_f0)


def distance(reference: Track, given: Track) -> Distance:
    """Return how far a rendition is from the reference.

    Notes
    -----
    Frames within 40 dB of the loudest are aligned by dynamic time warping of their envelopes' cepstra c.
    Over the P matched pairs, MCD = 10 / ln 10 * mean of sqrt(2 * sum over m of (c_m - c'_m)^2); over those
    voiced in both, RMSE = sqrt(mean of (ln F0 - ln F0')^2). Each rendition is aligned anew, so that a
    distance of zero effort has the benefit of alignment as well.
    """
    i, j = path(reference.envelope, given.envelope)
    pitch = reference.log_f0[i] - given.log_f0[j]
    pitch = pitch[np.isfinite(pitch)]
    rmse = float(np.sqrt(np.mean(pitch**2))) if len(pitch) else float("nan")
    return Distance(
        _distortion(reference.envelope[i] - given.envelope[j]),
        _distortion(reference.log_mel[i] - given.log_mel[j]),
        rmse,
    )


def mean_distance(renditions: Sequence[Track], given: Track) -> Distance:
    """Return the mean distance from renditions; NaN where there is none, or no pair is voiced in both.

    Where what is given is itself one of the renditions (the same object), it is left out: a natural clip is
    compared with the other takes, never with itself.
    """
    apart = [distance(reference, given) for reference in renditions if reference is not given]
    if not apart:
        return Distance(float("nan"), float("nan"), float("nan"))
    known = (column[np.isfinite(column)] for column in np.array(apart).T)
    return Distance(*(float(values.mean()) if len(values) else float("nan") for values in known))


def _distortion(differences: Array) -> float:
    """Return the mean distortion, dB, of differences of cepstra, (P, 24)."""
    return float(10 / np.log(10) * np.sqrt(2 * np.square(differences).sum(axis=1)).mean())
