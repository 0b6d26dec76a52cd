"""Hooks along an axis: 0 changes no bit, each operator does what it says, in every family of networks.

And axes in a file that other programs for control vectors read.
"""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import transformers
from samples import TINY, refused, speech, w2v_bert, whisper
from test_encoders import emotion2vec_weights

from emolib import encoders
from emolib.axis import OPERATORS, EmotionAxis, apply_axes, hooks, read_gguf, write_gguf

RATE, WAVES = 16_000, [speech(0.9, 1), speech(0.3, 2), speech(0.9, 3)]
SPEECH_MODELS = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "wav2vec2-conformer",
)  # fmt: skip
TTS = {"hidden_size": 16, "speaker_embedding_size": 4}


def axis_of(width: int, seed: int = 0, **provenance: object) -> EmotionAxis:
    rng = np.random.default_rng(seed)
    y = np.repeat(["calm", "angry"], 20)
    X = rng.normal(size=(40, width)) + np.outer(y == "angry", rng.normal(size=width))
    return EmotionAxis("calm", "angry", "mean-difference").fit(X, y, provenance=provenance)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, model_folder) -> dict[str, str]:
    """Tiny saved encoders, one of each family."""
    made = {kind: str(model_folder(kind)) for kind in SPEECH_MODELS}
    made |= {name: str(tmp_path_factory.mktemp(name)) for name in ("w2v-bert", "whisper", "emotion2vec")}
    torch.save({"model": emotion2vec_weights()}, f"{made['emotion2vec']}/model.pt")
    for name, model, extractor in (
        ("w2v-bert", w2v_bert(), transformers.SeamlessM4TFeatureExtractor()),
        ("whisper", whisper(), transformers.WhisperFeatureExtractor()),
    ):
        model.save_pretrained(made[name])
        extractor.save_pretrained(made[name])
    return made


def bare_networks() -> Iterator[tuple[torch.nn.Module, dict[str, torch.Tensor], str]]:
    """Yield untrained networks of transformers, an input, and the name of their list of blocks."""
    torch.manual_seed(0)
    wave = {"input_values": torch.randn(2, 8_000)}
    for kind in SPEECH_MODELS:
        config = transformers.AutoConfig.for_model(kind, **TINY | {"num_conv_pos_embeddings": 5})
        yield transformers.AutoModel.from_config(config), wave, "encoder.layers"
    yield transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**TINY)), wave, "wav2vec2.encoder.layers"
    yield w2v_bert(), {"input_features": torch.randn(2, 30, 160)}, "encoder.layers"
    features, start = torch.randn(1, 80, 3000), torch.tensor([[1]])
    yield whisper(), {"input_features": features, "decoder_input_ids": start}, "model.encoder.layers"
    yield whisper().model.encoder, {"input_features": features}, "layers"
    tokens = {"input_ids": torch.tensor([[1, 2, 3, 4, 5, 6]])}
    vits = transformers.VitsConfig(
        vocab_size=9, num_hidden_layers=2, num_attention_heads=2, ffn_dim=16, flow_size=16,
        spectrogram_bins=33, upsample_initial_channel=32, upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=2, prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=2, depth_separable_num_layers=1, **TTS,
    )  # fmt: skip
    yield transformers.VitsModel(vits), tokens, "text_encoder.encoder.layers"
    fastspeech = transformers.FastSpeech2ConformerConfig(
        vocab_size=9, hidden_size=16, encoder_layers=2, decoder_layers=1, encoder_linear_units=16,
        decoder_linear_units=16, duration_predictor_channels=8, energy_predictor_channels=8,
        pitch_predictor_channels=8, speech_decoder_postnet_units=8, speech_decoder_postnet_layers=2,
        num_mel_bins=20,
    )  # fmt: skip
    yield transformers.FastSpeech2ConformerModel(fastspeech), tokens, "encoder.conformer_layers"
    speecht5 = transformers.SpeechT5Config(
        vocab_size=9, hidden_size=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, speech_decoder_prenet_units=16,
        speech_decoder_postnet_units=16, speech_decoder_postnet_layers=2, num_mel_bins=20,
        speaker_embedding_dim=8,
    )  # fmt: skip
    given = tokens | {"decoder_input_values": torch.randn(1, 7, 20), "speaker_embeddings": torch.randn(1, 8)}
    speaker = transformers.SpeechT5ForTextToSpeech(speecht5)
    yield speaker, given, "speecht5.decoder.wrapped_decoder.layers"


