"""A probe finds what is there, and nothing else; what it is judged by never reaches its training."""

import numpy as np
import pandas as pd
import pytest
from samples import refused, speech
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib import audio, corpora, emotions, probing, quality, splits

NAMES = ("neutral", "sad", "angry")
CHANCE = 1 / len(NAMES)


def clips(n_speakers: int = 8, n_each: int = 10) -> pd.DataFrame:
    rows = [(f"{s:02d}", e) for s in range(n_speakers) for e in NAMES for _ in range(n_each)]
    return pd.DataFrame(rows, columns=["speaker", "emotion"])


def planted(manifest: pd.DataFrame, strength: float, *, seed: int = 0, width: int = 12) -> np.ndarray:
    """Return noise with each emotion pushed along a direction of its own."""
    X = np.random.default_rng(seed).standard_normal((len(manifest), width))
    for i, name in enumerate(NAMES):
        X[manifest["emotion"] == name, i] += strength
    return X


MANIFEST = clips()
CUT = splits.folds(MANIFEST, "loso")


def test_a_planted_signal_is_found_by_clones_of_any_classifier():
    X = planted(MANIFEST, 3)
    kept, neighbours = X.copy(), KNeighborsClassifier(3)
    probe = probing.cross_validate(X, MANIFEST, CUT, layer=7)
    assert probe.ua.value > 0.9 and probe.wa > 0.9 and probe.macro_f1 > 0.9
    assert probe.ua.low > CHANCE + 0.4
    assert len(probe) == len(MANIFEST) and probe.layer == 7
    assert np.array_equal(probe.y_true, MANIFEST["emotion"].to_numpy())
    assert probing.cross_validate(X, MANIFEST, CUT, estimator=neighbours).wa > 0.9
    assert not hasattr(neighbours, "classes_") and np.array_equal(X, kept)


def test_predictions_and_layers_of_a_fold_do_not_depend_on_its_labels():
    (train, test), blind = CUT[2], MANIFEST.copy()
    blind.loc[test, "emotion"] = "bored"
    layers = {k: planted(MANIFEST, 0.5, seed=k) for k in range(3)}
    for judge, X in ((probing.cross_validate, planted(MANIFEST, 1)), (probing.choose_layer, layers)):
        seen, unseen = (judge(X, table, CUT) for table in (MANIFEST, blind))
        assert np.array_equal(seen.y_pred[test], unseen.y_pred[test])
        assert not np.array_equal(seen.y_pred[train], unseen.y_pred[train]), "in other folds it is training"


def test_test_clips_may_be_heard_otherwise_than_training_clips():
    X = planted(MANIFEST, 3)
    silenced = probing.cross_validate(X, MANIFEST, CUT, test_features=np.zeros_like(X))
    assert silenced.ua.value == pytest.approx(CHANCE)
    wrong = {"test_features": X[:, :2]}
    refused(r"test features of shape \(240, 2\)", probing.cross_validate, X, MANIFEST, CUT, **wrong)


def test_shuffled_labels_are_at_chance():
    for seed in range(3):  # the signal stays with the clips, the labels move
        shuffled = MANIFEST.assign(emotion=MANIFEST["emotion"].sample(frac=1, random_state=seed).to_numpy())
        ua = probing.cross_validate(planted(MANIFEST, 3), shuffled, CUT).ua
        assert ua.low - 0.03 < CHANCE < ua.high + 0.03 and abs(ua.value - CHANCE) < 0.1


def test_a_leak_flatters():
    """Each speaker says each emotion in a way of their own: of no use for others."""
    rng = np.random.default_rng(0)
    X = 0.3 * rng.standard_normal((len(MANIFEST), 40))
    for _, rows in MANIFEST.groupby(["speaker", "emotion"]).indices.items():
        X[rows] += rng.standard_normal(40)
    fair = probing.cross_validate(X, MANIFEST, splits.folds(MANIFEST)).ua
    leaky = probing.cross_validate(X, MANIFEST, splits.folds(MANIFEST, "random")).ua
    assert fair.value < CHANCE + 0.2 < 0.95 < leaky.value


