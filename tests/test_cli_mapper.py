"""`emolib train-mapper`: a mapper in its folder, at once the second time, one sentence if it can't."""

import json
from pathlib import Path

import pytest
from samples import write_corpus
from typer.testing import CliRunner

from emolib import mapper
from emolib.cli import app


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, n_clips=9)[["path", "speaker", "emotion"]].to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, so that no test reads or writes the checkout's data."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    return tmp_path / "home"


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["train-mapper", *map(str, words), "--device", "cpu"])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_it_trains_and_is_done_at_once_the_second_time(table, model_folder, home):
    words = (
        "--manifest",
        table,
        "--encoder",
        model_folder(),
        "--layer",
        "2",
        "--steps",
        "2",
        "--without",
        "folder-03",
    )
    found = json.loads(call(*words, "--json").stdout.splitlines()[-1])
    assert set(found) == {
        "folder", "layer", "steps", "mel_l1", "linear_l1", "clips", "speakers", "held_out", "skipped"
    }  # fmt: skip
    assert (found["steps"], found["layer"], found["clips"], found["speakers"]) == (2, 2, 6, 1)
    assert found["held_out"] in (["folder-01"], ["folder-02"]) and 0 < found["mel_l1"] <= found["linear_l1"]
    folder = Path(found["folder"])
    assert folder.parent == home / "models" and mapper.Mapper.load(folder).layer == 2
    written = (folder / "checkpoint.safetensors").stat().st_mtime_ns
    text = call(*words).stdout
    assert "2 steps on 6 clips" in text and "not trained on" in text
    assert (folder / "checkpoint.safetensors").stat().st_mtime_ns == written
    other = json.loads(call(*words, "--seed", "1", "--json").stdout.splitlines()[-1])["folder"]
    assert Path(other) != folder, "another seed has a folder of its own"
    refused = call(*words, "--seed", "1", "--out", folder, code=2).stderr
    assert len(refused.splitlines()) == 1 and "(`--replace`, or resume=False)" in refused
    call(*words, "--seed", "1", "--out", folder, "--replace")


def test_what_can_not_be_mapped_is_one_sentence(table, model_folder):
    given = ("--manifest", table, "--encoder")
    cases = {
        (*given, "logmel", "--layer", "0"): "logmel gives a frame every 11.61 ms",
        (*given, model_folder(), "--layer", "9"): "layers [9]",
        (*given, model_folder(), "--without", "folder-01,folder-02"): "a mapper needs at least two speakers",
        (*given, model_folder(), "--without", "77"): "no speaker 77",
    }
    for words, sentence in cases.items():
        lines = call(*words, code=2).stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("emolib: ") and sentence in lines[0]
