"""An executed notebook as a page of Markdown, its pictures and sounds as files beside it. It is not run."""

import base64
import html
import re
from dataclasses import dataclass, field
from pathlib import Path

import latex2mathml.converter
import nbformat
from nbformat import NotebookNode

#: A cell of more lines is folded: the page is for readers, and the code is a click away.
MOST_LINES = 12
_PLAYER = re.compile(r"\s*<audio\b[^>]*>.*?</audio>\s*", re.DOTALL)
_SOUND = re.compile(r'src="data:audio/(\w+);base64,([^"]+)"')
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class _Files:
    """Writes what a page shows into a folder of its own, numbered in order."""

    folder: Path
    written: int = field(default=0)

    def write(self, content: bytes, ending: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written += 1
        name = f"{self.written:02d}.{ending}"
        (self.folder / name).write_bytes(content)
        return f"{self.folder.name}/{name}"


def to_markdown(notebook: Path, page: Path) -> str:
    """Return a notebook as Markdown, and write its pictures and sounds beside the page.

    Players are named by what was printed before them, pictures by the file that the cell saves and by the
    section. Imports, parameters, environment, recorded results and long cells are folded, and outputs that a
    notebook hides.
    """
    files = _Files(page.with_suffix(""))
    parts, heading, seen_code = [], notebook.stem, False
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(_with_math(cell.source))
            heading = (re.findall(r"^#+ (.+)$", cell.source, flags=re.MULTILINE) or [heading])[-1]
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(_code_cell(cell, re.sub(r"^[\d ]+", "", heading), files, first=not seen_code))
            seen_code = True
    return "\n\n".join(parts) + "\n"


def _code_cell(cell: NotebookNode, heading: str, files: _Files, first: bool) -> str:
    code, tags = f"```python\n{cell.source}\n```", cell.metadata.get("tags", [])
    shown = "\n\n".join(_outputs(cell, heading, files))
    if "nbval-check-output" in tags:
        return _folded("Results that the tests compare", f"{code}\n\n{shown}")
    if "use_style()" in cell.source:
        return _folded("Environment", f"{code}\n\n{shown}")
    if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
        shown = _folded("Table", shown)
    lines = len(cell.source.splitlines())
    if "parameters" in tags:
        code = _folded("Parameters", code)
    elif first:
        code = _folded("Imports", code)
    elif lines > MOST_LINES or cell.metadata.get("jupyter", {}).get("source_hidden"):
        code = _folded(f"Code, {lines} lines", code)
    return f"{code}\n\n{shown}"


def _folded(summary: str, content: str) -> str:
    return f'<details class="folded" markdown="1"><summary>{summary}</summary>\n\n{content}\n\n</details>'


def _outputs(cell: NotebookNode, heading: str, files: _Files) -> list[str]:
    parts, name = [], None
    for number, output in enumerate(cell.outputs, 1):
        if any(map(_is_player, cell.outputs[number : number + 1])) and (name := _name(output)):
            continue  # what is printed before a player is its name, and stands beside it
        data = output.get("data", {})
        if _is_player(output):
            parts.append(_player(data["text/html"], name or f"{heading}, sound {number}", files))
        elif "application/vnd.jupyter.widget-view+json" in data:
            parts.append(_panel())
        elif "text/html" in data:
            parts.append(_markup(data["text/html"], heading, files))
        elif "text/markdown" in data:
            parts.append(data["text/markdown"])
        elif "image/png" in data:
            saved = re.findall(r'save_figure\(\w+, "\d\d_(\w+)"', cell.source)
            what = f"{saved[0].replace('_', ' ')}: {heading}" if saved else heading
            picture = files.write(base64.b64decode(data["image/png"]), "png")
            parts.append(f"![Figure, {html.escape(what)}; the text says what it shows.]({picture})")
        else:
            text = _ESCAPE.sub("", data.get("text/plain", output.get("text", ""))).rstrip()
            parts.append(f"```text\n{text}\n```" if text else "")
    return parts


def _is_player(output: NotebookNode) -> bool:
    return bool(_PLAYER.fullmatch(output.get("data", {}).get("text/html", "")))


def _name(output: NotebookNode) -> str | None:
    """Return a short printed line, or None where an output is anything else."""
    data = output.get("data", {})
    text = output.get("text") or (data.get("text/plain", "") if set(data) == {"text/plain"} else "")
    text = text.strip().strip("'\"")
    return text if text and "\n" not in text and len(text) < 100 else None


def _player(markup: str, name: str, files: _Files) -> str:
    caption = f"<figcaption>{html.escape(name)}</figcaption>"
    return f'<figure class="player">{caption}{_named(markup, name, files)}</figure>'


def _named(markup: str, name: str, files: _Files) -> str:
    """Return players with their sound in files, each loaded when it is wanted, and with a name."""

    def saved(match: re.Match[str]) -> str:
        return f'src="{files.write(base64.b64decode(match[2]), match[1])}"'

    markup = _SOUND.sub(saved, " ".join(markup.split()))
    label = "" if "aria-label" in markup else f' aria-label="{html.escape(name)}"'
    return markup.replace("<audio ", f'<audio preload="none"{label} ')


def _markup(markup: str, heading: str, files: _Files) -> str:
    """Return a table or another piece of HTML in a frame that can be scrolled by keyboard."""
    if 'class="dataframe"' in markup:
        markup = re.sub(r"<style scoped>.*?</style>", "", markup, flags=re.DOTALL)
        markup = markup.replace('<table border="1" class="dataframe">', '<table class="data">')
        markup = markup.replace("<th></th>", "<td></td>").replace("<p>", "<p class='size'>")
    if "<audio" in markup:
        markup = _named(markup, heading, files)
    markup = "\n".join(line for line in markup.splitlines() if line.strip())
    frame = f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(heading)}">'
    return f"{frame}\n{markup}\n</div>"


def _panel() -> str:
    return (
        "**A live panel** with sliders stands here in JupyterLab (`make lab`) and in `make app`. "
        "[Steer a voice in this browser](../play/index.html) without either."
    )


def _with_math(text: str) -> str:
    """Return Markdown with its formulas as MathML, which browsers draw without a script."""
    return re.sub(r"\$([^$\n]+)\$", lambda match: latex2mathml.converter.convert(match[1]), text)
