"""The steering notebook in a real browser: slider by keyboard, pad by mouse, and what is heard and seen."""

import json

import pytest
from conftest import PICTURES

#: The source of the player named "after", which changes when there is something new to hear.
AFTER = "document.querySelectorAll('audio')[1].src"
STATUS = "[role=status], [role=alert]"
#: Starts a clock, presses End or Home on the slider and waits for the player's new source.
TIMED_PRESS = """async (key) => {
  const player = document.querySelectorAll('audio')[1], before = player.src, started = performance.now();
  const handle = document.querySelector('.widget-slider .noUi-handle');
  handle.focus();
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  while (player.src === before) await new Promise((go) => setTimeout(go, 2));
  return performance.now() - started;
}"""


def opened(page):
    """Wait for the panel and return its slider's handle."""
    page.wait_for_selector(".emolib-pad", timeout=600_000)
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
        "plane": page.locator("svg[data-emolib=plane]").evaluate("e => e.outerHTML"),
        "pitch": page.locator("svg[data-emolib=f0]").evaluate("e => e.outerHTML"),
        "mel": page.locator("img[data-emolib=mel-after]").get_attribute("src") or "",
    }


def wait_for(page, words: str):
    page.wait_for_function(
        "words => [...document.querySelectorAll('[role=status], [role=alert]')]"
        ".some(e => e.innerText.includes(words))",
        arg=words,
        timeout=60_000,
    )


def use(page, name: str):
    """Move everything that moves; return how long a new sound took, in ms."""
    handle = opened(page)
    first = seen(page)
    handle.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_for(page, "delta +0.20")
    second = seen(page)
    assert all(first[part] != second[part] for part in first), "all follows the slider"
    playable = page.evaluate(
        "async () => { const a = document.querySelectorAll('audio')[1]; a.load();"
        " await new Promise(go => { a.onloadedmetadata = go; setTimeout(go, 5000); });"
        " return [a.duration, a.error && a.error.code]; }"
    )
    assert playable[0] > 0.5 and playable[1] is None
    page.screenshot(path=PICTURES / f"{name}_slider.png")

    waits_ms = [page.evaluate(TIMED_PRESS, key) for key in ("End", "Home", "End", "Home", "End")]

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
