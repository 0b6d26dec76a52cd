"""Measures and controls: a known change gives the known number; biased codebooks pull to their emotion."""

import numpy as np
import pandas as pd
import pytest

from emolib import metrics
from emolib.codebook import ResidualQuantizer, biased, controls, measures, pack, study
from emolib.splits import folds

EMOTIONS = ("neutral", "happy", "sad", "angry")


def corpus(
    n_each: int = 6, n_speakers: int = 6, width: int = 10, seed: int = 0
) -> tuple[np.ndarray, pd.DataFrame]:
    """Clips of emotions at corners of their own, neutral near the middle, with noise and voices."""
    rng = np.random.default_rng(0)
    centres = np.vstack([0.2 * np.ones(width), 3 * np.eye(width)[:3]])
    rows = [(e, s) for e in range(4) for s in range(n_speakers) for _ in range(n_each)]
    voices = 0.5 * rng.standard_normal((n_speakers, width))
    X = np.stack([centres[e] + voices[s] for e, s in rows]) + 0.5 * rng.standard_normal((len(rows), width))
    return X, pd.DataFrame({"emotion": [EMOTIONS[e] for e, _ in rows], "speaker": [f"s{s}" for _, s in rows]})


@pytest.fixture(scope="module")
def clips() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    X, manifest = corpus()
    labels = manifest["emotion"].to_numpy().astype(str)
    X = X - X.mean(axis=0)
    return X, labels, measures.class_centroids(X, labels)


# ------------------------------------------------------------------------------------- measures


