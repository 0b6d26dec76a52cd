"""What steering does to speech: what a judge hears, and what is left of the voice and of the words.

Beside the stages of `emolib.steering`, for whoever tests a steerer. Voice and words are measured without the
judge, the encoder or WORLD.

References
----------
Agreement of units stands in for phone posteriors, which need a phone recogniser: units from k-means on short
frames follow phones, W.-N. Hsu et al. (2021), "HuBERT", arXiv:2106.07447. Whitening a voice by the variation
within speakers: A. O. Hatch, S. Kajarekar, A. Stolcke (2006), "Within-class covariance normalization for
SVM-based speaker recognition", Interspeech. Correlation of short-time envelopes: C. H. Taal, R. C. Hendriks,
R. Heusdens, J. Jensen (2011), "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy
Speech", IEEE TASLP 19(7), doi:10.1109/TASL.2011.2114881.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from emolib import audio, prosody, quality, threads
from emolib.audio import Wave
from emolib.prosody import Distance
from emolib.prosody.pairs import path
from emolib.ser import Judge
from emolib.steering.base import Steerer

Render = Callable[[float], Wave]

_N_ENVELOPES = 16  # of five mel bands each: about as many as STOI's thirds of an octave
_SEGMENT = 33  # mel frames: 384 ms, as STOI's


def respond(renders: Sequence[Render], sample_rate: int, judge: Judge, deltas: Sequence[float]) -> NDArray:
    """Return what a judge hears at each delta.

    Parameters
    ----------
    renders : sequence of N functions from delta to wave
    sample_rate : int, Hz; of all waves
    judge : Judge
    deltas : sequence of K floats

    Returns
    -------
    probabilities : float64 array, (N, K, C)
    """

    def hear(render: Render) -> NDArray:
        return judge.predict_proba([render(delta) for delta in deltas], sample_rate)

    return np.stack(threads.each(hear, renders))


def trends(deltas: ArrayLike, values: ArrayLike) -> pd.DataFrame:
    """Return how a measure follows delta on each clip.

    Parameters
    ----------
    deltas : array-like, (K,)
    values : array-like, (N, K)

    Returns
    -------
    table : DataFrame, N rows: spearman, the rank correlation with delta (0 where nothing changes), and slope,
        the change for each unit of delta by least squares
    """
    x, y = np.asarray(deltas, np.float64), np.asarray(values, np.float64)
    ranks = [float(spearmanr(x, row).statistic) if np.ptp(row) > 0 else 0.0 for row in y]
    return pd.DataFrame({"spearman": ranks, "slope": np.polyfit(x, y.T, 1)[0]})


def word_agreement(reference: Wave, wave: Wave, sample_rate: int) -> float:
    """Return how far a rendition of other timing still says what the reference says: up to 1, equal words.

    Notes
    -----
    STOI on aligned time: both log-mel-spectrograms, speech frames alone, are aligned by dynamic time warping
    of their cepstra without the clip's mean; magnitudes of 16 bands of the wave are brought to the
    reference's time; each band's course over 384 ms is correlated with the reference's, and all
    correlations are averaged. Alignment finds likeness in any two sentences: hold a value against that of
    another sentence.

    Raises
    ------
    ValueError
        If there are fewer than 384 ms of speech in either.
    """
    log_mels = [audio.log_mel(clip, sample_rate) for clip in (reference, wave)]
    kept = [log_mel[quality.speech_frames(log_mel)] for log_mel in log_mels]
    if min(map(len, kept)) < _SEGMENT:
        raise ValueError(f"{min(map(len, kept))} frames of speech; expected at least {_SEGMENT}, or 384 ms")
    views = [quality.cepstra(log_mel) for log_mel in kept]
    at, of = path(*(view - view.mean(axis=0) for view in views))
    heard = [
        np.exp(log_mel, dtype=np.float64).reshape(len(log_mel), _N_ENVELOPES, -1).sum(axis=2)
        for log_mel in kept
    ]
    counts = np.bincount(at, minlength=len(kept[0]))
    moved = np.stack([np.bincount(at, band[of], len(counts)) / counts for band in heard[1].T], axis=1)
    return float(
        np.mean([_correlation(*pair) for pair in zip(*map(_segments, (heard[0], moved)), strict=True)])
    )


def _segments(envelopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every stretch of 384 ms of envelopes, (T, B): (T - 32, B, 33)."""
    return np.lib.stride_tricks.sliding_window_view(envelopes, _SEGMENT, axis=0)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the mean over bands of the correlation over time, both (B, T)."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(size, 1e-12)).mean())


