"""What one other busy process costs a notebook: its seconds beside a loop that never waits, over those alone.

Each notebook runs as `emolib run` runs it, with its features and models there already, first alone and then
beside a process that multiplies matrices without end. The machine must be idle otherwise. On two cores
a run that leaves the other process its share takes up to twice its time.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from emolib import sweep

#: What runs beside: one thread that never waits.
LOOP = "import numpy as np\nx = np.eye(64)\nwhile True:\n    x = x @ x"


@contextlib.contextmanager
def company() -> Iterator[None]:
    """Keep one other process busy."""
    other = subprocess.Popen([sys.executable, "-c", LOOP], env={"OPENBLAS_NUM_THREADS": "1"})
    try:
        yield
    finally:
        other.kill()
        other.wait()


def seconds(names: Sequence[str]) -> float:
    """Return the seconds that some notebooks take from the beginning to the end."""
    started = time.perf_counter()
    _, ended = sweep.run({}, names, fresh=True)
    if failed := [f"{entry.notebook} ({entry.error})" for entry in ended if entry.error]:
        raise ValueError(f"notebooks that failed: {', '.join(failed)}; mend them before timing a run")
    return time.perf_counter() - started


def measure(names: Sequence[str] = ("02", "05", "07")) -> dict[str, float]:
    """Return for each notebook, and for all of them in one run, the ratio and the seconds alone."""
    sweep.run({}, names)  # whatever is made once, is made here
    found: dict[str, float] = {}
    for label, chosen in [*((name, [name]) for name in names), ("run", list(names))]:
        alone = seconds(chosen)
        with company():
            beside = seconds(chosen)
        found |= {f"busy_{label}": beside / alone, f"busy_{label}_alone_s": alone}
    return found


if __name__ == "__main__":
    for name, value in measure(sys.argv[1:] or ("02", "05", "07")).items():
        print(f"{name:30s} {value:.3g}")
