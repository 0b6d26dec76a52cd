"""The mapper: exact alignment, level kept apart, a linear start, trainings that lose nothing, refusals."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from samples import MAPPING, needs_audio, needs_whisper, refused, speech, write_corpus

from emolib import audio, corpora, encoders, features, mapper, paths
from emolib.mapper import network, training
from emolib.mapper.training import CURVE, SAMPLES, Crops
from emolib.store import FeatureStore, StoreConfig

WIDTH = 12
CONFIG = StoreConfig("made", "abc", (0, 1), WIDTH, 0.02, frames=True)
SPEC = audio.HIFIGAN_MEL
OF = {"encoder": "made", "layer": 1}
Made = tuple[pd.DataFrame, FeatureStore, dict[str, np.ndarray]]


def frames_of(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Smooth random frames, (n, width)."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(n + 8, width)), axis=0)
    return (walk[8:] - walk[:-8]).astype(np.float32)


def aligned(frames: np.ndarray, n_mels: int | None = None, **clock: float) -> np.ndarray:
    """Frames or what was computed from each of them, (T, C), at the positions of mel frames, (M, C)."""
    places = torch.from_numpy(mapper.positions(n_mels or network.mel_frames(len(frames)), **clock))[None]
    return network.align(torch.from_numpy(frames)[None], places)[0].float().numpy()


def made_pairs(n_clips: int = 9) -> network.Pairs:
    """Clips whose mel-spectrogram follows from their frames: a linear part, a bend, and a look back."""
    straight, bent = np.random.default_rng(100).normal(size=(2, WIDTH, SPEC.n_mels)) / 8
    frames = [frames_of(30 + 5 * i, i) for i in range(n_clips)]
    past = [np.concatenate([f[:1], f[:-1]]) for f in frames]
    mels = [aligned(f @ straight + np.abs(p) @ bent - 3) for f, p in zip(frames, past, strict=True)]
    clips, speakers = ([f"{letter}{i % n}" for i in range(n_clips)] for letter, n in (("c", 99), ("s", 3)))
    return network.Pairs(clips, speakers, [f.astype(np.float16) for f in frames], mels)


def corpus_of(folder: Path, found: network.Pairs, **changes: object) -> Made:
    """Return a manifest, a store and the targets of clips."""
    store = FeatureStore.open(folder, dataclasses.replace(CONFIG, **changes))
    states = [np.stack([frames, frames]).astype(np.float32) for frames in found.frames]
    store.append(found.clips, ["0"] * len(found), states)
    told = {"clip": found.clips, "speaker": found.speakers, "sha256": "0", "corpus": "made"}
    return pd.DataFrame(told), store, dict(zip(found.clips, found.mels, strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return corpus_of(tmp_path_factory.mktemp("store"), made_pairs())


def run(made, out: Path, settings: mapper.Settings = MAPPING, **options) -> mapper.Mapper:
    manifest, store, mels = made
    options = {"mels": mels, "vocode": lambda mel: np.ones(len(mel) * 256, np.float32)} | options
    return mapper.train(manifest, store, 1, out, settings, device="cpu", **options)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory) -> tuple[mapper.Mapper, Path]:
    folder = tmp_path_factory.mktemp("mapper")
    return run(made, folder, vocode=None), folder


def errors(fitted: mapper.Mapper, found: network.Pairs) -> list[float]:
    """Return the fitted map's error of every clip."""
    both = zip(found.frames, found.mels, strict=True)
    return [mapper.mel_l1(fitted.map(f, n_frames=len(m)), m) for f, m in both]


# ------------------------------------------------------------------------------------- alignment


def test_frame_centres_land_on_mel_centres_exactly():
    centres_s = (320 * np.arange(60) + 199.5) / 16_000
    wanted = (256 * np.arange(network.mel_frames(60)) + 128) / 22_050
    places = torch.from_numpy(mapper.positions(len(wanted)))[None]
    found = network.align(torch.from_numpy(centres_s)[None, :, None], places)
    within = (wanted >= centres_s[0]) & (wanted <= centres_s[-1])
    assert within.sum() >= len(wanted) - 3
    np.testing.assert_allclose(found[0, within, 0], wanted[within], atol=1e-12)
    frames = torch.from_numpy(frames_of(9)[None])
    assert torch.equal(network.align(frames, torch.arange(9.0)[None]), frames)
    assert torch.equal(network.align(frames, torch.tensor([[-3.0, 12.0]])), frames[:, [0, 8]])


