"""The panel plays, draws and saves what its controls say, and says in one sentence what it can't take."""

import base64
import io
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from samples import refused

from emolib import emotions, paths, steering
from emolib.widgets import AudibleScatter, PlanePad, SteeringPanel, Upload, app, players, sketches, wav_bytes

RATE = 16_000
ANCHORS = {name: tuple(emotions.ANCHORS["emodb"][name]) for name in ("neutral", "angry", "sad")}


def voice(f0_hz: float, seconds: float = 0.8) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * sum(np.sin(2 * np.pi * f0_hz * k * time_s) / k for k in range(1, 9))).astype(np.float32)


def test_players_need_no_kernel_and_have_names():
    waves = {"delta 0": voice(150), "delta <1>": voice(200)}
    page = players({"prosody": waves}, RATE).data
    found = re.findall(r'aria-label="([^"]+)" src="data:audio/mpeg;base64,([^"]+)"', page)
    assert [name for name, _ in found] == ["prosody, delta 0", "prosody, delta &lt;1&gt;"]
    for wave, (_, coded) in zip(waves.values(), found, strict=True):
        content = base64.b64decode(coded)
        sound, rate = sf.read(io.BytesIO(content))
        assert rate == RATE and len(content) < 8_000
        assert abs(len(sound) - len(wave)) < 0.1 * RATE and 0.5 < np.std(sound) / np.std(wave) < 1.5


class Louder:
    """A steerer whose delta is a gain; it counts how often it had to analyse."""

    n_analysed = 0

    def analyse(self, wave, sample_rate):
        Louder.n_analysed += 1
        return wave

    def render(self, analysis, delta):
        if delta < -0.9:
            raise ValueError("delta -1 is too far for <this> voice")
        return (analysis * (1 + 0.5 * delta)).astype(np.float32)


class LevelJudge:
    classes_ = np.array(["neutral", "angry"])

    def predict_proba(self, waves, sample_rate):
        angry = [min(1.0, float(np.abs(wave).max())) for wave in waves]
        return np.array([[1 - share, share] for share in angry])


@pytest.fixture
def panel(tmp_path):
    return a_panel(tmp_path)


def a_panel(tmp_path, **changes) -> SteeringPanel:
    rows = []
    for speaker, text_id, emotion in itertools.product("ab", ("one", "two"), ("neutral", "sad")):
        path = tmp_path / f"{speaker}-{text_id}-{emotion}.wav"
        sf.write(path, voice({"a": 120, "b": 220}[speaker] + 10 * (emotion == "sad")), RATE)
        rows.append((path.stem, speaker, text_id, "", emotion, str(path)))
    manifest = pd.DataFrame(rows, columns=["clip", "speaker", "text_id", "text", "emotion", "path"])
    Louder.n_analysed = 0
    settings = {
        "steerer": lambda method, source, target: Louder(),
        "blend": lambda source, valence, arousal: Louder(),
        "judge": LevelJudge(),
        "locate": lambda wave, rate: (0.0, float(np.abs(wave).max())),
        "anchors": ANCHORS,
        "targets": ["angry", "sad"],
        "folder": tmp_path / "saved",
    }
    return SteeringPanel(manifest, **settings | changes)


def played(player) -> np.ndarray:
    return sf.read(io.BytesIO(player.value))[0]


def test_the_slider_changes_sound_pictures_bars_and_words_and_what_is_heard_is_saved(panel):
    assert panel.before.value == panel.after.value

    def parts() -> list[object]:
        # louder by a constant, the clip itself is the same picture, and the one before is fainter
        shown = panel.mel_before, panel.verdict, panel.after, panel.status
        return [panel.pad.path, *(part.value for part in shown)]

    seen = parts()
    panel.delta.value = 0.5
    assert all(before != after for before, after in zip(seen, parts(), strict=True))
    assert np.allclose(played(panel.after), 1.25 * panel.clip.wave, atol=1e-3)
    assert "delta +0.50 toward angry" in panel.status.value and panel.latency_s > 0
    path = panel.save()
    assert np.allclose(sf.read(path)[0], panel.heard, atol=1e-3)
    settings = json.loads(path.with_suffix(".json").read_text())
    assert settings | {"delta": 0.5, "knobs": {}, "target": "angry", "clip": "a-one-neutral"} == settings
    panel.delta.value = 0.0
    assert panel.after.value == panel.before.value and np.array_equal(panel.heard, panel.clip.wave)
    for delta in (0.1, 0.2, 0.3):
        panel.delta.value = delta
    assert Louder.n_analysed == 1, "a clip is analysed once for all deltas"
    panel.target.value = "sad"
    assert Louder.n_analysed == 2


def test_speaker_sentence_and_source_choose_the_clip(panel):
    panel.speaker.value = "b"
    assert panel.clip.name == "b-one-neutral"
    panel.sentence.value = "two"
    assert panel.clip.name == "b-two-neutral"
    panel.source.value = "sad"
    assert panel.clip.name == "b-two-sad" and panel.clip.emotion == "sad"
    panel.speaker.value = "a"
    assert panel.clip.name == "a-two-sad"


