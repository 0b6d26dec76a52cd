"""What the encoder learns to predict: sound units, acoustics and expression, and the measures beneath them.

A wave becomes `Frames`, one row for each frame of a wav2vec 2.0 front end (25 ms every 20 ms at 16 kHz), with
timbre, pitch, loudness and voice quality; frames become functionals, one vector per clip, much as in eGeMAPS.
Targets are relative to the speaker, so `speaker` is read from the manifest; emotion labels never are.

- units: k-means clusters of MFCCs and their deltas, without the speaker's mean, one a frame, as in HuBERT's
  first round; predicted where the frame is masked
- acoustics: pitch, voicing, energy and voice quality relative to the speaker, then pitch, MFCCs, their
  changes and voice quality as they are, 41 values a frame, to be regressed
- expression: functionals over the whole clip, relative to the speaker and as they are, to be regressed, and
  k-means clusters of the relative ones

References
----------
W.-N. Hsu et al. (2021), "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of
Hidden Units", arXiv:2106.07447. M. Ravanelli et al. (2020), "Multi-task self-supervised learning for Robust
Speech Recognition", arXiv:2001.09239 (PASE+: acoustics as targets). F. Eyben et al. (2016), "The Geneva
Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing", IEEE Transactions on
Affective Computing 7(2), 190-202. M. Morise, H. Kawahara, H. Katayose (2009), "Fast and reliable F0
estimation method based on the period extraction of vocal fold vibration of singing voice and speech", AES
35th International Conference (DIO). P. Boersma (1993), "Accurate short-term analysis of the fundamental
frequency and the harmonics-to-noise ratio of a sampled sound", Proceedings of the Institute of Phonetic
Sciences 17, 97-110.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.signal import find_peaks
from sklearn.cluster import MiniBatchKMeans

from emolib import files
from emolib.audio import MelSpec, Wave, mel_filters
from emolib.world import pitch

if TYPE_CHECKING:
    from .recipe import Settings

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
    n, later = n_frames(len(wave)), wave[WINDOW // 2 :]  # it then starts at the first frame's centre
    every_20_ms = pitch(later, SAMPLE_RATE, low_hz=_LOWEST_HZ, high_hz=650.0)[::4][:n]
    return np.pad(every_20_ms, (0, n - len(every_20_ms))).astype(np.float32)


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
    shares = [power[(hz >= a) & (hz < b)].sum() / total for a, b in pairwise((0.8, 2, 4, 8, 16))]
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


# ------------------------------------------------------------------------------------- targets


N_ACOUSTICS = 9 + (N_MFCC - 1) + N_MFCC + len(VOICE)
PITCH = 8  # the column of pitch itself, which a change of speed moves
PITCH_SCALE_ST = 6.0
_MIDDLE_ST = 12 * np.log2(180.0)  # between women's and men's voices, semitones above 1 Hz
_CLIP = 4.0  # standard deviations beyond which a target says no more
_FIT_ROWS = 100_000  # frames that k-means sees
_PCA = 30  # at most so many components of the functionals are clustered


class Targets(NamedTuple):
    """Targets of N clips whose frames follow one another, T frames in all.

    Attributes
    ----------
    starts : int64 array, (N + 1,); clip n has the frames starts[n] to starts[n + 1]
    units : int64 array, (T,), in [0, K)
    acoustics : float32 array, (T, A = 41), about unit scale, in [-4, 4]
    known : bool array, (T, 41); False where a value doesn't exist, as pitch where unvoiced
    expression : float32 array, (N, E), unit variance, in [-4, 4]
    expression_units : int64 array, (N,)
    """

    starts: NDArray[np.int64]
    units: NDArray[np.int64]
    acoustics: Array
    known: NDArray[np.bool_]
    expression: Array
    expression_units: NDArray[np.int64]

    def save(self, path: Path, identity: str) -> None:
        """Write the targets as safetensors, and what they were made from beside them."""
        tensors = {name: np.ascontiguousarray(value) for name, value in self._asdict().items()}
        files.write_file(path, save(tensors, {"identity": identity}))

    @classmethod
    def load(cls, path: Path) -> "tuple[str, Targets]":
        """Read the identity and the targets that `save` wrote; raise ValueError if the file is damaged."""
        with files.open_tensors(path, framework="np") as file:
            return file.metadata()["identity"], cls(**{name: file.get_tensor(name) for name in cls._fields})


def make_targets(clips: list[Frames], functionals: Array, voices: list[str], settings: "Settings") -> Targets:
    """Turn the measures of N clips into targets.

    Parameters
    ----------
    clips : sequence of N Frames
    functionals : float32 array, (N, E)
    voices : sequence of N str
        Whose clip it is.
    settings : Settings
        Numbers of clusters of frames and of clips, and the seed.

    Raises
    ------
    ValueError
        If there are more units than frames, or more expression units than clips.
    """
    starts = np.cumsum([0] + [len(frames.f0_hz) for frames in clips])
    sizes = (settings.n_units, starts[-1], "frames"), (settings.n_expression_units, len(clips), "clips")
    for k, n, what in sizes:
        if k > n:
            raise ValueError(
                f"a vocabulary of {k} units for {n} {what}; it can't be larger: lower it or add speech"
            )
    owner = np.unique(np.asarray(voices), return_inverse=True)[1]
    mfcc = np.concatenate([frames.mfcc for frames in clips])
    sound, sound_known = _sound(clips)
    mfcc = mfcc - _means(mfcc, np.repeat(owner, np.diff(starts)))
    cepstra = np.concatenate([_with_deltas(mfcc[a:b]) for a, b in pairwise(starts)])
    pairs = [_prosody(clip, *typical) for clip, typical in zip(clips, _typical(clips, owner), strict=True)]
    prosody, prosody_known = map(np.concatenate, zip(*pairs, strict=True))
    relative = functionals - _means(functionals, owner)
    expression = np.column_stack([relative, functionals - functionals.mean(axis=0)])
    expression = np.clip(expression / (expression.std(axis=0) + 1e-6), -_CLIP, _CLIP)
    relative = expression[:, : relative.shape[1]]
    axes = np.linalg.svd(relative, full_matrices=False)[2]
    return Targets(
        starts=starts,
        units=_cluster(cepstra / (cepstra.std(axis=0) + 1e-6), settings.n_units, settings.seed),
        acoustics=np.column_stack([prosody, sound]).astype(np.float32),
        known=np.column_stack([prosody_known, sound_known]),
        expression=expression.astype(np.float32),
        expression_units=_cluster(relative @ axes[:_PCA].T, settings.n_expression_units, settings.seed),
    )


def _means(rows: Array, owner: NDArray[np.int64]) -> Array:
    """Return, for each row, the mean of its owner's rows."""
    sums = np.zeros((owner.max() + 1, rows.shape[1]))
    np.add.at(sums, owner, rows)
    return (sums / np.bincount(owner)[:, None])[owner].astype(np.float32)


