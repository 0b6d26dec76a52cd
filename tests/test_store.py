"""The feature store: what goes in comes out, damage is found, and nothing else in a folder is touched."""

import hashlib
import json
import os

import fsspec
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from emolib.store import FeatureStore, StoreConfig

LAYERS, WIDTH = (0, 3, 2), 5
CONFIG = StoreConfig("fake", "fingerprint-1", LAYERS, WIDTH, 0.02, True)


def states_of(clip: str, n_layers: int = len(LAYERS), width: int = WIDTH) -> np.ndarray:
    rng = np.random.default_rng(int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16))
    return rng.standard_normal((n_layers, int(rng.integers(1, 30)), width)).astype(np.float32)


def fill(store: FeatureStore, shards: list[list[str]]) -> FeatureStore:
    with store.writing():
        for clips in shards:
            states = [states_of(clip, len(store.config.layers)) for clip in clips]
            store.append(clips, [f"sha-{clip}" for clip in clips], states)
        store.tidy()
    return store


SHARDS = [["b", "d", "NA"], ["a", "007"], ['c, "quoted"', "é"]]
CLIPS = sorted(clip for shard in SHARDS for clip in shard)


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    place = f"memory://stores/{tmp_path.name}"
    yield place
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists(place):
        filesystem.rm(place, recursive=True)


@pytest.fixture
def store(tmp_path):
    return fill(FeatureStore.open(tmp_path / "store", CONFIG), SHARDS)


def same(store: FeatureStore) -> None:
    assert store.clips == CLIPS and len(store) == len(CLIPS)
    expected = np.stack([states_of(clip)[1].mean(0) for clip in CLIPS])
    assert np.allclose(store.pooled(3), expected, atol=1e-6)


def test_what_goes_in_comes_out(url):
    written = fill(FeatureStore.open(url, CONFIG), SHARDS)
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
                assert frames.dtype == np.float32
                assert np.array_equal(frames, state.astype(np.float16))  # as it is kept


def test_rows_follow_the_clips_asked_for(store):
    everything = dict(zip(store.clips, store.pooled(2), strict=True))
    asked = [CLIPS[4], CLIPS[0], CLIPS[4], CLIPS[2]]
    assert np.array_equal(store.pooled(2, clips=asked), [everything[clip] for clip in asked])
    assert store.pooled(2, clips=[]).shape == (0, WIDTH)


def test_states_may_lie_in_memory_in_any_order(tmp_path):
    """As the log-mel baseline's do; safetensors writes memory as it lies."""
    state = states_of("a")
    store = FeatureStore.open(tmp_path, CONFIG)
    store.append(["a"], ["x"], [np.asfortranarray(state)])
    assert np.array_equal(store.frames("a", 3), state[1].astype(np.float16))


def test_values_past_half_precision_keep_their_range(tmp_path):
    store = FeatureStore.open(tmp_path, CONFIG)
    store.append(["big"], ["x"], [1e5 + states_of("big")])
    assert np.allclose(store.frames("big", 3), 1e5 + states_of("big")[1])


def test_means_do_not_lose_digits(tmp_path):
    store = FeatureStore.open(tmp_path, CONFIG)
    state = np.full((3, 300_001, WIDTH), 0.1, np.float32)
    state[:, 0] = 3e4
    store.append(["long"], ["x"], [state])
    assert np.allclose(store.pooled(0), state[0].astype(np.float64).mean(0), rtol=1e-7)


def test_the_later_shard_holds_the_newer_content(store):
    store.append(["a"], ["sha-new"], [states_of("another")])
    store.tidy()
    for opened in (store, FeatureStore(store.url)):
        assert opened.clips == CLIPS
        assert np.allclose(opened.pooled(0, clips=["a"])[0], states_of("another")[0].mean(0), atol=1e-6)
        manifest = pd.DataFrame({"clip": ["a"], "sha256": ["sha-a"]})
        assert np.allclose(opened.narrow(manifest).pooled(0), states_of("a")[0].mean(0), atol=1e-6)


