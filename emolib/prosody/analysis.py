"""From a recording to WORLD's parameters and back, and the features that a transform is learned from.

Where `world.analyse` takes the clean synthetic voices, this module meets recordings: rooms, creaky voices,
octave errors, stereo, any sampling rate, and clips without speech. Voicing is repaired, or a reason given why
a clip can't be used.

Features are contours per frame and statistics per utterance, in the logarithmic domain and independent of the
sampling rate: the envelope is averaged in mel bands up to 8 kHz, and its level is kept apart.

References
----------
M. Morise, F. Yokomori, K. Ozawa (2016), "WORLD", doi:10.1587/transinf.2015EDP7457 (DIO, StoneMask,
CheapTrick, D4C). Jitter and shimmer follow the period and amplitude perturbation of M. Farrús, J. Hernando,
P. Ejarque (2007), "Jitter and shimmer measurements for speaker recognition", Interspeech; here on frames of
5 ms, not on periods.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import binary_dilation, binary_opening, median_filter, uniform_filter1d
from scipy.signal import find_peaks
from scipy.special import logit

from emolib import audio, world
from emolib.audio import Wave, mel_bank
from emolib.world import HOP_MS, Array, Speech

F0_LIMITS_HZ = (60.0, 700.0)  # a low male creak, and a woman's fear
DURATION_LIMITS_S = (0.2, 120.0)  # shorter holds no contour; longer is no phrase, and much memory
F0_TOLERANCE = 0.2  # at DIO's own 0.1 half of the voiced frames of noisy recordings (CREMA-D) have no pitch
RATE_LIMITS_HZ = (16_000, 24_000)  # D4C needs its bands up to 8 kHz; above 12 kHz speech has little left
_LEAST_VOICED_S, _PERIODIC, _LEAST_PERIODIC = 0.05, 0.6, 0.05  # less is a whisper
_LEAST_REPEATED, _GATE_FRAMES = 0.1, 9  # median correlation of 45 ms with the next period; noise has none
_MARGIN_FRAMES = 4  # around a voiced stretch: 5 ms fade, and a pulse's response is short of 20 ms
_SHORT_FRAMES = 3  # 15 ms: neither a voiced sound nor a stop is shorter
_OCTAVE_ERROR = np.log(1.6)
_RUMBLE = (0.55, 0.85)  # shares of F0: all is removed below the first, nothing above the second
_RUMBLE_DEPTH = 3 * np.log(10)  # 30 dB
# -60 to 30 dB, of the clip's own noise: digital silence has none
_OWN_GAIN = -6 * np.log(10), 3 * np.log(10)


class Recording(NamedTuple):
    """An analysed clip, with all that `speech` lacks to give the clip back.

    Attributes
    ----------
    speech : Speech; the spoken span at `speech.sample_rate`
    head, tail : float32 arrays; what lies before and after the span, at `speech.sample_rate`
    wave : float32 array, (S,); the whole clip, mono, at its own rate
    sample_rate : int, Hz; the clip's own
    """

    speech: Speech
    head: Wave
    tail: Wave
    wave: Wave
    sample_rate: int


def record(
    wave: Wave, sample_rate: int, *, aperiodicity: bool = True, tolerance: float = F0_TOLERANCE
) -> Recording:
    """Check a clip and analyse it.

    Parameters
    ----------
    wave : float32 array, (S,) or (S, channels); channels are averaged
    sample_rate : int, Hz; any: the analysis runs at the nearest rate from 16 to 24 kHz
    aperiodicity : bool
        False leaves zeros in its place, in half the time, where only pitch and envelope are needed.
    tolerance : float
        As in `world.pitch`; with less, fewer frames are voiced, and these surely.

    Raises
    ------
    ValueError
        If the clip is shorter than 0.2 s or longer than 120 s, silent, holds NaN, or has hardly a voiced
        frame (a whisper).
    """
    clip, sample_rate = checked(wave, sample_rate), int(sample_rate)
    rate = int(np.clip(sample_rate, *RATE_LIMITS_HZ))
    samples = audio.resample(clip, sample_rate, rate)
    speech = decompose(samples, rate, aperiodicity=aperiodicity, tolerance=tolerance)
    first, last = speech.spoken_span()
    speech, hop = speech.between(first, last), HOP_MS * rate / 1000
    head, tail = samples[: round(first * hop)], samples[round(last * hop) :]
    least = max(_LEAST_VOICED_S * 1000 / HOP_MS, _LEAST_PERIODIC * (speech.f0_hz > 0).sum())
    # DIO finds a pitch in noise, too, which doesn't repeat itself
    if (_periodicity(samples[len(head) :], speech.f0_hz, rate) > _PERIODIC).sum() < least:
        raise ValueError(
            f"hardly a voiced frame in {len(clip) / sample_rate:.2f} s; expected speech with a pitch of "
            f"{F0_LIMITS_HZ[0]:.0f} to {F0_LIMITS_HZ[1]:.0f} Hz: a whisper has no contour to reshape"
        )
    return Recording(speech, head, tail, clip, sample_rate)


def checked(wave: Wave, sample_rate: float) -> Wave:
    """Return a clip of one speaker as mono float32, (S,); several channels, (S, channels), are averaged.

    Raises
    ------
    AudioError
        If it can be neither reshaped nor steered: it is shorter than 0.2 s or longer than 120 s, silent,
        holds NaN, or its sampling rate is no positive whole number.
    """
    samples = np.asarray(wave)
    if not sample_rate > 0 or sample_rate % 1:
        raise audio.AudioError(f"a sampling rate of {sample_rate} Hz; expected a positive whole number")
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise audio.AudioError(f"a wave of shape {samples.shape}; expected samples, (S,) or (S, channels)")
    if not np.isfinite(samples).all():
        raise audio.AudioError("the wave holds NaN or infinite samples; expected finite ones in [-1, 1]")
    clip, duration_s = audio.mono(samples.astype(np.float32)), len(samples) / sample_rate
    shortest, longest = DURATION_LIMITS_S
    if not shortest <= duration_s <= longest:
        raise audio.AudioError(
            f"a clip of {duration_s:.3g} s; expected at least {shortest} s of speech and at most "
            f"{longest:.0f} s: cut a longer recording into sentences"
        )
    audio.check_speech(clip, int(sample_rate), "the wave")
    return clip


def decompose(
    samples: Wave, sample_rate: int, *, aperiodicity: bool = True, tolerance: float = F0_TOLERANCE
) -> Speech:
    """Analyse a whole wave, silence included; its voicing is repaired before the envelope is estimated."""
    low, high = F0_LIMITS_HZ
    f0_hz = world.pitch(samples, sample_rate, low_hz=low, high_hz=high, tolerance=tolerance)
    repeats = _periodicity(samples, f0_hz, sample_rate)
    f0_hz = repair_voicing(np.where(median_filter(repeats, _GATE_FRAMES) > _LEAST_REPEATED, f0_hz, 0))
    # D4C's own estimate of voicing takes a loud, bright vowel for noise, so it is told what is voiced
    return world.decompose(samples, sample_rate, f0_hz, floor=1e-16, threshold=0.0, aperiodicity=aperiodicity)


def resynthesise(recording: Recording, speech: Speech) -> Wave:
    """Return reshaped speech between the clip's own head and tail, at the clip's own rate and level.

    Parameters
    ----------
    recording : Recording
    speech : Speech; the recording's own, or what a transform made of it

    Returns
    -------
    wave : float32 array; its length is the clip's where `speech` has as many frames as the clip's own span

    Notes
    -----
    What is voiced is WORLD's. What is unvoiced is the clip's own sound, moved in time and filtered to the
    envelope that is asked for; WORLD would make shaped white noise of it (docs/trial.md has what that cost).
    At both joins the clip's own sound fades into the reshaped over 5 ms, so that neither clicks.
    """
    rate, head, tail = speech.sample_rate, recording.head, recording.tail
    spoken = _voiced_sound(speech)
    clip = audio.resample(recording.wave, recording.sample_rate, rate)
    own = clip[len(head) : len(clip) - len(tail)]
    frames = np.arange(len(spoken)) * 1000 / HOP_MS / rate
    voiced = np.interp(frames, np.arange(len(speech.f0_hz)), uniform_filter1d((speech.f0_hz > 0) * 1.0, 3))
    moved = _moved(own, recording.speech, speech, len(spoken))
    spoken = (spoken * voiced + moved * (1 - voiced)).astype(np.float32)
    n = min(round(HOP_MS * rate / 1000), len(own) // 2, len(spoken) // 2)
    rise = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)).astype(np.float32) ** 2
    start, end = slice(0, n), len(spoken) - n
    spoken[start] = own[start] * (1 - rise) + spoken[start] * rise
    spoken[end:] = spoken[end:] * (1 - rise) + own[len(own) - n :] * rise
    return audio.resample(np.concatenate([head, spoken, tail]), rate, recording.sample_rate)


def _voiced_sound(speech: Speech) -> Wave:
    """Return WORLD's sound of the voiced stretches and 20 ms around each, zeros elsewhere.

    Most of WORLD's time goes to what is unvoiced, of which nothing would be kept. It lets other threads run.
    """
    hop = HOP_MS * speech.sample_rate / 1000
    made = np.zeros(round(len(speech.f0_hz) * hop), np.float32)
    kept = binary_dilation(speech.f0_hz > 0, iterations=_MARGIN_FRAMES)
    stretches = np.flatnonzero(np.diff(kept, prepend=False, append=False)).reshape(-1, 2)
    whole = _without_rumble(speech)
    with ThreadPoolExecutor(2) as pool:
        waves = pool.map(lambda ends: world.synthesise(whole.between(*ends)), stretches)
        for first, wave in zip(np.round(stretches[:, 0] * hop).astype(int), waves, strict=True):
            rest = made[first : first + len(wave)]
            rest[:] = wave[: len(rest)]
    return made


def _moved(own: Wave, analysed: Speech, speech: Speech, n_samples: int) -> Array:
    """Return a clip's own sound at the times of reshaped speech, filtered by what its envelope changed.

    Windowed pieces of 20 ms, one every 10 ms, are filtered without a change of phase. Where nothing was
    changed the clip comes back as it is. A periodic sound would keep its pitch, so this is for what has none.
    More overlap would cancel noise where pieces are moved against each other; this loses 1.2 dB at most.
    """
    hop, frames = HOP_MS * speech.sample_rate / 1000, np.arange(0, len(speech.f0_hz), 2)
    source = frames if speech.at is None else speech.at[::2]
    gain = speech.log_envelope[::2] - analysed.log_envelope[np.round(source).astype(int)]
    reach = np.arange(-round(2 * hop), round(2 * hop))
    window = np.cos(np.pi / 2 * reach / (reach[-1] + 1)) ** 2
    n_fft, margin = 2 * (gain.shape[1] - 1), 2 * gain.shape[1]
    padded = np.pad(own.astype(np.float64), margin)
    pieces = padded[margin + np.round(source * hop).astype(int)[:, None] + reach] * window
    spectrum = np.fft.rfft(pieces, n_fft) * np.exp(gain.clip(*_OWN_GAIN) / 2)
    # a filter without delay rings before a piece as well as after it: its end is wrapped to before its start
    filtered = np.roll(np.fft.irfft(spectrum, n_fft), (n_fft - len(reach)) // 2, axis=1)
    start = margin + np.round(frames * hop).astype(int) - n_fft // 2
    made, share = np.zeros(n_samples + 2 * margin + n_fft), np.full(n_samples + 2 * margin + n_fft, 1e-3)
    for k, first in enumerate(start):
        made[first : first + n_fft] += filtered[k]
        share[first + n_fft // 2 + reach] += window
    return (made / share)[margin : margin + n_samples]


def _without_rumble(speech: Speech) -> Speech:
    """Remove what lies below the fundamental, or where unvoiced, below that of the neighbours.

    An envelope that is smoothed over the width of F0 reaches down to 0 Hz, and the noise in it sounds like a
    rumble that no voice makes: in fearful voices, whose F0 is high, it hid the emotion from a classifier.
    """
    frames, voiced = np.arange(len(speech.f0_hz)), speech.f0_hz > 0
    if not voiced.any():
        return speech
    fundamental = np.interp(frames, frames[voiced], speech.f0_hz[voiced])
    hertz = np.linspace(0, speech.sample_rate / 2, speech.log_envelope.shape[1])
    low, high = _RUMBLE
    passed = np.clip((hertz / fundamental[:, None] - low) / (high - low), 0, 1)
    return speech._replace(log_envelope=speech.log_envelope - _RUMBLE_DEPTH * (1 - passed))


def repair_voicing(f0_hz: Array) -> Array:
    """Repair an F0 contour, (T,), 0 where unvoiced.

    Gaps of up to 15 ms are bridged, and voiced islands as short are dropped. Octave errors (a factor beyond
    1.6 from the median of the quarter of a second around) are halved or doubled back, or bridged where
    neither helps.
    """
    voiced = _without_short_runs(~_without_short_runs(f0_hz == 0))
    known = np.flatnonzero(voiced & (f0_hz > 0))
    if len(known) == 0:
        return np.zeros_like(f0_hz)
    log_f0 = np.log(f0_hz[known])
    around = median_filter(log_f0, size=51, mode="nearest")
    for octave in (np.log(2), -np.log(2)):
        log_f0 = np.where(np.abs(log_f0 + octave - around) < 0.15, log_f0 + octave, log_f0)
    good = np.abs(log_f0 - around) < _OCTAVE_ERROR
    if not good.any():
        return np.zeros_like(f0_hz)
    bridged = np.interp(np.arange(len(f0_hz)), known[good], log_f0[good])
    return np.where(voiced, np.exp(bridged), 0.0)


def _without_short_runs(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Clear runs of up to `_SHORT_FRAMES` set flags, (T,), except those at either end."""
    width = _SHORT_FRAMES + 1
    padded = np.pad(flags, width, constant_values=True)
    return binary_opening(padded, np.ones(width))[width:-width]


