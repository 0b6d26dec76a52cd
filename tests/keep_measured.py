"""Keep numbers of a run on audio for pages without it: `python tests/keep_measured.py RUN NAME...`.

A name is that of a figure, such as 01_channels. Its csv goes to ``data/results/<corpus>-<encoder>/``, and the
command and commit that gave it to ``source.json`` there, where `results.measured` finds both.
"""

import re
import shutil
import sys
from pathlib import Path

from emolib import paths, results
from emolib.sweep.grid import cells, declared

COMMON = {"CORPUS", "ROOT", "TABLE", "ENCODER", "DEVICE", "PROFILE", "SEED"}  # the command says these
OUT = Path(__file__).parent.parent / "data" / "results"


def keep(run: Path, name: str) -> Path:
    """Copy the numbers of one figure, and say where they come from."""
    [copy] = run.glob(f"{name[:2]}_*.ipynb")
    told = results.read_json(run / "run.json")
    given = told.get("defaults", {}).get(copy.stem, {}) | told["parameters"]
    options = [
        f"--{key.lower()} {value}" if key in ("CORPUS", "ENCODER", "PROFILE") else f"--set {key}={value}"
        for key, value in given.items()
        if (key, value) not in {("PROFILE", "quick"), ("DEVICE", "auto"), ("SEED", 0)}
    ]
    shown = [str(o.get("data", {}).get("text/plain")) for c in cells(copy) for o in c.get("outputs", [])]
    [commit] = re.findall(r"^commit +(\w+)", "\n".join(shown), flags=re.MULTILINE)
    folder = OUT / paths.gallery(given["CORPUS"], given["ENCODER"]).name
    folder.mkdir(parents=True, exist_ok=True)
    drawn = paths.gallery(given["CORPUS"], given["ENCODER"]) / f"{name}.csv"
    own = {key: value for key, value in (declared(copy) | given).items() if key not in COMMON}
    source = {
        "command": " ".join(["emolib run", name[:2], *options]),
        "commit": commit,
        "parameters": own,
    }
    results.write_json(folder / "source.json", results.read_json(folder / "source.json") | {name: source})
    return Path(shutil.copy(drawn, folder))


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        print(keep(Path(sys.argv[1]), wanted))
