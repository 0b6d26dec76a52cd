"""The manifest: one table for every corpus, one row a clip; what parsers hand over, and its form on disk.

Each corpus has a card, `CorpusInfo`. A parser yields `Label` for a file that it can name, `Skipped` for one
that it can't, and `Note` for a remark about the whole corpus. `emolib.corpora.scan` turns those into a
manifest; this module knows its columns.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from csv import QUOTE_MINIMAL, QUOTE_NONE, QUOTE_NONNUMERIC
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pandas as pd

from emolib import files

#: The columns of every manifest, in order; a corpus may add its own after them.
COLUMNS = (
    "clip", "corpus", "path", "speaker", "gender", "emotion", "label", "intensity", "text_id", "text",
    "language", "sample_rate", "channels", "duration_s", "start_s", "end_s",
    "sha256", "arousal", "valence", "dominance",
)  # fmt: skip
_REAL = ("duration_s", "start_s", "end_s", "arousal", "valence", "dominance")
_NUMERIC = dict.fromkeys(("sample_rate", "channels"), "int64") | dict.fromkeys(_REAL, "float64")


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus's card.

    Attributes
    ----------
    name, title : str
    licence, citation : str
    language : str; ISO 639-1 codes
    clips, speakers : int or None; as published, None where that depends on the copy
    source : str; the publisher's page, or how to obtain the corpus
    twins : tuple of str; clips that the publisher issued a second time under another name; both stay
    defects : tuple of str; what is known to be wrong with it, one sentence each
    """

    name: str
    title: str = ""
    licence: str = ""
    citation: str = ""
    language: str = ""
    clips: int | None = None
    speakers: int | None = None
    source: str = ""
    twins: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """What a corpus says about one of its files.

    Attributes
    ----------
    path : Path
    clip : str; unique in its corpus
    speaker : str; the corpus's own code, which `assemble` makes unique over corpora (`full_speaker`)
    emotion : str; one of `emolib.emotions.EMOTIONS`
    label : str; the corpus's own code for the emotion
    gender : str; "female", "male" or "" where it isn't known
    intensity : str; "normal", "strong", "low", "medium", "high" or ""
    text_id, text, language : str; equal `text_id` means equal words; `language` is an ISO 639-1 code
    arousal, valence, dominance : float, in [-1, 1], or NaN where nobody rated the clip
    corpus : str; empty for the corpus that is being read
    start_s, end_s : float, s; the part of the file that is the clip, NaN for the whole file
    extra : mapping; the corpus's own columns, the same ones for each of its clips
    """

    path: Path
    clip: str
    speaker: str
    emotion: str
    label: str
    gender: str = ""
    intensity: str = ""
    text_id: str = ""
    text: str = ""
    language: str = ""
    arousal: float = math.nan
    valence: float = math.nan
    dominance: float = math.nan
    corpus: str = ""
    start_s: float = math.nan
    end_s: float = math.nan
    extra: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A file that can't be used, and why in one line."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Note:
    """A one-line remark about a corpus as a whole."""

    text: str


def from_points(rating: float, most: int = 5) -> float:
    """Map a rating from the scale 1 to `most` onto [-1, 1]; one outside that scale becomes NaN."""
    return (2 * rating - most - 1) / (most - 1) if 1 <= rating <= most else math.nan


def full_speaker(corpus: str, code: str) -> str:
    """Return a speaker's name that no other corpus has, such as ravdess-03; one that is full stays."""
    return code if code.startswith(f"{corpus}-") else f"{corpus}-{code}"


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return rows as a manifest: fixed columns first, sorted by clip.

    Parameters
    ----------
    rows : list of dict
        Each has every name of `COLUMNS`; further names become further columns.
    """
    return _as_manifest(pd.DataFrame(rows), "rows").sort_values("clip", ignore_index=True)


def save(manifest: pd.DataFrame, csv: str | Path) -> str | Path:
    """Write a manifest as CSV in UTF-8, to a file or an fsspec URL; what was skipped stays in `attrs`."""
    data = manifest.to_csv(index=False, lineterminator="\n").encode()
    if b"\r" in data:  # which stands without quotes then, and would end a row
        data = manifest.to_csv(index=False, lineterminator="\n", quoting=QUOTE_NONNUMERIC).encode()
    if is_url(csv):
        with fsspec.open(str(csv), "wb") as file:
            file.write(data)
        return csv
    files.write_file(Path(csv), data)
    return Path(csv)


def read(csv: str | Path, *, paths: bool = True) -> pd.DataFrame:
    """Read a manifest that `save` wrote: codes keep their leading zeros, empty ratings are NaN.

    Parameters
    ----------
    csv : str or Path
    paths : bool
        False for a manifest without audio, which has no column of paths; each path is empty then.

    Raises
    ------
    ValueError
        If the file isn't a manifest; the message names the missing columns.
    """
    table = read_table(csv)
    if not paths:
        table["path"] = ""
    for column in table.columns.difference(list(COLUMNS)):
        table[column] = numbers(table[column])
    return _as_manifest(table, csv)


def _as_manifest(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Return a table of text as a manifest: its own columns first, and numbers where they are numbers."""
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise ValueError(f"{path}: not a manifest, it lacks: {', '.join(missing)}")
    extra = [column for column in table.columns if column not in COLUMNS]
    manifest = table[[*COLUMNS, *extra]].assign(**{c: pd.to_numeric(table[c]) for c in _NUMERIC})
    manifest.attrs |= {"skipped": [], "duplicates": [], "notes": []}
    return manifest.astype(_NUMERIC)