def there_and_back(steerer: Steerer, wave: Wave, sample_rate: int) -> Distance:
    """Return how far a clip is from itself, steered by -1 and what comes out by 1."""
    home = steerer.steer(steerer.steer(wave, sample_rate, -1.0), sample_rate, 1.0)
    return prosody.distance(prosody.track(wave, sample_rate), prosody.track(home, sample_rate))


@dataclass(frozen=True)
class Ears:
    """What tells voices and sounds apart, learned from natural speech.

    Attributes
    ----------
    mean, spread : float64 arrays, (24,); of all clips' mean cepstra, and their deviation within speakers
    units : float64 array, (K, 24); cluster centres of cepstral frames, each clip's mean taken out
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    units: NDArray[np.float64]

    def voice_similarity(self, a: Wave, b: Wave, sample_rate: int) -> float:
        """Return the cosine similarity of two clips' voices: mean cepstra, whitened within speakers."""
        x, y = ((_spoken(wave, sample_rate).mean(0) - self.mean) / self.spread for wave in (a, b))
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))

    def unit_agreement(self, reference: Wave, wave: Wave, sample_rate: int) -> float:
        """Return the share of the reference's speech frames that fall on the same unit in an aligned wave."""
        log_mels = [audio.log_mel(clip, sample_rate) for clip in (reference, wave)]
        spoken = quality.speech_frames(log_mels[0])
        units = [self._nearest(quality.cepstra(log_mel)[spoken]) for log_mel in log_mels]
        return float((units[0] == units[1]).mean())

    def _nearest(self, frames: NDArray[np.float64]) -> NDArray[np.intp]:
        centred = frames - frames.mean(0)
        return np.asarray((np.square(self.units).sum(1) - 2 * centred @ self.units.T).argmin(1))


def fit_ears(
    waves: Sequence[Wave], sample_rate: int, speakers: ArrayLike, *, n_units: int = 50, seed: int = 0
) -> Ears:
    """Learn voices and units from natural clips of several speakers.

    Parameters
    ----------
    waves : sequence of N float32 arrays, (S,)
    sample_rate : int, Hz
    speakers : array-like of str, (N,)
    n_units : int
        About as many as a language has phones.
    seed : int

    Raises
    ------
    ValueError
        If there are not as many speakers as waves.
    """
    from sklearn.cluster import MiniBatchKMeans

    who = np.asarray(speakers)
    if not len(waves) == len(who) > 0:
        raise ValueError(f"{len(waves)} waves of {len(who)} speakers; expected a speaker for each wave")
    frames = [_spoken(wave, sample_rate) for wave in waves]
    means = np.stack([clip.mean(0) for clip in frames])
    own = np.stack([means[who == speaker].mean(0) for speaker in who])
    centred = np.concatenate([clip - clip.mean(0) for clip in frames])
    units = MiniBatchKMeans(n_units, random_state=seed, n_init=1, batch_size=2048).fit(centred)
    return Ears(means.mean(0), (means - own).std(0) + 1e-6, np.asarray(units.cluster_centers_))


def _spoken(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Return the mel-cepstra of a clip's speech frames, (T, 24), its level left out."""
    log_mel = audio.log_mel(wave, sample_rate)
    return quality.cepstra(log_mel)[quality.speech_frames(log_mel)]
