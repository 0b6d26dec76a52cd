"""A fitted estimator as a folder that holds nothing else, whole or not at all.

Part of `emolib.axis`. A folder that holds anything else is neither read nor replaced.
"""

import json
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.base import BaseEstimator

from emolib import folders

Model = TypeVar("Model", bound=BaseEstimator)


def write_model(folder: Path, model: BaseEstimator) -> Path:
    """Write a fitted estimator; one of its kind that is there is replaced.

    Raises
    ------
    ValueError
        If the folder holds anything else, or a label is neither a word nor a number.
    """
    kind = type(model).__name__
    if (folder / folders.CONFIG).exists():
        folders.read_config(folder, kind)  # an encoder, say, is not ours to replace
    # names of columns are a courtesy of the table that was fitted on, and no part of the model
    fitted = {k: v for k, v in vars(model).items() if k.endswith("_") and k != "feature_names_in_"}
    arrays = {name: value for name, value in fitted.items() if isinstance(value, np.ndarray)}
    config = {
        "parameters": model.get_params(),
        "fitted": {name: value for name, value in fitted.items() if name not in arrays},
    }
    try:
        config = json.loads(json.dumps(config))
    except TypeError as error:
        raise ValueError(f"{error}; what is saved needs words or plain numbers as labels") from None
    return folders.replace(folder, kind, config, arrays)


def read_model(folder: Path, kind: type[Model]) -> Model:
    """Read an estimator that `write_model` wrote.

    Raises
    ------
    FileNotFoundError
        If a file of it is missing.
    ValueError
        If the folder holds something else, or its files do not belong together.
    """
    config, arrays = folders.read(folder, kind.__name__)
    try:
        model = kind(**config["parameters"])
        vars(model).update(config["fitted"] | arrays)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / folders.CONFIG} can't be read ({error}); save it again") from None
    return model
