"""Every clip is tested once, and no speaker is on both sides, but where the leak is shown."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("scheme", ["speaker", "loso", "emobox"])
@given(rows=CLIPS, n_folds=st.integers(2, 8), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_speaker_disjoint_schemes(scheme, rows, n_folds, seed):
    manifest = table(rows)
    n_speakers = manifest["speaker"].nunique()
    in_one_fold = any(set(manifest["speaker"]) <= set(actors) for actors in splits.EMOBOX_RAVDESS)
    assume(n_speakers > 1 and not (scheme == "emobox" and in_one_fold))
    assume(scheme != "speaker" or manifest["emotion"].value_counts().max() > 1)
    cut = splits.folds(manifest, scheme, n_folds=n_folds, seed=seed)
    check_folds(manifest, cut)
    assert len(cut) <= {"speaker": min(n_folds, n_speakers), "loso": n_speakers, "emobox": 6}[scheme]


@given(rows=CLIPS, n_folds=st.integers(2, 8), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_random_folds_test_every_clip_once(rows, n_folds, seed):
    manifest = table(rows)
    assume(manifest["emotion"].value_counts().min() > 1)
    check_folds(manifest, splits.folds(manifest, "random", n_folds=n_folds, seed=seed), disjoint=False)


def test_random_folds_share_speakers():
    manifest = full()
    speakers = manifest["speaker"].to_numpy()
    for train, test in splits.folds(manifest, "random"):
        assert set(speakers[train]) & set(speakers[test])
        with pytest.raises(ValueError, match="both the training and the test set"):
            splits.check_disjoint(speakers[train], speakers[test])


def test_the_takes_of_a_rendition_stay_together():
    manifest = pd.concat([full().assign(text_id=text, intensity="") for text in "ab"]).reset_index(drop=True)
    names = manifest["speaker"] + manifest["emotion"] + manifest["text_id"]
    assert names.value_counts().min() > 1  # there are takes to keep together
    cut = splits.folds(manifest, "rendition")
    check_folds(manifest, cut, disjoint=False)
    for train, test in cut:
        assert not set(names[train]) & set(names[test])
        assert set(manifest["speaker"][train]) & set(manifest["speaker"][test])
    alone = splits.folds(manifest, "random")
    assert any(set(names[train]) & set(names[test]) for train, test in alone)
    with pytest.raises(ValueError, match="1 of 288 clips have no text_id"):
        splits.folds(manifest.assign(text_id=[""] + ["a"] * (len(manifest) - 1)), "rendition")


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


def test_two_speakers_are_enough_and_one_is_not():
    for scheme in ("speaker", "loso", "emobox"):
        if scheme != "emobox":
            cut = splits.folds(full(2), scheme)
            assert len(cut) == 2
            check_folds(full(2), cut)
        with pytest.raises(ValueError, match=rf"1 speaker; {scheme!r} folds need at least two"):
            splits.folds(full(1), scheme)


def test_overlap_raises_with_the_names():
    splits.check_disjoint(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="speakers anna, bert are in both"):
        splits.check_disjoint(["bert", "anna", "carl"], ["anna", "bert", "dora"])
    many = [f"{i:02d}" for i in range(9)]
    with pytest.raises(ValueError, match=r"00, 01, 02, 03, 04 \.\.\. are in both"):
        splits.check_disjoint(many, many)


def test_emobox_is_for_ravdess_alone():
    with pytest.raises(ValueError, match="'emobox' folds with the speaker nemo-01"):
        splits.folds(full(24, "nemo"), "emobox")
    with pytest.raises(ValueError, match="ravdess-01 to ravdess-24"):
        splits.folds(full(25), "emobox")
    with pytest.raises(ValueError, match="one published fold"):
        splits.folds(table([("ravdess-01", "sad"), ("ravdess-11", "angry")]), "emobox")
    with pytest.raises(ValueError, match="unknown folds 'kfold'; expected one of: speaker, loso, emobox"):
        splits.folds(full(), "kfold")


def test_random_needs_two_clips_of_each_emotion():
    with pytest.raises(ValueError, match="single clip"):
        splits.folds(table([("01", "sad"), ("02", "sad"), ("02", "angry")]), "random")


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_speaker_folds_need_an_emotion_with_two_clips():
    rows = [("01", "sad"), ("02", "angry"), ("03", "calm")]
    with pytest.raises(ValueError, match="every emotion has a single clip"):
        splits.folds(table(rows))
    check_folds(table([*rows, ("03", "sad")]), splits.folds(table([*rows, ("03", "sad")])))


def test_folds_are_checked_whoever_cut_them(monkeypatch):
    everyone = np.arange(len(full()))
    monkeypatch.setattr(splits, "_emobox", lambda manifest: [(everyone, everyone[:6])])
    with pytest.raises(ValueError, match="speakers ravdess-01 are in both"):
        splits.folds(full(), "emobox")
