"""What the tests share: tiny untrained encoders as saved folders, and tiny corpora of synthetic speech."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from samples import save_model, write_corpus


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch to one thread, which some tests before may have raised: umap sets what torch shares with it.

    Tiny networks lose more to the handshake of threads than they gain, and last bits depend on their number.
    """
    torch.set_num_threads(1)


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
