"""A saved model as a folder of two files: ``config.json`` and ``model.safetensors``.

The first names the kind of model and holds what is no array, with the digest of the second: a flipped bit, or
the files of two models in one folder, is found before anything is computed from it. Nothing is pickled.

The two are written in one step, the moment when the weights move to their place: their config already lies
beside them as ``config.json.new``, and a reader takes whichever config has the digest of the weights. So a
reader never sees half a model, neither while it is written nor after a kill.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from emolib import atomic

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_NEW = f"{CONFIG}.new"


def write(folder: Path, kind: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write a model beside whatever else is in the folder; ``config.json`` comes last and says it is whole.

    Processes that write into one folder take turns, and the last one's model stays.

    Parameters
    ----------
    folder : Path
    kind : str; which `read` will ask for
    config : mapping, of what json holds
    arrays : mapping from name to array of any shape
    """
    weights, told = _pack(kind, config, arrays)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(folder / _NEW) as file:
        _settle(folder)
        try:
            file.truncate()
            file.write((json.dumps(told, indent=1) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
            atomic.write_file(folder / WEIGHTS, weights)
        except BaseException:
            (folder / _NEW).unlink(missing_ok=True)
            raise
        (folder / _NEW).replace(folder / CONFIG)
    return folder


def _settle(folder: Path) -> None:
    """Finish what a killed process left: where the weights belong to the new config, make it the config."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        told = (folder / _NEW).read_bytes()
        if json.loads(told).get("sha256") == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest():
            atomic.write_file(folder / CONFIG, told)


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
    digest = None
    while True:
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file() and not (name == CONFIG and (folder / _NEW).is_file()):
                raise FileNotFoundError(f"no {kind} in {folder}: there is no {name}")
        before, weights = digest, (folder / WEIGHTS).read_bytes()
        digest = hashlib.sha256(weights).hexdigest()
        for name in (CONFIG, _NEW):
            config = _config(folder / name)
            if config is not None and (config.get("sha256"), config.get("kind")) == (digest, kind):
                return config, load(weights)
        if digest == before:  # else a new model came between the reading of weights and of config
            read_config(folder, kind)
            raise ValueError(
                f"{folder / WEIGHTS} is damaged, or does not belong to the {CONFIG} beside it; save it again"
            )


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """Return the config of a saved model, or raise a ValueError that says what is wrong with it."""
    config = _config(folder / CONFIG)
    if config is None or config.get("kind") != kind:
        raise ValueError(f"{folder / CONFIG} is not of a saved {kind}; name another folder")
    return config


def _config(path: Path) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _pack(
    kind: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, Any]]:
    weights = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return weights, {"kind": kind, **config, "sha256": hashlib.sha256(weights).hexdigest()}


class Saved:
    """A class whose fitted objects are saved as a folder; a subclass says how it becomes config and arrays.

    Attributes
    ----------
    KIND : str; what ``config.json`` calls it
    ALONE : bool; the folder holds this model and nothing else, and is replaced as a whole
    """

    KIND: ClassVar[str]
    ALONE: ClassVar[bool] = False

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what json holds, and the arrays."""
        raise NotImplementedError

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any) -> Self:
        """Return the object of a config and arrays that `_saved` returned."""
        raise NotImplementedError

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, whole or not at all, and return the folder.

        Raises
        ------
        ValueError
            If it isn't fitted, or the folder holds something else, which isn't ours to replace.
        """
        config, arrays = self._saved()
        if self.ALONE and (Path(folder) / CONFIG).exists():
            read_config(Path(folder), self.KIND)  # an encoder, say, is not to be replaced
        return (replace if self.ALONE else write)(Path(folder), self.KIND, config, arrays)

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> Self:
        """Read what `save` wrote; `given` is what the class needs besides, such as a device.

        Raises
        ------
        FileNotFoundError
            If a file of it is missing.
        ValueError
            If the folder holds something else, or its files do not belong together.
        """
        config, arrays = read(Path(folder), cls.KIND)
        try:
            return cls._loaded(config, arrays, **given)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise ValueError(f"{Path(folder) / CONFIG} can't be read ({reason}); save it again") from None


def from_json(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that json kept, with tuples where it has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
