"""What is to be run: notebooks, the parameters that they declare, what decides their results, and grids."""

import ast
import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emolib import __version__, corpora, files, paths, scheduling
from emolib.corpora import tables
from emolib.results import Number

#: A grid of more cells is refused: it is a slip of the pen more often than a plan.
MAX_CELLS = 10_000
#: Stands for a default that is no literal: its parameter takes anything.
ANYTHING = object()
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "empty"}
_KEYS = ("name", "notebooks", "parameters", "axes", "include", "exclude")
#: Models that a notebook reads though no parameter names them: what is shipped, and a vocoder trained here.
UNNAMED = (
    paths.SHIPPED_ENCODER, "prosody-ravdess", "generator-ravdess", "recogniser-ravdess", "mapper-ravdess",
    "axes-ravdess", "av-ravdess-crema-d", "hifigan-nano",
)  # fmt: skip
#: Parameters that hold a path; where relative, they start from the grid's folder.
_PATHS = ("ROOT", "TABLE")
_EXAMPLE = "such as `axes: {ENCODER: [wav2vec2-nano, logmel], SEED: [0, 1]}`"


# ------------------------------------------------------------------------------------- notebooks, parameters


def notebooks(names: Iterable[str] | None = None) -> list[Path]:
    """Return the numbered notebooks in reading order, or those whose names begin as asked.

    Raises
    ------
    ValueError
        If a name fits no notebook, or there are none.
    """
    found = sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ValueError(
            f"no notebooks in {paths.notebooks()}; expected files such as 01_probing_layers.ipynb"
        )
    wanted = tuple(names or ()) or ("",)
    if idle := [name for name in wanted if not any(path.stem.startswith(name) for path in found)]:
        raise ValueError(f"no notebook {', '.join(idle)}; expected: {', '.join(path.stem for path in found)}")
    return [path for path in found if path.stem.startswith(wanted)]


def declared(notebook: Path) -> dict[str, object]:
    """Return the names that a notebook's ``parameters`` cell assigns, with their defaults.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    tagged = [cell for cell in cells(notebook) if "parameters" in cell.get("metadata", {}).get("tags", [])]
    try:
        tree = ast.parse("\n".join(cell.source for cell in tagged))
    except SyntaxError:  # it fails when it is executed, and its copy says where
        return {}
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                found.setdefault(name, ANYTHING)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                with contextlib.suppress(ValueError):  # it is no literal
                    found[name] = ast.literal_eval(value)
    return found


@functools.cache
def cells(notebook: Path) -> list:
    """Return a notebook's cells, read once for all cells of a grid.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    import nbformat
    from jsonschema import ValidationError

    try:
        return nbformat.read(notebook, as_version=4).cells
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0][:100]
        raise ValueError(f"{notebook.name} is no notebook that can be read ({reason})") from None


