"""What a notebook's ``parameters`` cell declares, and whether given values fit it."""

import ast
import difflib
import functools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from emolib import paths
from emolib.results import Number

#: Stands for a default that is no literal: its parameter takes anything.
ANYTHING = object()
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def declared(notebook: Path) -> dict[str, object]:
    """Return the names that a notebook's ``parameters`` cell assigns, with their defaults.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    code = "\n".join(cell.source for cell in cells(notebook) if "parameters" in _tags(cell))
    try:
        tree = ast.parse(code)
    except SyntaxError:  # it fails when it is executed, and its copy says where
        return {}
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                found |= _names(target, node.value)
    return found


def cells(notebook: Path) -> list:
    """Return a notebook's cells.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    told = notebook.stat()
    return _cells(notebook, told.st_mtime_ns, told.st_size)


@functools.lru_cache(maxsize=64)
def _cells(notebook: Path, mtime_ns: int, size: int) -> list:
    """Read a notebook once for all cells of a grid, and again when it has changed."""
    import nbformat
    from jsonschema import ValidationError

    try:
        return nbformat.read(notebook, as_version=4).cells
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        raise ValueError(f"{notebook.name} is no notebook that can be read ({_line(error)})") from None


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
    unknown = [name for name in parameters if name not in names]
    if unknown:
        hint = nearest(unknown[0], names)
        raise ValueError(
            f"no notebook has a parameter {', '.join(unknown)}{hint}; expected: {', '.join(names)}"
        )
    for name, value in parameters.items():
        for notebook, defaults in known.items():
            if name in defaults and not fits(value, defaults[name]):
                kind = _KINDS[type(defaults[name])]
                raise ValueError(
                    f"{name}={value!r} is {_kind(value)}; expected {kind}, such as "
                    f"{defaults[name]!r} in {notebook}"
                )


def fits(value: Number, default: object) -> bool:
    """Tell whether a value may stand in for a default: same type, or a whole number for a real one."""
    if type(default) not in _KINDS:
        return isinstance(value, bool | int | float | str) or value is None
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


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
        defaults = [one[name] for one in known.values() if name in one]
        read[name] = _of_type(name, text, defaults[0] if defaults else text)
    return read


def nearest(name: object, names: Collection[str]) -> str:
    """Return " (did you mean 'X'?)" for the nearest of some names, or nothing where none is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=0.5)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


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
    wanted = list(names or [])
    if not wanted:
        return found
    idle = [name for name in wanted if not any(path.stem.startswith(name) for path in found)]
    if idle:
        raise ValueError(f"no notebook {', '.join(idle)}; expected: {', '.join(path.stem for path in found)}")
    return [path for path in found if any(path.stem.startswith(name) for name in wanted)]


def _of_type(name: str, text: str, default: object) -> Number:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}={text!r}; expected true or false")
        return text.lower() == "true"
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            raise ValueError(f"{name}={text!r}; expected {_KINDS[type(default)]}") from None
    return text


def _names(target: ast.expr, value: ast.expr) -> dict[str, object]:
    """Return the names in an assignment's target, each with its literal where it has one."""
    if isinstance(target, ast.Name):
        try:
            return {target.id: ast.literal_eval(value)}
        except ValueError:
            return {target.id: ANYTHING}
    if isinstance(target, ast.Tuple | ast.List):
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        pairs = zip(target.elts, parts if len(parts) == len(target.elts) else target.elts, strict=True)
        return {name: default for one, part in pairs for name, default in _names(one, part).items()}
    return {}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "empty" if value is None else f"a {type(value).__name__}")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__


def _tags(cell: Mapping) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])
