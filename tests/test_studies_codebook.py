"""Notebook 06's experiments: nothing judged is seen, controls meet their targets, shares become prosody."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from samples import corners, refused

from emolib import demo, prosody, splits, steering, tts
from emolib.codebook import ResidualQuantizer, measures
from emolib.corpora import load
from emolib.studies import codebook as study

WORDS = ["angry", "neutral", "sad"]


@pytest.fixture(scope="module")
def held() -> study.HeldOut:
    X, manifest = corners()
    return study.hold_out(X, manifest, splits.folds(manifest, n_folds=3), apart=True)[0]


# ------------------------------------------------------------------------------------- held-out clips


def test_nothing_of_a_judged_speaker_is_seen():
    X, manifest = corners()
    folds = splits.folds(manifest, n_folds=3)
    for apart in (False, True):
        for (train, test), held in zip(folds, study.hold_out(X, manifest, folds, apart=apart), strict=True):
            books = splits.halves(train, manifest["speaker"])[0] if apart else train
            assert held.clips["clip"].tolist() == test.tolist()
            assert held.seen_labels.tolist() == manifest["emotion"].iloc[books].tolist()
            assert not set(manifest["speaker"].iloc[books]) & set(held.speakers)
            assert np.allclose(held.seen.mean(axis=0), 0) and np.allclose(held.seen.std(axis=0), 1)


def test_every_emotion_gets_as_many_clips_of_the_same_speakers():
    _, manifest = corners()
    sad = (manifest["emotion"] == "sad") & (manifest["speaker"] == "s0")
    manifest = manifest.drop(index=manifest.index[sad][:4])
    rows = study.balanced_rows(manifest["emotion"], manifest["speaker"])
    assert list(rows) == ["neutral", "happy", "sad", "angry"]
    speakers = [sorted(manifest["speaker"].iloc[chosen]) for chosen in rows.values()]
    assert all(names == speakers[0] for names in speakers) and speakers[0].count("s0") == 2
    assert all(set(manifest["emotion"].iloc[chosen]) == {name} for name, chosen in rows.items())
    few = manifest.drop(index=manifest.index[manifest["emotion"] == "happy"][3:])
    few = few["emotion"], few["speaker"]
    refused("leave 'happy' out, which has 3 clips", study.balanced_rows, *few, least=8)


def test_the_outcome_of_no_change_is_no_change_and_of_no_bits_is_shrinking(held):
    table, far = study.outcome(held, held.before), study.outcome(held, 0 * held.before)
    assert np.allclose(table["similarity"], 1) and np.allclose(table["shrinking"], 0)
    assert table["hit"].mean() > 0.8 and ((table["margin"] > 0) == (table["hit"] == 1)).all()
    assert np.allclose(far.groupby("emotion")["shrinking"].mean(), 1, atol=0.5)
    both = pd.concat([table.assign(way="before"), far.assign(way="after")])
    assert len(set(far["predicted"])) == 1
    assert measures.compare(both, "way", "before", "hit").loc["after", "minus before"] < -0.4
    assert abs(measures.excess_drift(table).value) < 1e-9


def test_the_operating_point_is_chosen_without_the_clips_that_are_judged():
    X, manifest = corners(4)
    template, lams = ResidualQuantizer(2, 4), (0.0, 0.05, 0.5)
    (train, test), *_ = splits.folds(manifest, n_folds=3)
    chosen = study.operating_points(X, manifest, [(train, test)], template, lams)
    other, renamed = X.copy(), manifest.copy()
    other[test], renamed.loc[test, "emotion"] = 100.0, "sad"
    assert study.operating_points(other, renamed, [(train, test)], template, lams) == chosen
    assert chosen[0] in lams


# ------------------------------------------------------------------------------------- controls and codebooks


def test_controls_meet_their_targets(held):
    X = held.seen
    after = ResidualQuantizer(n_stages=2, n_codes=8).fit(X).transform(X)
    far, cosines = np.linalg.norm(after - X, axis=1), measures.similarity(X, after)
    lost = measures.distortion(X, after)
    rows = study.controls(X, after, held.axes, np.random.default_rng(0))
    length = np.linalg.norm(X, axis=1)
    assert np.allclose(np.linalg.norm(rows["noise"] - X, axis=1), far)
    assert np.allclose(np.linalg.norm(rows["pure shrinking"] - X, axis=1), np.minimum(far, length))
    assert np.allclose(measures.similarity(X, rows["random turn"]), cosines)
    assert np.allclose(np.linalg.norm(rows["random turn"], axis=1), length)
    dropped = rows["greedy drop"]
    assert (measures.similarity(X, dropped) <= cosines + 1e-9).all()
    assert ((dropped == 0) | (dropped == X)).all()
    assert measures.distortion(X, rows["scalar grid"]) == pytest.approx(lost, rel=0.05)
    assert abs(measures.distortion(X, rows["PCA"]) - lost) < 0.15
    assert np.linalg.matrix_rank(rows["PCA"]) < X.shape[1]
    assert np.allclose(study.truncate(held.axes, X, 0.0), X)
    assert np.allclose(study.truncate(held.axes, X, 1.0), 0)


def test_a_biased_codebook_pulls_to_its_emotion_and_an_even_one_less(held):
    pull = {}
    for share in (1.0, 0.25):
        chosen = study.biased_rows(held.own, "happy", share)
        assert len(chosen) == len(held.own["happy"]) and (held.seen_labels[chosen] == "happy").mean() == share
        book = ResidualQuantizer(n_stages=2, n_codes=6).fit(held.seen[chosen])
        pull[share] = study.outcome(held, book.decode(book.encode(held.before, 0.05)))["to happy"].mean()
    assert pull[1.0] > 0.5 and pull[1.0] > pull[0.25] + 0.3


def test_joined_codebooks_hold_their_parts(held):
    template = ResidualQuantizer(n_stages=2, n_codes=6)
    trained = study.train_books(held, template)
    books = [trained["happy"], trained["sad"]]
    both = held.seen[np.concatenate([held.own[name] for name in ("happy", "sad")])]
    base = template.fit(both)
    joined, turns = study.union(books, base, both), study.alternate(books, base, both)
    assert joined.codes_.shape == (2, 12, 10) and turns.codes_.shape == (2, 6, 10)
    # the first code of a book means the same vector in the union
    assert np.allclose(joined.decode([[6 + 2, -1]]), books[1].decode([[2, -1]]), atol=1e-4)
    assert np.allclose(turns.decode([[3, -1]]), books[0].decode([[3, -1]]), atol=1e-4)
    coded = joined.decode(joined.encode(both, 0.01))
    assert np.array_equal(joined.decompress(joined.compress(both, 0.01)), coded)
    a, b = (held.before[held.labels == name] for name in ("happy", "sad"))
    mixed = [study.barycentre(joined, *pair) for pair in ((a, a), (a, b), (b, b))]
    to_b = [np.linalg.norm(rows - b, axis=1).mean() for rows in mixed]
    assert to_b[0] > to_b[1] > to_b[2]


def test_routes_mixtures_and_conversions_are_of_every_clip(held):
    books, rng = study.train_books(held, ResidualQuantizer(2, 4)), np.random.default_rng(0)
    routes = study.routes(held, books, (9.0,))
    assert (routes["bits"] <= 9).all() and routes["way"].value_counts().tolist() == [len(held.clips)] * 3
    rows, ways = study.mixtures(held, books, ("happy", "sad"), 0.003, rng)
    table = study.judged(held, rows, ways)
    assert np.allclose(table[["neutral", "happy", "sad", "angry"]].sum(axis=1), 1)
    assert set(held.labels[rows]) == {"happy"}
    assert len(table) == 5 * (held.labels == "happy").sum()
    done = study.conversions(held, books, 0.003, rng, "neutral")
    assert set(done) == {"happy", "sad", "angry"}
    assert not {"happy", "neutral"} & set(held.labels[done["happy"][0]])
    changed = study.changes(held, ResidualQuantizer(2, 4).fit(held.seen), 0.01, rng)
    assert changed["way"].nunique() == 7 and (changed["bits"] > 0).all()


# ------------------------------------------------------------------------------------- sound


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A small corpus of six voices: two speak, prosody is learned from two, two are the judge's."""
    part = {"voices": demo.VOICES[:6], "sentences": ("s1",), "takes": 1, "emotion_words": WORDS}
    root = demo.build(tmp_path_factory.mktemp("demo") / "demo", **part, jobs=1)
    return load("folder", table=root / "demo.csv")


