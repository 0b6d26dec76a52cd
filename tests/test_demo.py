"""The demo corpus: espeak-ng's plain speech, the published rules, and the same files wherever it is built."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import refused, sha256

from emolib import audio, corpora, demo, world
from emolib.demo import espeak, speech
from emolib.demo.speech import PARAMETERS, RULES, express

TEXT = "The bus leaves from the north gate at nine."
PART = {"voices": [demo.VOICES[i] for i in (0, 2, 4, 7)], "sentences": ["s1", "s4"], "takes": 2}
TINY = {"voices": demo.VOICES[:2], "sentences": ["s2"], "takes": 1, "emotion_words": ["calm", "angry"]}


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def in_another_process(root: Path, **arguments) -> subprocess.Popen:
    code = f"from emolib.demo import Voice, build; build({str(root)!r}, **{arguments})"
    return subprocess.Popen([sys.executable, "-c", code])


# ------------------------------------------------------------------------------------- espeak-ng


def test_espeak_speaks_the_same_after_any_history_and_in_any_process():
    for voice in ("en-us", "en-us+m7", "de+f3", "en-us+f5"):
        first, sample_rate = espeak.speak(TEXT, voice=voice)
        espeak.speak("Something else, quite unlike it.", voice="en-us+f1", rate=240)
        assert np.array_equal(first, espeak.speak(TEXT, voice=voice)[0]), voice
        assert sample_rate == 22_050 and first.dtype == np.float32 and first.ndim == 1
        assert 1.5 < len(first) / sample_rate < 4.0 and 0.1 < np.abs(first).max() <= 1.0
    spoken = f"espeak.speak({TEXT!r}, voice='en-us+f5')[0].tobytes().hex()"
    code = f"from emolib.demo import espeak; print({spoken})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first.tobytes().hex()


def test_espeak_follows_its_options_and_speaks_in_every_listed_voice():
    plain = espeak.speak(TEXT)[0]
    assert len(espeak.speak(TEXT, rate=260)[0]) < 0.8 * len(plain)
    assert not np.array_equal(espeak.speak(TEXT, voice="en-us+f2")[0], plain)
    assert {"en-us", "de", "pl"} <= set(espeak.voices()) and {"f1", "m3"} <= set(espeak.variants())
    assert all(espeak.speak("1 2 3", voice=voice)[0].any() for voice in espeak.voices()[::12])
    assert espeak.ipa("Hello, world!") == "həlˈoʊ, wˈɜːld!"


def test_espeak_refuses_bad_arguments():
    for message, text in (("empty text", " \n"), ("nothing to speak", "..."), ("NUL", "a\0b")):
        refused(message, espeak.speak, text)
    refused("unknown voice 'en-xx'", espeak.speak, TEXT, voice="en-xx")
    refused("unknown variant", espeak.speak, TEXT, voice="en-us+../../x")
    refused("rate 20; expected 80 to 450", espeak.speak, TEXT, rate=20)


# ------------------------------------------------------------------------------------- rules


def test_every_rule_names_its_source():
    for rule in RULES:
        assert rule.parameter in PARAMETERS and rule.driver in {"arousal", "valence", *demo.ANCHORS}
        assert rule.finding and rule.amount
        assert rule.source == "own" or f"{rule.source}:" in speech.__doc__
    assert len({(rule.driver, rule.parameter) for rule in RULES}) == len(RULES)
    jitter = {emotion: express(emotion, *anchor).jitter for emotion, anchor in demo.ANCHORS.items()}
    assert max(jitter, key=jitter.get) == "fearful", "irregular voicing, which no measure below hears"


def test_strength_take_arousal_and_valence_do_what_they_should():
    assert express("neutral", 0, 0) == speech.RESTING
    assert express("angry", -0.5, 0.6, strength=dict.fromkeys(PARAMETERS, 0.0)) == speech.RESTING
    assert express("neutral", 0, 0, take={"pitch_st": 1.0}).pitch_st == speech.TAKE_SD.pitch_st
    steady = express("calm", 0.3, -0.5, take=dict.fromkeys(PARAMETERS, -9.0))
    assert min(getattr(steady, name) for name in speech.NEVER_NEGATIVE) == 0
    levels = [express("angry", -0.5, arousal).level_db for arousal in (-1, -0.5, 0, 0.5, 1)]
    assert levels == sorted(set(levels))
    assert express("happy", 0.9, 0.5).formants > express("happy", 0.4, 0.5).formants
    bored, neutral = (dataclasses.asdict(express(word, -0.65, -0.62)) for word in ("bored", "neutral"))
    assert bored == neutral, "an emotion without rules is expressed by its place alone"
    refused("unknown emotion 'furious'", express, "furious", 0, 0)
    refused("valence -1.2", express, "angry", -1.2, 0)
    refused("arousal nan", express, "angry", 0, float("nan"))


# ------------------------------------------------------------------------------------- the corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return demo.build(tmp_path_factory.mktemp("data") / "demo", **PART, jobs=2)


@pytest.fixture(scope="module")
def table(corpus) -> pd.DataFrame:
    return pd.read_csv(corpus / "demo.csv")


def test_the_plan_draws_around_the_anchors_and_a_part_has_the_clips_of_the_whole():
    whole = {clip.clip: clip for clip in demo.plan()}
    assert len(whole) == 672 and {clip.intensity for clip in whole.values()} == {"normal", "strong"}
    assert {clip.intensity for clip in whole.values() if clip.emotion == "neutral"} == {"normal"}
    for emotion, anchor in demo.ANCHORS.items():
        points = np.array([(c.valence, c.arousal) for c in whole.values() if c.emotion == emotion])
        np.testing.assert_allclose(points.mean(axis=0), anchor, atol=0.05)
        np.testing.assert_allclose(points.std(axis=0), demo.ANCHOR_SD, atol=0.04)
    golden = {"F1-angry-s1-t1": (-0.3589, 0.82), "F1-calm-s6-t2": (0.371, -0.4223)}
    assert {name: (whole[name].valence, whole[name].arousal) for name in golden} == golden
    assert sorted(voice.gender for voice in demo.VOICES) == ["female"] * 4 + ["male"] * 4
    assert len({(voice.speaker, *speech.strength(voice).values()) for voice in demo.VOICES}) == 8
    assert all(whole[clip.clip] == clip for clip in demo.plan(**PART))


def test_table_and_files_agree_and_the_sound_is_clean(corpus, table):
    columns = "clip path speaker gender emotion intensity text_id text language arousal valence dominance"
    assert list(table) == columns.split()
    assert len(table) == 4 * 2 * 7 * 2 and table["clip"].is_unique
    assert table[["arousal", "valence"]].abs().to_numpy().max() <= 1 and table["dominance"].isna().all()
    assert set(table["path"]) == {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.flac")}
    files = {path.name for path in corpus.iterdir() if path.is_file()}
    assert files == {"README.txt", "demo.csv", "demo.json"}
    assert "Synthesised" in (corpus / "README.txt").read_text()
    for path in table["path"]:
        wave, sample_rate = audio.load(corpus / path)
        assert sample_rate == 22_050 and 1.0 < len(wave) / sample_rate < 4.0
        assert 0.02 < np.abs(wave).max() < 0.999 and abs(wave.mean()) < 1e-3
        edge = int(0.03 * sample_rate)
        assert np.abs(np.r_[wave[:edge], wave[-edge:]]).max() < 0.05
        assert (np.abs(np.diff(wave)) < 0.8).all(), "no clicks"


def test_the_corpus_is_read_by_its_name(corpus, table, monkeypatch):
    monkeypatch.setattr(demo, "build", lambda root: corpus)
    clips = corpora.load("demo").set_index("clip")
    assert set(clips["corpus"]) == {"demo"} and set(clips["speaker"]) == set("demo-" + table["speaker"])
    truth = table.set_index("clip").loc[clips.index, ["valence", "arousal", "emotion", "intensity", "text"]]
    pd.testing.assert_frame_equal(clips[truth.columns], truth, check_dtype=False)


def measure(path: Path) -> dict[str, float]:
    wave, sample_rate = audio.load(path)
    f0_hz = world.pitch(wave, sample_rate, low_hz=55.0, high_hz=650.0)
    pitch_st = 12 * np.log2(f0_hz[f0_hz > 0])
    energy, hertz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(len(wave), 1 / sample_rate)
    high, low = energy[(hertz > 1000) & (hertz < 5000)].sum(), energy[(hertz > 50) & (hertz < 1000)].sum()
    return {
        "pitch_st": pitch_st.mean(), "range_log": np.log(pitch_st.std()), "level_db": audio.rms_dbfs(wave),
        "duration_log": np.log(len(wave)), "brightness_db": 10 * np.log10(high / low),
    }  # fmt: skip


def test_emotions_sound_as_published(corpus, table):
    """Directions: Murray & Arnott 1993, Table I; of brightness: Banse & Scherer 1996, Cahn 1990."""
    measured = pd.DataFrame([measure(corpus / path) for path in table["path"]], index=table.index)
    keys = ["speaker", "text_id"]
    base = measured[table["emotion"] == "neutral"].groupby([table[key] for key in keys]).mean()
    relative = measured - base.reindex(pd.MultiIndex.from_frame(table[keys])).to_numpy()
    mean = relative.groupby(table["emotion"]).mean()
    assert (mean.loc[["angry", "happy", "fearful"], "pitch_st"] > 2).all()  # (very) much higher
    assert -3 < mean.loc["sad", "pitch_st"] < 0  # slightly lower
    assert mean.loc["disgust", "pitch_st"] < -1  # very much lower
    assert (mean.loc[["angry", "happy"], "range_log"] > 0.2).all()  # much wider
    assert (mean.loc[["disgust", "fearful"], "range_log"] > 0).all()
    assert mean.loc["sad", "range_log"] < 0  # slightly narrower
    assert (mean.loc[["angry", "happy", "fearful"], "duration_log"] < -0.03).all()  # faster
    assert (mean.loc[["sad", "disgust"], "duration_log"] > 0.1).all()  # slower
    assert (mean["duration_log"].idxmin(), mean["duration_log"].idxmax()) == ("fearful", "disgust")
    assert (mean.loc[["angry", "happy"], "level_db"] > 2).all()  # higher
    assert mean.loc["sad", "level_db"] < -2 and mean.loc["disgust", "level_db"] < 0  # lower
    assert abs(mean.loc["fearful", "level_db"]) < 3  # normal
    assert mean.loc["angry", "brightness_db"] == mean["brightness_db"].max() > 1
    assert mean.loc["sad", "brightness_db"] == mean["brightness_db"].min() < -1
    pair = pd.DataFrame({"arousal": table["arousal"], "level_db": relative["level_db"]})
    centred = pair - pair.groupby(table["emotion"]).transform("mean")
    assert centred.corr().iloc[0, 1] > 0.3, "arousal is audible within an emotion"


def test_another_process_builds_the_same_and_nothing_is_printed(tmp_path, capfd):
    here = demo.build(tmp_path / "here", **TINY, jobs=1)
    assert capfd.readouterr() == ("", "")
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    assert demo.build(here, **TINY) == here, "a finished corpus is reused"
    assert before == {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    builders = [in_another_process(tmp_path / "there", **TINY, jobs=2) for _ in range(2)]  # at once
    assert [builder.wait() for builder in builders] == [0, 0]
    assert digests(here) == digests(tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_killed_build_leaves_no_half_corpus(tmp_path):
    root = tmp_path / "demo"
    builder = in_another_process(root, takes=1, jobs=1)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".demo.*.tmp/*/*.flac")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    assert not root.exists() and len(list(tmp_path.iterdir())) == 1
    demo.build(root, **TINY, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(list(root.rglob("*.flac"))) == 4


def test_what_is_not_in_the_corpus_is_refused(tmp_path):
    refused("emotion 'bored' is not in the demo", demo.build, tmp_path / "demo", emotion_words=["bored"])
    refused("sentence 's9' is not in the demo", demo.build, tmp_path / "demo", sentences=["s9"])
    refused("empty corpus", demo.build, tmp_path / "demo", takes=0)
    assert not list(tmp_path.iterdir())
