"""A run's record: flat names and numbers, whole files, and never two runs in one folder."""

import json
import multiprocessing
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import refused

from emolib import __version__, files, paths, results


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.delenv("EMOLIB_RUN", raising=False)
    return tmp_path.resolve()


def test_record_writes_flat_json(home):
    metrics = {
        "ua": np.float32(0.5), "n": np.int64(3), "holds": np.True_, "layer": 4, "who": np.str_("logmel"),
        "nothing": None, "unknown": float("nan"), "huge": np.float64("inf"), "single": np.array(0.25),
        "loss": torch.tensor(0.5), "é": -1.5,
    }  # fmt: skip
    path = results.record("01_probing_layers", metrics)
    assert path == home / "runs" / "interactive" / "results" / "01_probing_layers.json"
    text = path.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "ua": 0.5, "n": 3, "holds": True, "layer": 4, "who": "logmel", "nothing": None, "unknown": None,
        "huge": None, "single": 0.25, "loss": 0.5, "é": -1.5,
    }  # fmt: skip
    assert list(json.loads(text)) == list(metrics), "the notebook's order is kept"
    for value in ([1, 2], {"a": 1}, (1,), np.zeros(2), np.zeros(1), 1j, object(), torch.zeros(3)):
        found = {"ua": 1.0, "curve": value}
        refused(r"metric 'curve' is a .*; expected one number", results.record, "01_x", found)
    assert list(home.rglob("*.json")) == [path]


def test_the_run_that_goes_on_is_written_to_and_summarised(home, monkeypatch):
    folder = results.new_run("demo")
    monkeypatch.setenv("EMOLIB_RUN", folder.name)
    results.record("01_b", {"old": 1})
    path = results.record("01_b", {"ua": 1 / 3, "n": 12})
    results.record("00_a", {"clips": 672, "word": "x", "gone": float("nan")})
    assert results.run_folder() == folder and path.is_relative_to(folder)
    joined = results.summarise(folder)
    expected = {"00_a": {"clips": 672, "word": "x", "gone": None}, "01_b": {"ua": 1 / 3, "n": 12}}
    assert joined == expected == json.loads((folder / "summary.json").read_text())
    assert list(joined) == ["00_a", "01_b"]
    table = (folder / "summary.md").read_text().splitlines()
    assert table[:2] == ["| notebook | metric | value |", "|---|---|---|"]
    assert "| 01_b | ua | 0.3333 |" in table and "| 00_a | clips | 672 |" in table and len(table) == 7


def _new_run_name(_: int) -> str:
    return results.new_run("same").name


def test_new_runs_of_many_processes_have_folders_of_their_own_and_latest_is_one(home):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        names = pool.map(_new_run_name, range(24), chunksize=1)
    assert len(set(names)) == 24 and all(re.fullmatch(r"\d{8}-\d{6}-same(-\d+)?", name) for name in names)
    assert all((paths.runs() / name / "results").is_dir() for name in names)
    latest = home / "runs" / "latest"
    assert latest.resolve().name in names and not list(paths.runs().glob(".latest*"))
    folder = results.new_run("../nemo-facebook/wav2vec2-base")
    assert folder.parent == home / "runs" and latest.resolve() == folder
    assert not latest.readlink().is_absolute(), "the folder of runs can be moved"


def test_environment_tells_versions_and_nothing_private(home, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    known = results.environment("cpu")
    assert known["emolib"] == __version__ and known["device"] == "cpu"
    assert {"commit", "python", "torch", "transformers"} <= set(known)
    text = results.record("00_a", known).read_text()
    private = ["hf_do_not_tell", str(home), str(Path.home()), os.sep]
    assert not [secret for secret in private if secret in text]
    monkeypatch.setattr(paths, "CHECKOUT", home)
    assert results.environment("cpu")["commit"] == "unknown"


@pytest.fixture
def committed(home):
    """Commit three results of notebook 01 for one setting."""
    values = {"ua": 0.674, "n": 672, "layer": 3, "word": "angry", "no": None}
    tolerances = {"ua": 0.02, "layer": None}
    known = {name: {"value": v, "tolerance": tolerances.get(name, 0.0)} for name, v in values.items()}
    content = {"setting": ["demo", 0], "results": known}
    files.write_json(home / "notebooks" / "expected" / "01_x.json", content)
    return values


def test_results_within_their_tolerance_are_ok_and_others_are_shown(committed):
    table = results.compare("01_x", committed | {"ua": 0.69, "layer": 5}, "demo", 0)
    expected = dict.fromkeys(committed, "ok") | {"layer": "not compared"}
    assert table["compared"].to_dict() == expected
    assert table["committed"]["ua"] == "0.67", "no digit that the tolerance does not leave"
    for odd in (float("nan"), None, True, "0.67"):  # which are within no tolerance
        assert results.compare("01_x", committed | {"ua": odd}, "demo", 0)["compared"]["ua"] != "ok"
    found = {"ua": 0.7, "n": 671, "word": "sad", "no": 0.5, "more": 1}
    table = results.compare("01_x", found, "demo", 0)
    assert table["compared"].to_dict() == {
        "ua": "0.7", "n": "671", "layer": "missing", "word": "sad", "no": "0.5", "more": "1, not committed",
    }  # fmt: skip


def test_a_run_of_another_setting_is_shown_and_not_compared(committed, capsys):
    for setting in (("demo", 1), ("ravdess", 0), ()):
        table = results.compare("01_x", committed, *setting)
        assert list(table.columns) == ["found"] and table["found"]["n"] == "672"
    assert "no committed results for ravdess 0" in capsys.readouterr().out
    assert list(results.compare("09_other", {"ua": 1.0}, "demo", 0).columns) == ["found"]


def test_measured_numbers_say_where_they_come_from_and_are_never_made_up(home, capsys):
    folder = home / "data" / "results" / "nemo-x"
    told = {"command": "emolib run 01", "commit": "ab1", "parameters": {"TARGET": "angry", "LAYER": 3}}
    files.write_json(folder / "source.json", {"01_channels": told, "01_frames": told})
    (folder / "01_channels.csv").write_text("channel,value\nroom,0.5\n")
    (folder / "01_frames.csv").write_text("frame\n1\n")
    found = results.measured("01_channels", "nemo", "x", TARGET="angry", LAYER=3)
    assert found.to_dict("list") == {"channel": ["room"], "value": [0.5]}
    said = "`emolib run 01` gave these numbers, on the corpus's audio\n(commit ab1)"
    assert said in capsys.readouterr().out
    names = ["01_frames", "01_channels"]
    assert list(results.all_measured(names, "nemo", "x")) == names
    assert capsys.readouterr().out.count("commit ab1") == 1, "one source is told once"
    why = "01_leak needs the audio of nemo, and no numbers of it by x are in"
    refused(why, results.measured, "01_leak", "nemo", "x")
    why = "measured with TARGET=angry, not happy; keep TARGET=angry, or get"
    refused(why, results.measured, "01_channels", "nemo", "x", TARGET="happy")
