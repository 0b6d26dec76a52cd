"""Notebook 06: what quantization does to each emotion, in embeddings and in the speech that they condition.

Every number is of a clip whose speaker no codebook, scaler, probe or centroid has seen. Where codebooks know
labels, the judge is trained on other speakers than they are (``hold_out(..., apart=True)``).

For sound, a probe reads shares of emotions off an embedding, and a neutral clip takes on the prosody of these
shares. The voices are those of a corpus of parallel sentences, whatever corpus the embeddings are of. The
codebooks, the probe and the prosody are of speakers other than the judge's and the one who speaks. The judge
gets sound alone.

References
----------
Codebooks specialised on emotions and a router over them: "Emotion-aware quantization" (2026),
arXiv:2603.21224.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emolib import audio, emotions, prosody, splits, threads
from emolib.audio import Wave
from emolib.codebook import ResidualQuantizer, RoutedQuantizer, coding, measures
from emolib.codebook.coding import Codes
from emolib.probing import make_probe
from emolib.prosody import Contours, ProsodyTransform, Recording

Rows = NDArray[np.intp]
Vectors = NDArray[np.float64]
Books = dict[str, ResidualQuantizer]
#: Of the codes' probabilities in a barycentre.
TEMPERATURE = 0.05


@dataclass(frozen=True)
class HeldOut:
    """One fold; all rows are standardised by those that codebooks may see.

    Attributes
    ----------
    seen, seen_labels : arrays, (N, D) and (N,); what codebooks may see
    before : float64 array, (n, D); the judged rows as they were
    clips : DataFrame, (n, 3); of the judged rows: row number in the manifest, emotion and speaker
    labels, speakers : str arrays, (n,); the last two columns
    judge : Pipeline; a probe of unquantized rows
    centroids : DataFrame, (C, D); of the classes in `seen`
    own : dict of emotion to rows of `seen`, equally many of the same speakers; empty unless apart
    """

    seen: Vectors
    seen_labels: NDArray
    before: Vectors
    clips: pd.DataFrame
    labels: NDArray
    speakers: NDArray
    judge: Pipeline
    centroids: pd.DataFrame
    own: dict[str, Rows]

    @cached_property
    def axes(self) -> Vectors:
        """Principal axes of the rows seen, one a row."""
        return np.linalg.svd(self.seen, full_matrices=False)[2]


def hold_out(
    X: ArrayLike, manifest: pd.DataFrame, folds: Sequence[splits.Fold], *, apart: bool = False, seed: int = 0,
    least: int = 8,
) -> list[HeldOut]:  # fmt: skip
    """Prepare folds.

    Parameters
    ----------
    X : array-like, (N, D); one embedding a clip
    manifest : DataFrame, N rows
    folds : list of (train, test)
    apart : bool
        Train the judge on one half of the training speakers and leave the other half to codebooks.
    seed : int; of the halves
    least : int; clips that a codebook of one emotion must get, where apart

    Raises
    ------
    ValueError
        If a half lacks an emotion, or has too few clips of one.
    """
    X, prepared = np.asarray(X, dtype=np.float64), []
    y, speakers = (manifest[name].to_numpy().astype(str) for name in ("emotion", "speaker"))
    for train, test in folds:
        splits.check_disjoint(speakers[train], speakers[test])
        books, judges = splits.halves(train, speakers, seed) if apart else (train, train)
        for part in (books, judges):
            if lacking := sorted(set(y) - set(y[part])):
                raise ValueError(
                    f"{len(set(speakers[part]))} speakers have no clip of {', '.join(lacking)}; expected all "
                    f"emotions: use fewer folds, another seed, or leave that emotion out"
                )
        rows = StandardScaler().fit(X[books]).transform(X)
        with threadpool_limits(1):
            judge = make_probe().fit(rows[judges], y[judges])
        own = balanced_rows(y[books], speakers[books], seed=seed, least=least) if apart else {}
        clips = pd.DataFrame({"clip": test, "emotion": y[test], "speaker": speakers[test]})
        fold = (rows[books], y[books], rows[test], clips, y[test], speakers[test])
        prepared.append(HeldOut(*fold, judge, measures.class_centroids(rows[books], y[books]), own))
    return prepared


def balanced_rows(labels: ArrayLike, speakers: ArrayLike, seed: int = 0, least: int = 2) -> dict[str, Rows]:
    """Draw equally many clips of the same speakers for every emotion.

    Parameters
    ----------
    labels, speakers : array-likes, (N,)
    seed : int
    least : int; clips that an emotion must get

    Returns
    -------
    rows : dict of emotion to row numbers; of each speaker as many as their rarest emotion has

    Raises
    ------
    ValueError
        If that leaves fewer than `least` clips; the message names the emotion that is rarest.
    """
    table = pd.DataFrame({"emotion": np.asarray(labels), "speaker": np.asarray(speakers)})
    counts = pd.crosstab(table["speaker"], table["emotion"])
    each = counts.min(axis=1)
    if (n := int(each.sum())) < least:
        rarest = counts.sum().idxmin()
        raise ValueError(
            f"{n} clips for each of {counts.shape[1]} emotions, from speakers who have them all; expected "
            f"{least}: leave {rarest!r} out, which has {counts[rarest].sum()} clips, or ask for fewer codes"
        )
    rng, rows = np.random.default_rng(seed), {}
    for emotion in emotions.ordered(table["emotion"].tolist()):
        has = [(table["emotion"] == emotion) & (table["speaker"] == speaker) for speaker in each.index]
        kept = [rng.permutation(np.flatnonzero(a))[:n] for a, n in zip(has, each, strict=True)]
        rows[emotion] = np.sort(np.concatenate(kept))
    return rows


def outcome(held: HeldOut, after: ArrayLike) -> pd.DataFrame:
    """Return what became of each judged clip.

    Parameters
    ----------
    held : HeldOut
    after : array-like, (n, D); the judged rows after a change

    Returns
    -------
    table : DataFrame
        clip (row number), emotion, speaker, predicted, hit, similarity, margin (by which the score of the
        true class exceeds the best other one's), shrinking, and for each class ``to <class>`` and
        ``beyond <class>`` as `measures.drift` gives them.
    """
    after = np.asarray(after, dtype=np.float64)
    scores, classes = held.judge.decision_function(after), held.judge.classes_
    if scores.ndim == 1:  # of two classes, scikit-learn scores the second
        scores = np.stack([-scores, scores], axis=1)
    true, predicted = held.labels[:, None] == classes, classes[scores.argmax(axis=1)]
    columns = {
        "predicted": predicted, "hit": (predicted == held.labels).astype(float),
        "similarity": measures.similarity(held.before, after),
        "margin": scores[true] - np.where(true, -np.inf, scores).max(axis=1),
    }  # fmt: skip
    moved = measures.drift(held.before, after, held.labels, held.centroids)
    return pd.concat([held.clips, pd.DataFrame(columns), moved], axis=1)


# ------------------------------------------------------------------------------------- quantization


def changes(held: HeldOut, coder: ResidualQuantizer, lam: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return what quantization and its controls do to each clip.

    Returns
    -------
    table : DataFrame
        As `outcome`, with way, lam, and bits: the length of the stream of all judged clips of the clip's
        emotion, header included, over their number.
    """
    X, codes = held.before, coder.encode(held.before, lam)
    after = coder.decode(codes).astype(np.float64)
    ways = {"codes": after, **controls(X, after, held.axes, rng)}
    table = pd.concat([outcome(held, rows).assign(way=way) for way, rows in ways.items()])
    return table.assign(lam=lam, bits=table["emotion"].map(bits_of(coder, codes, held.labels)))


def bits_of(coder: ResidualQuantizer, codes: Codes, labels: NDArray) -> dict[str, float]:
    """Return the bits a clip of each emotion, header included."""
    return {name: coding.bits_per_row(coder, codes[labels == name]) for name in set(labels)}


def controls(X: Vectors, X_hat: Vectors, axes: Vectors, rng: np.random.Generator) -> dict[str, Vectors]:
    """Change centred rows in other ways: as far as a quantizer did, or to the same cosine.

    Noise and pure shrinking move each row as far as the quantizer did; PCA (on the `axes` given) and the
    scalar grid have its distortion over all rows; the random turn, which keeps a row's length, and the greedy
    drop, which sets the largest coordinates to the mean, reach each row's cosine.
    """
    cosines, lost = measures.similarity(X, X_hat), measures.distortion(X, X_hat)
    far, length = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (X_hat - X, X))
    noise = rng.standard_normal(X.shape)
    return {
        "noise": X + noise / np.linalg.norm(noise, axis=1, keepdims=True) * far,
        "pure shrinking": X * np.maximum(0.0, 1.0 - far / np.maximum(length, 1e-12)),
        "PCA": truncate(axes, X, lost),
        "scalar grid": round_to_grid(X, lost),
        "random turn": turn(X, cosines, rng),
        "greedy drop": drop(X, cosines),
    }


