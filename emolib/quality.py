"""How a recording was made, and how close a wave comes to its reference.

Four measures of vocoders and of whatever feeds them take the reference first, the wave under test second,
both mono at one sampling rate and aligned; the longer one is cut to the shorter, as vocoders give whole
frames. Level counts in all but STOI and PESQ.

References
----------
PESQ: ITU-T P.862 (2001) and P.862.2 (2007, wide band). STOI: C. H. Taal, R. C. Hendriks, R. Heusdens,
J. Jensen (2011), "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", IEEE
TASLP 19(7), doi:10.1109/TASL.2011.2114881.
Mel-cepstral distortion: R. F. Kubichek (1993), "Mel-cepstral distance measure for objective speech quality
assessment", IEEE PacRim. Log-mel L1: the validation error of J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN",
arXiv:2010.05646.
"""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dct

from emolib import audio, threads
from emolib.audio import Wave

#: PESQ's wide-band mode is defined at this rate.
_PESQ_RATE = 16_000
_LONGEST_DIFFERENCE_S = 0.1  # a last, unfinished frame or two; more means that the waves aren't aligned
_SPEECH_RANGE_DB = 40.0


def pesq(reference: Wave, degraded: Wave, sample_rate: int) -> float:
    """Return the wide-band perceptual evaluation of speech quality, a MOS from 1.04 (bad) to 4.64 (equal).

    Parameters
    ----------
    reference, degraded : float32 arrays, (S,)
    sample_rate : int, Hz; both are resampled to 16 kHz

    Raises
    ------
    ValueError
        If the lengths differ by more than 0.1 s, a wave holds NaN or silence, or no utterance of a quarter
        of a second is found in the reference.
    """
    from pesq import NoUtterancesError, PesqError
    from pesq import pesq as measure

    reference, degraded = (
        audio.resample(wave, sample_rate, _PESQ_RATE) for wave in _aligned(reference, degraded, sample_rate)
    )
    quieter = min(float(np.abs(wave).max()) for wave in (reference, degraded))
    if quieter < audio.SILENCE_PEAK:
        raise ValueError(f"PESQ can't rate silence (peak {quieter:.1e}); give it two waves with speech")
    try:
        return float(measure(_PESQ_RATE, reference, degraded, "wb"))
    except (NoUtterancesError, PesqError) as error:
        raise ValueError(
            f"PESQ finds no utterance in a clip of {len(reference) / _PESQ_RATE:.2f} s ({error!r}); give it "
            f"speech of at least 0.25 s that isn't silent"
        ) from None


