"""What steering does to speech: a judge's answers along a direction, and what is left of voice and units.

The trial of conversion to every target is `emolib.steering.trial`; its names are here as well, for notebook
04.

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
from numpy.typing import ArrayLike, NDArray

from emolib import audio, prosody, quality, threads
from emolib.audio import Wave
from emolib.prosody import Distance
from emolib.ser import Judge
from emolib.steering import Steerer
from emolib.steering.trial import (
    DELTAS,
    RATE,
    WAYS,
    difference,
    gather,
    levels,
    ratio,
    run,
    summarise,
    trends,
    word_agreement,
)

__all__ = [
    "DELTAS",
    "RATE",
    "WAYS",
    "Measures",
    "difference",
    "fit_measures",
    "gather",
    "levels",
    "ratio",
    "respond",
    "run",
    "summarise",
    "there_and_back",
    "trends",
    "word_agreement",
]

Render = Callable[[float], Wave]


def respond(renders: Sequence[Render], sample_rate: int, judge: Judge, deltas: Sequence[float]) -> NDArray:
    """Return a judge's probabilities at each of K deltas, (N, K, C), of N functions from delta to wave."""

    def answer(render: Render) -> NDArray:
        return judge.predict_proba([render(delta) for delta in deltas], sample_rate)

    return np.stack(threads.each(answer, renders))


def there_and_back(steerer: Steerer, wave: Wave, sample_rate: int) -> Distance:
    """Return how far a clip is from itself when it is steered by -1 and the result by 1."""
    home = steerer.steer(steerer.steer(wave, sample_rate, -1.0), sample_rate, 1.0)
    return prosody.distance(prosody.track(wave, sample_rate), prosody.track(home, sample_rate))


@dataclass(frozen=True)
class Measures:
    """Measures of voices and sounds, learned from natural speech by `fit_measures`.

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
        """Return the share of the reference's speech frames that have the same unit in an aligned wave."""
        log_mels = [audio.log_mel(clip, sample_rate) for clip in (reference, wave)]
        spoken = quality.speech_frames(log_mels[0])
        units = [self._nearest(quality.cepstra(log_mel)[spoken]) for log_mel in log_mels]
        return float((units[0] == units[1]).mean())

    def _nearest(self, frames: NDArray[np.float64]) -> NDArray[np.intp]:
        centred = frames - frames.mean(0)
        return np.asarray((np.square(self.units).sum(1) - 2 * centred @ self.units.T).argmin(1))


def fit_measures(
    waves: Sequence[Wave], sample_rate: int, speakers: ArrayLike, *, n_units: int = 50, seed: int = 0
) -> Measures:
    """Learn voices and units from N natural clips of several speakers, (N,).

    There are about as many units as a language has phones. Raises ValueError unless there is a speaker for
    each wave.
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
    return Measures(means.mean(0), (means - own).std(0) + 1e-6, np.asarray(units.cluster_centers_))


def _spoken(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Return the mel-cepstra of a clip's speech frames, (T, 24), its level left out."""
    log_mel = audio.log_mel(wave, sample_rate)
    return quality.cepstra(log_mel)[quality.speech_frames(log_mel)]
