"""How predicted changes are carried out on speech: pitch, envelope, noise and timing.

Sixth stage of `emolib.prosody`, between what is learned (`pairs`) and who learns it (`transform`). A change
has the columns of `pairs.frame_changes`.

References
----------
Variance that regression takes away: T. Toda, A. W. Black, K. Tokuda (2007), "Voice conversion based on
maximum-likelihood estimation of spectral parameter trajectory", IEEE TASLP 15(8),
doi:10.1109/TASL.2007.907344.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from emolib.prosody.features import (
    N_BANDS,
    N_NOISE,
    SILENCE,
    STATISTICS,
    Contours,
    band_spread,
    liveliness,
    relative_energy,
    relative_pitch,
    roughness,
    statistics,
)
from emolib.world import Speech

Array = NDArray[np.float64]

#: Columns of a change.
PITCH, ENERGY, RATE = 0, 1, 2
BANDS, NOISE = slice(3, 3 + N_BANDS), slice(3 + N_BANDS, 3 + N_BANDS + N_NOISE)
N_CHANGES = 3 + N_BANDS + N_NOISE
_STRETCH = 3.0  # a frame becomes at most three times as long or as short
_F0_HZ = (62.0, 700.0)  # what is rendered can be analysed again
_MEAN_F0_HZ = (70.0, 450.0)  # no voice is moved beyond, but one that is there already may stay


class Change(NamedTuple):
    """What is asked of speech of T frames.

    Attributes
    ----------
    utterance : float64 array, (40,); of `features.STATISTICS`, then of the liveliness of 32 bands
    frames : float64 array, (T, 40); columns as of `pairs.frame_changes`
    """

    utterance: Array
    frames: Array

    def times(self, delta: float) -> "Change":
        """Return a change that many times as large."""
        return Change(delta * self.utterance, delta * self.frames)


def carry_out(speech: Speech, c: Contours, asked: Change) -> tuple[Speech, Array]:
    """Return changed speech, and the source position, in frames, of each of its frames.

    Parameters
    ----------
    speech : Speech, T frames; c : Contours, its own
    asked : Change
    """
    shift = dict(zip(STATISTICS, asked.utterance.tolist(), strict=False))
    shift["log_f0"] = _within_voice(float(statistics(c)[0]), shift["log_f0"])
    log_f0 = pitch(c, asked.frames[:, PITCH], shift)
    log_envelope = envelope(speech, c, asked.frames, shift, asked.utterance[len(STATISTICS) :])
    at = positions(len(c.voiced), asked.frames[:, RATE], shift["log_duration"])
    nearest = np.round(at).astype(int)
    f0_hz = np.exp(np.interp(at, np.arange(len(log_f0)), log_f0)).clip(*_F0_HZ) * c.voiced[nearest]
    noise = aperiodicity(speech, asked.frames[:, NOISE])
    return Speech(f0_hz, log_envelope[nearest], noise[nearest], speech.sample_rate), at


def pitch(c: Contours, change: Array, shift: dict[str, float]) -> Array:
    """Return the new log F0, (T,): its shape first, then its spread and mean, then its jitter."""
    mean, log_spread = statistics(c)[:2]
    rough = roughness(c.log_f0)
    before = relative_pitch(c) - rough / np.exp(log_spread)
    after = before + change
    after = (after - after[c.voiced].mean()) * before[c.voiced].std() / max(after[c.voiced].std(), 1e-3)
    smooth_part = (
        mean + shift["log_f0"] + np.exp(log_spread + shift["log_spread"]) * (after + before[c.voiced].mean())
    )
    return smooth_part + rough * np.exp(shift["log_jitter"])


def envelope(speech: Speech, c: Contours, change: Array, shift: dict[str, float], livelier: Array) -> Array:
    """Return the new log envelope, (T, F): its shape, then the power of each frame, then its shimmer."""
    change = change.copy()
    change[:, BANDS] += _restored(c, change[:, BANDS], livelier)
    spread = band_spread(speech.sample_rate, speech.log_envelope.shape[1], N_BANDS)
    shaped = speech.log_envelope + change[:, BANDS] @ spread
    rough = roughness(c.energy) * c.voiced
    energy = c.energy + change[:, ENERGY] + shift["level"] + rough * (np.exp(shift["log_shimmer"]) - 1)
    return shaped + (energy - np.log(np.exp(shaped).mean(axis=1)))[:, None]


def _restored(c: Contours, change: Array, livelier: Array) -> Array:
    """Return what gives changed bands, (T, B), the variance that the target has and a regression takes away.

    It costs a part of what the regression gains in distance, and wins far more in being recognised.
    """
    bands = c.bands + change
    middle, now = bands[c.voiced].mean(axis=0), liveliness(c._replace(bands=bands))
    spoken = relative_energy(c) > SILENCE
    return (bands - middle) * (np.exp(liveliness(c) + livelier - now) - 1) * spoken[:, None]


def aperiodicity(speech: Speech, change: Array) -> Array:
    """Return the new aperiodicity, (T, F)."""
    spread = band_spread(speech.sample_rate, speech.aperiodicity.shape[1], N_NOISE)
    return expit(logit(np.clip(speech.aperiodicity, 1e-3, 1 - 1e-9)) + change @ spread)


def positions(n_frames: int, change: Array, log_duration: float) -> Array:
    """Return the source position, in frames, of each frame of the stretched utterance."""
    stretch = np.exp(np.clip(change + log_duration, -np.log(_STRETCH), np.log(_STRETCH)))
    stretch *= np.exp(np.clip(log_duration, -np.log(_STRETCH), np.log(_STRETCH))) / stretch.mean()
    ends = np.cumsum(stretch)
    return np.interp(np.arange(max(round(ends[-1]), 2)) + 0.5, ends - stretch / 2, np.arange(n_frames))


def _within_voice(mean: float, shift: float) -> float:
    """Return the shift of mean log F0 that stays within what voices do."""
    low, high = np.log(_MEAN_F0_HZ)
    return float(np.clip(mean + shift, min(mean, low), max(mean, high)) - mean)
