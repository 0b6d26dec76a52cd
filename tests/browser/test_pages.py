"""The interactive parts in a real browser, by keyboard and mouse, in JupyterLab and in Voila."""

import contextlib
import hashlib
import json
import re
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile as sf
from playwright import sync_api
from servers import BIN, PICTURES, ROOT, free_port, serving


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder with the steering notebook up to its panel, and settings that keep Jupyter's news away."""
    place = tmp_path_factory.mktemp("jupyter")
    notebook = nbformat.read(ROOT / "notebooks" / "04_steering.ipynb", as_version=4)
    [panel] = [n for n, cell in enumerate(notebook.cells) if "SteeringPanel(" in cell.source]
    notebook.cells = notebook.cells[: panel + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":  # so that a number beside a cell says that it ran here
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, place / "04_steering.ipynb")
    settings = place / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    return place


@pytest.fixture
def page(browser):
    """A page that must ask nothing of any other machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    elsewhere: list[str] = []
    own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else elsewhere.append(request.url))
    yield page
    context.close()
    assert not elsewhere, f"asked for {elsewhere}"


#: Counts the code cells with one of some marks: a star for one that is to run, a number for one that has run.
MARKED = """pattern => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
  .filter(prompt => prompt.textContent.match(pattern)).length"""


def run_all(page):
    """Run every cell by the menu, again where a starting kernel took none up, and wait for the last one.

    The kernel's own light is no witness: it also goes on and off while a kernel starts.
    """
    for _ in range(4):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
        with contextlib.suppress(sync_api.TimeoutError):
            page.wait_for_function(MARKED, arg=r"\d|\*", timeout=30_000)
            page.wait_for_function(f"pattern => ({MARKED})(pattern) === 0", arg=r"\*", timeout=600_000)
            break
    raised = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    assert not raised.count(), raised.first.inner_text()
    assert page.evaluate(MARKED, r"\d") == page.locator(".jp-CodeCell").count(), "not every cell has run"


@pytest.fixture
def lab(page, folder):
    """The steering notebook in JupyterLab, run from its first cell to its panel."""
    port = free_port()
    command = [str(BIN / "jupyter"), "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
               f"--ServerApp.root_dir={folder}",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    # on a busy machine JupyterLab asks whether to go on loading
    page.add_locator_handler(page.get_by_role("button", name="Keep Waiting"), lambda button: button.click())
    with serving(command, port, folder) as address:
        page.goto(f"{address}/lab/workspaces/auto-test/tree/04_steering.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        idle = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
        page.wait_for_selector(idle, state="attached", timeout=120_000)
        run_all(page)
        yield page


@pytest.fixture
def voila(page, folder):
    """The page of `make app`, once its first clip has been steered."""
    [line] = re.findall(
        r"^\t(JUPYTER_PATH=.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    port = free_port()
    options = f"--no-browser --port={port} --Voila.ip=127.0.0.1"
    command = ["sh", "-c", f"cd '{ROOT}' && {line.replace('$(BIN)', str(BIN))} {options}"]
    with serving(command, port, folder) as address:
        started = time.perf_counter()
        page.goto(address, wait_until="domcontentloaded", timeout=120_000)
        wait_for(page, "delta +0.80")
        told = {"s_to_first_sound": time.perf_counter() - started}
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / "voila_first_sound.json").write_text(json.dumps(told))
        page.wait_for_selector("svg[data-emolib=judge]", timeout=120_000)
        yield page


#: The source of the player named "after", which changes when there is something new to hear.
AFTER = "document.querySelectorAll('.emolib-panel audio')[1].src"
STATUS = "span[role=status], span[role=alert]:not(:empty)"  # the panel's, not the empty one of its upload
#: Starts a clock, presses End or Home on the slider and waits for the player's new source.
TIMED_PRESS = """async (key) => {
  const player = document.querySelectorAll('.emolib-panel audio')[1];
  const before = player.src, started = performance.now();
  const handle = document.querySelector('.widget-slider .noUi-handle');
  handle.focus();
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  while (player.src === before) await new Promise((go) => setTimeout(go, 2));
  return performance.now() - started;
}"""


def opened(page):
    """Wait for the panel and return its slider's handle."""
    page.wait_for_selector(".emolib-pad", timeout=120_000)
    page.wait_for_selector("svg[data-emolib=judge]", timeout=120_000)
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.scroll_into_view_if_needed()
    return handle


