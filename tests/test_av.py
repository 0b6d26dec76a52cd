"""Reductions to the plane: invariants, scikit-learn's own checks, and agreement with a known truth."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from samples import refused
from scipy.special import softmax
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torchmetrics.functional import concordance_corrcoef

from emolib import av, corpora, embeddings, emotions, metrics, plots, splits
from emolib.av import AVLearner, evaluate, reductions

WORDS = np.array(["angry", "sad", "happy", "neutral"])


def blobs(n=240, width=12, seed=0, spread=1.0):
    """Return features of four classes that lie apart on hidden valence and arousal, labels and the truth."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % len(WORDS)
    truth = av.resolve(WORDS, "emodb")[codes] + 0.1 * rng.standard_normal((n, 2))
    mixing = np.random.default_rng(99).standard_normal((2, width))
    return 3 * truth @ mixing + spread * rng.standard_normal((n, width)), WORDS[codes], truth


@pytest.fixture(scope="module")
def anchored():
    X, y, _ = blobs()
    return AVLearner().fit(X, y, "emodb")


# ------------------------------------------------------------------------------------- the estimator


def test_it_passes_scikit_learn_s_checks():
    """UMAP as well, given neighbours for as few clips as the checks have."""
    for learner in (AVLearner(), AVLearner("umap", n_neighbors=2, n_epochs=5)):
        check_estimator(learner)


@pytest.mark.parametrize("method", ["anchored", "umap"])
def test_a_clip_is_placed_by_itself_and_a_saved_learner_places_it_alike(method, tmp_path):
    X, y, _ = blobs(120)
    learner = AVLearner(method, n_epochs=20, seed=3)
    placed = learner.fit_transform(X, y, "emodb")
    for axis, high in enumerate(("happy", "angry")):
        assert placed[y == high, axis].mean() > 0.3 > placed[y == "sad", axis].mean()
    np.testing.assert_allclose(learner.transform(X), placed, atol=1e-5)
    new = blobs(30, seed=5)[0]
    together = learner.transform(new)
    np.testing.assert_allclose(np.concatenate([learner.transform(x[None]) for x in new]), together, atol=1e-9)
    learner.provenance_["layer"] = 4
    again = AVLearner.load(learner.save(tmp_path / "av"))
    np.testing.assert_array_equal(again.transform(new), together)
    assert again.get_params() == learner.get_params() and again.provenance_ == {"layer": 4}
    assert again.classes_.tolist() == learner.classes_.tolist()


def test_held_out_places_agree_with_the_truth_and_shuffled_categories_do_not(anchored):
    X, y, _ = blobs()
    new, _, hidden = blobs(seed=1)
    shuffled = AVLearner().fit(X, np.random.default_rng(0).permutation(y), "emodb")
    for axis in range(2):
        assert metrics.ccc(hidden[:, axis], anchored.transform(new)[:, axis]) > 0.85
        assert abs(metrics.ccc(hidden[:, axis], shuffled.transform(new)[:, axis])) < 0.4


def test_classes_move_to_their_anchors_by_the_formula_and_keep_their_inside(anchored):
    """The formula of one clip, term by term: sum_k p_k (a_k + w B (x - c_k))."""
    X, y, truth = blobs()
    own = anchored.anchors_[np.searchsorted(anchored.classes_, y)]
    places = anchored.transform(X)
    for name in WORDS:
        inside = y == name
        assert np.linalg.norm(places[inside].mean(axis=0) - own[inside][0]) < 0.15
        assert places[inside].std(axis=0).min() > 0.01
    assert np.corrcoef((places - own)[:, 1], (truth - own)[:, 1])[0, 1] > 0.2
    reduction, scaled = anchored.reduction_, (X - X.mean(0)) / X.std(0)
    p = softmax((scaled[3] @ reduction.weight + reduction.bias) / reduction.temperature)
    centroids = np.stack([scaled[y == name].mean(0) for name in anchored.classes_])
    kept = (scaled[3] - centroids) @ reduction.residual
    np.testing.assert_allclose(places[3], p @ (anchored.anchors_ + kept), atol=1e-9)


