"""What the tests share: tiny untrained encoders as saved folders, tiny corpora, one run of the notebooks."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import settings
from samples import run_notebooks, save_model, write_corpus

# an example that waits for a busy machine is no failure
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

#: Files that train networks, or start many processes.
SLOW_FILES = re.compile(
    "test_(attention|cli_|dask|fetch|finetune|generate|mapper|pretrain|s3|side_by_side|studies|sweep|training)"
)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and what one process has to run because it shares what is made once.

    What reads the executed notebooks comes first, as nothing else takes as long, and then the browser, which
    does not get on with two notebooks at a time.
    """
    order: dict[pytest.Item, int] = {}
    for item in items:
        folder, reads = item.path.parent.name, "executed" in getattr(item, "fixturenames", ())
        if folder in ("browser", "faults"):
            item.add_marker(folder)
        if folder in ("browser", "faults") or reads or SLOW_FILES.match(item.path.name):
            item.add_marker("slow")
        shared = "pages" if reads or folder == "browser" else folder if folder == "faults" else item.path.name
        item.add_marker(pytest.mark.xdist_group(shared))
        order[item] = 0 if reads else 1 if folder in ("browser", "faults") else 2
    items.sort(key=order.__getitem__)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch to one thread, which some tests before may have raised: umap sets what torch shares with it.

    Tiny networks lose more to the handshake of threads than they gain, and last bits depend on their number.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def executed(tmp_path_factory) -> Path:
    """The home in which `emolib run` has executed every notebook once, two at a time; see `last_bit`.

    Its features, models and figures are its own, its clips those of the checkout.
    """
    return run_notebooks(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Callable[..., Path]:
    """Return a builder of tiny saved models, each built once a session."""
    made: dict[str, Path] = {}

    def build(model_type: str = "wav2vec2", **settings: Any) -> Path:
        key = f"{model_type}-{sorted(settings.items())}"
        if key not in made:
            made[key] = save_model(tmp_path_factory.mktemp("models") / "model", model_type, **settings)
        return made[key]

    return build


@pytest.fixture
def manifest(tmp_path) -> pd.DataFrame:
    """Ten clips of a quarter to three quarters of a second."""
    return write_corpus(tmp_path / "corpus")
