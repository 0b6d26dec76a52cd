"""What the jobs of every fault read, and what each leaves undisturbed."""

import functools
from collections.abc import Callable
from pathlib import Path

import fault_jobs as jobs
import pytest


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    return jobs.write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def undisturbed(inputs, tmp_path_factory) -> Callable[[jobs.Job], tuple[Path, float]]:
    """Return a function of a job that gives the folder of an undisturbed run, and its seconds."""

    @functools.cache
    def run(job: jobs.Job) -> tuple[Path, float]:
        out = tmp_path_factory.mktemp(job.__name__)
        return out, jobs.finish(job, inputs, out)

    return run
