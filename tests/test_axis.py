"""An axis finds a planted direction, keeps its units, and is judged on speakers that it never heard."""

import json
import os
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from emolib import axis as axes
from emolib import corpora, features, metrics, plots, probing, splits
from emolib.axis import METHODS, EmotionAxis, EmotionSubspace
from emolib.axis.controls import shuffle_labels
from emolib.store import FeatureStore, StoreConfig

mpl.use("agg")
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
    """Return noise, a voice for each speaker, angry clips pushed along column 0 and happy ones along 1.

    Normal clips are pushed half as far as strong ones.
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


def fitted(method: str = "logistic", source: str = "calm", target: str = "angry") -> EmotionAxis:
    return EmotionAxis(source, target, method).fit(X, Y, SPEAKERS)


# ------------------------------------------------------------------------------------- the direction


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_direction_is_found_among_louder_voices(method):
    axis = fitted(method)
    assert axis.direction_.dtype == np.float64 and axis.direction_.shape == (WIDTH,)
    assert np.linalg.norm(axis.direction_) == pytest.approx(1)
    assert axis.direction_[0] > 0.9
    assert axis.scale_ == pytest.approx(5 * 0.75, rel=0.2)
    assert 0.8 < axis.resultant_length_ <= 1
    assert axis.speakers_ == sorted(set(SPEAKERS)) and axis.incomplete_ == []


@pytest.mark.parametrize("method", METHODS)
def test_the_source_lies_at_nought_and_the_target_at_one(method):
    axis = fitted(method)
    projections = axis.project(X)
    assert projections.shape == (len(X),) and projections.dtype == np.float64
    assert projections[Y == "calm"].mean() == pytest.approx(0, abs=1e-9)
    assert projections[Y == "angry"].mean() == pytest.approx(1)
    assert np.array_equal(axis.transform(X), projections[:, None])


def test_each_speaker_counts_once():
    rows = np.flatnonzero((SPEAKERS != "00") | (np.arange(len(Y)) % 8 == 0) | (Y != "angry"))
    axis = EmotionAxis(method="mean-difference").fit(X[rows], Y.iloc[rows], SPEAKERS.iloc[rows])
    means = [
        np.mean(
            [
                axis.project(X[rows][(Y.iloc[rows] == e) & (SPEAKERS.iloc[rows] == s)]).mean()
                for s in axis.speakers_
            ]
        )
        for e in ("calm", "angry")
    ]
    assert means == pytest.approx([0, 1], abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_changes_nothing_that_it_is_given(method):
    frozen, kept = X.copy(), X.copy()
    frozen.flags.writeable = False
    first = EmotionAxis(method=method).fit(frozen, Y, SPEAKERS)
    assert np.array_equal(frozen, kept)
    second = EmotionAxis(method=method).fit(X[::-1], Y[::-1], SPEAKERS[::-1])
    assert np.allclose(first.direction_, second.direction_, atol=1e-5), "the order of clips means nothing"


@pytest.mark.parametrize("method", METHODS)
def test_voices_and_other_emotions_do_not_turn_the_axis(method):
    loud = planted(MANIFEST, voices=500)
    assert np.allclose(
        EmotionAxis(method=method).fit(loud, Y, SPEAKERS).direction_, fitted(method).direction_, atol=1e-5
    )
    apart = X + 100 * np.outer(Y == "happy", np.eye(WIDTH)[5])
    turned = EmotionAxis(method=method).fit(apart, Y, SPEAKERS)
    assert np.allclose(turned.direction_, fitted(method).direction_, atol=1e-5)


def test_mean_difference_is_the_mean_of_unit_differences():
    units = []
    for speaker in sorted(set(SPEAKERS)):
        own = speaker == SPEAKERS
        difference = X[own & (Y == "angry")].mean(axis=0) - X[own & (Y == "calm")].mean(axis=0)
        units.append(difference / np.linalg.norm(difference))
    axis = fitted("mean-difference")
    mean = np.mean(units, axis=0)
    assert np.allclose(axis.direction_, mean / np.linalg.norm(mean))
    assert axis.resultant_length_ == pytest.approx(np.linalg.norm(mean))
    assert np.allclose(axis.speaker_directions_, units)
    assert np.allclose(axis.speaker_cosines(), np.array(units) @ np.array(units).T)


def test_the_discriminants_are_scikit_learn_s():
    rows = Y.isin(["calm", "angry"]).to_numpy()
    centred, is_angry = probing.centre_speakers(X, SPEAKERS)[rows], (Y == "angry")[rows]
    means = pd.DataFrame(centred).groupby(is_angry.to_numpy()).transform("mean")
    deviation = (centred - means).to_numpy().std(axis=0)
    reference = (
        LogisticRegression(C=0.01, solver="newton-cholesky").fit(centred / deviation, is_angry).coef_[0]
    )
    assert fitted("logistic").direction_ @ _unit(reference / deviation) > 0.999999
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(centred, is_angry).coef_[0]
    assert fitted("lda").direction_ @ _unit(reference) > 0.99


def test_pca_is_the_widest_component_with_more_features_than_clips_too():
    wide = np.hstack([X, np.random.default_rng(1).standard_normal((len(X), 200))])
    for data in (X, wide):
        rows = Y.isin(["calm", "angry"]).to_numpy()
        centred = probing.centre_speakers(data, SPEAKERS)[rows]
        reference = np.linalg.svd(centred - centred.mean(axis=0))[2][0]
        axis = EmotionAxis(method="pca").fit(data, Y, SPEAKERS)
        assert abs(axis.direction_ @ reference) == pytest.approx(1)
        assert axis.scale_ > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_feature_has_no_part_in_the_axis(method):
    data = X.copy()
    data[:, 3] = 5.1
    axis = EmotionAxis(method=method).fit(data, Y, SPEAKERS)
    assert abs(axis.direction_[3]) < 1e-6 and axis.direction_[0] > 0.9


@pytest.mark.parametrize("method", ["mean-difference", "logistic", "lda"])
def test_one_clip_of_each_emotion_is_enough(method):
    axis = EmotionAxis(method=method).fit([[0.0, 1], [2, 1]], ["calm", "angry"])
    assert np.allclose(axis.direction_, [1, 0]) and axis.scale_ == pytest.approx(2)
    assert axis.speakers_ == [None]


# ------------------------------------------------------------------------------------- moving and removing


def test_a_shift_by_nought_is_the_identity_and_by_one_a_whole_emotion():
    axis = fitted()
    assert np.array_equal(axis.shift(X, 0), X)
    assert np.allclose(axis.shift(X, 0.5), X + 0.5 * axis.scale_ * axis.direction_)
    assert np.allclose(axis.project(axis.shift(X, 1)), axis.project(X) + 1)
    assert np.allclose(axis.shift(axis.shift(X, 0.7), -0.7), X)
    steps = np.linspace(-1, 1, len(X))
    assert np.allclose(axis.project(axis.shift(X, steps)), axis.project(X) + steps)
    frames = X.astype(np.float32)
    assert axis.shift(frames, 1).dtype == np.float32 and np.array_equal(axis.shift(frames, 0), frames)


@pytest.mark.parametrize("delta", [np.nan, np.inf, [0.1, 0.2], [[0.1]]])
def test_a_shift_by_nonsense_is_refused(delta):
    with pytest.raises(ValueError, match="expected a finite number"):
        fitted().shift(X, delta)


def test_what_is_removed_is_gone_and_nothing_else():
    axis = fitted()
    removed = axis.remove(X)
    assert np.abs(axis.project(removed)).max() < 1e-9
    other = np.linalg.qr(np.column_stack([axis.direction_, np.eye(WIDTH)[:, 1:]]))[0][:, 1:]
    assert np.allclose(removed @ other, X @ other)
    assert np.allclose(axis.remove(removed), removed)


def test_groups_move_unseen_speakers_to_the_centre():
    axis = fitted()
    far = X + 1000 * np.outer(np.arange(len(X)) // 32, np.ones(WIDTH))
    assert np.allclose(axis.project(X, SPEAKERS), axis.project(far, SPEAKERS))
    assert not np.allclose(axis.project(X), axis.project(far))
    assert axis.project(X, SPEAKERS)[Y == "angry"].mean() == pytest.approx(1)


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("pair, word", [(("joyful", "angry"), "joyful"), (("calm", "sad"), "sad")])
def test_an_emotion_that_is_not_there_is_refused(pair, word):
    with pytest.raises(ValueError, match=f"no clip of emotion '{word}'.*angry, calm, happy, neutral"):
        EmotionAxis(*pair).fit(X, Y, SPEAKERS)


def test_one_emotion_is_no_axis():
    with pytest.raises(ValueError, match="one class"):
        EmotionAxis("calm", "calm").fit(X, Y)


def test_a_speaker_without_one_emotion_is_left_out_and_named():
    rows = ~((SPEAKERS == "03") & (Y == "angry"))
    with pytest.warns(UserWarning, match="speaker 03 has no clip of 'angry'"):
        axis = EmotionAxis().fit(X[rows], Y[rows], SPEAKERS[rows])
    assert axis.incomplete_ == ["speaker 03 has no clip of 'angry'"] and "03" not in axis.speakers_
    others = SPEAKERS != "03"
    assert np.allclose(axis.direction_, EmotionAxis().fit(X[others], Y[others], SPEAKERS[others]).direction_)


def test_emotions_that_no_speaker_shares_are_refused():
    rows = (SPEAKERS < "03") == (Y == "calm")
    with pytest.raises(ValueError, match="no speaker has clips of both"):
        EmotionAxis().fit(X[rows], Y[rows], SPEAKERS[rows])


@pytest.mark.parametrize("method", METHODS)
def test_emotions_that_do_not_differ_are_refused(method):
    with pytest.raises(ValueError, match="no direction"):
        EmotionAxis(method=method).fit(np.ones((4, 3)), ["calm", "angry"] * 2)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="unknown method 'svm'; expected one of: mean-difference"):
        EmotionAxis(method="svm").fit(X, Y)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="3 groups for"):
        EmotionAxis().fit(X, Y, ["a", "b", "c"])
    with pytest.raises(ValueError, match="3 groups for"):
        fitted().project(X, ["a", "b", "c"])


def test_features_that_are_not_finite_are_refused():
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        EmotionAxis().fit(bad, Y)
    with pytest.raises(ValueError, match="NaN"):
        fitted().project(bad)
    with pytest.raises(ValueError, match="1 clips are not finite"):
        axes.cross_project(bad, MANIFEST, LOSO)


@pytest.mark.parametrize("call", ["project", "remove", "shift"])
def test_features_of_another_width_are_refused(call):
    arguments = (X[:, :5], 0.5) if call == "shift" else (X[:, :5],)
    with pytest.raises(ValueError, match=r"5 features.*expecting 16"):
        getattr(fitted(), call)(*arguments)


# ------------------------------------------------------------------------------------- provenance and folders

PROVENANCE = {"encoder": "nano", "fingerprint": "abc", "layer": 4, "pooling": "mean", "corpus": "tiny"}


def known(layer: int = 4, **changes: object) -> EmotionAxis:
    return EmotionAxis().fit(X, Y, SPEAKERS, provenance=PROVENANCE | {"layer": layer} | changes)


def test_an_axis_tells_where_it_comes_from():
    told = known().provenance
    assert told["encoder"] == "nano" and told["layer"] == 4 and told["corpus"] == "tiny"
    assert told["speakers"] == sorted(set(SPEAKERS)) and told["n"] == 96
    assert set(told) >= {"encoder", "layer", "pooling", "corpus", "speakers", "n", "commit"}
    bare = fitted().provenance
    assert bare["encoder"] is None and bare["n"] == 96


def test_features_of_another_making_are_refused():
    axis = known()
    axis.check(encoder="nano", fingerprint="abc", layer=4, pooling="mean")
    axis.check(encoder="moved/nano", fingerprint="abc", layer=4)  # the same weights in another folder
    for wrong in ({"layer": 3}, {"encoder": "base"}, {"pooling": "mean+std"}, {"fingerprint": "xyz"}):
        [name] = wrong
        with pytest.raises(ValueError, match=f"of {name} {PROVENANCE[name]}; these are of {name}"):
            axis.check(**wrong)
    fitted().check(encoder="anything", layer=9)  # bare arrays do not tell


def test_axes_of_different_features_do_not_mix():
    with pytest.raises(ValueError, match="layer 4; these are of layer 5"):
        known(4) + known(5)
    narrow = EmotionAxis().fit(X[:, :5], Y, SPEAKERS)
    for operation in (
        lambda: fitted() - narrow,
        lambda: fitted().cosine(narrow),
        lambda: fitted().orthogonal_to(narrow),
    ):
        with pytest.raises(ValueError, match="16 and 5 features"):
            operation()


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_axis_is_the_same_axis(tmp_path, method):
    axis = EmotionAxis(method=method).fit(pd.DataFrame(X).add_prefix("f"), Y, SPEAKERS, provenance=PROVENANCE)
    axis.save(tmp_path / "axis")
    loaded = EmotionAxis.load(tmp_path / "axis")
    assert {path.name for path in (tmp_path / "axis").iterdir()} == {"config.json", "model.safetensors"}
    table = pd.DataFrame(X).add_prefix("f")
    assert np.allclose(loaded.project(X), axis.project(table))
    assert np.allclose(loaded.shift(X, 0.3), axis.shift(table, 0.3))
    assert loaded.provenance == axis.provenance and loaded.get_params() == axis.get_params()
    assert np.array_equal(loaded.speaker_directions_, axis.speaker_directions_)
    loaded.save(tmp_path / "axis")  # over itself
    (-loaded).save(tmp_path / "axis")  # another axis takes its place
    assert EmotionAxis.load(tmp_path / "axis").source_ == "angry"


def test_what_is_no_axis_is_neither_read_nor_replaced(tmp_path):
    with pytest.raises(FileNotFoundError, match="no EmotionAxis in"):
        EmotionAxis.load(tmp_path)
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "wav2vec2"}')
    (encoder / "model.safetensors").write_bytes(b"weights")
    for call in (lambda: fitted().save(encoder), lambda: EmotionAxis.load(encoder)):
        with pytest.raises(ValueError, match="is not of a saved EmotionAxis"):
            call()
    assert (encoder / "model.safetensors").read_bytes() == b"weights"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="not made here"):
        fitted().save(tmp_path / "notes")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    fitted().save(tmp_path / "a")
    fitted("lda").save(tmp_path / "b")
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="does not belong"):
        EmotionAxis.load(tmp_path / "a")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    del config["sha256"]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not belong"):
        EmotionAxis.load(tmp_path / "b")


# ------------------------------------------------------------------------------------- algebra


def test_a_turned_axis_leads_back():
    axis = known()
    back = -axis
    assert np.allclose(back.direction_, -axis.direction_) and back.scale_ == pytest.approx(axis.scale_)
    assert np.allclose(back.project(X), 1 - axis.project(X))
    assert (back.source_, back.target_) == ("angry", "calm")
    assert np.allclose((-back).project(X), axis.project(X))


def test_scalars_lengthen_the_step():
    axis = fitted()
    double = 2 * axis
    assert np.allclose(double.direction_, axis.direction_) and double.scale_ == pytest.approx(2 * axis.scale_)
    assert np.allclose(double.shift(X, 0.5), axis.shift(X, 1))
    assert np.allclose((axis * -1).project(X), (-axis).project(X))
    for factor in (0, np.nan):
        with pytest.raises(ValueError, match="no direction"):
            axis * factor


def test_sums_and_differences_of_steps():
    angry, happy = (fitted(source="neutral", target=name) for name in ("angry", "happy"))
    both, between = angry + happy, angry - happy
    assert np.allclose(both.vector_, angry.vector_ + happy.vector_)
    assert np.allclose(between.vector_, angry.vector_ - happy.vector_)
    assert np.linalg.norm(both.direction_) == pytest.approx(1)
    assert (both.source_, both.target_) == ("neutral", "angry + happy")
    assert (between.source_, between.target_) == ("happy", "angry")
    direct = fitted(source="happy", target="angry")
    assert between.cosine(direct) > 0.95
    assert between.project(X)[Y == "angry"].mean() > 0.8 > 0.2 > between.project(X)[Y == "happy"].mean()
    with pytest.raises(ValueError, match="no direction"):
        angry - angry


def test_a_sum_tells_what_it_was_made_of_and_is_not_fitted_again():
    both = known() + EmotionAxis("neutral", "happy").fit(
        X, Y, SPEAKERS, provenance=PROVENANCE | {"corpus": "other"}
    )
    assert both.provenance["corpus"] == "other + tiny" and both.provenance["layer"] == 4
    assert both.source_ == "calm + neutral"
    with pytest.raises(ValueError, match="no clip of emotion"):
        clone(both).fit(X, Y)


def test_what_is_shared_is_taken_out():
    angry, happy = (fitted(source="neutral", target=name) for name in ("angry", "happy"))
    tilted = angry + 0.5 * happy
    assert tilted.cosine(happy) > 0.2
    assert tilted.orthogonal_to(happy).cosine(happy) == pytest.approx(0, abs=1e-12)
    third = fitted("pca", "calm", "happy")
    clean = tilted.orthogonal_to(happy, third)
    assert [clean.cosine(other) for other in (happy, third)] == pytest.approx([0, 0], abs=1e-12)
    with pytest.raises(ValueError, match="no direction"):
        angry.orthogonal_to(angry)


# ------------------------------------------------------------------------------------- families


def test_several_axes_at_once_are_the_axes_one_by_one():
    family = axes.fit_axes(X, Y, SPEAKERS, source="neutral")
    assert list(family) == ["calm", "happy", "angry"]
    assert np.array_equal(family["angry"].direction_, fitted(source="neutral").direction_)
    assert list(axes.fit_axes(X, Y, targets=["angry"], method="lda")) == ["angry"]
    table = axes.cosine_table({name: axis.direction_ for name, axis in family.items()})
    assert np.allclose(np.diag(table), 1) and np.allclose(table, table.T)
    assert table.loc["happy", "angry"] == pytest.approx(family["happy"].cosine(family["angry"]))


def test_cosines_ask_for_directions():
    assert axes.cosine_table({"a": [1, 0], "b": [-3, 0], "c": [0, 2]}).loc["a"].tolist() == [1, -1, 0]
    with pytest.raises(ValueError, match="length 0"):
        axes.cosine_table({"a": [1, 0], "b": [0, 0]})
    with pytest.raises(ValueError, match="one width"):
        axes.cosine_table({"a": [1, 0], "b": [1, 0, 0]})


def test_a_subspace_holds_what_the_means_span(tmp_path):
    space = EmotionSubspace(n_components=2).fit(X, Y, SPEAKERS)
    assert np.allclose(space.components_ @ space.components_.T, np.eye(2))
    assert np.linalg.norm(space.components_[:, :2]) ** 2 == pytest.approx(2, rel=0.1), "columns 0 and 1"
    assert space.shares_.sum() == pytest.approx(1, abs=0.1) and (np.diff(space.shares_) <= 0).all()
    assert EmotionSubspace().fit(X, Y).components_.shape == (3, WIDTH)
    coordinates = space.transform(X, SPEAKERS)
    assert coordinates.shape == (len(X), 2)
    gone = EmotionSubspace().fit(X, Y, SPEAKERS).remove(probing.centre_speakers(X, SPEAKERS))
    means = np.stack([gone[name == Y].mean(axis=0) for name in NAMES])
    assert np.ptp(means, axis=0).max() < 1e-9
    space.save(tmp_path / "space")
    assert np.array_equal(EmotionSubspace.load(tmp_path / "space").transform(X), space.transform(X))
    with pytest.raises(ValueError, match="is not of a saved EmotionAxis"):
        EmotionAxis.load(tmp_path / "space")


def test_a_subspace_of_two_emotions_is_their_axis():
    space = EmotionSubspace(["calm", "angry"]).fit(X, Y, SPEAKERS)
    assert space.components_.shape == (1, WIDTH)
    assert abs(space.components_[0] @ fitted("mean-difference").direction_) > 0.98


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((["calm", "sad"],), "no clip of emotion 'sad'"),
        ((["calm"],), "one class"),
        ((None, 4), "they span 3"),
    ],
)
def test_a_subspace_refuses_what_it_lacks(arguments, words):
    with pytest.raises(ValueError, match=words):
        EmotionSubspace(*arguments).fit(X, Y, SPEAKERS)


def test_an_axis_from_a_store_knows_its_making(tmp_path):
    states = [np.stack([np.tile(row, (3, 1)), -np.tile(row, (3, 1))]) for row in X.astype(np.float32)]
    store = FeatureStore.open(
        tmp_path / "store", StoreConfig("nano", "abc", (2, 4), WIDTH, hop_s=0.02, frames=False)
    )
    with store.writing():
        store.append(MANIFEST["clip"].tolist(), MANIFEST["clip"].tolist(), states)
        store.tidy()
    shuffled = MANIFEST.sample(frac=1, random_state=0).reset_index(drop=True)
    axis = axes.fit_axis(shuffled, store, 2)
    assert np.allclose(axis.direction_, fitted().direction_, atol=1e-4)
    told = axis.provenance
    assert (told["encoder"], told["fingerprint"], told["layer"], told["pooling"]) == (
        "nano",
        "abc",
        2,
        "mean",
    )
    assert told["corpus"] == "tiny" and told["n"] == 96 and told["commit"]
    with pytest.raises(ValueError, match="layer 4"):
        axis.check(layer=4)
    assert axes.fit_axis(shuffled, store, 4, pooling="mean+std").n_features_in_ == 2 * WIDTH
    with pytest.raises(ValueError, match="layer 3 is not in"):
        axes.fit_axis(shuffled, store, 3)


# ------------------------------------------------------------------------------------- scores


def test_auc_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    values = np.round(rng.standard_normal((60, 5)) + truth[:, None], 1)  # with ties
    assert np.allclose(axes.auc(values, truth), [roc_auc_score(truth, column) for column in values.T])
    assert float(axes.auc(values[:, 0], ~truth)) == pytest.approx(1 - float(axes.auc(values[:, 0], truth)))
    with pytest.raises(ValueError, match="60 of 60 clips"):
        axes.auc(values, np.ones(60, bool))


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_interval_is_the_bootstrap_s_own(seed):
    rng = np.random.default_rng(seed)
    speakers = rng.integers(7, size=120).astype(str)
    truth = rng.random(120) < 0.5
    values = np.round(rng.standard_normal(120) + 0.7 * truth, 1)
    slow = metrics.speaker_bootstrap(roc_auc_score, truth, values, speakers, seed=seed)
    fast = axes.auc_interval(values, truth, speakers, seed=seed)
    assert fast == pytest.approx(slow, abs=1e-12)
    assert np.isnan(axes.auc_interval(values, truth, np.full(120, "a")).low)


@pytest.mark.parametrize("method", METHODS)
def test_unseen_speakers_are_told_apart(method):
    held_out = axes.cross_project(X, MANIFEST, LOSO, method=method, layer=5)
    assert held_out.auc.value > 0.9 and held_out.auc.low > 0.8 and held_out.score == held_out.auc.value
    assert held_out.n_speakers == 6 and held_out.layer == 5 and held_out.incomplete == []
    assert held_out.projections.shape == (len(MANIFEST),) and held_out.rows.sum() == 96


def test_the_judged_speaker_has_no_part_in_their_axis():
    _, test = LOSO[2]
    blind = MANIFEST.copy()
    blind.loc[test, "emotion"] = np.roll(blind.loc[test, "emotion"], 5)
    seen, unseen = (axes.cross_project(X, table, LOSO).projections for table in (MANIFEST, blind))
    assert np.array_equal(seen[test], unseen[test])
    assert not np.allclose(seen, unseen), "in other folds they are training"
    far = X.copy()
    far[test] *= 1e3
    moved = axes.cross_project(far, MANIFEST, LOSO).projections
    assert np.allclose(moved[test], 1e3 * (seen[test] - seen[test].mean()) + moved[test].mean())


def test_voices_count_only_where_they_are_not_centred():
    loud = planted(MANIFEST, voices=50)
    centred, raw = (axes.cross_project(loud, MANIFEST, LOSO, centre=flag).score for flag in (True, False))
    assert centred > 0.9 and raw < centred - 0.1


def test_random_directions_and_shuffled_labels_are_at_chance():
    weak = planted(MANIFEST, 1)
    drawn = axes.random_aucs(weak, MANIFEST, n_directions=300)
    assert drawn.shape == (300,) and drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(drawn, axes.random_aucs(weak, MANIFEST, n_directions=300))
    shuffled = axes.shuffled_aucs(X, MANIFEST, LOSO, n_shuffles=8)
    assert shuffled.mean() == pytest.approx(0.5, abs=0.08) and shuffled.max() < 0.75
    strong = planted(MANIFEST, 30, voices=0)
    raw, white = (axes.random_aucs(strong, MANIFEST, whiten=flag) for flag in (False, True))
    assert raw.std() > 0.3 > 0.25 > white.std(), "where emotion is the widest direction, chance spreads"


def test_shuffling_keeps_each_speaker_s_counts():
    labels = shuffle_labels(MANIFEST, ("calm", "angry"), np.random.default_rng(0))
    table = MANIFEST.assign(shuffled=labels)
    assert (pd.crosstab(table["speaker"], table["shuffled"]) == 8).all(axis=None)
    assert (labels[Y == "happy"] == "happy").all() and (labels != Y.to_numpy()).any()


def test_the_better_layer_is_chosen_without_the_test_speaker():
    layers = {1: planted(MANIFEST, 0.2, seed=1), 3: X, 7: planted(MANIFEST, 0.5, seed=2)}
    held_out = axes.choose_layer(layers, MANIFEST, LOSO)
    assert held_out.layer == 3 and held_out.score > 0.9
    assert axes.choose_layer({4: X}, MANIFEST, LOSO).layer == 4
    odd = (SPEAKERS == "00").to_numpy()
    tempting = {1: np.where(odd[:, None], X, layers[1]), 2: np.where(odd[:, None], layers[1], X)}
    chosen = axes.choose_layer(tempting, MANIFEST, LOSO)
    blind = axes.cross_project(tempting[2], MANIFEST, LOSO)
    assert np.array_equal(chosen.projections[odd], blind.projections[odd]), "its own best layer is 1"


def test_sentences_are_held_out_whole():
    texts, speakers = MANIFEST["text_id"].to_numpy(), SPEAKERS.to_numpy()
    for new_speakers, n_folds in ((False, 4), (True, 24)):
        cut = axes.sentence_folds(MANIFEST, new_speakers=new_speakers)
        assert len(cut) == n_folds
        assert sorted(np.concatenate([test for _, test in cut])) == list(range(len(MANIFEST)))
        for train, test in cut:
            assert not set(texts[train]) & set(texts[test])
            assert bool(set(speakers[train]) & set(speakers[test])) is not new_speakers
    assert len(axes.sentence_folds(MANIFEST, most=2)) == 2
    assert axes.cross_project(X, MANIFEST, axes.sentence_folds(MANIFEST, new_speakers=True)).score > 0.9
    for texts in ("", "s1", np.nan):
        with pytest.raises(ValueError, match="expected two or more"):
            axes.sentence_folds(MANIFEST.assign(text_id=texts))


def test_a_sentence_s_own_mark_is_no_help_for_others():
    """Each sentence marks anger in a column of its own: of use only where the sentence is known."""
    rng = np.random.default_rng(0)
    marked = 0.3 * rng.standard_normal((len(MANIFEST), WIDTH))
    codes = pd.factorize(MANIFEST["text_id"])[0]
    marked[np.arange(len(marked)), codes] += 3.0 * (Y == "angry")
    known_text = axes.cross_project(marked, MANIFEST, LOSO).score
    new_text = axes.cross_project(marked, MANIFEST, axes.sentence_folds(MANIFEST)).score
    assert known_text > 0.95 > 0.7 > new_text


def test_an_axis_is_tried_on_another_corpus():
    other = clips(n_speakers=4, n_each=4).replace({"emotion": {"calm": "bored"}})
    data = planted(other, seed=9)
    held_out = axes.transfer(known(), data, other, source="neutral")
    assert held_out.score > 0.9 and held_out.n_speakers == 4 and held_out.layer == 4
    assert (held_out.source, held_out.target) == ("neutral", "angry")
    with pytest.raises(ValueError, match="no clip of emotion 'calm'"):
        axes.transfer(known(), data, other)
    with pytest.raises(ValueError, match="expecting 16"):
        axes.transfer(known(), data[:, :4], other, source="neutral")


def test_speakers_without_an_emotion_are_listed_and_not_judged():
    rows = ~((SPEAKERS == "03") & (Y == "calm")).to_numpy()
    table = MANIFEST[rows].reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        held_out = axes.cross_project(X[rows], table, splits.folds(table, "loso"))
    assert held_out.incomplete == ["speaker 03 has no clip of 'calm'"]
    assert held_out.n_speakers == 5 and held_out.rows.sum() == 80


def test_clips_that_no_fold_tests_are_refused():
    with pytest.raises(ValueError, match="32 of 192 clips are in no test fold"):
        axes.cross_project(X, MANIFEST, LOSO[1:])
    with pytest.raises(ValueError, match="expected \\(192, D\\)"):
        axes.cross_project(X[:5], MANIFEST, LOSO)


# ------------------------------------------------------------------------------------- strength


def test_stronger_is_further():
    quiet = planted(MANIFEST, 4, noise=0.3)
    held_out = axes.cross_project(quiet, MANIFEST, LOSO, method="mean-difference")
    table = axes.ladder(held_out, MANIFEST)
    assert table["step"].tolist() == ["calm", "angry, normal", "angry, strong"]
    assert table["value"].tolist() == pytest.approx([0, 2 / 3, 4 / 3], abs=0.1)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["n"].tolist() == [48, 24, 24]
    assert axes.strength_auc(held_out, MANIFEST).value > 0.95
    assert axes.evenness(held_out, MANIFEST).value == pytest.approx(0.5, abs=0.08)


def test_intensities_that_mean_nothing_are_at_chance():
    rng = np.random.default_rng(0)
    blind = MANIFEST.assign(intensity=rng.permutation(MANIFEST["intensity"]))
    held_out = axes.cross_project(X, blind, LOSO)
    assert abs(axes.strength_auc(held_out, blind).value - 0.5) < 0.25
    assert axes.evenness(held_out, blind).value == pytest.approx(1, abs=0.4)


def test_a_corpus_without_intensities_is_refused():
    held_out = axes.cross_project(X, MANIFEST, LOSO)
    with pytest.raises(ValueError, match=r"intensities \[''\] of 'angry'"):
        axes.ladder(held_out, MANIFEST.assign(intensity=np.nan))


# ------------------------------------------------------------------------------------- scikit-learn


@parametrize_with_checks(
    [EmotionAxis(None, None, method) for method in METHODS] + [EmotionSubspace()],
)
def test_scikit_learn_s_own_checks(estimator, check):
    """With both labels left open; named emotions are refused where y holds numbers, as these checks do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_parameters_are_kept_and_cloned():
    axis = EmotionAxis("sad", "happy", "lda", regularisation=0.5)
    assert clone(axis).get_params() == axis.get_params() == {
        "source": "sad", "target": "happy", "method": "lda", "regularisation": 0.5,
    }  # fmt: skip
    assert not hasattr(clone(fitted()), "direction_")


