"""A real JupyterLab, a real Voila and a real chromium, all on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emolib import paths

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: Pictures of what was seen; the folder is not tracked.
PICTURES = Path(os.environ.get("EMOLIB_SCREENSHOTS", ROOT / "runs" / "browser"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder that holds the steering notebook alone."""
    place = tmp_path_factory.mktemp("jupyter")
    shutil.copy(ROOT / "notebooks" / "04_steering.ipynb", place)
    return place


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium; apt-get install -y --no-install-recommends chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            headless=True,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync",
                  "--no-first-run"],
        )  # fmt: skip
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page that must ask nothing of any other machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    elsewhere: list[str] = []
    # Voila's own template asks a CDN for icons, and does without them
    own = (
        "http://127.0.0.1",
        "ws://127.0.0.1",
        "data:",
        "blob:",
        "https://cdn.jsdelivr.net/npm/@fortawesome/",
    )
    page.on("request", lambda request: None if request.url.startswith(own) else elsewhere.append(request.url))
    yield page
    context.close()
    assert not elsewhere, f"asked for {elsewhere}"


@pytest.fixture
def lab(page, folder):
    """The steering notebook in JupyterLab, run from its first cell to its last."""
    port = free_port()
    command = [str(BIN / "jupyter"), "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
               f"--ServerApp.root_dir={folder}",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    with serving(command, port, folder) as address:
        page.goto(f"{address}/lab/workspaces/auto-test/tree/04_steering.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        idle = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
        page.wait_for_selector(idle, state="attached", timeout=120_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
        yield page


@pytest.fixture
def voila(page, folder):
    """The steering notebook as a Voila page."""
    port = free_port()
    command = [str(BIN / "voila"), "04_steering.ipynb", "--no-browser", f"--port={port}",
               "--Voila.ip=127.0.0.1", "--VoilaExecutor.timeout=600"]  # fmt: skip
    with serving(command, port, folder) as address:
        page.goto(address, wait_until="domcontentloaded", timeout=600_000)
        yield page
