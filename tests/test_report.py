"""The report finds what runs found and says what is missing; its pages, one of clips, stand alone."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from matplotlib.figure import Figure
from samples import refused

from emolib import files, plots, report


def write_run(home: Path, name: str, parameters: dict, found: dict[str, dict], *planned: str) -> Path:
    """Write what a run, or a cell of a sweep, leaves: results and its plan."""
    folder = home / "runs" / name
    for notebook, metrics in found.items():
        files.write_json(folder / "results" / f"{notebook}.json", metrics)
    files.write_json(folder / "run.json", {"parameters": parameters, "notebooks": [*found, *planned]})
    return folder


def write_figures(folder: Path, encoder: str, shift: float = 0.0) -> None:
    folder.mkdir(parents=True)
    rows = [(encoder, p, k, 0.5 + shift + 0.1 * k, 0.4, 0.8) for p in ("mean", "mean+std") for k in (0, 1)]
    rows += [(f"random:{encoder}", "mean+std", k, 0.3 + 0.1 * k, 0.2, 0.4) for k in (0, 1)]
    rows += [("logmel", "mean+std", 0, 0.35, 0.3, 0.4)]
    curve = pd.DataFrame(rows, columns=["features", "pooling", "layer", "value", "low", "high"])
    curve.to_csv(folder / "01_layer_curve.csv", index=False)
    lines = ["method,fitted on,tried on,value,low,high", *["mean-difference,a,b,.9,.8,1"] * 4]
    (folder / "02_transfer.csv").write_text("\n".join(lines))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.delenv("EMOLIB_RUN", raising=False)
    return tmp_path


@pytest.fixture
def sweep(home):
    """A sweep of 2 encoders x 2 seeds and two notebooks, of which a cell failed and one was never begun."""
    probing, axis = "01_probing_layers", "02_axis_construction"
    for encoder, seed in (("x", 0), ("x", 1), ("y", 0), ("y", 1)):
        name, given = f"sweep-s/{encoder}_seed{seed}", {"CORPUS": "nemo", "ENCODER": encoder, "SEED": seed}
        found = {probing: {"ua": 0.5 + 0.1 * seed, "layer": 1, "word": "no number"}}
        found |= {axis: {"auc": 0.9, "lost": None}} if encoder == "x" else {}
        folder = write_run(home, name, given, {} if (encoder, seed) == ("y", 1) else found, probing, axis)
        write_figures(folder / "figures", encoder, 0.01 * seed)
    broken = nbformat.v4.new_code_cell("1 / 0")
    broken.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="by zero\nmore")]
    sweep = home / "runs" / "sweep-s"
    nbformat.write(nbformat.v4.new_notebook(cells=[broken]), sweep / "y_seed0" / f"{axis}.ipynb")
    cells: dict[str, dict] = {name: {} for name in ("x_seed0", "x_seed1", "y_seed0", "y_seed1")}
    files.write_json(sweep / "sweep.json", {"cells": cells})
    return sweep


def test_a_sweep_is_read_cell_by_cell_and_what_is_missing_is_told(sweep):
    findings = report.gather("sweep-s")
    assert len(findings) == 8 and {one.who["corpus"] for one in findings} == {"nemo"}
    gone = report.missing(findings)
    told = {(row.encoder, row.seed, row.notebook): row.why for row in gone.itertuples()}
    assert told == {
        ("y", 0, "02_axis_construction"): "ZeroDivisionError: by zero",
        ("y", 1, "01_probing_layers"): "not executed",
        ("y", 1, "02_axis_construction"): "not executed",
    }


def test_tables_join_figures_over_cells(sweep):
    tables = report.tables(report.gather("all"))
    curves = tables["layer curves"]
    own = curves[curves["features"] == "encoder"]
    assert len(own) == 3 * 2 and set(own["layer"]) == {0, 1}
    assert own[(own["encoder"] == "x") & (own["seed"] == 1)]["value"].tolist() == [0.51, 0.61]
    untrained = curves[curves["features"] == "untrained"]
    assert untrained["value"].tolist() == [0.4] * 3 and set(untrained["layer"]) == {-1}, "its best layer"
    assert len(tables["axis transfer"]) == 2 * 4
    assert tables["ccc"].empty and tables["rates"].empty and tables["augmentation"].empty
    found = tables["results"]
    assert "word" not in set(found["metric"]) and found["value"].isna().sum() == 2


def test_the_spread_is_over_seeds_alone(sweep):
    table = report.spread(report.tables(report.gather("all"))["results"])
    [row] = table[table["metric"] == "ua"].to_dict("records")
    assert (row["encoder"], row["n"], row["low"], row["high"]) == ("x", 2, 0.5, 0.6)
    assert row["mean"] == pytest.approx(0.55) and row["sd"] == pytest.approx(0.1 / 2**0.5)
    assert "y" not in set(table["encoder"]), "one seed has no spread"
    assert report.spread(report.tables([])["results"]).empty


def test_of_two_runs_of_one_thing_the_newer_with_results_counts(home):
    for number, ua in enumerate([0.1, 0.2]):
        folder = write_run(home, f"2026010{number}-a", {"CORPUS": "nemo"}, {"01_probing_layers": {"ua": ua}})
        os.utime(folder / "results", (number, number))
    write_run(home, "20260103-a", {"CORPUS": "nemo"}, {}, "01_probing_layers")
    [finding] = report.gather("all")
    assert finding.metrics == {"ua": 0.2} and report.missing([finding]).empty
    given = {"CORPUS": "folder", "TABLE": "/x/mine.csv", "ENCODER": "a/b", "SEED": 3, "PROFILE": "full"}
    write_run(home, "r", given, {"01_probing_layers": {"ua": 1}})
    assert len(report.gather("all")) == 2, "other parameters are another thing"
    [finding] = report.gather("r")
    assert ([*finding.who.values()], finding.others) == (["mine", "a/b", 3], "PROFILE=full")
    refused("no run 'nothing' in", report.gather, "nothing")


def test_the_run_that_goes_on_is_reported_and_not_itself(home, monkeypatch):
    folder = write_run(home, "now", {"SEED": 0}, {"01_probing_layers": {"ua": 0.4}}, "02_axis", "08_report")
    told = files.read_json(folder / "run.json")
    defaults = {"01_probing_layers": {"CORPUS": "demo", "ENCODER": "wav2vec2-nano"}}
    files.write_json(folder / "run.json", told | {"defaults": defaults})
    write_figures(home / "figures", "wav2vec2-nano")
    monkeypatch.setenv("EMOLIB_RUN", "now")
    findings = report.gather()
    assert [one.notebook for one in findings] == ["01_probing_layers", "02_axis"]
    assert report.missing(findings)["why"].tolist() == ["not executed"]
    assert [*findings[0].who.values()] == ["demo", "wav2vec2-nano", 0], "the notebook's own"
    assert len(report.tables(findings)["layer curves"]) == 4, "from the gallery"


def test_without_a_run_the_committed_results_are_read(home):
    told = {"ua": {"value": 0.66, "tolerance": 0.02}, "gone": {"value": None, "tolerance": None}}
    content = {"parameters": {"CORPUS": "demo", "ENCODER": "wav2vec2-nano"}, "results": told}
    for name in ("01_probing_layers", "02_axis_construction", "08_report"):
        files.write_json(home / "notebooks" / f"{name}.ipynb", {})
    files.write_json(home / "notebooks" / "expected" / "01_probing_layers.json", content)
    write_figures(home / "figures", "wav2vec2-nano")
    findings = report.gather()
    assert findings[0].metrics == {"ua": 0.66, "gone": None}
    assert report.missing(findings)["why"].tolist() == ["it has no committed results"]
    assert len(report.tables(findings)["layer curves"]) == 4


def test_torn_files_are_missing_results_and_not_errors(sweep):
    for content in ("", "{", "[]", "a,b\n1,2\n", "\0"):
        (sweep / "x_seed0" / "results" / "01_probing_layers.json").write_text(content)
        (sweep / "x_seed1" / "figures" / "01_layer_curve.csv").write_text(content)
        (sweep / "y_seed0" / "02_axis_construction.ipynb").write_text(content)
        findings = report.gather("sweep")
        assert len(report.missing(findings)) == 4
        assert set(report.tables(findings)["layer curves"]["encoder"]) == {"y"}


class Page(HTMLParser):
    """Collect whatever a page would fetch or run, and check that its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open and text.startswith("<!doctype html>")

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        self.found += [tag] if tag in ("script", "link", "iframe") else []
        self.open += [tag] if tag not in ("meta", "i", "img") else []

    def handle_endtag(self, tag):
        assert tag == "i" or self.open.pop() == tag


