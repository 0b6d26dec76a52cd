"""Measures of timbre, pitch, loudness and voice quality, from which the targets of pretraining are made.

A wave becomes `Frames`, one row for each frame of a wav2vec 2.0 front end (25 ms every 20 ms at 16 kHz), and
frames become functionals, one vector per clip, much as in eGeMAPS. No label is read here or later.

References
----------
F. Eyben et al. (2016), "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and
Affective Computing", IEEE Transactions on Affective Computing 7(2), 190-202.
M. Morise, H. Kawahara, H. Katayose (2009), "Fast and reliable F0 estimation method based on the period
extraction of vocal fold vibration of singing voice and speech", AES 35th International Conference (DIO).
P. Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
of a sampled sound", Proceedings of the Institute of Phonetic Sciences 17, 97-110.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import find_peaks

from emolib.audio import MelSpec, Wave, mel_filters
from emolib.world import pitch

Array = NDArray[np.float32]

SAMPLE_RATE, WINDOW, HOP = 16_000, 400, 320  # Hz, samples, samples: wav2vec 2.0's frames
N_MFCC = 13
#: The columns of `Frames.voice` after pitch and energy.
VOICE = ("alpha_db", "hammarberg_db", "slope_db", "log_centroid", "hnr_db", "h1_h2_db", "h1_a3_db")
_BANDS = MelSpec(SAMPLE_RATE, n_fft=512, hop_length=HOP, n_mels=40, fmin=50, fmax=7_600)
_LOWEST_HZ = 60.0  # of pitch
_LONG_WINDOW, _LONG_FFT = 640, 1024  # 40 ms hold two periods of the lowest voice
_SPEECH_DB = 35.0  # frames this far below the loudest are pauses
_HZ = np.fft.rfftfreq(_LONG_FFT, 1 / SAMPLE_RATE)


class Frames(NamedTuple):
    """A clip, frame by frame.

    Attributes
    ----------
    mfcc : float32 array, (T, 13)
    f0_hz : float32 array, (T,); 0 where unvoiced
    energy_db : float32 array, (T,)
    voice : float32 array, (T, 7); the columns of `VOICE`
    """

    mfcc: Array
    f0_hz: Array
    energy_db: Array
    voice: Array

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Where there is pitch, (T,)."""
        return self.f0_hz > 0

    @property
    def peak_db(self) -> float:
        """The level of the loud frames: the 97th percentile, dB."""
        return float(np.percentile(self.energy_db, 97))

    @property
    def spoken(self) -> NDArray[np.bool_]:
        """Where the level is within 35 dB of the loud frames, (T,)."""
        return self.energy_db > self.peak_db - _SPEECH_DB


