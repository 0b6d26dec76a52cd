"""IEMOCAP: five sessions of two actors each; categories, and ratings of valence, activation and dominance.

References
----------
C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee, S. S. Narayanan (2008),
"IEMOCAP: interactive emotional dyadic motion capture database", Language Resources and Evaluation 42,
335-359.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emolib.corpora.manifest import CorpusInfo, Label, Note, Skipped, from_points
from emolib.corpora.scan import sound_files

CARD = CorpusInfo(
    "iemocap",
    "Interactive Emotional Dyadic Motion Capture database",
    "by signed agreement with the University of Southern California",
    "C. Busso et al. (2008), IEMOCAP: interactive emotional dyadic motion capture database, "
    "Language Resources and Evaluation 42, 335-359",
    # Of 10,039 turns, those whose raters agreed on one category: not xxx (2,507), not oth (3).
    language="en", clips=7529, speakers=10,
    source="by signed request at https://sail.usc.edu/iemocap/iemocap_release.htm",
)  # fmt: skip
_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_EVALUATION = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(\S+)\s+([a-z]{{3}})\s+\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]\s*"
)
_TURN = re.compile(r"(Ses0[1-5])[FM]_((?:impro|script)\w+)_([FM])\w{3}", re.ASCII)
_TRANSCRIPT = re.compile(r"(Ses\w+)\s+\[[^\]]*\]:\s*(.*)", re.ASCII)
EMOTIONS = {
    "neu": "neutral", "hap": "happy", "exc": "excited", "sad": "sad", "ang": "angry",
    "fru": "frustrated", "fea": "fearful", "sur": "surprised", "dis": "disgust",
}  # fmt: skip
_UNDECIDED = ("xxx", "oth")


class Evaluation(NamedTuple):
    """One line of an evaluation file; the ratings run from 1 to 5."""

    turn: str
    category: str
    valence: float
    activation: float
    dominance: float


def labels(root: Path) -> Iterator[Label | Skipped | Note]:
    """Yield each evaluated turn; turns without an agreed category, and without sound, are skipped.

    `speaker` is the session with the gender of the one who talks (the letter after the session in a file's
    name is another: it says who wore the markers). `session` is for folds, since a session's two actors talk
    to each other.
    """
    outside = 0
    for session in _sessions(root):
        texts = _transcripts(session)
        folder = session / "sentences" / "wav"
        sounds = {path.stem: path for path in sound_files(folder)} if folder.is_dir() else {}
        for line in _evaluations(session):
            path = sounds.pop(line.turn, folder / f"{line.turn}.wav")
            outside += sum(not 1 <= rating <= 5 for rating in line[2:])
            yield label(path, line, session.name, texts.get(line.turn, ""))
        yield from (Skipped(path, "no line in the evaluation files") for path in sounds.values())
    if outside:
        yield Note(f"{outside} ratings outside 1 to 5 were left empty")


def label(path: Path, line: Evaluation, session: str, text: str) -> Label | Skipped:
    """Turn a line of an evaluation file into what it says of a turn's sound file."""
    turn = _TURN.fullmatch(line.turn)
    if turn is None:
        return Skipped(path, f"its evaluation names the turn {line.turn!r}, which fits no scheme")
    if line.category in _UNDECIDED:
        return Skipped(path, f"no agreed category ({line.category})")
    if line.category not in EMOTIONS:
        return Skipped(path, f"unknown category {line.category!r}")
    return Label(
        path, line.turn, turn[1] + turn[3], EMOTIONS[line.category], line.category,
        gender="female" if turn[3] == "F" else "male", text=text, language="en",
        arousal=from_points(line.activation), valence=from_points(line.valence),
        dominance=from_points(line.dominance), extra={"session": session, "scenario": turn[2]},
    )  # fmt: skip


def parse_evaluation(text: str) -> Iterator[Evaluation]:
    """Yield the summary lines of an evaluation file, `[start - end] turn category [val, act, dom]`."""
    for match in map(_EVALUATION.fullmatch, text.splitlines()):
        if match:
            yield Evaluation(match[3], match[4], *(float(rating) for rating in match.groups()[4:]))


def _sessions(root: Path) -> list[Path]:
    """Return the session folders, which lie in the corpus's folder or one further down."""
    here = sorted(path for path in root.glob("Session[1-5]") if path.is_dir())
    return here or sorted(path for path in root.glob("*/Session[1-5]") if path.is_dir())


def _evaluations(session: Path) -> Iterator[Evaluation]:
    for path in sorted((session / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        yield from parse_evaluation(path.read_text(encoding="utf-8", errors="replace"))


def _transcripts(session: Path) -> dict[str, str]:
    """Return the words by turn."""
    files = sorted((session / "dialog" / "transcriptions").glob("Ses*.txt"))
    lines = [
        line for path in files for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return {match[1]: match[2].strip() for match in map(_TRANSCRIPT.fullmatch, lines) if match}