def test_the_pad_steers_to_its_point_and_stays_inside_the_plane(panel):
    panel.pad.valence = 0.5
    assert "valence +0.50" in panel.status.value
    assert np.allclose(played(panel.after), 1.5 * panel.clip.wave, atol=1e-3)
    pad = PlanePad(ANCHORS)
    pad.valence, pad.arousal = 3, -7
    assert (pad.valence, pad.arousal) == (1, -1)
    assert [row["name"] for row in pad.anchors] == list(ANCHORS)


def test_one_s_own_recordings_are_taken_and_those_that_can_t_be_used_refused(panel):
    for channels, rate in ((1, 8_000), (2, 44_100)):  # under one name, as recordings of the microphone
        panel.delta.value = 0.0
        wave = np.repeat(voice(100 * channels)[:, None], channels, axis=1)
        panel.take_upload("mine.wav", wav_bytes(wave, rate))
        assert panel.clip.name == "mine.wav" and panel.clip.sample_rate == rate
        panel.delta.value = 0.4
        assert np.allclose(played(panel.after), 1.2 * panel.clip.wave, atol=1e-3)
    for content, reason in ((b"not a sound", "mine.wav"), (wav_bytes(np.zeros(RATE), RATE), "silen")):
        with pytest.raises(ValueError, match=reason) as refusal:
            panel.take_upload("mine.wav", content)
        assert "tmp" not in str(refusal.value) and str(refusal.value).startswith("mine.wav: ")
        send(panel.upload, "other.wav", content)
        assert 'role="alert"' in panel.status.value and panel.clip.name == "mine.wav"
    content = wav_bytes(np.repeat(voice(150, 61.0)[:, None], 2, axis=1), 8_000)
    send(panel.upload, "long.wav", content, piece=1_000_000)
    assert panel.clip.name == "long.wav, the first 60 of 122 s" and len(panel.clip.wave) == 60 * 8_000
    assert "the first 60 of 122 s" in panel.status.value and panel.save().name.startswith("long_")


def send(upload: Upload, name: str, content: bytes, piece: int = 10_000) -> None:
    """Hand over a file as the page does."""
    for at in range(0, max(len(content), 1), piece):
        message = {"name": name, "size": len(content), "at": at}
        upload._receive(upload, message, [memoryview(content)[at : at + piece]])


def test_an_upload_arrives_in_pieces_and_whole():
    taken = []
    upload = Upload(lambda name, content: taken.append((name, content)))
    upload._receive(upload, {"name": "given up", "size": 9, "at": 0}, [b"half"])
    send(upload, "a.wav", bytes(range(256)) * 100)
    send(upload, "empty.wav", b"")
    upload._receive(upload, {"name": "late", "size": 9, "at": 4}, [b"rest"])
    assert taken == [("a.wav", bytes(range(256)) * 100), ("empty.wav", b"")]
    assert upload.most_bytes > 5 * 60 * 48_000 * 2 * 4


def test_what_a_steerer_judge_or_encoder_refuses_is_said_in_the_panel(panel, monkeypatch, tmp_path):
    panel.delta.value = 0.5
    sound = panel.after.value
    panel.delta.value = -1
    assert 'role="alert"' in panel.status.value and "&lt;this&gt; voice" in panel.status.value
    assert panel.after.value == sound
    for target, name, speaker in ((panel.judge, "predict_proba", "b"), (panel, "_locate", "a")):

        def refuse(*_, name=name):
            raise ValueError(f"{name} takes no <clip>")

        panel.delta.value = 0.2
        drawn = panel.mel_before.value
        with monkeypatch.context() as patch:
            patch.setattr(target, name, refuse)
            panel.delta.value = 0.4
            assert f"{name} takes no &lt;clip&gt;" in panel.status.value and "alert" in panel.status.value
            assert panel.mel_before.value != drawn and panel.verdict.value == "" and panel.pad.path == []
            assert np.allclose(played(panel.after), 1.2 * panel.clip.wave, atol=1e-3)
            panel.speaker.value = speaker
            assert panel.clip.name.startswith(speaker) and "alert" in panel.status.value
        panel.delta.value = 0.2
        assert "alert" not in panel.status.value and 'data-emolib="judge"' in panel.verdict.value
    (tmp_path / "b-one-neutral.wav").unlink()
    panel.speaker.value = "b"
    assert "b-one-neutral.wav: can&#x27;t be opened" in panel.status.value


class Turned(Louder):
    """A steerer with a knob that is added to delta."""

    effort = 0.0

    def turned(self, knobs):
        other = Turned()
        other.effort = knobs["effort"]
        return other

    def render(self, analysis, delta):
        return super().render(analysis, delta + self.effort)


