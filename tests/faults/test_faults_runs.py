"""Sweeps that are killed, and notebooks that are damaged: the same command goes on, and the others run."""

import json
from pathlib import Path

import fault_jobs as jobs
import nbformat
from fault_tally import moments, tried

from emolib import sweep


def found(out: Path) -> dict:
    return json.loads((out / "runs" / "sweep-squares" / "summary.json").read_text())


def test_a_sweep_is_killed(undisturbed, tmp_path):
    whole, seconds = undisturbed(jobs.sweep_seeds)
    assert sorted(metrics["00_square"]["square"] for metrics in found(whole).values()) == [9, 16]
    for number, moment in enumerate(moments(6)):
        out = jobs.write_notebooks(tmp_path / str(number))
        with tried("kill -9 of a sweep"):
            jobs.kill(jobs.sweep_seeds, out, out, moment * seconds)
            results = {path: path.read_bytes() for path in out.glob("runs/*/*/results/*.json")}
            assert all(json.loads(data) for data in results.values())  # each whole
            jobs.finish(jobs.sweep_seeds, out, out)
            assert found(out) == found(whole)
            assert json.loads((out / "count.json").read_text())["failed"] == 0
            assert all(path.read_bytes() == data for path, data in results.items())
            for path in out.glob("runs/sweep-squares/*/*.ipynb"):
                nbformat.validate(nbformat.read(path, as_version=4))


HARM = {"cut": lambda data: data[: len(data) // 2], "empty": lambda data: b"", "null": lambda data: b"null",
        "list": lambda data: b"[]", "garbage": lambda data: b"\xff\xfe\x00" * 40}  # fmt: skip


def test_a_damaged_notebook_is_named_and_the_other_runs(tmp_path, monkeypatch):
    for harm, spoil in HARM.items():
        home = jobs.write_notebooks(tmp_path / harm)
        monkeypatch.setenv("EMOLIB_HOME", str(home))
        whole = (home / "notebooks" / "00_square.ipynb").read_bytes()
        (home / "notebooks" / "01_damaged.ipynb").write_bytes(spoil(whole))
        with tried("a damaged notebook"):
            try:
                _, ended = sweep.run({"SEED": 3}, ["00", "01"])
            except ValueError as error:  # refused before anything ran, which loses nothing either
                assert "01_damaged" in str(error) and len(str(error).splitlines()) == 1, harm
            else:
                assert [entry.error == "" for entry in ended] == [True, False], harm
