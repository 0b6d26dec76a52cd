"""Embeddings heard as speech: a neutral clip takes on the shares of emotions that a probe reads off them.

The voices are those of a corpus of parallel sentences, such as the embedded one, whatever corpus the
embeddings are of. Whoever makes a clip (codebooks, probe, transforms) has heard none of the speakers that
its judge was trained on, nor the one who speaks; the judge hears sound alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import emotions
from emolib.codebook import conditioning, experiments, measures, study
from emolib.codebook.cast import Cast, perform
from emolib.codebook.coding import Codes
from emolib.codebook.quantizer import ResidualQuantizer
from emolib.codebook.stream import pack
from emolib.gallery import Clip, Table
from emolib.probing import make_probe

#: Held-out speakers of a fold whose embeddings are rendered, at most.
MOST_SPEAKERS = 2


class Stage:
    """One fold with everything that turns its held-out embeddings into speech.

    Parameters
    ----------
    held : HeldOut; of ``hold_out(apart=True)``
    own : mapping of emotion to rows of `held.seen`, as `biased.balanced_rows` returns it
    cast : Cast
    template : ResidualQuantizer; what codebooks of one emotion are trained from

    Attributes
    ----------
    picks : int array; of the judged clips, one for each speaker (at most `MOST_SPEAKERS`) and emotion
    """

    def __init__(
        self,
        held: study.HeldOut,
        own: experiments.Rows,
        cast: Cast,
        template: ResidualQuantizer,
    ) -> None:
        self.held, self.own, self.cast, self.template = held, own, cast, template
        self.probe = make_probe().fit(held.seen, held.labels[held.train])
        self.labels, self.speakers = held.labels[held.test], held.speakers[held.test].astype(str)
        self.among = sorted(set(self.speakers))[:MOST_SPEAKERS]
        table = pd.DataFrame({"speaker": self.speakers, "emotion": self.labels})
        table = table[table["speaker"].isin(self.among) & table["emotion"].isin(cast.names)]
        self.picks = table.drop_duplicates().index.to_numpy()

    def ask(self, rows: NDArray[np.intp], after: NDArray, **columns: Any) -> pd.DataFrame:
        """Return what is to be said of embeddings, (n, D), made from judged clips: a table for `perform`."""
        wanted = conditioning.shares(after, self.probe, self.cast.names)
        wanted = wanted.reindex(columns=self.cast.names, fill_value=0.0)
        voices = [self.cast.voice_of(self.speakers[row], self.among) for row in rows]
        told = {"clip": self.held.test[rows], "emotion": self.labels[rows], "speaker": self.speakers[rows]}
        wanted = wanted.assign(voice=voices, **told, **columns)
        return wanted.assign(similarity=measures.similarity(self.held.before[rows], after))

    def alone(self, rows: NDArray[np.intp], names: Sequence[str], **columns: Any) -> pd.DataFrame:
        """Return the same with the whole share on one emotion each."""
        wanted = self.ask(rows, self.held.before[rows], **columns)
        wanted[self.cast.names] = [[float(name == word) for word in self.cast.names] for name in names]
        return wanted.assign(similarity=np.nan)

    def recognised(self, speaker: str, each: int = 4) -> NDArray[np.intp]:
        """Return a speaker's clips, one per emotion, whose whole embedding sounds to the judge as what it is.

        Of each emotion the first `each` clips are made audible, and the one that the judge is surest of is
        returned; none where the judge takes every one of them for another emotion.
        """
        rows = np.flatnonzero((self.speakers == speaker) & np.isin(self.labels, self.cast.names))
        rows = rows[pd.Series(self.labels[rows]).groupby(self.labels[rows]).cumcount() < each]
        table = _with_target(self._perform([self.ask(rows, self.held.before[rows])])).assign(row=rows)
        table = table[[entry["chance"] == max(entry["heard"].values()) for _, entry in table.iterrows()]]
        best = table.sort_values("chance", ascending=False, kind="stable").drop_duplicates("emotion")
        return np.sort(best["row"].to_numpy(dtype=np.intp))

    def rates(
        self, coder: ResidualQuantizer, lams: Sequence[float], picks: NDArray[np.intp] | None = None
    ) -> pd.DataFrame:
        """Return clips, `picks` by default, at each lambda, between the plain clip and whole embeddings."""
        picks, before, parts = self.picks if picks is None else picks, self.held.before, []
        parts.append(self.alone(picks, [self.cast.home] * len(picks), way="neutral clip as it is"))
        parts.append(self.alone(picks, self.labels[picks].tolist(), way="its emotion alone"))
        parts.append(self.ask(picks, before[picks], way="whole embedding"))
        for lam in lams:
            codes = coder.encode(before, lam)
            bits = {word: _bits_a_row(coder, codes[self.labels == word]) for word in set(self.labels)}
            part = self.ask(picks, coder.decode(codes[picks]), way=f"lambda {lam:g}", lam=lam)
            parts.append(part.assign(bits=part["emotion"].map(bits)))
        return _with_target(self._perform(parts))

    def pulls(self, lam: float, picks: NDArray[np.intp]) -> pd.DataFrame:
        """Return clips, each coded by every emotion's codebook."""
        books = experiments.books_of(self.held, self.own, self.template)
        parts = []
        for name, book in books.items():
            if name in self.cast.names:
                codes = book.encode(self.held.before[picks], lam)
                part = self.ask(picks, book.decode(codes), book=name)
                parts.append(part.assign(bits=book.bits(codes)))
        return self._perform(parts)

    def mixes(
        self, pair: tuple[str, str], lam: float, rng: np.random.Generator, each: int = 3
    ) -> pd.DataFrame:
        """Return the ways of `experiments.mixtures`, `each` times a speaker, with both probabilities."""
        first = np.flatnonzero((self.labels == pair[0]) & np.isin(self.speakers, self.among))
        first = first[pd.Series(self.speakers[first]).groupby(self.speakers[first]).cumcount() < each]
        a, ways = experiments.mixtures(self.held, self.own, self.template, pair, lam, first, rng)
        parts = [self.ask(a, after, way=way) for way, after in ways.items()]
        table = self._perform(parts)
        for name in pair:
            table[name] = [heard[name] for heard in table["heard"]]
        return table.assign(smaller=table[list(pair)].min(axis=1))

    def conversions(self, lam: float, rng: np.random.Generator) -> pd.DataFrame:
        """Return one clip of each speaker for each target, converted as `experiments.converted` does."""
        parts, books = [], experiments.books_of(self.held, self.own, self.template)
        targets = [name for name in self.cast.transforms if name in books]
        for target in targets:
            others = np.isin(self.labels, [target, self.cast.home], invert=True)
            rows = np.flatnonzero(others & np.isin(self.speakers, self.among))
            rows = np.array([rng.choice(rows[self.speakers[rows] == name]) for name in self.among])
            a, ways = experiments.converted(self.held, books, target, lam, rows, rng, home=self.cast.home)
            parts += [self.ask(a, after, way=way, target=target) for way, after in ways.items()]
        return _with_target(self._perform(parts))

    def _perform(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return perform(self.cast, pd.concat(parts, ignore_index=True))


def _bits_a_row(coder: ResidualQuantizer, codes: Codes) -> float:
    return 8 * len(pack(coder, codes)) / len(codes)


def _with_target(table: pd.DataFrame) -> pd.DataFrame:
    """Add the judge's probability of the target, by default the clip's own emotion."""
    targets = table["target"] if "target" in table else table["emotion"]
    pairs = zip(table["heard"], targets, strict=True)
    return table.assign(chance=[heard.get(name, np.nan) for heard, name in pairs])


def lay_out(
    table: pd.DataFrame, title: str, text: str, *, row: str, column: str, columns: Sequence[str] | None = None
) -> Table:
    """Return performed clips as a table of a page, a cell each; the first of several is taken.

    Parameters
    ----------
    table : DataFrame, as `perform` returns it; bits and similarity are noted where they are known
    title, text : str
    row, column : str; the columns of `table` that rows and columns of the page stand for
    columns : sequence of str, optional; the order of columns
    """
    order = _in_order(table[column]) if columns is None else list(columns)
    rows: dict[str, list[Clip | None]] = {name: [None] * len(order) for name in _in_order(table[row])}
    for entry in table.drop_duplicates([row, column]).to_dict("records"):
        bits, cosine = entry.get("bits", np.nan), entry.get("similarity", np.nan)
        notes = [f"{bits:.1f} bits"] if np.isfinite(bits) else []
        notes += [f"cosine {cosine:.2f}"] if np.isfinite(cosine) else []
        if entry[column] in order:
            cell = Clip(entry["wave"], entry["heard"], (" · ".join(notes),) if notes else ())
            rows[entry[row]][order.index(entry[column])] = cell
    return Table(title, text, order, rows)


def _in_order(names: pd.Series) -> list[str]:
    """Return distinct names: emotions in their order, others as they come."""
    found = list(dict.fromkeys(names.astype(str)))
    return emotions.ordered(found) if set(found) <= set(emotions.EMOTIONS) else found
