"""What publishers' tables say of clips: ratings, votes, words, or everything.

The first functions join a table to clips that are named already (`emolib.corpora.published`); each yields
what it was given, completed. MELD and MSP-Podcast have names that say nothing, and are read from their tables
alone.

References
----------
ESD's transcripts: https://github.com/HLTSingapore/Emotional-Speech-Data. CREMA-D's votes:
https://github.com/CheyneyComputerScience/CREMA-D. EmoDB's speakers: https://emodb.bilderbar.info; its
ratings: Das et al. (2022), NLDL 3, a table of activation and valence from 1 to 5. MELD: arXiv:1810.02508, and
its repository declare-lab/MELD. MSP-Podcast: arXiv:2509.09791, and the readme of release 1.12.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.corpora import manifest
from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped, from_points
from emolib.corpora.scan import sound_files
from emolib.corpora.tables import VOTES

Items = list[Label | Skipped]
Row = Mapping[Any, str]
_NAN = float("nan")


def _table(path: Path, *columns: str) -> pd.DataFrame:
    """Read a table and check that it has some columns."""
    table = manifest.read_table(path)
    if missing := sorted(set(columns) - set(table.columns)):
        raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
    return table


# ------------------------------------------------------------------------------------------ EmoDB

RATINGS = "emodb_activation_valence.csv"
_AGES = {"03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25, "16": 31}


def emodb(root: Path, items: Items) -> Iterator[Label | Skipped | Note]:
    """Add ages, and ratings and a listening test's scores, in percent, where their tables are."""
    ratings, scores = _emodb_ratings(root), _emodb_scores(root)
    for item in items:
        if isinstance(item, Label):
            arousal, valence = ratings.get(item.clip, (_NAN, _NAN))
            extra: dict[str, str | float] = {"age": _AGES[item.speaker]}
            if scores:
                recognised, natural = scores.get(item.clip, (_NAN, _NAN))
                extra |= {"recognition": recognised, "naturalness": natural}
            item = replace(item, arousal=arousal, valence=valence, extra=extra)
        yield item
    clips = [item.clip for item in items if isinstance(item, Label)]
    rated = sum(clip in ratings for clip in clips)
    found = f"arousal and valence ratings joined for {rated} of {len(clips)} clips"
    yield Note(found if ratings else f"no {RATINGS} beside the corpus: arousal and valence stay empty")


def _emodb_ratings(root: Path) -> dict[str, tuple[float, float]]:
    """Return arousal and valence, in [-1, 1], by clip; the table lies in the corpus's folder or beside it."""
    path = next((folder / RATINGS for folder in (root, root.parent) if (folder / RATINGS).is_file()), None)
    if path is None:
        return {}
    table = _table(path, "file", "activation", "valence")
    rows = zip(table["file"], table["activation"].astype(float), table["valence"].astype(float), strict=True)
    return {Path(name).stem: (from_points(a), from_points(v)) for name, a, v in rows}


def _emodb_scores(root: Path) -> dict[str, tuple[float, float]]:
    """Return the listening test's recognition and naturalness, in percent, by clip."""
    path = root / "erkennung.txt"
    if not path.is_file():
        return {}
    row = re.compile(r"(\w+)\.wav\s+([0-9]+,[0-9]+)\s+([0-9]+,[0-9]+)")
    found = row.findall(path.read_text(encoding="latin-1"))
    return {clip: (float(a.replace(",", ".")), float(b.replace(",", "."))) for clip, a, b in found}


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
    also saw the face. `votes_angry` and so on count the raters who heard that emotion.
    """
    actors, votes, counts = _actors(root), _votes(root), _counts(root)
    for item in items:
        if isinstance(item, Label):
            gender, age = actors.get(item.speaker, ("", _NAN))
            extra: dict[str, str | float] = {"age": age} if actors else {}
            whole = f"{item.clip}X" if item.clip.endswith("_X") else item.clip
            if votes:
                extra |= votes.get(whole, dict.fromkeys(_VOTES, ""))
            if counts:
                extra |= counts.get(whole, dict.fromkeys(next(iter(counts.values())), 0))
            item = replace(item, gender=gender, extra=extra)
        yield item
    if not actors:
        yield Note("no VideoDemographics.csv: gender stays empty")
    if not votes:
        yield Note("no processedResults/summaryTable.csv: the crowd's votes are left out")


def _actors(root: Path) -> dict[str, tuple[str, float]]:
    """Return gender and age in years by actor."""
    if not (root / "VideoDemographics.csv").is_file():
        return {}
    table = manifest.read_table(root / "VideoDemographics.csv")
    rows = zip(table["ActorID"], table["Sex"], table["Age"], strict=True)
    return {actor: (sex.lower(), float(age)) for actor, sex, age in rows}


def _votes(root: Path) -> dict[str, dict[str, str]]:
    """Return the crowd's votes by clip, with emotion words for its letters."""
    path = root / "processedResults" / "summaryTable.csv"
    if not path.is_file():
        return {}
    table = manifest.read_table(path)
    columns = {ours: table[theirs] for ours, theirs in _VOTES.items()}
    for name in ("voice_vote", "multimodal_vote"):
        columns[name] = columns[name].map(lambda vote: ":".join(_HEARD.get(v, v) for v in vote.split(":")))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return dict(zip(table["FileName"], rows, strict=True))


