"""One file over HTTPS: resumed where it broke off, whole or not at all, and checked.

Only the standard library's client is used. Plain HTTP is refused, also behind a redirect, except to this
machine.
"""

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO

from tqdm import tqdm

import emolib

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CHUNK = 1 << 18
_TIMEOUT_S = 60.0
#: Pauses before the second, third ... try after the network failed.
PAUSES_S = (1.0, 4.0)


class FetchError(OSError):
    """A download that can't be had or can't be trusted; the message is one line that says why."""


class _Broken(Exception):
    """A failure on the way, after which another try makes sense."""


_TRANSIENT = (_Broken, urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Remote:
    """A file at its publisher.

    Attributes
    ----------
    url : str
    name : str; the file's name here
    size : int, bytes, or None where the publisher states none
    checksum : str, such as "md5:0123...", or None where the publisher states none
    """

    url: str
    name: str
    size: int | None = None
    checksum: str | None = None


def check_url(url: str) -> None:
    """Raise FetchError unless a URL is HTTPS, or HTTP to this machine itself."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise FetchError(f"{url}: refused, only https is fetched")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but none that leaves HTTPS."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(remote: Remote, folder: Path, *, progress: bool = True) -> Path:
    """Download one file into a folder, go on where an earlier try broke off, and verify it.

    Parameters
    ----------
    remote : Remote
    folder : Path
        Made where it's missing. Until the file is whole it lies there as `<name>.part`.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    path : Path

    Raises
    ------
    FetchError
        If the server can't be reached or refuses, or if what came isn't what was announced or published; in
        the latter case it's removed.

    Notes
    -----
    Where the publisher states no checksum, the first download's sha256 is kept in `<name>.sha256`, and a
    later one has to agree with it (trust on first use).
    """
    check_url(remote.url)
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.exists():  # only what was verified gets this name
        return target
    for pause_s in (*PAUSES_S, None):
        try:
            _receive(remote, part, progress)
            break
        except _TRANSIENT as error:
            if pause_s is None or _is_final(error):
                kept = part.stat().st_size if part.exists() else 0
                hint = f"; {kept} bytes are kept, run it again to go on" if kept else ""
                raise FetchError(f"{remote.url}: {_reason(error)}{hint}") from None
            time.sleep(pause_s)
    _verify(remote, part)
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return target


def _is_final(error: Exception) -> bool:
    """Tell whether a server refuses for good: a client's error other than "later" and "too often"."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} ({error.reason})"
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _receive(remote: Remote, part: Path, progress: bool) -> None:
    """Bring the part up to its full length, from its end on if the server still has the same file."""
    tag_file = _tag_file(part)
    tag = tag_file.read_text() if tag_file.exists() else ""
    # Two versions of a file could mix where neither a tag nor a checksum would tell.
    have = part.stat().st_size if part.exists() and (tag or remote.checksum) else 0
    if remote.size is not None and have == remote.size:
        return
    headers = {"User-Agent": f"emolib/{emolib.__version__}"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(remote.url, headers=headers)
    try:
        response = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers["Content-Range"] == f"bytes */{have}":  # nothing was missing
            return
        part.unlink()
        raise _Broken("the part that was kept is longer than the server's file; it was removed") from None
    with response:
        start = have if _continues(response, have) else 0
        total = _total(response, remote, part, start)
        if not start:
            part.write_bytes(b"")  # before the tag: old bytes must never stand under a new one
        tag_file.write_text(_strong_tag(response))
        _append(response, part, start, _bar(remote.name, total, start, progress))


def _continues(response: HTTPResponse, have: int) -> bool:
    """Tell whether an answer goes on where the part ends; a server may send the whole file instead."""
    return response.status == 206 and (response.headers["Content-Range"] or "").startswith(f"bytes {have}-")


def _strong_tag(response: HTTPResponse) -> str:
    """Return what identifies the server's file for If-Range, "" if nothing does."""
    tag = response.headers["ETag"] or ""
    return tag if tag.startswith('"') else response.headers["Last-Modified"] or ""


def _total(response: HTTPResponse, remote: Remote, part: Path, start: int) -> int | None:
    """Return the whole file's length, None where nobody tells, and refuse what can't become that file."""
    if response.status == 206 and not start:
        part.unlink()
        raise _Broken("the server answered with another range than was asked for; the part was removed")
    announced = response.headers["Content-Length"]
    total = start + int(announced) if announced is not None else remote.size
    if remote.size is not None and total != remote.size:
        raise FetchError(f"{remote.url}: {total} bytes are offered where {remote.size} were published")
    return total


def _append(response: HTTPResponse, part: Path, start: int, bar: tqdm) -> None:
    """Write an answer's body behind the first `start` bytes of the part, and check the length."""
    with part.open("r+b") as file, bar:
        file.seek(start)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        received = file.tell()
    if bar.total is not None and received != bar.total:
        raise _Broken(f"broke off after {received} of {bar.total} bytes")


def _bar(name: str, total: int | None, start: int, progress: bool) -> tqdm:
    """Return a bar that shows on a terminal only: a notebook's stored output or a log keeps none."""
    hidden = None if progress else True
    return tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=hidden)


def digest(path: Path, algorithm: str) -> str:
    """Return a file's digest as "algorithm:hexadecimal"."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _verify(remote: Remote, part: Path) -> None:
    """Compare a finished part with its checksum, published or recorded; remove a wrong one."""
    record = part.with_name(f"{remote.name}.sha256")
    expected = remote.checksum or (record.read_text().strip() if record.exists() else None)
    if expected is not None:
        found = digest(part, expected.partition(":")[0])
        if found != expected:
            part.unlink()
            origin = "the publisher states" if remote.checksum else f"{record} recorded at the first download"
            raise FetchError(
                f"{remote.url}: its checksum is {found} where {origin} {expected}; it was removed"
            )
    else:
        record.write_text(digest(part, "sha256") + "\n")