def test_a_knob_is_heard_once_it_is_moved(tmp_path):
    knobs = {"effort": (-1.0, 1.0, 0.0, "softer or stronger"), "tempo": (-1.0, 1.0, 0.0, "slower or faster")}
    panel = a_panel(tmp_path, steerer=lambda *way: Turned(), knobs=knobs)
    assert panel.knobs["effort"].tooltip == "softer or stronger" and Louder.n_analysed == 0
    panel.knobs["effort"].value = 0.5
    assert np.allclose(played(panel.after), 1.25 * panel.clip.wave, atol=1e-3), "at delta 0 as well"
    panel.delta.value = 0.2
    assert np.allclose(played(panel.after), 1.35 * panel.clip.wave, atol=1e-3)
    settings = json.loads(panel.save().with_suffix(".json").read_text())
    assert settings["knobs"] == {"effort": 0.5, "tempo": 0.0} and Louder.n_analysed == 1
    sound = panel.after.value
    panel.pad.valence = 0.5  # Louder has no knobs
    assert "has no knobs" in panel.status.value and panel.after.value == sound


def test_a_panel_plays_before_it_has_a_judge(tmp_path):
    panel = a_panel(tmp_path, judge=None, locate=None)
    panel.delta.value = 0.5
    assert np.allclose(played(panel.after), 1.25 * panel.clip.wave, atol=1e-3)
    assert panel.pitch.value == panel.verdict.value == "" and panel.pad.path == []
    panel.judge = LevelJudge()
    assert 'data-emolib="f0"' in panel.pitch.value and 'data-emolib="judge"' in panel.verdict.value
    # the mean of neutral's anchor, which is 0, and of anger's, weighted by the judge
    loudness = float(np.abs(panel.heard).max())
    assert np.allclose(panel.pad.path[1], loudness * np.array(ANCHORS["angry"]))


def test_the_app_steers_with_what_is_shipped():
    with ThreadPoolExecutor(1) as pool:  # where no test of the browser has left a loop of events running
        panel = pool.submit(app).result()
    assert set(panel.target.options) == set(steering.shipped.TARGETS) and "alert" not in panel.status.value
    assert panel.delta.value == 0.8 and panel.after.value != panel.before.value
    assert {anchor["name"] for anchor in panel.pad.anchors} == set(panel.judge.classes_)
    sound = panel.after.value
    panel.pad.arousal = -0.5
    assert "arousal -0.50" in panel.status.value and panel.after.value != sound
    panel.speaker.value = "M2"
    assert panel.clip.name == "M2-neutral-s1-t1"


def test_a_panel_needs_clips_and_the_app_the_shipped_transforms(tmp_path, monkeypatch):
    nothing = {"steerer": None, "blend": None, "anchors": {}, "targets": [], "folder": None}
    refused("empty manifest", SteeringPanel, pd.DataFrame(columns=["clip"]), **nothing)
    monkeypatch.setattr(paths, "model", lambda name: tmp_path / name)
    refused(r"no transforms in .*prosody-ravdess", app)


def test_sketches_show_pitch_and_probabilities():
    high, silence = sketches.f0(voice(110), voice(220), RATE), np.zeros(RATE, np.float32)
    lines = re.findall(r'points="([^"]+)"', high)
    heights = [np.mean([float(y) for y in re.findall(r",([\d.]+)", line)]) for line in lines]
    assert len(heights) == 2 and heights[1] < heights[0] - 20, "up is less in SVG"
    assert "polyline" not in sketches.f0(silence, silence, RATE)
    drawn = sketches.bars({"angry": 0.1, "sad": 0.9}, {"angry": 0.5, "sad": 0.5}, "angry")
    assert re.findall(r'<rect[^>]* width="([\d.]+)"', drawn) == ["150.0", "150.0"]
    assert 'font-weight="bold">angry' in drawn


def test_a_clicked_point_is_played_and_named(tmp_path):
    rows = []
    for name, f0_hz in (("one", 120), ("two", 240)):
        sf.write(tmp_path / f"{name}.wav", voice(f0_hz), RATE)
        rows.append((name, "sad", "a<b", str(tmp_path / f"{name}.wav")))
    manifest = pd.DataFrame(rows, columns=["clip", "emotion", "speaker", "path"], index=[7, 3])
    scatter = AudibleScatter([[0.5, -0.25], [2.0, 0.0]], manifest)
    assert scatter.player.value == b""
    scatter.scatter.chosen = 1
    assert np.allclose(played(scatter.player), voice(240), atol=1e-3)
    assert "two: sad, speaker a&lt;b" in scatter.words.value and "valence +2.00" in scatter.words.value
    (tmp_path / "one.wav").write_bytes(b"")
    scatter.scatter.chosen = 0
    assert "one.wav" in scatter.words.value
    refused(r"shape \(1, 2\) for 2 clips", AudibleScatter, [[0, 0]], manifest)
    silent = AudibleScatter([[0.5, -0.25], [0.0, 0.0]], manifest.assign(path=""))
    silent.scatter.chosen = 1
    assert silent.player not in silent.children and "two: sad" in silent.words.value
