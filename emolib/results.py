"""The record of a run: what each notebook found, as flat names and numbers, and how it compares.

A run is a folder ``runs/<run>/`` of executed notebooks, with ``results/<notebook>.json`` each;
``summary.json`` and ``summary.md`` join them, and ``runs/latest`` points at the newest run. ``EMOLIB_RUN``
names the run that is going on. ``notebooks/expected/<notebook>.json`` holds the committed results of the
default run, each with a tolerance; ``tests/spread.py`` measures how far results move and writes these files.
"""

import contextlib
import itertools
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from emolib import __version__, paths
from emolib.files import read_json, write_json

Number = float | int | str | bool | None


def run_folder() -> Path:
    """Return the folder of the run that is going on; a notebook opened by hand writes to ``interactive``."""
    return paths.runs() / (os.environ.get("EMOLIB_RUN") or "interactive")


def new_run(label: str) -> Path:
    """Make the folder of a new run, named by time and label, and point ``runs/latest`` at it."""
    name = paths.folder_name(f"{datetime.now():%Y%m%d-%H%M%S}-{label}")
    for number in itertools.count(1):
        folder = paths.runs() / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):  # another run of this second has the name
            (folder / "results").mkdir(parents=True)
            break
    latest = paths.runs() / "latest"
    pointer = latest.with_name(f".latest.{os.getpid()}")
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(folder.name, target_is_directory=True)
    pointer.replace(latest)
    return folder


def record(notebook: str, metrics: Mapping[str, Number]) -> Path:
    """Write a notebook's numbers to ``runs/<run>/results/<notebook>.json``.

    Parameters
    ----------
    notebook : str, such as "01_probing_layers"
    metrics : mapping of flat names to numbers; numpy scalars too, NaN becomes null

    Raises
    ------
    ValueError
        If a value is not a single number, word or truth value.
    """
    path = run_folder() / "results" / f"{notebook}.json"
    write_json(path, _flat(metrics))
    return path


def compare(notebook: str, metrics: Mapping[str, Number], *setting: Number) -> pd.DataFrame:
    """Compare a notebook's numbers with the committed ones, each within its own tolerance.

    Parameters
    ----------
    notebook : str, such as "01_probing_layers"
    metrics : mapping of flat names to numbers, as for `record`
    *setting : the values of the parameters that decide the numbers, such as the corpus and the seed
        Only a run of the committed setting is compared; for another one the numbers are shown as they are.

    Returns
    -------
    table : DataFrame
        One row per result, with the columns committed, tolerance and compared. The last is "ok", or the value
        that was found; a result without a tolerance is not compared, because rounding alone changes it.
    """
    found = _flat(metrics)
    known = read_json(paths.notebooks() / "expected" / f"{notebook}.json")
    if known.get("setting") != list(setting):
        print(f"There are no committed results for {' '.join(map(str, setting))}.")
        return pd.Series({name: _show(value) for name, value in found.items()}, name="found").to_frame()
    rows = {}
    for name, entry in known["results"].items():
        value, tolerance = entry["value"], entry["tolerance"]
        outcome = _outcome(found[name], value, tolerance) if name in found else "missing"
        shown = ("", "") if tolerance is None else (_rounded(value, tolerance), f"{tolerance:.2g}")
        rows[name] = (*shown, outcome)
    rows |= {name: ("", "", f"{_show(found[name])}, not committed") for name in found if name not in rows}
    return pd.DataFrame.from_dict(rows, "index", columns=["committed", "tolerance", "compared"])


def measured(name: str, corpus: str, encoder: str, **parameters: Number) -> pd.DataFrame:
    """Return the committed numbers of a figure of a run on a corpus's audio, and print where they come from.

    Parameters
    ----------
    name : str, the figure's, such as "01_channels"
    corpus, encoder : str
    **parameters : the page's own parameters that the numbers depend on, such as TARGET="angry"

    Returns
    -------
    numbers : DataFrame
        As `plots.save_figure` was given them: the columns are those of ``<name>.csv`` beside the figure.

    Raises
    ------
    ValueError
        If there are none of this corpus and encoder, or they were measured with other parameters.
    """
    return all_measured([name], corpus, encoder, **parameters)[name]


def all_measured(
    names: Iterable[str], corpus: str, encoder: str, **parameters: Number
) -> dict[str, pd.DataFrame]:
    """Return what `measured` does of several figures, by name; where they come from is printed once."""
    folder, found, origins = paths.measured(corpus, encoder), {}, []
    for name in names:
        if not (folder / f"{name}.csv").is_file():
            raise ValueError(
                f"{name} needs the audio of {corpus}, and no numbers of it by {encoder} are in {folder}; "
                f"get the audio (`emolib corpora` says how) or take another corpus"
            )
        told = read_json(folder / "source.json").get(name, {})
        for key, value in parameters.items():
            if (known := told.get("parameters", {}).get(key, value)) != value:
                raise ValueError(
                    f"{name} of {corpus} by {encoder} was measured with {key}={known}, not {value}; keep "
                    f"{key}={known}, or get the audio (`emolib corpora` says how)"
                )
        found[name] = pd.read_csv(folder / f"{name}.csv")
        origins.append((told.get("command"), told.get("commit")))
    for command, commit in dict.fromkeys(origins):
        print(f"Not computed here: `{command}` gave these numbers, on the corpus's audio")
        print(f"(commit {commit}).")
    return found


def _outcome(found: Number, committed: Number, tolerance: float | None) -> str:
    """Return "ok", or the value that was found where it is too far from the committed one."""
    if tolerance is None:
        return "not compared"
    if {type(found), type(committed)} <= {int, float}:
        close = abs(found - committed) <= tolerance  # type: ignore[operator]
    else:
        close = type(found) is type(committed) and found == committed
    return "ok" if close else _show(found)


def _rounded(value: Number, tolerance: float) -> str:
    """Show a value with the digits that its tolerance leaves it."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.{max(0, math.ceil(-math.log10(tolerance)))}f}"


def summarise(folder: Path) -> dict[str, dict[str, Number]]:
    """Join the results of a run into ``summary.json`` and ``summary.md`` and return them by notebook."""
    summary = {path.stem: read_json(path) for path in sorted(folder.glob("results/*.json"))}
    write_json(folder / "summary.json", summary)
    lines = ["| notebook | metric | value |", "|---|---|---|"]
    for notebook, metrics in summary.items():
        lines += [f"| {notebook} | {name} | {_show(value)} |" for name, value in metrics.items()]
    (folder / "summary.md").write_text("\n".join(lines) + "\n")
    return summary


def environment(device: str = "auto") -> dict[str, str]:
    """Return what a result depends on beside data and parameters: versions, commit and device."""
    import torch
    import transformers

    from emolib.encoders import torch_device

    return {
        "emolib": __version__, "commit": _commit(), "python": platform.python_version(),
        "torch": torch.__version__, "transformers": transformers.__version__,
        "device": str(torch_device(device)),
    }  # fmt: skip


def _commit() -> str:
    command = ["git", "-C", str(paths.CHECKOUT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _flat(metrics: Mapping[str, Number]) -> dict[str, Number]:
    return {str(name): _scalar(str(name), value) for name, value in metrics.items()}


def _scalar(name: str, value: object) -> Number:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    raise ValueError(f"metric {name!r} is a {type(value).__name__}; expected one number, word or truth value")


def _show(value: Number) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
