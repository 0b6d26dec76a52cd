"""One cell of a grid: its notebooks, one or several at a time, in a folder of its own, each done once.

A notebook that ended well leaves a stamp, written last; whatever has none, or one of another key, is executed
(again). So a cell that was killed at any moment goes on where it was.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emolib import results, threads
from emolib.atomic import write_file
from emolib.results import Number
from emolib.sweep import child

#: Notebooks that take longest. Begun early, none of them is left over to run alone at the end.
LONG = ("06", "07", "01", "04")


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
    folder : str
    run : str; its EMOLIB_RUN, the folder's path below ``runs/``
    notebooks : dict of notebook path to the parameters that it is given
    keys : dict of notebook path to its key
    figures : str; where its figures go; by default where each notebook's own corpus and encoder belong
    environment : dict; variables that its notebooks see
    readers : list of str; the notebooks that report on the others, and are done again when one of those is
    """

    name: str
    folder: str
    run: str
    notebooks: dict[str, dict[str, Number]]
    keys: dict[str, str]
    figures: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    readers: list[str] = field(default_factory=list)


class Children:
    """The processes that execute notebooks now, so that they can be ended.

    Parameters
    ----------
    at_once : int; how many of them share the cores
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self.ended = False

    def run(self, task: dict, environment: dict[str, str]) -> str:
        """Execute one notebook in a process of its own; return its error in one line, empty if none."""
        command = [sys.executable, "-m", child.__name__]
        environment = threads.environment(max(1, threads.workers() // self.at_once)) | environment
        with tempfile.TemporaryFile("w+", errors="replace") as complaints:
            with self._lock:
                if self.ended:
                    return "interrupted before it began"
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
                    env=os.environ | environment, start_new_session=True,
                )  # fmt: skip
                self._running.add(process)
            assert process.stdin and process.stdout
            try:
                with contextlib.suppress(BrokenPipeError):  # it died, and says below why
                    process.stdin.write(json.dumps(task) + "\n")
                    process.stdin.flush()
                answers = [line for line in process.stdout if line.startswith(child.ANSWER)]
                code = process.wait()
            finally:
                process.kill()
                process.wait()
                process.stdin.close()
                process.stdout.close()
                self._running.discard(process)
            if answers:
                return json.loads(answers[-1].removeprefix(child.ANSWER))
            complaints.seek(0)
            last = ["", *complaints.read().strip().splitlines()][-1]
        return f"its process ended with code {code} {last}".strip()

    def end(self) -> None:
        """Kill those that run, and start no more."""
        with self._lock:
            self.ended = True
            for process in self._running:
                process.kill()


def run_cell(
    cell: Cell,
    children: Children | None = None,
    on_end: Callable[[NotebookRun], None] | None = None,
    jobs: int = 1,
) -> list[NotebookRun]:
    """Execute what is not done of a cell's notebooks; one that fails does not stop the others.

    Those that report on the others come after them. A second process that wants the same cell waits, and
    finds it done.

    Parameters
    ----------
    cell : Cell
    children : Children, optional
    on_end : function of a NotebookRun, optional; called from the thread that watched it
    jobs : int; notebooks at a time

    Returns
    -------
    ended : list of NotebookRun, in reading order
    """
    folder, children = Path(cell.folder), children or Children()
    order = [Path(path) for path in cell.notebooks]
    readers = [path for path in order if path.stem in cell.readers]
    done: dict[Path, NotebookRun | None] = {}

    def run(path: Path) -> NotebookRun | None:
        if children.ended:
            return None
        entry = _run_notebook(cell, path, cell.notebooks[str(path)], children)
        if on_end and not children.ended:
            on_end(entry)
        return entry

    with locked(folder), ThreadPoolExecutor(jobs) as pool:
        try:
            for part in (_long_ones_early([path for path in order if path not in readers]), readers):
                done |= zip(part, pool.map(run, part), strict=True)
        except BaseException:
            children.end()  # which the pool would wait for
            raise
        ended = [entry for path in order if (entry := done.get(path))]
        is_new = not all(entry.skipped for entry in ended) or not (folder / "summary.json").is_file()
        if is_new and not children.ended:
            results.summarise(folder)
    return ended


def _long_ones_early(notebooks: Sequence[Path]) -> list[Path]:
    """Return the first notebook, whose figures come at once, then those that take long, then the others."""
    place = {prefix: number for number, prefix in enumerate(LONG)}
    rest = sorted(notebooks[1:], key=lambda path: place.get(path.stem[:2], len(LONG)))
    return [*notebooks[:1], *rest]


def cell_task(cell: dict) -> list[dict]:
    """Run a cell on a worker: plain values in and out."""
    from emolib import scheduling

    if not Path(cell["folder"]).is_dir():
        raise ValueError(
            f"the worker on {os.uname().nodename} does not see {cell['folder']}; put EMOLIB_HOME on a "
            f"folder that all machines share"
        )
    if all(parameters.get("DEVICE") != "cpu" for parameters in cell["notebooks"].values()):
        scheduling.claim_gpu()
    return [asdict(entry) for entry in run_cell(Cell(**cell))]


def is_done(cell: Cell, notebook: Path) -> bool:
    """Tell whether a notebook ended well in this cell, from the very inputs that it would have now."""
    folder = Path(cell.folder)
    stamp = read_json(stamp_of(folder, notebook.stem))
    return (
        stamp.get("key") == cell.keys[str(notebook)]
        and (folder / notebook.name).is_file()
        and (not stamp.get("recorded") or (folder / "results" / f"{notebook.stem}.json").is_file())
    )


def copy_done(source: Path, folder: Path, notebook: Path) -> None:
    """Copy what a finished notebook left in one folder to another, its stamp last."""
    record = Path("results", f"{notebook.stem}.json")
    for name in (Path(notebook.name), record, stamp_of(Path(), notebook.stem)):
        if (source / name).is_file():
            write_file(folder / name, (source / name).read_bytes())


def stamp_of(folder: Path, notebook: str) -> Path:
    """Return the file that says that a notebook ended well."""
    return folder / "done" / f"{notebook}.json"


def read_json(path: Path) -> dict:
    """Return a JSON object, empty where the file is absent or none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a folder for one process while it lives; without wait, yield False where another has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _run_notebook(
    cell: Cell, notebook: Path, parameters: dict[str, Number], children: Children
) -> NotebookRun:
    folder, stem = Path(cell.folder), notebook.stem
    stamp, record = stamp_of(folder, stem), folder / "results" / f"{stem}.json"
    if is_done(cell, notebook):
        return NotebookRun(stem, float(read_json(stamp).get("seconds", 0.0)), skipped=True)
    environment = cell.environment | {"EMOLIB_RUN": cell.run}
    environment |= {"EMOLIB_FIGURES": cell.figures} if cell.figures else {}
    started = time.perf_counter()
    try:
        reports = [stamp_of(folder, reader) for reader in cell.readers]
        for outdated in (stamp, *reports, record, folder / notebook.name):
            outdated.unlink(missing_ok=True)  # a failure must not show older results
        task = {"notebook": str(notebook), "copy": str(folder / notebook.name), "parameters": parameters}
        error = children.run(task | {"cwd": str(notebook.parent)}, environment)
        seconds = time.perf_counter() - started
        if not error:
            told = {"key": cell.keys[str(notebook)], "seconds": round(seconds, 3)}
            results.write_json(stamp, told | {"recorded": record.is_file()})
    except OSError as failure:
        error, seconds = f"{type(failure).__name__}: {failure}", time.perf_counter() - started
    return NotebookRun(stem, seconds, error)
