"""The embedded corpus: whole, true to its table and to its rules, and the same wherever it is built."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pyworld

from emolib import audio, demo

PART = {"voices": [demo.VOICES[i] for i in (0, 2, 4, 7)], "sentences": ["s1", "s4"], "takes": 2}
TINY = "voices=demo.VOICES[:2], sentences=['s2'], takes=1, emotion_words=['calm', 'angry']"
TINY_ARGUMENTS = {
    "voices": demo.VOICES[:2], "sentences": ["s2"], "takes": 1, "emotion_words": ["calm", "angry"],
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return demo.build(tmp_path_factory.mktemp("data") / "demo", **PART, jobs=2)


@pytest.fixture(scope="module")
def table(corpus) -> pd.DataFrame:
    return pd.read_csv(corpus / "demo.csv")


@pytest.fixture(scope="module")
def relative(corpus, table) -> pd.DataFrame:
    """Acoustics of each clip relative to its speaker's neutral reading of the sentence."""
    measured = pd.DataFrame([measure(corpus / path) for path in table["path"]], index=table.index)
    everything = table.join(measured)
    neutral = everything[everything["emotion"] == "neutral"]
    base = neutral.groupby(["speaker", "text_id"])[list(measured)].mean()
    indexed = everything.set_index(["speaker", "text_id"])
    indexed[list(measured)] -= base.reindex(indexed.index)
    return indexed[["emotion", "arousal", *measured]].reset_index(drop=True)


def measure(path: Path) -> dict[str, float]:
    wave, sample_rate = audio.load(path)
    f0_hz, times = pyworld.dio(wave.astype(float), sample_rate, f0_floor=55.0, f0_ceil=650.0)
    f0_hz = pyworld.stonemask(wave.astype(float), f0_hz, times, sample_rate)
    pitch_st = 12 * np.log2(f0_hz[f0_hz > 0])
    energy, hertz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(len(wave), 1 / sample_rate)
    high, low = energy[(hertz > 1000) & (hertz < 5000)].sum(), energy[(hertz > 50) & (hertz < 1000)].sum()
    return {
        "pitch_st": pitch_st.mean(), "range_log": np.log(pitch_st.std()), "level_db": audio.rms_dbfs(wave),
        "duration_log": np.log(len(wave)), "brightness_db": 10 * np.log10(high / low),
    }  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_another_process(root: Path, arguments: str) -> subprocess.Popen:
    code = f"from pathlib import Path; from emolib import demo; demo.build(Path({str(root)!r}), {arguments})"
    return subprocess.Popen([sys.executable, "-c", code])


def test_the_whole_plan():
    clips = demo.plan()
    assert len(clips) == 672 == len({clip.clip for clip in clips})
    assert {clip.emotion for clip in clips} == {
        "neutral", "calm", "happy", "sad", "angry", "fearful", "disgust"
    }  # fmt: skip
    for emotion, anchor in demo.ANCHORS.items():
        points = np.array([(clip.valence, clip.arousal) for clip in clips if clip.emotion == emotion])
        np.testing.assert_allclose(points.mean(axis=0), anchor, atol=0.05)
        assert (points.std(axis=0) > 0.1).all() and (points.std(axis=0) < 0.18).all()
    assert {clip.intensity for clip in clips} == {"normal", "strong"}
    assert {clip.intensity for clip in clips if clip.emotion == "neutral"} == {"normal"}


def test_golden_truth():
    clips = {clip.clip: clip for clip in demo.plan(voices=demo.VOICES[:1])}
    assert (clips["F1-angry-s1-t1"].valence, clips["F1-angry-s1-t1"].arousal) == (-0.3589, 0.82)
    assert (clips["F1-calm-s6-t2"].valence, clips["F1-calm-s6-t2"].arousal) == (0.371, -0.4223)


def test_a_part_has_the_clips_of_the_whole():
    whole = {clip.clip: clip for clip in demo.plan()}
    assert all(whole[clip.clip] == clip for clip in demo.plan(**PART))
    assert demo.plan(seed=1)[0].arousal != demo.plan()[0].arousal


