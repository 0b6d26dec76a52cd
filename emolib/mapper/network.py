"""The mapper: a linear part fitted in closed form, and residual dilated convolutions that mend what it lacks.

Frames are standardised, a stack of blocks runs at the encoder's rate, the result is interpolated at the exact
places of the mel frames, a second stack runs there, and what comes out is added to the linear part's answer.
Without blocks, the linear part is the whole mapper: the baseline that `emolib.mapper.linear` fits.

References
----------
Residual stacks of dilated convolutions: A. van den Oord et al. (2016), "WaveNet: A Generative Model for Raw
Audio", arXiv:1609.03499. Speech from self-supervised features: A. Polyak et al. (2021), "Speech Resynthesis
from Discrete Disentangled Self-Supervised Representations", arXiv:2104.00355.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib import audio, folders
from emolib.encoders import Encoder
from emolib.mapper.alignment import align, check_hop, mel_frames, positions, shifted
from emolib.mapper.pairs import LEVEL_DBFS, Mel, at_level
from emolib.mapper.settings import Settings, from_stored

_KIND = "mapper"


class _Block(nn.Module):
    """A dilated convolution of three taps as one matrix product, after a norm and around a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.taps = (-dilation, 0, dilation)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(hidden) * mask  # what lies outside the clip must look as it does at its ends
        return hidden + self.out(nn.functional.gelu(self.mix(shifted(normed, self.taps))))


class Network(nn.Module):
    """Frames, (B, T, D), to mel frames, (B, M, 80), at `LEVEL_DBFS`.

    Parameters
    ----------
    n_features : int, D
    settings : Settings
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_features: int, settings: Settings) -> None:
        super().__init__()
        width, n_mels = settings.width, audio.HIFIGAN_MEL.n_mels
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("deviation", torch.ones(n_features))
        reach = settings.context // 2
        self.offsets = tuple(range(-reach, reach + 1))
        self.linear = nn.Linear(settings.context * n_features, n_mels)
        self.residual = bool(settings.slow_dilations or settings.fast_dilations)
        if self.residual:
            self.enter = nn.Linear(n_features, width)
            self.slow = nn.ModuleList(_Block(width, d) for d in settings.slow_dilations)
            self.phase = nn.Linear(3, width)
            self.fast = nn.ModuleList(_Block(width, d) for d in settings.fast_dilations)
            self.norm = nn.LayerNorm(width)
            self.leave = nn.Linear(width, n_mels)
            nn.init.zeros_(self.leave.weight)  # training starts at the linear part's answer
            nn.init.zeros_(self.leave.bias)

    def standardise(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Return frames of zero mean and unit deviation, and zeros outside the clip."""
        return (frames - self.mean) / self.deviation * inside

    def forward(self, frames: Tensor, places: Tensor, inside: Tensor, mel_inside: Tensor) -> Tensor:
        """Map frames, (B, T, D), to mel frames, (B, M, 80).

        Parameters
        ----------
        frames : (B, T, D)
        places : (B, M); of the mel frames among the frames, none beyond the clip's ends
        inside, mel_inside : (B, T, 1) and (B, M, 1); 1 within the clip, 0 beyond its ends
        """
        frames = self.standardise(frames, inside)
        answer = align(self.linear(shifted(frames, self.offsets)).float(), places)
        if not self.residual:
            return answer
        hidden = self.enter(frames).float()
        for block in self.slow:
            hidden = block(hidden, inside)
        turn = 2 * torch.pi * (places - places.floor())
        phase = torch.stack([places - places.floor(), turn.cos(), turn.sin()], dim=-1)
        hidden = align(hidden, places) + self.phase(phase.to(hidden.dtype))
        for block in self.fast:
            hidden = block(hidden, mel_inside)
        return answer + self.leave(self.norm(hidden)).float()


