"""Corpora from their publishers, verified and unpacked; for those that a licence guards, the way to get them.

What a publisher states of a file is checked. RAVDESS: Zenodo's md5 in record 1188976. CREMA-D: the sha256 in
the Git LFS pointer of each clip. nEMO: a fixed commit. No checksum is published for the archives of EmoDB,
nEMO and CREMA-D: the first download's sha256 is recorded, and a later download has to agree.

A corpus's folder has a `.fetch/` that holds what isn't finished, the recorded checksums, and `done` when all
is; take `done` and `unpacked` away to download again. Plain HTTP is refused, also behind a redirect, except
to this machine.
"""

import re
import shutil
import stat
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch
import requests
from tqdm import tqdm

import emolib
from emolib.corpora import folder_of, info
from emolib.corpora.published import ARCHIVES
from emolib.corpora.scan import sound_files

#: Pauses before the second, third ... try after the network failed.
PAUSES_S = (1.0, 4.0)
_POINTER = re.compile(r"version https://git-lfs\S+\noid (sha256:[0-9a-f]{64})\nsize [0-9]+\n?")
#: What a broken archive, or one with two members of one name, brings about.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, FileExistsError,
    IsADirectoryError, NotADirectoryError,
)  # fmt: skip


class FetchError(OSError):
    """A download that can't be had or can't be trusted; the message is one line that says why."""


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from.

    Attributes
    ----------
    url : str; of a zip archive
    checksum : str, such as "md5:0123...", or None where the publisher states none
    exclude : sequence of str; folders in it that aren't needed
    lfs : str or None; where those files are that the archive has as Git LFS pointers only
    """

    url: str
    checksum: str | None = None
    exclude: Sequence[str] = ()
    lfs: str | None = None


SOURCES = {name: Source(**archive) for name, archive in ARCHIVES.items()}


def fetch(name: str, root: str | Path | None = None, progress: bool = True) -> Path:
    """Download a corpus from its publisher; a second call finds it there, an interrupted one is gone on with.

    Parameters
    ----------
    name : str
        One of `corpora.names()`.
    root : str or Path, optional
        Where to put it; `paths.corpus(name)` by default.
    progress : bool
        Show bars on a terminal.

    Returns
    -------
    root : Path
        The folder for `corpora.load`.

    Raises
    ------
    ValueError
        If there is no such corpus.
    FetchError
        If it can't be scripted (the message says how to get it), if the folder already holds somebody's copy,
        or if the download fails or isn't what the publisher states.
    """
    card = info(name)
    place = folder_of(name, root)
    if name == "demo":
        from emolib import demo  # renders speech: only whoever asks for it should wait for its libraries

        return demo.build(None if root is None else place)
    if name not in SOURCES:
        raise FetchError(
            f"{name}: `emolib fetch` doesn't get it; get {card.title} {card.source}, unpack it in {place}"
        )
    source, state = SOURCES[name], place / ".fetch"
    if (state / "done").exists():
        return place
    if place.is_dir() and not state.exists() and sound_files(place):
        raise FetchError(
            f"{name}: {place} holds sound that `fetch` didn't put there; name another with --root"
        )
    try:
        if not (state / "unpacked").exists():
            archive = download(source.url, state / f"{name}.zip", source.checksum, progress=progress)
            unpack(archive, place, source.exclude)
            (state / "unpacked").touch()
        (state / f"{name}.zip").unlink(missing_ok=True)
        if source.lfs:
            _resolve_pointers(place, source.lfs, state / "lfs", progress)
    except FetchError as error:
        raise FetchError(f"{name}: {error} (publisher: {card.source})") from None
    (state / "done").touch()
    return place


def _resolve_pointers(place: Path, url: str, folder: Path, progress: bool) -> None:
    """Put in each Git LFS pointer's place the file that it stands for."""

    def resolve(path: Path, checksum: str) -> None:
        target = f"{url}/{urllib.parse.quote(path.relative_to(place).as_posix())}"
        download(target, folder / path.name, checksum, progress=False).replace(path)

    small = (path for path in sound_files(place) if path.stat().st_size <= 1024)
    found = [(path, _POINTER.fullmatch(path.read_text("ascii", errors="replace"))) for path in small]
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(resolve, path, match[1]) for path, match in found if match]
        try:
            for future in tqdm(waiting, "clips", unit="clip", disable=None if progress else True):
                future.result()
        except FetchError:
            pool.shutdown(cancel_futures=True)
            raise