def test_the_page_needs_no_other_file_and_runs_nothing(sweep, tmp_path):
    figure = Figure()
    figure.subplots().plot([1, 2])
    plots.save_figure(figure, "f", tmp_path / "figures")
    findings = report.gather("all")
    tables = report.tables(findings) | {"odd": pd.DataFrame({"<b>": ["<script>alert(1)</script>"]})}
    drawn = {"a <curve>": tmp_path / "figures" / "f.png", "same": tmp_path / "figures" / "f.svg"}
    page = report.write_report(tmp_path / "report", "all & sundry", drawn, tables, report.missing(findings))
    text = page.read_text()
    links = Page(text).found
    assert len(links) == 2 and all(link.startswith("data:image/") for link in links)
    assert "3 results are missing" in text and "ZeroDivisionError: by zero" in text
    assert "a &lt;curve&gt;" in text and "<script" not in text and not re.search(r"https?://", text)
    assert len(pd.read_csv(page.parent / "missing.csv")) == 3
    kept = pd.read_csv(page.parent / "layer_curves.csv")
    pd.testing.assert_frame_equal(kept, tables["layer curves"], check_dtype=False)
    nothing = report.write_report(tmp_path, "empty", {}, report.tables([]), report.missing([])).read_text()
    assert "Nothing that was asked for is missing" in nothing and "No run has this" in nothing


