"""The commands generate train and generate sample: what they write, and that the one's clips feed others."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from test_cli import answer, call, complaint, help_of, write_corpus
from test_generate import TINY

from emolib import corpora, generate


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), n_speakers=4, n_each=2)


@pytest.fixture
def tiny(monkeypatch):
    """Profiles that take a second."""
    monkeypatch.setattr(
        generate.Settings, "quick", staticmethod(lambda **changes: replace(TINY, **changes).check())
    )


def train(table, folder, *words):
    return answer(
        "generate", "train", "--manifest", table, "--root", table.parent, "--out", folder,
        "--emotion", "angry", "--emotion", "sad", *words,
    )  # fmt: skip


def test_what_is_trained_can_be_sampled_into_a_corpus(table, tmp_path, tiny):
    done = train(table, tmp_path / "model", "--leave-out", "folder-s3")
    assert set(done) == {
        "folder", "classes", "clips", "speakers", "skipped", "loss", "reconstruction", "seconds"
    }  # fmt: skip
    assert done["clips"] == 12 and done["speakers"] == 3 and done["classes"] == ["angry", "sad"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["kind"] == "Generator" and config["settings"]["steps"] == TINY.steps
    out = tmp_path / "clips"
    made = answer(
        "generate", "sample", tmp_path / "model", "--emotion", "sad", "--count", 2, "--out", out, "--steps", 2
    )
    assert set(made) == {"folder", "manifest", "clips", "classes", "speech_s", "seconds"}
    assert made["clips"] == 2 and len(list(out.glob("*.wav"))) == 2
    listed = pd.read_csv(out / "manifest.csv")
    assert set(listed["emotion"]) == {"sad"} and set(listed["speaker"]) == {"generated"}
    manifest = corpora.load("folder", None, out / "manifest.csv")
    assert len(manifest) == 2 and (manifest["sample_rate"] == generate.SAMPLE_RATE).all()
    wave, _ = sf.read(out / listed["path"][0])
    assert np.abs(wave).max() > 0.01
    assert made["speech_s"] == pytest.approx(manifest["duration_s"].sum(), abs=0.01)


def test_training_again_returns_what_is_there_and_options_change_it(table, tmp_path, tiny):
    first = train(table, tmp_path / "model")
    assert train(table, tmp_path / "model") == first
    other = ["generate", "train", "--manifest", table, "--root", table.parent, "--out", tmp_path / "model"]
    assert "other settings or other clips" in complaint(
        *other, "--seed", 1, "--emotion", "sad", "--emotion", "angry"
    )
    more = train(table, tmp_path / "model", "--no-resume", "--steps", 3)
    assert more["loss"] != first["loss"]


def test_mistakes_are_one_sentence(table, tmp_path, tiny):
    asked = ["generate", "train", "--manifest", table, "--root", table.parent, "--out", tmp_path]
    assert "no such speaker" in complaint(*asked, "--leave-out", "nobody")
    assert "no clip of class bored" in complaint(*asked, "--emotion", "bored", "--emotion", "sad")
    assert "no Generator in" in complaint("generate", "sample", tmp_path / "nowhere")
    assert "--count 0" in complaint("generate", "sample", tmp_path, "--count", 0)
    assert "guidance" in complaint("generate", "sample", trained_for(table, tmp_path), "--guidance", 99)


def trained_for(table, tmp_path):
    train(table, tmp_path / "model")
    return tmp_path / "model"


def test_both_commands_have_complete_help():
    for name in ("train", "sample"):
        text = help_of("generate", name)
        assert "Usage:" in text and "--json" in text and "JSON:" in text
    assert "train" in call("generate", code=2).output
