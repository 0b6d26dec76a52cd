"""kill -9 at random moments: what was finished stays, and the same command goes on to the same end."""

import json

import fault_jobs as jobs
import numpy as np
import pytest
from fault_server import archive, md5, serving
from fault_tally import moments, tried

from emolib import mapper, pretrain
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
    body = archive(24, 6_700)
    with serving({"/speech.zip": body}, pause_s=0.02) as server:
        source = {"url": f"{server.url}/speech.zip", "checksum": md5(body)}
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
    ("the training of an encoder", pretrain.encoder, "export"),
    ("the training of a mapper", mapper.Mapper, "save"),
    ("the training of a vocoder", pretrain.hifigan, "export"),
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
