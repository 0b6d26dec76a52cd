"""The application that every command joins: how a function becomes a command, how it fails and ends.

A command is a function under `command`. Its docstring is the help, each parameter an option that the section
Parameters explains, and what it returns the JSON object that ``--json`` makes the last line of output. Errors
that a user can mend are one sentence on standard error and exit code 2.
"""

import contextlib
import copy
import functools
import inspect
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import typer
from typer import Argument, Option
from typer.core import TyperGroup

from emolib import __version__, paths, threads

Folds = Literal["speaker", "loso", "text", "speaker+text", "emobox", "random"]
Pooling = Literal["mean", "mean+std"]
Profile = Literal["quick", "full"]
Precision = Literal["no", "bf16", "fp16"]
TableFormat = Literal["csv", "json", "parquet", "audiofolder", "audformat", "kaldi", "msp-podcast"]

#: What typer raises for an unknown command, option or value; it exports only a subclass.
_UsageError: Any = typer.BadParameter.__base__
#: Help of options that many commands have.
_HELP = {
    "encoder": "whisper-tiny.en, wav2vec2-nano, logmel, prosody, egemaps, compare, a folder, "
    "a Hugging Face id, or random:<network>.",
    "folds": "By speakers, sentences (text) or both; emobox is for ravdess; random leaks speakers.",
    "pooling": "How to pool frames.",
    "device": "auto, cpu, cuda or cuda:<n>.",
    "store": "Folder or fsspec URL of the features; data/features/CORPUS/ENCODER by default.",
    "scheduler": "Hand the work to Dask: an address such as tcp://host:8786, or local.",
    "steps": "Steps; the recipe's by default.",
    "resume": "Go on from a checkpoint in --out.",
    "as_json": "End the output with one JSON object.",
}


@dataclass(frozen=True)
class Corpus:
    """The corpus that a command works on; its fields are the command's options.

    Parameters
    ----------
    corpus
        A name that `emolib corpora` lists; demo by default.
    corpus_option
        The corpus, in place of CORPUS.
    root
        The corpus's folder, $EMOLIB_CORPORA/CORPUS by default; for --manifest, where its paths start.
    table
        Your own corpus: a table (file, folder, URL of a CSV) with at least path, speaker and emotion.
    mapping
        Rename emotions: joy=happy,ang=angry, or a JSON file of one object.
    form
        The format of --manifest; found by its name and content by default.
    speaker_pattern
        Regular expression that finds the speaker in a path, where --manifest has no column.
    trim_silence
        End each clip where nothing but exact zeros follows.
    """

    corpus: Annotated[str | None, Argument(metavar="CORPUS")] = None
    corpus_option: Annotated[str | None, Option("--corpus")] = None
    root: Path | None = None
    table: Annotated[str | None, Option("--manifest")] = None
    mapping: Annotated[str | None, Option("--map")] = None
    form: Annotated[TableFormat | None, Option("--format")] = None
    speaker_pattern: str | None = None
    trim_silence: Annotated[bool, Option("--trim-silence")] = False

    @property
    def name(self) -> str:
        """The corpus's name; that of one's own is "folder"."""
        if self.corpus and self.corpus_option and self.corpus != self.corpus_option:
            raise ValueError(
                f"two corpora, {self.corpus!r} and --corpus {self.corpus_option!r}; expected one"
            )
        return self.corpus or self.corpus_option or ("folder" if self.table else "demo")

    @property
    def renamed(self) -> dict[str, str]:
        """What --map renames."""
        text = (self.mapping or "").strip()
        pairs: Any = dict(pair.partition("=")[::2] for pair in text.split(",") if pair.strip())
        if text.lower().endswith(".json"):
            try:
                pairs = json.loads(Path(text).read_text("utf-8"))
            except ValueError:
                pairs = None
        if not isinstance(pairs, dict) or not all(isinstance(word, str) and word for word in pairs.values()):
            raise ValueError(f"--map {text}; expected old=new,old=new or a JSON file of one object of texts")
        return pairs

    @property
    def is_named(self) -> bool:
        """Whether any of its options is given."""
        return self != type(self)()

    def load(self) -> pd.DataFrame:
        """Return its manifest."""
        from emolib import corpora

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            clips = corpora.load(
                self.name, self.root, self.table, mapping=self.renamed, form=self.form,
                speaker_pattern=self.speaker_pattern, trim_silence=self.trim_silence,
            )  # fmt: skip
        print(*(f"emolib: {warning.message}\n" for warning in said), sep="", end="", file=sys.stderr)
        print(clips.attrs["renamed"], end="\n" if clips.attrs["renamed"] else "")
        return clips


