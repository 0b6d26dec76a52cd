"""Encoders: equal to transformers layer by layer however clips are batched, and clear in what they refuse."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from samples import needs_whisper, save_model, speech, w2v_bert
from samples import whisper as tiny_whisper

from emolib import audio, encoders, features, paths, probing, splits
from emolib.encoders import whisper, whisper_wheel
from emolib.encoders.wav2vec2 import FourierConv, FrontEnd

STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
KINDS = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", STABLE | {"conv_bias": True}),
    "hubert": ("hubert", {"conv_bias": True}),
    "hubert-bare": ("hubert", {"feat_proj_layer_norm": False, "conv_pos_batch_norm": True}),
    "wavlm-large": ("wavlm", STABLE),
    "data2vec": ("data2vec-audio", {}),
    "unispeech": ("unispeech", {}),
    "unispeech-sat-large": ("unispeech-sat", STABLE),
    "conformer": ("wav2vec2-conformer", {"position_embeddings_type": "relative"}),
    "conformer-rotary": ("wav2vec2-conformer", {"position_embeddings_type": "rotary"}),
}
RATE = 16_000
LENGTHS_S = (0.9, 0.3, 1.7, 0.31, 0.9, 0.025)


@pytest.fixture(scope="module")
def waves():
    return [speech(length, seed) for seed, length in enumerate(LENGTHS_S)]


@pytest.fixture(params=KINDS)
def folder(request, model_folder):
    model_type, settings = KINDS[request.param]
    return str(model_folder(model_type, **settings))


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    """A tiny untrained Whisper as transformers saves it."""
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    tiny_whisper().save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def reference(folder, wave):
    """Return transformers' own hidden states, (L, T, D), the last before the norm that may follow it."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    last = []
    if norm := getattr(model.encoder, "layer_norm", None):
        norm.register_forward_pre_hook(lambda _, args: last.append(args[0]))
    with torch.inference_mode():
        inputs = extractor(wave, sampling_rate=RATE, return_tensors="pt")
        states = model(**inputs, output_hidden_states=True).hidden_states
    if any(kind in type(model.encoder).__name__ for kind in ("StableLayerNorm", "2Conformer")):
        states = (*states[:-1], last[-1])
    return torch.cat(states).numpy()


def relative_error(ours, theirs):
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / theirs.std())


def mean_cosine(a, b):
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / norms).mean())


# ------------------------------------------------------------------------------------- the wav2vec 2.0 family


def test_equals_transformers_whatever_layers_are_asked_for(folder, waves):
    theirs = reference(folder, waves[0])
    for layers in (None, [0], [2], [4, 1]):
        encoder = encoders.load(folder, layers=layers, device="cpu")
        chosen = list(range(5)) if layers is None else layers
        assert encoder.layers == tuple(chosen)
        assert len(encoder.network.encoder.layers) == max(chosen), "blocks above the highest are not kept"
        [ours] = encoder.encode(waves[:1], RATE)
        assert ours.dtype == np.float32 and relative_error(ours, theirs[chosen]) < 1e-5


