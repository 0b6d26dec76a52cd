"""From a recording to WORLD's parameters, with its voicing repaired, and a reason where that can't be done.

First stage of `emolib.prosody`. Where `world.analyse` takes the clean voices of the embedded corpus apart,
this one meets recordings: rooms, creaks, octave errors, stereo, any rate, and speech that isn't there.

References
----------
M. Morise, F. Yokomori, K. Ozawa (2016), "WORLD", doi:10.1587/transinf.2015EDP7457 (DIO, StoneMask,
CheapTrick, D4C).
"""

from typing import NamedTuple

import numpy as np
import pyworld
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from emolib import audio, world
from emolib.audio import Wave
from emolib.world import HOP_MS, Speech

Array = NDArray[np.float64]

F0_LIMITS_HZ = (60.0, 700.0)  # a low male creak, and a woman's fear
DURATION_LIMITS_S = (0.2, 120.0)  # shorter holds no contour; longer is no phrase, and much memory
RATE_LIMITS_HZ = (16_000, 24_000)  # D4C needs its bands up to 8 kHz; above 12 kHz speech has little left
_RANGE_DB = 45.0
_LEAST_VOICED_S, _PERIODIC, _LEAST_PERIODIC = 0.05, 0.6, 0.05  # less is a whisper
_SHORT_FRAMES = 3  # 15 ms: neither a voiced sound nor a stop is shorter
_OCTAVE_ERROR = np.log(1.6)
_RUMBLE = (0.55, 0.85)  # shares of F0: all is taken out below the first, nothing above the second
_RUMBLE_DEPTH = 3 * np.log(10)  # 30 dB


class Recording(NamedTuple):
    """A clip taken apart; all that `speech` lacks to give the clip back.

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


def record(wave: Wave, sample_rate: int, *, aperiodicity: bool = True) -> Recording:
    """Check a clip and take it apart.

    Parameters
    ----------
    wave : float32 array, (S,) or (S, channels); channels are averaged
    sample_rate : int, Hz; any: the analysis runs at the nearest rate from 16 to 24 kHz
    aperiodicity : bool
        False leaves zeros in its place, for who reads pitch and envelope alone: half the time.

    Raises
    ------
    ValueError
        If the clip is shorter than 0.2 s or longer than 120 s, silent, holds NaN, or has hardly a voiced
        frame (a whisper).
    """
    clip = checked(wave, sample_rate)
    rate = int(np.clip(sample_rate, *RATE_LIMITS_HZ))
    samples = audio.resample(clip, sample_rate, rate)
    speech = decompose(samples, rate, aperiodicity=aperiodicity)
    first, last = spoken_span(speech)
    hop = HOP_MS * rate / 1000
    head, tail = samples[: round(first * hop)], samples[round(last * hop) :]
    speech = Speech(
        speech.f0_hz[first:last], speech.log_envelope[first:last], speech.aperiodicity[first:last], rate
    )
    if not _has_voice(samples[len(head) :], speech.f0_hz, rate):
        raise ValueError(
            f"hardly a voiced frame in {len(clip) / sample_rate:.2f} s; expected speech with a pitch of "
            f"{F0_LIMITS_HZ[0]:.0f} to {F0_LIMITS_HZ[1]:.0f} Hz: a whisper has no contour to reshape"
        )
    return Recording(speech, head, tail, clip, sample_rate)


def checked(wave: Wave, sample_rate: int) -> Wave:
    """Return a clip as mono float32, (S,), or raise ValueError with what keeps it from being reshaped."""
    samples = np.asarray(wave)
    if sample_rate <= 0:
        raise ValueError(f"sampling rate {sample_rate} Hz; expected a positive number")
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise ValueError(f"a wave of shape {samples.shape}; expected samples, (S,) or (S, channels)")
    if not np.isfinite(samples).all():
        raise ValueError("the wave holds NaN or infinite samples; expected finite ones")
    clip, duration_s = audio.mono(samples.astype(np.float32)), len(samples) / sample_rate
    shortest, longest = DURATION_LIMITS_S
    if duration_s < shortest:
        raise ValueError(f"a clip of {duration_s:.3f} s; expected at least {shortest} s of speech")
    if duration_s > longest:
        raise ValueError(
            f"a clip of {duration_s:.0f} s; expected at most {longest:.0f} s: cut it into phrases first"
        )
    audio.check_speech(clip, sample_rate, "the wave")
    return clip


def decompose(samples: Wave, sample_rate: int, *, aperiodicity: bool = True) -> Speech:
    """Take a whole wave apart, silence included; its voicing is repaired before the envelope is estimated."""
    x = samples.astype(np.float64)
    floor, ceiling = F0_LIMITS_HZ
    f0_hz, times = pyworld.dio(x, sample_rate, f0_floor=floor, f0_ceil=ceiling, frame_period=HOP_MS)
    f0_hz = repair_voicing(pyworld.stonemask(x, f0_hz, times, sample_rate))
    envelope = pyworld.cheaptrick(x, f0_hz, times, sample_rate)
    # D4C's own guess of voicing takes a loud, bright vowel for noise; it's told here what is voiced.
    noise = (
        pyworld.d4c(x, f0_hz, times, sample_rate, threshold=0.0) if aperiodicity else np.zeros_like(envelope)
    )
    return Speech(f0_hz, np.log(np.maximum(envelope, 1e-16)), noise, sample_rate)


def resynthesise(recording: Recording, speech: Speech) -> Wave:
    """Return reshaped speech between the clip's own head and tail, at the clip's own rate and level.

    Returns
    -------
    wave : float32 array; its length is the clip's where `speech` has as many frames as the clip's own span

    Notes
    -----
    At both joins the clip's own sound fades into the reshaped over 5 ms, so that neither clicks.
    """
    rate, head, tail = speech.sample_rate, recording.head, recording.tail
    spoken = world.synthesise(_without_rumble(speech))[: round(len(speech.f0_hz) * HOP_MS * rate / 1000)]
    clip = audio.resample(recording.wave, recording.sample_rate, rate)
    own = clip[len(head) : len(clip) - len(tail)]
    n = min(round(HOP_MS * rate / 1000), len(own) // 2, len(spoken) // 2)
    rise = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)).astype(np.float32) ** 2
    start, middle, end = spoken[:n], spoken[n : len(spoken) - n], spoken[len(spoken) - n :]
    start = own[:n] * (1 - rise) + start * rise
    end = end * (1 - rise) + own[len(own) - n :] * rise
    wave = np.concatenate([head, start, middle, end, tail])
    return audio.resample(wave, rate, recording.sample_rate)


def _without_rumble(speech: Speech) -> Speech:
    """Take out what lies below the fundamental, or where unvoiced, below that of the neighbours.

    An envelope that is smoothed over the width of F0 reaches down to 0 Hz, and the noise in it is heard as a
    rumble which no throat makes: in fearful voices, whose F0 is high, it hid the emotion from a judge.
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
    """Mend an F0 contour, (T,), 0 where unvoiced.

    Gaps of up to 15 ms are bridged, voiced islands as short are dropped, and octave errors (a factor beyond
    1.6 from the median of the quarter of a second around) are halved or doubled back, or bridged where
    neither helps.
    """
    voiced = f0_hz > 0
    voiced = ~_without_short_runs(~voiced) if voiced.any() else voiced
    voiced = _without_short_runs(voiced)
    known = np.flatnonzero(voiced & (f0_hz > 0))
    if len(known) == 0:
        return np.zeros_like(f0_hz)
    log_f0 = np.log(f0_hz[known])
    around = median_filter(log_f0, size=51, mode="nearest")
    for octave in (np.log(2), -np.log(2)):
        log_f0 = np.where(np.abs(log_f0 + octave - around) < 0.15, log_f0 + octave, log_f0)
    sound = np.abs(log_f0 - around) < _OCTAVE_ERROR
    if not sound.any():
        return np.zeros_like(f0_hz)
    bridged = np.interp(np.arange(len(f0_hz)), known[sound], log_f0[sound])
    return np.where(voiced, np.exp(bridged), 0.0)