# ------------------------------------------------------------------------------------- drawing


def test_plots_draw_what_they_are_given():
    figure = Figure(figsize=(10, 6))
    curve, controls, transfer, steps = figure.subplots(2, 2).ravel()
    held_out = axes.cross_project(X, MANIFEST, LOSO)
    rows = [{"method": m, "layer": k, **held_out.auc._asdict()} for m in METHODS for k in (0, 1, 2)]
    assert plots.plot_auc_by_layer(pd.DataFrame(rows), ax=curve) is curve
    assert [line.get_label() for line in curve.lines][: len(METHODS)] == list(METHODS)
    plots.plot_controls({"axis": held_out.auc}, {"random": axes.random_aucs(X, MANIFEST)}, ax=controls)
    assert [label.get_text() for label in controls.get_yticklabels()] == ["axis", "random"]
    assert len(controls.collections[0].get_offsets()) == 200
    plots.plot_transfer(pd.DataFrame([[1, 0.6], [0.7, 0.9]], list("ab"), list("ab")), ax=transfer)
    assert (transfer.get_xlabel(), transfer.get_ylabel()) == ("tried on", "fitted on")
    plots.plot_ladder({"a": axes.ladder(held_out, MANIFEST)}, ax=steps)
    assert [label.get_text() for label in steps.get_xticklabels()] == [
        "calm",
        "angry, normal",
        "angry, strong",
    ]
    figure.canvas.draw()


# ------------------------------------------------------------------------------------- real speech


@pytest.mark.skipif(not os.environ.get("EMOLIB_CORPORA"), reason="EMOLIB_CORPORA is not set: no real speech")
def test_calm_and_angry_of_unheard_ravdess_actors(tmp_path):
    manifest = corpora.load("ravdess")
    some = (manifest["speaker"] <= "ravdess-08") & manifest["emotion"].isin(["calm", "angry"])
    manifest = manifest[some].reset_index(drop=True)
    store = features.extract(manifest, layers=[4], url=Path(tmp_path) / "store").store
    data = store.pooled(4, "mean", manifest["clip"].tolist())
    cut = splits.folds(manifest, "loso")
    scores = {
        m: axes.cross_project(data, manifest, cut, method=m).score for m in ("logistic", "mean-difference")
    }
    assert scores["logistic"] >= 0.97 and scores["mean-difference"] >= 0.90
    assert axes.random_aucs(data, manifest).mean() == pytest.approx(0.5, abs=0.1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