def test_fixed_settings_are_kept_and_free_ones_chosen_on_whole_speakers():
    X, y, _ = blobs()
    settings = AVLearner(shrinkage=0.3, within=0.0).fit(X, y).settings_
    assert (settings.shrinkage, settings.within) == (0.3, 0.0)
    assert settings.temperature in reductions.GRIDS[1] and settings.score > 0.5
    codes, groups = np.arange(60) % 3, np.repeat(np.arange(12), 5)
    folds = reductions.assign_folds(codes, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(12))
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    by_class = reductions.assign_folds(codes)
    assert all(np.bincount(by_class[codes == code]).tolist() == [4] * 5 for code in range(3))


def test_odd_features_are_placed():
    single = AVLearner().fit(np.eye(3), WORDS[:3], "emodb")
    assert np.isnan(single.settings_.score) and np.isfinite(single.transform(np.eye(3))).all()
    X, y, _ = blobs()
    wide = np.column_stack([X, X, np.full(len(X), 7.0)])  # duplicates, and one that is constant
    assert np.isfinite(AVLearner().fit(wide, y).transform(wide)).all()


def test_umap_starts_at_the_anchors_in_their_own_units():
    X, y, _ = blobs(120)
    still = AVLearner("umap", n_epochs=1, learning_rate=1e-9).fit(X, y, "emodb")
    start = still.anchors_[np.searchsorted(still.classes_, y)]
    assert np.abs(still.embedding_ - start).max() < 6 * reductions.START_SD
    assert np.abs(still.embedding_ - start).std() > reductions.START_SD / 3


def test_another_process_agrees_to_the_bit():
    code = (
        "import numpy as np; from emolib.av import AVLearner\n"
        "X, y = np.random.default_rng(0).standard_normal((90, 6)), np.array(['angry', 'sad', 'happy'] * 30)\n"
        "learners = [AVLearner(method, n_epochs=10, seed=1) for method in ('anchored', 'umap')]\n"
        "places = [learner.fit_transform(X, y, 'emodb').tobytes().hex() for learner in learners]\n"
    )
    here: dict = {}
    exec(code, here)
    command = [sys.executable, "-c", code + "print(*places)"]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here["places"]


def test_it_refuses_with_a_reason():
    rng = np.random.default_rng(0)
    for change, anchors, message in (
        ({"y": np.full(40, "angry")}, None, "1 class"),
        ({"y": np.array(["angry", "furious"] * 20)}, "emodb", "no anchor for furious"),
        ({}, "nowhere", "unknown anchors"),
        ({}, {"angry": (0, 1), "sad": (0, np.nan)}, "both finite"),
        ({"X": np.full((40, 3), np.nan)}, None, "NaN"),
        ({"y": None}, None, "y"),
        ({"method": "tsne"}, None, "unknown method"),
        ({"method": "umap", "n_neighbors": 40}, None, "expected 2 to 39: .* fewer neighbours"),
        ({"shrinkage": 1.5}, None, "shrinkage=1.5"),
        ({"temperature": 0.0}, None, "temperature=0.0"),
    ):
        X = change.pop("X", rng.standard_normal((40, 3)))
        y = change.pop("y", np.array(["angry", "sad"] * 20))
        refused(message, AVLearner(**change).fit, X, y, anchors)


