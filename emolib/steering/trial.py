"""A trial of steering: every way to move speech, the same clips, speakers that nothing was learned from.

The speakers of a corpus are split into groups, and each group is converted once. The judge is either trained
on two fifths of the other speakers (`run` alone), or on other corpora (`outside_judge`): those who are
converted taught nobody, and who taught a steerer taught no judge. Words, voice and quality are measured by
`instruments` that others made, where they are installed, and without the judge, the encoder or WORLD.

References
----------
The unmodified clip and the natural rendition as bounds of a conversion, and its distances: K. Zhou,
B. Sisman, R. Liu, H. Li (2022), "Emotional voice conversion: Theory, databases and ESD", Speech Communication
137, doi:10.1016/j.specom.2021.11.006.
"""

import copy
import operator
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, spearmanr
from tqdm.auto import tqdm

from emolib import audio, corpora, embeddings, encoders, features, instruments, paths, prosody, ser, threads
from emolib.audio import Wave
from emolib.axis import fit_axis
from emolib.encoders import Encoder
from emolib.metrics import Interval, speaker_bootstrap, ua_interval
from emolib.probing import standardise_speakers
from emolib.prosody import ProsodyTransform, Renditions, Track
from emolib.prosody.pairs import check_emotions, evenly
from emolib.prosody.transform import Linear
from emolib.ser import Judge
from emolib.steering import preparation
from emolib.steering.base import Steerer
from emolib.steering.latent import LatentSteerer
from emolib.steering.preparation import LAYER, METHODS, Roles, rotations
from emolib.steering.prosodic import HybridSteerer, ProsodicAnalysis, ProsodySteerer, analyse

#: Hz of the sound that is compared, at most; see `sample_rate`.
RATE = 22_050
#: Where P(target) is measured beside the clip as it was spoken.
DELTAS = (1 / 3, 2 / 3, 1.0)
TARGETS = ("angry", "happy", "sad", "fearful")
#: The measures of which a ratio says something: see `ratio`.
DISTANCES = ("mcd_db", "log_f0_rmse")
#: Corpora whose shipped embeddings train a judge of others, and the features that it reads.
JUDGE_CORPORA, JUDGE_ENCODER, JUDGE_LAYER = ("ravdess", "crema-d", "emodb"), paths.DEFAULT_ENCODER, 2
#: A natural rate whose interval reaches below is too near 0 to divide by.
LEAST_RATE = 0.1

_WORLD = "WORLD only"  # resynthesis; the name is that of committed tables
_CONTROLS = ("random", "shuffled", "level")  # first words of the ways that are no steering
_P = ("p_0", *(f"p_{k + 1}" for k in range(len(DELTAS))))
_UNKNOWN = Interval(np.nan, np.nan, np.nan)
_encoding = threading.Lock()  # one writer of a feature store at a time


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


# ------------------------------------------------------------------------------------- the judge


@dataclass(frozen=True)
class OutsideJudge:
    """A judge that was trained on other corpora than the one whose clips it is given.

    It reads an encoder's pooled layer, of which each speaker's own mean and deviation over all of their
    natural clips are taken out: a protocol that uses unlabelled clips of the speakers who are evaluated.

    Attributes
    ----------
    judge : Judge
    corpora : tuple of str; what it was trained on
    encoder : Encoder; returns `JUDGE_LAYER` alone
    """

    judge: Judge
    corpora: tuple[str, ...]
    encoder: Encoder

    def pooled(self, wave: Wave, sample_rate: int) -> NDArray[np.float64]:
        """Return mean and deviation of a wave's frames, (2 D,)."""
        return encoders.embed(self.encoder, wave, sample_rate, JUDGE_LAYER, "mean+std")

    def __str__(self) -> str:
        return (
            f"{self.encoder.name} layer {JUDGE_LAYER}, trained on {' + '.join(self.corpora)} "
            f"({self.judge.n_clips_} clips of {len(self.judge.speakers_)} speakers)"
        )


