"""Downloads from a faulty server on this machine: resumed, verified, unpacked safely."""

import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from emolib import corpora
from emolib.corpora import fetch as fetch_module
from emolib.corpora.fetch import FetchError, Source, download, fetch, unpack

BODY = bytes(range(256)) * 4000
MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()


@dataclass
class Site:
    """A server's files, its faults, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_at: list[int] = field(default_factory=list)  # one entry an answer: stop after so many bytes
    status: list[int] = field(default_factory=list)  # one entry an answer: fail like this
    redirect: dict[str, str] = field(default_factory=dict)
    knows_ranges: bool = True
    states_length: bool = True
    etag: str | None = '"one"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Serve a `Site` with Range, If-Range, ETag and the faults that are asked for."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        site: Site = self.server.site
        site.asked.append((self.path, self.headers["Range"]))
        if site.status:
            return self.send_error(site.status.pop(0))
        if self.path in site.redirect:
            self.send_response(302)
            self.send_header("Location", site.redirect[self.path])
            return self.end_headers()
        if self.path not in site.files:
            return self.send_error(404)
        self.answer(site, site.files[self.path])

    def answer(self, site, body):
        start = 0
        if site.knows_ranges and self.headers["Range"] and self.headers["If-Range"] in (None, site.etag):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if site.states_length:
            self.send_header("Content-Length", str(len(body) - start))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        self.wfile.write(body[start : start + site.cut_at.pop(0)] if site.cut_at else body[start:])


class Server(ThreadingHTTPServer):
    """A server that doesn't complain on stderr when a client hangs up."""

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(("127.0.0.1", 0), Handler)
    server.site = Site(files={"/a.bin": BODY}, url=f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.site
    server.shutdown()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------- one download


def test_a_whole_file_is_asked_for_once(site, tmp_path):
    for _ in range(2):
        path = download(f"{site.url}/a.bin", tmp_path / "a.bin", MD5, progress=False)
        assert path.read_bytes() == BODY and names(tmp_path) == ["a.bin"]
    assert len(site.asked) == 1
    site.states_length = False
    assert download(f"{site.url}/a.bin", tmp_path / "b.bin").read_bytes() == BODY


def test_a_download_with_a_checksum_is_gone_on_with(site, tmp_path, monkeypatch):
    site.cut_at = [100_000, 200_000]
    for kept in (98_304, 294_912):  # whole chunks of 16 KiB
        with pytest.raises(FetchError, match=f"broke off after {kept} of {len(BODY)} bytes"):
            download(f"{site.url}/a.bin", tmp_path / "a.bin", MD5, progress=False)
        assert names(tmp_path) == ["a.bin.part"]
    assert download(f"{site.url}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, "bytes=98304-", "bytes=294912-"]
    monkeypatch.setattr(fetch_module, "PAUSES_S", (0.0, 0.0))  # further tries follow by themselves
    site.status, site.cut_at = [503], [5000]
    assert download(f"{site.url}/a.bin", tmp_path / "b.bin", MD5).read_bytes() == BODY
    (tmp_path / "c.bin.part").write_bytes(BODY + b"more")
    assert download(f"{site.url}/a.bin", tmp_path / "c.bin", MD5).read_bytes() == BODY


def test_versions_never_mix(site, tmp_path):
    """Without a published checksum a part is not used; with one, a file of two versions is refused."""
    site.cut_at = [100_000]
    with pytest.raises(FetchError):
        download(f"{site.url}/a.bin", tmp_path / "a.bin")
    site.files["/a.bin"] = BODY[::-1]
    assert download(f"{site.url}/a.bin", tmp_path / "a.bin").read_bytes() == BODY[::-1]
    for start in (0, 1000):
        (tmp_path / "b.bin.part").write_bytes(b"x" * start)
        with pytest.raises(FetchError, match=r"not the file of the publisher's checksum, and removed"):
            download(f"{site.url}/a.bin", tmp_path / "b.bin", MD5)
        assert not list(tmp_path.glob("b.bin*"))
    site.files["/a.bin"], site.knows_ranges = BODY, False  # the server sends the whole file instead
    (tmp_path / "b.bin.part").write_bytes(BODY[:1000])
    assert download(f"{site.url}/a.bin", tmp_path / "b.bin", MD5).read_bytes() == BODY


def test_trust_on_first_use(site, tmp_path):
    download(f"{site.url}/a.bin", tmp_path / "a.bin").unlink()
    recorded = (tmp_path / "a.bin.sha256").read_text()
    assert recorded == f"sha256:{hashlib.sha256(BODY).hexdigest()}\n"
    download(f"{site.url}/a.bin", tmp_path / "a.bin").unlink()
    site.files["/a.bin"] = BODY[::-1]
    with pytest.raises(FetchError, match=r"not the file of .*a\.bin\.sha256, of the first download"):
        download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert names(tmp_path) == ["a.bin.sha256"] and (tmp_path / "a.bin.sha256").read_text() == recorded


def test_a_server_that_refuses(site, tmp_path):
    for status, reason in [(500, "Internal Server Error"), (403, "Forbidden"), (404, "Not Found")]:
        site.status = [status]
        with pytest.raises(FetchError, match=rf"the server answered {status} \({reason}\)$"):
            download(f"{site.url}/a.bin", tmp_path / "a.bin")
        assert names(tmp_path) == []
    with pytest.raises(FetchError, match=r"refused") as caught:
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin")
    assert len(str(caught.value).splitlines()) == 1


def test_only_https_also_behind_a_redirect(site, tmp_path):
    for url in (
        "http://example.org/a",
        "ftp://127.0.0.1/a",
        "file:///etc/passwd",
        "http://127.0.0.1.example.org/",
    ):
        with pytest.raises(FetchError, match="only https is fetched"):
            download(url, tmp_path / "a")
        site.redirect["/r"] = url
        with pytest.raises(FetchError, match="only https is fetched"):
            download(f"{site.url}/r", tmp_path / "a")
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
        with pytest.raises(FetchError, match="would leave its folder; refused"):
            unpack_bytes(zip_of({"a": b"1", name: b"2"}), tmp_path)
        assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "out").exists()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
        packed.writestr("link/passwd", b"evil")
    with pytest.raises(FetchError, match="a link or a device; refused"):
        unpack_bytes(buffer.getvalue(), tmp_path)


def test_unpack_refuses_damage(tmp_path):
    whole = zip_of({"a": np.random.default_rng(0).bytes(5000)})
    for harm in (
        whole[: len(whole) // 2], whole[:2500] + bytes([whole[2500] ^ 255]) + whole[2501:],
        b"<html>Please log in</html>", b"", zip_of({"a": b"1", "a/b": b"2"}),
    ):  # fmt: skip
        with pytest.raises(FetchError, match="archive: not a whole archive"):
            unpack_bytes(harm, tmp_path)
        assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------ whole corpora


def wav_bytes(seed: int) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, np.random.default_rng(seed).uniform(-0.3, 0.3, 800), 16_000, format="WAV")
    return buffer.getvalue()


@pytest.fixture
def ravdess(site, monkeypatch) -> Site:
    archive = zip_of(
        {f"Actor_0{actor}/03-01-05-01-01-01-0{actor}.wav": wav_bytes(actor) for actor in (1, 2)}
        | {"__MACOSX/Actor_01/._03-01-05-01-01-01-01.wav": b"junk"}
    )
    checksum = "md5:" + hashlib.md5(archive, usedforsecurity=False).hexdigest()
    site.files["/speech.zip"] = archive
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", Source(f"{site.url}/speech.zip", checksum))
    return site


def test_fetch_then_load(ravdess, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    ravdess.cut_at = [500]
    with pytest.raises(FetchError, match=r"^ravdess: .*broke off after 0 .*\(publisher: https://zenodo.org"):
        fetch("ravdess", progress=False)
    assert fetch("ravdess", progress=False) == tmp_path / "ravdess"
    manifest = corpora.load("ravdess")
    assert list(manifest["speaker"]) == ["ravdess-01", "ravdess-02"] and manifest.attrs["skipped"] == []
    assert names(tmp_path / "ravdess" / ".fetch") == ["done", "unpacked"]
    fetch("ravdess", progress=False)
    assert len(ravdess.asked) == 2


def test_fetch_leaves_a_copy_of_your_own_alone(ravdess, tmp_path):
    (tmp_path / "mine.wav").write_bytes(wav_bytes(1))
    with pytest.raises(FetchError, match="holds sound that `fetch` didn't put there"):
        fetch("ravdess", tmp_path)
    assert names(tmp_path) == ["mine.wav"] and ravdess.asked == []


def test_what_no_program_may_fetch(tmp_path):
    for name in ("iemocap", "mead", "esd", "folder"):
        words = f"^{name}: `emolib fetch` doesn't get it; get .*, unpack it in {tmp_path}"
        with pytest.raises(FetchError, match=words) as error:
            fetch(name, tmp_path)
        assert "\n" not in str(error.value) and corpora.info(name).source in str(error.value)
    with pytest.raises(ValueError, match="unknown corpus 'ravdes'"):
        fetch("ravdes")


def test_every_source_is_https_and_known():
    for name, source in fetch_module.SOURCES.items():
        assert name in corpora.names()
        assert all(url.startswith("https://") for url in (source.url, source.lfs or source.url))


def test_crema_d_pointers_become_sound(site, tmp_path, monkeypatch):
    clips = {f"100{n}_DFA_ANG_XX.wav": wav_bytes(n) for n in (1, 2, 3)}
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
    with pytest.raises(FetchError, match=r"crema-d: .*1002_DFA_ANG_XX\.wav: not the file of the publisher"):
        fetch("crema-d", tmp_path, progress=False)
    half = corpora.load("crema-d", tmp_path)
    assert any("a Git LFS pointer" in entry["reason"] for entry in half.attrs["skipped"])
    site.files["/media/AudioWAV/1002_DFA_ANG_XX.wav"] = clips["1002_DFA_ANG_XX.wav"]
    fetch("crema-d", tmp_path, progress=False)
    assert list(corpora.load("crema-d", tmp_path)["speaker"]) == [
        "crema-d-1001",
        "crema-d-1002",
        "crema-d-1003",
    ]
    assert [path for path, _ in site.asked].count("/master.zip") == 1
    assert not (tmp_path / "VideoFlash").exists() and (tmp_path / "LICENSE.txt").exists()
