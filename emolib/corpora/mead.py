"""MEAD: the audio of an audio-visual corpus; speaker, emotion and level are folders.

References
----------
K. Wang, Q. Wu, L. Song, Z. Yang, W. Wu, C. Qian, R. He, Y. Qiao, C. C. Loy (2020), "MEAD: a large-scale
audio-visual dataset for emotional talking-face generation", ECCV. Layout:
https://wywu.github.io/projects/MEAD/MEAD.html.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "mead",
    "Multi-view Emotional Audio-visual Dataset, audio",
    "for research only, on the publisher's terms",
    "K. Wang et al. (2020), MEAD: a large-scale audio-visual dataset for emotional talking-face "
    "generation, ECCV",
    language="en", clips=None, speakers=None,  # the paper has 60 speakers, of whom not all were released
    source="by hand from the links at https://wywu.github.io/projects/MEAD/MEAD.html",
)  # fmt: skip
_PATH = re.compile(r"(?:.*/)?([MW][0-9]{3})/(?:audio/)?([a-z]+)/level_([123])/([0-9]{3})\.[^/]+", re.DOTALL)
EMOTIONS = {
    "angry": "angry", "contempt": "contempt", "disgusted": "disgust", "fear": "fearful",
    "happy": "happy", "neutral": "neutral", "sad": "sad", "surprised": "surprised",
}  # fmt: skip
LEVELS = {"1": "low", "2": "medium", "3": "high"}


def labels(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield what each sound file's folders say."""
    packed = 0
    for path in sound_files(root):
        if path.suffix.lower() == ".m4a":
            packed += 1
            if path.with_suffix(".wav").exists():
                yield Skipped(path, "its converted copy beside it is read instead")
                continue
        yield parse(path)
    if packed:
        yield Note(
            f"{packed} .m4a files, which libsndfile can't decode; convert each beside itself, as "
            "`ffmpeg -i 001.m4a 001.wav` does"
        )


def parse(path: Path) -> Label | Skipped:
    """Read a path such as M003/audio/angry/level_1/001.m4a: speaker, emotion, level, number.

    A number stands for other words under another emotion, so both make the text's id.
    """
    match = _PATH.fullmatch(path.as_posix())
    if match is None or match[2] not in EMOTIONS:
        return Skipped(
            path, "its path isn't speaker, emotion, level and number, as M003/audio/angry/level_1/001 is"
        )
    speaker, emotion, level, number = match.groups()
    return Label(
        path, f"{speaker}_{emotion}_level_{level}_{number}", speaker, EMOTIONS[emotion], emotion,
        gender="male" if speaker[0] == "M" else "female",
        intensity="" if emotion == "neutral" else LEVELS[level],  # neutral has one level only
        text_id=f"{emotion}_{number}", language="en",
    )  # fmt: skip