def check(parameters: Mapping[str, Number], known: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse parameters that no notebook declares, and values of another type than the default's.

    Parameters
    ----------
    parameters : mapping of name to value
    known : mapping of notebook to what it declares, as `declared` returns it

    Raises
    ------
    ValueError
        Of the first that does not fit; the message names the nearest parameter, or the type.
    """
    names = sorted(set().union(*known.values()))
    if unknown := [name for name in parameters if name not in names]:
        hint = corpora.nearest(unknown[0], names)
        raise ValueError(
            f"no notebook has a parameter {', '.join(unknown)}{hint}; expected: {', '.join(names)}"
        )
    for name, value in parameters.items():
        for notebook, defaults in known.items():
            if name in defaults and not _fits(value, default := defaults[name]):
                given = _TYPES.get(type(value), f"a {type(value).__name__}")
                expected = _TYPES.get(type(default), "one number, word or truth value")
                raise ValueError(
                    f"{name}={value!r} is {given}; expected {expected}, such as {default!r} in {notebook}"
                )


def _fits(value: Number, default: object) -> bool:
    """Tell whether a value may stand in for a default: same type, or a whole number for a real one."""
    if default is None or type(default) not in _TYPES:
        return type(value) in _TYPES
    return type(value) is type(default) or (type(value) is int and type(default) is float)


def from_text(settings: Iterable[str], known: Mapping[str, Mapping[str, object]]) -> dict[str, Number]:
    """Read NAME=VALUE pairs, each value as the type that its parameter has.

    Raises
    ------
    ValueError
        If a pair has no ``=``, or its value is not of that type.
    """
    read: dict[str, Number] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise ValueError(f"{setting!r} has no '='; expected NAME=VALUE, such as LAYER=3")
        kind = type(next((one[name] for one in known.values() if name in one), text))
        try:
            value = {"true": True, "false": False}[text.lower()] if kind is bool else text
            read[name] = kind(value) if kind in (int, float) else value
        except (KeyError, ValueError):
            raise ValueError(f"{name}={text!r}; expected {_TYPES[kind]}") from None
    return read


# ------------------------------------------------------------------------------------- what decides results


def notebook_key(notebook: Path, parameters: Mapping[str, Number]) -> str:
    """Return the digest of all that decides what a notebook gives, 64 hexadecimal digits.

    Two runs with equal keys give equal results, so that the second one may be skipped.

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
    named = {name: v for name, v in (declared(notebook) | dict(parameters)).items() if isinstance(v, str)}
    recipe = {
        "code": [cell.source for cell in cells(notebook) if cell.cell_type == "code"],
        "parameters": dict(parameters),
        "package": [__version__, scheduling.package_digest()],
        "inputs": _inputs(named),
    }
    return _sha256(json.dumps(recipe, sort_keys=True))


def look_again() -> None:
    """Forget what was looked at before: each run sees notebooks and inputs as they are when it begins."""
    for looked_at in (cells, folder_digest, _table, scheduling.package_digest):
        looked_at.cache_clear()


def _inputs(texts: Mapping[str, str]) -> dict[str, str]:
    """Return a fingerprint of each corpus, table and model that some parameters name."""
    found = {f"model {name}": folder_digest(paths.model(name), content=True) for name in UNNAMED}
    found["measured"] = folder_digest(paths.measured("", ""), content=True)
    words = {word for value in texts.values() for word in re.split(r"[\s,]+", value)}
    root, table, own = texts.get("ROOT", ""), texts.get("TABLE", ""), texts.get("CORPUS")
    for name in sorted(words & set(corpora.names()) - {"folder"}):
        place = Path(root) if name == own and root else paths.corpus(name)
        is_here = place.is_dir()  # else embeddings stand in
        folders = [place] if is_here else paths.embeddings(name)
        found[f"corpus {name}"] = "".join(folder_digest(folder, content=not is_here) for folder in folders)
    if table:
        found["table"] = _table(table, root)
    if encoder := texts.get("ENCODER", "").removeprefix("random:"):
        named = paths.model(encoder)
        place = named if named.is_dir() else Path(encoder).expanduser()
        found[f"model {encoder}"] = folder_digest(place, content=True)
    return found


@functools.cache
def folder_digest(folder: Path, *, content: bool) -> str:
    """Return a digest of a folder's files: names with contents (cards apart), or with sizes and times."""
    lines = []
    for place, subfolders, names in os.walk(folder, followlinks=not content):
        subfolders.sort()
        for name in sorted(name for name in names if not (content and name.endswith(".md"))):
            path = Path(place, name)
            lines.append(f"{path.relative_to(folder)}\0{_state(path, content=content)}")
    return _sha256("\n".join(lines)) if lines else ""


@functools.cache
def _table(table: str, root: str) -> str:
    """Return a digest of a table and of the sizes and times of the files that it names."""
    try:
        rows = tables.read(table)
    except (OSError, ValueError):  # the notebook that reads it will say so
        return ""
    beside = Path(table) if Path(table).is_dir() else Path(table).parent
    base = Path(root) if root or "://" in table else beside
    names = rows["path"].tolist() if "path" in rows else []
    states = [f"{name}\0{_state(base / name)}" for name in names]
    return _sha256("\n".join([rows.to_csv(index=False), *states]))


def _state(path: Path, *, content: bool = False) -> str:
    """Return a file's size and time, or the digest of its content."""
    try:
        if content:
            return files.sha256(path)
        state = path.stat()
    except (OSError, ValueError):
        return "absent"
    return f"{state.st_size} {state.st_mtime_ns}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# ------------------------------------------------------------------------------------- grids


@dataclass(frozen=True)
class Grid:
    """A grid of runs.

    Attributes
    ----------
    name : str; its runs lie in ``runs/sweep-<name>``
    notebooks : tuple of Path
    cells : dict of cell name to its parameters
    """

    name: str
    notebooks: tuple[Path, ...]
    cells: dict[str, dict[str, Number]]


class _StrictSafeLoader(yaml.SafeLoader):
    """YAML's plain types alone, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str) or keys.count(key) > 1:
                why = "stands twice in one mapping" if isinstance(key, str) else "is not a word"
                raise yaml.YAMLError(f"the key {key!r} {why}")
        return super().construct_mapping(node, deep)


def read_grid(path: str | Path) -> Grid:
    """Read a grid and check it against the notebooks.

    Parameters
    ----------
    path : str or Path
        A YAML or JSON file with ``axes`` (lists of values by parameter, multiplied), and any of ``name`` (the
        file's stem by default), ``notebooks`` (beginnings of names; all by default), ``parameters`` (the same
        in every cell), ``exclude`` (cells with all of these values are left out) and ``include`` (further
        cells).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it can't be read, has an unknown or doubled key, names a notebook, parameter or corpus that there
        is not, gives a value of the wrong type, or has no cell, or more than `MAX_CELLS`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such grid")
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from None
    try:
        return _grid(content, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _grid(content: Any, path: Path) -> Grid:
    _expect(isinstance(content, dict), f"not a grid; expected a mapping with axes, {_EXAMPLE}")
    if unknown := sorted(set(content) - set(_KEYS)):
        hint = corpora.nearest(unknown[0], _KEYS)
        raise ValueError(f"unknown key {unknown[0]!r}{hint}; expected: {', '.join(_KEYS)}")
    name, names = content.get("name", path.stem), content.get("notebooks")
    is_name = isinstance(name, str | int) and paths.folder_name(str(name)) == str(name)
    _expect(is_name, f"name {name!r}; expected letters, digits, '-', '_' and '.', as in a folder's name")
    are_names = names is None or (isinstance(names, list) and names)
    _expect(are_names, f"notebooks is {names!r}; expected a list, such as ['01', '02']")
    # without quotes YAML reads 01 as the number 1
    chosen = notebooks(f"{one:02d}" if type(one) is int else str(one) for one in names or ())
    fixed, axes = _mapping(content, "parameters"), _mapping(content, "axes")
    cells = [_absolute(cell, path.parent) for cell in _product(content, fixed, axes)]
    _expect(cells, "it has no cell: every one is excluded")
    known = {notebook.stem: declared(notebook) for notebook in chosen}
    for cell in [*cells, *_mappings(content, "exclude")]:
        check(cell, known)
        if "CORPUS" in cell:
            corpora.info(str(cell["CORPUS"]))
    fixed = _absolute(fixed, path.parent)
    return Grid(str(name), tuple(chosen), {cell_name(cell, fixed, list(axes)): cell for cell in cells})


def _product(content: Mapping[str, Any], fixed: dict[str, Any], axes: dict[str, Any]) -> list[dict[str, Any]]:
    """Multiply the axes, leave out what is excluded, add what is included; each cell once."""
    for name, values in axes.items():
        is_axis = isinstance(values, list) and values
        _expect(is_axis, f"axis {name} is {values!r}; expected a list of values, {_EXAMPLE}")
        _expect(name not in fixed, f"{name} stands both in parameters and in axes; expected one of them")
    n_cells = math.prod(map(len, axes.values()))
    _expect(n_cells <= MAX_CELLS, f"{n_cells} cells; expected at most {MAX_CELLS}: split the grid")
    excluded, included = _mappings(content, "exclude"), _mappings(content, "include")
    if strange := sorted(set().union(*excluded) - set(fixed | axes)):
        hint = corpora.nearest(strange[0], fixed | axes)
        raise ValueError(f"exclude names {strange[0]}{hint}, which is neither in axes nor in parameters")
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    cells = [fixed | cell for cell in product if axes or not included]
    cells = [cell for cell in cells if not any(_matches(cell, one) for one in excluded)]
    cells += [fixed | one for one in included]
    by_text = {json.dumps(cell, sort_keys=True, default=str): cell for cell in cells}  # where 1 is not true
    return list(by_text.values())


def cell_name(cell: Mapping[str, Number], fixed: Mapping[str, Number], axes: Sequence[str]) -> str:
    """Name a cell after what sets it apart: words as they are, numbers with their parameter.

    A name that might stand for two cells ends with a digest of what sets it apart.

    Examples
    --------
    >>> cell_name({"DEVICE": "cpu", "CORPUS": "nemo", "SEED": 1}, {"DEVICE": "cpu"}, ["CORPUS", "SEED"])
    'nemo_seed1'
    """
    own = {k: v for k, v in cell.items() if k in axes or k not in fixed or v != fixed[k]}
    parts, exact = [], set(own) <= set(axes)
    for name, value in own.items():
        text = value if isinstance(value, str) else f"{name.lower()}{value}"
        short = paths.folder_name(Path(text).stem if name in _PATHS else text)[:40]
        exact &= short == text and "_" not in short
        parts.append(short)
    digest = _sha256(json.dumps(own, sort_keys=True))[:8]
    return "_".join(parts if exact else [*parts, digest]) or "all"


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    given = content.get(key) or {}
    _expect(isinstance(given, dict), f"{key} is {given!r}; expected a mapping of parameters")
    return given


def _mappings(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    given = content.get(key) or []
    are_mappings = isinstance(given, list) and all(isinstance(one, dict) and one for one in given)
    _expect(are_mappings, f"{key} is {given!r}; expected a list of mappings, such as [{{SEED: 1}}]")
    return given


def _expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _absolute(cell: dict[str, Number], folder: Path) -> dict[str, Number]:
    """Let relative paths start from the grid's folder, as the notebooks run in theirs."""
    own = {name: cell[name] for name in _PATHS if isinstance(cell.get(name), str) and cell[name]}
    return cell | {k: str((folder / str(v)).absolute()) for k, v in own.items() if "://" not in str(v)}


def _matches(cell: Mapping[str, Number], pattern: Mapping[str, Number]) -> bool:
    return all(cell.get(name) == value and type(cell[name]) is type(value) for name, value in pattern.items())
