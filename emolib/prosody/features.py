"""The features that a transform is learned from: contours per frame, and statistics per utterance.

Everything is in the logarithmic domain and independent of the sampling rate: the envelope is averaged in mel
bands up to 8 kHz, and its level is kept apart.

References
----------
Jitter and shimmer follow the period and amplitude perturbation of M. Farrús, J. Hernando, P. Ejarque (2007),
"Jitter and shimmer measurements for speaker recognition", Interspeech; here on frames of 5 ms, not on
periods.
"""

from functools import lru_cache
from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import find_peaks
from scipy.special import logit

from emolib.audio import mel_bank
from emolib.world import HOP_MS, Array, Speech

N_BANDS = 32
N_NOISE = 5  # WORLD itself measures aperiodicity in about this many bands
#: The columns of `statistics`: natural logarithms except the share of voiced frames and the tilt.
STATISTICS = ("log_f0", "log_spread", "log_duration", "voiced", "level", "tilt", "log_jitter", "log_shimmer")
SILENCE = -9.0  # natural logarithm of power below the loudest frame: 39 dB
_N_SHAPE = 6
N_VOICE = 7
N_WHOLE = N_VOICE + _N_SHAPE  # the last inputs of a frame, equal for all frames of an utterance
_SMOOTHING_FRAMES = 9  # 45 ms: slower is the contour, faster is the voice's roughness


class Contours(NamedTuple):
    """The contours of an utterance, one row every 5 ms.

    Attributes
    ----------
    log_f0 : float64 array, (T,); natural logarithm of Hz, bridged where unvoiced
    voiced : bool array, (T,)
    energy : float64 array, (T,); natural logarithm of power
    bands : float64 array, (T, 32); log envelope in mel bands, mean 0 over the bands of a frame
    noise : float64 array, (T, 5); logit of the aperiodicity in mel bands
    """

    log_f0: Array
    voiced: NDArray[np.bool_]
    energy: Array
    bands: Array
    noise: Array


def contours(speech: Speech) -> Contours:
    """Return the contours of analysed speech with at least one voiced frame."""
    voiced = speech.f0_hz > 0
    frames = np.arange(len(voiced))
    log_f0 = np.interp(frames, frames[voiced], np.log(speech.f0_hz[voiced]))
    energy = np.log(np.exp(speech.log_envelope).mean(axis=1))
    bands, noise = (
        spectrum @ band_weights(speech.sample_rate, spectrum.shape[1], n_bands)
        for spectrum, n_bands in (
            (speech.log_envelope, N_BANDS),
            (logit(np.clip(speech.aperiodicity, 1e-3, 1 - 1e-3)), N_NOISE),
        )
    )
    return Contours(log_f0, voiced, energy, bands - bands.mean(axis=1, keepdims=True), noise)


def statistics(c: Contours) -> Array:
    """Return the `STATISTICS` of an utterance, (8,); jitter and shimmer are what smoothing removes."""
    log_f0 = c.log_f0[c.voiced]
    jitter = np.abs(roughness(c.log_f0))[c.voiced].mean() + 1e-4
    shimmer = np.abs(roughness(c.energy))[c.voiced].mean() + 1e-3
    return np.array(
        [
            log_f0.mean(), np.log(log_f0.std() + 0.02), np.log(len(c.voiced) * HOP_MS / 1000),
            c.voiced.mean(), np.log(np.exp(c.energy).mean()), c.bands[c.voiced].mean(axis=0) @ _slope(),
            np.log(jitter), np.log(shimmer),
        ]
    )  # fmt: skip


def band_spread(c: Contours) -> Array:
    """Return the logarithm of each band's standard deviation over the voiced frames, (32,)."""
    return np.log(c.bands[c.voiced].std(axis=0) + 0.05)


def voice(c: Contours) -> Array:
    """Return what describes a voice, (7,): its statistics without duration and level, and its speaking rate.

    The duration belongs to the sentence and the level to the microphone.
    """
    kept = [name not in ("log_duration", "level") for name in STATISTICS]
    return np.append(statistics(c)[kept], _syllable_rate(c))


def _syllable_rate(c: Contours) -> float:
    """Return the logarithm of the syllables per second, counted as peaks of the smoothed energy."""
    peaks, _ = find_peaks(smooth(relative_energy(c), 21), prominence=0.7)
    return float(np.log((len(peaks) + 1) / (len(c.energy) * HOP_MS / 1000)))


