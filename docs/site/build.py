"""Build the site: `make site` writes build/site, a folder that any static host serves and a browser opens.

Pages are gathered in build/pages in the checkout's own layout, so that links lead where they lead on GitHub:
notebooks become Markdown, and each corpus gets a page of its own. MkDocs (Material) makes HTML of them, and
mkdocstrings the pages of the package. A dead link, a missing page or anything asked of another machine stops
the build.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import door
import notebook
import pandas as pd
import yaml

from emolib import corpora, splits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Copied as they are; Markdown among them becomes pages.
TAKEN = (
    "README.md", "CHANGELOG.md", "docs/*.md", "docs/img/*", "figures/*", "models/README.md",
    "models/*/README.md", "data/README.md", "data/embeddings/*/README.md", "benchmarks/*.md",
)  # fmt: skip
GUIDES = {
    "Recipes": "docs/recipes.md", "Architecture": "docs/architecture.md",
    "Published splits": "docs/splits.md", "Shipped embeddings": "docs/embeddings.md",
    "Scale": "docs/scale.md", "A cluster": "docs/slurm.md", "Faults": "docs/faults.md",
    "Side by side": "benchmarks/RESULTS.md", "Colab": "docs/colab.md", "Changes": "CHANGELOG.md",
}  # fmt: skip
#: The line before a list that follows its paragraph without an empty line.
_LIST = re.compile(r"^(?![-*|] |\d+\. |\s|$)(.+)\n(?=[-*] |1\. )", re.MULTILINE)
_ADDRESS = re.compile(r"(?:url\(|@import\s*)[\"']?((?:https?:)?//[^)\"']+)")
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def build(to: Path) -> Path:
    """Write the pages into `to`/pages and the site into `to`/site; return the latter."""
    pages, site = to / "pages", to / "site"
    for folder in (pages, site):
        shutil.rmtree(folder, ignore_errors=True)
    gather(pages)
    door.build(pages / "play" / "index.html")
    settings = to / "mkdocs.yml"
    own = {"INHERIT": str(HERE / "mkdocs.yml"), "docs_dir": str(pages), "site_dir": str(site)}
    settings.write_text(yaml.safe_dump(own | {"nav": navigation(pages)}, sort_keys=False))
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", str(settings)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    if wrong := [*dead_links(site), *asked_elsewhere(site)]:
        raise SystemExit("\n".join(["the site is not fit to be read:", *wrong]))
    return site


# ------------------------------------------------------------------------------------- pages


def gather(pages: Path) -> None:
    """Copy and write what MkDocs reads."""
    for path in sorted(path for pattern in TAKEN for path in ROOT.glob(pattern) if path.is_file()):
        _copy(path, pages)
    for path in sorted([*ROOT.glob("notebooks/[0-9]*.ipynb"), ROOT / "docs" / "colab.ipynb"]):
        page = (pages / path.relative_to(ROOT)).with_suffix(".md")
        _write(page, notebook.to_markdown(path, page) + run_elsewhere(path.name))
    for part in parts():
        name = "emolib" if part == "emolib" else f"emolib.{part}"
        _write(pages / "api" / f"{part}.md", f"# {name}\n\n::: {name}\n")
    for name in corpora.names():
        _write(pages / "corpora" / f"{name}.md", corpus_page(name))
    _write(pages / "corpora" / "index.md", corpora_page())
    for name in ("site.css", "site.js"):
        shutil.copy(HERE / name, pages)
    for page in sorted(pages.rglob("*.md")):
        page.write_text(_for_mkdocs(page.read_text(), page.relative_to(pages), pages))


def run_elsewhere(name: str, address: str | None = None) -> str:
    """Return links to Colab and Binder, or nothing while pyproject.toml names no address on GitHub."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    address = project["tool"]["emolib"]["repository"] if address is None else address
    if "github.com/" not in address:
        return ""
    owned = address.split("github.com/")[1].removesuffix(".git").strip("/")
    colab = f"https://colab.research.google.com/github/{owned}/blob/HEAD/docs/colab.ipynb"
    binder = f"https://mybinder.org/v2/gh/{owned}/HEAD?urlpath=lab/tree/notebooks/{name}"
    return f"\n[Run it in Colab]({colab}) or in [Binder]({binder}).\n"


