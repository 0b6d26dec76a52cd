"""The experiments of the notebook, fold by fold: each returns a row a judged clip and way of changing it.

Every function takes a `study.HeldOut`; those that train codebooks of one emotion want one whose judge was
trained apart (``hold_out(..., apart=True)``) and the balanced rows of `biased.balanced_rows`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from emolib import splits
from emolib.codebook import biased, controls, measures, study
from emolib.codebook.coding import Codes
from emolib.codebook.quantizer import ResidualQuantizer
from emolib.codebook.routing import RoutedQuantizer
from emolib.codebook.stream import Codec, pack
from emolib.probing import make_probe

Rows = Mapping[str, NDArray[np.intp]]


def changes(
    held: study.HeldOut, coder: ResidualQuantizer, lam: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Return what quantization and its controls do to each clip.

    Returns
    -------
    table : DataFrame
        As `study.outcome`, with way, lam, and bits: the length of the stream of all judged clips of the
        clip's emotion, header included, over their number.
    """
    X, emotion = held.before, held.labels[held.test]
    codes = coder.encode(X, lam)
    after = coder.decode(codes).astype(np.float64)
    cosines, lost = measures.similarity(X, after), measures.distortion(X, after)
    ways = {
        "codes": after,
        "noise": controls.add_noise(X, after, rng),
        "pure shrinking": controls.shrink(X, after),
        "PCA": controls.truncate(held.seen, X, lost),
        "scalar grid": controls.round_to_grid(X, lost).rows,
        "random turn": controls.turn(X, cosines, rng),
        "greedy drop": controls.drop(X, cosines),
    }
    bits = {
        name: 8 * len(pack(coder, codes[emotion == name])) / (emotion == name).sum() for name in set(emotion)
    }
    table = pd.concat([study.outcome(held, rows).assign(way=way) for way, rows in ways.items()])
    return table.assign(lam=lam, bits=table["emotion"].map(bits))


def operating_points(
    X: NDArray,
    manifest: pd.DataFrame,
    folds: Sequence[splits.Fold],
    template: ResidualQuantizer,
    lams: Sequence[float],
    *,
    seed: int = 0,
) -> list[float]:
    """Choose each fold's lambda on its training speakers: where coding halves the probe's UA above chance.

    Parameters
    ----------
    X : array, (N, D)
    manifest : DataFrame, N rows
    folds : list of (train, test); no test clip is looked at
    template : ResidualQuantizer; trained on one half of a fold's training speakers and judged on the other
    lams : sequence of float; what there is to choose from
    seed : int; of the halves
    """
    chosen = []
    for train, _ in folds:
        part = manifest.iloc[train].reset_index(drop=True)
        inner = study.hold_out(X[train], part, splits.folds(part, n_folds=2, seed=seed))
        coders = [clone(template).fit(held.seen) for held in inner]
        whole = _ua([study.outcome(held, held.before) for held in inner])
        wanted = (whole + 1 / part["emotion"].nunique()) / 2
        left = {}
        for lam in lams:
            pairs = zip(inner, coders, strict=True)
            after = [(held, coder.decode(coder.encode(held.before, lam))) for held, coder in pairs]
            left[lam] = _ua([study.outcome(held, rows) for held, rows in after])
        chosen.append(min(lams, key=lambda lam: abs(left[lam] - wanted)))
    return chosen


def _ua(tables: Sequence[pd.DataFrame]) -> float:
    return float(pd.concat(tables).groupby("emotion")["hit"].mean().mean())


