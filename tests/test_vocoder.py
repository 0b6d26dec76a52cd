"""Vocoders: lengths, refusals, the original HiFi-GAN's output, and waves that fit their mel-spectrogram."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from samples import refused, speech
from torch import nn
from torch.nn.utils import parametrizations
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

    def __init__(self, config: dict):
        super().__init__()
        self.config, norm = config, parametrizations.weight_norm
        width = config["upsample_initial_channel"]
        self.conv_pre = norm(nn.Conv1d(80, width, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            up = nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(norm(up))
            width //= 2
            sizes = zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True)
            self.resblocks.extend(self._block(width, size, dilations) for size, dilations in sizes)
        self.conv_post = norm(nn.Conv1d(width, 1, 7, padding=3))

    def _block(self, width: int, size: int, dilations: list[int]) -> nn.Module:
        block, stacks = nn.Module(), {"convs1": dilations, "convs2": [1, 1, 1]}
        if self.config["resblock"] == "2":
            stacks = {"convs": dilations}
        for name, steps in stacks.items():
            convs = (nn.Conv1d(width, width, size, dilation=d, padding=(size * d - d) // 2) for d in steps)
            block.add_module(name, nn.ModuleList(map(parametrizations.weight_norm, convs)))
        return block

    def _through(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for convs in zip(*block.children(), strict=True):
            y = x
            for conv in convs:
                y = conv(F.leaky_relu(y, 0.1))
            x = x + y
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, n = self.conv_pre(x), len(self.config["resblock_kernel_sizes"])
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(self._through(block, x) for block in self.resblocks[i * n : i * n + n]) / n
        return torch.tanh(self.conv_post(F.leaky_relu(x)))

    def published_names(self) -> dict[str, torch.Tensor]:
        """Return the tensors as the repository's checkpoints name them."""
        found = {}
        for name, tensor in self.state_dict().items():
            for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
                name = name.replace(f"parametrizations.weight.{new}", old)
            found[name] = tensor
        return found