@pytest.fixture(scope="module")
def audible(voices):
    rng, y = np.random.default_rng(0), voices["emotion"].to_numpy()
    X = 4 * np.eye(3)[[WORDS.index(word) for word in y]] @ rng.standard_normal((3, 6))
    X += rng.standard_normal(X.shape)
    folds, judged = splits.folds(voices, n_folds=3)[:1], []

    class Judge:
        classes_ = np.array(WORDS)

        def predict_proba(self, waves, sample_rate):
            loud = [np.abs(np.diff(wave)).mean() for wave in waves]
            return np.array([[0.5 + 0.1 * np.tanh(level), 0.3, 0.2] for level in loud])

    def judge_of(rows):
        judged.append(set(voices["speaker"].iloc[rows]))
        return Judge()

    (held,) = study.hold_out(X, voices, folds, apart=True, least=2)
    (part,) = study.voices_by_fold(voices, folds, judge_of, n_sentences=1)
    return study.Audible(held, part), judged[0]


def test_those_who_speak_model_and_judge_are_different_people(audible, voices):
    part, judges = audible
    speaking = set(part.voices.carriers)
    models = {name for t in part.voices.transforms.values() for name in t.provenance["speakers"]}
    assert speaking == set(part.held.speakers)
    assert not (speaking & models or speaking & judges or models & judges)
    assert speaking | models | judges == set(voices["speaker"])


