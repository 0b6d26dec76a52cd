"""From nothing to a first figure, as Colab and Binder do it: `python benchmarks/long/first_figure.py`.

Colab: the shell lines of docs/colab.ipynb, in an environment that has the locked packages except those that
Colab lacks, which are installed and counted. Binder: `.binder/postBuild` in an environment with nothing but
pip, which Binder does once for a commit, then a first notebook by `.binder/start`. Both work on a clone of
this checkout and print the seconds of the installation, and from there to the first figure of notebook 01.
Needs PyPI, a few GB of disk, and about ten minutes; `TORCH_INDEX=` takes PyTorch from PyPI as well.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import nbformat
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def names(path: Path) -> dict[str, str]:
    """Return the lines of a list of requirements, by package."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): line for line in lines}


def environment(place: Path) -> dict[str, str]:
    """Return the variables of a new environment with nothing but pip."""
    venv.create(place / "venv", with_pip=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOLIB_")}
    return kept | {"PATH": f"{place / 'venv' / 'bin'}:{os.environ['PATH']}", "REPOSITORY": f"file://{ROOT}"}


def bash(lines: str, place: Path) -> list[str]:
    """Write lines as a script and return the command that runs it."""
    script = place / "lines.sh"
    script.write_text(f"set -e\n{lines}\n")
    return ["bash", str(script)]


def seconds_to_figure(lines: str, place: Path, variables: dict[str, str]) -> float:
    """Start a run in a folder and return how long its first figure of notebook 01 takes."""
    began, started = time.time(), time.perf_counter()
    options = {"cwd": place, "env": variables, "stdout": subprocess.DEVNULL}
    run = subprocess.Popen(bash(lines, place), start_new_session=True, **options)
    try:
        while not any(path.stat().st_mtime > began for path in place.glob("emolib/figures/01_*.png")):
            if run.poll() is not None:
                raise RuntimeError(f"{lines!r} ended with {run.returncode} and no figure of notebook 01")
            time.sleep(0.1)
        return time.perf_counter() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)  # the notebooks, too
        run.wait()


def colab(place: Path) -> tuple[float, float]:
    """Return the seconds of Colab's installation, and from there to the first figure."""
    variables, cells = environment(place), nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4).cells
    there = names(ROOT / "requirements.txt")
    for name in names(ROOT / "docs" / "colab" / "requirements.txt"):
        there.pop(name, None)
    (place / "there.txt").write_text("\n".join(there.values()))
    options = {"check": True, "cwd": place, "env": variables}
    pip = ["python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", "there.txt"]
    subprocess.run(pip, **options)
    install, run = (
        "\n".join(line[1:] for line in cell.source.splitlines()) for cell in cells if cell.source[:1] == "!"
    )
    started = time.perf_counter()
    subprocess.run(bash(install, place), **options)
    return time.perf_counter() - started, seconds_to_figure(run, place, variables)


def binder(place: Path) -> tuple[float, float]:
    """Return the seconds of Binder's installation, and from there to the first figure."""
    variables, clone = environment(place), place / "emolib"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(clone)], check=True)
    started = time.perf_counter()
    subprocess.run(["bash", ".binder/postBuild"], check=True, cwd=clone, env=variables)
    seconds = time.perf_counter() - started
    return seconds, seconds_to_figure("cd emolib; bash .binder/start emolib run 00 01", place, variables)


WAYS = {"colab": colab, "binder": binder}

if __name__ == "__main__":
    for name in sys.argv[1:] or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            installing, running = WAYS[name](Path(folder))
            print(f"{name}: installed in {installing:.0f} s, first figure {running:.0f} s later", flush=True)
