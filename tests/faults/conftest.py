"""What the jobs of every fault read."""

from pathlib import Path

import fault_jobs as jobs
import pytest


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    return jobs.write_inputs(tmp_path_factory.mktemp("inputs"))
