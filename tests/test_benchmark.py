"""The benchmark: disjoint folds, a run that goes on, and tables that say what was left out."""

import json

import numpy as np
import pandas as pd
import pytest
from samples import refused

from emolib import benchmark, corpora, features, paths, probing, splits

#: The benchmark of two shipped feature sets on two corpora, which needs no audio.
RUN = {"names": ("emodb", "ravdess"), "encoders": ("prosody", "logmel"), "n_clips": (0,)}


@pytest.fixture(scope="module", autouse=True)
def no_audio(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_CORPORA", str(tmp_path_factory.mktemp("none")))
        yield


@pytest.fixture(scope="module")
def tables(tmp_path_factory, no_audio):
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, benchmark.run(folder, **RUN)


def test_an_answer_is_that_of_the_probe_and_leads_are_over_the_first_feature_set(tables):
    within = tables[1].within.set_index(["corpus", "folds", "encoder"])
    clips, row = corpora.load("emodb"), within.loc["emodb", "speaker", "logmel"]
    X = features.extract(clips, "logmel").store.pooled(0, "mean+std", clips["clip"].tolist())
    answer = probing.cross_validate(X, clips, splits.folds(clips, "speaker"))
    assert (row["ua"], row["n"], row["speakers"]) == (pytest.approx(answer.ua.value), 535, 10)
    first, other = (within.xs(name, level="encoder") for name in ("prosody", "logmel"))
    assert first["lead"].isna().all() and len(other) == 4
    assert np.allclose(other["lead"], first["ua"] - other["ua"])
    assert (other["lead_low"] <= other["lead"]).all() and (other["lead"] <= other["lead_high"]).all()


def test_a_recogniser_of_another_corpus_knows_the_common_emotions_alone(tables):
    across = tables[1].across.set_index(["trained_on", "corpus", "encoder"])
    row = across.loc["emodb", "ravdess", "logmel"]
    assert row["emotions"].split() == ["neutral", "happy", "sad", "angry", "fearful", "disgust"]
    assert row["chance"] == pytest.approx(1 / 6) and row["n"] == 96 + 5 * 192 and len(across) == 4


def test_a_broken_off_run_ends_equal_and_computes_nothing_twice(tables, tmp_path, monkeypatch):
    told, of_emodb = iter([None, KeyboardInterrupt]), RUN | {"names": ("emodb",)}

    def stop(_):
        if next(told):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.run(tmp_path, **of_emodb, told=stop)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    assert len(kept) == 2
    benchmark.run(tmp_path, **of_emodb)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    whole, ended = ((folder / "within.csv").read_text().splitlines() for folder in (tables[0], tmp_path))
    assert ended == [line for line in whole if not line.startswith("ravdess")] and len(ended) == 5
    monkeypatch.setattr(benchmark._Bench, "ask", lambda *_: pytest.fail("an answer was computed again"))
    benchmark.run(tables[0], **RUN)


def test_an_answer_of_other_features_or_clips_is_computed_anew(tables, tmp_path):
    name = "answers/emodb-logmel-speaker-0.json"
    kept, other = json.loads((tables[0] / name).read_text()), tmp_path / name
    other.parent.mkdir()
    other.write_text(json.dumps(kept | {"identity": "of other clips", "y_pred": ["bored"] * 535}))
    benchmark.run(tmp_path, ("emodb",), ("logmel",), folds=("speaker",), n_clips=(0,))
    assert json.loads(other.read_text()) == kept


def test_what_cannot_be_had_is_named_and_nothing_at_all_is_refused(tmp_path):
    run = {"folds": ("speaker",), "n_clips": (0,)}
    found = benchmark.run(tmp_path, ("emodb", "nemo"), ("prosody", "compare"), **run)
    assert len(found.within) == 1
    assert all(name in " ".join(found.left_out) for name in ("nemo", "compare"))
    refused(r"nothing to compare: .*nemo", benchmark.run, tmp_path, ("nemo",), ("prosody",), **run)


def test_sentences_are_held_out_where_speakers_have_them_in_common():
    clips = pd.DataFrame({"text_id": ["a", "b", "a", "b"], "speaker": ["1", "1", "2", "2"]})
    assert benchmark._has_shared_texts(clips)
    for texts in (["a", "b", "c", "d"], "", "a"):
        assert not benchmark._has_shared_texts(clips.assign(text_id=texts))


def test_the_committed_tables_hold_what_the_shipped_features_give_and_ones_own_row_is_beside_them(tables):
    key = ["corpus", "encoder", "folds", "n_clips"]
    both = benchmark.committed().merge(tables[1].within, on=key, suffixes=("", "_now"))
    assert len(both) == len(tables[1].within)
    stated = both[both["folds"] == "speaker"]  # of which the shipped embeddings' limit is stated
    assert np.abs(stated["ua"] - stated["ua_now"]).max() < 0.005  # 8 bits a feature against 32
    page = (paths.CHECKOUT / "docs" / "benchmark.md").read_text()
    assert all(f"{ua:.3f} [" in page for ua in benchmark.committed()["ua"])
    own = tables[1].within.query("corpus == 'emodb' and encoder == 'logmel'").assign(encoder="my-network")
    beside = benchmark.beside_committed(own)
    committed = beside[beside["source"] == "committed"]
    assert {"whisper-tiny.en", "logmel"} <= set(committed["encoder"])
    assert set(committed["corpus"]) == {"emodb"} and (committed["n_clips"] == 0).all()
    page = benchmark.as_markdown(beside, tables[1].across)
    assert "| my-network |" in page and "0.17)" in page
