"""What coding does to each emotion, as similarity, distortion and drift by its parts; a corpus, coded.

All measures are numbers of single clips, so that intervals can be over speakers. Rows are centred: their
origin is the training clips' mean. The second part turns tables of such numbers, a row a clip with its
emotion and speaker, into means over emotions with intervals. The third trains a codebook on some speakers and
measures streams and drift of the others.

Notes
-----
Of a clip of class c that moved by d, with m the classes' centroids and g the mean of those centroids:

- shrinking is d . (g - m_c) / |g - m_c|^2: 1 where the class has lost all that sets it apart;
- drift to class k is d . (m_k - m_c) / |m_k - m_c|^2: 1 where the class has arrived there;
- drift beyond shrinking is the same of what is left of d once its part along g - m_c is taken away. A class
  that merely fades comes nearer to every other one, so this is the fairer number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from emolib import audio, emotions, encoders, paths
from emolib.codebook.quantizer import ResidualQuantizer
from emolib.files import write_file
from emolib.metrics import Interval, draws, percentile_interval
from emolib.store import FeatureStore


def class_centroids(X: ArrayLike, labels: ArrayLike) -> pd.DataFrame:
    """Return the mean of each emotion's rows, (C, D), in the order of `emotions.ordered`."""
    X, y = np.asarray(X, dtype=np.float64), np.asarray(labels)
    names = emotions.ordered(y.tolist())
    return pd.DataFrame(np.stack([X[y == name].mean(axis=0) for name in names]), index=names)


