"""A publisher and a hub that fail: 500, half a file, other bytes than announced. Nothing wrong is used."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import archive, serving
from fault_tally import tried

from emolib import corpora
from emolib.corpora import fetch as fetch_module

FAULTS = ("500", "half", "other bytes", "refused")


@contextlib.contextmanager
def failing(files: dict[str, bytes], port: int, fault: str) -> Iterator[None]:
    """Serve files with a fault, or nothing at all, while the context is open."""
    with contextlib.nullcontext() if fault == "refused" else serving(files, port, fault=fault):
        yield


@pytest.fixture
def port() -> int:
    """A port of this machine that nobody listens to."""
    with serving({}) as server:
        return server.server_port


@pytest.mark.parametrize("fault", FAULTS)
def test_a_corpus_from_a_publisher_that_fails(port, tmp_path, monkeypatch, fault):
    body, checksum = archive(2, 8_000)
    source = fetch_module.Source(f"http://127.0.0.1:{port}/speech.zip", checksum)
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", source)
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with tried(f"a publisher that fails: {fault}"):
        with (
            failing({"/speech.zip": body}, port, fault),
            pytest.raises(fetch_module.FetchError, match=r"\A[^\n]+\Z"),
        ):
            fetch_module.fetch("ravdess", tmp_path / "ravdess", progress=False)
        assert not list((tmp_path / "ravdess").rglob("*.wav"))
        with serving({"/speech.zip": body}, port):
            fetch_module.fetch("ravdess", tmp_path / "ravdess", progress=False)
        assert len(corpora.load("ravdess", tmp_path / "ravdess")) == 2


#: Loads the encoders that are named line by line, and says of each how that ended.
LOAD = """
import sys, time, numpy as np
time.sleep = lambda seconds: None  # huggingface_hub waits half a minute between its tries
from emolib import encoders
for name in sys.stdin:
    try:
        encoder = encoders.load(name.strip(), device="cpu")
    except ValueError as error:
        print("refused:", error, flush=True)
    else:
        wave = np.sin(np.arange(8000) / 20).astype("f4")
        print("loaded:", float(np.abs(encoder.encode([wave], 16000)[0]).sum()), flush=True)
"""


def test_an_encoder_from_a_hub_that_fails(port, tmp_path, model_folder):
    """It is loaded in a process of its own, as by a user, who tries again once the hub is well."""
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "30", "HF_HUB_ETAG_TIMEOUT": "30",
        "HF_HUB_DISABLE_TELEMETRY": "1", "PATH": "/usr/bin:/bin", "EMOLIB_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", LOAD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes) as process:

        def load(name: str) -> str:
            process.stdin.write(f"{name}\n")
            return process.stdout.readline()

        for fault in FAULTS:
            name = f"someone/{fault.replace(' ', '-')}"
            files = {f"/{name}/resolve/main/{p.name}": p.read_bytes() for p in model_folder().iterdir()}
            with tried(f"a hub that fails: {fault}"):
                with failing(files, port, fault):
                    said = load(name)
                assert said.startswith("refused: "), said
                if fault == "other bytes":  # as the message says
                    [damaged] = [path for path in tmp_path.rglob("blobs/*") if str(path) in said]
                    damaged.unlink()
                with serving(files, port):
                    assert load(name).startswith("loaded: "), name