def outside_judge(clips: pd.DataFrame, device: str = "auto") -> OutsideJudge:
    """Return a judge of a corpus's emotions, trained on the shipped embeddings of other corpora.

    Raises
    ------
    ValueError
        If no other corpus's embeddings are here, or they share fewer than two emotions with `clips`.
    """
    names = [name for name in JUDGE_CORPORA if name not in set(clips["corpus"])]
    stores = [embeddings.open(name, JUDGE_ENCODER) for name in names]
    tables = [corpora.described(name) for name in names]
    both = zip(stores, tables, strict=True)
    pooled = [store.pooled(JUDGE_LAYER, "mean+std", known["clip"].tolist()) for store, known in both]
    everyone = pd.concat(tables, ignore_index=True)
    features = np.concatenate(pooled).astype(np.float64)
    X = standardise_speakers(features, everyone["speaker"], prior_clips=0)
    shared = everyone["emotion"].isin(set(clips["emotion"])).to_numpy()
    judge = Judge().fit_measures(X[shared], everyone["emotion"][shared], everyone["speaker"][shared])
    judge.check_unseen(clips["speaker"])
    encoder = encoders.load(JUDGE_ENCODER, layers=[JUDGE_LAYER], device=device)
    return OutsideJudge(judge, tuple(names), encoder)


# ------------------------------------------------------------------------------------- the corpus


def sample_rate(clips: pd.DataFrame) -> int:
    """Return Hz of the sound that is compared: `RATE`, or the lowest of the clips' own where that is lower.

    At a higher rate, speech of 16 kHz has an empty band above 8 kHz, which neither the speaker nor the
    instruments know, and which resynthesis fills.
    """
    return int(min(RATE, clips["sample_rate"].min()))


@dataclass(frozen=True)
class Material:
    """A corpus, measured once for all rounds of a trial.

    Attributes
    ----------
    clips : DataFrame, N rows; the manifest
    acted : DataFrame; of it the clips in the source and the targets, at their strongest
    analysed : Renditions; of `acted`
    inputs : float array, (N, D); what the judge reads
    rate : int, Hz; of all sound
    outside : OutsideJudge, optional; in place of judges from the corpus
    levels : mapping of speaker to mean and deviation; what an outside judge's features are freed of
    """

    clips: pd.DataFrame
    acted: pd.DataFrame
    analysed: Renditions
    inputs: NDArray
    rate: int
    outside: OutsideJudge | None = None
    levels: Mapping[str, tuple[NDArray, NDArray]] = field(default_factory=dict)

    def read(self, wave: Wave, speaker: str) -> NDArray:
        """Return what the judge reads of a wave, (D,), that has a speaker's voice."""
        found = _measured(wave, self.rate, self.outside)
        if self.outside is None:
            return found
        mean, spread = self.levels[speaker]
        return (found - mean) / spread


def _measured(wave: Wave, rate: int, outside: OutsideJudge | None) -> NDArray:
    return ser.acoustics(wave, rate) if outside is None else outside.pooled(wave, rate)


def gather(
    manifest: pd.DataFrame, source: str, targets: Sequence[str], *, outside: OutsideJudge | None = None,
    progress: bool = False,
) -> Material:  # fmt: skip
    """Measure all clips; where an emotion has strong renditions, only those are conversion's target.

    Raises
    ------
    ValueError
        If the clips have no audio.
    """
    if embeddings.lack_audio(manifest):
        name = str(manifest["corpus"].iloc[0])
        raise ValueError(f"{name}: its clips have no audio to be steered; {corpora.way_to_get(name)}")

    rate, clips = sample_rate(manifest), manifest.reset_index(drop=True)
    acted = preparation.at_full_strength(clips, source, targets)
    analysed = prosody.renditions(acted, progress=progress)
    rows = tqdm(clips.to_dict("records"), desc="measures", unit="clip", disable=not progress)
    inputs = np.stack(threads.each(lambda row: _measured(audio.load_clip(row, rate)[0], rate, outside), rows))
    if outside is None:
        return Material(clips, acted, analysed, inputs, rate)
    speakers = clips["speaker"]
    own = {str(name): inputs[(speakers == name).to_numpy()] for name in speakers.unique()}
    levels = {name: (X.mean(axis=0), np.maximum(X.std(axis=0), 1e-6)) for name, X in own.items()}
    inputs = standardise_speakers(inputs, speakers, prior_clips=0)
    return Material(clips, acted, analysed, inputs, rate, outside, levels)


# ------------------------------------------------------------------------------------- the steerers


