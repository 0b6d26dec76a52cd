"""Measures of generated clips: against closed forms, on copies, and where they are refused."""

import numpy as np
import pytest
import torch
from test_generate import some_mels
from torchmetrics.image.fid import FrechetInceptionDistance

from emolib.generate import Normaliser, quality


def normal(n: int, mean: float = 0.0, std: float = 1.0, seed: int = 0, width: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, std, (n, width))


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    found = quality.frechet_distance(normal(2000), normal(2000, 2.0, 3.0, seed=1))
    assert found.value == pytest.approx(4 * (2.0**2 + (3.0 - 1.0) ** 2), rel=0.05)
    rival = FrechetInceptionDistance(feature=quality._AsGiven(4)).set_dtype(torch.float64)
    rival.update(torch.from_numpy(normal(40)), real=True)
    rival.update(torch.from_numpy(normal(50, 1.0, seed=1)), real=False)
    assert quality.frechet_distance(normal(40), normal(50, 1.0, seed=1)).value == pytest.approx(
        float(rival.compute()), rel=1e-6
    )
    same = quality.frechet_distance(normal(50), normal(50), speakers=np.arange(50) % 4)
    assert same.value == pytest.approx(0, abs=1e-6) and np.isnan(same.low)  # four speakers are too few


def test_the_frechet_distance_of_wide_features_is_that_of_their_main_components():
    wide = np.random.default_rng(3).normal(size=(16, 192)) @ np.diag(np.geomspace(1, 1e-2, 192))
    a, b = (normal(120, seed=seed, width=16) @ wide for seed in (0, 1))
    noise = 1e-3 * normal(240, seed=2, width=192)
    found = quality.frechet_distance(a + noise[:120], b + noise[120:]).value
    axes = np.linalg.svd(a - a.mean(0), full_matrices=False)[2][:16].T
    assert found == pytest.approx(quality.frechet_distance(a @ axes, b @ axes).value, rel=0.01)
    whole = quality.frechet_distance(a[:40], a[40:80], n_components=192).value
    assert quality.frechet_distance(a[:40], a[40:80]).value <= whole * (1 + 1e-6)


def test_the_interval_of_the_frechet_distance_lies_around_it():
    speakers = np.arange(60) % 6
    found = quality.frechet_distance(normal(60), normal(60, 1.0, seed=1), speakers=speakers)
    assert 0 <= found.low < found.value < found.high
    assert found == quality.frechet_distance(normal(60), normal(60, 1.0, seed=1), speakers=speakers)


def test_the_inception_score_goes_from_1_to_the_number_of_classes():
    unsure, sure = np.full((30, 3), 1 / 3), np.eye(3)[np.arange(30) % 3]
    assert quality.inception_score(unsure).value == pytest.approx(1)
    assert quality.inception_score(sure).value == pytest.approx(3, rel=1e-3)
    assert quality.inception_score(np.eye(3)[np.zeros(30, int)]).value == pytest.approx(1)
    found = quality.inception_score(0.5 * unsure + 0.5 * sure)
    assert 1 < found.low < found.value < found.high < 3


def test_precision_and_recall_tell_lack_of_quality_from_lack_of_variety():
    real = normal(300, width=2)
    assert quality.precision_recall(real, normal(300, seed=1, width=2))[0] > 0.9
    far = quality.precision_recall(real, normal(300, 50.0, seed=1, width=2))
    assert far == (0.0, 0.0)
    narrow = quality.precision_recall(real, normal(300, 0.0, 0.1, seed=1, width=2))
    wide = quality.precision_recall(real, normal(300, 0.0, 8.0, seed=1, width=2))
    assert narrow[0] > 0.95 and narrow[1] < 0.3
    assert wide[0] < 0.3 and wide[1] > 0.7


def test_copies_are_found_and_named():
    mels = some_mels(24)
    normaliser = Normaliser.fit(mels)
    training = quality.mel_features(mels, normaliser)
    difference = (normaliser.apply(mels)[0] - normaliser.apply(mels)[1]).ravel()
    assert np.linalg.norm(training[0] - training[1]) == pytest.approx(
        np.sqrt(np.mean(difference**2)), rel=1e-4
    )
    copied = training[[3, 5]] + 1e-4
    audit = quality.copy_audit(training, mels.speakers, copied, clips=mels.clips)
    assert audit.share == 1.0 and audit.clips.tolist() == ["3", "5"] and audit.nearest.max() < audit.threshold
    other = quality.mel_features(some_mels(24, seed=9), normaliser)
    assert quality.copy_audit(training, mels.speakers, other).share < 1.0
    own = [
        min(np.linalg.norm(clip - training[j]) for j in range(24) if j != i and mels.speakers[j] == speaker)
        for i, (clip, speaker) in enumerate(zip(training, mels.speakers, strict=True))
    ]
    assert audit.threshold == pytest.approx(np.quantile(own, 0.01), rel=1e-3), (
        "by nearest clips, not by pairs"
    )


def test_what_cannot_be_measured_is_refused():
    for call, message in (
        (lambda: quality.frechet_distance(normal(9), normal(9, width=3)), "4 and 3 dimensions"),
        (lambda: quality.frechet_distance(normal(1), normal(9)), "at least two clips"),
        (lambda: quality.frechet_distance(normal(9) * np.nan, normal(9)), "finite"),
        (lambda: quality.frechet_distance(normal(9), normal(9), speakers=["a"]), "1 speakers of 9 clips"),
        (lambda: quality.inception_score(normal(9)), "no probabilities"),
        (lambda: quality.precision_recall(normal(3), normal(9), k=3), "k=3 of 3 real"),
        (lambda: quality.copy_audit(normal(3), ["a", "b", "c"], normal(3)), "no speaker has two"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
