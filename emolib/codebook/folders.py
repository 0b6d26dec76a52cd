"""A saved quantizer: a folder with ``config.json`` and ``model.safetensors``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emolib.atomic import build_folder


def save_folder(
    folder: str | Path, kind: str, settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> Path:
    """Write settings and tensors, whole or not at all; an older one of ours in the folder is replaced."""

    def fill(unfinished: Path) -> None:
        save_file(
            {name: np.ascontiguousarray(t) for name, t in tensors.items()}, unfinished / "model.safetensors"
        )

    return build_folder(Path(folder), "config.json", {"kind": kind, **settings}, fill)


def load_folder(folder: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read settings and tensors.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds something else or is damaged.
    """
    place = Path(folder)
    if not (place / "config.json").is_file():
        raise FileNotFoundError(f"no codebook in {place}; fit one and save it there")
    try:
        settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(place / "model.safetensors")
    except (json.JSONDecodeError, SafetensorError, OSError) as error:
        raise ValueError(f"{place} is damaged ({error}); fit the codebook again") from None
    if not isinstance(settings, dict) or settings.get("kind") != kind:
        raise ValueError(f"{place} does not hold a {kind}; expected a folder that its save() wrote")
    return settings, tensors
