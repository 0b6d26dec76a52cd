"""Batch runs of the notebooks: papermill underneath, one folder a run or a cell of a grid.

`run` executes notebooks once; `read_grid` and `run_grid` a grid of them, of which what is done and unchanged
is skipped. A cell's notebooks are executed one by one, several at a time, or on Dask's workers, each in a
process of its own. One that ended well leaves a stamp, written last, with the key of what decides its
results. What has no stamp, or one of another key, is executed (again): killed at any moment, the same call
goes on.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from emolib import files, paths, results, scheduling, threads
from emolib.files import locked, read_json, write_file
from emolib.results import Number
from emolib.sweep.grid import Grid, check, declared, from_text, look_again, notebook_key, notebooks, read_grid

#: Notebooks that take longest. Begun early, none of them is left over to run alone at the end.
LONG = ("07", "03", "04", "01", "06", "05")
#: How often a kernel is started. Jupyter picks a kernel's ports before the kernel binds them, so of two that
#: start at the same moment one may die, before it has executed anything.
STARTS = 3
_ANSWER = "emolib-notebook: "  # begins a child's last line of output


@dataclass(frozen=True)
class NotebookRun:
    """How one notebook of a run ended.

    Attributes
    ----------
    notebook : str, its name without ending
    seconds : float
    error : str, one line; empty where it ended well
    skipped : bool; it was done before, and nothing that decides its results has changed
    """

    notebook: str
    seconds: float
    error: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class Cell:
    """What one cell of a grid is to do: plain values, so that any machine may do it.

    Attributes
    ----------
    name : str
    folder : Path
    notebooks : dict of notebook to the parameters that it is given
    keys : dict of notebook to its key
    environment : dict; variables that its notebooks see
    readers : list of the notebooks that report on the others, and are done again when one of those is
    """

    name: str
    folder: Path
    notebooks: dict[Path, dict[str, Number]]
    keys: dict[Path, str]
    environment: dict[str, str]
    readers: list[Path]

    def files(self, notebook: Path) -> tuple[Path, Path, Path]:
        """Return a notebook's executed copy, its results, and the stamp that says that it ended well."""
        record = f"{notebook.stem}.json"
        return self.folder / notebook.name, self.folder / "results" / record, self.folder / "done" / record

    def is_done(self, notebook: Path) -> bool:
        """Tell whether a notebook ended well in this cell, from the very inputs that it would have now."""
        copy, record, stamp = self.files(notebook)
        told = read_json(stamp)
        is_whole = copy.is_file() and (record.is_file() or not told.get("recorded"))
        return is_whole and told.get("key") == self.keys[notebook]


# ------------------------------------------------------------------------------------- one notebook


