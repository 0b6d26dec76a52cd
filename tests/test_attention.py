"""The neural baseline: a proper scikit-learn classifier that uses what a mean over time can't hold."""

import numpy as np
import pytest
import torch
from samples import refused
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from emolib.probing import AttentionPoolingClassifier, _padded

WIDTH = 6


def few_loud_frames(n_clips=120, seed=0):
    """Return clips whose class is whether two frames share a sign; each has a mean of zero over time."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_clips) % 2
    clips = []
    for label in labels:
        clip = 0.3 * rng.standard_normal((int(rng.integers(20, 40)), WIDTH))
        first, second = rng.choice(len(clip), 2, replace=False)
        clip[first, :2], clip[second, :2] = 4, (4, 4) if label else (4, -4)
        clips.append((clip - clip.mean(0)).astype(np.float32))
    return clips, np.array(["apart", "together"])[labels]


@pytest.fixture(scope="module")
def fitted():
    return AttentionPoolingClassifier(n_epochs=30, learning_rate=1e-2).fit(*few_loud_frames())


def test_passes_scikit_learns_own_checks():
    check_estimator(AttentionPoolingClassifier(n_epochs=25, learning_rate=4e-2, dropout=0.0))


def test_learns_what_the_mean_does_not_hold_and_nothing_from_shuffled_labels(fitted):
    (train, labels), (test, truth) = few_loud_frames(), few_loud_frames(seed=1)
    means = [np.stack([clip.mean(0) for clip in clips]) for clips in (train, test)]
    assert LogisticRegression().fit(means[0], labels).score(means[1], truth) < 0.65
    assert fitted.score(test, truth) > 0.9
    assert fitted.losses_[-1] < 0.5 * fitted.losses_[0] and len(fitted.losses_) == 30
    shuffled = np.random.default_rng(0).permutation(labels)
    assert 0.3 < AttentionPoolingClassifier(n_epochs=5).fit(train, shuffled).score(test, truth) < 0.7


def test_padding_and_the_order_of_frames_change_no_probability(fitted):
    clips, _ = few_loud_frames(20, seed=2)
    together = fitted.predict_proba(clips)
    alone = np.concatenate([fitted.predict_proba([clip]) for clip in clips])
    assert np.allclose(together, alone, atol=1e-6) and np.allclose(together.sum(1), 1)
    assert np.allclose(together, fitted.predict_proba([clip[::-1] for clip in clips]), atol=1e-6)
    assert (fitted.classes_[together.argmax(1)] == fitted.predict(clips)).all()
    frames, mask = _padded([torch.randn(n, WIDTH) for n in (3, 9)])
    with torch.inference_mode():
        expected = fitted.network_(frames, mask)
        assert torch.equal(fitted.network_(torch.where(mask[..., None], frames, 1e6), mask), expected)


def test_a_seed_fixes_the_model_and_nothing_else_changes():
    clips, labels = few_loud_frames(40)
    copies = [clip.copy() for clip in clips]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (
        AttentionPoolingClassifier(n_epochs=2, seed=seed).fit(clips, labels).predict_proba(clips)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(2), expected)  # the global generator is left alone
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert all(np.array_equal(clip, copy) for clip, copy in zip(clips, copies, strict=True))
    moved = AttentionPoolingClassifier(n_epochs=2).fit([1e3 * clip + 50 for clip in clips], labels)
    assert np.allclose(moved.predict_proba([1e3 * clip + 50 for clip in clips]), first, atol=1e-3)


def test_unfit_input_is_refused(fitted):
    clips, labels = few_loud_frames(10)
    for X, y, message in (
        ([clips[0], np.zeros((30, 5))], ["a", "b"], r"clip 1 has shape \(30, 5\); expected \(T, 6\)"),
        ([clips[0], clips[1][:0]], ["a", "b"], r"clip 1 has shape \(0, 6\)"),
        ([clips[0], clips[1] * np.nan], ["a", "b"], "clip 1 holds NaN"),
        (clips, labels[:-1], "inconsistent numbers"),
        (clips, ["a"] * 10, "one class, a;"),
    ):
        refused(message, AttentionPoolingClassifier(n_epochs=1).fit, X, y)
    for X in ([np.zeros((4, 7))], [], [np.zeros(3)]):
        with pytest.raises(ValueError):
            fitted.predict(X)
