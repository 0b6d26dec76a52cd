"""Tables of recordings in the formats that people have, each read into one table of texts.

A reader is a few lines for one format; what follows is the same for all: the usual names of columns become a
manifest's (`NAMES`), and what several raters said of a clip becomes columns of votes, ``votes_<emotion>``.

References
----------
EmoBox's lists: https://github.com/emo-box/EmoBox. audformat: https://audeering.github.io/audformat. Hugging
Face's folders and Parquet: https://huggingface.co/docs/datasets/audio_dataset. Kaldi's folders:
https://kaldi-asr.org/doc/data_prep.html. MSP-Podcast: R. Lotfian, C. Busso (2019), IEEE Transactions on
Affective Computing 10(4), 471-483, doi:10.1109/TAFFC.2017.2736999.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import pandas as pd

from emolib import emotions, files, paths
from emolib.corpora import manifest
from emolib.corpora.published import CODES, GENDERS

Format = Literal["csv", "json", "parquet", "audiofolder", "audformat", "kaldi", "msp-podcast"]
#: A manifest's columns, and the names that tables have for them, without case; the first in use is taken.
NAMES = {
    "path": "path file filename file_name filepath file_path wav wav_path wav_file audio audio_path "
    "audio_file audio_filepath",
    "speaker": "speaker speaker_id speakerid spk spk_id spkr spkr_id spkrid actor actor_id subject "
    "subject_id participant participant_id talker talker_id",
    "emotion": "emotion emo emotion_label emotion_class emoclass emo_class category class label",
    "clip": "clip key utt utt_id utterance_id segment_id",
    "gender": "gender sex",
    "text": "text transcript transcription raw_text",
    "language": "language lang",
    "arousal": "arousal activation",
    "rater": "rater rater_id annotator annotator_id worker worker_id evaluator evaluator_id",
}
#: Columns of a manifest that count how many raters heard an emotion begin like this.
VOTES = "votes_"
_RATER = re.compile(r"(?:emotion_)?(?:rater|annotator)_?\d+")


def read(table: str | Path, form: Format | None = None) -> pd.DataFrame:
    """Read a table of recordings.

    Parameters
    ----------
    table : str or Path
        A file, a folder that holds a table in one of the formats, or an fsspec URL of a CSV.
    form : str, optional
        One of `Format`; found by name and content by default.

    Returns
    -------
    rows : DataFrame of str
        Each cell is the text that the table has, empty where it has none. Columns have a manifest's names
        where `NAMES` knows theirs.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If the format is unknown, or needs a package that is not installed; if the table can't be read, or two
        columns may both be the speaker or the emotion.

    Notes
    -----
    Rows that differ in the rater and in what they said, and in nothing else, are one clip.
    """
    if form is not None and form not in _READERS:
        raise ValueError(f"unknown format {form!r}; expected one of: {', '.join(get_args(Format))}")
    if not manifest.is_url(table) and not (Path(table).is_file() or Path(table).is_dir()):
        raise FileNotFoundError(f"{table}: no such table")
    form = form or _sniff(table)
    rows = _frame(_READERS[form](table if manifest.is_url(table) else Path(table)))
    return _voted(table, _named(table, rows))


#: What tells a folder's format, and the table's own name where another ending would mislead.
_FOLDERS: dict[Format, str] = {
    "audformat": "db.yaml", "kaldi": "wav.scp", "msp-podcast": "**/labels_consensus.csv",
    "audiofolder": "**/metadata.*", "parquet": "**/*.parquet",
}  # fmt: skip


def _sniff(table: str | Path) -> Format:
    """Return the format of a table, by what is in its folder, its name, or its first bytes."""
    path = Path(table)
    if path.is_dir():
        for form, pattern in _FOLDERS.items():
            if next(path.glob(pattern), None):
                return form
        raise ValueError(
            f"{table}: a folder without a table; expected one of {', '.join(_FOLDERS.values())} in it, or "
            f"the name of the table itself"
        )
    for form, pattern in _FOLDERS.items():
        if path.name == pattern.removeprefix("**/") and not manifest.is_url(table):
            return form
    if manifest.is_url(table) or path.suffix.lower() in (".csv", ".tsv"):
        return "csv"
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    return "json" if start.startswith((b"{", b"[")) else "csv"


# ------------------------------------------------------------------------------------- one reader a format


def _json(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, of lines, or of an object that holds one for each file."""
    try:
        text = path.read_text("utf-8-sig")
        try:
            data = json.loads(text)
        except ValueError:
            data = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON or JSON lines ({error})") from None
    if isinstance(data, dict):
        by_file = data and all(isinstance(value, dict) for value in data.values())
        data = [{"path": name} | row for name, row in data.items()] if by_file else [data]
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise ValueError(f"{path}: expected a list of objects, one for each clip, or one object a line")
    for row in data:
        if {"key", "wav", "emo"} <= row.keys():  # EmoBox, whose channel is how many there are
            row = {"channels" if name == "channel" else name: value for name, value in row.items()}
        yield row


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, or of all in a folder; sound inside is written to files."""
    parquet = files.optional("pyarrow.parquet", f"{path}: Parquet")
    for part in sorted(path.rglob("*.parquet")) if path.is_dir() else [path]:
        try:
            file = parquet.ParquetFile(part)
        except (ValueError, OSError) as error:
            raise ValueError(f"{part}: not readable as Parquet ({str(error).splitlines()[0]})") from None
        about = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        features = about.get("info", {}).get("features", {})
        classes = {name: kind["names"] for name, kind in features.items() if "names" in kind}
        for batch in file.iter_batches(batch_size=128):
            for row in batch.to_pylist():
                for c, names in classes.items():  # -1 stands for none
                    row[c] = names[row[c]] if row[c] is not None and row[c] >= 0 else None
                yield _unpacked(row, paths.data() / "unpacked")


def _unpacked(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the sound that a row holds to a file named by its content, and put its path in the row."""
    held = {name: value if isinstance(value, dict) else {"bytes": value} for name, value in row.items()}
    name = next((name for name, value in held.items() if isinstance(value.get("bytes"), bytes)), None)
    if name is None:
        return row
    sound, given = held[name]["bytes"], PurePath(held[name].get("path") or "clip.wav")
    at = folder / hashlib.sha256(sound).hexdigest()[:16] / (given.name if given.suffix else "clip.wav")
    if not at.is_file():
        files.write_file(at, sound)
    usual = NAMES["path"].split()
    rest = {f"original_{key}" if _plain(key) in usual else key: row[key] for key in row if key != name}
    return {"path": str(at.absolute()), "clip": f"{given.stem}-{at.parent.name}"} | rest


