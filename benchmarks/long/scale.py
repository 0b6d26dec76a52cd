"""Time and memory of everything but the encoder, from a thousand clips to ten million.

``python benchmarks/long/scale.py`` simulates manifests and stores of 10^3 to 10^7 clips, with four numbers a
clip in place of an encoder's, and takes each through all stages, every stage in a process of its own. What
plans an extraction or reads it goes by parts of a hundred thousand clips; folds and scores need their table
in memory, and end at a million. It writes docs/scale.csv, docs/scale_worker.csv, the figure docs/img/scale
and the table in docs/scale.md; ``--draw`` writes the last two again.
``--extraction`` measures real encoders on clips of RAVDESS instead and writes docs/scale_extraction.csv.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emolib import audio, corpora, encoders, features, metrics, splits, store
from emolib.corpora import manifest as manifests
from emolib.store import FeatureStore, StoreConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
PART, MOST_IN_MEMORY = 100_000, 1_000_000
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CLIPS_A_SPEAKER, BLOCK = 100, store.BLOCK_CLIPS
CONFIG = StoreConfig("four-numbers", "none", (0,), 4, 0.02, frames=False)


@dataclass
class FourNumbers:
    """An encoder that takes no time."""

    name: str = CONFIG.encoder
    sample_rate: int = 16_000
    layers: tuple[int, ...] = CONFIG.layers
    width: int = CONFIG.width
    hop_s: float = CONFIG.hop_s
    fingerprint: str = CONFIG.fingerprint

    def encode(self, waves, sample_rate):
        return [np.full((1, 2, 4), len(wave), np.float32) for wave in waves]


def simulated(numbers: range, wave: Path) -> pd.DataFrame:
    """Return the manifest of some clips, a hundred a speaker, which all lie in one file."""
    rng = np.random.default_rng(numbers.start)
    text = {
        "clip": [f"clip-{i:09d}" for i in numbers],
        "corpus": "simulated",
        "path": str(wave),
        "speaker": [f"{i // CLIPS_A_SPEAKER:07d}" for i in numbers],
        "gender": ["female" if i // CLIPS_A_SPEAKER % 2 else "male" for i in numbers],
        "emotion": np.array(EMOTIONS)[rng.integers(0, len(EMOTIONS), len(numbers))],
        "intensity": "normal",
        "text_id": [f"{i % 40:02d}" for i in numbers],
        "language": "en",
        "sha256": [f"{i:064x}" for i in numbers],
    }
    table = pd.DataFrame(text | {"sample_rate": 16_000, "channels": 1, "duration_s": 3.0})
    table["label"] = table["emotion"]
    for column in manifests.COLUMNS:
        if column not in table:
            is_real = column in ("start_s", "end_s", "arousal", "valence", "dominance")
            table[column] = np.nan if is_real else ""
    return table[list(manifests.COLUMNS)]


def parts(n: int) -> list[range]:
    """Return the clips of each part of a manifest."""
    return [range(start, min(start + PART, n)) for start in range(0, n, PART)]


# ------------------------------------------------------------------------------------- stages


def fill(folder: Path, n: int) -> None:
    """Write the shards of all blocks but the last as a worker does, and note its memory on the way."""
    rng, rows = np.random.default_rng(0), []
    for k, part in enumerate(parts(n)):
        url = folder / "store" / f"part-{k:05d}"
        FeatureStore.open(url, CONFIG)
        for number, start in enumerate(part[::BLOCK]):
            block = range(start, min(start + BLOCK, part.stop))
            if block.stop == n:
                break
            clips, digests = [f"clip-{i:09d}" for i in block], [f"{i:064x}" for i in block]
            states = list(rng.standard_normal((len(block), 1, 2, 4), dtype=np.float32))
            FeatureStore.join(url, CONFIG).append(clips, digests, states, number=number)
            if not rows or block.stop >= 10 * rows[-1]["clips"]:
                rows.append({"clips": block.stop, "MiB": resident_mib()})
    rows.append({"clips": block.start, "MiB": resident_mib()})
    pd.DataFrame(rows).to_csv(folder / "worker.csv", index=False)


def read_manifest(folder: Path, n: int) -> None:
    """Read the manifest's CSV by parts."""
    assert sum(map(len, manifests.read_parts(folder / "manifest.csv", PART))) == n