class CorpusByOption(Corpus):
    """A corpus of a command whose argument is something else."""


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader of our output had enough
        raise
    except (ValueError, OSError, _UsageError) as error:
        message = error.format_message() if isinstance(error, _UsageError) else str(error)
        lines = message.replace("Value error, ", "").splitlines()
        print("emolib:", *(line.strip() for line in lines), file=sys.stderr)
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


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A lab for the geometry of emotion in speech."""
    # before a command loads what reads it; large networks keep all cores, which then wait without spinning
    os.environ.setdefault("OMP_WAIT_POLICY", threads.KERNEL["OMP_WAIT_POLICY"])


def command(name: str | None = None, group: typer.Typer = app) -> Callable[[Callable], Callable]:
    """Make a function a command: with a help text for each parameter, and with --json.

    A parameter of the type `Corpus` stands for the options that name one. The exit code is 1 where the
    result's number of failures is not 0.
    """

    def register(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        text, own = _documented(function)
        explained = _HELP | _documented(Corpus)[1] | own
        parameters = dict(inspect.signature(function).parameters)
        corpora = {name: p.annotation for name, p in parameters.items() if p.annotation in _CORPORA}
        options = [option for p in parameters.values() for option in _options(p, explained)]
        options += _options(_JSON, explained)

        @functools.wraps(function)
        def run(**given: Any) -> None:
            as_json = given.pop("as_json")
            for name, kind in corpora.items():
                given[name] = kind(**{option.name: given.pop(option.name) for option in _CORPORA[kind]})
            result = function(**given)
            if as_json:
                known = {name: None if value != value else value for name, value in result.items()}  # NaN
                print(json.dumps(known, allow_nan=False, default=_plain))
            if result.get("failed"):
                raise typer.Exit(1)

        run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in options}
        group.command(name, help=text)(run)
        return function

    return register


def _documented(function: Callable) -> tuple[str, dict[str, str]]:
    """Return a docstring without its section Parameters, and that section as texts by name."""
    text, _, section = inspect.cleandoc(function.__doc__ or "").partition("\n\nParameters\n----------\n")
    entries = re.findall(r"^(\w+)\n((?: .*\n?)+)", section, flags=re.MULTILINE)
    return text, {name: " ".join(lines.split()) for name, lines in entries}


def _options(parameter: inspect.Parameter, explained: Mapping[str, str]) -> list[inspect.Parameter]:
    """Return typer's declarations of what one parameter of a command stands for."""
    if parameter.annotation in _CORPORA:
        return [one for field in _CORPORA[parameter.annotation] for one in _options(field, explained)]
    kind: Any = parameter.annotation
    info: Any = Option(f"--{parameter.name.replace('_', '-')}") if parameter.default is False else Option()
    if get_origin(kind) is Annotated:
        kind, info = get_args(kind)
        info = copy.copy(info)
    info.help = explained[parameter.name]
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, info])]


_OF_CORPUS = list(inspect.signature(Corpus).parameters.values())
_CORPORA: dict[Any, list[inspect.Parameter]] = {Corpus: _OF_CORPUS, CorpusByOption: _OF_CORPUS[1:]}
_JSON = inspect.Parameter(
    "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, Option("--json")]
)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def default_folder(name: str, clips: pd.DataFrame, *settings: object) -> Path:
    """Return a folder in ``models/`` of what is trained on these clips with these settings, seed included."""
    from emolib import ser

    corpora = "+".join(sorted(set(clips["corpus"])))
    told = [asdict(x) if is_dataclass(x) and not isinstance(x, type) else x for x in settings]
    return paths.trained(f"{name}-{corpora}", ser.digest(clips), told)


def encoded(
    clips: pd.DataFrame, encoder: str, layers: list[int] | None, *, frames: bool = False,
    store: str | None = None, device: str = "auto",
) -> tuple[pd.DataFrame, Any]:  # fmt: skip
    """Encode clips, say which were skipped, and return those that were not, and the extraction."""
    from emolib import features

    done = features.extract(
        clips, encoder, layers=layers, frames=frames, url=store, device=device, progress=sys.stderr.isatty()
    )
    print_skipped(done.skipped)
    return clips[~done.store.missing(clips)].reset_index(drop=True), done


def pooled_layers(
    clips: pd.DataFrame, encoder: str, layer: str, pooling: Pooling, *, store: str | None, device: str,
    join: bool = False,
) -> tuple[pd.DataFrame, dict[Any, Any], Any]:  # fmt: skip
    """Return the clips that could be encoded, their pooled features by layer, and the store they lie in.

    The layers are one, or all of them for `best`; with `join`, 1+2+3 is one layer of that name: these three
    side by side.
    """
    numbers = layer.split("+") if join else [layer]
    wanted = None if layer == "best" else sorted({whole_number(number) for number in numbers})
    clips, done = encoded(clips, encoder, wanted, store=store, device=device)
    names: list[Any] = clips["clip"].tolist()
    layers: dict[Any, Any] = {
        k: done.store.pooled(k, pooling, names) for k in wanted or done.store.config.layers
    }
    if len(numbers) > 1:
        layers = {"+".join(map(str, layers)): np.concatenate(list(layers.values()), axis=1)}
    return clips, layers, done.store


def write_answers(clips: pd.DataFrame, out: Path | None, **columns: Any) -> None:
    """Write something about each clip as CSV, where `out` says so."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        clips[["clip", "speaker", "emotion"]].assign(**columns).to_csv(out, index=False)


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
