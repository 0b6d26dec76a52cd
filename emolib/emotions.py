"""The one vocabulary of emotions, their order and colours, and their anchors on the arousal-valence plane.

A corpus's own code stays in the manifest's ``label`` column; ``emotion`` holds one of these words.

References
----------
The anchor tables are those of AVLearner: E. Zhou, Y. Zhang, Z. Duan (2023), "Learning Arousal-Valence
Representation from Categorical Emotion Labels of Speech", arXiv:2311.14816. The ``emodb`` table also serves
MEAD.
"""

from types import MappingProxyType
from typing import NamedTuple


class Anchor(NamedTuple):
    """A point on the plane of affect; each coordinate in [-1, 1]."""

    valence: float
    arousal: float


#: Every emotion, in the order in which tables and figures show them.
EMOTIONS = (
    "neutral", "calm", "happy", "sad", "angry", "fearful",
    "disgust", "surprised", "bored", "contempt", "excited", "frustrated",
)  # fmt: skip

#: One colour an emotion, everywhere. Paul Tol's "muted" and "vibrant" schemes (SRON/EPS/TN/09-002, 2021),
#: moved as little as keeps RAVDESS's and EmoDB's emotions 20 units of CIELAB apart for protanopes and
#: deuteranopes too; close relatives (happy and excited, angry and frustrated) get close hues.
COLOURS = MappingProxyType(
    {
        "neutral": "#727272", "calm": "#5EBEAA", "happy": "#E5AE32", "sad": "#2F2289", "angry": "#CB350D",
        "fearful": "#AB4598", "disgust": "#2D8C4E", "surprised": "#86C9ED", "bored": "#ABAF55",
        "contempt": "#892254", "excited": "#E8732F", "frustrated": "#E9808D",
    }
)  # fmt: skip

#: Anchors by table name, then by emotion.
ANCHORS = MappingProxyType(
    {
        "iemocap": MappingProxyType(
            {
                "angry": Anchor(-0.51, 0.59), "happy": Anchor(0.81, 0.51), "neutral": Anchor(0.0, 0.0),
                "sad": Anchor(-0.63, -0.27), "disgust": Anchor(-0.60, 0.35), "excited": Anchor(0.62, 0.75),
                "fearful": Anchor(-0.64, 0.60), "frustrated": Anchor(-0.64, 0.52),
                "surprised": Anchor(0.0, 0.60),
            }
        ),
        "emodb": MappingProxyType(
            {
                "angry": Anchor(-0.43, 0.67), "bored": Anchor(-0.65, -0.62), "disgust": Anchor(-0.60, 0.35),
                "fearful": Anchor(-0.64, 0.60), "happy": Anchor(0.76, 0.48), "neutral": Anchor(0.0, 0.0),
                "sad": Anchor(-0.63, -0.27), "contempt": Anchor(-0.80, 0.20), "surprised": Anchor(0.0, 0.60),
            }
        ),
    }
)  # fmt: skip

#: Other forms of the same words, as people's own tables have them; no word of another meaning.
FORMS = MappingProxyType(
    {
        "neutrality": "neutral", "calmness": "calm", "happiness": "happy", "sadness": "sad",
        "anger": "angry", "fear": "fearful", "afraid": "fearful", "disgusted": "disgust",
        "surprise": "surprised", "boredom": "bored", "contemptuous": "contempt",
        "excitement": "excited", "frustration": "frustrated",
    }
)  # fmt: skip


def from_label(label: str) -> str:
    """Return the word for a label of somebody's table: case, blanks and grammatical form don't matter.

    Raises
    ------
    ValueError
        If it is no form of a word of the vocabulary; the message lists the words.
    """
    word = label.strip().lower()
    return check(FORMS.get(word, word))


def check(emotion: str) -> str:
    """Return `emotion` if it belongs to the vocabulary.

    Raises
    ------
    ValueError
        If it does not; the message lists the words that do.
    """
    if emotion not in COLOURS:
        raise ValueError(f"unknown emotion {emotion!r}; expected one of: {', '.join(EMOTIONS)}")
    return emotion


def ordered(present: "list[str] | set[str] | tuple[str, ...]") -> list[str]:
    """Return the distinct emotions of `present` in the order in which tables and figures show them."""
    return sorted({check(emotion) for emotion in present}, key=EMOTIONS.index)