def main() -> None:
    """Execute the notebook that standard input names; print how it ended as one line of JSON.

    The process lives as long as the one that started it: when that dies, by whatever signal, this one ends at
    once, and its kernel with it.
    """
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(task.pop("parent"),), daemon=True).start()
    print(_ANSWER + json.dumps(execute(**task)), flush=True)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def execute(notebook: str, copy: str, parameters: dict, starts: int = STARTS) -> str:
    """Execute a notebook into a copy; return its error in one line, empty where there is none."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    folder = Path(notebook).parent
    try:
        papermill.execute_notebook(
            notebook, copy, parameters=parameters, kernel_name="python3", language="python", cwd=str(folder),
            progress_bar=False, extra_arguments=["--log-level=ERROR"],  # else each kernel warns about TCP
        )  # fmt: skip
        _lead_back(Path(copy), folder.parent)
    except papermill.PapermillExecutionError as failure:
        return _one_line(failure.ename, failure.evalue)
    except DeadKernelError:
        return "DeadKernelError: the kernel died, as it does when memory runs out"
    except (OSError, RuntimeError, ValueError) as failure:
        if isinstance(failure, RuntimeError) and starts > 1:  # the kernel did not start
            return execute(notebook, copy, parameters, starts - 1)
        return _one_line(type(failure).__name__, str(failure))
    return ""


def _lead_back(copy: Path, checkout: Path) -> None:
    """Let links and pictures of an executed copy lead to the checkout that its notebook lies in."""
    base = os.path.relpath(checkout.resolve(), copy.resolve().parent)
    text = copy.read_text(encoding="utf-8").replace("](../", f"]({Path(base).as_posix()}/")
    write_file(copy, text.encode())


def _one_line(name: str, message: str) -> str:
    return " ".join([f"{name}:", *message.splitlines()[:1]])


class Children:
    """The processes that execute notebooks now, so that they can be ended.

    Parameters
    ----------
    at_once : int; how many of them share the cores
    """

    def __init__(self, at_once: int = 1) -> None:
        self.environment = threads.environment(max(1, threads.workers() // at_once))
        self.ended = False
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()

    def run(self, task: dict[str, Any], environment: dict[str, str]) -> str:
        """Execute one notebook in a process of its own; return its error in one line, empty if none.

        Raises
        ------
        RuntimeError
            If `close` ended it, or came before it began.
        """
        command = [sys.executable, "-c", "from emolib import sweep; sweep.main()"]
        with self._lock:
            if self.ended:
                raise RuntimeError("broken off before it began")
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace", env=os.environ | self.environment | environment, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        try:
            output, complaints = process.communicate(json.dumps(task | {"parent": os.getpid()}) + "\n")
        finally:
            process.kill()
            self._running.discard(process)
        if self.ended:
            raise RuntimeError("broken off")
        answers = [line for line in output.splitlines() if line.startswith(_ANSWER)]
        if answers:
            return json.loads(answers[-1].removeprefix(_ANSWER))
        last = ["", *complaints.strip().splitlines()][-1]
        return f"its process ended with code {process.returncode} {last}".strip()

    def close(self) -> None:
        """Kill those that run, and start no more."""
        with self._lock:
            self.ended = True
            for process in self._running:
                process.kill()


# ------------------------------------------------------------------------------------- all of a cell


def run_cell(
    cell: Cell, children: Children, on_end: Callable[[NotebookRun, str], object], jobs: int = 1
) -> list[NotebookRun]:
    """Execute what is not done of a cell's notebooks; one that fails does not stop the others.

    Those that report on the others come after them. A second process that wants the same cell waits, and
    finds it done.

    Parameters
    ----------
    cell : Cell
    children : Children
    on_end : function of a NotebookRun and the cell's name; called from the thread that watched it
    jobs : int; notebooks at a time

    Returns
    -------
    ended : list of NotebookRun, in reading order
    """
    others = [path for path in cell.notebooks if path not in cell.readers]

    def run(path: Path) -> NotebookRun:
        entry = _run_notebook(cell, path, children)
        on_end(entry, cell.name)
        return entry

    with locked(cell.folder), ThreadPoolExecutor(jobs) as pool:
        try:
            ended = [*pool.map(run, long_ones_early(others)), *pool.map(run, cell.readers)]
        except BaseException:
            children.close()  # which the pool would wait for
            raise
        results.summarise(cell.folder)
    return sorted(ended, key=lambda entry: entry.notebook)


def long_ones_early(notebooks: Sequence[Path]) -> list[Path]:
    """Return the first notebook, whose figures come at once, then those that take long, then the others."""
    order = {prefix: number for number, prefix in enumerate(LONG)}
    rest = sorted(notebooks[1:], key=lambda path: order.get(path.stem[:2], len(LONG)))
    return [*notebooks[:1], *rest]


def _run_on_worker(cell: Cell) -> list[NotebookRun]:
    if not cell.folder.is_dir():
        raise ValueError(
            f"the worker on {os.uname().nodename} does not see {cell.folder}; put EMOLIB_HOME on a folder "
            f"that all machines share"
        )
    if all(parameters.get("DEVICE") != "cpu" for parameters in cell.notebooks.values()):
        scheduling.claim_gpu()
    return run_cell(cell, Children(), lambda *_: None)  # whoever sent it tells how its notebooks ended


def _run_notebook(cell: Cell, notebook: Path, children: Children) -> NotebookRun:
    copy, record, stamp = cell.files(notebook)
    if cell.is_done(notebook):
        return NotebookRun(notebook.stem, float(read_json(stamp).get("seconds", 0.0)), skipped=True)
    task = {"notebook": str(notebook), "copy": str(copy), "parameters": cell.notebooks[notebook]}
    started = time.perf_counter()
    try:
        for outdated in (stamp, *(cell.files(reader)[-1] for reader in cell.readers), record, copy):
            outdated.unlink(missing_ok=True)  # a failure must not show older results
        error = children.run(task, cell.environment)
        if not error:
            told = {"key": cell.keys[notebook], "seconds": round(time.perf_counter() - started, 3)}
            files.write_json(stamp, told | {"recorded": record.is_file()})
    except OSError as failure:
        error = f"{type(failure).__name__}: {failure}"
    return NotebookRun(notebook.stem, time.perf_counter() - started, error)


# ------------------------------------------------------------------------------------- runs and grids


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
        If a parameter is declared by no notebook, asked for or not, or is of another type than there, or a
        name fits none.
    """
    look_again()
    chosen = notebooks(names)
    known = {path.stem: declared(path) for path in notebooks()}
    check(parameters, known)
    plan = {"parameters": dict(parameters), **_what(chosen)}
    label = "-".join(str(parameters[name]) for name in ("CORPUS", "ENCODER") if name in parameters)
    folder = (None if fresh else _unfinished(plan)) or results.new_run(label or "default")
    files.write_json(folder / "run.json", plan | {"ended": False})
    figures = None if {"CORPUS", "ENCODER"} & set(parameters) else paths.figures()
    cell = _cell(folder.name, chosen, parameters, figures)
    if not fresh:
        _take_over(cell)
    jobs = min(jobs or _at_once(parameters), len(chosen))
    with contextlib.closing(Children(jobs)) as children:
        ended = run_cell(cell, children, _Progress([cell], jobs).tell, jobs)
    files.write_json(folder / "run.json", plan | {"ended": True})
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
        If another process executes this grid now.
    """
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
    started, plan, cells = time.perf_counter(), _what(grid.notebooks), []
    files.write_json(folder / "sweep.json", {"name": grid.name} | plan | {"cells": grid.cells})
    for name, given in grid.cells.items():
        files.write_json(folder / name / "run.json", {"parameters": given} | plan)
        cells.append(_cell(f"{folder.name}/{name}", grid.notebooks, given, folder / name / "figures"))
    workers = sum(client.nthreads().values()) if client else jobs
    progress = _Progress(cells, at_once=max(1, min(workers, len(cells))))
    done = _by_workers(cells, client, progress) if client else _by_threads(cells, jobs, progress)
    known = {path.parent.name for path in folder.glob("*/run.json")}
    in_order = {name: done[name] for name in grid.cells}
    sweep = Sweep(folder, in_order, sorted(known - set(grid.cells)), time.perf_counter() - started)
    _summarise(sweep, list(plan["notebooks"]))
    return sweep


def _cell(
    run: str, notebooks: Sequence[Path], parameters: Mapping[str, Number], figures: Path | None
) -> Cell:
    """Return what a run, or a cell of a sweep such as ``sweep-a/seed1``, is to do, each notebook its part."""
    known = {path: declared(path) for path in notebooks}
    given = {path: {k: v for k, v in parameters.items() if k in own} for path, own in known.items()}
    keys = {path: notebook_key(path, own) for path, own in given.items()}
    home = {"EMOLIB_HOME": str(paths.home()), "EMOLIB_CORPORA": str(paths.corpora()), "EMOLIB_RUN": run}
    home |= {"EMOLIB_FIGURES": str(figures)} if figures else {}
    readers = [path for path, own in known.items() if "RUNS" in own]
    return Cell(run.partition("/")[2], paths.runs() / run, given, keys, home, readers)


def _what(notebooks: Sequence[Path]) -> dict[str, Any]:
    """Return what a run's record says of its notebooks: names, and whose they are by default."""
    whose = {"CORPUS", "ENCODER"}
    defaults = {
        path.stem: {k: v for k, v in declared(path).items() if k in whose and isinstance(v, str)}
        for path in notebooks
    }
    return {"notebooks": list(defaults), "defaults": defaults}


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
    earlier = [replace(cell, folder=folder) for folder in runs]
    for path in cell.notebooks:
        if path in cell.readers or cell.is_done(path):
            continue
        for other in [one for one in earlier if one.is_done(path)][:1]:
            for source, place in zip(other.files(path), cell.files(path), strict=True):  # the stamp last
                if source.is_file():
                    write_file(place, source.read_bytes())