def test_the_default_probe_scales_inside_the_fold():
    X, (train, test) = planted(MANIFEST, 3) * 10.0 ** np.arange(-5, 7), CUT[0]
    X[test, 5] += 1e6  # the far clips would squash this column to nothing for all the others
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    fitted = reference.fit(X[train], MANIFEST["emotion"].to_numpy()[train])
    assert np.array_equal(probing.cross_validate(X, MANIFEST, CUT).y_pred[test], fitted.predict(X[test]))


# ------------------------------------------------------------------------------------- choosing a layer


def test_the_better_layer_is_chosen():
    layers = {3: planted(MANIFEST, 0), 5: planted(MANIFEST, 3, seed=1), 9: planted(MANIFEST, 0.3, seed=2)}
    probe = probing.choose_layer(layers, MANIFEST, splits.folds(MANIFEST, n_folds=3))
    assert probe.layer == 5 and probe.wa > 0.9 and len(probe) == len(MANIFEST)


def test_two_speakers_are_enough_for_one_layer():
    manifest = clips(n_speakers=2)
    X, cut = planted(manifest, 3), splits.folds(manifest)
    probe = probing.choose_layer({4: X}, manifest, cut)
    assert probe.layer == 4 and (probe.y_pred == probing.cross_validate(X, manifest, cut).y_pred).all()
    refused("two speakers", probing.choose_layer, {0: X, 1: X}, manifest, cut)


# ------------------------------------------------------------------------------------- geometry


def test_the_layer_is_chosen_without_the_test_speaker():
    """Layer 1 works for one speaker alone, layer 2 for all others: an oracle would choose layer 1 there."""
    manifest = clips(n_speakers=4)
    odd = (manifest["speaker"] == "00").to_numpy()
    weak, good = planted(manifest, 0.8), planted(manifest, 4)
    layers = {1: np.where(odd[:, None], good, weak), 2: np.where(odd[:, None], -good, good)}
    cut = splits.folds(manifest, "loso")
    _, test = cut[0]
    assert odd[test].all()
    oracle = {k: probing.cross_validate(X, manifest, cut) for k, X in layers.items()}
    right = {k: (probe.y_pred[test] == probe.y_true[test]).mean() for k, probe in oracle.items()}
    assert right[1] > 0.7 > 0.3 > right[2]
    probe = probing.choose_layer(layers, manifest, cut)
    assert np.array_equal(probe.y_pred[test], oracle[2].y_pred[test])


def test_similarity_is_symmetric_with_ones_on_its_diagonal_and_voices_do_not_hide_emotions():
    order = np.random.default_rng(0).permutation(len(MANIFEST))
    table = probing.class_similarity(planted(MANIFEST, 2)[order], MANIFEST["emotion"].to_numpy()[order])
    assert list(table.index) == list(table.columns) == emotions.ordered(list(NAMES))
    assert np.allclose(table, table.T) and np.allclose(np.diag(table), 1)
    X = np.array([[5.0, 1], [5, 1], [5, -1], [5, -1]])
    opposites = probing.class_similarity(X, ["sad", "sad", "angry", "angry"])
    assert opposites.loc["sad", "angry"] == pytest.approx(-1)
    X, voices = planted(MANIFEST, 3), 50 * np.random.default_rng(1).standard_normal((8, 12))
    loud, known = X + voices[MANIFEST["speaker"].astype(int)], (MANIFEST["emotion"], MANIFEST["speaker"])
    assert np.allclose(probing.class_similarity(X, *known), probing.class_similarity(loud, *known))


def test_centring_takes_each_speaker_s_mean_and_leaves_its_input():
    X = planted(MANIFEST, 1).astype(np.float32)
    X.flags.writeable = False
    centred = probing.centre_speakers(X, MANIFEST["speaker"])
    means = pd.DataFrame(centred).groupby(MANIFEST["speaker"].to_numpy()).mean()
    assert centred.dtype == np.float64 and np.abs(means).max(axis=None) < 1e-6