def test_a_click_is_at_one_time_in_mel_frames_and_in_the_frames_of_either_family():
    for name in (paths.SHIPPED_ENCODER, "random:openai/whisper-tiny.en"):
        encoder = encoders.load(name, layers=[0], device="cpu")
        silence, errors_s = encoder._front_end(torch.zeros(16_000)), []  # type: ignore[attr-defined]
        for sample in range(7_000, 7_640, 53):  # all phases of the hop
            wave = np.zeros(16_000, np.float32)
            wave[sample] = 1
            change = (encoder._front_end(torch.from_numpy(wave)) - silence).double().numpy()  # type: ignore
            change = np.square(change - np.median(change, axis=0)).sum(axis=1)[:49, None]
            mel = audio.log_mel(wave, 16_000)
            own = aligned(change, len(mel), first_frame_s=encoder.first_frame_s)[:, 0]
            loud = np.exp(mel.astype(np.float64)).sum(axis=1) ** 2
            times_s = (np.arange(len(mel)) + 0.5) * 256 / 22_050
            errors_s.append(times_s @ own / own.sum() - times_s @ loud / loud.sum())
        assert abs(np.mean(errors_s)) < 3e-3, name  # the other family's clock would be 12.5e-3 off


def test_a_mapper_keeps_the_clock_of_its_store_and_an_older_one_has_wav2vec_s(made, tmp_path):
    manifest, store, mels = corpus_of(tmp_path / "store", made_pairs(), first_frame_s=0.0)
    pairs = mapper.load_pairs(manifest, FeatureStore(tmp_path / "store"), 1, mels=mels)
    linear = mapper.fit_linear(pairs.at([*range(len(pairs))]), store.config, 1)
    trained = run((manifest, store, mels), tmp_path / "out")
    assert linear.provenance["first_frame_s"] == trained.provenance["first_frame_s"] == 0.0
    frames, late = frames_of(40), {**linear.provenance, "first_frame_s": 0.02}
    moved = mapper.Mapper(linear.network, linear.settings, late).map(frames[1:], n_frames=50)
    np.testing.assert_allclose(moved[4:], linear.map(frames, n_frames=50)[4:], atol=1e-4)
    own, other = (mapper.default_folder(manifest, one, 1, MAPPING) for one in (store, made[1]))
    assert own.name.rpartition("-")[0] == other.name.rpartition("-")[0] and own != other
    config = tmp_path / "store" / "config.json"
    told = json.loads(config.read_text())
    assert told.pop("first_frame_s") == 0.0
    config.write_text(json.dumps(told))
    assert FeatureStore(tmp_path / "store").config.first_frame_s == 199.5 / 16_000
    maps = []
    for clock in ({}, {"first_frame_s": 199.5 / 16_000}):
        linear.provenance = {"encoder": "made", "layer": 1} | clock
        maps.append(linear.map(frames))
    np.testing.assert_array_equal(*maps)


def test_the_shipped_mapper_has_its_encoder_s_clock_and_its_card_names_its_speakers():
    folder = paths.CHECKOUT / "models" / "mapper-ravdess"
    shipped, card = mapper.Mapper.load(folder), (folder / "README.md").read_text()
    told, encoder = shipped.provenance, encoders.load("random:openai/whisper-tiny.en", layers=[0])
    assert told["first_frame_s"] == encoder.first_frame_s == 0
    assert (shipped.encoder, shipped.width) == ("whisper-tiny.en", encoder.width)
    for names in (told["speakers"], told["validation_speakers"]):
        assert f"({', '.join(name.removeprefix('ravdess-') for name in names)})" in card
    log_mel = shipped.map(np.zeros((50, shipped.width), np.float32))
    assert log_mel.shape == (network.mel_frames(50), 80) and np.isfinite(log_mel).all()


