"""One vocabulary, one order, one colour an emotion, told apart by colour-blind readers too."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from samples import refused

from emolib import emotions
from emolib.emotions import ANCHORS, COLOURS, EMOTIONS

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
EMODB = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored")
#: Linear-RGB simulations at full severity: G. Machado et al. (2009), doi:10.1109/TVCG.2009.113.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
}  # fmt: skip
#: In units of CIELAB: 2.3 is just noticeable side by side; dots of one colour among others need far more.
APART, DISTINCT = 20.0, 12.0


def as_seen(colour: str, vision: str) -> np.ndarray:
    """Return CIELAB coordinates of a colour as someone with this vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(VISION[vision] @ linear, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
              [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip
    xyz = np.array(to_xyz) @ linear / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: dict[str, str], vision: str) -> tuple[float, str, str]:
    seen = {name: as_seen(colour, vision) for name, colour in colours.items()}
    return min((float(np.linalg.norm(seen[a] - seen[b])), a, b) for a, b in itertools.combinations(seen, 2))


def test_vocabulary_and_order():
    words = "neutral calm happy sad angry fearful disgust surprised bored contempt excited frustrated"
    assert tuple(words.split()) == EMOTIONS == tuple(COLOURS)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in COLOURS.values())
    assert len(set(COLOURS.values())) == len(EMOTIONS)
    assert len(set(to_rgb(COLOURS["neutral"]))) == 1, "neutral is grey"


def test_no_two_words_look_the_same_least_of_all_two_of_a_corpus():
    others = {word: COLOURS[word] for word in emotions.OTHERS}
    assert {COLOURS[f"word {i}"] for i in range(200)} == set(others.values())
    assert COLOURS["gleeful"] == COLOURS["gleeful"] and "gleeful" not in COLOURS
    every = (*EMOTIONS, *others)
    assert len(set(every)) == len(every)
    for vision in VISION:
        for names, least in ((RAVDESS, APART), (EMODB, APART), (EMOTIONS, DISTINCT), (every, 11)):
            distance, a, b = closest({name: COLOURS[name] for name in names}, vision)
            assert distance > least, f"{a} and {b} are {distance:.1f} apart under {vision}"
    assert all(as_seen(COLOURS[name], "normal")[0] < 80 for name in every), "each stands out from white paper"


def test_the_check_finds_a_confusable_pair():
    pair = {"red": "#D62728", "green": "#2CA02C"}  # of matplotlib's default cycle
    assert closest(pair, "normal")[0] > APART > closest(pair, "deuteranopia")[0]
    assert closest({"white": "#FFFFFF", "black": "#000000"}, "protanopia")[0] == pytest.approx(100, abs=0.1)


def test_anchors_are_on_the_plane_and_nothing_can_be_changed():
    for table, anchors in ANCHORS.items():
        assert set(anchors) <= set(EMOTIONS), table
        assert all(-1 <= value <= 1 for anchor in anchors.values() for value in anchor), table
        assert len(set(anchors.values())) == len(anchors), f"two anchors of {table} coincide"
        assert anchors["neutral"] == (0, 0), table
        assert anchors["angry"].arousal > 0 > anchors["angry"].valence, table
        assert anchors["happy"].valence > 0 > anchors["sad"].arousal, table
    assert ANCHORS["iemocap"]["excited"] == (0.62, 0.75)
    assert ANCHORS["emodb"]["bored"] == (-0.65, -0.62)
    assert {name: len(table) for name, table in ANCHORS.items()} == {"iemocap": 9, "emodb": 9}
    for table in (COLOURS, ANCHORS, ANCHORS["emodb"]):
        with pytest.raises(TypeError):
            table["neutral"] = "#000000"


def test_ordered_is_the_vocabulary_s_order_without_repeats():
    assert emotions.ordered(["sad", "neutral", "sad", "angry"]) == ["neutral", "sad", "angry"]
    assert emotions.ordered(set(EMOTIONS)) == list(EMOTIONS)
    assert emotions.ordered(["zeal", "high", "awe", "low", "sad"]) == ["sad", "low", "high", "awe", "zeal"]


def test_an_unknown_emotion_is_refused_with_the_words_that_exist():
    assert emotions.check("angry") == "angry"
    for word in ("furious", "Angry", "", "anger "):
        refused(f"unknown emotion {word!r}.*neutral, calm.*frustrated", emotions.check, word)


def test_labels_of_other_tables_are_other_forms_of_the_words():
    known = {*EMOTIONS, *emotions.OTHERS}
    assert all(emotions.from_label(f" {word.upper()} ") == word for word in known)
    assert set(emotions.FORMS).isdisjoint(known) and set(emotions.FORMS.values()) <= known
    assert emotions.from_label("Anger") == "angry"
    assert emotions.from_label("Pleasant_surprise") == "surprised"
    assert emotions.from_label("very  Angry") == "very angry" and emotions.from_label("3") == "3"
    for label in ("", " NaN ", "xxx", "unknown"):
        refused(r"no emotion, but .*; expected a word", emotions.from_label, label)


def test_renames_are_counted_and_one_that_no_clip_has_is_refused():
    renames = emotions.Renames({"Joy": "amusement", "W": "neutral", "unknown": "calm"})
    given = ("joy", ""), ("angry", "W"), ("unknown", ""), ("ang", ""), ("SAD", "")
    assert [renames(*labels) for labels in given] == ["amused", "neutral", "calm", "angry", "sad"]
    expected = "ang to angry (1), angry to neutral (1), joy to amused (1), unknown to calm (1)"
    assert str(renames) == f"labels renamed: {expected}" and str(emotions.Renames()) == ""
    renames.check_all_met()
    refused("the mapping renames 'jyo', which no clip has", emotions.Renames({"jyo": "happy"}).check_all_met)
