"""Any audio with a table of at least path, speaker and emotion; the demo corpus comes this way too.

A row may be a part of a file, by columns of start, end and duration under the names in use, in seconds. What
looks like a time and isn't understood is refused: a row without its times would mean its whole file.
"""

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from emolib.corpora import manifest, tables
from emolib.corpora.manifest import COLUMNS, Label, Skipped

REQUIRED = ("path", "speaker", "emotion")
_FILES = frozenset(tables.NAMES["path"].split())
_RATINGS = ("arousal", "valence", "dominance")
_TEXTS = ("label", "gender", "intensity", "text_id", "text", "language", "corpus")
#: Names of columns of times in seconds.
_TIMES = {
    "start": "start start_s start_time begin begin_s begin_time onset onset_s tmin",
    "end": "end end_s end_time stop stop_s stop_time tmax",
    "length": "duration duration_s dur",
    "offset": "offset offset_s",
}
_OTHER_UNIT = re.compile(
    r"(?:start|begin|onset|end|stop|offset)s?_(?:ms|msec|millis|milliseconds|samples?|frames?|idx|index)"
    r"|(?:sample|frame)_(?:start|begin|onset|end|stop|offset)"
)
_SLACK_S = 0.02  # by which times that were rounded may disagree


def labels(
    table: str | Path, root: Path | None = None, *, form: tables.Format | None = None,
    speaker_pattern: str | None = None,
) -> Iterator[Label | Skipped]:  # fmt: skip
    """Yield what a table says of each file.

    Parameters
    ----------
    table : str or Path
        In a format of `tables`, with `path`, `speaker` and `emotion` under a usual name (`tables.NAMES`),
        and any other column: a manifest's are understood (what can be measured is measured anew), the rest
        are carried along. The emotion is the cell's text, as it stands.
    root : Path, optional
        The folder that relative paths start from; the table's own by default, which a URL has none of.
    form : str, optional
        The table's format; found by its name and content by default.
    speaker_pattern : str, optional
        A regular expression to find the speaker in each path, where no column says who speaks: its first
        group, or all that it matches.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it lacks a column, two columns contradict each other or say too little, a rating
        isn't a number in [-1, 1], or a path is relative and there is nothing for it to start from.
    """
    rows = tables.read(table, form)
    if speaker_pattern is not None and "path" in rows.columns:
        rows["speaker"] = _speakers(table, rows, speaker_pattern)
    if missing := [column for column in REQUIRED if column not in rows.columns]:
        present = ", ".join(name if name.isprintable() else ascii(name) for name in rows.columns)
        if missing == ["speaker"]:
            present += "; if the paths tell who speaks, give --speaker-pattern REGEX"
        raise ValueError(f"{table}: lacks the columns {', '.join(missing)}; it has {present}")
    given = rows.columns.intersection(list(COLUMNS))
    rows[given] = rows[given].apply(lambda cells: cells.str.strip())
    _check_files(table, rows)
    times = _times(table, rows.columns)
    for column in set(_RATINGS) & set(given):
        rows[column] = _ratings(table, rows[column])
    used = [column for columns in times.values() for column in columns]
    extra = [column for column in rows.columns if column not in (*COLUMNS, *used)]
    for column in extra:
        rows[column] = manifest.numbers(rows[column])
    relative = [path for path in rows["path"] if path and not Path(path).is_absolute()]
    if manifest.is_url(table) and root is None and relative:
        raise ValueError(
            f"{table}: the path {relative[0]!r} is relative; name the folder that it starts from with --root"
        )
    beside = Path(table) if Path(table).is_dir() else Path(table).parent
    base = (Path(root) if root is not None else beside).absolute()
    return (_label(row, base, extra, times) for row in rows.to_dict("records"))


def _speakers(table: str | Path, rows: pd.DataFrame, pattern: str) -> list[str]:
    """Return the speakers that a pattern finds in the paths, empty where it finds none."""
    if "speaker" in rows.columns:
        raise ValueError(f"{table}: has a column of speakers; leave --speaker-pattern {pattern} out")
    try:
        found = [re.search(pattern, path) for path in rows["path"]]
    except re.error as error:
        raise ValueError(f"speaker pattern {pattern!r} is no regular expression ({error})") from None
    return [(match[match.re.groups and 1] or "") if match else "" for match in found]


def _check_files(table: str | Path, rows: pd.DataFrame) -> None:
    """Raise ValueError if another column names other files than `path` does."""
    for column in (name for name in rows.columns if name.lower() in _FILES - {"path"}):
        for number, (path, other) in enumerate(zip(rows["path"], rows[column].str.strip(), strict=True)):
            if other and not _same_file(PurePath(path), PurePath(other)):
                raise ValueError(
                    f"{table}: path {path!r} but {column} {other!r} in row {number + 2}; expected one file: "
                    f"remove or rename the column that isn't meant"
                )


