"""The default run of every notebook, against papermill's own command line, notebook by notebook.

One process starts both, each notebook in a kernel of its own, on the embedded corpus with its features and
models there already. Theirs: `papermill IN OUT`, as a shell loop over the folder would. What is compared is
what the run folder, the parameters' check, the record and the summary cost.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emolib import paths, sweep


def usual(folder: Path) -> float:
    """Return the seconds that papermill's command line takes for all notebooks."""
    started = time.perf_counter()
    for notebook in sweep.notebooks():
        command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR"]
        command += [str(notebook), str(folder / notebook.name)]
        environment = os.environ | {"EMOLIB_RUN": "benchmark"}
        subprocess.run(command, check=True, capture_output=True, cwd=paths.notebooks(), env=environment)
    return time.perf_counter() - started


def measure() -> dict[str, float]:
    """Return whole_run (papermill's seconds over ours), whole_run_s and whole_run_theirs_s."""
    sweep.run({})  # whatever is made once, is made here
    started = time.perf_counter()
    _, ended = sweep.run({}, fresh=True)
    ours = time.perf_counter() - started
    if failed := [entry.notebook for entry in ended if entry.error]:
        raise ValueError(f"notebooks that failed: {', '.join(failed)}; mend them before timing a run")
    with tempfile.TemporaryDirectory() as folder:
        theirs = usual(Path(folder))
    return {"whole_run": theirs / ours, "whole_run_s": ours, "whole_run_theirs_s": theirs}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
