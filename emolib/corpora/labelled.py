"""What publishers' tables say of clips: ratings, votes, words, or everything.

The first functions join a table to clips that are named already (`emolib.corpora.published`); each yields
what it was given, completed. IEMOCAP, MELD and MSP-Podcast are read from their tables alone.

References
----------
ESD's transcripts: https://github.com/HLTSingapore/Emotional-Speech-Data. CREMA-D's votes:
https://github.com/CheyneyComputerScience/CREMA-D. EmoDB's speakers: https://emodb.bilderbar.info; its
ratings: Das et al. (2022), NLDL 3, a table of activation and valence from 1 to 5. IEMOCAP: C. Busso et al.
(2008), Language Resources and Evaluation 42, 335-359. MELD: arXiv:1810.02508, and its repository
declare-lab/MELD. MSP-Podcast: arXiv:2509.09791, and the readme of release 1.12.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from emolib.corpora.manifest import Label, Note, Skipped, from_points, read_table
from emolib.corpora.scan import sound_files
from emolib.corpora.tables import MSP, MSP_COLUMNS, VOTES

Items = list[Label | Skipped]
Row = Mapping[Hashable, Any]
_NAN = float("nan")


def _rows(path: Path, *columns: str, quoted: bool = True) -> Sequence[Row]:
    """Return the rows of a table, none where it isn't there."""
    return read_table(path, *columns, quoted=quoted).to_dict("records") if path.is_file() else []


def _completed(items: Items, more: Callable[[Label], dict[str, Any]]) -> Iterator[Label | Skipped]:
    """Yield what was given, each label with more fields."""
    return (replace(item, **more(item)) if isinstance(item, Label) else item for item in items)


def _matched(
    files: Iterable[tuple[Path, str]], rows: dict[str, Row], where: tuple[str, Path, str],
    read: Callable[[Path, str, Row], Label | Skipped],
) -> Iterator[Label | Skipped]:  # fmt: skip
    """Yield what `read` makes of each file and its row; a file or a row without the other is skipped.

    `where` names the rows' table, the folder of the files that it names, and its column of their names.
    """
    table, folder, column = where
    for path, clip in files:
        row = rows.pop(clip, None)
        yield Skipped(path, f"no line in {table}, or already met") if row is None else read(path, clip, row)
    for clip, row in rows.items():
        yield Skipped(folder / row.get(column, clip), f"named in {table} but not there")


# ------------------------------------------------------------------------------------------ EmoDB

