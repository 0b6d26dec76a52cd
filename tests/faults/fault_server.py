"""A publisher and a hub on this machine, which may fail, or take their time."""

import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import soundfile as sf


def archive(n_clips: int, n_samples: int) -> tuple[bytes, str]:
    """Return a zip of clips of noise, each of another of RAVDESS's actors, and its checksum."""
    buffer, rng = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(buffer, "w") as packed:
        for actor in range(1, n_clips + 1):
            clip = io.BytesIO()
            sf.write(clip, rng.uniform(-0.3, 0.3, n_samples), 16_000, format="WAV")
            packed.writestr(f"Actor_{actor:02d}/03-01-05-01-01-01-{actor:02d}.wav", clip.getvalue())
    body = buffer.getvalue()
    return body, "md5:" + hashlib.md5(body, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves files by path; what ends in `HARMED` has the fault, and each 40 kB take `pause_s`.

    It doesn't complain when a client hangs up.
    """

    HARMED = ("speech.zip", "model.safetensors")
    files: dict[str, bytes]
    fault, pause_s = "", 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    """Answers as a publisher does, from the byte on that is asked for, and as the Hugging Face hub does."""

    server: Server

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET(send=False)

    def do_GET(self, *, send: bool = True):
        body = self.server.files.get(self.path)
        fault = self.server.fault if self.path.endswith(self.server.HARMED) else ""
        if body is None or fault == "500":
            self.send_response(404 if body is None else 500)
            self.send_header("X-Error-Code", "EntryNotFound" if body is None else "Internal")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if fault == "other bytes":
            body = body[:-4] + bytes(byte ^ 0x15 for byte in body[-4:])
        end = len(body) // 2 if fault == "half" else len(body)
        for at in range(start, end, 40_000) if send else ():
            self.wfile.write(body[at : min(at + 40_000, end)])
            threading.Event().wait(self.server.pause_s)


@contextlib.contextmanager
def serving(
    files: dict[str, bytes], port: int = 0, pause_s: float = 0.0, fault: str = ""
) -> Iterator[Server]:
    """Serve files while the context is open."""
    server = Server(("127.0.0.1", port), Handler)
    server.files, server.pause_s, server.fault = files, pause_s, fault
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
