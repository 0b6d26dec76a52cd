"""A publisher and a hub that fail: 500, half a file, other bytes than announced. Nothing wrong is used."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import Server, archive, md5, serving
from fault_tally import tried

from emolib import corpora
from emolib.corpora import fetch as fetch_module
from emolib.corpora.fetch import FetchError

REPOSITORY = "someone/tiny"
FAULTS = ("500", "half", "other bytes", "refused")


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving({}) as started:
        yield started


# ------------------------------------------------------------------------------------- corpora


@pytest.mark.parametrize("fault", FAULTS)
def test_a_corpus_from_a_publisher_that_fails(server, tmp_path, monkeypatch, fault):
    body = archive(2, 8_000)
    server.files["/speech.zip"], server.fault, server.harmed = body, fault, "speech.zip"
    place = "http://127.0.0.1:9" if fault == "refused" else server.url
    source = fetch_module.Source(f"{place}/speech.zip", md5(body))
    monkeypatch.setitem(fetch_module.SOURCES, "ravdess", source)
    with tried(f"a publisher that fails: {fault}"):
        with pytest.raises(FetchError) as caught:
            fetch_module.fetch("ravdess", tmp_path / "ravdess", progress=False)
        assert len(str(caught.value).splitlines()) == 1
        assert not list((tmp_path / "ravdess").rglob("*.wav"))
        server.fault = ""
        source = fetch_module.Source(f"{server.url}/speech.zip", md5(body))
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
        said = load_from("http://127.0.0.1:9" if fault == "refused" else server.url, tmp_path)
        assert said.startswith("refused: "), said
        server.fault = ""
        if fault == "other bytes":  # as the message says
            [damaged] = [path for path in tmp_path.rglob("blobs/*") if path.name in said]
            damaged.unlink()
        assert load_from(server.url, tmp_path).startswith("loaded: ")