def seen(page) -> dict[str, str]:
    """Return what a person hears and sees now."""
    return {
        "sound": page.evaluate(AFTER),
        "words": page.locator(STATUS).first.inner_text(),
        "bars": page.locator("svg[data-emolib=judge]").evaluate("e => e.outerHTML"),
        "plane": page.locator("[data-emolib=plane]").evaluate("e => e.outerHTML"),
        "pitch": page.locator("svg[data-emolib=f0]").evaluate("e => e.outerHTML"),
        "mel": page.locator("img[data-emolib=mel-after]").get_attribute("src") or "",
    }


def seen_anew(page, before: dict[str, str]) -> dict[str, str]:
    """Return what is heard and seen once every part differs from before; a page draws them one by one."""
    for _ in range(100):
        now = seen(page)
        same = [part for part in before if now[part] == before[part]]
        if not same:
            return now
        page.wait_for_timeout(100)
    raise AssertionError(f"{', '.join(same)} did not follow the slider")


def wait_for(page, words: str):
    page.wait_for_function(
        "words => [...document.querySelectorAll('[role=status], [role=alert]')]"
        ".some(e => e.innerText.includes(words))",
        arg=words,
        timeout=600_000,
    )


def use(page, name: str):
    """Move everything that moves; return how long a new sound took, in ms."""
    handle = opened(page)
    first = seen(page)
    handle.focus()
    start = float(handle.get_attribute("aria-valuenow") or 0)
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    wait_for(page, f"delta {start - 0.2:+.2f}")
    second = seen_anew(page, first)
    playable = page.evaluate(
        "async () => { const a = document.querySelectorAll('.emolib-panel audio')[1]; a.load();"
        " await new Promise(go => { a.onloadedmetadata = go; setTimeout(go, 5000); });"
        " return [a.duration, a.error && a.error.code]; }"
    )
    assert playable[0] > 0.5 and playable[1] is None
    page.screenshot(path=PICTURES / f"{name}_slider.png")

    waits_ms = [page.evaluate(TIMED_PRESS, key) for key in ("End", "Home", "End", "Home", "End")]
    wait_for(page, "delta +1.00")  # the pictures come after the sound, and the page may move as they do

    pad = page.locator(".emolib-pad").first
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"], steps=5)
    page.mouse.up()
    wait_for(page, "toward valence -0")
    third = seen(page)
    assert third["sound"] != second["sound"] and third["pitch"] != second["pitch"]
    page.screenshot(path=PICTURES / f"{name}_pad.png")
    return waits_ms


@pytest.mark.parametrize("place", ["lab", "voila"])
def test_sound_and_pictures_follow_the_slider_and_the_pad(place, request):
    PICTURES.mkdir(parents=True, exist_ok=True)
    waits_ms = use(request.getfixturevalue(place), place)
    (PICTURES / f"{place}_latency.json").write_text(json.dumps({"ms_to_sound": waits_ms}))


def test_the_app_fits_a_phone_and_names_what_it_cannot_take(voila, tmp_path):
    def columns(width: int) -> int:
        voila.set_viewport_size({"width": width, "height": 1400})
        lefts = voila.locator(".emolib-panel > *").evaluate_all(
            "parts => parts.map(part => Math.round(part.getBoundingClientRect().left))"
        )
        cut = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('#rendered_cells'))"
        assert voila.evaluate(cut) <= 0, "a part is wider than the page"
        voila.screenshot(path=PICTURES / f"app_{width}.png")
        return len(set(lefts))

    PICTURES.mkdir(parents=True, exist_ok=True)
    assert columns(1100) == 2 and columns(390) == 1
    sound = voila.evaluate(AFTER)
    with (tmp_path / "vast.wav").open("wb") as file:
        file.truncate(150_000_001)
    (tmp_path / "broken.wav").write_text("no sound")
    sf.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    for name, reason in (("vast", "150 MB"), ("broken", "not readable"), ("silent", "silent (")):
        voila.locator(".emolib-upload input").set_input_files(tmp_path / f"{name}.wav")
        voila.wait_for_function(
            "words => [...document.querySelectorAll('[role=alert]')]"
            ".some(alert => words.every(word => alert.innerText.includes(word)))",
            arg=[f"{name}.wav", reason],
            timeout=60_000,
        )
    assert voila.evaluate(AFTER) == sound