RATINGS = "emodb_activation_valence.csv"
_AGES = {"03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25, "16": 31}
_SCORES = re.compile(r"(\w+)\.wav\s+([0-9]+,[0-9]+)\s+([0-9]+,[0-9]+)")


def emodb(root: Path, items: Items) -> Iterator[Label | Skipped | Note]:
    """Add ages, and ratings and a listening test's scores, in percent, where their tables are.

    The table of ratings lies in the corpus's folder or beside it.
    """
    columns = ("file", "activation", "valence")
    rated = _rows(root / RATINGS, *columns) or _rows(root.parent / RATINGS, *columns)
    ratings = {Path(row["file"]).stem: [from_points(float(row[c])) for c in columns[1:]] for row in rated}
    tested = root / "erkennung.txt"
    found = _SCORES.findall(tested.read_text(encoding="latin-1")) if tested.is_file() else []
    scores = {clip: [float(score.replace(",", ".")) for score in both] for clip, *both in found}

    def more(item: Label) -> dict[str, Any]:
        arousal, valence = ratings.get(item.clip, (_NAN, _NAN))
        both = zip(("recognition", "naturalness"), scores.get(item.clip, (_NAN, _NAN)), strict=True)
        extra = {"age": _AGES[item.speaker], **dict(both if scores else ())}
        return {"arousal": arousal, "valence": valence, "extra": extra}

    yield from _completed(items, more)
    clips = [item.clip for item in items if isinstance(item, Label)]
    n_rated = sum(clip in ratings for clip in clips)
    told = f"arousal and valence ratings joined for {n_rated} of {len(clips)} clips"
    yield Note(told if ratings else f"no {RATINGS} beside the corpus: arousal and valence stay empty")


# ---------------------------------------------------------------------------------------- CREMA-D

_VOTES = {
    "voice_vote": "VoiceVote", "voice_level": "VoiceLevel",
    "multimodal_vote": "MultiModalVote", "multimodal_level": "MultiModalLevel",
}  # fmt: skip
_HEARD = {"A": "angry", "D": "disgust", "F": "fearful", "H": "happy", "N": "neutral", "S": "sad"}


def crema_d(root: Path, items: Items) -> Iterator[Label | Skipped | Note]:
    """Add the actors' data and the crowd's votes where those tables are.

    `voice_vote` is what most raters heard, as emotion words joined by colons where they tied, and
    `voice_level` the mean intensity that they gave, 0 to 100; the multimodal columns are those of raters who
    also saw the face. `votes_angry` and so on count the raters of the voice alone, whose rows begin with 1,
    who heard that emotion.
    """
    actors = {
        row["ActorID"]: (row["Sex"].lower(), float(row["Age"]))
        for row in _rows(root / "VideoDemographics.csv", "ActorID", "Sex", "Age")
    }
    results = root / "processedResults"
    votes = {
        row["FileName"]: {
            ours: ":".join(_HEARD.get(vote, vote) for vote in row[theirs].split(":"))
            for ours, theirs in _VOTES.items()
        }
        for row in _rows(results / "summaryTable.csv", "FileName", *_VOTES.values())
    }
    counts = {
        row["fileName"]: {VOTES + word: int(row[letter]) for letter, word in _HEARD.items()}
        for row in _rows(results / "tabulatedVotes.csv", "fileName", *_HEARD)
        if next(iter(row.values())).startswith("1")
    }

    def more(item: Label) -> dict[str, Any]:
        gender, age = actors.get(item.speaker, ("", _NAN))
        whole = f"{item.clip}X" if item.clip.endswith("_X") else item.clip
        extra: dict[str, str | float] = {"age": age} if actors else {}
        extra |= votes.get(whole, dict.fromkeys(_VOTES, "")) if votes else {}
        extra |= counts.get(whole, {VOTES + word: 0 for word in _HEARD.values()}) if counts else {}
        return {"gender": gender, "extra": extra}

    yield from _completed(items, more)
    if not actors:
        yield Note("no VideoDemographics.csv: gender stays empty")
    if not votes:
        yield Note("no processedResults/summaryTable.csv: the crowd's votes are left out")


# -------------------------------------------------------------------------------------------- ESD

_LINE = re.compile(r"\s*([0-9]{4}_[0-9]{6})\s+(\S.*?)\s*")
# The last word of a transcript's line names the emotion, in the speaker's language.
_LAST_WORDS = frozenset(
    {"Neutral", "Angry", "Happy", "Sad", "Surprise"}
    | {"中立", "愤怒", "生气", "快乐", "开心", "伤心", "惊喜", "惊讶", "惊奇"}
)


def esd(root: Path, items: Items) -> Iterator[Label | Skipped | Note]:
    """Add the words from <speaker>/<speaker>.txt."""
    labels = [item for item in items if isinstance(item, Label)]
    above = {(folder, one.speaker) for one in labels for folder in list(one.path.parents)[:3]}
    texts: dict[str, str] = {}
    for folder, speaker in sorted(above):
        if folder.name == speaker and (folder / f"{speaker}.txt").is_file():
            texts |= dict(esd_transcript(_decoded((folder / f"{speaker}.txt").read_bytes(), speaker)))
    yield from _completed(items, lambda item: {"text": texts.get(item.clip, "")})
    if without := sum(one.clip not in texts for one in labels):
        yield Note(f"no transcript for {without} clips: their text stays empty")


def esd_transcript(text: str) -> Iterator[tuple[str, str]]:
    """Yield clip and words from lines of clip, words and emotion; the gaps between them vary."""
    for match in filter(None, map(_LINE.fullmatch, text.splitlines())):
        *words, last = match[2].split()
        yield match[1], " ".join(words if last in _LAST_WORDS else [*words, last])


def _decoded(data: bytes, speaker: str) -> str:
    """Decode a transcript; the publisher's are in UTF-8, UTF-16, GB 2312 or Latin-1, from file to file."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "gb18030" if speaker <= "0010" else "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


# ------------------------------------------------------------------------------- nEMO and Expresso


def nemo(root: Path, items: Items) -> Iterator[Label | Skipped]:
    """Join data.tsv; a file without a line and a line without a file are skipped.

    Raises
    ------
    FileNotFoundError
        If there is no data.tsv.
    ValueError
        If that table lacks a column.
    """
    path = root / "data.tsv"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: nEMO's table of labels is missing; copy it from the publisher's repository"
        )
    fields = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")
    # The table says .wav; a copy may be packed in another format.
    rows = {Path(row["file_id"]).stem: row for row in _rows(path, *fields, quoted=False)}
    named = {item.path: item for item in items}
    yield from _matched(
        ((path, path.stem) for path in named), rows, ("data.tsv", root / "samples", "file_id"),
        lambda path, _, row: nemo_row(named[path], row),
    )  # fmt: skip


def nemo_row(item: Label | Skipped, row: Row) -> Label | Skipped:
    """Join what a file's name says with its line of the table."""
    if isinstance(item, Skipped):
        return item
    if (item.speaker, item.label) != (row["speaker_id"], row["emotion"]):
        told = f"{row['speaker_id']}, {row['emotion']}"
        return Skipped(item.path, f"its name and its line of data.tsv ({told}) disagree")
    age = float(row["age"]) if row["age"].isdecimal() else _NAN
    return replace(item, gender=row["gender"], text=row["raw_text"], extra={"age": age})


def expresso(root: Path, items: Items) -> Iterator[Label | Skipped]:
    """Add the words of read_transcriptions.txt; equal words have equal ids, whatever their number."""
    path = root / "read_transcriptions.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    words = {clip: text.strip() for clip, _, text in (line.partition("\t") for line in lines)}

    def more(item: Label) -> dict[str, Any]:
        text = words.get(item.clip, "")
        return {"text": text, "text_id": text or item.clip}

    return _completed(items, more)


# ---------------------------------------------------------------------------------------- IEMOCAP

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_EVALUATION = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(\S+)\s+([a-z]{{3}})\s+\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]\s*"
)
_TURN = re.compile(r"(Ses0[1-5])[FM]_((?:impro|script)\w+)_([FM])\w{3}", re.ASCII)
_TRANSCRIPT = re.compile(r"(Ses\w+)\s+\[[^\]]*\]:\s*(.*)", re.ASCII)
IEMOCAP = {
    "neu": "neutral", "hap": "happy", "exc": "excited", "sad": "sad", "ang": "angry",
    "fru": "frustrated", "fea": "fearful", "sur": "surprised", "dis": "disgust",
}  # fmt: skip


