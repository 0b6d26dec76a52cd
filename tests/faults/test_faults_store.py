"""Two runs at once, clocks that jump, and files that rot: never a wrong number, and never one lost."""

import contextlib
import datetime
import itertools
import os
import shutil
import time
from pathlib import Path
from unittest.mock import Mock

import fault_jobs as jobs
import numpy as np
import pytest
from fault_tally import repeats, tried
from safetensors.numpy import load_file
from samples import NANO

from emolib import mapper, paths, prosody, results, ser, vocoder
from emolib.av import AVLearner
from emolib.axis import EmotionAxis
from emolib.codebook import ResidualQuantizer
from emolib.features import extract
from emolib.generate import Generator, Normaliser, Settings
from emolib.store import FeatureStore
from emolib.training import CHECKPOINT

# Each names the way out; a flipped layer number or clip name looks like a clip that is still to be extracted.
REFUSALS = ("damaged", "does not fit", "extract them first")
EARLIER, LATER = 0, 4_102_444_800  # 1970 and 2100


# ------------------------------------------------------------------------------------- two at once


@pytest.mark.parametrize("job", [jobs.extract, jobs.train_encoder, jobs.train_mapper])
def test_two_runs_at_once(inputs, undisturbed, tmp_path, job):
    expected = jobs.content(undisturbed(job)[0])
    for number in range(max(1, repeats() // 3)):
        out = tmp_path / str(number)
        with tried(f"two runs at once, {job.__name__}"):
            both = [jobs.start(job, inputs, out) for _ in range(2)]
            for process in both:
                process.join()
            assert [process.exitcode for process in both] == [0, 0]
            assert jobs.content(out) == expected


def test_two_savers_and_a_reader_at_once(inputs, tmp_path):
    expected = [jobs.made_axis(number).direction_ for number in (0, 1)]
    jobs.made_axis(0).save(tmp_path / "axis")
    with tried("a model read while two processes save it"):
        savers, n_read = [jobs.start(jobs.save_axes, inputs, tmp_path) for _ in range(2)], 0
        while any(process.is_alive() for process in savers):
            # what is caught between the old and the new is told so
            with contextlib.suppress(ValueError, FileNotFoundError):
                found = EmotionAxis.load(tmp_path / "axis").direction_
                n_read += 1
                assert any(np.array_equal(found, direction) for direction in expected)
        assert n_read and [process.exitcode for process in savers] == [0, 0]


# ------------------------------------------------------------------------------------- clocks


@pytest.fixture
def made(inputs, tmp_path, monkeypatch):
    """A store of 24 clips in eight shards, and their manifest."""
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", jobs.BLOCK)
    manifest = jobs.read_manifest(inputs)
    return extract(manifest, jobs.Slow(), frames=True, url=tmp_path / "store").store, manifest


def test_files_from_another_time(inputs, made, tmp_path):
    _store, manifest = made
    expected = jobs.content(tmp_path / "store")
    for when in (EARLIER, LATER):
        with tried("clock jump, files of 1970 and 2100"):
            for number, path in enumerate(sorted((tmp_path / "store").iterdir())):
                os.utime(path, (when + number % 2, when + number % 2))
            (tmp_path / "store" / "shard-000002.safetensors").unlink()
            again = extract(manifest, jobs.Slow(), frames=True, url=tmp_path / "store")
            assert (again.n_new, again.n_cached) == (3, 21)
            assert jobs.content(tmp_path / "store") == expected


def test_a_clock_that_runs_backwards(inputs, made, tmp_path, monkeypatch):
    now = itertools.count(2_000_000_000, -3_600)
    with monkeypatch.context() as patch, tried("clock jump, backwards while clips are encoded"):
        patch.setattr(time, "time", lambda: float(next(now)))
        ended = extract(jobs.read_manifest(inputs), jobs.Slow(), frames=True, url=tmp_path / "again")
        assert ended.seconds >= 0
        assert jobs.content(tmp_path / "again") == jobs.content(tmp_path / "store")


def test_runs_of_one_second_and_of_an_hour_before(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    hours = [datetime.datetime(2026, 3, 29, hour) for hour in (12, 12, 11, 11)]
    monkeypatch.setattr(results, "datetime", Mock(now=Mock(side_effect=hours)))
    with tried("clock jump, an hour back between runs"):
        made = [results.new_run("demo") for _ in range(4)]
        assert len(set(made)) == 4
        assert (tmp_path / "runs" / "latest").resolve() == made[-1].resolve()


# ------------------------------------------------------------------------------------- rot


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    at, bit = int(rng.integers(len(data))), int(rng.integers(8))
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def told(store: FeatureStore, clip: str) -> list[np.ndarray]:
    """Return all that a store tells of a clip."""
    return [*(store.pooled(layer, "mean+std", [clip]) for layer in (0, 1)), store.frames(clip, 1)]


def read(folder: Path, truth: dict[str, list[np.ndarray]]) -> list[str]:
    """Return a store's clips, of which it tells nothing wrong; none where it refuses in known words."""
    try:
        found = FeatureStore(folder)
        for clip in truth.keys() & {*found.clips}:
            assert all(map(np.array_equal, told(found, clip), truth[clip]))
    except ValueError as error:
        assert any(words in str(error) for words in REFUSALS)
        return []
    return found.clips


def test_a_flipped_bit_in_a_shard_never_gives_another_number(made, tmp_path):
    store, _manifest = made
    truth = {clip: told(store, clip) for clip in store.clips}
    shard, index = (tmp_path / "store" / name for name in ("shard-000003.safetensors", "index.csv"))
    whole, listed, rng = shard.read_bytes(), index.read_bytes(), np.random.default_rng(7)
    for _ in range(10 * repeats()):
        shard.write_bytes(flipped(whole, rng))
        index.write_bytes(listed)
        with tried("a flipped bit in a shard"):
            for _with_index in (True, False):
                assert {*read(tmp_path / "store", truth)} <= truth.keys()
                index.unlink(missing_ok=True)


def test_a_damaged_shard_is_made_again(made, tmp_path):
    _, manifest = made
    expected = jobs.content(tmp_path / "store")
    for harm in ("cut", "empty", "garbage", "gone"):
        jobs.spoil(tmp_path / "store" / "shard-000003.safetensors", harm)
        with tried("a damaged shard"):
            again = extract(manifest, jobs.Slow(), frames=True, url=tmp_path / "store")
            assert (again.n_new, again.n_cached) == (3, 21), harm
            assert jobs.content(tmp_path / "store") == expected, harm


def test_a_flipped_bit_in_the_index_never_gives_another_clip_s_numbers(made, tmp_path):
    store, manifest = made
    truth = {clip: told(store, clip) for clip in store.clips}
    expected, index = jobs.content(tmp_path / "store"), tmp_path / "store" / "index.csv"
    whole, rng = index.read_bytes(), np.random.default_rng(8)
    for _ in range(10 * repeats()):
        index.write_bytes(flipped(whole, rng))
        with tried("a flipped bit in an index"):
            read(tmp_path / "store", truth)
            assert extract(manifest, jobs.Slow(), frames=True, url=tmp_path / "store").n_new == 0
            assert jobs.content(tmp_path / "store") == expected


# ------------------------------------------------------------------------------------- models


@pytest.fixture(scope="module")
def models(inputs, tmp_path_factory) -> dict[str, tuple]:
    """The folder and the loader of one saved model of each kind."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    X, y = rng.standard_normal((60, 6)), np.array(["calm", "angry", "sad"] * 20)
    silence = Normaliser(np.zeros(128, np.float32), np.ones(128, np.float32))
    made = {
        "axis": jobs.made_axis(0),
        "codebook": ResidualQuantizer(n_stages=2, n_codes=4).fit(X),
        "generator": Generator(["angry", "calm"], Settings.quick(), silence, device="cpu"),
        "judge": ser.Judge(n_folds=2).fit_measures(X, y, np.repeat(list("abcdef"), 10)),
        "learner": AVLearner().fit(X, y),
        "transform": prosody.ProsodyTransform.load(paths.models() / "prosody-ravdess" / "calm-angry"),
    }
    jobs.train_mapper(inputs, folder)
    jobs.train_vocoder(inputs, folder)
    trained = {"mapper": mapper.Mapper.load, "vocoder": vocoder.HiFiGAN.load}
    found = {kind: (model.save(folder / kind), type(model).load) for kind, model in made.items()}
    return found | {kind: (folder / kind, load) for kind, load in trained.items()}


def test_a_damaged_model_is_refused_in_one_line(models, tmp_path):
    for kind, (folder, load) in models.items():
        load(folder)
        other = models["axis" if kind != "axis" else "mapper"][0]
        for harm in ("cut", "empty", "garbage", "gone", "null", "another"):
            for name in ("config.json", "model.safetensors"):
                copy = tmp_path / kind / harm / name
                shutil.copytree(folder, copy)
                if harm == "null":
                    nothing = b"null" if name == "config.json" else (2).to_bytes(8, "little") + b"{}"
                    (copy / name).write_bytes(nothing)
                elif harm == "another":
                    shutil.copy(other / name, copy / name)
                else:
                    jobs.spoil(copy / name, harm)
                with tried("a damaged model folder"):
                    with pytest.raises((ValueError, FileNotFoundError)) as caught:
                        load(copy)
                    assert len(str(caught.value).splitlines()) == 1, str(caught.value)


def test_a_flipped_bit_in_the_weights_is_found(models, tmp_path):
    for kind, (folder, load) in models.items():
        if kind == "vocoder":  # its folder is in another project's format, without a digest
            continue
        shutil.copytree(folder, tmp_path / kind)
        weights = tmp_path / kind / "model.safetensors"
        whole, rng = weights.read_bytes(), np.random.default_rng(len(kind))
        for _ in range(repeats()):
            weights.write_bytes(flipped(whole, rng))
            with tried("a flipped bit in a model's weights"), pytest.raises(ValueError, match="damaged"):
                load(tmp_path / kind)


@pytest.mark.parametrize("job", [jobs.train_encoder, jobs.train_mapper, jobs.train_vocoder])
def test_a_damaged_checkpoint_is_named(inputs, tmp_path, job):
    job(inputs, tmp_path)
    [checkpoint] = tmp_path.rglob("checkpoint.safetensors")
    whole = load_file(checkpoint)
    jobs.spoil(checkpoint, "cut")
    with tried("a damaged checkpoint"):
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged .*delete it"):
            job(inputs, tmp_path)
        checkpoint.unlink()
        job(inputs, tmp_path)
        again = load_file(checkpoint)
        assert all(np.array_equal(again[name], value) for name, value in whole.items())


def test_damaged_targets_are_made_again(inputs, tmp_path):
    jobs.train_encoder(inputs, tmp_path)
    expected = jobs.content(tmp_path)
    jobs.spoil(tmp_path / "encoder" / NANO.TARGETS, "empty")
    jobs.spoil(tmp_path / "encoder" / CHECKPOINT, "gone")
    with tried("damaged targets of a training"):
        jobs.train_encoder(inputs, tmp_path)
        assert jobs.content(tmp_path) == expected
