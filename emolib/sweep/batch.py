"""Runs and grids as a whole: cells one by one, several at a time, or on Dask's workers."""

import functools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from emolib import paths, results, scheduling, threads
from emolib.atomic import locked
from emolib.results import Number, read_json
from emolib.sweep import grid as declarations
from emolib.sweep.cells import Cell, Children, NotebookRun, cell_task, look_again, notebook_key, run_cell
from emolib.sweep.grid import Grid

#: Bytes of memory that a notebook gets by, and how many notebooks at once still gain time.
_MEMORY, _MOST_AT_ONCE = 2 << 30, 4


@dataclass(frozen=True)
class Sweep:
    """How a grid ended.

    Attributes
    ----------
    folder : Path; one folder a cell, ``sweep.json``, and the summaries
    cells : dict of cell name to how its notebooks ended
    outdated : list of str; folders of cells that the grid no longer has, left as they are
    seconds : float
    """

    folder: Path
    cells: dict[str, list[NotebookRun]]
    outdated: list[str]
    seconds: float

    def count(self) -> dict[str, int]:
        """Return how many cells there are, and of them were done now, were skipped, and failed."""
        failed = sum(any(entry.error for entry in ended) for ended in self.cells.values())
        skipped = sum(all(entry.skipped for entry in ended) for ended in self.cells.values())
        n_cells = len(self.cells)
        return {"cells": n_cells, "done": n_cells - failed - skipped, "skipped": skipped, "failed": failed}


def run(
    parameters: Mapping[str, Number],
    names: Sequence[str] | None = None,
    *,
    fresh: bool = False,
    jobs: int | None = None,
) -> tuple[Path, list[NotebookRun]]:
    """Execute notebooks with parameters into a new run folder; go on with the last one if it was broken off.

    A notebook that an earlier run executed from the very inputs that it would have now is not executed again,
    but copied from there with its results; those that read other runs always are.

    Parameters
    ----------
    parameters : mapping
        Values for the notebooks' ``parameters`` cells, such as CORPUS and ENCODER; a notebook gets those that
        it declares.
    names : sequence of str, optional
        Beginnings of notebook names; all by default.
    fresh : bool
        Execute every notebook, in a new folder.
    jobs : int, optional
        Notebooks at a time; by default one per core, at most four and no more than fit into memory, and one
        alone where they would share a GPU.

    Returns
    -------
    folder : Path; executed notebooks, ``results/`` and the summaries
    runs : list of NotebookRun; one that failed does not stop the others, and its copy shows the error

    Raises
    ------
    ValueError
        If a parameter is declared by no notebook, asked for or not, or is of another type than there, a name
        fits none, or `jobs` is below 1.
    """
    jobs = _at_once(parameters) if jobs is None else _checked(jobs)
    look_again()
    chosen = declarations.notebooks(names)
    known = {path.stem: declarations.declared(path) for path in declarations.notebooks()}
    declarations.check(parameters, known)
    plan = {"parameters": dict(parameters), "notebooks": [path.stem for path in chosen]}
    label = "-".join(str(parameters[name]) for name in ("CORPUS", "ENCODER") if name in parameters)
    folder = (None if fresh else _unfinished(plan)) or results.new_run(label or "default")
    results.write_json(folder / "run.json", plan | {"ended": False})
    cell = _cell(folder.name, folder, folder.name, chosen, parameters)
    if not fresh:
        _take_over(cell)
    jobs = min(jobs, len(chosen))
    progress = _Progress([cell], at_once=jobs)
    with Children(jobs) as children:
        ended = run_cell(cell, children, progress.tell, jobs)
    results.write_json(folder / "run.json", plan | {"ended": True})
    return folder, ended


def run_grid(grid: Grid, *, jobs: int = 1, client: Any = None) -> Sweep:
    """Execute every cell of a grid that is not done, each into its own folder of ``runs/sweep-<name>``.

    Parameters
    ----------
    grid : Grid
    jobs : int
        Cells at a time on this machine.
    client : distributed.Client, optional
        Execute cells on its workers instead.

    Raises
    ------
    ValueError
        If `jobs` is below 1, or another process executes this grid now.
    """
    _checked(jobs)
    look_again()
    folder = paths.runs() / f"sweep-{grid.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=False) as is_ours:
        if not is_ours:
            raise ValueError(
                f"the sweep {grid.name!r} is executed by another process now; wait for it, or name this one "
                f"differently"
            )
        return _run_grid(grid, folder, jobs, client)


def _run_grid(grid: Grid, folder: Path, jobs: int, client: Any) -> Sweep:
    started, cells = time.perf_counter(), []
    plan: dict[str, Any] = {"notebooks": [path.stem for path in grid.notebooks]}
    results.write_json(folder / "sweep.json", {"name": grid.name} | plan | {"cells": grid.cells})
    for name, given in grid.cells.items():
        own = folder / name
        own.mkdir(exist_ok=True)
        results.write_json(own / "run.json", {"parameters": given} | plan)
        figures = {"EMOLIB_FIGURES": str(own / "figures")}
        cells.append(_cell(name, own, f"{folder.name}/{name}", grid.notebooks, given, **figures))
    workers = sum(client.nthreads().values()) if client else jobs
    progress = _Progress(cells, at_once=max(1, min(workers, len(cells))))
    done = dict(_by_workers(cells, client, progress) if client else _by_threads(cells, jobs, progress))
    known = {path.parent.name for path in folder.glob("*/run.json")}
    in_order = {name: done[name] for name in grid.cells}
    sweep = Sweep(folder, in_order, sorted(known - set(grid.cells)), time.perf_counter() - started)
    _summarise(sweep, grid)
    return sweep


