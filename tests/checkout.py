"""The checkout that is tested: its code as syntax trees, its notebooks, and what git tracks."""

import ast
import functools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "emolib"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """Return a notebook's code cells, each with its source as one text."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return the package's modules, by path below the checkout."""
    return {name: tree for name, tree in scripts().items() if name.startswith("emolib/")}


@functools.cache
def scripts() -> dict[str, ast.Module]:
    """Return the package, the recipes of models, the benchmarks and the notebooks, by path."""
    files = [path for folder in ("emolib", "models", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    code = {path: path.read_text(encoding="utf-8") for path in sorted(files)}
    for path in NOTEBOOKS:
        text = "\n".join(cell["source"] for cell in code_cells(path))
        code[path] = re.sub(r"^(\s*)[%!?].*$", r"\1pass", text, flags=re.MULTILINE)
    return {path.relative_to(ROOT).as_posix(): ast.parse(text) for path, text in code.items()}


def offenders(search: Callable[[ast.Module], list[str]], trees: dict[str, ast.Module]) -> dict[str, list]:
    """Return what a search finds, by file; files in which it finds nothing are left out."""
    found = {name: search(tree) for name, tree in trees.items()}
    return {name: what for name, what in found.items() if what}


@functools.cache
def tracked() -> list[Path]:
    """Return the files that git tracks; skip the test where there is no checkout."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
