"""The page to play with, opened as a file: a key changes the sound at once, and nothing is asked for."""

import importlib
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from servers import PICTURES, ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))
door = importlib.import_module("door")

#: Notes when a key goes down, and every eighth sample of what the page then gives to the loudspeaker.
EAVESDROP = """
window.given = [];
addEventListener("keydown", () => { window.pressed = performance.now(); }, true);
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) {
  const ms = performance.now() - window.pressed, samples = this.buffer.getChannelData(0);
  window.given.push([ms, [...samples.filter((_, n) => n % 8 === 0)]]);
  return start.apply(this, when);
};
"""


def until(page, condition: str, given: object = None, *, seconds: float = 20) -> None:
    """Wait for a condition in the page, whose policy allows Playwright's own waiting its first look only."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, given):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(10)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The page, built anew, or that of the site in EMOLIB_SITE."""
    if site := os.environ.get("EMOLIB_SITE"):
        return Path(site) / "play" / "index.html"
    return door.build(tmp_path_factory.mktemp("door") / "play" / "index.html")


@pytest.fixture
def page(browser, path):
    """The page at the width of a phone; it must have no errors, and ask for nothing but itself."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page, wrong = context.new_page(), []
    own = (path.as_uri(), "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(own) or wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.add_init_script(EAVESDROP)
    page.goto(path.as_uri())
    until(page, "document.getElementById('said').textContent !== ''", seconds=60)
    yield page
    context.close()
    assert wrong == []


def given(page, key: str) -> tuple[float, np.ndarray]:
    """Press a key on the dial; return ms until a sound starts, and its samples."""
    n = page.evaluate("window.given.length")
    page.locator("#dial").press(key)
    until(page, "n => window.given.length > n", n)
    ms, samples = page.evaluate("window.given.at(-1)")
    return ms, np.array(samples)


def test_it_is_one_small_file(path):
    assert 1e6 < path.stat().st_size < 20e6


def test_a_key_changes_the_samples_at_once(page):
    keys = ["ArrowRight"] * 4 + ["ArrowLeft"] * 8
    sounds = [given(page, key) for key in keys]
    waits_ms = [ms for ms, _ in sounds]
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "door_latency.json").write_text(json.dumps({"ms_to_sound": waits_ms}))
    page.screenshot(path=PICTURES / "door.png", full_page=True)
    assert max(waits_ms) < 300
    for (_, one), (_, other) in pairwise(sounds):
        n = min(len(one), len(other))
        assert np.sqrt(np.mean(one**2)) > 0.01  # speech, not silence
        assert np.sqrt(np.mean((one[:n] - other[:n]) ** 2)) > 0.1 * np.sqrt(np.mean(one**2))
    strong, opposite = sounds[3][1], sounds[-1][1]
    assert abs(len(strong) / len(opposite) - 1) > 0.02  # timing moves, too


def test_another_voice_sounds_other_and_the_plane_is_read_by_keyboard(page):
    _, one = given(page, "ArrowRight")
    page.locator("#voice").select_option(index=1)
    until(page, "window.given.length > 1")
    other = np.array(page.evaluate("window.given.at(-1)[1]"))
    assert len(one) != len(other)
    page.locator("#plane").press("ArrowRight")
    first = page.locator("#point").inner_text()
    page.locator("#plane").press("ArrowRight")
    assert "arousal" in first and page.locator("#point").inner_text() != first
    page.locator("#shown").select_option("sad")
    page.locator("#plane").press("ArrowRight")
    assert page.locator("#point").inner_text().startswith("sad")
