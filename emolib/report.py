"""The pages: what all runs together say and what is missing, and clips that can be heard beside each other.

`gather` finds the findings of one run, of a sweep, of every run, or those that are committed; `tables`
turns them into the report's tables, `missing` lists what has no result, `write_report` writes one
self-contained page and the tables as CSV.

`write_page` writes a page of clips with its sounds inside it, as MP3: nothing else is loaded, from this
machine or from the network. Every clip is a button that the keyboard reaches as well, with the emotions below
that a judge gave it.
"""

import base64
import contextlib
import html
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile as sf

from emolib import __version__, audio, emotions, paths
from emolib.audio import Wave
from emolib.files import read_json, write_file
from emolib.results import Number

#: The notebook that reports; it is no part of what it reports on.
OWN = "08_report"
WHO = ["corpus", "encoder", "seed"]
#: Of each table, the notebook, the figure whose numbers it joins, and their columns.
_FIGURES = {
    "layer curves": ("01_probing_layers", "01_layer_curve", ["features", "layer", "low", "high", "value"]),
    "axis transfer": (
        "02_axis_construction", "02_transfer", ["method", "fitted on", "tried on", "low", "high", "value"],
    ),
    "ccc": ("05_av_reduction", "05_ccc", ["placed by", "axis", "low", "high", "value"]),
    "rates": ("06_codebook_analysis", "06_rate_curves", ["lam", "bits", "similarity", "accuracy"]),
}  # fmt: skip


# ------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Finding:
    """What one execution of one notebook found.

    Attributes
    ----------
    run : str; its run's folder below ``runs/``, or "notebooks" for the committed results
    notebook : str
    who : dict of corpus (of a table of one's own, the table's name), encoder and seed
    others : str; the other parameters that it was given, apart from where data lie and what computes
    metrics : mapping of flat name to number; empty where it has no results
    figures : Path; the folder of its figures and the numbers in them
    error : str; why it has no results, empty where it has
    """

    run: str
    notebook: str
    who: dict[str, Any]
    others: str
    metrics: Mapping[str, Number]
    figures: Path
    error: str


def gather(runs: str = "") -> list[Finding]:
    """Return what notebooks found.

    Parameters
    ----------
    runs : str
        Empty for the run that is going on and, where there is none, for the committed results; ``all`` for
        everything in ``runs/``; else the beginning of a run's or sweep's name.

    Returns
    -------
    findings : list of Finding
        Where one thing was executed more than once, the newest execution that has results counts.

    Raises
    ------
    ValueError
        If no run's name begins so.
    """
    current = os.environ.get("EMOLIB_RUN", "")
    if not runs:
        return (_of_run(current) if current else []) or list(_committed())
    folders = sorted(path for path in paths.runs().glob("[!.]*") if path.is_dir() and not path.is_symlink())
    everything = [folder for folder in folders if folder.name not in ("interactive", current)]
    chosen = [folder for folder in everything if runs == "all" or folder.name.startswith(runs)]
    if not chosen:
        known = ", ".join(folder.name for folder in everything[-8:]) or "none"
        raise ValueError(
            f"no run {runs!r} in {paths.runs()}; expected 'all' or the beginning of one of: {known}"
        )
    newest: dict[tuple[Number, ...], Finding] = {}
    for folder in sorted(chosen, key=_time):
        cells = read_json(folder / "sweep.json").get("cells")
        names = [folder.name] if cells is None else [f"{folder.name}/{cell}" for cell in cells]
        for finding in itertools.chain.from_iterable(map(_of_run, names)):
            what = (finding.notebook, *finding.who.values(), finding.others)
            if finding.metrics or what not in newest:
                newest[what] = finding
    return list(newest.values())


def missing(findings: list[Finding]) -> pd.DataFrame:
    """Return what has no results: columns run, notebook, corpus, encoder, seed and why."""
    rows = [(one.run, one.notebook, *one.who.values(), one.error) for one in findings if not one.metrics]
    return pd.DataFrame(rows, columns=["run", "notebook", *WHO, "why"])


def _time(folder: Path) -> float:
    found = folder / "results"
    return (found if found.is_dir() else folder).stat().st_mtime


