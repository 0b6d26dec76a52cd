"""From a log-mel-spectrogram back to a wave: Griffin-Lim, and networks of HiFi-GAN's architecture.

Every vocoder reads a log-mel-spectrogram of natural logarithms, by default `audio.HIFIGAN_MEL` (22,050 Hz, 80
bands, one frame every 256 samples). Another vocoder needs one class with `sample_rate`, `spec` and `vocode`,
as `Vocoder` says; whatever takes a vocoder then takes it.

References
----------
N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA. J. Kong, J. Kim,
J. Bae (2020), "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis",
arXiv:2010.05646; the layout of its checkpoints is that of the repository jik876/hifi-gan. Weight norm:
T. Salimans, D. P. Kingma (2016), arXiv:1602.07868.
"""

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack
from torch import Tensor, nn

from emolib import audio, files, paths, phase
from emolib.audio import HIFIGAN_MEL, MelSpec, Wave
from emolib.files import CONFIG, WEIGHTS
from emolib.training import torch_device

if TYPE_CHECKING:  # takes seconds to import, and Griffin-Lim does without
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

#: The network of models/ that `load` prefers once it has been trained; no weights of it are shipped.
TRAINED = "hifigan-nano"
GRIFFIN_LIM, MEL_GRIFFIN_LIM = "griffin-lim", "mel-griffin-lim"

#: How far a network may fall below the floor, and what no wave in [-1, 1] reaches; natural logarithms.
_BELOW_FLOOR, _HIGHEST = 2.0, 20.0
#: Where others cut their spectrograms off before they take the logarithm to base 10.
_LOG10_FLOORS = (-5.0, -10.0)
_ARCHITECTURE = (
    "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes",
    "resblock_dilation_sizes",
)  # fmt: skip
#: The original's names of what defines the mel-spectrogram, by transformers' and ours.
_MEL = {
    "model_in_dim": "num_mels", "sampling_rate": "sampling_rate", "n_fft": "n_fft", "fmin": "fmin",
    "fmax": "fmax",
}  # fmt: skip


class Vocoder(Protocol):
    """Anything that turns a log-mel-spectrogram into sound."""

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the waves, in Hz."""

    @property
    def spec(self) -> MelSpec:
        """The mel-spectrogram that is read."""

    def vocode(self, log_mel: NDArray[np.float32]) -> Wave:
        """Turn a log-mel-spectrogram, (T, M), into a wave, (T * hop,)."""


@dataclass(frozen=True)
class GriffinLim:
    """The fast Griffin-Lim algorithm: phases by iteration, nothing learned.

    Attributes
    ----------
    n_iter : int
        60 iterations, after which more of them change little.
    spec : MelSpec
    """

    n_iter: int = 60
    spec: MelSpec = HIFIGAN_MEL

    def __post_init__(self) -> None:
        if self.n_iter < 0:
            raise ValueError(f"n_iter {self.n_iter}; expected 0 or more iterations")

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the waves, in Hz."""
        return self.spec.sample_rate

    def vocode(self, log_mel: NDArray[np.float32]) -> Wave:
        """Turn a log-mel-spectrogram into a wave.

        Parameters
        ----------
        log_mel : float32 array, (T, M), natural logarithm

        Returns
        -------
        wave : float32 array, (T * hop,)
            At the level that the spectrogram says; peaks may pass 1.

        Raises
        ------
        ValueError
            If the spectrogram is empty, of another shape, or holds NaN.
        """
        return audio.griffin_lim(check_log_mel(log_mel, self.spec), self.spec, n_iter=self.n_iter)


class MelGriffinLim(GriffinLim):
    """Griffin-Lim on the mel scale, from noise: each iteration corrects the mel bands themselves.

    Nothing learned either; see `emolib.phase`. What a network adds shows beside it.
    """

    def vocode(self, log_mel: NDArray[np.float32]) -> Wave:
        """Turn a log-mel-spectrogram into a wave, as `GriffinLim.vocode` does."""
        log_mel = check_log_mel(log_mel, self.spec)
        start = phase.noise_for(log_mel, self.spec)
        return phase.fit_to_mel(start, log_mel, self.spec, n_iter=self.n_iter)


