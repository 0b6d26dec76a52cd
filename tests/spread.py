"""Measure how far the notebooks' results move, and write the committed results with their tolerances.

    python tests/spread.py run FOLDER [VARIATION ...] [NOTEBOOK ...]  # one execution per variation
    python tests/spread.py write FOLDER [NOTEBOOK ...]                # notebooks/expected/

Notebooks are named by their numbers, such as 01; all by default. What is known of the others is kept.

The variations stand for other machines: each changes every feature by one last bit (`last_bit`), one with
the instructions of an older processor, the other with two threads; and there are two other seeds. A
result's tolerance is three times its range over the plain run and the other machines, and at least .01 of 1
or of its size. Where that range exceeds .01, rounding decides the result like another seed does, so its
range over the seeds that were run counts too. Words, truth values and counts that change under rounding
have no tolerance and are not compared.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import last_bit
import pandas as pd
from adopt_run import setting_of

from emolib.sweep.grid import cells, declared

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


def run(folder: Path, names: list[str], notebooks: list[str]) -> None:
    """Execute notebooks once per variation, each in a home of its own, so that nothing is shared."""
    for name in names:
        variables, options = VARIATIONS[name]
        home = folder / name.replace(" ", "-")
        home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | variables | {"EMOLIB_HOME": str(home)}
        if "EMOLIB_LAST_BIT" in variables:
            environment |= last_bit.install(home / "ipython")
        command = [sys.executable, "-c", "from emolib.cli import app; app()", "run", *notebooks, *options]
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
    table = {name: pd.Series(column, dtype=object) for name, column in columns.items() if column}
    return pd.DataFrame(table).loc[list(columns["plain"])]


def tolerance(values: pd.Series) -> float | None:
    """Return how far a result may be from that of the plain run; None where rounding changes what it says."""
    rounding = [values[name] for name in ROUNDING if name in values.index]
    rounding = [value for value in rounding if value is None or value == value]  # NaN: it was not run
    if not all(_is_real(value) for value in rounding):
        return 0.0 if all(value == rounding[0] for value in rounding) else None
    spread = max(rounding) - min(rounding)
    size = max(1.0, abs(rounding[0]))
    if spread > 0.01 * size:
        spread = max(spread, *(abs(value - rounding[0]) for value in values if _is_real(value)))
    if all(isinstance(value, int) for value in rounding):
        return 0.0 if spread == 0 else None
    return max(0.01 * size, 3 * spread)


def write(folder: Path, notebooks: list[str]) -> None:
    """Write the committed results with their tolerances, and the table that these come from."""
    found = gather(folder)
    found = found[[not notebooks or name[:2] in notebooks for name in found.index.get_level_values(0)]]
    EXPECTED.mkdir(exist_ok=True)
    for notebook, rows in found.groupby(level=0, sort=False):
        results: dict[str, dict[str, Any]] = {}
        for (_, name), values in rows.iterrows():
            results[name] = {"value": _plain(values["plain"]), "tolerance": tolerance(values)}
        path = ROOT / "notebooks" / f"{notebook}.ipynb"
        [source] = [cell.source for cell in cells(path) if "results.compare(" in cell.source]
        whose = {name: declared(path)[name] for name in ("CORPUS", "ENCODER") if name in declared(path)}
        content = {"parameters": whose, "setting": setting_of(path, source), "results": results}
        (EXPECTED / f"{notebook}.json").write_text(json.dumps(content, indent=1) + "\n")
    found.index.names = ["notebook", "result"]
    table = EXPECTED / "spread.csv"
    if table.is_file():
        known = pd.read_csv(table, index_col=[0, 1], dtype=object)
        of_others = ~known.index.get_level_values(0).isin(found.index.get_level_values(0))
        found = pd.concat([known[of_others], found]).sort_index(level=0, sort_remaining=False)
    found.to_csv(table, lineterminator="\n")


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    action, where, given = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    chosen = [name for name in given if name.isdigit()]
    if action == "run":
        run(where, [name for name in given if name not in chosen] or list(VARIATIONS), chosen)
    elif action == "write":
        write(where, chosen)
    else:
        raise SystemExit(f"{action}: expected run or write")