def parts() -> list[str]:
    """Return what the package has a page for: itself, then its modules and folders."""
    found = [path.name.removesuffix(".py") for path in (ROOT / "emolib").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").is_file()]  # fmt: skip
    return ["emolib", *sorted(name for name in found if not name.startswith("_"))]


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def _copy(path: Path, pages: Path) -> None:
    to = pages / path.relative_to(ROOT)
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)


def _for_mkdocs(text: str, page: Path, pages: Path) -> str:
    """Return a page with links to notebooks and code led to their pages, and lists as MkDocs wants them."""

    def led(match: re.Match[str]) -> str:
        target = match[2]
        where = Path(os.path.normpath(page.parent / target))
        if "://" in target or (pages / where).exists():
            return match[0]
        if where.suffix == ".ipynb":
            target = target.removesuffix(".ipynb") + ".md"
        elif where.parts[0] == "emolib" and where.suffix == ".py":
            part = where.parts[1].removesuffix(".py").replace("__init__", "emolib")
            target = os.path.relpath(f"api/{part}.md", page.parent)
        elif (ROOT / where).is_file():
            _copy(ROOT / where, pages)
        return match[1] + target + match[3]

    outside_code = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    for n in range(0, len(outside_code), 2):
        part = _LINK.sub(led, outside_code[n])
        outside_code[n] = _LIST.sub(r"\1\n\n", part)
    return "".join(outside_code)


def navigation(pages: Path) -> list:
    """Return the list of pages: what MkDocs calls nav."""

    def found(pattern: str) -> list[str]:
        return [path.relative_to(pages).as_posix() for path in sorted(pages.glob(pattern))]

    def named(pattern: str) -> list[dict[str, str]]:
        return [{page.split("/")[-2]: page} for page in found(pattern)]

    of_corpora = [{name: f"corpora/{name}.md"} for name in corpora.names()]
    return [
        {"emolib": "README.md"},
        {"Play": "play/index.html"},
        {"Notebooks": found("notebooks/*.md")},
        {"Gallery": "figures/README.md"},
        {"Guides": [{title: page} for title, page in GUIDES.items()]},
        {"Corpora": ["corpora/index.md", *of_corpora]},
        {"Models": ["models/README.md", *named("models/*/README.md")]},
        {"Data": ["data/README.md", *named("data/embeddings/*/README.md")]},
        {"API": [{part: f"api/{part}.md"} for part in parts()]},
    ]


# ------------------------------------------------------------------------------------- corpora


def corpora_page() -> str:
    """Return the table of all corpora."""
    cards = [corpora.info(name) for name in corpora.names()]
    rows = [
        f"| [{card.name}]({card.name}.md) | {card.title} | {card.language} | {_or(card.clips)} "
        f"| {_or(card.speakers)} | {card.licence} |"
        for card in cards
    ]
    head = "| corpus | what it is | language | clips | speakers | licence |\n|---|---|---|---|---|---|\n"
    return "# Corpora\n\nClips and speakers as published.\n\n" + head + "\n".join(rows) + "\n"


def corpus_page(name: str) -> str:
    """Return a corpus's page: licence, how to get it, its clips, and what folds of it share."""
    card = corpora.info(name)
    facts = {
        "what it is": card.title, "language": card.language or "any", "licence": card.licence,
        "cite": card.citation, "clips, as published": _or(card.clips),
        "speakers, as published": _or(card.speakers), "source": card.source,
    }  # fmt: skip
    table = "".join(f"| {key} | {value} |\n" for key, value in facts.items())
    get = "It is rendered at first use." if name == "demo" else f"To get it, {corpora.way_to_get(name)}."
    parts = [f"# {name}", f"| corpus | {name} |\n|---|---|\n" + table, get]
    shipped = ROOT / "data" / "embeddings" / name / "manifest.csv"
    if name == "demo" or shipped.is_file():
        clips = corpora.load("demo") if name == "demo" else corpora.read(shipped, paths=False)
        parts += [*_clips(clips), *_folds(clips)]
    if shipped.is_file():
        parts.append(f"[The card of its shipped embeddings](../data/embeddings/{name}/README.md).")
    return "\n\n".join(parts) + "\n"


