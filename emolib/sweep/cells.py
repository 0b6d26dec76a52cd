"""One cell of a grid: its notebooks, one or several at a time, in a folder of its own, each done once.

A notebook that ended well leaves a stamp, written last, with the key of what decides its results. What has no
stamp, or one of another key, is executed (again): a cell that was killed at any moment goes on where it was.
"""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emolib import __version__, corpora, paths, results, scheduling, threads
from emolib.atomic import locked, write_file
from emolib.corpora.manifest import read_table
from emolib.results import Number, read_json
from emolib.sweep.grid import ANYTHING, cells, declared

#: Notebooks that take longest. Begun early, none of them is left over to run alone at the end.
LONG = ("06", "07", "01", "04")
#: Models that a notebook reads though no parameter names them: what is shipped, and a vocoder trained here.
UNNAMED = (paths.DEFAULT_ENCODER, "prosody-ravdess", "hifigan-nano")
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
    name, folder : str
    notebooks : dict of notebook path to the parameters that it is given
    keys : dict of notebook path to its key
    environment : dict; variables that its notebooks see
    readers : list of str; the notebooks that report on the others, and are done again when one of those is
    """

    name: str
    folder: str
    notebooks: dict[str, dict[str, Number]]
    keys: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    readers: list[str] = field(default_factory=list)

    def stamp(self, notebook: Path) -> Path:
        """Return the file that says that a notebook ended well."""
        return Path(self.folder, "done", f"{notebook.stem}.json")

    def is_done(self, notebook: Path) -> bool:
        """Tell whether a notebook ended well in this cell, from the very inputs that it would have now."""
        stamp, folder = read_json(self.stamp(notebook)), Path(self.folder)
        return (
            stamp.get("key") == self.keys[str(notebook)]
            and (folder / notebook.name).is_file()
            and (not stamp.get("recorded") or (folder / "results" / f"{notebook.stem}.json").is_file())
        )

    def take(self, other: "Cell", notebook: Path) -> None:
        """Copy what a finished notebook left in another cell of the same, its stamp last."""
        record = Path("results", f"{notebook.stem}.json")
        for name in (Path(notebook.name), record, Path("done", record.name)):
            if (source := other.folder / name).is_file():
                write_file(self.folder / name, source.read_bytes())


# ------------------------------------------------------------------------------------- what decides results


def notebook_key(notebook: Path, parameters: Mapping[str, Number]) -> str:
    """Return the digest of all that decides what a notebook gives, 64 hexadecimal digits.

    Two runs with equal keys give equal results, so that the second one may be skipped.

    Parameters
    ----------
    notebook : Path
    parameters : mapping
        Those that the notebook is given.

    Notes
    -----
    In it: the source of its code cells (outputs and prose are left out), the parameters, the package's
    version and code, and of the inputs that the parameters name: of a corpus each file's name, size and
    time, of a table the content as well, of a model in a folder the content of its files. A model named by
    its Hugging Face id goes by that name.
    """
    effective = {name: v for name, v in declared(notebook).items() if v is not ANYTHING} | dict(parameters)
    recipe = {
        "code": [cell.source for cell in cells(notebook) if cell.cell_type == "code"],
        "parameters": dict(parameters),
        "package": [__version__, scheduling.package_digest()],
        "inputs": _inputs({name: value for name, value in effective.items() if isinstance(value, str)}),
    }
    return _sha256(json.dumps(recipe, sort_keys=True))


def look_again() -> None:
    """Forget inputs that were looked at before: each run sees them as they are when it begins."""
    for looked_at in (folder_digest, _table, scheduling.package_digest):
        looked_at.cache_clear()


def _inputs(texts: Mapping[str, str]) -> dict[str, str]:
    """Return a fingerprint of each corpus, table and model that some parameters name."""
    found = {f"model {name}": folder_digest(paths.model(name), content=True) for name in UNNAMED}
    words = {word for value in texts.values() for word in re.split(r"[\s,]+", value)}
    root, table, own = texts.get("ROOT", ""), texts.get("TABLE", ""), texts.get("CORPUS")
    for name in sorted(words & set(corpora.names()) - {"demo", "folder"}):
        place = Path(root) if name == own and root else paths.corpus(name)
        is_here = place.is_dir()  # else the shipped embeddings stand in
        found[f"corpus {name}"] = folder_digest(
            place if is_here else paths.embeddings(name), content=not is_here
        )
    if own == "demo" and root:
        found["corpus demo"] = folder_digest(Path(root), content=False)
    if table:
        found["table"] = _table(table, root)
    if encoder := texts.get("ENCODER", "").removeprefix("random:"):
        named = paths.model(encoder)
        place = named if named.is_dir() else Path(encoder).expanduser()
        found[f"model {encoder}"] = folder_digest(place, content=True)
    return found


@functools.cache
def folder_digest(folder: Path, *, content: bool) -> str:
    """Return a digest of a folder's files: names with contents (cards apart), or with sizes and times."""
    lines = []
    for place, subfolders, names in os.walk(folder, followlinks=not content):
        subfolders.sort()
        for name in sorted(name for name in names if not (content and name.endswith(".md"))):
            path = Path(place, name)
            lines.append(f"{path.relative_to(folder)}\0{_sha256_file(path) if content else _stat(path)}")
    return _sha256("\n".join(lines)) if lines else ""