def test_table_and_files_agree(corpus, table):
    assert list(table) == [
        "clip", "path", "speaker", "gender", "emotion", "intensity", "text_id", "text", "language",
        "arousal", "valence", "dominance",
    ]  # fmt: skip
    assert len(table) == 4 * 2 * 7 * 2 and table["clip"].is_unique
    assert table[["arousal", "valence"]].abs().to_numpy().max() <= 1 and table["dominance"].isna().all()
    assert set(table["path"]) == {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.flac")}
    assert {path.name for path in corpus.iterdir() if path.is_file()} == {
        "README.txt",
        "demo.csv",
        "demo.json",
    }
    assert "Synthesised" in (corpus / "README.txt").read_text()


def test_sound_is_clean(corpus, table):
    for path in table["path"]:
        wave, sample_rate = audio.load(corpus / path)
        assert sample_rate == 22_050 and 1.0 < len(wave) / sample_rate < 4.0
        assert 0.02 < np.abs(wave).max() < 0.999
        assert abs(wave.mean()) < 1e-3
        assert (np.abs(np.diff(wave)) < 0.8).all()  # no clicks
        edge = int(0.03 * sample_rate)
        assert np.abs(np.r_[wave[:edge], wave[-edge:]]).max() < 0.05


def test_emotions_sound_as_published(relative):
    """Directions: Murray & Arnott 1993, Table I; of brightness: Banse & Scherer 1996, Cahn 1990."""
    mean = relative.groupby("emotion").mean()
    assert (mean.loc[["angry", "happy", "fearful"], "pitch_st"] > 2).all()  # (very) much higher
    assert -3 < mean.loc["sad", "pitch_st"] < 0  # slightly lower
    assert mean.loc["disgust", "pitch_st"] < -1  # very much lower
    assert (mean.loc[["angry", "happy"], "range_log"] > 0.2).all()  # much wider
    assert mean.loc["disgust", "range_log"] > 0 and mean.loc["fearful", "range_log"] > 0
    assert mean.loc["sad", "range_log"] < 0  # slightly narrower
    assert (mean.loc[["angry", "happy", "fearful"], "duration_log"] < -0.03).all()  # faster
    assert mean.loc["fearful", "duration_log"] == mean["duration_log"].min()  # much faster
    assert (mean.loc[["sad", "disgust"], "duration_log"] > 0.1).all()  # slower
    assert mean.loc["disgust", "duration_log"] == mean["duration_log"].max()  # very much slower
    assert mean.loc["angry", "level_db"] > 3 and mean.loc["happy", "level_db"] > 2  # higher
    assert mean.loc["sad", "level_db"] < -2 and mean.loc["disgust", "level_db"] < 0  # lower
    assert abs(mean.loc["fearful", "level_db"]) < 3  # normal
    assert mean.loc["angry", "brightness_db"] == mean["brightness_db"].max() > 1
    assert mean.loc["sad", "brightness_db"] == mean["brightness_db"].min() < -1


def test_arousal_is_audible_within_an_emotion(relative):
    pair = ["arousal", "level_db"]
    centred = relative[pair] - relative.groupby("emotion")[pair].transform("mean")
    assert centred.corr().iloc[0, 1] > 0.3


def test_another_process_builds_the_same(tmp_path):
    here = demo.build(tmp_path / "here", **TINY_ARGUMENTS, jobs=1)
    assert in_another_process(tmp_path / "there", TINY + ", jobs=2").wait() == 0
    assert digests(here) == digests(tmp_path / "there")


def test_a_finished_corpus_is_reused(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    start = time.perf_counter()
    assert demo.build(corpus, **PART) == corpus
    assert time.perf_counter() - start < 0.5
    assert before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}


def test_a_killed_build_leaves_no_half_corpus(tmp_path):
    root = tmp_path / "demo"
    builder = in_another_process(root, "takes=1, jobs=1")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".demo.*.tmp/*/*.flac")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    assert not root.exists() and len(list(tmp_path.iterdir())) == 1
    demo.build(root, **TINY_ARGUMENTS, jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(list(root.rglob("*.flac"))) == 4


def test_two_builders_at_once(tmp_path):
    builders = [in_another_process(tmp_path / "demo", TINY + ", jobs=1") for _ in range(2)]
    assert [builder.wait() for builder in builders] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(list((tmp_path / "demo").rglob("*.flac"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"emotion_words": ["furious"]}, "unknown emotion 'furious'"),
        ({"emotion_words": ["bored"]}, "'bored' is not in the demo corpus"),
        ({"sentences": ["s9"]}, "unknown sentence 's9'"),
        ({"takes": 0}, "empty corpus"),
    ],
)
def test_what_is_not_in_the_corpus_is_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        demo.build(tmp_path / "demo", **arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed(tmp_path, capfd):
    demo.build(tmp_path / "demo", **TINY_ARGUMENTS, jobs=1)
    assert capfd.readouterr() == ("", "")
