"""Networks of others as measures: what they say of clean, noisy and other speech, where installed."""

import os
from pathlib import Path

import numpy as np
import pytest
from samples import refused

from emolib import audio, corpora, instruments

CORPORA = os.environ.get("EMOLIB_CORPORA", "")


def needs(measure: str):
    reason = instruments.missing(measure)
    return pytest.mark.skipif(bool(reason), reason=reason)


@pytest.fixture(scope="module")
def spoken():
    """Four neutral clips of two RAVDESS actors, with what they say."""
    if not (Path(CORPORA) / "ravdess").is_dir():
        pytest.skip("needs natural speech: set EMOLIB_CORPORA to a folder with ravdess")
    manifest = corpora.load("ravdess")
    chosen = manifest[(manifest.emotion == "neutral") & manifest.speaker.isin(["ravdess-01", "ravdess-02"])]
    chosen = chosen.groupby(["speaker", "text_id"]).head(1)
    waves, rates = zip(*map(audio.load, chosen["path"]), strict=True)
    return chosen, list(waves), rates[0]


@needs("words")
def test_words_of_natural_speech_are_read_and_those_of_another_text_are_errors(spoken):
    manifest, waves, rate = spoken
    table = instruments.word_errors(waves, rate, list(manifest["text"]))
    assert table["errors"].sum() / table["words"].sum() < 0.05
    other = instruments.word_errors(waves[:1], rate, ["nothing of that was ever said"])
    assert other["errors"][0] >= 5


@needs("voice")
def test_a_voice_is_nearer_to_itself_than_to_another(spoken):
    manifest, waves, rate = spoken
    embedded, who = instruments.voices(waves, rate), manifest["speaker"].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    similar, same = embedded @ embedded.T, who[:, None] == who
    assert similar[same].min() > similar[~same].max()


@pytest.mark.parametrize("measure", ["quality", "noise"])
def test_noise_lowers_the_opinion(spoken, measure):
    if reason := instruments.missing(measure):
        pytest.skip(reason)
    _, waves, rate = spoken
    noise = np.random.default_rng(0).standard_normal(len(waves[0])).astype(np.float32)
    level = np.sqrt(np.mean(waves[0] ** 2))
    clips = [waves[0], *(waves[0] + 10 ** (-snr / 20) * level * noise for snr in (20, 10))]
    if measure == "quality":
        scores = instruments.opinion(clips, rate)
    else:
        scores = instruments.noisiness(clips, rate)["background"].to_numpy()
    assert scores[0] > scores[1] > scores[2] >= 1


def test_what_is_missing_is_said_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(instruments.importlib.util, "find_spec", lambda name: None)
    for measure in ("words", "voice", "quality", "noise"):
        assert "make instruments" in instruments.missing(measure)
    refused("jiwer", instruments.word_errors, [np.zeros(16_000, np.float32)], 16_000, ["yes"])


def test_bad_input_is_refused():
    refused(r"0\.050 s.*at least 0\.1 s", instruments.transcribe, [np.zeros(800, np.float32)], 16_000)
    if not instruments.missing("words"):
        with pytest.raises(ValueError, match="1 texts, 0 of them with words"):
            instruments.word_errors([np.zeros(16_000, np.float32)], 16_000, ["..."])