class Evaluation(NamedTuple):
    """One line of an evaluation file of IEMOCAP; the ratings run from 1 to 5."""

    turn: str
    category: str
    valence: float
    activation: float
    dominance: float


def iemocap(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield each evaluated turn; turns without an agreed category, and without sound, are skipped.

    `speaker` is the session with the gender of the one who talks (the letter after the session in a file's
    name is another: it says who wore the markers). `session` is for folds, since a session's two actors talk
    to each other. The sessions lie in the corpus's folder or one further down.
    """
    outside = 0
    for session in sorted(root.glob("Session[1-5]")) or sorted(root.glob("*/Session[1-5]")):
        lines = map(_TRANSCRIPT.fullmatch, _texts(session / "dialog" / "transcriptions").splitlines())
        texts = {match[1]: match[2].strip() for match in lines if match}
        folder = session / "sentences" / "wav"
        sounds = {path.stem: path for path in sound_files(folder)} if folder.is_dir() else {}
        for line in iemocap_evaluations(_texts(session / "dialog" / "EmoEvaluation")):
            path = sounds.pop(line.turn, folder / f"{line.turn}.wav")
            outside += sum(not 1 <= rating <= 5 for rating in line[2:])
            yield iemocap_turn(path, line, session.name, texts.get(line.turn, ""))
        yield from (Skipped(path, "no line in the evaluation files") for path in sounds.values())
    if outside:
        yield Note(f"{outside} ratings outside 1 to 5 were left empty")


def _texts(folder: Path) -> str:
    """Return the text of all files of one kind of a session."""
    files = sorted(folder.glob("Ses*.txt"))
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def iemocap_turn(path: Path, line: Evaluation, session: str, text: str) -> Label | Skipped:
    """Turn a line of an evaluation file into what it says of a turn's sound file."""
    turn = _TURN.fullmatch(line.turn)
    if turn is None:
        return Skipped(path, f"its evaluation names the turn {line.turn!r}, which fits no scheme")
    if line.category in ("xxx", "oth"):
        return Skipped(path, f"no agreed category ({line.category})")
    if line.category not in IEMOCAP:
        return Skipped(path, f"unknown category {line.category!r}")
    return Label(
        path, line.turn, turn[1] + turn[3], IEMOCAP[line.category], line.category,
        gender="female" if turn[3] == "F" else "male", text=text, language="en",
        arousal=from_points(line.activation), valence=from_points(line.valence),
        dominance=from_points(line.dominance), extra={"session": session, "scenario": turn[2]},
    )  # fmt: skip


def iemocap_evaluations(text: str) -> Iterator[Evaluation]:
    """Yield the summary lines of an evaluation file, `[start - end] turn category [val, act, dom]`."""
    for match in filter(None, map(_EVALUATION.fullmatch, text.splitlines())):
        yield Evaluation(match[3], match[4], *map(float, match.groups()[4:]))


# --------------------------------------------------------------------------- MELD and MSP-Podcast

_MELD = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful",
    "disgust": "disgust", "surprise": "surprised",
}  # fmt: skip
_PARTITIONS = ("train", "dev", "test")
_UTTERANCE = re.compile(r"(?:final_videos_test)?(dia[0-9]+_utt[0-9]+)")


