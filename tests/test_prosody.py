"""Prosody: what is measured is what was put in, and what is learned carries over to a held-out voice."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import refused
from samples import speech as synthetic_speech
from sklearn.linear_model import Ridge

from emolib import audio, corpora, demo, prosody, world
from emolib.demo import espeak
from emolib.prosody import ProsodyTransform, analysis, transform
from emolib.prosody.pairs import Phone, log_rate, positions, positions_by_phones, read_phones, shared_phones
from emolib.world import Settings

EMODB = Path(os.environ.get("EMOLIB_CORPORA", "")) / "emodb"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> pd.DataFrame:
    """Four voices, two sentences, three emotions, one take: 24 clips."""
    voices, words = (*demo.VOICES[:3], demo.VOICES[4]), ("neutral", "angry", "sad")
    root = tmp_path_factory.mktemp("demo") / "demo"
    demo.build(root, voices=voices, sentences=("s2", "s3"), takes=1, emotion_words=words, jobs=1)
    return corpora.load("folder", table=root / "demo.csv")


@pytest.fixture(scope="module")
def analysed(manifest) -> prosody.Renditions:
    return prosody.renditions(manifest)


@pytest.fixture(scope="module")
def held_out(manifest) -> prosody.Recording:
    """A neutral clip of the voice that no transform below was fitted on."""
    row = manifest[(manifest["speaker"] == "folder-M1") & (manifest["emotion"] == "neutral")].iloc[0]
    return prosody.record(*audio.load(row["path"]))


@pytest.fixture(scope="module")
def transforms(manifest, analysed) -> dict[str, ProsodyTransform]:
    others = manifest[manifest["speaker"] != "folder-M1"]
    found = {word: prosody.pairs(others, "neutral", word, analysed=analysed) for word in ("angry", "sad")}
    return {word: ProsodyTransform("neutral", word).fit(parallel.pairs) for word, parallel in found.items()}


@pytest.fixture(scope="module")
def plain() -> world.Speech:
    return world.analyse(*espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2"))


def reshaped(speech: world.Speech, **settings: float) -> world.Speech:
    return world.reshape(speech, Settings(**settings), np.random.default_rng(0))


def log_f0(speech: world.Speech) -> float:
    return float(np.log(speech.f0_hz[speech.f0_hz > 0]).mean())


# ------------------------------------------------------------------------------------- analysis


def test_what_can_not_be_reshaped_is_refused_with_a_reason():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    for wave, rate, reason in (
        (np.zeros(16_000), 16_000, "silent"),
        (np.full(16_000, np.nan), 16_000, "NaN"),
        (synthetic_speech(0.15), 16_000, "at least 0.2 s"),
        (np.ones(8_000 * 130), 8_000, "at most 120 s"),
        (np.zeros(0), 16_000, "shape"),
        (np.ones((2, 3, 4)), 16_000, "shape"),
        (synthetic_speech(0.5), 0, "sampling rate"),
        (synthetic_speech(0.5), -16_000, "sampling rate"),
        (synthetic_speech(0.5), np.nan, "sampling rate"),
        (noise, 16_000, "hardly a voiced frame"),
    ):
        refused(reason, prosody.record, wave.astype(np.float32), rate)


def test_noise_does_not_hide_the_pitch():
    clean, rate = espeak.speak("There are seven books on the lower shelf.", voice="en-us+f2")
    noise = clean.std() * 10 ** (-5 / 20) * np.random.default_rng(0).standard_normal(len(clean))
    waves = (wave.astype(np.float32) for wave in (clean, clean + noise))
    quiet, noisy = (analysis.decompose(wave, rate, aperiodicity=False).f0_hz > 0 for wave in waves)
    assert noisy.mean() > 0.9 * quiet.mean() > 0.6


def test_any_rate_comes_back_as_long_and_as_loud_as_it_was():
    for rate in (8_000, 44_100):
        wave = synthetic_speech(1.0, seed=1, sample_rate=rate)
        recording = prosody.record(np.stack([wave, wave], axis=1), rate)
        np.testing.assert_array_equal(recording.wave, wave)
        again = prosody.resynthesise(recording, recording.speech)
        assert len(again) == pytest.approx(len(wave), abs=0.02 * rate)
        assert audio.rms_dbfs(again) == pytest.approx(audio.rms_dbfs(wave), abs=2)


def test_the_joins_of_reshaped_speech_do_not_click(held_out):
    """The offset of a microphone ends gradually where resynthesised speech begins."""
    at, offset = len(held_out.head), np.float32(0.3)
    parts = {name: getattr(held_out, name) + offset for name in ("wave", "head", "tail")}
    wave = prosody.resynthesise(held_out._replace(**parts), held_out.speech)
    assert held_out.speech.sample_rate == held_out.sample_rate and len(wave) == len(held_out.wave)
    for join in (at, len(wave) - len(held_out.tail)):
        around = wave[max(join - 200, 0) : join + 200]
        assert np.abs(around).max() > 0.25 and np.abs(np.diff(around)).max() < 0.03


def test_a_high_voice_does_not_rumble():
    rate, n = 24_000, 48_000
    hum = sum(np.sin(2 * np.pi * 400 * k * np.arange(n) / rate) / k for k in range(1, 20))
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(n) / rate)
    hiss = 0.02 * np.random.default_rng(0).standard_normal(n)
    clip = (0.1 * hum * syllables + hiss).astype(np.float32)
    recording = prosody.record(clip, rate)

    def rumble(wave):
        power, hertz = np.abs(np.fft.rfft(wave)) ** 2, np.fft.rfftfreq(len(wave), 1 / rate)
        return power[(hertz > 50) & (hertz < 200)].sum() / power[(hertz > 350) & (hertz < 450)].sum()

    assert rumble(prosody.resynthesise(recording, recording.speech)) < rumble(clip)


def test_what_is_unvoiced_stays_the_clips_own_and_follows_what_is_asked():
    """WORLD makes shaped white noise of it: a click, a breath, or a room's noise would be another one."""
    rate, voice = 16_000, synthetic_speech(1.0, seed=1, sample_rate=16_000)
    noise = np.random.default_rng(0).standard_normal(rate // 2 + 4)
    hiss = 0.02 * np.diff(noise, 4)  # too bright for a pitch to be found in it
    recording = prosody.record(np.concatenate([voice, hiss, voice]).astype(np.float32), rate)
    within = slice(round(1.05 * rate), round(1.45 * rate))
    wave = prosody.resynthesise(recording, recording.speech)
    assert np.corrcoef(wave[within], recording.wave[within])[0, 1] > 0.99
    speech = recording.speech
    louder = speech._replace(log_envelope=speech.log_envelope + np.log(4.0))  # of power: by 6 dB
    np.testing.assert_allclose(prosody.resynthesise(recording, louder)[within], 2 * wave[within], atol=1e-3)
    slow = np.arange(0, len(speech.f0_hz) - 1, 0.5)
    parts = (part[np.round(slow).astype(int)] for part in speech[:3])
    longer = prosody.resynthesise(recording, world.Speech(*parts, rate, slow))
    assert len(longer) == pytest.approx(2 * len(recording.wave), rel=0.02)
    first = len(recording.head)
    middle = slice(*(2 * (at - first) + first for at in (within.start, within.stop)))
    assert audio.rms_dbfs(longer[middle]) == pytest.approx(audio.rms_dbfs(wave[within]), abs=2)


def test_voicing_is_repaired():
    true = np.r_[np.zeros(20), np.linspace(100, 140, 200), np.zeros(20)]
    broken = true.copy()
    broken[60:66] *= 2  # an octave error
    broken[100:106] *= 0.5
    broken[150:153] = 0  # a gap of 15 ms
    broken[230:233] = 300  # an island of 15 ms
    np.testing.assert_allclose(analysis.repair_voicing(broken), true, rtol=1e-3)
    for same in (np.zeros(50), true):
        np.testing.assert_allclose(analysis.repair_voicing(same), same)


# ------------------------------------------------------------------------------------- features


def test_statistics_measure_what_was_put_in(plain):
    def measure(**settings: float) -> pd.Series:
        c = prosody.contours(reshaped(plain, **settings))
        return pd.Series(prosody.statistics(c), prosody.STATISTICS)

    before = measure()
    assert measure(pitch_st=3.0).log_f0 - before.log_f0 == pytest.approx(3 / 12 * np.log(2), abs=1e-6)
    wider = np.exp(measure(range_log=np.log(1.5)).log_spread) - 0.02
    assert wider / (np.exp(before.log_spread) - 0.02) == pytest.approx(1.5, rel=1e-3)
    assert measure(rate_log=-0.2).log_duration > before.log_duration + 0.14
    assert 10 / np.log(10) * (measure(tilt_db=2.0).tilt - before.tilt) == pytest.approx(2.0, abs=0.3)
    assert np.exp(measure(jitter=2.0).log_jitter) > np.exp(before.log_jitter) + 0.005
    assert np.exp(measure(shimmer_db=2.0).log_shimmer) > np.exp(before.log_shimmer) + 0.1


# ------------------------------------------------------------------------------------- alignment and pairs


def test_a_stretched_rendition_is_followed(plain):
    slow = reshaped(plain, rate_log=-0.25)
    at = positions(prosody.contours(plain), prosody.contours(slow))
    assert (np.diff(at) >= 0).all() and at[-1] <= len(slow.f0_hz) - 1
    voiced = np.flatnonzero(plain.f0_hz > 0)
    matched = slow.f0_hz[np.round(at[voiced]).astype(int)]
    both = matched > 0
    assert both.mean() > 0.9
    assert np.abs(np.log(matched[both] / plain.f0_hz[voiced][both])).mean() < 0.03
    assert log_rate(at).mean() == pytest.approx(np.log(len(slow.f0_hz) / len(plain.f0_hz)), abs=0.1)


def test_phone_labels_are_read_and_anchor_the_alignment(tmp_path):
    source = [Phone("d", 0.1), Phone("a", 0.2), Phone("s", 0.3)]
    target = [Phone("d", 0.2), Phone("x", 0.25), Phone("a", 0.4), Phone("s", 0.45)]
    ends = shared_phones(source, target)
    np.testing.assert_allclose(ends, [[0.1, 0.2], [0.2, 0.4], [0.3, 0.45]])
    at = positions_by_phones(ends, 80, 120)
    assert at[[0, 20, 50, -1]] == pytest.approx([0, 40, 85, 119])
    assert shared_phones([], target).shape == (0, 2)
    path = tmp_path / "03a01Fa.lablaut"
    path.write_text("signal 03a01Fa\n#\n  0.08  -1 _t\n  0.11  -1 !t\t+asp\n  0.2 -1 aI\t+lar\t3\n")
    assert read_phones(path) == [Phone("t", 0.08), Phone("t", 0.11), Phone("aI", 0.2)]
    path.write_text("signal 08a01Wa\nnfields 0\n#\n")  # a published one without labels
    assert read_phones(path) == []
    path.write_text("signal 03a01Fa\n")
    refused("no label file", read_phones, path)


def test_every_pair_is_one_speaker_and_one_sentence(manifest, analysed, monkeypatch):
    found = prosody.pairs(manifest, "neutral", "angry", analysed=analysed)
    assert len(found.pairs) == 4 * 2 and found.skipped == []
    for pair in found.pairs:
        assert len(pair.at) == len(pair.source.voiced) and pair.at.max() < len(pair.target.voiced)
    with monkeypatch.context() as few:
        few.setitem(prosody.pairs.__globals__, "MOST_PAIRS", 1)
        assert len(prosody.pairs(manifest, "neutral", "angry", analysed=analysed).pairs) == 4
    for table, target, known, message in (
        (manifest, "happy", analysed, "no clip of 'happy' in these of"),
        (manifest, "furious", analysed, "no clip of 'furious' in these of"),
        (manifest.assign(text_id=""), "angry", analysed, "equal text_id"),
        (manifest, "angry", prosody.Renditions({}, []), "were not analysed"),
    ):
        refused(message, prosody.pairs, table, "neutral", target, analysed=known)


def test_raters_decide_which_renditions_teach(manifest, analysed):
    voted = manifest.assign(speaker=manifest["speaker"] + manifest["text_id"], votes_neutral=4, votes_sad=4)
    # half of the raters of each angry clip heard anger
    voted["votes_angry"] = np.where(voted["emotion"] == "angry", 8, 0)
    assert len(prosody.pairs(voted, "neutral", "angry", analysed=analysed).pairs) == 8
    voted.index = [0] * len(voted)  # as after joining corpora
    assert len(prosody.pairs(voted, "neutral", "angry", analysed=analysed).pairs) == 8
    voted = voted.reset_index(drop=True)
    weak = voted.index[voted["emotion"] == "angry"][:2]
    voted.loc[weak, "votes_angry"] = 7
    pairs, skipped = prosody.pairs(voted, "neutral", "angry", analysed=analysed)
    reason = "7 of 15 votes for angry"
    assert len(pairs) == 6
    assert skipped == [{"clip": clip, "reason": reason} for clip in voted.loc[weak, "clip"]]
    assert len(prosody.pairs(voted, "neutral", "angry", agreement=0, analysed=analysed).pairs) == 8
    voted.loc[voted["emotion"] == "angry", "votes_angry"] = 7  # nobody would be left to learn from
    assert len(prosody.pairs(voted, "neutral", "angry", analysed=analysed).pairs) == 8


def test_what_can_not_be_analysed_is_returned(manifest, tmp_path):
    words = manifest["emotion"].isin(["neutral", "sad"])
    silent = manifest[(manifest["speaker"] == "folder-F1") & words].copy()
    victim = silent.index[silent["emotion"] == "sad"][0]
    silent.loc[victim, "path"] = str(audio.write(tmp_path / "x.wav", np.zeros(9_999, np.float32), 16_000))
    found = prosody.pairs(silent, "neutral", "sad")
    assert [entry["clip"] for entry in found.skipped] == [silent.loc[victim, "clip"]]
    assert "silent" in found.skipped[0]["reason"] and len(found.pairs) == 1


@pytest.mark.skipif(not (EMODB / "lablaut").is_dir(), reason="no EmoDB with phone labels in EMOLIB_CORPORA")
def test_emodb_is_aligned_by_its_phones():
    clips = pd.DataFrame({"clip": ["03a01Nc", "03a01Wa"]})
    clips["path"] = [str(next((EMODB / "wav").glob(f"{clip}.*"))) for clip in clips["clip"]]
    source, target = prosody.renditions(clips).by_clip.values()
    assert len(source.phones) > 15
    lengths = len(source.contours.voiced), len(target.contours.voiced)
    by_phones = positions_by_phones(shared_phones(source.phones, target.phones), *lengths)
    warped = positions(source.contours, target.contours)
    assert np.abs(by_phones - warped).mean() < 12  # 60 ms


# ------------------------------------------------------------------------------------- regression


def rows(n_speakers: int, noise: float) -> list[tuple]:
    rng = np.random.default_rng(0)
    weights = np.random.default_rng(99).standard_normal((4, 2))
    data = []
    for _ in range(n_speakers):
        x = 3 + 2 * rng.standard_normal((200, 4))
        data.append((x, x @ weights + 1 + noise * rng.standard_normal((200, 2)), np.ones((200, 2))))
    return data


def test_ridge_finds_a_linear_map_and_ignores_rows_without_weight():
    data = rows(3, noise=0.01)
    x, y, _ = data[1]
    assert np.abs(transform.fit_ridge(data)(x) - y).max() < 0.1
    for _, outputs, weights in data:
        outputs[::2, 1], weights[::2, 1] = 1e3, 0
    x, y, w = data[1]
    assert np.abs(transform.fit_ridge(data)(x) - y)[w > 0].max() < 0.1
    silent = [(x, y, np.zeros_like(w)) for x, y, w in data]
    np.testing.assert_array_equal(transform.fit_ridge(silent)(x), 0)


def test_one_speaker_gets_the_ridge_of_scikit_learn():
    [(x, y, w)] = rows(1, noise=1.0)
    standard = (x - x.mean(0)) / x.std(0)
    theirs = Ridge(alpha=transform.PENALTIES[-2] * len(x)).fit(standard, y)
    np.testing.assert_allclose(transform.fit_ridge([(x, y, w)])(x), theirs.predict(standard), atol=1e-9)


def test_what_differs_between_speakers_only_by_chance_is_shrunk():
    rng = np.random.default_rng(0)
    data = [(*map(rng.standard_normal, ((6, 10), (6, 1))), np.ones((6, 1))) for _ in range(8)]
    assert np.abs(transform.fit_ridge(data).weights).max() < 0.05


# ------------------------------------------------------------------------------------- transform


def test_delta_0_is_the_identity_more_is_more_and_the_gain_of_the_microphone_changes_nothing(
    transforms, held_out
):
    angry = transforms["angry"]
    assert angry.apply(held_out.speech, 0) is held_out.speech
    moved = [angry.apply(held_out.speech, delta) for delta in (-1, -0.5, 0, 0.5, 1)]
    pitches = [log_f0(speech) for speech in moved]
    assert (np.diff(pitches) > 0).all()
    shift = angry.shift(prosody.contours(held_out.speech))["log_f0"]
    assert pitches[4] - pitches[2] == pytest.approx(shift, abs=0.02)
    softer = angry.apply(prosody.record(0.1 * held_out.wave, held_out.sample_rate).speech, 1.0)
    assert len(softer.f0_hz) == pytest.approx(len(moved[4].f0_hz), abs=2)
    assert log_f0(softer) == pytest.approx(pitches[4], abs=0.01)


def test_a_held_out_voice_comes_closer_to_its_own_rendition(transforms, manifest):
    mine = manifest[manifest["speaker"] == "folder-M1"].set_index(["text_id", "emotion"])["path"]
    before, after = [], []
    for text_id in ("s2", "s3"):
        real = prosody.track(*audio.load(mine[text_id, "angry"]))
        recording = prosody.record(*audio.load(mine[text_id, "neutral"]))
        moved = prosody.resynthesise(recording, transforms["angry"].apply(recording.speech, 1.0))
        for distances, wave in ((before, recording.wave), (after, moved)):
            distances.append(prosody.distance(real, prosody.track(wave, recording.sample_rate)))
    assert np.mean([d.log_f0_rmse for d in after]) < 0.9 * np.mean([d.log_f0_rmse for d in before])
    assert np.mean([d.mcd_db for d in after]) < 1.15 * np.mean([d.mcd_db for d in before])


def test_minus_delta_leads_back(transforms, held_out):
    for delta in (-1.0, -0.5):
        moved = transforms["angry"].apply(held_out.speech, delta)
        back = transforms["angry"].apply(moved, -delta)
        away = abs(log_f0(moved) - log_f0(held_out.speech))
        assert abs(log_f0(back) - log_f0(held_out.speech)) < 0.1 * away
        assert len(back.f0_hz) == pytest.approx(len(held_out.speech.f0_hz), rel=0.02)
        contours = [prosody.contours(speech) for speech in (held_out.speech, moved, back)]
        spectra = [c.bands[c.voiced].mean(axis=0) for c in contours]
        assert np.abs(spectra[2] - spectra[0]).mean() < 0.5 * np.abs(spectra[1] - spectra[0]).mean()


def test_a_saved_transform_is_the_same_and_blends_lie_between(transforms, held_out, tmp_path):
    angry, sad = transforms["angry"], transforms["sad"]
    again = ProsodyTransform.load(angry.save(tmp_path / "angry"))
    assert again.provenance == angry.provenance
    assert again.provenance["speakers"] == ["folder-F1", "folder-F2", "folder-F3"]
    ours, theirs = (one.apply(held_out.speech, 0.7) for one in (again, angry))
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_array_equal(mine, other)
    c = prosody.contours(held_out.speech)
    blend = ProsodyTransform.blend([angry, sad], [0.25, 0.5])
    expected = {name: 0.25 * angry.shift(c)[name] + 0.5 * sad.shift(c)[name] for name in angry.shift(c)}
    assert blend.shift(c) == pytest.approx(expected)


def test_nonsense_is_refused(transforms, held_out, tmp_path):
    angry, unfitted = transforms["angry"], ProsodyTransform("neutral", "sad")
    angry.save(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"kind": "axis"}')
    for message, call in {
        "both 'sad'": lambda: ProsodyTransform("sad", "sad"),
        "no pairs": lambda: unfitted.fit([]),
        "isn't fitted; call": lambda: unfitted.apply(held_out.speech, 1.0),
        "isn't fitted can't": lambda: unfitted.save(tmp_path),
        "delta inf; expected a finite": lambda: angry.apply(held_out.speech, np.inf),
        r"weights \[1.0, 2.0\]; expected a number each": lambda: ProsodyTransform.blend([angry], [1.0, 2.0]),
        "nan.*; expected a number": lambda: ProsodyTransform.blend([angry], [np.nan]),
        "is not of a saved prosody-transform": lambda: ProsodyTransform.load(tmp_path / "other"),
    }.items():
        refused(message, call)
    with pytest.raises(FileNotFoundError, match="no prosody-transform"):
        ProsodyTransform.load(tmp_path / "nothing")


# ------------------------------------------------------------------------------------- distances


def test_distances_show_what_was_done_and_never_compare_a_clip_with_itself(plain):
    rate = plain.sample_rate
    wave = world.synthesise(plain)
    own, quiet = prosody.track(wave, rate), prosody.track(0.2 * wave, rate)
    high, bright = (
        prosody.track(world.synthesise(reshaped(plain, **settings)), rate)
        for settings in ({"pitch_st": 3.0}, {"tilt_db": 4.0})
    )
    assert prosody.distance(own, own) == pytest.approx((0.0, 0.0), abs=1e-9)
    quieter = prosody.distance(own, quiet)
    assert quieter.mcd_db < 0.5 and quieter.log_f0_rmse < 0.02
    higher, brighter = prosody.distance(own, high), prosody.distance(own, bright)
    assert higher.log_f0_rmse == pytest.approx(3 / 12 * np.log(2), abs=0.04)
    assert brighter.mcd_db > 1.5 * higher.mcd_db
    others = [prosody.distance(other, own) for other in (high, bright)]
    assert prosody.mean_distance([own, high, bright], own) == pytest.approx(np.mean(others, axis=0))
    assert np.isnan(prosody.mean_distance([own], own)).all()  # one take: there is nothing to compare with
