"""The command line: each command a few lines over the package.

Errors that a user can mend are one sentence on standard error and exit code 2. With ``--json`` the last line
of output is one JSON object.
"""

import contextlib
import json
import math
import runpy
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from typer.core import TyperGroup

from emolib import __version__
from emolib.paths import DEFAULT_ENCODER

#: What typer raises for an unknown command, option or value; it exports only a subclass.
_UsageError: Any = typer.BadParameter.__base__


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader of our output had enough
        raise
    except (ValueError, OSError, _UsageError) as error:
        message = error.format_message() if isinstance(error, _UsageError) else str(error)
        print("emolib:", *(line.strip() for line in message.splitlines()), file=sys.stderr)
        raise typer.Exit(2) from None


class _Commands(TyperGroup):
    """Show what a user can mend as one sentence instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            return super().parse_args(ctx, args)  # shows the help
        with _one_sentence():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A lab for the geometry of emotion in speech.",
)


class Folds(StrEnum):
    """Ways to cut a corpus into folds."""

    speaker = "speaker"
    loso = "loso"
    emobox = "emobox"
    random = "random"


class PoolingName(StrEnum):
    """Ways to pool frames."""

    mean = "mean"
    mean_std = "mean+std"


class Profile(StrEnum):
    """How much the notebooks compute."""

    quick = "quick"
    full = "full"


class PrecisionName(StrEnum):
    """Number types that an encoder computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


CorpusName = Annotated[
    str | None, typer.Argument(metavar="CORPUS", help="A name that `emolib corpora` lists; demo by default.")
]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="The corpus, in place of CORPUS.")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="The corpus's folder, $EMOLIB_CORPORA/CORPUS by default; for --manifest, where its paths start.",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option("--manifest", help="Your own corpus: a CSV with at least path, speaker and emotion."),
]
EncoderName = Annotated[
    str,
    typer.Option(
        "--encoder",
        help="wav2vec2-nano, logmel, prosody, a folder, a Hugging Face id, or random:<network>.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<n>.")]
