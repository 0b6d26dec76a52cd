"""Notebook 07: does generated speech make a recogniser better, on speakers that nothing was trained on?

`study` runs a grid of cells, each one training: what a recogniser is trained on, and by how much real and
generated speech there is. The speaker-disjoint protocol tests one half of the speakers; a generator, and the
network that chooses among its clips, see the training clips of the cells that they serve and no others. The
flattering protocol splits clips at random, and these two see all clips: it shows what a leak is worth.
`audit` counts what a test set shares with all that took part. A cell is a file, which a rerun reads.

References
----------
The flattering split is that of Y.-J. Kim, S.-P. Lee (2024), "A Generation of Enhanced Data by Variational
Autoencoders and Diffusion Modeling", Electronics 13(7), 1314, doi:10.3390/electronics13071314: clips at
random, 8 to 2, whoever speaks them.
"""

# ruff: noqa: PD011  (spectrograms have values, too)
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file
from safetensors.numpy import save as pack
from tqdm.auto import tqdm

from emolib import generate
from emolib.files import read_json, write_file
from emolib.generate import Settings as GeneratorSettings
from emolib.generate.mels import N_FRAMES, N_MELS, Mels
from emolib.generate.quality import NEAR, nearest_of_own
from emolib.metrics import draws, percentile_interval
from emolib.ser import ResNetRecogniser, ResNetSettings
from emolib.splits import Fold

Protocol = Literal["disjoint", "flattering"]
Rows = NDArray[np.intp]
#: The scores, in the order in which tables show them.
SCORES = ("ua", "wa", "macro_f1")
#: The share of clips that may lie near another by chance.
NEAR_LIMIT = 0.05
#: Alpha of mixup, where clips are mixed; the sampler of generated clips, and its guidance.
MIXUP, SAMPLER, GUIDANCE = 0.1, "dpm++", 2.0
#: Seed of the network that chooses: none of the recognisers'.
_CHOOSER = 1_000
#: Change it where cells of an older design must not be read as answers of this one.
_DESIGN = "normalised by the real training clips"
_GROUP = ["protocol", "share", "condition"]


# ------------------------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Condition:
    """What a recogniser is trained on.

    Attributes
    ----------
    name : str
    real : bool; the real training clips
    classical : bool; SpecAugment of every batch
    mixup : bool; mixup of every batch as well
    generated : float; generated clips, as a share of the number of real ones
    steps : float; share of the optimiser's steps that are taken
    selected : bool; of twice as many generated clips, those that a recogniser of the same real training clips
        gives the highest probability of their class
    first : bool; trained on generated clips in the first half of its steps alone, and on real ones to the end
    warm : bool; starts from the network that chose generated clips, which was trained on every clip
    """

    name: str
    real: bool = True
    classical: bool = False
    mixup: bool = False
    generated: float = 0.0
    steps: float = 1.0
    selected: bool = False
    first: bool = False
    warm: bool = False


#: Plain training, and the cheap rival. Where `BOTH` draws generated clips, these repeat real ones.
REAL, CLASSICAL = Condition("real"), Condition("classical", classical=True)
#: Real clips in one half of the draws, generated clips in the other.
BOTH = Condition("classical + generated 100 %", classical=True, generated=1.0)
#: Each real clip is drawn as often as in `BOTH`, and nothing else is.
EQUAL = Condition("classical at equal exposure", classical=True, steps=0.5)
ALONE = Condition("generated only", real=False, generated=1.0)
#: These decide whether generation helps.
DECIDING = (REAL, CLASSICAL, BOTH, EQUAL)
#: What the published protocol does, one step after the other.
FLATTERING = (
    REAL,
    CLASSICAL,
    Condition("generated 100 %", generated=1.0),
    Condition("generated 100 %, chosen by the judge", generated=1.0, selected=True),
    Condition("generated 100 %, judged by the network that chose", generated=1.0, selected=True, warm=True),
)


#: All of the speaker-disjoint protocol, those that decide first. Mixup stands beside SpecAugment, not in it:
#: where it does harm, a rival with it would be the weaker one.
EVERY = (
    *DECIDING,
    replace(BOTH, name="classical + generated 100 % first", first=True),
    Condition("generated 100 %", generated=1.0),
    ALONE,
    replace(CLASSICAL, name="classical + mixup", mixup=True),
    *(Condition(f"generated {100 * more:.0f} %", generated=more) for more in (0.25, 0.5, 2.0, 4.0)),
    replace(BOTH, name="classical + selected 100 %", selected=True),
)


