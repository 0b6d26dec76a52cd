"""The application that every command joins, their common options, and how they fail and end.

Errors that a user can mend are one sentence on standard error and exit code 2. With ``--json`` the last line
of output is one JSON object.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer
from typer.core import TyperGroup

from emolib import __version__, threads

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


class MixedPrecision(StrEnum):
    """Number types that a training computes in."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


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
    str | None,
    typer.Option(
        "--manifest", help="Your own corpus: a CSV (file or URL) with at least path, speaker and emotion."
    ),
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

Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Hand the work to Dask: an address such as tcp://host:8786, or local."),
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
    # before a command loads what reads it; large networks keep all cores, which then wait without spinning
    os.environ.setdefault("OMP_WAIT_POLICY", threads.KERNEL["OMP_WAIT_POLICY"])


def load_clips(corpus: str | None, option: str | None, root: Path | None, table: str | None) -> pd.DataFrame:
    """Read the corpus that the common options name."""
    from emolib import corpora

    if corpus and option and corpus != option:
        raise ValueError(f"two corpora, {corpus!r} and --corpus {option!r}; expected one")
    name = corpus or option or ("folder" if table else "demo")
    return corpora.load(name, root, table)


def default_folder(name: str, clips: pd.DataFrame, *settings: object) -> Path:
    """Return a folder in ``models/`` of what is trained on these clips with these settings, seed included."""
    from dataclasses import asdict, is_dataclass

    from emolib import paths, ser

    corpora = "+".join(sorted(set(clips["corpus"])))
    told = [asdict(x) if is_dataclass(x) and not isinstance(x, type) else x for x in settings]
    return paths.trained(f"{name}-{corpora}", ser.digest(clips), told)


class Pooled(NamedTuple):
    """The clips that could be encoded, their pooled features by layer, and the store they lie in."""

    clips: pd.DataFrame
    layers: dict[int, Any]
    store: Any


def pooled_layers(
    clips: pd.DataFrame, encoder: str, layer: str, pooling: PoolingName, *, store: str | None, device: str
) -> Pooled:
    """Encode clips, say which were skipped, and pool one layer, or all of them for `best`."""
    from emolib import features

    wanted = None if layer == "best" else [whole_number(layer)]
    done = features.extract(
        clips, encoder, layers=wanted, url=store, device=device, progress=sys.stderr.isatty()
    )
    print_skipped(done.skipped)
    clips = clips[~done.store.missing(clips)].reset_index(drop=True)
    names: list[Any] = clips["clip"].tolist()
    chosen = list(done.store.config.layers) if wanted is None else wanted
    return Pooled(clips, {k: done.store.pooled(k, pooling.value, names) for k in chosen}, done.store)


def print_skipped(entries: Iterable[Mapping[str, object]]) -> None:
    """Say what could not be read, and why: nothing is left out in silence."""
    for entry in entries:
        print(f"skipped {entry.get('clip') or entry['path']}: {entry['reason']}")


def whole_number(text: str) -> int:
    """Read a layer's number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"layer {text!r}; expected a whole number") from None


def finish(result: dict[str, Any], as_json: bool) -> None:
    """End a command; with --json its result is the last line of output."""
    if as_json:
        known = {name: None if _is_nan(value) else value for name, value in result.items()}
        print(json.dumps(known, allow_nan=False, default=_plain))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
