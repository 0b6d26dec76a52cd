"""What publishers' tables say of clips: ratings, votes, words, or everything.

The first functions join a table to clips that are named already (`emolib.corpora.published`); each yields
what it was given, completed. IEMOCAP, MELD and MSP-Podcast are read from their tables alone; what their codes
mean stands in ``published.yaml``.

References
----------
ESD's transcripts: https://github.com/HLTSingapore/Emotional-Speech-Data. CREMA-D's votes:
https://github.com/CheyneyComputerScience/CREMA-D. EmoDB's speakers: https://emodb.bilderbar.info; its
ratings: Das et al. (2022), NLDL 3, a table of activation and valence from 1 to 5. IEMOCAP: C. Busso et al.
(2008), Language Resources and Evaluation 42, 335-359. MELD: arXiv:1810.02508, and its repository
declare-lab/MELD. MSP-Podcast: arXiv:2509.09791, and the readme of release 1.12.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emolib.corpora import tables
from emolib.corpora.manifest import Label, Note, Skipped, from_points, read_table
from emolib.corpora.published import CARDS, CODES
from emolib.corpora.scan import sound_files
from emolib.corpora.tables import VOTES

Items = list[Label | Skipped]
Row = Mapping[Any, Any]
_NAN = float("nan")


def _rows(path: Path, key: str, *columns: str, quoted: bool = True) -> dict[str, Row]:
    """Return the rows of a table by a cell without a file's ending, none where the table isn't there."""
    rows = read_table(path, key, *columns, quoted=quoted).to_dict("records") if path.is_file() else []
    return {Path(row[key]).stem: row for row in rows}


def _found(corpus: str, root: Path, pattern: str) -> list[Path]:
    """Return the publisher's tables, which lie somewhere in a corpus's folder, the uppermost first."""
    paths = [path for path in root.rglob(pattern) if not path.name.startswith(".")]
    if paths:
        return sorted(paths, key=lambda path: (len(path.parts), path))
    raise FileNotFoundError(f"{root}: no {pattern}, which has the labels; get it ({CARDS[corpus].source})")


def _completed(items: Items, more: Callable[[Label], dict[str, Any]]) -> Iterator[Label | Skipped]:
    """Yield what was given, each label with more fields."""
    return (replace(item, **more(item)) if isinstance(item, Label) else item for item in items)


def _matched(
    root: Path, files: Iterable[tuple[Path, str]], rows: dict[str, Row], table: str,
    read: Callable[[Path, str, Row], Label | Skipped],
) -> Iterator[Label | Skipped]:  # fmt: skip
    """Yield what `read` makes of each file and its row; a file or a row without the other is skipped."""
    for path, clip in files:
        row = rows.pop(clip, None)
        yield Skipped(path, f"no line in {table}, or already met") if row is None else read(path, clip, row)
    yield from (Skipped(root / clip, f"named in {table} but not there") for clip in rows)


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
    tested = root / "erkennung.txt"
    found = _SCORES.findall(tested.read_text(encoding="latin-1")) if tested.is_file() else []
    scores = {clip: [float(score.replace(",", ".")) for score in both] for clip, *both in found}

    def more(item: Label) -> dict[str, Any]:
        row = rated.get(item.clip, {"activation": _NAN, "valence": _NAN})
        both = zip(("recognition", "naturalness"), scores.get(item.clip, (_NAN, _NAN)), strict=True)
        extra = {"age": _AGES[item.speaker], **dict(both if scores else ())}
        arousal, valence = (from_points(float(row[name])) for name in columns[1:])
        return {"arousal": arousal, "valence": valence, "extra": extra}

    yield from _completed(items, more)
    clips = [item.clip for item in items if isinstance(item, Label)]
    n_rated = sum(clip in rated for clip in clips)
    told = f"arousal and valence ratings joined for {n_rated} of {len(clips)} clips"
    yield Note(told if rated else f"no {RATINGS} beside the corpus: arousal and valence stay empty")


# ---------------------------------------------------------------------------------------- CREMA-D

_VOTES = {
    "voice_vote": "VoiceVote", "voice_level": "VoiceLevel",
    "multimodal_vote": "MultiModalVote", "multimodal_level": "MultiModalLevel",
}  # fmt: skip
#: The letters of the votes: the first ones of the codes in the clips' names.
_HEARD = {code[0]: word for code, word in CODES["crema-d"].items()}


def crema_d(root: Path, items: Items) -> Iterator[Label | Skipped | Note]:
    """Add the actors' data and the crowd's votes where those tables are.

    `voice_vote` is what most raters heard, as emotion words joined by colons where they tied, and
    `voice_level` the mean intensity that they gave, 0 to 100; the multimodal columns are those of raters who
    also saw the face. `votes_angry` and so on count the raters of the voice alone, whose rows begin with 1,
    who heard that emotion.
    """
    results = root / "processedResults"
    actors = _rows(root / "VideoDemographics.csv", "ActorID", "Sex", "Age")
    votes = _rows(results / "summaryTable.csv", "FileName", *_VOTES.values())
    counts = _rows(results / "tabulatedVotes.csv", "Unnamed: 0", "fileName", *_HEARD)
    of_voice = {row["fileName"]: row for number, row in counts.items() if number.startswith("1")}

    def more(item: Label) -> dict[str, Any]:
        actor = actors.get(item.speaker, {"Sex": "", "Age": _NAN})
        whole = f"{item.clip}X" if item.clip.endswith("_X") else item.clip
        extra: dict[str, str | float] = {"age": float(actor["Age"])} if actors else {}
        for ours, theirs in _VOTES.items() if votes else ():
            said = votes[whole][theirs].split(":") if whole in votes else []
            extra[ours] = ":".join(_HEARD.get(vote, vote) for vote in said)
        for letter, word in _HEARD.items() if counts else ():
            extra[VOTES + word] = int(of_voice[whole][letter]) if whole in of_voice else 0
        return {"gender": actor["Sex"].lower(), "extra": extra}

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
    above = {folder / f"{one.speaker}.txt" for one in labels for folder in list(one.path.parents)[:3]}
    texts: dict[str, str] = {}
    for path in sorted(path for path in above if path.parent.name == path.stem and path.is_file()):
        texts |= dict(esd_transcript(_decoded(path.read_bytes(), path.stem)))
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
    """Join data.tsv; a file without a line and a line without a file are skipped."""
    fields = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")
    # The table says .wav; a copy may be packed in another format.
    rows = _rows(_found("nemo", root, "data.tsv")[0], *fields, quoted=False)
    named = {item.path: item for item in items}
    files = [(path, path.stem) for path in named]
    yield from _matched(root, files, rows, "data.tsv", lambda path, _, row: nemo_row(named[path], row))


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

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RATINGS = ("valence", "arousal", "dominance")  # from 1 to 5, in the order of the evaluation files
_EVALUATION = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(?P<turn>\S+)\s+(?P<category>[a-z]{{3}})"
    rf"\s+\[{', '.join(f'(?P<{name}>{_NUMBER})' for name in _RATINGS)}\]\s*"
)
_TURN = re.compile(r"(Ses0[1-5])[FM]_((?:impro|script)\w+)_([FM])\w{3}", re.ASCII)
_TRANSCRIPT = re.compile(r"(Ses\w+)\s+\[[^\]]*\]:\s*(.*)", re.ASCII)


def iemocap(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield each evaluated turn; turns without an agreed category, and without sound, are skipped.

    `speaker` is the session with the gender of the one who talks (the letter after the session in a file's
    name is another: it says who wore the markers). `session` is for folds, since a session's two actors talk
    to each other. The sessions lie in the corpus's folder or one further down.
    """
    rows: dict[str, Row] = {}
    for session in sorted(root.glob("Session[1-5]")) or sorted(root.glob("*/Session[1-5]")):
        lines = map(_TRANSCRIPT.fullmatch, _lines(session / "dialog" / "transcriptions"))
        texts = {match[1]: match[2].strip() for match in lines if match}
        for line in filter(None, map(_EVALUATION.fullmatch, _lines(session / "dialog" / "EmoEvaluation"))):
            more = {"session": session.name, "text": texts.get(line["turn"], "")}
            rows[line["turn"]] = line.groupdict() | more
    outside = sum(not 1 <= float(row[name]) <= 5 for row in rows.values() for name in _RATINGS)
    sounds = [(path, path.stem) for path in sound_files(root) if path.match("sentences/wav/*/*")]
    yield from _matched(root, sounds, rows, "the evaluation files", iemocap_row)
    if outside:
        yield Note(f"{outside} ratings outside 1 to 5 were left empty")