def n_frames(n_samples: int) -> int:
    """Return the number of frames of a wave at 16 kHz."""
    return max(0, (n_samples - WINDOW) // HOP + 1)


def analyse(wave: Wave) -> Frames:
    """Measure a wave at 16 kHz, (S,), frame by frame.

    Notes
    -----
    ``alpha_db`` is the energy below 1 kHz over that from 1 to 5 kHz, ``hammarberg_db`` the strongest peak
    below 2 kHz over that from 2 to 5 kHz, ``slope_db`` the slope of the spectrum from 50 Hz to 5 kHz in dB an
    octave, ``hnr_db`` r / (1 - r) in dB for the normalised autocorrelation r at one period, ``h1_h2_db`` the
    first harmonic over the second, ``h1_a3_db`` over the strongest peak from 2 to 3.5 kHz; the last two are 0
    where unvoiced.
    """
    f0_hz = _f0(wave)
    short = _frames(wave, WINDOW)
    power = np.abs(scipy.fft.rfft(short * np.hanning(WINDOW), 512)) ** 2
    log_mel = np.log(np.maximum(power @ mel_filters(_BANDS).T, 1e-8))
    mfcc = scipy.fft.dct(log_mel, norm="ortho", axis=1)[:, :N_MFCC]
    energy_db = 10 * np.log10((short**2).mean(axis=1) + 1e-10)
    windowed = _frames(wave, _LONG_WINDOW) * np.hanning(_LONG_WINDOW)
    power = np.abs(scipy.fft.rfft(windowed, _LONG_FFT)) ** 2 + 1e-12
    voice = np.column_stack([*_balance(power), _harmonicity(windowed, f0_hz), *_harmonics(power, f0_hz)])
    return Frames(mfcc.astype(np.float32), f0_hz, energy_db.astype(np.float32), voice.astype(np.float32))


def _frames(wave: Wave, window: int) -> Array:
    """Cut a wave into windows, (T, window), centred where wav2vec 2.0's frames are."""
    padded = np.pad(wave, ((window - WINDOW) // 2, window))
    starts = np.arange(n_frames(len(wave)))[:, None] * HOP
    return padded[starts + np.arange(window)]


def _f0(wave: Wave) -> Array:
    """Return F0 in Hz at the centre of each frame, (T,), 0 where unvoiced."""
    later = wave[WINDOW // 2 :]  # the track then starts at the first frame's centre
    every_20_ms = pitch(later, SAMPLE_RATE, low_hz=_LOWEST_HZ, high_hz=650.0)[::4]
    track = np.zeros(n_frames(len(wave)), np.float32)
    n = min(len(track), len(every_20_ms))
    track[:n] = every_20_ms[:n]
    return track


def _balance(power: NDArray) -> list[NDArray]:
    """Return alpha ratio, Hammarberg index, spectral slope and log centroid of power spectra, each (T,)."""

    def band(low_hz: float, high_hz: float) -> NDArray[np.bool_]:
        return (low_hz <= _HZ) & (high_hz > _HZ)

    db = 10 * np.log10(power)
    alpha = 10 * np.log10(power[:, band(50, 1000)].sum(axis=1) / power[:, band(1000, 5000)].sum(axis=1))
    hammarberg = db[:, band(0, 2000)].max(axis=1) - db[:, band(2000, 5000)].max(axis=1)
    wide = band(50, 5000)
    octaves = np.log2(_HZ[wide])
    octaves -= octaves.mean()
    slope = db[:, wide] @ octaves / (octaves @ octaves)
    centroid = np.log(power[:, wide] @ _HZ[wide] / power[:, wide].sum(axis=1))
    return [alpha, hammarberg, slope, centroid]


def _harmonicity(windowed: NDArray, f0_hz: Array) -> NDArray:
    """Return the harmonics-to-noise ratio in dB, (T,); where unvoiced, that at the likeliest period."""

    def autocorrelate(rows: NDArray) -> NDArray:
        return scipy.fft.irfft(np.abs(scipy.fft.rfft(rows, 2048)) ** 2)[..., :400]

    of_window = autocorrelate(np.hanning(_LONG_WINDOW))
    lags = autocorrelate(windowed)
    lags = lags / np.maximum(lags[:, :1], 1e-9) / np.maximum(of_window / of_window[0], 0.05)
    period = (SAMPLE_RATE / np.maximum(f0_hz, _LOWEST_HZ)).astype(int)
    around = np.clip(period[:, None] + np.arange(-2, 3), 0, 399)
    at_period = np.take_along_axis(lags, around, axis=1).max(axis=1)
    r = np.clip(np.where(f0_hz > 0, at_period, lags[:, 25:267].max(axis=1)), 0.01, 0.995)
    return 10 * np.log10(r / (1 - r))


def _harmonics(power: NDArray, f0_hz: Array) -> list[NDArray]:
    """Return the first harmonic's level over the second's and over the third formant's, dB, each (T,)."""
    db = 10 * np.log10(power)

    def level(harmonic: int) -> Array:
        bins = np.round(harmonic * f0_hz / _HZ[1]).astype(int)[:, None] + np.arange(-1, 2)
        return np.take_along_axis(db, np.clip(bins, 0, len(_HZ) - 1), axis=1).max(axis=1)

    third_formant = db[:, (_HZ >= 2000) & (_HZ < 3500)].max(axis=1)
    voiced = f0_hz > 0
    return [np.where(voiced, level(1) - level(2), 0.0), np.where(voiced, level(1) - third_formant, 0.0)]


def functionals(frames: Frames) -> Array:
    """Summarise a clip's frames, without the silence around it, in 91 numbers.

    Returns
    -------
    functionals : float32 array, (91,)
        37 of timbre, 11 of pitch, 9 of loudness, 24 of voice quality, 10 of rhythm, in this order.
    """
    groups = [_timbre(frames), _pitch(frames), _loudness(frames), _voice_quality(frames), _rhythm(frames)]
    return np.concatenate(groups).astype(np.float32)


def _timbre(frames: Frames) -> list[float]:
    spoken, moving = frames.mfcc[frames.spoken], np.diff(frames.mfcc, axis=0)
    moving = moving[frames.spoken[1:]] if frames.spoken[1:].sum() > 3 else moving
    mean, spread = spoken[:, 1:].mean(axis=0), spoken[:, 1:].std(axis=0)  # without the level
    return [*mean, *spread, *np.log(moving.std(axis=0) + 0.05)]


def _semitones(frames: Frames) -> NDArray[np.float64]:
    """Return pitch in semitones above 100 Hz, (T,), continued through unvoiced frames."""
    at = np.flatnonzero(frames.voiced)
    if len(at) < 5:
        return np.zeros(len(frames.f0_hz))
    return np.interp(np.arange(len(frames.f0_hz)), at, 12 * np.log2(frames.f0_hz[at] / 100))


def _pitched(frames: Frames) -> NDArray[np.bool_]:
    return frames.voiced if frames.voiced.sum() >= 5 else frames.spoken


def _pitch(frames: Frames) -> list[float]:
    where, contour = _pitched(frames), _semitones(frames)
    voiced, steps = contour[where], np.diff(contour)
    steps = steps[where[1:]] if where[1:].sum() > 3 else steps
    low, high = np.percentile(voiced, [10, 90])
    track = np.log(frames.f0_hz[frames.voiced])
    jitter = np.abs(np.diff(track, 2)).mean() if len(track) > 8 else 0.1
    return [
        voiced.mean(), voiced.std(), low, high, high - low,
        np.log(np.abs(steps).mean() + 0.01), np.log(steps.std() + 0.01),
        _mean(steps[steps > 0]), _mean(steps[steps < 0]), _trend(contour, where), np.log(jitter + 1e-3),
    ]  # fmt: skip


def _loudness(frames: Frames) -> list[float]:
    level, steps = frames.energy_db - frames.peak_db, np.diff(frames.energy_db)
    spoken = level[frames.spoken]
    return [
        spoken.mean(), spoken.std(), *np.percentile(level, [20, 80]),
        np.log(np.abs(steps).mean() + 0.01), _mean(steps[steps > 0]), _mean(steps[steps < 0]),
        _trend(level, frames.spoken), frames.peak_db,
    ]  # fmt: skip


def _voice_quality(frames: Frames) -> list[float]:
    voiced, spoken = frames.voice[_pitched(frames)], frames.voice[frames.spoken][:, :5]
    of_voiced = np.column_stack([voiced.mean(axis=0), voiced.std(axis=0)])
    return [*of_voiced.ravel(), *np.column_stack([spoken.mean(axis=0), spoken.std(axis=0)]).ravel()]


def _rhythm(frames: Frames) -> list[float]:
    n, level = len(frames.f0_hz), frames.energy_db - frames.peak_db
    edges = np.flatnonzero(np.diff(np.r_[0, frames.voiced.astype(int), 0]))
    lengths, duration_s = edges[1::2] - edges[::2], n * HOP / SAMPLE_RATE
    smooth = np.convolve(level, np.ones(5) / 5, mode="same")
    peaks, _ = find_peaks(np.maximum(smooth, -30), prominence=3, distance=4)
    return [
        frames.voiced.mean(), np.log(_mean(lengths) + 1), len(lengths) / duration_s,
        len(peaks) / duration_s, np.log(n), 1 - frames.spoken.mean(), *_modulation(level),
    ]  # fmt: skip


def _modulation(level: Array) -> list[float]:
    """Return the log shares of the level's modulation from 0.8 to 2, 4, 8 and 16 Hz: phrases to phones."""
    centred = np.maximum(level, -40) - np.maximum(level, -40).mean()
    power = np.abs(np.fft.rfft(centred * np.hanning(len(level)), 512)) ** 2
    hz = np.fft.rfftfreq(512, HOP / SAMPLE_RATE)
    total = power[hz > 0.8].sum() + 1e-9
    edges = (0.8, 2, 4, 8, 16)
    shares = [power[(hz >= a) & (hz < b)].sum() / total for a, b in pairwise(edges)]
    return [float(np.log(share + 1e-4)) for share in shares]


def _mean(values: NDArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _trend(values: NDArray, where: NDArray[np.bool_]) -> float:
    """Return half the change from the first to the last frame, by a line through the frames in `where`."""
    if where.sum() <= 5:
        return 0.0
    time = np.linspace(-1, 1, len(values))[where]
    time = time - time.mean()
    return float(time @ values[where] / (time @ time))
