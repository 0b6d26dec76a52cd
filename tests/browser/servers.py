"""Jupyter servers on loopback, with settings of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emolib import paths

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: Pictures of what was seen; the folder is not tracked.
PICTURES = Path(os.environ.get("EMOLIB_SCREENSHOTS", ROOT / "runs" / "browser"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Jupyter keeps its settings in a folder of its own."""
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
             "IPYTHONDIR": "ipython", "JUPYTERLAB_SETTINGS_DIR": "settings",
             "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}  # fmt: skip
    own = {name: str(folder / place) for name, place in names.items()}
    return os.environ | own | {"EMOLIB_HOME": str(paths.home()), "JUPYTER_PREFER_ENV_PATH": "1",
                               "JUPYTER_PATH": str(ROOT / "emolib" / "widgets"),
                               "PATH": f"{BIN}:{os.environ['PATH']}"}  # fmt: skip


@contextmanager
def serving(command: list[str], port: int, folder: Path) -> Iterator[str]:
    """Run a server until its port answers, and stop it with all its kernels afterwards."""
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
