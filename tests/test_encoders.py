"""Encoders: equal to transformers layer by layer however clips are batched, and clear in what they refuse."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from samples import save_model, speech

from emolib import audio, encoders, paths, transformer

KINDS = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", {"feat_extract_norm": "layer", "conv_bias": True,
                                    "do_stable_layer_norm": True}),
    "hubert": ("hubert", {}),
    "hubert-large": ("hubert", {"feat_extract_norm": "layer", "conv_bias": True,
                                "do_stable_layer_norm": True}),
    "hubert-bare": ("hubert", {"feat_proj_layer_norm": False, "conv_pos_batch_norm": True}),
    "wavlm": ("wavlm", {}),
    "wavlm-large": ("wavlm", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "data2vec": ("data2vec-audio", {}),
}  # fmt: skip
SAMPLE_RATE = 16_000
LENGTHS_S = (0.9, 0.3, 1.7, 0.31, 0.9, 0.025)


@pytest.fixture(scope="module")
def waves():
    return [speech(length, seed) for seed, length in enumerate(LENGTHS_S)]


@pytest.fixture(params=KINDS)
def folder(request, model_folder):
    model_type, settings = KINDS[request.param]
    return str(model_folder(model_type, **settings))


def reference(folder, wave):
    """Return transformers' own hidden states, (L, T, D)."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.inference_mode():
        states = model(inputs.input_values, output_hidden_states=True).hidden_states
    return torch.cat(states).numpy()


def relative_error(ours, theirs):
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / theirs.std())


def mean_cosine(a, b):
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / norms).mean())


@pytest.mark.parametrize("layers", [None, [0], [2], [4, 1]])
def test_equals_transformers(folder, waves, layers):
    encoder = encoders.load(folder, layers=layers, device="cpu")
    chosen = list(range(5)) if layers is None else layers
    assert encoder.layers == tuple(chosen)
    theirs = reference(folder, waves[0])
    if "StableLayerNorm" in folder_kind(folder):  # their last state has passed the norm after the blocks
        theirs[-1] = last_block_output(folder, waves[0])
    [ours] = encoder.encode(waves[:1], SAMPLE_RATE)
    assert ours.dtype == np.float32
    assert relative_error(ours, theirs[chosen]) < 1e-5


def folder_kind(folder):
    return type(transformers.AutoModel.from_pretrained(folder).encoder).__name__