def _without_short_runs(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Clear runs of up to `_SHORT_FRAMES` set flags, (T,), but those at either end."""
    edges = np.flatnonzero(np.diff(flags)) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, len(flags)]
    kept = flags.copy()
    for start, stop in zip(starts[1:-1], stops[1:-1], strict=True):
        if stop - start <= _SHORT_FRAMES:
            kept[start:stop] = False
    return kept


def _has_voice(samples: Wave, f0_hz: Array, sample_rate: int) -> bool:
    """Return whether enough of the voiced frames repeat themselves: DIO finds a pitch in noise, too."""
    voiced = np.flatnonzero(f0_hz)
    if len(voiced) == 0:
        return False
    repeats = periodicity(samples, voiced * HOP_MS / 1000, f0_hz[voiced], sample_rate) > _PERIODIC
    return bool(repeats.sum() * HOP_MS / 1000 >= _LEAST_VOICED_S and repeats.mean() >= _LEAST_PERIODIC)


def periodicity(samples: Wave, at_s: Array, f0_hz: Array, sample_rate: int) -> Array:
    """Return how like the next period 30 ms around each time are: (T,), a correlation, 1 for a tone."""
    reach = np.arange(-round(0.015 * sample_rate), round(0.015 * sample_rate))
    lag = np.round(sample_rate / f0_hz).astype(int)
    margin = len(reach) + int(lag.max())
    padded = np.pad(samples.astype(np.float64), margin)
    first = margin + np.round(at_s * sample_rate).astype(int) - lag // 2
    here, there = padded[first[:, None] + reach], padded[(first + lag)[:, None] + reach]
    energy = np.sqrt((here**2).sum(axis=1) * (there**2).sum(axis=1))
    return (here * there).sum(axis=1) / np.maximum(energy, 1e-12)


def spoken_span(speech: Speech) -> tuple[int, int]:
    """Return the first frame within 45 dB of the loudest, and the one after the last."""
    spoken = np.flatnonzero(speech.energy_db > -_RANGE_DB)
    return max(int(spoken[0]) - 2, 0), int(spoken[-1]) + 3