def original(config: dict, seed: int = 0) -> Original:
    """Return an original generator with weights of an audible scale, gains apart from norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Original(config).eval()
        for name, parameter in network.named_parameters():
            if name.endswith("original0"):
                parameter.data *= 0.6 + 0.8 * torch.rand_like(parameter)
    return network


@pytest.fixture(scope="module")
def log_mel() -> np.ndarray:
    return audio.log_mel(speech(0.6, seed=3, sample_rate=RATE), RATE)


@pytest.fixture(scope="module")
def small() -> vocoder.HiFiGAN:
    return vocoder.HiFiGAN.from_jik876(SMALL, original(SMALL).published_names())


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


def test_what_is_no_log_mel_is_refused(any_vocoder):
    for bad, message in (
        (np.zeros((80, 12)), r"shape \(80, 12\); expected .* 80 bands"),
        (np.zeros(80), r"shape \(80,\)"),
        (np.zeros((0, 80)), r"shape \(0, 80\)"),
        (np.full((4, 80), np.nan), "NaN or infinity"),
    ):
        refused(message, any_vocoder.vocode, bad)


def test_other_units_are_refused(any_vocoder, log_mel):
    decibels, base_10 = log_mel * (20 / np.log(10)), log_mel / np.log(10)
    quiet = np.concatenate([np.full((3, 80), np.log(1e-5), np.float32), log_mel])
    for bad in (decibels, decibels - decibels.max(), decibels + 100):
        refused(r"values from .* expected natural logarithms, from -11\.5 up", any_vocoder.vocode, bad)
    for floor in (1e-5, 1e-10):
        cut = np.maximum(base_10 - 5 * (floor < 1e-5), np.log10(floor))
        cut[:2] = np.log10(floor)
        refused(r"base 10; expected natural .*: multiply it by ln\(10\)", any_vocoder.vocode, cut)
    any_vocoder.vocode(quiet)
    any_vocoder.vocode(quiet - 0.5)


# ------------------------------------------------------------------------------------- Griffin-Lim


def test_the_mel_scale_beats_the_pseudo_inverse(log_mel):
    wave = speech(0.6, seed=3, sample_rate=RATE)
    classic, mel = (made().vocode(log_mel) for made in (vocoder.GriffinLim, vocoder.MelGriffinLim))
    assert quality.log_mel_l1(wave, mel, RATE) < 0.8 * quality.log_mel_l1(wave, classic, RATE)
    assert quality.mel_cepstral_distortion(wave, mel, RATE) < 1


def test_more_iterations_fit_better(log_mel):
    start = phase.noise_for(log_mel)
    waves = [phase.fit_to_mel(start, log_mel, n_iter=n_iter) for n_iter in (0, 5, 20, 60)]
    errors = [np.abs(audio.log_mel(wave, RATE) - log_mel).mean() for wave in waves]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1


def test_a_wave_that_fits_is_left_alone(log_mel):
    wave = speech(0.6, seed=3, sample_rate=RATE)[: 256 * len(log_mel)]
    log_mel = audio.log_mel(wave, RATE)
    assert np.array_equal(phase.fit_to_mel(wave, log_mel, n_iter=0), wave)
    np.testing.assert_allclose(phase.fit_to_mel(wave, log_mel, n_iter=5), wave, atol=1e-3)


def test_noise_to_start_from_ends_at_the_highest_band():
    noise = phase.noise_for(np.zeros((50, 80)))
    power = np.abs(np.fft.rfft(noise)) ** 2
    above = np.fft.rfftfreq(len(noise), 1 / RATE) > 8_050
    assert power[above].sum() < 1e-6 * power.sum()


def test_what_can_not_be_fitted_is_refused(log_mel):
    refused("100 samples for 51 frames", phase.fit_to_mel, np.zeros(100, np.float32), log_mel, n_iter=1)
    wave = np.zeros(256 * len(log_mel), np.float32)
    refused("n_iter -1", vocoder.GriffinLim, n_iter=-1)
    refused("power 2", phase.fit_to_mel, wave, log_mel, audio.EMOGEN_MEL, n_iter=1)


# ------------------------------------------------------------------------------------- the original's files


@pytest.mark.parametrize("config", [V1, V2, V3], ids=["V1", "V2", "V3"])
def test_converted_generators_give_the_original_output(config: dict):
    network = original(config)
    frames = np.random.default_rng(0).normal(-5, 2, (10, 80)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames.T.copy())[None])[0, 0].numpy()
    assert expected.std() > 1e-3  # else anything would agree
    made = vocoder.HiFiGAN.from_jik876(config, {"generator": network.published_names()})
    np.testing.assert_allclose(made.vocode(frames), expected, atol=1e-5)


def test_a_checkpoint_is_read_from_its_files_and_in_any_spelling(small, log_mel, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    torch.save({"generator": original(SMALL).published_names()}, tmp_path / "g_02500000")
    plain = {name.replace("upsampler.", "ups."): value for name, value in small.network.state_dict().items()}
    for config, tensors in (
        (tmp_path / "config.json", tmp_path / "g_02500000"),
        (SMALL, original(SMALL).state_dict()),
        (SMALL, plain),
    ):
        made = vocoder.HiFiGAN.from_jik876(config, tensors)
        assert np.array_equal(made.vocode(log_mel), small.vocode(log_mel))


class Trap:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("sprung"),)


def test_a_checkpoint_can_not_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Trap()}, tmp_path / "g_evil")
    refused("no checkpoint of plain tensors", vocoder.HiFiGAN.from_jik876, SMALL, tmp_path / "g_evil")
    assert not (tmp_path / "sprung").exists()


def test_what_does_not_belong_together_is_refused(tmp_path):
    tensors = original(SMALL).published_names()
    for config, weights, message in (
        (V3, tensors, "isn't a generator of this configuration"),
        ({**SMALL, "hop_size": 200}, tensors, "hop_size 200"),
        ({k: v for k, v in SMALL.items() if k != "upsample_rates"}, tensors, "without upsample_rates"),
        ({**SMALL, "resblock": "3"}, tensors, "resblock '3'"),
        (tmp_path / "missing.json", tensors, "no HiFi-GAN configuration"),
        (SMALL, tmp_path / "missing", "no checkpoint of plain tensors"),
    ):
        refused(message, vocoder.HiFiGAN.from_jik876, config, weights)


# ------------------------------------------------------------------------------------- folders and names


def test_a_saved_vocoder_comes_back_bit_equal(log_mel, tmp_path):
    for config in (SMALL, {**V3, "upsample_initial_channel": 16}):
        made = vocoder.HiFiGAN.from_jik876(config, original(config).published_names())
        folder = made.save(tmp_path / config["resblock"])
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
        for again in (vocoder.HiFiGAN.load(folder), vocoder.load(str(folder))):
            assert np.array_equal(again.vocode(log_mel), made.vocode(log_mel))
    network = SpeechT5HifiGan.from_pretrained(tmp_path / "1")
    with torch.inference_mode():
        wave = network(torch.from_numpy(log_mel)).numpy()
    np.testing.assert_allclose(wave, vocoder.HiFiGAN.load(tmp_path / "1").vocode(log_mel), atol=1e-6)


def test_refinement_brings_the_mel_nearer(small, log_mel):
    errors = [np.abs(audio.log_mel(small.vocode(log_mel, refine=n), RATE) - log_mel).mean() for n in (0, 10)]
    assert errors[1] < 0.5 * errors[0]


def test_names_lead_to_vocoders(small, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert type(vocoder.load("griffin-lim")) is vocoder.GriffinLim
    assert type(vocoder.load("mel-griffin-lim")) is vocoder.MelGriffinLim
    assert type(vocoder.load()) is vocoder.MelGriffinLim
    refused("unknown vocoder 'hifigan-nano'", vocoder.load, "hifigan-nano")
    small.save(tmp_path / "models" / "hifigan-nano")
    assert isinstance(vocoder.load("hifigan-nano"), vocoder.HiFiGAN)
    assert isinstance(vocoder.load(), vocoder.HiFiGAN)


def test_a_broken_folder_is_refused(small, tmp_path):
    def complaint(name: str) -> str:
        with pytest.raises(ValueError, match="holds no usable HiFi-GAN vocoder") as caught:
            vocoder.load(str(tmp_path / name))
        return str(caught.value)

    small.save(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\x00" * 40)
    complaint("cut")
    small.save(tmp_path / "lacking")
    weights = load_file(tmp_path / "lacking" / "model.safetensors")
    weights.pop("conv_pre.bias")
    save_file(weights, tmp_path / "lacking" / "model.safetensors")
    assert "conv_pre.bias" in complaint("lacking")
    small.save(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"model_type": "wav2vec2"}')
    assert "'wav2vec2' model" in complaint("other")
    (tmp_path / "other" / "model.safetensors").unlink()
    complaint("other")


def test_an_unknown_mel_is_refused(small, tmp_path):
    folder = small.save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    stated = {k: v for k, v in config.items() if k not in ("n_fft", "fmin", "fmax")}
    (folder / "config.json").write_text(json.dumps({**stated, "sampling_rate": 16_000}))
    refused("16000 Hz without n_fft, fmin and fmax", vocoder.load, str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "sampling_rate": 16_000, "fmax": 7_600}))
    assert vocoder.load(str(folder)).spec == audio.MelSpec(16_000, 1024, 256, 80, 0, 7_600)