def _of_run(run: str) -> list[Finding]:
    """Return what each notebook of a run or a sweep's cell found, those that failed or were not begun too."""
    folder, findings = paths.runs() / run, []
    told = read_json(folder / "run.json")
    given = told.get("parameters", {})
    recorded = {path.stem for path in folder.glob("results/*.json")}
    for notebook in sorted({*recorded, *told.get("notebooks", [])} - {OWN}):
        metrics = read_json(folder / "results" / f"{notebook}.json")
        who, others = _who(given, told.get("defaults", {}).get(notebook, {}))
        if run.startswith("sweep-"):
            figures = folder / "figures"
        elif {"CORPUS", "ENCODER"} & set(given):
            figures = paths.gallery(who["corpus"], who["encoder"])
        else:
            figures = paths.figures()
        error = "" if metrics else _error(folder / f"{notebook}.ipynb")
        findings.append(Finding(run, notebook, who, others, metrics, figures, error))
    return findings


def _committed() -> Iterator[Finding]:
    """Yield the committed results of each notebook, which `results.compare` compares with."""
    for path in sorted(paths.notebooks().glob("[0-9][0-9]_*.ipynb")):
        known = read_json(path.parent / "expected" / f"{path.stem}.json")
        metrics = {name: entry["value"] for name, entry in known.get("results", {}).items()}
        error = "" if metrics else "it has no committed results"
        if path.stem != OWN:
            whose = _who(known.get("parameters", {}), {})
            yield Finding("notebooks", path.stem, *whose, metrics, paths.figures(), error)


def _who(given: Mapping[str, Number], defaults: Mapping[str, Number]) -> tuple[dict[str, Any], str]:
    """Return corpus, encoder and seed of a notebook with these parameters, and the others as text."""
    corpus, encoder = (str(given.get(name, defaults.get(name, ""))) for name in ("CORPUS", "ENCODER"))
    if corpus == "folder" and (table := given.get("TABLE")):
        corpus = Path(str(table)).stem
    seed = given.get("SEED", 0)
    known = {"CORPUS", "ENCODER", "SEED", "ROOT", "TABLE", "DEVICE"}
    others = ", ".join(f"{name}={value}" for name, value in sorted(given.items()) if name not in known)
    return {"corpus": corpus, "encoder": encoder, "seed": seed if isinstance(seed, int) else 0}, others


def _error(copy: Path) -> str:
    """Return the error in an executed copy, in one line."""
    if not copy.is_file():
        return "not executed"
    for cell in read_json(copy).get("cells", []):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return f"{output['ename']}: {output['evalue']}".splitlines()[0][:200]
    return "broken off, or it records nothing"


# ------------------------------------------------------------------------------------- tables


def tables(findings: list[Finding]) -> dict[str, pd.DataFrame]:
    """Return the report's tables by name; one that nothing was found for has no rows.

    Returns
    -------
    tables : dict
        "layer curves": WHO, features, layer, value, low, high (unweighted accuracy; layer -1 for baselines);
        "axis transfer": WHO, method, fitted on, tried on, value, low, high (AUC);
        "ccc": WHO, placed by, axis, value, low, high;
        "rates": WHO, lam, bits, similarity, accuracy (bits a clip; means over emotions);
        "augmentation": WHO and what notebook 07 recorded; "results": WHO, notebook, metric, value;
        where WHO is corpus, encoder and seed.
    """
    found = {name: _joined(findings, *of) for name, of in _FIGURES.items()}
    found["ccc"] = found["ccc"].dropna(subset=["value"])
    gains, rows = [], []
    for one in findings:
        numbers = {name: value for name, value in one.metrics.items() if not isinstance(value, str)}
        rows += [[*one.who.values(), one.notebook, *entry] for entry in numbers.items()]
        if one.notebook.startswith("07_"):
            gained = {name: v for name, v in numbers.items() if name.startswith(("ua_", "gain_"))}
            gains += [one.who | gained] if gained else []
    found["augmentation"] = pd.DataFrame(gains, columns=None if gains else WHO)
    results = pd.DataFrame(rows, columns=[*WHO, "notebook", "metric", "value"])
    return found | {"results": results.astype({"value": float})}


