"""Every clip is tested once; no speaker or sentence is on both sides, but where that is the question."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from samples import refused

from emolib import splits

SPEAKERS = tuple(f"ravdess-{actor}" for actor in ("01", "02", "03", "11", "20", "24"))
EMOTIONS = ("sad", "angry", "calm")
CLIPS = st.lists(st.tuples(st.sampled_from(SPEAKERS), st.sampled_from(EMOTIONS)), min_size=2, max_size=60)
#: Test actors by fold, as published with arXiv:2406.07162.
EMOBOX = "01 11 20 21 · 04 10 12 14 · 08 09 19 23 · 03 05 07 24 · 02 15 16 18 · 06 13 17 22"


def table(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["speaker", "emotion"])


def full(n_speakers: int = 24, corpus: str = "ravdess") -> pd.DataFrame:
    names = [f"{corpus}-{i:02d}" for i in range(1, n_speakers + 1)]
    return table([(s, e) for s in names for e in EMOTIONS for _ in "12"])


def spoken(n_speakers: int = 8, texts: str = "abcde") -> pd.DataFrame:
    return full(n_speakers).merge(pd.DataFrame({"text_id": list(texts)}), how="cross")


def check_folds(manifest: pd.DataFrame, cut: list, apart: str = "speaker", together: str = "") -> None:
    """Check that each clip is tested once, by all others, and that no value of a column is on both sides."""
    tested = np.sort(np.concatenate([test for _, test in cut]))
    assert np.array_equal(tested, np.arange(len(manifest))), "every clip is in exactly one test fold"
    for train, test in cut:
        assert len(train) and len(test)
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(manifest)))
        for name, is_shared in ((apart, False), (together, True)):
            values = manifest[name].to_numpy() if name else []
            assert not name or bool(set(values[train]) & set(values[test])) is is_shared


def test_published_folds_are_read_and_audited(tmp_path):
    """In EmoBox's layout; fold 2 shares a speaker and a sentence, which its audit says."""
    names = ["a1", "a2", "b1", "b2", "c1"]
    manifest = pd.DataFrame({
        "path": [f"/x/{name}.flac" for name in names[:4]] + [""], "clip": names,
        "speaker": [name[0] for name in names],
        "text_id": ["t1", "t2", "t1", "t2", "t3"], "emotion": "sad",
    })  # fmt: skip

    def write(fold, train, test):
        (tmp_path / f"fold_{fold}").mkdir(exist_ok=True)
        for side, clips in (("train", train), ("test", test)):
            lines = [json.dumps({"key": f"toy-{c}", "wav": f"downloads/{c}.wav"}) + "\n" for c in clips]
            (tmp_path / f"fold_{fold}" / f"toy_{side}_fold_{fold}.jsonl").write_text("".join(lines))

    write(1, ["a1", "a2"], ["c1"])
    write(2, ["a1", "b1", "gone"], ["b2", "a2"])
    with pytest.warns(UserWarning, match="1 listed clips are not in the manifest, such as gone"):
        cut = splits.published(manifest, tmp_path)
    assert [(train.tolist(), test.tolist()) for train, test in cut] == [([0, 1], [4]), ([0, 2], [3, 1])]
    found = splits.audit(manifest, cut)
    assert found["shared_speakers"].tolist() == [0, 2] and found["of_known_speakers"].tolist() == [0.0, 1.0]
    assert found["shared_sentences"].tolist() == [0, 0] and found["test_sentences"].tolist() == [1, 1]
    for train, test, words in (
        (["a1"], ["a1"], "clips a1 are in both"), (["a1"], ["gone"], "none is in the manifest"),
        ([], [], "none is in the manifest"),
    ):  # fmt: skip
        write(2, train, test)
        refused(words, splits.published, manifest, tmp_path)
    write(2, ["a1"], ["b1"])
    refused("two clips are named 'a1'", splits.published, pd.concat([manifest, manifest.iloc[:1]]), tmp_path)
    (tmp_path / "fold_2" / "toy_test_fold_2.jsonl").write_text('{"audio": "b1.wav"}\n')
    refused(r"fold_2\.jsonl: no published list .*sound under 'wav'", splits.published, manifest, tmp_path)
    unsaid = splits.audit(manifest.assign(text_id=""), cut)
    assert not unsaid[["shared_sentences", "test_sentences"]].to_numpy().any()
    refused("no published folds; expected fold_1/", splits.published, manifest, tmp_path / "fold_1")


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("scheme", ["speaker", "loso", "emobox", "random"])
@given(rows=CLIPS, n_folds=st.integers(2, 8), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_clip_is_tested_once_and_by_strangers_unless_at_random(scheme, rows, n_folds, seed):
    manifest = table(rows)
    n_speakers = manifest["speaker"].nunique()
    in_one_fold = any(set(manifest["speaker"]) <= set(actors) for actors in splits.EMOBOX_RAVDESS)
    assume(n_speakers > 1 and not (scheme == "emobox" and in_one_fold))
    counts = manifest["emotion"].value_counts()
    assume(scheme != "speaker" or counts.max() > 1)
    assume(scheme != "random" or counts.min() > 1)
    cut = splits.folds(manifest, scheme, n_folds=n_folds, seed=seed)
    check_folds(manifest, cut, "" if scheme == "random" else "speaker")
    most = {"speaker": min(n_folds, n_speakers), "loso": n_speakers, "emobox": 6, "random": n_folds}
    assert len(cut) <= most[scheme]


def test_the_takes_of_a_rendition_stay_together():
    manifest = pd.concat([full().assign(text_id=text, intensity="") for text in "ab"]).reset_index(drop=True)
    manifest["name"] = manifest["speaker"] + manifest["emotion"] + manifest["text_id"]
    assert manifest["name"].value_counts().min() > 1  # there are takes to keep together
    check_folds(manifest, splits.folds(manifest, "rendition"), "name", together="speaker")
    check_folds(manifest, splits.folds(manifest, "random"), "", together="name")


@given(
    rows=st.lists(st.tuples(st.sampled_from(SPEAKERS), st.sampled_from(EMOTIONS), st.sampled_from("abcd"))),
    n_folds=st.integers(2, 8),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_no_sentence_is_on_both_sides(rows, n_folds, seed):
    base = spoken(3, "ab")  # so that each sentence has several speakers
    drawn = pd.DataFrame(rows, columns=base.columns)
    manifest = pd.concat([base, drawn], ignore_index=True).sample(frac=1, random_state=seed)
    cut = splits.folds(manifest, "text", n_folds=n_folds, seed=seed)
    check_folds(manifest, cut, "text_id")
    assert len(cut) <= min(n_folds, manifest["text_id"].nunique())


def test_speakers_by_sentences_test_each_clip_once_on_all_that_is_neither():
    manifest = spoken()
    cut = splits.folds(manifest, "speaker+text", n_folds=4)
    assert len(cut) == 4 * 4
    assert np.array_equal(np.sort(np.concatenate([test for _, test in cut])), np.arange(len(manifest)))
    for train, test in cut:
        speakers, texts = (manifest[name].iloc[test].unique() for name in ("speaker", "text_id"))
        neither = ~manifest["speaker"].isin(speakers) & ~manifest["text_id"].isin(texts)
        assert np.array_equal(np.sort(train), np.flatnonzero(neither))
    other = splits.folds(manifest, "speaker+text", n_folds=4, seed=1)
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(cut, other, strict=True))


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_what_a_scheme_can_not_cut_is_refused_and_the_least_that_it_can_is_cut():
    alone = [("01", "sad"), ("02", "angry"), ("03", "calm")]
    own = spoken(2, "a").assign(text_id=["x"] * 6 + ["y"] * 6)
    alike = pd.concat([own, own.assign(text_id="x")], ignore_index=True)  # only the second speaker says y
    nothing, half = full().assign(text_id=["", *"a" * 143]), full(2).assign(text_id=[np.nan, "a"] * 6)
    for manifest, scheme, words in (
        (full(1), "speaker", "1 speaker; 'speaker' folds need at least two"),
        (full(1), "loso", "1 speaker; 'loso'"), (full(1), "emobox", "1 speaker; 'emobox'"),
        (spoken(1), "speaker+text", r"1 speaker; 'speaker\+text' folds need at least two"),
        (full(24, "nemo"), "emobox", "'emobox' folds with the speaker nemo-01"),
        (full(25), "emobox", "ravdess-01 to ravdess-24"),
        (table([("ravdess-01", "sad"), ("ravdess-11", "angry")]), "emobox", "one published fold"),
        (full(), "kfold", "unknown folds 'kfold'; expected one of: speaker, loso, text, "),
        (table([*alone, ("04", "sad")]), "random", "single clip"),
        (table(alone), "speaker", "every emotion has a single clip"),
        (nothing, "rendition", "1 of 144 clips have no text_id"),
        (half, "text", "6 of 12 clips have no text_id"),
        (half.fillna(""), "speaker+text", "6 of 12 clips have no text_id"),
        (spoken(texts="a"), "text", "all clips say the sentence 'a'; .* need two: use 'speaker'"),
        (spoken(texts="a"), "speaker+text", "all clips say the sentence 'a'"),
        (alike, "speaker+text", "leave no clip of other speakers and sentences"),
    ):  # fmt: skip
        refused(words, splits.folds, manifest, scheme)
    assert splits.folds(spoken(1), "text") and len(splits.folds(own, "speaker+text")) == 2
    assert len(splits.folds(full(2))) == len(splits.folds(full(2), "loso")) == 2
    check_folds(table([*alone, ("03", "sad")]), splits.folds(table([*alone, ("03", "sad")])))


def test_speaker_folds_are_balanced_and_seeded():
    manifest = full()
    cut = splits.folds(manifest)
    assert len(cut) == 6
    assert all(manifest.iloc[test]["emotion"].value_counts().tolist() == [8, 8, 8] for _, test in cut)
    again, other = splits.folds(manifest), splits.folds(manifest, seed=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(cut, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(cut, other, strict=True))


def test_emobox_folds_are_the_published_ones():
    manifest = full()
    tested = [manifest["speaker"].iloc[test].unique() for _, test in splits.folds(manifest, "emobox")]
    assert " · ".join(" ".join(name[-2:] for name in names) for names in tested) == EMOBOX


def test_overlap_raises_with_the_names_whoever_cut_the_folds(monkeypatch):
    splits.check_disjoint(["a", "b"], ["c"])
    pair = ["bert", "anna", "carl"], ["anna", "bert", "dora"]
    refused("speakers anna, bert are in both", splits.check_disjoint, *pair)
    words = r"sentences a are in both .* cut by whole sentences"
    refused(words, splits.check_disjoint, ["a", "b"], ["a"], "sentences")
    many = [f"{i:02d}" for i in range(9)]
    refused(r"00, 01, 02, 03, 04 \.\.\. are in both", splits.check_disjoint, many, many)
    everyone = np.arange(len(full()))
    monkeypatch.setattr(splits, "_emobox", lambda manifest: [(everyone, everyone[:6])])
    refused("speakers ravdess-01 are in both", splits.folds, full(), "emobox")
