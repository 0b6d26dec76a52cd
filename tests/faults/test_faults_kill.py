"""kill -9 at random moments: what was finished stays, and the same command goes on to the same end."""

import json
import shutil
from pathlib import Path

import fault_jobs as jobs
import nbformat
import numpy as np
import pytest
from fault_server import archive, serving
from fault_tally import moments, tried
from samples import HIFIGAN, NANO

from emolib import mapper, sweep
from emolib.axis import EmotionAxis
from emolib.store import FeatureStore

JOBS = {
    "an extraction": jobs.extract, "the training of an encoder": jobs.train_encoder,
    "the training of a mapper": jobs.train_mapper, "the training of a vocoder": jobs.train_vocoder,
    "a download": jobs.fetch_archive,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def publisher(inputs):
    """Serve the archive that the download fetches, slowly."""
    body, checksum = archive(24, 6_700)
    with serving({"/speech.zip": body}, pause_s=0.02) as server:
        source = {"url": f"{server.url}/speech.zip", "checksum": checksum}
        (inputs / "source.json").write_text(json.dumps(source))
        yield


@pytest.mark.parametrize("kind", JOBS)
def test_killed_work_goes_on_to_the_same_end(inputs, undisturbed, tmp_path, kind):
    job = JOBS[kind]
    whole, seconds = undisturbed(job)
    for number, moment in enumerate(moments([*JOBS].index(kind))):
        out = tmp_path / str(number)
        with tried(f"kill -9 of {kind}"):
            jobs.kill(job, inputs, out, moment * seconds)
            kept = {path.name: path.stat().st_ino for path in out.rglob("shard-*.safetensors")}
            if job is jobs.extract and (out / "store" / "config.json").exists():
                store = FeatureStore(out / "store")  # what can be read at once is right
                expected = FeatureStore(whole / "store").pooled(1, clips=store.clips)
                assert np.array_equal(store.pooled(1), expected)
            jobs.finish(job, inputs, out)
            assert jobs.content(out) == jobs.content(whole)
            again = {path.name: path.stat().st_ino for path in out.rglob("shard-*.safetensors")}
            assert kept.items() <= again.items()  # nothing was computed twice


@pytest.mark.parametrize("kind, owner, name", [
    ("the training of an encoder", NANO, "export"),
    ("the training of a mapper", mapper.Mapper, "save"),
    ("the training of a vocoder", HIFIGAN, "export"),
])  # fmt: skip
def test_training_stopped_between_its_last_checkpoint_and_its_model(
    inputs, undisturbed, tmp_path, monkeypatch, kind, owner, name
):
    job = JOBS[kind]
    whole, _ = undisturbed(job)

    def stop(self, out):
        raise KeyboardInterrupt

    with tried(f"stop of {kind} between its last checkpoint and its model"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, stop)
            job(inputs, tmp_path)
        jobs.finish(job, inputs, tmp_path)
        assert jobs.content(tmp_path) == jobs.content(whole)


def saved_axis(out: Path) -> bool:
    """Tell whether the axis in a folder is one of those that `jobs.save_axes` saves."""
    found = EmotionAxis.load(out / "axis").direction_
    return any(np.array_equal(found, jobs.made_axis(number).direction_) for number in (0, 1))


def written_results(out: Path) -> bool:
    """Tell whether the results in a folder are whole, those before them or new ones."""
    found = json.loads((out / "results.json").read_text())
    return len(set(found)) == 1 and len(found) in (1, 1_000)


def test_what_is_written_over_again_and_again(inputs, undisturbed, tmp_path):
    jobs.made_axis(0).save(tmp_path / "axis")
    (tmp_path / "results.json").write_text("[0]")
    for seed, job, is_whole, fault in (
        (3, jobs.save_axes, saved_axis, "kill -9 while a model is saved over an older one"),
        (4, jobs.write_results, written_results, "kill -9 while results are written"),
    ):
        _, seconds = undisturbed(job)
        for moment in moments(seed):
            with tried(fault):
                jobs.kill(job, inputs, tmp_path, moment * seconds)
                assert is_whole(tmp_path)


# ------------------------------------------------------------------------------------- notebooks


def squares(out: Path) -> dict:
    """Return the results of a sweep, by cell."""
    return json.loads((out / "runs" / "sweep-squares" / "summary.json").read_text())


def test_a_sweep_is_killed(undisturbed, tmp_path):
    whole, seconds = undisturbed(jobs.sweep_seeds)
    assert sorted(metrics["00_square"]["square"] for metrics in squares(whole).values()) == [9, 16]
    for number, moment in enumerate(moments(6)):
        out = jobs.write_notebooks(tmp_path / str(number))
        with tried("kill -9 of a sweep"):
            jobs.kill(jobs.sweep_seeds, out, out, moment * seconds)
            results = {path: path.read_bytes() for path in out.glob("runs/*/*/results/*.json")}
            assert all(json.loads(data) for data in results.values())  # each whole
            jobs.finish(jobs.sweep_seeds, out, out)
            assert squares(out) == squares(whole)
            assert json.loads((out / "count.json").read_text())["failed"] == 0
            assert all(path.read_bytes() == data for path, data in results.items())
            for path in out.glob("runs/sweep-squares/*/*.ipynb"):
                nbformat.validate(nbformat.read(path, as_version=4))


def test_a_damaged_notebook_is_named_and_the_other_runs(tmp_path, monkeypatch):
    for harm in ("cut", "empty", "null", "list", "garbage"):
        home = jobs.write_notebooks(tmp_path / harm)
        monkeypatch.setenv("EMOLIB_HOME", str(home))
        damaged = shutil.copy(home / "notebooks" / "00_square.ipynb", home / "notebooks" / "01_damaged.ipynb")
        jobs.spoil(damaged, harm)
        with tried("a damaged notebook"):
            try:
                _, ended = sweep.run({"SEED": 3}, ["00", "01"])
            except ValueError as error:  # refused before anything ran, which loses nothing either
                assert "01_damaged" in str(error) and len(str(error).splitlines()) == 1, harm
            else:
                assert [entry.error == "" for entry in ended] == [True, False], harm
