"""EmoDB: ten German actors, ten sentences, seven emotions, and ratings where their table is at hand.

References
----------
F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss (2005), "A database of German emotional speech",
Interspeech. Speakers, texts and codes: https://emodb.bilderbar.info.
Ratings: Das et al. (2022), NLDL 3, a table of activation and valence from 1 to 5.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from emolib.corpora import manifest
from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped, from_five_points
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "emodb",
    "Berlin Database of Emotional Speech (Emo-DB)",
    "free for research",
    "F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss (2005), A database of German "
    "emotional speech, Interspeech; ratings: Das et al. (2022), NLDL 3",
    language="de", clips=535, speakers=10,
    source="https://emodb.bilderbar.info",
)  # fmt: skip
_NAME = re.compile(r"([0-9]{2})([ab][0-9]{2})([WLEAFTN])([a-z]?)")
#: The letters stand for Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral.
EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
#: Gender and age in years by speaker.
SPEAKERS = {
    "03": ("male", 31), "08": ("female", 34), "09": ("female", 21), "10": ("male", 32), "11": ("male", 26),
    "12": ("male", 30), "13": ("female", 32), "14": ("female", 35), "15": ("male", 25), "16": ("female", 31),
}  # fmt: skip
TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
RATINGS = "emodb_activation_valence.csv"


def labels(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield what each file's name says, with ratings and a listening test's scores where their tables are."""
    ratings, scores = _ratings(root), _scores(root)
    parsed = [parse(path) for path in sound_files(root)]
    named = [item for item in parsed if isinstance(item, Label)]
    yield from (item for item in parsed if isinstance(item, Skipped))
    for label in named:
        arousal, valence = ratings.get(label.clip, (float("nan"), float("nan")))
        extra = dict(label.extra)
        if scores:
            nothing = (float("nan"), float("nan"))
            extra |= dict(zip(("recognition", "naturalness"), scores.get(label.clip, nothing), strict=True))
        yield replace(label, arousal=arousal, valence=valence, extra=extra)
    rated = sum(label.clip in ratings for label in named)
    if ratings:
        yield Note(f"arousal and valence ratings joined for {rated} of {len(named)} clips")
    else:
        yield Note(f"no {RATINGS} beside the corpus: arousal and valence stay empty")


def parse(path: Path) -> Label | Skipped:
    """Read a name such as 03a01Fa: speaker, text, emotion, version."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return Skipped(path, "its name isn't speaker, text, emotion and version, as 03a01Fa is")
    speaker, text, letter, _ = match.groups()
    if speaker not in SPEAKERS or text not in TEXTS:
        return Skipped(path, f"unknown speaker or text {speaker}{text}")
    gender, age = SPEAKERS[speaker]
    return Label(
        path, path.stem, speaker, EMOTIONS[letter], letter,
        gender=gender, text_id=text, text=TEXTS[text], language="de", extra={"age": age},
    )  # fmt: skip


def _ratings(root: Path) -> dict[str, tuple[float, float]]:
    """Return arousal and valence, in [-1, 1], by clip; the table lies in the corpus's folder or beside it."""
    path = next((folder / RATINGS for folder in (root, root.parent) if (folder / RATINGS).is_file()), None)
    if path is None:
        return {}
    table = manifest.read_table(path)
    if missing := {"file", "activation", "valence"} - set(table.columns):
        raise ValueError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
    values = zip(
        table["file"], table["activation"].astype(float), table["valence"].astype(float), strict=True
    )
    return {Path(name).stem: (from_five_points(a), from_five_points(v)) for name, a, v in values}


def _scores(root: Path) -> dict[str, tuple[float, float]]:
    """Return the listening test's recognition and naturalness, in percent, by clip."""
    path = root / "erkennung.txt"
    if not path.is_file():
        return {}
    row = re.compile(r"(\w+)\.wav\s+([0-9]+,[0-9]+)\s+([0-9]+,[0-9]+)")
    found = row.findall(path.read_text(encoding="latin-1"))
    return {clip: (_decimal(recognised), _decimal(natural)) for clip, recognised, natural in found}


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))