def _with_deltas(mfcc: Array) -> NDArray:
    """Append first and second time derivatives over five frames: (T, 13) to (T, 39)."""

    def delta(x: NDArray) -> NDArray:
        padded = np.pad(x, ((2, 2), (0, 0)), mode="edge")
        return (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10

    first = delta(mfcc)
    return np.concatenate([mfcc, first, delta(first)], axis=1)


def _typical(clips: Sequence[Frames], owner: NDArray[np.int64]) -> list[tuple[float, NDArray]]:
    """Return, for each clip, its speaker's median pitch (semitones) and mean voice quality, (7,)."""
    habits = [(0.0, np.zeros(len(VOICE)))] * (owner.max() + 1)  # of who is never voiced
    for voice in range(len(habits)):
        own = [clip for clip, of in zip(clips, owner, strict=True) if of == voice]
        f0_hz = np.concatenate([clip.f0_hz[clip.voiced] for clip in own])
        quality = np.concatenate([clip.voice[clip.voiced] for clip in own])
        if len(f0_hz):
            habits[voice] = float(np.median(12 * np.log2(f0_hz))), quality.mean(axis=0, dtype=np.float64)
    return [habits[voice] for voice in owner]


def _prosody(clip: Frames, pitch_st: float, quality: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return a clip's prosody relative to its speaker's habit, (T, 9), and where each value is known."""
    voiced, spoken, level = clip.voiced, clip.spoken, clip.energy_db - clip.peak_db
    absolute_st = 12 * np.log2(np.maximum(clip.f0_hz, 1))
    pitch = np.where(voiced, absolute_st - pitch_st, 0)
    alpha, _, slope, _, hnr, h1_h2, _ = (clip.voice - quality).T
    always, steady = np.ones_like(voiced), voiced & np.r_[False, voiced[:-1]]
    values, known = zip(
        (pitch / 4, voiced),
        (2 * voiced - 1, always),
        ((np.maximum(level, -50) + 15) / 12, always),
        (alpha / 6, spoken),
        (slope / 3, spoken),
        (hnr / 4, voiced),
        (h1_h2 / 6, voiced),
        (np.r_[0, np.diff(pitch)], steady),
        (np.where(voiced, absolute_st - _MIDDLE_ST, 0) / PITCH_SCALE_ST, voiced),
        strict=True,
    )
    return np.clip(np.stack(values, axis=1), -_CLIP, _CLIP), np.stack(known, axis=1)


def _sound(clips: Sequence[Frames]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return MFCCs, their changes and voice quality at unit variance, (T, 32), and where they are known."""
    spoken = np.concatenate([clip.spoken for clip in clips])
    voiced = np.concatenate([clip.voiced for clip in clips])
    mfcc = np.concatenate([_with_deltas(clip.mfcc)[:, 1 : 2 * N_MFCC] for clip in clips])  # without the level
    values = np.column_stack([mfcc, np.concatenate([clip.voice for clip in clips])])
    known = np.repeat(spoken[:, None], values.shape[1], axis=1)
    known[:, -2:] = voiced[:, None]  # differences between harmonics
    scaled = (values - values[spoken].mean(axis=0)) / (values[spoken].std(axis=0) + 1e-6)
    return np.clip(scaled, -_CLIP, _CLIP), known


def _cluster(rows: Array, k: int, seed: int) -> NDArray[np.int64]:
    """Assign rows to k clusters that k-means finds on a sample of them."""
    sample = np.random.default_rng(seed).permutation(len(rows))[:_FIT_ROWS]
    k_means = MiniBatchKMeans(k, batch_size=8192, n_init=3, random_state=seed).fit(rows[sample])
    return k_means.predict(rows).astype(np.int64)
