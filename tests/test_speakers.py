"""The synthetic speakers differ from one another, and say the same thing the same way twice."""

import numpy as np
import pytest

from emolib import audio, speakers

SENTENCE = "She put the blue folder on the table."


def test_eight_speakers_half_of_them_female():
    assert len({voice.speaker for voice in speakers.VOICES}) == 8
    assert sorted(voice.gender for voice in speakers.VOICES) == ["female"] * 4 + ["male"] * 4
    assert len({tuple(speakers.strength(voice).values()) for voice in speakers.VOICES}) == 8


def test_render_is_speech_at_a_safe_level():
    wave, sample_rate = speakers.render(speakers.VOICES[0], SENTENCE, "angry", -0.5, 0.6)
    assert sample_rate == 22_050 and wave.dtype == np.float32
    assert np.abs(wave).max() < 1
    audio.check_speech(wave, sample_rate)


def test_equal_names_give_equal_samples():
    first, again, other = (
        speakers.render(speakers.VOICES[4], SENTENCE, "sad", -0.6, -0.3, name=name)[0] for name in "aab"
    )
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_anger_is_louder_than_sadness():
    angry, sad = (
        speakers.render(speakers.VOICES[5], SENTENCE, emotion, *place)[0]
        for emotion, place in (("angry", (-0.5, 0.6)), ("sad", (-0.6, -0.3)))
    )
    assert audio.rms_dbfs(angry) > audio.rms_dbfs(sad) + 5


def test_unknown_emotion_is_refused():
    with pytest.raises(ValueError, match="unknown emotion 'furious'"):
        speakers.render(speakers.VOICES[0], SENTENCE, "furious", 0, 0)
