"""Embeddings as speech: shares are a probe's, transforms follow them, and who judges made nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from emolib import demo, gallery, prosody, splits, steering, tts
from emolib.codebook import ResidualQuantizer, biased, conditioning, measures, spoken, study
from emolib.codebook.cast import casts, perform
from emolib.corpora import load

WORDS = ["angry", "neutral", "sad"]


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A small corpus of six voices: two speak, two make, two judge."""
    part = {"voices": demo.VOICES[:6], "sentences": ("s1",), "takes": 1, "emotion_words": WORDS}
    root = demo.build(tmp_path_factory.mktemp("demo") / "demo", **part, jobs=1)
    return load("folder", table=root / "demo.csv")


@pytest.fixture(scope="module")
def staged(voices):
    rng = np.random.default_rng(0)
    y = voices["emotion"].to_numpy()
    X = 4 * np.eye(3)[[WORDS.index(word) for word in y]] @ rng.standard_normal((3, 6))
    X += rng.standard_normal(X.shape)
    folds = splits.folds(voices, n_folds=3)
    (held, *_) = study.hold_out(X, voices, folds, apart=True)
    judged = []

    class Judge:
        classes_ = np.array(WORDS)

        def predict_proba(self, waves, sample_rate):
            loud = [np.abs(np.diff(wave)).mean() for wave in waves]
            return np.array([[0.5 + 0.1 * np.tanh(level), 0.3, 0.2] for level in loud])

    def judge_of(rows):
        judged.append(set(voices["speaker"].iloc[rows]))
        return Judge()

    (cast, *_) = casts(voices, folds[:1], judge_of, n_sentences=1)
    template = ResidualQuantizer(2, 2, n_epochs=1)
    rows = biased.balanced_rows(held.labels[held.train], held.speakers[held.train])
    return spoken.Stage(held, rows, cast, template), judged[0]


# ------------------------------------------------------------------------------------- conditioning


def test_shares_are_the_probes_and_those_of_unknown_emotions_are_dealt_out():
    rng = np.random.default_rng(0)
    y = np.array(["sad", "angry", "surprised"] * 20)
    X = rng.standard_normal((60, 4)) + 2 * (y == "sad")[:, None]
    probe = LogisticRegression().fit(X, y)
    table = conditioning.shares(X, probe)
    assert table.columns.tolist() == ["sad", "angry", "surprised"]
    np.testing.assert_allclose(table["sad"], probe.predict_proba(X)[:, 1], atol=1e-9)
    known = conditioning.shares(X, probe, ["neutral", "sad", "angry"])
    assert known.columns.tolist() == ["sad", "angry"]
    np.testing.assert_allclose(known.sum(axis=1), 1)
    np.testing.assert_allclose(known["sad"] / known["angry"], table["sad"] / table["angry"])
    with pytest.raises(ValueError, match="expected at least one emotion in both"):
        conditioning.shares(X, probe, ["bored"])


def test_a_blend_moves_as_far_as_the_shares_say(staged):
    stage, _ = staged
    transforms, (recording, seen) = stage.cast.transforms, next(iter(stage.cast.carriers.values()))
    still = conditioning.blend({"neutral": 1.0}, transforms)
    assert all(change == 0 for change in still.shift(seen).values())
    whole = conditioning.blend({"angry": 1.0}, transforms).shift(seen)
    half = conditioning.blend({"angry": 0.5, "neutral": 0.5}, transforms).shift(seen)
    assert whole == pytest.approx(transforms["angry"].shift(seen))
    assert half == pytest.approx({name: change / 2 for name, change in whole.items()})
    with pytest.raises(ValueError, match="shares of bored"):
        conditioning.blend({"bored": 0.2, "sad": 0.8}, transforms)
    assert isinstance(still, prosody.ProsodyTransform) and recording.sample_rate == stage.cast.sample_rate


def test_text_to_speech_takes_shares_too(staged):
    stage, _ = staged
    plain, sample_rate = tts.speak("The bus leaves at nine.", alpha=0)

    def said(wanted):
        steerer = steering.ProsodySteerer(conditioning.blend(wanted, stage.cast.transforms))
        return tts.speak("The bus leaves at nine.", target=steerer)[0]

    neutral, angry = said({"neutral": 1.0}), said({"angry": 1.0})
    waves = {"plain": plain, "angry": angry}
    pitch = {
        name: float(np.exp(prosody.statistics(prosody.contours(prosody.record(wave, sample_rate).speech))[0]))
        for name, wave in waves.items()
    }
    assert abs(len(neutral) - len(plain)) < 0.02 * sample_rate and pitch["angry"] > 1.1 * pitch["plain"]


