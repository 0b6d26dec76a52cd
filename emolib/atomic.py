"""Files and folders that are written whole or not at all, folders once, by however many processes.

A finished folder carries a stamp: a small json file that says what it was made from, and is written last.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there once it is whole and on the disk.

    Two processes that write the same file take turns, and the later one's stays. What a killed one left
    behind, ``<name>.tmp``, is written over by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    with only_writer(unfinished) as file:
        try:
            file.truncate()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


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


@contextlib.contextmanager
def open_tensors(path: Path, device: str = "cpu", framework: str = "pt") -> Iterator[Any]:
    """Open a checkpoint, a safetensors file, for reading.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework, device) as file:
            yield file
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged ({reason}); delete it to start again") from None


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
    with locked(folder.parent):
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
