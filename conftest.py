"""What every test process has, and every kernel that it starts: threads as in a run's kernels, no network.

nbval's kernels have besides every feature changed by one last bit, so no comparison depends on a processor.
This file serves tests/ and notebooks/.
"""

import functools
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from emolib import threads

# before numpy and torch are loaded: results depend on no machine's number of cores
os.environ.update(threads.environment())
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@functools.cache
def _last_bit() -> tuple[dict[str, str], tempfile.TemporaryDirectory]:
    """Return the environment of nbval's kernels, and the folder that it names, which lasts as long."""
    spec = importlib.util.spec_from_file_location(
        "last_bit", Path(__file__).with_name("tests") / "last_bit.py"
    )
    assert spec and spec.loader
    last_bit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(last_bit)
    folder = tempfile.TemporaryDirectory(prefix="emolib-last-bit-")
    return last_bit.install(Path(folder.name)), folder


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give that environment to a notebook's kernel, which starts with its first cell."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (_last_bit()[0] if item.path.suffix == ".ipynb" else {}).items():
            patch.setenv(name, value)
        return (yield)