def standardise(X, manifest=MANIFEST, **given):
    return probing.standardise_speakers(X, manifest["speaker"], prior_clips=0, **given)


def test_each_speaker_is_standardised_by_their_own_clips_alone_some_drawn_by_the_seed():
    X, first = planted(MANIFEST, 1), (MANIFEST["speaker"] == "00").to_numpy()
    kept = X.copy()
    for n_clips in (None, 5):
        out = standardise(X, n_clips=n_clips)
        other = standardise(np.where(first[:, None], X, 9 * X + 5), n_clips=n_clips)
        np.testing.assert_allclose(out, other, atol=1e-9)  # level and spread mean nothing, nor do others
        known = [rows[~first] for rows in (out, X)]
        assert np.corrcoef(known[0][:30, 3], known[1][:30, 3])[0, 1] == pytest.approx(1)
        drawn = out[first] if n_clips is None else out[first][np.random.default_rng(0).permutation(30)[:5]]
        np.testing.assert_allclose((drawn.mean(0), drawn.std(0)), (np.zeros(12), np.ones(12)), atol=1e-9)
    again, same, other = (standardise(X, n_clips=5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(again, same) and not np.allclose(again, other) and np.array_equal(X, kept)
    assert np.allclose(standardise(X, n_clips=30), standardise(X))
    assert np.allclose(standardise(X, n_clips=99), standardise(X)), "all, where there are fewer"
    refused("n_clips 1; expected two or more", standardise, X, n_clips=1)
    single = np.where(np.arange(len(X)) == 0, "alone", "all")
    assert np.abs(probing.standardise_speakers(X, single)[0]).max() > 0.5, "little is taken of few clips"
    refused("inconsistent numbers", standardise, X[:3])


def test_silhouette_of_known_cases():
    labels = np.repeat(["sad", "angry"], 50)
    noise = np.random.default_rng(0).standard_normal((100, 4))
    far = noise + np.where(labels == "sad", 100, 0)[:, None]
    assert probing.silhouette(far, labels) > 0.9
    assert abs(probing.silhouette(noise, labels)) < 0.05
    stretched = far * [1, 1000, 1, 0.001]
    assert probing.silhouette(stretched, labels) == pytest.approx(probing.silhouette(far, labels))
    many = np.random.default_rng(0).standard_normal((3000, 2))
    first, again, other = (probing.silhouette(many, np.tile(["a", "b"], 1500), seed=n) for n in (0, 0, 1))
    assert first == again != other, "a sample, seeded"


# ------------------------------------------------------------------------------------- refusals


def test_unfit_features_labels_and_folds_are_refused():
    n, X, judge = len(MANIFEST), planted(MANIFEST, 1), probing.cross_validate
    for shape in [(5, 3), (n,), (n, 2, 2)]:
        refused(rf"for {n} clips; expected \({n}, D\)", judge, np.zeros(shape), MANIFEST, CUT)
    for value in (np.nan, np.inf):
        hollow = X.copy()
        hollow[[3, 3, 8], [0, 1, 2]] = value
        refused("features of 2 clips are not finite", judge, hollow, MANIFEST, CUT)
    alone = MANIFEST.assign(emotion="sad")
    refused("holds 'sad' alone; a probe needs two emotions", judge, X, alone, CUT)
    refused(f"30 of {n} clips are in no test fold", judge, X, MANIFEST, CUT[1:])
    refused(f"30 of {n} clips are in no test fold", probing.choose_layer, {0: X, 1: X}, MANIFEST, CUT[1:])


def test_a_lead_is_over_the_same_clips():
    rng = np.random.default_rng(0)
    y, speakers = MANIFEST["emotion"].to_numpy(str), MANIFEST["speaker"].to_numpy()
    right, chance = probing.Probe(y, y, speakers), probing.Probe(y, rng.permutation(y), speakers)
    lead = right.lead_over(chance)
    assert lead.value == pytest.approx(1 - chance.ua.value) and 0 < lead.low < lead.value
    assert right.lead_over(right) == (0, 0, 0)
    refused("two probes of different clips", right.lead_over, probing.Probe(y[1:], y[1:], speakers[1:]))


def test_cka_is_one_of_a_rotation_and_small_of_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8))
    turned = 3 * X @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 5
    assert probing.linear_cka(X, turned) == pytest.approx(1)
    assert probing.linear_cka(X, rng.normal(size=(400, 5))) < 0.1
    # the definition by Gram matrices (Kornblith et al. 2019, eq. 3), on small features of unequal width
    A, B = X[:20], rng.normal(size=(20, 3))
    H = np.eye(20) - 1 / 20
    K, L = H @ A @ A.T @ H, H @ B @ B.T @ H
    expected = np.trace(K @ L) / np.sqrt(np.trace(K @ K) * np.trace(L @ L))
    assert probing.linear_cka(A, B) == pytest.approx(expected)


