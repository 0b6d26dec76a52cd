"""Downloads from a faulty server on this machine: resumed, verified, unpacked safely."""

import hashlib
import io
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from samples import refused, write_noise

from emolib import corpora
from emolib.corpora import fetch as fetch_module
from emolib.corpora.fetch import FetchError, Source, download, fetch, unpack

BODY = bytes(range(256)) * 4000


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data, usedforsecurity=False).hexdigest()


MD5 = md5(BODY)


class Site(ThreadingHTTPServer):
    """A server's files, its faults, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url, self.files = f"http://127.0.0.1:{self.server_port}", {"/a.bin": BODY}
        # one entry an answer: stop after so many bytes, fail like this
        self.cut_at, self.status = list[int](), list[int]()
        self.redirect, self.asked = dict[str, str](), list[tuple[str, str | None]]()
        self.knows_ranges = self.states_length = True

    def handle_error(self, request, client_address):
        """Don't complain on stderr when a client hangs up."""


class Handler(BaseHTTPRequestHandler):
    """Serve a `Site` with Range and the faults that are asked for."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        site, asked = self.server, self.headers["Range"]
        site.asked.append((self.path, asked))
        if site.status:
            return self.send_error(site.status.pop(0))
        if self.path in site.redirect:
            self.send_response(302)
            self.send_header("Location", site.redirect[self.path])
            return self.end_headers()
        if self.path not in site.files:
            return self.send_error(404)
        body = site.files[self.path]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if site.knows_ranges and asked else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if site.states_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + site.cut_at.pop(0)] if site.cut_at else body[start:])


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(site, tmp_path) -> Callable[..., Path]:
    """What downloads the server's /a.bin under a name."""
    return lambda name="a.bin", *given: download(f"{site.url}/a.bin", tmp_path / name, *given, progress=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails(message: str, call: Callable[..., object], *args, **options) -> None:
    """Check that a call raises FetchError, with a message of one line that matches."""
    with pytest.raises(FetchError, match=message) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------- one download


def test_a_whole_file_is_asked_for_once(site, get, tmp_path):
    for _ in range(2):
        assert get("a.bin", MD5).read_bytes() == BODY and names(tmp_path) == ["a.bin"]
    assert len(site.asked) == 1
    site.states_length = False
    assert get("b.bin").read_bytes() == BODY


def test_a_download_with_a_checksum_is_gone_on_with(site, get, tmp_path, monkeypatch):
    site.cut_at = [100_000, 200_000]
    for kept in (98_304, 294_912):  # whole chunks of 16 KiB
        fails(f"broke off after {kept} of {len(BODY)} bytes", get, "a.bin", MD5)
        assert names(tmp_path) == ["a.bin.part"]
    assert get("a.bin", MD5).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, "bytes=98304-", "bytes=294912-"]
    monkeypatch.setattr(fetch_module, "PAUSES_S", (0.0, 0.0))  # further tries follow by themselves
    site.status, site.cut_at = [503], [5000]
    assert get("b.bin", MD5).read_bytes() == BODY
    (tmp_path / "c.bin.part").write_bytes(BODY + b"more")
    assert get("c.bin", MD5).read_bytes() == BODY


def test_versions_never_mix(site, get, tmp_path):
    """Without a published checksum a part is not used; with one, a file of two versions is refused."""
    site.cut_at = [100_000]
    fails("broke off", get)
    site.files["/a.bin"] = BODY[::-1]
    assert get().read_bytes() == BODY[::-1]
    for start in (0, 1000):
        (tmp_path / "b.bin.part").write_bytes(b"x" * start)
        fails("not the file of the publisher's checksum, and removed", get, "b.bin", MD5)
        assert not list(tmp_path.glob("b.bin*"))
    site.files["/a.bin"], site.knows_ranges = BODY, False  # the server sends the whole file instead
    (tmp_path / "b.bin.part").write_bytes(BODY[:1000])
    assert get("b.bin", MD5).read_bytes() == BODY


def test_trust_on_first_use(site, get, tmp_path):
    for _ in range(2):
        get().unlink()
        recorded = (tmp_path / "a.bin.sha256").read_text()
        assert recorded == f"sha256:{hashlib.sha256(BODY).hexdigest()}\n"
    site.files["/a.bin"] = BODY[::-1]
    fails(r"not the file of .*a\.bin\.sha256, of the first download", get)
    assert names(tmp_path) == ["a.bin.sha256"] and (tmp_path / "a.bin.sha256").read_text() == recorded


def test_a_server_that_refuses(site, get, tmp_path):
    for status, reason in [(500, "Internal Server Error"), (403, "Forbidden"), (404, "Not Found")]:
        site.status = [status]
        fails(rf"the server answered {status} \({reason}\)$", get)
        assert names(tmp_path) == []
    fails("refused", download, "http://127.0.0.1:9/a.bin", tmp_path / "a.bin")


def test_only_https_also_behind_a_redirect(site, tmp_path):
    elsewhere = "http://example.org/a", "http://127.0.0.1.example.org/"
    for url in (*elsewhere, "ftp://127.0.0.1/a", "file:///etc/passwd"):
        site.redirect["/r"] = url
        for asked in (url, f"{site.url}/r"):
            fails("only https is fetched", download, asked, tmp_path / "a")
    site.redirect["/r"] = "/a.bin"
    assert download(f"{site.url}/r", tmp_path / "a").read_bytes() == BODY


