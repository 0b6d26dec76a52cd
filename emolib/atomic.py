"""Files and folders that are written whole or not at all, folders once, by however many processes.

A finished folder carries a stamp: a small json file that says what it was made from, and is written last.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there once it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def build_folder(
    folder: Path, stamp: str, recipe: Mapping[str, object], fill: Callable[[Path], None]
) -> Path:
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
    if _stands(folder / stamp, recipe):
        return folder
    if folder.exists() and not (folder / stamp).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds files that were not made here; expected an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not _stands(folder / stamp, recipe):
            unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
            unfinished.mkdir()
            try:
                fill(unfinished)
                (unfinished / stamp).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
                _swap(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _stands(stamp: Path, recipe: Mapping[str, object]) -> bool:
    try:
        return json.loads(stamp.read_text(encoding="utf-8")) == recipe
    except (OSError, json.JSONDecodeError):
        return False


def _swap(finished: Path, folder: Path) -> None:
    """Move a finished folder to its place; what was there goes."""
    if folder.exists():
        outdated = folder.with_name(f"{finished.stem}.old.tmp")
        folder.rename(outdated)
        finished.rename(folder)
        shutil.rmtree(outdated)
    else:
        finished.rename(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder itself: the kernel frees it when the process dies, and no lock file is left."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
