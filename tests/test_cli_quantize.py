"""`emolib quantize`: a file, a stream and a corpus, with bits that are the files' own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from typer.testing import CliRunner

from emolib import corpora, features
from emolib.cli import app
from emolib.codebook import ResidualQuantizer, measures

RATE = 16_000
SMALL = ("--encoder", "logmel", "--layer", 0, "--codes", 16, "--stages", 3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, so that no test reads or writes the checkout's data."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def table(tmp_path) -> Path:
    """Buzzes of three speakers, high for angry and low for sad."""
    rows, rng = ["path,speaker,emotion"], np.random.default_rng(0)
    for s in range(3):
        for e, emotion in enumerate(("sad", "angry")):
            for i in range(4):
                time_s = np.arange(RATE // 2) / RATE
                wave = 0.2 * np.sign(np.sin(2 * np.pi * (110 + 130 * e + 5 * i + 3 * s) * time_s))
                sf.write(tmp_path / f"{s}{e}{i}.wav", wave + 0.01 * rng.standard_normal(len(wave)), RATE)
                rows.append(f"{s}{e}{i}.wav,s{s},{emotion}")
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "my.csv"


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["quantize", *map(str, words)])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def answer(*words: object) -> dict:
    return json.loads(call(*words, "--json").stdout.splitlines()[-1])


def test_a_corpus_trains_a_codebook_and_its_streams_are_the_bits(table, tmp_path):
    found = answer("--manifest", table, *SMALL, "--codebook", "book", "--out", "streams", "--lam", 0.003)
    streams = sorted((tmp_path / "streams").glob("*.emoq"))
    assert found["clips"] == len(streams) == 24
    assert found["bits"] == 8 * sum(path.stat().st_size for path in streams)
    assert found["seconds"] == pytest.approx(12.0)
    book = ResidualQuantizer.load(tmp_path / "book")
    assert len(book.decompress(streams[0].read_bytes())) == found["rows"] // 24


def test_drift_is_centred_and_of_speakers_that_the_codebook_was_not_trained_on(table, tmp_path):
    words = ("--manifest", table, *SMALL, "--pooled", "--codebook", "book")
    found = answer(*words, "--lam", 0.01)
    book = ResidualQuantizer.load(tmp_path / "book")
    clips = corpora.load("folder", table=table)
    X = features.extract(clips, "logmel", layers=[0]).store.pooled(0, clips=clips["clip"].tolist())
    held = ~clips["speaker"].isin(book.provenance_["speakers"]).to_numpy()
    assert 0 < held.sum() == found["held_out"] < len(clips) == found["clips"]
    X_hat = np.concatenate([book.decode(book.encode(row[None], 0.01)) for row in X[held]])
    centred = measures.similarity(X[held] - book.mean_, X_hat - book.mean_).mean()
    assert found["similarity"] == pytest.approx(centred, abs=1e-6)
    assert found["similarity"] < measures.similarity(X[held], X_hat).mean()
    lost = measures.distortion(X[held] - book.mean_, X_hat - book.mean_)
    assert found["distortion"] == pytest.approx(lost, abs=1e-6)
    # nothing of these rows is left at all: the cosine to the training mean is 0, and not near 1
    assert answer(*words, "--lam", 1)["similarity"] == pytest.approx(0, abs=1e-6)


def test_a_single_speaker_leaves_nobody_to_measure_drift_on(table, tmp_path):
    rows = pd.read_csv(table)
    rows[rows["speaker"] == "s0"].to_csv(tmp_path / "one.csv", index=False)
    words = ("--manifest", tmp_path / "one.csv", *SMALL, "--codebook", "book")
    assert "trained on every speaker of these clips" in call(*words).stdout
    found = answer(*words)
    assert found["similarity"] is None and found["bits"] > 0 and found["held_out"] == 0


def test_a_higher_lambda_makes_smaller_files(table):
    words = ("--manifest", table, *SMALL, "--codebook", "book")
    rich, poor = answer(*words, "--lam", 0), answer(*words, "--lam", 0.1)
    assert poor["bits"] < 0.7 * rich["bits"] and poor["distortion"] > rich["distortion"]


def test_a_file_becomes_a_stream_and_comes_back(table, tmp_path):
    found = answer(tmp_path / "000.wav", "--manifest", table, *SMALL, "--codebook", "book", "--out", "a.emoq")
    assert found["bits"] == 8 * (tmp_path / "a.emoq").stat().st_size and found["seconds"] == 0.5
    back = answer("a.emoq", "--codebook", "book", "--out", "a.npy")
    assert len(np.load(tmp_path / "a.npy")) == back["rows"] == found["rows"]
    text = call(tmp_path / "000.wav", *SMALL, "--codebook", "book").stdout
    assert "bits" in text and "drift" in text and (tmp_path / "000.emoq").is_file()


def test_pooled_clips_are_one_row_each(table):
    found = answer("--manifest", table, *SMALL, "--pooled", "--codebook", "book")
    assert found["rows"] == found["clips"] == 24


def test_what_is_wrong_is_one_sentence(table, tmp_path):
    words = ("--manifest", table, *SMALL, "--codebook", "book")
    assert "lam=-1" in call(*words, "--lam", -1, code=2).stderr
    call(tmp_path / "000.wav", *words, "--out", "a.emoq")
    data = (tmp_path / "a.emoq").read_bytes()
    (tmp_path / "cut.emoq").write_bytes(data[:-2])
    assert "damaged or cut short" in call("cut.emoq", "--codebook", "book", code=2).stderr
    call("--manifest", table, *SMALL, "--codebook", "other", "--seed", 1)
    assert "decode with the codebook" in call("a.emoq", "--codebook", "other", code=2).stderr
    sf.write(tmp_path / "nan.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    assert len(call("nan.wav", *SMALL, "--codebook", "book", code=2).stderr.splitlines()) == 1
