"""The vocabulary of emotions, their order and colours, and their anchors on the arousal-valence plane.

A corpus's own code stays in the manifest's ``label`` column; ``emotion`` holds a word. Twelve words have an
order, a colour and an anchor. Any other word may stand in a corpus of one's own: it has a colour and an order
too, but no anchor.

References
----------
The anchor tables are those of AVLearner: E. Zhou, Y. Zhang, Z. Duan (2023), "Learning Arousal-Valence
Representation from Categorical Emotion Labels of Speech", arXiv:2311.14816. The ``emodb`` table also serves
MEAD.
"""

import re
import zlib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Anchor(NamedTuple):
    """A point on the plane of affect; each coordinate in [-1, 1]."""

    valence: float
    arousal: float


#: Frequent words beyond the twelve, in their order, which follows the twelve, and their colours. Each is 11
#: units of CIELAB or more from the others and from the twelve, for colour-blind readers too. A word that is
#: in neither list takes the colour that its checksum names: two words may share it.
OTHERS = MappingProxyType(
    {
        "amused": "#5A78FF", "sleepy": "#780F00", "proud": "#87A5FF", "relieved": "#5A1E69",
        "confused": "#004BC3", "anxious": "#781E2D", "interested": "#3C78D2", "sarcastic": "#D22D3C",
        "ashamed": "#0096C3", "desperate": "#F0A587", "tender": "#69A5B4", "other": "#873CA5",
        "low": "#E12D78", "medium": "#D27869", "normal": "#A51E00", "high": "#78B4F0",
    }
)  # fmt: skip


class _Colours(dict[str, str]):
    """Colours by word; any word has one, and always the same."""

    def __missing__(self, word: str) -> str:
        return OTHERS.get(word) or list(OTHERS.values())[zlib.crc32(word.encode()) % len(OTHERS)]


#: One colour an emotion, everywhere. Paul Tol's "muted" and "vibrant" schemes (SRON/EPS/TN/09-002, 2021),
#: moved as little as keeps RAVDESS's and EmoDB's emotions 20 units of CIELAB apart for protanopes and
#: deuteranopes too; close relatives (happy and excited, angry and frustrated) get close hues. It lists the
#: named emotions, and answers for any other word.
COLOURS: Mapping[str, str] = MappingProxyType(
    _Colours({
        "neutral": "#727272", "calm": "#5EBEAA", "happy": "#E5AE32", "sad": "#2F2289", "angry": "#CB350D",
        "fearful": "#AB4598", "disgust": "#2D8C4E", "surprised": "#86C9ED", "bored": "#ABAF55",
        "contempt": "#892254", "excited": "#E8732F", "frustrated": "#E9808D",
    })
)  # fmt: skip
#: The named emotions, in the order in which tables and figures show them.
EMOTIONS = tuple(COLOURS)

#: Anchors by table name, then by emotion.
ANCHORS = MappingProxyType({
    "iemocap": MappingProxyType({
        "angry": Anchor(-0.51, 0.59), "happy": Anchor(0.81, 0.51), "neutral": Anchor(0.0, 0.0),
        "sad": Anchor(-0.63, -0.27), "disgust": Anchor(-0.60, 0.35), "excited": Anchor(0.62, 0.75),
        "fearful": Anchor(-0.64, 0.60), "frustrated": Anchor(-0.64, 0.52), "surprised": Anchor(0.0, 0.60),
    }),
    "emodb": MappingProxyType({
        "angry": Anchor(-0.43, 0.67), "bored": Anchor(-0.65, -0.62), "disgust": Anchor(-0.60, 0.35),
        "fearful": Anchor(-0.64, 0.60), "happy": Anchor(0.76, 0.48), "neutral": Anchor(0.0, 0.0),
        "sad": Anchor(-0.63, -0.27), "contempt": Anchor(-0.80, 0.20), "surprised": Anchor(0.0, 0.60),
    }),
})  # fmt: skip

