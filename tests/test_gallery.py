"""The page of clips: its sounds decode, nothing is loaded from elsewhere, and what doesn't fit is refused."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile as sf

from emolib import report
from emolib.report import Clip, Table

RATE = 22_050


def tone(hertz: float = 220.0, seconds: float = 0.5) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture
def page(tmp_path):
    sad = Clip(tone(), {"sad": 0.7, "angry": 0.1, "neutral": 0.2}, ["10.3 bits", "cosine 0.76"])
    angry = Clip(tone(330), {"sad": 0.1, "angry": 0.9})
    table = Table(
        "By <lambda>", "Fine & coarse.", ["fine", "coarse"], {"sad": [sad, sad], "book": [angry, None]}
    )
    path = report.write_page(tmp_path / "page.html", "Heard", "What is it?", [table], RATE)
    return path.read_text(encoding="utf-8")


def test_every_sound_decodes_to_its_clip_and_equal_ones_are_kept_once(page):
    (clips,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', page, flags=re.DOTALL)
    sounds = [sf.read(io.BytesIO(base64.b64decode(text))) for text in json.loads(clips)]
    assert len(sounds) == 2 and re.findall(r'data-clip="(\d)"', page) == ["0", "0", "1"]
    for (samples, rate), hertz in zip(sounds, (220, 330), strict=True):
        assert rate == report.SAMPLE_RATE and len(samples) == pytest.approx(0.5 * rate, rel=0.01)
        spectrum = np.abs(np.fft.rfft(samples))
        assert spectrum.argmax() * rate / len(samples) == pytest.approx(hertz, abs=5)


def test_equal_waves_give_equal_bytes():
    assert report.mp3(tone(), RATE) == report.mp3(tone(), RATE) != report.mp3(tone(230), RATE)


def test_it_loads_nothing_and_is_well_formed(page):
    assert not re.search(r"<link|<img|href\s*=|\ssrc\s*=\s*[\"'](?!data:)|@import|url\(|https?:", page)
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "i"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            if tag != "i":
                assert open_tags.pop() == tag

    Balance().feed(page)
    assert not open_tags and page.startswith("<!doctype html>")
    assert "By &lt;lambda&gt;" in page and "Fine &amp; coarse." in page


def test_each_button_says_what_it_plays_and_what_was_heard(page):
    labels = re.findall(r'aria-label="(.*?)"', page)
    assert "sad, fine: play 0.5 seconds; heard as sad 70%, neutral 20%" in labels
    assert page.count("<button") == 3 and "10.3 bits" in page and "ArrowRight" in page
    assert "prefers-color-scheme: dark" in page


def test_what_does_not_fit_is_refused(tmp_path):
    clip = Clip(tone(), {"sad": 1.0})
    uneven = Table("t", "", ["a", "b"], {"sad": [clip]})
    with pytest.raises(ValueError, match="row 'sad' of 1 cells; expected 2"):
        report.write_page(tmp_path / "page.html", "", "", [uneven], RATE)
    with pytest.raises(ValueError, match="show fewer or shorter clips"):
        report.write_page(
            tmp_path / "page.html", "", "", [Table("t", "", ["a"], {"sad": [clip]})], RATE, most_mb=1e-3
        )
    assert not (tmp_path / "page.html").exists()
