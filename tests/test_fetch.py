"""Downloads from a faulty server on this machine: resumed, verified, unpacked safely."""

import hashlib
import io
import stat
import tarfile
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
from emolib.corpora import download as download_module
from emolib.corpora import fetch as fetch_module
from emolib.corpora.download import FetchError, Remote, check_url, download
from emolib.corpora.fetch import Source, fetch
from emolib.corpora.unpack import unpack

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
    range_error: int = 0
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
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) + site.range_error
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
    monkeypatch.setattr(download_module, "PAUSES_S", ())
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


def test_a_whole_file(site, tmp_path):
    path = download(Remote(f"{site.url}/a.bin", "a.bin", len(BODY), MD5), tmp_path, progress=False)
    assert path == tmp_path / "a.bin" and path.read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]
    download(Remote(f"{site.url}/a.bin", "a.bin", len(BODY), MD5), tmp_path)
    assert len(site.asked) == 1  # what is verified isn't asked for again


@pytest.mark.parametrize("remote", [(len(BODY), MD5), (None, MD5), (None, None)])
def test_resume_after_a_cut(site, tmp_path, remote):
    site.cut_at = [100_000, 200_000]
    for kept in (100_000, 300_000):
        with pytest.raises(
            FetchError, match=f"broke off after {kept} of {len(BODY)} bytes; {kept} bytes are kept"
        ):
            download(Remote(f"{site.url}/a.bin", "a.bin", *remote), tmp_path, progress=False)
        assert (tmp_path / "a.bin.part").stat().st_size == kept and not (tmp_path / "a.bin").exists()
    assert download(Remote(f"{site.url}/a.bin", "a.bin", *remote), tmp_path).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, "bytes=100000-", "bytes=300000-"]


def test_a_second_try_follows_by_itself(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSES_S", (0.0, 0.0))
    site.status, site.cut_at = [503], [5000]
    assert download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, None, "bytes=5000-"]


def test_a_server_without_ranges_starts_over(site, tmp_path):
    site.knows_ranges, site.cut_at = False, [100_000]
    with pytest.raises(FetchError):
        download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path)
    assert download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"two"', None])
def test_two_versions_never_mix(site, tmp_path, etag):
    site.cut_at = [100_000]
    with pytest.raises(FetchError):
        download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path)
    site.files["/a.bin"], site.etag = BODY[::-1], etag
    assert download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path).read_bytes() == BODY[::-1]


def test_without_a_tag_or_a_checksum_nothing_is_resumed(site, tmp_path):
    site.etag, site.cut_at = None, [100_000]
    with pytest.raises(FetchError):
        download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path)
    assert download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path).read_bytes() == BODY
    assert [asked for _, asked in site.asked] == [None, None]


