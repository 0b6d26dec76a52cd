"""nbval's kernels run with every feature changed by one last bit, so no comparison depends on a processor."""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "last_bit", Path(__file__).parent.parent / "tests" / "last_bit.py"
)
assert _SPEC and _SPEC.loader
last_bit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(last_bit)
_FOLDER = tempfile.TemporaryDirectory(prefix="emolib-last-bit-")
_ENVIRONMENT = last_bit.install(Path(_FOLDER.name))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give that environment to a notebook's kernel, which starts with its first cell."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        return (yield)
