"""A grid of notebooks on two Dask workers, one of them killed midway, against the same grid in series.

2 corpora x 3 encoders x 2 seeds of notebooks 01 and 02: some twenty minutes of one core. Each way has a home
of its own, so that neither finds features that the other extracted.
"""

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from samples import save_model

from emolib import demo, paths, scheduling, sweep

ENCODERS = (paths.SHIPPED_ENCODER, f"random:{paths.SHIPPED_ENCODER}", "hubert-tiny")
GRID = """
name: killed
notebooks: ["01", "02"]
parameters: {CORPUS: folder, DEVICE: cpu}
axes:
  TABLE: [one.csv, two.csv]
  ENCODER: [%s]
  SEED: [0, 1]
"""


def write_home(home: Path, clips: pd.DataFrame) -> sweep.Grid:
    """Make a home with the notebooks, three encoders, and two corpora cut from the demo corpus."""
    (home / "models").mkdir(parents=True)
    for name in (paths.SHIPPED_ENCODER, "hifigan-nano"):
        (home / "models" / name).symlink_to(paths.models() / name)
    (home / "notebooks").symlink_to(paths.notebooks())
    save_model(home / "models" / "hubert-tiny", "hubert")
    for name, voices in (("one", ("F1", "F2", "M1", "M2")), ("two", ("F3", "F4", "M3", "M4"))):
        clips[clips["speaker"].isin(voices)].to_csv(home / f"{name}.csv", index=False)
    (home / "grid.yaml").write_text(GRID % ", ".join(ENCODERS))
    os.environ["EMOLIB_HOME"] = str(home)
    return sweep.read_grid(home / "grid.yaml")


def cut_clips() -> pd.DataFrame:
    """Return 64 clips of the demo corpus: eight voices, four emotions, two sentences, one take."""
    folder = demo.build()
    table = pd.read_csv(folder / "demo.csv", dtype=str, keep_default_na=False)
    table["path"] = [str(folder / path) for path in table["path"]]
    chosen = table["emotion"].isin(["neutral", "calm", "happy", "angry"]) & table["clip"].str.endswith("t1")
    return table[chosen & table["text_id"].isin(sorted(table["text_id"].unique())[:2])]


def records(home: Path, grid: sweep.Grid) -> dict[tuple[int, str], object]:
    """Return every result of a sweep, by the cell's place in the grid and the notebook."""
    return {
        (place, path.stem): json.loads(path.read_text())
        for place, name in enumerate(grid.cells)
        for path in sorted(home.glob(f"runs/sweep-killed/{name}/results/*.json"))
    }


def on_two_workers(grid: sweep.Grid) -> tuple[dict[str, int], int]:
    """Execute the grid on two workers, kill one half way; return what became of cells, and how many died."""
    killed: list[int] = []
    tell = sweep.batch._Progress.tell
    with scheduling.connect("local", n_workers=2) as client:
        client.wait_for_workers(2, timeout=120)

        def tell_and_kill(self, entry, cell=""):
            tell(self, entry, cell)
            if not killed and self._ended >= self._total // 2:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        sweep.batch._Progress.tell = tell_and_kill
        try:
            ended = sweep.run_grid(grid, client=client)
        finally:
            sweep.batch._Progress.tell = tell
    return ended.count(), len(killed)


@pytest.mark.long
def test_a_grid_on_workers_of_which_one_dies_ends_as_in_series(tmp_path, monkeypatch):
    for name, value in scheduling.ONE_THREAD.items():  # in series as on workers: last bits depend on it
        monkeypatch.setenv(name, value)
    clips = cut_clips()
    monkeypatch.setenv("EMOLIB_HOME", str(paths.home()))
    shared = write_home(tmp_path / "workers", clips)
    count, n_killed = on_two_workers(shared)
    found = records(tmp_path / "workers", shared)
    assert n_killed == 1 and count["failed"] == 0
    assert len(found) == len(shared.cells) * len(shared.notebooks)
    monkeypatch.delenv("EMOLIB_HOME")
    serial = write_home(tmp_path / "series", clips)
    assert sweep.run_grid(serial).count()["failed"] == 0
    assert records(tmp_path / "series", serial) == found
