"""What the experiments on codebooks share: held-out clips, and what a change of their embeddings did to each.

Every number is of a clip whose speaker no codebook, scaler, probe or centroid has seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emolib import metrics, splits
from emolib.codebook import measures, stream
from emolib.probing import make_probe


@dataclass(frozen=True)
class HeldOut:
    """One fold.

    Attributes
    ----------
    train, test : int arrays; row numbers of clips that codebooks may see, and of clips that are judged
    rows : float64 array, (N, D); all clips, standardised by those of `train`
    labels, speakers : str arrays, (N,)
    judge : Pipeline; a probe of unquantized rows
    centroids : DataFrame, (C, D); of the classes in `train`
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    rows: NDArray[np.float64]
    labels: NDArray
    speakers: NDArray
    judge: Pipeline
    centroids: pd.DataFrame

    @property
    def seen(self) -> NDArray[np.float64]:
        """The rows that codebooks may see."""
        return self.rows[self.train]

    @property
    def before(self) -> NDArray[np.float64]:
        """The judged rows as they were."""
        return self.rows[self.test]


def hold_out(
    X: ArrayLike, manifest: pd.DataFrame, folds: Sequence[splits.Fold], *, apart: bool = False, seed: int = 0
) -> list[HeldOut]:
    """Prepare folds.

    Parameters
    ----------
    X : array-like, (N, D); one embedding a clip
    manifest : DataFrame, N rows
    folds : list of (train, test)
    apart : bool
        Train the judge on one half of the training speakers and leave the other half to codebooks: needed
        wherever a codebook knows labels.
    seed : int
        Of the halves.

    Raises
    ------
    ValueError
        If a half lacks an emotion.
    """
    X, y = np.asarray(X, dtype=np.float64), manifest["emotion"].to_numpy().astype(str)
    speakers, prepared = manifest["speaker"].to_numpy(), []
    for train, test in folds:
        splits.check_disjoint(speakers[train], speakers[test])
        books, judges = halves(train, speakers, seed) if apart else (train, train)
        for part in (books, judges):
            if lacking := sorted(set(y) - set(y[part])):
                raise ValueError(
                    f"{len(set(speakers[part]))} speakers have no clip of {', '.join(lacking)}; expected all "
                    f"emotions: use fewer folds, another seed, or leave that emotion out"
                )
        rows = StandardScaler().fit(X[books]).transform(X)
        with threadpool_limits(1):
            judge = make_probe().fit(rows[judges], y[judges])
        centroids = measures.class_centroids(rows[books], y[books])
        prepared.append(HeldOut(books, test, rows, y, speakers, judge, centroids))
    return prepared


def outcome(held: HeldOut, after: ArrayLike) -> pd.DataFrame:
    """Return what became of each judged clip.

    Parameters
    ----------
    held : HeldOut
    after : array-like, (n, D); the judged rows after a change, in the order of `held.test`

    Returns
    -------
    table : DataFrame
        clip (row number), emotion, speaker, predicted, similarity, margin, shrinking, and for each class
        ``to <class>`` and ``beyond <class>`` as `measures.drift` gives them.
    """
    after, y = np.asarray(after, dtype=np.float64), held.labels[held.test]
    moved = measures.drift(held.before, after, y, held.centroids)
    with threadpool_limits(1):
        scores = held.judge.decision_function(after)
        predicted = held.judge.predict(after)
    if scores.ndim == 1:  # of two classes, scikit-learn scores the second
        scores = np.stack([-scores, scores], axis=1)
    table = pd.DataFrame(
        {
            "clip": held.test, "emotion": y, "speaker": held.speakers[held.test], "predicted": predicted,
            "similarity": measures.similarity(held.before, after),
            "margin": measures.margins(scores, y, [str(name) for name in held.judge.classes_]),
            "shrinking": moved.shrinking,
        }
    )  # fmt: skip
    for k, name in enumerate(moved.classes):
        table[f"to {name}"], table[f"beyond {name}"] = moved.toward[:, k], moved.beyond[:, k]
    return table.assign(hit=(predicted == y).astype(float))


def estimate(table: pd.DataFrame, column: str) -> metrics.Interval:
    """Return the mean over emotions of a column's means, with its interval over speakers.

    Of ``hit`` this is UA.
    """
    return measures.class_interval(table[column], *_labels(table))


def neutral_leads(table: pd.DataFrame, kind: str = "to", target: str = "neutral") -> pd.Series:
    """Return by how much the drift to `target` exceeds that to each other class; see `neutral_lead`."""
    toward, classes = _toward(table, kind, target)
    return measures.leads(toward, _labels(table)[0], classes, target)


def neutral_lead(table: pd.DataFrame, kind: str = "to", target: str = "neutral") -> metrics.Interval:
    """Return by how much the drift to `target` exceeds that to every other class, with its interval.

    Parameters
    ----------
    table : DataFrame, as `outcome` returns it
    kind : {"to", "beyond"}; all drift, or what shrinking does not explain
    target : str

    Returns
    -------
    lead : Interval; `measures.lead_interval` says what its ends are

    Raises
    ------
    ValueError
        If no clip could drift there.
    """
    toward, classes = _toward(table, kind, target)
    return measures.lead_interval(toward, *_labels(table), classes, target)


