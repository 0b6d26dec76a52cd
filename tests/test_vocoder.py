"""Vocoders: lengths, refusals, the original HiFi-GAN's output, and waves that fit their mel-spectrogram."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from samples import refused, speech
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from transformers import SpeechT5HifiGan

from emolib import audio, paths, phase, quality, vocoder
from emolib.audio import HIFIGAN_MEL

RATE = HIFIGAN_MEL.sample_rate
MEL = {"num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0,
       "fmax": 8000, "fmax_for_loss": None}  # fmt: skip
LONG = {"resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3}
#: The published configurations; the universal generator is V1, trained on more speech.
V1 = {"resblock": "1", "upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4],
      "upsample_initial_channel": 512, **LONG, **MEL}  # fmt: skip
V2 = {**V1, "upsample_initial_channel": 128}
V3 = {"resblock": "2", "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
      "upsample_initial_channel": 256, "resblock_kernel_sizes": [3, 5, 7],
      "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]], **MEL}  # fmt: skip
SMALL = {**V2, "upsample_initial_channel": 16, "resblock_kernel_sizes": [3],
         "resblock_dilation_sizes": [[1, 3, 5]]}  # fmt: skip


class Original(nn.Module):
    """What the generator of the published repository computes, written from the paper's description."""

    def __init__(self, config: dict, norm: Callable[[nn.Module], nn.Module]):
        super().__init__()
        width, self.n_kernels = config["upsample_initial_channel"], len(config["resblock_kernel_sizes"])
        self.conv_pre = norm(nn.Conv1d(80, width, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            up = nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(norm(up))
            width //= 2
            sizes = zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True)
            for size, dilations in sizes:
                stacks = {"convs1": dilations, "convs2": [1, 1, 1]}
                stacks = {"convs": dilations} if config["resblock"] == "2" else stacks
                block = nn.ModuleDict()
                for name, steps in stacks.items():
                    convs = [nn.Conv1d(width, width, size, dilation=d, padding="same") for d in steps]
                    block[name] = nn.ModuleList(map(norm, convs))
                self.resblocks.append(block)
        self.conv_post = norm(nn.Conv1d(width, 1, 7, padding=3))

    def _through(self, block: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
        for convs in zip(*block.values(), strict=True):
            y = x
            for conv in convs:
                y = conv(F.leaky_relu(y, 0.1))
            x = x + y
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, n = self.conv_pre(x), self.n_kernels
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(self._through(block, x) for block in self.resblocks[i * n : i * n + n]) / n
        return torch.tanh(self.conv_post(F.leaky_relu(x)))


def original(config: dict, norm: Callable[[nn.Module], nn.Module] = weight_norm) -> Original:
    """Return an original generator with weights of an audible scale, gains apart from norms."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the published spelling is torch's former one
        torch.manual_seed(0)
        network = Original(config, norm).eval()
        for name, parameter in network.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.data *= 0.6 + 0.8 * torch.rand_like(parameter)
    return network


def converted(folder: Path, config: dict, tensors: dict) -> vocoder.HiFiGAN:
    """Write the files of an original generator, and read them."""
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(tensors, folder / "g_02500000")
    return vocoder.HiFiGAN.from_jik876(folder / "config.json", folder / "g_02500000")


@pytest.fixture(scope="module")
def log_mel() -> np.ndarray:
    return audio.log_mel(speech(0.6, seed=3, sample_rate=RATE), RATE)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> vocoder.HiFiGAN:
    return converted(tmp_path_factory.mktemp("original"), SMALL, {"generator": original(SMALL).state_dict()})


VOCODERS = [vocoder.GriffinLim(n_iter=3), vocoder.MelGriffinLim(n_iter=3), "small"]


@pytest.fixture(params=VOCODERS, ids=["griffin-lim", "mel-griffin-lim", "hifigan"])
def any_vocoder(request, small) -> vocoder.Vocoder:
    return small if request.param == "small" else request.param


# ------------------------------------------------------------------------------------- all vocoders


def test_a_wave_has_a_hop_for_each_frame(any_vocoder, log_mel):
    assert any_vocoder.sample_rate == RATE and any_vocoder.spec == HIFIGAN_MEL
    for n_frames in (1, 2, 7, len(log_mel)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wave = any_vocoder.vocode(log_mel[:n_frames])
        assert wave.shape == (256 * n_frames,) and wave.dtype == np.float32 and np.isfinite(wave).all()
    before = log_mel.copy()
    assert np.array_equal(any_vocoder.vocode(log_mel), any_vocoder.vocode(log_mel))
    assert np.array_equal(log_mel, before)


def test_what_is_no_log_mel_is_refused(any_vocoder, log_mel):
    decibels, base_10 = log_mel * (20 / np.log(10)), log_mel / np.log(10)
    cut = {floor: np.maximum(base_10 + 5 + floor, floor) for floor in (-5, -10)}
    for floor, frames in cut.items():
        frames[:2] = floor
    logarithms, base = (
        r"values from .* expected natural logarithms, from -11\.5 up",
        r"multiply it by ln\(10\)",
    )
    for bad, message in (
        (np.zeros((80, 12)), r"shape \(80, 12\); expected .* 80 bands"), (np.zeros(80), r"shape \(80,\)"),
        (np.zeros((0, 80)), r"shape \(0, 80\)"), (np.full((4, 80), np.nan), "NaN or infinity"),
        (decibels, logarithms), (decibels - decibels.max(), logarithms), (decibels + 100, logarithms),
        *((frames, f"base 10; expected natural .*: {base}") for frames in cut.values()),
    ):  # fmt: skip
        refused(message, any_vocoder.vocode, bad)
    quiet = np.concatenate([np.full((3, 80), np.log(1e-5), np.float32), log_mel])
    any_vocoder.vocode(quiet)
    any_vocoder.vocode(quiet - 0.5)


# ------------------------------------------------------------------------------------- Griffin-Lim


def test_the_mel_scale_beats_the_pseudo_inverse(log_mel):
    wave = speech(0.6, seed=3, sample_rate=RATE)
    classic, mel = (made().vocode(log_mel) for made in (vocoder.GriffinLim, vocoder.MelGriffinLim))
    assert quality.log_mel_l1(wave, mel, RATE) < 0.8 * quality.log_mel_l1(wave, classic, RATE)
    assert quality.mel_cepstral_distortion(wave, mel, RATE) < 1


def test_a_wave_that_fits_is_left_alone(log_mel):
    wave = speech(0.6, seed=3, sample_rate=RATE)[: 256 * len(log_mel)]
    log_mel = audio.log_mel(wave, RATE)
    assert np.array_equal(phase.fit_to_mel(wave, log_mel, n_iter=0), wave)
    np.testing.assert_allclose(phase.fit_to_mel(wave, log_mel, n_iter=5), wave, atol=1e-3)
    refused("power 2", phase.fit_to_mel, wave, log_mel, audio.EMOGEN_MEL, n_iter=1)
    refused("100 samples for 51 frames", phase.fit_to_mel, wave[:100], log_mel, n_iter=1)
    refused("n_iter -1", vocoder.GriffinLim, n_iter=-1)


def test_noise_to_start_from_ends_at_the_highest_band():
    noise = phase.noise_for(np.zeros((50, 80)))
    power = np.abs(np.fft.rfft(noise)) ** 2
    above = np.fft.rfftfreq(len(noise), 1 / RATE) > 8_050
    assert power[above].sum() < 1e-6 * power.sum()


# ------------------------------------------------------------------------------------- the original's files


def test_converted_generators_give_the_original_output(tmp_path):
    frames = np.random.default_rng(0).normal(-5, 2, (10, 80)).astype(np.float32)
    for config in (V1, V2, V3):
        network = original(config)
        with torch.inference_mode():
            expected = network(torch.from_numpy(frames.T.copy())[None])[0, 0].numpy()
        assert expected.std() > 1e-3  # else anything would agree
        made = converted(tmp_path, config, {"generator": network.state_dict()})
        np.testing.assert_allclose(made.vocode(frames), expected, atol=1e-5)


def test_a_checkpoint_is_read_in_any_spelling(small, log_mel, tmp_path):
    plain = {name.replace("upsampler.", "ups."): value for name, value in small.network.state_dict().items()}
    for tensors in (original(SMALL, parametrizations.weight_norm).state_dict(), plain):
        assert np.array_equal(converted(tmp_path, SMALL, tensors).vocode(log_mel), small.vocode(log_mel))


class Trap:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("sprung"),)


def test_what_is_no_original_generator_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = original(SMALL).state_dict()
    lacking = {name: value for name, value in SMALL.items() if name != "upsample_rates"}
    for config, held, message in (
        (V3, tensors, "isn't a generator of this configuration"),
        (SMALL | {"hop_size": 200}, tensors, "hop_size 200"),
        (SMALL | {"resblock": "3"}, tensors, "resblock '3'"),
        (lacking, tensors, "no configuration .*upsample_rates"),
        (SMALL, {"generator": Trap()}, "no checkpoint of plain tensors"),
    ):  # fmt: skip
        refused(message, converted, tmp_path, config, held)
    assert not Path("sprung").exists()
    absent, there = tmp_path / "absent", tmp_path / "config.json"
    refused("absent: no configuration of a HiFi-GAN", vocoder.HiFiGAN.from_jik876, absent, absent)
    refused("absent: no checkpoint of plain tensors", vocoder.HiFiGAN.from_jik876, there, absent)


# ------------------------------------------------------------------------------------- folders and names


def test_a_saved_vocoder_comes_back_bit_equal(log_mel, tmp_path):
    for config in (SMALL, {**V3, "upsample_initial_channel": 16}):
        made = converted(tmp_path, config, original(config).state_dict())
        folder = made.save(tmp_path / config["resblock"])
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
        for again in (vocoder.HiFiGAN.load(folder), vocoder.load(str(folder))):
            assert np.array_equal(again.vocode(log_mel), made.vocode(log_mel))
    network = SpeechT5HifiGan.from_pretrained(tmp_path / "1")
    with torch.inference_mode():
        wave = network(torch.from_numpy(log_mel)).numpy()
    np.testing.assert_allclose(wave, vocoder.HiFiGAN.load(tmp_path / "1").vocode(log_mel), atol=1e-6)


def test_more_refinement_brings_the_mel_nearer(small, log_mel):
    waves = [small.vocode(log_mel, refine=n) for n in (0, 5, 20, 60)]
    errors = [np.abs(audio.log_mel(wave, RATE) - log_mel).mean() for wave in waves]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1


def test_names_lead_to_vocoders(small, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    names = {"griffin-lim": vocoder.GriffinLim, "mel-griffin-lim": vocoder.MelGriffinLim}
    assert {name: type(vocoder.load(name)) for name in names} == names
    assert type(vocoder.load()) is vocoder.MelGriffinLim
    refused("unknown vocoder 'hifigan-nano'", vocoder.load, "hifigan-nano")
    small.save(tmp_path / "models" / "hifigan-nano")
    assert {type(vocoder.load(name)) for name in ("hifigan-nano", "default")} == {vocoder.HiFiGAN}


def test_a_broken_folder_is_refused(small, tmp_path):
    weights = load_file(small.save(tmp_path / "lacking") / "model.safetensors")
    weights.pop("conv_pre.bias")
    save_file(weights, tmp_path / "lacking" / "model.safetensors")
    (small.save(tmp_path / "cut") / "model.safetensors").write_bytes(b"\x00" * 40)
    (small.save(tmp_path / "absent") / "model.safetensors").unlink()
    (small.save(tmp_path / "other") / "config.json").write_text('{"model_type": "wav2vec2"}')
    for name, why in {
        "lacking": "conv_pre.bias",
        "cut": "",
        "absent": "",
        "other": "'wav2vec2' model",
    }.items():
        refused(f"holds no usable HiFi-GAN vocoder: .*{why}", vocoder.load, str(tmp_path / name))


def test_an_unknown_mel_is_refused(small, tmp_path):
    folder = small.save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    stated = {k: v for k, v in config.items() if k not in ("n_fft", "fmin", "fmax")}
    (folder / "config.json").write_text(json.dumps({**stated, "sampling_rate": 16_000}))
    refused("16000 Hz without n_fft, fmin and fmax", vocoder.load, str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "sampling_rate": 16_000, "fmax": 7_600}))
    assert vocoder.load(str(folder)).spec == audio.MelSpec(16_000, 1024, 256, 80, 0, 7_600)