def download(url: str, target: Path, checksum: str | None = None, *, progress: bool = True) -> Path:
    """Download one file and verify it; until it is whole, it has another name.

    Parameters
    ----------
    url : str
    target : Path
        Its folder is made where it's missing. A file that is there and has the checksum is left as it is.
    checksum : str, optional
        Such as "md5:0123...". With one, a download that broke off is gone on with. Without, the first
        download's sha256 is kept in ``<target>.sha256``, and a later one has to agree (trust on first use).
    progress : bool
        Show a bar on a terminal.

    Raises
    ------
    FetchError
        If the server can't be reached or refuses, or if what came isn't what was published: it's removed.
    """
    record = target.with_name(f"{target.name}.sha256")
    known = checksum or (record.read_text().strip() if record.exists() else None)
    part = target.with_name(f"{target.name}.part")

    _check_url(url)
    if not target.exists() or not _agrees(target, known):
        target.parent.mkdir(parents=True, exist_ok=True)
        for pause_s in (*PAUSES_S, None):
            try:
                _receive(url, part, progress, resume=checksum is not None)
                break
            except (requests.RequestException, ConnectionError) as error:
                if pause_s is None:
                    raise FetchError(f"{url}: {' '.join(str(error).split())}") from None
                time.sleep(pause_s)
        if not _agrees(part, known):
            part.unlink()
            whose = "the publisher's checksum" if checksum else f"{record}, of the first download"
            raise FetchError(f"{url}: not the file of {whose}, and removed")
        part.replace(target)  # not by pooch.retrieve: its temporary file would outlive a kill
    if known is None:
        record.write_text(f"sha256:{pooch.file_hash(str(target))}\n")
    return target


def _agrees(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    kind, _, digest = checksum.partition(":")
    return pooch.file_hash(str(path), alg=kind) == digest.lower()


def _receive(url: str, part: Path, progress: bool, *, resume: bool) -> None:
    """Bring a part up to its full length, from its end on where the server can."""
    have = part.stat().st_size if resume and part.exists() else 0
    headers = {"User-Agent": f"emolib/{emolib.__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    hooks = {"response": lambda answer, **_: _check_url(answer.headers.get("Location", ""), answer.url)}
    with requests.get(url, headers=headers, hooks=hooks, stream=True, timeout=60) as answer:
        if answer.status_code == 416:
            part.unlink()
            raise ConnectionError("the part that was kept is no shorter than the file; it was removed")
        if not answer.ok:
            words = f"the server answered {answer.status_code} ({answer.reason})"
            passes = answer.status_code >= 500 or answer.status_code in (408, 429)
            raise ConnectionError(words) if passes else FetchError(f"{url}: {words}")
        have = have if answer.status_code == 206 else 0
        stated = answer.headers.get("Content-Length")
        total = None if stated is None else have + int(stated)
        # on a terminal only: a notebook's stored output or a log keeps no bar
        hidden = None if progress else True
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            try:
                for chunk in answer.iter_content(1 << 14):
                    bar.update(file.write(chunk))
            except requests.RequestException:
                raise ConnectionError(f"broke off after {file.tell()} of {total or '?'} bytes") from None


def _check_url(url: str, base: str = "") -> None:
    """Raise FetchError unless a URL, perhaps relative to another, is HTTPS, or HTTP to this machine."""
    parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, url))
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise FetchError(f"{url}: refused, only https is fetched")


def unpack(archive: Path, folder: Path, exclude: Sequence[str] = ()) -> None:
    """Unpack a zip archive into a folder, which may hold files already; all of it, or nothing.

    Parameters
    ----------
    archive : Path; on the same disk as the folder
    folder : Path
    exclude : sequence of str
        Names of folders in the archive that are left out. Where one folder wraps all the rest, its content
        moves up.

    Raises
    ------
    FetchError
        If the archive is damaged, or if a member would leave the folder or is no plain file.
    """
    scratch = archive.with_name(f"{archive.name}.unpacked")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed run left
    scratch.mkdir()
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                _check_member(member)
                if set(PurePosixPath(member.filename).parts).isdisjoint(exclude):
                    packed.extract(member, scratch)
        content = list(scratch.iterdir())
        source = content[0] if len(content) == 1 and content[0].is_dir() else scratch
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except _DAMAGE as error:
        raise FetchError(f"{archive.name}: not a whole archive ({error})") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_member(member: zipfile.ZipInfo) -> None:
    """Raise FetchError if a member of an archive would leave the folder or is no plain file."""
    name = member.orig_filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive:
        raise FetchError(f"an archive with the member {name!r}, which would leave its folder; refused")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FetchError(f"an archive with the member {name!r}, a link or a device; refused")
