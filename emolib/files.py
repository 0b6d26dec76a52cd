"""Files and folders written whole or not at all, JSON, saved models, digests of code, optional packages.

A folder that `build_folder` made carries a stamp: a small json file that says what it was made from, and is
written last, by however many processes.

A saved model is a folder of two files, ``config.json`` and ``model.safetensors``. The first names the kind of
model and holds what is no array, with the digest of the second: a flipped bit, or the files of two models in
one folder, is found before anything is computed from it. Nothing is pickled. The two are written in one step,
the moment when the weights move to their place: their config already lies beside them as
``config.json.new``, and a reader takes whichever config has the digest of the weights. So a reader never sees
half a model, neither while it is written nor after a kill.
"""

import ast
import contextlib
import ctypes
import fcntl
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

#: What json holds, and arrays by name.
Config = Mapping[str, Any]
Arrays = Mapping[str, NDArray[Any]]


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there once it is whole and on the disk.

    Two processes that write the same file take turns, and the later one's stays. What a killed one left
    behind, ``<name>.tmp``, is written over by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    with only_writer(unfinished) as file:
        try:
            _fill(file, data)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _fill(file: IO[bytes], data: bytes) -> None:
    file.truncate()
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that no other process is writing; the kernel frees its lock when the process dies."""
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks: one writer at a time, then
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                ours = os.path.samestat(path.stat(), os.fstat(file.fileno()))
            except FileNotFoundError:
                ours = False
            if ours:  # else the writer before this one has moved it to its place meanwhile
                yield file
                return


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is absent or holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def optional(name: str, needed_for: str, install: str = "") -> ModuleType:
    """Import a package that is not among the requirements, or say how to install it.

    Raises
    ------
    ValueError
        If it is not installed, or is and can't be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        module = name.partition(".")[0]
        package = module.replace("_", "-")
        told = install or f"pip install {package}"
        absent = isinstance(error, ModuleNotFoundError) and error.name in (name, module)
        cause = "" if absent else f" ({error})"
        raise ValueError(f"{needed_for} needs the package {package}{cause}: {told}") from error


