"""A grid of runs in one YAML file: notebooks, what is the same in every cell, and axes to multiply."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emolib import corpora, paths
from emolib.results import Number
from emolib.sweep import parameters as declarations

#: A grid of more cells is refused: it is a slip of the pen more often than a plan.
MAX_CELLS = 10_000
_KEYS = ("name", "notebooks", "parameters", "axes", "include", "exclude")
#: Parameters that hold a path; where relative, they start from the grid's folder.
_PATHS = ("ROOT", "TABLE")
_EXAMPLE = "such as `axes: {ENCODER: [wav2vec2-nano, logmel], SEED: [0, 1]}`"


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
            if not isinstance(key, str):
                raise yaml.YAMLError(f"the key {key!r} is not a word")
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice in one mapping")
        return super().construct_mapping(node, deep)


def read_grid(path: str | Path) -> Grid:
    """Read a grid and check it against the notebooks.

    Parameters
    ----------
    path : str or Path
        A YAML file with ``axes`` (lists of values by parameter, multiplied), and any of ``name`` (the file's
        stem by default), ``notebooks`` (beginnings of names; all by default), ``parameters`` (the same in
        every cell), ``exclude`` (cells with all of these values are left out) and ``include`` (further
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
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.load(text, Loader=_StrictSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from None
    try:
        return _grid(content, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _grid(content: Any, path: Path) -> Grid:
    if not isinstance(content, dict):
        raise ValueError(f"not a grid; expected a mapping with axes, {_EXAMPLE}")
    for key in content:
        if key not in _KEYS:
            hint = declarations.nearest(key, _KEYS)
            raise ValueError(f"unknown key {key!r}{hint}; expected: {', '.join(_KEYS)}")
    notebooks = declarations.notebooks(_names(content.get("notebooks")))
    cells = [_absolute(cell, path.parent) for cell in _cells(content)]
    if not cells:
        raise ValueError("it has no cell: every one is excluded")
    known = {notebook.stem: declarations.declared(notebook) for notebook in notebooks}
    for cell in cells:
        declarations.check(cell, known)
        if "CORPUS" in cell:
            corpora.info(str(cell["CORPUS"]))
    fixed, axes = _absolute(_mapping(content, "parameters"), path.parent), _mapping(content, "axes")
    named = {cell_name(cell, fixed, list(axes)): cell for cell in cells}
    return Grid(_name(content.get("name", path.stem)), tuple(notebooks), named)


def _cells(content: Mapping[str, Any]) -> list[dict[str, Number]]:
    """Multiply the axes, leave out what is excluded, add what is included; each cell once."""
    fixed, axes = _mapping(content, "parameters"), _mapping(content, "axes")
    _scalars(fixed, "parameters")
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"axis {name} is {values!r}; expected a list of values, {_EXAMPLE}")
        if name in fixed:
            raise ValueError(f"{name} stands both in parameters and in axes; expected one of them")
        _scalars({f"{name}[{i}]": value for i, value in enumerate(values)}, "axes")
    n_cells = math.prod(len(values) for values in axes.values())
    if n_cells > MAX_CELLS:
        raise ValueError(f"{n_cells} cells; expected at most {MAX_CELLS}: split the grid")
    excluded = _cell_list(content, "exclude", {*fixed, *axes})
    included = _cell_list(content, "include")
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    cells = [fixed | cell for cell in product if axes or not included]
    cells = [cell for cell in cells if not any(_matches(cell, one) for one in excluded)]
    cells += [fixed | one for one in included]
    return list({json.dumps(cell, sort_keys=True): cell for cell in cells}.values())  # there, 1 is not true


def cell_name(cell: Mapping[str, Number], fixed: Mapping[str, Number], axes: Sequence[str]) -> str:
    """Name a cell after what sets it apart: words as they are, numbers with their parameter.

    A name that might stand for two cells ends with a digest of what sets it apart.

    Examples
    --------
    >>> cell_name({"DEVICE": "cpu", "CORPUS": "nemo", "SEED": 1}, {"DEVICE": "cpu"}, ["CORPUS", "SEED"])
    'nemo_seed1'
    """
    names = [name for name in cell if name in axes or name not in fixed or cell[name] != fixed[name]]
    parts, exact = [], set(names) <= set(axes)
    for name in names:
        value = cell[name]
        text = value if isinstance(value, str) else f"{name.lower()}{value}"
        short = paths.folder_name(Path(text).stem if name in _PATHS else text)[:40]
        exact &= short == text and "_" not in short
        parts.append(short)
    told = json.dumps({name: cell[name] for name in names}, sort_keys=True)
    digest = [] if exact else [hashlib.sha256(told.encode()).hexdigest()[:8]]
    return "_".join([*parts, *digest]) or "all"


def _names(given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        raise ValueError(f"notebooks is {given!r}; expected a list, such as ['01', '02']")
    # without quotes YAML reads 01 as the number 1
    return [f"{name:02d}" if type(name) is int else str(name) for name in given]


def _name(given: Any) -> str:
    if not isinstance(given, str | int) or paths.folder_name(str(given)) != str(given):
        raise ValueError(f"name {given!r}; expected letters, digits, '-', '_' and '.', as in a folder's name")
    return str(given)


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}; expected a mapping of parameters")
    return dict(value or {})


def _cell_list(content: Mapping[str, Any], key: str, known: set[str] | None = None) -> list[dict[str, Any]]:
    given = content.get(key) or []
    if not isinstance(given, list) or not all(isinstance(one, dict) and one for one in given):
        raise ValueError(f"{key} is {given!r}; expected a list of mappings, such as [{{SEED: 1}}]")
    for one in given:
        _scalars(one, key)
        for name in one if known is not None else ():
            if name not in (known or ()):
                hint = declarations.nearest(name, known or ())
                raise ValueError(f"{key} names {name}{hint}, which is neither in axes nor in parameters")
    return given


def _scalars(values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        is_scalar = isinstance(value, bool | int | float | str)
        if not is_scalar or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{name} in {where} is {value!r}; expected one number, word or truth value")


def _absolute(cell: dict[str, Number], folder: Path) -> dict[str, Number]:
    """Let relative paths start from the grid's folder, as the notebooks run in theirs."""
    own = {name: cell[name] for name in _PATHS if isinstance(cell.get(name), str) and cell[name]}
    return cell | {
        name: str((folder / str(value)).absolute()) for name, value in own.items() if "://" not in str(value)
    }


def _matches(cell: Mapping[str, Number], pattern: Mapping[str, Number]) -> bool:
    return all(cell.get(name) == value and type(cell[name]) is type(value) for name, value in pattern.items())
