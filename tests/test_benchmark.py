"""The benchmark: disjoint folds, a run that goes on, and tables that say what was left out."""

import json

import numpy as np
import pandas as pd
import pytest
from samples import refused

from emolib import benchmark, features, paths, probing

ENCODERS = ("prosody", "logmel")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The benchmark of two shipped feature sets on two corpora, which needs no audio."""
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, benchmark.run(folder, ("emodb", "ravdess"), ENCODERS, n_clips=(0,))


def test_an_answer_is_that_of_the_probe_on_the_same_folds(tables):
    from emolib import corpora, splits

    row = tables[1].within.set_index(["corpus", "encoder", "folds"]).loc["emodb", "logmel", "speaker"]
    clips = corpora.load("emodb")
    X = features.extract(clips, "logmel").store.pooled(0, "mean+std", clips["clip"].tolist())
    answer = probing.cross_validate(X, clips, splits.folds(clips, "speaker"))
    assert (row["ua"], row["n"], row["speakers"]) == (pytest.approx(answer.ua.value), 535, 10)


def test_a_recogniser_of_another_corpus_knows_the_common_emotions_alone(tables):
    across = tables[1].across.set_index(["trained_on", "corpus", "encoder"])
    row = across.loc["emodb", "ravdess", "logmel"]
    assert row["emotions"].split() == ["neutral", "happy", "sad", "angry", "fearful", "disgust"]
    assert row["chance"] == pytest.approx(1 / 6) and row["n"] == 96 + 5 * 192
    assert len(across) == 2 * len(ENCODERS)


def test_the_lead_is_that_of_the_first_feature_set(tables):
    within = tables[1].within.set_index(["corpus", "folds", "encoder"])
    assert within.xs("prosody", level="encoder")["lead"].isna().all()
    for corpus, folds in within.index.droplevel("encoder").unique():
        first, other = within.loc[corpus, folds, "prosody"], within.loc[corpus, folds, "logmel"]
        assert other["lead"] == pytest.approx(first["ua"] - other["ua"])
        assert other["lead_low"] <= other["lead"] <= other["lead_high"]


def test_a_broken_off_run_ends_equal_and_computes_nothing_twice(tables, tmp_path, monkeypatch):
    whole, _ = tables
    answered = 0

    def stop(_):
        nonlocal answered
        answered += 1
        if answered == 5:
            raise KeyboardInterrupt

    run = {"names": ("emodb", "ravdess"), "encoders": ENCODERS, "n_clips": (0,)}
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(tmp_path, **run, told=stop)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    assert len(kept) == 5
    benchmark.run(tmp_path, **run)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for name in ("within.csv", "across.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    monkeypatch.setattr(probing, "choose_layer", lambda *_, **__: pytest.fail("an answer was computed again"))
    benchmark.run(tmp_path, **run)


def test_an_answer_of_other_features_or_clips_is_computed_anew(tables, tmp_path):
    folder, _ = tables
    path = folder / "answers" / "emodb-logmel-speaker-0.json"
    kept = json.loads(path.read_text())
    other = tmp_path / "answers" / path.name
    other.parent.mkdir()
    other.write_text(json.dumps(kept | {"identity": "of other clips", "y_pred": ["bored"] * 535}))
    again = benchmark.run(tmp_path, ("emodb",), ("logmel",), folds=("speaker",), n_clips=(0,))
    assert again.within["ua"].iloc[0] > 0.4 and json.loads(other.read_text()) == kept


def test_what_cannot_be_had_is_named_and_nothing_at_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path / "none"))
    run = {"folds": ("speaker",), "n_clips": (0,)}
    found = benchmark.run(tmp_path, ("emodb", "nemo"), ("prosody", "compare"), **run)
    assert len(found.within) == 1
    assert any("nemo" in reason for reason in found.left_out)
    assert any("compare" in reason for reason in found.left_out)
    refused(r"nothing to compare: .*nemo", benchmark.run, tmp_path, ("nemo",), ("prosody",), **run)


def test_sentences_are_held_out_where_speakers_have_them_in_common():
    clips = pd.DataFrame({"text_id": ["a", "b", "a", "b"], "speaker": ["1", "1", "2", "2"]})
    assert benchmark._has_shared_texts(clips)
    assert not benchmark._has_shared_texts(clips.assign(text_id=["a", "b", "c", "d"]))
    assert not benchmark._has_shared_texts(clips.assign(text_id=""))
    assert not benchmark._has_shared_texts(clips.assign(text_id="a"))


def test_a_row_of_ones_own_stands_beside_the_committed_ones(tables):
    own = tables[1].within.query("corpus == 'emodb' and encoder == 'logmel'").assign(encoder="my-network")
    beside = benchmark.beside_committed(own)
    committed = beside[beside["source"] == "committed"]
    assert {"whisper-tiny.en", "logmel"} <= set(committed["encoder"])
    assert set(committed["corpus"]) == {"emodb"} and (committed["n_clips"] == 0).all()
    page = benchmark.as_markdown(beside, tables[1].across)
    assert "| my-network |" in page and "0.17)" in page


def test_the_committed_tables_hold_what_the_shipped_features_give(tables):
    key = ["corpus", "encoder", "folds", "n_clips"]
    both = benchmark.committed().merge(tables[1].within, on=key, suffixes=("", "_now"))
    assert len(both) == len(tables[1].within)
    stated = both[both["folds"] == "speaker"]  # of which the shipped embeddings' limit is stated
    assert np.abs(stated["ua"] - stated["ua_now"]).max() < 0.005  # 8 bits a feature against 32
    page = (paths.CHECKOUT / "docs" / "benchmark.md").read_text()
    assert all(f"{ua:.3f} [" in page for ua in benchmark.committed()["ua"])
