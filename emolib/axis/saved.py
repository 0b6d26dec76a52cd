"""A fitted estimator as a folder: ``config.json`` and ``model.safetensors``, whole or not at all.

Part of `emolib.axis`. Arrays go into the one file, everything else into the other. Nothing is pickled; a
folder that holds anything else is neither read nor replaced.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sklearn.base import BaseEstimator

from emolib import atomic

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Model = TypeVar("Model", bound=BaseEstimator)


def write_model(folder: Path, model: BaseEstimator) -> Path:
    """Write a fitted estimator; one of its kind that is there is replaced.

    Raises
    ------
    ValueError
        If the folder holds anything else, or a label is neither a word nor a number.
    """
    kind = type(model).__name__
    if (folder / CONFIG).exists():
        _read_config(folder, kind)  # an encoder, say, is not ours to replace
    # names of columns are a courtesy of the table that was fitted on, and no part of the model
    fitted = {k: v for k, v in vars(model).items() if k.endswith("_") and k != "feature_names_in_"}
    arrays = {k: np.ascontiguousarray(v) for k, v in fitted.items() if isinstance(v, np.ndarray)}
    weights = save(arrays)
    config = {
        "kind": kind,
        "parameters": model.get_params(),
        "fitted": {name: value for name, value in fitted.items() if name not in arrays},
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        config = json.loads(json.dumps(config))
    except TypeError as error:
        raise ValueError(f"{error}; what is saved needs words or plain numbers as labels") from None
    return atomic.build_folder(
        folder, CONFIG, config, lambda place: atomic.write_file(place / WEIGHTS, weights)
    )


def read_model(folder: Path, kind: type[Model]) -> Model:
    """Read an estimator that `write_model` wrote.

    Raises
    ------
    FileNotFoundError
        If a file of it is missing.
    ValueError
        If the folder holds something else, or its files do not belong together.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}; expected a saved {kind.__name__}")
    config = _read_config(folder, kind.__name__)
    weights = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != config["sha256"]:
        raise ValueError(f"{folder / WEIGHTS} does not belong to the {CONFIG} beside it; save it again")
    try:
        arrays, model = load(weights), kind(**config["parameters"])
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{folder} can't be read ({error}); save it again") from None
    vars(model).update(config["fitted"] | arrays)
    return model


def _read_config(folder: Path, kind: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise ValueError(f"{folder / CONFIG} is not of an {kind}; name another folder")
    if missing := {"parameters", "fitted", "sha256"} - set(config):
        raise ValueError(f"{folder / CONFIG} lacks {', '.join(sorted(missing))}; save the {kind} again")
    return config