def turn(X: Vectors, cosines: NDArray[np.float64], rng: np.random.Generator) -> Vectors:
    """Turn each row, its length kept, in a random direction until its cosine to itself is the one given."""
    length, side = np.linalg.norm(X, axis=1, keepdims=True), rng.standard_normal(X.shape)
    side -= X * np.einsum("nd,nd->n", side, X)[:, None] / np.maximum(length, 1e-12) ** 2
    side *= length / np.linalg.norm(side, axis=1, keepdims=True)
    cosines = np.clip(cosines, -1.0, 1.0)[:, None]
    return cosines * X + np.sqrt(1 - np.square(cosines)) * side


def drop(X: Vectors, cosines: NDArray[np.float64]) -> Vectors:
    """Set coordinates to the mean, the one that costs most similarity first, until a cosine is reached."""
    order = np.argsort(-np.square(X), axis=1, kind="stable")
    energy = np.take_along_axis(np.square(X), order, axis=1)
    left = 1 - np.cumsum(energy, axis=1) / np.maximum(energy.sum(axis=1, keepdims=True), 1e-24)
    dropped = np.hstack([np.ones((len(X), 1)), left[:, :-1]]) > np.square(cosines)[:, None]
    kept = X.copy()
    np.put_along_axis(kept, order, np.where(dropped, 0.0, np.take_along_axis(X, order, axis=1)), axis=1)
    return kept


