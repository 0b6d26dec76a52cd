"""What steering does to speech: a judge's answers, instruments, and a trial of conversion (notebook 04).

In the trial, the speakers of a corpus are split into groups. Each group is converted once, with a judge
trained on two fifths of the other speakers and a transform learned from the rest. So nobody who is converted
taught either, nobody taught both, and every speaker is converted.

References
----------
The unmodified clip and the natural rendition as bounds of a conversion, and its distances: K. Zhou,
B. Sisman, R. Liu, H. Li (2022), "Emotional voice conversion: Theory, databases and ESD", Speech Communication
137, doi:10.1016/j.specom.2021.11.006.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from emolib import audio, instruments, prosody, ser, threads
from emolib.audio import Wave
from emolib.metrics import mean_interval, speaker_bootstrap
from emolib.prosody import Renditions, Track
from emolib.ser import Judge
from emolib.steering import ProsodySteerer, Roles
from emolib.steering.preparation import at_full_strength
from emolib.steering.prosodic import ProsodicAnalysis

Render = Callable[[float], Wave]

RATE = 22_050
#: Where P(target) is measured beside the clip as it was spoken.
DELTAS = (1 / 3, 2 / 3, 1.0)
WAYS = ("unmodified", "prosody", "natural target")
#: The measures of which a ratio says something: see `ratio`.
DISTANCES = ("mcd_db", "log_f0_rmse")

#: The measures of `measure`, and the instrument that each needs.
INSTRUMENTS = {"word error rate": "words", "voice cosine": "voice", "DistillMOS": "quality"}


def respond(renders: Sequence[Render], sample_rate: int, judge: Judge, deltas: Sequence[float]) -> NDArray:
    """Return a judge's probabilities at each of K deltas, (N, K, C), of N functions from delta to wave."""

    def answer(render: Render) -> NDArray:
        return judge.predict_proba([render(delta) for delta in deltas], sample_rate)

    return np.stack(threads.each(answer, renders))


def trends(deltas: ArrayLike, values: ArrayLike) -> pd.DataFrame:
    """Return how a measure, (N, K), follows delta, (K,), on each clip.

    Returns
    -------
    table : DataFrame, N rows: spearman, the rank correlation with delta (0 where nothing changes), and slope,
        the change for each unit of delta by least squares
    """
    x, y = np.asarray(deltas, np.float64), np.asarray(values, np.float64)
    ranks = [float(spearmanr(x, row).statistic) if np.ptp(row) > 0 else 0.0 for row in y]
    return pd.DataFrame({"spearman": ranks, "slope": np.polyfit(x, y.T, 1)[0]})


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


class Material(NamedTuple):
    """A corpus, measured once for all rounds of a trial.

    Attributes
    ----------
    clips : DataFrame, N rows; the manifest
    acted : DataFrame; of it the clips in the source and the targets, at their strongest
    analysed : Renditions; of `acted`
    acoustics : float array, (N, D); the judge's inputs
    """

    clips: pd.DataFrame
    acted: pd.DataFrame
    analysed: Renditions
    acoustics: NDArray


def gather(
    manifest: pd.DataFrame, source: str, targets: Sequence[str], *, progress: bool = False
) -> Material:
    """Measure all clips; where an emotion has strong renditions, only those are conversion's target."""

    def acoustics(row: audio.Row) -> NDArray:
        return ser.acoustics(audio.load_clip(row, RATE)[0], RATE)

    clips = manifest.reset_index(drop=True)
    acted = at_full_strength(clips, source, targets)
    analysed = prosody.renditions(acted, progress=progress)
    rows = tqdm(clips.to_dict("records"), desc="measures", unit="clip", disable=not progress)
    return Material(clips, acted, analysed, np.stack(threads.each(acoustics, rows)))


