"""Work on Dask's workers: the bits of one process of one thread, whoever is killed; a GPU, a model each."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from samples import refused, save_model, sha256, speech, write_corpus, write_notebook
from test_features import Fake, files
from typer.testing import CliRunner

from emolib import audio, demo, features, paths, probing, scheduling, splits, sweep
from emolib.cli import app
from emolib.features import extract


@pytest.fixture(scope="module")
def client():
    """Two workers, processes of one thread each, in a shell that asks for three."""
    with pytest.MonkeyPatch.context() as patch:
        for name in scheduling.ONE_THREAD:
            patch.setenv(name, "3")
        with scheduling.connect("local", n_workers=2) as connected:
            connected.wait_for_workers(2, timeout=60)
            yield connected


def test_workers_keep_freed_memory_and_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name in ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = os.environ | {"__DASK_PARENT_PID": str(os.getpid())}  # a note of Dask's to itself
    with scheduling.connect("local", n_workers=1) as one:
        [theirs] = one.run(lambda: dict(os.environ)).values()
        assert set(one.run(torch.get_num_threads).values()) == {1}
    assert "MALLOC_TRIM_THRESHOLD_" not in theirs and theirs["OMP_NUM_THREADS"] == "1"
    assert os.environ | {"__DASK_PARENT_PID": str(os.getpid())} == before


@pytest.fixture
def extracted(model_folder, tmp_path, monkeypatch):
    """A function that extracts by a tiny model into a folder, in blocks of two clips."""
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", 2)

    def run(manifest, folder, **options):
        return extract(manifest, str(model_folder()), url=tmp_path / folder, device="cpu", **options)

    return run


def workers(client) -> dict[str, int]:
    return client.run(os.getpid)


# ------------------------------------------------------------------------------------- extraction


def test_workers_write_what_one_process_writes_and_end_what_was_broken_off(
    client, manifest, tmp_path, extracted
):
    Path(manifest["path"][3]).write_text("this is no sound")
    serial = extracted(manifest, "serial", frames=True)
    shared = extracted(manifest, "shared", frames=True, client=client)
    assert files(tmp_path / "shared") == files(tmp_path / "serial")
    assert len(list((tmp_path / "shared").glob("shard-*"))) == 5
    assert shared.skipped == serial.skipped and shared.n_new == serial.n_new == 9
    again = extracted(manifest, "shared", frames=True, client=client)
    assert (again.n_new, again.n_cached) == (0, 9)
    for number in (1, 3):  # workers end in any order: what a kill leaves has gaps
        (tmp_path / "shared" / f"shard-{number:06d}.safetensors").unlink()
    (tmp_path / "shared" / "shard-000001.safetensors.99.tmp").write_bytes(b"half")
    done = extracted(manifest, "shared", frames=True, client=client)
    assert done.n_new == 3 and files(tmp_path / "shared") == files(tmp_path / "serial")


def test_a_killed_worker_costs_its_task_and_nothing_else(client, tmp_path, extracted):
    manifest = write_corpus(tmp_path / "corpus", 40, duration_s=1.5)
    extracted(manifest, "serial", frames=True)
    before, killed = workers(client), []
    extracted(manifest.iloc[:2], "shared", frames=True)
    store = features.FeatureStore.open(tmp_path / "shared", features.FeatureStore(tmp_path / "shared").config)
    settings = {"device": "cpu", "precision": "float32"}
    for _block, skipped in features._by_workers(store, store.plan(manifest), settings, client):
        assert not skipped
        if not killed and len(list((tmp_path / "shared").glob("shard-*"))) >= 2:
            killed.append(next(iter(before.values())))
            os.kill(killed[0], 9)
    store.tidy()
    assert killed and files(tmp_path / "shared") == files(tmp_path / "serial")
    client.wait_for_workers(2, timeout=60)
    assert killed[0] not in workers(client).values(), "another has taken its place"


def test_newer_content_goes_behind_older(manifest, tmp_path, extracted, client):
    extracted(manifest, "store")
    (tmp_path / "store" / "shard-000000.safetensors").unlink()
    path = audio.write(manifest["path"].iloc[8], speech(0.4, seed=99), 16_000)
    manifest.loc[8, ["sha256", "duration_s"]] = [sha256(path), 0.4]
    done, fresh = extracted(manifest, "store", client=client), extracted(manifest, "fresh")
    assert done.n_new == 3 and not done.store.missing(manifest).any()
    # close, not equal: the changed clip was encoded without the neighbour that it is padded with there
    assert np.allclose(done.store.pooled(1), fresh.store.pooled(1), atol=1e-5)


def test_unfit_work_for_workers_is_refused(client, manifest, tmp_path, model_folder):
    refused("'fake' is an object, which is not", extract, manifest, Fake(), url=tmp_path / "s", client=client)
    store = {"url": f"memory://{tmp_path.name}", "device": "cpu", "client": client}
    refused("does not see the store at memory", extract, manifest, str(model_folder()), **store)


# ------------------------------------------------------------------------------------- probes


def test_folds_on_workers_give_the_same_answers(client):
    rng = np.random.default_rng(0)
    speakers, words = [f"{i % 5}" for i in range(60)], ["calm", "angry", "sad"] * 20
    manifest, is_angry = pd.DataFrame({"speaker": speakers, "emotion": words}), np.array(words) == "angry"
    layers = {k: rng.standard_normal((60, 5)) + k * is_angry[:, None] for k in (0, 1, 2)}
    folds = splits.folds(manifest, "loso")
    for tried in (
        lambda c: probing.cross_validate(layers[1], manifest, folds, client=c),
        lambda c: probing.choose_layer(layers, manifest, folds, client=c),
    ):
        here, there = tried(None), tried(client)
        assert np.array_equal(here.y_pred, there.y_pred) and here.layer == there.layer
    calm = manifest.assign(emotion="calm")
    refused("a probe needs two emotions", probing.cross_validate, layers[1], calm, folds, client=client)


# ------------------------------------------------------------------------------------- tasks


def _answer(task):
    if task == "worse":
        raise ValueError("this one can't be done")
    if task == "deadly":
        os.kill(os.getpid(), 9)
    return [task, scheduling.package_digest()]


def test_outcomes_come_as_they_end_with_their_errors(client):
    ended = dict(scheduling.outcomes(client, _answer, ["a", "worse", "b"]))
    assert ended["a"]()[0] == "a" and ended["b"]()[1] == scheduling.package_digest()
    refused("this one can't be done", ended["worse"])
    assert list(scheduling.outcomes(client, _answer, [])) == []
    future = client.submit(scheduling._call, _answer, "a", "another", pure=False)
    refused("has another emolib", future.result)


def test_tasks_are_handed_over_a_few_at_a_time(client):
    taken = []

    def tasks():
        for number in range(30):
            taken.append(number)
            yield number

    outcomes = scheduling.outcomes(client, _answer, tasks())
    next(outcomes)
    assert len(taken) <= 2 * scheduling.AHEAD + 1
    outcomes.close()


def test_no_scheduler_is_none_and_a_wrong_one_is_refused():
    with scheduling.connect(None) as client:
        assert client is None
    with pytest.raises(ValueError, match="expected 'local' or an address"), scheduling.connect("localhost"):
        pass


def test_a_worker_keeps_one_model(monkeypatch):
    scheduling.worker_encoder.cache_clear()
    first = scheduling.worker_encoder("logmel", (0,), "cpu", "float32")
    assert scheduling.worker_encoder("logmel", (0,), "cpu", "float32") is first
    scheduling.worker_encoder("prosody", (0,), "cpu", "float32")
    assert scheduling.worker_encoder.cache_info().currsize == 1
    scheduling.worker_encoder.cache_clear()


# ------------------------------------------------------------------------------------- GPUs

CLAIM = """
import sys
from emolib import scheduling
scheduling.visible_gpus = lambda: ["3", "GPU-7"]
try:
    print(scheduling.claim_gpu(), scheduling.claim_gpu(), flush=True)