@dataclass(frozen=True)
class Settings:
    """Which cells a study has, and how its networks are trained.

    Attributes
    ----------
    conditions : tuple of Condition; of the speaker-disjoint protocol
    flattering : tuple of Condition; of the flattering one
    shares : tuple of float; of the real training clips, those that matter most first
    generated_shares : tuple of float; the shares of which a generator is trained. It sees no other clips
    folds : tuple of int; which halves are tested
    seeds : tuple of int; of the recognisers
    recogniser : ResNetSettings
    generator : GeneratorSettings; steps : int; of the sampler
    """

    conditions: tuple[Condition, ...]
    flattering: tuple[Condition, ...] = FLATTERING
    shares: tuple[float, ...] = (1.0, 0.25, 0.5, 0.1)
    generated_shares: tuple[float, ...] = (1.0, 0.25)
    folds: tuple[int, ...] = (0, 1)
    seeds: tuple[int, ...] = (0, 1, 2)
    recogniser: ResNetSettings = field(default_factory=ResNetSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    steps: int = 20

    @classmethod
    def of(cls, profile: str, *, seed: int = 0) -> "Settings":
        """Return the settings of a profile.

        Parameters
        ----------
        profile : {"quick", "full"}
            Quick tests one half of the speakers with one seed, and takes some 80 s on two cores.
        seed : int; of the first recogniser and of the generators

        Raises
        ------
        ValueError
            If the profile is neither.
        """
        if profile == "full":
            generator = replace(GeneratorSettings.full(), seed=seed)
            return cls(EVERY, seeds=(seed, seed + 1, seed + 2), generator=generator)
        if profile == "quick":
            return cls(
                DECIDING, flattering=FLATTERING[:1], shares=(1.0,), generated_shares=(1.0,), folds=(0,),
                seeds=(seed,), recogniser=ResNetSettings(steps=150),
                generator=replace(GeneratorSettings.quick(), seed=seed),
            )  # fmt: skip
        raise ValueError(f"unknown profile {profile!r}; expected 'quick' or 'full'")

    def part(
        self, conditions: Collection[str] | None = None, shares: Collection[float] | None = None,
        n_seeds: int | None = None,
    ) -> "Settings":  # fmt: skip
        """Return the settings of some of the cells; those that both have are the same files.

        Parameters
        ----------
        conditions : collection of str, optional
            Names of conditions of the speaker-disjoint protocol; the flattering one is then left out.
        shares : collection of float, optional; of the real training clips
        n_seeds : int, optional; the first so many

        Raises
        ------
        ValueError
            If a name or a share is none of these settings', or there is no such number of seeds.
        """
        known = [condition.name for condition in self.conditions]
        if strange := sorted(set(conditions or ()) - set(known)):
            raise ValueError(f"no condition {', '.join(strange)}; expected some of: {', '.join(known)}")
        if other := sorted(set(shares or ()) - set(self.shares)):
            raise ValueError(f"no share {other[0]:g}; expected some of: {', '.join(map(str, self.shares))}")
        if n_seeds is not None and not 1 <= n_seeds <= len(self.seeds):
            raise ValueError(f"{n_seeds} seeds; expected 1 to {len(self.seeds)}")
        return replace(
            self,
            conditions=tuple(c for c in self.conditions if conditions is None or c.name in conditions),
            flattering=self.flattering if conditions is None else (),
            shares=tuple(share for share in self.shares if shares is None or share in shares),
            seeds=self.seeds[:n_seeds],
        )


@dataclass(frozen=True)
class Cell:
    """One training: what it learns from, on which fold, with which seed."""

    protocol: Protocol
    fold: int
    share: float
    condition: Condition
    seed: int

    @property
    def source(self) -> str:
        """The name of the training clips, and of the generator that sees no others."""
        return f"{self.protocol}-fold{self.fold}-real{100 * self.share:g}"

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        words = "".join(c if c.isalnum() else "-" for c in self.condition.name.replace(" %", ""))
        return f"{self.source}-{words}-seed{self.seed}"


def cells_of(settings: Settings) -> list[Cell]:
    """Return the cells: one seed of what decides, its other seeds, the flattering protocol, the rest."""
    cells = [
        Cell("disjoint", fold, share, condition, seed)
        for seed in settings.seeds
        for share in settings.shares
        for condition in settings.conditions
        for fold in settings.folds
        if not condition.generated or share in settings.generated_shares
    ]
    leaking = [Cell("flattering", 0, 1.0, c, seed) for seed in settings.seeds for c in settings.flattering]
    deciding = [cell for cell in cells if cell.condition in DECIDING]
    return deciding + leaking + [cell for cell in cells if cell.condition not in DECIDING]


# ------------------------------------------------------------------------------------- who learns from whom


def halves(labels: ArrayLike, speakers: ArrayLike, genders: Mapping[str, str], seed: int = 0) -> list[Fold]:
    """Cut clips into two halves of the speakers, of equal gender; each half is tested once.

    Parameters
    ----------
    labels, speakers : array-likes of str, (N,)
    genders : mapping of speaker to gender; who is missing has none
    seed : int

    Returns
    -------
    folds : list of two (train, test), row numbers

    Raises
    ------
    ValueError
        If there are fewer than two speakers, or one half lacks a class.
    """
    labels, speakers = np.asarray(labels).astype(str), np.asarray(speakers).astype(str)
    names, rng = np.unique(speakers), np.random.default_rng(seed)
    if len(names) < 2:
        raise ValueError(f"{len(names)} speaker; two halves need at least two speakers")
    by_gender = pd.Series(names).groupby([genders.get(name, "") for name in names])
    order = np.concatenate([rng.permutation(part.to_numpy()) for _, part in by_gender])
    first = np.isin(speakers, order[::2])  # every second of each gender
    for side in (first, ~first):
        if lacking := sorted(set(labels) - set(labels[side])):
            raise ValueError(
                f"speakers {', '.join(np.unique(speakers[side]))} have no clip of {', '.join(lacking)}; "
                f"expected all classes in both halves: take another seed, or leave that class out"
            )
    a, b = np.flatnonzero(first), np.flatnonzero(~first)
    return [(a, b), (b, a)]


def share_of(labels: ArrayLike, speakers: ArrayLike, share: float, *, seed: int = 0) -> Rows:
    """Return row numbers of a share of the clips: of each class alike, of each speaker as far as that goes.

    Parameters
    ----------
    labels, speakers : array-likes of str, (N,)
    share : float, above 0 and up to 1
    seed : int; a smaller share of one seed lies within a larger one

    Raises
    ------
    ValueError
        If the share is out of range, or leaves less than two clips of a class.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share}; expected a number above 0 and up to 1")
    labels, speakers, kept = np.asarray(labels), np.asarray(speakers), []
    for name in np.unique(labels):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(np.flatnonzero(labels == name))
        turn = pd.Series(speakers[rows]).groupby(speakers[rows]).cumcount()
        rows = rows[np.lexsort((rng.random(len(rows)), turn))]  # the speakers take turns
        if (n_kept := round(share * len(rows))) < 2:
            raise ValueError(
                f"{100 * share:g} % of {len(rows)} clips of {str(name)!r} are {n_kept}; expected at least "
                f"two: take a larger share"
            )
        kept.append(rows[:n_kept])
    return np.sort(np.concatenate(kept))


def leaky(labels: ArrayLike, *, seed: int = 0) -> Fold:
    """Cut clips at random, 8 to 2, each class alike, whoever speaks them: (train, test)."""
    labels, rng, test = np.asarray(labels), np.random.default_rng(seed), []
    for name in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == name))
        if len(rows) < 2:
            raise ValueError(f"{len(rows)} clip of {str(name)!r}; a split at random needs at least two")
        test.append(rows[: max(1, round(0.2 * len(rows)))])
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), held), held


# ------------------------------------------------------------------------------------- the leak audit


def audit(
    train: Mels, test: Mels, generated: Mels | None = None, saw: Mapping[str, Collection[str]] | None = None
) -> pd.DataFrame:  # fmt: skip
    """Count what the test clips share with the training clips, the generated clips, and all that took part.

    Parameters
    ----------
    train, test : Mels; real clips
    generated : Mels, optional
    saw : mapping of a name to clip ids, optional
        What each part of the system learned from: the normalisation, the generator, the network that chose.

    Returns
    -------
    table : DataFrame
        check, value, of (how many were checked), share, limit (the largest share that is no leak) and leak.
        A clip is near another where they are nearer than all but 1 % of the training clips are to the nearest
        other clip of their speaker. Copies of a training clip are no leak, but show whether a generator
        repeats what it learned from.
    """
    nearest = nearest_of_own(distances(train, train), train.speakers)
    near = float(np.quantile(nearest, NEAR)) if len(nearest) else 0.0

    def copies(mels: Mels, others: Mels) -> int:
        known = {value.tobytes() for value in others.values}
        return sum(value.tobytes() in known for value in mels.values)

    def close(mels: Mels, others: Mels) -> int:
        return int((distances(mels, others).min(1) < near).sum())

    speakers, named = set(train.speakers) & set(test.speakers), set(train.clips) & set(test.clips)
    rows = [
        ("speakers of the test clips in the training set", len(speakers), len(set(test.speakers)), 0.0),
        ("test clips in the training set, by name", len(named), len(test), 0.0),
        ("test clips in the training set, by content", copies(test, train), len(test), 0.0),
        ("test clips near a training clip", close(test, train), len(test), NEAR_LIMIT),
    ]
    if generated is not None and (n := len(generated)):
        rows += [
            ("generated clips that are a test clip", copies(generated, test), n, 0.0),
            ("generated clips near a test clip", close(generated, test), n, NEAR_LIMIT),
            ("generated clips near a training clip", close(generated, train), n, 1.0),
        ]
    for who, clips in (saw or {}).items():
        seen = int(np.isin(test.clips, list(clips)).sum())
        rows.append((f"test clips that the {who} saw", seen, len(test), 0.0))
    table = pd.DataFrame(rows, columns=["check", "value", "of", "limit"])
    table.insert(3, "share", table["value"] / table["of"])
    return table.assign(leak=table["share"] > table["limit"])


def distances(a: Mels, b: Mels) -> NDArray[np.float32]:
    """Return the distance of each clip of one set to each of another, (N, K), in nepers of energy.

    Log-mel-spectrograms are levelled and averaged over 4 bands and 4 frames: the distance is the root mean
    square over places where either clip has speech.
    """
    (x, x_weight), (y, y_weight) = _small(a), _small(b)
    square = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    either = x_weight.sum(1)[:, None] + y_weight.sum(1) - x_weight @ y_weight.T
    return np.sqrt(np.maximum(square, 0) / np.maximum(either, 1))


def _small(mels: Mels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return levelled speech and its weights, by 4 bands and 4 frames, (N, M/4 * T/4); 0 in padding."""
    mask = np.broadcast_to(mels.mask[:, None], mels.values.shape).astype(np.float32)
    level = (mels.values * mask).sum((1, 2)) / mask.sum((1, 2))
    speech = (mels.values - level[:, None, None]) * mask
    blocks = (len(mels), N_MELS // 4, 4, N_FRAMES // 4, 4)
    means, weights = speech.reshape(blocks).mean((2, 4)), mask.reshape(blocks).max((2, 4))
    return means.reshape(len(mels), -1), weights.reshape(len(mels), -1)


# ------------------------------------------------------------------------------------- the cells, run


class Grid:
    """The cells of a study on one corpus.

    Parameters
    ----------
    mels : Mels; N real clips
    genders : dict of speaker to gender
    folder : Path; for cells, generators, samples
    settings : Settings
    device : str
    seed : int; of halves, shares and samples

    Attributes
    ----------
    cells : list of Cell, those that decide most first
    left_out : dict of source to reason; training sets that would hold too few clips

    Raises
    ------
    ValueError
        If the corpus can't be cut so.
    """

    def __init__(
        self, mels: Mels, genders: Mapping[str, str], folder: Path, settings: Settings, *,
        device: str = "auto", seed: int = 0, progress: bool = False,
    ) -> None:  # fmt: skip
        self.mels, self.folder, self.settings = mels, folder, settings
        self.device, self.seed, self.progress = device, seed, progress
        self.halves = halves(mels.labels, mels.speakers, genders, seed=seed)
        self.cells: list[Cell] = []
        self.left_out: dict[str, str] = {}
        for cell in cells_of(settings):
            try:
                self.rows(cell)
                self.cells.append(cell)
            except ValueError as error:
                self.left_out[cell.source] = str(error)
        self._choosers: dict[str, ResNetRecogniser] = {}
        words = json.dumps([mels.labels.tolist(), mels.speakers.tolist(), mels.clips.tolist()])
        self._speech = sha256(words.encode() + np.ascontiguousarray(mels.values).tobytes()).hexdigest()

    def rows(self, cell: Cell) -> Fold:
        """Return the row numbers of a cell's real training clips and of its test clips."""
        labels, speakers = self.mels.labels, self.mels.speakers
        if cell.protocol == "flattering":
            return leaky(labels, seed=self.seed)
        train, test = self.halves[cell.fold]
        return train[share_of(labels[train], speakers[train], cell.share, seed=self.seed)], test

    def clips(self, cell: Cell) -> tuple[Mels, Mels, Mels]:
        """Return a cell's real training clips, its test clips, and what its generator and chooser see."""
        real, test = (self.mels.take(rows) for rows in self.rows(cell))
        return real, test, self.mels if cell.protocol == "flattering" else real

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return what a cell's file holds, or None where there is none of the same speech and settings."""
        found = read_json(self._path(cell))
        return found if found.get("identity") == self.identity(cell) else None

    def run(self, cell: Cell) -> dict[str, Any]:
        """Train and test one cell unless its file is there, and return what the file holds."""
        if (found := self.read(cell)) is not None:
            return found
        real, test, _ = self.clips(cell)
        made = self.generated(cell)
        started = time.perf_counter()
        recogniser = self.train(cell, made)
        predicted = recogniser.predict(test)
        result = {
            "identity": self.identity(cell), "cell": asdict(cell), "n_real": len(real) * cell.condition.real,
            "n_generated": 0 if made is None else len(made), "clips": test.clips.tolist(),
            "seconds": round(time.perf_counter() - started, 2), "speakers": test.speakers.tolist(),
            "truth": test.labels.tolist(), "predicted": predicted.tolist(),
        }  # fmt: skip
        write_file(self._path(cell), (json.dumps(result) + "\n").encode())
        return result

    def leaks(self, cell: Cell) -> pd.DataFrame:
        """Return the leak audit of a cell's clips, and of all that took part in it; kept beside the cells."""
        path = self.folder / "audits" / f"{cell.name}-{self.identity(cell)}.json"
        if not path.is_file():
            (real, test, seen), condition = self.clips(cell), cell.condition
            made = self.generated(cell)
            saw = {"normalisation": (seen if condition.warm else real).clips}
            took_part = {
                "generator": condition.generated, "network that chose": condition.selected,
                "recogniser before its training": condition.warm,
            }  # fmt: skip
            saw |= {who: seen.clips for who, did in took_part.items() if did}
            rows = audit(real, test, made, saw=saw).to_dict("records")
            write_file(path, (json.dumps(rows, indent=1) + "\n").encode())
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))

    def identity(self, cell: Cell) -> str:
        """Return a hash of all that a cell's answers depend on.

        The largest amount of generated clips of the study is no part of it: fewer are the first of more.
        Labels and noise of the first samples don't depend on how many follow, up to the last batch.
        """
        settings, condition = self.settings, cell.condition
        learned_from = {name: value for name, value in asdict(condition).items() if value}
        parts = [_DESIGN, self._speech, cell.source, learned_from, cell.seed]
        parts += [asdict(settings.recogniser), self.seed]
        if condition.mixup:
            parts.append(MIXUP)
        if condition.generated:
            parts += [asdict(settings.generator), SAMPLER, settings.steps, GUIDANCE]
        return _digest(parts)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}-{self.identity(cell)}.json"

    def train(self, cell: Cell, made: Mels | None) -> ResNetRecogniser:
        """Return a cell's recogniser; the real training clips normalise it, whatever it is trained on."""
        condition, (real, _, _), base = cell.condition, self.clips(cell), self.settings.recogniser
        settings = replace(
            base, seed=cell.seed, spec_augment=condition.classical,
            mixup=MIXUP if condition.mixup else base.mixup,
            steps=max(1, round(condition.steps * base.steps)),
        )  # fmt: skip
        clips = real if made is None else real.joined(made) if condition.real else made
        if condition.warm:
            return self.chooser(cell).warm_start(clips, settings)
        if condition.first:
            half = replace(settings, steps=settings.steps // 2)
            before = ResNetRecogniser(half, device=self.device).fit(clips, normalised_by=real)
            return before.warm_start(real, half)
        return ResNetRecogniser(settings, device=self.device).fit(clips, normalised_by=real)

    def generated(self, cell: Cell) -> Mels | None:
        """Return a condition's generated clips, in the real clips' shares of classes.

        Where they are selected, that is the half of twice as many that the chooser is surest of, by class.
        """
        condition = cell.condition
        if not condition.generated:
            return None
        made = self._samples(cell, condition.generated * (1 + condition.selected))
        if not condition.selected:
            return made
        chooser, kept = self.chooser(cell), []
        chances = chooser.predict_proba(made)
        for column, name in zip(chances.T, chooser.classes_, strict=True):
            rows = np.flatnonzero(made.labels == name)
            kept.append(rows[np.argsort(-column[rows])][: (len(rows) + 1) // 2])
        return made.take(np.sort(np.concatenate(kept)))

    def chooser(self, cell: Cell) -> ResNetRecogniser:
        """Return the network that chooses, trained once for all cells of the same clips."""
        if cell.source not in self._choosers:
            settings = replace(self.settings.recogniser, seed=_CHOOSER)
            recogniser = ResNetRecogniser(settings, device=self.device)
            self._choosers[cell.source] = recogniser.fit(self.clips(cell)[2])
        return self._choosers[cell.source]

    def _samples(self, cell: Cell, times: float) -> Mels:
        """Return samples, so many times the real clips; as many as any condition needs are made and kept."""
        settings, (real, _, _) = self.settings, self.clips(cell)
        most = max(c.generated * (1 + c.selected) for c in (*settings.conditions, *settings.flattering))
        labels = _labels(real, most, self.seed)
        digest = _digest([self._recipe(), SAMPLER, settings.steps, GUIDANCE, most])
        path = self.folder / "generated" / f"{cell.source}-{digest}.safetensors"
        if not path.is_file():
            made = self.generator(cell).sample(
                labels, sampler=SAMPLER, steps=settings.steps, guidance=GUIDANCE, seed=self.seed
            )
            write_file(path, pack({"values": made.values.astype(np.float16), "mask": made.mask}))
        kept = load_file(path)
        names = np.array([f"generated-{i:05d}" for i in range(len(labels))])
        speakers = np.full(len(labels), "generated")
        made = Mels(kept["values"].astype(np.float32), kept["mask"], labels, speakers, names)
        return made.take(np.arange(max(1, round(times * len(real)))))

    def generator(self, cell: Cell) -> "generate.Generator":
        """Return the generator that serves a cell, trained unless it is there."""
        folder = self.folder / "generators" / f"{cell.source}-{_digest(self._recipe())}"
        seen, options = self.clips(cell)[2], self.settings.generator
        return generate.train(seen, folder, options, device=self.device, progress=self.progress)

    def _recipe(self) -> list[Any]:
        return [self._speech, asdict(self.settings.generator), self.seed]


def _digest(parts: list[Any]) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _labels(real: Mels, times: float, seed: int) -> NDArray[Any]:
    """Return the labels of the real clips, `times` over; every beginning has the classes in their shares."""
    rng, n = np.random.default_rng(seed), max(1, round(times * len(real)))
    names, codes, counts = np.unique(real.labels, return_inverse=True, return_counts=True)
    place = np.empty(len(codes))
    for code, count in enumerate(counts):
        place[codes == code] = (np.arange(count) + rng.random(count)) / count
    return np.resize(names[codes[np.argsort(place)]], n)


# ------------------------------------------------------------------------------------- scores


def scores(predictions: pd.DataFrame, over: pd.DataFrame | None = None) -> dict[str, float]:
    """Return each score, or its difference to another's, averaged over seeds.

    Whole speakers are resampled, the same ones for every seed and for both sides of a difference;
    `emolib.metrics` says how.

    Parameters
    ----------
    predictions : DataFrame with the columns seed, speaker, truth, predicted
    over : DataFrame, optional; of the same seeds and speakers, whose scores are taken off

    Returns
    -------
    scores : dict; ua, wa and macro_f1, each with _low and _high, a 95 % interval over speakers
    """
    parts = [predictions] if over is None else [predictions, over]
    both = pd.concat(parts)
    classes, speakers = sorted({*both["truth"], *both["predicted"]}), sorted(set(both["speaker"]))
    times = np.vstack([np.ones(len(speakers), dtype=np.int64), draws(len(speakers))])
    drawn = [_scores_of(np.einsum("rs,qsij->qrij", times, _counts(p, classes, speakers))) for p in parts]
    found: dict[str, float] = {}
    for name in SCORES:
        numbers = (drawn[0][name] - (0 if over is None else drawn[1][name])).mean(0)
        ends = percentile_interval(float(numbers[0]), numbers[1:], len(speakers))
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return found


def _counts(predictions: pd.DataFrame, classes: list[str], speakers: list[str]) -> NDArray[np.float64]:
    """Return how often each speaker's clips of a class were answered by each class, (Q seeds, S, C, C)."""
    axes = {"seed": sorted(set(predictions["seed"])), "speaker": speakers, "truth": classes}
    axes["predicted"] = classes
    codes = [pd.Categorical(predictions[name], known).codes for name, known in axes.items()]
    counts = np.zeros([len(known) for known in axes.values()])
    np.add.at(counts, tuple(codes), 1)
    return counts


def _scores_of(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of tables of truth by answer, (..., C, C): each an array, (...)."""
    right, true, answered = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(true > 0, right / true, np.nan)
        f1 = np.where(true > 0, 2 * right / (true + answered), np.nan)
        whole = right.sum(-1) / true.sum(-1)
    return {"ua": np.nanmean(recall, -1), "wa": whole, "macro_f1": np.nanmean(f1, -1)}


# ------------------------------------------------------------------------------------- the study


@dataclass(frozen=True)
class Study:
    """What the cells of a study answered.

    Attributes
    ----------
    grid : Grid; of the cells, which knows who learned from what
    predictions : DataFrame
        A row a test clip, condition and seed: protocol, share, condition, fold, seed, clip, speaker, truth,
        predicted, n_real and n_generated.
    leaks : DataFrame; the audit of each protocol, as `audit` gives it, with the columns protocol, condition
    missing : list of str; cells that were not run
    skipped : list of dict; clips, and training sets, that could not be used, and why
    seconds : float; of all cells' trainings and tests, generators aside
    """

    grid: Grid
    predictions: pd.DataFrame
    leaks: pd.DataFrame
    missing: list[str]
    skipped: list[Any]
    seconds: float

    def table(self) -> pd.DataFrame:
        """Return the scores of each condition, averaged over seeds, with 95 % intervals over speakers.

        Returns
        -------
        table : DataFrame
            protocol, share (of the real training clips), condition, then ua, wa and macro_f1, each with _low
            and _high, n (test clips), speakers, seeds, n_real and n_generated (clips, the mean over folds).
            Seeds that lack a fold of a condition are left out of it.
        """
        return pd.DataFrame([head | scores(part) | _sizes(part) for head, part in self._parts()])

    def differences(self, over: str = CLASSICAL.name) -> pd.DataFrame:
        """Return what each condition gains over another of the same protocol and share of real clips.

        Parameters
        ----------
        over : str; the condition that all others are compared with

        Returns
        -------
        table : DataFrame
            As `table`, with over and differences of scores: averaged over the seeds that both have, the
            intervals over speakers, paired. A share that lacks the other condition is left out.
        """
        keys, rows, parts = ["protocol", "share", "seed", "clip"], [], self._parts()
        bases = [part for head, part in parts if head["condition"] == over]
        base = pd.concat([*bases, self.predictions[:0]])
        for head, part in parts:
            mine, theirs = (pd.MultiIndex.from_frame(some[keys]) for some in (part, base))
            own, rival = part[mine.isin(theirs)], base[theirs.isin(mine)]
            if head["condition"] != over and len(own):
                rows.append(head | {"over": over} | scores(own, rival) | _sizes(own))
        return pd.DataFrame(rows)

    def headline(self) -> dict[str, float]:
        """Return the numbers of the smallest share of real clips with generated ones; NaN before any.

        Returns
        -------
        numbers : dict
            ua_real, ua_classical, ua_generated, ua_equal; with _low and _high, gain, over `CLASSICAL`: the
            same number of steps with real clips repeated in place of generated ones, and gain_equal, over
            `EQUAL`: each real clip is drawn as often on both sides; n (test clips) and share.
        """
        scores = self.table()
        scores = scores[scores["protocol"] == "disjoint"]
        share = float(scores.loc[scores["condition"] == BOTH.name, "share"].min())
        rows = scores[scores["share"] == share].set_index("condition")
        ua = rows["ua"].reindex([REAL.name, CLASSICAL.name, BOTH.name, EQUAL.name]).tolist()
        found = dict(zip(("ua_real", "ua_classical", "ua_generated", "ua_equal"), ua, strict=True))
        both = {"protocol": "disjoint", "share": share, "condition": BOTH.name}
        for name, over in (("gain", CLASSICAL), ("gain_equal", EQUAL)):
            gains = self.differences(over.name).to_dict("records")
            gain = next((row for row in gains if row | both == row), {})
            found |= {f"{name}{end}": gain.get(f"ua{end}", float("nan")) for end in ("", "_low", "_high")}
        return found | {"n": int(rows["n"].max()) if len(rows) else 0, "share": share}

    def _parts(self) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """Return the predictions of each condition, in the order of the study, whole seeds only."""
        found: list[tuple[dict[str, Any], pd.DataFrame]] = []
        for key, part in self.predictions.groupby(_GROUP, sort=False):
            folds = part.groupby("seed")["fold"].nunique()
            whole = part[part["seed"].isin(folds.index[folds == folds.max()])]
            found.append((dict(zip(_GROUP, key, strict=True)), whole))
        order = self.predictions["condition"].drop_duplicates().tolist()
        found.sort(key=lambda e: (e[0]["protocol"], -e[0]["share"], order.index(e[0]["condition"])))
        return found


def study(
    manifest: pd.DataFrame, out: str | Path, profile: str = "quick", *, device: str = "auto", seed: int = 0,
    settings: Settings | None = None, limit_s: float | None = None, progress: bool = False,
) -> Study:  # fmt: skip
    """Train recognisers on real, augmented and generated clips, and test them on unseen speakers.

    Parameters
    ----------
    manifest : DataFrame, as `corpora.load` returns it
    out : str or Path
        Folder of the cells. Those that are there are not run again.
    profile : {"quick", "full"}
    device : str
    seed : int
    settings : Settings, optional; in place of the profile's
    limit_s : float, s, optional; no further cell is begun after this time. 0 reads what is there
    progress : bool

    Raises
    ------
    ValueError
        If the corpus lacks classes or speakers for it, or no cell is there and none could be run.
    """
    started, folder = time.perf_counter(), Path(out)
    mels, unused = generate.load_mels(manifest)
    genders = dict(zip(manifest["speaker"].astype(str), manifest["gender"].astype(str), strict=True))
    chosen = settings or Settings.of(profile, seed=seed)
    grid = Grid(mels, genders, folder, chosen, device=device, seed=seed, progress=progress)
    skipped = [*unused, *({"clip": name, "reason": reason} for name, reason in grid.left_out.items())]
    done, missing = [], []
    for cell in tqdm(grid.cells, desc="augment", disable=not progress):
        in_time = limit_s is None or time.perf_counter() - started < limit_s
        if (found := grid.run(cell) if in_time else grid.read(cell)) is None:
            missing.append(cell.name)
        else:
            done.append((cell, found))
    if not done:
        raise ValueError(f"no cell of this study is in {folder}, and there was no time to run any")
    predictions = pd.concat([_frame(cell, found) for cell, found in done], ignore_index=True)
    leaks = _leaks(grid, [cell for cell, _ in done])
    return Study(grid, predictions, leaks, missing, skipped, sum(found["seconds"] for _, found in done))


def _frame(cell: Cell, found: Mapping[str, Any]) -> pd.DataFrame:
    names = {"clip": "clips", "speaker": "speakers", "truth": "truth", "predicted": "predicted"}
    return pd.DataFrame({name: found[key] for name, key in names.items()}).assign(
        protocol=cell.protocol, share=cell.share, condition=cell.condition.name, fold=cell.fold,
        seed=cell.seed, n_real=found["n_real"], n_generated=found["n_generated"],
    )  # fmt: skip


def _leaks(grid: Grid, done: Sequence[Cell]) -> pd.DataFrame:
    """Return the audit of the cell of each protocol in which most took part."""
    found = {}
    for protocol in dict.fromkeys(cell.protocol for cell in done):
        own = [cell for cell in done if cell.protocol == protocol]
        parts = [(c.condition.warm, c.condition.selected, c.condition.generated, c.share) for c in own]
        cell = own[parts.index(max(parts))]
        found[protocol, cell.condition.name] = grid.leaks(cell)
    return pd.concat(found, names=["protocol", "condition"]).reset_index([0, 1]).reset_index(drop=True)


def _sizes(part: pd.DataFrame) -> dict[str, Any]:
    folds, columns = part.drop_duplicates("fold"), {"n": "clip", "speakers": "speaker", "seeds": "seed"}
    sizes: dict[str, Any] = {name: part[column].nunique() for name, column in columns.items()}
    return sizes | {name: float(folds[name].mean()) for name in ("n_real", "n_generated")}
