"""WORLD: analysis of speech into pitch, envelope and aperiodicity, their change, and synthesis.

`pitch` is the only F0 tracker of the package; each caller gives the range that suits its voices.

References
----------
M. Morise, F. Yokomori, K. Ozawa (2016), "WORLD: A vocoder-based high-quality speech synthesis system for
real-time applications", IEICE Transactions on Information and Systems E99-D(7), 1877-1884.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyworld
from numpy.typing import NDArray

from emolib.audio import Wave

Array = NDArray[np.float64]

HOP_MS = 5.0
_VOICED_STRETCH, _UNVOICED_STRETCH = 1.15, 0.7  # vowels stretch more than stops and fricatives do
_NOISE_TILTS = 0.4  # the tilt is that of the voice's source; friction follows it in part
_F0_LIMITS_HZ = (55.0, 650.0)
_SPOKEN_DB = 45.0
_LOG_PER_DB = np.log(10) / 10


@dataclass(frozen=True)
class Settings:
    """What is done to a plain rendition; all zeros leave the sentence as it was spoken.

    Attributes
    ----------
    pitch_st : float, semitones; shift of the whole contour
    range_log : float, natural logarithm of the factor on the contour's excursions
    rate_log : float, natural logarithm of the factor on the speaking rate
    level_db : float, dB; root-mean-square level
    tilt_db : float, dB an octave; positive is brighter
    breath : float; the share of harmonic energy turned to noise at high frequency, below 0 the reverse
    jitter : float, percent of F0, standard deviation from frame to frame
    shimmer_db : float, dB, standard deviation from frame to frame
    formants : float, percent that resonances move up
    abrupt_st : float, semitones added at the peaks of stressed syllables
    wave_st : float, semitones of smooth undulation, up on syllables and down between
    slope_st : float, semitones that the contour falls from the first to the last voiced frame
    final_st : float, semitones added at the end of the last quarter: a rise, or below 0 a fall
    pause_s : float, s of hesitation inserted at the quietest point of the sentence's middle
    """

    pitch_st: float = 0.0
    range_log: float = 0.0
    rate_log: float = 0.0
    level_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.0
    jitter: float = 0.0
    shimmer_db: float = 0.0
    formants: float = 0.0
    abrupt_st: float = 0.0
    wave_st: float = 0.0
    slope_st: float = 0.0
    final_st: float = 0.0
    pause_s: float = 0.0


class Speech(NamedTuple):
    """A sentence in WORLD's parameters, one row every 5 ms.

    Attributes
    ----------
    f0_hz : float64 array, (T,); 0 where unvoiced
    log_envelope : float64 array, (T, F); natural logarithm of the power spectrum
    aperiodicity : float64 array, (T, F); share of noise in [0, 1]
    sample_rate : int, Hz
    at : float64 array, (T,), optional
        Of speech that was reshaped: which frame of the analysed speech each of its frames is made of.
    """

    f0_hz: Array
    log_envelope: Array
    aperiodicity: Array
    sample_rate: int
    at: Array | None = None

    @property
    def energy_db(self) -> Array:
        """Level of each frame, (T,), dB relative to the loudest."""
        energy = np.log(np.exp(self.log_envelope).mean(axis=1)) / _LOG_PER_DB
        return energy - energy.max()

    def spoken_span(self) -> tuple[int, int]:
        """Return where speech begins and ends: two frames around all within 45 dB of the loudest."""
        spoken = np.flatnonzero(self.energy_db > -_SPOKEN_DB)
        return max(int(spoken[0]) - 2, 0), int(spoken[-1]) + 3

    def between(self, first: int, last: int) -> "Speech":
        """Return the frames from `first` up to and without `last`."""
        rows = slice(first, last)
        return Speech(self.f0_hz[rows], self.log_envelope[rows], self.aperiodicity[rows], self.sample_rate)


def pitch(
    wave: Wave | Array, sample_rate: int, *, low_hz: float = 60.0, high_hz: float, hop_ms: float = HOP_MS,
    tolerance: float = 0.1,
) -> Array:  # fmt: skip
    """Return F0 by DIO and StoneMask, (T,), Hz; 0 where unvoiced, one value every `hop_ms` from 0 s on.

    `tolerance` is how far, as a share of itself, F0 may jump within a voiced stretch (DIO's allowed_range).
    """
    samples = np.asarray(wave, np.float64)
    f0_hz, times = pyworld.dio(
        samples, sample_rate, f0_floor=low_hz, f0_ceil=high_hz, frame_period=hop_ms, allowed_range=tolerance
    )
    return pyworld.stonemask(samples, f0_hz, times, sample_rate)


def decompose(
    wave: Wave | Array, sample_rate: int, f0_hz: Array, *, floor: float = 0.0, threshold: float = 0.85,
    aperiodicity: bool = True,
) -> Speech:  # fmt: skip
    """Return a wave's parameters along an F0 contour, by CheapTrick and D4C.

    Parameters
    ----------
    wave : float array, (S,)
    sample_rate : int, Hz
    f0_hz : float64 array, (T,); as `pitch` gives it every 5 ms
    floor : float; the least power of the envelope: digital silence has none
    threshold : float; above 0 D4C decides itself which of the voiced frames are noise
    aperiodicity : bool; False leaves zeros in its place, in half the time
    """
    samples, times = np.asarray(wave, np.float64), np.arange(len(f0_hz)) * HOP_MS / 1000
    envelope = np.maximum(pyworld.cheaptrick(samples, f0_hz, times, sample_rate), floor)
    noise = np.zeros_like(envelope)
    if aperiodicity:
        noise = pyworld.d4c(samples, f0_hz, times, sample_rate, threshold=threshold)
    return Speech(f0_hz, np.log(envelope), noise, sample_rate)


def analyse(wave: Wave, sample_rate: int) -> Speech:
    """Analyse a wave into pitch, envelope and aperiodicity, without the silence on either side.

    Raises
    ------
    ValueError
        If no frame is voiced, as in a whisper: there is no contour to reshape.
    """
    f0_hz = pitch(wave, sample_rate, high_hz=500.0)
    if not f0_hz.any():
        raise ValueError(f"no voiced frame in {len(wave) / sample_rate:.2f} s; expected speech with a pitch")
    speech = decompose(wave, sample_rate, f0_hz)
    return speech.between(*speech.spoken_span())


def reshape(speech: Speech, settings: Settings, rng: np.random.Generator) -> Speech:
    """Give a plain rendition the pitch, timing and voice quality of `settings`; its level is the caller's.

    Parameters
    ----------
    speech : Speech, T frames
    settings : Settings
    rng : numpy Generator
        Draws the jitter and the shimmer.
    """
    at = _time_warp(speech, settings)
    contour_st = _contour(speech, settings)
    f0_hz = 2.0 ** (np.interp(at, np.arange(len(contour_st)), contour_st) / 12)
    f0_hz *= 1 + settings.jitter / 100 * rng.standard_normal(len(at))
    f0_hz = np.clip(f0_hz, *_F0_LIMITS_HZ) * (speech.f0_hz > 0)[np.round(at).astype(int)]
    envelope = warp_formants(_rows(speech.log_envelope, at), 1 + settings.formants / 100)
    envelope = envelope + np.where(f0_hz > 0, 1.0, _NOISE_TILTS)[:, None] * _tilt(speech, settings.tilt_db)
    envelope += (_LOG_PER_DB * settings.shimmer_db * rng.standard_normal(len(at)))[:, None]
    aperiodicity = _breathe(speech, _rows(speech.aperiodicity, at), settings.breath)
    return Speech(f0_hz, envelope, aperiodicity, speech.sample_rate)


def synthesise(speech: Speech) -> Wave:
    """Turn WORLD's parameters back into a wave, (S,), at the level that the envelope implies."""
    envelope = np.ascontiguousarray(np.exp(speech.log_envelope))
    noise = np.ascontiguousarray(np.clip(speech.aperiodicity, 1e-3, 1 - 1e-12))
    wave = pyworld.synthesize(np.ascontiguousarray(speech.f0_hz), envelope, noise, speech.sample_rate, HOP_MS)
    return wave.astype(np.float32)


def warp_formants(log_envelope: Array, factor: float) -> Array:
    """Move the resonances of an envelope, (T, F), up in frequency by a factor."""
    bins = log_envelope.shape[1]
    source = np.minimum(np.arange(bins) / factor, bins - 1.0)
    return _rows(log_envelope.T, source).T


def _rows(matrix: Array, at: Array) -> Array:
    """Interpolate between the rows of a matrix, one or more, at fractional positions."""
    last = len(matrix) - 1
    below = np.minimum(at.astype(int), max(last - 1, 0))
    share = (at - below)[:, None]
    return matrix[below] * (1 - share) + matrix[np.minimum(below + 1, last)] * share


def _time_warp(speech: Speech, settings: Settings) -> Array:
    """Return the source position, in frames, of each frame of the reshaped sentence."""
    voiced = speech.f0_hz > 0
    frames = len(voiced)
    weight = np.where(voiced, _VOICED_STRETCH, _UNVOICED_STRETCH)
    duration = np.exp(-settings.rate_log * weight)
    middle = np.arange(int(0.3 * frames), max(int(0.75 * frames), int(0.3 * frames) + 1))
    duration[middle[np.argmin(speech.energy_db[middle])]] += 1000 * settings.pause_s / HOP_MS
    centre = np.cumsum(duration) - duration / 2
    return np.interp(np.arange(int(duration.sum())) + 0.5, centre, np.arange(frames))


def _contour(speech: Speech, settings: Settings) -> Array:
    """Return the new pitch contour, (T,), in semitones above 1 Hz, continued through unvoiced frames."""
    voiced = np.flatnonzero(speech.f0_hz)
    frames = np.arange(len(speech.f0_hz))
    plain_st = np.interp(frames, voiced, 12 * np.log2(speech.f0_hz[voiced]))
    mean_st = plain_st[voiced].mean()
    progress = np.clip((frames - voiced[0]) / max(voiced[-1] - voiced[0], 1), 0, 1)
    stress = _stress(speech)
    peaks, swell = stress**4, _smooth(stress, 24)
    return (
        mean_st
        + settings.pitch_st
        + (plain_st - mean_st) * np.exp(settings.range_log)
        + settings.abrupt_st * (peaks - peaks[voiced].mean())
        + settings.wave_st * (swell - swell[voiced].mean()) / (swell[voiced].std() + 1e-9) / 2
        + settings.slope_st * (0.5 - progress)
        + settings.final_st * np.clip(4 * progress - 3, 0, 1)
    )


def _stress(speech: Speech) -> Array:
    """Return how stressed each frame is, (T,), in [0, 1]: smoothed loudness over the sentence's top 20 dB."""
    return _smooth(np.clip(1 + speech.energy_db / 20, 0, 1) * (speech.f0_hz > 0), 8)


def _smooth(curve: Array, frames: int) -> Array:
    """Smooth a curve, (T,), with a Hann window of about `frames` frames."""
    window = np.hanning(frames + 3)
    padded = np.pad(curve, len(window) // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")[: len(curve)]


def _frequencies(speech: Speech) -> Array:
    """Return the centre of each of the F bins, Hz."""
    return np.linspace(0, speech.sample_rate / 2, speech.log_envelope.shape[1])


def _tilt(speech: Speech, tilt_db: float) -> Array:
    """Return the change of the log power spectrum, (F,), around 1 kHz, from 100 Hz to 5 kHz."""
    octaves = np.log2(np.clip(_frequencies(speech), 100.0, 5000.0) / 1000.0)
    return _LOG_PER_DB * tilt_db * octaves


def _breathe(speech: Speech, aperiodicity: Array, breath: float) -> Array:
    """Add noise, or take it away, from 500 Hz upwards and fully above 4 kHz."""
    reach = np.clip(np.log2(np.maximum(_frequencies(speech), 1.0) / 500.0) / 3.0, 0, 1)
    if breath >= 0:
        return aperiodicity + np.minimum(breath, 0.9) * reach * (1 - aperiodicity)
    return aperiodicity * (1 + np.maximum(breath, -0.9) * reach)
