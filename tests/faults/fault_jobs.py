"""Short work that the tests disturb: each job gets a folder of inputs and one to leave its results in.

The modules are imported once, by a server process that forks for every try: a job starts in milliseconds.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import HIFIGAN, MAPPING, NANO, PRETRAINING, VOCODING, speech, write_corpus, write_notebook
from test_features import Fake

from emolib import audio, corpora, features, files, mapper, store, sweep
from emolib.axis import EmotionAxis
from emolib.corpora import fetch as fetching
from emolib.store import FeatureStore, StoreConfig

HERE = Path(__file__).resolve().parent
Job = Callable[[Path, Path], None]
BLOCK = 3


@dataclass
class Slow(Fake):
    """An encoder that takes its time."""

    pause_s: float = 0.0

    def encode(self, waves, sample_rate):
        time.sleep(self.pause_s)
        return super().encode(waves, sample_rate)


# ------------------------------------------------------------------------------------- what is disturbed


def write_inputs(folder: Path) -> Path:
    """Write what the jobs read: clips with their manifest, and frames with their mel-spectrograms."""
    write_corpus(folder / "clips", 24).to_csv(folder / "manifest.csv", index=False)
    voices = [audio.write(folder / "voices" / f"{n}.wav", speech(1.0, seed=n), 16_000) for n in range(6)]
    rows = [{"path": str(path), "corpus": "toy", "speaker": f"s{n // 2}"} for n, path in enumerate(voices)]
    pd.DataFrame(rows).to_csv(folder / "voices.csv", index=False)
    rng = np.random.default_rng(0)
    store = FeatureStore.open(folder / "frames", StoreConfig("made", "abc", (0,), 12, 0.02, frames=True))
    clips = [f"c{n}" for n in range(9)]
    store.append(clips, ["0"] * 9, [rng.standard_normal((1, 40, 12)).astype(np.float32) for _ in clips])
    return folder


def read_manifest(inputs: Path) -> pd.DataFrame:
    return corpora.read(inputs / "manifest.csv")


def extract(inputs: Path, out: Path) -> None:
    """Encode 24 clips into a store of eight shards."""
    store.BLOCK_CLIPS = BLOCK
    features.extract(read_manifest(inputs), Slow(pause_s=0.03), frames=True, url=out / "store")


def train_encoder(inputs: Path, out: Path) -> None:
    """Pretrain a tiny network for twelve steps."""
    manifest = pd.read_csv(inputs / "voices.csv")
    NANO.pretrain(manifest, out / "encoder", PRETRAINING, device="cpu", progress=False)


def train_mapper(inputs: Path, out: Path) -> None:
    """Train a tiny mapper for twelve steps."""
    store = FeatureStore(inputs / "frames")
    speakers = [f"s{n % 3}" for n in range(9)]
    manifest = pd.DataFrame({"clip": store.clips, "speaker": speakers, "sha256": "0", "corpus": "made"})
    rng = np.random.default_rng(1)
    n_frames = mapper.network.mel_frames(40)
    mels = {clip: rng.standard_normal((n_frames, 80)).astype(np.float32) for clip in store.clips}
    mapper.train(
        manifest, store, 0, out / "mapper", MAPPING, mels=mels, device="cpu",
        vocode=lambda mel: np.full(len(mel) * 256, 0.1, np.float32),
    )  # fmt: skip


def train_vocoder(inputs: Path, out: Path) -> None:
    """Train a tiny vocoder for six steps, the last two against its judges."""
    manifest = pd.read_csv(inputs / "voices.csv").assign(emotion="sad")
    HIFIGAN.train_vocoder(manifest, out / "vocoder", VOCODING, device="cpu", progress=False)


def made_axis(number: int) -> EmotionAxis:
    """Return an axis that its number decides: of two classes, in as many dimensions as it says."""
    rng = np.random.default_rng(number)
    X = rng.standard_normal((20, 3 + number))
    return EmotionAxis(method="mean-difference").fit(X, np.array(["calm", "angry"] * 10))


def save_axes(inputs: Path, out: Path) -> None:
    """Save two axes over each other, again and again."""
    axes = [made_axis(number) for number in (0, 1)]
    for turn in range(60):
        axes[turn % 2].save(out / "axis")


def write_results(inputs: Path, out: Path) -> None:
    """Write a file of a few kilobytes over itself, again and again, each time with other content."""
    for turn in range(120):
        files.write_file(out / "results.json", json.dumps([turn] * 1_000).encode())


def fetch_archive(inputs: Path, out: Path) -> None:
    """Fetch a corpus from the server that inputs/source.json names."""
    source = json.loads((inputs / "source.json").read_text())
    fetching.SOURCES["ravdess"] = fetching.Source(**source)
    fetching.fetch("ravdess", out / "ravdess", progress=False)


def write_notebooks(home: Path) -> Path:
    """Write a home with one small notebook that records a number, and a grid of two seeds for it."""
    work = "from emolib import results\nresults.record('00_square', {'square': SEED**2})"
    write_notebook(home, "00_square", "SEED = 0", work)
    (home / "grid.yaml").write_text("name: squares\naxes: {SEED: [3, 4]}\n")
    return home


def sweep_seeds(inputs: Path, out: Path) -> None:
    """Execute a grid of two cells."""
    os.environ["EMOLIB_HOME"] = str(out)
    if not (out / "notebooks").exists():
        write_notebooks(out)
    ended = sweep.run_grid(sweep.read_grid(out / "grid.yaml"))
    (out / "count.json").write_text(json.dumps(ended.count()))


# ------------------------------------------------------------------------------------- disturbing it


def start(job: Job, inputs: Path, out: Path) -> BaseProcess:
    """Start a job in a process of its own."""
    out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fault_jobs"])
    process = context.Process(target=_run, args=(job.__name__, inputs, out))
    places = os.pathsep.join(str(place) for place in (HERE, HERE.parent, HERE.parents[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", places)  # the server does not inherit sys.path
        process.start()
    return process


def _run(name: str, inputs: Path, out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    (out / "started").touch()
    globals()[name](inputs, out)


def finish(job: Job, inputs: Path, out: Path) -> float:
    """Run a job to its end and return its seconds."""
    process = start(job, inputs, out)
    _wait_for(out / "started", process)
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0, f"{job.__name__} ended with {process.exitcode}"
    return time.monotonic() - started


def kill(job: Job, inputs: Path, out: Path, after_s: float) -> None:
    """Run a job and kill it after some seconds."""
    process = start(job, inputs, out)
    _wait_for(out / "started", process)
    time.sleep(after_s)
    process.kill()
    process.join()


def _wait_for(path: Path, process: BaseProcess) -> None:
    while not path.exists() and process.is_alive():
        time.sleep(0.001)


def content(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, by name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def spoil(path: Path, harm: str) -> None:
    """Damage a file, or take it away."""
    data = path.read_bytes()
    garbage = np.random.default_rng(0).bytes(len(data))
    harmed = {"cut": data[: len(data) // 2], "empty": b"", "null": b"null", "list": b"[]", "garbage": garbage}
    path.unlink() if harm == "gone" else path.write_bytes(harmed[harm])