# ------------------------------------------------------------------------------------- level


def test_the_level_is_taken_out_and_put_back(trained):
    wave = speech(0.6)
    (loud, loud_db), (quiet, quiet_db) = (mapper.levelled(w, 16_000) for w in (wave, 0.01 * wave + 0.1))
    assert loud_db - quiet_db == pytest.approx(40, abs=0.01)  # an offset is no sound either
    mels = [audio.log_mel(one, 22_050) for one in (loud, quiet)]
    np.testing.assert_allclose(*mels, atol=2e-2)
    plain = audio.log_mel(wave - wave.mean(), 16_000)
    audible = plain > network.FLOOR + 2
    np.testing.assert_allclose(network.at_level(mels[0], loud_db)[audible], plain[audible], atol=1e-2)
    assert network.at_level(mels[0], -120.0).min() == pytest.approx(np.log(SPEC.floor), abs=1e-5)
    moved = trained[0].map(frames_of(40), level_dbfs=network.LEVEL_DBFS + 6) - trained[0].map(frames_of(40))
    np.testing.assert_allclose(moved, 6 * np.log(10) / 20, atol=1e-4)


# ------------------------------------------------------------------------------------- the linear part


def test_the_linear_map_finds_a_linear_map():
    weight = np.random.default_rng(1).normal(size=(WIDTH, SPEC.n_mels)) / 8
    found = made_pairs()
    straight = dataclasses.replace(found, mels=[aligned(f @ weight - 3) for f in found.frames])
    fitted, frames = mapper.fit_linear(straight, CONFIG, 1, ridge=1e-9), frames_of(50, seed=77)
    assert mapper.mel_l1(fitted.map(frames), aligned(frames @ weight - 3)) < 5e-3
    assert repr(fitted) == "linear Mapper(made, layer 1, 12 features)"


def test_the_penalty_is_the_one_with_the_least_error_on_held_out_speakers():
    found = made_pairs(8)
    noise = [np.random.default_rng(len(m)).normal(size=m.shape).astype(np.float32) * 3 for m in found.mels]
    noisy = [mel + own for mel, own in zip(found.mels, noise, strict=True)]
    few = dataclasses.replace(found, mels=noisy).at(list(range(6)))
    total = dict.fromkeys(training.RIDGES, 0.0)
    for name in set(few.speakers):
        rest, own = few.of(set(few.speakers) - {name}), few.of({name})
        for ridge in training.RIDGES:
            fitted = mapper.fit_linear(rest, CONFIG, 1, context=5, ridge=ridge)
            both = zip(own.frames, own.mels, strict=True)
            total[ridge] += sum(np.square(fitted.map(f, n_frames=len(m)) - m).sum() for f, m in both)
    chosen = mapper.fit_linear(few, CONFIG, 1, context=5).settings.ridge
    assert chosen == min(total, key=total.get) > 0.001
    alone = mapper.fit_linear(few.of({"s0"}), CONFIG, 1)
    assert alone.settings.ridge == training.RIDGE_ALONE  # nobody to hold out


def test_a_wide_context_is_one_linear_map_that_sees_far_frames():
    found = made_pairs()
    late = dataclasses.replace(found, mels=[np.roll(mel, 30, axis=0) for mel in found.mels])  # by 17 frames
    narrow, wide = (mapper.fit_linear(late, CONFIG, 1, context=n, ridge=1e-3) for n in (5, 41))
    assert wide.network.linear.in_features == 41 * WIDTH and not wide.network.residual
    assert np.mean(errors(wide, late)) < 0.8 * np.mean(errors(narrow, late))
    assert sorted(offset for block in training._taps(20) for offset in block) == list(range(-20, 21))


# ------------------------------------------------------------------------------------- crops and whole clips


def made_network(settings: mapper.Settings) -> network.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network.Network(WIDTH, settings)
        torch.nn.init.normal_(net.leave.weight)
    return net