def difference(first: pd.DataFrame, second: pd.DataFrame, column: str) -> metrics.Interval:
    """Return the mean over emotions of first - second, the same clips in both, with its interval."""
    joined = first.merge(second[["clip", column]], on="clip", suffixes=("", " of the other"))
    return estimate(joined.assign(gap=joined[column] - joined[f"{column} of the other"]), "gap")


def halves(
    train: NDArray[np.intp], speakers: NDArray, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut training clips into two halves of whole speakers, as `hold_out` does: for codebooks, for a judge.

    Raises
    ------
    ValueError
        If there is one speaker.
    """
    names = np.random.default_rng(seed).permutation(np.unique(speakers[train]))
    if len(names) < 2:
        raise ValueError(
            f"{len(names)} training speaker; expected two, one for codebooks and one for the judge"
        )
    first = np.isin(speakers[train], names[: (len(names) + 1) // 2])
    return train[first], train[~first]


def advantage(table: pd.DataFrame, column: str, emotion: str) -> metrics.Interval:
    """Return by how much a column's mean for one emotion exceeds that for every other, with its interval.

    `measures.lead_interval` says what its ends are.
    """
    return measures.advantage_interval(table[column], *_labels(table), emotion)


def contrast(table: pd.DataFrame, column: str, flag: str) -> metrics.Interval:
    """Return a column's mean over emotions where a flag is set minus where it is not, with its interval."""
    values, flags = table[column].to_numpy(dtype=np.float64), table[flag].to_numpy(dtype=bool)
    both = np.stack([np.where(flags, values, np.nan), np.where(flags, np.nan, values)], axis=1)
    on, off = np.nanmean(measures.class_means(both, *_labels(table)), axis=1).T
    return measures.interval(on - off, table["speaker"])


def _labels(table: pd.DataFrame) -> tuple[NDArray, NDArray]:
    """Return the emotion and the speaker of each row."""
    return table["emotion"].to_numpy().astype(str), table["speaker"].to_numpy().astype(str)


def _toward(table: pd.DataFrame, kind: str, target: str) -> tuple[NDArray, list[str]]:
    """Return how far each clip moved towards each class, (N, C), and the classes."""
    classes = [name.removeprefix(f"{kind} ") for name in table.columns if name.startswith(f"{kind} ")]
    if target not in classes:
        raise ValueError(f"no class {target!r}; expected one of {', '.join(classes)}")
    return table[[f"{kind} {name}" for name in classes]].to_numpy(), classes


def codes_at_bits(
    encode: Callable[[float], NDArray[np.int16]],
    codec: stream.Codec,
    bits: float,
    *,
    n_halvings: int = 12,
    seed: int = 0,
) -> NDArray[np.int16]:
    """Return codes whose stream takes so many bits a row, or as nearly so many as can be had with fewer.

    Parameters
    ----------
    encode : callable of lambda; codes of the rows in question
    codec : what packs them
    bits : float; length of the stream, header included, over the number of rows
    n_halvings : int
    seed : int; of the rows that get the richer codes

    Notes
    -----
    Lambda is found by bisection. Not every rate has a lambda: between two neighbouring ones, a share of the
    rows, drawn by chance, gets the codes of the richer.
    """

    def rate(codes: NDArray[np.int16]) -> float:
        return 8 * len(stream.pack(codec, codes)) / len(codes)

    low, high = 1e-4, 1.0
    for _ in range(n_halvings):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if rate(encode(middle)) > bits else (low, middle)
    rich, poor = encode(low), encode(high)
    order, few, many = np.random.default_rng(seed).permutation(len(rich)), 0, len(rich)
    while few < many:
        n_rich = (few + many + 1) // 2
        mixed = poor.copy()
        mixed[order[:n_rich]] = rich[order[:n_rich]]
        few, many = (n_rich, many) if rate(mixed) <= bits else (few, n_rich - 1)
    poor[order[:few]] = rich[order[:few]]
    return poor


def compare(table: pd.DataFrame, by: str, base: str, column: str) -> pd.DataFrame:
    """Return a column's estimate for each way, and its difference from one of them.

    Parameters
    ----------
    table : DataFrame; the same clips for each value of `by`
    by, base : str; the column that names the ways, and the one that others are compared with
    column : str

    Returns
    -------
    compared : DataFrame, a row a way; `column`, ``minus <base>``, low, high
    """
    groups = {str(name): part for name, part in table.groupby(by, sort=False)}
    rows = {}
    for name, part in groups.items():
        gap = difference(part, groups[base], column)
        value = part.groupby("emotion")[column].mean().mean()
        rows[name] = {column: value, f"minus {base}": gap.value, "low": gap.low, "high": gap.high}
    return pd.DataFrame(rows).T
