"""nEMO: nine Polish actors, six emotions, ninety sentences; a table says what each file is.

References
----------
I. Christop (2024), "nEMO: Dataset of Emotional Speech in Polish", arXiv:2404.06292;
https://github.com/amu-cai/nEMO.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from emolib.corpora.manifest import CorpusInfo, Label, Skipped
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "nemo",
    "nEMO: dataset of emotional speech in Polish",
    "CC BY-NC-SA 4.0",
    "I. Christop (2024), nEMO: Dataset of Emotional Speech in Polish, arXiv:2404.06292",
    language="pl", clips=4481, speakers=9,
    source="https://github.com/amu-cai/nEMO",
)  # fmt: skip
_NAME = re.compile(r"([A-Z]+[0-9]+)_([a-z]+)_([0-9]+)")
EMOTIONS = {
    "anger": "angry", "fear": "fearful", "happiness": "happy",
    "neutral": "neutral", "sadness": "sad", "surprised": "surprised",
}  # fmt: skip
_FIELDS = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")


def labels(root: Path) -> Iterator[Label | Skipped]:
    """Yield what data.tsv says of each file; a file without a line and a line without a file are skipped.

    Raises
    ------
    FileNotFoundError
        If there is no data.tsv.
    ValueError
        If that table lacks a column.
    """
    rows = _table(root / "data.tsv")
    for path in sound_files(root):
        # The table says .wav; a copy may be packed in another format.
        row = rows.pop(path.stem, None)
        yield Skipped(path, "no line in data.tsv, or already met") if row is None else parse(path, row)
    for row in rows.values():
        yield Skipped(root / "samples" / row["file_id"], "named in data.tsv but not there")


def parse(path: Path, row: dict[str, str]) -> Label | Skipped:
    """Join a name such as WR0_surprised_64 (speaker, emotion, sentence) with its line of the table."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return Skipped(path, "its name isn't speaker, emotion and sentence, as WR0_surprised_64 is")
    if match[1] != row["speaker_id"] or match[2] != row["emotion"] or match[2] not in EMOTIONS:
        return Skipped(
            path, f"its name and its line of data.tsv ({row['speaker_id']}, {row['emotion']}) disagree"
        )
    return Label(
        path, path.stem, match[1], EMOTIONS[match[2]], match[2],
        gender=row["gender"], text_id=match[3], text=row["raw_text"], language="pl",
        extra={"age": float(row["age"]) if row["age"].isdecimal() else float("nan")},
    )  # fmt: skip


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines of data.tsv by clip; its quotation marks belong to the text."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: nEMO's table of labels is missing; copy it from the publisher's repository"
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))
    if missing := [name for name in _FIELDS if rows and name not in rows[0]]:
        raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
    return {Path(row["file_id"]).stem: row for row in rows}
