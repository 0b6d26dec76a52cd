"""Extraction: each clip encoded once, whatever is killed, damaged, changed or unreadable on the way."""

import importlib.util
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import refused, sha256, speech, write_corpus

from emolib import audio, corpora, encoders, features
from emolib.features import extract
from emolib.store import FeatureStore


@dataclass
class Fake:
    """An encoder whose frames are simple sums of the wave; it counts, it can be slow, and it can refuse."""

    name: str = "fake"
    sample_rate: int = 16_000
    layers: tuple[int, ...] = (0, 1)
    width: int = 4
    hop_s: float = 0.02
    fingerprint: str = "fake-1"
    longest_s: float = 9.0
    lengths: list[int] = field(default_factory=list)

    def encode(self, waves, sample_rate):
        if any(len(wave) > self.longest_s * sample_rate for wave in waves):
            raise audio.AudioError("longer than this encoder likes")
        self.lengths += [len(wave) for wave in waves]
        return [self._frames(wave) for wave in waves]

    def _frames(self, wave):
        frames = wave[: len(wave) // 320 * 320].reshape(-1, 320)
        powers = np.stack([np.abs(frames).mean(1) ** (k + 1) for k in range(self.width)], axis=1)
        return np.stack([powers * (layer + 1) for layer in self.layers]).astype(np.float32)


def files(store: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(store.iterdir())}


def test_a_store_holds_what_encoding_by_hand_gives(model_folder, manifest, tmp_path):
    for name, n_layers in ((str(model_folder()), 5), ("logmel", 1), ("prosody", 1)):
        done = extract(manifest, name, frames=True, url=tmp_path / Path(name).name, device="cpu")
        encoder = encoders.load(name, device="cpu")
        rate = encoder.sample_rate
        by_hand = encoder.encode([audio.load(path, rate)[0] for path in manifest["path"]], rate)
        assert done.store.config.layers == tuple(range(n_layers))
        for layer in range(n_layers):
            pooled = done.store.pooled(layer, "mean+std", clips=manifest["clip"].tolist())
            for clip, row, states in zip(manifest["clip"], pooled, by_hand, strict=True):
                expected = np.concatenate([states[layer].mean(0), states[layer].std(0)])
                assert np.allclose(row, expected, atol=1e-5)
                assert np.allclose(done.store.frames(clip, layer), states[layer], rtol=1e-3, atol=1e-3)
        assert (done.n_new, done.n_cached, done.skipped) == (10, 0, [])
        assert done.speech_s == pytest.approx(manifest["duration_s"].sum())


def test_nothing_is_loaded_where_nothing_is_missing(model_folder, manifest, tmp_path, monkeypatch):
    name, url = str(model_folder()), tmp_path / "store"
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    first = extract(manifest, name, url=url, device="cpu").store
    monkeypatch.setattr("emolib.encoders.load", lambda *_, **__: pytest.fail("loaded a network"))
    again = extract(manifest, name, layers=[2], url=url, device="cpu")
    assert again.n_new == 0 and np.array_equal(again.store.pooled(2), first.pooled(2))


def test_only_new_and_changed_clips_are_encoded(manifest, tmp_path):
    encoder = Fake()
    extract(manifest.iloc[:6], encoder, url=tmp_path / "store")
    path = audio.write(manifest["path"].iloc[2], speech(0.4, seed=99), 16_000)
    manifest.loc[2, ["sha256", "duration_s"]] = [sha256(path), 0.4]
    extraction = extract(manifest, encoder, url=tmp_path / "store")
    assert (extraction.n_new, extraction.n_cached) == (5, 5)
    assert 6_400 in encoder.lengths[6:] and len(encoder.lengths) == 11
    before = files(tmp_path / "store")
    again = extract(manifest, encoder, url=tmp_path / "store")
    assert len(encoder.lengths) == 11 and (again.n_new, again.n_cached, again.speech_s) == (0, 10, 0.0)
    assert files(tmp_path / "store") == before
    fresh = extract(manifest, Fake(), url=tmp_path / "fresh").store
    assert np.array_equal(extraction.store.pooled(1), fresh.pooled(1))


def test_a_store_grows_by_the_layers_and_frames_that_are_asked_for(model_folder, manifest, tmp_path):
    name, url = str(model_folder()), tmp_path / "store"
    before: dict[str, str] = {}
    asked = [([1], False, 10, (1,)), ([3], True, 10, (1, 3)), ([1, 3], False, 0, (1, 3)),
             ([1], True, 10, (1, 3)), ([3, 1], True, 0, (1, 3))]  # fmt: skip
    for layers, frames, n_new, held in asked:
        done = extract(manifest, name, layers=layers, frames=frames, url=url, device="cpu")
        assert (done.n_new, done.store.config.layers) == (n_new, tuple(layers))
        (url / "index.csv").unlink()  # the shards know
        assert FeatureStore(url).config.layers == held and len(FeatureStore(url)) == 10
        if not before:
            refused("pooled features only", FeatureStore(url).frames, "clip-003", 1)
        shards = {name: digest for name, digest in files(url).items() if name.startswith("shard")}
        assert before.items() <= shards.items(), "what is finished stays"
        before = shards
    whole = extract(manifest, name, frames=True, url=tmp_path / "whole", device="cpu").store
    assert np.allclose(done.store.frames("clip-003", 1), whole.frames("clip-003", 1), atol=1e-3)
    for layer in (1, 3):
        assert np.allclose(FeatureStore(url).pooled(layer), whole.pooled(layer), atol=1e-6)


def test_a_manifest_is_encoded_by_parts_and_read_by_parts(manifest, tmp_path):
    whole = extract(manifest, Fake(), url=tmp_path / "whole").store
    listed = manifest.assign(rating=range(10), path=manifest["path"].map(str))
    corpora.save(listed, tmp_path / "clips.csv")
    names = ["clips.csv"]
    if importlib.util.find_spec("pyarrow"):  # of an extra
        listed.to_parquet(tmp_path / "clips.parquet")
        names.append("clips.parquet")
    listed["rating"] = listed["rating"].map(str)  # a column of one's own stays text
    for name in names:
        encoder, url = Fake(), tmp_path / f"{name}-parts"
        for n_encoded in (10, 0):
            found = list(features.extract_parts(tmp_path / name, encoder, url=url, clips=4))
            assert sum(done.n_new for _, done in found) == n_encoded and len(encoder.lengths) == 10
        assert [len(clips) for clips, _ in found] == [4, 4, 2]
        read = pd.concat([clips for clips, _ in found], ignore_index=True)
        pd.testing.assert_frame_equal(read, listed, check_dtype=False)
        rows = [done.store.pooled(1, "mean+std", clips["clip"].tolist()) for clips, done in found]
        assert np.array_equal(np.concatenate(rows), whole.pooled(1, "mean+std", manifest["clip"].tolist()))
        other = features.extract_parts(tmp_path / name, encoder, url=url, clips=5)
        refused('another size .*"clips": 4.*--parts', next, other)
    (tmp_path / "other.csv").write_text("path,emotion\na.wav,happy\n")
    (tmp_path / "empty.csv").write_text((tmp_path / "clips.csv").read_text().partition("\n")[0])
    for name, said in (("other", "not a manifest, .*sha256"), ("empty", "empty manifest")):
        url = tmp_path / f"{name}-parts"
        refused(said, next, features.extract_parts(tmp_path / f"{name}.csv", Fake(), url=url, clips=4))
    with pytest.raises(FileNotFoundError, match="no such table"):
        next(corpora.read_parts(tmp_path / "none.csv", 4))


def test_only_what_is_missing_is_written(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 4)
    extract(manifest.iloc[:6], Fake(layers=(1,)), url=tmp_path / "store")
    done = extract(manifest, Fake(), url=tmp_path / "store")
    assert (done.n_new, done.n_cached) == (10, 0)
    rows = done.store.index.groupby("shard").agg({"layers": "first", "clip": "count"})
    assert rows.to_numpy().tolist() == [["1", 4], ["1", 2], ["0", 4], ["0 1", 2], ["0", 2], ["0 1", 2]]
    fresh = extract(manifest, Fake(), url=tmp_path / "fresh").store
    for layer in (0, 1):
        assert np.array_equal(done.store.pooled(layer), fresh.pooled(layer))


def test_unreadable_clips_are_skipped_with_their_reason(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 4)
    Path(manifest["path"][1]).unlink()
    Path(manifest["path"][4]).write_text("this is no sound")
    audio.write(manifest["path"][9], np.zeros(8_000, np.float32), 16_000)
    audio.write(manifest["path"][6], np.full(100, 0.1, np.float32), 16_000)
    extraction = extract(manifest, Fake(), url=tmp_path / "store")
    reasons = {entry["clip"]: entry["reason"] for entry in extraction.skipped}
    assert list(reasons) == ["clip-001", "clip-004", "clip-006", "clip-009"]
    expected = ["can't be opened", "not readable as sound", "too short", "silent"]
    for reason, words in zip(reasons.values(), expected, strict=True):
        assert words in reason and len(reason.splitlines()) == 1
    assert (extraction.n_new, len(extraction.store)) == (6, 6)
    intact = manifest[~manifest["clip"].isin(reasons)]
    fresh = extract(intact, Fake(), url=tmp_path / "fresh").store
    assert np.array_equal(extraction.store.pooled(1), fresh.pooled(1))


def test_what_the_encoder_refuses_is_skipped_alone(manifest, tmp_path):
    path = audio.write(manifest["path"][3], speech(2.0), 16_000)
    manifest.loc[3, ["sha256", "duration_s"]] = [sha256(path), 2.0]
    extraction = extract(manifest, Fake(longest_s=1.0), url=tmp_path / "store")
    assert extraction.skipped == [{"clip": "clip-003", "reason": "longer than this encoder likes"}]
    assert len(extraction.store) == 9
    for unfit, why in (
        (manifest.iloc[:0], "empty manifest"),
        (manifest.iloc[[0, 0]], "'clip-000' stands twice"),
    ):
        refused(why, extract, unfit, Fake(), url=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@dataclass
class Watching(Fake):
    """An encoder that notes how many of the arrays that it gave out are still held, at each block."""

    given: list[weakref.ref] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    def encode(self, waves, sample_rate):
        self.held.append(sum(array() is not None for array in self.given))
        states = super().encode(waves, sample_rate)
        self.given += map(weakref.ref, [*waves, *states])
        return states


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path, monkeypatch):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 4)
    few = write_corpus(tmp_path / "corpus", 8, duration_s=0.1)
    many = few.iloc[np.arange(80) % 8].assign(clip=[f"clip-{i:05d}" for i in range(80)])
    encoder = Watching()
    extract(many, encoder, frames=True, url=tmp_path / "store")
    assert len(encoder.given) == 2 * 80 and not any(array() is not None for array in encoder.given)
    assert max(encoder.held) <= 2 * 4 + 4  # waves and states of the block before, and the waves of this one


def test_export_writes_the_classic_tree(manifest, tmp_path):
    store = extract(manifest, Fake(), frames=True, url=tmp_path / "store").store
    assert features.export_npy(store, manifest, tmp_path / "tree", layer=1) == 10
    for clip, speaker in zip(manifest["clip"], manifest["speaker"], strict=True):
        frames = np.load(tmp_path / "tree" / f"Actor_{speaker}" / f"{clip}.npy", allow_pickle=False)
        assert frames.dtype == np.float32 and np.array_equal(frames, store.frames(clip, 1))
    assert len(list((tmp_path / "tree").rglob("*"))) == 10 + 3
    refused("layer 9", features.export_npy, store, manifest, tmp_path / "tree", layer=9)


def test_the_default_folder_is_by_corpus_and_encoder(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    extract(manifest, Fake(name="a/b"))
    assert (tmp_path / "data" / "features" / "tiny" / "a--b" / "index.csv").exists()