def _audiofolder(folder: Path) -> pd.DataFrame:
    """Read the metadata files of Hugging Face's audio folder; a subfolder's name is its split."""
    parts = []
    for at in sorted(folder.glob("**/metadata.*")) if folder.is_dir() else [folder]:
        rows = _frame(_READERS[_sniff(at)](at))
        if "file_name" not in rows:
            raise ValueError(f"{at}: lacks the column file_name, which an audio folder's metadata has")
        rows["file_name"] = [str(at.parent.absolute() / name) if name else "" for name in rows["file_name"]]
        parts.append(rows if folder in (at, at.parent) else rows.assign(split=at.parent.name))
    return pd.concat(parts, ignore_index=True).fillna("")


def _audformat(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what an audformat database says of each file or segment that has an emotion."""
    audformat = files.optional("audformat", f"{folder}: an audformat database")
    db = audformat.Database.load(str(folder if folder.is_dir() else folder.parent))
    said: dict[Any, dict[str, str]] = {}  # by rater: the tables of splits repeat labels
    for table in db.tables.values():
        for name, column in table.columns.items():
            if "emotion" in (name, column.scheme_id):
                cells = audformat.utils.to_segmented_index(table.get(copy=False)[name].dropna())
                for at, label in cells.items():
                    said.setdefault(at, {}).setdefault(column.rater_id or "gold", str(label))
    wanted = ["speaker", "gender", "language", "transcription", "arousal", "valence", "dominance"]
    rows = db.get("emotion", wanted, aggregate_function=lambda cells: cells.iloc[0])
    for name in rows.dropna(axis=1, how="all").columns.intersection(wanted[4:]):
        scheme = db.schemes.get(name)
        if scheme is None or scheme.minimum is None or scheme.maximum is None:
            raise ValueError(
                f"{folder}: the scheme {name} doesn't say from where to where it runs; expected minimum and "
                f"maximum: add them, or remove the scheme"
            )
        rows[name] = 2 * (rows[name] - scheme.minimum) / (scheme.maximum - scheme.minimum) - 1
    for at, row in audformat.utils.to_segmented_index(rows.dropna(axis=1, how="all")).iterrows():
        path, start, end = at
        raters, times = said.get(at, {}), {"start": start.total_seconds(), "end": end.total_seconds()}
        emotion = raters.get("gold") or list(raters.values())
        yield {"path": path, **row.to_dict(), "emotion": emotion} | (times if start or pd.notna(end) else {})


def _kaldi(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the utterances of a Kaldi folder; utt2emo says the emotion, or text where that has one word."""
    folder = path if path.is_dir() else path.parent

    def listed(*names: str) -> dict[str, str]:
        for at in (folder / name for name in names if (folder / name).is_file()):
            lines = [line for line in at.read_text("utf-8-sig").split("\n") if line.strip()]
            pairs = [re.split(r"[ \t]+", line.strip("\r"), maxsplit=1) for line in lines]
            return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}
        return {}

    recordings, speakers = listed("wav.scp"), listed("utt2spk")
    if commands := [name for name in recordings.values() if name.endswith("|")]:
        raise ValueError(
            f"{folder / 'wav.scp'}: {commands[0]!r} is a command; expected names of files: run it, and "
            f"list what it writes"
        )
    emotion, text = listed("utt2emo", "utt2emotion", "utt2label"), listed("text")
    if not emotion and any(" " in words for words in text.values()):
        raise ValueError(f"{folder}: no utt2emo; expected a line of utterance and emotion for each utterance")
    genders = listed("spk2gender")
    spans = {utt: span.split() for utt, span in listed("segments").items()}
    for utt, (recording, *times) in (spans or {utt: [utt] for utt in recordings}).items():
        speaker = speakers.get(utt, "")
        yield {
            "clip": utt, "path": recordings.get(recording, ""), "speaker": speaker,
            "emotion": (emotion or text).get(utt, ""), "text": text.get(utt, "") if emotion else "",
            "gender": genders.get(speaker, ""), **dict(zip(("start", "end"), times, strict=False)),
        }  # fmt: skip


