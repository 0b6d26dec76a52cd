"""The rules: complete rows, and totals whose directions are those of Murray & Arnott 1993, Table I."""

import dataclasses

import pytest

from emolib import demo, expression
from emolib.expression import PARAMETERS, RULES, express


def total(emotion: str, parameter: str) -> float:
    """What an emotion at its anchor does to a parameter, beyond neutral."""
    anchor = demo.ANCHORS[emotion]
    return getattr(express(emotion, anchor.valence, anchor.arousal), parameter) - getattr(
        express("neutral", 0, 0), parameter
    )


def test_every_rule_names_its_source_and_finding():
    for rule in RULES:
        assert rule.parameter in PARAMETERS
        assert rule.driver in {"arousal", "valence", *demo.ANCHORS}
        assert rule.finding and rule.amount
        assert rule.source == "own" or f"{rule.source}:" in expression.__doc__
    assert len({(rule.driver, rule.parameter) for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("parameter", ["pitch_st", "range_log", "rate_log", "level_db"])
@pytest.mark.parametrize("emotion", ["angry", "happy", "sad", "disgust"])
def test_totals_follow_murray_and_arnott(emotion, parameter):
    signs = {
        "angry": {"pitch_st": 1, "range_log": 1, "rate_log": 1, "level_db": 1},
        "happy": {"pitch_st": 1, "range_log": 1, "rate_log": 1, "level_db": 1},
        "sad": {"pitch_st": -1, "range_log": -1, "rate_log": -1, "level_db": -1},
        "disgust": {"pitch_st": -1, "range_log": 1, "rate_log": -1, "level_db": -1},
    }
    assert total(emotion, parameter) * signs[emotion][parameter] > 0


def test_fear_is_high_and_fast_at_normal_intensity():
    assert total("fearful", "pitch_st") > total("happy", "pitch_st")
    assert total("fearful", "rate_log") > total("happy", "rate_log") > total("angry", "rate_log") > 0
    assert 0 <= total("fearful", "level_db") < 0.5 * total("angry", "level_db")
    assert total("fearful", "jitter") == max(total(emotion, "jitter") for emotion in demo.ANCHORS)


def test_neutral_at_rest_is_the_resting_voice():
    assert express("neutral", 0, 0) == expression.RESTING


def test_strength_and_take_scale_what_they_should():
    weak = express("angry", -0.5, 0.6, strength=dict.fromkeys(PARAMETERS, 0.0))
    assert weak == expression.RESTING
    once = express("neutral", 0, 0, take={"pitch_st": 1.0})
    assert once.pitch_st == expression.TAKE_SD.pitch_st
    steady = express("calm", 0.3, -0.5, take=dict.fromkeys(PARAMETERS, -9.0))
    assert min(steady.jitter, steady.shimmer_db, steady.pause_s) == 0


def test_arousal_and_valence_are_continuous():
    levels = [express("angry", -0.5, arousal).level_db for arousal in (-1, -0.5, 0, 0.5, 1)]
    assert levels == sorted(levels) and len(set(levels)) == 5
    assert express("happy", 0.9, 0.5).formants > express("happy", 0.4, 0.5).formants


def test_emotions_without_rows_speak_by_their_place_alone():
    bored = dataclasses.asdict(express("bored", -0.65, -0.62))
    assert bored == dataclasses.asdict(express("neutral", -0.65, -0.62))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("furious", 0, 0), "unknown emotion 'furious'"),
        (("angry", -1.2, 0), "valence -1.2"),
        (("angry", 0, float("nan")), "arousal nan"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        express(*arguments)