# ----------------------------------------------------------------------------------------- archives


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def unpack_bytes(data: bytes, tmp_path: Path, **options) -> Path:
    archive = tmp_path / "state" / "archive"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(data)
    try:
        unpack(archive, tmp_path / "out" / "corpus", **options)
    finally:
        assert names(archive.parent) == ["archive"]
    return tmp_path / "out" / "corpus"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_unpack_takes_the_wrapper_off_and_keeps_what_is_there(tmp_path):
    (tmp_path / "out" / "corpus").mkdir(parents=True)
    (tmp_path / "out" / "corpus" / "mine.txt").write_bytes(b"mine")
    members = {"repo-1/AudioWAV/a.wav": b"1", "repo-1/Video/b.flv": b"2", "repo-1/LICENSE": b"3"}
    folder = unpack_bytes(zip_of(members), tmp_path, exclude=("Video",))
    assert tree(folder) == {"AudioWAV/a.wav": b"1", "LICENSE": b"3", "mine.txt": b"mine"}


def test_unpack_refuses_what_would_leave_the_folder(tmp_path):
    for name in ("../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:evil"):
        fails("would leave its folder; refused", unpack_bytes, zip_of({"a": b"1", name: b"2"}), tmp_path)
        assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "out").exists()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
        packed.writestr("link/passwd", b"evil")
    fails("a link or a device; refused", unpack_bytes, buffer.getvalue(), tmp_path)


def test_unpack_refuses_damage(tmp_path):
    whole = zip_of({"a": np.random.default_rng(0).bytes(5000)})
    for harm in (
        whole[: len(whole) // 2], whole[:2500] + bytes([whole[2500] ^ 255]) + whole[2501:],
        b"<html>Please log in</html>", b"", zip_of({"a": b"1", "a/b": b"2"}),
    ):  # fmt: skip
        fails("archive: not a whole archive", unpack_bytes, harm, tmp_path)
        assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------ whole corpora


@pytest.fixture
def sounds(tmp_path_factory) -> list[bytes]:
    """Four sound files of different content."""
    at = tmp_path_factory.mktemp("sounds") / "a.wav"
    return [write_noise(at, seed).read_bytes() for seed in range(4)]


@pytest.fixture
def ravdess(site, sounds, monkeypatch) -> Site:
    members = {f"Actor_0{actor}/03-01-05-01-01-01-0{actor}.wav": sounds[actor] for actor in (1, 2)}
    archive = zip_of(members | {"__MACOSX/Actor_01/._03-01-05-01-01-01-01.wav": b"junk"})
    site.files["/speech.zip"] = archive
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", Source(f"{site.url}/speech.zip", md5(archive)))
    return site


def test_fetch_then_load(ravdess, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    ravdess.cut_at = [500]
    broke_off = r"^ravdess: .*broke off after 0 .*\(publisher: https://zenodo.org"
    fails(broke_off, fetch, "ravdess", progress=False)
    assert fetch("ravdess", progress=False) == tmp_path / "ravdess"
    manifest = corpora.load("ravdess")
    assert list(manifest["speaker"]) == ["ravdess-01", "ravdess-02"] and manifest.attrs["skipped"] == []
    assert names(tmp_path / "ravdess" / ".fetch") == ["done", "unpacked"]
    fetch("ravdess", progress=False)
    assert len(ravdess.asked) == 2


def test_fetch_leaves_a_copy_of_your_own_alone(ravdess, tmp_path):
    write_noise(tmp_path / "mine.wav")
    fails("holds sound that `fetch` didn't put there", fetch, "ravdess", tmp_path)
    assert names(tmp_path) == ["mine.wav"] and ravdess.asked == []


def test_what_no_program_may_fetch(tmp_path):
    for name in ("iemocap", "mead", "esd", "folder"):
        source = re.escape(corpora.info(name).source)
        words = f"^{name}: `emolib fetch` doesn't get it; get .*{source}, unpack it in {tmp_path}"
        fails(words, fetch, name, tmp_path)
    refused("unknown corpus 'ravdes'", fetch, "ravdes")


def test_crema_d_pointers_become_sound(site, sounds, tmp_path, monkeypatch):
    clips = {f"100{n}_DFA_ANG_XX.wav": sounds[n] for n in (1, 2, 3)}
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
    members = {"CREMA-D-master/VideoFlash/1001_DFA_ANG_XX.flv": b"v", "CREMA-D-master/LICENSE.txt": b"l"}
    for name, data in clips.items():
        text = pointer.format(hashlib.sha256(data).hexdigest(), len(data))
        members[f"CREMA-D-master/AudioWAV/{name}"] = text.encode()
        site.files[f"/media/AudioWAV/{name}"] = data
    site.files["/master.zip"] = zip_of(members)
    site.files["/media/AudioWAV/1002_DFA_ANG_XX.wav"] = clips["1001_DFA_ANG_XX.wav"]
    source = Source(f"{site.url}/master.zip", None, ("VideoFlash",), f"{site.url}/media")
    monkeypatch.setitem(fetch_module.SOURCES, "crema-d", source)
    changed = r"crema-d: .*1002_DFA_ANG_XX\.wav: not the file of the publisher"
    fails(changed, fetch, "crema-d", tmp_path, progress=False)
    half = corpora.load("crema-d", tmp_path)
    assert any("a Git LFS pointer" in entry["reason"] for entry in half.attrs["skipped"])
    site.files["/media/AudioWAV/1002_DFA_ANG_XX.wav"] = clips["1002_DFA_ANG_XX.wav"]
    fetch("crema-d", tmp_path, progress=False)
    assert list(corpora.load("crema-d", tmp_path)["speaker"]) == [f"crema-d-100{n}" for n in (1, 2, 3)]
    assert [path for path, _ in site.asked].count("/master.zip") == 1
    assert not (tmp_path / "VideoFlash").exists() and (tmp_path / "LICENSE.txt").exists()