def hooked(network: torch.nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules())


def moved(axis: EmotionAxis, frames: np.ndarray, strength: np.ndarray | float, operator: str) -> np.ndarray:
    """Return what an operator makes of frames, (..., D), written anew in float64."""
    h, s = frames.astype(np.float64), np.asarray(strength, np.float64)[..., None]
    u = axis.direction_
    if operator == "add":
        return h + s * axis.scale_ * u
    if operator == "project_out":
        return h - s * ((h - axis.centre_) @ u)[..., None] * u
    length = np.linalg.norm(h, axis=-1, keepdims=True)
    aside = h - (h @ u)[..., None] * u
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True)
    now = np.arccos((h @ u)[..., None] / length)
    angle = np.clip(now - s * axis.scale_ / length, 0, np.pi)
    return length * (np.cos(angle) * u + np.sin(angle) * aside)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_encoder_is_moved_at_the_layer_and_the_clips_stand_alone(folders, operator):
    for name, folder in folders.items():
        encoder = encoders.load(folder, device="cpu")
        axis, plain = axis_of(encoder.width), encoder.encode(WAVES, RATE)
        with axis.apply(encoder, {2: 0, 0: [0, 0]}, operator=operator):
            unchanged = encoder.encode(WAVES, RATE)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, unchanged, strict=True)), name
        for layer, strength in ((0, 0.7), (2, [1, 0.5, 0]), (4, 0.7)):
            with axis.apply(encoder, {layer: strength}, operator=operator):
                states = encoder.encode(WAVES, RATE)
            for before, after in zip(plain, states, strict=True):
                n = before.shape[1]
                course = np.interp((np.arange(n) + 0.5) / n, [1 / 6, 0.5, 5 / 6], np.resize(strength, 3))
                wanted = moved(axis, before[layer], course, operator)
                np.testing.assert_allclose(after[layer], wanted, atol=1e-4, err_msg=name)
                # batched norms of other layers may round otherwise, but nothing else may differ
                np.testing.assert_allclose(after[:layer], before[:layer], atol=1e-5, err_msg=name)
                assert layer == 4 or np.abs(after[4] - before[4]).max() > 1e-3, name
        assert hooked(encoder.network) == 0