def _periodicity(samples: Wave, f0_hz: Array, sample_rate: int) -> Array:
    """Return how like the next period 30 ms around each frame are, (T,): 1 for a tone, 0 where unvoiced."""
    found, voiced = np.zeros(len(f0_hz)), np.flatnonzero(f0_hz)
    if len(voiced) == 0:
        return found
    reach = np.arange(-round(0.015 * sample_rate), round(0.015 * sample_rate))
    lag = np.round(sample_rate / f0_hz[voiced]).astype(int)
    margin = len(reach) + int(lag.max())
    padded = np.pad(samples.astype(np.float64), margin)
    first = margin + np.round(voiced * HOP_MS / 1000 * sample_rate).astype(int) - lag // 2
    here, there = padded[first[:, None] + reach], padded[(first + lag)[:, None] + reach]
    energy = np.sqrt((here**2).sum(axis=1) * (there**2).sum(axis=1))
    found[voiced] = (here * there).sum(axis=1) / np.maximum(energy, 1e-12)
    return found


# ------------------------------------------------------------------------------------- features


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
    bands = in_bands(speech.log_envelope, speech.sample_rate, N_BANDS)
    noise = in_bands(logit(np.clip(speech.aperiodicity, 1e-3, 1 - 1e-3)), speech.sample_rate, N_NOISE)
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