def test_the_app_is_used_by_keyboard_alone(voila):
    """Tab reaches every control, in this order, and the ring moves by an arrow key."""
    reached = []
    for _ in range(30):
        voila.keyboard.press("Tab")
        reached.append(
            voila.evaluate(
                "(e => e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.tagName)"
                "(document.activeElement)"
            ).strip()
        )
        if reached[-1] == "a point on the plane of valence and arousal":
            break
    wanted = ["speaker", "sentence", "source", "target", "delta", "record", "play each change", "save"]
    assert [name for name in reached if name in wanted] == wanted
    sound = voila.evaluate(AFTER)
    voila.keyboard.press("ArrowUp")
    wait_for(voila, "toward valence +0.00, arousal +0.10")
    assert voila.evaluate(AFTER) != sound


UPLOAD = """
import hashlib
from ipywidgets import HTML, VBox
from emolib.widgets import Upload
words = HTML("nothing yet")
def take(name, content):
    words.value = f"{name} {len(content)} {hashlib.sha256(content).hexdigest()}"
upload = Upload(take)
upload.most_bytes = 24_000_000
VBox([upload, words])
"""


@contextlib.contextmanager
def as_page(page, folder: Path, cell: str):
    """Show one cell as a Voila page, as `make app` serves it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "cell.ipynb")
    port = free_port()
    command = [
        str(BIN / "voila"),
        "cell.ipynb",
        "--template=emolib",
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
    ]
    with serving(command, port, folder) as address:
        page.goto(address, wait_until="domcontentloaded", timeout=300_000)
        yield page


def test_an_upload_of_more_than_one_message_holds_arrives(page, tmp_path):
    """Tornado closes the connection at 10 MB; what is over the limit is refused in the page."""
    content = bytes(range(256)) * 80_000
    (tmp_path / "own.wav").write_bytes(content)
    (tmp_path / "vast.wav").write_bytes(bytes(25_000_000))
    with as_page(page, tmp_path, UPLOAD):
        chooser = page.locator(".emolib-upload input")
        chooser.wait_for(timeout=300_000)
        chooser.set_input_files(tmp_path / "vast.wav")
        wait_for(page, "vast.wav: it has 25 MB; expected at most 24 MB: cut it first")
        chooser.set_input_files(tmp_path / "own.wav")
        told = f"own.wav {len(content)} {hashlib.sha256(content).hexdigest()}"
        page.wait_for_function("w => document.body.innerText.includes(w)", arg=told, timeout=60_000)
        assert page.locator(".emolib-upload [role=alert]").inner_text() == ""


CELL = """
from emolib import corpora, widgets
manifest = corpora.load("demo").iloc[:3]
widgets.AudibleScatter([[-0.5, 0.5], [0.5, 0.5], [0.0, -0.5]], manifest)
"""


@pytest.fixture
def scatter(page, tmp_path):
    with as_page(page, tmp_path, CELL):
        page.wait_for_selector(".emolib-scatter", timeout=300_000)
        yield page


def test_a_click_chooses_and_plays(scatter):
    def named(words: str) -> None:
        scatter.wait_for_function("w => document.body.innerText.includes(w)", arg=words, timeout=20_000)

    def wait_for_sound(before: str) -> str:
        source = "document.querySelector('audio').src"
        scatter.wait_for_function(f"old => {source} !== old", arg=before, timeout=20_000)
        return scatter.evaluate(source)

    box = scatter.locator(".emolib-scatter").bounding_box()
    silence = scatter.evaluate("document.querySelector('audio').src")
    named("click a point")
    scatter.mouse.click(box["x"] + 0.72 * box["width"], box["y"] + 0.28 * box["height"])
    named("valence +0.50, arousal +0.50")
    first = wait_for_sound(silence)
    scatter.locator(".emolib-scatter").press("ArrowRight")
    named("valence +0.00, arousal -0.50")
    assert wait_for_sound(first).startswith("blob:")
    PICTURES.mkdir(parents=True, exist_ok=True)
    scatter.screenshot(path=PICTURES / "scatter.png")
