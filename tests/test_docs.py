"""The documentation is true: its snippets run, its links lead somewhere, its scores are what comes out."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emolib import corpora
from emolib.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "*/README.md", "models/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]
RECIPES = (ROOT / "docs" / "recipes.md").read_text()
SCORES = re.findall(r"^\| `emolib (.+?)` \| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", RECIPES, flags=re.M)


def test_the_gallery_shows_every_figure():
    shown = set(re.findall(r"\]\((\w+\.png)\)", (ROOT / "figures" / "README.md").read_text()))
    assert shown == {path.name for path in (ROOT / "figures").glob("*.png")}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


def test_the_corpus_of_twenty_lines(tmp_path, monkeypatch):
    """Its parser reads a folder named as it says, and reports the file that isn't."""
    (snippet,) = re.findall(r"```python\n(.*?)```", RECIPES, flags=re.S)
    folder = tmp_path / "corpora" / "mine"
    folder.mkdir(parents=True)
    demo = corpora.load("demo").groupby("speaker").head(1)["path"].tolist()
    for path, name in zip(demo, ("anna_anger_t1", "anna_joy_t2", "ben_fear_t1", "notes"), strict=False):
        shutil.copy(path, folder / f"{name}.flac")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    table = corpora.load("folder", table=tmp_path / "mine.csv")
    assert table[["speaker", "emotion", "text_id"]].to_numpy().tolist() == [
        ["mine-anna", "angry", "t1"],
        ["mine-anna", "happy", "t2"],
        ["mine-ben", "fearful", "t1"],
    ]
    code = snippet.split('"""Yield')[0].splitlines()
    assert len(snippet.splitlines()) - len(code) < 20


def test_scores_of_the_embedded_corpus_are_those_expected():
    expected = [row for row in SCORES if " demo " in row[0]]
    assert len(expected) >= 3
    found = {}
    for command, key, value, tolerance in expected:
        if command not in found:
            printed = CliRunner().invoke(app, command.split()).stdout
            found[command] = json.loads(printed.splitlines()[-1])
        assert found[command][key] == pytest.approx(float(value), abs=float(tolerance)), command


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.anchors, self.links = set(), set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])


def test_api_pages_have_no_dead_links(tmp_path):
    """As `make docs` builds them; every module has a page, and each link within the pages has its target."""
    command = [sys.executable, "-m", "pdoc", "--docformat", "numpy", "emolib", "-o", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    pages = {}
    for path in tmp_path.rglob("*.html"):
        pages[path] = page = _Page()
        page.feed(path.read_text())
    public = [p for p in (ROOT / "emolib").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    assert {p.stem for p in public} - {"__init__"} <= {p.stem for p in pages}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" in target or link.startswith("mailto:"):
                continue
            where = (path.parent / target).resolve() if target else path
            if where not in pages or (anchor and anchor not in pages[where].anchors):
                dead.append((path.name, link))
    assert dead == []
