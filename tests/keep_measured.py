"""Keep numbers of a run on audio for pages without it: `python tests/keep_measured.py RUN NAME...`.

Of a trial of steering: `python tests/keep_measured.py trial FOLDER COMMIT`, the folder being its `--out`.

A name is that of a figure, such as 01_channels. Its csv goes to ``data/results/<corpus>-<encoder>/``, and the
command and commit that gave it to ``source.json`` there, where `results.measured` finds both.
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from emolib import files, paths
from emolib.sweep.grid import cells, declared

COMMON = {"CORPUS", "ROOT", "TABLE", "ENCODER", "DEVICE", "PROFILE", "SEED"}  # the command says these
OUT = Path(__file__).parent.parent / "data" / "results"


def keep(run: Path, name: str) -> Path:
    """Copy the numbers of one figure, and say where they come from."""
    [copy] = run.glob(f"{name[:2]}_*.ipynb")
    told = files.read_json(run / "run.json")
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
    files.write_json(folder / "source.json", files.read_json(folder / "source.json") | {name: source})
    return Path(shutil.copy(drawn, folder))


def keep_trial(trial: Path, commit: str) -> Path:
    """Copy the table and the setting of `emolib trial --out`, as 04_trial."""
    told = files.read_json(trial / "trial.json")
    folder = OUT / paths.gallery(told["corpus"], told["encoder"]).name
    folder.mkdir(parents=True, exist_ok=True)
    given = {"methods": told["methods"], "targets": told["targets"]}
    options = [f"--{name} {','.join(words)}" for name, words in given.items()]
    options += [f"--source {told['source']}", f"--per-speaker {told['per_speaker']}"]
    options += [f"--speakers {told['speakers']}", f"--layer {told['layer']}"]
    command = " ".join(["emolib trial", told["corpus"], *options])
    known = files.read_json(folder / "source.json")
    files.write_json(folder / "source.json", known | {"04_trial": {"command": command, "commit": commit}})
    shutil.copy(trial / "trial.json", folder / "04_trial.json")
    table = pd.read_csv(trial / "trial.csv", dtype=str, na_filter=False)
    table = table[~table["measure"].isin(["words", "own_voice"])]  # that older trials have
    table.to_csv(folder / "04_trial.csv", index=False)
    return folder / "04_trial.csv"


if __name__ == "__main__":
    if sys.argv[1] == "trial":
        print(keep_trial(Path(sys.argv[2]), sys.argv[3]))
        sys.exit()
    for wanted in sys.argv[2:]:
        print(keep(Path(sys.argv[1]), wanted))