#: Other forms of the same words and their usual codes, as people's own tables have them; no word of another
#: meaning, and no code that means one emotion here and another there, such as A or con.
FORMS = MappingProxyType(
    {
        "neutrality": "neutral", "calmness": "calm", "happiness": "happy", "sadness": "sad",
        "anger": "angry", "fear": "fearful", "afraid": "fearful", "disgusted": "disgust",
        "surprise": "surprised", "boredom": "bored", "contemptuous": "contempt",
        "excitement": "excited", "frustration": "frustrated",
        "neu": "neutral", "hap": "happy", "ang": "angry", "fea": "fearful", "dis": "disgust",
        "sur": "surprised", "bor": "bored", "exc": "excited", "fru": "frustrated",
        "joy": "happy", "joyful": "happy", "joyous": "happy",
        "pleasant surprise": "surprised", "pleasantly surprised": "surprised",
        "amusement": "amused", "sleepiness": "sleepy", "pride": "proud", "relief": "relieved",
        "confusion": "confused", "anxiety": "anxious", "interest": "interested", "sarcasm": "sarcastic",
        "shame": "ashamed", "desperation": "desperate", "tenderness": "tender",
    }
)  # fmt: skip
#: What tables write where there is no emotion; IEMOCAP has xxx where the raters disagree.
_NONE = frozenset({"", "nan", "none", "null", "na", "n/a", "?", "unknown", "xxx", "no agreement"})


def plain(label: str) -> str:
    """Return a label in lower case, with one blank for each run of blanks, underscores and hyphens."""
    return " ".join(re.split(r"[\s_-]+", label.lower())).strip()


def from_label(label: str) -> str:
    """Return the word for a label of somebody's table: case, blanks and grammatical form don't matter.

    A label that is no form of a known word (`FORMS`) is a word of its own.

    Raises
    ------
    ValueError
        If it is empty or says that there is none, such as nan, unknown or xxx.
    """
    word = plain(label)
    if word in _NONE or not word.isprintable():
        raise ValueError(f"no emotion, but {label.strip()!r}; expected a word such as angry or amused")
    return FORMS.get(word, word)


class Renames:
    """Turns labels into words, and keeps a list of those that it renamed.

    Parameters
    ----------
    mapping : mapping from label to word, optional
        What is to be renamed, beside `FORMS`; case and blanks don't matter.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.mapping = {plain(old): from_label(new) for old, new in (mapping or {}).items()}
        self.made: Counter[tuple[str, str]] = Counter()
        self._unmet = set(self.mapping)

    def __call__(self, emotion: str, code: str = "") -> str:
        """Return the word for a clip's emotion; the mapping may name that, or the corpus's own code for it.

        Raises
        ------
        ValueError
            As `from_label`.
        """
        keys = [plain(code), plain(emotion)]
        if not self.mapping.keys() & set(keys):
            keys.append(from_label(emotion))
        known = [key for key in keys if key in self.mapping]
        word = self.mapping[known[0]] if known else keys[-1]
        self._unmet -= set(known[:1])
        if word != plain(emotion):
            self.made[emotion.strip(), word] += 1
        return word

    def check_all_met(self) -> None:
        """Raise ValueError if the mapping names a label that no clip had."""
        if self._unmet:
            raise ValueError(
                f"the mapping renames {', '.join(map(repr, sorted(self._unmet)))}, which no clip has; "
                f"expected labels of this corpus: correct the name, or leave it out"
            )

    def __str__(self) -> str:
        """Say in one sentence what was renamed; nothing where nothing was."""
        told = [f"{old} to {new} ({n})" for (old, new), n in sorted(self.made.items())]
        return f"labels renamed: {', '.join(told)}" if told else ""


def check(emotion: str) -> str:
    """Return `emotion` if it is one of the named ones, which rules and anchors are known for.

    Raises
    ------
    ValueError
        If it is not; the message lists the words that are.
    """
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}; expected one of: {', '.join(EMOTIONS)}")
    return emotion


def ordered(present: "list[str] | set[str] | tuple[str, ...]") -> list[str]:
    """Return the distinct emotions of `present` in the order in which tables and figures show them.

    The named ones come first, then `OTHERS`, then further words by the alphabet.
    """
    rank = {word: number for number, word in enumerate((*EMOTIONS, *OTHERS))}
    return sorted(set(present), key=lambda word: (rank.get(word, len(rank)), word))