def states_of(network: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """Return what enters the first block of a network, and what each puts out, the hooks there being done."""
    blocks = hooks.find_blocks(network)
    with torch.no_grad(), encoders.inputs_of(blocks, and_output=True) as found:
        torch.manual_seed(0)  # VITS draws its durations
        network.eval()(**inputs)
    return [state.numpy() for state in found]


def test_every_bare_network_is_moved_and_left_as_it_was():
    for network, inputs, name in bare_networks():
        kind = type(network).__name__
        assert dict(network.named_modules())[name] is hooks.find_blocks(network)
        plain = states_of(network, inputs)
        axis = axis_of(plain[0].shape[-1])
        with axis.apply(network, {0: 0, 1: 0.0}, operator="rotate"):
            unchanged = states_of(network, inputs)
        assert all(np.array_equal(a, b) for a, b in zip(plain, unchanged, strict=True)), kind
        for layer in (0, 1):
            with axis.apply(network, {layer: 0.5}):
                states = states_of(network, inputs)
            wanted = plain[layer] + 0.5 * axis.vector_
            np.testing.assert_allclose(states[layer], wanted, atol=1e-5, err_msg=kind)
            assert np.abs(states[2] - plain[2]).max() > 1e-4, kind
        with pytest.raises(RuntimeError, match="stop"), axis.apply(network, {0: 1, 2: 1}):
            assert hooked(network) == 2
            raise RuntimeError("stop")
        assert hooked(network) == 0, kind


def test_several_layers_frames_norms_and_half_precision(folders):
    encoder = encoders.load(folders["wavlm"], device="cpu")
    [plain] = encoder.encode(WAVES[:1], RATE)
    axes = {k: axis_of(encoder.width, seed=k) for k in (1, 3)}
    with apply_axes(encoder, {1: (axes[1], 0.5), 3: (axes[3], -1)}):
        [both] = encoder.encode(WAVES[:1], RATE)
    with axes[1].apply(encoder, {1: 0.5}), axes[3].apply(encoder, {3: -1}):
        [nested] = encoder.encode(WAVES[:1], RATE)
    assert np.array_equal(both, nested)
    np.testing.assert_allclose(both[1], moved(axes[1], plain[1], 0.5, "add"), atol=1e-4)
    n, mask = plain.shape[1], np.arange(10) >= 5
    for frames, chosen in ((slice(3, 9), range(3, 9)), (mask, np.flatnonzero(np.arange(n) * 10 // n >= 5))):
        is_moved = np.isin(np.arange(n), chosen)
        with axes[3].apply(encoder, {4: 2}, frames=frames, keep_norm=True):
            [states] = encoder.encode(WAVES[:1], RATE)
        assert (np.abs(states[4] - plain[4]).max(axis=1) > 0.1).tolist() == is_moved.tolist()
        assert np.array_equal(states[4][~is_moved], plain[4][~is_moved])
        lengths = [np.linalg.norm(frames, axis=1) for frames in (states[4], plain[4])]
        np.testing.assert_allclose(*lengths, rtol=1e-5)
    half = encoders.load(folders["wavlm"], device="cpu", precision="bfloat16")
    with axes[1].apply(half, {2: 0.5}, operator="rotate"):
        assert np.isfinite(half.encode(WAVES[:1], RATE)[0]).all()


def test_a_course_runs_over_the_whole_of_a_long_clip(folders, monkeypatch):
    encoder, wave = encoders.load(folders["whisper"], device="cpu"), speech(5.0)
    monkeypatch.setattr(encoder, "window_s", 1.0)
    monkeypatch.setattr(encoder, "margin_s", 0.2)
    axis, [plain] = axis_of(encoder.width), encoder.encode([wave], RATE)
    with axis.apply(encoder, {3: np.linspace(0, 1, 50)}):
        [states] = encoder.encode([wave], RATE)
    along = (states[3] - plain[3]) @ axis.direction_ / axis.scale_
    np.testing.assert_allclose(along, np.linspace(0, 1, len(along)), atol=0.02)


def test_projecting_out_leaves_nothing_and_rotating_ends_at_the_axis(folders):
    encoder = encoders.load(folders["hubert"], device="cpu")
    axis = axis_of(encoder.width)
    with axis.apply(encoder, {2: 1}, operator="project_out"):
        [states] = encoder.encode(WAVES[:1], RATE)
    np.testing.assert_allclose((states[2] - axis.centre_) @ axis.direction_, 0, atol=1e-5)
    for strength in (1e6, -1e6):
        with axis.apply(encoder, {2: strength}, operator="rotate"):
            [states] = encoder.encode(WAVES[:1], RATE)
        cosines = states[2] @ axis.direction_ / np.linalg.norm(states[2], axis=1)
        np.testing.assert_allclose(cosines, np.sign(strength), atol=1e-5)


def test_what_does_not_fit_is_refused(folders, monkeypatch):
    encoder = encoders.load(folders["wav2vec2"], layers=[3], device="cpu")
    axis = axis_of(encoder.width)

    def apply(model: object, *plan: object, by: EmotionAxis = axis, **options: object) -> None:
        with by.apply(model, *plan, **options):
            encoder.encode(WAVES[:1], RATE)

    for layer in (4, -1):
        refused("expected 0 to 3", apply, encoder, {layer: 1})
    own = {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "layer": 2, "pooling": "mean"}
    apply(encoder, {2: 1}, by=axis_of(encoder.width, **own))
    for changed in ({"layer": 3}, {"fingerprint": "x", "encoder": "y"}, {"pooling": "mean+std"}):
        refused(str([*changed][-1]), apply, encoder, {2: 1}, by=axis_of(encoder.width, **own | changed))
    refused("5 dimensions and hidden states of 32", apply, encoder, {2: 1}, by=axis_of(5))
    refused("unknown operator 'times'", apply, encoder, {2: 1}, operator="times")
    for strength in (np.nan, [], [[1]], [1, np.inf]):
        refused("expected a finite number", apply, encoder, {2: strength})
    for frames in ([1, 2], [[True]]):
        refused("expected a slice, or True and False", apply, encoder, {2: 1}, frames=frames)
    refused("LogMel has no list .* it has none", apply, encoders.load("logmel"), {0: 1})
    small = {"vocab_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    bert = transformers.BertModel(transformers.BertConfig(**small, hidden_size=32))
    refused(r"has no list of blocks that is known; name one .* blocks=: encoder\.layer$", apply, bert, {1: 1})
    refused("has no list of blocks 'layers'", apply, bert, {1: 1}, blocks="layers")
    apply(bert, {1: 1}, blocks="encoder.layer")
    *_, (speecht5, _, _) = bare_networks()
    refused("SpeechT5, which makes one frame at a time", apply, speecht5, {1: [0, 1]}, by=axis_of(16))
    assert hooked(encoder.network) == hooked(bert) == hooked(speecht5) == 0
    monkeypatch.setenv("EMOLIB_HOME", folders["whisper"])
    for _ in range(2):  # the second is known by its note, and loads its network where it is used
        known = encoders.load_deferred(folders["hubert"], layers=[2], device="cpu")
        with axis.apply(known, {2: 1.0}):
            [[after]] = known.encode(WAVES[:1], RATE)
        [[before]] = known.encode(WAVES[:1], RATE)
        np.testing.assert_allclose(after, before + axis.vector_, atol=1e-4)


# ------------------------------------------------------------------------------------- GGUF


def test_axes_come_back_from_gguf_as_they_were(tmp_path):
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    axes = {k: axis_of(12, seed=k, encoder="tiny", layer=k, pooling="mean") for k in (1, 3)}
    read = read_gguf(write_gguf(tmp_path / "axes.gguf", axes))
    X = np.random.default_rng(0).normal(size=(5, 12))
    assert list(read) == [1, 3]
    for layer, axis in axes.items():
        assert read[layer].provenance == axis.provenance and read[layer].get_params() == axis.get_params()
        np.testing.assert_allclose(read[layer].project(X), axis.project(X), atol=1e-5)
        np.testing.assert_allclose(read[layer].shift(X, 0.5), axis.shift(X, 0.5), atol=1e-5)
        np.testing.assert_allclose(read[layer].centre_, axis.centre_)
    other = tmp_path / "x.gguf"
    refused("layer 1 or above", write_gguf, other, {0: axes[1]})
    refused("layer 3; these are of layer 2", write_gguf, other, {2: axes[3]})
    other.write_bytes(b"no such thing")
    refused("is no GGUF file", read_gguf, other)


def test_gguf_is_repengs_layout_both_ways(tmp_path):
    """As ControlVector.export_gguf and import_gguf of repeng 0.5 write and read it."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", 2)
    theirs = {1: np.array([3, 0, 4], np.float32), 2: np.array([0, 1, 0], np.float32)}
    for layer, direction in theirs.items():
        writer.add_tensor(f"direction.{layer}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = read_gguf(tmp_path / "theirs.gguf", "sober", "drunk")
    assert list(read) == [2, 3] and read[2].scale_ == 5  # their blocks count from 0
    np.testing.assert_allclose(read[2].direction_, [0.6, 0, 0.8])
    assert (read[2].source_, read[2].target_, read[2].provenance["layer"]) == ("sober", "drunk", 2)
    np.testing.assert_allclose(read[2].project(np.array([[3.0, 9, 4]])), 1)
    reader = gguf.GGUFReader(write_gguf(tmp_path / "ours.gguf", read))
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert list(found) == ["direction.1", "direction.2"]
    assert all(np.array_equal(found[f"direction.{k}"], theirs[k]) for k in theirs)
    assert all(data.dtype == np.float32 and data.ndim == 1 for data in found.values())
    held = {name: field.contents() for name, field in reader.fields.items()}
    assert held["general.architecture"] == "controlvector"
    assert (held["controlvector.layer_count"], held["controlvector.model_hint"]) == (2, "mistral")


def test_without_the_package_gguf_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused("pip install 'gguf", read_gguf, tmp_path / "axes.gguf")
