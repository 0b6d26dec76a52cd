"""The benchmark: feature sets by corpora, on folds that share no speaker, and from corpus to corpus.

Every answer is a file of held-out predictions, so that a run that was broken off goes on, and any two feature
sets can be compared clip by clip. A layer is chosen on training speakers alone; nothing else is.

References
----------
Why folds must share no speaker, and which published ones do: docs/splits.md. Corpus to corpus: B. Schuller et
al. (2010), "Cross-Corpus Acoustic Emotion Recognition: Variances and Strategies", IEEE Transactions on
Affective Computing 1(2), doi:10.1109/T-AFFC.2010.8.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import permutations, product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import corpora, emotions, features, files, paths, probing, splits
from emolib.metrics import Interval
from emolib.probing import Probe
from emolib.store import Pooling

#: Corpora and feature sets of the committed tables; others are compared with the first feature set.
CORPORA = ("ravdess", "emodb", "crema-d", "nemo", "demo")
ENCODERS = (
    "whisper-tiny.en", "wav2vec2-nano", "random:whisper-tiny.en", "compare", "egemaps", "logmel", "prosody"
)  # fmt: skip
#: How folds are cut; the second where a corpus has sentences that several speakers speak.
FOLDS = ("speaker", "speaker+text")
#: Unlabelled clips of each speaker from which mean and deviation are taken; 0 for none.
N_CLIPS = (0, 16)
#: The folder of the committed tables in ``data/results/``.
COMMITTED = "benchmark"
_INTERVAL = ["ua", "ua_low", "ua_high"]
_LEAD = ["lead", "lead_low", "lead_high"]
#: A corpus's clips, and their pooled features by layer.
Speech = tuple[pd.DataFrame, dict[int, NDArray]]


@dataclass(frozen=True)
class Question:
    """One cell of the benchmark.

    Attributes
    ----------
    corpus, encoder : str
    folds : str; a scheme of `splits.folds`, or empty from corpus to corpus
    n_clips : int; of each speaker, without labels, to standardise by; 0 for none
    trained_on : str; the other corpus, or empty
    """

    corpus: str
    encoder: str
    folds: str
    n_clips: int
    trained_on: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        protocol = self.folds or f"from-{self.trained_on}"
        return f"{self.corpus}-{paths.folder_name(self.encoder)}-{protocol}-{self.n_clips}"


class Tables(NamedTuple):
    """What a benchmark found.

    Attributes
    ----------
    within : DataFrame
        corpus, folds, n_clips, encoder, layer, ua with its interval over speakers, wa, macro_f1, n, speakers,
        chance, and lead: by how much the first feature set is above this one on the same clips, with its
        interval.
    across : DataFrame
        trained_on, corpus, n_clips, encoder, layer, ua with its interval, n, emotions (those that both have),
        chance
    left_out : list of str; one sentence for each corpus, feature set or protocol that could not be had
    """

    within: pd.DataFrame
    across: pd.DataFrame
    left_out: list[str]


def run(
    out: str | Path, names: Sequence[str] = CORPORA, encoders: Sequence[str] = ENCODERS, *,
    folds: Sequence[str] = FOLDS, n_clips: Sequence[int] = N_CLIPS, device: str = "auto", seed: int = 0,
    client: Any = None, told: Callable[[str], None] = lambda line: None,
) -> Tables:  # fmt: skip
    """Answer every question that can be had here, and return the tables, which are also written to `out`.

    Parameters
    ----------
    out : str or Path
        Folder of the answers; those that are there, of the same clips and features, are not computed again.
    names, encoders : sequences of str
    folds, n_clips : sequences; as in `Question`
    device : str; seed : int; of cuts and draws
    client : distributed.Client, optional; each fold is then one of its tasks
    told : callable; gets a line about each answer as it comes

    Raises
    ------
    ValueError
        If no question could be answered.
    """
    bench = _Bench(Path(out), device, seed, client, names)
    names = list(bench.manifests)
    asked = [Question(*one) for one in product(names, encoders, folds, n_clips)]
    pairs = list(permutations(names, 2))
    asked += [Question(b, e, "", n, a) for e, n, (a, b) in product(encoders, n_clips, pairs)]
    found: dict[Question, Probe] = {}
    for question in asked:
        try:
            answer = bench.answer(question)
        except (ValueError, FileNotFoundError) as error:
            bench.left_out.setdefault(str(error))
            continue
        if answer is not None:
            found[question] = answer
            told(f"{question.name}: UA {answer.ua}")
    if not found:
        raise ValueError(f"nothing to compare: {'; '.join(bench.left_out)}")
    tables = Tables(*_tabulate(found, encoders[0]), list(bench.left_out))
    for name, table in (("within", tables.within), ("across", tables.across)):
        table.to_csv(Path(out) / f"{name}.csv", index=False, lineterminator="\n", float_format="%.4f")
    return tables


class _Bench:
    """The corpora and features of a benchmark, loaded once, and the files of its answers."""

    def __init__(self, folder: Path, device: str, seed: int, client: Any, names: Sequence[str]) -> None:
        self.folder, self.device, self.seed, self.client = folder, device, seed, client
        self.left_out: dict[str, None] = {}
        self.manifests: dict[str, pd.DataFrame] = {}
        for name in names:
            try:
                self.manifests[name] = corpora.load(name)
            except (ValueError, FileNotFoundError) as error:
                self.left_out.setdefault(str(error))
        self._features: dict[tuple[str, str], tuple[pd.DataFrame, dict[int, NDArray]]] = {}

    def answer(self, question: Question) -> Probe | None:
        """Return held-out predictions, from their file or anew; None where a corpus can't be asked so."""
        names = filter(None, [question.trained_on, question.corpus])
        parts = [self.speech(name, question.encoder) for name in names]
        if "text" in question.folds and not _has_shared_texts(parts[0][0]):
            return None
        path = self.folder / "answers" / f"{question.name}.json"
        identity = _identity(question, self.seed, parts)
        if (kept := files.read_json(path)).get("identity") != identity:
            probe = self.ask(question, parts)
            kept = {"identity": identity, "question": asdict(question), "layer": probe.layer}
            kept |= {name: getattr(probe, name).tolist() for name in ("y_true", "y_pred", "speakers")}
            files.write_json(path, kept)
        y_true, y_pred, speakers = (np.array(kept[name], str) for name in ("y_true", "y_pred", "speakers"))
        return Probe(y_true, y_pred, speakers, kept["layer"])

    def speech(self, corpus: str, encoder: str) -> Speech:
        """Return a corpus's clips and their pooled features by layer."""
        if (corpus, encoder) not in self._features:
            manifest = self.manifests[corpus]
            if reason := features.unavailable(manifest, encoder):
                raise ValueError(f"{corpus} by {encoder}: {reason}")
            done = features.extract(manifest, encoder, device=self.device)
            self.left_out |= {f"{corpus}, {entry['clip']}: {entry['reason']}": None for entry in done.skipped}
            clips = manifest[~done.store.missing(manifest)].reset_index(drop=True)
            config = done.store.config
            # functionals are one frame, whose deviation says nothing
            pooling: Pooling = "mean+std" if math.isfinite(config.hop_s) else "mean"
            pooled = {k: done.store.pooled(k, pooling, clips["clip"].tolist()) for k in config.layers}
            self._features[corpus, encoder] = clips, pooled
        return self._features[corpus, encoder]

    def ask(self, question: Question, parts: list[Speech]) -> Probe:
        """Predict every clip of a corpus, from its other speakers or from another corpus."""
        if question.n_clips:
            parts = [(clips, self.standardised(question, clips, layers)) for clips, layers in parts]
        if question.trained_on:
            return _across(question, *parts)
        [(clips, layers)] = parts
        cut = splits.folds(clips, question.folds, seed=self.seed)  # type: ignore[arg-type]
        return probing.choose_layer(layers, clips, cut, client=self.client)

    def standardised(
        self, question: Question, clips: pd.DataFrame, layers: dict[int, NDArray]
    ) -> dict[int, NDArray]:
        options = {"n_clips": question.n_clips, "prior_clips": 0, "seed": self.seed}
        return {k: probing.standardise_speakers(X, clips["speaker"], **options) for k, X in layers.items()}


