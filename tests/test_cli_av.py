"""The commands av and finetune, on a small corpus with ratings."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emolib import audio
from emolib.cli import app

RATE = 16_000
PLACES = {"sad": (-0.6, -0.3), "angry": (-0.4, 0.7)}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three speakers, two emotions, four clips of each; angry ones are loud and high."""
    folder, rows = tmp_path_factory.mktemp("rated"), []
    for s in range(3):
        for emotion, (valence, arousal) in PLACES.items():
            for i in range(4):
                rng = np.random.default_rng(100 * s + 10 * i + (emotion == "angry"))
                time_s = np.arange(RATE // 2) / RATE
                buzz = np.sign(np.sin(2 * np.pi * (120 + 130 * (emotion == "angry") + 4 * i) * time_s))
                wave = (0.2 * buzz + 0.02 * rng.standard_normal(len(time_s))).astype(np.float32)
                name = f"s{s}-{emotion}-{i}.wav"
                audio.write(folder / "audio" / name, wave, RATE)
                noise = rng.uniform(-0.1, 0.1, 2)
                rows.append(
                    {
                        "path": f"audio/{name}", "speaker": f"s{s}", "emotion": emotion,
                        "valence": valence + noise[0], "arousal": arousal + noise[1],
                    }
                )  # fmt: skip
    path = folder / "rated.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    monkeypatch.chdir(tmp_path)


def answer(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words] + ["--json"])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return json.loads(result.stdout.splitlines()[-1]) if code == 0 else result.stderr


def test_av_places_and_judges(table, tmp_path):
    found = answer("av", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "plane.csv")
    assert found["n"] == found["clips"] == 24
    assert found["ccc_arousal"] > 0.9 and -1 <= found["ccc_valence"] <= 1
    plane = pd.read_csv(tmp_path / "plane.csv")
    assert list(plane.columns) == ["clip", "speaker", "emotion", "valence", "arousal"] and len(plane) == 24


def test_av_without_ratings_has_nothing_to_judge(table, tmp_path):
    bare = tmp_path / "bare.csv"
    frame = pd.read_csv(table).drop(columns=["valence", "arousal"])
    frame.assign(path=[str(table.parent / path) for path in frame["path"]]).to_csv(bare, index=False)
    found = answer("av", "--manifest", bare, "--encoder", "logmel", "--no-normalise", "--folds", "speaker")
    assert found["ccc_arousal"] is None and found["n"] == 0 and found["clips"] == 24


def test_av_says_what_is_wrong(table):
    said = answer("av", "--manifest", table, "--encoder", "logmel", "--anchors", "nowhere", code=2)
    assert "unknown anchors 'nowhere'" in said and len(said.splitlines()) == 1


def test_finetune_trains_resumes_and_infers(table, tmp_path):
    words = ("finetune", "train", "--manifest", table, "--encoder", "logmel", "--out", tmp_path / "tuned")
    first = answer(*words, "--epochs", 3)
    assert first["epochs"] == 3 and first["clips"] == 24 and 0 <= first["score"] <= 1
    assert answer(*words, "--epochs", 5)["epochs"] == 5
    found = answer("finetune", "infer", tmp_path / "tuned", "--files", table.parent / "audio")
    assert found["clips"] == 24 and found["skipped"] == 0
    answers = pd.read_csv(found["answers"])
    assert set(answers["predicted"]) <= set(PLACES)
    np.testing.assert_allclose(answers[list(PLACES)].sum(axis=1), 1, atol=1e-5)


def test_finetune_says_what_is_wrong(table, tmp_path):
    assert "holds no fine-tuned encoder" in answer(
        "finetune", "infer", tmp_path, "--files", table.parent, code=2
    )
    said = answer("finetune", "train", "--manifest", table, "--encoder", "logmel", "--free", "2", code=2)
    assert "nothing that learns" in said


# ------------------------------------------------------------------------------------- licensed layouts


def write_noise(path, seed, loud):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, 4_000) * (1.0 if loud else 0.1)
    audio.write(path, noise.astype(np.float32), RATE)


def iemocap_tree(root):
    """Two speakers, two emotions, three turns of each, in the corpus's own layout, rated."""
    session, lines, number = root / "Session1", [], 0
    for speaker in "FM":
        for code, rating in (("ang", 4.0), ("sad", 2.0)):
            for _ in range(3):
                turn = f"Ses01F_impro01_{speaker}{number:03d}"
                path = session / "sentences" / "wav" / "Ses01F_impro01" / f"{turn}.wav"
                write_noise(path, number, code == "ang")
                number += 1
                start = f"[{number:.4f} - {number + 0.9:.4f}]"
                lines.append(f"{start}\t{turn}\t{code}\t[2.0000, {rating + 0.1 * (number % 3):.4f}, 3.0000]")
    (session / "dialog" / "EmoEvaluation").mkdir(parents=True)
    text = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "\n".join(lines) + "\n"
    (session / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_text(text)
    return root


def test_av_reads_iemocap_and_mead_in_their_own_layouts(tmp_path):
    found = answer(
        "av",
        "iemocap",
        "--root",
        iemocap_tree(tmp_path / "iemocap"),
        "--encoder",
        "logmel",
        "--anchors",
        "iemocap",
    )
    assert found["n"] == found["clips"] == 12 and found["ccc_arousal"] > 0.5
    for number in range(12):
        speaker, emotion = ("M003", "W009")[number % 2], ("angry", "sad")[number // 6]
        path = tmp_path / "mead" / speaker / "audio" / emotion / "level_1" / f"{number + 1:03d}.wav"
        write_noise(path, number, emotion == "angry")
    found = answer("av", "mead", "--root", tmp_path / "mead", "--encoder", "logmel")
    assert found["n"] == 0 and found["clips"] == 12
