"""Hand-made acoustic measures: one vector per clip, whatever its level.

No code here is shared with what steers speech: no encoder, no WORLD, and a pitch tracker of its own, so that
a judge can't favour its own tools. A clip is trimmed and brought to one level first, so that loudness alone
decides nothing, and a faint floor of noise is added, so that a vocoder's hiss below it is not measured.

References
----------
The set follows the paralinguistic sets of B. Schuller et al. (2013), "The INTERSPEECH 2013 Computational
Paralinguistics Challenge", and F. Eyben et al. (2016), "The Geneva Minimalistic Acoustic Parameter Set",
doi:10.1109/TAFFC.2015.2457417. Pitch is the peak of the normalised autocorrelation of P. Boersma (1993),
"Accurate short-term analysis of the fundamental frequency". Modulation spectra: S. Wu, T. H. Falk, W.-Y. Chan
(2011), "Automatic speech emotion recognition using modulation spectral features",
doi:10.1016/j.specom.2010.08.013.
"""

import itertools
from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import medfilt

from emolib import audio

Array = NDArray[np.float32]

#: Changes whenever a saved judge would be given other measures.
VERSION = "acoustics-1"
SAMPLE_RATE, N_FFT, HOP, N_MFCC = 16_000, 512, 160, 20
HOP_S = HOP / SAMPLE_RATE
_BANDS = audio.MelSpec(SAMPLE_RATE, N_FFT, HOP, n_mels=64, fmin=60, fmax=7_600)
#: Frames this far below the loudest are silence: trimmed at the ends, pauses inside.
SILENCE_DB = 40.0
#: Power added to every bin of a clip whose speech has a power of 1 over all its bins: 41 dB below the speech.
FLOOR = 3e-7
_PITCH_HZ, _PITCH_WINDOW = (65, 600), 1024
#: Favours the shorter of two lags that are equally periodic: without it, pitch falls by octaves.
_OCTAVE_COST = 0.15
_VOICED_STRENGTH, _VOICED_DB = 0.5, -30.0
_MODULATION_HZ = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0)


class Frames(NamedTuple):
    """A clip at 100 frames a second, levelled and trimmed.

    Attributes
    ----------
    power : float32 array, (T, F); power spectrum, speech frames add up to 1 on average
    level_db : float32 array, (T,); dB relative to the speech's level
    pitch_oct : float32 array, (T,); octaves above 150 Hz, of no meaning in frames without voicing
    strength : float32 array, (T,); normalised autocorrelation at the pitch, up to 1
    voiced : bool array, (T,)
    """

    power: Array
    level_db: Array
    pitch_oct: Array
    strength: Array
    voiced: NDArray[np.bool_]


def acoustics(wave: audio.Wave, sample_rate: int) -> Array:
    """Return a clip's acoustic measures.

    Parameters
    ----------
    wave : float32 array, (S,)
    sample_rate : int, Hz; the wave is resampled to 16 kHz

    Returns
    -------
    x : float32 array, (D,); the same whatever the wave's level

    Raises
    ------
    AudioError
        If the wave isn't one finite channel of at least 25 ms, or is silent.
    """
    frames = analyse(wave, sample_rate)
    log_mel = np.log(frames.power @ audio.mel_filters(_BANDS).T + 1e-6)
    cepstrum = dct(log_mel, norm="ortho", axis=1)[:, :N_MFCC]
    shape = _spectral_shape(frames.power)
    spoken = frames.voiced if frames.voiced.sum() > 3 else np.ones(len(shape), bool)
    parts = [
        log_mel.mean(0), log_mel.std(0), log_mel[spoken].mean(0), log_mel[spoken].std(0),
        np.abs(_change(log_mel)).mean(0), _functionals(cepstrum), _change(cepstrum).std(0),
        np.abs(_change(cepstrum)).mean(0), _functionals(shape), _functionals(shape[spoken]),
        _melody(frames), _rhythm(frames), _modulation(log_mel),
    ]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


def analyse(wave: audio.Wave, sample_rate: int) -> Frames:
    """Cut a clip into levelled frames without the silence on either side; raises as `acoustics` does."""
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise audio.AudioError(f"a wave of shape {wave.shape}; expected one channel of finite samples, (S,)")
    audio.check_speech(wave, sample_rate)
    wave = audio.resample(wave, sample_rate, SAMPLE_RATE)
    padded = np.pad(wave, (0, max(0, N_FFT - len(wave))))  # a window at least
    spectrum = librosa.stft(padded, n_fft=N_FFT, hop_length=HOP, win_length=400, pad_mode="constant")
    power = (spectrum.real**2 + spectrum.imag**2).T
    energy = power.sum(1)
    spoken = energy > energy.max() * 10 ** (-SILENCE_DB / 10)
    first, last = np.flatnonzero(spoken)[[0, -1]]
    kept = slice(max(first - 2, 0), last + 3)
    power = power[kept] / energy[spoken].mean() + FLOOR
    pitch_oct, strength = _pitch(padded)
    level_db = 10 * np.log10(power.sum(1))
    voiced = (strength[kept] > _VOICED_STRENGTH) & (level_db > _VOICED_DB)
    return Frames(power, level_db, pitch_oct[kept], strength[kept], voiced)