def split(folder: Path, n: int) -> None:
    """Read the manifest as a whole, and cut it into six folds of whole speakers."""
    assert len(splits.folds(manifests.read(folder / "manifest.csv"), "speaker")) == 6


def index(folder: Path, n: int) -> None:
    """Build the index of each part anew from the headers of all its shards."""
    n_clips = 0
    for part in sorted((folder / "store").glob("part-*")):
        (part / "index.csv").unlink(missing_ok=True)
        opened = FeatureStore(part)
        with opened.writing():
            pass
        n_clips += len(opened)
    assert n - BLOCK <= n_clips < n


def resume(folder: Path, n: int) -> None:
    """Go on with an extraction that lacks its last block."""
    table, url = folder / "manifest.csv", folder / "store"
    found = features.extract_parts(table, FourNumbers(), url=url, clips=PART)
    assert 0 < sum(done.n_new for _, done in found) <= BLOCK


def pooled(folder: Path, n: int) -> None:
    """Read every pooled vector, by parts."""
    opened = map(FeatureStore, sorted((folder / "store").glob("part-*")))
    assert sum(len(part.pooled(0)) for part in opened) == n


def report(folder: Path, n: int) -> None:
    """Score one answer a clip, with its interval over speakers."""
    table = manifests.read(folder / "manifest.csv")
    answers = table["emotion"].sample(frac=1, random_state=0).to_numpy()
    truth, speakers = table["emotion"].to_numpy(), table["speaker"].to_numpy()
    metrics.ua_interval(truth, answers, speakers)


STAGES = (fill, read_manifest, split, index, resume, pooled, report)


def resident_mib() -> float:
    """Return the memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def stage_here(name: str, folder: Path, n: int) -> dict[str, float | int | str]:
    """Run one stage in this process; return its seconds, on the clock and of the processor, and its peak.

    The peak is that above the imported packages. Seconds of the processor don't grow where a machine is busy.
    """
    before, started, used = resident_mib(), time.perf_counter(), time.process_time()
    globals()[name](folder, n)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    status = Path("/proc/self/status").read_text()  # not getrusage: it counts a parent's memory too
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {
        "stage": name,
        "clips": n,
        "clock_s": round(seconds, 3),
        "cpu_s": round(used, 4),
        "MiB": round(peak - before, 1),
    }


def stage(name: str, folder: Path, n: int) -> dict[str, float | int | str]:
    """Run one stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--clips", str(n)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def measure(sizes: tuple[int, ...]) -> pd.DataFrame:
    """Take manifests of each size through all stages; of workers' memory, the largest one's is kept."""
    rows: list[dict[str, float | int | str]] = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            wave = audio.write(folder / "wave.wav", np.full(16_000, 0.1, np.float32), 16_000)
            for part in parts(n):
                simulated(part, wave).to_csv(
                    folder / "manifest.csv", mode="a", header=not part.start, index=False, lineterminator="\n"
                )
            for each in STAGES:
                if n > MOST_IN_MEMORY and each in (split, report):
                    continue
                rows.append(stage(each.__name__, folder, n))
                print(rows[-1], file=sys.stderr, flush=True)
                pd.DataFrame(rows).to_csv(DOCS / "scale.csv", index=False)  # what there is if this is stopped
                worker = pd.read_csv(folder / "worker.csv")
                worker.to_csv(DOCS / "scale_worker.csv", index=False, float_format="%.1f")
            for what in ("manifest.csv", "index.csv"):
                size = sum(path.stat().st_size for path in folder.rglob(what))
                rows.append({"stage": f"{what}, bytes a clip", "clips": n, "bytes": round(size / n, 1)})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------- real encoders


