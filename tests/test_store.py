"""The feature store: what goes in comes out, damage is found, and nothing else in a folder is touched."""

import hashlib
import json
import os

import fsspec
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from samples import refused

from emolib.store import FeatureStore, StoreConfig

LAYERS, WIDTH = (0, 3, 2), 5
CONFIG = StoreConfig("fake", "fingerprint-1", LAYERS, WIDTH, 0.02, True)
SHARDS = [["b", "d", "NA"], ["a", "007"], ['c, "quoted"', "é"]]
CLIPS = sorted(clip for shard in SHARDS for clip in shard)
MANIFEST = pd.DataFrame({"clip": CLIPS, "sha256": [f"sha-{clip}" for clip in CLIPS], "duration_s": 1.0})


def asked(**changes: object) -> StoreConfig:
    return StoreConfig(**vars(CONFIG) | changes)


def states_of(clip: str, n_layers: int = len(LAYERS)) -> np.ndarray:
    rng = np.random.default_rng(int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16))
    return rng.standard_normal((n_layers, int(rng.integers(1, 30)), WIDTH)).astype(np.float32)


def fill(store: FeatureStore, shards: list[list[str]] = SHARDS) -> FeatureStore:
    with store.writing():
        for clips in shards:
            store.append(clips, [f"sha-{clip}" for clip in clips], [states_of(clip) for clip in clips])
    return store


def same(store: FeatureStore) -> None:
    assert store.clips == CLIPS and len(store) == len(CLIPS)
    expected = np.stack([states_of(clip)[1].mean(0) for clip in CLIPS])
    assert np.allclose(store.pooled(3), expected, atol=1e-6)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    return fill(FeatureStore.open(folder, CONFIG))


def test_what_goes_in_comes_out(tmp_path):
    for url in (str(tmp_path / "store"), f"memory://stores/{tmp_path.name}"):
        written = fill(FeatureStore.open(url, CONFIG))
        for store in (written, FeatureStore(url), FeatureStore.open(url, CONFIG)):
            same(store)
            assert store.config.identity() == CONFIG.identity() and store.config.frames
            assert sorted(store.config.layers) == sorted(LAYERS)
            for position, layer in enumerate(LAYERS):
                states = [states_of(clip)[position] for clip in CLIPS]
                mean, std = (np.stack([f(state, axis=0) for state in states]) for f in (np.mean, np.std))
                assert np.allclose(store.pooled(layer, "mean+std"), np.hstack([mean, std]), atol=1e-6)
                for clip, state in zip(CLIPS, states, strict=True):
                    frames = store.frames(clip, layer)
                    assert frames.dtype == np.float32 and np.array_equal(frames, state.astype(np.float16))
    fsspec.filesystem("memory").rm(f"/stores/{tmp_path.name}", recursive=True)


def test_rows_follow_the_clips_asked_for(store):
    everything = dict(zip(store.clips, store.pooled(2), strict=True))
    wanted = [CLIPS[4], CLIPS[0], CLIPS[4], CLIPS[2]]
    assert np.array_equal(store.pooled(2, clips=wanted), [everything[clip] for clip in wanted])
    assert store.pooled(2, clips=[]).shape == (0, WIDTH)
    assert repr(store) == f"FeatureStore(fake, {len(CLIPS)} clips, layers [0, 3, 2], frames)"


def test_values_keep_their_order_range_and_digits(tmp_path):
    """States may lie in memory in any order, pass half precision, or be many."""
    store = FeatureStore.open(tmp_path, CONFIG)
    long = np.full((3, 300_001, WIDTH), 0.1, np.float32)
    long[:, 0] = 3e4
    states = [np.asfortranarray(states_of("a")), 1e5 + states_of("big"), long]
    for clip, own in zip(("a", "big", "long"), states, strict=True):
        store.append([clip], ["x"], [own])
    assert np.array_equal(store.frames("a", 3), states_of("a")[1].astype(np.float16))
    assert np.allclose(store.frames("big", 3), 1e5 + states_of("big")[1])
    assert np.allclose(store.pooled(0, clips=["long"]), long[0].astype(np.float64).mean(0), rtol=1e-7)


def test_two_contents_under_one_name_are_kept_apart(store):
    """As clips of two tables may be that share a folder; the later shard counts for a reader."""
    table = pd.DataFrame({"clip": ["a", "a", "zz"], "sha256": ["sha-a", "sha-other", "sha-zz"]})
    assert store.missing(table).tolist() == [False, True, True]
    with store.writing():
        store.append(["a"], ["sha-other"], [states_of("another")])
    for opened in (store, FeatureStore(store.url)):
        assert opened.clips == CLIPS
        assert np.allclose(opened.pooled(0, clips=["a"])[0], states_of("another")[0].mean(0), atol=1e-6)
    for digest, content in (("sha-a", "a"), ("sha-other", "another")):
        manifest = pd.DataFrame({"clip": ["a", "b"], "sha256": [digest, "sha-b"]})
        view = FeatureStore.open(store.url, CONFIG).narrow(manifest)
        assert not view.missing(manifest).any() and view.clips == ["a", "b"]
        assert np.allclose(view.pooled(0)[0], states_of(content)[0].mean(0), atol=1e-6)
        assert np.array_equal(view.frames("a", 3), states_of(content)[1].astype(np.float16))


# ------------------------------------------------------------------------------------- damage


