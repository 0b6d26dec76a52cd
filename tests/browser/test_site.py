"""The site as it is built: whole, readable on a phone in light and dark, asking nothing of other machines."""

import functools
import importlib
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers import PICTURES, ROOT

pytest.importorskip("mkdocs", reason="the site's builder is not installed; `make site` does that")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
BUILDER = ROOT / "docs" / "site"
sys.path.insert(0, str(BUILDER))  # as if it were run
build = importlib.import_module("build")

PHONE = {"width": 390, "height": 844}
#: Of each kind of page one, and every notebook.
LOOKED_AT = (
    "index.html", "figures/index.html", "figures/06_gallery.html", "docs/recipes.html",
    "corpora/ravdess.html", "models/wav2vec2-nano/index.html", "api/av.html", "play/index.html",
    *(f"notebooks/{path.stem}.html" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))),
)  # fmt: skip


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site, built as `make site` builds it, which stops at a dead link; or the folder in EMOLIB_SITE."""
    if built := os.environ.get("EMOLIB_SITE"):
        return Path(built)
    to = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", f"import build, pathlib; build.build(pathlib.Path({str(to)!r}))"]
    subprocess.run(command, check=True, cwd=BUILDER, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return to / "site"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_): ...


@pytest.fixture(scope="session")
def address(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_the_checks_of_a_build_find_what_is_wrong(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a><a href="b.html#there">x</a><img src="c.png">'
        '<script src="https://cdn.example/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    (tmp_path / "d.css").write_text(
        "@import 'https://fonts.example/f.css'; p { background: url(//e.example/g) }"
    )
    assert build.dead_links(tmp_path) == ["a.html: dead link b.html#there", "a.html: dead link c.png"]
    assert [line.split()[-1] for line in build.asked_elsewhere(tmp_path)] == [
        "https://cdn.example/x.js", "https://fonts.example/f.css", "//e.example/g",
    ]  # fmt: skip


def test_pages_lead_to_colab_and_binder_where_there_is_an_address():
    assert build.run_elsewhere("01_x.ipynb", "") == ""
    links = build.run_elsewhere("01_x.ipynb", "https://github.com/some/one.git")
    assert "/github/some/one/blob/HEAD/docs/colab.ipynb)" in links
    assert "/gh/some/one/HEAD?urlpath=lab/tree/notebooks/01_x.ipynb)" in links


def test_every_player_has_a_name_and_every_picture_words(site):
    text = "".join(page.read_text() for page in sorted((site / "notebooks").glob("*.html")))
    players = re.findall(r"<audio [^>]*>", text)
    assert len(players) >= 9 and all('aria-label="' in player for player in players)
    assert "data:audio" not in text and 'alt=""' not in text.replace("data-md", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_on_a_phone(site, address, browser, scheme):
    """No violation of axe's rules that is serious, nothing wider than the screen, no request elsewhere."""
    # dark pages differ from light ones in their colours alone
    rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if scheme == "dark" else None
    context = browser.new_context(viewport=PHONE, color_scheme=scheme, reduced_motion="reduce")
    page, elsewhere, wrong = context.new_page(), [], []
    own = (address, "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(own) or elsewhere.append(request.url))
    for name in LOOKED_AT:
        assert page.goto(address + name).ok, name
        for found in axe.Axe().run(page, options=rules).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                wrong.append(f"{name}: {found['id']}: {found['nodes'][0]['html'][:120]}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{name}: {wide} pixels wide"] if wide > PHONE["width"] else []
        page.screenshot(path=PICTURES / f"site_{Path(name).parent.name}_{Path(name).stem}_{scheme}.png")
    context.close()
    assert wrong == [] and elsewhere == []
