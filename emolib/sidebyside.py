"""The record of the comparisons in benchmarks/: one section of RESULTS.md each, with the machine named.

A comparison that runs again replaces its own section and leaves the others.
"""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from emolib.atomic import write_file

RESULTS = "RESULTS.md"
_TITLE = """# Side by side

What each part is worth beside what a user would pick instead, measured in one process; `emolib bench` writes
this page. Ratios are above 1 in our favour; names in `_s` are seconds, in `_ms` milliseconds. Each script's
docstring says what is compared.
"""


def machine() -> str:
    """Return the processor, its cores at hand, and the versions that a time depends on, in one line."""
    import numpy
    import torch

    model = ""
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), flags=re.M)
        model = found[1] if found else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{model or platform.processor() or platform.machine()}, {cores} cores{device}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}"
    )


def write_section(folder: Path, name: str, question: str, ratios: Mapping[str, float]) -> Path:
    """Write or replace the section of one comparison, and keep the sections in order.

    Parameters
    ----------
    folder : Path, of the comparisons
    name, question : str; the script's name without ending, the first line of its docstring
    ratios : mapping of a name to a number, as its `measure` returns them
    """
    path = folder / RESULTS
    text = path.read_text(encoding="utf-8") if path.is_file() else _TITLE
    title, *sections = re.split(r"^## ", text, flags=re.M)
    kept = {section.split("\n", 1)[0].strip(): section.split("\n", 1)[1].strip() for section in sections}
    rows = "\n".join(f"| {key} | {value:.4g} |" for key, value in ratios.items())
    kept[name] = f"{question}\n\n{machine()}\n\n| measure | value |\n|---|---|\n{rows}"
    body = "\n\n".join(f"## {key}\n\n{kept[key]}" for key in sorted(kept))
    write_file(path, f"{title.rstrip()}\n\n{body}\n".encode())
    return path