def measure_extraction(n_clips: int) -> pd.DataFrame:
    """Extract clips of RAVDESS with one thread; seconds and bytes a clip."""
    manifest = corpora.load("ravdess").sample(n_clips, random_state=0).sort_values("clip")
    rows = []
    for name, layers in (("wav2vec2-nano", None), ("random:facebook/wav2vec2-base", None)):
        encoder = encoders.load(name, layers=layers, device="cpu")
        for frames in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                used = time.process_time()
                ended = features.extract(manifest, encoder, frames=frames, url=folder)
                used = time.process_time() - used
                shards = sum(path.stat().st_size for path in Path(folder).glob("shard-*"))
            rows.append(
                {
                    "encoder": name, "layers": len(encoder.layers), "width": encoder.width, "frames": frames,
                    "clips": n_clips, "speech_s": round(ended.speech_s / n_clips, 3),
                    "clock_s": round(ended.seconds / n_clips, 4), "cpu_s": round(used / n_clips, 4),
                    "bytes": round(shards / n_clips),
                }
            )  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------- the figure

NAMES = {
    "read_manifest": "read the manifest, by parts", "index": "index from all shards, by parts",
    "resume": "resume, one block missing, by parts", "pooled": "read all vectors, by parts",
    "split": "read the manifest whole, cut folds", "report": "read the manifest whole, score with interval",
}  # fmt: skip


def draw(table: pd.DataFrame) -> None:
    """Draw seconds and memory against the number of clips."""
    from matplotlib import pyplot as plt

    from emolib import plots

    plots.use_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), sharex=True)
    shades = [*plots.SERIES, plots.INK, plots.QUIET]
    for (name, label), shade in zip(NAMES.items(), shades, strict=True):
        rows = table[table["stage"] == name]
        left.plot(rows["clips"], rows["cpu_s"], "o-", color=shade, label=label, markersize=4)
        right.plot(rows["clips"], rows["MiB"], "o-", color=shade, markersize=4)
    worker = table[table["stage"] == "fill"]
    right.plot(worker["clips"], worker["MiB"], "s--", color=plots.FAINT, markersize=4)
    right.annotate(
        "a worker", (worker["clips"].iloc[-1], worker["MiB"].iloc[-1]), xytext=(0, 7),
        textcoords="offset points", ha="right", color=plots.FAINT, fontsize=8.5,
    )  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="clips", ylabel="seconds of one processor core", title="Time")
    right.set(
        yscale="log", xlabel="clips", ylabel="MiB above the imported packages", title="Memory at its peak"
    )
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plots.save_figure(fig, "scale", DOCS / "img")
    plt.close(fig)


def tabulate(table: pd.DataFrame) -> None:
    """Write the table of docs/scale.md: seconds of one core and peak memory, by stage and number of clips."""
    sizes = sorted(table["clips"].unique())
    lines = [f"| stage | {' | '.join(f'{n:,} clips' for n in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for name, label in ({"fill": "write the shards, as a worker does"} | NAMES).items():
        rows = table[table["stage"] == name].set_index("clips")
        cells = [f"{rows.cpu_s[n]:.3g} s, {rows.MiB[n]:,.4g} MiB" if n in rows.index else "" for n in sizes]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    page, start, end = DOCS / "scale.md", "<!-- table -->\n", "<!-- end of table -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    text = "\n".join(lines)
    page.write_text(f"{before}{start}{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=[each.__name__ for each in STAGES], help="run this stage alone")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--clips", type=int, default=SIZES[-1], help="the most clips")
    parser.add_argument("--extraction", type=int, metavar="CLIPS", help="measure real encoders instead")
    parser.add_argument("--draw", action="store_true", help="draw the figure again from the tables")
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(stage_here(options.stage, options.folder, options.clips)))
        return
    if options.extraction:
        measure_extraction(options.extraction).to_csv(DOCS / "scale_extraction.csv", index=False)
        return
    if not options.draw:
        sizes = tuple(n for n in SIZES if n <= options.clips)
        measure(sizes).to_csv(DOCS / "scale.csv", index=False)
    draw(pd.read_csv(DOCS / "scale.csv"))
    tabulate(pd.read_csv(DOCS / "scale.csv"))


if __name__ == "__main__":
    main()