def test_similarity_of_copies_opposites_and_nothing():
    X = np.array([[1.0, 2.0], [1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    after = np.array([[2.0, 4.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert np.allclose(measures.similarity(X, after), [1, -1, 0, 1])
    assert measures.distortion(X, X) == 0 and measures.distortion(X, 0 * X) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_moving_every_class_to_the_mean_is_shrinking_and_nothing_else(clips, share):
    X, labels, centroids = clips
    own = centroids.loc[labels].to_numpy()
    moved = measures.drift(X, X + share * (centroids.to_numpy().mean(axis=0) - own), labels, centroids)
    assert np.allclose(moved.shrinking, share)
    assert np.allclose(moved.beyond[~np.isnan(moved.beyond)], 0)
    assert measures.leads(moved.toward, labels, moved.classes).min() >= 0


def test_moving_to_a_class_is_drift_there(clips):
    X, labels, centroids = clips
    moved = measures.drift(
        X, X + 0.4 * (centroids.loc["sad"].to_numpy() - centroids.loc[labels].to_numpy()), labels, centroids
    )
    at = moved.classes.index("sad")
    others = labels != "sad"
    assert np.allclose(moved.toward[others, at], 0.4) and np.isnan(moved.toward[~others, at]).all()
    # on the way to sad they all pass the middle, where neutral is: only drift beyond shrinking tells
    assert measures.leads(moved.toward, labels, moved.classes, "sad").min() < 0
    assert measures.leads(moved.beyond, labels, moved.classes, "sad").min() > 0.05
    assert measures.leads(moved.toward, labels, moved.classes, "happy").min() < -0.1


def test_a_lead_is_over_each_other_class_and_its_interval_is_the_lowest():
    """No rival is chosen on the clips that are judged: all are compared, and all must lie behind."""
    rng = np.random.default_rng(0)
    classes, speakers = ["a", "b", "c", "neutral"], np.repeat(np.arange(8), 30)
    labels = np.tile(np.array(classes)[[0, 1, 2]], 80)
    toward = rng.normal([0.0, 0.1, 0.2, 0.3], 0.1, (240, 4))
    toward[np.arange(240), np.tile([0, 1, 2], 80)] = np.nan
    leads = measures.leads(toward, labels, classes)
    assert list(leads.index) == ["a", "b", "c"] and np.allclose(leads, [0.3, 0.2, 0.1], atol=0.05)
    found = measures.lead_interval(toward, labels, speakers, classes)
    assert found.value == pytest.approx(leads.min()) and 0 < found.low < found.value < found.high < 0.2
    assert np.isnan(measures.lead_interval(toward, labels, speakers % 4, classes).low)
    drawn = toward[:, 3]
    best = measures.advantage_interval(drawn, labels, speakers, "a")
    means = [drawn[labels == name].mean() for name in "abc"]
    assert best.value == pytest.approx(means[0] - max(means[1:])) and best.low < best.value < best.high


def test_a_class_mean_is_resampled_as_any_other_number():
    rng = np.random.default_rng(0)
    values, labels, speakers = rng.normal(size=90), rng.integers(3, size=90), rng.integers(6, size=90)
    values[::7] = np.nan

    def metric(numbers, names):
        return float(np.mean([np.nanmean(numbers[names == name]) for name in range(3)]))

    slow = metrics.speaker_bootstrap(metric, values, labels, speakers)
    assert measures.class_interval(values, labels, speakers) == pytest.approx(slow)


def test_margins_are_over_the_best_other_class():
    assert np.allclose(
        measures.margins([[2.0, 5.0, 1.0], [0.0, 0.0, 3.0]], ["a", "c"], ["a", "b", "c"]), [-3, 3]
    )


def test_a_label_without_a_centroid_is_refused(clips):
    X, labels, centroids = clips
    with pytest.raises(ValueError, match="no centroid of angry"):
        measures.drift(X, X, labels, centroids.drop("angry"))


# ------------------------------------------------------------------------------------- controls


def test_controls_meet_their_targets(clips):
    X, _, _ = clips
    rng = np.random.default_rng(0)
    after = ResidualQuantizer(n_stages=2, n_codes=8).fit(X).transform(X)
    far, cosines = np.linalg.norm(after - X, axis=1), measures.similarity(X, after)
    assert np.allclose(np.linalg.norm(controls.add_noise(X, after, rng) - X, axis=1), far)
    shrunk = controls.shrink(X, after)
    assert np.allclose(np.linalg.norm(shrunk - X, axis=1), np.minimum(far, np.linalg.norm(X, axis=1)))
    turned = controls.turn(X, cosines, rng)
    assert np.allclose(measures.similarity(X, turned), cosines)
    assert np.allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(X, axis=1))
    dropped = controls.drop(X, cosines)
    kept = measures.similarity(X, dropped)
    assert (kept <= cosines + 1e-9).all() and ((dropped == 0) | (dropped == X)).all()
    lost = measures.distortion(X, after)
    grid = controls.round_to_grid(X, lost)
    assert measures.distortion(X, grid.rows) == pytest.approx(lost, rel=0.05) and grid.bits > 0
    assert np.linalg.matrix_rank(controls.truncate(X, X, lost)) < X.shape[1]
    assert abs(measures.distortion(X, controls.truncate(X, X, lost)) - lost) < 0.15


def test_pca_at_no_loss_is_a_copy_and_at_all_loss_nothing(clips):
    X, _, _ = clips
    assert np.allclose(controls.truncate(X, X, 0.0), X) and np.allclose(controls.truncate(X, X, 1.0), 0)


# ------------------------------------------------------------------------------------- biased codebooks


def test_every_emotion_gets_as_many_clips_of_the_same_speakers():
    _, manifest = corpus()
    manifest = manifest.drop(
        index=manifest.index[(manifest["emotion"] == "sad") & (manifest["speaker"] == "s0")][:4]
    )
    rows = biased.balanced_rows(manifest["emotion"], manifest["speaker"])
    counts = [manifest["speaker"].to_numpy()[chosen] for chosen in rows.values()]
    assert list(rows) == ["neutral", "happy", "sad", "angry"]
    for speakers in counts:
        assert sorted(speakers) == sorted(counts[0]) and (speakers == "s0").sum() == 2
    for emotion, chosen in rows.items():
        assert set(manifest["emotion"].to_numpy()[chosen]) == {emotion}


def test_an_emotion_with_too_few_clips_is_refused_by_name():
    _, manifest = corpus()
    manifest = manifest.drop(index=manifest.index[manifest["emotion"] == "happy"][3:])
    with pytest.raises(ValueError, match="leave 'happy' out, which has 3 clips"):
        biased.balanced_rows(manifest["emotion"], manifest["speaker"], least=8)


def test_a_biased_codebook_pulls_to_its_emotion_and_an_even_one_less(clips):
    X, labels, centroids = clips
    rows = {name: np.flatnonzero(labels == name) for name in centroids.index}
    pull = {}
    for share in (1.0, 0.25):
        chosen = biased.biased_rows(rows, "happy", share)
        assert len(chosen) == len(rows["happy"]) and (labels[chosen] == "happy").mean() == share
        book = ResidualQuantizer(n_stages=2, n_codes=6).fit(X[chosen])
        moved = measures.drift(X, book.decode(book.encode(X, 0.05)), labels, centroids)
        pull[share] = np.nanmean(moved.toward[:, moved.classes.index("happy")])
    assert pull[1.0] > 0.5 and pull[1.0] > pull[0.25] + 0.3


def test_joined_codebooks_hold_their_parts(clips):
    X, labels, _ = clips
    rows = {name: np.flatnonzero(labels == name) for name in ("happy", "sad")}
    template = ResidualQuantizer(n_stages=2, n_codes=6)
    books, both = list(biased.train_books(X, rows, template).values()), X[np.concatenate(list(rows.values()))]
    base = ResidualQuantizer(n_stages=2, n_codes=6).fit(both)
    joined, turns = biased.union(books, base, both), biased.alternate(books, base, both)
    assert joined.codes_[0].shape == (2, 12, 10) and turns.codes_[0].shape == (2, 6, 10)
    # the first code of a book means the same vector in the union
    expected = books[1].decode([[2, -1]])
    assert np.allclose(joined.decode([[6 + 2, -1]]), expected, atol=1e-4)
    assert np.allclose(turns.decode([[3, -1]]), books[0].decode([[3, -1]]), atol=1e-4)
    assert np.array_equal(
        joined.decompress(joined.compress(both, 0.01)), joined.decode(joined.encode(both, 0.01))
    )


def test_a_barycentre_lies_between_its_references(clips):
    X, labels, _ = clips
    quantizer = ResidualQuantizer(n_stages=3, n_codes=8).fit(X)
    a, b = X[labels == "happy"][:10], X[labels == "sad"][:10]
    mixed = [biased.barycentre(quantizer, a, b, share=share, spread=0.01) for share in (0.0, 0.5, 1.0)]
    to_b = [np.linalg.norm(rows - b, axis=1).mean() for rows in mixed]
    assert to_b[0] > to_b[1] > to_b[2]
    assert np.allclose(mixed[0], quantizer.transform(a), atol=1.5) and np.allclose(
        mixed[0], biased.barycentre(quantizer, a, a, spread=0.01)
    )


# ------------------------------------------------------------------------------------- held-out clips


def test_nothing_of_a_judged_speaker_is_seen():
    X, manifest = corpus()
    for apart in (False, True):
        for held in study.hold_out(X, manifest, folds(manifest, n_folds=3), apart=apart):
            assert not set(held.speakers[held.train]) & set(held.speakers[held.test])
            assert np.allclose(held.seen.mean(axis=0), 0) and np.allclose(held.seen.std(axis=0), 1)


def test_the_outcome_of_no_change_is_no_change():
    X, manifest = corpus()
    held = study.hold_out(X, manifest, folds(manifest, n_folds=3))[0]
    table = study.outcome(held, held.before)
    assert (
        np.allclose(table["similarity"], 1)
        and np.allclose(table["shrinking"], 0)
        and table["hit"].mean() > 0.8
    )
    assert table["emotion"].tolist() == manifest["emotion"].iloc[held.test].tolist()
    far = study.outcome(held, 0 * held.before)
    assert (
        np.allclose(far.groupby("emotion")["shrinking"].mean(), 1, atol=0.5)
        and len(set(far["predicted"])) == 1
    )
    assert study.difference(far, table, "hit").value < -0.4
    lead = study.neutral_lead(far)
    assert lead.value == study.neutral_leads(far).min() and np.isnan(lead.low)  # two speakers: no interval
    assert lead.value > 0  # neutral is in the middle of this corpus
    assert abs(study.neutral_lead(table).value) < 1e-9


def test_any_rate_can_be_asked_for():
    X, _ = corpus()
    quantizer = ResidualQuantizer(n_stages=4, n_codes=8).fit(X)
    for bits in (
        1.5,
        3.0,
        4.0,
        7.0,
    ):  # below 3, no lambda gives a rate: a code costs that much or is not sent
        codes = study.codes_at_bits(lambda lam: quantizer.encode(X, lam), quantizer, bits)
        assert 0.95 * bits - 0.1 < 8 * len(pack(quantizer, codes)) / len(X) <= bits