def msp_podcast(path: Path) -> pd.DataFrame:
    """Read MSP-Podcast's consensus: letters become words, ratings from 1 to 7 those of a manifest."""
    at = next(path.glob("**/labels_consensus.csv")) if path.is_dir() else path
    table = manifest.read_table(at, "FileName", "EmoClass", "SpkrID", "Gender", *_MSP_RATINGS.values())
    around = [folder / name for folder in (at.parent, at.parent.parent) for name in ("Audios", "Audio")]
    sounds = next((folder.absolute() for folder in around if folder.is_dir()), Path())
    words = CODES["msp-podcast"] | {"X": "no agreement"}
    rows = pd.DataFrame(
        {
            "path": [str(sounds / name) for name in table["FileName"]],
            "clip": [PurePath(name).stem for name in table["FileName"]],
            "speaker": table["SpkrID"].where(table["SpkrID"].str.lower() != "unknown", ""),
            "emotion": table["EmoClass"].replace(words), "label": table["EmoClass"],
            "gender": table["Gender"].replace("Unknown", ""),
        }
    )  # fmt: skip
    for name, column in _MSP_RATINGS.items():
        rows[name] = _floats(table[column]).map(lambda rating: _text(manifest.from_points(rating, 7)))
    partitions = at.parent / "Partitions.txt"
    if "Split_Set" in table:
        rows["split"] = table["Split_Set"]
    elif partitions.is_file():
        lines = [re.split(r"[;,]\s*", line.strip()) for line in partitions.read_text("utf-8").split("\n")]
        by_file = {pair[1]: pair[0] for pair in lines if len(pair) == 2}
        rows["split"] = table["FileName"].map(by_file).fillna("")
    return rows


_MSP_RATINGS = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
_READERS: dict[str, Callable[[Any], "pd.DataFrame | Iterable[dict[str, Any]]"]] = {
    "csv": manifest.read_table, "json": _json, "parquet": _parquet, "audiofolder": _audiofolder,
    "audformat": _audformat, "kaldi": _kaldi, "msp-podcast": msp_podcast,
}  # fmt: skip


# ------------------------------------------------------------------------------------- what all share