# ------------------------------------------------------------------------------------- the page of clips

RATE = 22_050


def tone(hertz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE // 2) / RATE)).astype(np.float32)


def test_a_page_of_clips_holds_its_sounds_and_loads_nothing(tmp_path):
    sad = report.Clip(tone(220), {"sad": 0.7, "angry": 0.1, "neutral": 0.2}, ["10.3 bits", "cosine 0.76"])
    angry = report.Clip(tone(330), {"sad": 0.1, "angry": 0.9})
    rows = {"sad": [sad, report.Clip(tone(220), {"sad": 1.0})], "book": [angry, None]}
    table = report.Table("By <lambda>", "Fine & coarse.", ["fine", "coarse"], rows)
    page = report.write_page(tmp_path / "page.html", "Heard", "What is it?", [table], RATE).read_text()
    assert not re.search(r"<link|<img|href\s*=|\ssrc\s*=\s*[\"'](?!data:)|@import|url\(|https?:", page)
    assert Page(page).found == ["script", "script"]
    assert "By &lt;lambda&gt;" in page and "Fine &amp; coarse." in page and "10.3 bits" in page
    assert 'aria-label="sad, fine: play 0.5 seconds; heard as sad 70%, neutral 20%"' in page
    assert "ArrowRight" in page and "prefers-color-scheme: dark" in page
    assert re.findall(r'data-clip="(\d)"', page) == ["0", "0", "1"], "equal sounds are kept once"
    (clips,) = re.findall(r'<script type="application/json" id="clips">(.*?)</script>', page, flags=re.DOTALL)
    sounds = [sf.read(io.BytesIO(base64.b64decode(text))) for text in json.loads(clips)]
    for (samples, rate), hertz in zip(sounds, (220, 330), strict=True):
        assert rate == report.SAMPLE_RATE and len(samples) == pytest.approx(0.5 * rate, rel=0.01)
        spectrum = np.abs(np.fft.rfft(samples))
        assert spectrum.argmax() * rate / len(samples) == pytest.approx(hertz, abs=5)


def test_clips_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    clip = report.Clip(tone(220), {"sad": 1.0})
    monkeypatch.setattr(report, "MOST_MB", 1e-3)
    for columns, why in ((["a", "b"], "row 'sad' of 1 cells; expected 2"), (["a"], "show fewer or shorter")):
        table = report.Table("t", "", columns, {"sad": [clip]})
        refused(why, report.write_page, tmp_path / "page.html", "", "", [table], RATE)
    assert not (tmp_path / "page.html").exists()
