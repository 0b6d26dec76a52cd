"""A saved model as a folder of two files: ``config.json`` and ``model.safetensors``.

The first names the kind of model and holds what is no array, with the digest of the second: a flipped bit, or
the files of two models in one folder, is found before anything is computed from it. Nothing is pickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from emolib import atomic

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def write(folder: Path, kind: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write a model beside whatever else is in the folder; ``config.json`` comes last and says it is whole.

    Parameters
    ----------
    folder : Path
    kind : str; which `read` will ask for
    config : mapping, of what json holds
    arrays : mapping from name to array of any shape
    """
    weights, told = _pack(kind, config, arrays)
    atomic.write_file(folder / WEIGHTS, weights)
    atomic.write_file(folder / CONFIG, (json.dumps(told, indent=1) + "\n").encode())
    return folder


def replace(folder: Path, kind: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write a model as all that a folder holds, at one stroke: a model that was there stays, or has gone.

    Raises
    ------
    ValueError
        If the folder holds files without a ``config.json``, which aren't ours to replace.
    """
    weights, told = _pack(kind, config, arrays)
    return atomic.build_folder(
        folder, CONFIG, told, lambda place: atomic.write_file(place / WEIGHTS, weights)
    )


def read(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the config and the arrays of a saved model.

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    ValueError
        If the folder holds another kind of model, or arrays that were not saved with this config.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {kind} in {folder}: there is no {name}")
    config = read_config(folder, kind)
    weights = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != config.get("sha256"):
        raise ValueError(
            f"{folder / WEIGHTS} is damaged, or does not belong to the {CONFIG} beside it; save it again"
        )
    return config, load(weights)


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """Return the config of a saved model, or raise a ValueError that says what is wrong with it."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise ValueError(f"{folder / CONFIG} is not of a saved {kind}; name another folder")
    return config


def _pack(
    kind: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, Any]]:
    weights = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return weights, {"kind": kind, **config, "sha256": hashlib.sha256(weights).hexdigest()}
