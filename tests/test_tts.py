"""Text to speech: alpha 0 is the plain voice, more alpha more emotion; what can't be spoken is refused."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from samples import speech

from emolib import audio, demo, emotions, encoders, speakers, tts
from emolib.axis import EmotionAxis
from emolib.tts import dial, references
from emolib.tts.voices import PLAIN
from emolib.world import Settings

TEXT = "We will meet her at the river in the morning."


@pytest.fixture(scope="module")
def voice() -> tts.Voice:
    return tts.load_voice("en-us+f2")


def write(path: Path, spoken: tuple[audio.Wave, int]) -> Path:
    return audio.write(path, *spoken)


def measured(path: Path, spoken: tuple[audio.Wave, int]) -> dict[str, float]:
    return references.measure(write(path, spoken))


# ------------------------------------------------------------------------------------- the dial


@pytest.mark.parametrize("target", ["angry", "sad", "surprised"])
def test_alpha_zero_is_the_plain_voice(voice, target):
    plain, sample_rate = voice.say(TEXT)
    spoken, same_rate = tts.speak(TEXT, voice=voice, target=target, alpha=0)
    assert np.array_equal(spoken, plain) and same_rate == sample_rate == voice.sample_rate
    assert plain.dtype == np.float32 and plain.ndim == 1


def test_neutral_is_the_plain_voice_at_any_alpha(voice):
    assert np.array_equal(tts.speak(TEXT, voice=voice, target="neutral")[0], voice.say(TEXT)[0])


@pytest.mark.parametrize(
    ("target", "rising", "falling"),
    [
        ("angry", ("pitch_st", "range_log", "rate_log", "level_db", "tilt_db"), ()),
        ("sad", (), ("pitch_st", "rate_log", "level_db", "tilt_db")),
        ("fearful", ("pitch_st", "rate_log", "level_db"), ()),
    ],
)
def test_more_alpha_is_more_emotion(voice, tmp_path, target, rising, falling):
    values = []
    for alpha in (0, 0.3, 1):
        spoken = tts.speak(TEXT, voice=voice, target=target, alpha=alpha)
        values.append(measured(tmp_path / f"{alpha}.wav", spoken))
        values[-1]["rate_log"] = -np.log(len(spoken[0]))  # of one text, the length tells it exactly
    for name in (*rising, *falling):
        none, some, full = (value[name] for value in values)
        assert (none < some < full) if name in rising else (none > some > full), name


def test_the_dial_says_what_is_then_heard(voice, tmp_path):
    wanted = Settings(pitch_st=4.0, level_db=5.0)
    plain, moved = (measured(tmp_path / "w.wav", voice.say(TEXT, s)) for s in (PLAIN, wanted))
    assert moved["pitch_st"] - plain["pitch_st"] == pytest.approx(4.0, abs=0.3)
    assert moved["level_db"] - plain["level_db"] == pytest.approx(5.0, abs=0.5)


def test_below_zero_is_the_opposite(voice, tmp_path):
    names = ("pitch_st", "level_db", "tilt_db")
    less, plain, more = (
        measured(tmp_path / "w.wav", tts.speak(TEXT, voice=voice, alpha=alpha)) for alpha in (-0.5, 0, 0.5)
    )
    assert all(less[name] < plain[name] < more[name] for name in names)


def test_equal_arguments_give_equal_samples(voice):
    first = tts.speak(TEXT, voice=voice, target="fearful", alpha=0.7)[0]
    voice.say("Something else.")
    assert np.array_equal(first, tts.speak(TEXT, voice="en-us+f2", target="fearful", alpha=0.7)[0])


def test_turning_is_linear_but_for_what_a_voice_has_none_of():
    angry = dial.toward("angry")
    assert dial.turned(angry, 0) == PLAIN == dial.toward("neutral")
    half, back = asdict(dial.turned(angry, 0.5)), asdict(dial.turned(angry, -1))
    for name, value in asdict(angry).items():
        never = name in ("jitter", "shimmer_db", "pause_s")
        assert half[name] == pytest.approx(max(value / 2, 0.0) if never else value / 2)
        assert back[name] == pytest.approx(max(-value, 0.0) if never else -value)


@pytest.mark.parametrize("emotion", emotions.EMOTIONS)
def test_every_emotion_of_the_vocabulary_is_a_target(emotion):
    settings = asdict(dial.toward(emotion))
    assert np.isfinite(list(settings.values())).all()
    assert any(settings.values()) == (emotion != "neutral")


@pytest.mark.parametrize("alpha", [1.01, -1.5, 3, float("nan"), float("inf")])
def test_alpha_out_of_range_is_refused(voice, alpha):
    with pytest.raises(ValueError, match=r"alpha .*; expected a number from -1 to 1, or to 2 with"):
        tts.speak(TEXT, voice=voice, alpha=alpha)


def test_extrapolation_is_for_those_who_ask(voice):
    far = tts.speak(TEXT, voice=voice, alpha=1.5, allow_extrapolation=True)[0]
    assert len(far) < len(tts.speak(TEXT, voice=voice)[0])
    with pytest.raises(ValueError, match=r"from -2 to 2$"):
        tts.speak(TEXT, voice=voice, alpha=2.5, allow_extrapolation=True)


def test_a_steerer_may_be_the_target(voice):
    class Louder:
        source, target = "calm", "angry"

        def analyse(self, wave, sample_rate):
            return wave

        def render(self, analysis, delta):
            return analysis * (1 + delta)

        def steer(self, wave, sample_rate, delta):
            return self.render(self.analyse(wave, sample_rate), delta)

    plain = voice.say(TEXT)[0]
    assert np.array_equal(tts.speak(TEXT, voice=voice, target=Louder(), alpha=0)[0], plain)
    assert np.allclose(tts.speak(TEXT, voice=voice, target=Louder(), alpha=0.5)[0], 1.5 * plain)


# ------------------------------------------------------------------------------------- text and voices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty text"),
        (" \n\t", "empty text"),
        ("... !", "nothing to speak"),
        ("a" * 1001, "1001 characters; expected at most 1000"),
        ("a\0b", "control characters"),
        ("a \ud800 b", "control characters"),
    ],
)
def test_what_is_no_text_is_refused(voice, text, message):
    with pytest.raises(ValueError, match=message):
        tts.speak(text, voice=voice)


def test_white_space_says_nothing(voice):
    assert np.array_equal(voice.say(f"  {TEXT}\n")[0], voice.say(TEXT)[0])


@pytest.mark.parametrize("name", ["en-xx", "", "en-us+nobody", "no/such-voice", "a b/c"])
def test_unknown_voices_are_refused(name):
    with pytest.raises(ValueError, match=r"^unknown voice .*; expected a language of espeak-ng"):
        tts.load_voice(name)


def test_unknown_emotions_are_refused(voice):
    with pytest.raises(ValueError, match="unknown emotion 'furious'; expected one of: neutral, calm"):
        tts.speak(TEXT, voice=voice, target="furious")


def test_espeak_takes_no_vocoder_and_no_speaker():
    for options in ({"vocoder": "x"}, {"speaker": 1}):
        with pytest.raises(ValueError, match="takes neither"):
            tts.load_voice("en-us", **options)


def test_other_languages_speak_too():
    wave, sample_rate = tts.speak("Der Bus fährt um neun.", voice="de", alpha=0.5)
    assert 0.8 < len(wave) / sample_rate < 3 and np.abs(wave).max() <= 1


# ------------------------------------------------------------------------------------- references


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    """A calm and an angry rendition of one sentence by an embedded voice."""
    folder = tmp_path_factory.mktemp("clips")
    return {
        word: write(
            folder / f"{word}.wav",
            speakers.render(speakers.VOICES[5], demo.SENTENCES["s4"], word, *dial.ANCHORS[word]),
        )
        for word in ("calm", "angry")
    }


def test_references_are_followed(voice, clips, tmp_path):
    pair = (clips["calm"], clips["angry"])
    values = [
        measured(tmp_path / "w.wav", tts.speak(TEXT, voice=voice, clips=pair, alpha=alpha))
        for alpha in (0, 0.3, 1)
    ]
    for name in ("pitch_st", "range_log", "level_db", "tilt_db"):
        assert values[0][name] < values[1][name] < values[2][name], name
    assert np.array_equal(tts.speak(TEXT, voice=voice, clips=pair, alpha=0)[0], voice.say(TEXT)[0])


def test_references_differ_as_the_rules_made_them(clips):
    found = asdict(references.between(clips["calm"], clips["angry"]))
    rules = {name: v - asdict(dial.toward("calm"))[name] for name, v in asdict(dial.toward("angry")).items()}
    for name, tolerance in (("pitch_st", 3), ("range_log", 0.4), ("level_db", 4), ("tilt_db", 1.5)):
        assert found[name] == pytest.approx(rules[name], abs=tolerance) and found[name] > 0
    assert not any(value for name, value in found.items() if name not in references.LIMITS)


def test_equal_references_change_nothing(voice, clips):
    pair = (clips["angry"], clips["angry"])
    assert np.array_equal(tts.speak(TEXT, voice=voice, clips=pair)[0], voice.say(TEXT)[0])


def test_swapped_references_are_the_opposite(clips):
    there, back = (asdict(references.between(*pair)) for pair in (clips.values(), list(clips.values())[::-1]))
    assert back == pytest.approx({name: -value for name, value in there.items()})


def test_channels_and_rate_of_a_reference_do_not_matter(clips, tmp_path):
    import soundfile as sf

    wave, sample_rate = audio.load(clips["angry"])
    wide = audio.resample(wave, sample_rate, 48_000)
    sf.write(tmp_path / "wide.wav", np.stack([wide, wide], axis=1), 48_000)
    before, after = references.measure(clips["angry"]), references.measure(tmp_path / "wide.wav")
    for name, tolerance in (("pitch_st", 0.2), ("range_log", 0.15), ("level_db", 0.5), ("tilt_db", 0.5)):
        assert after[name] == pytest.approx(before[name], abs=tolerance), name


def test_a_difference_is_believed_up_to_a_limit(clips, tmp_path):
    wave, sample_rate = audio.load(clips["calm"])
    faint = write(tmp_path / "faint.wav", (audio.level(wave, -60), sample_rate))
    assert references.between(faint, clips["angry"]).level_db == references.LIMITS["level_db"]


def test_the_speaking_rate_is_heard(voice, tmp_path):
    slow, fast = (
        measured(tmp_path / "w.wav", voice.say(TEXT, Settings(rate_log=rate)))["rate_log"]
        for rate in (-0.3, 0.3)
    )
    assert 0.2 < fast - slow < 0.8  # of 0.6: in fast speech syllables merge


RATE = 16_000
NOISE = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (NOISE, "voiced"),
        (speech(0.1), "at least 0.2 s"),
        (np.tile(speech(1.0), 121), "at most 120 s"),
    ],
    ids=["silence", "whisper", "short", "long"],
)
def test_references_without_speech_are_refused(voice, clips, tmp_path, wave, message):
    bad = write(tmp_path / "bad.wav", (wave, RATE))
    for pair in ((bad, clips["angry"]), (clips["calm"], bad)):
        with pytest.raises(ValueError, match=rf"bad.wav: .*{message}"):
            tts.speak(TEXT, voice=voice, clips=pair)


def test_references_that_are_no_sound_are_refused(voice, clips, tmp_path):
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(ValueError, match=r"text.wav: not readable as sound"):
        tts.speak(TEXT, voice=voice, clips=(tmp_path / "text.wav", clips["angry"]))
    with pytest.raises(ValueError, match=r"gone.wav: can't be opened"):
        tts.speak(TEXT, voice=voice, clips=(clips["calm"], tmp_path / "gone.wav"))


def test_references_and_a_target_exclude_each_other(voice, clips):
    with pytest.raises(ValueError, match="both a target, 'sad', and reference clips"):
        tts.speak(TEXT, voice=voice, target="sad", clips=(clips["calm"], clips["angry"]))


# ------------------------------------------------------------------------------------- the score


@pytest.fixture(scope="module")
def score() -> tts.AxisScore:
    return tts.embedded_score(encoder="logmel")


def test_the_score_tells_anger_from_calm(score, clips):
    calm, angry = (score(*audio.load(clips[word])) for word in ("calm", "angry"))
    assert calm < 0.4 and angry > 0.6


def test_the_score_rises_with_alpha(score, voice):
    values = [score(*tts.speak(TEXT, voice=voice, alpha=alpha)) for alpha in (-1, 0, 0.5, 1)]
    assert values == sorted(values) and values[-1] > values[1] + 0.2


def test_with_a_score_the_embedding_adds_what_cannot_be_measured(score, clips):
    pair = (clips["calm"], clips["angry"])
    alone, heard = tts.settings_between(*pair), tts.settings_between(*pair, score)
    steps = score(*audio.load(pair[1])) - score(*audio.load(pair[0]))
    assert all(getattr(alone, name) == getattr(heard, name) for name in references.LIMITS)
    rule = dial.toward("angry").abrupt_st - dial.toward("calm").abrupt_st
    assert heard.abrupt_st == pytest.approx(min(steps, 1.5) * rule) and heard.abrupt_st > 1
    assert tts.settings_between(pair[0], pair[0], score) == PLAIN


def test_axes_that_do_not_fit_are_refused(score):
    rng = np.random.default_rng(0)
    bare = EmotionAxis().fit(rng.normal(size=(20, 80)), ["calm", "angry"] * 10)
    with pytest.raises(ValueError, match="doesn't say which encoder"):
        tts.AxisScore(bare)
    with pytest.raises(ValueError, match="logmel"):
        tts.AxisScore(score.axis, encoders.load("prosody"))
    with pytest.raises(ValueError, match="unknown emotion 'furious'"):
        tts.embedded_score("calm", "furious", "logmel")


def test_a_saved_axis_scores_the_same(score, clips, tmp_path):
    score.axis.save(tmp_path / "axis")
    again = tts.AxisScore(EmotionAxis.load(tmp_path / "axis"))
    wave = audio.load(clips["angry"])
    assert again(*wave) == pytest.approx(score(*wave), abs=1e-5)


def test_settings_of_a_voice_are_a_difference(voice):
    plain = voice.say(TEXT)[0]
    assert np.array_equal(voice.say(TEXT, replace(PLAIN))[0], plain)
    louder = voice.say(TEXT, Settings(level_db=6.0))[0]
    assert audio.rms_dbfs(louder) == pytest.approx(audio.rms_dbfs(plain) + 6, abs=0.01)