def read_parts(path: str | Path, clips: int) -> Iterator[pd.DataFrame]:
    """Read a manifest of any length as a stream of parts.

    Parameters
    ----------
    path : str or Path
        A CSV that `save` wrote, or the same table as Parquet (``.parquet``); a file or an fsspec URL.
    clips : int
        Rows of a part, in the order of the file; the last part has what is left.

    Yields
    ------
    manifest : DataFrame
        As from `read`, but columns of the user's own stay text: what is a number in each row of one part
        need not be one in the next.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file isn't a manifest, or is Parquet where pyarrow is not installed.
    """
    parts: Iterable[pd.DataFrame]
    with _reading(path), fsspec.open(str(path), "rb") as file:
        if str(path).lower().endswith(".parquet"):
            parquet = files.optional("pyarrow.parquet", f"{path}: Parquet").ParquetFile(file)
            # as text, through Python's own values: a whole number stays one beside a gap
            rows = (pd.DataFrame(rows.to_pylist(), dtype=object) for rows in parquet.iter_batches(clips))
            parts = (part.where(part.notna(), "").astype(str) for part in rows)
        else:
            parts = pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=clips)
        for part in parts:
            yield _as_manifest(part.reset_index(drop=True), path)


def read_table(path: str | Path, *columns: str, quoted: bool = True) -> pd.DataFrame:
    """Read a CSV, of commas, semicolons or tabs; each cell is the text that stands there.

    Parameters
    ----------
    path : str or Path
        A file, or any fsspec URL, such as ``s3://bucket/mine.csv``.
    *columns : str
        Those that it has to have; it may have more.
    quoted : bool
        False where quotation marks belong to the text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it can't be read as a table in UTF-8, lacks a column, or two of its columns have one name.
    """
    with _reading(path):
        content = _content(path)
        separator = "\t" if str(path).lower().endswith(".tsv") else _separator(content)
        # without a header, so that neither a name that stands twice nor a cell too many is mended quietly
        cells = pd.read_csv(
            io.BytesIO(content), sep=separator, header=None, dtype=str, keep_default_na=False,
            encoding="utf-8-sig", quoting=QUOTE_MINIMAL if quoted else QUOTE_NONE,
        ).fillna("")  # fmt: skip
    names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(cells.iloc[0])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path}: two columns are named {twice[0]!r}; expected each name once: rename one")
    if missing := [column for column in columns if column not in names]:
        raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
    return cells.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)


def _separator(content: bytes) -> str:
    """Return what stands between the header's cells: a comma, a semicolon as of spreadsheets, or a tab."""
    header = re.sub(rb'"[^"]*"', b"", content.partition(b"\n")[0])
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def is_url(path: str | Path) -> bool:
    """Tell whether a table lies behind an fsspec URL, not in a file."""
    return isinstance(path, str) and "://" in path


def _content(path: str | Path) -> bytes:
    """Return what stands in a file or behind an fsspec URL."""
    if not is_url(path):
        if not Path(path).is_file():  # a folder, or a pipe, which would block
            raise FileNotFoundError
        return Path(path).read_bytes()
    try:
        with fsspec.open(str(path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except Exception as error:  # each kind of storage has errors of its own
        why = str(error).strip() or type(error).__name__
        raise ValueError(f"{path}: can't be read ({why.splitlines()[0]})") from None


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Say in one sentence that there is no such table, or that it can't be read as one."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such table") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as a table ({str(error).strip()})") from None


def numbers(texts: "pd.Series[str]") -> "pd.Series[str] | pd.Series[float]":
    """Return a column as numbers if each of its filled cells is one, else as it is.

    A code such as 007 isn't a number: its zeros would be lost.
    """
    filled = texts[~texts.str.lower().isin(["", "nan"])]
    is_code = filled.str.fullmatch(r"0\d+").any()
    values = pd.to_numeric(texts, errors="coerce")
    return texts if filled.empty or is_code or values[filled.index].isna().any() else values