def similarity(X: ArrayLike, X_hat: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine between each row before and after, (N,); 0 where nothing is left of a row."""
    X, X_hat = np.asarray(X, dtype=np.float64), np.asarray(X_hat, dtype=np.float64)
    lengths = np.linalg.norm(X, axis=1) * np.linalg.norm(X_hat, axis=1)
    cosines = np.einsum("nd,nd->n", X, X_hat) / np.where(lengths > 0, lengths, 1.0)
    cosines[(lengths == 0) & (X_hat == X).all(axis=1)] = 1.0
    return cosines


def distortion(X: ArrayLike, X_hat: ArrayLike) -> float:
    """Return the squared error as a share of the rows' squared length: 0 for a copy, 1 for nothing left.

    Frames come from a store in half precision, whose own rounding is some 1e-7 on this scale: distortions
    near that say nothing.
    """
    X, X_hat = np.asarray(X, dtype=np.float64), np.asarray(X_hat, dtype=np.float64)
    total = np.square(X).sum()
    return float(np.square(X - X_hat).sum() / total) if total > 0 else 0.0


def drift(X: ArrayLike, X_hat: ArrayLike, labels: ArrayLike, centroids: pd.DataFrame) -> pd.DataFrame:
    """Decompose how clips moved.

    Parameters
    ----------
    X, X_hat : array-likes, (N, D); before and after
    labels : array-like of emotions, (N,)
    centroids : DataFrame, (C, D); `class_centroids` of training clips before

    Returns
    -------
    table : DataFrame, a row a clip
        shrinking; for each class ``to <class>``, NaN towards the clip's own class; and ``beyond <class>``,
        the same without what shrinking explains.

    Raises
    ------
    ValueError
        If a label has no centroid, or a centroid is the mean of all.
    """
    moved = np.asarray(X_hat, dtype=np.float64) - np.asarray(X, dtype=np.float64)
    y, classes, means = np.asarray(labels), [str(name) for name in centroids.index], centroids.to_numpy()
    if unknown := sorted(set(y.tolist()) - set(classes)):
        raise ValueError(
            f"no centroid of {', '.join(map(str, unknown))}; expected those of {', '.join(classes)}"
        )
    shrinking, toward, beyond = np.empty(len(y)), *(np.full((len(y), len(classes)), np.nan) for _ in range(2))
    for c, name in enumerate(classes):
        rows, others = np.flatnonzero(y == name), np.delete(np.arange(len(classes)), c)
        inward = means.mean(axis=0) - means[c]
        if (square := inward @ inward) < 1e-24:
            raise ValueError(
                f"the centroid of {name} is the mean of all: it can't shrink; give two classes or more"
            )
        shrinking[rows] = moved[rows] @ inward / square
        outward = means[others] - means[c]
        outward = outward / np.square(outward).sum(axis=1, keepdims=True)
        toward[np.ix_(rows, others)] = moved[rows] @ outward.T
        beyond[np.ix_(rows, others)] = (moved[rows] - np.outer(shrinking[rows], inward)) @ outward.T
    columns = ["shrinking", *(f"{kind} {name}" for kind in ("to", "beyond") for name in classes)]
    return pd.DataFrame(np.column_stack([shrinking, toward, beyond]), columns=columns)


def estimate(table: pd.DataFrame, column: str) -> Interval:
    """Return the mean over emotions of a column's means, with its interval over speakers.

    Of ``hit`` this is UA. NaN values are left out.
    """
    return _interval(np.nanmean(_class_means(table, table[column])[..., 0], axis=1), table)


def advantage(table: pd.DataFrame, column: str, emotion: str) -> Interval:
    """Return by how much a column's mean for one emotion exceeds that for every other, with its interval.

    `excess_drift` says what its ends are.
    """
    means, own = _class_means(table, table[column])[..., 0], np.unique(table["emotion"]) == emotion
    return _smallest(means[:, own] - means[:, ~own], table)


def contrast(table: pd.DataFrame, column: str, flag: str) -> Interval:
    """Return a column's mean over emotions where a flag is set minus where it is not, with its interval."""
    values, flags = table[column].to_numpy(dtype=np.float64), table[flag].to_numpy(dtype=bool)
    both = np.stack([np.where(flags, values, np.nan), np.where(flags, np.nan, values)], axis=1)
    on, off = np.nanmean(_class_means(table, both), axis=1).T
    return _interval(on - off, table)


def compare(table: pd.DataFrame, by: str, base: str, column: str) -> pd.DataFrame:
    """Return a column's estimate for each condition, and its difference from one of them.

    Parameters
    ----------
    table : DataFrame; the same clips for each value of `by`
    by, base : str; the column that names the conditions, and the one that others are compared with
    column : str

    Returns
    -------
    compared : DataFrame, a row a condition; `column`, ``minus <base>``, low, high
    """
    rows, other = {}, f"{column} of the other"
    rivals = table.loc[table[by] == base, ["clip", column]]
    for name, part in table.groupby(by, sort=False):
        both = part.merge(rivals, on="clip", suffixes=("", " of the other"))
        gap = estimate(both.assign(gap=both[column] - both[other]), "gap")
        value = part.groupby("emotion")[column].mean().mean()
        rows[name] = {column: value, f"minus {base}": gap.value, "low": gap.low, "high": gap.high}
    return pd.DataFrame(rows).T


def excess_drift(table: pd.DataFrame, kind: str = "to", target: str = "neutral") -> Interval:
    """Return by how much the drift to `target` exceeds that to every other class, with its interval.

    The drift to a class is the mean over the emotions (without itself and `target`) of their mean drift to
    it, so that all are over nearly the same clips.

    Parameters
    ----------
    table : DataFrame
        A row a clip: emotion, speaker, and for each class ``to <class>`` and ``beyond <class>`` as `drift`
        gives them.
    kind : {"to", "beyond"}; all drift, or what shrinking does not explain
    target : str

    Returns
    -------
    excess : Interval; the smallest over the other classes, and the smallest ends of their intervals

    Raises
    ------
    ValueError
        If no clip could drift there.

    Notes
    -----
    The strongest other class isn't chosen on the judged clips: each of them is compared, and the claim that
    `target` attracts more than all is made where every interval lies above 0, which is where low is above 0.
    This needs no correction for the number of classes (the intersection-union test of R. L. Berger 1982,
    doi:10.1080/00401706.1982.10487790). Where several classes attract alike, the smallest difference is too
    low on average, so the claim is made too seldom rather than too often.
    """
    classes = [name.removeprefix(f"{kind} ") for name in table.columns if name.startswith(f"{kind} ")]
    if target not in classes:
        raise ValueError(f"no class {target!r}; expected one of {', '.join(classes)}")
    at, sources = classes.index(target), table[table["emotion"] != target]
    drifts = np.nanmean(_class_means(sources, sources[[f"{kind} {name}" for name in classes]]), axis=1)
    return _smallest(drifts[:, [at]] - np.delete(drifts, at, axis=1), table)


def _class_means(table: pd.DataFrame, values: ArrayLike) -> NDArray[np.float64]:
    """Return each emotion's mean of values, (N,) or (N, K): of all clips, then of R resamples, (1 + R, C, K).

    NaN values are left out, and a class without any is NaN.
    """
    classes, people = (np.unique(table[name], return_inverse=True)[1] for name in ("emotion", "speaker"))
    columns = np.asarray(values, dtype=np.float64).reshape(len(table), -1)
    known = np.isfinite(columns)
    sums = np.zeros((people.max() + 1, classes.max() + 1, columns.shape[1]))
    counts = np.zeros(sums.shape)
    np.add.at(sums, (people, classes), np.where(known, columns, 0))
    np.add.at(counts, (people, classes), known)
    times = np.vstack([np.ones(len(sums), int), draws(len(sums))])
    with np.errstate(invalid="ignore"):
        return np.tensordot(times, sums, 1) / np.tensordot(times, counts, 1)


def _interval(numbers: NDArray[np.float64], table: pd.DataFrame) -> Interval:
    """Return the Interval of a number of all clips and then of R resamples, (1 + R,)."""
    return percentile_interval(float(numbers[0]), numbers[1:], table["speaker"].nunique())


def _smallest(gaps: NDArray[np.float64], table: pd.DataFrame) -> Interval:
    """Return the smallest value, low and high of several gaps, (1 + R, G)."""
    return Interval(*map(float, np.min([_interval(gap, table) for gap in gaps.T], axis=0)))


# ------------------------------------------------------------------------------------- a corpus


#: A codebook is trained on so many clips at most, and on so many rows for each code.
_MOST_CLIPS, _ROWS_PER_CODE = 2000, 64


@dataclass(frozen=True)
class Coded:
    """Clips before and after their streams.

    Attributes
    ----------
    bits : int; of the streams
    before, after : list of arrays, (T, D) each, one a clip
    """

    bits: int
    before: list[NDArray]
    after: list[NDArray]

    @property
    def n_rows(self) -> int:
        """Rows of all clips."""
        return sum(map(len, self.before))

    def part(self, clips: Iterable[int]) -> "Coded":
        """Return some of the clips, by number; the bits stay those of all."""
        chosen = list(clips)
        return Coded(self.bits, [self.before[i] for i in chosen], [self.after[i] for i in chosen])

    def change(self, origin: NDArray) -> dict[str, float]:
        """Return mean similarity, distortion and shrinking of all rows; NaN where there are none.

        They are seen from an origin, the training rows' mean, without which every cosine is near 1.
        """
        if not self.before:
            return dict.fromkeys(("similarity", "distortion", "shrinking"), float("nan"))
        before, after = (
            np.concatenate(rows).astype(np.float64) - np.asarray(origin) for rows in (self.before, self.after)
        )
        length = np.linalg.norm(before)
        return {
            "similarity": float(similarity(before, after).mean()),
            "distortion": distortion(before, after),
            "shrinking": float(1 - np.linalg.norm(after) / length) if length > 0 else 0.0,
        }

    def drift(self, labels: NDArray) -> pd.DataFrame:
        """Return each emotion's shrinking, and the class that it drifted to most: towards, and share.

        No rows where there are fewer than two emotions.
        """
        if len(set(labels.tolist())) < 2:  # also where no clip is held out
            return pd.DataFrame(columns=["shrinking", "towards", "share"])
        X, X_hat = (np.stack([rows.mean(axis=0) for rows in part]) for part in (self.before, self.after))
        centroids = class_centroids(X, labels)
        means = drift(X, X_hat, labels, centroids).groupby(labels).mean().loc[centroids.index]
        toward = means[[f"to {name}" for name in centroids.index]].set_axis(centroids.index, axis=1)
        return pd.DataFrame(
            {"shrinking": means["shrinking"], "towards": toward.idxmax(axis=1), "share": toward.max(axis=1)}
        )


def rows_of(store: FeatureStore, clips: pd.DataFrame, layer: int, pooled: bool) -> Iterator[NDArray]:
    """Yield what is coded of each clip: its frames, (T, D), or their mean, (1, D)."""
    for clip in clips["clip"]:
        yield store.pooled(layer, clips=[clip]) if pooled else store.frames(clip, layer)


def rows_of_file(
    path: Path, encoder: str, layer: int, pooled: bool, device: str = "auto"
) -> tuple[NDArray, float]:
    """Return what is coded of a sound file, and its length in seconds."""
    network = encoders.load(encoder, layers=[layer], device=device)
    wave, _ = audio.load(path, network.sample_rate)
    frames = network.encode([wave], network.sample_rate)[0][0]
    return frames.mean(axis=0, keepdims=True) if pooled else frames, len(wave) / network.sample_rate


def train_codebook(
    store: FeatureStore, clips: pd.DataFrame, layer: int, pooled: bool, n_stages: int, n_codes: int, seed: int
) -> ResidualQuantizer:
    """Train a codebook on half of the speakers, a single one's all; its provenance names them."""
    speakers = np.random.default_rng(seed).permutation(np.unique(clips["speaker"]))
    taught = clips[clips["speaker"].isin(speakers[: (len(speakers) + 1) // 2])]
    rng = np.random.default_rng(seed)
    chosen = taught.iloc[rng.permutation(len(taught))[:_MOST_CLIPS]]
    X = rng.permutation(np.concatenate(list(rows_of(store, chosen, layer, pooled))))[
        : _ROWS_PER_CODE * n_codes
    ]
    book = ResidualQuantizer(n_stages, min(n_codes, max(1, len(X) // 4)), seed=seed).fit(X)
    book.provenance_ |= {"corpus": str(taught["corpus"].iloc[0]), "speakers": sorted(set(taught["speaker"]))}
    return book


def code(
    book: ResidualQuantizer, clips: Iterable[NDArray], lam: float, streams: Iterable[Path] | None = None
) -> Coded:
    """Compress each clip's rows, (T, D), and decode them again; write the streams where files are named."""
    before, after, bits = [], [], 0
    places = iter(streams or ())
    for rows in clips:
        data = book.compress(rows, lam)
        if place := next(places, None):
            write_file(place, data)
        before.append(rows)
        after.append(book.decompress(data))
        bits += 8 * len(data)
    return Coded(bits, before, after)


def stream_of(folder: Path, clip: str) -> Path:
    """Return the file of a clip's stream in a folder."""
    return folder / f"{paths.folder_name(clip)}.emoq"
