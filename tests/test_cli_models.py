"""Commands that train networks and make sound: resumed, refused in one sentence, and their files.

Other commands are in test_cli.py.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from samples import HIFIGAN, VOCODING, speech
from samples import write_corpus as write_speech
from test_cli import answer, call, complaint, home, write_corpus
from test_generate import TINY

from emolib import audio, corpora, demo, generate, mapper, paths, prosody, steering, tts, vocoder
from emolib.axis import EmotionAxis
from emolib.demo import espeak
from emolib.steering import shipped

__all__ = ["home"]  # a fixture: every command here has a home of its own


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Buzzes of four speakers."""
    return write_corpus(tmp_path_factory.mktemp("buzzes"), n_speakers=4, n_each=2)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    """Nine clips that resemble speech, of three speakers."""
    folder = tmp_path_factory.mktemp("speech")
    write_speech(folder, n_clips=9)[["path", "speaker", "emotion"]].to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


# ------------------------------------------------------------------------------------- mapper and vocoder


def test_a_mapper_is_trained_and_done_at_once_the_second_time(spoken, model_folder, home):
    words = (
        "train-mapper", "--manifest", spoken, "--encoder", model_folder(), "--layer", 2, "--steps", 2,
        "--without", "folder-03", "--device", "cpu",
    )  # fmt: skip
    found = answer(*words)
    assert (found["steps"], found["layer"], found["clips"], found["speakers"]) == (2, 2, 6, 1)
    assert found["held_out"] in (["folder-01"], ["folder-02"]) and 0 < found["mel_l1"] <= found["linear_l1"]
    assert found["skipped"] == 0
    folder = Path(found["folder"])
    assert folder.parent == home / "models" and mapper.Mapper.load(folder).layer == 2
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    text = call(*words).stdout
    assert "2 steps on 6 clips" in text and "not trained on" in text
    assert written and written == {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    other = answer(*words, "--seed", 1)["folder"]
    assert Path(other) != folder, "another seed has a folder of its own"
    assert "`--replace`" in complaint(*words, "--seed", 1, "--out", folder)
    call(*words, "--seed", 1, "--out", folder, "--replace")


def test_what_can_not_be_mapped(spoken, model_folder):
    words = ("train-mapper", "--device", "cpu", "--manifest", spoken, "--encoder")
    assert "logmel gives a frame every 11.61 ms" in complaint(*words, "logmel", "--layer", 0)
    assert "layers [9]" in complaint(*words, model_folder(), "--layer", 9)
    assert "two speakers" in complaint(*words, model_folder(), "--without", "folder-01,folder-02")
    assert "no speaker 77" in complaint(*words, model_folder(), "--without", 77)


def test_a_vocoder_is_trained_and_taken_up(tmp_path, monkeypatch):
    for n in range(4):
        audio.write(tmp_path / f"{n}.wav", speech(0.9, seed=n), 16_000)
    rows = ["path,speaker,emotion", *(f"{n}.wav,s{n // 2},sad" for n in range(4))]
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")
    tiny = dataclasses.replace(VOCODING, validation_clips=1, refine=1)
    monkeypatch.setattr(HIFIGAN, "VocoderSettings", lambda: tiny)
    words = ["train-vocoder", "--manifest", "my.csv", "--out", "own", "--device", "cpu", "--steps"]
    found = answer(*words, 2, "--hold-out", "folder-s1")
    assert set(found) == {
        "folder", "steps", "loss", "log_mel_l1", "pesq", "pesq_refined", "clips", "skipped", "speech_s",
        "seconds",
    }  # fmt: skip
    assert (found["steps"], found["clips"], found["skipped"]) == (2, 4, 0)
    assert vocoder.load(found["folder"]).sample_rate == 22_050
    assert answer(*words, 3, "--hold-out", "folder-s1")["steps"] == 3
    assert "'s1' is not in the manifest" in complaint(*words, 1, "--hold-out", "s1")
    assert "unknown device" in complaint(*words, 1, "--device", "abacus", "--out", "new")


# ------------------------------------------------------------------------------------- finetune, generate


def test_finetune_trains_resumes_and_infers(tmp_path):
    table = write_corpus(tmp_path / "c")
    words = ("finetune", "train", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "tuned")
    first = answer(*words, "--epochs", 3)
    assert first["epochs"] == 3 and first["clips"] == 24 and 0 <= first["score"] <= 1
    assert answer(*words, "--epochs", 5)["epochs"] == 5
    found = answer("finetune", "infer", tmp_path / "tuned", "--files", table.parent / "audio")
    assert found["clips"] == 24 and found["skipped"] == 0
    answers = pd.read_csv(found["answers"])
    assert set(answers["predicted"]) <= {"sad", "angry"}
    np.testing.assert_allclose(answers[["sad", "angry"]].sum(axis=1), 1, atol=1e-5)
    assert "no fine-tuned encoder" in complaint("finetune", "infer", tmp_path, "--files", table.parent)
    assert "beside a corpus" in complaint("finetune", "infer", tmp_path, "demo", "--files", table.parent)
    assert "nothing that learns" in complaint(*words, "--free", 2)


def test_a_generator_is_trained_resumed_and_sampled_into_a_corpus(table, tmp_path, monkeypatch):
    quick = staticmethod(lambda **changes: dataclasses.replace(TINY, **changes).check())
    monkeypatch.setattr(generate.Settings, "quick", quick)
    model, out = tmp_path / "model", tmp_path / "clips"
    asked = ["generate", "train", "--manifest", table, "--out", model]
    words = [*asked, "--emotion", "angry", "--emotion", "sad", "--leave-out", "folder-s3"]
    done = answer(*words)
    assert set(done) == {
        "folder", "classes", "clips", "speakers", "skipped", "loss", "reconstruction", "seconds"
    }  # fmt: skip
    assert done["clips"] == 12 and done["speakers"] == 3 and done["classes"] == ["angry", "sad"]
    config = json.loads((model / "config.json").read_text())
    assert config["kind"] == "Generator" and config["settings"]["steps"] == TINY.steps
    sample = ["generate", "sample", model, "--emotion", "sad", "--count"]
    made = answer(*sample, 2, "--out", out, "--steps", 2)
    assert set(made) == {"folder", "manifest", "clips", "classes", "speech_s", "seconds"}
    listed, manifest = pd.read_csv(out / "manifest.csv"), corpora.load("folder", None, out / "manifest.csv")
    assert made["clips"] == len(list(out.glob("*.wav"))) == len(manifest) == 2
    assert set(listed["emotion"]) == {"sad"} and set(listed["speaker"]) == {"generated"}
    assert np.abs(sf.read(out / listed["path"][0])[0]).max() > 0.01
    assert made["speech_s"] == pytest.approx(manifest["duration_s"].sum(), abs=0.01)
    assert answer(*words) == done, "what is there is not trained again"
    assert "other settings or other clips" in complaint(*words, "--seed", 1)
    assert answer(*words, "--no-resume", "--steps", 3)["loss"] != done["loss"]
    assert "no speaker nobody; expected some of" in complaint(*asked, "--leave-out", "nobody")
    assert "bored" in complaint(*asked, "--emotion", "bored", "--emotion", "sad")
    assert "no Generator in" in complaint("generate", "sample", tmp_path / "nowhere")
    assert "--count 0" in complaint(*sample, 0)
    assert "guidance" in complaint(*sample, 1, "--guidance", 99)


# ------------------------------------------------------------------------------------- steer


@pytest.fixture
def setup(tmp_path, model_folder):
    """Return a recording, and the options that name a corpus of six speakers and a tiny encoder."""
    clips = write_speech(tmp_path / "corpus", n_clips=24)
    clips["speaker"] = [f"s{i // 4}" for i in range(24)]
    clips[["path", "speaker", "emotion"]].to_csv(tmp_path / "my.csv", index=False)
    recording = tmp_path / "voice.wav"
    sf.write(recording, np.stack([speech(0.6, 5, 44_100)] * 2, axis=1), 44_100)
    options = ["--manifest", tmp_path / "my.csv", "--encoder", model_folder(), "--layer", 2]
    return recording, [*options, "--method", "latent", "--output", tmp_path / "o.wav"]


def test_it_steers_a_recording_and_names_what_the_judge_gives(setup, tmp_path):
    recording, options = setup
    output = call("steer", recording, "--delta", 0.5, *options, "--json").stdout
    found = json.loads(output.splitlines()[-1])
    assert found["target_probability"] + found["source_probability"] == pytest.approx(1)  # of two emotions
    steered, sample_rate = sf.read(tmp_path / "o.wav")
    assert sample_rate == 44_100 and steered.ndim == 1
    assert found["duration_s"] == pytest.approx(0.6, abs=0.01) == len(steered) / sample_rate
    assert "natural speech of speakers held out" in output and "speaker is unknown" in found["judge"]
    call("steer", recording, "--delta", 0, *options)
    before, after = (sf.read(path, dtype="int16")[0] for path in (recording, tmp_path / "o.wav"))
    assert np.abs(before[:, 0].astype(int) - after).max() <= 1  # the last bit, by writing


def test_the_judge_never_had_the_speaker_or_says_so(setup, tmp_path):
    _, options = setup
    clips = corpora.load("folder", table=tmp_path / "my.csv")
    chosen = steering.roles(clips).judges
    copy = tmp_path / "copy.wav"  # of a clip that the judge would learn from
    shutil.copy(clips.loc[clips["speaker"] == chosen[0], "path"].iloc[0], copy)
    found = answer("steer", copy, "--delta", 0.5, *options)
    assert found["judge"] == f"the judge never had the recording's speaker, {chosen[0]}"
    assert found["target_probability"] + found["source_probability"] == pytest.approx(1)
    two = clips[~clips["speaker"].isin(chosen[2:])]  # with two to judge, none can be spared
    two[["path", "speaker", "emotion"]].to_csv(tmp_path / "my.csv", index=False)
    chosen = steering.roles(two).judges
    assert len(chosen) == 2
    shutil.copy(two.loc[two["speaker"] == chosen[0], "path"].iloc[0], copy)
    found = answer("steer", copy, "--delta", 0.5, *options)
    assert found["target_probability"] is found["source_probability"] is None
    assert found["judge"].startswith("no probabilities: the judge was trained on the recording's speaker")


def test_what_can_not_be_steered(setup, tmp_path):
    recording, options = setup
    for words, why in {
        ("--delta", 2): "--allow-extrapolation",
        ("--delta", "nan"): "finite",
        ("--delta", 0.5, "--target", "happy"): "'happy'",
        ("--delta", 0.5, "--source", "rage"): "no clip of 'rage'",
        ("--delta", 0.5, "--target", "calm"): "both",
        ("--delta", 0.5, "--layer", 9): "layer",
        ("--delta", 0.5, "--pitch", 0.5): "expected prosody or hybrid",
    }.items():
        assert why in complaint("steer", recording, *options, *words)
    assert "no.wav" in complaint("steer", tmp_path / "no.wav", "--delta", 1, *options)
    assert not (tmp_path / "o.wav").exists()


def test_without_a_corpus_it_steers_by_what_is_shipped(tmp_path):
    if not shipped.available():
        pytest.skip("no shipped parts in this home")
    wave, rate = espeak.speak("She put the blue folder on the table.", voice="en-us+f2")
    words = ["--delta", 1, "--output", tmp_path / "angry.wav"]
    for name, is_judged in (("mine", True), ("03-01-02-01-01-01-01", True), ("03-01-02-01-01-01-03", False)):
        sf.write(tmp_path / f"{name}.wav", wave, rate)
        found = answer("steer", tmp_path / f"{name}.wav", *words)
        assert found["learned_from"] == "ravdess" and sf.read(tmp_path / "angry.wav")[1] == rate
        assert (found["target_probability"] is not None) == is_judged, "the judge's own actors have none"
    assert "--corpus" in complaint("steer", tmp_path / "mine.wav", *words, "--target", "contempt")
    mine = tmp_path / "mine.wav"
    for method in ("latent", "hybrid"):
        found = answer("steer", mine, *words, "--method", method)
        assert (found["learned_from"], found["method"]) == ("ravdess", method)
    slow = answer("steer", mine, *words, "--target", "angry=.6, sad=.3", "--tempo", -1, "--range", 0.5)
    assert slow["knobs"] | {"tempo": 0, "range": 0} == dict.fromkeys(prosody.KNOBS, 0)
    assert slow["duration_s"] > 1.2 * len(wave) / rate and 0 <= slow["target_probability"] <= 1
    kept = json.loads(sf.SoundFile(tmp_path / "angry.wav").comment)
    assert (kept["target"], kept["delta"], kept["knobs"]["tempo"]) == ("angry=.6, sad=.3", 1, -1)
    for options, why in (
        (("--tempo", 2), "tempo 2.0; expected a number from -1 to 1"),
        (("--target", "angry=much"), "expected one emotion, or angry=.6,sad=.3"),
        (("--target", "angry=.8,sad=.8"), "--allow-extrapolation"),
    ):
        assert why in complaint("steer", mine, *words, *options)


# ------------------------------------------------------------------------------------- tts

SAY = ("tts", "--text", "We will meet her at the river.", "--out", "out.wav")


@pytest.fixture
def alone(tmp_path, monkeypatch) -> Path:
    """A home without the default encoder: nothing is scored unless the test asks for it."""
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> tuple[str, ...]:
    """Options that name a calm and an angry rendition by an embedded voice."""
    folder = tmp_path_factory.mktemp("references")
    words: tuple[str, ...] = ()
    for word in ("calm", "angry"):
        rendition = demo.render(demo.VOICES[5], demo.SENTENCES["s4"], word, *demo.ANCHORS[word])
        words += (f"--ref-{word}", str(audio.write(folder / f"{word}.wav", *rendition)))
    return words


@pytest.fixture(scope="module")
def axis(tmp_path_factory) -> Path:
    """The folder of a saved axis of log-mel features."""
    return tts.embedded_score(encoder="logmel").axis.save(tmp_path_factory.mktemp("axis") / "axis")


def test_it_writes_what_the_package_speaks(alone):
    found = answer(*SAY, "--target", "sad", "--alpha", 0.5, "--voice", "en-us+f2")
    wave, sample_rate = audio.load(alone / "out.wav")
    expected = tts.speak(SAY[2], voice="en-us+f2", target="sad", alpha=0.5)[0]
    assert np.abs(wave - expected).max() < 1e-4 and sample_rate == 22_050
    assert found["duration_s"] == pytest.approx(len(wave) / sample_rate, abs=1e-3)
    assert (found["alpha"], found["voice"], found["out"]) == (0.5, "en-us+f2", "out.wav")
    assert found["axis_score"] is None and found["axis_score_plain"] is None
    assert "no axis score" in call(*SAY, "--alpha", 0).stdout
    plain = audio.write(alone / "plain.wav", *tts.load_voice().say(SAY[2]))
    assert (alone / "out.wav").read_bytes() == plain.read_bytes()
    assert answer(*SAY, "--alpha", 1.5, "--allow-extrapolation")["alpha"] == 1.5


def test_references_are_followed_and_scored(alone, references, axis):
    found = [answer(*SAY, *references, "--alpha", alpha, "--axis", axis) for alpha in (0, 0.3, 1)]
    scores = [one["axis_score"] for one in found]
    assert scores[0] < scores[1] < scores[2] and found[2]["axis"] == "calm to angry"
    assert scores[0] == found[0]["axis_score_plain"] == found[2]["axis_score_plain"]
    text = call(*SAY, *references, "--alpha", 0.3, "--axis", axis).stdout
    assert f"axis score {scores[1]:.2f} from calm to angry; the plain voice {scores[0]:.2f}" in text
    own = answer(*SAY, "--target", "sad", "--encoder", "logmel")
    assert own["axis"] == "neutral to sad" and own["axis_score"] > own["axis_score_plain"]
    expected = tts.AxisScore(EmotionAxis.load(axis))(*tts.speak(SAY[2]))
    assert answer(*SAY, "--axis", axis)["axis_score"] == pytest.approx(expected, abs=1e-4)
    assert "names its own encoder" in complaint(*SAY, "--axis", axis, "--encoder", "logmel")


def test_what_can_not_be_spoken(alone, references):
    silence = audio.write(alone / "silence.wav", np.zeros(16_000, np.float32), 16_000)
    long = audio.write(alone / "long.wav", np.tile(speech(1.0), 600), 16_000)
    (alone / "text.wav").write_text("not a sound")
    angry = references[2:]
    for words, why in {
        ("--text", " "): "empty text",
        ("--text", "a" * 2000): "at most 1000",
        ("--voice", "nobody"): "unknown voice 'nobody'",
        ("--target", "furious"): "unknown emotion 'furious'",
        ("--alpha", 1.5): "alpha 1.5; expected a number from -1 to 1",
        ("--alpha", "nan"): "alpha nan",
        references[:2]: "--ref-calm alone",
        angry: "--ref-angry alone",
        (*references, "--target", "sad"): "both a target, 'sad'",
        ("--encoder", "no-encoder"): "unknown encoder 'no-encoder'",
        ("--axis", alone / "gone"): "gone",
        ("--out", "out.xyz"): "out.xyz",
        ("--ref-calm", alone / "text.wav", *angry): "text.wav: not readable as sound",
        ("--ref-calm", alone / "gone.wav", *angry): "gone.wav: can't be opened",
        ("--ref-calm", silence, *angry): "silent",
        ("--ref-calm", long, *angry): "long.wav: a clip of 600 s",
    }.items():
        assert why in complaint(*SAY, *words)
    assert not (alone / "out.wav").exists()
