"""The mapper: exact places, level kept apart, a linear start, trainings that lose nothing, refusals."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from samples import speech, write_corpus

from emolib import audio, corpora, encoders, features, mapper, paths, plots
from emolib.mapper import linear, network, pairs, training
from emolib.mapper.training import CURVE, SAMPLES, Crops
from emolib.training import CHECKPOINT
from emolib.store import FeatureStore, StoreConfig

WIDTH = 12
TINY = mapper.Settings(
    width=16, context=3, slow_dilations=(1, 2), fast_dilations=(1,), batch_size=4, crop_frames=40, margin=4,
    steps=12, warmup=2, learning_rate=3e-3, validate_every=3, checkpoint_every=3, sample_every=6, patience=99,
)  # fmt: skip
SPEC = audio.HIFIGAN_MEL


def frames_of(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Smooth random frames, (n, width)."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(n + 8, width)), axis=0)
    return (walk[8:] - walk[:-8]).astype(np.float32)


def made_pairs(n_clips: int = 9, seed: int = 0) -> mapper.pairs.Pairs:
    """Clips whose mel-spectrogram follows from their frames: a linear part, a bend, and a look back."""
    rng = np.random.default_rng(100)
    straight, bent = rng.normal(size=(2, WIDTH, SPEC.n_mels)) / 8
    found = pairs.Pairs([], [], [], [])
    for i in range(n_clips):
        frames = frames_of(30 + 5 * i, seed + i)
        past = np.concatenate([frames[:1], frames[:-1]])
        values = torch.from_numpy(frames @ straight + np.abs(past) @ bent - 3)[None]
        places = torch.from_numpy(mapper.positions(mapper.mel_frames(len(frames))))[None]
        mel = pairs.align(values, places)[0].float().numpy()
        for column, value in zip(
            vars(found).values(), (f"c{i}", f"s{i % 3}", frames.astype(np.float16), mel), strict=True
        ):
            column.append(value)
    return found


def made_store(folder: Path, found: mapper.pairs.Pairs, **changes: object) -> FeatureStore:
    config = StoreConfig("made", "abc", (0, 1), WIDTH, 0.02, frames=True)
    store = FeatureStore.open(folder, dataclasses.replace(config, **changes))
    states = [np.stack([frames, frames]).astype(np.float32) for frames in found.frames]
    store.append(found.clips, ["0"] * len(found), states)
    return store


def made_manifest(found: mapper.pairs.Pairs) -> pd.DataFrame:
    return pd.DataFrame({"clip": found.clips, "speaker": found.speakers, "sha256": "0", "corpus": "made"})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[pd.DataFrame, FeatureStore, dict[str, np.ndarray]]:
    found = made_pairs()
    store = made_store(tmp_path_factory.mktemp("store"), found)
    return made_manifest(found), store, dict(zip(found.clips, found.mels, strict=True))


def run(made, out: Path, settings: mapper.Settings = TINY, **options) -> mapper.Mapper:
    manifest, store, mels = made
    options = {"mels": mels, "vocode": lambda mel: np.ones(len(mel) * 256, np.float32)} | options
    return mapper.train(manifest, store, 1, out, settings, device="cpu", **options)


# ------------------------------------------------------------------------------------- one clock


def test_the_front_ends_have_the_hop_and_field_that_places_are_reckoned_with(model_folder):
    for name in (encoders.DEFAULT, str(model_folder())):
        front_end = encoders.load(name, layers=[0])._front_end  # type: ignore[attr-defined]
        assert (front_end.hop, front_end.receptive_field) == (pairs.HOP, pairs.FIELD)


def test_frame_centres_land_on_mel_centres_exactly():
    centres_s = (320 * np.arange(60) + 199.5) / 16_000
    n_mels = mapper.mel_frames(60)
    wanted = (256 * np.arange(n_mels) + 128) / 22_050
    places = torch.from_numpy(mapper.positions(n_mels))[None]
    found = pairs.align(torch.from_numpy(centres_s)[None, :, None], places)
    within = (wanted >= centres_s[0]) & (wanted <= centres_s[-1])
    assert within.sum() >= n_mels - 3
    np.testing.assert_allclose(found[0, within, 0], wanted[within], atol=1e-12)


@pytest.mark.parametrize("t", [1, 2, 17, 38])
def test_an_impulse_in_one_frame_peaks_at_the_mel_frame_at_its_centre(t):
    impulse = torch.zeros(1, 40, 1)
    impulse[0, t] = 1
    n_mels = mapper.mel_frames(40)
    places = torch.from_numpy(mapper.positions(n_mels))[None].float()
    found = pairs.align(impulse, places)[0, :, 0].numpy()
    distance_s = np.abs((256 * np.arange(n_mels) + 128) / 22_050 - (320 * t + 199.5) / 16_000)
    assert found.argmax() == distance_s.argmin()
    assert (found[distance_s >= 0.02] == 0).all() and found.max() > 0.7


def test_an_impulse_in_a_wave_is_at_one_time_in_both_kinds_of_frames():
    offsets_s = []
    for sample in range(5_000, 6_600, 23):  # all phases of either hop
        wave = np.zeros(12_000, np.float32)
        wave[sample] = 1
        n_frames = (len(wave) - 400) // 320 + 1
        energy = np.array([np.square(wave[320 * t : 320 * t + 400]).sum() for t in range(n_frames)])
        mel = audio.log_mel(wave, 16_000)
        places = torch.from_numpy(mapper.positions(len(mel)))[None]
        aligned = pairs.align(torch.from_numpy(energy)[None, :, None], places)[0, :, 0].numpy()
        loud = np.exp(mel.astype(np.float64)).sum(axis=1) ** 2
        times_s = (np.arange(len(mel)) + 0.5) * 256 / 22_050
        offsets_s.append(times_s @ aligned / aligned.sum() - times_s @ loud / loud.sum())
    assert abs(np.mean(offsets_s)) < 1e-3  # half a hop would be 6e-3 or 1e-2


def test_a_whole_place_gives_the_frame_itself():
    frames = torch.from_numpy(frames_of(9)[None])
    assert torch.equal(pairs.align(frames, torch.arange(9.0)[None]), frames)
    assert torch.equal(pairs.align(frames, torch.tensor([[-3.0, 12.0]])), frames[:, [0, 8]])


@pytest.mark.parametrize("n_samples", [400, 719, 720, 7_999, 16_000, 16_319])
def test_a_clip_has_as_many_mel_frames_as_its_samples_or_up_to_three_more(n_samples):
    n_frames = (n_samples - 400) // 320 + 1
    own = len(audio.log_mel(np.ones(n_samples, np.float32), 16_000))
    assert 0 <= own - mapper.mel_frames(n_frames) <= 3


# ------------------------------------------------------------------------------------- level


def test_the_level_is_taken_out_and_put_back():
    wave = speech(0.6)
    loud, loud_db = pairs.target_mel(wave, 16_000)
    quiet, quiet_db = pairs.target_mel(0.01 * wave + 0.1, 16_000)  # an offset is no sound either
    assert loud_db - quiet_db == pytest.approx(40, abs=0.01)
    np.testing.assert_allclose(quiet, loud, atol=2e-2)
    plain = audio.log_mel(wave - wave.mean(), 16_000)
    audible = plain > pairs.FLOOR + 2
    np.testing.assert_allclose(pairs.at_level(loud, loud_db)[audible], plain[audible], atol=1e-2)
    assert pairs.at_level(loud, -120.0).min() == pytest.approx(np.log(SPEC.floor), abs=1e-5)


def test_the_mapper_s_level_moves_its_spectrogram_and_nothing_else(made, tmp_path):
    trained = run(made, tmp_path)
    frames = frames_of(40)
    moved = trained.map(frames, level_dbfs=mapper.LEVEL_DBFS + 6) - trained.map(frames)
    np.testing.assert_allclose(moved, 6 * np.log(10) / 20, atol=1e-4)


def test_waves_of_any_level_rate_and_channels_give_one_target(tmp_path):
    wave = speech(0.5, sample_rate=24_000)
    stereo = np.stack([wave, 0.5 * wave], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 24_000, subtype="PCM_24")
    audio.write(tmp_path / "mono.wav", wave, 24_000)
    files = [str(tmp_path / name) for name in ("stereo.wav", "mono.wav")]
    manifest = pd.DataFrame({"clip": ["a", "b"], "path": files})
    found = mapper.target_mels(manifest)
    assert found["a"].shape == found["b"].shape == (SPEC.frames(round(0.5 * 22_050)), 80)
    assert mapper.mel_l1(found["a"], found["b"]) < 0.02


# ------------------------------------------------------------------------------------- the linear part


def test_the_linear_map_finds_a_linear_map():
    found = made_pairs()
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(WIDTH, SPEC.n_mels)) / 8
    mels = []
    for frames, mel in zip(found.frames, found.mels, strict=True):
        places = torch.from_numpy(mapper.positions(len(mel)))[None]
        mels.append(pairs.align(torch.from_numpy(frames @ weight - 3)[None], places)[0].float().numpy())
    straight = dataclasses.replace(found, mels=mels)
    config = StoreConfig("made", "abc", (1,), WIDTH, 0.02, frames=True)
    fitted = mapper.fit_linear(straight, config, 1, ridge=1e-9)
    frames = frames_of(50, seed=77)
    places = torch.from_numpy(mapper.positions(mapper.mel_frames(50)))[None]
    wanted = pairs.align(torch.from_numpy(frames @ weight - 3)[None], places)[0].float().numpy()
    assert mapper.mel_l1(fitted.map(frames), wanted) < 5e-3
    assert repr(fitted) == "linear Mapper(made, layer 1, 12 features)"


def test_more_context_fits_no_worse():
    found = made_pairs()
    config = StoreConfig("made", "abc", (1,), WIDTH, 0.02, frames=True)
    errors = []
    for context in (1, 3, 5):
        fitted = mapper.fit_linear(found, config, 1, context=context, ridge=1e-3)
        answers = [fitted.map(f, n_frames=len(m)) for f, m in zip(found.frames, found.mels, strict=True)]
        errors.append(np.mean([np.square(a - m).mean() for a, m in zip(answers, found.mels, strict=True)]))
    assert errors[0] > errors[1] >= errors[2]


def test_the_penalty_is_the_one_that_rebuilds_held_out_speakers_best():
    found = made_pairs(8)
    few = dataclasses.replace(found, mels=[mel + noise_like(mel) for mel in found.mels]).at(list(range(6)))
    config = StoreConfig("made", "abc", (1,), WIDTH, 0.02, frames=True)
    chosen = mapper.fit_linear(few, config, 1, context=5).settings.ridge
    errors = {}
    for ridge in linear.RIDGES:
        errors[ridge] = 0.0
        for name in sorted(set(few.speakers)):
            rest, own = few.of(set(few.speakers) - {name}), few.of({name})
            fitted = mapper.fit_linear(rest, config, 1, context=5, ridge=ridge)
            answers = [fitted.map(f, n_frames=len(m)) for f, m in zip(own.frames, own.mels, strict=True)]
            errors[ridge] += sum(np.square(a - m).sum() for a, m in zip(answers, own.mels, strict=True))
    assert chosen == min(errors, key=errors.get) > 0.001
    alone = mapper.fit_linear(few.of({"s0"}), config, 1)
    assert alone.settings.ridge == linear.RIDGE_ALONE  # nobody to hold out


def noise_like(mel: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(mel)).normal(size=mel.shape).astype(np.float32) * 3


def test_the_receptive_field_is_as_wide_as_the_mapper_s_answer_reaches():
    settings = dataclasses.replace(TINY, slow_dilations=(1, 2, 4), fast_dilations=(1, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network.Network(WIDTH, settings)
        torch.nn.init.normal_(net.leave.weight)
    frames = torch.zeros(1, 81, WIDTH).requires_grad_()
    places = torch.from_numpy(mapper.positions(120).astype(np.float32))[None]
    net(frames, places, torch.ones(1, 1, 1), torch.ones(1, 1, 1))[0, 60].sum().backward()
    read = frames.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    reach = settings.receptive_field // 2
    middle = int(places[0, 60])  # interpolated with the next
    assert 0 <= read[0] - (middle - reach) <= 1 and 0 <= (middle + 1 + reach) - read[-1] <= 1


def test_a_wide_context_is_one_linear_map_that_sees_far_frames():
    found = made_pairs()
    far = [np.roll(mel, 30, axis=0) for mel in found.mels]  # what a frame gives comes 17 frames later
    shifted_mels = dataclasses.replace(found, mels=far)
    config = StoreConfig("made", "abc", (1,), WIDTH, 0.02, frames=True)
    errors = []
    for context in (5, 41):
        fitted = mapper.fit_linear(shifted_mels, config, 1, context=context, ridge=1e-3)
        answers = [fitted.map(f, n_frames=len(m)) for f, m in zip(found.frames, far, strict=True)]
        errors.append(np.mean([np.square(a - m).mean() for a, m in zip(answers, far, strict=True)]))
        assert fitted.network.linear.in_features == context * WIDTH and not fitted.network.residual
    assert errors[1] < 0.8 * errors[0]
    assert sorted(offset for block in linear._taps(20) for offset in block) == list(range(-20, 21))


# ------------------------------------------------------------------------------------- crops and whole clips


@pytest.mark.parametrize("where", [0.0, 0.37, 1.0])
def test_a_crop_gives_what_the_whole_clip_gives(where):
    settings = dataclasses.replace(TINY, fast_dilations=(), crop_frames=30, margin=6)
    found = made_pairs(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network.Network(WIDTH, settings)
        torch.nn.init.normal_(net.leave.weight)
    whole_mapper = network.Mapper(net, settings, {"encoder": "made", "layer": 1})
    for row in (0, 2):
        mel = found.mels[row]
        whole = whole_mapper.map(found.frames[row].astype(np.float32), n_frames=len(mel))
        batch = [torch.from_numpy(part)[None] for part in Crops(found, settings).crop(row, where)]
        with torch.no_grad():
            crop = net(*batch[:4])[0].numpy()
        start = round(where * (len(mel) - 30))
        np.testing.assert_allclose(np.maximum(crop, pairs.FLOOR), whole[start : start + 30], atol=1e-4)
        np.testing.assert_array_equal(batch[4][0], mel[start : start + 30])


def test_a_clip_shorter_than_the_crop_is_masked_beyond_its_end():
    settings = dataclasses.replace(TINY, crop_frames=90)
    found = made_pairs(1)
    frames, _, inside, mel_inside, mel = Crops(found, settings).crop(0, 0.5)
    assert mel_inside.sum() == len(found.mels[0]) < 90 and inside.sum() == len(found.frames[0])
    assert inside[settings.margin, 0] == 1 and inside[settings.margin - 1, 0] == 0
    assert (mel[len(found.mels[0]) :] == 0).all() and len(frames) == len(inside)


def test_the_padding_has_no_say():
    settings = dataclasses.replace(TINY, crop_frames=90)
    found = made_pairs(1)
    batch = [torch.from_numpy(part)[None] for part in Crops(found, settings).crop(0, 0.0)]
    net = network.Network(WIDTH, settings)
    torch.nn.init.normal_(net.leave.weight)
    n_mels = len(found.mels[0])
    with torch.no_grad():
        plain = net(*batch[:4])[0, :n_mels]
        batch[0] = torch.where(batch[2] == 0, 1e3, batch[0])
        disturbed = net(*batch[:4])[0, :n_mels]
    torch.testing.assert_close(disturbed, plain)
    whole = network.Mapper(net, settings, {"encoder": "made", "layer": 1})
    answer = whole.map(found.frames[0].astype(np.float32), n_frames=n_mels)
    np.testing.assert_allclose(answer, np.maximum(plain.numpy(), pairs.FLOOR), atol=1e-4)


# ------------------------------------------------------------------------------------- training


def test_training_starts_at_the_linear_map_and_beats_it_on_a_speaker_never_heard(tmp_path):
    found = made_pairs(30)
    store, mels = made_store(tmp_path / "store", found), dict(zip(found.clips, found.mels, strict=True))
    settings = dataclasses.replace(TINY, steps=120, validate_every=60, width=48, batch_size=12)
    trained = run((made_manifest(found), store, mels), tmp_path / "out", settings)
    claimed = trained.provenance
    assert claimed["mel_l1"] < 0.8 * claimed["linear_l1"]
    assert not set(claimed["speakers"]) & set(claimed["validation_speakers"])
    heard, unheard = (found.of(set(claimed[name])) for name in ("speakers", "validation_speakers"))
    straight = mapper.fit_linear(heard, store.config, 1, context=settings.context)
    for judged, error in ((straight, claimed["linear_l1"]), (trained, claimed["mel_l1"])):
        answers = [judged.map(f, n_frames=len(m)) for f, m in zip(unheard.frames, unheard.mels, strict=True)]
        errors = [mapper.mel_l1(a, m) for a, m in zip(answers, unheard.mels, strict=True)]
        assert np.mean(errors) == pytest.approx(error, abs=1e-3)


def test_a_killed_training_ends_as_an_undisturbed_one(made, tmp_path):
    calm = run(made, tmp_path / "calm")

    def killed(_: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    settings = dataclasses.replace(TINY, sample_every=8)  # two steps after a checkpoint
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "killed", settings, vocode=killed)
    assert not (tmp_path / "killed" / "config.json").exists()
    taken_up = run(made, tmp_path / "killed")
    for name in ("model.safetensors", CHECKPOINT):
        a, b = (load_file(tmp_path / folder / name) for folder in ("calm", "killed"))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert taken_up.provenance == calm.provenance
    curves = [(tmp_path / folder / CURVE).read_text() for folder in ("calm", "killed")]
    assert curves[0] == curves[1] and len(curves[0].splitlines()) == 1 + 1 + 12 // 3


def test_more_steps_go_on_from_the_end(made, tmp_path):
    run(made, tmp_path)
    assert run(made, tmp_path, dataclasses.replace(TINY, steps=15)).provenance["steps"] == 15
    assert pd.read_csv(tmp_path / CURVE)["step"].tolist() == [0, 3, 6, 9, 12, 15]


def test_a_training_that_has_ended_is_returned_at_once(made, tmp_path, monkeypatch):
    first = run(made, tmp_path)
    monkeypatch.setattr(training, "load_pairs", lambda *_, **__: pytest.fail("read the clips again"))
    again = run(made, tmp_path)
    frames = frames_of(33)
    np.testing.assert_array_equal(again.map(frames), first.map(frames))
    with pytest.raises(pytest.fail.Exception):
        run(made, tmp_path, resume=False)


def test_it_stops_when_nothing_is_gained_and_keeps_the_best(made, tmp_path):
    settings = dataclasses.replace(TINY, learning_rate=1e-12, patience=2, steps=60)
    trained = run(made, tmp_path, settings)
    assert trained.provenance["steps"] == 6  # three steps to a validation, two of them in vain
    worse = dataclasses.replace(TINY, learning_rate=3.0, warmup=1, steps=3)
    spoiled = run(made, tmp_path / "spoiled", worse)
    curve = pd.read_csv(tmp_path / "spoiled" / CURVE)
    assert curve["mel_l1"].iloc[-1] > spoiled.provenance["mel_l1"]
    assert spoiled.provenance["mel_l1"] == spoiled.provenance["linear_l1"]


def test_checkpoints_can_be_heard(made, tmp_path):
    run(made, tmp_path, vocode=None)
    sounds = sorted(path.name for path in (tmp_path / SAMPLES).iterdir())
    assert sounds == ["original.wav", "step-000006.wav", "step-000012.wav"]
    wave, rate = audio.load(tmp_path / SAMPLES / "step-000012.wav")
    assert rate == 22_050 and len(wave) % 256 == 0


def test_a_mapper_comes_back_from_its_folder(made, tmp_path):
    trained = run(made, tmp_path / "out")
    back = mapper.Mapper.load(trained.save(tmp_path / "copy"))
    frames = frames_of(21)
    np.testing.assert_array_equal(back.map(frames), trained.map(frames))
    assert back.provenance == trained.provenance and back.settings == trained.settings
    assert (back.encoder, back.layer, back.width) == ("made", 1, WIDTH)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["config.json", "model.safetensors"]


def test_the_seed_decides(made, tmp_path):
    other = dataclasses.replace(TINY, seed=1)
    a, b, c = (run(made, tmp_path / n, s) for n, s in (("a", TINY), ("b", TINY), ("c", other)))
    frames = frames_of(21)
    np.testing.assert_array_equal(a.map(frames), b.map(frames))
    assert not np.array_equal(a.map(frames), c.map(frames))


# ------------------------------------------------------------------------------------- from waves


def test_from_waves_to_a_mapper_and_back(tmp_path, model_folder):
    manifest = write_corpus(tmp_path / "corpus", n_clips=6, duration_s=0.4)
    encoder = str(model_folder())
    url = tmp_path / "store"
    store = features.extract(manifest, encoder, layers=[2], frames=True, url=url, device="cpu").store
    settings = dataclasses.replace(TINY, steps=3)
    trained = mapper.train(manifest, store, 2, tmp_path / "out", settings, device="cpu")
    loaded = encoders.load(encoder, layers=[2], device="cpu")
    trained.check_encoder(loaded)
    for duration_s in (0.025, 0.31, 1.003):
        wave = speech(duration_s)
        own = len(audio.log_mel(wave, 16_000))
        log_mel = trained.map(loaded.encode([wave], 16_000)[0][0], n_frames=own)
        assert log_mel.shape == (own, 80) and log_mel.dtype == np.float32 and np.isfinite(log_mel).all()
    with pytest.raises(ValueError, match="this mapper reads layer 2"):
        trained.check_encoder(encoders.load(encoder, layers=[1], device="cpu"))
    with pytest.raises(ValueError, match="with weights"):
        trained.check_encoder(encoders.load(f"random:{encoder}", layers=[2], device="cpu"))
    with pytest.raises(ValueError, match=r"every 11\.61 ms"):
        trained.check_encoder(encoders.load("logmel"))


@pytest.mark.skipif("EMOLIB_CORPORA" not in os.environ, reason="EMOLIB_CORPORA is not set: no real speech")
def test_a_linear_map_of_real_speech_beats_its_mean_spectrum(tmp_path):
    if not paths.corpus("emodb").is_dir():
        pytest.skip("EmoDB is not in EMOLIB_CORPORA")
    manifest = corpora.load("emodb").groupby("speaker").head(6)
    store = features.extract(manifest, layers=[0], frames=True, url=tmp_path, device="cpu").store
    judged = manifest["speaker"].isin(sorted(set(manifest["speaker"]))[:3])
    heard = mapper.load_pairs(manifest[~judged], store, 0)
    unheard = mapper.load_pairs(manifest[judged], store, 0)
    fitted = mapper.fit_linear(heard, store.config, 0)
    mean = np.concatenate(heard.mels).mean(axis=0)
    answers = [fitted.map(f, n_frames=len(m)) for f, m in zip(unheard.frames, unheard.mels, strict=True)]
    error = np.mean([mapper.mel_l1(a, m) for a, m in zip(answers, unheard.mels, strict=True)])
    assert error < 0.6 * np.mean([np.abs(mel - mean).mean() for mel in unheard.mels])


# ------------------------------------------------------------------------------------- refusals


def test_frames_that_can_not_be_mapped_are_refused(made, tmp_path):
    trained = run(made, tmp_path)
    frames = frames_of(20)
    with pytest.raises(ValueError, match=r"frames of shape \(20, 13\); expected \(T, 12\)"):
        trained.map(frames_of(20, width=13))
    with pytest.raises(ValueError, match="at least one frame, which takes one receptive field"):
        trained.map(frames[:0])
    with pytest.raises(ValueError, match="expected"):
        trained.map(frames[0])
    frames[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        trained.map(frames)
    with pytest.raises(ValueError, match="99 mel frames from 20 encoder frames; expected 1 to"):
        trained.map(frames_of(20), n_frames=99)


def test_manifests_that_can_not_be_trained_on_are_refused(made, tmp_path):
    manifest, store, mels = made
    with pytest.raises(ValueError, match="0 clips of 0 speakers"):
        mapper.train(manifest.iloc[:0], store, 1, tmp_path, TINY, mels=mels)
    with pytest.raises(ValueError, match="3 clips of 1 speakers; a mapper needs at least two"):
        mapper.train(manifest[manifest["speaker"] == "s0"], store, 1, tmp_path, TINY, mels=mels)
    with pytest.raises(ValueError, match="layer 7 is not in"):
        mapper.train(manifest, store, 7, tmp_path, TINY, mels=mels)
    with pytest.raises(ValueError, match="1 of 1 clips are not in"):
        mapper.train(manifest.assign(clip="gone-" + manifest["clip"]), store, 1, tmp_path, TINY, mels=mels)
    with pytest.raises(ValueError, match="no speaker s9; expected some of: s0, s1, s2"):
        mapper.leave_out(manifest, ["s0", "s9"])
    assert set(mapper.leave_out(manifest, ["s0"])["speaker"]) == {"s1", "s2"}
    assert not list(tmp_path.iterdir())


def test_stores_that_do_not_fit_are_refused(made, tmp_path):
    manifest, _, mels = made
    found = made_pairs()
    with pytest.raises(ValueError, match=r"made gives a frame every 10 ms; a mapper reads one every 20 ms"):
        mapper.load_pairs(manifest, made_store(tmp_path / "a", found, hop_s=0.01), 1, mels=mels)
    with pytest.raises(ValueError, match="pooled features only"):
        mapper.load_pairs(manifest, made_store(tmp_path / "b", found, frames=False), 1, mels=mels)
    longer = dict(mels) | {"c4": np.repeat(mels["c4"], 2, axis=0)}
    with pytest.raises(ValueError, match="clip 'c4' has 50 encoder frames for"):
        mapper.load_pairs(manifest, made_store(tmp_path / "c", found), 1, mels=longer)
    found.frames[2][5, 5] = np.nan
    with pytest.raises(ValueError, match="clip 'c2' has frames or a target that are not finite"):
        mapper.load_pairs(manifest, made_store(tmp_path / "d", found), 1, mels=mels)


def test_the_folder_of_another_training_is_refused_or_replaced(made, tmp_path):
    run(made, tmp_path)
    other = dataclasses.replace(TINY, width=8)
    with pytest.raises(ValueError, match="of other clips, settings or encoder weights"):
        run(made, tmp_path, other)
    assert run(made, tmp_path, other, replace=True).settings.width == 8
    with pytest.raises(FileNotFoundError, match="no mapper in"):
        mapper.Mapper.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(ValueError, match="holds no mapper"):
        mapper.Mapper.load(tmp_path)


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_checkpoint(made, tmp_path):
    run(made, tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    manifest, store, mels = made
    broken = {clip: mel.copy() for clip, mel in mels.items()}
    for mel in broken.values():
        mel[:] = np.float32(3e38)
    with pytest.raises(ValueError, match="the loss at step 13 is inf"):
        mapper.train(
            manifest, store, 1, tmp_path, dataclasses.replace(TINY, steps=20), mels=broken, device="cpu"
        )
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


@pytest.mark.parametrize("changes", [{"context": 4}, {"context": 0}, {"crop_frames": 6}, {"steps": -1}])
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(mapper.Settings(), **changes)


# ------------------------------------------------------------------------------------- the drawing


def test_a_measure_is_drawn_by_layer_for_each_road():
    rows = [(road, layer, 0.5 + 0.1 * layer) for road in ("mapper", "linear") for layer in (0, 3)]
    table = pd.DataFrame(rows, columns=["road", "layer", "value"])
    table = table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)
    ax = plots.plot_by_layer(
        table, "log-mel L1", series="road", levels={"ceiling": 0.2}, ax=Figure().subplots()
    )
    curves = [line for line in ax.lines if line.get_label() in ("mapper", "linear")]
    assert [line.get_label() for line in curves] == ["mapper", "linear"]
    np.testing.assert_allclose(curves[0].get_xydata(), [[0, 0.5], [3, 0.8]])
    assert ax.get_xticks().tolist() == [0, 3] and ax.get_ylabel() == "log-mel L1"
    assert [text.get_text() for text in ax.texts] == ["ceiling"]
