"""What a transform sees of speech: a few contours a frame, and statistics an utterance.

Second stage of `emolib.prosody`. Everything is in the logarithmic domain and independent of the sampling
rate: the envelope is read in bands on the mel scale up to 8 kHz, its level apart.

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

from emolib.world import HOP_MS, Speech

Array = NDArray[np.float64]

N_BANDS = 32
N_NOISE = 5  # WORLD itself measures aperiodicity in about this many bands
#: Names of the eight measures of `summary`.
SUMMARY = ("f0_hz", "range_st", "duration_s", "voiced", "level_db", "tilt_db", "jitter", "shimmer_db")
SILENCE = -9.0  # natural logarithm of power below the loudest frame: 39 dB
_N_SHAPE = 6
N_VOICE = 7
N_WHOLE = N_VOICE + _N_SHAPE  # the last inputs of a frame, equal for all frames of an utterance
_SMOOTHING_FRAMES = 9  # 45 ms: slower is the contour, faster is the voice's roughness
_DB = 10 / np.log(10)


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
    """Read the contours of analysed speech with at least one voiced frame."""
    voiced = speech.f0_hz > 0
    frames = np.arange(len(voiced))
    log_f0 = np.interp(frames, frames[voiced], np.log(speech.f0_hz[voiced]))
    energy = np.log(np.exp(speech.log_envelope).mean(axis=1))
    n_bins = speech.log_envelope.shape[1]
    bands = speech.log_envelope @ band_weights(speech.sample_rate, n_bins, N_BANDS)
    noise = logit(np.clip(speech.aperiodicity, 1e-3, 1 - 1e-3)) @ band_weights(
        speech.sample_rate, n_bins, N_NOISE
    )
    return Contours(log_f0, voiced, energy, bands - bands.mean(axis=1, keepdims=True), noise)


def statistics(c: Contours) -> Array:
    """Return what `STATISTICS` names of an utterance, (8,)."""
    log_f0 = c.log_f0[c.voiced]
    return np.array(
        [
            log_f0.mean(), np.log(log_f0.std() + 0.02), np.log(len(c.voiced) * HOP_MS / 1000),
            c.voiced.mean(), np.log(np.exp(c.energy).mean()), c.bands[c.voiced].mean(axis=0) @ _slope(),
            np.log(jitter(c)), np.log(shimmer(c)),
        ]
    )  # fmt: skip


def liveliness(c: Contours) -> Array:
    """Return the logarithm of each band's standard deviation over the voiced frames, (32,)."""
    return np.log(c.bands[c.voiced].std(axis=0) + 0.05)


#: What the columns of `statistics` are: natural logarithms but for the share of voiced frames and the tilt.
STATISTICS = ("log_f0", "log_spread", "log_duration", "voiced", "level", "tilt", "log_jitter", "log_shimmer")


def voice(c: Contours) -> Array:
    """Return what tells a voice, (7,): its statistics, and its pace for the length, which is the sentence's.

    The level is left out as well: it is the microphone's.
    """
    kept = [name not in ("log_duration", "level") for name in STATISTICS]
    return np.append(statistics(c)[kept], pace(c))


def pace(c: Contours) -> float:
    """Return the logarithm of the syllables a second, as peaks of the smoothed energy tell them."""
    peaks, _ = find_peaks(smooth(relative_energy(c), 21), prominence=0.7)
    return float(np.log((len(peaks) + 1) / (len(c.energy) * HOP_MS / 1000)))


def summary(speech: Speech) -> dict[str, float]:
    """Return eight measures of an utterance in the units that people use.

    Returns
    -------
    dict
        f0_hz (geometric mean), range_st (semitones, standard deviation), duration_s, voiced (share of
        frames), level_db (dB, of WORLD's power), tilt_db (dB an octave, voiced frames), jitter (percent from
        frame to frame) and shimmer_db.
    """
    c = contours(speech)
    log_f0, log_spread, log_duration, voiced, level, tilt, log_jitter, log_shimmer = statistics(c)
    values = (
        np.exp(log_f0), 12 / np.log(2) * (np.exp(log_spread) - 0.02), np.exp(log_duration), voiced,
        _DB * level, _DB * tilt, 100 * np.exp(log_jitter), _DB * np.exp(log_shimmer),
    )  # fmt: skip
    return dict(zip(SUMMARY, map(float, values), strict=True))


def frame_inputs(c: Contours) -> Array:
    """Return what the change of a frame is predicted from, (T, P).

    Its spectrum relative to the utterance's, and that once more where it is voiced; voicing, energy and
    pitch, here and around; the place in the phrase, as four half-waves of a cosine; the voice.
    """
    average = c.bands[c.voiced].mean(axis=0)
    deviation, voiced = c.bands - average, c.voiced.astype(float)[:, None]
    energy = relative_energy(c)
    energy = (energy - energy[c.voiced].mean())[:, None]
    pitch = relative_pitch(c)[:, None]
    place = np.cos(np.pi * phrase_place(c)[:, None] * np.arange(1, 5))
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


def phrase_place(c: Contours) -> Array:
    """Return how far in the phrase each frame is, (T,): 0 at the first voiced frame, 1 at the last."""
    first, last = np.flatnonzero(c.voiced)[[0, -1]]
    return np.clip((np.arange(len(c.voiced)) - first) / max(last - first, 1), 0, 1)


def jitter(c: Contours) -> float:
    """Return the mean size of the fast part of log F0 over voiced frames, as a share of F0."""
    return float(np.abs(roughness(c.log_f0))[c.voiced].mean() + 1e-4)


def shimmer(c: Contours) -> float:
    """Return the mean size of the fast part of the log power over voiced frames."""
    return float(np.abs(roughness(c.energy))[c.voiced].mean() + 1e-3)


def roughness(curve: Array) -> Array:
    """Return what a curve, (T,), has beside its own smoothed course."""
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
    """Return the triangular windows, (F, B), that average a log spectrum in mel bands; columns sum to 1."""
    hertz = np.linspace(0, sample_rate / 2, n_bins)
    edges = librosa.mel_frequencies(n_bands + 2, fmin=0.0, fmax=min(8_000.0, sample_rate / 2))
    rising = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(np.minimum(rising, falling), 0)
    weights /= weights.sum(axis=0)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=16)
def band_spread(sample_rate: int, n_bins: int, n_bands: int) -> Array:
    """Return the interpolation, (B, F), that carries a change in bands to the bins; the ends are held."""
    hertz = np.linspace(0, sample_rate / 2, n_bins)
    centres = librosa.mel_frequencies(n_bands + 2, fmin=0.0, fmax=min(8_000.0, sample_rate / 2))[1:-1]
    spread = np.stack([np.interp(hertz, centres, row) for row in np.eye(n_bands)])
    spread.flags.writeable = False
    return spread


@lru_cache(maxsize=1)
def _slope() -> Array:
    """Return the weights, (B,), that read a spectrum's slope an octave from 100 Hz to 7.6 kHz."""
    centres = librosa.mel_frequencies(N_BANDS + 2, fmin=0.0, fmax=8_000.0)[1:-1]
    octaves = np.log2(centres / 1000)
    octaves = octaves - octaves.mean()
    return octaves / (octaves @ octaves)
