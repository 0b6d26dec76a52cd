"""From a log-mel-spectrogram back to a wave: Griffin-Lim, and networks of HiFi-GAN's architecture.

The last stage of whatever makes speech. All vocoders read the project's one mel-spectrogram of this kind,
`audio.HIFIGAN_MEL` (22,050 Hz, 80 bands, one frame every 256 samples, natural logarithm).

References
----------
N. Perraudin, P. Balazs, P. Sondergaard (2013), "A fast Griffin-Lim algorithm", WASPAA. J. Kong, J. Kim,
J. Bae (2020), "HiFi-GAN", arXiv:2010.05646.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SpeechT5HifiGan

from emolib import audio, hifigan, paths, phase
from emolib.audio import HIFIGAN_MEL, MelSpec, Wave
from emolib.encoders import torch_device

#: The network of models/ that `load` prefers once it has been trained; no weights of it are shipped.
TRAINED = "hifigan-nano"
GRIFFIN_LIM, MEL_GRIFFIN_LIM = "griffin-lim", "mel-griffin-lim"

#: How far a network may fall below the floor, and what no wave in [-1, 1] reaches; natural logarithms.
_BELOW_FLOOR, _HIGHEST = 2.0, 20.0
#: Where others cut their spectrograms off before they take the logarithm to base 10.
_LOG10_FLOORS = (-5.0, -10.0)


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
        As `emolib.hifigan` builds and reads it.
    device : str
        ``cpu``, ``cuda``, ``cuda:<n>``; ``auto`` takes CUDA where there is one.

    Attributes
    ----------
    network : SpeechT5HifiGan
    spec : MelSpec
    refine : int; iterations that follow the network
    """

    def __init__(self, network: SpeechT5HifiGan, *, device: str = "cpu") -> None:
        self.spec = hifigan.mel_spec(network.config)
        self.refine = int(getattr(network.config, "refine", 0))
        self.network = network.eval().to(torch_device(device))

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the waves, in Hz."""
        return self.spec.sample_rate

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
    def from_jik876(
        cls,
        config: Mapping[str, Any] | str | Path,
        state_dict: Mapping[str, Any] | str | Path,
        *,
        device: str = "cpu",
    ) -> "HiFiGAN":
        """Convert a generator of the original repository, jik876/hifi-gan: V1, V2, V3 or universal.

        Parameters
        ----------
        config : mapping or path
            The configuration, or its JSON file.
        state_dict : mapping or path
            The generator's tensors or the checkpoint that holds them as ``generator``; a file is read with
            ``weights_only=True``, so that nothing pickled is run.
        device : str

        Raises
        ------
        ValueError
            If the two don't belong together or can't be read.
        """
        if isinstance(config, str | Path):
            config = hifigan.read_config(Path(config))
        if isinstance(state_dict, str | Path):
            state_dict = hifigan.read_tensors(Path(state_dict))
        return cls(hifigan.convert(config, state_dict), device=device)

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors`` into a folder and return it."""
        hifigan.save_network(self.network, Path(folder))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "HiFiGAN":
        """Read a vocoder from a folder.

        Raises
        ------
        ValueError
            If the folder holds none that is whole.
        """
        return cls(hifigan.load_network(Path(folder)), device=device)


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
        name = TRAINED if (paths.model(TRAINED) / hifigan.WEIGHTS).is_file() else MEL_GRIFFIN_LIM
    if name in _CLASSIC:
        return _CLASSIC[name]()
    named = paths.model(name)
    folder = named if (named / hifigan.CONFIG).is_file() else Path(name)
    if not (folder / hifigan.CONFIG).is_file():
        raise ValueError(
            f"unknown vocoder {name!r}; expected default, {', '.join(_CLASSIC)}, {TRAINED} where it "
            f"was trained, or a folder with {hifigan.CONFIG} and {hifigan.WEIGHTS}"
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
