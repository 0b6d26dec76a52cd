"""`emolib axis`: its JSON, the folder that it saves, and one sentence where something is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
from test_cli import answer, call, complaint, home, write_corpus

from emolib.axis import EmotionAxis
from emolib.store import FeatureStore

__all__ = ["home"]  # a fixture: every command here has a home of its own
PAIR = ("--encoder", "prosody", "--source", "sad", "--target", "angry")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def test_an_axis_is_tried_on_unseen_speakers_and_saved(table, tmp_path):
    found = answer("axis", "--manifest", table, *PAIR, "--out", tmp_path / "axis", "--store", tmp_path / "s")
    assert {"auc", "auc_low", "auc_high", "method", "n_speakers"} <= set(found)
    assert found["auc"] > 0.9
    assert found["auc_low"] is found["auc_high"] is None, "three speakers give no interval"
    assert found["method"] == "logistic" and found["n_speakers"] == 3 and found["n"] == 24
    axis = EmotionAxis.load(tmp_path / "axis")
    told = axis.provenance
    assert (told["encoder"], told["layer"], told["pooling"], told["corpus"]) == (
        "prosody",
        0,
        "mean",
        "folder",
    )
    assert told["speakers"] == ["folder-s0", "folder-s1", "folder-s2"]
    X = FeatureStore(tmp_path / "s").pooled(0)
    assert np.isfinite(axis.project(X)).all()


@pytest.mark.parametrize("method", ["mean-difference", "lda", "pca"])
def test_every_method_has_its_name(table, method):
    found = answer(
        "axis", "--manifest", table, *PAIR, "--method", method, "--pooling", "mean+std", "--no-centre"
    )
    assert found["method"] == method and 0 <= found["auc"] <= 1


def test_what_it_found_is_printed(table):
    text = call("axis", "--manifest", table, *PAIR, "--folds", "speaker").stdout
    assert re.search(r"sad to angry, logistic, layer 0: 24 clips, 3 speakers", text)
    assert re.search(r"AUC \d\.\d+ \(no interval.*\), speaker folds; random directions 0\.\d+", text)


@pytest.mark.parametrize(
    "options, words",
    [
        (("--source", "joyful"), "no clip of emotion 'joyful'"),
        (("--source", "angry"), "one class"),
        (("--method", "svm"), "unknown method 'svm'"),
        (("--layer", "7"), "layer"),
        (("--layer", "one"), "whole number"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(table, options, words):
    assert words in complaint("axis", "--manifest", table, *PAIR, *options)


def test_a_folder_of_something_else_is_not_replaced(table, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    assert "is not of a saved EmotionAxis" in complaint("axis", "--manifest", table, *PAIR, "--out", tmp_path)
