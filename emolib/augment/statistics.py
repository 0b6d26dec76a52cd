"""Scores of conditions, and of the difference between two, with intervals over speakers.

Third stage of `emolib.augment`. A score is the mean over seeds. Whole speakers are drawn with replacement,
the same ones for every seed and for both sides of a difference; `emolib.metrics` says how.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib.metrics import Interval, draws, percentile_interval

#: The scores, in the order in which tables show them.
SCORES = ("ua", "wa", "macro_f1")
Counts = NDArray[np.float64]


def counts_of(predictions: pd.DataFrame, classes: list[str], speakers: list[str]) -> Counts:
    """Return how often each speaker's clips of a class were answered by each class, (Q seeds, S, C, C).

    Parameters
    ----------
    predictions : DataFrame with the columns seed, speaker, truth, predicted
    classes, speakers : list of str; the axes
    """
    seeds = sorted(set(predictions["seed"]))
    counts = np.zeros((len(seeds), len(speakers), len(classes), len(classes)))
    places = (
        pd.Categorical(predictions[name], known).codes
        for name, known in (
            ("seed", seeds),
            ("speaker", speakers),
            ("truth", classes),
            ("predicted", classes),
        )
    )
    np.add.at(counts, tuple(places), 1)
    return counts


def scores_of(counts: Counts) -> dict[str, NDArray[np.float64]]:
    """Return the scores of tables of truth by answer, (..., C, C): each an array, (...)."""
    right, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    said = counts.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(true > 0, right / true, np.nan)
        f1 = np.where(true > 0, 2 * right / (true + said), np.nan)
        whole = right.sum(-1) / true.sum(-1)
    return {"ua": np.nanmean(recall, -1), "wa": whole, "macro_f1": np.nanmean(f1, -1)}


def intervals(counts: Counts, over: Counts | None = None, *, seed: int = 0) -> dict[str, Interval]:
    """Return each score, or its difference to another's, with its 95 % interval.

    Parameters
    ----------
    counts : float64 array, (Q, S, C, C), as `counts_of` gives
    over : float64 array, (Q, S, C, C), optional; of the same seeds and speakers, whose scores are taken off
    seed : int; of the bootstrap

    Returns
    -------
    scores : dict of name to Interval
    """
    values = _means(counts.sum(1), over if over is None else over.sum(1))
    n_speakers = counts.shape[1]
    times = draws(n_speakers, seed)
    drawn = _means(_resampled(counts, times), None if over is None else _resampled(over, times))
    return {name: percentile_interval(float(values[name]), drawn[name], n_speakers) for name in SCORES}


def _resampled(counts: Counts, times: NDArray[np.int64]) -> Counts:
    return np.einsum("rs,qsij->qrij", times, counts)


def _means(counts: Counts, over: Counts | None) -> Mapping[str, NDArray[np.float64]]:
    """Return scores, or differences of scores, averaged over seeds."""
    scores = scores_of(counts)
    if over is None:
        return {name: value.mean(0) for name, value in scores.items()}
    rival = scores_of(over)
    return {name: (value - rival[name]).mean(0) for name, value in scores.items()}