# ------------------------------------------------------------------------------------- roles and stages


def test_who_speaks_who_makes_and_who_judges_are_different_people(staged, voices):
    stage, judges = staged
    speaking = set(stage.cast.carriers)
    making = {name for t in stage.cast.transforms.values() for name in t.provenance["speakers"]}
    assert making == set(stage.held.speakers[stage.held.train])
    assert speaking == set(stage.held.speakers[stage.held.test])
    assert not (speaking & making or speaking & judges or making & judges)
    assert speaking | making | judges == set(voices["speaker"])


def test_rates_run_from_the_plain_clip_to_the_whole_embedding(staged):
    stage, _ = staged
    coder = ResidualQuantizer(3, 4, n_epochs=1).fit(stage.held.seen)
    table = stage.rates(coder, (0.003, 0.3))
    assert table["way"].unique().tolist() == [
        "neutral clip as it is", "its emotion alone", "whole embedding", "lambda 0.003", "lambda 0.3",
    ]  # fmt: skip
    n = len(stage.picks)
    assert n == 2 * len(WORDS) and len(table) == 5 * n
    plain = table[table["way"] == "neutral clip as it is"]
    carrier = stage.cast.carriers[plain["speaker"].iloc[0]][0].wave
    assert len(plain["wave"].iloc[0]) == pytest.approx(len(carrier), rel=0.02)
    fine, coarse = (table[table["lam"] == lam] for lam in (0.003, 0.3))
    assert (fine["bits"].to_numpy() >= coarse["bits"].to_numpy()).all()
    assert fine["bits"].sum() > coarse["bits"].sum()
    after = coder.decode(coder.encode(stage.held.before, 0.003))[stage.picks]
    np.testing.assert_allclose(
        fine["similarity"], measures.similarity(stage.held.before[stage.picks], after), atol=1e-9
    )
    heard = [row.heard[row.emotion] for row in table.itertuples()]
    np.testing.assert_array_equal(table["chance"], heard)


def test_clips_are_picked_whose_whole_embedding_is_taken_for_its_own_emotion(staged):
    """The judge here finds `angry` in everything."""
    stage, _ = staged
    speaker = str(stage.among[0])
    picked = stage.recognised(speaker)
    assert stage.labels[picked].tolist() == ["angry"] and stage.speakers[picked].tolist() == [speaker]
    coder = ResidualQuantizer(2, 2, n_epochs=1).fit(stage.held.seen)
    assert set(stage.rates(coder, (0.01,), picked)["clip"]) == set(stage.held.test[picked])


def test_mixes_conversions_and_codebooks_are_said_in_every_way(staged):
    stage, _ = staged
    mixed = stage.mixes(("angry", "sad"), 0.01, np.random.default_rng(0), each=1)
    assert set(mixed["way"]) >= {"interpolation", "union", "barycentre"} and len(mixed) == 2 * 5
    np.testing.assert_allclose(mixed["smaller"], np.minimum(mixed["angry"], mixed["sad"]))
    converted = stage.conversions(0.05, np.random.default_rng(0))
    assert set(converted["way"]) == {"as it is", "interpolation", "straight", "neutral first"}
    assert set(converted["target"]) == {"angry", "sad"}
    by_book = stage.pulls(0.03, stage.picks[stage.speakers[stage.picks] == stage.among[0]])
    assert set(by_book["book"]) == set(WORDS) and set(by_book["speaker"]) == {stage.among[0]}
    page = spoken.lay_out(by_book, "By codebook", "", row="book", column="emotion", columns=WORDS)
    assert isinstance(page, gallery.Table) and list(page.rows) == ["neutral", "sad", "angry"]
    clip = page.rows["sad"][0]
    row = by_book[(by_book["book"] == "sad") & (by_book["emotion"] == "angry")].iloc[0]
    np.testing.assert_array_equal(clip.wave, row["wave"])
    assert clip.notes == (f"{row['bits']:.1f} bits · cosine {row['similarity']:.2f}",)


def test_a_speaker_of_another_corpus_gets_a_voice_by_turns(staged):
    stage, _ = staged
    own, other = list(stage.cast.carriers)
    assert stage.cast.voice_of(own, ["x", own]) == own
    assert [stage.cast.voice_of(name, ["p", "q", "r"]) for name in "pqr"] == [own, other, own]
    wanted = pd.DataFrame([[0.5, 0.5, 0.0]], columns=stage.cast.names).assign(voice=own, kept=7)
    table = perform(stage.cast, wanted)
    assert table.columns.tolist() == ["voice", "kept", "wave", "heard"] and table["kept"].item() == 7
