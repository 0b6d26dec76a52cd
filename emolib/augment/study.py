"""Does generated speech make a recogniser better, on speakers it never heard? The question, run and answered.

Last stage of `emolib.augment`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from emolib import generate
from emolib.atomic import write_file
from emolib.augment.cells import Cell
from emolib.augment.grid import Grid
from emolib.augment.protocol import BOTH, CLASSICAL, EQUAL, REAL
from emolib.augment.settings import Profile, Settings
from emolib.augment.statistics import SCORES, Counts, counts_of, intervals
from emolib.metrics import Interval

_GROUP = ["protocol", "share", "condition"]


@dataclass(frozen=True)
class Study:
    """What the cells of a study answered.

    Attributes
    ----------
    grid : Grid; of the cells, which knows who learned from what
    predictions : DataFrame
        A row a test clip, condition and seed: protocol, share, condition, fold, seed, clip, speaker, truth,
        predicted, n_real and n_generated.
    leaks : DataFrame; the audit of each protocol, as `augment.audit` gives it, with the column protocol
    missing : list of str; cells that were not run
    skipped : list of dict; clips, and training sets, that could not be used, and why
    seconds : float; of all cells' trainings and tests, generators aside
    """

    grid: Grid
    predictions: pd.DataFrame
    leaks: pd.DataFrame
    missing: list[str] = field(default_factory=list)
    skipped: list[Any] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> pd.DataFrame:
        """Return the scores of each condition, averaged over seeds, with 95 % intervals over speakers.

        Returns
        -------
        table : DataFrame
            protocol, share (of the real training clips), condition, then ua, wa and macro_f1, each with _low
            and _high, n (test clips), speakers, seeds, n_real and n_generated (clips, the mean over folds).
            Seeds that lack a fold of a condition are left out of it.
        """
        rows = []
        for key, part in self._parts():
            head: dict[str, Any] = dict(zip(_GROUP, key, strict=True))
            rows.append(head | _columns(intervals(*_counts(part))) | _sizes(part))
        return pd.DataFrame(rows)

    def differences(self, over: str = CLASSICAL.name) -> pd.DataFrame:
        """Return what each condition gains over another of the same protocol and share of real clips.

        Parameters
        ----------
        over : str; the condition that all others are compared with

        Returns
        -------
        table : DataFrame
            As `table`, with differences of scores: averaged over the seeds that both have, the intervals over
            speakers, paired. A share that lacks the other condition is left out.
        """
        parts = dict(self._parts())
        rows = []
        for key, part in parts.items():
            base = parts.get((*key[:2], over))
            if base is None or key[2] == over:
                continue
            mine, rival = _shared(part, base)
            if len(mine):
                head: dict[str, Any] = dict(zip(_GROUP, key, strict=True)) | {"over": over}
                gains = intervals(*_counts(mine, rival))
                rows.append(head | _columns(gains) | _sizes(mine))
        return pd.DataFrame(rows)

    def gain(self, share: float | None = None, over: str = CLASSICAL.name) -> Interval:
        """Return what generated clips gain in UA with classical augmentation, speaker-disjoint.

        Parameters
        ----------
        share : float, optional; of the real training clips, by default the smallest with generated clips
        over : str
            By default the same number of steps with real clips repeated in place of the generated ones.
            `EQUAL.name` is what they add where each real clip is drawn as often on both sides.

        Raises
        ------
        ValueError
            If the study has no such cells yet.
        """
        gains = self.differences(over)
        if len(gains):
            gains = gains[(gains["protocol"] == "disjoint") & (gains["condition"] == BOTH.name)]
            gains = gains[gains["share"] == (gains["share"].min() if share is None else share)]
        if not len(gains):
            raise ValueError(f"no cells of {BOTH.name!r} and {over!r} to compare yet; run the study further")
        row = gains.iloc[0]
        return Interval(float(row["ua"]), float(row["ua_low"]), float(row["ua_high"]))

    def headline(self) -> dict[str, float]:
        """Return the numbers of the smallest share of real clips with generated ones; NaN before any.

        Returns
        -------
        numbers : dict
            ua_real, ua_classical, ua_generated, ua_equal; gain and gain_equal (over `CLASSICAL`, `EQUAL`),
            with _low and _high; n (test clips) and share.
        """
        scores = self.table()
        scores = scores[scores["protocol"] == "disjoint"]
        share = float(scores.loc[scores["condition"] == BOTH.name, "share"].min())
        rows = scores[scores["share"] == share].set_index("condition")
        ua = rows["ua"].reindex([REAL.name, CLASSICAL.name, BOTH.name, EQUAL.name]).tolist()
        found = dict(zip(("ua_real", "ua_classical", "ua_generated", "ua_equal"), ua, strict=True))
        for name, over in (("gain", CLASSICAL.name), ("gain_equal", EQUAL.name)):
            gain = self.gain(over=over) if over in rows.index else Interval(*[float("nan")] * 3)
            found |= {name: gain.value, f"{name}_low": gain.low, f"{name}_high": gain.high}
        return found | {"n": int(rows["n"].max()) if len(rows) else 0, "share": share}

    def _parts(self) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
        """Return the predictions of each condition, in the order of the study, whole seeds only."""
        found = []
        for key, part in self.predictions.groupby(_GROUP, sort=False):
            folds = part.groupby("seed")["fold"].nunique()
            whole = folds.index[folds == folds.max()]
            found.append((tuple(key), part[part["seed"].isin(whole)]))
        order = {name: i for i, name in enumerate(self.predictions["condition"].drop_duplicates())}
        return sorted(found, key=lambda entry: (entry[0][0], -entry[0][1], order[entry[0][2]]))


def study(
    manifest: pd.DataFrame,
    out: str | Path,
    profile: Profile = "quick",
    *,
    device: str = "auto",
    seed: int = 0,
    settings: Settings | None = None,
    limit_s: float | None = None,
    progress: bool = False,
) -> Study:
    """Train recognisers on real, augmented and generated clips, and test them on speakers they never heard.

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
        If the corpus lacks classes or speakers for it.
    """
    started, folder = time.perf_counter(), Path(out)
    mels, unused = generate.load_mels(manifest)
    genders = dict(zip(manifest["speaker"].astype(str), manifest["gender"].astype(str), strict=True))
    chosen = settings or Settings.of(profile, seed=seed)
    grid = Grid(mels, genders, folder, chosen, device=device, seed=seed, progress=progress)
    skipped: list[Any] = [
        *unused,
        *({"clip": name, "reason": reason} for name, reason in grid.left_out.items()),
    ]
    done: list[tuple[Cell, dict[str, Any]]] = []
    missing = []
    for cell in tqdm(grid.cells, desc="augment", disable=not progress):
        found = grid.read(cell)
        if found is None and (limit_s is None or time.perf_counter() - started < limit_s):
            found = grid.run(cell)
        if found is None:
            missing.append(cell.name)
        else:
            done.append((cell, found))
    if not done:
        raise ValueError(f"no cell of this study is in {folder}, and there was no time to run any")
    predictions = pd.concat([_frame(cell, found) for cell, found in done], ignore_index=True)
    seconds = sum(found["seconds"] for _, found in done)
    return Study(grid, predictions, _leaks(grid, done), missing, skipped, seconds)


def _counts(*parts: pd.DataFrame) -> list[Counts]:
    """Return the counts of conditions, on the same classes and speakers."""
    classes = sorted(set().union(*(set(part["truth"]) | set(part["predicted"]) for part in parts)))
    speakers = sorted(set().union(*(set(part["speaker"]) for part in parts)))
    return [counts_of(part, classes, speakers) for part in parts]


def _shared(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers of two conditions to the same clips under the same seeds."""
    keys = [pd.MultiIndex.from_frame(part[["seed", "clip"]]) for part in (a, b)]
    return a[keys[0].isin(keys[1])], b[keys[1].isin(keys[0])]