def pulls(
    held: study.HeldOut,
    own: Rows,
    template: ResidualQuantizer,
    shares: Mapping[str, float],
    lams: Sequence[float],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how codebooks that favour an emotion move each clip.

    Parameters
    ----------
    held : HeldOut
    own : mapping of emotion to rows of `held.seen`
    template : ResidualQuantizer; what is trained for each emotion and share
    shares : mapping of a name to the favourite's share of the training clips
    lams : sequence of float
    seed : int

    Returns
    -------
    table : DataFrame; as `study.outcome`, with book (the favourite), kind (the share's name), lam, and pull:
        the drift to the favourite
    """
    parts = []
    for kind, share in shares.items():
        for name in own:
            rows = biased.biased_rows(own, name, share, seed=seed)
            book = clone(template).fit(held.seen[rows])
            for lam in lams:
                part = study.outcome(held, book.decode(book.encode(held.before, lam)))
                parts.append(part.assign(pull=part[f"to {name}"], book=name, kind=kind, lam=lam))
    return pd.concat(parts)


def routes(
    held: study.HeldOut, own: Rows, template: ResidualQuantizer, rates: Sequence[float], *, seed: int = 0
) -> pd.DataFrame:
    """Return what a shared codebook and routed ones leave of each clip at equal bits.

    The shared codebook has as many codes a stage as all others together and is trained on the same clips. The
    classifier that routes is trained on those too.

    Returns
    -------
    table : DataFrame; as `study.outcome`, with way, asked (bits a clip) and bits (what the stream took)
    """
    rows, X = np.concatenate(list(own.values())), held.before
    books = biased.train_books(held.seen, own, template)
    n_codes = sum(book.n_codes_ for book in books.values())
    shared = clone(template).set_params(n_codes=n_codes).fit(held.seen[rows])
    routed = RoutedQuantizer(books)
    guess = make_probe().fit(held.seen[rows], held.labels[held.train][rows]).predict(X)
    ways: dict[str, tuple[Codec, Callable[[float], Codes]]] = {
        "shared": (shared, lambda lam: shared.encode(X, lam)),
        "routed, cheapest": (routed, lambda lam: routed.encode(X, lam)),
        "routed, classifier": (routed, lambda lam: routed.encode(X, lam, names=guess)),
    }
    parts = []
    for way, (codec, encode) in ways.items():
        for asked in rates:
            codes = study.codes_at_bits(encode, codec, asked, seed=seed)
            after = routed.decode(codes) if codec is routed else shared.decode(codes)
            bits = 8 * len(pack(codec, codes)) / len(codes)
            parts.append(study.outcome(held, after).assign(way=way, asked=asked, bits=bits))
    return pd.concat(parts)


def mixes(
    held: study.HeldOut,
    own: Rows,
    template: ResidualQuantizer,
    pair: tuple[str, str],
    lam: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the judge's probabilities of two emotions for mixes of their clips, each of one speaker.

    Returns
    -------
    table : DataFrame; clip, emotion, speaker, way, a column for each of the pair, and smaller of both
    """
    first = np.flatnonzero(held.labels[held.test] == pair[0])
    a, ways = mixtures(held, own, template, pair, lam, first, rng)
    parts = []
    for way, after in ways.items():
        chances = held.judge.predict_proba(after)
        table = pd.DataFrame({name: chances[:, list(held.judge.classes_).index(name)] for name in pair})
        table = table.assign(smaller=table.min(axis=1), way=way, clip=held.test[a])
        parts.append(table.assign(emotion=pair[0], speaker=held.speakers[held.test[a]]))
    return pd.concat(parts)


def mixtures(
    held: study.HeldOut,
    own: Rows,
    template: ResidualQuantizer,
    pair: tuple[str, str],
    lam: float,
    rows: NDArray[np.intp],
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], dict[str, NDArray]]:
    """Mix judged clips of the first of two emotions with one of the second by the same speaker.

    Returns
    -------
    rows : int array, (n,); those of `rows` whose speaker has a clip of the second
    ways : dict of a way's name to mixed embeddings, (n, D)
    """
    both = held.seen[np.concatenate([own[name] for name in pair])]
    base = clone(template).fit(both)
    books = list(books_of(held, {name: own[name] for name in pair}, template).values())
    a, b = _mates(held, rows, pair[1], rng)
    middle = (held.before[a] + held.before[b]) / 2
    joined, turns = biased.union(books, base, both), biased.alternate(books, base, both)
    return a, {
        "interpolation": middle,
        "union": joined.decode(joined.encode(middle, lam)),
        "stages in turn": turns.decode(turns.encode(middle, lam)),
        "barycentre": biased.barycentre(joined, held.before[a], held.before[b], spread=0.05),
        "one codebook for both": base.decode(base.encode(middle, lam)),
    }


def conversions(
    held: study.HeldOut,
    own: Rows,
    template: ResidualQuantizer,
    lam: float,
    rng: np.random.Generator,
    *,
    home: str = "neutral",
) -> pd.DataFrame:
    """Return the judge's probability of each target for clips coded with the target's codebook.

    Returns
    -------
    table : DataFrame; clip, emotion, speaker, way, target, chance (the judge's probability) and similarity;
        the way ``<home> first`` codes with that emotion's codebook before the target's
    """
    books, labels, parts = books_of(held, own, template), held.labels[held.test], []
    for target in (name for name in own if name != home):
        sources = np.flatnonzero(~np.isin(labels, [target, home]))
        a, ways = converted(held, books, target, lam, sources, rng, home=home)
        for way, after in ways.items():
            chance = held.judge.predict_proba(after)[:, list(held.judge.classes_).index(target)]
            table = pd.DataFrame({"clip": held.test[a], "emotion": labels[a], "chance": chance, "way": way})
            table = table.assign(speaker=held.speakers[held.test[a]], target=target)
            parts.append(table.assign(similarity=measures.similarity(held.before[a], after)))
    return pd.concat(parts)


def converted(
    held: study.HeldOut,
    books: Mapping[str, ResidualQuantizer],
    target: str,
    lam: float,
    rows: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    home: str = "neutral",
) -> tuple[NDArray[np.intp], dict[str, NDArray]]:
    """Convert judged clips to an emotion by its codebook, straight and through another's first.

    Returns
    -------
    rows : int array, (n,); those of `rows` whose speaker has a clip of the target
    ways : dict of a way's name to embeddings, (n, D)
    """
    a, b = _mates(held, rows, target, rng)
    source, calm, goal = held.before[a], books[home], books[target]
    first = calm.decode(calm.encode(source, lam))
    return a, {
        "as it is": source,
        "interpolation": (source + held.before[b]) / 2,
        "straight": goal.decode(goal.encode(source, lam)),
        f"{home} first": goal.decode(goal.encode(first, lam)),
    }


def books_of(held: study.HeldOut, own: Rows, template: ResidualQuantizer) -> dict[str, ResidualQuantizer]:
    """Train a codebook an emotion on its rows of what codebooks may see."""
    return biased.train_books(held.seen, own, template)


def _mates(
    held: study.HeldOut, rows: NDArray[np.intp], emotion: str, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return those of the judged clips whose speaker has a clip of an emotion, and one such clip for each."""
    labels, speakers = held.labels[held.test], held.speakers[held.test]
    wanted = [np.flatnonzero((labels == emotion) & (speakers == speakers[i])) for i in rows]
    kept = np.array([len(mates) > 0 for mates in wanted], dtype=bool)
    chosen = [int(rng.choice(mates)) for mates in wanted if len(mates)]
    return rows[kept], np.array(chosen, dtype=np.intp)