def in_bands(spectrum: Array, sample_rate: int, n_bands: int) -> NDArray:
    """Average a spectrum, (T, F), in mel bands up to 8 kHz: (T, B)."""
    return spectrum @ _band_weights(sample_rate, spectrum.shape[1], n_bands)


@lru_cache(maxsize=16)
def _band_weights(sample_rate: int, n_bins: int, n_bands: int) -> Array:
    """Return the windows, (F, B), that average a log spectrum in mel bands up to 8 kHz; columns sum to 1."""
    top_hz = min(8_000.0, sample_rate / 2)
    bank = mel_bank(sample_rate, 2 * (n_bins - 1), n_bands, 0.0, top_hz, norm=None, dtype=np.float64)
    return bank.T / bank.sum(axis=1)


@lru_cache(maxsize=16)
def to_bins(sample_rate: int, n_bins: int, n_bands: int) -> Array:
    """Return the interpolation, (B, F), that carries a change in bands to the bins; the ends are held."""
    hertz = np.linspace(0, sample_rate / 2, n_bins)
    centres = band_centres(n_bands, min(8_000.0, sample_rate / 2))
    return np.stack([np.interp(hertz, centres, row) for row in np.eye(n_bands)])


def band_centres(n_bands: int, top_hz: float) -> Array:
    """Return the centres of mel bands from 0 Hz up, (B,), Hz."""
    return librosa.mel_frequencies(n_bands + 2, fmin=0.0, fmax=top_hz)[1:-1]


@lru_cache(maxsize=1)
def _slope() -> Array:
    """Return the weights, (B,), that measure a spectrum's slope per octave from 100 Hz to 7.6 kHz."""
    octaves = np.log2(band_centres(N_BANDS, 8_000.0) / 1000)
    octaves = octaves - octaves.mean()
    return octaves / (octaves @ octaves)
