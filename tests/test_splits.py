"""Every clip is tested once; no speaker or sentence is on both sides, but where that is the question."""

import json
import re

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
EMOBOX = "1: 01 11 20 21 · 2: 04 10 12 14 · 3: 08 09 19 23 · 4: 03 05 07 24 · 5: 02 15 16 18 · 6: 06 13 17 22"


def table(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["speaker", "emotion"])


def full(n_speakers: int = 24, corpus: str = "ravdess") -> pd.DataFrame:
    names = [f"{corpus}-{i:02d}" for i in range(1, n_speakers + 1)]
    return table([(s, e) for s in names for e in ("sad", "angry", "calm") for _ in "12"])


def check_folds(manifest: pd.DataFrame, cut: list, *, disjoint: bool = True) -> None:
    tested = np.sort(np.concatenate([test for _, test in cut]))
    assert np.array_equal(tested, np.arange(len(manifest))), "every clip is in exactly one test fold"
    speakers = manifest["speaker"].to_numpy()
    for train, test in cut:
        assert len(train) and len(test)
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(manifest)))
        assert not disjoint or not set(speakers[train]) & set(speakers[test])


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
    check_folds(manifest, cut, disjoint=scheme != "random")
    most = {"speaker": min(n_folds, n_speakers), "loso": n_speakers, "emobox": 6, "random": n_folds}
    assert len(cut) <= most[scheme]


def test_the_takes_of_a_rendition_stay_together():
    manifest = pd.concat([full().assign(text_id=text, intensity="") for text in "ab"]).reset_index(drop=True)
    names = manifest["speaker"] + manifest["emotion"] + manifest["text_id"]
    assert names.value_counts().min() > 1  # there are takes to keep together
    cut = splits.folds(manifest, "rendition")
    check_folds(manifest, cut, disjoint=False)
    for train, test in cut:
        assert not set(names[train]) & set(names[test])
        assert set(manifest["speaker"][train]) & set(manifest["speaker"][test])
    apart = splits.folds(manifest, "random")
    assert any(set(names[train]) & set(names[test]) for train, test in apart)
    assert all(set(manifest["speaker"][train]) & set(manifest["speaker"][test]) for train, test in apart)


def spoken(n_speakers: int = 8, texts: str = "abcde") -> pd.DataFrame:
    rows = [(*row, text) for row in full(n_speakers).itertuples(index=False) for text in texts]
    return pd.DataFrame(rows, columns=["speaker", "emotion", "text_id"])


@given(
    rows=st.lists(st.tuples(st.sampled_from(SPEAKERS), st.sampled_from(EMOTIONS), st.sampled_from("abcd"))),
    n_folds=st.integers(2, 8),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_no_sentence_is_on_both_sides_and_with_speakers_neither(rows, n_folds, seed):
    base = spoken(3, "ab")  # so that each sentence has several speakers
    drawn = pd.DataFrame(rows, columns=base.columns)
    manifest = pd.concat([base, drawn], ignore_index=True).sample(frac=1, random_state=seed)
    speakers, texts = manifest["speaker"].to_numpy(), manifest["text_id"].to_numpy()
    cut = splits.folds(manifest, "text", n_folds=n_folds, seed=seed)
    check_folds(manifest, cut, disjoint=False)
    assert len(cut) <= min(n_folds, len(set(texts)))
    assert not any(set(texts[train]) & set(texts[test]) for train, test in cut)
    for train, test in splits.folds(manifest, "speaker+text", n_folds=n_folds, seed=seed):
        assert not set(texts[train]) & set(texts[test])
        others = ~np.isin(speakers, speakers[test])
        assert len(train) and set(train) <= set(np.flatnonzero(others))


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
        (half, "text", "6 of 12 clips have no text_id; 'text'"),
        (half.fillna(""), "speaker+text", r"6 of 12 clips have no text_id; 'speaker\+text'"),
        (spoken(texts="a"), "text", "all clips say the sentence 'a'; .* need two sentences"),
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
    published = [
        tuple(f"ravdess-{actor}" for actor in fold.split())
        for fold in re.findall(r"\d: ((?:\d\d ?)+)", EMOBOX)
    ]
    assert list(splits.EMOBOX_RAVDESS) == published
    assert sorted(actor for fold in published for actor in fold) == [f"ravdess-{i:02d}" for i in range(1, 25)]
    manifest = full()
    cut = splits.folds(manifest, "emobox")
    assert [tuple(sorted(set(manifest["speaker"].iloc[test]))) for _, test in cut] == published


def test_overlap_raises_with_the_names():
    splits.check_disjoint(["a", "b"], ["c"])
    pair = ["bert", "anna", "carl"], ["anna", "bert", "dora"]
    refused("speakers anna, bert are in both", splits.check_disjoint, *pair)
    words = r"sentences a are in both .* cut by whole sentences"
    refused(words, splits.check_disjoint, ["a", "b"], ["a"], "sentences")
    many = [f"{i:02d}" for i in range(9)]
    refused(r"00, 01, 02, 03, 04 \.\.\. are in both", splits.check_disjoint, many, many)


def test_folds_are_checked_whoever_cut_them(monkeypatch):
    everyone = np.arange(len(full()))
    monkeypatch.setattr(splits, "_emobox", lambda manifest: [(everyone, everyone[:6])])
    refused("speakers ravdess-01 are in both", splits.folds, full(), "emobox")
