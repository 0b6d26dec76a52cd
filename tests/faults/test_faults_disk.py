"""Full and read-only disks: what was finished stays, the error says what is wrong, and the work can go on."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fault_jobs as jobs
import numpy as np
import pytest
from fault_tally import tried

from emolib.axis import EmotionAxis
from emolib.features import extract
from emolib.store import FeatureStore

#: Bytes at which each job's disk is full: some of its files fit.
ROOM = {jobs.extract: 40_000, jobs.train_mapper: 60_000, jobs.train_encoder: 300_000}
FULL = (errno.ENOSPC, errno.EFBIG)


def mount(*arguments: str) -> None:
    """Call mount, or skip the test where this is not permitted."""
    command = ["mount", *arguments]
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here to make a small disk with")
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        pytest.skip(f"a small disk can't be mounted here ({ended.stderr.strip()})")


@contextlib.contextmanager
def small_disk(place: Path, n_bytes: int) -> Iterator[Path]:
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def short_files(n_bytes: int) -> Iterator[None]:
    """Let this process write no file past a length, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def refused(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came from, says that the disk is full."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(f"os error {code}" in str(error) for code in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.fixture(params=ROOM)
def calm(request, undisturbed):
    """A job, what it leaves undisturbed, and the bytes at which its disk is full."""
    return request.param, jobs.content(undisturbed(request.param)[0]), ROOM[request.param]


def test_a_full_disk(inputs, tmp_path, calm):
    job, expected, room = calm
    with small_disk(tmp_path / "disk", room) as disk, tried(f"full disk, {job.__name__}"):
        with pytest.raises(Exception) as caught:
            job(inputs, disk)
        assert refused(caught.value), repr(caught.value)
        for name, data in jobs.content(disk).items():  # what stands under its name is whole
            if not name.endswith(".tmp") and Path(name).name.startswith(("shard-", "config.json", "targets")):
                assert data == expected[name], name
        mount("-o", "remount,size=64m", str(disk))
        jobs.finish(job, inputs, disk)
        assert jobs.content(disk) == expected


def test_a_quota(inputs, tmp_path, calm):
    job, expected, _ = calm
    with tried(f"quota, {job.__name__}"):
        with short_files(2_000), pytest.raises(Exception) as caught:
            job(inputs, tmp_path)
        assert refused(caught.value), repr(caught.value)
        jobs.finish(job, inputs, tmp_path)
        assert jobs.content(tmp_path) == expected


def test_a_model_saved_on_a_full_disk_leaves_the_older_one(tmp_path):
    older = jobs.made_axis(0)
    older.save(tmp_path / "axis")
    with tried("quota, a model saved over an older one"):
        with short_files(100), pytest.raises(OSError):
            jobs.made_axis(1).save(tmp_path / "axis")
        assert np.array_equal(EmotionAxis.load(tmp_path / "axis").direction_, older.direction_)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["axis"]


# ------------------------------------------------------------------------------------- read-only


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder, root included, whom modes don't stop."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_store_serves_what_it_has_and_says_that_more_can_not_be_written(
    inputs, tmp_path, monkeypatch
):
    monkeypatch.setattr("emolib.store.BLOCK_CLIPS", jobs.BLOCK)
    manifest, url = jobs.read_manifest(inputs), tmp_path / "store"
    pooled = extract(manifest.iloc[:12], jobs.Slow(), url=url).store.pooled(1)
    before = jobs.content(url)
    with read_only(url):
        with tried("read-only store, finished"):
            assert np.array_equal(FeatureStore(url).pooled(1), pooled)
            again = extract(manifest.iloc[:12], jobs.Slow(), url=url)
            assert (again.n_new, again.n_cached) == (0, 12)
        with (
            tried("read-only store, clips missing"),
            pytest.raises(OSError, match=r"Read-only|Permission denied"),
        ):
            extract(manifest, jobs.Slow(), url=url)
    assert jobs.content(url) == before
    assert len(extract(manifest, jobs.Slow(), url=url).store) == 24