def test_missing_goes_by_name_and_content(store):
    manifest = pd.DataFrame({"clip": ["a", "a", "zz"], "sha256": ["sha-a", "sha-other", "sha-zz"]})
    assert store.missing(manifest).tolist() == [False, True, True]


@pytest.mark.parametrize("content", [None, b"", b"garbage\n\0", b"clip,sha256\na,b\n", "cut"])
def test_the_index_is_never_needed(store, tmp_path, content):
    index = tmp_path / "store" / "index.csv"
    whole = index.read_bytes()
    if content is None:
        index.unlink()
    else:
        index.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    if content != "cut":  # cut at a row's end, a table is one that readers can't tell from a whole one
        same(FeatureStore(store.url))
    with FeatureStore(store.url).writing():
        FeatureStore(store.url).tidy()
    same(FeatureStore(store.url))
    assert index.read_bytes() == whole


def damage(path, how: str) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    path.write_bytes(
        {
            "cut": data[:-7],
            "cut in header": data[:40],
            "empty": b"",
            "longer": data + b"x",
            "garbage": os.urandom(len(data)),
            "zeros": bytes(len(data)),
            "length": b"\xff" * 8 + data[8:],
            "brace": data[:8] + b"[" + data[9:],
            "null": (4).to_bytes(8, "little") + b"null" + data[8:],
            "no index": data[: 8 + size].replace(b"__metadata__", b"__nodatata__") + data[8 + size :],
        }[how]
    )


HARM = ["cut", "cut in header", "empty", "longer", "garbage", "zeros", "length", "brace", "null", "no index"]


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize("with_index", [True, False])
def test_a_damaged_shard_is_found_dropped_and_redone(store, tmp_path, how, with_index):
    folder = tmp_path / "store"
    damage(folder / "shard-000001.safetensors", how)
    if not with_index:
        (folder / "index.csv").unlink()
        reader = FeatureStore(folder)
        assert reader.damaged == ["shard-000001.safetensors"]
        assert set(reader.clips) == set(CLIPS) - set(SHARDS[1])
        assert reader.pooled(3).shape == (len(CLIPS) - 2, WIDTH)
    writer = FeatureStore.open(folder, CONFIG)
    with writer.writing():
        writer.tidy()
        assert set(writer.clips) == set(CLIPS) - set(SHARDS[1])
        assert not (folder / "shard-000001.safetensors").exists()
    same(fill(writer, [SHARDS[1]]))
    same(FeatureStore(folder))


def test_a_reader_names_the_damaged_shard(store, tmp_path):
    damage(tmp_path / "store" / "shard-000001.safetensors", "cut")
    with pytest.raises(ValueError, match=r"shard-000001\.safetensors is damaged"):
        FeatureStore(store.url).pooled(0)


def test_somebody_elses_files_are_left_alone(store, tmp_path):
    folder = tmp_path / "store"
    names = "shard-000000.safetensors.bak", "shard-old.safetensors", "notes.tmp"
    for name in names:
        (folder / name).write_bytes(b"mine")
    store.tidy()
    assert len(FeatureStore(store.url)) == len(store)
    assert all((folder / name).read_bytes() == b"mine" for name in names)


def test_leftovers_of_a_killed_writer_are_cleared(store, tmp_path):
    folder = tmp_path / "store"
    (folder / "shard-000003.safetensors.4711.tmp").write_bytes(b"half")
    assert FeatureStore(folder).clips == CLIPS
    with store.writing():
        store.tidy()
    assert not list(folder.glob("*.tmp"))


def asked(**changes: object) -> StoreConfig:
    return StoreConfig(**vars(CONFIG) | changes)


@pytest.mark.parametrize("changes", [{}, {"layers": (3,)}, {"layers": (2, 0), "frames": False}])
def test_a_store_serves_what_it_holds(store, changes):
    opened = FeatureStore.open(store.url, asked(**changes))
    assert opened.config == asked(**changes) and opened.clips == CLIPS
    manifest = pd.DataFrame({"clip": CLIPS}).assign(sha256=lambda table: "sha-" + table["clip"])
    assert not opened.missing(manifest).any() and opened.plan(manifest, [slice(0, 7)]) == []


