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


def collected(table: Path) -> list[tuple[str, int, int, int]]:
    """Return fault, tried, survived and lost, in the order in which the faults were tried."""
    tries: dict[str, list[int]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for fault, survived in csv.reader(file):
            tries.setdefault(fault, []).append(int(survived))
    return [(fault, len(each), sum(each), len(each) - sum(each)) for fault, each in tries.items()]


def main() -> int:
    raw = Path(tempfile.mkdtemp()) / "tries.csv"
    environment = {"EMOLIB_FAULTS": "20"} | os.environ | {"EMOLIB_FAULTS_TABLE": str(raw)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE)]
    ended = subprocess.run(command, env=environment, cwd=HERE.parents[1]).returncode
    rows = collected(raw)
    with (DOCS / "faults.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("fault", "tried", "survived", "lost"), *rows])
    lines = ["| fault | tried | survived | lost |", "|---|---|---|---|"]
    lines += [f"| {fault} | {tries} | {survived} | {lost} |" for fault, tries, survived, lost in rows]
    lines += [f"| all | {' | '.join(str(sum(row[k] for row in rows)) for k in (1, 2, 3))} |"]
    page = DOCS / "faults.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    after = rest.partition(_END)[2]
    page.write_text(f"{before}{_START}" + "\n".join(lines) + f"\n{_END}{after}", encoding="utf-8")
    print("\n".join(lines))
    return ended


if __name__ == "__main__":
    sys.exit(main())
