"""The neural baseline: a proper scikit-learn classifier that hears what a mean over time can't."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from emolib.attention import AttentionPoolingClassifier, FrameDataset, frame_loader, pad_frames
from emolib.store import FeatureStore, StoreConfig

WIDTH = 6


def few_loud_frames(n_clips=120, seed=0):
    """Return clips whose class is whether two frames share a sign; each has a mean of zero over time."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_clips) % 2
    clips = []
    for label in labels:
        clip = 0.3 * rng.standard_normal((int(rng.integers(20, 40)), WIDTH))
        first, second = rng.choice(len(clip), 2, replace=False)
        signs = (1, 1) if label else (1, -1)
        clip[first, :2], clip[second, :2] = 4, (4 * signs[0], 4 * signs[1])
        clips.append((clip - clip.mean(0)).astype(np.float32))
    return clips, np.array(["apart", "together"])[labels]


@pytest.fixture(scope="module")
def fitted():
    clips, labels = few_loud_frames()
    return AttentionPoolingClassifier(n_epochs=30, learning_rate=1e-2).fit(clips, labels)


def test_passes_scikit_learns_own_checks():
    check_estimator(AttentionPoolingClassifier(n_epochs=60, learning_rate=2e-2, dropout=0.0))


def test_hears_what_the_mean_does_not(fitted):
    train, test = few_loud_frames(), few_loud_frames(seed=1)
    means = [np.stack([clip.mean(0) for clip in clips]) for clips, _ in (train, test)]
    blind = LogisticRegression().fit(means[0], train[1]).score(means[1], test[1])
    assert blind < 0.65
    assert fitted.score(*test) > 0.9
    assert fitted.losses_[-1] < 0.5 * fitted.losses_[0]


def test_chance_on_shuffled_labels():
    (train, labels), (test, truth) = few_loud_frames(), few_loud_frames(seed=1)
    shuffled = np.random.default_rng(0).permutation(labels)
    model = AttentionPoolingClassifier(n_epochs=5).fit(train, shuffled)
    assert 0.3 < model.score(test, truth) < 0.7


def test_padding_never_changes_a_probability(fitted):
    clips, _ = few_loud_frames(20, seed=2)
    together = fitted.predict_proba(clips)
    alone = np.concatenate([fitted.predict_proba([clip]) for clip in clips])
    assert np.allclose(together, alone, atol=1e-6)
    assert np.allclose(together.sum(1), 1) and together.shape == (20, 2)
    assert (fitted.classes_[together.argmax(1)] == fitted.predict(clips)).all()


def test_what_stands_in_the_padding_is_not_seen(fitted):
    frames, mask, _ = pad_frames([(torch.randn(n, WIDTH), 0) for n in (3, 9)])
    with torch.inference_mode():
        expected = fitted.network_(frames, mask)
        assert torch.equal(fitted.network_(torch.where(mask[..., None], frames, 1e6), mask), expected)


def test_the_order_of_frames_does_not_matter(fitted):
    clips, _ = few_loud_frames(5, seed=3)
    assert np.allclose(fitted.predict_proba(clips), fitted.predict_proba([c[::-1] for c in clips]), atol=1e-6)


def test_the_same_seed_gives_the_same_model():
    clips, labels = few_loud_frames(40)
    first, again, other = (
        AttentionPoolingClassifier(n_epochs=2, seed=seed).fit(clips, labels).predict_proba(clips)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    AttentionPoolingClassifier(n_epochs=1).fit(clips, labels)
    assert torch.equal(torch.rand(2), expected)  # the global generator is left alone


def test_clips_are_left_as_they_were():
    clips, labels = few_loud_frames(20)
    copies = [clip.copy() for clip in clips]
    AttentionPoolingClassifier(n_epochs=1).fit(clips, labels).predict(clips)
    assert all(np.array_equal(clip, copy) for clip, copy in zip(clips, copies, strict=True))


def test_scale_and_offset_of_features_do_not_matter():
    clips, labels = few_loud_frames(40)
    moved = [1e3 * clip + 50 for clip in clips]
    plain, shifted = (
        AttentionPoolingClassifier(n_epochs=3).fit(c, labels).predict_proba(c) for c in (clips, moved)
    )
    assert np.allclose(plain, shifted, atol=1e-3)


def test_unfit_input_is_refused(fitted):
    clips, labels = few_loud_frames(10)
    model = AttentionPoolingClassifier(n_epochs=1)
    with pytest.raises(ValueError, match=r"clip 1 has shape \(30, 5\); expected \(T, 6\)"):
        model.fit([clips[0], np.zeros((30, 5))], ["a", "b"])
    with pytest.raises(ValueError, match=r"clip 1 has shape \(0, 6\)"):
        model.fit([clips[0], clips[1][:0]], ["a", "b"])
    with pytest.raises(ValueError, match="clip 1 holds NaN"):
        model.fit([clips[0], clips[1] * np.nan], ["a", "b"])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.fit(clips, labels[:-1])
    with pytest.raises(ValueError, match="one class, a;"):
        model.fit(clips, ["a"] * 10)
    with pytest.raises(ValueError, match=r"expected \(T, 6\)"):
        fitted.predict([np.zeros((4, 7))])
    for empty in ([], [np.zeros(3)]):
        with pytest.raises(ValueError):
            fitted.predict(empty)


@pytest.fixture
def store(tmp_path):
    store = FeatureStore.open(tmp_path, StoreConfig("fake", "1", (2, 5), WIDTH, 0.02, True))
    rng = np.random.default_rng(0)
    states = [rng.standard_normal((2, n, WIDTH)).astype(np.float32) for n in (4, 9, 2)]
    store.append(["a", "b", "c"], ["1", "2", "3"], states)
    return store


def test_a_dataset_over_frames(store):
    data = FrameDataset(store, ["b", "a"], layer=5, labels=np.array([1, 0]))
    assert len(data) == 2
    frames, label = data[0]
    assert frames.dtype == torch.float32 and label == 1
    assert np.array_equal(frames.numpy(), store.frames("b", 5))
    assert FrameDataset(store, ["b"], layer=2)[0][1] == -1
    with pytest.raises(ValueError, match="1 labels for 2 clips"):
        FrameDataset(store, ["b", "a"], layer=5, labels=[1])
    with pytest.raises(ValueError, match="not in"):
        FrameDataset(store, ["zz"], layer=5)[0]


def test_a_loader_pads_and_masks(store):
    data = FrameDataset(store, ["a", "b", "c"], layer=2, labels=[0, 1, 2])
    [(frames, mask, labels), (last, *_)] = frame_loader(data, batch_size=2)
    assert frames.shape == (2, 9, WIDTH) and mask.dtype == torch.bool and labels.tolist() == [0, 1]
    assert mask.sum(1).tolist() == [4, 9] and last.shape == (1, 2, WIDTH)
    assert not frames[~mask].any()
    assert np.array_equal(frames[0, :4].numpy(), store.frames("a", 2))


def test_a_seed_fixes_the_order(store):
    data = FrameDataset(store, ["a", "b", "c"] * 9, layer=2, labels=range(27))

    def order(seed):
        return [int(label) for *_, labels in frame_loader(data, shuffle=True, seed=seed) for label in labels]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(27))