def test_anchors_from_a_table_add_to_the_joined_ones(tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("Word,Arousal,Valence\nAmusement,0.4,0.7\nsad,-0.5,-0.5\n")
    points = av.resolve(["amused", "sad", "angry"], str(table))
    np.testing.assert_allclose(points, [[0.7, 0.4], [-0.5, -0.5], emotions.ANCHORS["emodb"]["angry"]])
    for text, why in {
        "word,arousal\na,1": "lacks the columns valence",
        "word,arousal,valence\na,2,0": "'a' has arousal '2'",
        "word,arousal,valence\na,,0": "numbers in",
    }.items():  # fmt: skip
        table.write_text(text)
        refused(why, av.resolve, ["amused"], str(table))
    refused(r"no anchor for amused; .*`--anchors FILE`", av.resolve, ["amused"])


def test_anchors_by_name_mapping_and_around_a_circle():
    assert av.resolve(["angry"], "iemocap").tolist() == [[-0.51, 0.59]]
    assert av.resolve(["a", "b"], {"a": (1, 2), "b": (3, 4)}).tolist() == [[1, 2], [3, 4]]
    assert set(emotions.EMOTIONS) == set(av.JOINED)
    np.testing.assert_allclose(np.linalg.norm(av.resolve([0, 1, 2]), axis=1), 1)


def test_ccc_agrees_with_torchmetrics_and_its_definition():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(200)
    b = 0.5 * a + 0.3 * rng.standard_normal(200) + 0.2
    # torchmetrics takes sample moments; of 200 values they are n / (n - 1) apart
    theirs = float(concordance_corrcoef(torch.tensor(b), torch.tensor(a)))
    assert metrics.ccc(a, b) == pytest.approx(theirs, abs=2e-3)
    assert metrics.ccc(a, a) == pytest.approx(1) and metrics.ccc(a, -a) < 0
    assert metrics.ccc(a, np.zeros(200)) == 0 and np.isnan(metrics.ccc([1, 1], [1, 1]))
    assert metrics.ccc(a, a + 1) < 1 and metrics.ccc(a, 2 * a) == pytest.approx(metrics.ccc(2 * a, a))
    for bad, words in (([1.0, np.nan], "not finite"), ([1.0], "equal numbers"), ([], "equal numbers")):
        refused(words, metrics.ccc, [1.0, 2.0], bad)


# ------------------------------------------------------------------------------------- whole corpora


def corpus(n=240, n_speakers=6):
    X, y, truth = blobs(n)
    speakers = np.array([f"s{i // 4 % n_speakers}" for i in range(n)])
    offset = np.random.default_rng(7).standard_normal((n_speakers, X.shape[1]))
    X = X + 3 * offset[[int(name[1:]) for name in speakers]]
    table = pd.DataFrame({"corpus": "tiny", "speaker": speakers, "emotion": y})
    return X, table.assign(valence=truth[:, 0], arousal=truth[:, 1])


def test_every_clip_is_placed_without_its_speaker():
    X, manifest = corpus()
    folds = splits.folds(manifest, "loso")
    noise = np.random.default_rng(0).standard_normal(X.shape)
    layers = {0: noise, 5: av.standardise_speakers(X, manifest["speaker"])}
    plane = av.place(layers, manifest, folds, anchors="emodb")
    assert plane.layer == 5 and len(plane) == len(manifest)
    assert plane.arousal.low > 0.8 and plane.valence.low > 0.8
    train, test = folds[0]
    y = manifest["emotion"].to_numpy()
    alone = AVLearner().fit(layers[5][train], y[train], "emodb", groups=plane.speakers[train])
    np.testing.assert_allclose(plane.points[test], alone.transform(layers[5][test]), atol=1e-9)
    # ratings have no part in it
    blind = av.place(layers, manifest.assign(valence=np.nan, arousal=np.nan), folds, anchors="emodb")
    np.testing.assert_array_equal(blind.points, plane.points)
    assert np.isnan(blind.arousal.value) and not blind.rated.any()


def test_lines_frame_the_plane():
    X, manifest = corpus()
    folds = splits.folds(manifest, "loso")
    lines = av.lines(manifest, av.standardise_speakers(X, manifest["speaker"]), folds, "emodb")
    oracle, best = (lines[f"{what} of the true class"].arousal for what in ("anchor", "mean rating"))
    assert best.value >= oracle.value and 0.8 < lines["ridge on the ratings"].valence.value < 1
    manifest.loc[::2, ["valence", "arousal"]] = np.nan
    half = av.lines(manifest, X, folds, "emodb")["ridge on the ratings"]
    assert half.rated.sum() == len(manifest) // 2 and np.isfinite(half.arousal.value)


def test_the_ridge_on_the_ratings_is_tuned_over_speakers_as_the_learner_is():
    """Each speaker's ratings follow their features in their own way, which does not help with others."""
    rng, n, n_speakers = np.random.default_rng(0), 240, 6
    codes, voices = np.arange(n) % len(WORDS), np.arange(n) // len(WORDS) % n_speakers
    truth = av.resolve(WORDS, "emodb")[codes]
    X = rng.standard_normal((n, 40))
    X[:, :2] += 3 * truth
    habits = 0.05 * rng.standard_normal((n_speakers, 40, 2))
    ratings = truth + np.einsum("nd,nda->na", X, habits[voices])
    manifest = pd.DataFrame({"speaker": voices.astype(str), "emotion": WORDS[codes]})
    manifest[["valence", "arousal"]] = ratings
    folds, by_clip = splits.folds(manifest, "loso"), np.empty((n, 2))
    for train, test in folds:
        model = make_pipeline(StandardScaler(), RidgeCV(evaluate.ALPHAS))
        by_clip[test] = model.fit(X[train], ratings[train]).predict(X[test])
    line = av.lines(manifest, X, folds, "emodb")["ridge on the ratings"]
    for k, axis in enumerate(("valence", "arousal")):
        assert getattr(line, axis).value > metrics.ccc(ratings[:, k], by_clip[:, k]) + 0.01


def test_transfer_refuses_shared_speakers_and_unequal_lengths():
    X, manifest = corpus()
    other = manifest.assign(corpus="else", speaker="else-" + manifest["speaker"])
    learner = AVLearner(within=0.0)
    placed = av.transfer({0: X}, manifest, {0: X}, other, learner=learner, anchors="emodb")
    assert len(placed) == len(manifest) and not hasattr(learner, "classes_"), "it is cloned"
    refused("both the training and the test set", av.transfer, {0: X}, manifest, {0: X}, manifest)
    folds = splits.folds(manifest, "loso")
    refused("features of shape .* for 240 clips", av.place, {0: X[1:]}, manifest, folds)
    refused("no layers", av.place, {}, manifest, folds)


# ------------------------------------------------------------------------------------- drawing


def test_the_plane_shows_every_clip_and_names_the_emotions():
    (_, y, truth), points, (plane, moves) = blobs(40), av.resolve(WORDS, "emodb"), Figure().subplots(1, 2)
    plots.plot_plane(truth, y, anchors=dict(zip(WORDS.tolist(), points, strict=True)), ax=plane)
    assert len(plane.collections) == len(WORDS) == len(plane.get_legend().texts)
    assert sum(len(dots.get_offsets()) for dots in plane.collections) == 40
    texts = [text.get_text() for text in plots.plot_moves(points, 0.5 * points, WORDS, ax=moves).texts]
    assert [text for text in texts if text] == WORDS.tolist()


# ------------------------------------------------------------------------------------- recorded speech


def test_emodb_reaches_what_is_claimed(monkeypatch):
    """By wav2vec2-nano, as shipped: .74 and .56 with speakers standardised, .74 and .52 without."""
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    with pytest.warns(UserWarning, match="emodb"):
        manifest = corpora.load("emodb")
    store = embeddings.open("emodb", "wav2vec2-nano")
    raw = {k: store.pooled(k, "mean+std", manifest["clip"].tolist()) for k in store.config.layers}
    standardised = {k: av.standardise_speakers(X, manifest["speaker"]) for k, X in raw.items()}
    folds = splits.folds(manifest, "loso")
    plane, alone = av.place(standardised, manifest, folds), av.place(raw, manifest, folds)
    assert plane.rated.sum() == len(manifest) == 535
    assert plane.arousal.value >= 0.72 and plane.valence.value >= 0.53
    assert alone.arousal.value >= 0.72 and alone.valence.value >= 0.49