def run(
    material: Material, source: str, targets: Sequence[str], rounds: Sequence[Roles], *,
    per_speaker: int = 4, progress: bool = False,
) -> tuple[pd.DataFrame, list[dict[str, str]]]:  # fmt: skip
    """Convert the evaluated speakers' clips in the source emotion to every target, and measure the results.

    Parameters
    ----------
    material : Material, as `gather` returns it for these emotions
    source : str; targets : sequence of str; emotions
    rounds : sequence of Roles, as `steering.rotations` assigns them
    per_speaker : int
        Clips of each evaluated speaker that are converted, at most, spread evenly.
    progress : bool

    Returns
    -------
    rows : DataFrame
        One row for each clip, target and way of `WAYS`: speaker, clip, target, way; recognised (0 or 1) and
        p, by the judge; mcd_db and log_f0_rmse to the speaker's renditions of the sentence in the target, the
        mean (of a natural one: to the others); rises (0 or 1), as the notes say. NaN where a measure says
        nothing.
    skipped : list of dict, clip and reason; clips without such a rendition, and clips that can't be analysed

    Notes
    -----
    rises: the rank correlation of p with delta over 0 and `DELTAS` is above 0; of a natural rendition: its p
    is above that of the speaker's clip of the sentence in the source emotion, which is what can be asked of
    any conversion.
    """

    def convert(roles: Roles) -> list[tuple[list[dict[str, Any]], list[dict[str, str]]]]:
        current = _Round(material, source, roles, per_speaker)
        return [current.convert(target) for target in targets]

    converted = threads.each(convert, tqdm(rounds, desc="rounds", disable=not progress))
    rows, skipped = zip(*chain(*converted), strict=True)
    return pd.DataFrame(list(chain(*rows))), [*material.analysed.skipped, *chain(*skipped)]


class _Take:
    """A clip of an evaluated speaker, and what is measured of it when first asked for."""

    def __init__(self, row: pd.Series) -> None:
        self.clip, self.speaker, self.text_id = str(row["clip"]), str(row["speaker"]), str(row["text_id"])
        self.said = self.speaker, self.text_id
        self.at = int(row.name)  # type: ignore[call-overload]
        self.wave = audio.load_clip(row, RATE)[0]

    @cached_property
    def track(self) -> Track:
        return prosody.track(self.wave, RATE)

    @cached_property
    def analysis(self) -> ProsodicAnalysis:
        recording = prosody.record(self.wave, RATE)
        return ProsodicAnalysis(recording, prosody.contours(recording.speech))


