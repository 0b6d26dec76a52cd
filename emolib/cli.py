"""The command line: each command a few lines over the package.

Errors that a user can mend are one sentence on standard error and exit code 2. With ``--json`` the last line
of output is one JSON object.
"""

import json
import runpy
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from typer.core import TyperGroup

from emolib import __version__


class _Commands(TyperGroup):
    """Show what a user can mend as one sentence instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            print(f"emolib: {error}", file=sys.stderr)
            raise typer.Exit(2) from None


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


class PrecisionName(StrEnum):
    """Number types that an encoder computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


CorpusName = Annotated[
    str | None, typer.Argument(metavar="[CORPUS]", help="A corpus's name; demo by default.")
]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="The same as the argument CORPUS.")]
Root = Annotated[Path | None, typer.Option("--root", help="The corpus's folder.")]
Table = Annotated[
    Path | None, typer.Option("--manifest", help="CSV of the corpus `folder`: path, speaker, emotion.")
]
EncoderName = Annotated[str, typer.Option("--encoder", help="A name, folder or Hugging Face id.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<n>.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all that is random.")]
AsJson = Annotated[bool, typer.Option("--json", help="End the output with one JSON object.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where to write.")]
Precision = Annotated[PrecisionName, typer.Option("--precision", help="What to compute in.")]
Store = Annotated[str | None, typer.Option("--store", help="Folder or fsspec URL of the feature store.")]


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
    print(pd.DataFrame(rows).to_string(index=False, na_rep="", max_colwidth=60))
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
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Read a corpus into its manifest, checking every clip; --out writes it as CSV."""
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
    encoder: EncoderName = "wav2vec2-nano",
    layer: Annotated[str, typer.Option("--layer", help="A layer, several with commas, or all.")] = "all",
    frames: Annotated[bool, typer.Option(help="Keep every frame as well.")] = True,
    device: Device = "auto",
    precision: Precision = PrecisionName.float32,
    out: Out = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Encode a corpus into its feature store; what is there already is kept."""
    from emolib import features

    clips = _load(corpus, corpus_option, root, table)
    layers = None if layer == "all" else [_number(part) for part in layer.split(",")]
    done = features.extract(
        clips, encoder, layers=layers, frames=frames, url=store or out, device=device,
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
    encoder: EncoderName = "wav2vec2-nano",
    layer: Annotated[int, typer.Option("--layer", help="The layer to write.")] = 0,
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
    encoder: EncoderName = "wav2vec2-nano",
    layer: Annotated[
        str, typer.Option("--layer", help="A layer, or best: chosen on training folds.")
    ] = "best",
    pooling: Annotated[
        PoolingName, typer.Option("--pooling", help="How to pool frames.")
    ] = PoolingName.mean_std,
    folds: Annotated[Folds, typer.Option("--folds", help="How to cut the corpus.")] = Folds.speaker,
    device: Device = "auto",
    seed: Seed = 0,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Tell how linear emotion is in an encoder's layers, on speakers that the probe never heard."""
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
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NOTEBOOK]...", help="Such as 01; all by default.")
    ] = None,
    corpus: Annotated[str, typer.Option("--corpus", help="The corpus's name.")] = "demo",
    root: Root = None,
    table: Table = None,
    encoder: EncoderName = "wav2vec2-nano",
    profile: Annotated[str, typer.Option("--profile", help="quick or full.")] = "quick",
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Execute the notebooks end to end into a new folder of runs/."""
    from emolib import corpora, paths, sweep

    corpora.info(corpus)
    if profile not in ("quick", "full"):
        raise ValueError(f"unknown profile {profile!r}; expected quick or full")
    parameters: dict[str, Any] = {
        "CORPUS": corpus, "ENCODER": encoder, "PROFILE": profile, "DEVICE": device, "SEED": seed,
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
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Comparisons; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time each part against what a user would pick instead, in one process, as ratios."""
    from emolib import paths

    scripts = {path.stem: path for path in sorted((paths.home() / "benchmarks").glob("[a-z]*.py"))}
    unknown = sorted(set(names or []) - set(scripts))
    if unknown or not scripts:
        raise ValueError(
            f"no comparison {', '.join(unknown)}; expected: {', '.join(scripts) or 'a checkout'}"
        )
    ratios: dict[str, float] = {}
    for name in names or scripts:
        ratios |= runpy.run_path(str(scripts[name]))["measure"]()
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
        print(json.dumps(result, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