def _lines(folder: Path) -> list[str]:
    """Return the lines of all text files of one kind of a session."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("Ses*.txt")))
    return "\n".join(texts).splitlines()


def iemocap_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of an evaluation file, `[start - end] turn category [val, act, dom]`, into a turn."""
    turn, category = _TURN.fullmatch(clip), row["category"]
    if turn is None:
        return Skipped(path, f"its evaluation names the turn {clip!r}, which fits no scheme")
    if category not in CODES["iemocap"]:
        agreed = "no agreed" if category in ("xxx", "oth") else "unknown"
        return Skipped(path, f"{agreed} category ({category})")
    valence, arousal, dominance = (from_points(float(row[name])) for name in _RATINGS)
    return Label(
        path, clip, turn[1] + turn[3], CODES["iemocap"][category], category,
        gender="female" if turn[3] == "F" else "male", text=row["text"], language="en",
        arousal=arousal, valence=valence, dominance=dominance,
        extra={"session": row["session"], "scenario": turn[2]},
    )  # fmt: skip


# --------------------------------------------------------------------------- MELD and MSP-Podcast

_PARTITIONS = ("train", "dev", "test")
_UTTERANCE = re.compile(r"(?:final_videos_test)?(dia[0-9]+_utt[0-9]+)")


def meld(root: Path) -> Iterator[Label | Skipped]:
    """Yield the utterances of MELD's three tables; dialogues have the same numbers in each partition.

    Videos that have a converted copy beside them are left out.
    """
    rows: dict[str, Row] = {}
    for path in _found("meld", root, "*_sent_emo.csv"):
        partition = path.name.partition("_")[0]
        table = read_table(path, "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
        for row in table.to_dict("records"):
            rows[f"{partition}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"] = row

    def clip(path: Path) -> str:
        where = path.relative_to(root).as_posix().lower()
        match = _UTTERANCE.fullmatch(path.stem)
        return f"{next((name for name in _PARTITIONS if name in where), '')}_{match[1]}" if match else ""

    found = set(sound_files(root))
    paths = sorted(path for path in found if path.suffix == ".wav" or path.with_suffix(".wav") not in found)
    yield from _matched(root, [(path, clip(path)) for path in paths], rows, "MELD's tables", meld_row)


def meld_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of MELD's tables into what it says of an utterance."""
    if row["Emotion"] not in CODES["meld"]:
        return Skipped(path, f"unknown emotion {row['Emotion']!r}")
    speaker = row["Speaker"].strip()
    if not speaker or speaker.lower() in ("all", "both", "everyone") or " and " in speaker:
        return Skipped(path, f"its speaker is {speaker!r}, not one person")
    return Label(
        path, clip, speaker, CODES["meld"][row["Emotion"]], row["Emotion"], text=row["Utterance"],
        text_id=clip, language="en",
        extra={"partition": clip.partition("_")[0], "sentiment": row.get("Sentiment", "")},
    )  # fmt: skip


def msp_podcast(root: Path) -> Iterator[Label | Skipped]:
    """Yield the turns of labels_consensus.csv (in old releases labels_concensus.csv)."""
    table = tables.msp_podcast(_found("msp-podcast", root, "labels_con[sc]ensus.csv")[0])
    rows: dict[str, Row] = {row["clip"]: row for row in table.to_dict("records")}
    sounds = [(sound, sound.stem) for sound in sound_files(root)]
    yield from _matched(root, sounds, rows, "the labels", msp_podcast_row)


def msp_podcast_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of the labels into what it says of a turn; a voice whom nobody named fits no split."""
    code, unfit = row["label"], {"X": "no agreed category (X)", "O": "no agreed category but other (O)"}
    if code in unfit or code not in CODES["msp-podcast"]:
        return Skipped(path, unfit.get(code, f"unknown category {code!r}"))
    if not row["speaker"].strip():
        return Skipped(path, "its speaker isn't known, so that no split can hold the voice out")
    valence, arousal, dominance = (float(row[name] or "nan") for name in _RATINGS)
    return Label(
        path, clip, row["speaker"].strip(), row["emotion"], code, gender=row["gender"].lower(), text_id=clip,
        language="en", arousal=arousal, valence=valence, dominance=dominance,
        extra={"partition": row.get("split", "")},
    )  # fmt: skip