def stoi(reference: Wave, degraded: Wave, sample_rate: int) -> float:
    """Return the short-time objective intelligibility, near 0 (none) to 1 (equal).

    Parameters
    ----------
    reference, degraded : float32 arrays, (S,)
    sample_rate : int, Hz; both are resampled to 10 kHz

    Raises
    ------
    ValueError
        If the lengths differ by more than 0.1 s, a wave holds NaN, or fewer than 0.4 s are louder than 40 dB
        below the loudest.
    """
    from pystoi import stoi as measure

    reference, degraded = _aligned(reference, degraded, sample_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(measure(reference, degraded, sample_rate))
        except RuntimeWarning:
            raise ValueError(
                f"STOI needs 0.4 s of speech and finds less in a clip of {len(reference) / sample_rate:.2f} "
                f"s; give it a longer one"
            ) from None


def mel_cepstral_distortion(reference: Wave, degraded: Wave, sample_rate: int, *, order: int = 24) -> float:
    """Return the mel-cepstral distortion in dB; 0 where the spectral envelopes agree.

    Parameters
    ----------
    reference, degraded : float32 arrays, (S,)
    sample_rate : int, Hz
    order : int
        Cepstral coefficients 1 to `order` are compared; 24 are customary. Coefficient 0, the level, is not.

    Notes
    -----
    With c the `cepstra` of both, MCD = 10 / ln 10 * sqrt(2 * sum over m of (c_m - c'_m)^2), averaged over the
    frames whose level in the reference is within 40 dB of its loudest frame. Frames are compared in place:
    nothing is warped in time.
    """
    target, given = _log_mels(reference, degraded, sample_rate)
    difference = cepstra(target, order) - cepstra(given, order)
    distortion = 10 / np.log(10) * np.sqrt(2 * np.square(difference).sum(axis=1))
    return float(distortion[speech_frames(target)].mean())


def log_mel_l1(reference: Wave, degraded: Wave, sample_rate: int) -> float:
    """Return the mean absolute difference of the log-mel-spectrograms (natural logarithm), silence included.

    Parameters
    ----------
    reference, degraded : float32 arrays, (S,)
    sample_rate : int, Hz
    """
    target, given = _log_mels(reference, degraded, sample_rate)
    return float(np.abs(target.astype(np.float64) - given).mean())


def cepstra(log_mel: NDArray[np.float32], order: int = 24) -> NDArray[np.float64]:
    """Return the mel-cepstral coefficients 1 to `order` of a log-mel-spectrogram: (T, M) to (T, order).

    Notes
    -----
    c_m = 2 / M * sum over bands k of log|S_k| cos(pi m (k + 1/2) / M): as in a mel-generalised cepstrum, the
    log magnitude is the sum of c_m cos(m w).
    """
    log_mel = np.asarray(log_mel, np.float64)
    n_mels = log_mel.shape[1]
    if not 1 <= order < n_mels:
        raise ValueError(f"order {order} for {n_mels} mel bands; expected from 1 to {n_mels - 1}")
    return dct(log_mel, type=2, axis=1)[:, 1 : order + 1] / n_mels


def speech_frames(log_mel: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames of a log-mel-spectrogram, (T, M), are within 40 dB of the loudest: (T,)."""
    level_db = 10 * np.log10(np.exp(2 * np.asarray(log_mel, np.float64)).sum(axis=1))
    return level_db >= level_db.max() - _SPEECH_RANGE_DB


def _log_mels(reference: Wave, degraded: Wave, sample_rate: int) -> list[NDArray[np.float32]]:
    return [audio.log_mel(wave, sample_rate) for wave in _aligned(reference, degraded, sample_rate)]


def _aligned(reference: Wave, degraded: Wave, sample_rate: int) -> tuple[Wave, Wave]:
    """Cut two waves to the length of the shorter."""
    reference, degraded = np.asarray(reference, np.float32), np.asarray(degraded, np.float32)
    for name, wave in (("reference", reference), ("wave under test", degraded)):
        if wave.ndim != 1 or wave.size == 0:
            raise ValueError(f"the {name} has shape {wave.shape}; expected one channel with samples, (S,)")
        if not np.isfinite(wave).all():
            raise ValueError(f"the {name} holds NaN or infinite samples; expected finite ones")
    if sample_rate <= 0:
        raise ValueError(f"sampling rate {sample_rate} Hz; expected a positive number")
    difference_s = abs(len(reference) - len(degraded)) / sample_rate
    if difference_s > _LONGEST_DIFFERENCE_S:
        raise ValueError(
            f"the waves differ by {difference_s:.2f} s in length; expected aligned waves, at most "
            f"{_LONGEST_DIFFERENCE_S} s apart: align them first"
        )
    n = min(len(reference), len(degraded))
    return reference[:n], degraded[:n]


# ----------------------------------------------------------------------------- how a recording was made


def recording(wave: Wave, sample_rate: int) -> dict[str, float]:
    """Measure how a clip was recorded and cut, not how anything was said.

    Returns
    -------
    measures : dict of float
        `duration_s`; `padding_s`, how long its last samples are exactly zero; `level_db`, its root mean
        square re full scale; `clipped`, the share of samples at full scale in runs of three or more;
        `silent`, the share of 10 ms frames more than 40 dB below the loudest; `snr_db`, the distance of the
        95th from the 5th percentile of frame levels, frames of zeros apart.
    """
    frame = max(1, round(0.01 * sample_rate))
    frames = np.resize(wave, (max(1, len(wave) // frame), frame)).astype(np.float64)
    power_db = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-20)
    present = power_db[power_db > -190]
    low, high = np.percentile(present, [5, 95]) if present.size else (0.0, 0.0)
    full = (np.abs(wave) >= 0.999).astype(int)
    return {
        "duration_s": len(wave) / sample_rate,
        "padding_s": audio.trailing_zeros(wave) / sample_rate,
        "level_db": audio.rms_dbfs(wave),
        "clipped": float((np.convolve(full, np.ones(3), "same") == 3).mean()),
        "silent": float((power_db < power_db.max() - _SPEECH_RANGE_DB).mean()),
        "snr_db": high - low,
    }


def recordings(manifest: pd.DataFrame) -> pd.DataFrame:
    """Measure how each clip of a manifest was recorded: a row a clip, the columns those of `recording`."""
    rows = threads.each(lambda row: recording(*audio.load_clip(row)), manifest.to_dict("records"))
    return pd.DataFrame(rows, index=pd.Index(manifest["clip"], name="clip"))
