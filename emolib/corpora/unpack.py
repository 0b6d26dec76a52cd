"""Archives from strangers: nothing in one may leave the folder it's unpacked into.

A zip or tar is unpacked beside itself first, and its files are moved to their place once it's whole. A member
with an absolute path, a `..`, a link or a device refuses the whole archive.
"""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from emolib.corpora.download import FetchError

#: What a broken archive, or one with two members of one name, brings about.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    NotImplementedError, RuntimeError, FileExistsError, IsADirectoryError, NotADirectoryError,
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # "file", "folder" or what else it is
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, exclude: tuple[str, ...] = ()) -> None:
    """Unpack an archive into a folder, which may hold files already.

    Parameters
    ----------
    archive : Path
        Zip or tar, compressed or not, on the same disk as the folder.
    folder : Path
    exclude : tuple of str
        Names of folders in the archive that are left out. Where one folder wraps all the rest, its content
        moves up.

    Raises
    ------
    FetchError
        If the archive is damaged, or if a member would leave the folder or is no plain file. Nothing is
        unpacked then.
    """
    scratch = archive.with_name(f"{archive.name}.unpacked")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed run left
    scratch.mkdir()
    try:
        with _members(archive) as members:
            for member in members:
                _extract(member, scratch, exclude)
        _move(_unwrapped(scratch), folder)
    except _DAMAGE as error:
        raise FetchError(f"{archive.name}: not a whole archive ({error})") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield (_Member(i.filename, _zip_kind(i), partial(packed.open, i)) for i in packed.infolist())
    else:
        with tarfile.open(archive) as packed_tar:
            yield (_Member(i.name, _tar_kind(i), partial(packed_tar.extractfile, i)) for i in packed_tar)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    return "folder" if info.is_dir() else "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
    return "file" if info.isreg() else "folder" if info.isdir() else "a link or a device"


def _extract(member: _Member, scratch: Path, exclude: tuple[str, ...]) -> None:
    """Write one member below the scratch folder, or refuse it."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or PureWindowsPath(member.name).drive:
        raise FetchError(f"an archive with the member {member.name!r}, which would leave its folder; refused")
    if member.kind not in ("file", "folder"):
        raise FetchError(f"an archive with the member {member.name!r}, {member.kind}; refused")
    if member.kind == "folder" or set(path.parts) & set(exclude):
        return
    target = scratch / path
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None  # which it is for links and devices only
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _unwrapped(scratch: Path) -> Path:
    """Return the one folder that wraps all the rest, as in a repository's archive, or the folder itself."""
    content = list(scratch.iterdir())
    return content[0] if len(content) == 1 and content[0].is_dir() else scratch


def _move(source: Path, folder: Path) -> None:
    """Move every file below one folder to its place below another, on the same disk."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
