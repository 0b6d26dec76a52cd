"""RAVDESS: seven numbers in each file's name say everything.

References
----------
S. R. Livingstone, F. A. Russo (2018), "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE 13(5): e0196391. File names: https://zenodo.org/records/1188976.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emolib.corpora.manifest import CorpusInfo, Label, Skipped
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "ravdess",
    "Ryerson Audio-Visual Database of Emotional Speech and Song, speech, audio only",
    "CC BY-NC-SA 4.0",
    "S. R. Livingstone, F. A. Russo (2018), PLoS ONE 13(5): e0196391, doi:10.1371/journal.pone.0196391",
    language="en", clips=1440, speakers=24,
    source="https://zenodo.org/records/1188976",
    # Byte for byte 03-01-03-01-02-01-07; the 1440 clips of the literature count both.
    twins=frozenset({"03-01-03-01-02-02-07"}),
)  # fmt: skip
_NAME = re.compile(r"([0-9]{2})" + 6 * r"-([0-9]{2})")
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
INTENSITIES = {"01": "normal", "02": "strong"}
TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
ACTORS = tuple(f"{number:02d}" for number in range(1, 25))


def labels(root: Path) -> Iterator[Label | Skipped]:
    """Yield what the name of each sound file under a folder says."""
    return (parse(path) for path in sound_files(root))


def parse(path: Path) -> Label | Skipped:
    """Read a name such as 03-01-06-01-02-01-12.

    Its numbers are modality, vocal channel, emotion, intensity, statement, repetition, actor.
    Only speech (channel 01) without a picture (modality 03) belongs to the corpus's 1440 clips.
    """
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return Skipped(path, "its name isn't seven two-digit numbers joined by hyphens")
    modality, channel, emotion, intensity, text, repetition, actor = match.groups()
    if (modality, channel) != ("03", "01"):
        return Skipped(path, f"modality {modality}, vocal channel {channel}: not audio-only speech (03-01)")
    if emotion not in EMOTIONS or intensity not in INTENSITIES or text not in TEXTS:
        return Skipped(path, f"unknown emotion, intensity or statement {emotion}-{intensity}-{text}")
    if actor not in ACTORS or repetition not in ("01", "02"):
        return Skipped(path, f"unknown repetition or actor {repetition}-{actor}")
    if (emotion, intensity) == ("01", "02"):
        return Skipped(path, "strong neutral, which the corpus doesn't have")
    return Label(
        path, path.stem, actor, EMOTIONS[emotion], emotion,
        gender="male" if int(actor) % 2 else "female",
        intensity=INTENSITIES[intensity], text_id=text, text=TEXTS[text], language="en",
    )  # fmt: skip
