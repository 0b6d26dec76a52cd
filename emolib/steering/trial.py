"""A trial of conversion: from plain speech to each emotion, of unseen speakers, judged by strangers.

Beside the stages of `emolib.steering`. The speakers of a corpus are dealt into groups. Each group is heard
once: a judge that learned from two fifths of the others, and a transform that learned from the rest. So
nobody who is heard taught either, nobody taught both, and every speaker is heard.

References
----------
Zero effort and the natural rendition as a conversion's frame, and its distances: K. Zhou, B. Sisman, R. Liu,
H. Li (2022), "Emotional voice conversion: Theory, databases and ESD", Speech Communication 137,
doi:10.1016/j.specom.2021.11.006.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, metrics, prosody, ser, threads, voices
from emolib.prosody import Renditions, Track
from emolib.steering import evidence
from emolib.steering.prosodic import ProsodicAnalysis, ProsodySteerer
from emolib.steering.speakers import Roles, at_full_strength

RATE = 22_050
#: Where P(target) is read beside the clip as it was spoken.
DELTAS = (1 / 3, 2 / 3, 1.0)
WAYS = ("zero effort", "prosody", "natural target")
#: The measures of which a share says something: see `ratio`.
DISTANCES = ("mcd_db", "log_f0_rmse")


class Material(NamedTuple):
    """A corpus, measured once for all rounds of a trial.

    Attributes
    ----------
    clips : DataFrame, N rows; the manifest
    acted : DataFrame; of it the clips in the source and the targets, at their strongest
    analysed : Renditions; of `acted`
    heard, voices : float arrays, (N, D) and (N, D'); what the judge and the embedding of voices measure
    """

    clips: pd.DataFrame
    acted: pd.DataFrame
    analysed: Renditions
    heard: NDArray
    voices: NDArray


def gather(
    manifest: pd.DataFrame, source: str, targets: Sequence[str], *, progress: bool = False
) -> Material:
    """Measure all clips; where an emotion has strong renditions, only those are what conversion aims at."""
    clips = manifest.reset_index(drop=True)
    acted = at_full_strength(clips, source, targets)
    analysed = prosody.renditions(acted, progress=progress)
    rows = tqdm(clips.to_dict("records"), desc="measures", unit="clip", disable=not progress)
    heard, known = map(np.stack, zip(*threads.each(_measures, rows), strict=True))
    return Material(clips, acted, analysed, heard, known)


def _measures(row: audio.Row) -> tuple[NDArray, NDArray]:
    """Return what the judge and the embedding of voices measure of one clip."""
    wave = audio.load_clip(row, RATE)[0]
    return ser.acoustics(wave, RATE), voices.measure(wave, RATE)


class Outcome(NamedTuple):
    """Rows of a trial, and the clips that could not take part: a dict of clip and reason each."""

    rows: pd.DataFrame
    skipped: list[dict[str, str]]


def run(
    material: Material,
    source: str,
    targets: Sequence[str],
    rounds: Sequence[Roles],
    *,
    per_speaker: int = 4,
    progress: bool = False,
) -> Outcome:
    """Convert the heard speakers' clips in the source emotion to every target, and measure what comes out.

    Parameters
    ----------
    material : Material, as `gather` returns it for these emotions
    source : str; targets : sequence of str; emotions
    rounds : sequence of Roles, as `speakers.rotations` deals them
    per_speaker : int
        Clips of each heard speaker that are converted, at most, spread evenly.
    progress : bool

    Returns
    -------
    rows : DataFrame
        One row a clip, target and way of `WAYS`: speaker, clip, target, way; recognised (0 or 1) and p, by
        the judge; mcd_db and log_f0_rmse to the speaker's renditions of the sentence in the target, the mean
        (of a natural one: to the others); rises (0 or 1); own_voice (0 or 1) and words, as the notes say.
        NaN where a measure says nothing.
    skipped : list of dict; converted clips without such a rendition, and clips that can't be analysed

    Notes
    -----
    rises: the rank correlation of p with delta over 0 and `DELTAS` is above 0; of a natural rendition: its p
    is above that of the speaker's clip of the sentence in the source emotion, which is what can be asked of
    any conversion. own_voice: `voices.Voices`, fitted on all clips of speakers who are not heard, finds the
    clip nearer to the speaker's own clip of the sentence in the source emotion than to anybody else's. words:
    `evidence.word_agreement` with that clip; of zero effort, which is that clip, with another sentence of the
    speaker's: the floor.
    """

    def play(roles: Roles) -> list[tuple[list[dict[str, Any]], list[dict[str, str]]]]:
        heard = _Round(material, source, roles, per_speaker)
        return [heard.convert(target) for target in targets]

    played = threads.each(play, tqdm(rounds, desc="rounds", disable=not progress))
    ended = [converted for one in played for converted in one]
    made = [row for rows, _ in ended for row in rows]
    skipped = [entry for _, without in ended for entry in without]
    return Outcome(pd.DataFrame(made), [*material.analysed.skipped, *skipped])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every measure by target and way, each speaker's clips together."""
    measures = [name for name in rows if name not in ("speaker", "clip", "target", "way")]
    return rows.groupby(["target", "way"], sort=False)[measures].mean()


def levels(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the mean of a measure by target and way: target, way, value, and low and high over speakers."""
    found = []
    for (target, way), some in rows[rows[measure].notna()].groupby(["target", "way"], sort=False):
        interval = metrics.mean_interval(some[measure], some["speaker"])
        found.append({"target": target, "way": way, **interval._asdict()})
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
    """Return a distance's mean of one way as a share of another's, as `difference`.

    Raises
    ------
    ValueError
        If the measure is none of `DISTANCES`. A rate may be near 0 in few clips, and a share of it is then
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
    parts = {target: known[known["target"] == target] for target in known["target"].unique()}
    found = {
        name: metrics.speaker_bootstrap(metric, some[measure], some["way"] == way, some["speaker"])
        for name, some in {**parts, "all": known}.items()
    }
    return pd.DataFrame({name: interval._asdict() for name, interval in found.items()}).T


class _Take:
    """A clip of a heard speaker, and what is measured of it when first asked for."""

    def __init__(self, row: pd.Series) -> None:
        self.clip, self.speaker, self.text_id = str(row["clip"]), str(row["speaker"]), str(row["text_id"])
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
    """One group of heard speakers, their judge, and the embedding that tells them from others."""

    def __init__(self, material: Material, source: str, roles: Roles, per_speaker: int) -> None:
        self.material, self.source, self.roles = material, source, roles
        clips, usable = material.clips, material.acted["clip"].isin(list(material.analysed.by_clip))
        self.acted = material.acted[usable]
        judged_by = clips["speaker"].isin(roles.judges).to_numpy()
        labels = clips[judged_by]
        self.judge = ser.Judge().fit_measures(material.heard[judged_by], labels["emotion"], labels["speaker"])
        self.judge.check_unseen([*roles.makers, *roles.heard])
        strangers = ~clips["speaker"].isin(roles.heard).to_numpy()
        known = voices.Voices().fit(material.voices[strangers], clips.loc[strangers, "speaker"])
        self.embed = known.embed
        self.plain = self.acted[self.acted["emotion"] == source]
        self.faces = self.embed(material.voices[self.plain.index])
        heard = self.plain[self.plain["speaker"].isin(roles.heard)]
        chosen = [some.iloc[_spread(len(some), per_speaker)] for _, some in heard.groupby("speaker")]
        self.takes = [_Take(row) for _, row in pd.concat(chosen).iterrows()]

    def convert(self, target: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Return the rows of all ways to one target, and the clips without a rendition to compare with."""
        makers = self.acted[self.acted["speaker"].isin(self.roles.makers)]
        pairs = prosody.pairs(makers, self.source, target, analysed=self.material.analysed).pairs
        steerer = ProsodySteerer(prosody.ProsodyTransform(self.source, target).fit(pairs))
        chosen = self.acted["speaker"].isin(self.roles.heard) & (self.acted["emotion"] == target)
        goals = [_Take(row) for _, row in self.acted[chosen].iterrows()]
        rows: list[dict[str, Any]] = []
        skipped = []
        for take in self.takes:
            own = [goal for goal in goals if (goal.speaker, goal.text_id) == (take.speaker, take.text_id)]
            if own:
                rows += self._conversion(target, steerer, take, own)
            else:
                skipped.append({"clip": take.clip, "reason": f"no {target} rendition of it by its speaker"})
        spoken = {(take.speaker, take.text_id): take for take in reversed(self.takes)}
        for goal in goals:
            if said := spoken.get((goal.speaker, goal.text_id)):
                takes = [one for one in goals if (one.speaker, one.text_id) == (goal.speaker, goal.text_id)]
                heard, face = self.material.heard[goal.at], self.material.voices[goal.at]
                rows.append(self._row(target, "natural target", said, heard, face, goal.track, takes))
                rows[-1] |= {"clip": goal.clip, "words": evidence.word_agreement(said.wave, goal.wave, RATE)}
                rows[-1]["rises"] = float(rows[-1]["p"] > self._p(self.material.heard[said.at], target))
        return rows, skipped

    def _conversion(
        self, target: str, steerer: ProsodySteerer, take: _Take, goals: Sequence[_Take]
    ) -> list[dict[str, Any]]:
        """Return the rows of zero effort and of prosody for one clip."""
        waves = [steerer.render(take.analysis, delta) for delta in DELTAS]
        heard = [self.material.heard[take.at], *(ser.acoustics(wave, RATE) for wave in waves)]
        p = self.judge.predict_proba_measures(np.stack(heard))[:, self.judge.column(target)]
        still = self._row(
            target, "zero effort", take, heard[0], self.material.voices[take.at], take.track, goals
        )
        still["words"] = self._other_words(take)
        face, track = voices.measure(waves[-1], RATE), prosody.track(waves[-1], RATE)
        moved = self._row(target, "prosody", take, heard[-1], face, track, goals)
        moved["rises"] = float(evidence.trends([0, *DELTAS], [p])["spearman"][0] > 0)
        moved["words"] = evidence.word_agreement(take.wave, waves[-1], RATE)
        return [still, moved]

    def _p(self, heard: NDArray, target: str) -> float:
        """Return the judge's probability of the target for one clip's measures."""
        return float(self.judge.predict_proba_measures(heard[None])[0, self.judge.column(target)])

    def _other_words(self, take: _Take) -> float:
        """Return the agreement with another sentence of the speaker's, NaN where there is none."""
        others = self.plain[(self.plain["speaker"] == take.speaker) & (self.plain["text_id"] != take.text_id)]
        if others.empty:
            return float("nan")
        return evidence.word_agreement(take.wave, audio.load_clip(others.iloc[0], RATE)[0], RATE)

    def _row(
        self, target: str, way: str, take: _Take, heard: NDArray, face: NDArray, track: Track,
        goals: Sequence[_Take],
    ) -> dict[str, Any]:  # fmt: skip
        """Return what is measured alike of every way."""
        [p] = self.judge.predict_proba_measures(heard[None])
        column = self.judge.column(target)
        apart = prosody.mean_distance([goal.track for goal in goals], track)
        same = (self.plain["text_id"] == take.text_id).to_numpy()
        own = (self.plain["speaker"] == take.speaker).to_numpy()
        if way == "zero effort":  # not against itself
            same = same & (self.plain["clip"] != take.clip).to_numpy()
        near = self.faces @ self.embed(face[None])[0]
        comparable = (same & own).any() and (same & ~own).any()
        return {
            "speaker": take.speaker, "clip": take.clip, "target": target, "way": way,
            "recognised": float(p.argmax() == column), "p": float(p[column]),
            "mcd_db": apart.mcd_db, "log_f0_rmse": apart.log_f0_rmse,
            "own_voice": float(voices.keeps(near[same], own[same])) if comparable else np.nan,
        }  # fmt: skip


def _spread(n: int, at_most: int) -> NDArray[np.intp]:
    """Return up to so many of n positions, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))