@dataclass(frozen=True)
class Steerers:
    """What is tried: methods, and beside them what a method has to beat.

    Attributes
    ----------
    methods : tuple of str; of `steering.METHODS`
    controls : bool
        Add WORLD's analysis and resynthesis alone. Beside prosody the clip at the level that prosody gives
        it, a transform of random senses (each feature moves as far as learned, up or down by chance) and one
        that is learned from shuffled labels; beside latent steering a random direction and an axis of
        shuffled labels, of the axis's length.
    encoder : Encoder, optional; layer : int; of latent and hybrid steering
    seed : int
    shift_level : bool
        Let prosody move the level as learned, as a judge of other corpora reads it, too.
    """

    methods: tuple[str, ...] = ("prosody",)
    controls: bool = False
    encoder: Encoder | None = None
    layer: int = LAYER
    seed: int = 0
    shift_level: bool = False

    def learn(
        self, makers: pd.DataFrame, source: str, target: str, analysed: Renditions
    ) -> dict[str, Steerer]:
        """Return steerers by their ways' names, learned from the clips of a manifest, all of them."""
        rng = np.random.default_rng([self.seed, zlib.crc32("|".join([target, *makers["clip"]]).encode())])
        by_sentence = makers.groupby(["speaker", "text_id"])["emotion"]  # so that there are pairs
        shuffled = makers.assign(emotion=by_sentence.transform(rng.permutation))
        made: dict[str, Any] = {}
        if set(self.methods) != {"latent"}:
            made["prosody"] = prosodic = self._prosodic(makers, source, target, analysed)
        if set(self.methods) != {"prosody"}:
            made["latent"] = latent = self._latent(makers, source, target)
        if "hybrid" in self.methods:
            made["hybrid"] = HybridSteerer(prosodic, latent)
        if self.controls and "prosody" in self.methods:
            scattered = _scattered(prosodic.transform, rng)
            made["random prosody"] = ProsodySteerer(scattered, shift_level=self.shift_level)
            made["shuffled prosody"] = self._prosodic(shuffled, source, target, analysed, agreement=0)
        if self.controls and "latent" in self.methods:
            made["random latent"] = latent.along(rng.normal(size=len(latent.axis.direction_)))
            made["shuffled latent"] = latent.along(self._direction(shuffled, source, target))
        return {way: steerer for way, steerer in made.items() if way in self.methods or " " in way}

    def _prosodic(
        self, makers: pd.DataFrame, source: str, target: str, analysed: Renditions, agreement: float = 0.5
    ) -> ProsodySteerer:
        pairs = prosody.pairs(makers, source, target, agreement=agreement, analysed=analysed).pairs
        transform = ProsodyTransform(source, target).fit(pairs)
        return ProsodySteerer(transform, shift_level=self.shift_level)

    def _latent(self, makers: pd.DataFrame, source: str, target: str) -> LatentSteerer:
        assert self.encoder is not None
        with _encoding:
            return preparation.latent_steerer(makers, source, target, encoder=self.encoder, layer=self.layer)

    def _direction(self, makers: pd.DataFrame, source: str, target: str) -> NDArray:
        with _encoding:
            store = features.extract(makers, self.encoder or "", frames=True).store
        axis = fit_axis(makers, store, self.layer, source=source, target=target, method="mean-difference")
        return axis.direction_


def _scattered(transform: ProsodyTransform, rng: np.random.Generator) -> ProsodyTransform:
    """Return a transform that changes each feature as far as another does, in a random sense."""
    made = copy.copy(transform)
    for name in ("utterance_", "frame_"):
        weights, offset = getattr(transform, name)
        signs = rng.choice([-1.0, 1.0], offset.shape)
        setattr(made, name, Linear(weights * signs, offset * signs))
    return made


# ------------------------------------------------------------------------------------- the rounds


