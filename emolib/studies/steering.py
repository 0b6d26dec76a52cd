"""What steering does to speech: a judge's answers, instruments, and levels of measures (notebook 04).

The trial of conversion to every target is `emolib.steering.trial`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from emolib import instruments, threads
from emolib.audio import Wave
from emolib.metrics import mean_interval
from emolib.ser import Judge

Render = Callable[[float], Wave]

#: The measures of `measure`, and the instrument that each needs.
INSTRUMENTS = {"word error rate": "words", "voice cosine": "voice", "DistillMOS": "quality"}


def respond(renders: Sequence[Render], sample_rate: int, judge: Judge, deltas: Sequence[float]) -> NDArray:
    """Return a judge's probabilities at each of K deltas, (N, K, C), of N functions from delta to wave."""

    def answer(render: Render) -> NDArray:
        return judge.predict_proba([render(delta) for delta in deltas], sample_rate)

    return np.stack(threads.each(answer, renders))


def measure(
    waves: Sequence[Wave], sample_rate: int, texts: Sequence[str], own_voices: ArrayLike
) -> pd.DataFrame:
    """Measure N waves by the `instruments` that are installed.

    Parameters
    ----------
    texts : sequence of N str
        What was said, in English; where any is empty, words are not counted.
    own_voices : array-like, (N, 256); speaker embeddings that each voice is compared with

    Returns
    -------
    table : DataFrame, N rows, a column for each of `INSTRUMENTS`; NaN where it could not be measured
    """
    table = pd.DataFrame(np.nan, index=range(len(waves)), columns=list(INSTRUMENTS))
    if all(texts) and not instruments.missing("words"):
        found = instruments.word_errors(waves, sample_rate, texts)
        table["word error rate"] = found["errors"] / found["words"]
    if not instruments.missing("voice"):
        voices = instruments.voices(waves, sample_rate)
        table["voice cosine"] = (voices * np.asarray(own_voices)).sum(axis=1)
    if not instruments.missing("quality"):
        table["DistillMOS"] = instruments.opinion(waves, sample_rate)
    return table


def own_voices(waves: Sequence[Wave], sample_rate: int, speakers: ArrayLike) -> NDArray[np.float64]:
    """Return for each of N clips the mean speaker embedding of its speaker's other clips, (N, 256).

    Its length is 1. It is NaN for a speaker's only clip, and everywhere where the instrument isn't installed.
    """
    if instruments.missing("voice"):
        return np.full((len(waves), 256), np.nan)
    voices, who = instruments.voices(waves, sample_rate), np.asarray(speakers)
    sums = ((who[:, None] == who) & ~np.eye(len(who), dtype=bool)) @ voices
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, length, out=np.full_like(sums, np.nan), where=length > 0)


def levels(
    rows: pd.DataFrame, measures: Sequence[str], by: Sequence[str] = ("target", "way")
) -> pd.DataFrame:
    """Return the mean of each measure in groups of rows, with its interval over speakers.

    Parameters
    ----------
    rows : DataFrame with speaker, the columns that it is grouped by, and one for each measure
    measures, by : sequence of str

    Returns
    -------
    table : DataFrame; measure, the columns of `by`, value, low, high, and n, the clips that have the measure
    """
    found = []
    for measure in measures:
        known = rows.dropna(subset=[measure])
        for place, some in known.groupby(list(by), sort=False):
            interval = mean_interval(some[measure], some["speaker"])
            named = {"measure": measure} | dict(zip(by, place, strict=True))
            found.append(named | interval._asdict() | {"n": len(some)})
    return pd.DataFrame(found)
