"""Batch runs of the notebooks: papermill underneath, one run folder each, and a table at the end."""

import ast
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emolib import paths, results
from emolib.results import Number


@dataclass(frozen=True)
class NotebookRun:
    """How one notebook of a run ended.

    Attributes
    ----------
    notebook : str, its name without ending
    seconds : float
    error : str, one line; empty where it ended well
    """

    notebook: str
    seconds: float
    error: str = ""


def notebooks(names: Sequence[str] | None = None) -> list[Path]:
    """Return the numbered notebooks in reading order, or those whose names begin as asked.

    Raises
    ------
    ValueError
        If a name fits no notebook, or there are none.
    """
    found = sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ValueError(
            f"no notebooks in {paths.notebooks()}; expected files such as 01_probing_layers.ipynb"
        )
    if not names:
        return found
    chosen = [path for path in found if any(path.stem.startswith(name) for name in names)]
    idle = [name for name in names if not any(path.stem.startswith(name) for path in found)]
    if idle:
        raise ValueError(f"no notebook {', '.join(idle)}; expected: {', '.join(path.stem for path in found)}")
    return chosen


def run(
    parameters: Mapping[str, Number], names: Sequence[str] | None = None
) -> tuple[Path, list[NotebookRun]]:
    """Execute notebooks with parameters into a new run folder.

    Parameters
    ----------
    parameters : mapping
        Values for the notebooks' ``parameters`` cells, such as CORPUS and ENCODER; a notebook gets those that
        it declares.
    names : sequence of str, optional
        Beginnings of notebook names; all by default.

    Returns
    -------
    folder : Path; executed notebooks, ``results/`` and the summaries
    runs : list of NotebookRun; one that failed does not stop the others, and its copy shows the error

    Raises
    ------
    ValueError
        If a parameter is declared by no notebook, asked for or not, or a name fits none.
    """
    chosen = notebooks(names)
    declared = {path: _declared(path) for path in notebooks()}
    unknown = set(parameters) - set().union(*declared.values())
    if unknown:
        known = ", ".join(sorted(set().union(*declared.values())))
        raise ValueError(f"no notebook has a parameter {', '.join(sorted(unknown))}; expected: {known}")
    label = (
        "-".join(str(parameters[name]) for name in ("CORPUS", "ENCODER") if name in parameters) or "default"
    )
    folder = results.new_run(label)
    ended = []
    for path in chosen:
        print(f"{path.stem} ...", end=" ", file=sys.stderr, flush=True)
        own = {name: value for name, value in parameters.items() if name in declared[path]}
        ended.append(_execute(path, folder, own))
        print(f"{ended[-1].seconds:.0f} s {ended[-1].error}".rstrip(), file=sys.stderr, flush=True)
    results.summarise(folder)
    return folder, ended


def _declared(notebook: Path) -> set[str]:
    """Return the names that a notebook's ``parameters`` cell declares."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    try:
        tree = ast.parse(code)
    except SyntaxError:  # it fails when it is executed, and its copy says where
        return set()
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _execute(notebook: Path, folder: Path, parameters: Mapping[str, Number]) -> NotebookRun:
    import papermill
    from nbclient.exceptions import DeadKernelError

    started = time.perf_counter()
    error = ""
    before = os.environ.get("EMOLIB_RUN")
    os.environ["EMOLIB_RUN"] = folder.name  # the kernel inherits it
    try:
        papermill.execute_notebook(
            notebook,
            folder / notebook.name,
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            cwd=notebook.parent,
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # else each kernel warns that it runs over TCP
        )
    except papermill.PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}".splitlines()[0]
    except DeadKernelError:
        error = "DeadKernelError: the kernel died, as it does when memory runs out"
    finally:
        os.environ.pop("EMOLIB_RUN")
        if before is not None:
            os.environ["EMOLIB_RUN"] = before
    return NotebookRun(notebook.stem, time.perf_counter() - started, error)