def _same_file(path: PurePath, other: PurePath) -> bool:
    """Tell whether two names can be one file's: folders or the ending may be left out of either."""
    n = min(len(path.parts), len(other.parts))
    bare = path.with_suffix("").parts[-n:]
    return other.parts[-n:] in (path.parts[-n:], bare) or other.with_suffix("").parts[-n:] == bare


def _label(
    row: Mapping[Hashable, Any], base: Path, extra: list[str], times: Mapping[str, list[str]]
) -> Label | Skipped:
    path = base / row["path"]
    for column in ("path", "speaker"):
        if not row[column]:
            return Skipped(path, f"no {column} in its row")
    try:
        start_s, end_s = _span(row, times)
    except ValueError as error:
        return Skipped(path, str(error))
    given = {column: row[column] for column in (*_TEXTS, *_RATINGS) if column in row}
    given["label"] = given.get("label") or row["emotion"]
    part = "" if math.isnan(start_s) else f"_{start_s:.3f}-{end_s:.3f}"
    return Label(
        path, row.get("clip") or _clip(path, base) + part, row["speaker"], row["emotion"], start_s=start_s,
        end_s=end_s, **given, extra={column: row[column] for column in extra},
    )  # fmt: skip


def _clip(path: Path, base: Path) -> str:
    """Name a clip after its path below the folder, without its ending."""
    name = path.parent / path.stem
    return (name.relative_to(base) if name.is_relative_to(base) else name).as_posix().lstrip("/")


def _ratings(table: str | Path, texts: "pd.Series[str]") -> "pd.Series[float]":
    """Return a column of ratings as numbers, NaN where a cell is empty or says so."""
    values = pd.to_numeric(texts, errors="coerce")
    missing = texts.str.lower().isin(["", "nan"])
    wrong = texts[(values.isna() & ~missing) | (values.abs() > 1)]
    if len(wrong):
        raise ValueError(
            f"{table}: {texts.name} {wrong.iloc[0]!r} in row {wrong.index[0] + 2}; expected a number in "
            "[-1, 1]: map a scale from 1 to 5 with (x - 3) / 2"
        )
    return values.astype(float)


def _times(table: str | Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Find the columns that say where clips start, where they end and how long they last.

    Raises
    ------
    ValueError
        If there is a start without an end or a duration, an end without a start, or times in another unit.
    """
    plain = {name: re.sub(r"[^a-z]+", "_", name.lower()).strip("_") for name in names}
    if other := [name for name, key in plain.items() if _OTHER_UNIT.fullmatch(key)]:
        raise ValueError(
            f"{table}: the column {other[0]!r} isn't in seconds; expected start and end in seconds: convert, "
            f"or rename it if it is no time"
        )
    found = {
        kind: [name for name, key in plain.items() if key in known.split()] for kind, known in _TIMES.items()
    }
    # it ends what has an onset, and starts what has a duration, as in NeMo's manifests
    found["end" if found["start"] else "start"] += found.pop("offset")
    starts, ends = found["start"], found["end"]
    if (starts and not ends and not found["length"]) or (ends and not starts):
        raise ValueError(
            f"{table}: the column {(starts or ends)[0]!r} has no counterpart; expected start and end, or "
            f"start and duration, in seconds: add what is missing, or rename the column if it is no time"
        )
    return found if starts else {}


def _span(row: Mapping[Hashable, Any], times: Mapping[str, list[str]]) -> tuple[float, float]:
    """Return start and end of a row's clip in s, both NaN where its cells are empty.

    Raises
    ------
    ValueError
        If they say too little, or contradict each other.
    """
    start_s, end_s = (_agreed(row, times.get(kind, [])) for kind in ("start", "end"))
    if math.isnan(start_s) and math.isnan(end_s):
        return start_s, end_s
    length_s = _agreed(row, times["length"])
    if math.isnan(end_s):
        end_s = start_s + length_s
    if math.isnan(start_s) or math.isnan(end_s):
        raise ValueError("its row has one of start and end; expected both, or neither for the whole file")
    if abs(end_s - start_s - length_s) > _SLACK_S:
        span = f"from {start_s:g} to {end_s:g} s"
        raise ValueError(f"{span}, but its row says that it lasts {length_s:g} s")
    return start_s, end_s


def _agreed(row: Mapping[Hashable, Any], names: list[str]) -> float:
    """Return the number that all filled cells of some columns hold, NaN if they are empty."""
    cells = {name: row[name].strip() for name in names if row[name].strip().lower() not in ("", "nan")}
    values = []
    for name, cell in cells.items():
        try:
            values.append(float(cell))
        except ValueError:
            raise ValueError(f"its {name} {cell!r} isn't a number of seconds") from None
    if values and max(values) - min(values) > _SLACK_S:
        raise ValueError(f"its columns {' and '.join(cells)} disagree: {' and '.join(cells.values())}")
    return values[0] if values else math.nan
