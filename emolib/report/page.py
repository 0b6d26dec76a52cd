"""The report as files: one self-contained page, and each table as CSV."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from emolib import __version__
from emolib.atomic import write_file

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem }
body { margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } figure { margin: 1rem 0; overflow-x: auto } figure img { max-width: 100% }
figcaption { color: #555; font-size: 90% } .scroll { overflow-x: auto; max-height: 32rem; overflow-y: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 88% }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th { position: sticky; top: 0; background: #fff } .missing { color: #a33 }
"""


def write_report(
    folder: Path,
    title: str,
    figures: Mapping[str, Path],
    tables: Mapping[str, pd.DataFrame],
    missing: pd.DataFrame,
) -> Path:
    """Write ``report.html``, which needs no other file, and each table as ``<name>.csv``.

    Parameters
    ----------
    folder : Path
    title : str
    figures : mapping of caption to a png or svg file, which is put into the page
    tables : mapping of name to DataFrame; empty ones are named as such
    missing : DataFrame, as `findings.missing` returns it

    Returns
    -------
    page : Path
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _missing(missing)]
    for caption, path in figures.items():
        said = html.escape(caption)
        parts.append(
            f'<figure><img alt="{said}" src="{_data(path)}"><figcaption>{said}</figcaption></figure>'
        )
    for name, table in tables.items():
        write_file(folder / f"{name.replace(' ', '_')}.csv", table.to_csv(index=False).encode())
        parts += [f"<h2>{html.escape(name.capitalize())}</h2>", _table(table)]
    write_file(folder / "missing.csv", missing.to_csv(index=False).encode())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        + "\n".join(parts)
        + f"<p>Written by emolib {__version__}.</p></body></html>\n"
    )
    write_file(folder / "report.html", page.encode())
    return folder / "report.html"


def _missing(missing: pd.DataFrame) -> str:
    if missing.empty:
        return "<p>Nothing that was asked for is missing.</p>"
    n = f"{len(missing)} {'result is' if len(missing) == 1 else 'results are'}"
    return f'<h2 class="missing">{n} missing</h2>{_table(missing)}'


def _table(table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>No run has this.</p>"
    shown = table.to_html(index=False, border=0, escape=True, na_rep="", float_format=lambda x: f"{x:.3g}")
    return f'<div class="scroll">{shown}</div>'


def _data(path: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
