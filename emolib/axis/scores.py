"""How well projections tell two emotions apart, on speakers that the axis never heard.

Fourth stage of `emolib.axis`. The measure is the area under the ROC curve (AUC): how often a clip of the
target emotion projects further than one of the source emotion. It asks for no threshold, and 0.5 is chance.

References
----------
The AUC as the Mann-Whitney statistic: J. A. Hanley, B. J. McNeil (1982), doi:10.1148/radiology.143.1.7063747.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from emolib.axis.directions import Floats
from emolib.axis.selection import complete_speakers
from emolib.metrics import Interval, draws, percentile_interval


@dataclass(frozen=True)
class HeldOut:
    """Where every clip lies on an axis that was fitted without it.

    Attributes
    ----------
    projections : float64 array, (N,); 0 at the source emotion's mean of the training clips, 1 at the target's
    emotions, speakers : arrays, (N,)
    source, target, method : str
    layer : int, optional
    incomplete : list of str; a sentence for each speaker who lacks one of the emotions: the AUC leaves them
        out
    """

    projections: Floats
    emotions: NDArray
    speakers: NDArray
    source: str
    target: str
    method: str
    layer: int | None
    incomplete: list[str]

    @property
    def rows(self) -> NDArray[np.bool_]:
        """The clips that are judged: of both emotions, of speakers who have both."""
        both = np.isin(self.emotions, (self.source, self.target))
        known, _ = complete_speakers(self.emotions, self.speakers, self.source, self.target)
        return both & np.isin(self.speakers, known)

    @property
    def auc(self) -> Interval:
        """AUC of the target emotion against the source, with its interval over speakers."""
        rows = self.rows
        return auc_interval(self.projections[rows], self.emotions[rows] == self.target, self.speakers[rows])

    @property
    def score(self) -> float:
        """The AUC alone, for where no interval is asked for."""
        rows = self.rows
        return float(auc(self.projections[rows], self.emotions[rows] == self.target))

    @property
    def n_speakers(self) -> int:
        """Speakers that are judged."""
        return len(np.unique(self.speakers[self.rows]))


def auc(projections: ArrayLike, is_target: ArrayLike) -> Floats:
    """Return the AUC of one or several projections, ties counting half.

    Parameters
    ----------
    projections : array-like, (N,) or (N, K)
    is_target : array-like of bool, (N,), both values present

    Returns
    -------
    auc : float64 scalar or array, (K,)
    """
    mask = np.asarray(is_target, dtype=bool)
    n_target = int(mask.sum())
    if n_target in (0, len(mask)):
        raise ValueError(f"{n_target} of {len(mask)} clips are of the target emotion; expected some, not all")
    ranks = rankdata(projections, axis=0)[mask].sum(axis=0)
    return (ranks - n_target * (n_target + 1) / 2) / (n_target * (len(mask) - n_target))


def auc_interval(
    projections: ArrayLike,
    is_target: ArrayLike,
    speakers: ArrayLike,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return an AUC with its interval from a bootstrap over speakers.

    Parameters
    ----------
    projections, is_target, speakers : array-likes, (N,)
    confidence, seed
        As in `metrics.speaker_bootstrap`; the interval is the same.

    Notes
    -----
    Pairs of clips are compared once, by pairs of speakers; a resample then only weighs these counts, which
    makes the interval some hundred times as fast as computing an AUC for each.
    """
    values, mask = np.asarray(projections, dtype=np.float64), np.asarray(is_target, dtype=bool)
    value = float(auc(values, mask))
    names, codes = np.unique(np.asarray(speakers), return_inverse=True)
    wins = _wins(values, mask, codes, len(names))
    n_target, n_source = (np.bincount(codes[of], minlength=len(names)) for of in (mask, ~mask))
    times = draws(len(names), seed)
    pairs = (times @ n_target) * (times @ n_source)
    won = ((times @ wins) * times).sum(axis=1)
    # a resample may hold one emotion alone, if few speakers have both; it says nothing
    resampled = np.divide(won, pairs, out=np.full(len(times), np.nan), where=pairs > 0)
    return percentile_interval(value, resampled, len(names), confidence=confidence)


def _wins(values: Floats, mask: NDArray[np.bool_], codes: NDArray, n: int) -> Floats:
    """Return how often target clips of each speaker beat source clips of each other, (S, S), ties half."""
    wins = np.zeros((n, n))
    for j in range(n):
        rivals = np.sort(values[~mask & (codes == j)])
        below = np.searchsorted(rivals, values[mask], "left") + np.searchsorted(rivals, values[mask], "right")
        wins[:, j] = np.bincount(codes[mask], weights=below / 2, minlength=n)
    return wins
