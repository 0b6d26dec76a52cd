"""Where findings lie: in the folders of runs and of a sweep's cells, or in the committed results."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emolib import paths
from emolib.results import Number

#: The notebook that reports; it is no part of what it reports on.
OWN = "08_report"


@dataclass(frozen=True)
class Finding:
    """What one execution of one notebook found.

    Attributes
    ----------
    run : str; its run's folder below ``runs/``, or "notebooks" for the committed results
    notebook : str
    parameters : mapping; those that it was given
    metrics : mapping of flat name to number; empty where it has no results
    figures : Path; the folder of its figures and the numbers in them
    error : str; why it has no results, empty where it has
    """

    run: str
    notebook: str
    parameters: Mapping[str, Number] = field(default_factory=dict)
    metrics: Mapping[str, Number] = field(default_factory=dict)
    figures: Path = Path()
    error: str = ""

    @property
    def corpus(self) -> str:
        """The corpus's name; of a table of one's own, the table's."""
        name = str(self.parameters.get("CORPUS", "demo"))
        table = str(self.parameters.get("TABLE", ""))
        return Path(table).stem if name == "folder" and table else name

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return str(self.parameters.get("ENCODER", paths.DEFAULT_ENCODER))

    @property
    def seed(self) -> int:
        """The seed."""
        seed = self.parameters.get("SEED", 0)
        return seed if isinstance(seed, int) else 0

    @property
    def others(self) -> str:
        """The other parameters that it was given, apart from where data lie and what computes."""
        known = {"CORPUS", "ENCODER", "SEED", "ROOT", "TABLE", "DEVICE"}
        return ", ".join(f"{k}={v}" for k, v in sorted(self.parameters.items()) if k not in known)

    def numbers(self, figure: str) -> pd.DataFrame | None:
        """Return the numbers of one of its figures, or None where it drew none."""
        path = self.figures / f"{figure}.csv"
        try:
            return pd.read_csv(path)
        except (OSError, ValueError):  # absent, empty or torn: the report goes on without it
            return None


def gather(runs: str = "", *, corpus: str = "demo", encoder: str = paths.DEFAULT_ENCODER) -> list[Finding]:
    """Return what notebooks found.

    Parameters
    ----------
    runs : str
        Empty for the run that is going on and, where there is none, for the committed results, with the
        gallery of `corpus` and `encoder`; ``all`` for everything in ``runs/``; else the beginning of a run's
        or sweep's name.
    corpus, encoder : str

    Returns
    -------
    findings : list of Finding
        Where one thing was executed more than once, the newest execution that has results counts.

    Raises
    ------
    ValueError
        If no run's name begins so.
    """
    if not runs:
        current = os.environ.get("EMOLIB_RUN", "")
        of_run = list(_of_run(paths.runs() / current, current)) if current else []
        return of_run or list(_as_they_stand(corpus, encoder))
    everything = [folder for folder in sorted(paths.runs().glob("*")) if _is_run(folder)]
    chosen = [folder for folder in everything if runs == "all" or folder.name.startswith(runs)]
    if not chosen:
        known = ", ".join(folder.name for folder in everything[-8:]) or "none"
        raise ValueError(
            f"no run {runs!r} in {paths.runs()}; expected 'all' or the beginning of one of: {known}"
        )
    newest: dict[tuple[str, ...], Finding] = {}
    for folder in sorted(chosen, key=lambda folder: (folder / "results").stat().st_mtime if
                         (folder / "results").is_dir() else folder.stat().st_mtime):  # fmt: skip
        for finding in _of_folder(folder):
            what = (finding.notebook, finding.corpus, finding.encoder, str(finding.seed), finding.others)
            if finding.metrics or what not in newest:
                newest[what] = finding
    return list(newest.values())


def missing(findings: list[Finding]) -> pd.DataFrame:
    """Return what has no results: columns run, notebook, corpus, encoder, seed and why."""
    rows = [
        {"run": one.run, "notebook": one.notebook, "corpus": one.corpus, "encoder": one.encoder,
         "seed": one.seed, "why": one.error}
        for one in findings if not one.metrics
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["run", "notebook", "corpus", "encoder", "seed", "why"])


def _is_run(folder: Path) -> bool:
    is_link = folder.is_symlink() or folder.name.startswith((".", "interactive"))
    return folder.is_dir() and not is_link and folder.name != os.environ.get("EMOLIB_RUN")


def _of_folder(folder: Path) -> Iterator[Finding]:
    """Yield the findings of a run, or of each cell that a sweep's grid has."""
    plan = _json(folder / "sweep.json")
    if not plan:
        yield from _of_run(folder, folder.name)
        return
    for name, given in plan.get("cells", {}).items():
        told = {"parameters": given, "notebooks": plan.get("notebooks", [])}
        yield from _of_run(folder / name, f"{folder.name}/{name}", told)


def _of_run(folder: Path, run: str, told: dict | None = None) -> Iterator[Finding]:
    """Yield what each notebook of a run found, those that it should have executed among them."""
    told = told or _json(folder / "run.json")
    recorded = {path.stem: path for path in sorted((folder / "results").glob("*.json"))}
    executed = {path.stem for path in folder.glob("[0-9][0-9]_*.ipynb")}
    for notebook in sorted({*recorded, *told.get("notebooks", []), *executed} - {OWN}):
        parameters = told.get("parameters") or _given(folder / f"{notebook}.ipynb")
        metrics = _json(recorded[notebook]) if notebook in recorded else {}
        own = folder / "figures"
        elsewhere = (
            str(parameters.get("CORPUS", "demo")),
            str(parameters.get("ENCODER", paths.DEFAULT_ENCODER)),
        )
        yield Finding(
            run=run,
            notebook=notebook,
            parameters=parameters,
            metrics=metrics,
            figures=own if own.is_dir() or run.startswith("sweep-") else paths.gallery(*elsewhere),
            error="" if metrics else _error(folder / f"{notebook}.ipynb"),
        )


def _as_they_stand(corpus: str, encoder: str) -> Iterator[Finding]:
    """Yield the committed results of each notebook, which `results.compare` compares with."""
    gallery, given = paths.gallery(corpus, encoder), {"CORPUS": corpus, "ENCODER": encoder}
    for path in sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb")):
        if path.stem == OWN:
            continue
        entries = _json(path.parent / "expected" / f"{path.stem}.json").get("results", {})
        metrics = {name: entry["value"] for name, entry in entries.items()}
        error = "" if metrics else "it has no committed results"
        yield Finding("notebooks", path.stem, given, metrics, gallery, error)


def _given(copy: Path) -> dict[str, Number]:
    """Return the parameters that papermill put into an executed copy."""
    return (_json(copy).get("metadata", {}).get("papermill", {}) or {}).get("parameters", {})


def _error(copy: Path) -> str:
    """Return the error in an executed copy, in one line."""
    if not copy.is_file():
        return "not executed"
    outputs = [output for cell in _cells(copy) for output in cell.get("outputs", [])]
    errors = [output for output in outputs if output.get("output_type") == "error"]
    if not errors:
        return "broken off, or it records nothing"
    first = f"{errors[0].get('ename')}: {errors[0].get('evalue')}".splitlines()
    return first[0][:200] if first else "failed"


def _cells(path: Path) -> list[dict]:
    cells = _json(path).get("cells", [])
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []


def _json(path: Path) -> dict:
    """Return a JSON object, empty where the file is absent or none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