def run(
    material: Material, source: str, targets: Sequence[str], rounds: Sequence[Roles], *,
    steerers: Steerers | None = None, measure: Sequence[str] = (), per_speaker: int = 4,
    progress: bool = False,
) -> tuple[pd.DataFrame, list[dict[str, str]]]:  # fmt: skip
    """Convert the evaluated speakers' clips in the source emotion to every target, and measure the results.

    Parameters
    ----------
    material : Material, as `gather` returns it for these emotions
    source : str; targets : sequence of str; emotions
    rounds : sequence of Roles
        As `steering.rotations` assigns them. With an outside judge those of the role of judges teach nobody.
    steerers : Steerers, optional; prosody alone by default
    measure : sequence of str; instruments to use, of words, voice and quality
    per_speaker : int
        Clips of each evaluated speaker that are converted, at most, spread evenly.
    progress : bool

    Returns
    -------
    rows : DataFrame
        One row for each clip, target and way: speaker, clip, target, way; recognised (0 or 1) and p, by the
        judge; mcd_db and log_f0_rmse to the speaker's renditions of the sentence in the target, the
        mean (of a natural one: to the others); rises (0 or 1), as the notes say; p_0 to p_3 at delta 0 and
        `DELTAS`; effect, p minus that of the clip as it was spoken; errors and said (words), voice and
        quality, by the instruments. NaN where a measure says nothing.
    skipped : list of dict, clip and reason; clips without such a rendition, and clips that can't be analysed

    Notes
    -----
    rises: the rank correlation of p with delta over 0 and `DELTAS` is above 0; of a natural rendition: its p
    is above that of the speaker's clip of the sentence in the source emotion, which is what can be asked of
    any conversion. voice: mean cosine to the speaker's clips in the source emotion without the converted one.
    Random directions and what shuffled labels teach are rendered at delta 1 alone, and their words and
    quality are not measured.
    """
    tried = steerers or Steerers()

    def convert(roles: Roles) -> list[tuple[list[dict[str, Any]], list[dict[str, str]]]]:
        current = _Round(material, source, roles, per_speaker, tried, measure)
        return [([], current.skipped), *(current.convert(target) for target in targets)]

    converted = threads.each(convert, tqdm(rounds, desc="rounds", disable=not progress))
    rows, skipped = zip(*chain(*converted), strict=True)
    return pd.DataFrame(list(chain(*rows))), [*material.analysed.skipped, *chain(*skipped)]


class _Sound:
    """A wave of an evaluated speaker who says a text, and what is measured of it when first asked for."""

    def __init__(self, wave: Wave, rate: int, text: str) -> None:
        self.wave, self.rate, self.text = wave, rate, text

    @cached_property
    def track(self) -> Track | None:
        try:
            return prosody.track(self.wave, self.rate)
        except ValueError:  # no voice is left in what was rendered
            return None

    @cached_property
    def embedded(self) -> NDArray:
        return instruments.voices([self.wave], self.rate)[0]

    @cached_property
    def quality(self) -> float:
        return float(instruments.opinion([self.wave], self.rate)[0])

    @cached_property
    def errors(self) -> tuple[int, int]:
        """The recogniser's errors, and the number of words."""
        [row] = instruments.word_errors([self.wave], self.rate, [self.text]).to_dict("records")
        return int(row["errors"]), int(row["words"])


class _Take(_Sound):
    """A clip of an evaluated speaker."""

    def __init__(self, row: pd.Series, rate: int) -> None:
        super().__init__(audio.load_clip(row, rate)[0], rate, str(row["text"]))
        self.clip, self.speaker = str(row["clip"]), str(row["speaker"])
        self.said = self.speaker, str(row["text_id"])
        self.at = int(row.name)  # type: ignore[call-overload]

    @cached_property
    def analysis(self) -> ProsodicAnalysis:
        return analyse(self.wave, self.rate)

    def analysed_by(self, steerer: Steerer) -> Any:
        """Return a steerer's analysis; WORLD's is the same for all transforms, and taken once."""
        if isinstance(steerer, HybridSteerer):
            return self.analysed_by(steerer.prosodic)
        return self.analysis if isinstance(steerer, ProsodySteerer) else steerer.analyse(self.wave, self.rate)

    @cached_property
    def resynthesised(self) -> _Sound:
        """Analysis and resynthesis, with nothing changed but what they change."""
        recording = self.analysis.recording
        wave = prosody.resynthesise(recording, recording.speech)
        return self.said_as(audio.level(wave, audio.rms_dbfs(self.wave)))

    def said_as(self, wave: Wave) -> _Sound:
        """Return what the clip has become."""
        return _Sound(wave, self.rate, self.text)


def _is_control(way: str) -> bool:
    return way.split()[0] in _CONTROLS