AsJson = Annotated[bool, typer.Option("--json", help="End the output with one JSON object.")]
Precision = Annotated[
    PrecisionName, typer.Option("--precision", help="What to compute in; bfloat16 takes half the time.")
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Folder or fsspec URL of the features; data/features/CORPUS/ENCODER by default."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A lab for the geometry of emotion in speech."""


@app.command("corpora")
def list_corpora(as_json: AsJson = False) -> None:
    """List the corpora, whether each is at hand, and how to get it."""
    from emolib import corpora, paths

    cards = [corpora.info(name) for name in corpora.names()]
    rows = [
        {
            "name": card.name,
            "title": card.title,
            "clips": card.clips,
            "licence": card.licence,
            "at_hand": card.name == "demo" or paths.corpus(card.name).is_dir(),
            "source": card.source,
        }
        for card in cards
    ]
    for card, row in zip(cards, rows, strict=True):
        state = "at hand" if row["at_hand"] else card.source
        print(f"{card.name:8} {card.clips or '':>6}  {card.title} ({card.licence}): {state}")
    _finish({str(row["name"]): row for row in rows}, as_json)


@app.command()
def fetch(
    corpus: Annotated[str, typer.Argument(help="The corpus's name.")],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Download a corpus from its publisher: resumed, checked and safely unpacked."""
    from emolib.corpora.fetch import fetch as download

    folder = download(corpus, root)
    print(f"{corpus} is in {folder}")
    _finish({"corpus": corpus, "folder": str(folder)}, as_json)


@app.command()
def manifest(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the manifest here, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read a corpus into its manifest, decoding every clip.

    JSON: clips, speakers, emotions, duplicates, skipped.
    """
    from emolib import corpora

    clips = _load(corpus, corpus_option, root, table)
    for note in clips.attrs["notes"]:
        print(note)
    for entry in clips.attrs["skipped"]:
        print(f"skipped {entry['path']}: {entry['reason']}")
    for entry in clips.attrs["duplicates"]:
        print(f"duplicate {entry['path']}: same content as {entry['clip']}")
    counts = clips["emotion"].value_counts()
    by_emotion = {str(name): int(n) for name, n in counts.items()}
    print(counts.to_string())
    if out:
        corpora.save(clips, out)
        print(f"wrote {out}")
    _finish(
        {
            "clips": len(clips),
            "speakers": clips["speaker"].nunique(),
            "emotions": clips["emotion"].nunique(),
            "duplicates": len(clips.attrs["duplicates"]),
            "skipped": len(clips.attrs["skipped"]),
            "by_emotion": by_emotion,
            "hours": round(float(clips["duration_s"].sum()) / 3600, 4),
        },
        as_json,
    )


@app.command()
def extract(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            help="0 is the transformer's input, k the output of block k; several with commas, or all.",
        ),
    ] = "all",
    frames: Annotated[
        bool, typer.Option(help="Keep every frame as well, some 100 kB a clip and layer.")
    ] = True,
    device: Device = "auto",
    precision: Precision = PrecisionName.float32,
    store: Annotated[
        str | None,
        typer.Option(
            "--out", "--store", help="Folder or fsspec URL to write; data/features/CORPUS/ENCODER by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Encode a corpus into its feature store; what is there already is kept."""
    from emolib import features

    clips = _load(corpus, corpus_option, root, table)
    layers = None if layer == "all" else [_number(part) for part in layer.split(",")]
    done = features.extract(
        clips, encoder, layers=layers, frames=frames, url=store, device=device,
        precision=precision.value, progress=sys.stderr.isatty(),
    )  # fmt: skip
    for entry in done.skipped:
        print(f"skipped {entry['clip']}: {entry['reason']}")
    print(f"{done.n_new} clips encoded in {done.seconds:.1f} s, {done.n_cached} were there: {done.store.url}")
    _finish(
        {
            "clips": len(done.store),
            "new": done.n_new,
            "cached": done.n_cached,
            "skipped": len(done.skipped),
            "layers": list(done.store.config.layers),
            "seconds": round(done.seconds, 3),
            "speech_s": round(done.speech_s, 3),
            "store": done.store.url,
        },
        as_json,
    )


@app.command("export-npy")
def export_npy(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        int, typer.Option("--layer", help="The layer to write; 0 is the transformer's input.")
    ] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", help="Folder to write the tree into.")] = Path("features_npy"),
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write one layer as the classic tree Actor_01/<clip>.npy of (time, features) arrays."""
    from emolib import features

    clips = _load(corpus, corpus_option, root, table)
    done = features.extract(clips, encoder, layers=[layer], frames=True, url=store, device=device)
    there = clips[~done.store.missing(clips)]
    n = features.export_npy(done.store, there, out, layer)
    for entry in done.skipped:
        print(f"skipped {entry['clip']}: {entry['reason']}")
    print(f"wrote {n} files to {out}")
    _finish({"files": n, "skipped": len(done.skipped), "folder": str(out)}, as_json)


@app.command()
def probe(
    corpus: CorpusName = None,
    corpus_option: CorpusOption = None,
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    layer: Annotated[
        str, typer.Option("--layer", help="A layer, or best: chosen on each fold's training speakers.")
    ] = "best",
    pooling: Annotated[
        PoolingName, typer.Option("--pooling", help="How to pool frames.")
    ] = PoolingName.mean_std,
    folds: Annotated[
        Folds, typer.Option("--folds", help="emobox is for ravdess; random leaks speakers.")
    ] = Folds.speaker,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the cut.")] = 0,
    store: Store = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write each clip's held-out answer here, as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Probe an encoder's layers for emotion; JSON: ua, ua_low, ua_high, wa, macro_f1, layer, n."""
    from emolib import features, probing, splits

    clips = _load(corpus, corpus_option, root, table)
    layers = None if layer == "best" else [_number(layer)]
    done = features.extract(
        clips, encoder, layers=layers, url=store, device=device, progress=sys.stderr.isatty()
    )
    for entry in done.skipped:
        print(f"skipped {entry['clip']}: {entry['reason']}")
    clips = clips[~done.store.missing(clips)].reset_index(drop=True)
    chosen = list(done.store.config.layers) if layers is None else layers
    X = {k: done.store.pooled(k, pooling.value, clips["clip"].tolist()) for k in chosen}
    cut = splits.folds(clips, folds.value, seed=seed)
    answer = probing.choose_layer(X, clips, cut, scheme="random" if folds is Folds.random else "speaker")
    ua = answer.ua
    n_speakers, chance = clips["speaker"].nunique(), 1 / clips["emotion"].nunique()
    print(f"{len(clips)} clips, {n_speakers} speakers, {folds.value} folds, layer {answer.layer}")
    print(f"UA {ua}, chance {chance:.3f}, WA {answer.wa:.3f}, macro-F1 {answer.macro_f1:.3f}")
    if out:
        clips[["clip", "speaker", "emotion"]].assign(predicted=answer.y_pred).to_csv(out, index=False)
    _finish(
        {
            "ua": ua.value,
            "ua_low": ua.low,
            "ua_high": ua.high,
            "wa": answer.wa,
            "macro_f1": answer.macro_f1,
            "layer": answer.layer,
            "n": len(answer),
        },
        as_json,
    )


@app.command()
def pretrain(
    corpora_names: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS...", help="Corpora to learn from; demo by default.")
    ] = None,
    table: Table = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the network; one in it is taken up.")] = Path(
        "models/pretrained"
    ),
    steps: Annotated[int | None, typer.Option("--steps", help="Steps; the recipe's by default.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights, crops and masks.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from a checkpoint in --out.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a small wav2vec 2.0 network on speech, without its labels; resumes after a kill.

    JSON: folder, steps, loss, clips, skipped, speech_s, seconds.
    """
    from dataclasses import replace

    from emolib import pretrain as pretraining

    names = corpora_names or (["folder"] if table else ["demo"])
    clips = pd.concat([_load(name, None, None, table if name == "folder" else None) for name in names])
    settings = replace(pretraining.Settings(), seed=seed)
    settings = replace(settings, steps=steps) if steps is not None else settings
    done = pretraining.pretrain(
        clips, out, settings, device=device, resume=resume, progress=sys.stderr.isatty()
    )
    for entry in done.skipped:
        print(f"skipped {entry['path']}: {entry['reason']}")
    loss = float(done.validation["loss"].iloc[-1])
    print(f"{done.steps} steps on {done.n_clips} clips, held-out loss {loss:.3f}: {done.folder}")
    _finish(
        {
            "folder": str(done.folder),
            "steps": done.steps,
            "loss": loss,
            "clips": done.n_clips,
            "skipped": len(done.skipped),
            "speech_s": round(done.speech_s, 1),
            "seconds": round(done.seconds, 1),
        },
        as_json,
    )


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NOTEBOOK...", help="Beginnings of names, such as 01; all by default."),
    ] = None,
    corpus: Annotated[str, typer.Option("--corpus", help="A name that `emolib corpora` lists.")] = "demo",
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    profile: Annotated[
        Profile, typer.Option("--profile", help="quick is for two cores, full for an accelerator.")
    ] = Profile.quick,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", help="The notebooks' SEED.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Execute the notebooks into a new folder of runs/; exit code 1 if one fails.

    JSON: notebooks, failed, seconds, summary.
    """
    from emolib import corpora, paths, sweep

    corpora.info(corpus)
    parameters: dict[str, Any] = {
        "CORPUS": corpus, "ENCODER": encoder, "PROFILE": profile.value, "DEVICE": device, "SEED": seed,
    }  # fmt: skip
    parameters |= {"ROOT": str(root.absolute())} if root else {}
    parameters |= {"TABLE": str(table.absolute())} if table else {}
    folder, ended = sweep.run(parameters, names)
    failed = [entry for entry in ended if entry.error]
    print((folder / "summary.md").read_text())
    for entry in ended:
        print(f"{entry.notebook:24} {entry.seconds:6.0f} s  {entry.error or 'ok'}")
    print(f"notebooks {folder}\nfigures   {paths.gallery(corpus, encoder)}")
    seconds = sum(entry.seconds for entry in ended)
    _finish(
        {
            "notebooks": len(ended),
            "failed": len(failed),
            "seconds": round(seconds, 1),
            "summary": str(folder / "summary.json"),
        },
        as_json,
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Scripts of benchmarks/, such as extraction; all by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each part against what a user would pick instead, in one process; JSON: one ratio each."""
    from emolib import paths

    scripts = {path.stem: path for path in sorted((paths.home() / "benchmarks").glob("[a-z]*.py"))}
    if not scripts:
        raise ValueError(f"no comparisons in {paths.home() / 'benchmarks'}; run this in a checkout of emolib")
    if unknown := sorted(set(names or []) - set(scripts)):
        raise ValueError(f"no comparison {', '.join(unknown)}; expected: {', '.join(scripts)}")
    ratios: dict[str, float] = {}
    for name in names or scripts:
        ratios |= runpy.run_path(str(scripts[name]))["measure"]()
    for name, value in ratios.items():
        print(f"{name:32} {value:.4g}")
    _finish(ratios, as_json)


def _load(corpus: str | None, option: str | None, root: Path | None, table: Path | None) -> pd.DataFrame:
    from emolib import corpora

    if corpus and option and corpus != option:
        raise ValueError(f"two corpora, {corpus!r} and --corpus {option!r}; expected one")
    name = corpus or option or ("folder" if table else "demo")
    return corpora.load(name, root, table)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"layer {text!r}; expected a whole number") from None


def _finish(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        known = {name: None if _is_nan(value) else value for name, value in result.items()}
        print(json.dumps(known, allow_nan=False, default=_plain))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
