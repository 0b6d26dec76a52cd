"""ESD: ten English and ten Mandarin speakers, the same 350 sentences of a language in five emotions.

References
----------
K. Zhou, B. Sisman, R. Liu, H. Li (2021), "Seen and unseen emotional style transfer for voice conversion with
a new emotional speech dataset", ICASSP; (2022) "Emotional voice conversion: theory, databases and ESD",
Speech Communication 137. Layout and speakers: the corpus's ReadMe,
https://github.com/HLTSingapore/Emotional-Speech-Data.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "esd",
    "Emotional Speech Dataset, English and Mandarin",
    "for research only, on the publisher's terms",
    "K. Zhou, B. Sisman, R. Liu, H. Li (2021), Seen and unseen emotional style transfer for voice "
    "conversion with a new emotional speech dataset, ICASSP",
    language="en zh", clips=35_000, speakers=20,
    source="by hand from the Google Drive that https://github.com/HLTSingapore/Emotional-Speech-Data links "
    "to",
)  # fmt: skip
_NAME = re.compile(r"([0-9]{4})_([0-9]{6})")
_LINE = re.compile(r"\s*([0-9]{4}_[0-9]{6})\s+(\S.*?)\s*")
#: In the order of the file numbers: each emotion takes 350 of them.
EMOTIONS = {"Neutral": "neutral", "Angry": "angry", "Happy": "happy", "Sad": "sad", "Surprise": "surprised"}
PARTITIONS = ("evaluation", "test", "train")
SENTENCES = 350
MEN = frozenset({"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"})
SPEAKERS = tuple(f"{number:04d}" for number in range(1, 21))
# The last word of a transcript's line names the emotion, in the speaker's language.
_LAST_WORDS = frozenset({*EMOTIONS, "中立", "愤怒", "生气", "快乐", "开心", "伤心", "惊喜", "惊讶", "惊奇"})


def labels(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield what each file's name and folder say, with the words from <speaker>/<speaker>.txt."""
    paths = sound_files(root)
    texts = _transcripts(paths)
    without = 0
    for item in map(parse, paths):
        if isinstance(item, Label):
            text = texts.get(item.clip, "")
            without += not text
            item = replace(item, text=text)
        yield item
    if without:
        yield Note(f"no transcript for {without} clips: their text stays empty")


def parse(path: Path) -> Label | Skipped:
    """Read a path such as 0011/Angry/train/0011_000351.wav; some copies leave the partition's folder out."""
    match = _NAME.fullmatch(path.stem)
    if match is None or match[1] not in SPEAKERS or not 1 <= int(match[2]) <= SENTENCES * len(EMOTIONS):
        return Skipped(
            path, "its name isn't a speaker 0001-0020 and a number 000001-001750, as 0011_000351 is"
        )
    partition = path.parent.name if path.parent.name in PARTITIONS else ""
    emotion = (path.parent.parent if partition else path.parent).name
    if emotion not in EMOTIONS:
        return Skipped(path, f"its folder {emotion!r} names none of the emotions {', '.join(EMOTIONS)}")
    speaker, language = match[1], "zh" if match[1] <= "0010" else "en"
    return Label(
        path, path.stem, speaker, EMOTIONS[emotion], emotion,
        gender="male" if speaker in MEN else "female",
        text_id=f"{language}{(int(match[2]) - 1) % SENTENCES + 1:03d}", language=language,
        extra={"partition": partition},
    )  # fmt: skip


def _transcripts(paths: list[Path]) -> dict[str, str]:
    """Return the words by clip from every <speaker>.txt in a folder above a sound file."""
    folders = sorted(
        {folder for path in paths for folder in list(path.parents)[:3] if folder.name in SPEAKERS}
    )
    found: dict[str, str] = {}
    for folder in folders:
        table = folder / f"{folder.name}.txt"
        if table.is_file():
            found |= dict(parse_transcript(decode(table.read_bytes(), folder.name)))
    return found


def parse_transcript(text: str) -> Iterator[tuple[str, str]]:
    """Yield clip and words from lines of clip, words and emotion; the gaps between them vary."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            *words, last = match[2].split()
            if last not in _LAST_WORDS:
                words.append(last)
            yield match[1], " ".join(words)


def decode(data: bytes, speaker: str) -> str:
    """Decode a transcript; the publisher's are in UTF-8, UTF-16, GB 2312 or Latin-1, from file to file."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "gb18030" if speaker <= "0010" else "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