def _by_threads(cells: list[Cell], jobs: int, progress: "_Progress") -> dict[str, list[NotebookRun]]:
    """Execute cells in processes of their own, each watched by a thread."""
    with ThreadPoolExecutor(jobs) as pool, contextlib.closing(Children(jobs)) as children:
        ended = pool.map(lambda cell: run_cell(cell, children, progress.tell), cells)
        return {cell.name: entries for cell, entries in zip(cells, ended, strict=True)}


def _by_workers(cells: list[Cell], client: Any, progress: "_Progress") -> dict[str, list[NotebookRun]]:
    """Execute cells as tasks on Dask's workers."""
    done: dict[str, list[NotebookRun]] = {}
    for cell, result in scheduling.outcomes(client, _run_on_worker, cells):
        try:
            done[cell.name] = result()
        except (ValueError, OSError) as error:  # of this cell alone
            done[cell.name] = [NotebookRun(path.stem, 0.0, str(error)) for path in cell.notebooks]
        for entry in done[cell.name]:
            progress.tell(entry, cell.name)
    return done


class _Progress:
    """Tell on standard error what ended, and how long the rest will take if it goes on like this."""

    def __init__(self, cells: Sequence[Cell], at_once: int) -> None:
        todo = [not cell.is_done(path) for cell in cells for path in cell.notebooks]
        self._total, self._ended, self._seconds, self._at_once = sum(todo), 0, 0.0, at_once
        self._lock = threading.Lock()

    def tell(self, entry: NotebookRun, cell: str = "") -> None:
        """Count one notebook in."""
        if entry.skipped:
            return
        with self._lock:
            self._ended += 1
            self._seconds += entry.seconds
            self._total = max(self._total, self._ended)
            rest_s = (self._total - self._ended) * self._seconds / self._ended / self._at_once
            left = f", {timedelta(seconds=round(rest_s))} left" if self._total > self._ended else ""
            what = f"{cell} {entry.notebook}".strip()
            failed = f": {entry.error}" if entry.error else ""
            line = f"[{self._ended}/{self._total}] {what} {entry.seconds:.0f} s{left}{failed}"
            print(line, file=sys.stderr, flush=True)


def _summarise(sweep: Sweep, notebooks: list[str]) -> None:
    """Write what every cell found as ``summary.json``, and how each ended as ``summary.md``."""
    found = {name: read_json(sweep.folder / name / "summary.json") for name in sweep.cells}
    files.write_json(sweep.folder / "summary.json", found)
    lines = [f"| cell | {' | '.join(notebooks)} |", "|---" * (len(notebooks) + 1) + "|"]
    for name, ended in sweep.cells.items():
        shown = [(entry.error or f"{entry.seconds:.0f} s").replace("|", "\\|") for entry in ended]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += [f"\nNo longer in the grid: {', '.join(sweep.outdated)}"] if sweep.outdated else []
    (sweep.folder / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