def _counts(root: Path) -> dict[str, dict[str, float]]:
    """Return by clip how many raters of the voice alone, whose rows begin with 1, heard each emotion."""
    path = root / "processedResults" / "tabulatedVotes.csv"
    if not path.is_file():
        return {}
    table = manifest.read_table(path)
    heard = table[table.iloc[:, 0].str.startswith("1")]
    columns = [VOTES + word for word in _HEARD.values()]
    rows = heard[list(_HEARD)].astype(int).set_axis(columns, axis=1).to_dict("records")
    return dict(zip(heard["fileName"], rows, strict=True))


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
    for item in items:
        yield replace(item, text=texts.get(item.clip, "")) if isinstance(item, Label) else item
    if without := sum(one.clip not in texts for one in labels):
        yield Note(f"no transcript for {without} clips: their text stays empty")


def esd_transcript(text: str) -> Iterator[tuple[str, str]]:
    """Yield clip and words from lines of clip, words and emotion; the gaps between them vary."""
    for match in map(_LINE.fullmatch, text.splitlines()):
        if match:
            *words, last = match[2].split()
            if last not in _LAST_WORDS:
                words.append(last)
            yield match[1], " ".join(words)


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
    table = pd.read_csv(
        path,
        sep="\t",
        dtype=str,
        encoding="utf-8-sig",
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,  # its quotation marks belong to the text
    ).fillna("")
    fields = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")
    if missing := [name for name in fields if name not in table.columns]:
        raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
    # The table says .wav; a copy may be packed in another format.
    rows = {Path(row["file_id"]).stem: row for row in table.to_dict("records")}
    for item in items:
        row = rows.pop(item.path.stem, None)
        yield (
            Skipped(item.path, "no line in data.tsv, or already met") if row is None else nemo_row(item, row)
        )
    for row in rows.values():
        yield Skipped(root / "samples" / row["file_id"], "named in data.tsv but not there")


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
    for item in items:
        if isinstance(item, Label):
            text = words.get(item.clip, "")
            item = replace(item, text=text, text_id=text or item.clip)
        yield item


# ------------------------------------------------------------------- corpora that their tables name


MELD = CorpusInfo(
    "meld",
    "Multimodal EmotionLines Dataset, from the series Friends",
    "GPL-3.0, by its repository; the sound is that of a television series",
    "S. Poria, D. Hazarika, N. Majumder, G. Naik, E. Cambria, R. Mihalcea (2019), ACL, arXiv:1810.02508",
    language="en", clips=13_708, speakers=None,
    source="by hand from the link at https://github.com/declare-lab/MELD",
    defects=(
        "the main speakers are in training and test, so that a score is none for unseen speakers",
        "train dia125_utt3 is broken and dev dia110_utt7 missing",
        "sound is in .mp4, some of it with six channels, with laughter and music in it",
        "lines of several people at once are left out",
    ),
)  # fmt: skip
_MELD = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful",
    "disgust": "disgust", "surprise": "surprised",
}  # fmt: skip
_UTTERANCE = re.compile(r"(?:final_videos_test)?(dia[0-9]+_utt[0-9]+)")


