"""An axis finds a planted direction, keeps its units, and is judged on speakers that it was not fitted on."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from samples import refused
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from emolib import axis as axes
from emolib import metrics, plots, probing, splits
from emolib.axis import METHODS, EmotionAxis, EmotionSubspace
from emolib.store import FeatureStore, StoreConfig

WIDTH, NAMES = 16, ("neutral", "calm", "happy", "angry")


def clips(n_speakers: int = 6, n_each: int = 8) -> pd.DataFrame:
    rows = [
        (f"{s:02d}", emotion, f"s{i % 4}", ("normal", "strong")[i % 2], "tiny")
        for s in range(n_speakers)
        for emotion in NAMES
        for i in range(n_each)
    ]
    table = pd.DataFrame(rows, columns=["speaker", "emotion", "text_id", "intensity", "corpus"])
    return table.assign(clip=[f"clip-{i:04d}" for i in range(len(table))])


def planted(
    manifest: pd.DataFrame, strength: float = 5, *, voices: float = 5, noise: float = 1, seed: int = 0
) -> np.ndarray:
    """Return noise, a voice for each speaker, angry clips moved along column 0 and happy ones along 1.

    Normal clips are moved half as far as strong ones.
    """
    rng = np.random.default_rng(seed)
    X = noise * rng.standard_normal((len(manifest), WIDTH))
    codes = pd.factorize(manifest["speaker"])[0]
    X += voices * rng.standard_normal((codes.max() + 1, WIDTH))[codes]
    push = strength * np.where(manifest["intensity"] == "strong", 1, 0.5)
    for column, emotion in enumerate(("angry", "happy")):
        X[:, column] += push * (manifest["emotion"] == emotion)
    return X


MANIFEST = clips()
X = planted(MANIFEST)
Y, SPEAKERS = MANIFEST["emotion"], MANIFEST["speaker"]
LOSO = splits.folds(MANIFEST, "loso")
PROVENANCE = {"encoder": "nano", "fingerprint": "abc", "layer": 4, "pooling": "mean", "corpus": "tiny"}


def fitted(method: str = "logistic", data: np.ndarray = X, **options: object) -> EmotionAxis:
    return EmotionAxis(method=method).fit(data, Y, SPEAKERS, **options)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# ------------------------------------------------------------------------------------- the direction


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_direction_is_found_among_louder_voices(method):
    kept = X.copy()
    axis = fitted(method)
    assert np.array_equal(X, kept)
    assert axis.direction_.dtype == np.float64 and axis.direction_.shape == (WIDTH,)
    assert np.linalg.norm(axis.direction_) == pytest.approx(1) and axis.direction_[0] > 0.9
    assert axis.scale_ == pytest.approx(5 * 0.75, rel=0.2) and 0.8 < axis.resultant_length_ <= 1
    assert axis.speakers_ == sorted(set(SPEAKERS)) and axis.incomplete_ == []
    projections = axis.project(X)
    assert [projections[name == Y].mean() for name in ("calm", "angry")] == pytest.approx([0, 1], abs=1e-9)
    assert np.array_equal(axis.transform(X), projections[:, None])
    constant = np.where(np.arange(WIDTH) == 3, 5.1, X)
    assert abs(fitted(method, constant).direction_[3]) < 1e-6
    backwards = EmotionAxis(method=method).fit(X[::-1], Y[::-1], SPEAKERS[::-1])
    elsewhere = X + 100 * np.outer(Y == "happy", np.eye(WIDTH)[5])  # other emotions don't turn it
    for other in (backwards, fitted(method, planted(MANIFEST, voices=500)), fitted(method, elsewhere)):
        assert np.allclose(other.direction_, axis.direction_, atol=1e-5)
    refused("no direction", EmotionAxis(method=method).fit, np.ones((4, 3)), ["calm", "angry"] * 2)


def test_mean_difference_is_the_mean_of_unit_differences_and_each_speaker_counts_once():
    rows = np.flatnonzero((SPEAKERS != "00") | (np.arange(len(Y)) % 8 == 0) | (Y != "angry"))
    few, y, speakers = X[rows], Y.iloc[rows].to_numpy(), SPEAKERS.iloc[rows].to_numpy()
    axis = EmotionAxis(method="mean-difference").fit(few, y, speakers)
    means = {
        word: np.stack([few[(y == word) & (speakers == name)].mean(axis=0) for name in axis.speakers_])
        for word in ("calm", "angry")
    }
    units = np.stack([unit(difference) for difference in means["angry"] - means["calm"]])
    assert np.allclose(axis.direction_, unit(units.mean(axis=0)))
    assert axis.resultant_length_ == pytest.approx(np.linalg.norm(units.mean(axis=0)))
    assert np.allclose(axis.speaker_directions_, units)
    assert np.allclose(axis.speaker_cosines(), units @ units.T)
    assert [axis.project(means[word]).mean() for word in means] == pytest.approx([0, 1], abs=1e-9)


def test_the_directions_are_scikit_learn_s():
    rows = Y.isin(["calm", "angry"]).to_numpy()
    centred, is_angry = probing.centre_speakers(X, SPEAKERS)[rows], (Y == "angry")[rows]
    means = pd.DataFrame(centred).groupby(is_angry.to_numpy()).transform("mean")
    deviation = (centred - means).to_numpy().std(axis=0)
    logistic = LogisticRegression(C=0.01, solver="newton-cholesky").fit(centred / deviation, is_angry)
    assert fitted("logistic").direction_ @ unit(logistic.coef_[0] / deviation) > 0.999999
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(centred, is_angry)
    assert fitted("lda").direction_ @ unit(lda.coef_[0]) > 0.99


def test_one_clip_of_each_emotion_is_enough():
    for method in ("mean-difference", "logistic", "lda"):
        axis = EmotionAxis(method=method).fit([[0.0, 1], [2, 1]], ["calm", "angry"])
        assert np.allclose(axis.vector_, [2, 0]) and axis.speakers_ == [None], method


# ------------------------------------------------------------------------------------- moving


def test_a_shift_by_0_is_the_identity_and_by_1_a_whole_emotion():
    axis = fitted()
    assert np.array_equal(axis.shift(X, 0), X)
    assert np.allclose(axis.shift(X, 0.5), X + 0.5 * axis.scale_ * axis.direction_)
    assert np.allclose(axis.shift(axis.shift(X, 0.7), -0.7), X)
    steps = np.linspace(-1, 1, len(X))
    assert np.allclose(axis.project(axis.shift(X, steps)), axis.project(X) + steps)
    frames = X.astype(np.float32)
    assert axis.shift(frames, 1).dtype == np.float32 and np.array_equal(axis.shift(frames, 0), frames)
    for delta in (np.nan, np.inf, [0.1, 0.2], [[0.1]]):
        refused("expected a finite number", axis.shift, X, delta)


def test_groups_move_unseen_speakers_to_the_centre():
    axis, far = fitted(), X + 1000 * np.outer(np.arange(len(X)) // 32, np.ones(WIDTH))
    assert np.allclose(axis.project(X, SPEAKERS), axis.project(far, SPEAKERS))
    assert axis.project(X, SPEAKERS)[Y == "angry"].mean() == pytest.approx(1)


# ------------------------------------------------------------------------------------- refusals


def test_what_can_be_no_axis_is_refused():
    bad = X.copy()
    bad[3, 2] = np.nan
    apart = (SPEAKERS < "03") == (Y == "calm")
    for call, words in (
        (lambda: EmotionAxis("joyful").fit(X, Y), "no clip of emotion 'joyful'.*angry, calm, happy, neutral"),
        (lambda: EmotionAxis("calm", "calm").fit(X, Y), "one class"),
        (lambda: EmotionAxis().fit(X[apart], Y[apart], SPEAKERS[apart]), "no speaker has clips of both"),
        (lambda: fitted("svm"), "unknown method 'svm'; expected one of: mean-difference"),
        (lambda: EmotionAxis().fit(X, Y, ["a", "b", "c"]), "inconsistent numbers"),
        (lambda: fitted("logistic", bad), "NaN"),
        (lambda: fitted().project(X[:, :5]), "5 features.*expecting 16"),
        (lambda: axes.cross_project(bad, MANIFEST, LOSO), "1 clips are not finite"),
        (lambda: axes.cross_project(X[:5], MANIFEST, LOSO), r"expected \(192, D\)"),
        (lambda: axes.cross_project(X, MANIFEST, LOSO[1:]), "32 of 192 clips are in no test fold"),
    ):
        refused(words, call)


def test_a_speaker_without_one_emotion_is_left_out_and_named():
    rows = ~((SPEAKERS == "03") & (Y == "angry"))
    table, others = MANIFEST[rows].reset_index(drop=True), SPEAKERS != "03"
    with pytest.warns(UserWarning, match="speaker 03 has no clip of 'angry'"):
        axis = EmotionAxis().fit(X[rows], Y[rows], SPEAKERS[rows])
    assert axis.incomplete_ == ["speaker 03 has no clip of 'angry'"] and "03" not in axis.speakers_
    assert np.allclose(axis.direction_, EmotionAxis().fit(X[others], Y[others], SPEAKERS[others]).direction_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        held_out = axes.cross_project(X[rows], table, splits.folds(table, "loso"))
    assert held_out.incomplete == axis.incomplete_
    assert held_out.n_speakers == 5 and held_out.rows.sum() == 80


# ------------------------------------------------------------------------------------- provenance and folders


def test_an_axis_from_a_store_knows_its_features_and_refuses_others(tmp_path):
    states = [np.stack([np.tile(row, (3, 1)), -np.tile(row, (3, 1))]) for row in X.astype(np.float32)]
    config = StoreConfig("nano", "abc", (2, 4), WIDTH, hop_s=0.02, frames=False)
    store = FeatureStore.open(tmp_path / "store", config)
    with store.writing():
        store.append(MANIFEST["clip"].tolist(), MANIFEST["clip"].tolist(), states)
        store.tidy()
    shuffled = MANIFEST.sample(frac=1, random_state=0).reset_index(drop=True)
    axis, made = axes.fit_axis(shuffled, store, 2), PROVENANCE | {"layer": 2}
    assert np.allclose(axis.direction_, fitted().direction_, atol=1e-4)
    assert axis.provenance.items() >= (made | {"n": 96}).items() and axis.provenance["commit"]
    assert axis.provenance["speakers"] == sorted(set(SPEAKERS))
    axis.check(encoder="moved/nano", fingerprint="abc", layer=2)  # the same weights in another folder
    for name, wrong in {"layer": 3, "encoder": "base", "pooling": "mean+std", "fingerprint": "x"}.items():
        refused(f"of {name} {made[name]}; these are of {name}", axis.check, **{name: wrong})
    fitted().check(encoder="anything", layer=9)  # bare arrays have no provenance
    assert axes.fit_axis(shuffled, store, 4, pooling="mean+std").n_features_in_ == 2 * WIDTH
    refused("layer 3 is not in", axes.fit_axis, shuffled, store, 3)


def test_a_saved_axis_is_the_same_axis_and_replaces_no_other_files(tmp_path):
    table, folder = pd.DataFrame(X).add_prefix("f"), tmp_path / "axis"
    axis = fitted("lda", table, provenance=PROVENANCE)
    loaded = EmotionAxis.load(axis.save(folder))
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert np.allclose(loaded.shift(X, 0.3), axis.shift(table, 0.3))
    assert loaded.provenance == axis.provenance and loaded.get_params() == axis.get_params()
    assert np.array_equal(loaded.speaker_directions_, axis.speaker_directions_)
    EmotionAxis("happy").fit(X, Y).save(folder)  # another axis takes its place
    assert EmotionAxis.load(folder).source_ == "happy"
    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')
    for call in (axis.save, EmotionAxis.load):
        refused("is not of a saved EmotionAxis", call, folder)
    (folder / "config.json").unlink()
    refused("not made here", axis.save, folder)
    with pytest.raises(FileNotFoundError, match="no EmotionAxis in"):
        EmotionAxis.load(folder)


# ------------------------------------------------------------------------------------- several emotions


def test_several_axes_at_once_and_their_cosines():
    family = axes.fit_axes(X, Y, SPEAKERS, source="neutral")
    assert list(family) == ["calm", "happy", "angry"]
    assert np.array_equal(family["angry"].direction_, EmotionAxis("neutral").fit(X, Y, SPEAKERS).direction_)
    table = axes.cosine_table({"a": [1, 0], "b": [-3, 0], "c": [0, 2]})
    assert table.loc["a"].tolist() == [1, -1, 0] and np.allclose(table, table.T)
    refused("length 0 is none", axes.cosine_table, {"a": [1, 0], "b": [0, 0]})


def test_a_subspace_holds_what_the_means_span():
    space = EmotionSubspace(n_components=2).fit(X, Y, SPEAKERS)
    assert np.allclose(space.components_ @ space.components_.T, np.eye(2))
    assert np.linalg.norm(space.components_[:, :2]) ** 2 == pytest.approx(2, rel=0.1), "columns 0 and 1"
    assert np.allclose(space.transform(X), (X - X.mean(axis=0)) @ space.components_.T)
    assert EmotionSubspace().fit(X, Y).components_.shape == (3, WIDTH)
    refused("n_components 4; .* 4 classes span 3", EmotionSubspace(4).fit, X, Y, SPEAKERS)


# ------------------------------------------------------------------------------------- evaluation


def test_the_auc_is_scikit_learn_s_and_its_interval_the_bootstrap_s():
    rng = np.random.default_rng(0)
    speakers, truth = rng.integers(7, size=120).astype(str), rng.random(120) < 0.4
    values = np.round(rng.standard_normal((120, 3)) + truth[:, None], 1)  # with ties
    assert np.allclose(axes.auc(values, truth), [roc_auc_score(truth, column) for column in values.T])
    slow = metrics.speaker_bootstrap(roc_auc_score, truth, values[:, 0], speakers, seed=1)
    assert axes.auc_interval(values[:, 0], truth, speakers, seed=1) == pytest.approx(slow, abs=1e-12)
    assert np.isnan(axes.auc_interval(values[:, 0], truth, np.full(120, "a")).low)
    refused("120 of 120 clips", axes.auc, values, np.ones(120, bool))


def test_unseen_speakers_are_separated_and_have_no_part_in_their_axis():
    held_out = axes.cross_project(X, MANIFEST, LOSO, layer=5)
    assert held_out.auc.value > 0.9 and held_out.auc.low > 0.8
    assert held_out.n_speakers == 6 and held_out.layer == 5 and held_out.incomplete == []
    assert held_out.projections.shape == (len(MANIFEST),) and held_out.rows.sum() == 96
    _, test = LOSO[2]
    blind = MANIFEST.copy()
    blind.loc[test, "emotion"] = np.roll(blind.loc[test, "emotion"], 5)
    other = axes.cross_project(X, blind, LOSO).projections
    assert np.array_equal(held_out.projections[test], other[test])
    assert not np.allclose(held_out.projections, other), "in other folds they are training"
    loud = planted(MANIFEST, voices=50)  # voices count only where they are not centred
    centred, raw = (axes.cross_project(loud, MANIFEST, LOSO, centre=flag).auc for flag in (True, False))
    assert centred.value > 0.9 and raw.value < centred.value - 0.1


def test_random_directions_and_shuffled_labels_are_at_chance():
    weak = planted(MANIFEST, 1)
    drawn, again = (axes.random_aucs(weak, MANIFEST, n_directions=300) for _ in "12")
    assert drawn.shape == (300,) and drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(drawn, again)
    strong = planted(MANIFEST, 30, voices=0)
    raw, white = (axes.random_aucs(strong, MANIFEST, whiten=flag) for flag in (False, True))
    assert raw.std() > 0.3 > 0.25 > white.std(), "where emotion is the widest direction, chance spreads"
    shuffled = axes.shuffled_aucs(X, MANIFEST, LOSO, n_shuffles=8)
    assert shuffled.mean() == pytest.approx(0.5, abs=0.08) and shuffled.max() < 0.75
    labels = axes.shuffle_labels(MANIFEST, ("calm", "angry"), np.random.default_rng(0))
    table = MANIFEST.assign(shuffled=labels)
    assert (pd.crosstab(table["speaker"], table["shuffled"]) == 8).all(axis=None)
    assert (labels[Y == "happy"] == "happy").all() and (labels != Y.to_numpy()).any()


def test_the_better_layer_is_chosen_without_the_test_speaker():
    layers = {1: planted(MANIFEST, 0.2, seed=1), 3: X, 7: planted(MANIFEST, 0.5, seed=2)}
    held_out = axes.choose_layer(layers, MANIFEST, LOSO)
    assert held_out.layer == 3 and held_out.auc.value > 0.9
    assert axes.choose_layer({4: X}, MANIFEST, LOSO).layer == 4
    odd = (SPEAKERS == "00").to_numpy()
    tempting = {1: np.where(odd[:, None], X, layers[1]), 2: np.where(odd[:, None], layers[1], X)}
    chosen = axes.choose_layer(tempting, MANIFEST, LOSO)
    blind = axes.cross_project(tempting[2], MANIFEST, LOSO)
    assert np.array_equal(chosen.projections[odd], blind.projections[odd]), "its own best layer is 1"


def test_sentences_are_held_out_whole():
    texts, speakers = MANIFEST["text_id"].to_numpy(), SPEAKERS.to_numpy()
    for new_speakers, n_folds in ((False, 4), (True, 24)):
        folds = axes.sentence_folds(MANIFEST, new_speakers=new_speakers)
        assert len(folds) == n_folds
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(MANIFEST)))
        for train, test in folds:
            assert not set(texts[train]) & set(texts[test])
            assert bool(set(speakers[train]) & set(speakers[test])) is not new_speakers
    many = MANIFEST.assign(text_id=[f"s{i % 32}" for i in range(len(MANIFEST))])
    assert len(axes.sentence_folds(many)) == 20, "more are held out in groups"
    # each sentence marks anger in a column of its own: of use only where the sentence is known
    marked = 0.3 * np.random.default_rng(0).standard_normal((len(MANIFEST), WIDTH))
    marked[np.arange(len(marked)), pd.factorize(texts)[0]] += 3.0 * (Y == "angry")
    known, new = (axes.cross_project(marked, MANIFEST, cut) for cut in (LOSO, axes.sentence_folds(MANIFEST)))
    assert known.auc.value > 0.95 > 0.7 > new.auc.value
    for texts, words in (("", "have no text_id"), (np.nan, "have no text_id"), ("s1", "need two")):
        refused(words, axes.sentence_folds, MANIFEST.assign(text_id=texts))


def test_an_axis_is_tested_on_another_corpus():
    axis = fitted(provenance=PROVENANCE)
    other = clips(n_speakers=4, n_each=4).replace({"emotion": {"calm": "bored"}})
    held_out = axes.transfer(axis, planted(other, seed=9), other, source="neutral")
    assert held_out.auc.value > 0.9 and held_out.n_speakers == 4 and held_out.layer == 4
    assert (held_out.source, held_out.target) == ("neutral", "angry")
    refused("no clip of emotion 'calm'", axes.transfer, axis, planted(other), other)


def test_stronger_is_further():
    held_out = axes.cross_project(planted(MANIFEST, 4, noise=0.3), MANIFEST, LOSO, method="mean-difference")
    table = axes.ladder(held_out, MANIFEST)
    assert table["step"].tolist() == ["calm", "angry, normal", "angry, strong"]
    assert table["value"].tolist() == pytest.approx([0, 2 / 3, 4 / 3], abs=0.1)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["n"].tolist() == [48, 24, 24]
    assert axes.strength_auc(held_out, MANIFEST).value > 0.95
    assert axes.evenness(held_out, MANIFEST).value == pytest.approx(0.5, abs=0.08)
    refused(r"intensities \['x'\] of 'angry'", axes.ladder, held_out, MANIFEST.assign(intensity="x"))


# ------------------------------------------------------------------------------------- scikit-learn, figures


@pytest.mark.parametrize("estimator", [EmotionAxis(None, None), EmotionSubspace()])
def test_scikit_learn_s_own_checks(estimator):
    """With both labels left open; named emotions are refused where y holds numbers, as these checks do."""
    check_estimator(estimator)


def test_plots_name_what_they_draw():
    controls, steps = Figure().subplots(1, 2)
    held_out = axes.cross_project(X, MANIFEST, LOSO)
    plots.plot_controls({"axis": held_out.auc}, {"random": axes.random_aucs(X, MANIFEST)}, ax=controls)
    assert [label.get_text() for label in controls.get_yticklabels()] == ["axis", "random"]
    plots.plot_ladder({"a": axes.ladder(held_out, MANIFEST)}, ax=steps)
    assert [label.get_text() for label in steps.get_xticklabels()][1:] == ["angry, normal", "angry, strong"]