def test_the_receptive_field_is_as_wide_as_the_mapper_s_output_reaches():
    settings = dataclasses.replace(MAPPING, slow_dilations=(1, 2, 4), fast_dilations=(1, 2))
    frames = torch.zeros(1, 81, WIDTH).requires_grad_()
    places = torch.from_numpy(mapper.positions(120).astype(np.float32))[None]
    ones = torch.ones(1, 1, 1)
    made_network(settings)(frames, places, ones, ones)[0, 60].sum().backward()
    read = frames.grad[0].abs().sum(dim=1).nonzero()[:, 0]
    reach, middle = settings.receptive_field // 2, int(places[0, 60])  # interpolated with the next
    assert 0 <= read[0] - (middle - reach) <= 1 and 0 <= (middle + 1 + reach) - read[-1] <= 1


def test_a_crop_gives_what_the_whole_clip_gives_and_nothing_beyond_the_clip_changes_it():
    for n_mels, fast in ((30, ()), (90, (1,))):  # the clips have 50 and 67
        settings = dataclasses.replace(MAPPING, fast_dilations=fast, crop_frames=n_mels, margin=6)
        found, net = made_pairs(3), made_network(settings)
        for row, where in itertools.product((0, 2), (0.0, 0.37, 1.0)):
            mel, crop = found.mels[row], Crops(found, settings).crop(row, where)
            whole = mapper.Mapper(net, settings, OF).map(found.frames[row], n_frames=len(mel))
            frames, places, inside, mel_inside, target = (torch.from_numpy(part)[None] for part in crop)
            n, start = int(mel_inside.sum()), round(where * max(0, len(mel) - n_mels))
            assert n == min(n_mels, len(mel)) and not target[0, n:].any()
            frames = torch.where(inside == 0, 1e3, frames)
            answer = net(frames, places, inside, mel_inside)[0, :n].detach().numpy()
            np.testing.assert_allclose(np.maximum(answer, network.FLOOR), whole[start : start + n], atol=1e-4)
            np.testing.assert_array_equal(target[0, :n], mel[start : start + n])


# ------------------------------------------------------------------------------------- training


def test_training_starts_at_the_linear_map_and_beats_it_on_an_unseen_speaker(tmp_path):
    found = made_pairs(30)
    settings = dataclasses.replace(MAPPING, steps=120, validate_every=60, width=48, batch_size=12)
    trained = run(corpus_of(tmp_path / "store", found), tmp_path / "out", settings)
    claimed = trained.provenance
    assert claimed["mel_l1"] < 0.8 * claimed["linear_l1"]
    assert not set(claimed["speakers"]) & set(claimed["validation_speakers"])
    seen, unseen = (found.of(set(claimed[name])) for name in ("speakers", "validation_speakers"))
    straight = mapper.fit_linear(seen, CONFIG, 1, context=settings.context)
    for fitted, error in ((straight, claimed["linear_l1"]), (trained, claimed["mel_l1"])):
        assert np.mean(errors(fitted, unseen)) == pytest.approx(error, abs=1e-3)


def test_more_steps_continue_a_training_and_it_can_start_again(made, tmp_path):
    for steps, resume, curve in ((12, True, 12), (15, True, 15), (6, False, 6)):
        settings = dataclasses.replace(MAPPING, steps=steps)
        assert run(made, tmp_path, settings, resume=resume).provenance["steps"] == steps
        assert pd.read_csv(tmp_path / CURVE)["step"].tolist() == [*range(0, curve + 1, 3)]


def test_a_finished_training_is_audible_and_is_returned_at_once(made, trained, monkeypatch):
    first, folder = trained
    monkeypatch.setattr(training, "load_pairs", lambda *_, **__: pytest.fail("read the clips again"))
    again = run(made, folder)
    np.testing.assert_array_equal(again.map(frames_of(33)), first.map(frames_of(33)))
    assert again.provenance == first.provenance and again.settings == first.settings
    assert repr(again) == "Mapper(made, layer 1, 12 features)"
    sounds = sorted(path.name for path in (folder / SAMPLES).iterdir())
    assert sounds == ["original.wav", "step-000006.wav", "step-000012.wav"]
    wave, rate = audio.load(folder / SAMPLES / sounds[-1])
    assert rate == 22_050 and len(wave) % 256 == 0