except ValueError as error:
    print("refused:", error, flush=True)
import os
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


def claimant(folder: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment | {"TMPDIR": str(folder)},
    )  # fmt: skip


def test_each_worker_has_a_gpu_of_its_own_and_a_new_one_that_of_the_dead(tmp_path):
    processes = []

    def said() -> str:
        """Start one more, and return what it says of its GPU."""
        processes.append(stack.enter_context(claimant(tmp_path)))
        stack.callback(processes[-1].kill)
        return processes[-1].stdout.readline().strip()

    with contextlib.ExitStack() as stack:
        assert [said(), said()] == ["3 3", "GPU-7 GPU-7"]
        assert [process.stdout.readline().strip() for process in processes] == ["3", "GPU-7"]
        assert said().startswith("refused: each of the 2 GPUs")
        processes[0].kill()
        processes[0].wait()
        assert said() == "3 3"


def test_what_is_allowed_is_visible(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for allowed, expected in {
        "": [], "-1": [], "2": ["2"], "2, 3": ["2", "3"], "0,-1,1": ["0"], "MIG-a": ["MIG-a"],
    }.items():  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
        assert scheduling.visible_gpus() == expected
        if len(expected) < 2:  # whoever started the process has chosen
            assert scheduling.claim_gpu() == (expected or [None])[0]
            assert os.environ["CUDA_VISIBLE_DEVICES"] == allowed and not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------- sweeps


def kill_a_worker(client, monkeypatch, after: int) -> list[int]:
    """Kill one of a sweep's workers when so many notebooks have ended; return where its process is noted."""
    tell, killed = sweep._Progress.tell, []

    def tell_and_kill(self, entry, cell=""):
        tell(self, entry, cell)
        if not killed and self._ended >= after:
            killed.append(next(iter(workers(client).values())))
            os.kill(killed[0], 9)

    monkeypatch.setattr(sweep._Progress, "tell", tell_and_kill)
    return killed


def test_cells_on_workers_survive_the_death_of_one(client, tmp_path, monkeypatch):
    code = "import time\nfrom emolib import results\ntime.sleep(1)\n"
    code += "results.record('00_one', {'twice': 2 * SEED})\nassert SEED < 2, 'too much'"
    write_notebook(tmp_path, "00_one", "SEED = 0", code)
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    (tmp_path / "g.yaml").write_text("axes: {SEED: [0, 1, 2]}")
    grid = sweep.read_grid(tmp_path / "g.yaml")
    killed = kill_a_worker(client, monkeypatch, after=1)
    ended = sweep.run_grid(grid, client=client)
    count = ended.count()
    # a worker that dies between a cell's last byte and its answer leaves a cell that is not run again
    assert killed and (count["cells"], count["done"] + count["skipped"], count["failed"]) == (3, 2, 1)
    found = {name: [entry.error for entry in entries] for name, entries in ended.cells.items()}
    assert found == {"seed0": [""], "seed1": [""], "seed2": ["AssertionError: too much"]}
    for seed in range(3):
        record = tmp_path / "runs" / "sweep-g" / f"seed{seed}" / "results" / "00_one.json"
        assert f'"twice": {2 * seed}' in record.read_text()
    again = sweep.run_grid(grid, client=client)
    assert again.count() == {"cells": 3, "done": 0, "skipped": 2, "failed": 1}


GRID = """
name: killed
notebooks: ["01", "02"]
parameters: {CORPUS: folder, DEVICE: cpu}
axes:
  TABLE: [one.csv, two.csv]
  ENCODER: [wav2vec2-nano, "random:wav2vec2-nano", hubert-tiny]
  SEED: [0, 1]
"""


def write_home(home: Path, monkeypatch) -> sweep.Grid:
    """Make a home with the notebooks, three encoders, and two corpora cut from the demo corpus.

    Each corpus has four voices, four emotions, two sentences and one take: 32 clips.
    """
    folder = demo.build()
    clips = pd.read_csv(folder / "demo.csv", dtype=str, keep_default_na=False)
    clips["path"] = [str(folder / path) for path in clips["path"]]
    chosen = clips["emotion"].isin(["neutral", "calm", "happy", "angry"]) & clips["clip"].str.endswith("t1")
    chosen &= clips["text_id"].isin(sorted(clips["text_id"].unique())[:2])
    monkeypatch.delenv("EMOLIB_HOME", raising=False)
    (home / "models").mkdir(parents=True)
    for name in (paths.SHIPPED_ENCODER, "hifigan-nano"):
        (home / "models" / name).symlink_to(paths.models() / name)
    (home / "notebooks").symlink_to(paths.notebooks())
    save_model(home / "models" / "hubert-tiny", "hubert")
    for name, voices in (("one", ("F1", "F2", "M1", "M2")), ("two", ("F3", "F4", "M3", "M4"))):
        clips[chosen & clips["speaker"].isin(voices)].to_csv(home / f"{name}.csv", index=False)
    (home / "grid.yaml").write_text(GRID)
    monkeypatch.setenv("EMOLIB_HOME", str(home))
    return sweep.read_grid(home / "grid.yaml")


def records(home: Path, grid: sweep.Grid) -> dict[tuple[int, str], object]:
    """Return every result of a sweep, by the cell's place in the grid and the notebook."""
    return {
        (place, path.stem): json.loads(path.read_text())
        for place, name in enumerate(grid.cells)
        for path in sorted(home.glob(f"runs/sweep-killed/{name}/results/*.json"))
    }


@pytest.mark.long
def test_a_grid_on_workers_of_which_one_dies_ends_as_in_series(tmp_path, monkeypatch):
    """Notebooks 01 and 02 for 2 corpora, 3 encoders and 2 seeds: some twenty minutes of one core.

    Each way has a home of its own, so that neither finds features that the other extracted.
    """
    for name, value in scheduling.ONE_THREAD.items():  # in series as on workers: last bits depend on it
        monkeypatch.setenv(name, value)
    shared = write_home(tmp_path / "workers", monkeypatch)
    with scheduling.connect("local", n_workers=2) as client, monkeypatch.context() as patch:
        client.wait_for_workers(2, timeout=120)
        killed = kill_a_worker(client, patch, after=len(shared.cells))
        assert sweep.run_grid(shared, client=client).count()["failed"] == 0 and killed
    found = records(tmp_path / "workers", shared)
    assert len(found) == len(shared.cells) * len(shared.notebooks)
    serial = write_home(tmp_path / "series", monkeypatch)
    assert sweep.run_grid(serial).count()["failed"] == 0
    assert records(tmp_path / "series", serial) == found


def test_the_command_line_hands_work_to_a_scheduler(client, manifest, tmp_path, model_folder):
    table = tmp_path / "mine.csv"
    manifest[["path", "speaker", "emotion"]].to_csv(table, index=False)
    address = client.scheduler.address
    told = CliRunner().invoke(
        app,
        ["extract", "--manifest", str(table), "--encoder", "logmel", "--out", str(tmp_path / "store"),
         "--device", "cpu", "--scheduler", address, "--json"],
    )  # fmt: skip
    assert told.exit_code == 0 and '"new": 10' in told.stdout.splitlines()[-1]
    refused = CliRunner().invoke(app, ["sweep", str(tmp_path / "none.yaml"), "--scheduler", "nowhere"])
    assert refused.exit_code == 2


def test_a_task_that_brings_every_worker_down_is_given_up(client):
    """Last of all: it costs workers, which their nannies start anew."""
    [(_, result)] = scheduling.outcomes(client, _answer, ["deadly"])
    started = time.monotonic()
    refused("given up after it brought down", result)
    assert time.monotonic() - started < 60