@pytest.mark.parametrize("changes", [{"layers": (0, 1)}, {"layers": (1,), "frames": False}])
def test_layers_come_in_shards_of_their_own(store, tmp_path, changes):
    before = {path: path.read_bytes() for path in (tmp_path / "store").glob("shard-*")}
    opened = FeatureStore.open(store.url, asked(**changes))
    assert opened.clips == [] and len(FeatureStore(store.url)) == len(CLIPS)
    manifest = pd.DataFrame({"clip": CLIPS}).assign(sha256=lambda table: "sha-" + table["clip"])
    plan = opened.plan(manifest, [slice(0, 4), slice(4, 7)])
    assert [(block.layers, len(block.clips), block.number) for block in plan] == [((1,), 4, 3), ((1,), 3, 4)]
    with opened.writing():
        for block in plan:
            states = [states_of(f"layer 1 of {clip}", 1) for clip in block.clips["clip"]]
            names, digests = block.clips["clip"].tolist(), block.clips["sha256"].tolist()
            opened.append(names, digests, states, layers=block.layers, number=block.number)
        opened.tidy()
    assert opened.clips == CLIPS and {path: path.read_bytes() for path in before} == before
    (tmp_path / "store" / "index.csv").unlink()
    reader = FeatureStore(store.url)
    same(reader)
    assert reader.config.layers == (0, 1, 2, 3)
    expected = [states_of(f"layer 1 of {clip}", 1)[0].mean(0) for clip in CLIPS]
    assert np.allclose(reader.pooled(1), expected, atol=1e-6)


def test_frames_are_added_to_what_was_pooled(tmp_path):
    store = fill(FeatureStore.open(tmp_path, asked(frames=False)), SHARDS)
    with pytest.raises(ValueError, match="pooled features only"):
        store.frames("a", 0)
    pooled = store.pooled(3)
    more = FeatureStore.open(tmp_path, asked(layers=(3,)))
    assert more.clips == []
    more.append(["a"], ["sha-a"], [states_of("a")[1:2] + 1])
    more.tidy()
    assert more.clips == ["a"]
    assert np.array_equal(more.frames("a", 3), (states_of("a")[1] + 1).astype(np.float16))
    for reader in (store, FeatureStore(tmp_path)):
        reader.refresh()
        assert np.array_equal(reader.pooled(3), pooled), "what was pooled first stays"
    with pytest.raises(ValueError, match=r"1 of 1 clips are not in .* with layer 3, the first is 'b'"):
        more.frames("b", 3)


OTHERS = [
    ({"fingerprint": "fingerprint-2"}, r"'fake' with other weights .*\(fingerprint-1, not fingerprint-2\)"),
    ({"encoder": "other"}, "the encoder 'fake', not of 'other'"),
]


