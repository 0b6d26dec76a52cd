"""What steering does to speech: a judge's answers, voice and words, and a trial of conversion (notebook 04).

In the trial, the speakers of a corpus are split into groups. Each group is converted once, with a judge
trained on two fifths of the other speakers and a transform learned from the rest. So nobody who is converted
taught either, nobody taught both, and every speaker is converted. Voice and words are measured without the
judge, the encoder or WORLD.

References
----------
Zero effort and the natural rendition as a conversion's frame, and its distances: K. Zhou, B. Sisman, R. Liu,
H. Li (2022), "Emotional voice conversion: Theory, databases and ESD", Speech Communication 137,
doi:10.1016/j.specom.2021.11.006. Agreement of units stands in for phone posteriors, which need a phone
recogniser: units from k-means on short frames follow phones, W.-N. Hsu et al. (2021), "HuBERT",
arXiv:2106.07447. Whitening a voice by the variation within speakers: A. O. Hatch, S. Kajarekar, A. Stolcke
(2006), "Within-class covariance normalization for SVM-based speaker recognition", Interspeech. Correlation of
short-time envelopes: C. H. Taal, R. C. Hendriks, R. Heusdens, J. Jensen (2011), "An Algorithm for
Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", IEEE TASLP 19(7),
doi:10.1109/TASL.2011.2114881.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from emolib import audio, prosody, quality, ser, threads
from emolib.audio import Wave
from emolib.metrics import mean_interval, speaker_bootstrap
from emolib.prosody import Distance, Renditions, Track
from emolib.prosody.pairs import path
from emolib.ser import Judge
from emolib.steering import ProsodySteerer, Roles, Steerer
from emolib.steering.preparation import at_full_strength
from emolib.steering.prosodic import ProsodicAnalysis

Render = Callable[[float], Wave]

RATE = 22_050
#: Where P(target) is measured beside the clip as it was spoken.
DELTAS = (1 / 3, 2 / 3, 1.0)
WAYS = ("zero effort", "prosody", "natural target")
#: The measures of which a ratio says something: see `ratio`.
DISTANCES = ("mcd_db", "log_f0_rmse")

_N_ENVELOPES = 16  # of five mel bands each: about as many as STOI's thirds of an octave
_SEGMENT = 33  # mel frames: 384 ms, as STOI's


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


def there_and_back(steerer: Steerer, wave: Wave, sample_rate: int) -> Distance:
    """Return how far a clip is from itself when it is steered by -1 and the result by 1."""
    home = steerer.steer(steerer.steer(wave, sample_rate, -1.0), sample_rate, 1.0)
    return prosody.distance(prosody.track(wave, sample_rate), prosody.track(home, sample_rate))


def word_agreement(reference: Wave, wave: Wave, sample_rate: int) -> float:
    """Return how far a rendition with other timing has the words of the reference: up to 1, equal words.

    Notes
    -----
    STOI on aligned time: both log-mel-spectrograms, speech frames alone, are aligned by dynamic time warping
    of their cepstra without the clip's mean; magnitudes of 16 bands of the wave are brought to the
    reference's time; each band's course over 384 ms is correlated with the reference's, and all
    correlations are averaged. Alignment finds similarity in any two sentences: compare a value with that of
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
    cepstra = [quality.cepstra(log_mel) for log_mel in kept]
    at, of = path(*(frames - frames.mean(axis=0) for frames in cepstra))
    own, other = (
        np.exp(log_mel, dtype=np.float64).reshape(len(log_mel), _N_ENVELOPES, -1).sum(axis=2)
        for log_mel in kept
    )
    counts = np.bincount(at, minlength=len(own))
    moved = np.stack([np.bincount(at, band[of], len(counts)) / counts for band in other.T], axis=1)
    # every stretch of 384 ms of both: (T - 32, B, 33)
    a, b = (np.lib.stride_tricks.sliding_window_view(x, _SEGMENT, axis=0) for x in (own, moved))
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    size = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2)
    return float(((a * b).sum(axis=2) / np.maximum(size, 1e-12)).mean())


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


class Material(NamedTuple):
    """A corpus, measured once for all rounds of a trial.

    Attributes
    ----------
    clips : DataFrame, N rows; the manifest
    acted : DataFrame; of it the clips in the source and the targets, at their strongest
    analysed : Renditions; of `acted`
    acoustics, voices : float arrays, (N, D) and (N, D'); the inputs of the judge and of the voice embedding
    """

    clips: pd.DataFrame
    acted: pd.DataFrame
    analysed: Renditions
    acoustics: NDArray
    voices: NDArray


