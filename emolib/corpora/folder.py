"""Any audio with a table of at least path, speaker and emotion; the demo corpus comes this way too.

A row may be a part of a file: `corpora.segments` finds its times.
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePath

import pandas as pd

from emolib import emotions
from emolib.corpora import manifest, segments
from emolib.corpora.manifest import COLUMNS, Label, Skipped

REQUIRED = ("path", "speaker", "emotion")
_FILES = frozenset({"file", "filename", "file_name", "filepath", "file_path", "wav"})
_RATINGS = ("arousal", "valence", "dominance")
_TEXTS = ("label", "gender", "intensity", "text_id", "text", "language", "corpus")


def labels(table: str | Path, root: Path | None = None) -> Iterator[Label | Skipped]:
    """Yield what a table says of each file.

    Parameters
    ----------
    table : str or Path
        CSV (of commas or semicolons) or TSV, a file or an fsspec URL, with `path`, `speaker`, `emotion`,
        and any other column: a manifest's are understood (what can be measured is measured anew), the rest
        are carried along. Emotions may stand in another form of their words (`emotions.FORMS`).
    root : Path, optional
        The folder that relative paths start from; the table's own by default, which a URL has none of.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it lacks a column, two columns contradict each other or say too little (`segments`), a rating
        isn't a number in [-1, 1], or a path is relative and there is nothing for it to start from.
    """
    rows = manifest.read_table(table)
    if missing := [column for column in REQUIRED if column not in rows.columns]:
        present = ", ".join(name if name.isprintable() else ascii(name) for name in rows.columns)
        raise ValueError(f"{table}: lacks the columns {', '.join(missing)}; it has {present}")
    _check_files(table, rows)
    times = segments.columns(table, rows.columns)
    for column in set(_RATINGS) & set(rows.columns):
        rows[column] = _ratings(table, rows[column])
    extra = [column for column in rows.columns if column not in (*COLUMNS, *times.used)]
    for column in extra:
        rows[column] = manifest.numbers(rows[column])
    relative = [path for path in rows["path"] if path.strip() and not Path(path.strip()).is_absolute()]
    if manifest.is_url(table) and root is None and relative:
        raise ValueError(
            f"{table}: the path {relative[0]!r} is relative; name the folder that it starts from with --root"
        )
    base = (Path(root) if root is not None else Path(table).parent).absolute()
    return (_label(row, base, extra, times) for row in rows.to_dict("records"))


def _check_files(table: str | Path, rows: pd.DataFrame) -> None:
    """Raise ValueError if another column names other files than `path` does."""
    for column in (name for name in rows.columns if name.lower() in _FILES):
        for number, (path, other) in enumerate(zip(rows["path"], rows[column], strict=True)):
            if other.strip() and not _same_file(PurePath(path.strip()), PurePath(other.strip())):
                raise ValueError(
                    f"{table}: path {path!r} but {column} {other!r} in row {number + 2}; expected one file: "
                    f"remove or rename the column that isn't meant"
                )


def _same_file(path: PurePath, other: PurePath) -> bool:
    """Tell whether two names can be one file's: folders or the ending may be left out of either."""
    n = min(len(path.parts), len(other.parts))
    bare = path.with_suffix("").parts[-n:]
    return other.parts[-n:] in (path.parts[-n:], bare) or other.with_suffix("").parts[-n:] == bare


def _label(row: dict, base: Path, extra: list[str], times: segments.Times) -> Label | Skipped:
    path = base / row["path"].strip()
    speaker = row["speaker"].strip()
    if not row["path"].strip():
        return Skipped(path, "no path in its row")
    if not speaker:
        return Skipped(path, "no speaker in its row")
    try:
        emotion = emotions.from_label(row["emotion"])
        start_s, end_s = times.of(row)
    except ValueError as error:
        return Skipped(path, str(error))
    given = {column: row[column].strip() for column in _TEXTS if column in row}
    given["label"] = given.get("label") or row["emotion"].strip()
    ratings = {column: row[column] for column in _RATINGS if column in row}
    part = "" if math.isnan(start_s) else f"_{start_s:.3f}-{end_s:.3f}"
    clip = row.get("clip", "").strip() or _clip(path, base) + part
    return Label(
        path, clip, speaker, emotion, start_s=start_s, end_s=end_s, **given, **ratings,
        extra={column: row[column] for column in extra},
    )  # fmt: skip


def _clip(path: Path, base: Path) -> str:
    """Name a clip after its path below the folder, without its ending."""
    name = path.parent / path.stem
    return (name.relative_to(base) if name.is_relative_to(base) else name).as_posix().lstrip("/")


def _ratings(table: str | Path, texts: "pd.Series[str]") -> "pd.Series[float]":
    """Return a column of ratings as numbers, NaN where a cell is empty or says so."""
    values = pd.to_numeric(texts, errors="coerce")
    missing = texts.str.strip().str.lower().isin(["", "nan"])
    wrong = texts[(values.isna() & ~missing) | (values.abs() > 1)]
    if len(wrong):
        raise ValueError(
            f"{table}: {texts.name} {wrong.iloc[0]!r} in row {wrong.index[0] + 2}; expected a number in "
            "[-1, 1]: map a scale from 1 to 5 with (x - 3) / 2"
        )
    return values.astype(float)