# ------------------------------------------------------------------------------------- soft labels


def voted(n_raters: int = 9, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return clips whose raters draw from shares that depend on the features, and those features."""
    rng, manifest = np.random.default_rng(seed), MANIFEST.copy()
    X = rng.standard_normal((len(manifest), 6))
    shares = np.exp(0.7 * X[:, :3])
    counts = rng.multinomial(n_raters, shares / shares.sum(axis=1, keepdims=True))
    for name, column in zip(NAMES, counts.T, strict=True):
        manifest[f"votes_{name}"] = column
    return manifest, X


def test_soft_labels_are_learned_better_from_every_rater_than_from_the_majority():
    manifest, X = voted()
    given, kinds = ({0: X}, manifest, CUT), ("soft", "hard", "prior")
    soft, hard, prior = (probing.cross_validate_soft(*given, labels=kind) for kind in kinds)
    assert soft.words == NAMES and len(soft) == len(manifest) and soft.layer == 0
    assert np.allclose(soft.y_pred.sum(axis=1), 1) and np.allclose(soft.y_true.sum(axis=1), 1)
    assert soft.lead_over(hard).low > 0 and soft.lead_over(prior).low > 0
    assert soft.jensen_shannon.value < min(hard.jensen_shannon.value, prior.jensen_shannon.value)
    best = [soft.n_best(n).value for n in (1, 2, 3)]
    assert prior.n_best(1).value < best[0] < best[1] < best[2] == 1


def test_measures_of_soft_answers_by_hand():
    y_true, y_pred = np.array([[0.5, 0.5, 0], [1, 0, 0]]), np.array([[0.2, 0.7, 0.1], [0, 0.4, 0.6]])
    found = probing.SoftProbe(y_true, y_pred, NAMES, np.array(["a", "b"]))
    first = -(np.log(0.2) + np.log(0.7)) / 2
    assert found.cross_entropy.value == pytest.approx((first - np.log(1e-12)) / 2)
    middle = np.array([[0.35, 0.6, 0.05], [0.5, 0.2, 0.3]])
    logs = [np.log2(np.where(p > 0, p, 1) / middle) for p in (y_true, y_pred)]
    terms = y_true * logs[0] + y_pred * logs[1]
    assert found.jensen_shannon.value == pytest.approx(terms.sum(axis=1).mean() / 2)
    assert [found.n_best(n).value for n in (1, 2, 3)] == [0.5, 0.5, 1]  # either of two that tie will do
    perfect = probing.SoftProbe(y_true, y_true, NAMES, np.array(["a", "b"]))
    assert perfect.jensen_shannon.value == pytest.approx(0) and perfect.n_best(1).value == 1


def test_one_rater_a_clip_is_a_hard_label_and_a_test_fold_s_votes_are_not_seen():
    manifest, X = voted(n_raters=1)
    manifest["emotion"] = probing.votes(manifest).idxmax(axis=1)
    soft = probing.cross_validate_soft({0: X}, manifest, CUT)
    hard = probing.cross_validate(X, manifest, CUT)
    assert np.array_equal(np.array(soft.words)[soft.y_pred.argmax(axis=1)], hard.y_pred)
    test, blind = CUT[2][1], manifest.copy()
    blind.loc[test, [f"votes_{name}" for name in NAMES]] = [0, 0, 5]
    unseen = probing.cross_validate_soft({0: X}, blind, CUT)
    assert np.array_equal(unseen.y_pred[test], soft.y_pred[test])


def test_the_better_layer_is_chosen_by_the_raters_shares_and_votes_are_needed():
    manifest, X = voted()
    noise = np.random.default_rng(1).standard_normal(X.shape)
    assert probing.cross_validate_soft({1: noise, 2: X}, manifest, CUT).layer == 2
    refused(r"clips are in no test fold", probing.cross_validate_soft, {2: X}, manifest, CUT[:2])
    refused("soft labels need columns such as votes_angry", probing.votes, MANIFEST)
    for wrong in (0, -1):
        manifest.loc[3, [f"votes_{name}" for name in NAMES]] = [wrong, 0, 0]
        refused("have no votes, or negative ones", probing.votes, manifest)


# ------------------------------------------------------------------------------------- leaks


def padded(folder, *, tells: bool) -> pd.DataFrame:
    """Write clips of six speakers that end in zeros, whose length the emotion decides or chance does."""
    rng, rows = np.random.default_rng(0), []
    for i, row in enumerate(clips(6, 4).to_dict("records")):
        wave = audio.level(speech(rng.uniform(0.3, 0.6), seed=i), rng.uniform(-35, -20))
        kind = NAMES.index(row["emotion"]) if tells else rng.integers(len(NAMES))
        zeros = np.zeros(1_600 * (1, 3, 2)[kind] + rng.integers(300), np.float32)
        audio.write(folder / f"{i:03d}.wav", np.concatenate([wave, [0.01], zeros]), 16_000)
        rows.append({"path": f"{i:03d}.wav", **row})
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    return corpora.load("folder", table=folder / "clips.csv")


def test_padding_that_gives_the_label_away_is_found_and_said_and_other_is_not(tmp_path):
    manifest = padded(tmp_path, tells=True)
    found = probing.leaks(quality.recordings(manifest), manifest)
    assert list(found.index) == list(probing.LEAKS) and np.allclose(found["chance"], CHANCE)
    padding = found.loc["padding_s"]
    assert padding["value"] > 0.95 and padding["low"] > 0.9
    assert padding["warning"].startswith("padding_s alone tells the emotion with UA 1.00")
    assert "chance is 0.33: leave the zeros out with --trim-silence" in padding["warning"]
    assert found.loc["level_db", "value"] < 0.6 and found.loc["level_db", "warning"] == ""
    trimmed = corpora.load("folder", table=tmp_path / "clips.csv", trim_silence=True)
    cured = probing.leaks(quality.recordings(trimmed), trimmed)
    assert cured.loc["padding_s", "value"] < 0.5 and not cured["warning"].any()
    silent = padded(tmp_path, tells=False)
    found = probing.leaks(quality.recordings(silent), silent)
    assert found.loc["padding_s", "value"] < 0.6 and not found["warning"].any()


def test_a_recording_is_measured():
    wave = np.concatenate([0.1 * np.ones(8_000), 0.002 * np.ones(4_000), np.zeros(4_000)]).astype(np.float32)
    told = quality.recording(wave, 16_000)
    assert (told["duration_s"], told["padding_s"], told["clipped"]) == (1.0, 0.25, 0.0)
    assert told["snr_db"] == pytest.approx(20 * np.log10(50), abs=1e-3) and told["silent"] == 0.25
    assert told["level_db"] == pytest.approx(10 * np.log10((0.01 * 8 + 4e-6 * 4) / 16), abs=1e-3)
    loud = np.where(np.arange(1_000) < 10, 1.0, 0.1).astype(np.float32)
    assert quality.recording(loud, 16_000)["clipped"] == pytest.approx(0.008)
    assert quality.recording(np.full(100, 0.5, np.float32), 16_000)["duration_s"] == 100 / 16_000
