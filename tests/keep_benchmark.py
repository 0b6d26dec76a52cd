"""Keep a run of the benchmark: `python tests/keep_benchmark.py FOLDER COMMAND`.

Its tables go to ``data/results/benchmark/``, where `emolib benchmark` finds them for a row of one's own, and
into ``docs/benchmark.md`` below the mark.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

from emolib import benchmark, files, results

ROOT = Path(__file__).parent.parent
MARK = "<!-- tables -->\n"


def keep(folder: Path, command: str) -> None:
    """Copy the tables, and say where they come from."""
    out = ROOT / "data" / "results" / benchmark.COMMITTED
    out.mkdir(parents=True, exist_ok=True)
    within, across = (pd.read_csv(shutil.copy(folder / f"{name}.csv", out)) for name in ("within", "across"))
    files.write_json(out / "source.json", {"command": command, "commit": results.environment()["commit"]})
    page = ROOT / "docs" / "benchmark.md"
    text = page.read_text(encoding="utf-8").split(MARK)[0]
    page.write_text(text + MARK + "\n" + benchmark.as_markdown(within, across) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2])