@contextlib.contextmanager
def open_tensors(path: Path, framework: str = "pt") -> Iterator[Any]:
    """Open a checkpoint, a safetensors file, for reading.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework) as file:
            yield file
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged ({reason}); delete it to start again") from None


def build_folder(folder: Path, stamp: str, recipe: Config, fill: Callable[[Path], None]) -> Path:
    """Make a folder unless it stands there already.

    Parameters
    ----------
    folder : Path
    stamp : str
        File name of the stamp.
    recipe : mapping, of what json holds
        Everything that decides the content: a folder stamped with an equal recipe is reused as it is, one
        stamped with another is replaced.
    fill : function of one Path
        Writes the content into the new folder that it is given.

    Raises
    ------
    ValueError
        If the folder holds anything without a stamp, which then isn't ours to replace.

    Notes
    -----
    The content is written beside its place and moved there when it is whole. A second process that wants the
    same folder waits for the first and reuses its work; what a killed one left behind is cleared by the next.
    """
    if read_json(folder / stamp) == recipe:
        return folder
    if folder.exists() and not (folder / stamp).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds files that were not made here; expected an empty or a new folder")
    with locked(folder.parent):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        if read_json(folder / stamp) != recipe:
            unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
            unfinished.mkdir()
            try:
                fill(unfinished)
                (unfinished / stamp).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
                _swap(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _swap(finished: Path, folder: Path) -> None:
    """Move a finished folder to its place; what was there goes."""
    if not folder.exists():
        finished.rename(folder)
        return
    outdated = folder.with_name(f"{finished.stem}.old.tmp")
    if _exchange(finished, folder):
        finished.rename(outdated)
    else:
        folder.rename(outdated)
        finished.rename(folder)
    outdated.unlink() if outdated.is_symlink() else shutil.rmtree(outdated)  # what a link leads to isn't ours


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places at one stroke, which Linux can; return whether that was done.

    Moving one away and the other there leaves a moment without either, in which a kill would lose both.
    """
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_working_folder, exchange = -100, 2
    return swap(at_working_folder, os.fsencode(first), at_working_folder, os.fsencode(second), exchange) == 0


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = True, wait: bool = True) -> Iterator[bool]:
    """Hold a lock on a folder itself, waiting for whoever holds it; make the folder where there is none.

    Without `wait`, yield False where another process holds it. Where it is `shared`, the processes of one
    training on several GPUs don't wait for each other. The kernel frees the lock when the process dies, and
    no lock file is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not shared or int(os.environ.get("WORLD_SIZE", "1")) == 1:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks
                pass
        yield True
    finally:
        os.close(handle)


# ------------------------------------------------------------------------------------- saved models


CONFIG, WEIGHTS = "config.json", "model.safetensors"
_NEW = f"{CONFIG}.new"


def write_model(folder: Path, kind: str, config: Config, arrays: Arrays) -> Path:
    """Write a model beside whatever else is in the folder; ``config.json`` comes last and says it is whole.

    Processes that write into one folder take turns, and the last one's model stays.

    Parameters
    ----------
    folder : Path
    kind : str; which `read_model` will ask for
    config : mapping, of what json holds
    arrays : mapping from name to array of any shape
    """
    weights, told = _pack(kind, config, arrays)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder / _NEW) as file:
        _settle(folder)
        try:
            _fill(file, (json.dumps(told, indent=1) + "\n").encode())
            write_file(folder / WEIGHTS, weights)
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
            write_file(folder / CONFIG, told)


def read_model(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the config and the arrays of a saved model.

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    ValueError
        If the folder holds another kind of model, or arrays that were not saved with this config.
    """
    while True:
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file() and not (name == CONFIG and (folder / _NEW).is_file()):
                raise FileNotFoundError(f"no {kind} in {folder}: there is no {name}")
        with (folder / WEIGHTS).open("rb") as file:
            weights = file.read()
            digest = hashlib.sha256(weights).hexdigest()
            for name in (_NEW, CONFIG):  # a config moves from the first to the second, never to be missed
                config = read_json(folder / name)
                if (config.get("sha256"), config.get("kind")) == (digest, kind):
                    return config, load(weights)
            replaced = not os.path.samestat(os.fstat(file.fileno()), (folder / WEIGHTS).stat())
        if not replaced:  # else a new model came between the reading of weights and of config
            read_config(folder, kind)
            raise ValueError(
                f"{folder / WEIGHTS} is damaged, or does not belong to the {CONFIG} beside it; save it again"
            )


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """Return the config of a saved model, or raise a ValueError that says what is wrong with it."""
    config = read_json(folder / CONFIG)
    if config.get("kind") != kind:
        raise ValueError(f"{folder / CONFIG} is not of a saved {kind}; name another folder")
    return config


def _pack(kind: str, config: Config, arrays: Arrays) -> tuple[bytes, dict[str, Any]]:
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
        folder, (config, arrays) = Path(folder), self._saved()
        if not self.ALONE:
            return write_model(folder, self.KIND, config, arrays)
        if (folder / CONFIG).exists():
            read_config(folder, self.KIND)  # an encoder, say, is not to be replaced
        weights, told = _pack(self.KIND, config, arrays)
        return build_folder(folder, CONFIG, told, lambda place: write_file(place / WEIGHTS, weights))

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
        config, arrays = read_model(Path(folder), cls.KIND)
        try:
            return cls._loaded(config, arrays, **given)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise ValueError(f"{Path(folder) / CONFIG} can't be read ({reason}); save it again") from None


def from_json(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that json kept, with tuples where it has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}


# ------------------------------------------------------------------------------------- digests of code


_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_digest(files: Mapping[str, Path]) -> str:
    """Return a digest of Python files by name, 64 hexadecimal digits.

    In it is each file's syntax tree: comments, docstrings and layout are left out. Another version of Python
    may give another digest.
    """
    found = hashlib.sha256()
    for name, path in sorted(files.items()):
        found.update(f"{name}\0{code_tree(path.read_bytes())}\0".encode())
    return found.hexdigest()


def code_tree(code: bytes) -> str:
    """Return the syntax tree of some code as text, without docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)