# ------------------------------------------------------------------------------------- from waves


def test_from_waves_to_a_mapper_and_back(tmp_path, model_folder):
    manifest = write_corpus(tmp_path / "corpus", n_clips=6, duration_s=0.4)
    encoder, url = str(model_folder()), tmp_path / "store"
    store = features.extract(manifest, encoder, layers=[2], frames=True, url=url, device="cpu").store
    settings = dataclasses.replace(MAPPING, steps=3)
    trained = mapper.train(manifest, store, 2, tmp_path / "out", settings, device="cpu")
    loaded = encoders.load(encoder, layers=[2], device="cpu")
    trained.check_encoder(loaded)
    for duration_s in (0.025, 0.31, 1.003):
        wave = speech(duration_s)
        own = len(audio.log_mel(wave, 16_000))
        log_mel = trained.map(loaded.encode([wave], 16_000)[0][0], n_frames=own)
        assert log_mel.shape == (own, 80) and log_mel.dtype == np.float32 and np.isfinite(log_mel).all()
    for name, layer, message in ((encoder, 1, "reads layer 2"), (f"random:{encoder}", 2, "with weights")):
        refused(message, trained.check_encoder, encoders.load(name, layers=[layer], device="cpu"))
    refused(r"every 11\.61 ms", trained.check_encoder, encoders.load("logmel"))


@needs_audio("emodb")
@needs_whisper
def test_a_linear_map_of_real_speech_beats_its_mean_spectrum(tmp_path):
    manifest = corpora.load("emodb").groupby("speaker").head(6)
    store = features.extract(manifest, layers=[0], frames=True, url=tmp_path, device="cpu").store
    test = manifest["speaker"].isin(sorted(set(manifest["speaker"]))[:3])
    seen, unseen = (mapper.load_pairs(manifest[rows], store, 0) for rows in (~test, test))
    fitted, mean = mapper.fit_linear(seen, store.config, 0), np.concatenate(seen.mels).mean(axis=0)
    error = np.mean(errors(fitted, unseen))
    assert error < 0.6 * np.mean([np.abs(mel - mean).mean() for mel in unseen.mels])


# ------------------------------------------------------------------------------------- refusals


def test_what_can_not_be_mapped_is_refused(trained, tmp_path):
    fitted, frames = trained[0], frames_of(20)
    broken = np.where(np.arange(20)[:, None] == 3, np.float32(np.nan), frames)
    for given, options, message in (
        (frames_of(20, width=13), {}, r"frames of shape \(20, 13\); expected \(T, 12\)"),
        (frames[:0], {}, "at least one frame, which takes one receptive field"),
        (frames[0], {}, "expected"), (broken, {}, "NaN or infinity"),
        (frames, {"n_frames": 99}, "99 mel frames from 20 encoder frames; expected 1 to"),
    ):  # fmt: skip
        refused(message, fitted.map, given, **options)
    with pytest.raises(FileNotFoundError, match="no mapper in"):
        mapper.Mapper.load(tmp_path / "nowhere")
    for changes in ({"context": 4}, {"context": 0}, {"crop_frames": 6}, {"steps": -1}):
        refused("expected", dataclasses.replace, mapper.Settings(), **changes)


def test_what_can_not_be_trained_on_is_refused(made, tmp_path):
    manifest, _, mels = made
    broken, longer = made_pairs(), mels | {"c4": np.repeat(mels["c4"], 2, axis=0)}
    broken.frames[2][5, 5] = np.nan
    for i, (rows, found, changes, targets, message) in enumerate((
        (manifest[:0], broken, {}, mels, "the manifest has no clips"),
        (manifest, broken, {"hop_s": 0.01}, mels, "made gives a frame every 10 ms; a mapper reads"),
        (manifest, made_pairs(), {}, longer, "clip 'c4' has 50 encoder frames for"),
        (manifest, broken, {}, mels, "clip 'c2' has frames or a target that are not finite"),
    )):  # fmt: skip
        store = corpus_of(tmp_path / str(i), found, **changes)[1]
        refused(message, mapper.load_pairs, rows, store, 1, mels=targets)
