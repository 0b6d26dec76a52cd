"""Batch runs of the notebooks: papermill underneath, one folder a run or a cell of a grid.

`run` executes notebooks once; `read_grid` and `run_grid` a grid of them, of which what is done and unchanged
is skipped. Killed at any moment, the same call goes on.
"""

from emolib.sweep.batch import Sweep, run, run_grid
from emolib.sweep.cells import NotebookRun, notebook_key
from emolib.sweep.grid import Grid, check, declared, from_text, notebooks, read_grid

__all__ = [
    "Grid", "NotebookRun", "Sweep", "check", "declared", "from_text", "notebook_key", "notebooks",
    "read_grid", "run", "run_grid",
]  # fmt: skip