def test_a_part_that_is_whole_already(site, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert download(Remote(f"{site.url}/a.bin", "a.bin", None, MD5), tmp_path).read_bytes() == BODY
    assert site.asked == [("/a.bin", f"bytes={len(BODY)}-")]


def test_a_part_that_is_too_long_is_dropped(site, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    with pytest.raises(FetchError, match="longer than the server's file; it was removed"):
        download(Remote(f"{site.url}/a.bin", "a.bin", None, MD5), tmp_path)
    assert names(tmp_path) == []


def test_another_range_than_asked_for_is_refused(site, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    site.range_error = 7
    with pytest.raises(FetchError, match="another range than was asked for; the part was removed"):
        download(Remote(f"{site.url}/a.bin", "a.bin", None, MD5), tmp_path)
    assert download(Remote(f"{site.url}/a.bin", "a.bin", None, MD5), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("start", [0, 1000])
def test_a_wrong_checksum_is_refused_and_removed(site, tmp_path, start):
    (tmp_path / "a.bin.part").write_bytes(b"x" * start)  # with 1000 wrong bytes, the resumed file is wrong
    checksum = MD5 if start else "md5:" + 32 * "0"
    with pytest.raises(
        FetchError, match=r"its checksum is md5:.* where the publisher states md5:.*; it was removed"
    ):
        download(Remote(f"{site.url}/a.bin", "a.bin", len(BODY), checksum), tmp_path)
    assert not (tmp_path / "a.bin").exists() and not (tmp_path / "a.bin.part").exists()


def test_trust_on_first_use(site, tmp_path):
    remote = Remote(f"{site.url}/a.bin", "a.bin")
    download(remote, tmp_path).unlink()
    recorded = (tmp_path / "a.bin.sha256").read_text()
    assert recorded == f"sha256:{hashlib.sha256(BODY).hexdigest()}\n"
    download(remote, tmp_path).unlink()
    site.files["/a.bin"] = BODY[::-1]
    with pytest.raises(FetchError, match=r"a\.bin\.sha256 recorded at the first download sha256:"):
        download(remote, tmp_path)
    assert (tmp_path / "a.bin.sha256").read_text() == recorded and not (tmp_path / "a.bin").exists()


def test_another_size_than_published(site, tmp_path):
    with pytest.raises(FetchError, match=f"{len(BODY)} bytes are offered where 5 were published"):
        download(Remote(f"{site.url}/a.bin", "a.bin", 5), tmp_path)


def test_less_than_published_where_no_length_is_announced(site, tmp_path):
    site.states_length, site.cut_at = False, [777]
    with pytest.raises(FetchError, match=f"broke off after 777 of {len(BODY)} bytes"):
        download(Remote(f"{site.url}/a.bin", "a.bin", len(BODY)), tmp_path)


def test_no_announced_length(site, tmp_path):
    site.states_length = False
    assert download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "Internal Server Error"), (403, "Forbidden"), (404, "Not Found")]
)
def test_a_server_that_refuses(site, tmp_path, status, reason):
    site.status = [status]
    with pytest.raises(FetchError, match=rf"the server answered {status} \({reason}\)$"):
        download(Remote(f"{site.url}/a.bin", "a.bin"), tmp_path)
    assert names(tmp_path) == []


def test_no_server(tmp_path, site):
    with pytest.raises(FetchError, match=r"refused"):
        download(Remote("http://127.0.0.1:9/a.bin", "a.bin"), tmp_path)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/passwd", "http://127.0.0.1.example.org/"],
)
def test_only_https(url, tmp_path):
    with pytest.raises(FetchError, match="only https is fetched"):
        download(Remote(url, "a"), tmp_path)
    check_url("https://zenodo.org/a")


@pytest.mark.parametrize("target", ["http://example.org/a.bin", "ftp://127.0.0.1/a.bin"])
def test_a_redirect_may_not_leave_https(site, tmp_path, target):
    site.redirect["/r"] = target
    with pytest.raises(FetchError, match=r"(only https is fetched|the server answered 302)"):
        download(Remote(f"{site.url}/r", "a"), tmp_path)
    site.redirect["/r"] = f"{site.url}/a.bin"
    assert download(Remote(f"{site.url}/r", "a"), tmp_path).read_bytes() == BODY


# ----------------------------------------------------------------------------------------- archives


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpack_bytes(data: bytes, tmp_path: Path, **options) -> Path:
    archive = tmp_path / "state" / "archive"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(data)
    folder = tmp_path / "out" / "corpus"
    try:
        unpack(archive, folder, **options)
    finally:
        assert names(archive.parent) == ["archive"]
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_unpack_zip_and_tar(tmp_path):
    members = {"a/one.txt": b"1", "b/deep/two.txt": b"2"}
    assert tree(unpack_bytes(zip_of(members), tmp_path)) == members
    packed = tar_of(*((tar_member(name), data) for name, data in members.items()))
    (tmp_path / "tar").mkdir()
    assert tree(unpack_bytes(packed, tmp_path / "tar")) == members