@functools.cache
def _table(table: str, root: str) -> str:
    """Return a digest of a table and of the sizes and times of the files that it names."""
    try:
        rows = read_table(table)
    except (OSError, ValueError):  # the notebook that reads it will say so
        return ""
    base = Path(root) if root or "://" in table else Path(table).parent
    names = rows["path"].tolist() if "path" in rows else []
    return _sha256(
        "\n".join([rows.to_csv(index=False), *(f"{name}\0{_stat(base / name)}" for name in names)])
    )


def _stat(path: Path) -> str:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return "absent"
    return f"{state.st_size} {state.st_mtime_ns}"


def _sha256_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


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


def execute(notebook: str, copy: str, parameters: dict, cwd: str, starts: int = STARTS) -> str:
    """Execute a notebook into a copy; return its error in one line, empty where there is none."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        papermill.execute_notebook(
            notebook, copy, parameters=parameters, kernel_name="python3", language="python", cwd=cwd,
            progress_bar=False, extra_arguments=["--log-level=ERROR"],  # else each kernel warns about TCP
        )  # fmt: skip
    except papermill.PapermillExecutionError as failure:
        return _one_line(failure.ename, failure.evalue)
    except DeadKernelError:
        return "DeadKernelError: the kernel died, as it does when memory runs out"
    except RuntimeError as failure:  # the kernel did not start
        if starts > 1:
            return execute(notebook, copy, parameters, cwd, starts - 1)
        return _one_line(type(failure).__name__, str(failure))
    except (OSError, ValueError) as failure:
        return _one_line(type(failure).__name__, str(failure))
    return ""


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

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def run(self, task: dict[str, Any], environment: dict[str, str]) -> str:
        """Execute one notebook in a process of its own; return its error in one line, empty if none."""
        command = [sys.executable, "-c", "from emolib.sweep import cells; cells.main()"]
        with self._lock:
            if self.ended:
                return "interrupted before it began"
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
        answers = [line for line in output.splitlines() if line.startswith(_ANSWER)]
        if answers:
            return json.loads(answers[-1].removeprefix(_ANSWER))
        last = ["", *complaints.strip().splitlines()][-1]
        return f"its process ended with code {process.returncode} {last}".strip()

    def end(self) -> None:
        """Kill those that run, and start no more."""
        with self._lock:
            self.ended = True
            for process in self._running:
                process.kill()


# ------------------------------------------------------------------------------------- all of a cell


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
        entry = None if children.ended else _run_notebook(cell, path, children)
        if entry and on_end and not children.ended:
            on_end(entry)
        return entry

    with locked(folder), ThreadPoolExecutor(jobs) as pool:
        try:
            for part in (long_ones_early([path for path in order if path not in readers]), readers):
                done |= zip(part, pool.map(run, part), strict=True)
        except BaseException:
            children.end()  # which the pool would wait for
            raise
        ended = [entry for path in order if (entry := done.get(path))]
        is_new = not all(entry.skipped for entry in ended) or not (folder / "summary.json").is_file()
        if is_new and not children.ended:
            results.summarise(folder)
    return ended


def long_ones_early(notebooks: Sequence[Path]) -> list[Path]:
    """Return the first notebook, whose figures come at once, then those that take long, then the others."""
    order = {prefix: number for number, prefix in enumerate(LONG)}
    rest = sorted(notebooks[1:], key=lambda path: order.get(path.stem[:2], len(LONG)))
    return [*notebooks[:1], *rest]


def cell_task(cell: dict) -> list[dict]:
    """Run a cell on a worker: plain values in and out."""
    if not Path(cell["folder"]).is_dir():
        raise ValueError(
            f"the worker on {os.uname().nodename} does not see {cell['folder']}; put EMOLIB_HOME on a "
            f"folder that all machines share"
        )
    if all(parameters.get("DEVICE") != "cpu" for parameters in cell["notebooks"].values()):
        scheduling.claim_gpu()
    return [asdict(entry) for entry in run_cell(Cell(**cell))]


def _run_notebook(cell: Cell, notebook: Path, children: Children) -> NotebookRun:
    folder, stem, stamp = Path(cell.folder), notebook.stem, cell.stamp(notebook)
    if cell.is_done(notebook):
        return NotebookRun(stem, float(read_json(stamp).get("seconds", 0.0)), skipped=True)
    record, copy, started = folder / "results" / f"{stem}.json", folder / notebook.name, time.perf_counter()
    task = {"notebook": str(notebook), "copy": str(copy), "cwd": str(notebook.parent)}
    try:
        reports = [cell.stamp(Path(reader)) for reader in cell.readers]
        for outdated in (stamp, *reports, record, copy):
            outdated.unlink(missing_ok=True)  # a failure must not show older results
        error = children.run(task | {"parameters": cell.notebooks[str(notebook)]}, cell.environment)
        seconds = time.perf_counter() - started
        if not error:
            told = {"key": cell.keys[str(notebook)], "seconds": round(seconds, 3)}
            results.write_json(stamp, told | {"recorded": record.is_file()})
    except OSError as failure:
        error, seconds = f"{type(failure).__name__}: {failure}", time.perf_counter() - started
    return NotebookRun(stem, seconds, error)