def _pitch(wave: audio.Wave) -> tuple[Array, Array]:
    """Return pitch in octaves above 150 Hz and its strength, each (T,), by autocorrelation."""
    n_frames = 1 + len(wave) // HOP
    padded = np.pad(wave, _PITCH_WINDOW)
    first = _PITCH_WINDOW // 2
    cut = np.lib.stride_tricks.sliding_window_view(padded, _PITCH_WINDOW)[first::HOP][:n_frames]
    window = np.hanning(_PITCH_WINDOW).astype(np.float32)
    shortest, longest = SAMPLE_RATE // _PITCH_HZ[1], SAMPLE_RATE // _PITCH_HZ[0]
    lags = np.arange(shortest, longest)
    own = _autocorrelation(window[None])[0]
    correlation = _autocorrelation((cut - cut.mean(1, keepdims=True)) * window)
    periodic = correlation[:, lags] / (correlation[:, :1] + 1e-9) * (own[0] / own[lags])
    cost = _OCTAVE_COST * np.log2(lags / shortest) / np.log2(longest / shortest)
    best = (periodic * (1 - cost)).argmax(1)
    strength = np.clip(periodic[np.arange(len(cut)), best], -1, 1)
    return np.log2(SAMPLE_RATE / lags[best] / 150).astype(np.float32), strength.astype(np.float32)


def _autocorrelation(frames: NDArray) -> NDArray[np.float64]:
    spectrum = np.abs(np.fft.rfft(frames, 2 * frames.shape[1], axis=1)) ** 2
    return np.fft.irfft(spectrum, axis=1)


def _spectral_shape(power: Array) -> NDArray[np.float64]:
    """Return centroid and spread (kHz), log flatness, flux, alpha ratio and Hammarberg index (dB): (T, 6)."""
    khz = np.linspace(0, SAMPLE_RATE / 2000, power.shape[1])
    share = power / power.sum(1, keepdims=True)
    centroid = share @ khz
    spread = np.sqrt(np.maximum(share @ khz**2 - centroid**2, 0))
    flatness = np.log(power).mean(1) - np.log(power.mean(1))
    flux = np.linalg.norm(np.diff(np.sqrt(share), axis=0, prepend=np.sqrt(share[:1])), axis=1)
    low, high, presence = khz <= 1, (khz > 1) & (khz < 5), (khz > 2) & (khz < 5)
    alpha = 10 * np.log10(power[:, high].sum(1) / power[:, low].sum(1))
    hammarberg = 10 * np.log10(power[:, presence].max(1) / power[:, khz <= 2].max(1))
    return np.stack([centroid, spread, flatness, flux, alpha, hammarberg], axis=1)


def _functionals(series: NDArray) -> NDArray:
    """Return mean, deviation, range and the 5th, 50th and 95th percentile over time: (T, K) to (6 K,)."""
    low, middle, high = np.percentile(series, [5, 50, 95], axis=0)
    return np.concatenate([series.mean(0), series.std(0), high - low, low, middle, high])


def _change(series: NDArray) -> NDArray:
    """Return the slope of series, (T, K), a frame, over two frames on either side."""
    padded = np.pad(series, ((2, 2), (0, 0)), mode="edge")
    return (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10


def _melody(frames: Frames) -> NDArray[np.float64]:
    """Return measures of pitch and voicing, (12,)."""
    pitch = frames.pitch_oct[frames.voiced] if frames.voiced.sum() > 3 else np.zeros(4, np.float32)
    pitch = medfilt(pitch, 5) if len(pitch) >= 5 else pitch
    steps = np.diff(pitch)
    slope = np.polyfit(np.linspace(-1, 1, len(pitch)), pitch, 1)[0]
    clear = frames.strength[frames.voiced].mean() if frames.voiced.any() else 0.0
    rest = [np.abs(steps).mean(), steps.std(), frames.strength.mean(), clear, frames.voiced.mean(), slope]
    return np.r_[_functionals(pitch[:, None]), rest]


def _rhythm(frames: Frames) -> NDArray[np.float64]:
    """Return measures of timing and of loudness over time, (13,)."""
    edges = np.flatnonzero(np.diff(np.r_[False, frames.voiced, False]))
    stretches_s = (edges[1::2] - edges[::2]) * HOP_S if len(edges) else np.zeros(1)
    n_frames, level_db = len(frames.power), frames.level_db
    rate = len(edges) / 2 / (n_frames * HOP_S)
    timing = [np.log(n_frames * HOP_S), rate, stretches_s.mean(), stretches_s.std(), stretches_s.max()]
    pauses, unrest = (level_db < -25).mean(), np.abs(np.diff(level_db, prepend=level_db[:1])).mean()
    return np.r_[timing, pauses, _functionals(level_db[:, None]), unrest]


def _modulation(log_mel: NDArray) -> NDArray[np.float64]:
    """Return the log power of eight groups of bands at nine rates of modulation, 0.5 to 25 Hz, (72,)."""
    groups = log_mel.reshape(len(log_mel), 8, -1).mean(2)
    groups = (groups - groups.mean(0)) * np.hanning(len(groups) + 2)[1:-1, None]
    n_fft = max(1024, 1 << (len(groups) - 1).bit_length())
    power = np.abs(np.fft.rfft(groups, n_fft, axis=0)) ** 2 / len(groups)
    rates_hz = np.fft.rfftfreq(n_fft, HOP_S)
    bounds = itertools.pairwise(_MODULATION_HZ)
    bands = [power[(rates_hz >= low) & (rates_hz < high)].mean(0) for low, high in bounds]
    return np.log(np.stack(bands) + 1e-5).ravel()
