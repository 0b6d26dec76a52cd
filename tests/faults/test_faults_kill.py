"""kill -9 at random moments: what was finished stays, and the same command goes on to the same end."""

import json
from pathlib import Path

import fault_jobs as jobs
import numpy as np
import pytest
from fault_server import archive, md5, serving
from fault_tally import moments, tried

from emolib import mapper, pretrain
from emolib.axis import EmotionAxis
from emolib.store import FeatureStore


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """Return a function of a job that gives the folder of an undisturbed run, and its seconds."""
    done: dict[str, tuple[Path, float]] = {}

    def run(job):
        if job.__name__ not in done:
            out = tmp_path_factory.mktemp(job.__name__)
            done[job.__name__] = (out, jobs.finish(job, inputs, out))
        return done[job.__name__]

    return run


@pytest.mark.parametrize("seed", [1])
def test_extraction(inputs, undisturbed, tmp_path, seed):
    whole, seconds = undisturbed(jobs.extract)
    expected = FeatureStore(whole / "store")
    for number, moment in enumerate(moments(seed)):
        out = tmp_path / str(number)
        with tried("kill -9 of an extraction"):
            jobs.kill(jobs.extract, inputs, out, moment * seconds)
            kept = {path.name: path.stat().st_ino for path in (out / "store").glob("shard-*.safetensors")}
            if (out / "store" / "config.json").exists():  # what can be read at once is right
                store = FeatureStore(out / "store")
                assert np.array_equal(store.pooled(1), expected.pooled(1, clips=store.clips))
            jobs.finish(jobs.extract, inputs, out)
            assert jobs.content(out / "store") == jobs.content(whole / "store")
            again = {path.name: path.stat().st_ino for path in (out / "store").glob("shard-*.safetensors")}
            assert kept.items() <= again.items()  # nothing was computed twice


TRAININGS = {
    "an encoder": jobs.train_encoder, "a mapper": jobs.train_mapper, "a vocoder": jobs.train_vocoder,
}  # fmt: skip


@pytest.mark.parametrize("kind", TRAININGS)
def test_training(inputs, undisturbed, tmp_path, kind):
    job = TRAININGS[kind]
    whole, seconds = undisturbed(job)
    for number, moment in enumerate(moments(2)):
        out = tmp_path / str(number)
        with tried(f"kill -9 of the training of {kind}"):
            jobs.kill(job, inputs, out, moment * seconds)
            jobs.finish(job, inputs, out)
            assert jobs.content(out) == jobs.content(whole)


@pytest.mark.parametrize("kind, owner, name", [
    ("an encoder", pretrain.encoder, "export"), ("a mapper", mapper.Mapper, "save"),
    ("a vocoder", pretrain.hifigan, "export"),
])  # fmt: skip
def test_training_stopped_between_its_last_checkpoint_and_its_model(
    inputs, undisturbed, tmp_path, monkeypatch, kind, owner, name
):
    job = TRAININGS[kind]
    whole, _ = undisturbed(job)

    def stop(self, out):
        raise KeyboardInterrupt

    with tried(f"stop of the training of {kind} between its last checkpoint and its model"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, stop)
            job(inputs, tmp_path)
        jobs.finish(job, inputs, tmp_path)
        assert jobs.content(tmp_path) == jobs.content(whole)


def test_saving_over_an_older_model(inputs, undisturbed, tmp_path):
    _, seconds = undisturbed(jobs.save_axes)
    expected = [jobs.made_axis(number).direction_ for number in (0, 1)]
    jobs.made_axis(0).save(tmp_path / "axis")
    for moment in moments(3):
        with tried("kill -9 while a model is saved over an older one"):
            jobs.kill(jobs.save_axes, inputs, tmp_path, moment * seconds)
            found = EmotionAxis.load(tmp_path / "axis").direction_
            assert any(np.array_equal(found, direction) for direction in expected)


def test_results_written_over(inputs, undisturbed, tmp_path):
    _, seconds = undisturbed(jobs.write_results)
    (tmp_path / "results.json").write_text("[0]")
    for moment in moments(4):
        with tried("kill -9 while results are written"):
            jobs.kill(jobs.write_results, inputs, tmp_path, moment * seconds)
            found = json.loads((tmp_path / "results.json").read_text())
            assert len(set(found)) == 1 and len(found) in (1, 1_000)


def test_fetching(tmp_path, undisturbed, inputs):
    body = archive(24, 6_700)
    with serving({"/speech.zip": body}, pause_s=0.02) as server:
        source = {"url": f"{server.url}/speech.zip", "checksum": md5(body)}
        (inputs / "source.json").write_text(json.dumps(source))
        whole, seconds = undisturbed(jobs.fetch_archive)
        for number, moment in enumerate(moments(5)):
            out = tmp_path / str(number)
            with tried("kill -9 of a download"):
                jobs.kill(jobs.fetch_archive, inputs, out, moment * seconds)
                jobs.finish(jobs.fetch_archive, inputs, out)
                assert jobs.content(out) == jobs.content(whole)