def round_to_grid(X: Vectors, distortion: float) -> Vectors:
    """Round every coordinate to multiples of one step, found by bisection to give a distortion."""
    low, high, total = 0.0, 4.0 * np.abs(X).max(), np.square(X).sum()
    for _ in range(20):
        step = (low + high) / 2
        error = np.square(X - step * np.round(X / step)).sum() / total
        low, high = (step, high) if error < distortion else (low, step)
    return high * np.round(X / high)


def truncate(axes: Vectors, X: Vectors, distortion: float) -> Vectors:
    """Keep as many components along the first of some axes as come closest to a distortion."""
    kept = np.cumsum(np.square(X @ axes.T).sum(axis=0)) / np.square(X).sum()
    n_kept = int(np.abs(1 - np.concatenate([[0.0], kept]) - distortion).argmin())
    return X @ axes[:n_kept].T @ axes[:n_kept]


def operating_points(
    X: NDArray, manifest: pd.DataFrame, folds: Sequence[splits.Fold], template: ResidualQuantizer,
    lams: Sequence[float], *, seed: int = 0,
) -> list[float]:  # fmt: skip
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

    def ua(held: HeldOut, after: NDArray) -> float:
        return float(outcome(held, after).groupby("emotion")["hit"].mean().mean())

    chosen = []
    for train, _ in folds:
        part = manifest.iloc[train].reset_index(drop=True)
        (held,) = hold_out(X[train], part, splits.folds(part, n_folds=2, seed=seed)[:1])
        coder, wanted = clone(template).fit(held.seen), (ua(held, held.before) + 1 / len(held.centroids)) / 2
        left = [abs(ua(held, coder.decode(coder.encode(held.before, lam))) - wanted) for lam in lams]
        chosen.append(lams[int(np.argmin(left))])
    return chosen


# ------------------------------------------------------------------------------------- one emotion each


def train_books(held: HeldOut, template: ResidualQuantizer) -> Books:
    """Train one codebook an emotion, each a clone of `template`, on its rows of what codebooks may see."""
    return {name: clone(template).fit(held.seen[rows]) for name, rows in held.own.items()}


def biased_rows(rows: Mapping[str, Rows], favourite: str, share: float, *, seed: int = 0) -> Rows:
    """Draw as many rows as one emotion has, `share` of them of the favourite, the rest of all others."""
    if favourite not in rows or not 0 <= share <= 1:
        raise ValueError(
            f"favourite={favourite!r}, share={share}; expected one of {', '.join(rows)} and a share in [0, 1]"
        )
    rng, n = np.random.default_rng(seed), len(rows[favourite])
    others = np.concatenate([chosen for emotion, chosen in rows.items() if emotion != favourite])
    n_own = round(share * n)
    own = rng.permutation(rows[favourite])[:n_own]
    return np.sort(np.concatenate([own, rng.permutation(others)[: n - n_own]]))


