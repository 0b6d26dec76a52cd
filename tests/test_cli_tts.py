"""emolib tts: a sound file, a score, and one sentence where something is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from samples import speech
from typer.testing import CliRunner

from emolib import audio, demo, paths, tts
from emolib.axis import EmotionAxis
from emolib.cli import app

TEXT = "We will meet her at the river."
KEYS = {"axis_score", "axis_score_plain", "axis", "duration_s", "alpha", "voice", "out"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, without the default encoder: nothing is scored unless the test asks for it."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> tuple[str, ...]:
    """Options that name a calm and an angry rendition by an embedded voice."""
    folder = tmp_path_factory.mktemp("references")
    words: tuple[str, ...] = ()
    for word in ("calm", "angry"):
        spoken = demo.render(demo.VOICES[5], demo.SENTENCES["s4"], word, *demo.ANCHORS[word])
        words += (f"--ref-{word}", str(audio.write(folder / f"{word}.wav", *spoken)))
    return words


@pytest.fixture(scope="module")
def axis(tmp_path_factory) -> Path:
    """The folder of a saved axis of log-mel features."""
    return tts.embedded_score(encoder="logmel").axis.save(tmp_path_factory.mktemp("axis") / "axis")


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["tts", *map(str, words)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def answer(*words: object) -> dict:
    found = json.loads(call("--text", TEXT, "--out", "out.wav", *words, "--json").stdout.splitlines()[-1])
    assert set(found) == KEYS and found["out"] == "out.wav"
    return found


def complaint(*words: object) -> str:
    lines = call(*words, code=2).stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("emolib: "), lines
    return lines[0]


def test_it_writes_what_the_package_speaks(home):
    found = answer("--target", "sad", "--alpha", 0.5, "--voice", "en-us+f2")
    wave, sample_rate = audio.load(home / "out.wav")
    expected = tts.speak(TEXT, voice="en-us+f2", target="sad", alpha=0.5)[0]
    assert np.abs(wave - expected).max() < 1e-4 and sample_rate == 22_050
    assert found["duration_s"] == pytest.approx(len(wave) / sample_rate, abs=1e-3)
    assert (found["alpha"], found["voice"]) == (0.5, "en-us+f2")


def test_references_are_followed_and_scored(home, references, axis):
    found = {alpha: answer(*references, "--alpha", alpha, "--axis", axis) for alpha in (0, 0.3, 1)}
    scores = [found[alpha]["axis_score"] for alpha in (0, 0.3, 1)]
    assert scores[0] < scores[1] < scores[2] and found[1]["axis"] == "calm to angry"
    assert found[0]["axis_score"] == found[0]["axis_score_plain"] == found[1]["axis_score_plain"]
    text = call("--text", TEXT, "--out", "o.flac", *references, "--alpha", 0.3, "--axis", axis).stdout
    assert f"axis score {scores[1]:.2f} from calm to angry; the plain voice {scores[0]:.2f}" in text


def test_a_target_is_scored_on_its_own_axis(home):
    found = answer("--target", "sad", "--encoder", "logmel")
    assert found["axis"] == "neutral to sad" and found["axis_score"] > found["axis_score_plain"]


def test_a_saved_axis_scores(axis):
    found = answer("--axis", axis)
    expected = tts.AxisScore(EmotionAxis.load(axis))(*tts.speak(TEXT))
    assert found["axis_score"] == pytest.approx(expected, abs=1e-4)
    assert "names its own encoder" in complaint(
        "--text", TEXT, "--out", "o.wav", "--axis", axis, "--encoder", "logmel"
    )


def test_without_the_default_encoder_it_says_so(home):
    found = answer()
    assert found["axis_score"] is None and found["axis_score_plain"] is None
    assert "no axis score" in call("--text", TEXT, "--out", "out.wav").stdout


def test_alpha_zero_is_the_plain_voice(home):
    answer("--alpha", 0)
    plain = audio.write(home / "plain.wav", *tts.load_voice().say(TEXT))
    assert (home / "out.wav").read_bytes() == plain.read_bytes()


def test_what_is_wrong_is_one_sentence(home, references):
    given = ("--text", TEXT, "--out", "out.wav")
    assert "empty text" in complaint("--text", " ", "--out", "out.wav")
    assert "at most 1000" in complaint("--text", "a" * 2000, "--out", "out.wav")
    assert "unknown voice 'nobody'" in complaint(*given, "--voice", "nobody")
    assert "unknown emotion 'furious'" in complaint(*given, "--target", "furious")
    assert "alpha 1.5; expected a number from -1 to 1" in complaint(*given, "--alpha", 1.5)
    assert "alpha nan" in complaint(*given, "--alpha", "nan")
    assert "--ref-calm alone" in complaint(*given, *references[:2])
    assert "--ref-angry alone" in complaint(*given, *references[2:])
    assert "both a target, 'sad'" in complaint(*given, *references, "--target", "sad")
    assert "unknown encoder 'no-encoder'" in complaint(*given, "--encoder", "no-encoder")
    assert "gone" in complaint(*given, "--axis", home / "gone")
    assert "out.xyz" in complaint("--text", TEXT, "--out", "out.xyz")
    assert not (home / "out.wav").exists()


def test_references_that_can_not_be_used(home, references):
    given = ("--text", TEXT, "--out", "out.wav", "--ref-calm")
    (home / "text.wav").write_text("not a sound")
    silence = audio.write(home / "silence.wav", np.zeros(16_000, np.float32), 16_000)
    long = audio.write(home / "long.wav", np.tile(speech(1.0), 600), 16_000)
    angry = references[2:]
    assert "text.wav: not readable as sound" in complaint(*given, home / "text.wav", *angry)
    assert "gone.wav: can't be opened" in complaint(*given, home / "gone.wav", *angry)
    assert "silence.wav" in complaint(*given, silence, *angry) and "silent" in complaint(
        *given, silence, *angry
    )
    assert "long.wav: a clip of 600 s" in complaint(*given, long, *angry)
    assert not (home / "out.wav").exists()


def test_further_than_one_needs_leave(home):
    assert answer("--alpha", 1.5, "--allow-extrapolation")["alpha"] == 1.5
