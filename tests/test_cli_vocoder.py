"""emolib train-vocoder: one JSON object, resumption, refusals in one sentence."""

import dataclasses
import json
from pathlib import Path

import pytest
from samples import speech
from typer.testing import CliRunner

from emolib import audio, pretrain, vocoder
from emolib.cli import app

KEYS = {
    "folder", "steps", "loss", "log_mel_l1", "pesq", "pesq_refined", "clips", "skipped", "speech_s",
    "seconds",
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four clips of two speakers, one broken file, and a recipe of a size for tests."""
    tiny = dataclasses.replace(
        pretrain.VocoderSettings(), channels=32, rates=(16, 16), block_kernels=(3,),
        dilations=(1,), batch_size=2, segment_frames=16, stft_sizes=(512,), validation_clips=1, refine=1,
    )  # fmt: skip
    monkeypatch.setattr(pretrain, "VocoderSettings", lambda: tiny)
    rows = ["path,speaker,emotion"]
    for n in range(4):
        audio.write(tmp_path / f"{n}.wav", speech(0.9, seed=n), 16_000)
        rows.append(f"{n}.wav,s{n // 2},sad")
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "my.csv"


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["train-vocoder", *(str(word) for word in words)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_a_vocoder_is_trained_and_taken_up(table: Path, tmp_path: Path) -> None:
    words = ["--manifest", table, "--out", tmp_path / "own", "--hold-out", "folder-s1", "--device", "cpu"]
    first = call(*words, "--steps", 2, "--json").stdout.splitlines()
    answer = json.loads(first[-1])
    assert set(answer) == KEYS
    assert (answer["steps"], answer["clips"], answer["skipped"]) == (2, 4, 0)
    assert "2 steps on 4 clips" in first[-2]
    assert vocoder.load(answer["folder"]).sample_rate == 22_050
    again = json.loads(call(*words, "--steps", 3, "--json").stdout.splitlines()[-1])
    assert again["steps"] == 3


def test_wrong_words_end_in_one_sentence(table: Path, tmp_path: Path) -> None:
    words = ["--manifest", table, "--out", tmp_path / "own", "--steps", 1]
    lines = call(*words, "--hold-out", "s1", code=2).stderr.splitlines()
    assert len(lines) == 1
    assert "held-out speaker 's1' is not in the manifest" in lines[0]
    assert "unknown device" in call(*words, "--device", "abacus", code=2).stderr


def test_help_names_every_option() -> None:
    shown = call("--help").stdout
    for option in (
        "--manifest",
        "--out",
        "--hold-out",
        "--steps",
        "--device",
        "--seed",
        "--no-resume",
        "--json",
    ):
        assert option in shown