def routes(
    held: HeldOut, books: Books, rates: Sequence[float], *, n_halvings: int = 12, seed: int = 0
) -> pd.DataFrame:
    """Return what a shared codebook and routed ones leave of each clip at equal bits.

    The shared codebook has as many codes a stage as all others together and is trained on the same clips. The
    classifier that routes is trained on those too.

    Parameters
    ----------
    held : HeldOut
    books : dict of emotion to codebook, of `train_books`
    rates : sequence of float; bits a clip
    n_halvings, seed : int; as `coding.codes_at_bits` takes them

    Returns
    -------
    table : DataFrame; as `outcome`, with way, asked (bits a clip) and bits (what the stream took)
    """
    rows, X, routed = np.concatenate(list(held.own.values())), held.before, RoutedQuantizer(books)
    n_codes = sum(book.n_codes_ for book in books.values())
    shared = clone(next(iter(books.values()))).set_params(n_codes=n_codes).fit(held.seen[rows])
    guess = make_probe().fit(held.seen[rows], held.seen_labels[rows]).predict(X)
    ways: dict[str, tuple[Any, Callable[[float], Codes]]] = {
        "shared": (shared, lambda lam: shared.encode(X, lam)),
        "routed, cheapest": (routed, lambda lam: routed.encode(X, lam)),
        "routed, classifier": (routed, lambda lam: routed.encode(X, lam, names=guess)),
    }
    parts = []
    for way, (codec, encode) in ways.items():
        for asked in rates:
            codes = coding.codes_at_bits(encode, codec, asked, n_halvings=n_halvings, seed=seed)
            bits = coding.bits_per_row(codec, codes)
            parts.append(outcome(held, codec.decode(codes)).assign(way=way, asked=asked, bits=bits))
    return pd.concat(parts)


# ------------------------------------------------------------------------------------- mixing and converting


def union(books: Sequence[ResidualQuantizer], base: ResidualQuantizer, X: ArrayLike) -> ResidualQuantizer:
    """Join codebooks of equal stages: at each stage there are all codes of all books to choose from.

    The origin and scale of `base` are kept, and its entropy model is trained on X.
    """
    return base.with_codes(np.concatenate([_codes_in(book, base) for book in books], axis=1), X)


def alternate(books: Sequence[ResidualQuantizer], base: ResidualQuantizer, X: ArrayLike) -> ResidualQuantizer:
    """Take the first stage from the first book, the second from the second, and so on in turn."""
    moved = [_codes_in(book, base) for book in books]
    return base.with_codes(np.stack([moved[q % len(books)][q] for q in range(len(moved[0]))]), X)


def _codes_in(book: ResidualQuantizer, base: ResidualQuantizer) -> NDArray[np.float32]:
    """Return a book's codes, (Q, K, D), as seen from another's origin and in its scale."""
    codes = book.codes_ * np.float32(book.scale_ / base.scale_)
    codes[0] += (book.mean_ - base.mean_) / np.float32(base.scale_)
    return codes