def _across(question: Question, *parts: Speech) -> Probe:
    """Train on one corpus's clips of the emotions that both have, and predict those of the other."""
    names = f"{question.trained_on} and {question.corpus}"
    common = set.intersection(*(set(clips["emotion"]) for clips, _ in parts))
    if len(common) < 2:
        raise ValueError(f"{names} have {len(common)} emotions in common; expected at least two")
    sides = []
    for clips, layers in parts:
        rows = clips["emotion"].isin(common).to_numpy()
        sides.append((clips[rows], {k: X[rows] for k, X in layers.items()}))
    (train, known), (test, asked) = sides
    shared = {k: X for k, X in known.items() if k in asked}
    if not shared:
        raise ValueError(
            f"{names} have no layer of {question.encoder} in common; expected one, which an extraction from "
            f"their audio gives"
        )
    layer = probing.best_layer(shared, train, lambda *fold: probing.cross_validate(*fold).ua.value)
    fitted = probing.make_probe().fit(shared[layer], train["emotion"].to_numpy(str))
    y_true, speakers = (test[name].to_numpy(str) for name in ("emotion", "speaker"))
    return Probe(y_true, fitted.predict(asked[layer]).astype(str), speakers, layer)


def _has_shared_texts(clips: pd.DataFrame) -> bool:
    """Tell whether folds can hold out sentences: each sentence is spoken by several speakers."""
    texts = clips[clips["text_id"] != ""].groupby("text_id")["speaker"].nunique()
    return len(texts) > 1 and bool((texts > 1).all()) and bool((clips["text_id"] != "").all())


