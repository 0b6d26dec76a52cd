"""Measure how far the notebooks' results move, and write the committed results with their tolerances.

    python tests/spread.py run FOLDER [VARIATION ...]   # one execution of every notebook per variation
    python tests/spread.py write FOLDER                 # notebooks/expected/*.json and spread.csv

The variations stand for other machines: each changes every feature by one last bit (`last_bit`), one with
the instructions of an older processor, the other with two threads; and there are two other seeds. A
result's tolerance is twice its range over the plain run and the other machines, and at least .005 of 1 or
of its size. Where that range exceeds .01, rounding decides the result like another seed does (a network
trained from it ends elsewhere), so its range over the seeds that were run counts too. Words, truth values
and counts that change under rounding have no tolerance and are not compared.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import last_bit
import pandas as pd

from emolib.sweep.parameters import cells, declared

ROOT = Path(__file__).parent.parent
EXPECTED = ROOT / "notebooks" / "expected"
_OLDER = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
}
#: Environment variables and notebook parameters of each variation.
VARIATIONS: dict[str, tuple[dict[str, str], list[str]]] = {
    "plain": ({}, []),
    "older processor": (_OLDER | {"EMOLIB_LAST_BIT": "1"}, []),
    "two threads": (
        {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "EMOLIB_LAST_BIT": "2"},
        [],
    ),
    "seed 1": ({}, ["--seed", "1"]),
    "seed 2": ({}, ["--seed", "2"]),
}
ROUNDING = [name for name in VARIATIONS if not name.startswith("seed")]


def run(folder: Path, names: list[str]) -> None:
    """Execute the notebooks once per variation, each in a home of its own, so that nothing is shared."""
    for name in names:
        variables, options = VARIATIONS[name]
        home = folder / name.replace(" ", "-")
        home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | variables | {"EMOLIB_HOME": str(home)}
        if "EMOLIB_LAST_BIT" in variables:
            environment |= last_bit.install(home / "ipython")
        command = [sys.executable, "-c", "from emolib.cli import app; app()", "run", *options]
        subprocess.run(command, env=environment, check=True)


def gather(folder: Path) -> pd.DataFrame:
    """Return what was found: one row per notebook and result, one column per variation that was run."""
    columns = {}
    for name in VARIATIONS:
        results = folder / name.replace(" ", "-") / "runs" / "latest" / "results"
        columns[name] = {
            (path.stem, key): value
            for path in sorted(results.glob("*.json"))
            for key, value in json.loads(path.read_text()).items()
        }
    order = list(columns["plain"])
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()}).loc[
        order
    ]


def tolerance(values: pd.Series) -> float | None:
    """Return how far a result may be from that of the plain run; None where rounding changes what it says."""
    rounding = [values[name] for name in ROUNDING if name in values.index]
    if not all(_is_real(value) for value in rounding):
        return 0.0 if all(value == rounding[0] for value in rounding) else None
    spread = max(rounding) - min(rounding)
    size = max(1.0, abs(rounding[0]))
    if spread > 0.01 * size:
        spread = max(spread, *(abs(value - rounding[0]) for value in values if _is_real(value)))
    if all(isinstance(value, int) for value in rounding):
        return 0.0 if spread == 0 else None
    return max(0.005 * size, 2 * spread)


def write(folder: Path) -> None:
    """Write the committed results with their tolerances, and the table that these come from."""
    found = gather(folder)
    EXPECTED.mkdir(exist_ok=True)
    for notebook, rows in found.groupby(level=0, sort=False):
        results: dict[str, dict[str, Any]] = {}
        for (_, name), values in rows.iterrows():
            results[name] = {"value": _plain(values["plain"]), "tolerance": tolerance(values)}
        content = {"setting": _setting(str(notebook)), "results": results}
        (EXPECTED / f"{notebook}.json").write_text(json.dumps(content, indent=1) + "\n")
    found.index.names = ["notebook", "result"]
    found.to_csv(EXPECTED / "spread.csv", lineterminator="\n")


def _setting(notebook: str) -> list[Any]:
    """Return the defaults of the parameters that a notebook hands to `results.compare`."""
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    [call] = [
        node
        for cell in cells(path)
        if "results.compare(" in cell.source
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "results.compare"
    ]
    defaults = declared(path)
    return [defaults[ast.unparse(argument)] for argument in call.args[2:]]


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    action, where = sys.argv[1], Path(sys.argv[2])
    if action == "run":
        run(where, sys.argv[3:] or list(VARIATIONS))
    elif action == "write":
        write(where)
    else:
        raise SystemExit(f"{action}: expected run or write")