def _cell(
    name: str,
    folder: Path,
    run: str,
    notebooks: Sequence[Path],
    parameters: Mapping[str, Number],
    **environment: str,
) -> Cell:
    declared = {path: declarations.declared(path) for path in notebooks}
    given = {p: {k: v for k, v in parameters.items() if k in own} for p, own in declared.items()}
    home = {"EMOLIB_HOME": str(paths.home()), "EMOLIB_CORPORA": str(paths.corpora()), "EMOLIB_RUN": run}
    return Cell(
        name,
        str(folder),
        {str(path): own for path, own in given.items()},
        {str(path): notebook_key(path, own) for path, own in given.items()},
        home | environment,
        [path.stem for path, own in declared.items() if "RUNS" in own],
    )


def _checked(jobs: int) -> int:
    if jobs < 1:
        raise ValueError(f"{jobs} jobs; expected at least 1")
    return jobs


def _at_once(parameters: Mapping[str, Number]) -> int:
    """Return how many notebooks this machine executes best at a time."""
    if parameters.get("DEVICE") != "cpu" and scheduling.visible_gpus():
        return 1
    fit = psutil.virtual_memory().available // _MEMORY
    return max(1, min(threads.workers(), _MOST_AT_ONCE, fit))


def _unfinished(plan: dict[str, Any]) -> Path | None:
    """Return the folder of the newest run, if it had this plan and neither ended nor goes on elsewhere."""
    folder = (paths.runs() / "latest").resolve()
    told = read_json(folder / "run.json")
    if told.get("ended", True) or {key: told.get(key) for key in plan} != plan:
        return None
    with locked(folder, wait=False) as is_free:
        return folder if is_free else None


def _take_over(cell: Cell) -> None:
    """Copy into a run's folder what earlier runs did of it, from the very inputs that it has now."""
    runs = sorted((plan.parent for plan in paths.runs().glob("*/run.json")), reverse=True)
    earlier = [replace(cell, folder=str(folder)) for folder in runs]
    for path in map(Path, cell.notebooks):
        if path.stem not in cell.readers and not cell.is_done(path):
            for other in [one for one in earlier if one.is_done(path)][:1]:
                cell.take(other, path)


def _by_threads(cells: list[Cell], jobs: int, progress: "_Progress") -> Iterator[tuple[str, list]]:
    """Execute cells in processes of their own, each watched by a thread."""
    with ThreadPoolExecutor(jobs) as pool, Children(jobs) as children:
        futures = {
            pool.submit(run_cell, cell, children, functools.partial(progress.tell, cell=cell.name)): cell.name
            for cell in cells
        }
        for future in as_completed(futures):
            yield futures[future], future.result()


def _by_workers(cells: list[Cell], client: Any, progress: "_Progress") -> Iterator[tuple[str, list]]:
    """Execute cells as tasks on Dask's workers."""
    for task, result in scheduling.outcomes(client, cell_task, (asdict(cell) for cell in cells)):
        try:
            ended = [NotebookRun(**entry) for entry in result()]
        except (ValueError, OSError) as error:  # of this cell alone
            ended = [NotebookRun(Path(path).stem, 0.0, str(error)) for path in task["notebooks"]]
        for entry in ended:
            progress.tell(entry, task["name"])
        yield task["name"], ended


class _Progress:
    """Tell on standard error what ended, and how long the rest will take if it goes on like this."""

    def __init__(self, cells: Sequence[Cell], at_once: int) -> None:
        todo = [Path(p).stem for cell in cells for p in cell.notebooks if not cell.is_done(Path(p))]
        self._waiting, self._total, self._ended, self._at_once = Counter(todo), len(todo), 0, at_once
        self._seconds: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def tell(self, entry: NotebookRun, cell: str = "") -> None:
        """Count one notebook in."""
        if entry.skipped:
            return
        with self._lock:
            self._ended += 1
            self._total = max(self._total, self._ended)
            self._waiting[entry.notebook] -= 1
            self._seconds.setdefault(entry.notebook, []).append(entry.seconds)
            left = f", {_clock(seconds)} left" if (seconds := self._left()) else ""
            what = f"{cell} {entry.notebook}".strip()
            failed = f": {entry.error}" if entry.error else ""
            line = f"[{self._ended}/{self._total}] {what} {entry.seconds:.0f} s{left}{failed}"
            print(line, file=sys.stderr, flush=True)

    def _left(self) -> float:
        """Return the seconds that the rest will take: each notebook as long as it took before."""
        typical = {name: sum(seconds) / len(seconds) for name, seconds in self._seconds.items()}
        mean = sum(typical.values()) / len(typical)
        return sum(max(n, 0) * typical.get(name, mean) for name, n in self._waiting.items()) / self._at_once


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _summarise(sweep: Sweep, grid: Grid) -> None:
    """Write what every cell found as ``summary.json``, and how each ended as ``summary.md``."""
    found = {name: read_json(sweep.folder / name / "summary.json") for name in sweep.cells}
    results.write_json(sweep.folder / "summary.json", found)
    stems = [path.stem for path in grid.notebooks]
    lines = [f"| cell | {' | '.join(stems)} |", "|---" * (len(stems) + 1) + "|"]
    for name, ended in sweep.cells.items():
        said = {entry.notebook: entry.error or f"{entry.seconds:.0f} s" for entry in ended}
        shown = [said.get(stem, "missing").replace("|", "\\|") for stem in stems]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += [f"\nNo longer in the grid: {', '.join(sweep.outdated)}"] if sweep.outdated else []
    (sweep.folder / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