def _frame(cell: Cell, found: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "protocol": cell.protocol, "share": cell.share, "condition": cell.condition.name,
            "fold": cell.fold, "seed": cell.seed, "clip": found["clips"], "speaker": found["speakers"],
            "truth": found["truth"], "predicted": found["predicted"], "n_real": found["n_real"],
            "n_generated": found["n_generated"],
        }
    )  # fmt: skip


def _leaks(grid: Grid, done: Sequence[tuple[Cell, dict[str, Any]]]) -> pd.DataFrame:
    """Return the audit of the cell of each protocol in which most took part, kept beside the cells."""
    tables = []
    for protocol in dict.fromkeys(cell.protocol for cell, _ in done):
        cells = [cell for cell, _ in done if cell.protocol == protocol]
        cell = max(
            cells, key=lambda c: (c.condition.warm, c.condition.selected, c.condition.generated, c.share)
        )
        path = grid.folder / "leaks" / f"{cell.name}-{grid.identity(cell)}.json"
        if not path.is_file():
            write_file(path, (json.dumps(grid.check_leaks(cell), indent=1) + "\n").encode())
        rows = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        rows.insert(0, "protocol", protocol)
        rows.insert(1, "condition", cell.condition.name)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _columns(scores: dict[str, Interval]) -> dict[str, float]:
    return {
        f"{name}{end}": value
        for name in SCORES
        for end, value in zip(("", "_low", "_high"), scores[name], strict=True)
    }


def _sizes(part: pd.DataFrame) -> dict[str, Any]:
    folds = part.drop_duplicates("fold")
    return {
        "n": part["clip"].nunique(), "speakers": part["speaker"].nunique(), "seeds": part["seed"].nunique(),
        "n_real": float(folds["n_real"].mean()), "n_generated": float(folds["n_generated"].mean()),
    }  # fmt: skip