def spread(results: pd.DataFrame) -> pd.DataFrame:
    """Return how far seeds are apart.

    Parameters
    ----------
    results : DataFrame, as `tables` returns it

    Returns
    -------
    spread : DataFrame
        corpus, encoder, notebook, metric, n (seeds), mean, sd (of a sample), low and high (least and
        greatest); rows of one seed are left out.
    """
    keys = ["corpus", "encoder", "notebook", "metric"]
    known = results.dropna(subset=["value"])
    by_seed = known.groupby([*keys, "seed"], sort=False)["value"].mean().reset_index()
    by = by_seed.groupby(keys, sort=False)["value"]
    table = by.agg(n="count", mean="mean", sd="std", low="min", high="max").reset_index()
    return table[table["n"] > 1].reset_index(drop=True)


def over_seeds(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the means over seeds of a table's value, low and high, in the order in which groups come."""
    measures = [name for name in ("value", "low", "high", "bits", "accuracy") if name in table]
    return table.groupby(by, sort=False)[measures].mean().reset_index()


def _joined(findings: list[Finding], notebook: str, figure: str, columns: list[str]) -> pd.DataFrame:
    """Join the numbers of one figure over findings; the report goes on without one that can't be read."""
    shape = {"01_layer_curve": _curve, "06_rate_curves": _rates}.get(figure, lambda numbers, _: numbers)
    parts = []
    for finding in (one for one in findings if one.notebook == notebook and one.metrics):
        with contextlib.suppress(OSError, ValueError, KeyError):  # absent, empty, torn or of other columns
            numbers = pd.read_csv(finding.figures / f"{figure}.csv")
            parts.append(shape(numbers, finding.who["encoder"])[columns].assign(**finding.who))
    order = [*WHO, *columns]
    return pd.concat(parts, ignore_index=True)[order] if parts else pd.DataFrame(columns=order)


def _curve(numbers: pd.DataFrame, encoder: str) -> pd.DataFrame:
    """Keep the curve of mean and deviation, the untrained network's best layer, and the baselines."""
    chosen = numbers[numbers["pooling"] == "mean+std"].drop(columns="pooling")
    is_own = chosen["features"] == encoder
    others = chosen[~is_own].sort_values("value", ascending=False).drop_duplicates("features")
    names = others["features"].replace({f"random:{encoder}": "untrained"})
    return pd.concat([chosen[is_own].assign(features="encoder"), others.assign(features=names, layer=-1)])


def _rates(numbers: pd.DataFrame, _: str) -> pd.DataFrame:
    means = numbers.groupby("lam")[["bits", "similarity", "hit"]].mean().reset_index()
    return means.rename(columns={"hit": "accuracy"})


# ------------------------------------------------------------------------------------- the page


def write_report(
    folder: Path, title: str, figures: Mapping[str, Path], tables: Mapping[str, pd.DataFrame],
    missing: pd.DataFrame,
) -> Path:  # fmt: skip
    """Write ``report.html``, which needs no other file, and each table as ``<name>.csv``.

    Parameters
    ----------
    folder : Path
    title : str
    figures : mapping of caption to a png or svg file, which is put into the page
    tables : mapping of name to DataFrame; empty ones are named as such
    missing : DataFrame, as `missing` returns it

    Returns
    -------
    page : Path
    """
    heading, style = html.escape(title), _beside("report.css")
    parts = [f"<h1>{heading}</h1>", _missing(missing)]
    for caption, path in figures.items():
        text, image = html.escape(caption), base64.b64encode(path.read_bytes()).decode()
        kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
        parts.append(f'<figure><img alt="{text}" src="data:{kind};base64,{image}">')
        parts.append(f"<figcaption>{text}</figcaption></figure>")
    parts += [f"<h2>{html.escape(name.capitalize())}</h2>{_table(table)}" for name, table in tables.items()]
    for name, table in {**tables, "missing": missing}.items():
        write_file(folder / f"{name.replace(' ', '_')}.csv", table.to_csv(index=False).encode())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width"><style>\n{style}</style></head><body>'
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


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


# ------------------------------------------------------------------------------------- the page of clips


#: Of the sounds in a page.
SAMPLE_RATE = 16_000
#: Of libsndfile's 0 to 1; 0.96 is some 24 kbit/s.
COMPRESSION = 0.96
#: What a page may weigh.
MOST_MB = 1.5


@dataclass(frozen=True)
class Clip:
    """A cell of a table.

    Attributes
    ----------
    wave : float32 array, (S,)
    heard : mapping of emotion to probability; the two largest are shown
    notes : sequence of str; one short line each
    """

    wave: Wave
    heard: Mapping[str, float]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """Clips laid out.

    Attributes
    ----------
    title, text : str
    columns : sequence of str
    rows : mapping of a row's name to its cells, as many as columns; None leaves a gap
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Clip | None]]


def write_page(path: str | Path, title: str, text: str, tables: Sequence[Table], sample_rate: int) -> Path:
    """Write a page.

    Parameters
    ----------
    path : str or Path; ends in .html
    title, text : str
    tables : sequence of Table
    sample_rate : int, Hz; of all waves

    Raises
    ------
    ValueError
        If a row has not as many cells as there are columns, or the page would weigh more than `MOST_MB`.
    """
    clips = [clip for table in tables for row in table.rows.values() for clip in row if clip]
    with ThreadPoolExecutor() as pool:
        coded = list(pool.map(lambda clip: mp3(clip.wave, sample_rate), clips))
    sounds = list(dict.fromkeys(coded))
    number_of = {id(clip): sounds.index(sound) for clip, sound in zip(clips, coded, strict=True)}
    body = "\n".join(_clip_table(table, sample_rate, number_of) for table in tables)
    texts = [f'"{base64.b64encode(sound).decode()}"' for sound in sounds]
    present = emotions.ordered({word for clip in clips for word in _top(clip.heard)})
    legend = "".join(f'<li style="--c:{emotions.COLOURS[word]}">{word}</li>' for word in present)
    page = _beside("gallery.html").format(
        title=html.escape(title), text=html.escape(text), legend=legend, body=body, clips=",\n".join(texts),
        style=_beside("gallery.css"), script=_beside("gallery.js"),
    ).encode()  # fmt: skip
    if len(page) > MOST_MB * 1e6:
        raise ValueError(
            f"a page of {len(page) / 1e6:.2f} MB with {len(sounds)} sounds; expected at most {MOST_MB} MB: "
            f"show fewer or shorter clips"
        )
    write_file(Path(path), page)
    return Path(path)


def mp3(wave: Wave, sample_rate: int) -> bytes:
    """Encode a wave as MP3 at 16 kHz, mono; equal waves give equal bytes."""
    file = io.BytesIO()
    samples = audio.resample(wave, sample_rate, SAMPLE_RATE)
    sf.write(
        file, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=COMPRESSION
    )
    return file.getvalue()


def _clip_table(table: Table, sample_rate: int, number_of: Mapping[int, int]) -> str:
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = []
    for name, clips in table.rows.items():
        if len(clips) != len(table.columns):
            raise ValueError(f"row {name!r} of {len(clips)} cells; expected {len(table.columns)}")
        cells = "".join(
            _cell(clip, f"{name}, {column}", sample_rate, number_of)
            for column, clip in zip(table.columns, clips, strict=True)
        )
        colour = emotions.COLOURS.get(name.split()[0])
        mark = f' class="named" style="--c:{colour}"' if colour else ""
        rows.append(f'<tr><th scope="row"{mark}>{html.escape(name)}</th>{cells}</tr>')
    return (
        f"<section>\n<h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.text)}</p>\n"
        f'<div class="scroll"><table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>\n</section>"
    )


def _cell(clip: Clip | None, name: str, sample_rate: int, number_of: Mapping[int, int]) -> str:
    if clip is None:
        return "<td></td>"
    top = _top(clip.heard)
    bars = "".join(
        f'<i style="--c:{emotions.COLOURS[word]};--p:{share:.2f}"></i><b>{word}</b><s>{share:.0%}</s>'
        for word, share in top.items()
    )
    heard = ", ".join(f"{word} {share:.0%}" for word, share in top.items())
    duration_s = len(clip.wave) / sample_rate
    notes = "".join(f"<small>{html.escape(note)}</small>" for note in clip.notes)
    label = html.escape(f"{name}: play {duration_s:.1f} seconds; heard as {heard}", quote=True)
    first = emotions.COLOURS[next(iter(top))]
    return (
        f'<td><button style="--c:{first}" data-clip="{number_of[id(clip)]}" aria-label="{label}"></button>'
        f'<div class="heard" aria-hidden="true">{bars}</div>{notes}</td>'
    )


def _top(heard: Mapping[str, float]) -> dict[str, float]:
    """Return the two most probable emotions."""
    return dict(sorted(heard.items(), key=lambda entry: -entry[1])[:2])
