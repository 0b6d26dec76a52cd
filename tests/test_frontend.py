"""The front end as matrix products, held against transformers' own."""

import numpy as np
import pytest
import torch
import transformers
from samples import TINY, save_model, speech

from emolib.frontend import FourierConv, FrontEnd

KINDS = {
    "group": {},
    "group and bias": {"conv_bias": True},
    "layer": {"feat_extract_norm": "layer"},
    "layer and bias": {"feat_extract_norm": "layer", "conv_bias": True},
}


@pytest.fixture(scope="module", params=KINDS)
def extractor(request, tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("model"), **KINDS[request.param])
    return transformers.AutoModel.from_pretrained(folder).eval().feature_extractor


@torch.inference_mode()
def reference(extractor, wave):
    return extractor(torch.from_numpy(wave)[None])[0].T


def relative_error(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize("n_samples", [400, 401, 719, 720, 721, 8_003, 16_000])
def test_equals_transformers(extractor, n_samples):
    wave = speech(1.0, seed=n_samples)[:n_samples]
    ours = FrontEnd(extractor)(torch.from_numpy(wave))
    theirs = reference(extractor, wave)
    assert ours.shape == theirs.shape
    assert (
        relative_error(ours, theirs) < 2e-5
    )  # rounding over seven layers; 1.0e-5 on a processor without AVX-512


@pytest.mark.parametrize("gain, offset", [(1e-3, 0.0), (10.0, 0.0), (0.3, 0.5)])
def test_equals_transformers_at_any_level(extractor, gain, offset):
    wave = gain * speech(0.5) + np.float32(offset)
    assert relative_error(FrontEnd(extractor)(torch.from_numpy(wave)), reference(extractor, wave)) < 5e-5


def test_a_slice_of_a_longer_tensor_is_read_from_its_own_start(extractor):
    wave = speech(1.0)
    part = torch.from_numpy(wave)[1_234:9_876]
    assert relative_error(FrontEnd(extractor)(part), reference(extractor, wave[1_234:9_876].copy())) < 1e-5


def test_leaves_the_wave_as_it_was(extractor):
    wave = torch.from_numpy(speech(0.5))
    before = wave.clone()
    FrontEnd(extractor)(wave)
    assert torch.equal(wave, before)


def test_bfloat16_is_close(extractor):
    wave = speech(0.5)
    reduced = FrontEnd(extractor.to(torch.bfloat16), torch.bfloat16)(torch.from_numpy(wave))
    extractor.float()
    assert reduced.dtype == torch.bfloat16
    cosine = torch.cosine_similarity(reduced.float(), reference(extractor, wave), dim=1)
    assert cosine.min() > 0.99


def test_published_geometry(extractor):
    front_end = FrontEnd(extractor)
    assert (front_end.receptive_field, front_end.hop) == (400, 320)  # 25 ms and 20 ms at 16 kHz


def test_frames_tells_the_actual_number(extractor):
    front_end = FrontEnd(extractor)
    assert [front_end.frames(n) for n in (0, 1, 399)] == [0, 0, 0]
    wave = torch.randn(2_000)
    for n_samples in [400, *range(401, 2_000, 13), 719, 720, 1_039, 1_040]:
        assert len(front_end(wave[:n_samples])) == front_end.frames(n_samples), n_samples


def test_a_kernel_that_its_stride_does_not_divide():
    config = transformers.Wav2Vec2Config(
        **TINY | {"conv_dim": (8, 8, 8), "conv_kernel": (7, 5, 3), "conv_stride": (3, 2, 2)}
    )
    extractor = transformers.Wav2Vec2Model(config).eval().feature_extractor
    wave = speech(0.1)
    ours = FrontEnd(extractor)
    assert (ours.hop, ours.receptive_field) == (12, 7 + 4 * 3 + 2 * 6)
    assert relative_error(ours(torch.from_numpy(wave)), reference(extractor, wave)) < 1e-5


@pytest.mark.parametrize("kernel", [1, 7, 16, 128])
@pytest.mark.parametrize("n_frames", [1, 2, 17, 130, 300])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_spectra_give_the_same_convolution(kernel, n_frames, bias):
    torch.manual_seed(kernel + n_frames)
    conv = torch.nn.Conv1d(12, 24, kernel, padding=kernel // 2, groups=3, bias=bias)
    frames = torch.randn(2, 12, n_frames)
    expected, ours = conv(frames), FourierConv(conv)(frames)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < 1e-5
    assert FourierConv(conv)(frames.bfloat16()).dtype == torch.bfloat16