def test_padding_order_and_batches_never_change_an_answer(folder, waves):
    encoder = encoders.load(folder, device="cpu")
    before = [wave.copy() for wave in waves]
    together = encoder.encode(waves, RATE)
    assert all(np.array_equal(a, b) for a, b in zip(together, encoder.encode(waves, RATE), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(waves, before, strict=True))
    assert [state.shape[1] for state in together] == [(len(wave) - 400) // 320 + 1 for wave in waves]
    alone = [encoder.encode([wave], RATE)[0] for wave in waves]
    encoder._frame_budget = 60  # many small batches
    backwards = encoder.encode(waves[::-1], RATE)[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert relative_error(a, b) < 1e-5 and relative_error(a, c) < 1e-5
    silence, constant = encoder.encode([np.zeros(8_000, np.float32), np.ones(8_000, np.float32)], RATE)
    assert np.isfinite(silence).all() and np.isfinite(constant).all()


def test_w2v_bert_equals_transformers_whatever_its_neighbours(tmp_path, waves):
    torch.manual_seed(0)
    w2v_bert().save_pretrained(tmp_path)
    transformers.SeamlessM4TFeatureExtractor().save_pretrained(tmp_path)
    encoder, upper = (encoders.load(str(tmp_path), layers=layers, device="cpu") for layers in (None, [2]))
    for wave, ours in zip(waves[:5], encoder.encode(waves[:5], RATE), strict=True):
        n_whole = (len(wave) - 240) // 320  # a single frame at the end is padded to a pair
        assert relative_error(ours, reference(tmp_path, wave)[:, :n_whole]) < 1e-5
        assert relative_error(upper.encode([wave], RATE)[0][0], ours[2]) < 1e-5
    with pytest.raises(audio.AudioError, match="at least 560 samples"):
        encoder.encode([waves[0][:559]], RATE)


def test_threads_that_share_an_encoder_get_their_own_states(folder, waves):
    encoder = encoders.load(folder, device="cpu")
    alone = [encoder.encode([wave], RATE)[0] for wave in waves]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda wave: encoder.encode([wave], RATE)[0], waves * 8))
    for given, expected in zip(together, alone * 8, strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_the_hooks_are_gone_afterwards(model_folder):
    blocks = encoders.load(str(model_folder()), device="cpu").network.encoder.layers
    with pytest.raises(RuntimeError, match="in the middle"), encoders.inputs_of(blocks):
        raise RuntimeError("in the middle")
    assert not any(module._forward_pre_hooks for module in blocks)


def test_bfloat16_is_close(model_folder):
    for kind in ("wav2vec2", "wav2vec2-large", "wavlm-large"):
        model_type, settings = KINDS[kind]
        settings = {"hidden_size": 128, "intermediate_size": 256, "conv_dim": (64,) * 7} | settings
        folder = str(model_folder(model_type, **settings))
        wave = speech(1.5)
        [exact] = encoders.load(folder, device="cpu").encode([wave], RATE)
        [reduced] = encoders.load(folder, device="cpu", precision="bfloat16").encode([wave], RATE)
        assert reduced.dtype == np.float32 and mean_cosine(exact, reduced) > 0.999


def test_a_long_clip_is_cut_without_a_seam(folder, monkeypatch):
    encoder, wave = encoders.load(folder, device="cpu"), speech(9.3)
    [whole] = encoder.encode([wave], RATE)
    monkeypatch.setattr(encoder, "window_s", 2.0)
    monkeypatch.setattr(encoder, "margin_s", 0.5)
    [cut] = encoder.encode([wave], RATE)
    assert len(list(encoder._windows(len(wave)))) == 5
    assert cut.shape == whole.shape and mean_cosine(cut, whole) > 0.99
    assert mean_cosine(np.roll(cut, 1, axis=1), whole) < mean_cosine(cut, whole) - 0.005  # not a frame off


def test_windows_cover_each_frame_once(model_folder, monkeypatch):
    encoder = encoders.load(str(model_folder()), layers=[0], device="cpu")
    monkeypatch.setattr(encoder, "window_s", 1.0)
    for n_samples in (16_000, 16_399, 16_400, 32_080, 48_000, 160_001):
        frames, spans = np.arange(encoder.frames(n_samples)), list(encoder._windows(n_samples))
        assert max(span.stop for span, _ in spans) <= n_samples
        covered = [frames[span.start // 320 :][keep] for span, keep in spans]
        assert np.array_equal(np.concatenate(covered), frames)


def test_other_rates_are_resampled_and_unfit_waves_refused(model_folder, waves):
    encoder = encoders.load(str(model_folder()), layers=[2], device="cpu")
    [ours] = encoder.encode([audio.resample(waves[0], RATE, 48_000)], 48_000)
    [direct] = encoder.encode(waves[:1], RATE)
    assert mean_cosine(ours, direct) > 0.99 and encoder.encode([], RATE) == []
    assert (encoder.sample_rate, encoder.width, encoder.hop_s) == (16_000, 32, 0.02)
    for wave, reason in [
        (np.zeros(399), "at least 400 samples"), (np.zeros(0), "at least 400 samples"),
        (np.zeros((2, 800)), "one channel"), (np.full(800, np.nan), "NaN"), (np.full(800, np.inf), "NaN"),
    ]:  # fmt: skip
        with pytest.raises(audio.AudioError, match=f"wave 1 .*{reason}"):
            encoder.encode([waves[0], wave.astype(np.float32)], RATE)


def test_the_front_end_equals_transformers_at_any_length_and_level(model_folder):
    for settings in ({}, {"conv_bias": True}, STABLE, STABLE | {"conv_bias": True}):
        model = transformers.AutoModel.from_pretrained(model_folder(**settings)).eval()
        front_end = FrontEnd(model.feature_extractor)
        assert (front_end.receptive_field, front_end.hop) == (400, 320)
        cases = [(400, 1, 0), (719, 1, 0), (721, 1, 0), (8_003, 1, 0)]
        for n_samples, gain, offset in [*cases, (8_000, 1e-3, 0), (8_000, 10, 0), (8_000, 0.3, 0.5)]:
            longer = torch.from_numpy(gain * speech(1.0, seed=n_samples) + np.float32(offset))
            wave = longer[100 : 100 + n_samples]  # read from its own start
            with torch.inference_mode():
                theirs = model.feature_extractor(wave[None].clone())[0].T
            assert relative_error(front_end(wave).numpy(), theirs.numpy()) < 5e-5


@torch.inference_mode()
def test_a_kernel_that_its_stride_does_not_divide(model_folder):
    folder = model_folder(conv_dim=(8, 8, 8), conv_kernel=(7, 5, 3), conv_stride=(3, 2, 2))
    extractor = transformers.AutoModel.from_pretrained(folder).eval().feature_extractor
    wave, ours = torch.from_numpy(speech(0.1)), FrontEnd(extractor)
    assert (ours.hop, ours.receptive_field) == (12, 7 + 4 * 3 + 2 * 6)
    assert relative_error(ours(wave).numpy(), extractor(wave[None])[0].T.numpy()) < 1e-5


@torch.inference_mode()
def test_spectra_give_the_same_convolution():
    cases = [(1, 1, True), (7, 2, False), (16, 17, True), (128, 130, True), (128, 300, False)]
    for kernel, n_frames, bias in cases:
        torch.manual_seed(kernel + n_frames)
        conv = torch.nn.Conv1d(12, 24, kernel, padding=kernel // 2, groups=3, bias=bias)
        frames = torch.randn(2, 12, n_frames)
        expected, ours = conv(frames), FourierConv(conv)(frames)
        assert ours.shape == expected.shape and (ours - expected).abs().max() < 1e-5
        assert FourierConv(conv)(frames.bfloat16()).dtype == torch.bfloat16


# ------------------------------------------------------------------------------------- emotion2vec

#: Every 15th frame and 16th channel of FunASR's implementation (commit 3c58cb56), by layer: the input of
#: the first block, then the output of each, for `emotion2vec_weights` and `speech(0.9)`.
PUBLISHED = [
    [[0.56494, -0.38209, -0.27387], [0.91693, -0.74292, 1.5302], [0.52286, 1.37362, 0.35087]],
    [[0.33485, -0.44932, -0.43493], [1.64544, -0.30859, -1.02212], [-0.15535, -0.52405, -0.18602]],
    [[0.28777, 1.5688, -0.65003], [0.38558, 1.33045, -0.55157], [-0.29654, 0.70498, 0.4332]],
    [[-0.43362, 1.51427, 0.46177], [-0.52518, 1.34389, 0.38873], [-0.57187, 1.1313, 1.18891]],
    [[-2.00473, 0.06602, 0.11799], [-1.96216, 0.00889, 0.05836], [-1.99766, -0.23984, 0.14789]],
]


def emotion2vec_weights():
    """Return random weights in emotion2vec's layout: two and two blocks of 48 channels, six heads."""
    width, channels = 48, 16

    def part(name, *shape):
        return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    block = part("norm1", width) | part("attn.qkv", 3 * width, width) | part("attn.proj", width, width)
    block |= part("norm2", width) | part("mlp.fc1", 2 * width, width) | part("mlp.fc2", width, 2 * width)
    audio = {"extra_tokens": (1, 3, width), "alibi_scale": (1, 1, 6, 1, 1)}
    for number, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        layer = f"local_encoder.conv_layers.{number}"
        audio |= {f"{layer}.0.weight": (channels, channels if number else 1, kernel)}
        audio |= part(f"{layer}.2.1", channels)
    audio |= part("project_features.1", channels) | part("project_features.2", width, channels)
    audio |= part("relative_positional_encoder.1.0", width, width // 4, 7)
    audio |= part("relative_positional_encoder.2.0", width, width // 4, 7)
    audio |= part("context_encoder.norm", width)
    audio |= {f"context_encoder.blocks.{k}.{name}": shape for k in (0, 1) for name, shape in block.items()}
    shapes = {f"modality_encoders.AUDIO.{name}": shape for name, shape in audio.items()}
    shapes |= {f"blocks.{k}.{name}": shape for k in (0, 1) for name, shape in block.items()}
    rng = np.random.default_rng(0)
    made = {name: 0.2 * rng.standard_normal(shapes[name]) for name in sorted(shapes)}
    near_1 = {name for name in made if not name.endswith("bias") and len(shapes[name]) in (1, 5)}
    return {name: torch.from_numpy(v + (name in near_1)).float() for name, v in made.items()}


def test_emotion2vec_equals_the_published_implementation(tmp_path, waves):
    torch.save({"model": emotion2vec_weights()}, tmp_path / "model.pt")
    encoder = encoders.load(str(tmp_path), device="cpu")
    assert (encoder.layers, encoder.width, encoder.hop_s) == ((0, 1, 2, 3, 4), 48, 0.02)
    together = encoder.encode(waves, RATE)
    np.testing.assert_allclose(together[0][:, ::15, ::16], PUBLISHED, atol=2e-5)
    [upper] = encoders.load(str(tmp_path), layers=[2], device="cpu").encode(waves[2:3], RATE)
    assert relative_error(upper[0], together[2][2]) < 1e-5
    untrained = encoders.load(f"random:{tmp_path}", device="cpu").encode(waves[:1], RATE)[0]
    assert np.isfinite(untrained).all() and relative_error(untrained, together[0]) > 0.1
    assert encoders.load_deferred(str(tmp_path), device="cpu").fingerprint == encoder.fingerprint


# ------------------------------------------------------------------------------------- Whisper


def test_whisper_equals_transformers_on_the_same_padded_input(whisper_folder):
    encoder = encoders.load(whisper_folder)
    assert isinstance(encoder, whisper.WhisperEncoder) and encoder.layers == (0, 1, 2, 3, 4)
    wave = np.pad(speech(3.0), (0, 27 * RATE))
    inputs = transformers.WhisperFeatureExtractor()(wave, sampling_rate=RATE, return_tensors="pt")
    network = transformers.WhisperModel.from_pretrained(whisper_folder).encoder.eval()
    with torch.no_grad():
        theirs = network(inputs.input_features, output_hidden_states=True)
    states = encoder._transform(encoder._front_end(torch.from_numpy(wave))[None], None)
    close = {"atol": 2e-5, "rtol": 0}
    for ours, wanted in zip(states[:4], theirs.hidden_states, strict=False):
        torch.testing.assert_close(ours, wanted, **close)
    torch.testing.assert_close(encoder.network.layer_norm(states[4]), theirs.last_hidden_state, **close)
    # stated difference: only attention to the 27 s of silence is missing
    [short] = encoder.encode([speech(3.0)], RATE)
    full = torch.stack(states)[:, 0, : short.shape[1]].numpy()
    np.testing.assert_allclose(short[0, :-1], full[0, :-1], atol=1e-5)
    assert mean_cosine(short, full) > 0.9


def test_whisper_clips_stand_alone(whisper_folder):
    encoder = encoders.load(whisper_folder)
    clips = [speech(duration_s, seed) for seed, duration_s in enumerate((0.03, 1.0, 4.2, 2.5, 2.5))]
    together = encoder.encode(clips, RATE)
    for wave, states in zip(clips, together, strict=True):
        np.testing.assert_allclose(states, encoder.encode([wave], RATE)[0], atol=1e-5)
    [some] = encoders.load(whisper_folder, layers=[2, 0]).encode([clips[2]], RATE)
    np.testing.assert_allclose(some, together[2][[2, 0]], atol=1e-5)
    [rough] = encoders.load(whisper_folder, precision="bfloat16").encode([clips[3]], RATE)
    assert np.corrcoef(together[3].ravel(), rough.ravel())[0, 1] > 0.999
    [long] = encoders.load(whisper_folder, layers=[1]).encode([speech(70.0)], RATE)
    assert long.shape == (1, encoder.frames(70 * RATE), 32) and np.isfinite(long).all()


@needs_whisper
def test_the_wheels_weights_become_a_folder_once(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path / "none")  # which may hold it already
    weights, made = tmp_path / "models" / "whisper-tiny.en" / "model.safetensors", set()
    for _ in range(2):
        encoder = encoders.load("whisper-tiny.en")
        assert (encoder.layers, encoder.width, encoder.hop_s) == ((0, 1, 2, 3, 4), 384, 0.02)
        made.add((encoder.fingerprint, weights.stat().st_mtime_ns))
    assert len(made) == 1 and not list(tmp_path.rglob("*.bin")), "no pickles"
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(whisper_wheel, "WHEEL_SHA256", "0" * 64)
    refused("expected 000", name="whisper-tiny.en")


# ------------------------------------------------------------------------------------- names and loading


def test_the_fingerprint_names_weights_precision_and_preprocessing(model_folder, whisper_folder, tmp_path):
    folder = model_folder()
    first = encoders.load(str(folder), layers=[1], device="cpu").fingerprint
    assert first == encoders.load(str(folder), layers=[4], device="cpu").fingerprint
    other = save_model(tmp_path / "other", seed=1)
    loud = shutil.copytree(folder, tmp_path / "loud")
    settings = json.loads((loud / "preprocessor_config.json").read_text())
    (loud / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": False}))
    prints = {first, encoders.load(str(folder), precision="bfloat16").fingerprint}
    prints |= {encoders.load(str(path), device="cpu").fingerprint for path in (other, loud, whisper_folder)}
    assert len(prints) == 5


def test_random_is_the_same_architecture_untrained(model_folder, waves):
    name = f"random:{model_folder()}"
    trained = encoders.load(str(model_folder()), layers=[3], device="cpu")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again = (encoders.load(name, layers=[3], device="cpu") for _ in range(2))
    other = encoders.load(name, layers=[3], device="cpu", seed=1)
    assert torch.equal(torch.rand(3), expected), "the global generator is left alone"
    outputs = [encoder.encode(waves[:1], RATE)[0] for encoder in (trained, first, again, other)]
    assert np.array_equal(outputs[1], outputs[2])
    assert mean_cosine(outputs[0], outputs[1]) < 0.9 and mean_cosine(outputs[1], outputs[3]) < 0.9
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_random_base_needs_no_network(monkeypatch, waves):
    for loader in ("AutoConfig", "AutoFeatureExtractor"):
        monkeypatch.setattr(f"transformers.{loader}.from_pretrained", lambda *_: pytest.fail("asked the hub"))
    [states] = encoders.load("random:facebook/wav2vec2-base", layers=[1]).encode([waves[1]], RATE)
    assert states.shape == (1, 14, 768) and np.isfinite(states).all()


def test_loading_is_silent_and_leaves_transformers_as_it_was(model_folder, capfd):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    encoders.load(str(model_folder()), device="cpu")
    encoders.load(f"random:{model_folder()}", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_network_that_is_known_is_loaded_only_where_it_is_used(model_folder, tmp_path, monkeypatch, waves):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    folder = shutil.copytree(model_folder(), tmp_path / "model")
    for name in (str(folder), f"random:{folder}"):
        loaded = encoders.load_deferred(name, layers=[2], device="cpu")
        assert isinstance(loaded, encoders.TransformerEncoder)
        with monkeypatch.context() as patch:
            patch.setattr(encoders, "load", lambda *_, **__: pytest.fail("loaded the network"))
            known = encoders.load_deferred(name, layers=[2], device="cpu")
            with pytest.raises(ValueError, match=r"layers \[9\]"):
                encoders.load_deferred(name, layers=[9], device="cpu")
        for field in ("name", "layers", "sample_rate", "width", "hop_s", "first_frame_s", "fingerprint"):
            assert getattr(known, field) == getattr(loaded, field)
        assert np.array_equal(known.encode(waves[:1], RATE), loaded.encode(waves[:1], RATE))
    before = encoders.load_deferred(str(folder), device="cpu")
    shutil.copy(save_model(tmp_path / "other", seed=1) / "model.safetensors", folder)
    assert encoders.load_deferred(str(folder), device="cpu").fingerprint != before.fingerprint
    with pytest.raises(ValueError, match="changed while it was in use"):
        before.encode(waves[:1], RATE)


def refused(match, **arguments):
    with pytest.raises(ValueError, match=match) as caught:
        encoders.load(**{"device": "cpu"} | arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_unknown_names_layers_and_settings_are_refused(model_folder, tmp_path, monkeypatch):
    for name in ("no-such-encoder", "no/such", "a b!?", "", "random:", "random:egemaps"):
        refused("unknown encoder", name=name)
    name = str(model_folder())
    for layers in ([5], [-1], [0, 99], []):
        refused("layers .* to 4", name=name, layers=layers)
    refused("unknown precision 'int8'", name=name, precision="int8")
    refused("unknown device 'abacus'", name=name, device="abacus")
    if not torch.cuda.is_available():
        refused("no CUDA here", name=name, device="cuda:1")
    refused("has layer 0 alone", name="logmel", layers=[1])
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    refused("'wav2vec2-nano': it comes with a checkout .* set EMOLIB_HOME to one", name="wav2vec2-nano")


def test_unusable_folders_are_refused(model_folder, tmp_path):
    whole = (model_folder() / "model.safetensors").read_bytes()
    settings = json.loads((model_folder() / "config.json").read_text())
    for number, (name, content, why) in enumerate((
        ("model.safetensors", b"not safetensors", ""), ("model.safetensors", whole[:-1000], ""),
        ("model.safetensors", None, ""), ("config.json", b"{", ""),
        # transformers would fill what is missing at random, and say so in a warning only
        ("config.json", json.dumps(settings | {"num_hidden_layers": 6}).encode(), ".*lack 32 of the model's"),
        ("config.json", json.dumps(settings | {"intermediate_size": 64}).encode(), ""),
    )):  # fmt: skip
        broken = shutil.copytree(model_folder(), tmp_path / str(number))
        (broken / name).unlink()
        if content is not None:
            (broken / name).write_bytes(content)
        refused(f"no usable model{why}", name=str(broken))
    (tmp_path / "empty").mkdir()
    refused("no usable model", name=str(tmp_path / "empty"))
    for held, why in (({"norm.weight": torch.ones(3)}, " .*holds no emotion2vec"), (Path("not weights"), "")):
        torch.save({"model": held}, tmp_path / "empty" / "model.pt")
        refused(f"no usable model{why}", name=str(tmp_path / "empty"))
    ones = dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 1)
    config = transformers.BertConfig(vocab_size=8, hidden_size=8, intermediate_size=8, **ones)
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    refused("is a 'bert' model; expected wav2vec2", name=str(tmp_path / "bert"))


# ------------------------------------------------------------------------------------- baselines


def test_logmel_frames_are_the_mel_spectrogram(waves):
    [states] = encoders.load("logmel").encode(waves[:1], RATE)
    assert states.shape == (1, round(0.9 * 22_050) // 256, 80) and states.dtype == np.float32
    assert np.array_equal(states[0], audio.log_mel(waves[0], RATE))


def test_prosody_follows_a_tone_and_a_glide():
    encoder = encoders.load("prosody")
    time_s = np.arange(16_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 200 * k * time_s) / k for k in range(1, 8)).astype(np.float32) * 0.1
    [[frames], [louder]] = encoder.encode([tone, 2 * tone], RATE)
    assert frames.shape == (101, 8) == (round(1 / encoder.hop_s) + 1, encoder.width)
    log_f0, slope, voiced, level_db, level_slope, tilt, *_ = frames[10:-10].T
    assert voiced.all() and np.abs(log_f0 - np.log(200)).max() < 0.01
    assert np.abs(slope).max() < 0.1 and np.abs(level_slope).max() < 5
    assert np.allclose(louder[10:-10, 3] - level_db, 20 * np.log10(2), atol=0.01)
    assert tilt.mean() < -6  # harmonics fall by 6 dB an octave, and there are none above the seventh
    sweep_hz = 150 * 2 ** np.linspace(0, 1, 16_000)
    rising = (0.3 * np.sin(2 * np.pi * np.cumsum(sweep_hz) / 16_000)).astype(np.float32)
    [[up], [down]] = encoder.encode([rising, rising[::-1].copy()], RATE)
    assert np.median(up[:, 1]) == pytest.approx(np.log(2), abs=0.05)  # an octave a second
    assert np.median(down[:, 1]) == pytest.approx(-np.log(2), abs=0.05)


def test_prosody_of_what_has_no_voice_is_finite():
    noise = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) * 1e-3
    silence, *others = encoders.load("prosody").encode([0 * noise, noise, noise[:400]], RATE)
    assert all(np.isfinite(frames).all() for frames in (silence, *others))
    assert np.allclose(silence[0, :, 0], np.log(120)) and not silence[0, :, 1:3].any()


FUNCTIONALS = {"egemaps": ("eGeMAPSv02", 88), "compare": ("ComParE_2016", 6_373)}


@pytest.fixture(scope="module")
def opensmile():
    why = "the extra `functionals` is not installed"
    return pytest.importorskip("opensmile", reason=why, exc_type=ImportError)


def test_functionals_are_opensmiles_own_one_frame_per_clip(opensmile, waves):
    for name, (feature_set, width) in FUNCTIONALS.items():
        encoder = encoders.load(name)
        fingerprint = f"opensmile-{opensmile.__version__}-{feature_set}-1"
        assert (encoder.width, encoder.layers, encoder.fingerprint) == (width, (0,), fingerprint)
        smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
        usable = [*waves[:5], np.zeros(960, np.float32)]
        together = encoder.encode(usable, RATE)
        for wave, states in zip(usable, together, strict=True):
            assert states.shape == (1, 1, width) and states.dtype == np.float32 and np.isfinite(states).all()
            assert np.array_equal(states[0, 0], smile.process_signal(wave, RATE).to_numpy()[0])
            assert np.array_equal(states, encoder.encode([wave], RATE)[0]), "neighbours change nothing"
        faster = audio.resample(waves[2], RATE, 44_100)
        [resampled] = encoder.encode([faster], 44_100)
        assert np.array_equal(resampled, *encoder.encode([audio.resample(faster, 44_100, RATE)], RATE))


def test_functionals_do_not_wrap_around_at_full_scale_and_refuse_unfit_waves(opensmile, waves):
    loud = 1.01 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    for name in FUNCTIONALS:
        encoder = encoders.load(name)
        assert np.array_equal(*encoder.encode([loud, loud.clip(-1, 32_767 / 32_768)], RATE))
        for wave in (np.ones(959), np.ones(0), np.ones((2, RATE)), np.full(RATE, np.nan)):
            with pytest.raises(audio.AudioError, match=r"wave 1 (.* one channel of at least 960|.*NaN)"):
                encoder.encode([waves[0], wave.astype(np.float32)], RATE)


def test_functionals_are_stored_and_probed_under_either_pooling(opensmile, manifest, tmp_path):
    store = features.extract(manifest, "egemaps", url=tmp_path / "store", frames=True).store
    clips = manifest["clip"].tolist()
    mean, both = store.pooled(0, "mean", clips), store.pooled(0, "mean+std", clips)
    assert np.array_equal(both, np.hstack([mean, np.zeros_like(mean)]))
    assert np.allclose(np.vstack([store.frames(clip, 0) for clip in clips]), mean, rtol=1e-3, atol=1e-3)
    assert features.extract(manifest, "egemaps", url=tmp_path / "store", frames=True).n_new == 0
    folds = splits.folds(manifest, "speaker")
    answers = [probing.cross_validate(X, manifest, folds).y_pred for X in (mean, both)]
    assert np.array_equal(*answers)


def test_functionals_without_opensmile_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    for name in FUNCTIONALS:
        assert name in encoders.BASELINES
        why = rf"'{name}' needs the package opensmile: .*emolib\[functionals\].* research licence"
        refused(why, name=name)
