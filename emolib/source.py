"""A digest of code that changes with what the code does, and with nothing else."""

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path

_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def digest(files: Mapping[str, Path]) -> str:
    """Return a digest of Python files by name, 64 hexadecimal digits.

    In it is each file's syntax tree: comments, docstrings and layout are left out. Another version of Python
    may give another digest.
    """
    found = hashlib.sha256()
    for name, path in sorted(files.items()):
        found.update(f"{name}\0{tree_of(path.read_bytes())}\0".encode())
    return found.hexdigest()


def tree_of(code: bytes) -> str:
    """Return the syntax tree of some code as text, without docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)