def _or(number: int | None) -> str:
    return "depends on the copy" if number is None else f"{number:,}"


def _clips(clips: pd.DataFrame) -> Iterator[str]:
    counts = clips["emotion"].value_counts()
    yield "## Clips"
    hours = clips["duration_s"].sum() / 3600
    speakers, texts = clips["speaker"].nunique(), clips["text_id"].nunique()
    yield f"{len(clips):,} clips, {speakers} speakers, {texts} sentences, {hours:.1f} hours."
    yield "| emotion | clips |\n|---|---|\n" + "".join(f"| {word} | {n:,} |\n" for word, n in counts.items())


def _folds(clips: pd.DataFrame) -> Iterator[str]:
    """Yield the audit of each scheme that can be made of a corpus."""
    schemes = ["speaker", "loso", "text", "speaker+text", "random"]
    if set(clips["corpus"]) == {"ravdess"}:
        schemes.insert(0, "emobox")
    yield "## Folds, and what leaks"
    yield "Known: also in the training set. Means over folds."
    rows = []
    for scheme in schemes:
        audit = splits.audit(clips, splits.folds(clips, scheme))
        means = audit.mean()
        rows.append(
            f"| `{scheme}` | {len(audit)} | {means['train']:,.0f} / {means['test']:,.0f} "
            f"| {means['of_known_speakers']:.0%} "
            f"| {means['shared_sentences']:.0f} of {means['test_sentences']:.0f} |"
        )
    head = "| `--folds` | folds | training / test clips | test clips of known speakers | known sentences |\n"
    yield head + "|---|---|---|---|---|\n" + "\n".join(rows)
    yield "Only folds without known speakers say something about a new speaker. " \
          "[Published splits, audited](../docs/splits.md)."  # fmt: skip


# ------------------------------------------------------------------------------------- checks


class _Read(HTMLParser):
    """The anchors of a page, its links, and what a browser would load with it."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a":
            self.links |= {given["href"]} if "href" in given else set()
        elif tag != "link" or given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded |= {given[name] for name in ("src", "href", "data", "poster") if name in given}


def dead_links(site: Path) -> list[str]:
    """Return each link within the built pages, and each file that they load, that leads nowhere."""
    pages = {path.resolve(): _Read(path.read_text()) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links | page.loaded):
            if re.match(r"[a-z]+:|//", link) or path.name == "404.html":
                continue
            target, _, anchor = unquote(link).partition("#")
            where = (path.parent / target.partition("?")[0]).resolve() if target else path
            where = where / "index.html" if where.is_dir() else where
            known = pages[where].anchors if where in pages else {anchor}
            if not where.is_file() or (anchor and anchor not in known and not anchor.startswith("__")):
                dead.append(f"{path.relative_to(site.resolve())}: dead link {link}")
    return dead


def asked_elsewhere(site: Path) -> list[str]:
    """Return what the built pages would load from another machine: scripts, styles, fonts, pictures."""
    found = []
    for path in sorted(site.rglob("*.html")):
        loaded = _Read(path.read_text()).loaded
        found += [(path, address) for address in loaded if re.match("https?:|//", address)]
    for path in sorted(site.rglob("*.css")):
        found += [(path, address) for address in _ADDRESS.findall(path.read_text())]
    return [f"{path.relative_to(site)}: loads {address}" for path, address in found]


if __name__ == "__main__":
    warnings.simplefilter("ignore", corpora.NoAudioWarning)
    print(f"open {build(ROOT / 'build')}/index.html")