def frame_inputs(c: Contours) -> Array:
    """Return what the change of a frame is predicted from, (T, P).

    The columns: the spectrum relative to the utterance's, and the same for voiced frames only; voicing,
    energy and pitch of the frame and around it; the place in the phrase, as four half-waves of a cosine; the
    voice.
    """
    average = c.bands[c.voiced].mean(axis=0)
    deviation, voiced = c.bands - average, c.voiced.astype(float)[:, None]
    energy = relative_energy(c)
    energy = (energy - energy[c.voiced].mean())[:, None]
    pitch = relative_pitch(c)[:, None]
    place = np.cos(np.pi * _phrase_place(c)[:, None] * np.arange(1, 5))
    whole = np.append(voice(c), dct(average, norm="ortho")[1 : 1 + _N_SHAPE])
    return np.hstack(
        [
            deviation, deviation * voiced, voiced, smooth(voiced, 21), energy, smooth(energy, 51),
            10 * np.gradient(smooth(energy, 9), axis=0) if len(energy) > 1 else energy, pitch,
            smooth(pitch, 41), place, place * voiced, np.tile(whole, (len(voiced), 1)),
        ]
    )  # fmt: skip


def relative_pitch(c: Contours) -> Array:
    """Return log F0, (T,), in units of its own spread around its own mean."""
    mean, log_spread = statistics(c)[:2]
    return (c.log_f0 - mean) / np.exp(log_spread)


def relative_energy(c: Contours) -> Array:
    """Return the energy, (T,), relative to the loudest frame; below -43 dB all is silence."""
    return np.maximum(c.energy - c.energy.max(), -10.0)


def _phrase_place(c: Contours) -> Array:
    """Return how far into the phrase each frame is, (T,): 0 at the first voiced frame, 1 at the last."""
    first, last = np.flatnonzero(c.voiced)[[0, -1]]
    return np.clip((np.arange(len(c.voiced)) - first) / max(last - first, 1), 0, 1)


def roughness(curve: Array) -> Array:
    """Return a curve, (T,), minus its own smoothed course."""
    return curve - smooth(curve, _SMOOTHING_FRAMES)


def smooth(curve: Array, frames: int) -> Array:
    """Smooth a curve, (T,) or (T, K), along time with a Hann window of about `frames` frames."""
    window = np.hanning(frames + 2)[1:-1]
    window /= window.sum()
    reach = len(window) // 2
    padded = np.pad(curve, [(reach, len(window) - 1 - reach)] + [(0, 0)] * (curve.ndim - 1), mode="edge")
    if curve.ndim == 1:
        return np.convolve(padded, window, mode="valid")
    return np.stack([np.convolve(column, window, mode="valid") for column in padded.T], axis=1)


@lru_cache(maxsize=16)
def band_weights(sample_rate: int, n_bins: int, n_bands: int) -> Array:
    """Return the windows, (F, B), that average a log spectrum in mel bands up to 8 kHz; columns sum to 1."""
    top_hz = min(8_000.0, sample_rate / 2)
    bank = mel_bank(sample_rate, 2 * (n_bins - 1), n_bands, 0.0, top_hz, norm=None, dtype=np.float64)
    return bank.T / bank.sum(axis=1)


@lru_cache(maxsize=16)
def to_bins(sample_rate: int, n_bins: int, n_bands: int) -> Array:
    """Return the interpolation, (B, F), that carries a change in bands to the bins; the ends are held."""
    hertz = np.linspace(0, sample_rate / 2, n_bins)
    centres = _band_centres(n_bands, min(8_000.0, sample_rate / 2))
    return np.stack([np.interp(hertz, centres, row) for row in np.eye(n_bands)])


def _band_centres(n_bands: int, top_hz: float) -> Array:
    return librosa.mel_frequencies(n_bands + 2, fmin=0.0, fmax=top_hz)[1:-1]


@lru_cache(maxsize=1)
def _slope() -> Array:
    """Return the weights, (B,), that measure a spectrum's slope per octave from 100 Hz to 7.6 kHz."""
    octaves = np.log2(_band_centres(N_BANDS, 8_000.0) / 1000)
    octaves = octaves - octaves.mean()
    return octaves / (octaves @ octaves)
