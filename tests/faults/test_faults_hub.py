"""A publisher and a hub that fail: 500, half a file, other bytes than announced. Nothing wrong is used."""

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from fault_tally import tried

from emolib import corpora
from emolib.corpora import fetch as fetch_module
from emolib.corpora.fetch import FetchError

REPOSITORY = "someone/tiny"
FAULTS = ("500", "half", "other bytes", "refused")


class Handler(BaseHTTPRequestHandler):
    """Serve files by path, as a publisher and as the Hugging Face hub do, with one fault for one of them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, *, send: bool):
        body, fault = self.server.files.get(self.path), self.server.fault
        harmed = self.path.endswith(self.server.harmed)
        if body is None or (harmed and fault == "500"):
            self.send_response(404 if body is None else 500)
            self.send_header("X-Error-Code", "EntryNotFound" if body is None else "Internal")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        digest = hashlib.sha256(body).hexdigest()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if not send:
            return
        if harmed and fault == "other bytes":
            body = body[:-4] + bytes(byte ^ 0x15 for byte in body[-4:])
        self.wfile.write(body[: len(body) // 2] if harmed and fault == "half" else body)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    """A server that doesn't complain when a client hangs up."""

    files: dict[str, bytes]
    fault, harmed = "", "nothing"

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started = Server(("127.0.0.1", 0), Handler)
    started.files = {}
    threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True).start()
    yield started
    started.shutdown()
    started.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


# ------------------------------------------------------------------------------------- corpora


def archive() -> bytes:
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(buffer, "w") as packed:
        for actor in (1, 2):
            clip = io.BytesIO()
            sf.write(clip, rng.uniform(-0.3, 0.3, 8_000), 16_000, format="WAV")
            packed.writestr(f"Actor_0{actor}/03-01-05-01-01-01-0{actor}.wav", clip.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_corpus_from_a_publisher_that_fails(server, tmp_path, monkeypatch, fault):
    body = archive()
    server.files["/speech.zip"], server.fault, server.harmed = body, fault, "speech.zip"
    checksum = "md5:" + hashlib.md5(body, usedforsecurity=False).hexdigest()
    place = "http://127.0.0.1:9" if fault == "refused" else url(server)
    source = fetch_module.Source(f"{place}/speech.zip", checksum)
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", source)
    with tried(f"a publisher that fails: {fault}"):
        with pytest.raises(FetchError) as caught:
            fetch_module.fetch("ravdess", tmp_path / "ravdess", progress=False)
        assert len(str(caught.value).splitlines()) == 1
        assert not list((tmp_path / "ravdess").rglob("*.wav"))
        server.fault = ""
        source = fetch_module.Source(f"{url(server)}/speech.zip", checksum)
        monkeypatch.setitem(fetch_module.SOURCES, "ravdess", source)
        fetch_module.fetch("ravdess", tmp_path / "ravdess", progress=False)
        assert len(corpora.load("ravdess", tmp_path / "ravdess")) == 2


# ------------------------------------------------------------------------------------- models

LOAD = """
import sys, time, numpy as np
time.sleep = lambda seconds: None  # huggingface_hub waits half a minute between its tries
from emolib import encoders
try:
    encoder = encoders.load(sys.argv[1], device="cpu")
except ValueError as error:
    print("refused:", error)
else:
    wave = np.sin(np.arange(8000) / 20).astype("f4")
    print("loaded:", float(np.abs(encoder.encode([wave], 16000)[0]).sum()))
"""


def load_from(server_url: str, home: Path) -> str:
    """Load the tiny encoder from a hub in a fresh process, as a user would; return what it said."""
    environment = {
        "HF_ENDPOINT": server_url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        "HF_HUB_DOWNLOAD_TIMEOUT": "30", "HF_HUB_ETAG_TIMEOUT": "30", "HF_HUB_DISABLE_TELEMETRY": "1",
        "PATH": "/usr/bin:/bin", "EMOLIB_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", LOAD, REPOSITORY]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, cwd=home)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_encoder_from_a_hub_that_fails(server, tmp_path, model_folder, fault):
    for path in model_folder().iterdir():
        server.files[f"/{REPOSITORY}/resolve/main/{path.name}"] = path.read_bytes()
    server.fault, server.harmed = fault, "model.safetensors"
    with tried(f"a hub that fails: {fault}"):
        said = load_from("http://127.0.0.1:9" if fault == "refused" else url(server), tmp_path)
        assert said.startswith("refused: "), said
        server.fault = ""
        if fault == "other bytes":  # as the message says
            [damaged] = [path for path in tmp_path.rglob("blobs/*") if path.name in said]
            damaged.unlink()
        assert load_from(url(server), tmp_path).startswith("loaded: ")