def test_a_blend_moves_as_far_as_the_shares_say(audible):
    voices = audible[0].voices
    _, contours = next(iter(voices.carriers.values()))
    assert all(change == 0 for change in voices.blend({"neutral": 1.0}).shift(contours).values())
    whole = voices.blend({"angry": 1.0}).shift(contours)
    half = voices.blend({"angry": 0.5, "neutral": 0.5}).shift(contours)
    assert whole == pytest.approx(voices.transforms["angry"].shift(contours))
    assert half == pytest.approx({name: change / 2 for name, change in whole.items()})
    refused("shares of bored", voices.blend, {"bored": 0.2, "sad": 0.8})


def test_text_to_speech_takes_shares_too(audible):
    text = "The bus leaves at nine."
    plain, sample_rate = tts.speak(text, alpha=0)
    blends = [audible[0].voices.blend({name: 1.0}) for name in ("neutral", "angry")]
    neutral, angry = (tts.speak(text, target=steering.ProsodySteerer(blend))[0] for blend in blends)
    spoken = (prosody.record(wave, sample_rate).speech for wave in (plain, angry))
    pitch = [np.exp(prosody.statistics(prosody.contours(speech))[0]) for speech in spoken]
    assert abs(len(neutral) - len(plain)) < 0.02 * sample_rate and pitch[1] > 1.1 * pitch[0]


def test_rates_run_from_the_plain_clip_to_the_whole_embedding(audible):
    part, _ = audible
    coder = ResidualQuantizer(3, 4).fit(part.held.seen)
    table = part.rates(coder, (0.003, 0.3))
    ways = ["neutral clip as it is", "its emotion alone", "whole embedding", "lambda 0.003", "lambda 0.3"]
    assert table["way"].unique().tolist() == ways
    assert len(part.picks) == 2 * len(WORDS) and len(table) == 5 * len(part.picks)
    plain = table[table["way"] == ways[0]].iloc[0]
    carrier = part.voices.carriers[plain["speaker"]][0].wave
    assert len(plain["wave"]) == pytest.approx(len(carrier), rel=0.02)
    fine, coarse = (table[table["lam"] == lam] for lam in (0.003, 0.3))
    assert (fine["bits"].to_numpy() >= coarse["bits"].to_numpy()).all()
    after = coder.decode(coder.encode(part.held.before, 0.003))[part.picks]
    kept = measures.similarity(part.held.before[part.picks], after)
    np.testing.assert_allclose(fine["similarity"], kept, atol=1e-9)
    np.testing.assert_array_equal(table["chance"], [row.heard[row.emotion] for row in table.itertuples()])
    picked = part.recognised(table, part.speakers[0])
    assert part.held.labels[picked].tolist() == ["angry"], "which the judge here finds in everything"
    assert part.held.speakers[picked].tolist() == [part.speakers[0]]


def test_shares_are_the_probes_and_those_of_other_emotions_are_divided(audible):
    part, _ = audible
    shares = part.shares(part.held.before)
    found = part.probe.predict_proba(part.held.before)
    assert shares.columns.tolist() == part.voices.names and np.allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares[part.probe.classes_], found, atol=1e-9)
    fewer = study.Voices({"sad": part.voices.transforms["sad"]}, part.voices.carriers, part.voices.judge)
    known = study.Audible(part.held, fewer).shares(part.held.before)
    assert known.columns.tolist() == ["neutral", "sad"] and np.allclose(known.sum(axis=1), 1)
    np.testing.assert_allclose(known["sad"] / known["neutral"], shares["sad"] / shares["neutral"])


def test_a_speaker_of_another_corpus_gets_a_voice_in_turn(audible):
    part, _ = audible
    names = np.where(part.held.speakers == part.speakers[0], "p", "q")
    held = replace(part.held, clips=part.held.clips.assign(speaker=names), speakers=names)
    other = study.Audible(held, part.voices)
    asked = other.ask(other.picks, held.before[other.picks], kept=7)
    turns = dict(zip(("p", "q"), part.voices.carriers, strict=True))
    assert asked["voice"].tolist() == [turns[name] for name in names[other.picks]]
    assert other.say([asked.head(2)])["kept"].tolist() == [7, 7]
    rows = other.draw(np.arange(len(names)), np.random.default_rng(0))
    assert names[rows].tolist() == ["p", "q"]
