"""espeak-ng: clean errors, and the same samples whatever came before and in whichever process."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from emolib import espeak

TEXT = "The bus leaves from the north gate at nine."


def digest(wave: np.ndarray) -> str:
    return hashlib.sha256(wave.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return espeak.speak(TEXT)[0]


def test_speaks_mono_float32(plain):
    wave, sample_rate = espeak.speak(TEXT)
    assert sample_rate == 22_050
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert 1.5 < len(wave) / sample_rate < 3.0
    assert 0.1 < np.abs(wave).max() <= 1.0


@pytest.mark.parametrize("voice", ["en-us", "en-us+f5", "en-us+m7", "de+f3"])
def test_history_leaves_no_trace(voice):
    first = espeak.speak(TEXT, voice=voice)[0]
    espeak.speak("Something else, quite unlike it.", voice="en-us+f1", rate=240, pitch=90)
    assert np.array_equal(first, espeak.speak(TEXT, voice=voice)[0])


def test_another_process_speaks_the_same():
    code = (
        "import hashlib; from emolib import espeak;"
        f"print(hashlib.sha256(espeak.speak({TEXT!r}, voice='en-us+f5')[0].tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(espeak.speak(TEXT, voice="en-us+f5")[0])


def test_options_are_heard(plain):
    fast = espeak.speak(TEXT, rate=260)[0]
    assert len(fast) < 0.8 * len(plain)
    for other in ({"pitch": 90}, {"pitch_range": 99}, {"voice": "en-us+f2"}):
        assert digest(espeak.speak(TEXT, **other)[0]) != digest(plain)


def test_every_listed_voice_is_accepted():
    assert {"en-us", "de", "pl"} <= set(espeak.voices())
    for voice in espeak.voices()[::12]:
        assert espeak.speak("1 2 3", voice=voice)[0].any()
    assert {"f1", "m3"} <= set(espeak.variants())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ""}, "empty text"),
        ({"text": " \n"}, "empty text"),
        ({"text": "..."}, "nothing to speak"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": TEXT, "voice": "en-xx"}, "unknown voice 'en-xx'"),
        ({"text": TEXT, "voice": "en-us+nobody"}, "unknown variant 'nobody'"),
        ({"text": TEXT, "voice": "en-us+../../x"}, "unknown variant"),
        ({"text": TEXT, "rate": 20}, "rate 20; expected 80 to 450"),
        ({"text": TEXT, "pitch": 100}, "pitch 100; expected 0 to 99"),
        ({"text": TEXT, "pitch_range": -1}, "pitch_range -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    text = arguments.pop("text")
    with pytest.raises(ValueError, match=message.replace("..", r"\.\.")):
        espeak.speak(text, **arguments)
