"""CREMA-D: 91 actors, twelve sentences, six emotions at up to three levels, and what a crowd heard.

References
----------
H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma (2014), "CREMA-D: Crowd-sourced
Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing 5(4), 377-390. Names and
tables: https://github.com/CheyneyComputerScience/CREMA-D.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from emolib.corpora import manifest
from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped
from emolib.corpora.scan import sound_files
from emolib.corpora.tables import VOTES

CARD = CorpusInfo(
    "crema-d",
    "Crowd-sourced Emotional Multimodal Actors Dataset",
    "ODbL 1.0, contents DbCL 1.0",
    "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma (2014), IEEE Transactions on "
    "Affective Computing 5(4), 377-390, doi:10.1109/TAFFC.2014.2336244",
    language="en", clips=7442, speakers=91,
    source="https://github.com/CheyneyComputerScience/CREMA-D",
)  # fmt: skip
# The published 1040_ITH_SAD_X lacks its last letter.
_NAME = re.compile(r"(1[0-9]{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
EMOTIONS = {
    "ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}
TEXTS = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
ACTORS = frozenset(str(number) for number in range(1001, 1092))
_VOTES = {
    "voice_vote": "VoiceVote", "voice_level": "VoiceLevel",
    "multimodal_vote": "MultiModalVote", "multimodal_level": "MultiModalLevel",
}  # fmt: skip


def labels(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield what each file's name says, with the actors' data and the crowd's votes where those tables are.

    `voice_vote` is what most raters heard, as emotion words joined by colons where they tied, and
    `voice_level` the mean intensity that they gave, 0 to 100; the multimodal columns are those of raters who
    also saw the face. `votes_angry` and so on count the raters who heard that emotion.
    """
    actors, votes, counts = _actors(root), _votes(root), _counts(root)
    # The repository holds each clip as AudioWAV, AudioMP3 and video; the first is the one for computation.
    folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else root
    for item in map(parse, sound_files(folder)):
        if isinstance(item, Label):
            gender, age = actors.get(item.speaker, ("", float("nan")))
            extra: dict[str, str | float] = {"age": age} if actors else {}
            if votes:
                extra |= votes.get(_full_name(item.clip), dict.fromkeys(_VOTES, ""))
            if counts:
                extra |= counts.get(_full_name(item.clip), dict.fromkeys(next(iter(counts.values())), 0))
            item = replace(item, gender=gender, extra=extra)
        yield item
    if not actors:
        yield Note("no VideoDemographics.csv: gender stays empty")
    if not votes:
        yield Note("no processedResults/summaryTable.csv: the crowd's votes are left out")


def parse(path: Path) -> Label | Skipped:
    """Read a name such as 1001_DFA_ANG_XX: actor, sentence, emotion, level (XX where none was asked for)."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return Skipped(path, "its name isn't actor, sentence, emotion and level, as 1001_DFA_ANG_XX is")
    actor, text, emotion, level = match.groups()
    if actor not in ACTORS or text not in TEXTS or emotion not in EMOTIONS:
        return Skipped(path, f"unknown actor, sentence or emotion {actor}_{text}_{emotion}")
    return Label(
        path, path.stem, actor, EMOTIONS[emotion], emotion,
        intensity=LEVELS.get(level, ""), text_id=text, text=TEXTS[text], language="en",
    )  # fmt: skip


def _full_name(clip: str) -> str:
    return f"{clip}X" if clip.endswith("_X") else clip


def _actors(root: Path) -> dict[str, tuple[str, float]]:
    """Return gender and age in years by actor."""
    if not (root / "VideoDemographics.csv").is_file():
        return {}
    table = manifest.read_table(root / "VideoDemographics.csv")
    return {
        actor: (sex.lower(), float(age))
        for actor, sex, age in zip(table["ActorID"], table["Sex"], table["Age"], strict=True)
    }


def _votes(root: Path) -> dict[str, dict[str, str | float]]:
    """Return the crowd's votes by clip, with emotion words for its letters."""
    path = root / "processedResults" / "summaryTable.csv"
    if not path.is_file():
        return {}
    table = manifest.read_table(path)
    words = {code[0]: word for code, word in EMOTIONS.items()}
    columns = {ours: table[theirs] for ours, theirs in _VOTES.items()}
    for name in ("voice_vote", "multimodal_vote"):
        columns[name] = columns[name].map(lambda vote: ":".join(words.get(v, v) for v in vote.split(":")))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return dict(zip(table["FileName"], rows, strict=True))


def _counts(root: Path) -> dict[str, dict[str, float]]:
    """Return by clip how many raters of the voice alone, whose rows begin with 1, heard each emotion."""
    path = root / "processedResults" / "tabulatedVotes.csv"
    if not path.is_file():
        return {}
    table = manifest.read_table(path)
    heard = table[table.iloc[:, 0].str.startswith("1")]
    counts = heard[[code[0] for code in EMOTIONS]].astype(int)
    rows = counts.set_axis([VOTES + word for word in EMOTIONS.values()], axis=1).to_dict("records")
    return dict(zip(heard["fileName"], rows, strict=True))
