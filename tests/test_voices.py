"""Voices are told apart by what was learned from others, whatever the level."""

import numpy as np
import pytest
from samples import speech

from emolib import voices


def clouds(n_speakers: int, n_clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return measures in which three directions tell speakers and all the others vary more."""
    rng = np.random.default_rng(seed)
    X = 3 * rng.standard_normal((n_speakers * n_clips, 12))
    who = np.repeat(np.arange(n_speakers), n_clips)
    X[:, :3] = 2 * rng.standard_normal((n_speakers, 3))[who] + 0.2 * rng.standard_normal((len(who), 3))
    return X, who


def test_unseen_speakers_are_told_by_what_others_taught():
    known = voices.Voices(shrinkage=0.05).fit(*clouds(20, 20, 0))
    X, who = clouds(6, 2, 1)
    points = known.embed(X)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    near = points @ points.T
    np.fill_diagonal(near, -2)
    assert (who[near.argmax(axis=1)] == who).mean() > 0.8
    raw = -((X[:, None] - X[None]) ** 2).sum(axis=2)
    np.fill_diagonal(raw, -np.inf)
    assert (who[raw.argmax(axis=1)] == who).mean() < 0.7
    assert len(known.speakers_) == 20


def test_a_voice_is_measured_whatever_its_level():
    wave = speech(1.0, 3)
    [loud, soft] = voices.measures([wave, 0.1 * wave], 16_000)
    assert loud.shape == (256,) and np.isfinite(loud).all()
    np.testing.assert_allclose(loud, soft, atol=0.05)
    assert np.abs(loud - voices.measure(speech(1.0, 4), 16_000)).max() > 0.1


def test_what_is_kept():
    own = np.array([True, False, False])
    assert voices.keeps([0.9, 0.8, -1], own) and not voices.keeps([0.7, 0.8, -1], own)


def test_nonsense_is_refused():
    X, who = clouds(4, 3, 0)
    with pytest.raises(ValueError, match="aren't fitted"):
        voices.Voices().embed(X)
    with pytest.raises(ValueError, match="finite"):
        voices.Voices().fit(X * np.nan, who)
    with pytest.raises(ValueError, match="expected"):
        voices.Voices().fit(X, who[:-1])
    for rows in (slice(0, 6), slice(0, 10)):  # two speakers; one clip of the fourth
        with pytest.raises(ValueError, match="three"):
            voices.Voices().fit(X[rows], who[rows])
