"""A trial of conversion keeps its speakers apart, counts what it leaves out, and frames what it measures."""

import numpy as np
import pandas as pd
import pytest
from samples import speech

from emolib import corpora, demo
from emolib.demo import espeak
from emolib.steering import evidence, rotations, shipped, trial
from emolib.steering.speakers import at_full_strength

RATE = 22_050


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> pd.DataFrame:
    """Six voices, two sentences, two emotions, one take: 24 clips."""
    part = {"sentences": ("s2", "s3"), "takes": 1, "emotion_words": ("neutral", "angry")}
    root = demo.build(tmp_path_factory.mktemp("demo") / "demo", voices=demo.VOICES[:6], **part, jobs=1)
    return corpora.load("folder", table=root / "demo.csv").assign(intensity="")


@pytest.fixture(scope="module")
def rows(manifest) -> pd.DataFrame:
    missing = manifest[(manifest["text_id"] != "s2") | (manifest["emotion"] != "angry")]
    missing = pd.concat([missing, manifest[manifest["speaker"] != manifest["speaker"].iloc[0]]])
    material = trial.gather(missing.drop_duplicates("clip"), "neutral", ["angry"])
    found = trial.run(material, "neutral", ["angry"], rotations(manifest)[:2])
    rows = found.rows
    rows.attrs["skipped"] = found.skipped
    return rows


def test_every_speaker_is_heard_once_and_nobody_has_two_roles():
    for n, n_groups in ((5, 5), (9, 6), (24, 6)):
        names = [f"{i:02d}" for i in range(n)]
        table = pd.DataFrame({"speaker": names, "gender": ["male", "female"] * (n // 2) + ["male"] * (n % 2)})
        dealt = rotations(table)
        assert len(dealt) == n_groups
        assert sorted(name for round_ in dealt for name in round_.heard) == names
        for round_ in dealt:
            everyone = [*round_.makers, *round_.judges, *round_.heard]
            assert sorted(everyone) == names and len(set(everyone)) == n
            assert len(round_.judges) >= 2 and len(round_.makers) >= 2
    with pytest.raises(ValueError, match="five"):
        rotations(table[:4])


def test_only_strong_renditions_are_the_goal():
    table = pd.DataFrame(
        {
            "emotion": ["neutral", "angry", "angry", "sad", "calm"],
            "intensity": ["normal", "normal", "strong", "", "strong"],
        }
    )
    assert at_full_strength(table, "neutral", ["angry", "sad"]).index.tolist() == [0, 2, 3]


def test_a_trial_frames_what_it_measures(rows):
    assert set(rows["way"]) == set(trial.WAYS)
    assert rows["p"].between(0, 1).all() and rows["recognised"].isin([0, 1]).all()
    table = trial.summarise(rows)
    still, moved = table.loc[("angry", "zero effort")], table.loc[("angry", "prosody")]
    assert moved["log_f0_rmse"] < still["log_f0_rmse"]
    assert moved["words"] > still["words"]  # itself against another sentence
    assert rows.loc[rows["way"] != "zero effort", "rises"].isin([0, 1]).all()
    ratio = trial.ratio(rows, "log_f0_rmse", "prosody", "zero effort")
    assert list(ratio.index) == ["angry", "all"]
    assert ratio.loc["all", "value"] == pytest.approx(moved["log_f0_rmse"] / still["log_f0_rmse"])
    gain = trial.difference(rows, "p", "prosody", "zero effort")
    assert gain.loc["all", "value"] == pytest.approx(moved["p"] - still["p"])
    level = trial.levels(rows, "p").set_index("way")["value"]
    assert level["prosody"] == pytest.approx(moved["p"])


def test_a_rate_near_0_is_compared_by_its_difference():
    """A share of a rate that is 0 in some resamples has an interval up to many times the natural rate."""
    speakers = [f"s{i}" for i in range(8)]
    rows = pd.DataFrame(
        [
            {"speaker": name, "target": "sad", "way": way, "recognised": float(hit)}
            for name in speakers
            for way, hit in (("prosody", name < "s4"), ("natural target", name == "s0"))
        ]
    )
    gain = trial.difference(rows, "recognised", "prosody", "natural target").loc["sad"]
    assert gain["value"] == pytest.approx(3 / 8) and -1 <= gain["low"] < gain["high"] <= 1
    with pytest.raises(ValueError, match="may be near 0"):
        trial.ratio(rows, "recognised", "prosody", "natural target")


def test_what_has_no_rendition_to_compare_with_is_said(rows, manifest):
    skipped = rows.attrs["skipped"]
    heard = {speaker for round_ in rotations(manifest)[:2] for speaker in round_.heard}
    first = manifest["speaker"].iloc[0]
    assert len(skipped) == (first in heard)
    assert all("no angry rendition" in entry["reason"] for entry in skipped)


def test_words_are_the_same_at_another_pace_and_others_are_not():
    plain, slow, other = (
        espeak.speak(text, voice=voice, rate=rate)[0]
        for text, voice, rate in (
            ("She put the blue folder on the table.", "en-us+f2", 160),
            ("She put the blue folder on the table.", "en-us+m3", 120),
            ("There are seven books on the lower shelf.", "en-us+f2", 160),
        )
    )
    assert evidence.word_agreement(plain, plain, RATE) == pytest.approx(1)
    same, floor = (evidence.word_agreement(plain, wave, RATE) for wave in (slow, other))
    assert same > floor + 0.1
    with pytest.raises(ValueError, match="384 ms"):
        evidence.word_agreement(plain, speech(0.2, sample_rate=RATE), RATE)


def test_what_is_shipped_steers_and_judges():
    if not shipped.available():
        pytest.skip("no shipped parts in this home")
    judge = shipped.judge()
    for source in shipped.SOURCES:
        for target in shipped.TARGETS:
            steerer = shipped.steerer(source, target)
            assert (steerer.source, steerer.target) == (source, target)
            assert not set(steerer.transform.provenance["speakers"]) & set(judge.speakers_)
    wave, rate = espeak.speak("The meeting has moved to the second floor.", voice="en-us+f2")
    moved = shipped.steerer("calm", "angry").steer(wave, rate, 1.0)
    heard = judge.predict_proba([wave, moved], rate)[:, judge.column("angry")]
    assert heard[1] > heard[0] and np.isfinite(moved).all()


@pytest.mark.parametrize("source, target", [("sad", "angry"), ("neutral", "calm")])
def test_what_is_not_shipped_is_said(source, target):
    with pytest.raises(ValueError, match="--corpus"):
        shipped.steerer(source, target)
