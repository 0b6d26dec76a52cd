"""What decides a notebook's results: its code, its parameters, the package, and the data it reads.

Two runs with equal keys give equal results, so that the second one may be skipped.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from emolib import __version__, corpora, paths, scheduling
from emolib.corpora.manifest import read_table
from emolib.results import Number
from emolib.sweep.parameters import ANYTHING, cells, declared

#: Models that a notebook reads though no parameter names them: what is shipped, and a vocoder trained here.
_UNNAMED = (paths.DEFAULT_ENCODER, "prosody-ravdess", "hifigan-nano")


def notebook_key(notebook: Path, parameters: Mapping[str, Number]) -> str:
    """Return the digest of all that decides what a notebook gives, 64 hexadecimal digits.

    Parameters
    ----------
    notebook : Path
    parameters : mapping
        Those that the notebook is given.

    Notes
    -----
    In it: the source of its code cells (outputs and prose are left out), the parameters, the package's
    version and code, and of the inputs that the parameters name: of a corpus each file's name, size and
    time, of a table the content as well, of a model in a folder the content of its files. A model named by
    its Hugging Face id goes by that name.
    """
    effective = {name: v for name, v in declared(notebook).items() if v is not ANYTHING} | dict(parameters)
    recipe = {
        "code": [cell.source for cell in cells(notebook) if cell.cell_type == "code"],
        "parameters": dict(parameters),
        "package": [__version__, scheduling.package_digest()],
        "inputs": inputs({name: value for name, value in effective.items() if isinstance(value, str)}),
    }
    return _sha256(json.dumps(recipe, sort_keys=True, ensure_ascii=True).encode())


def look_again() -> None:
    """Forget inputs that were looked at before: each run sees them as they are when it begins."""
    for looked_at in (_folder, _table, scheduling.package_digest):
        looked_at.cache_clear()


def inputs(texts: Mapping[str, str]) -> dict[str, str]:
    """Return a fingerprint of each corpus, table and model that some parameters name."""
    found = {f"model {name}": _folder(paths.model(name), content=True) for name in _UNNAMED}
    words = {word for value in texts.values() for word in re.split(r"[\s,]+", value)}
    root, table = texts.get("ROOT", ""), texts.get("TABLE", "")
    for name in sorted(words & set(corpora.names()) - {"demo", "folder"}):
        own = root if name == texts.get("CORPUS") and root else str(paths.corpus(name))
        found[f"corpus {name}"] = _folder(Path(own), content=False)
    if texts.get("CORPUS") == "demo" and root:
        found["corpus demo"] = _folder(Path(root), content=False)
    if table:
        found["table"] = _table(table, root)
    if encoder := texts.get("ENCODER", "").removeprefix("random:"):
        own_folder = paths.model(encoder)
        place = own_folder if own_folder.is_dir() else Path(encoder).expanduser()
        found[f"model {encoder}"] = _folder(place, content=True)
    return found


@functools.cache
def _folder(folder: Path, *, content: bool) -> str:
    """Return a digest of a folder's files: names with contents (cards apart), or with sizes and times."""
    lines = []
    for place, subfolders, names in os.walk(folder, followlinks=not content):
        subfolders.sort()
        for name in sorted(name for name in names if not (content and name.endswith(".md"))):
            path = Path(place, name)
            told = _sha256_file(path) if content else _stat(path)
            lines.append(f"{path.relative_to(folder)}\0{told}")
    return _sha256("\n".join(lines).encode("utf-8", "surrogateescape")) if lines else ""


@functools.cache
def _table(table: str, root: str) -> str:
    """Return a digest of a table and of the sizes and times of the files that it names."""
    try:
        rows = read_table(table)
    except (OSError, ValueError):  # the notebook that reads it will say so
        return ""
    base = Path(root) if root or "://" in table else Path(table).parent
    names = rows["path"].tolist() if "path" in rows else []
    told = [rows.to_csv(index=False), *(f"{name}\0{_stat(base / name)}" for name in names)]
    return _sha256("\n".join(told).encode("utf-8", "surrogateescape"))


def _stat(path: Path) -> str:
    try:
        told = path.stat()
    except (OSError, ValueError):
        return "absent"
    return f"{told.st_size} {told.st_mtime_ns}"


def _sha256_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