class _Round:
    """One group of evaluated speakers, and their judge."""

    def __init__(
        self, material: Material, source: str, roles: Roles, per_speaker: int, steerers: Steerers,
        measure: Sequence[str],
    ) -> None:  # fmt: skip
        self.material, self.source, self.roles = material, source, roles
        self.steerers, self.measure = steerers, measure
        clips, usable = material.clips, material.acted["clip"].isin(list(material.analysed.by_clip))
        self.acted = material.acted[usable]
        if material.outside is None:
            known = clips["speaker"].isin(roles.judges).to_numpy()
            labels = clips[known]
            self.judge = Judge().fit_measures(material.inputs[known], labels["emotion"], labels["speaker"])
        else:
            self.judge = material.outside.judge
        self.judge.check_unseen([*roles.makers, *roles.heard])
        plain = self.acted[self.acted["emotion"] == source]
        evaluated = plain[plain["speaker"].isin(roles.heard)]
        self.takes: list[_Take] = []
        self.natural: dict[str, list[_Take]] = {}
        self.skipped: list[dict[str, str]] = []
        for speaker, some in evaluated.groupby("speaker"):
            own = [_Take(row, material.rate) for _, row in some.iterrows()]
            at = evenly(len(own), per_speaker)
            for take in (own[k] for k in np.unique(at)):
                try:
                    take.analysis  # noqa: B018 - a clip may fail at this rate that passed at its own
                    self.takes.append(take)
                except ValueError as error:
                    self.skipped.append({"clip": take.clip, "reason": str(error)})
            self.natural[str(speaker)] = own

    def convert(self, target: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Return the rows of all ways to one target, and the clips without a rendition to compare with."""
        makers = self.acted[self.acted["speaker"].isin(self.roles.makers)]
        steerers = self.steerers.learn(makers, self.source, target, self.material.analysed)
        chosen = self.acted["speaker"].isin(self.roles.heard) & (self.acted["emotion"] == target)
        goals = [_Take(row, self.material.rate) for _, row in self.acted[chosen].iterrows()]
        rows, skipped = [], []
        for take in self.takes:
            if own := [goal for goal in goals if goal.said == take.said]:
                rows += self._conversions(target, steerers, take, own)
            else:
                skipped.append({"clip": take.clip, "reason": f"no {target} rendition of it by its speaker"})
        spoken = {take.said: take for take in reversed(self.takes)}
        for goal in goals:
            if goal.said in spoken:
                take, own = spoken[goal.said], [one for one in goals if one.said == goal.said]
                row = self._row(target, "natural target", take, goal, own)
                rows.append(row | {"clip": goal.clip, "rises": float(row["effect"] > 0)})
        return rows, skipped

    def _conversions(
        self, target: str, steerers: Mapping[str, Steerer], take: _Take, goals: Sequence[_Take]
    ) -> list[dict[str, Any]]:
        """Return the rows of the unmodified clip, of its resynthesis and of each steerer for one clip."""
        rows = [self._row(target, "unmodified", take, take, goals)]
        if self.steerers.controls:
            rows.append(self._row(target, _WORLD, take, take.resynthesised, goals))
        for way, steerer in steerers.items():
            analysis = take.analysed_by(steerer)
            sound = take.said_as(steerer.render(analysis, 1.0))
            row = self._row(target, way, take, sound, goals)
            if way == "prosody" and self.steerers.shift_level:
                louder = take.said_as(audio.level(take.wave, audio.rms_dbfs(sound.wave)))
                rows.append(self._row(target, "level only", take, louder, goals))
            p = [row["p"] - row["effect"], row["p"]]
            if not _is_control(way):
                between = [take.said_as(steerer.render(analysis, delta)) for delta in DELTAS[:-1]]
                p[1:1] = [self._probabilities(take, one, target)[0] for one in between]
                row |= dict(zip(_P, p, strict=True))
            rises = trends(np.linspace(0, 1, len(p)), [p])["spearman"][0] > 0
            rows.append(row | {"rises": float(rises)})
        return rows

    def _probabilities(self, take: _Take, sound: _Sound, target: str) -> tuple[float, bool]:
        """Return P(target) of a sound, and whether it is the judge's answer."""
        if isinstance(sound, _Take):
            read = self.material.inputs[sound.at]
        else:
            read = self.material.read(sound.wave, take.speaker)
        [p] = self.judge.predict_proba_measures(np.asarray(read)[None])
        column = self.judge.column(target)
        return float(p[column]), bool(p.argmax() == column)

    def _row(
        self, target: str, way: str, take: _Take, sound: _Sound, goals: Sequence[_Take]
    ) -> dict[str, Any]:
        """Return the measures that all ways share."""
        p, recognised = self._probabilities(take, sound, target)
        tracks = [goal.track for goal in goals if goal.track is not None]
        apart = prosody.mean_distance(tracks if sound.track else [], sound.track)  # type: ignore[arg-type]
        return {
            "speaker": take.speaker, "clip": take.clip, "target": target, "way": way,
            "recognised": float(recognised), "p": p, "mcd_db": apart.mcd_db, "log_f0_rmse": apart.log_f0_rmse,
            "rises": np.nan, **dict.fromkeys(_P, np.nan),
            "effect": p - self._probabilities(take, take, target)[0],
        } | self._instruments(way, take, sound)  # fmt: skip

    def _instruments(self, way: str, take: _Take, sound: _Sound) -> dict[str, float]:
        found = dict.fromkeys(("errors", "said", "voice", "quality"), np.nan)
        if "words" in self.measure and not _is_control(way):
            found["errors"], found["said"] = sound.errors
        if "quality" in self.measure and not _is_control(way):
            found["quality"] = sound.quality
        others = [one for one in self.natural[take.speaker] if one is not take]
        if "voice" in self.measure and others:
            known = np.stack([one.embedded for one in others])
            found["voice"] = float((known @ sound.embedded).mean())
        return found


# ------------------------------------------------------------------------------------- what came of it


def difference(rows: pd.DataFrame, measure: str, way: str, to: str) -> pd.DataFrame:
    """Return a measure's mean of one way minus another's, with its interval over speakers.

    Parameters
    ----------
    rows : DataFrame, as `run` returns it
    measure : str; a column, such as recognised or mcd_db, or wer
    way, to : str; two of the ways in it

    Returns
    -------
    table : DataFrame; value, low and high for each target, and for all their clips
    """
    return _compared(rows, measure, way, to, operator.sub)


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
    return _compared(rows, measure, way, to, _divided)


def _divided(mine: float, other: float) -> float:
    return mine / other if other else float("nan")


def _compared(
    rows: pd.DataFrame, measure: str, way: str, to: str, of: Callable[[float, float], float]
) -> pd.DataFrame:
    """Return a number of two ways' means of a measure, by target and over all, with intervals."""
    found = {name: _between(part, measure, way, to, of) for name, part in _by_target(rows)}
    return pd.DataFrame(found, index=["value", "low", "high"]).T.dropna(subset="value")


def _by_target(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [*rows.groupby("target", sort=False), ("all", rows)]


def _between(
    rows: pd.DataFrame, measure: str, way: str, to: str, of: Callable[[float, float], float]
) -> Interval:
    columns, mean = _statistic(measure)

    def metric(values: NDArray, mine: NDArray) -> float:
        if mine.all() or not mine.any():  # a resample of speakers who have one way only
            return float("nan")
        return of(mean(values[mine]), mean(values[~mine]))

    known = rows[rows["way"].isin([way, to])].dropna(subset=columns)
    if known.empty:
        return _UNKNOWN
    return speaker_bootstrap(metric, known[columns], known["way"] == way, known["speaker"])


def _level(rows: pd.DataFrame, measure: str) -> Interval:
    columns, mean = _statistic(measure)
    known = rows.dropna(subset=columns)
    if known.empty:
        return _UNKNOWN
    return speaker_bootstrap(lambda values, _: mean(values), known[columns], known["p"], known["speaker"])


def _statistic(measure: str) -> tuple[list[str], Callable[[NDArray], float]]:
    """Return the columns that a measure is taken from, and its value over N clips from (N, columns)."""
    if measure == "wer":
        return ["errors", "said"], lambda counts: _divided(*counts.sum(axis=0).tolist())
    if measure == "spearman":
        return list(_P), _monotony
    return [measure], lambda values: float(values.mean())


def _monotony(p: NDArray) -> float:
    """Return the rank correlation of delta with the clips' mean P(target)."""
    means = p.mean(axis=0)
    return float(np.corrcoef(np.arange(len(means)), rankdata(means))[0, 1]) if np.ptp(means) else 0.0


#: Measures of the table, in its order; those of `_COMPARED` follow.
MEASURES = (
    "recognised", "p", "effect", "rises", "spearman", "mcd_db", "log_f0_rmse", "wer", "voice", "quality",
)  # fmt: skip
#: By name: what is compared, with which way, and how.
_COMPARED: dict[str, tuple[str, str, Callable[[float, float], float]]] = {
    "recognised_minus_natural": ("recognised", "natural target", operator.sub),
    "recognised_over_natural": ("recognised", "natural target", _divided),
    "wer_minus_natural": ("wer", "natural target", operator.sub),
    "voice_minus_natural": ("voice", "natural target", operator.sub),
    "quality_minus_natural": ("quality", "natural target", operator.sub),
    "quality_minus_unmodified": ("quality", "unmodified", operator.sub),
    "mcd_db_over_unmodified": ("mcd_db", "unmodified", _divided),
    "log_f0_rmse_over_unmodified": ("log_f0_rmse", "unmodified", _divided),
}


def tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every measure of every way, to each target and to all of them, with intervals over speakers.

    Returns
    -------
    table : DataFrame
        target, way, measure, value, low, high, clips, speakers. recognised_over_natural has no interval where
        the interval of the natural rate reaches below `LEAST_RATE`, and no value where that rate is 0.
    """
    table: list[dict[str, Any]] = []
    for target, part in _by_target(rows):
        natural = _level(part[part["way"] == "natural target"], "recognised")
        for way, some in part.groupby("way", sort=False):
            found = {measure: _level(some, measure) for measure in MEASURES}
            for name, (measure, to, of) in _COMPARED.items():
                if way != to:
                    found[name] = _between(part, measure, str(way), to, of)
            over = "recognised_over_natural"
            if over in found and not natural.low >= LEAST_RATE:
                found[over] = _UNKNOWN._replace(value=found[over].value)
            numbers = {"clips": len(some), "speakers": some["speaker"].nunique()}
            table += [
                {"target": target, "way": way, "measure": name} | interval._asdict() | numbers
                for name, interval in found.items()
                if not np.isnan(interval.value)
            ]
    return pd.DataFrame(table)


#: Columns of the printed table.
_SHOWN = {
    "recognised": "recognised",
    "recognised_minus_natural": "- natural",
    "recognised_over_natural": "/ natural",
    "p": "P",
    "effect": "effect",
    "rises": "rises",
    "spearman": "Spearman",
    "mcd_db": "MCD (dB)",
    "log_f0_rmse": "log-F0 RMSE",
    "wer": "WER",
    "voice": "voice cosine",
    "quality": "DistillMOS",
}


class Outcome(NamedTuple):
    """What a trial found.

    Attributes
    ----------
    table : DataFrame, as `tabulate` returns it
    rows : DataFrame, as `run` returns it
    setting : dict; what was tried, the judge, its accuracy on natural clips, instruments that are missing
    skipped : list of dict, clip and reason
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    setting: dict[str, Any]
    skipped: list[dict[str, str]]

    def __str__(self) -> str:
        """Return the setting, and the means of the most telling measures by target and way."""
        told = self.setting
        ua = Interval(told["judge_ua"], told["judge_ua_low"], told["judge_ua_high"])
        lines = [
            f"{told['corpus']}, {told['source']} to {', '.join(told['targets'])}: "
            f"{told['speakers']} speakers in {told['rounds']} rounds, who taught nothing in their own round",
            f"judge: {told['judge']}; each speaker's mean and deviation over unlabelled clips are taken out",
            f"its UA on natural clips of this corpus: {ua}, chance {1 / len(told['judge_emotions']):.2f}",
            *told["missing"],
        ]
        values = self.table.pivot_table("value", ["target", "way"], "measure")
        order = self.table[["target", "way"]].drop_duplicates().apply(tuple, axis=1)
        shown = values.loc[order, [name for name in _SHOWN if name in values]].rename(columns=_SHOWN)
        return "\n".join([*lines, "", shown.round(2).to_string(na_rep="")])

    def flat(self) -> dict[str, float]:
        """Return the table as ``<measure>_<way>_<target>``, and the same with _low and _high."""
        found: dict[str, float] = {}
        for row in self.table.to_dict("records"):
            key = f"{row['measure']}_{row['way']}_{row['target']}".replace(" ", "_")
            ends = {f"{key}_{end}": row[end] for end in ("low", "high") if not np.isnan(row[end])}
            found |= {key: row["value"]} | ends
        return found


def lacking(clips: pd.DataFrame) -> dict[str, str]:
    """Return in a sentence why words, voice and quality can't be measured; "" of what can."""
    found = {name: instruments.missing(name) for name in ("words", "voice", "quality")}
    if others := sorted(set(clips["language"]) - {"en"}):
        spoken = ", ".join(others) or "an unknown language"
        found["words"] = f"words: no instrument, for the recogniser reads English and these are in {spoken}"
    elif (clips["text"] == "").any():
        found["words"] = "words: no instrument, for it is not known of each clip what is said"
    return found


def hold(
    manifest: pd.DataFrame, source: str = "neutral", targets: Sequence[str] = TARGETS, *,
    methods: Sequence[str] = METHODS, per_speaker: int = 2, n_speakers: int | None = None,
    encoder: str = paths.SHIPPED_ENCODER, layer: int = LAYER, device: str = "auto", seed: int = 0,
    progress: bool = False,
) -> Outcome:  # fmt: skip
    """Try steerers on every speaker of a corpus, with a judge of other corpora.

    Parameters
    ----------
    manifest : DataFrame; a corpus with audio, of at least five speakers
    source : str; targets : sequence of str; emotions
    methods : sequence of str; of `steering.METHODS`
    per_speaker : int; clips of each speaker that are converted to each target, at most
    n_speakers : int, optional; of so many speakers, spread evenly over both genders; all by default
    encoder, layer : of latent and hybrid steering
    device : str
    seed : int; of random directions and shuffled labels
    progress : bool

    Raises
    ------
    ValueError
        If a method is unknown, an emotion is not in the corpus or unknown to the judge, the latent encoder is
        the judge's, there are fewer than five speakers, or the clips have no audio.
    """
    if unknown := [name for name in methods if name not in METHODS] or not methods:
        raise ValueError(f"methods {unknown or methods}; expected some of: {', '.join(METHODS)}")
    is_latent = set(methods) != {"prosody"}
    if is_latent and encoder == JUDGE_ENCODER:
        raise ValueError(f"the judge reads {encoder}, too; expected another encoder for latent steering")
    clips = some_speakers(manifest, n_speakers)
    check_emotions(clips, source, *targets)
    outside = outside_judge(clips, device)
    for word in targets:
        outside.judge.column(word)
    reasons = lacking(clips)
    loaded = encoders.load(encoder, layers=[layer], device=device) if is_latent else None
    tried = Steerers(tuple(methods), True, loaded, layer, seed, shift_level=True)
    material = gather(clips, source, targets, outside=outside, progress=progress)
    rounds = [Roles((*one.makers, *one.judges), (), one.heard) for one in rotations(clips)]
    rows, skipped = run(
        material, source, targets, rounds, steerers=tried, per_speaker=per_speaker, progress=progress,
        measure=[name for name, reason in reasons.items() if not reason],
    )  # fmt: skip
    setting = {
        "corpus": "+".join(sorted(set(clips["corpus"]))), "source": source, "targets": list(targets),
        "methods": list(methods), "per_speaker": per_speaker, "encoder": encoder if is_latent else "",
        "layer": layer, "seed": seed, "sample_rate": material.rate, "rounds": len(rounds),
        "speakers": int(rows["speaker"].nunique()), **_told(material),
        "missing": [reason for reason in reasons.values() if reason],
    }  # fmt: skip
    return Outcome(tabulate(rows), rows, setting, skipped)


def some_speakers(manifest: pd.DataFrame, n_speakers: int | None) -> pd.DataFrame:
    """Return the clips of so many speakers, evenly drawn from both genders; of all by default."""
    names = preparation.by_gender(manifest)
    drawn = [names[k] for k in evenly(len(names), n_speakers or len(names))]
    return manifest[manifest["speaker"].isin(drawn)].reset_index(drop=True)


def _told(material: Material) -> dict[str, Any]:
    """Return what is known of an outside judge, and its accuracy on the corpus's natural clips."""
    assert material.outside is not None
    judge, clips = material.outside.judge, material.clips
    shared = clips["emotion"].isin(judge.classes_).to_numpy()
    known = clips[shared]
    answers = judge.classes_[judge.predict_proba_measures(material.inputs[shared]).argmax(axis=1)]
    ua = ua_interval(known["emotion"], answers, known["speaker"])
    right = pd.Series(answers == known["emotion"].to_numpy()).groupby(known["emotion"].to_numpy()).mean()
    return {
        "judge": str(material.outside), "judge_corpora": list(material.outside.corpora),
        "judge_emotions": judge.classes_.tolist(), "judge_ua": ua.value, "judge_ua_low": ua.low,
        "judge_ua_high": ua.high, "judge_clips": int(shared.sum()),
        **{f"judge_recall_{word}": float(value) for word, value in right.items()},
    }  # fmt: skip