def _identity(question: Question, seed: int, parts: Sequence[tuple[pd.DataFrame, dict[int, NDArray]]]) -> str:
    """Return a hash of all that an answer depends on."""
    digest = sha256(repr((question, seed)).encode())
    for clips, layers in parts:
        digest.update(clips[["clip", "emotion", "speaker", "text_id"]].to_csv(index=False).encode())
        for k, X in layers.items():
            digest.update(f"{k} {X.shape}".encode() + np.ascontiguousarray(X).tobytes())
    return digest.hexdigest()[:16]


def _tabulate(found: dict[Question, Probe], first: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers within a corpus, beside those of the first feature set, and those across corpora."""
    within, across = [], []
    for question, probe in found.items():
        row = asdict(question) | {"layer": probe.layer} | dict(zip(_INTERVAL, probe.ua, strict=True))
        row |= {"n": len(probe), "speakers": len(set(probe.speakers)), "chance": 1 / len(set(probe.y_true))}
        if question.trained_on:
            across.append(row | {"emotions": " ".join(emotions.ordered(probe.y_true.tolist()))})
            continue
        rival, lead = found.get(replace(question, encoder=first)), Interval(*[np.nan] * 3)
        if rival is not None and question.encoder != first and len(rival) == len(probe):
            lead = rival.lead_over(probe)
        scores = {"wa": probe.wa, "macro_f1": probe.macro_f1}
        within.append(row | scores | dict(zip(_LEAD, lead, strict=True)))
    one, two = pd.DataFrame(within), pd.DataFrame(across)
    return one.drop(columns="trained_on", errors="ignore"), two.drop(columns="folds", errors="ignore")


# ------------------------------------------------------------------------------------- as a page


def committed(table: Literal["within", "across"] = "within") -> pd.DataFrame:
    """Return a committed table, of answers within or across corpora, as in `Tables`; empty where none is."""
    path = paths.CHECKOUT / "data" / "results" / COMMITTED / f"{table}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def beside_committed(within: pd.DataFrame) -> pd.DataFrame:
    """Return a run's rows and the committed ones of other feature sets on the same clips and folds."""
    known, key = committed(), ["corpus", "folds", "n_clips", "n"]
    if known.empty:
        return within.assign(source="this run")
    known = known.merge(within[key].drop_duplicates())
    known = known[~known["encoder"].isin(within["encoder"])]
    return pd.concat([within.assign(source="this run"), known.assign(source="committed")], ignore_index=True)


def as_markdown(within: pd.DataFrame, across: pd.DataFrame) -> str:
    """Return the tables for a page: UA with its interval, a column for each protocol."""
    lines = []
    for corpus, part in within.groupby("corpus", sort=False):
        first = part.iloc[0]
        about = f"{first['n']} clips, {first['speakers']} speakers; chance {first['chance']:.2f}"
        columns = list(map(_protocol, part["folds"], part["n_clips"]))
        part = part.assign(column=columns, shown=_intervals(part[_INTERVAL], ".3f"))
        leads = part[(part["column"] == "blind") & part["lead"].notna()]
        leads = leads.assign(column=f"lead of {first['encoder']}", shown=_intervals(leads[_LEAD], "+.3f"))
        lines += [f"### {corpus}", "", about, "", *_table(pd.concat([part, leads]), "encoder"), ""]
    if len(across):
        lines += ["### From corpus to corpus", "", "UA (and chance) by the first feature set.", ""]
        first = across[across["encoder"] == across["encoder"].iloc[0]]
        for n_clips, part in first.groupby("n_clips", sort=False):
            shown = [f"{ua:.2f} ({c:.2f})" for ua, c in zip(part["ua"], part["chance"], strict=True)]
            lines += [f"Features {_protocol('', n_clips)}; trained on the corpus of the row:", ""]
            part = part.assign(shown=shown, column=part["corpus"])
            lines += [*_table(part, "trained_on", part["trained_on"].unique().tolist()), ""]
    return "\n".join(lines).rstrip()


def _intervals(table: pd.DataFrame, spec: str) -> list[str]:
    return [format(Interval(*row), spec) for row in table.itertuples(index=False)]


def _protocol(folds: str, n_clips: int) -> str:
    known = f"standardised by {n_clips} clips" if n_clips else "blind"
    return f"new sentences too, {known}" if "text" in folds else known


def _table(part: pd.DataFrame, row: str, columns: list[str] | None = None) -> list[str]:
    """Return the lines of a table of what is shown, by one column and by the column that is called column."""
    grid = part.pivot_table("shown", row, "column", aggfunc="first", sort=False)
    grid = grid.reindex(columns=columns).fillna("")
    rows = [[row, *grid.columns], ["---"] * (1 + grid.shape[1]), *grid.reset_index().to_numpy().tolist()]
    return ["| " + " | ".join(cells) + " |" for cells in rows]
