"""How often the tests of this folder try each fault, and the table of what was tried, survived and lost.

``python tests/faults/fault_tally.py`` runs them with ``EMOLIB_FAULTS=20`` and writes docs/faults.csv and the
table in docs/faults.md. Without that variable, as in the ordinary run of the tests, each fault that strikes
at random is tried twice.
"""

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
_START, _END = "<!-- table -->\n", "<!-- end of table -->\n"


def repeats() -> int:
    """Return how often a fault that strikes at random is tried."""
    return int(os.environ.get("EMOLIB_FAULTS", "2"))


def moments(seed: int) -> list[float]:
    """Return the moments at which a fault strikes, as shares of an undisturbed run's time; one a try."""
    return np.random.default_rng(seed).uniform(0, 1, repeats()).tolist()


@contextmanager
def tried(fault: str) -> Iterator[None]:
    """Count one try of a fault: survived if what follows passes, lost if it fails."""
    try:
        yield
    except BaseException:
        _count(fault, survived=False)
        raise
    _count(fault, survived=True)


def _count(fault: str, *, survived: bool) -> None:
    if table := os.environ.get("EMOLIB_FAULTS_TABLE"):
        with Path(table).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([fault, int(survived)])


def main() -> int:
    raw = Path(tempfile.mkdtemp()) / "tries.csv"
    environment = {"EMOLIB_FAULTS": "20"} | os.environ | {"EMOLIB_FAULTS_TABLE": str(raw)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE)]
    ended = subprocess.run(command, env=environment, cwd=HERE.parents[1]).returncode
    tries = pd.read_csv(raw, names=["fault", "survived"]).groupby("fault", sort=False)["survived"]
    table = tries.agg(tried="count", survived="sum")  # in the order in which the faults were tried
    table["lost"] = table["tried"] - table["survived"]
    table.to_csv(DOCS / "faults.csv", lineterminator="\n")
    table.loc["all"] = table.sum()
    rows = [["fault", *table.columns], ["---"] * 4, *table.reset_index().to_numpy().tolist()]
    shown = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows).replace(" --- ", "---")
    page = DOCS / "faults.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    page.write_text(f"{before}{_START}{shown}\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")
    print(shown)
    return ended


if __name__ == "__main__":
    sys.exit(main())
