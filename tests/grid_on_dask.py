"""A grid of notebooks on two Dask workers, one of them killed midway, against the same grid in series.

Not collected by pytest, for it takes some twenty minutes of one core: ``python tests/grid_on_dask.py``.
2 corpora x 3 encoders x 2 seeds of notebooks 01 and 02; ``--cells 2`` takes fewer. Each way has a home of its
own, so that neither finds features that the other extracted. Exit code 1 unless every cell ends and every
result is equal.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import transformers
from samples import save_model

from emolib import demo, paths, scheduling, sweep

ENCODERS = (paths.DEFAULT_ENCODER, f"random:{paths.DEFAULT_ENCODER}", "hubert-tiny")
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
    for name in (paths.DEFAULT_ENCODER, "hifigan-nano"):
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


def main(n_cells: int | None) -> int:
    """Run both ways and compare."""
    transformers.logging.disable_progress_bar()
    os.environ.update(scheduling.ONE_THREAD)  # in series as on workers: last bits depend on it
    clips, found, counts, seconds = cut_clips(), {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        real = paths.home()
        for way in ("two workers, one killed", "in series"):
            os.environ["EMOLIB_HOME"] = str(real)
            home = Path(folder) / way.replace(" ", "-").replace(",", "")
            grid = write_home(home, clips)
            grid = sweep.Grid(grid.name, grid.notebooks, dict(list(grid.cells.items())[:n_cells]))
            started = time.monotonic()
            if way == "in series":
                counts[way] = sweep.run_grid(grid).count()
            else:
                counts[way], n_killed = on_two_workers(grid)
                print(f"workers killed: {n_killed}")
            seconds[way] = time.monotonic() - started
            found[way] = records(home, grid)
    for way, count in counts.items():
        print(f"{way}: {count}, {len(found[way])} results, {seconds[way]:.0f} s")
    one, two = found.values()
    n_expected = len(grid.cells) * len(grid.notebooks)
    print(f"{sum(one[place] == two.get(place) for place in one)} of {n_expected} results are equal")
    return 0 if one == two and len(one) == n_expected else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, help="only the first so many cells")
    sys.exit(main(parser.parse_args().cells))
