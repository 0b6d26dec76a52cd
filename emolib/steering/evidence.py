"""What steering does to speech: what a judge hears, and what is left of the voice and of the words.

Beside the stages of `emolib.steering`, for whoever tests a steerer. Voice and words are measured without the
judge, the encoder or WORLD.

References
----------
Agreement of units stands in for phone posteriors, which need a phone recogniser: units from k-means on short
frames follow phones, W.-N. Hsu et al. (2021), "HuBERT", arXiv:2106.07447. Whitening a voice by the variation
within speakers: A. O. Hatch, S. Kajarekar, A. Stolcke (2006), "Within-class covariance normalization for
SVM-based speaker recognition", Interspeech.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from emolib import audio, quality
from emolib.audio import Wave
from emolib.ser import Judge

Render = Callable[[float], Wave]


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
    heard = [judge.predict_proba([render(delta) for delta in deltas], sample_rate) for render in renders]
    return np.stack(heard)


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
