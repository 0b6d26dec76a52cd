"""Prosody: what is measured is what was put in, what is learned carries over to a voice never heard."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import speech as synthetic_speech
from sklearn.linear_model import Ridge

from emolib import audio, corpora, demo, espeak, prosody, world
from emolib.prosody import ProsodyTransform, alignment, analysis, features, ridge
from emolib.prosody.alignment import Phone
from emolib.world import Settings

EMOTIONS = ("neutral", "angry", "sad")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> pd.DataFrame:
    """Four voices, two sentences, three emotions, one take: 24 clips."""
    part = {
        "voices": (*demo.VOICES[:3], demo.VOICES[4]),
        "sentences": ("s2", "s3"),
        "takes": 1,
        "emotion_words": EMOTIONS,
    }
    root = demo.build(tmp_path_factory.mktemp("demo") / "demo", **part, jobs=1)
    return corpora.load("folder", table=root / "demo.csv")


@pytest.fixture(scope="module")
def analysed(manifest) -> prosody.Renditions:
    return prosody.renditions(manifest)


@pytest.fixture(scope="module")
def unheard(manifest) -> prosody.Recording:
    """A neutral clip of the voice that no transform below was fitted on."""
    row = manifest[(manifest["speaker"] == "folder-M1") & (manifest["emotion"] == "neutral")].iloc[0]
    return prosody.record(*audio.load(row["path"]))


def test_the_joins_of_reshaped_speech_do_not_click(unheard):
    """A microphone's offset ends where resynthesised speech begins: by steps, not at one stroke."""
    at, rate, offset = len(unheard.head), unheard.speech.sample_rate, np.float32(0.3)
    parts = {name: getattr(unheard, name) + offset for name in ("wave", "head", "tail")}
    wave = prosody.resynthesise(unheard._replace(**parts), unheard.speech)
    assert rate == unheard.sample_rate and len(wave) == len(unheard.wave)
    for join in (at, len(wave) - len(unheard.tail)):
        around = wave[max(join - 200, 0) : join + 200]
        assert np.abs(around).max() > 0.25 and np.abs(np.diff(around)).max() < 0.03


def fitted(manifest, analysed, target: str) -> ProsodyTransform:
    heard = manifest[manifest["speaker"] != "folder-M1"]
    pairs = prosody.pairs(heard, "neutral", target, analysed=analysed).pairs
    return ProsodyTransform("neutral", target).fit(pairs)


@pytest.fixture(scope="module")
def angry(manifest, analysed) -> ProsodyTransform:
    return fitted(manifest, analysed, "angry")


@pytest.fixture(scope="module")
def sad(manifest, analysed) -> ProsodyTransform:
    return fitted(manifest, analysed, "sad")


def log_f0(speech: world.Speech) -> float:
    return float(np.log(speech.f0_hz[speech.f0_hz > 0]).mean())


# ------------------------------------------------------------------------------------- analysis