def test_unpack_takes_the_wrapper_off_and_leaves_out_what_is_excluded(tmp_path):
    members = {"repo-1/AudioWAV/a.wav": b"1", "repo-1/Video/b.flv": b"2", "repo-1/LICENSE": b"3"}
    folder = unpack_bytes(zip_of(members), tmp_path, exclude=("Video",))
    assert tree(folder) == {"AudioWAV/a.wav": b"1", "LICENSE": b"3"}


def test_unpack_keeps_what_is_there(tmp_path):
    (tmp_path / "out" / "corpus").mkdir(parents=True)
    (tmp_path / "out" / "corpus" / "mine.txt").write_bytes(b"mine")
    folder = unpack_bytes(zip_of({"a.txt": b"1", "b.txt": b"2"}), tmp_path)
    assert tree(folder) == {"a.txt": b"1", "b.txt": b"2", "mine.txt": b"mine"}


EVIL = ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:evil"]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize(
    "pack", [lambda n: zip_of({"a": b"1", n: b"2"}), lambda n: tar_of((tar_member(n), b"2"))]
)
def test_unpack_refuses_what_would_leave_the_folder(tmp_path, pack, name):
    with pytest.raises(FetchError, match="would leave its folder; refused"):
        unpack_bytes(pack(name), tmp_path)
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_unpack_refuses_links_and_devices_in_a_tar(tmp_path, kind):
    with pytest.raises(FetchError, match="a link or a device; refused"):
        unpack_bytes(tar_of((tar_member("x", kind, "/etc/passwd"), b"")), tmp_path)


def test_unpack_refuses_links_in_a_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
        packed.writestr("link/passwd", b"evil")
    with pytest.raises(FetchError, match="a link or a device; refused"):
        unpack_bytes(buffer.getvalue(), tmp_path)


def damaged() -> dict[str, bytes]:
    noise = np.random.default_rng(0).bytes(5000)
    whole, packed = zip_of({"a": noise}), tar_of((tar_member("a"), noise))
    return {
        "half a zip": whole[: len(whole) // 2],
        "half a tar": packed[: len(packed) // 2],
        "a wrong byte": whole[:2500] + bytes([whole[2500] ^ 255]) + whole[2501:],
        "no archive": b"<html>Please log in</html>",
        "nothing": b"",
        "a file and a folder of one name": zip_of({"a": b"1", "a/b": b"2"}),
    }


@pytest.mark.parametrize("case", damaged())
def test_unpack_refuses_damage(tmp_path, case):
    with pytest.raises(FetchError, match="archive: not a whole archive"):
        unpack_bytes(damaged()[case], tmp_path)
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
    remote = Remote(f"{site.url}/speech.zip", "speech.zip", len(archive), checksum)
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", Source(remote))
    return site


def test_fetch_then_load(ravdess, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    ravdess.cut_at = [500]
    with pytest.raises(
        FetchError, match=r"^ravdess: .*broke off after 500 .*\(publisher: https://zenodo.org"
    ):
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


@pytest.mark.parametrize("name", ["iemocap", "mead", "esd", "folder"])
def test_what_no_program_may_fetch(tmp_path, name):
    with pytest.raises(
        FetchError, match=f"^{name}: no program may fetch it; get .*, unpack it in {tmp_path}"
    ) as error:
        fetch(name, tmp_path)
    assert "\n" not in str(error.value) and corpora.info(name).source in str(error.value)


def test_fetch_of_an_unknown_corpus():
    with pytest.raises(ValueError, match="unknown corpus 'ravdes'"):
        fetch("ravdes")


def test_every_source_is_https_and_known():
    for name, source in fetch_module.SOURCES.items():
        assert name in corpora.names()
        check_url(source.archive.url)
        assert source.archive.url.startswith("https://") and (source.lfs or "https://").startswith("https://")


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
    source = Source(Remote(f"{site.url}/master.zip", "crema-d.zip"), ("VideoFlash",), f"{site.url}/media")
    monkeypatch.setitem(fetch_module.SOURCES, "crema-d", source)
    with pytest.raises(FetchError, match=r"crema-d: .*1002_DFA_ANG_XX\.wav: its checksum is sha256:"):
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