def meld(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield the utterances of MELD's three tables; dialogues have the same numbers in each partition.

    Videos that have a converted copy beside them are left out.
    """
    rows: dict[str, Row] = {}
    for partition in _PARTITIONS:
        for path in sorted(root.rglob(f"{partition}_sent_emo.csv"))[:1]:
            for row in _rows(path, "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"):
                rows[f"{partition}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"] = row
    if not rows:
        raise FileNotFoundError(
            f"{root}: MELD's tables (train_sent_emo.csv, dev_, test_) are missing; copy them from the "
            "publisher's repository, https://github.com/declare-lab/MELD"
        )

    def clip(path: Path) -> str:
        where = path.relative_to(root).as_posix().lower()
        match = _UTTERANCE.fullmatch(path.stem)
        return f"{next((name for name in _PARTITIONS if name in where), '')}_{match[1]}" if match else ""

    found = set(sound_files(root))
    paths = sorted(path for path in found if path.suffix == ".wav" or path.with_suffix(".wav") not in found)
    yield from _matched(((path, clip(path)) for path in paths), rows, ("MELD's tables", root, ""), meld_row)


def meld_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of MELD's tables into what it says of an utterance."""
    if row["Emotion"] not in _MELD:
        return Skipped(path, f"unknown emotion {row['Emotion']!r}")
    speaker = row["Speaker"].strip()
    if not speaker or speaker.lower() in ("all", "both", "everyone") or " and " in speaker:
        return Skipped(path, f"its speaker is {speaker!r}, not one person")
    return Label(
        path, clip, speaker, _MELD[row["Emotion"]], row["Emotion"], text=row["Utterance"], text_id=clip,
        language="en", extra={"partition": clip.partition("_")[0], "sentiment": row.get("Sentiment", "")},
    )  # fmt: skip


def msp_podcast(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield the turns of labels_consensus.csv (in old releases labels_concensus.csv); ratings are 1 to 7."""
    path = next(iter(sorted(root.rglob("labels_con[sc]ensus.csv"))), None)
    if path is None:
        raise FileNotFoundError(
            f"{root}: MSP-Podcast's Labels/labels_consensus.csv is missing; unpack it there"
        )
    rows = {Path(row["FileName"]).stem: row for row in _rows(path, *MSP_COLUMNS, "Split_Set")}
    sounds = ((sound, sound.stem) for sound in sound_files(root))
    yield from _matched(sounds, rows, ("the labels", root, "FileName"), msp_podcast_row)


def msp_podcast_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of the labels into what it says of a turn; a voice whom nobody named fits no split."""
    code, unfit = row["EmoClass"], {"X": "no agreed category (X)", "O": "no agreed category but other (O)"}
    if code in unfit or code not in MSP:
        return Skipped(path, unfit.get(code, f"unknown category {code!r}"))
    if row["SpkrID"].strip().lower() in ("", "unknown"):
        return Skipped(path, "its speaker isn't known, so that no split can hold the voice out")
    act, val, dom = (from_points(float(row[name]), 7) for name in ("EmoAct", "EmoVal", "EmoDom"))
    return Label(
        path, clip, row["SpkrID"].strip(), MSP[code], code,
        gender=row["Gender"].lower() if row["Gender"] in ("Male", "Female") else "",
        text_id=clip, language="en", arousal=act, valence=val, dominance=dom,
        extra={"partition": row["Split_Set"]},
    )  # fmt: skip
