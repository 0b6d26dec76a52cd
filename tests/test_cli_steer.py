"""The command line of steering: one recording in, one out, and the judge's verdict as JSON."""

import json
import shutil

import numpy as np
import pytest
import soundfile as sf
from samples import speech, write_corpus
from typer.testing import CliRunner

from emolib import corpora, steering
from emolib.cli import app
from emolib.demo import espeak
from emolib.steering import shipped

LAYER = 2


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.fixture
def setup(tmp_path, monkeypatch, model_folder):
    """Return a recording, and the options that name a corpus of six speakers and a tiny encoder."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    clips = write_corpus(tmp_path / "corpus", n_clips=24)
    clips["speaker"] = [f"s{i // 4}" for i in range(24)]
    clips[["path", "speaker", "emotion"]].to_csv(tmp_path / "my.csv", index=False)
    recording = tmp_path / "voice.wav"
    sf.write(recording, np.stack([speech(0.6, 5, 44_100)] * 2, axis=1), 44_100)
    options = ["--manifest", tmp_path / "my.csv", "--encoder", model_folder(), "--layer", LAYER]
    return recording, [*options, "--method", "latent"]


def test_it_steers_a_recording_and_says_what_is_heard(setup, tmp_path):
    recording, options = setup
    out = tmp_path / "out" / "angry.wav"
    output = call("steer", recording, "--delta", 0.5, "--output", out, *options, "--json").stdout
    found = json.loads(output.splitlines()[-1])
    assert {"target_probability", "source_probability", "duration_s"} <= set(found)
    assert found["target_probability"] + found["source_probability"] == pytest.approx(1)  # of two emotions
    steered, sample_rate = sf.read(out)
    assert sample_rate == 44_100 and steered.ndim == 1
    assert found["duration_s"] == pytest.approx(0.6, abs=0.01) == len(steered) / sample_rate
    assert "natural speech of speakers held out" in output


def test_the_judge_never_had_the_speaker_or_says_so(setup, tmp_path):
    recording, options = setup
    words = ["--delta", 0.5, "--output", tmp_path / "o.wav", "--json", *options]

    def answer(path):
        return json.loads(call("steer", path, *words).stdout.splitlines()[-1])

    assert "speaker is unknown" in answer(recording)["judge"]
    clips = corpora.load("folder", table=tmp_path / "my.csv")
    chosen = steering.roles(clips).judges
    copy = tmp_path / "copy.wav"  # of a clip that the judge would learn from
    shutil.copy(clips.loc[clips["speaker"] == chosen[0], "path"].iloc[0], copy)
    found = answer(copy)
    assert found["judge"] == f"the judge never had the recording's speaker, {chosen[0]}"
    assert found["target_probability"] + found["source_probability"] == pytest.approx(1)
    two = clips[~clips["speaker"].isin(chosen[2:])]  # with two to judge, none can be spared
    assert len(steering.roles(two).judges) == 2
    two[["path", "speaker", "emotion"]].to_csv(tmp_path / "my.csv", index=False)
    chosen = steering.roles(two).judges
    shutil.copy(two.loc[two["speaker"] == chosen[0], "path"].iloc[0], copy)
    found = answer(copy)
    assert found["target_probability"] is found["source_probability"] is None
    assert found["judge"].startswith("no probabilities: the judge was trained on the recording's speaker")


def test_the_shipped_judge_gives_no_probabilities_for_its_own_actors(tmp_path):
    wave, rate = espeak.speak("She put the blue folder on the table.", voice="en-us+f2")
    for actor, known in (("03", True), ("01", False)):
        path = tmp_path / f"03-01-02-01-01-01-{actor}.wav"
        sf.write(path, wave, rate)
        words = [path, "--delta", 0.5, "--output", tmp_path / "o.wav", "--json"]
        found = json.loads(call("steer", *words).stdout.splitlines()[-1])
        assert (found["target_probability"] is None) == known and actor in found["judge"]


def test_delta_0_writes_the_recording(setup, tmp_path):
    recording, options = setup
    call("steer", recording, "--delta", 0, "--output", tmp_path / "out.wav", *options)
    before, after = (sf.read(path, dtype="int16")[0] for path in (recording, tmp_path / "out.wav"))
    assert np.abs(before[:, 0].astype(int) - after).max() <= 1  # the last bit, by writing


@pytest.mark.parametrize(
    "words, why",
    [
        (["--delta", 2], "--allow-extrapolation"),
        (["--delta", "nan"], "finite"),
        (["--delta", 0.5, "--target", "happy"], "'happy'"),
        (["--delta", 0.5, "--source", "rage"], "unknown emotion"),
        (["--delta", 0.5, "--target", "calm"], "both"),
        (["--delta", 0.5, "--layer", 9], "layer"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(setup, tmp_path, words, why):
    recording, options = setup
    result = call("steer", recording, "--output", tmp_path / "o.wav", *options, *words, code=2)
    assert why in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "o.wav").exists()


def test_a_recording_that_is_none(setup, tmp_path):
    result = call("steer", tmp_path / "no.wav", "--delta", 1, "--output", tmp_path / "o.wav", code=2)
    assert "no.wav" in result.stderr


def test_without_a_corpus_it_steers_by_what_is_shipped(tmp_path):
    if not shipped.available():
        pytest.skip("no shipped parts in this home")
    wave, rate = espeak.speak("She put the blue folder on the table.", voice="en-us+f2")
    sf.write(tmp_path / "mine.wav", wave, rate)
    words = [tmp_path / "mine.wav", "--delta", 1, "--output", tmp_path / "angry.wav", "--json"]
    found = json.loads(call("steer", *words).stdout.splitlines()[-1])
    assert found["learned_from"] == "ravdess" and 0 < found["target_probability"] <= 1
    assert sf.read(tmp_path / "angry.wav")[1] == rate
    refused = call("steer", *words, "--target", "contempt", code=2)
    assert "--corpus" in refused.stderr and len(refused.stderr.splitlines()) == 1