def test_the_index_is_never_needed(store, folder):
    index = folder / "index.csv"
    whole = index.read_bytes()
    for content in (None, b"", b"garbage\n\0", b"clip,sha256\na,b\n", whole[: len(whole) // 2]):
        index.unlink() if content is None else index.write_bytes(content)
        if content is None or len(content) < 50:  # cut at a row's end, a table is one that looks whole
            same(FeatureStore(folder))
        with FeatureStore(folder).writing():
            pass
        same(FeatureStore(folder))
        assert index.read_bytes() == whole


def test_a_damaged_shard_is_found_dropped_and_redone(store, folder):
    shard = folder / "shard-000001.safetensors"
    data = shard.read_bytes()
    size = int.from_bytes(data[:8], "little")
    for harm in (
        data[:-7], data[:40], b"", data + b"x", os.urandom(len(data)), bytes(len(data)),
        b"\xff" * 8 + data[8:], data[:8] + b"[" + data[9:], (4).to_bytes(8, "little") + b"null" + data[8:],
        data[: 8 + size].replace(b"__metadata__", b"__nodatata__") + data[8 + size :],
        data.replace(b"crc32", b"crc30"),
    ):  # fmt: skip
        shard.write_bytes(harm)
        refused(r"shard-000001\.safetensors is damaged", FeatureStore(folder).pooled, 0)
        (folder / "index.csv").unlink()
        reader = FeatureStore(folder)
        assert reader.damaged == ["shard-000001.safetensors"] and reader.pooled(3).shape == (5, WIDTH)
        writer = FeatureStore.open(folder, CONFIG)
        with writer.writing():
            assert set(writer.clips) == set(CLIPS) - set(SHARDS[1]) and not shard.exists()
            writer.append(SHARDS[1], ["sha-a", "sha-007"], [states_of(c) for c in SHARDS[1]], number=1)
        same(FeatureStore(folder))
        assert shard.read_bytes() == data


def test_only_the_stores_own_leftovers_are_cleared(store, folder):
    names = "shard-000000.safetensors.bak", "shard-old.safetensors", "notes.tmp"
    for name in (*names, "shard-000003.safetensors.4711.tmp"):
        (folder / name).write_bytes(b"mine")
    same(FeatureStore(folder))
    with store.writing():
        pass
    assert all((folder / name).read_bytes() == b"mine" for name in names)
    assert [path.name for path in folder.glob("*.tmp")] == ["notes.tmp"]


# ------------------------------------------------------------------------------------- growing


def test_a_store_serves_what_it_holds(store):
    for changes in ({}, {"layers": (3,)}, {"layers": (2, 0), "frames": False}):
        opened = FeatureStore.open(store.url, asked(**changes))
        assert opened.config == asked(**changes) and opened.clips == CLIPS
        assert not opened.missing(MANIFEST).any() and opened.plan(MANIFEST) == []


def test_blocks_are_bounded_in_clips_and_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 3)
    monkeypatch.setattr("emolib.store.BLOCK_S", 10.0)
    durations_s = [1, 1, 1, 1, 9.5, 20, 1, 9, 1]
    manifest = pd.DataFrame({"clip": list("abcdefghi"), "sha256": "x", "duration_s": durations_s})
    blocks = FeatureStore.open(tmp_path, CONFIG).plan(manifest)
    assert ["".join(block.clips["clip"]) for block in blocks] == ["abc", "d", "e", "f", "gh", "i"]


# ------------------------------------------------------------------------------------- whose folder


def test_features_of_another_making_are_deleted_on_request_alone(store, folder):
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert FeatureStore.open(folder, CONFIG, replace=True).clips == CLIPS
    for changes, words in [
        ({"fingerprint": "new"}, r"of 'fake' \(fingerprint-1\), not of 'fake' \(new\)"),
        ({"encoder": "other"}, r"of 'fake' .*, not of 'other'"),
    ]:
        refused(words + ".*another folder.*replace=True", FeatureStore.open, folder, asked(**changes))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    opened = FeatureStore.open(folder, asked(fingerprint="new"), replace=True)
    assert opened.clips == [] and opened.config == asked(fingerprint="new")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "notes.txt"]
    with pytest.raises(ValueError, match="started anew by another process"), store.writing():
        pass


def test_another_folder_is_never_emptied(model_folder, store, folder):
    (folder / "config.json").unlink()
    for other, why in (
        (model_folder(), "not a feature store's"),
        (folder, r"holds shards, but no config\.json"),
    ):
        before = sorted(other.iterdir())
        refused(why, FeatureStore, other)
        refused(why, FeatureStore.open, other, CONFIG, replace=True)
        assert sorted(other.iterdir()) == before


def test_errors_name_what_there_is(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no feature store at .*emolib extract"):
        FeatureStore(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    refused(r"layer 7 is not in .*\[0, 2, 3\]", store.pooled, 7)
    refused("unknown pooling 'max'", store.pooled, 0, "max")
    refused(r"2 of 3 clips are not in .* first is 'y'", store.pooled, 0, clips=["a", "y", "z"])
    pooled = FeatureStore.open(tmp_path / "pooled", asked(frames=False))
    refused(r"1 of 1 clips are not in .* with layer 3, the first is 'b'", pooled.frames, "b", 3)
    refused("does not see the store", FeatureStore.join, tmp_path / "nowhere", CONFIG)


def test_shards_are_plain_safetensors(store, folder):
    tensors = load_file(folder / "shard-000000.safetensors")
    kinds = {"mean": np.float32, "std": np.float32, "frames": np.float16}
    assert {name: array.dtype for name, array in tensors.items()} == kinds
    assert tensors["mean"].shape == (3, 3, WIDTH)
    assert json.loads((folder / "config.json").read_text()) == CONFIG.identity()