class _Round:
    """One group of evaluated speakers, and their judge."""

    def __init__(self, material: Material, source: str, roles: Roles, per_speaker: int) -> None:
        self.material, self.source, self.roles = material, source, roles
        clips, usable = material.clips, material.acted["clip"].isin(list(material.analysed.by_clip))
        self.acted = material.acted[usable]
        judged_by = clips["speaker"].isin(roles.judges).to_numpy()
        labels = clips[judged_by]
        self.judge = Judge().fit_measures(material.acoustics[judged_by], labels["emotion"], labels["speaker"])
        self.judge.check_unseen([*roles.makers, *roles.heard])
        plain = self.acted[self.acted["emotion"] == source]
        evaluated = plain[plain["speaker"].isin(roles.heard)]
        self.takes = []
        for _, some in evaluated.groupby("speaker"):
            at = np.linspace(0, len(some) - 1, min(len(some), per_speaker)).round().astype(int)
            self.takes += [_Take(row) for _, row in some.iloc[np.unique(at)].iterrows()]

    def convert(self, target: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Return the rows of all ways to one target, and the clips without a rendition to compare with."""
        makers = self.acted[self.acted["speaker"].isin(self.roles.makers)]
        pairs = prosody.pairs(makers, self.source, target, analysed=self.material.analysed).pairs
        steerer = ProsodySteerer(prosody.ProsodyTransform(self.source, target).fit(pairs))
        chosen = self.acted["speaker"].isin(self.roles.heard) & (self.acted["emotion"] == target)
        goals = [_Take(row) for _, row in self.acted[chosen].iterrows()]
        rows, skipped = [], []
        for take in self.takes:
            if own := [goal for goal in goals if goal.said == take.said]:
                rows += self._conversion(target, steerer, take, own)
            else:
                skipped.append({"clip": take.clip, "reason": f"no {target} rendition of it by its speaker"})
        spoken = {take.said: take for take in reversed(self.takes)}
        for goal in goals:
            if goal.said in spoken:
                take, own = spoken[goal.said], [one for one in goals if one.said == goal.said]
                acoustics = self.material.acoustics
                row = self._row(target, "natural target", take, acoustics[goal.at], goal.track, own)
                [before] = self._probabilities([acoustics[take.at]], target)
                rows.append(row | {"clip": goal.clip, "rises": float(row["p"] > before)})
        return rows, skipped

    def _conversion(
        self, target: str, steerer: ProsodySteerer, take: _Take, goals: Sequence[_Take]
    ) -> list[dict[str, Any]]:
        """Return the rows of the unmodified clip and of prosody for one clip."""
        waves = [steerer.render(take.analysis, delta) for delta in DELTAS]
        acoustics = [self.material.acoustics[take.at], *(ser.acoustics(wave, RATE) for wave in waves)]
        still = self._row(target, "unmodified", take, acoustics[0], take.track, goals)
        track = prosody.track(waves[-1], RATE)
        moved = self._row(target, "prosody", take, acoustics[-1], track, goals)
        p = self._probabilities(acoustics, target)
        moved["rises"] = float(trends([0, *DELTAS], [p])["spearman"][0] > 0)
        return [still, moved]

    def _probabilities(self, acoustics: Sequence[NDArray], target: str) -> NDArray:
        return self.judge.predict_proba_measures(np.stack(acoustics))[:, self.judge.column(target)]

    def _row(
        self, target: str, way: str, take: _Take, acoustics: NDArray, track: Track, goals: Sequence[_Take]
    ) -> dict[str, Any]:
        """Return the measures that all ways share."""
        [p] = self.judge.predict_proba_measures(acoustics[None])
        column = self.judge.column(target)
        apart = prosody.mean_distance([goal.track for goal in goals], track)
        return {
            "speaker": take.speaker, "clip": take.clip, "target": target, "way": way,
            "recognised": float(p.argmax() == column), "p": float(p[column]),
            "mcd_db": apart.mcd_db, "log_f0_rmse": apart.log_f0_rmse,
            "rises": np.nan,
        }  # fmt: skip


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


def difference(rows: pd.DataFrame, measure: str, way: str, to: str) -> pd.DataFrame:
    """Return a measure's mean of one way minus another's, with its interval over speakers.

    Parameters
    ----------
    rows : DataFrame, as `run` returns it
    measure : str; a column, such as recognised or mcd_db
    way, to : str; of `WAYS`

    Returns
    -------
    table : DataFrame; value, low and high for each target, and for all their clips
    """
    return _compared(rows, measure, way, to, lambda mine, other: mine - other)


def ratio(rows: pd.DataFrame, measure: str, way: str, to: str) -> pd.DataFrame:
    """Return a distance's mean of one way divided by another's, as `difference`.

    Raises
    ------
    ValueError
        If the measure is none of `DISTANCES`. A rate may be near 0 in few clips, and a ratio to it is then
        any number; a distance between two renditions is above 0 in every clip.
    """
    if measure not in DISTANCES:
        raise ValueError(
            f"a ratio of {measure!r}, which may be near 0; expected one of {', '.join(DISTANCES)}: take the "
            f"difference of others"
        )
    return _compared(rows, measure, way, to, lambda mine, other: mine / other)


def _compared(
    rows: pd.DataFrame, measure: str, way: str, to: str, of: Callable[[float, float], float]
) -> pd.DataFrame:
    """Return a number of two ways' means of a measure, by target and over all, with intervals."""

    def metric(values: NDArray, mine: NDArray) -> float:
        if mine.all() or not mine.any():  # a resample of speakers who have one way only
            return float("nan")
        return of(float(values[mine].mean()), float(values[~mine].mean()))

    known = rows[rows["way"].isin([way, to]) & rows[measure].notna()]
    parts = {target: known[known["target"] == target] for target in known["target"].unique()} | {"all": known}
    found = {
        name: speaker_bootstrap(metric, some[measure], some["way"] == way, some["speaker"])
        for name, some in parts.items()
    }
    return pd.DataFrame(found, index=["value", "low", "high"]).T