@pytest.mark.parametrize("changes, words", OTHERS)
def test_features_of_another_making_are_deleted_on_request_alone(store, tmp_path, changes, words):
    before = {path: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    with pytest.raises(ValueError, match=words + ".*another folder.*replace=True"):
        FeatureStore.open(store.url, asked(**changes))
    assert {path: path.read_bytes() for path in before} == before
    opened = FeatureStore.open(store.url, asked(**changes), replace=True)
    assert opened.clips == [] and opened.config == asked(**changes)
    assert FeatureStore.open(store.url, asked(**changes), replace=True).clips == []


def test_a_store_of_the_right_making_is_kept_whatever_is_asked(store):
    assert FeatureStore.open(store.url, CONFIG, replace=True).clips == CLIPS


def test_shards_without_their_configuration_are_left_alone(store, tmp_path):
    (tmp_path / "store" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds shards, but no config\.json"):
        FeatureStore.open(store.url, CONFIG, replace=True)
    assert len(list((tmp_path / "store").glob("shard-*"))) == len(SHARDS)


def test_two_contents_under_one_name_are_kept_apart(store):
    """As clips of two tables may be, whose features lie in one folder."""
    store.append(["a"], ["sha-other"], [states_of("another")])
    store.tidy()
    for digest, content in (("sha-a", "a"), ("sha-other", "another")):
        manifest = pd.DataFrame({"clip": ["a", "b"], "sha256": [digest, "sha-b"]})
        view = FeatureStore.open(store.url, CONFIG).narrow(manifest)
        assert not view.missing(manifest).any() and view.clips == ["a", "b"]
        assert np.allclose(view.pooled(0)[0], states_of(content)[0].mean(0), atol=1e-6)
        assert np.array_equal(view.frames("a", 3), states_of(content)[1].astype(np.float16))


def test_a_store_of_an_earlier_version_is_read_and_added_to(store, tmp_path):
    """Its configuration names the layers that its shards don't."""
    folder = tmp_path / "store"
    (folder / "config.json").write_text(json.dumps(vars(CONFIG)))
    for path in folder.glob("shard-*"):
        header, tensors = split(path.read_bytes())
        rows = json.loads(header["__metadata__"]["index"])
        del rows["layers"], rows["crc32"]
        header["__metadata__"]["index"] = json.dumps(rows)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    index = pd.read_csv(folder / "index.csv", keep_default_na=False)
    index.drop(columns=["layers", "frames"]).to_csv(folder / "index.csv", index=False)
    same(FeatureStore(folder))
    same(FeatureStore.open(folder, CONFIG))
    assert np.array_equal(FeatureStore(folder).frames("a", 2), states_of("a")[2].astype(np.float16))
    more = FeatureStore.open(folder, asked(layers=(7,)))
    more.append(["a"], ["sha-a"], [states_of("a", 1)])
    more.tidy()
    assert FeatureStore(folder).config.layers == (0, 2, 3, 7) and more.clips == ["a"]


def split(data: bytes) -> tuple[dict, bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def test_another_folder_is_never_emptied(model_folder, tmp_path):
    folder = model_folder()
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match="not a feature store's"):
        FeatureStore.open(folder, CONFIG)
    assert sorted(path.name for path in folder.iterdir()) == before
    (tmp_path / "notes.txt").write_text("mine")
    fill(FeatureStore.open(tmp_path, CONFIG), SHARDS)
    FeatureStore.open(tmp_path, asked(fingerprint="new"), replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]


def test_a_writer_notices_that_the_store_is_another_by_now(store):
    FeatureStore.open(store.url, asked(fingerprint="new"), replace=True)
    with pytest.raises(ValueError, match="started anew by another process"), store.writing():
        pass


def test_errors_name_what_there_is(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no feature store at .*emolib extract"):
        FeatureStore(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match=r"layer 7 is not in .*\[0, 2, 3\]"):
        store.pooled(7)
    with pytest.raises(ValueError, match="unknown pooling 'max'"):
        store.pooled(0, "max")
    with pytest.raises(ValueError, match=r"2 of 3 clips are not in .* first is 'y'"):
        store.pooled(0, clips=["a", "y", "z"])
    with pytest.raises(ValueError, match="1 of 1 clips"):
        store.frames("y", 0)


def test_says_what_it_is(store):
    assert repr(store) == f"FeatureStore(fake, {len(CLIPS)} clips, layers [0, 3, 2], frames)"


def test_shards_are_plain_safetensors(store, tmp_path):
    tensors = load_file(tmp_path / "store" / "shard-000000.safetensors")
    assert {name: array.dtype for name, array in tensors.items()} == {
        "mean": np.float32, "std": np.float32, "frames": np.float16,
    }  # fmt: skip
    assert tensors["mean"].shape == (3, 3, WIDTH)
    assert json.loads((tmp_path / "store" / "config.json").read_text()) == CONFIG.identity()