def barycentre(quantizer: ResidualQuantizer, first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Mix two references by the mean of their distributions over codes, stage by stage.

    A code whose squared distance is larger by `TEMPERATURE` (in units of `scale_`^2) is e times less likely.

    Parameters
    ----------
    quantizer : ResidualQuantizer
    first, second : array-likes, (N, D)

    Returns
    -------
    mixed : float32 array, (N, D); the sum over stages of the codes' expectations
    """
    left = [quantizer.centred(rows) for rows in (first, second)]
    total = np.zeros_like(left[0])
    for stage in quantizer.codes_:
        near = [2 * rows @ stage.T - np.square(stage).sum(axis=1) for rows in left]
        chances = [softmax(part / TEMPERATURE, axis=1) for part in near]
        total += (0.5 * chances[0] + 0.5 * chances[1]) @ stage
        left = [rows - chance @ stage for rows, chance in zip(left, chances, strict=True)]
    return total * np.float32(quantizer.scale_) + quantizer.mean_


def mixtures(
    held: HeldOut, books: Books, pair: tuple[str, str], lam: float, rng: np.random.Generator,
    rows: Rows | None = None,
) -> tuple[Rows, dict[str, NDArray]]:  # fmt: skip
    """Mix judged clips of the first of two emotions, each with one of the second by the same speaker.

    Parameters
    ----------
    held : HeldOut
    books : dict of emotion to codebook, of `train_books`
    pair : two emotions
    lam : float
    rng : Generator; draws the clips of the second
    rows : int array, optional; clips of the first, by default all

    Returns
    -------
    rows : int array, (n,); those whose speaker has a clip of the second
    ways : dict of a way's name to mixed embeddings, (n, D)
    """
    both = held.seen[np.concatenate([held.own[name] for name in pair])]
    two = [books[name] for name in pair]
    base = clone(two[0]).fit(both)
    a, b = _partners(held, np.flatnonzero(held.labels == pair[0]) if rows is None else rows, pair[1], rng)
    middle = (held.before[a] + held.before[b]) / 2
    joined, turns = (join(two, base, both) for join in (union, alternate))
    return a, {
        "interpolation": middle,
        "union": joined.decode(joined.encode(middle, lam)),
        "stages in turn": turns.decode(turns.encode(middle, lam)),
        "barycentre": barycentre(joined, held.before[a], held.before[b]),
        "one codebook for both": base.decode(base.encode(middle, lam)),
    }


def conversions(
    held: HeldOut, books: Books, lam: float, rng: np.random.Generator, home: str,
    draw: Callable[[Rows, np.random.Generator], Rows] = lambda rows, rng: rows,
) -> dict[str, tuple[Rows, dict[str, NDArray]]]:  # fmt: skip
    """Convert judged clips to each emotion by its codebook: straight, and through that of `home` first.

    Parameters
    ----------
    held, books, lam, rng : as `mixtures`
    home : str; neither a source nor a target
    draw : callable; which of the clips of other emotions to convert, by default all

    Returns
    -------
    converted : dict of target to rows whose speaker has a clip of the target, and ways, as `mixtures`
    """
    done = {}
    for target in (name for name in books if name != home):
        a, b = _partners(held, draw(np.flatnonzero(~np.isin(held.labels, [target, home])), rng), target, rng)
        source, calm, goal = held.before[a], books[home], books[target]
        first = calm.decode(calm.encode(source, lam))
        ways: dict[str, NDArray] = {
            "as it is": source,
            "interpolation": (source + held.before[b]) / 2,
            "straight": goal.decode(goal.encode(source, lam)),
            f"{home} first": goal.decode(goal.encode(first, lam)),
        }
        done[target] = a, ways
    return done


def _partners(held: HeldOut, rows: Rows, emotion: str, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return those of the judged clips whose speaker has a clip of an emotion, and one such clip for each."""
    theirs = np.where(held.labels == emotion, held.speakers, "")  # of other emotions, nobody's
    kept = rows[np.isin(held.speakers[rows], theirs)]
    partners = [rng.choice(np.flatnonzero(theirs == held.speakers[row])) for row in kept]
    return kept, np.array(partners, dtype=np.intp)


def judged(held: HeldOut, rows: Rows, ways: Mapping[str, NDArray]) -> pd.DataFrame:
    """Return the judge's probability of every emotion for embeddings made from judged clips in some ways.

    Returns
    -------
    table : DataFrame; clip, emotion, speaker, similarity, way, and a column for each emotion
    """
    parts = []
    for way, after in ways.items():
        chances = pd.DataFrame(held.judge.predict_proba(after), columns=held.judge.classes_)
        part = held.clips.iloc[rows].reset_index(drop=True).join(chances)
        parts.append(part.assign(way=way, similarity=measures.similarity(held.before[rows], after)))
    return pd.concat(parts)


# ------------------------------------------------------------------------------------- sound


@dataclass(frozen=True)
class Voices:
    """Who speaks and who judges in one fold.

    Attributes
    ----------
    transforms : dict of emotion to ProsodyTransform, all from one emotion, learned from other speakers
    carriers : dict of speaker to an analysed clip of that emotion
    judge : ser.Judge; trained on none of these speakers
    said : dict; what `say` made before, because few bits leave few different embeddings
    """

    transforms: dict[str, ProsodyTransform]
    carriers: dict[str, tuple[Recording, Contours]]
    judge: Any
    said: dict[Any, tuple[Wave, dict[str, float]]] = field(default_factory=dict, repr=False)

    @property
    def home(self) -> str:
        """The emotion that the clips are spoken in."""
        return next(iter(self.transforms.values())).source

    @property
    def names(self) -> list[str]:
        """The emotions that can be rendered."""
        return emotions.ordered([self.home, *self.transforms])

    @property
    def sample_rate(self) -> int:
        """Of the sounds, in Hz."""
        return next(iter(self.carriers.values()))[0].sample_rate

    def blend(self, shares: Mapping[str, float] | pd.Series) -> ProsodyTransform:
        """Return the prosody that shares of emotions ask for; the share of `home` changes nothing.

        Raises
        ------
        ValueError
            If an emotion with a share has no transform.
        """
        given = {str(name): float(share) for name, share in dict(shares).items()}
        if lacking := [name for name in given if given[name] > 0 and name not in self.names]:
            raise ValueError(f"shares of {', '.join(lacking)}; expected some of {', '.join(self.names)}")
        weights = [given.get(name, 0.0) for name in self.transforms]
        return ProsodyTransform.blend([*self.transforms.values()], weights)

    def say(self, speaker: str, shares: Mapping[str, float]) -> tuple[Wave, dict[str, float]]:
        """Return a speaker's clip with shares of emotions, at its level, and the judge's probabilities."""
        if (asked := (speaker, *shares.items())) not in self.said:
            recording, contours = self.carriers[speaker]
            speech = self.blend(shares).apply(recording.speech, 1.0, contours)
            wave = audio.level(prosody.resynthesise(recording, speech), audio.rms_dbfs(recording.wave))
            chances = self.judge.predict_proba([wave], self.sample_rate)[0]
            self.said[asked] = wave, dict(zip(map(str, self.judge.classes_), chances.tolist(), strict=True))
        return self.said[asked]


def voices_by_fold(
    corpus: pd.DataFrame, folds: Sequence[splits.Fold], judge_of: Callable[[Rows], Any], *,
    home: str = "neutral", n_sentences: int = 3, seed: int = 0,
) -> list[Voices]:  # fmt: skip
    """Give the speakers of a corpus of parallel sentences their parts, as ``hold_out(apart=True)`` does.

    Parameters
    ----------
    corpus : DataFrame; manifest, with text_id
    folds : list of (train, test); those in test speak
    judge_of : callable; trains a judge on rows of the manifest
    home : str; the emotion that everything starts from
    n_sentences : int; transforms learn from one take each of so many sentences
    seed : int; of the halves that transforms and that the judge learn from
    """
    sentences = sorted(corpus["text_id"].unique())[:n_sentences]
    takes = corpus[corpus["text_id"].isin(sentences)].drop_duplicates(["speaker", "text_id", "emotion"])
    speakers = corpus["speaker"].to_numpy()
    cut = [splits.halves(train, speakers, seed) for train, _ in folds]
    learned = {name for models, _ in cut for name in speakers[models]}
    analysed, made = prosody.renditions(takes[takes["speaker"].isin(learned)]), []
    for (_, test), (models, judges) in zip(folds, cut, strict=True):
        own = takes[takes["speaker"].isin(set(speakers[models]))]
        transforms = {
            name: ProsodyTransform(home, name).fit(prosody.pairs(own, home, name, analysed=analysed).pairs)
            for name in emotions.ordered(set(own["emotion"]) - {home})
        }
        spoken, carriers = corpus.iloc[test], {}
        for row in spoken[spoken["emotion"] == home].drop_duplicates("speaker").to_dict("records"):
            recording = prosody.record(*audio.load_clip(row))
            carriers[str(row["speaker"])] = (recording, prosody.contours(recording.speech))
        made.append(Voices(transforms, carriers, judge_of(judges)))
    return made


class Audible:
    """One fold with everything that turns its judged embeddings into speech.

    Parameters
    ----------
    held : HeldOut; of ``hold_out(apart=True)``
    voices : Voices
    n_speakers : int; speakers whose embeddings are rendered, at most

    Attributes
    ----------
    speakers : list of str; those whose embeddings are rendered
    picks : int array; of the judged clips, the first of each of these speakers and each emotion
    """

    def __init__(self, held: HeldOut, voices: Voices, n_speakers: int = 2) -> None:
        self.held, self.voices = held, voices
        self.probe = make_probe().fit(held.seen, held.seen_labels)
        self.speakers = sorted(set(held.speakers))[:n_speakers]
        clips = held.clips[held.clips["speaker"].isin(self.speakers)]
        self.clips = clips[clips["emotion"].isin(voices.names)]
        self.picks = self.clips.drop_duplicates(["speaker", "emotion"]).index.to_numpy()

    def shares(self, after: NDArray) -> pd.DataFrame:
        """Return the probe's shares of the emotions that can be rendered, (n, C); each row adds up to 1.

        Raises
        ------
        ValueError
            If the probe knows none of these emotions.
        """
        chances = self.probe.predict_proba(np.asarray(after, dtype=np.float64))
        known, names = list(self.probe.classes_.astype(str)), self.voices.names
        if not set(known) & set(names):
            raise ValueError(f"the probe knows {', '.join(known)}; expected one of {', '.join(names)}")
        chances = chances + 1e-12  # a row of no known emotion has the same share of each
        kept = pd.DataFrame(chances, columns=known).reindex(columns=names, fill_value=0.0)
        return kept.div(kept.sum(axis=1), axis=0)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return one of the judged clips of each of `speakers`, at random."""
        return np.array([rng.choice(rows[self.held.speakers[rows] == name]) for name in self.speakers])

    def ask(self, rows: Rows, after: NDArray, **columns: Any) -> pd.DataFrame:
        """Return what `say` takes: judged clips, their voice, and the shares of what was made of them."""
        carriers = list(self.voices.carriers)
        turns = {name: carriers[i % len(carriers)] for i, name in enumerate(self.speakers)}
        clips = self.held.clips.iloc[rows].reset_index(drop=True)
        voice = [name if name in carriers else turns[name] for name in clips["speaker"]]
        cosines = measures.similarity(self.held.before[rows], after)
        return self.shares(after).join(clips).assign(voice=voice, **columns, similarity=cosines)

    def say(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Render and judge.

        Returns
        -------
        table : DataFrame
            What was asked for without the shares, with wave, heard (a dict of emotion to the judge's
            probability), and chance: that of the column target if there is one, else of the clip's emotion.
        """
        table, names = pd.concat(parts, ignore_index=True), self.voices.names
        shares: list[Any] = table[names].to_dict("records")
        asked = zip(table["voice"], shares, strict=True)
        waves, heard = zip(*threads.each(lambda entry: self.voices.say(*entry), asked), strict=True)
        targets = table["target" if "target" in table else "emotion"]
        chances = [entry.get(name, np.nan) for entry, name in zip(heard, targets, strict=True)]
        columns: dict[str, Any] = {"wave": pd.Series(waves, dtype=object), "heard": heard, "chance": chances}
        return table.drop(columns=names).assign(**columns)

    def rates(self, coder: ResidualQuantizer, lams: Sequence[float]) -> pd.DataFrame:
        """Return `picks` at each lambda, between the plain clip and whole embeddings."""
        picks, before, labels = self.picks, self.held.before, self.held.labels
        whole, names = self.ask(picks, before[picks], way="whole embedding"), np.array(self.voices.names)
        home, parts = np.full(len(picks), self.voices.home), []
        for way, only in (("neutral clip as it is", home), ("its emotion alone", labels[picks])):
            shares = pd.DataFrame((only[:, None] == names).astype(float), columns=names)
            parts.append(whole.assign(way=way, similarity=np.nan, **shares))
        parts.append(whole)
        for lam in lams:
            codes = coder.encode(before, lam)
            part = self.ask(picks, coder.decode(codes[picks]), way=f"lambda {lam:g}", lam=lam)
            parts.append(part.assign(bits=part["emotion"].map(bits_of(coder, codes, labels))))
        return self.say(parts)

    def recognised(self, heard: pd.DataFrame, speaker: str) -> Rows:
        """Return a speaker's clips, one per emotion, whose whole embedding the judge recognises.

        Parameters
        ----------
        heard : DataFrame, as `rates` returns it
        speaker : str
        """
        table = heard[(heard["way"] == "whole embedding") & (heard["speaker"] == speaker)]
        sure = table["chance"] == [max(entry.values()) for entry in table["heard"]]
        return np.flatnonzero(self.held.clips["clip"].isin(table["clip"][sure]))