def meld(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield the utterances of MELD's three tables; dialogues have the same numbers in each partition."""
    rows: dict[str, Row] = {}
    for partition in ("train", "dev", "test"):
        for path in sorted(root.rglob(f"{partition}_sent_emo.csv"))[:1]:
            table = _table(path, "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
            for row in table.to_dict("records"):
                rows[f"{partition}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"] = row
    if not rows:
        raise FileNotFoundError(
            f"{root}: MELD's tables (train_sent_emo.csv, dev_, test_) are missing; copy them from the "
            "publisher's repository, https://github.com/declare-lab/MELD"
        )
    for path in _converted(sound_files(root)):
        where = path.relative_to(root).as_posix().lower()
        partition = next((name for name in ("train", "dev", "test") if name in where), "")
        match = _UTTERANCE.fullmatch(path.stem)
        clip = f"{partition}_{match[1]}" if match else ""
        if (line := rows.pop(clip, None)) is not None:
            yield meld_row(path, clip, line)
        else:
            yield Skipped(path, "no line in MELD's tables, or already met")
    for clip in rows:
        yield Skipped(root / clip, "named in MELD's tables but not there")


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


def _converted(paths: Iterable[Path]) -> list[Path]:
    """Leave out videos that have a converted copy beside them."""
    present = set(paths)
    return [
        path for path in sorted(present) if path.suffix == ".wav" or path.with_suffix(".wav") not in present
    ]


MSP_PODCAST = CorpusInfo(
    "msp-podcast",
    "MSP-Podcast, turns of podcasts with categories and ratings",
    "by signed agreement with the University of Texas at Dallas",
    "C. Busso et al. (2025), The MSP-Podcast Corpus, arXiv:2509.09791",
    language="en", clips=None, speakers=None,  # each release has its own: 1.12 has 207,136 turns
    source="by signed request at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
    defects=(
        "turns without a speaker's name, or without an agreed category, are left out",
        "the publisher's test sets share speakers with each other",
        "MSP-PODCAST_1023_0235 is stereo at 44.1 kHz, all others mono at 16 kHz",
    ),
)  # fmt: skip
_MSP = {
    "N": "neutral", "H": "happy", "S": "sad", "A": "angry", "F": "fearful", "D": "disgust",
    "U": "surprised", "C": "contempt",
}  # fmt: skip


def msp_podcast(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield the turns of labels_consensus.csv (in old releases labels_concensus.csv); ratings are 1 to 7."""
    path = next(iter(sorted(root.rglob("labels_con[sc]ensus.csv"))), None)
    if path is None:
        raise FileNotFoundError(
            f"{root}: MSP-Podcast's Labels/labels_consensus.csv is missing; unpack it there"
        )
    table = _table(
        path, "FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set"
    )
    sounds = {path.stem: path for path in sound_files(root)}
    for row in table.to_dict("records"):
        clip = Path(row["FileName"]).stem
        sound = sounds.pop(clip, None)
        yield (
            Skipped(root / row["FileName"], "named in the labels but not there")
            if sound is None
            else (msp_podcast_row(sound, clip, row))
        )
    yield from (Skipped(path, "no line in the labels") for path in sounds.values())


def msp_podcast_row(path: Path, clip: str, row: Row) -> Label | Skipped:
    """Turn a line of the labels into what it says of a turn; a voice whom nobody named fits no split."""
    if row["EmoClass"] not in _MSP:
        why = {"X": "no agreed category (X)", "O": "no agreed category but other (O)"}
        return Skipped(path, why.get(row["EmoClass"], f"unknown category {row['EmoClass']!r}"))
    if row["SpkrID"].strip().lower() in ("", "unknown"):
        return Skipped(path, "its speaker isn't known, so that no split can hold the voice out")
    act, val, dom = (from_points(float(row[name]), 7) for name in ("EmoAct", "EmoVal", "EmoDom"))
    return Label(
        path, clip, row["SpkrID"].strip(), _MSP[row["EmoClass"]], row["EmoClass"],
        gender=row["Gender"].lower() if row["Gender"] in ("Male", "Female") else "",
        text_id=clip, language="en", arousal=act, valence=val, dominance=dom,
        extra={"partition": row["Split_Set"]},
    )  # fmt: skip