def _frame(rows: pd.DataFrame | Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows of any values as a table of texts."""
    if isinstance(rows, pd.DataFrame):
        return rows
    texts = [{name: _text(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(texts, dtype=object).fillna("")


def _text(value: Any) -> str:
    """Return a value as the text that a CSV would have; several labels in one cell stand in lines."""
    if isinstance(value, dict):
        value = value.get("path", json.dumps(value, default=str))
    if isinstance(value, list | tuple):
        return "\n".join(map(_text, value))
    return "" if pd.isna(value) else str(value)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _named(table: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Give columns a manifest's names.

    Raises
    ------
    ValueError
        If two columns may both be the speaker or the emotion, and differ.
    """
    plain = {column: _plain(column) for column in rows.columns}
    for name, known in NAMES.items():
        if name in rows.columns:
            continue
        order = {key: number for number, key in enumerate(known.split())}
        found = sorted((c for c in rows.columns if plain.get(c) in order), key=lambda c: order[plain[c]])
        rivals = [c for c in found[1:] if plain[c] != "label"]  # a corpus's own code beside the emotion
        for other in rivals if name in ("speaker", "emotion") else ():
            if (differs := rows[found[0]] != rows[other]).any():
                raise ValueError(
                    f"{table}: {found[0]!r} and {other!r} may both be the {name}, and differ in row "
                    f"{int(differs.to_numpy().argmax()) + 2}; rename the one that is meant to {name!r}"
                )
        rows = rows.rename(columns=dict.fromkeys(found[:1], name))
    if "gender" in rows:
        rows["gender"] = [GENDERS.get(cell.strip().lower(), cell) for cell in rows["gender"]]
    return rows


def _voted(table: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Count what several raters said of each clip, in rows, in columns, or in one cell of their own."""
    if "rater" in rows and "emotion" in rows:
        rows = _one_row_a_clip(rows)
    columns, said = [name for name in rows.columns if _RATER.fullmatch(_plain(name))], None
    if len(columns) > 1:
        said = rows[columns].agg("\n".join, axis=1)
        rows = rows.drop(columns=columns)
    elif "emotion" in rows and rows["emotion"].str.strip().str.contains("\n").any():
        said = rows.pop("emotion")
    if said is not None:
        counts = [Counter(word for label in cell.split("\n") if (word := _word(label))) for cell in said]
        votes = pd.DataFrame(counts, index=rows.index).fillna(0).astype(int)
        rows = rows.join(votes.astype(str).add_prefix(VOTES))
    names = {name: VOTES + _word(name.removeprefix(VOTES)) for name in rows.columns if name.startswith(VOTES)}
    if VOTES in names.values() or len(set(names.values())) < len(names):
        found = ", ".join(names)
        raise ValueError(f"{table}: the columns {found}; expected one votes_<emotion> for each emotion")
    rows = rows.rename(columns=names)
    if names and "emotion" not in rows:
        shares = rows[list(names.values())].apply(_floats).fillna(0)
        is_top = shares.eq(shares.max(axis=1), axis=0)
        rows["emotion"] = [str(name).removeprefix(VOTES) for name in is_top.idxmax(axis=1)]
        rows.loc[is_top.sum(axis=1) > 1, "emotion"] = "no agreement"
    return rows


def _word(label: str) -> str:
    """Return the word for what a rater said, nothing where they said nothing."""
    try:
        return emotions.from_label(label)
    except ValueError:
        return ""


def _one_row_a_clip(rows: pd.DataFrame) -> pd.DataFrame:
    """Join the rows of a clip's raters: their emotions in lines of one cell, the mean of their ratings."""
    ratings = [name for name in ("arousal", "valence", "dominance") if name in rows]
    others = [name for name in rows.columns if name not in ("emotion", "rater", *ratings)]
    if not rows.duplicated(others).any():
        return rows
    clips = rows.assign(**{name: _floats(rows[name]) for name in ratings}).groupby(others, sort=False)
    joined = clips.agg({"emotion": "\n".join} | dict.fromkeys(ratings, "mean")).reset_index()
    return joined.assign(**{name: joined[name].map(_text) for name in ratings})


def _floats(cells: "pd.Series[str]") -> "pd.Series[float]":
    """Return a column as numbers, NaN where a cell is empty; any other text is refused."""
    try:
        return pd.Series([float(cell) if cell.strip() else math.nan for cell in cells], cells.index)
    except ValueError as error:
        raise ValueError(f"column {cells.name}: {error}; expected numbers, or empty cells") from None
