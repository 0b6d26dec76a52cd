"""The cells of a study run: each one training and what it answered, a file that a rerun takes up.

Sixth stage of `emolib.augment`. A generator, and the network that chooses among its clips, see the training
clips of the cells that they serve and no others; under the flattering protocol they see all clips.
"""

import json
import time
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.numpy import save as pack

from emolib import generate
from emolib.atomic import write_file
from emolib.augment.audit import audit
from emolib.augment.cells import Cell, cells_of
from emolib.augment.protocol import Rows, halves, leaky, share_of
from emolib.augment.settings import Settings
from emolib.generate.mels import Mels
from emolib.ser import ResNetRecogniser

#: Seed of the network that chooses: none of the recognisers'.
_CHOOSER = 1_000
#: Change it where cells of an older design must not be read as answers of this one.
_DESIGN = "normalised by the real training clips"


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
        self,
        mels: Mels,
        genders: dict[str, str],
        folder: Path,
        settings: Settings,
        *,
        device: str = "auto",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.mels, self.folder, self.settings, self.device, self.seed = mels, folder, settings, device, seed
        self.progress = progress
        self.halves = halves(mels.labels, mels.speakers, genders, seed=seed)
        self.cells: list[Cell] = []
        self.left_out: dict[str, str] = {}
        for cell in cells_of(settings):
            self._admit(cell)
        words = json.dumps([mels.labels.tolist(), mels.speakers.tolist(), mels.clips.tolist()])
        self._choosers: dict[str, ResNetRecogniser] = {}
        self._speech = sha256(words.encode() + np.ascontiguousarray(mels.values).tobytes()).hexdigest()

    def _admit(self, cell: Cell) -> None:
        try:
            self.rows(cell)
        except ValueError as error:
            self.left_out[cell.source] = str(error)
        else:
            self.cells.append(cell)

    def rows(self, cell: Cell) -> tuple[Rows, Rows]:
        """Return the row numbers of a cell's real training clips and of its test clips."""
        mels = self.mels
        if cell.protocol == "flattering":
            return leaky(mels.labels, seed=self.seed)
        train, test = self.halves[cell.fold]
        kept = share_of(mels.labels[train], mels.speakers[train], cell.share, seed=self.seed)
        return train[kept], test

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return what a cell's file holds, or None where there is none of the same speech and settings."""
        try:
            found = json.loads(self._path(cell).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return None
        return found if found.get("identity") == self.identity(cell) else None

    def run(self, cell: Cell) -> dict[str, Any]:
        """Train and test one cell unless its file is there, and return what the file holds."""
        if (found := self.read(cell)) is not None:
            return found
        train, test = self.rows(cell)
        real, held = self.mels.take(train), self.mels.take(test)
        condition, made = cell.condition, None
        if condition.generated:
            made = self._chosen(cell, real) if condition.selected else self._generated(cell, real)
        started = time.perf_counter()
        recogniser = self._train(cell, real, made)
        chances = recogniser.predict_proba(held)
        result = {
            "identity": self.identity(cell),
            "cell": asdict(cell),
            "n_real": len(real) if condition.real else 0,
            "n_generated": 0 if made is None else len(made),
            "seconds": round(time.perf_counter() - started, 2),
            "clips": held.clips.tolist(),
            "speakers": held.speakers.tolist(),
            "truth": held.labels.tolist(),
            "predicted": recogniser.classes_[chances.argmax(1)].tolist(),
        }
        write_file(self._path(cell), (json.dumps(result) + "\n").encode())
        return result

    def check_leaks(self, cell: Cell) -> list[dict[str, Any]]:
        """Return the leak audit of a cell's clips, and of all that took part in it, as rows."""
        train, test = self.rows(cell)
        real, held = self.mels.take(train), self.mels.take(test)
        condition, saw = cell.condition, {"normalisation": real.clips}
        heard = self.mels.clips if cell.protocol == "flattering" else real.clips
        made = None
        if condition.generated:
            made, saw["generator"] = self._generated(cell, real), heard
        if condition.selected:
            saw["network that chose"] = heard
        if condition.warm:
            saw["normalisation"] = saw["recogniser before its training"] = heard
        rows = audit(real, held, made, saw=saw).to_dict("records")
        return [{str(name): value for name, value in row.items()} for row in rows]

    def identity(self, cell: Cell) -> str:
        """Return a hash of all that a cell's answers depend on.

        The largest amount of generated clips of the study is no part of it: fewer are the first of more.
        """
        settings = self.settings
        learned_from = {name: value for name, value in asdict(cell.condition).items() if value}
        parts = [
            _DESIGN,
            self._speech,
            cell.source,
            learned_from,
            cell.seed,
            asdict(settings.recogniser),
            self.seed,
        ]
        if cell.condition.mixup:
            parts.append(settings.mixup)
        if cell.condition.generated:
            # `most` of `_samples` may stay out: labels and noise of the first samples don't depend on how
            # many follow, up to the last batch
            parts += [asdict(settings.generator), settings.sampler, settings.steps, settings.guidance]
        return _digest(parts)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}-{self.identity(cell)}.json"

    def _train(self, cell: Cell, real: Mels, made: Mels | None) -> ResNetRecogniser:
        """Return a recogniser of a cell; the real training clips normalise it, whatever it is trained on."""
        condition, recogniser = cell.condition, self.settings.recogniser
        settings = replace(
            recogniser,
            seed=cell.seed,
            spec_augment=condition.classical,
            steps=max(1, round(condition.steps * recogniser.steps)),
        )
        if condition.mixup:
            settings = replace(settings, mixup=self.settings.mixup)
        clips = real if made is None else real.joined(made) if condition.real else made
        if condition.warm:
            return self._chooser(cell, real).warm_start(clips, settings)
        if condition.first:
            half = replace(settings, steps=settings.steps // 2)
            before = ResNetRecogniser(half, device=self.device).fit(clips, normalised_by=real)
            return before.warm_start(real, half)
        return ResNetRecogniser(settings, device=self.device).fit(clips, normalised_by=real)

    def _heard(self, cell: Cell, real: Mels) -> Mels:
        """Return the clips that the generator and the network that chooses see."""
        return self.mels if cell.protocol == "flattering" else real

    def _generated(self, cell: Cell, real: Mels, times: float = 1.0) -> Mels:
        """Return as many generated clips as a condition asks for, in the real clips' shares of classes."""
        made = self._samples(cell, real)
        return made.take(np.arange(max(1, round(times * cell.condition.generated * len(real)))))

    def _chosen(self, cell: Cell, real: Mels) -> Mels:
        """Return the half of twice as many generated clips that the chooser is surest of, in each class."""
        made = self._generated(cell, real, 2.0)
        chooser = self._chooser(cell, real)
        own = chooser.predict_proba(made)[
            np.arange(len(made)), np.searchsorted(chooser.classes_, made.labels)
        ]
        best = []
        for name in chooser.classes_:
            rows = np.flatnonzero(made.labels == name)
            best.append(rows[np.argsort(-own[rows])][: (len(rows) + 1) // 2])
        return made.take(np.sort(np.concatenate(best)))

    def _chooser(self, cell: Cell, real: Mels) -> ResNetRecogniser:
        """Return the network that chooses, trained once for all cells of the same clips."""
        if cell.source not in self._choosers:
            settings = replace(self.settings.recogniser, seed=_CHOOSER)
            recogniser = ResNetRecogniser(settings, device=self.device).fit(self._heard(cell, real))
            self._choosers = {cell.source: recogniser}
        return self._choosers[cell.source]

    def _samples(self, cell: Cell, real: Mels) -> Mels:
        """Return samples for the largest amount, made once and kept."""
        settings = self.settings
        most = max(c.generated * (1 + c.selected) for c in (*settings.conditions, *settings.flattering))
        labels = _labels(real, most, self.seed)
        recipe = [self._recipe(), settings.sampler, settings.steps, settings.guidance, most]
        path = self.folder / "generated" / f"{cell.source}-{_digest(recipe)}.safetensors"
        if not path.is_file():
            made = self.generator(cell, real).sample(
                labels,
                sampler=settings.sampler,
                steps=settings.steps,
                guidance=settings.guidance,
                seed=self.seed,
            )
            write_file(path, pack({"values": made.values.astype(np.float16), "mask": made.mask}))
        kept = load_file(path)
        names = np.array([f"generated-{i:05d}" for i in range(len(labels))])
        values = kept["values"].astype(np.float32)
        return Mels(values, kept["mask"], labels, np.full(len(labels), "generated"), names)

    def generator(self, cell: Cell, real: Mels) -> "generate.Generator":
        """Return the generator that serves a cell, trained unless it is there."""
        place = self.folder / "generators" / f"{cell.source}-{_digest(self._recipe())}"
        heard = self._heard(cell, real)
        return generate.train(
            heard, place, self.settings.generator, device=self.device, progress=self.progress
        )

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