@pytest.mark.parametrize(
    "wave, rate, reason",
    [
        pytest.param(np.zeros(16_000, np.float32), 16_000, "silent", id="silence"),
        pytest.param(np.full(16_000, np.nan, np.float32), 16_000, "NaN", id="nan"),
        pytest.param(synthetic_speech(0.15), 16_000, "at least 0.2 s", id="short"),
        pytest.param(np.ones(8_000 * 130, np.float32), 8_000, "at most 120 s", id="long"),
        pytest.param(np.zeros(0, np.float32), 16_000, "shape", id="empty"),
        pytest.param(np.ones((2, 3, 4), np.float32), 16_000, "shape", id="cube"),
        pytest.param(synthetic_speech(0.5), 0, "sampling rate", id="rate"),
        pytest.param(
            0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32),
            16_000, "hardly a voiced frame", id="whisper",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_reshaped_is_refused_with_a_reason(wave, rate, reason):
    with pytest.raises(ValueError, match=reason):
        prosody.record(wave, rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_any_rate_comes_back_as_long_as_it_was(rate):
    wave = synthetic_speech(1.0, seed=1, sample_rate=rate)
    recording = prosody.record(np.stack([wave, wave], axis=1), rate)
    np.testing.assert_array_equal(recording.wave, wave)
    again = prosody.resynthesise(recording, recording.speech)
    assert len(again) == pytest.approx(len(wave), abs=0.02 * rate)
    assert audio.rms_dbfs(again) == pytest.approx(audio.rms_dbfs(wave), abs=2)


def test_a_high_voice_does_not_rumble():
    rate, n = 24_000, 48_000
    hum = sum(np.sin(2 * np.pi * 400 * k * np.arange(n) / rate) / k for k in range(1, 20))
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(n) / rate)
    hiss = 0.02 * np.random.default_rng(0).standard_normal(n)
    recording = prosody.record((0.1 * hum * syllables + hiss).astype(np.float32), rate)
    wave = prosody.resynthesise(recording, recording.speech)
    power = np.abs(np.fft.rfft(wave)) ** 2
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    below, above = power[(hertz > 50) & (hertz < 200)].sum(), power[(hertz > 350) & (hertz < 450)].sum()
    assert below < 1e-4 * above


def test_voicing_is_repaired():
    true = np.r_[np.zeros(20), np.linspace(100, 140, 200), np.zeros(20)]
    broken = true.copy()
    broken[60:66] *= 2  # an octave error
    broken[100:106] *= 0.5
    broken[150:153] = 0  # a gap of 15 ms
    broken[230:233] = 300  # an island of 15 ms
    np.testing.assert_allclose(prosody.repair_voicing(broken), true, rtol=1e-3)
    np.testing.assert_array_equal(prosody.repair_voicing(np.zeros(50)), np.zeros(50))
    np.testing.assert_allclose(prosody.repair_voicing(true), true)


# ------------------------------------------------------------------------------------- features


@pytest.fixture(scope="module")
def plain() -> world.Speech:
    return world.analyse(*espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2"))


def reshaped(speech: world.Speech, **settings: float) -> world.Speech:
    return world.reshape(speech, Settings(**settings), np.random.default_rng(0))


def test_the_summary_measures_what_was_put_in(plain):
    before = prosody.summary(plain)
    assert tuple(before) == features.SUMMARY and len(before) == 8
    higher = prosody.summary(reshaped(plain, pitch_st=3.0))
    assert 12 * np.log2(higher["f0_hz"] / before["f0_hz"]) == pytest.approx(3.0, abs=1e-6)
    wider = prosody.summary(reshaped(plain, range_log=np.log(1.5)))
    assert wider["range_st"] / before["range_st"] == pytest.approx(1.5, rel=1e-3)
    assert prosody.summary(reshaped(plain, rate_log=-0.2))["duration_s"] > 1.15 * before["duration_s"]
    brighter = prosody.summary(reshaped(plain, tilt_db=2.0))["tilt_db"]
    assert brighter - before["tilt_db"] == pytest.approx(2.0, abs=0.3)
    assert prosody.summary(reshaped(plain, jitter=2.0))["jitter"] > before["jitter"] + 0.5
    assert prosody.summary(reshaped(plain, shimmer_db=2.0))["shimmer_db"] > before["shimmer_db"] + 0.5


def test_contours_do_not_depend_on_the_sampling_rate():
    wave, rate = espeak.speak("She put the blue folder on the table.", voice="en-us+m3")
    speech = [
        analysis.decompose(audio.resample(wave, rate, other), other) for other in (16_000, 24_000)
    ]  # fmt: skip
    low, high = (prosody.contours(s) for s in speech)
    n = min(len(low.voiced), len(high.voiced))
    both = low.voiced[:n] & high.voiced[:n]
    assert np.abs(low.log_f0[:n] - high.log_f0[:n])[both].mean() < 0.01
    assert np.abs(low.bands[:n] - high.bands[:n])[both][:, :-1].mean() < 0.3
    np.testing.assert_allclose(low.bands.mean(axis=1), 0, atol=1e-12)


def test_bands_read_and_spread_a_constant_as_itself():
    weights = features.band_weights(16_000, 513, 32)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_allclose(np.ones(32) @ features.band_spread(16_000, 513, 32), 1)


def test_smoothing_keeps_length_and_mean_of_a_line():
    line = np.linspace(0, 1, 100)
    for frames in (1, 8, 21):
        assert len(features.smooth(line, frames)) == 100
        np.testing.assert_allclose(features.smooth(line, frames)[30:70], line[30:70], atol=0.006)


# ------------------------------------------------------------------------------------- alignment


def test_a_stretched_rendition_is_followed(plain):
    slow = reshaped(plain, rate_log=-0.25)
    at = alignment.positions(prosody.contours(plain), prosody.contours(slow))
    assert (np.diff(at) >= 0).all() and at[-1] <= len(slow.f0_hz) - 1
    voiced = np.flatnonzero(plain.f0_hz > 0)
    found = slow.f0_hz[np.round(at[voiced]).astype(int)]
    both = found > 0
    assert both.mean() > 0.9
    assert np.abs(np.log(found[both] / plain.f0_hz[voiced][both])).mean() < 0.03
    assert alignment.log_rate(at).mean() == pytest.approx(np.log(len(slow.f0_hz) / len(plain.f0_hz)), abs=0.1)


def test_phones_anchor_the_alignment():
    source = [Phone("d", 0.1), Phone("a", 0.2), Phone("s", 0.3)]
    target = [Phone("d", 0.2), Phone("x", 0.25), Phone("a", 0.4), Phone("s", 0.45)]
    ends = alignment.shared_phones(source, target)
    np.testing.assert_allclose(ends, [[0.1, 0.2], [0.2, 0.4], [0.3, 0.45]])
    at = alignment.positions_by_phones(ends, 80, 120)
    assert at[0] == 0 and at[-1] == 119 and at[20] == pytest.approx(40) and at[50] == pytest.approx(85)
    assert alignment.shared_phones([], target).shape == (0, 2)


def test_label_files_are_read(tmp_path):
    path = tmp_path / "03a01Fa.lablaut"
    path.write_text(
        "signal 03a01Fa\nnfields 1\n#\n  0.08  -1 _t\n  0.11  -1 !t\t+asp\n  0.2 -1 aI\t+lar\t3\n"
    )
    assert alignment.read_phones(path) == [Phone("t", 0.08), Phone("t", 0.11), Phone("aI", 0.2)]
    path.write_text("signal 03a01Fa\n#\n")
    with pytest.raises(ValueError, match="no labels"):
        alignment.read_phones(path)


# ------------------------------------------------------------------------------------- regression


def rows(n_speakers: int, noise: float, seed: int = 0) -> dict[str, tuple]:
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99).standard_normal((4, 2))
    data = {}
    for speaker in range(n_speakers):
        x = 3 + 2 * rng.standard_normal((200, 4))
        data[str(speaker)] = (x, x @ weights + 1 + noise * rng.standard_normal((200, 2)), np.ones((200, 2)))
    return data


def test_a_linear_map_is_found():
    data = rows(4, noise=0.01)
    fit = ridge.fit(data)
    x, y, _ = data["0"]
    assert np.abs(fit(x) - y).max() < 0.1


def test_one_speaker_gets_the_ridge_of_scikit_learn():
    x, y, w = rows(1, noise=1.0)["0"]
    ours = ridge.fit({"0": (x, y, w)})
    standard = (x - x.mean(0)) / x.std(0)
    theirs = Ridge(alpha=ridge.PENALTIES[-2] * len(x)).fit(standard, y)
    np.testing.assert_allclose(ours(x), theirs.predict(standard), atol=1e-9)


def test_rows_without_weight_are_not_heard():
    data = rows(3, noise=0.01)
    spoilt = {}
    for speaker, (x, y, w) in data.items():
        y, w = y.copy(), w.copy()
        y[::2, 1], w[::2, 1] = 1e3, 0
        spoilt[speaker] = (x, y, w)
    x, y, _ = data["1"]
    assert np.abs(ridge.fit(spoilt)(x) - y).max() < 0.1
    silent = {speaker: (x, y, np.zeros_like(w)) for speaker, (x, y, w) in data.items()}
    np.testing.assert_array_equal(ridge.fit(silent)(x), 0)


def test_what_differs_between_speakers_only_by_chance_is_shrunk():
    rng = np.random.default_rng(0)
    data = {
        str(s): (rng.standard_normal((6, 10)), rng.standard_normal((6, 1)), np.ones((6, 1))) for s in range(8)
    }
    assert np.abs(ridge.fit(data).weights).max() < 0.05
    with pytest.raises(ValueError, match="no rows"):
        ridge.fit({})


# ------------------------------------------------------------------------------------- pairs


def test_every_pair_is_one_speaker_and_one_sentence(manifest, analysed):
    found = prosody.pairs(manifest, "neutral", "angry", analysed=analysed)
    assert len(found.pairs) == 4 * 2 and found.skipped == []
    for pair in found.pairs:
        assert len(pair.at) == len(pair.source.voiced) and pair.at.max() < len(pair.target.voiced)
    assert len(prosody.pairs(manifest, "neutral", "angry", per_speaker=1, analysed=analysed).pairs) == 4


def test_what_can_not_be_analysed_is_returned(manifest, tmp_path):
    silent = manifest[
        (manifest["speaker"] == "folder-F1") & manifest["emotion"].isin(["neutral", "sad"])
    ].copy()
    victim = silent.index[silent["emotion"] == "sad"][0]
    silent.loc[victim, "path"] = str(audio.write(tmp_path / "x.wav", np.zeros(9_999, np.float32), 16_000))
    found = prosody.pairs(silent, "neutral", "sad")
    assert [entry["clip"] for entry in found.skipped] == [silent.loc[victim, "clip"]]
    assert "silent" in found.skipped[0]["reason"] and len(found.pairs) == 1


def test_a_manifest_without_pairs_is_refused(manifest, analysed):
    with pytest.raises(ValueError, match="no happy clip in the manifest; it has: neutral, sad, angry"):
        prosody.pairs(manifest, "neutral", "happy", analysed=analysed)
    with pytest.raises(ValueError, match="unknown emotion"):
        prosody.pairs(manifest, "neutral", "furious", analysed=analysed)
    with pytest.raises(ValueError, match="equal text_id"):
        prosody.pairs(manifest.assign(text_id=""), "neutral", "angry", analysed=analysed)
    with pytest.raises(ValueError, match="were not analysed"):
        prosody.pairs(manifest, "neutral", "angry", analysed=prosody.Renditions({}, []))


# ------------------------------------------------------------------------------------- transform


def test_delta_0_is_the_identity_and_more_is_more(angry, unheard):
    assert angry.apply(unheard.speech, 0) is unheard.speech
    pitches = [log_f0(angry.apply(unheard.speech, delta)) for delta in (-1, -0.5, 0, 0.5, 1)]
    assert (np.diff(pitches) > 0).all()
    assert pitches[4] - pitches[2] == pytest.approx(
        angry.shift(prosody.contours(unheard.speech))["log_f0"], abs=0.02
    )


def test_an_unheard_voice_comes_closer_to_its_own_rendition(angry, manifest):
    mine = manifest[manifest["speaker"] == "folder-M1"].set_index(["text_id", "emotion"])["path"]
    before, after = [], []
    for text_id in ("s2", "s3"):
        real = prosody.track(*audio.load(mine[text_id, "angry"]))
        recording = prosody.record(*audio.load(mine[text_id, "neutral"]))
        moved = prosody.resynthesise(recording, angry.apply(recording.speech, 1.0))
        before.append(prosody.distance(real, prosody.track(recording.wave, recording.sample_rate)))
        after.append(prosody.distance(real, prosody.track(moved, recording.sample_rate)))
    assert np.mean([d.log_f0_rmse for d in after]) < 0.9 * np.mean([d.log_f0_rmse for d in before])
    assert np.mean([d.mcd_db for d in after]) < 1.15 * np.mean([d.mcd_db for d in before])


def test_the_gain_of_the_microphone_changes_nothing(angry, unheard):
    louder = prosody.record(0.1 * unheard.wave, unheard.sample_rate).speech
    before, after = angry.apply(unheard.speech, 1.0), angry.apply(louder, 1.0)
    assert len(after.f0_hz) == pytest.approx(len(before.f0_hz), abs=2)
    assert log_f0(after) == pytest.approx(log_f0(before), abs=0.01)


@pytest.mark.parametrize("delta", [-1.0, -0.5])
def test_there_and_back_comes_home(angry, unheard, delta):
    moved = angry.apply(unheard.speech, delta)
    home = angry.apply(moved, -delta)
    away = abs(log_f0(moved) - log_f0(unheard.speech))
    assert abs(log_f0(home) - log_f0(unheard.speech)) < 0.1 * away
    assert len(home.f0_hz) == pytest.approx(len(unheard.speech.f0_hz), rel=0.02)
    before, away_c, home_c = (prosody.contours(speech) for speech in (unheard.speech, moved, home))
    spectra = [c.bands[c.voiced].mean(axis=0) for c in (before, away_c, home_c)]
    assert np.abs(spectra[2] - spectra[0]).mean() < 0.5 * np.abs(spectra[1] - spectra[0]).mean()


def test_a_saved_transform_is_the_same(angry, unheard, tmp_path):
    again = ProsodyTransform.load(angry.save(tmp_path / "angry"))
    assert repr(again) == repr(angry) and again.provenance == angry.provenance
    assert again.provenance["speakers"] == ["folder-F1", "folder-F2", "folder-F3"]
    for ours, theirs in zip(
        again.apply(unheard.speech, 0.7)[:3], angry.apply(unheard.speech, 0.7)[:3], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(FileNotFoundError, match="no prosody-transform"):
        ProsodyTransform.load(tmp_path / "nothing")
    (tmp_path / "angry" / "config.json").write_text('{"kind": "axis"}')
    with pytest.raises(ValueError, match="is not of a saved prosody-transform"):
        ProsodyTransform.load(tmp_path / "angry")


def test_blends_lie_between(angry, sad, unheard):
    c = prosody.contours(unheard.speech)
    both = ProsodyTransform.blend([angry, sad], [0.25, 0.5])
    expected = {name: 0.25 * angry.shift(c)[name] + 0.5 * sad.shift(c)[name] for name in angry.shift(c)}
    assert both.shift(c) == pytest.approx(expected)
    alone = ProsodyTransform.blend([angry, sad], [1.0, 0.0])
    np.testing.assert_allclose(alone.apply(unheard.speech, 1).f0_hz, angry.apply(unheard.speech, 1).f0_hz)
    with pytest.raises(ValueError, match="one each"):
        ProsodyTransform.blend([angry], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        ProsodyTransform.blend([angry], [np.nan])


def test_a_reference_clip_stands_in_for_a_name(plain, unheard):
    raised = reshaped(plain, pitch_st=4.0, tilt_db=2.0)
    change = ProsodyTransform.from_references(plain, raised)
    moved = change.apply(unheard.speech, 1.0)
    assert log_f0(moved) - log_f0(unheard.speech) == pytest.approx(4 / 12 * np.log(2), abs=0.02)
    assert prosody.summary(moved)["tilt_db"] > prosody.summary(unheard.speech)["tilt_db"] + 0.7
    assert len(moved.f0_hz) == len(unheard.speech.f0_hz)


def test_nonsense_is_refused(angry, unheard, tmp_path):
    with pytest.raises(ValueError, match="both 'sad'"):
        ProsodyTransform("sad", "sad")
    with pytest.raises(ValueError, match="unknown emotion"):
        ProsodyTransform("neutral", "hungry")
    with pytest.raises(ValueError, match="no pairs"):
        ProsodyTransform("neutral", "sad").fit([])
    with pytest.raises(ValueError, match="isn't fitted"):
        ProsodyTransform("neutral", "sad").apply(unheard.speech, 1.0)
    with pytest.raises(ValueError, match="isn't fitted"):
        ProsodyTransform("neutral", "sad").save(tmp_path)
    with pytest.raises(ValueError, match="finite"):
        angry.apply(unheard.speech, np.inf)


# ------------------------------------------------------------------------------------- distances


def test_distances_know_what_was_done(plain):
    rate = plain.sample_rate
    wave = world.synthesise(plain)
    own = prosody.track(wave, rate)
    assert prosody.distance(own, own) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    quieter = prosody.distance(own, prosody.track(0.2 * wave, rate))
    assert quieter.mcd_db < 0.5 and quieter.log_f0_rmse < 0.02
    higher = prosody.distance(own, prosody.track(world.synthesise(reshaped(plain, pitch_st=3.0)), rate))
    assert higher.log_f0_rmse == pytest.approx(3 / 12 * np.log(2), abs=0.04)
    brighter = prosody.distance(own, prosody.track(world.synthesise(reshaped(plain, tilt_db=4.0)), rate))
    assert brighter.mcd_db > 1.5 * higher.mcd_db
    assert higher.log_mel_mcd_db > higher.mcd_db  # in which the harmonics show


def test_a_natural_clip_is_compared_with_the_other_takes_alone(plain):
    rate = plain.sample_rate
    own = prosody.track(world.synthesise(plain), rate)
    higher = prosody.track(world.synthesise(reshaped(plain, pitch_st=3.0)), rate)
    brighter = prosody.track(world.synthesise(reshaped(plain, tilt_db=4.0)), rate)
    others = [prosody.distance(other, own) for other in (higher, brighter)]
    mean = prosody.mean_distance([own, higher, brighter], own)
    assert mean == pytest.approx(np.mean(others, axis=0)) and mean.mcd_db > 0
    assert np.isnan(prosody.mean_distance([own], own)).all()  # one take: there is nothing to compare with


# ------------------------------------------------------------------------------------- real speech

EMODB = Path(os.environ.get("EMOLIB_CORPORA", "")) / "emodb"


@pytest.mark.skipif(not os.environ.get("EMOLIB_CORPORA"), reason="EMOLIB_CORPORA is not set: no real speech")
def test_emodb_is_aligned_by_its_phones():
    if not (EMODB / "lablaut").is_dir():
        pytest.skip("no EmoDB with phone labels among the corpora")
    clips = pd.DataFrame({"clip": ["03a01Nc", "03a01Wa"]})
    clips["path"] = [str(next((EMODB / "wav").glob(f"{clip}.*"))) for clip in clips["clip"]]
    found = prosody.renditions(clips).by_clip
    source, target = found["03a01Nc"], found["03a01Wa"]
    assert len(source.phones) > 15
    ends = alignment.shared_phones(source.phones, target.phones)
    by_phones = alignment.positions_by_phones(ends, len(source.contours.voiced), len(target.contours.voiced))
    warped = alignment.positions(source.contours, target.contours)
    assert np.abs(by_phones - warped).mean() < 12  # 60 ms: two ways to the same answer
