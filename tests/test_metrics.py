"""Accuracies equal scikit-learn's; intervals are made over speakers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import refused
from sklearn.metrics import balanced_accuracy_score, f1_score

from emolib import metrics
from emolib.metrics import speaker_bootstrap, ua_interval, unweighted_accuracy

WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40)


@given(WORDS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, of classes that are predicted only
def test_accuracies_equal_scikit_learn_s(pairs):
    y_true, y_pred = (np.array(column) for column in zip(*pairs, strict=True))
    assert unweighted_accuracy(y_true, y_pred) == pytest.approx(balanced_accuracy_score(y_true, y_pred))
    assert metrics.weighted_accuracy(y_true, y_pred) == pytest.approx(np.mean(y_true == y_pred))
    f1 = [f1_score(y_true == name, y_pred == name, zero_division=0) for name in np.unique(y_true)]
    assert metrics.macro_f1(y_true, y_pred) == pytest.approx(np.mean(f1))


def answers(n_speakers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true and predicted labels of 30 clips a speaker; speakers differ in how often they are right."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat([f"s{i:03d}" for i in range(n_speakers)], 30)
    y_true = np.tile(["sad", "angry", "happy"], 10 * n_speakers)
    right = rng.random(len(y_true)) < np.repeat(rng.uniform(0.3, 0.9, n_speakers), 30)
    return y_true, np.where(right, y_true, "neutral"), speakers


def test_an_interval_holds_its_value_whatever_the_order_and_is_seeded():
    parts = answers(8)
    order = np.random.default_rng(0).permutation(len(parts[0]))
    first, again = (speaker_bootstrap(unweighted_accuracy, *parts) for _ in "12")
    assert first == again and 0 <= first.low < first.value < first.high <= 1
    assert speaker_bootstrap(unweighted_accuracy, *(part[order] for part in parts)) == pytest.approx(first)
    assert speaker_bootstrap(unweighted_accuracy, *parts, seed=1) != first


def test_interval_is_over_speakers_not_clips():
    y_true = np.array(["sad", "angry"] * 100)
    y_pred, speakers = y_true.copy(), np.repeat(list("abcdefgh"), 25)
    y_pred[100:] = "calm"  # half of the speakers are always right, the others never
    interval = speaker_bootstrap(unweighted_accuracy, y_true, y_pred, speakers)
    assert interval.value == 0.5 and interval.low < 0.2 and interval.high > 0.8


def test_few_speakers_give_no_interval_and_the_text_says_so():
    for n in range(1, metrics.MIN_SPEAKERS):
        for interval in (speaker_bootstrap(unweighted_accuracy, *answers(n)), ua_interval(*answers(n))):
            assert 0 < interval.value < 1 and np.isnan([interval.low, interval.high]).all()
            assert str(interval) == f"{interval.value:.3f} (no interval: fewer than 5 speakers)"


def test_any_metric_of_arrays_will_do_and_where_it_is_nan_a_resample_is_left_out():
    y = np.arange(20.0).reshape(10, 2)
    interval = speaker_bootstrap(lambda a, b: float(np.abs(a - b).mean()), y, y + 1, list("aabbccddee"))
    assert interval == (1.0, 1.0, 1.0)
    assert str(interval) == f"{interval}" == "1.000 [1.000, 1.000]"
    assert f"{interval:+.1f}" == "+1.0 [+1.0, +1.0]"
    y_true, _, speakers = answers(6)
    first = speakers == speakers[0]
    interval = speaker_bootstrap(lambda a, b: 0.5 if b.any() else float("nan"), y_true, first, speakers)
    assert interval == (0.5, 0.5, 0.5)
    assert str(metrics.Interval(*[float("nan")] * 3)) == "nan"


def test_the_fast_intervals_are_those_of_the_bootstrap_at_large():
    rng = np.random.default_rng(0)
    values, speakers = rng.normal(size=60), rng.integers(7, size=60)
    expected = speaker_bootstrap(lambda _, x: float(x.mean()), values, values, speakers)
    assert metrics.mean_interval(values, speakers) == pytest.approx(expected)
    assert metrics.mean_interval(values, speakers, seed=1) != metrics.mean_interval(values, speakers)
    assert metrics.difference_interval(values, 2 * values, speakers) == pytest.approx(
        (-expected.value, -expected.high, -expected.low), abs=0.05
    )
    y_true, y_pred, speakers = answers(12, seed=3)
    other = np.random.default_rng(1).permutation(y_pred)
    plain = speaker_bootstrap(unweighted_accuracy, y_true, y_pred, speakers)
    assert ua_interval(y_true, y_pred, speakers) == pytest.approx(plain, abs=1e-12)

    def lead(truth, both):
        return unweighted_accuracy(truth, both[:, 0]) - unweighted_accuracy(truth, both[:, 1])

    plain = speaker_bootstrap(lead, y_true, np.stack([y_pred, other], axis=1), speakers)
    assert ua_interval(y_true, y_pred, speakers, over=other) == pytest.approx(plain, abs=1e-12)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    """A plain percentile interval holds it in 86 % of draws of 6 speakers, and in 89 % of 10."""
    for n in (6, 8, 10, 24):
        rng, speakers = np.random.default_rng(n), np.arange(n)
        drawn = [metrics.mean_interval(rng.normal(size=n), speakers, seed=seed) for seed in range(1500)]
        assert 0.92 <= np.mean([interval.low <= 0 <= interval.high for interval in drawn]) <= 0.97, n


def test_unequal_or_empty_answers_are_refused():
    for metric in (unweighted_accuracy, metrics.weighted_accuracy, metrics.macro_f1):
        refused("numbers", metric, ["a", "b"], ["a"])
    for n_true, n_predicted, n_speakers in [(3, 2, 3), (3, 3, 2), (0, 0, 0)]:
        parts = np.ones(n_true), np.ones(n_predicted), np.ones(n_speakers)
        refused("expected equal numbers", speaker_bootstrap, unweighted_accuracy, *parts)
        for interval in (ua_interval, metrics.difference_interval):
            refused("expected equal numbers", interval, *parts)
    refused("expected equal numbers", metrics.mean_interval, [1.0], [])


def test_eta_squared_is_the_share_between_classes():
    for values, share in (([1, 1, 3, 3], 1), ([1, 3, 1, 3], 0), ([0, 2, 2, 4], 0.5), ([5, 5, 5, 5], 0)):
        assert metrics.eta_squared(values, ["a", "a", "b", "b"]) == pytest.approx(share)


def test_agreement_equals_worked_examples():
    """Ten subjects and fourteen raters of the worked example of Fleiss's kappa, .210, to which alpha adds."""
    votes = np.array([
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ])  # fmt: skip
    found = metrics.agreement(votes)
    assert found.pairwise == pytest.approx(0.378, abs=1e-3) and found.raters == 14
    assert found.alpha == pytest.approx(0.2099 + (1 - 0.2099) / votes.sum(), abs=1e-4)
    # Krippendorff's own example, with missing answers
    said = ["123321412   ", "1233224125 3", " 3332342251 ", "12332441251 "]
    counts = [[unit.count(c) for c in "12345"] for unit in zip(*said, strict=True)]
    assert metrics.agreement(counts).alpha == pytest.approx(0.743, abs=5e-4)
    assert metrics.agreement([[3, 0], [0, 3]]) == (1, 1, 3)
    assert np.isnan(metrics.agreement([[2, 0], [2, 0]]).alpha)
    for wrong, why in (([0.5, 0.5], "not counts"), ([-1, 3], "not counts"), ([1, 0], "no clip has two")):
        refused(why, metrics.agreement, [wrong])
