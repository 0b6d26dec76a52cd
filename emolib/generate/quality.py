"""How good generated clips are, and whether they are copies: distances between sets of features.

The features are the caller's, of any network that neither made the clips nor is trained on them. Intervals
are the bootstrap of `emolib.metrics`: over clips for generated ones, which are independent of one another,
and over speakers for real ones where speakers are given. Resampling repeats clips, which by itself raises a
distance and lowers a score, so intervals are moved back by the mean of that shift.

References
----------
FID: M. Heusel et al. (2017), arXiv:1706.08500. Inception Score: T. Salimans et al. (2016), arXiv:1606.03498.
Precision and recall: T. Kynkaanniemi et al. (2019), "Improved Precision and
Recall Metric for Assessing Generative Models", arXiv:1904.06991. Copying by the distance to the nearest
training clip: N. Carlini et al. (2023), "Extracting Training Data from Diffusion Models", arXiv:2301.13188.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from emolib.generate.mels import Mels, Normaliser
from emolib.metrics import Interval, draws, percentile_interval

Features = NDArray[np.float64]
#: Principal components, at most, in which sets are compared.
N_COMPONENTS = 16
#: A clip is among a set that has a clip not farther from it than that clip's neighbour of this number.
NEIGHBOUR = 3
#: The share of training clips that have another clip of their speaker nearer than what is called near.
NEAR = 0.01


def frechet_distance(real: ArrayLike, generated: ArrayLike, *, speakers: ArrayLike | None = None) -> Interval:
    """Return the Frechet distance between two sets of features, 0 for equal moments, with its interval.

    Both sets are measured in the first `N_COMPONENTS` principal components of the real one. A covariance of
    more dimensions than there are clips is singular, and the distance is then mostly the bias of small sets.

    Parameters
    ----------
    real, generated : arrays, (N, D) and (M, D)
        Features. The distance shrinks as either set grows, so it compares only sets of equal sizes.
    speakers : array-like, (N,), optional; of the real clips, which are then resampled by speaker

    Raises
    ------
    ValueError
        If a set isn't (N, D) of finite numbers with at least two clips, or the widths differ.
    """
    both = _pair(real, generated)
    names, centre = _names(speakers, len(both[0])), both[0].mean(0)
    axes = np.linalg.svd(both[0] - centre, full_matrices=False)[2][:N_COMPONENTS].T
    x, y = ((features - centre) @ axes for features in both)

    def measure(rows: NDArray[np.intp], others: NDArray[np.intp]) -> float:
        a, b = x[rows], y[others]
        first, second = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (a, b))
        shared = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0.0)).sum()
        between = np.square(a.mean(0) - b.mean(0)).sum()
        return max(0.0, float(between + np.trace(first) + np.trace(second) - 2 * shared))

    found = _bootstrap(measure, names, np.arange(len(y)))
    return Interval(found.value, float(np.maximum(found.low, 0.0)), found.high)


def inception_score(probabilities: ArrayLike) -> Interval:
    """Return the Inception Score, 1 (unsure, or always the same class) to C (sure, all classes alike).

    Parameters
    ----------
    probabilities : array, (N, C); of the classes, by a network

    Raises
    ------
    ValueError
        If they are not probabilities.
    """
    given = _features(probabilities, "probabilities")
    if given.min() < 0 or not np.allclose(given.sum(1), 1, atol=1e-3):
        raise ValueError("rows that are no probabilities; expected numbers from 0 that add up to 1, (N, C)")
    given = np.maximum(given, 1e-12)

    def measure(rows: NDArray[np.intp]) -> float:
        own = given[rows]
        return float(np.exp((own * np.log(own / own.mean(0))).sum(1).mean()))

    return _bootstrap(measure, np.arange(len(given)))


def precision_recall(real: ArrayLike, generated: ArrayLike) -> tuple[float, float]:
    """Return precision, the share of generated clips among the real ones, and recall, the other way round.

    A clip is among a set where it lies no farther from one of the set's clips than that clip's third
    neighbour in its own set does.

    Parameters
    ----------
    real, generated : arrays, (N, D) and (M, D); features, N and M above 3
    """
    real, generated = _pair(real, generated)
    if min(len(real), len(generated)) <= NEIGHBOUR:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated clips; expected more than {NEIGHBOUR} of each"
        )
    between = cdist(real, generated)
    # the clip itself is at place 0
    radius_real, radius_generated = (
        np.partition(cdist(own, own), NEIGHBOUR, axis=1)[:, NEIGHBOUR] for own in (real, generated)
    )
    precision = (between <= radius_real[:, None]).any(0).mean()
    recall = (between <= radius_generated[None]).any(1).mean()
    return float(precision), float(recall)


class CopyAudit(NamedTuple):
    """Whether generated clips are copies of training clips.

    Attributes
    ----------
    threshold : float
        1 % of the training clips have another clip of their speaker nearer than this.
    share : float; of the generated clips that lie closer than that to some training clip
    """

    threshold: float
    share: float


def copy_audit(training: ArrayLike, speakers: ArrayLike, generated: ArrayLike) -> CopyAudit:
    """Compare generated clips' distances to their nearest training clip with those of training clips.

    Parameters
    ----------
    training : array, (N, D); `mel_features`, or a network's: distances are Euclidean
    speakers : array-like, (N,)
    generated : array, (M, D)

    Raises
    ------
    ValueError
        If no speaker has two training clips, or shapes are wrong.
    """
    training, generated = _pair(training, generated)
    nearest = nearest_of_own(cdist(training, training), _names(speakers, len(training)))
    if not len(nearest):
        raise ValueError("no speaker has two training clips; expected at least one who has")
    threshold = float(np.quantile(nearest, NEAR))
    return CopyAudit(threshold, float((cdist(generated, training).min(1) < threshold).mean()))


def nearest_of_own(distances: NDArray, speakers: NDArray) -> NDArray:
    """Return the distance of each clip to the nearest other clip of its speaker; none where there is none.

    Parameters
    ----------
    distances : array, (N, N); between all clips
    speakers : array, (N,)
    """
    other = (speakers[:, None] != speakers) | np.eye(len(speakers), dtype=bool)
    nearest = np.where(other, np.inf, distances).min(1)
    return nearest[np.isfinite(nearest)]


def mel_features(mels: Mels, normaliser: Normaliser) -> NDArray[np.float32]:
    """Return clips as vectors for `copy_audit`, (N, 128 * 172): no network between clip and copy.

    Normalised log-mels, 0 in padding, divided by sqrt(128 * 172): the Euclidean distance between two is their
    root-mean-square difference over the whole 4 s, in standard deviations of the bands.
    """
    values = normaliser.apply(mels).reshape(len(mels), -1)
    return (values / np.sqrt(values.shape[1])).astype(np.float32)


def _features(given: ArrayLike, what: str) -> Features:
    features = np.asarray(given, np.float64)
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(
            f"{what} of shape {features.shape}; expected finite numbers, (N, D), of at least two clips"
        )
    return features


def _pair(real: ArrayLike, generated: ArrayLike) -> tuple[Features, Features]:
    both = _features(real, "features of real clips"), _features(generated, "features of generated clips")
    widths = [features.shape[1] for features in both]
    if widths[0] != widths[1]:
        raise ValueError(f"features of {widths[0]} and {widths[1]} dimensions; expected equal ones")
    return both


def _names(speakers: ArrayLike | None, n_clips: int) -> NDArray:
    """Return the speaker of each clip, or a name for each clip where none are given."""
    names = np.arange(n_clips) if speakers is None else np.asarray(speakers)
    if len(names) != n_clips:
        raise ValueError(f"{len(names)} speakers of {n_clips} clips; expected one for each")
    return names


def _bootstrap(measure: Callable[..., float], *units: NDArray) -> Interval:
    """Return a measure of the rows of one or two sets, each given as the unit that a row is drawn with."""
    codes = [np.unique(names, return_inverse=True)[1] for names in units]
    value, rng = measure(*map(np.arange, map(len, codes))), np.random.default_rng(0)
    counts = [int(of.max()) + 1 for of in codes]
    resampled = [
        measure(*(np.repeat(np.arange(len(of)), n[of]) for of, n in zip(codes, times, strict=True)))
        for times in zip(*(draws(count, rng) for count in counts), strict=True)
    ]
    return percentile_interval(value, np.asarray(resampled) - (np.mean(resampled) - value), min(counts))
