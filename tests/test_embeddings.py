"""Shipped embeddings: 8 bits per value cost no answer, and stand in where a corpus's audio is missing."""

import json
import os
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import ROOT, tracked
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from samples import needs_audio, refused, sha256, write_corpus

from emolib import audio, corpora, embeddings, features, paths, probing, splits
from emolib.store import FeatureStore, StoreConfig

SHIPPED = ROOT / "data" / "embeddings"
AUDIO = os.environ.get("EMOLIB_CORPORA", "")
#: A value and its interval, as pages print them.
INTERVAL = r"(\d\.\d{3}) \[(-?\d\.\d{3}), (\d\.\d{3})\]"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own, without any corpus."""
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOLIB_CORPORA", raising=False)
    return tmp_path / "home"


@pytest.fixture
def made(tmp_path, home) -> tuple[pd.DataFrame, FeatureStore]:
    """A tiny corpus called nemo with embeddings of its log-mel frames; its manifest and its store."""
    clips = write_corpus(tmp_path / "sound").assign(corpus="nemo")
    store = features.extract(clips, "logmel", url=tmp_path / "store").store
    embeddings.make(clips, store)
    return clips, store


@pytest.fixture
def silent(made) -> pd.DataFrame:
    """The tiny corpus as whoever lacks its audio loads it."""
    with pytest.warns(UserWarning, match="nemo: no folder .* can't be played .* `emolib fetch nemo`"):
        return corpora.load("nemo")


# ------------------------------------------------------------------------------------- 8 bits


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-6, 1.0, 1e6]), n=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_no_value_moves_by_more_than_half_a_step(seed, scale, n):
    rng = np.random.default_rng(seed)
    X = (scale * (rng.standard_normal((n, 5)) + 10 * rng.standard_normal(5))).astype(np.float32)
    X[:, 4] = scale  # a constant
    codes, offset, step = embeddings.quantize(X)
    assert codes.dtype == np.uint8 and step[4] == 0 and (step >= 0).all()
    back = embeddings.dequantize(codes, offset, step)
    rounding = 4 * np.spacing(np.abs(X).max(axis=0))
    assert (np.abs(back - X).max(axis=0) <= step / 2 + rounding).all()
    assert (back[:, 4] == X[:, 4]).all()
    assert (np.abs(embeddings.rounded(back) - back) <= rounding).all(), "what is shipped is rounded already"


# ------------------------------------------------------------------------------------- without audio


def test_embeddings_stand_in_for_an_extraction(made, silent):
    clips, fresh = made
    assert list(silent["clip"]) == sorted(clips["clip"]) and set(silent["path"]) == {""}
    columns = ["speaker", "emotion", "sha256", "duration_s"]
    assert silent[columns].equals(clips.sort_values("clip", ignore_index=True)[columns])
    done = features.extract(silent, "logmel")
    store = done.store
    assert (done.n_new, done.n_cached, done.skipped) == (0, 10, []) and isinstance(store, FeatureStore)
    assert store.config == fresh.config and store.clips == fresh.clips and len(store) == 10
    assert not store.missing(silent).any() and store.missing(silent.assign(sha256="0")).all()
    order = silent["clip"].tolist()[4::-1]
    for pooling in ("mean", "mean+std"):
        apart = np.abs(store.pooled(0, pooling, order) - fresh.pooled(0, pooling, order))
        assert (apart <= 0.501 * store.steps(0)[: apart.shape[1]]).all() and apart.max() > 0
    few = features.extract(silent.iloc[2:5], "logmel", layers=[0]).store
    assert np.array_equal(few.pooled(0, "mean", order[-3:-2]), store.pooled(0, "mean", order[-3:-2]))
    assert not (paths.data() / "features").exists()


def test_what_embeddings_lack_is_refused_in_one_sentence(silent, tmp_path):
    there = r"^.*pooled features of logmel \(layers 0\); .*`emolib fetch nemo`, or point to your copy.*$"
    store = features.extract(silent, "logmel").store
    refused(there, features.extract, silent, "logmel", frames=True)
    refused(there, features.extract, silent, "logmel", layers=[3])
    refused(there, features.extract, silent, "prosody")
    refused(there, embeddings.open, "nemo", "prosody")
    refused(there, store.frames, silent["clip"][0], 0)
    refused(there, store.pooled, 1)
    assert features.unavailable(silent, "logmel") == ""
    for why in (features.unavailable(silent, "prosody"), features.unavailable(silent, "logmel", [3])):
        assert why.startswith("nemo: no features of") and "`emolib fetch nemo`" in why
    refused("another store or precision", features.extract, silent, "logmel", url=tmp_path / "other")
    more = pd.concat([silent, silent.iloc[:1].assign(clip="stranger")])
    refused("'stranger' has no audio and is not in", features.extract, more, "logmel")
    both = pd.concat([silent, silent.assign(corpus="ravdess", clip=silent["clip"] + "r")])
    refused("clips of nemo, ravdess; expected those of one corpus", features.extract, both, "logmel")
    with pytest.raises(audio.AudioError, match="clip-000: its audio is not on this machine"):
        audio.load_clip(silent.iloc[0])
    refused("only read", store.append, ["a"], ["b"], [np.zeros((1, 3, 80), np.float32)])
    for function in (embeddings.make, embeddings.check):
        refused("audio; run `emolib fetch nemo`", function, silent, store)


def test_audio_that_is_there_is_used(silent, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    (tmp_path / "nemo").mkdir()
    with pytest.raises((ValueError, FileNotFoundError)):  # an empty folder is no reason to fall back
        corpora.load("nemo")
    with pytest.raises(FileNotFoundError, match="no folder"):
        corpora.load("nemo", tmp_path / "elsewhere")


def test_files_that_do_not_belong_together_are_refused(made, silent):
    clips, store = made
    refused("holds embeddings of other clips", embeddings.make, clips.iloc[1:], store)
    more = pd.concat([clips, clips.iloc[:1].assign(clip="z")])
    refused("lacks 1 of the clips", embeddings.make, more, store)
    [place] = paths.embeddings("nemo")
    table = (place / "manifest.csv").read_text()
    (place / "manifest.csv").write_text(table.replace("clip-000", "clip-999"))
    refused("made of other clips", embeddings.open, "nemo", "logmel")
    (place / "manifest.csv").write_text(table)
    weights = place / "logmel" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\1")
    refused("is damaged", embeddings.open, "nemo", "logmel")


def test_a_new_extraction_is_compared_with_what_was_made(made, home, tmp_path):
    from test_cli import answer, call, write_corpus

    clips, store = made
    refused("10 clips are not those that", embeddings.check, clips.assign(sha256="0"), store)
    asked = ("--manifest", write_corpus(tmp_path / "mine"), "--encoder", "logmel")
    found = answer("embeddings", "make", *asked)
    assert (
        Path(found["folder"]) == home / "data" / "embeddings" / "folder" / "logmel" and found["clips"] == 24
    )
    *lines, last = call("embeddings", "check", *asked, "--json").stdout.splitlines()
    found = json.loads(last)
    assert set(found) == {"steps", "ua_moved", "clips"} and found["clips"] == 24
    assert 0.4 < found["steps"] <= 0.501 and 0 <= found["ua_moved"] < 0.1
    assert lines[-2].split() == ["layer", "steps", "ua_new", "ua_shipped"]


def test_a_clip_of_one_frame_has_no_hop_and_json_holds_null_for_it(home, manifest, tmp_path):
    config = StoreConfig("egemaps", "whole clips", (0,), 80, float("inf"), frames=False)
    store = FeatureStore.open(tmp_path / "store", config)
    states = [np.full((1, 1, 80), k, np.float32) for k in range(len(manifest))]
    store.append(manifest["clip"].tolist(), manifest["sha256"].tolist(), states)
    places = [tmp_path / "store" / "config.json", embeddings.make(manifest, store) / "config.json"]
    for at in places:
        now = at.read_text()
        assert json.loads(now)["hop_s"] is None
        for text in (now, now.replace("null", "Infinity")):  # as earlier versions wrote it
            at.write_text(text)
            opened = FeatureStore.open(tmp_path / "store", config), embeddings.open("tiny", "egemaps")
            assert [one.config.hop_s for one in opened] == [float("inf")] * 2


def test_a_home_s_own_embeddings_hide_no_shipped_encoder(made, silent, tmp_path, monkeypatch):
    """Each encoder is looked up in the home, and then among those that are shipped."""
    clips, _ = made
    [own] = paths.embeddings("nemo")
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path / "checkout")
    shipped = tmp_path / "checkout" / "data" / "embeddings" / "nemo"
    store = features.extract(clips, "prosody", url=tmp_path / "prosody").store
    embeddings.make(clips, store, folder=shipped)
    shutil.copytree(own / "logmel", shipped / "logmel")
    assert paths.embeddings("nemo") == [own, shipped]
    assert list(embeddings.held("nemo")) == ["logmel", "prosody"]
    found = {name: Path(embeddings.open("nemo", name).url).parent for name in ("logmel", "prosody")}
    assert found == {"logmel": own, "prosody": shipped}
    assert features.extract(silent, "prosody").n_cached == 10
    shutil.rmtree(shipped)
    embeddings.make(clips.iloc[1:], store, folder=shipped)  # of other clips than the home's
    refused("'clip-000' has no audio and is not in", features.extract, silent, "prosody")


def test_ones_own_corpus_gets_embeddings_too(home, manifest, tmp_path):
    folder = embeddings.make(manifest, features.extract(manifest, "logmel", url=tmp_path / "store").store)
    assert folder == home / "data" / "embeddings" / "tiny" / "logmel"
    assert "--manifest TABLE --encoder logmel --layer 0" in (folder.parent / "README.md").read_text()
    clips = corpora.read(folder.parent / "manifest.csv", paths=False)
    assert features.extract(clips, "logmel").store.pooled(0).shape == (10, 80)


# ------------------------------------------------------------------------------------- what is shipped


def test_what_is_shipped_is_small_and_as_its_cards_say():
    files = [path for path in tracked() if path.is_relative_to(SHIPPED)]
    tables = sorted(SHIPPED.glob("*/manifest.csv"))
    assert {path.parent.name for path in tables} == {"ravdess", "emodb", "crema-d"}
    assert 0 < sum(path.stat().st_size for path in files) <= 25_000_000
    for table in tables:
        name, card = table.parent.name, (table.parent / "README.md").read_text(encoding="utf-8")
        assert corpora.info(name).licence in card and corpora.info(name).citation in card
        listed = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", card, flags=re.MULTILINE))
        found = [path for path in files if path.is_relative_to(table.parent) and path.name != "README.md"]
        assert listed == {path.relative_to(table.parent).as_posix(): sha256(path) for path in found}
        assert corpora.info(name).clips - len(corpora.read(table, paths=False)) in range(5)  # duplicates
        for config in table.parent.glob("*/config.json"):
            json.loads(config.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON
        text = table.read_text(encoding="utf-8")  # which names no file
        assert "path" not in text.splitlines()[0].split(",")
        assert not re.search(r"\.(wav|flac|mp3)|/\w+/", text)


def test_ravdess_is_probed_without_its_audio(home):
    from test_cli import answer, call

    with pytest.warns(UserWarning, match="ravdess: no folder"):
        clips = corpora.load("ravdess")
    X = embeddings.open("ravdess", "prosody").pooled(0, "mean+std", clips["clip"])
    expected = probing.cross_validate(X, clips, splits.folds(clips, "emobox"))
    found = answer("probe", "ravdess", "--encoder", "prosody", "--folds", "emobox")
    assert found["ua"] == expected.ua.value > 0.3 and found["n"] == 1440
    note, refusal = call("extract", "ravdess", "--encoder", "prosody", code=2).stderr.splitlines()
    assert "can't be played" in note and "no frames of 'prosody' without the audio" in refusal


@needs_audio("ravdess")
def test_ravdess_computed_anew_agrees_with_what_is_shipped(home, tmp_path, monkeypatch):
    """By the command, on every 36th clip; what is over half a step is the rounding of another processor."""
    from test_cli import call

    monkeypatch.setenv("EMOLIB_CORPORA", str(tmp_path))
    for path in sorted(Path(AUDIO, "ravdess").rglob("03-01-*.*"))[::36]:
        link = tmp_path / "ravdess" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    for encoder, layers, most in (
        ("logmel", "0", 0.51), ("whisper-tiny.en", "2", 0.51), ("wav2vec2-nano", "all", 1.1),
        ("prosody", "all", 1.1),
    ):  # fmt: skip
        asked = ("embeddings", "check", "ravdess", "--encoder", encoder, "--layer", layers)
        *table, last = call(*asked, "--json").stdout.splitlines()
        found = json.loads(last)
        assert found["clips"] == 40 and found["steps"] < most and found["ua_moved"] < 0.1, encoder
        n_layers = len(embeddings.held("ravdess")[encoder]) if layers == "all" else 1
        assert table[0].split() == ["layer", "steps", "ua_new", "ua_shipped"] and len(table) == 1 + n_layers


def test_recipes_make_the_shipped_models_and_print_what_their_cards_say(home, tmp_path, capsys):
    for name, n_models, n_figures in (("axes-ravdess", 5, 10), ("av-ravdess-crema-d", 1, 4)):
        folder = ROOT / "models" / name
        recipe = runpy.run_path(str(folder / "recipe.py"))["main"]
        recipe.__globals__["HERE"] = tmp_path / name
        recipe()
        made = list((tmp_path / name).rglob("*.safetensors"))
        assert len(made) == n_models
        for path in made:
            known = load_file(folder / path.relative_to(tmp_path / name))
            for key, values in load_file(path).items():
                assert np.allclose(values, known[key], rtol=1e-4, atol=1e-4), (path, key)
        texts = capsys.readouterr().out, (folder / "README.md").read_text(encoding="utf-8")
        printed, written = (np.array(re.findall(INTERVAL, text), float) for text in texts)
        assert len(printed) == n_figures
        for figure in printed:
            assert np.abs(written - figure).max(axis=1).min() < 0.005, (name, figure)