def gather(
    manifest: pd.DataFrame, source: str, targets: Sequence[str], *, progress: bool = False
) -> Material:
    """Measure all clips; where an emotion has strong renditions, only those are conversion's target."""

    def measure(row: audio.Row) -> tuple[NDArray, NDArray]:
        wave = audio.load_clip(row, RATE)[0]
        return ser.acoustics(wave, RATE), quality.voice_measures(wave, RATE)

    clips = manifest.reset_index(drop=True)
    acted = at_full_strength(clips, source, targets)
    analysed = prosody.renditions(acted, progress=progress)
    rows = tqdm(clips.to_dict("records"), desc="measures", unit="clip", disable=not progress)
    return Material(clips, acted, analysed, *map(np.stack, zip(*threads.each(measure, rows), strict=True)))


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
        mean (of a natural one: to the others); rises (0 or 1); own_voice (0 or 1) and words, as the notes
        say. NaN where a measure says nothing.
    skipped : list of dict, clip and reason; clips without such a rendition, and clips that can't be analysed

    Notes
    -----
    rises: the rank correlation of p with delta over 0 and `DELTAS` is above 0; of a natural rendition: its p
    is above that of the speaker's clip of the sentence in the source emotion, which is what can be asked of
    any conversion. own_voice: `quality.Voices`, fitted on all clips of speakers who are not evaluated, finds
    the clip nearer to the speaker's own clip of the sentence in the source emotion than to anybody else's.
    words: `word_agreement` with that clip; of zero effort, which is that clip, with another sentence of the
    speaker's: the lower bound.
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
    """One group of evaluated speakers, their judge, and the embedding that separates them from others."""

    def __init__(self, material: Material, source: str, roles: Roles, per_speaker: int) -> None:
        self.material, self.source, self.roles = material, source, roles
        clips, usable = material.clips, material.acted["clip"].isin(list(material.analysed.by_clip))
        self.acted = material.acted[usable]
        judged_by = clips["speaker"].isin(roles.judges).to_numpy()
        labels = clips[judged_by]
        self.judge = Judge().fit_measures(material.acoustics[judged_by], labels["emotion"], labels["speaker"])
        self.judge.check_unseen([*roles.makers, *roles.heard])
        others = ~clips["speaker"].isin(roles.heard).to_numpy()
        self.embed = quality.Voices().fit(material.voices[others], clips.loc[others, "speaker"]).embed
        self.plain = self.acted[self.acted["emotion"] == source]
        self.plain_voices = self.embed(material.voices[self.plain.index])
        evaluated = self.plain[self.plain["speaker"].isin(roles.heard)]
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
                row = self._row(target, "natural target", take, *self._inputs(goal), goal.track, own)
                [before] = self._probabilities([self.material.acoustics[take.at]], target)
                words = word_agreement(take.wave, goal.wave, RATE)
                rows.append(row | {"clip": goal.clip, "words": words, "rises": float(row["p"] > before)})
        return rows, skipped

    def _conversion(
        self, target: str, steerer: ProsodySteerer, take: _Take, goals: Sequence[_Take]
    ) -> list[dict[str, Any]]:
        """Return the rows of zero effort and of prosody for one clip."""
        waves = [steerer.render(take.analysis, delta) for delta in DELTAS]
        acoustics = [self.material.acoustics[take.at], *(ser.acoustics(wave, RATE) for wave in waves)]
        still = self._row(target, "zero effort", take, *self._inputs(take), take.track, goals)
        voice, track = quality.voice_measures(waves[-1], RATE), prosody.track(waves[-1], RATE)
        moved = self._row(target, "prosody", take, acoustics[-1], voice, track, goals)
        p = self._probabilities(acoustics, target)
        moved["rises"] = float(trends([0, *DELTAS], [p])["spearman"][0] > 0)
        moved["words"] = word_agreement(take.wave, waves[-1], RATE)
        same_speaker = self.plain["speaker"] == take.speaker
        others = self.plain[same_speaker & (self.plain["text_id"] != take.text_id)]
        if not others.empty:
            other = audio.load_clip(others.iloc[0], RATE)[0]
            still["words"] = word_agreement(take.wave, other, RATE)
        return [still, moved]

    def _inputs(self, take: _Take) -> tuple[NDArray, NDArray]:
        return self.material.acoustics[take.at], self.material.voices[take.at]

    def _probabilities(self, acoustics: Sequence[NDArray], target: str) -> NDArray:
        return self.judge.predict_proba_measures(np.stack(acoustics))[:, self.judge.column(target)]

    def _row(
        self, target: str, way: str, take: _Take, acoustics: NDArray, voice: NDArray, track: Track,
        goals: Sequence[_Take],
    ) -> dict[str, Any]:  # fmt: skip
        """Return the measures that all ways share."""
        [p] = self.judge.predict_proba_measures(acoustics[None])
        column = self.judge.column(target)
        apart = prosody.mean_distance([goal.track for goal in goals], track)
        same = (self.plain["text_id"] == take.text_id).to_numpy()
        own = (self.plain["speaker"] == take.speaker).to_numpy()
        if way == "zero effort":  # not against itself
            same = same & (self.plain["clip"] != take.clip).to_numpy()
        near = self.plain_voices @ self.embed(voice[None])[0]
        comparable = (same & own).any() and (same & ~own).any()
        return {
            "speaker": take.speaker, "clip": take.clip, "target": target, "way": way,
            "recognised": float(p.argmax() == column), "p": float(p[column]),
            "mcd_db": apart.mcd_db, "log_f0_rmse": apart.log_f0_rmse,
            "own_voice": float(quality.keeps_voice(near[same], own[same])) if comparable else np.nan,
            "words": np.nan, "rises": np.nan,
        }  # fmt: skip


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every measure by target and way, each speaker's clips together."""
    return rows.drop(columns=["speaker", "clip"]).groupby(["target", "way"], sort=False).mean()


def levels(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the mean of a measure by target and way: target, way, value, and low and high over speakers."""
    groups = rows.dropna(subset=[measure]).groupby(["target", "way"], sort=False)[["speaker", measure]]
    found = groups.apply(lambda some: pd.Series(mean_interval(some[measure], some["speaker"])._asdict()))
    return found.reset_index()


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