class HiFiGAN:
    """A HiFi-GAN generator.

    Parameters
    ----------
    network : SpeechT5HifiGan
        As `build` makes it.
    device : str
        ``cpu``, ``cuda``, ``cuda:<n>``; ``auto`` takes CUDA where there is one.

    Attributes
    ----------
    network : SpeechT5HifiGan
    spec : MelSpec
    sample_rate : int, Hz; of the waves
    refine : int; iterations of `phase.fit_to_mel` that follow the network
    """

    def __init__(self, network: "SpeechT5HifiGan", *, device: str = "cpu") -> None:
        self.spec = mel_spec(network.config)
        self.sample_rate = self.spec.sample_rate
        self.refine = int(getattr(network.config, "refine", 0))
        self.network = network.eval().to(torch_device(device))

    @torch.inference_mode()
    def vocode(self, log_mel: NDArray[np.float32], *, refine: int | None = None) -> Wave:
        """Turn a log-mel-spectrogram into a wave.

        Parameters
        ----------
        log_mel : float32 array, (T, M), natural logarithm
        refine : int, optional
            Iterations of `phase.fit_to_mel` that the network's wave goes through; as many as the vocoder's
            configuration says by default, 0 for the network alone.

        Returns
        -------
        wave : float32 array, (T * hop,)
            In [-1, 1] without refinement; with it peaks may pass 1.

        Raises
        ------
        ValueError
            If the spectrogram is empty, of another shape, or holds NaN.
        """
        log_mel = check_log_mel(log_mel, self.spec)
        wave = self.network(torch.from_numpy(log_mel).to(self.network.device)).cpu().numpy()
        n_iter = self.refine if refine is None else refine
        return phase.fit_to_mel(wave, log_mel, self.spec, n_iter=n_iter)

    @classmethod
    def from_jik876(cls, config: str | Path, checkpoint: str | Path, *, device: str = "cpu") -> "HiFiGAN":
        """Convert a generator of the original repository, jik876/hifi-gan: V1, V2, V3 or universal.

        Parameters
        ----------
        config : path
            The configuration's JSON file.
        checkpoint : path
            The generator's tensors, or what holds them as ``generator``; read with ``weights_only=True``, so
            that nothing pickled is run.
        device : str

        Raises
        ------
        ValueError
            If the two don't belong together or can't be read.
        """
        network = build(_original_config(Path(config)))
        plain, n_mels = _original_tensors(Path(checkpoint)), network.config.model_in_dim
        plain |= {"mean": torch.zeros(n_mels), "scale": torch.ones(n_mels)}  # the original doesn't normalise
        try:
            network.load_state_dict(plain)
        except RuntimeError as error:
            told = _line(error)
            raise ValueError(f"{checkpoint} isn't a generator of this configuration: {told}") from None
        return cls(network, device=device)

    def save(self, folder: str | Path, *, half: bool = False) -> Path:
        """Write ``config.json`` and ``model.safetensors`` into a folder and return it.

        Half precision halves the file, and costs about 60 dB of signal to noise.
        """
        dtype = torch.float16 if half else torch.float32
        weights = {k: v.detach().cpu().to(dtype).contiguous() for k, v in self.network.state_dict().items()}
        config = {**self.network.config.to_dict(), "architectures": ["SpeechT5HifiGan"]}
        files.write_file(Path(folder) / WEIGHTS, pack(weights, {"format": "pt"}))
        files.write_file(Path(folder) / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "HiFiGAN":
        """Read a vocoder from a folder, in single precision.

        Raises
        ------
        ValueError
            If a file is missing or broken, or the weights aren't those of the configuration.
        """
        from transformers import SpeechT5HifiGanConfig

        kind = SpeechT5HifiGanConfig.model_type
        try:
            config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
            if config.get("model_type") != kind:
                raise ValueError(f"it is a {config.get('model_type')!r} model; expected {kind}")
            network = build(SpeechT5HifiGanConfig.from_dict(config))
            weights = load_file(Path(folder) / WEIGHTS)
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except (OSError, ValueError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no usable HiFi-GAN vocoder: {_line(error)}") from error
        return cls(network, device=device)


_CLASSIC: dict[str, type[GriffinLim]] = {GRIFFIN_LIM: GriffinLim, MEL_GRIFFIN_LIM: MelGriffinLim}


def load(name: str = "default", *, device: str = "cpu") -> Vocoder:
    """Load a vocoder by name.

    Parameters
    ----------
    name : str
        ``griffin-lim``, ``mel-griffin-lim``, ``hifigan-nano`` or another folder of ``models/``, the path
        of a folder, or ``default``: hifigan-nano where its weights are there, else mel-griffin-lim.
    device : str

    Raises
    ------
    ValueError
        If there is no such vocoder.
    """
    if name == "default":
        name = TRAINED if (paths.model(TRAINED) / WEIGHTS).is_file() else MEL_GRIFFIN_LIM
    if name in _CLASSIC:
        return _CLASSIC[name]()
    named = paths.model(name)
    folder = named if (named / CONFIG).is_file() else Path(name)
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"unknown vocoder {name!r}; expected default, {', '.join(_CLASSIC)}, {TRAINED} where it "
            f"was trained, or a folder with {CONFIG} and {WEIGHTS}"
        )
    return HiFiGAN.load(folder, device=device)


def check_log_mel(log_mel: NDArray[np.float32], spec: MelSpec) -> NDArray[np.float32]:
    """Return a log-mel-spectrogram as float32, (T, M).

    Raises
    ------
    ValueError
        If it has another shape, no frame, holds NaN or infinity, or is not in natural logarithms: decibels go
        beyond the values that there can be; a logarithm to base 10 is known by the floor that it was cut at.
    """
    log_mel = np.ascontiguousarray(log_mel, np.float32)
    if log_mel.ndim != 2 or log_mel.shape[1] != spec.n_mels or len(log_mel) == 0:
        raise ValueError(
            f"a log-mel-spectrogram of shape {log_mel.shape}; expected frames in rows and {spec.n_mels} "
            f"bands in columns, (T, {spec.n_mels})"
        )
    if not np.isfinite(log_mel).all():
        raise ValueError("the log-mel-spectrogram holds NaN or infinity; expected finite natural logarithms")
    low, high, floor = float(log_mel.min()), float(log_mel.max()), float(np.log(spec.floor))
    given = f"a log-mel-spectrogram with values from {low:.1f} to {high:.1f}"
    if low < floor - _BELOW_FLOOR or high > _HIGHEST:
        raise ValueError(
            f"{given}; expected natural logarithms, from {floor:.1f} up: if these are decibels, multiply "
            f"them by ln(10) / {20 // spec.power}, and cut them off at {floor:.1f}"
        )
    is_floor = min(abs(low - known) for known in (np.log10(spec.floor), *_LOG10_FLOORS)) < 1e-4
    if is_floor and low < high and (log_mel == log_mel.min()).sum() > 1:
        raise ValueError(
            f"{given}, which was cut off at 10^{low:.0f} in logarithms to base 10; expected natural "
            f"logarithms: multiply it by ln(10)"
        )
    return log_mel


# ------------------------------------------------------------------------------- HiFi-GAN's network and files


def build(config: "SpeechT5HifiGanConfig") -> "SpeechT5HifiGan":
    """Return an untrained generator; ``config.resblock`` of "2" gives it the residual blocks of V3."""
    from transformers import SpeechT5HifiGan

    network = SpeechT5HifiGan(config)
    if getattr(config, "resblock", "1") == "2":
        sizes, dilations = config.resblock_kernel_sizes, config.resblock_dilation_sizes
        for n in range(len(network.resblocks)):
            stage, k = divmod(n, len(sizes))
            channels = config.upsample_initial_channel // 2 ** (stage + 1)
            network.resblocks[n] = ShortBlock(channels, sizes[k], dilations[k], config.leaky_relu_slope)
    return network.eval()


def mel_spec(config: "SpeechT5HifiGanConfig") -> MelSpec:
    """Return the mel-spectrogram that a generator reads.

    Raises
    ------
    ValueError
        If the configuration states none and isn't at 22,050 Hz either, so that it can't be guessed.
    """
    names = ("n_fft", "fmin", "fmax")
    if not all(hasattr(config, name) for name in names) and config.sampling_rate != HIFIGAN_MEL.sample_rate:
        raise ValueError(
            f"a vocoder at {config.sampling_rate} Hz without n_fft, fmin and fmax in its configuration; its "
            f"mel-spectrogram is unknown: add them, or give a vocoder at {HIFIGAN_MEL.sample_rate} Hz"
        )
    n_fft, fmin, fmax = (getattr(config, name, getattr(HIFIGAN_MEL, name)) for name in names)
    return MelSpec(config.sampling_rate, n_fft, prod(config.upsample_rates), config.model_in_dim, fmin, fmax)


class ShortBlock(nn.Module):
    """A residual block of one convolution a dilation, "ResBlock2" of the original; (B, C, T) to (B, C, T)."""

    def __init__(self, channels: int, kernel_size: int, dilations: list[int], slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size, dilation=d, padding=d * (kernel_size - 1) // 2)
            for d in dilations
        )

    def forward(self, hidden: Tensor) -> Tensor:
        for conv in self.convs:
            hidden = hidden + conv(F.leaky_relu(hidden, self.slope))
        return hidden


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _original_config(path: Path) -> "SpeechT5HifiGanConfig":
    """Translate the original repository's configuration, and check it against itself."""
    from transformers import SpeechT5HifiGanConfig

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        architecture = {name: told[name] for name in _ARCHITECTURE}
        mel = {new: told[old] for new, old in _MEL.items()}
        expected = {
            "hop_size": (prod(told["upsample_rates"]),), "win_size": (told["n_fft"],), "resblock": ("1", "2"),
        }  # fmt: skip
        wrong = [f"{name} {told[name]!r}" for name, allowed in expected.items() if told[name] not in allowed]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no configuration of a HiFi-GAN generator ({error!r})") from None
    if wrong:
        raise ValueError(f"{path}: {', '.join(wrong)}; expected one of {expected}")
    mel["fmax"] = mel["fmax"] or mel["sampling_rate"] / 2
    if told["resblock"] == "1":  # the original reads three dilations of each kernel, whatever is stated
        dilations = architecture["resblock_dilation_sizes"]
        architecture["resblock_dilation_sizes"] = [list(sizes)[:3] for sizes in dilations]
    told = architecture | mel | {"resblock": told["resblock"], "normalize_before": False}
    return SpeechT5HifiGanConfig.from_dict(told)


def _original_tensors(path: Path) -> dict[str, Tensor]:
    """Return the original's plain weights by transformers' names; nothing but tensors is read.

    Weight norm is folded: w = g v / |v|, the norm over all axes but the first. Both of PyTorch's spellings
    are read: ``weight_g`` with ``weight_v``, and ``parametrizations.weight.original0`` with ``original1``.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that isn't one of its own
        raise ValueError(f"{path}: no checkpoint of plain tensors ({_line(error)})") from error
    plain = {}
    for name, tensor in held.get("generator", held).items():
        name = re.sub(r"^ups\.", "upsampler.", name)
        for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
            name = name.replace(f"parametrizations.weight.{new}", old)
        plain[name] = tensor.float()
    for name in [name for name in plain if name.endswith(".weight_v")]:
        gain, direction = plain.pop(f"{name[:-1]}g").double(), plain.pop(name).double()
        norm = direction.flatten(1).norm(dim=1).view(gain.shape)
        plain[name.removesuffix("_v")] = (gain * direction / norm).float()
    return plain