class Mapper:
    """A trained map from one layer of one encoder to HiFi-GAN's mel-spectrogram.

    Parameters
    ----------
    network : Network
    settings : Settings
    provenance : dict
        encoder, fingerprint, layer, corpus, speakers (those trained on), n, and what training adds.
    """

    def __init__(self, network: Network, settings: Settings, provenance: dict[str, Any]) -> None:
        self.network, self.settings = network.eval(), settings
        self.provenance = dict(provenance)

    def __repr__(self) -> str:
        kind = "Mapper" if self.network.residual else "linear Mapper"
        return f"{kind}({self.encoder}, layer {self.layer}, {self.width} features)"

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return str(self.provenance["encoder"])

    @property
    def layer(self) -> int:
        """The layer whose frames are mapped."""
        return int(self.provenance["layer"])

    @property
    def width(self) -> int:
        """The number of features of a frame, D."""
        return len(self.network.mean)

    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ValueError unless an encoder gives the frames that this mapper was trained on."""
        check_hop(encoder.hop_s, encoder.name)
        if encoder.fingerprint != self.provenance["fingerprint"] or self.layer not in encoder.layers:
            raise ValueError(
                f"encoder {encoder.name!r} with layers {list(encoder.layers)} and weights "
                f"{encoder.fingerprint}; this mapper reads layer {self.layer} of {self.encoder!r} with "
                f"weights {self.provenance['fingerprint']}: load that one, or train a mapper for yours"
            )

    @torch.inference_mode()
    def map(
        self, frames: NDArray[np.floating], *, n_frames: int | None = None, level_dbfs: float = LEVEL_DBFS
    ) -> Mel:
        """Map one clip's frames to its log-mel-spectrogram.

        Parameters
        ----------
        frames : float array, (T, D), 50 a second
        n_frames : int, optional
            Mel frames to return; by default as many whole ones as the frames' samples hold. A clip of S
            samples at 22,050 Hz has S // 256, which can be up to two more.
        level_dbfs : float, dB
            The root-mean-square level that the spectrogram shall have; frames do not know their clip's.

        Returns
        -------
        log_mel : float32 array, (n_frames, 80); natural logarithm, as `audio.log_mel` gives it

        Raises
        ------
        ValueError
            If the frames are none, of another width or not finite, or `n_frames` is more than they reach.
        """
        frames = self._checked(frames)
        most = mel_frames(len(frames))
        n_frames = most if n_frames is None else n_frames
        if not 0 < n_frames <= most + 3:
            raise ValueError(
                f"{n_frames} mel frames from {len(frames)} encoder frames; expected 1 to {most + 3}"
            )
        device = self.network.mean.device
        held = np.clip(positions(n_frames), 0, len(frames) - 1).astype(np.float32)
        places = torch.from_numpy(held)[None].to(device)
        ones = torch.ones(1, 1, 1, device=device)
        log_mel = self.network(torch.from_numpy(frames)[None].to(device), places, ones, ones)[0]
        return at_level(log_mel.float().cpu().numpy(), level_dbfs)

    def save(self, folder: str | Path) -> Path:
        """Write the mapper into a folder."""
        arrays = {name: value.numpy(force=True) for name, value in self.network.state_dict().items()}
        config = {"width": self.width, "settings": asdict(self.settings), "provenance": self.provenance}
        return folders.write(Path(folder), _KIND, config, arrays)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "Mapper":
        """Read a mapper back.

        Raises
        ------
        FileNotFoundError
            If there is none in the folder.
        ValueError
            If the folder holds something else, or is damaged.
        """
        try:
            config, arrays = folders.read(Path(folder), _KIND)
            settings = from_stored(config["settings"])
            network = Network(config["width"], settings)
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
            return cls(network.to(device), settings, config["provenance"])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; train one with `emolib train-mapper --out {folder}`") from None
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder} holds no mapper that is whole ({reason})") from None

    def _checked(self, frames: NDArray[np.floating]) -> NDArray[np.float32]:
        frames = np.ascontiguousarray(frames, dtype=np.float32)
        if frames.ndim != 2 or len(frames) == 0 or frames.shape[1] != self.width:
            raise ValueError(
                f"frames of shape {frames.shape}; expected (T, {self.width}) with at least one frame, which "
                f"takes one receptive field of {self.encoder} (25 ms)"
            )
        if not np.isfinite(frames).all():
            raise ValueError("the frames hold NaN or infinity; encode a finite wave")
        return frames