def last_block_output(folder, wave):
    """Return what leaves the last block, before the norm that a pre-norm network ends with."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    seen = []
    model.encoder.layer_norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        model(extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values)
    return seen[-1][0].numpy()


def test_padding_never_changes_an_answer(folder, waves):
    encoder = encoders.load(folder, device="cpu")
    together = encoder.encode(waves, SAMPLE_RATE)
    for wave, ours in zip(waves, together, strict=True):
        [alone] = encoder.encode([wave], SAMPLE_RATE)
        assert relative_error(ours, alone) < 1e-5


def test_the_order_of_clips_and_batches_does_not_matter(folder, waves):
    encoder = encoders.load(folder, layers=[3], device="cpu")
    together = encoder.encode(waves, SAMPLE_RATE)
    encoder._frame_budget = 60  # many small batches
    backwards = encoder.encode(waves[::-1], SAMPLE_RATE)[::-1]
    assert [len(state[0]) for state in together] == [(len(wave) - 400) // 320 + 1 for wave in waves]
    for first, second in zip(together, backwards, strict=True):
        assert relative_error(first, second) < 1e-5


def test_equal_clips_in_equal_batches_are_bit_equal(model_folder, waves):
    encoder = encoders.load(str(model_folder()), device="cpu")
    for first, second in zip(encoder.encode(waves, 16_000), encoder.encode(waves, 16_000), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("layers, n_run", [([0], 0), ([2], 2), ([1, 3], 3), (None, 4)])
def test_blocks_above_the_highest_layer_neither_exist_nor_run(
    model_folder, waves, layers, n_run, monkeypatch
):
    encoder = encoders.load(str(model_folder()), layers=layers, device="cpu")
    assert len(encoder._model.encoder.layers) == n_run
    block = transformers.models.wav2vec2.modeling_wav2vec2.Wav2Vec2EncoderLayer
    calls, forward = [], block.forward
    monkeypatch.setattr(block, "forward", lambda self, *a, **k: (calls.append(1), forward(self, *a, **k))[1])
    encoder.encode(waves[:1], SAMPLE_RATE)
    assert len(calls) == n_run


def test_the_hooks_are_gone_afterwards(model_folder, waves):
    encoder = encoders.load(str(model_folder()), device="cpu")
    encoder.encode(waves, SAMPLE_RATE)
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        transformer.inputs_of(encoder._model.encoder.layers),
    ):
        raise RuntimeError("in the middle")
    assert not any(module._forward_pre_hooks for module in encoder._model.encoder.layers)


def test_waves_are_left_as_they_were(folder, waves):
    before = [wave.copy() for wave in waves]
    encoders.load(folder, layers=[1], device="cpu").encode(waves, SAMPLE_RATE)
    assert all(np.array_equal(wave, copy) for wave, copy in zip(waves, before, strict=True))


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-large", "hubert", "wavlm"])
def test_bfloat16_is_close(model_folder, kind):
    model_type, settings = KINDS[kind]
    settings = {"hidden_size": 128, "intermediate_size": 256, "conv_dim": (64,) * 7} | settings
    folder = str(model_folder(model_type, **settings))
    waves = [speech(1.5, seed) for seed in range(4)]
    exact = encoders.load(folder, device="cpu").encode(waves, SAMPLE_RATE)
    reduced = encoders.load(folder, device="cpu", precision="bfloat16").encode(waves, SAMPLE_RATE)
    for a, b in zip(exact, reduced, strict=True):
        assert b.dtype == np.float32
        assert mean_cosine(a, b) > 0.999


def test_a_long_clip_is_cut_without_a_seam(folder, monkeypatch):
    encoder, wave = encoders.load(folder, device="cpu"), speech(9.3)
    [whole] = encoder.encode([wave], SAMPLE_RATE)
    monkeypatch.setattr(transformer.TransformerEncoder, "window_s", 2.0)
    monkeypatch.setattr(transformer.TransformerEncoder, "margin_s", 0.5)
    [cut] = encoder.encode([wave], SAMPLE_RATE)
    assert len(list(encoder._windows(len(wave)))) == 5
    assert cut.shape == whole.shape
    assert mean_cosine(cut, whole) > 0.99
    assert mean_cosine(np.roll(cut, 1, axis=1), whole) < mean_cosine(cut, whole) - 0.005  # not a frame off


def test_windows_cover_each_frame_once(model_folder, monkeypatch):
    encoder = encoders.load(str(model_folder()), layers=[0], device="cpu")
    monkeypatch.setattr(transformer.TransformerEncoder, "window_s", 1.0)
    for n_samples in (16_000, 16_399, 16_400, 32_080, 48_000, 160_001):
        n_frames = encoder._front_end.frames(n_samples)
        covered = []
        for span, keep in encoder._windows(n_samples):
            assert span.stop <= n_samples
            covered += np.arange(n_frames)[span.start // 320 :][keep].tolist()
        assert covered == list(range(n_frames))


def test_other_rates_are_resampled(model_folder, waves):
    encoder = encoders.load(str(model_folder()), layers=[2], device="cpu")
    high = audio.resample(waves[0], SAMPLE_RATE, 48_000)
    [ours] = encoder.encode([high], 48_000)
    [direct] = encoder.encode(waves[:1], SAMPLE_RATE)
    assert ours.shape == direct.shape
    assert mean_cosine(ours, direct) > 0.99


def test_what_an_encoder_says_of_itself(model_folder):
    encoder = encoders.load(str(model_folder()), layers=[2], device="cpu")
    assert (encoder.sample_rate, encoder.width, encoder.hop_s) == (16_000, 32, 0.02)
    assert encoder.encode([], SAMPLE_RATE) == []


def test_the_fingerprint_names_weights_precision_and_preprocessing(model_folder, tmp_path):
    folder = model_folder()
    first = encoders.load(str(folder), layers=[1], device="cpu").fingerprint
    assert first == encoders.load(str(folder), layers=[4], device="cpu").fingerprint
    other = save_model(tmp_path / "other", seed=1)
    loud = shutil.copytree(folder, tmp_path / "loud")
    settings = json.loads((loud / "preprocessor_config.json").read_text())
    (loud / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": False}))
    prints = {first, encoders.load(str(folder), precision="bfloat16").fingerprint}
    prints |= {encoders.load(str(path), device="cpu").fingerprint for path in (other, loud)}
    assert len(prints) == 4


def test_random_is_the_same_architecture_untrained(model_folder, waves):
    name = f"random:{model_folder()}"
    trained = encoders.load(str(model_folder()), layers=[3], device="cpu")
    first, again = (encoders.load(name, layers=[3], device="cpu") for _ in range(2))
    other = encoders.load(name, layers=[3], device="cpu", seed=1)
    outputs = [encoder.encode(waves[:1], SAMPLE_RATE)[0] for encoder in (trained, first, again, other)]
    assert outputs[0].shape == outputs[1].shape
    assert np.array_equal(outputs[1], outputs[2])
    assert mean_cosine(outputs[0], outputs[1]) < 0.9
    assert mean_cosine(outputs[1], outputs[3]) < 0.9
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_random_leaves_the_global_generator_alone(model_folder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    encoders.load(f"random:{model_folder()}", device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_random_base_needs_no_network(monkeypatch, waves):
    for loader in ("AutoConfig", "AutoFeatureExtractor"):
        monkeypatch.setattr(f"transformers.{loader}.from_pretrained", lambda *_: pytest.fail("asked the hub"))
    encoder = encoders.load("random:facebook/wav2vec2-base", layers=[1], device="cpu")
    [states] = encoder.encode([waves[1]], SAMPLE_RATE)
    assert states.shape == (1, 14, 768)
    assert np.isfinite(states).all()


def test_loading_prints_nothing(model_folder, capfd):
    encoders.load(str(model_folder()), device="cpu")
    encoders.load(f"random:{model_folder()}", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_loading_gives_transformers_its_verbosity_back(model_folder):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    encoders.load(str(model_folder()), device="cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def refused(match, **arguments):
    with pytest.raises(ValueError, match=match) as caught:
        encoders.load(**{"device": "cpu"} | arguments)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["no-such-encoder", "random:no-such-encoder", "no/such", "a b!?", "", "random:"]
)
def test_an_unknown_name_is_refused(name):
    refused("unknown encoder", name=name)


def test_the_shipped_encoder_is_missed_with_the_way_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    refused("'wav2vec2-nano': it comes with a checkout .* set EMOLIB_HOME to one", name="wav2vec2-nano")


@pytest.mark.parametrize("layers", [[5], [-1], [0, 99], []])
def test_an_unknown_layer_is_refused(model_folder, layers):
    refused("layers .* to 4", name=str(model_folder()), layers=layers)


def test_other_arguments_are_refused(model_folder):
    name = str(model_folder())
    refused("unknown precision 'int8'", name=name, precision="int8")
    refused("unknown device 'abacus'", name=name, device="abacus")
    refused("has layer 0 alone", name="logmel", layers=[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_absent_cuda_is_refused(model_folder, device):
    refused("no CUDA here", name=str(model_folder()), device=device)


def test_unusable_folders_are_refused(model_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("no usable model", name=str(tmp_path / "empty"))
    for what, content in {"garbage": b"not safetensors", "cut": None, "absent": b""}.items():
        broken = shutil.copytree(model_folder(), tmp_path / what)
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000] if content is None else content)
        if what == "absent":
            weights.unlink()
        refused("no usable model", name=str(broken))
    broken = shutil.copytree(model_folder(), tmp_path / "config")
    (broken / "config.json").write_text("{")
    refused("no usable model", name=str(broken))


def test_weights_that_do_not_fit_are_refused(model_folder, tmp_path):
    """transformers would fill what is missing at random, and say so in a warning only."""
    broken = shutil.copytree(model_folder(), tmp_path / "model")
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 6}))
    refused("lack 32 of the model's tensors", name=str(broken))
    (broken / "config.json").write_text(json.dumps(settings | {"intermediate_size": 64}))
    refused("no usable model", name=str(broken))


def test_another_kind_of_model_is_refused(tmp_path):
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    refused("is a 'bert' model; expected wav2vec2", name=str(tmp_path))


@pytest.mark.parametrize(
    "wave, reason",
    [
        (np.zeros(399, np.float32), "at least 400 samples"),
        (np.zeros(0, np.float32), "at least 400 samples"),
        (np.zeros((2, 800), np.float32), "one channel"),
        (np.full(800, np.nan, np.float32), "NaN"),
        (np.full(800, np.inf, np.float32), "NaN or inf"),
    ],
)
def test_unfit_waves_are_refused(model_folder, waves, wave, reason):
    encoder = encoders.load(str(model_folder()), layers=[1], device="cpu")
    with pytest.raises(audio.AudioError, match=f"wave 1 .*{reason}"):
        encoder.encode([waves[0], wave], SAMPLE_RATE)


def test_silence_and_a_constant_have_finite_states(folder):
    encoder = encoders.load(folder, device="cpu")
    for states in encoder.encode([np.zeros(8_000, np.float32), np.ones(8_000, np.float32)], SAMPLE_RATE):
        assert np.isfinite(states).all()


def test_logmel_frames_are_the_mel_spectrogram(waves):
    encoder = encoders.load("logmel")
    [states] = encoder.encode(waves[:1], SAMPLE_RATE)
    assert states.shape == (1, round(0.9 * 22_050) // 256, 80) and states.dtype == np.float32
    assert np.array_equal(states[0], audio.log_mel(waves[0], SAMPLE_RATE))


def test_prosody_follows_a_tone():
    encoder = encoders.load("prosody")
    time_s = np.arange(16_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 200 * k * time_s) / k for k in range(1, 8)).astype(np.float32) * 0.1
    [[frames], [louder]] = encoder.encode([tone, 2 * tone], SAMPLE_RATE)
    assert frames.shape == (101, 8) == (round(1 / encoder.hop_s) + 1, encoder.width)
    log_f0, slope, voiced, level_db, level_slope, tilt, *_ = frames[10:-10].T
    assert voiced.all()
    assert np.abs(log_f0 - np.log(200)).max() < 0.01
    assert np.abs(slope).max() < 0.1 and np.abs(level_slope).max() < 5
    assert np.allclose(louder[10:-10, 3] - level_db, 20 * np.log10(2), atol=0.01)
    assert tilt.mean() < -6  # harmonics fall by 6 dB an octave, and nothing stands above the seventh


def test_prosody_tells_rising_from_falling():
    sweep_hz = 150 * 2 ** np.linspace(0, 1, 16_000)
    rising = (0.3 * np.sin(2 * np.pi * np.cumsum(sweep_hz) / 16_000)).astype(np.float32)
    [[up], [down]] = encoders.load("prosody").encode([rising, rising[::-1].copy()], SAMPLE_RATE)
    assert np.median(up[:, 1]) == pytest.approx(np.log(2), abs=0.05)  # an octave a second
    assert np.median(down[:, 1]) == pytest.approx(-np.log(2), abs=0.05)


def test_prosody_of_what_has_no_voice_is_finite():
    noise = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 1e-3
    for wave in (noise, np.zeros(8_000, np.float32), noise[:400]):
        [[frames]] = encoders.load("prosody").encode([wave], SAMPLE_RATE)
        assert np.isfinite(frames).all()
    [[silence]] = encoders.load("prosody").encode([np.zeros(8_000, np.float32)], SAMPLE_RATE)
    assert not silence[:, 2].any() and np.allclose(silence[:, 0], np.log(120)) and not silence[:, 1].any()
