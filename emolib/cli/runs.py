"""Commands that run others: run, sweep, bench."""

import contextlib
import os
import platform
import re
import runpy
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from typer import Argument, Option

from emolib import paths, scheduling
from emolib.cli.app import Profile, command
from emolib.files import write_file

_TITLE = """# Side by side

What each part is worth beside what a user would pick instead, measured in one process; `emolib bench` writes
this page. Ratios are above 1 in our favour; names in `_s` are seconds, in `_ms` milliseconds. Each script's
docstring says what is compared.
"""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("emolib: broken off; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


@command()
def run(
    names: Annotated[list[str] | None, Argument(metavar="NOTEBOOK...")] = None, corpus: str | None = None,
    root: Path | None = None, table: Annotated[str | None, Option("--manifest")] = None,
    encoder: str | None = None, profile: Profile = "quick", device: str = "auto", seed: int = 0,
    settings: Annotated[list[str] | None, Option("--set")] = None, fresh: bool = False,
    jobs: Annotated[int | None, Option(min=1)] = None,
) -> dict[str, Any]:  # fmt: skip
    """Execute the notebooks into a new folder of runs/; exit code 1 if one fails.

    What is done and unchanged is copied from the run that did it; broken off, the same command goes on in the
    same folder.

    JSON: notebooks, failed, seconds, summary.

    Parameters
    ----------
    names
        Beginnings of names, such as 01; all by default.
    corpus
        A name that `emolib corpora` lists; by default each notebook takes its own.
    table
        Your own corpus: a table with at least path, speaker and emotion. To rename emotions, give the table
        that `emolib manifest --map old=new --out TABLE.csv` wrote.
    encoder
        As for `emolib extract`; by default each notebook takes its own.
    profile
        quick is for two cores, full for an accelerator.
    seed
        The notebooks' SEED.
    settings
        NAME=VALUE: another parameter of a notebook; may be repeated.
    fresh
        Execute also what an earlier run did and nothing has changed of.
    jobs
        Notebooks at a time; one per core by default, at most 4.
    """
    from emolib import corpora, sweep

    corpus = corpus or ("folder" if table else None)
    table = str(Path(table).absolute()) if table and "://" not in table else table
    named = {"CORPUS": corpora.info(corpus).name if corpus else None, "ENCODER": encoder}
    named |= {"ROOT": str(root.absolute()) if root else None, "TABLE": table}
    parameters: dict[str, Any] = {"PROFILE": profile, "DEVICE": device, "SEED": seed}
    parameters |= {name: value for name, value in named.items() if value}
    known = {path.stem: sweep.declared(path) for path in sweep.notebooks()}
    parameters |= sweep.from_text(settings or [], known)
    started = time.perf_counter()
    with _interruptible():
        folder, ended = sweep.run(parameters, names, fresh=fresh, jobs=jobs)
    print((folder / "summary.md").read_text())
    for entry in ended:
        state = entry.error or ("done before" if entry.skipped else "ok")
        print(f"{entry.notebook:24} {entry.seconds:6.0f} s  {state}")
    print(f"notebooks {folder}\nfigures   {paths.figures()}")
    seconds, summary = round(time.perf_counter() - started, 1), str(folder / "summary.json")
    failed = sum(bool(entry.error) for entry in ended)
    return {"notebooks": len(ended), "failed": failed, "seconds": seconds, "summary": summary}


@command()
def sweep(
    grid: Annotated[Path, Argument(metavar="GRID.yaml")], jobs: Annotated[int, Option(min=1)] = 1,
    scheduler: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Execute notebooks over a grid, a folder of runs/sweep-NAME a cell; exit code 1 if one fails.

    What is done and unchanged is skipped; broken off, the same command goes on.

    JSON: cells, done, skipped, failed, seconds, summary.

    Parameters
    ----------
    grid
        Notebooks, fixed parameters, and axes to multiply.
    jobs
        Cells at a time on this machine.
    """
    from emolib import sweep as sweeps

    plan = sweeps.read_grid(grid)
    with _interruptible(), scheduling.connect(scheduler) as client:
        ended = sweeps.run_grid(plan, jobs=jobs, client=client)
    count = ended.count()
    print((ended.folder / "summary.md").read_text(encoding="utf-8"))
    print("{cells} cells: {done} done, {skipped} skipped, {failed} failed".format(**count))
    print(f"results {ended.folder}")
    return count | {"seconds": round(ended.seconds, 1), "summary": str(ended.folder / "summary.json")}


@command()
def bench(names: Annotated[list[str] | None, Argument(metavar="NAME...")] = None) -> dict[str, Any]:
    """Measure each part against what a user would pick instead, in one process; JSON: one ratio each.

    What is measured is written to benchmarks/RESULTS.md.

    Parameters
    ----------
    names
        Scripts of benchmarks/, such as extraction; all by default.
    """
    folder = paths.benchmarks()
    scripts = {path.stem: path for path in sorted(folder.glob("[a-z]*.py"))}
    if not scripts:
        raise ValueError(f"no comparisons in {folder}; run this in a checkout of emolib")
    if unknown := sorted(set(names or []) - set(scripts)):
        raise ValueError(f"no comparison {', '.join(unknown)}; expected: {', '.join(scripts)}")
    ratios: dict[str, float] = {}
    for name in names or scripts:
        script = runpy.run_path(str(scripts[name]))
        found = script["measure"]()
        question = (script["__doc__"] or name).strip().split("\n\n")[0].replace("\n", " ")
        _write_section(folder, name, question, found)
        ratios |= found
    for name, value in ratios.items():
        print(f"{name:32} {value:.4g}")
    return ratios


def _machine() -> str:
    """Return the processor, its cores at hand, and the versions that a time depends on, in one line."""
    import torch

    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text() if info.is_file() else "", flags=re.M)
    model = found[1] if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{model}, {cores} cores{device}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    )


def _write_section(folder: Path, name: str, question: str, ratios: Mapping[str, float]) -> None:
    """Write or replace the section of one comparison, and keep the sections in order.

    Parameters
    ----------
    folder : Path, of the comparisons
    name, question : str; the script's name without ending, the first line of its docstring
    ratios : mapping of a name to a number, as its `measure` returns them
    """
    path = folder / "RESULTS.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else _TITLE
    title, *sections = re.split(r"^## ", text, flags=re.M)
    kept = {section.split("\n", 1)[0].strip(): section.split("\n", 1)[1].strip() for section in sections}
    rows = "\n".join(f"| {key} | {value:.4g} |" for key, value in ratios.items())
    kept[name] = f"{question}\n\n{_machine()}\n\n| measure | value |\n|---|---|\n{rows}"
    body = "\n\n".join(f"## {key}\n\n{kept[key]}" for key in sorted(kept))
    write_file(path, f"{title.rstrip()}\n\n{body}\n".encode())
