"""The mapper: a linear part fitted in closed form, and residual dilated convolutions that correct its errors.

Frames are standardised, a stack of blocks runs at the encoder's rate, the result is interpolated at the exact
positions of the mel frames, a second stack runs there, and its output is added to the linear part's. Without
blocks, the linear part is the whole mapper: the baseline that `emolib.mapper.linear` fits.

References
----------
Residual stacks of dilated convolutions: A. van den Oord et al. (2016), "WaveNet: A Generative Model for Raw
Audio", arXiv:1609.03499. Speech from self-supervised features: A. Polyak et al. (2021), "Speech Resynthesis
from Discrete Disentangled Self-Supervised Representations", arXiv:2104.00355.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib import audio, files
from emolib.encoders import Encoder
from emolib.mapper import pairs
from emolib.mapper.pairs import LEVEL_DBFS, Mel, align, shifted


@dataclass(frozen=True)
class Settings:
    """The network, its losses and how it is optimised.

    Attributes
    ----------
    width : int; channels of the residual blocks
    context : int, odd; encoder frames that the linear part reads, the middle one being its own
    slow_dilations : tuple of int; one block each, at the encoder's rate: 0.3 s to either side by default
    fast_dilations : tuple of int; one block each, at the mel's rate
    ridge : float or None
        Penalty of the linear part, relative to the mean variance of a feature; None takes the one with which
        held-out training speakers are rebuilt best.
    delta_weight : float; factor on the loss of differences between neighbouring mel frames
    scales : tuple of int; the loss is taken again on averages over squares of so many frames and bands
    scale_weight : float; factor on the sum of those
    batch_size : int, crops; crop_frames : int, mel frames; the default is 1.6 s
    margin : int; encoder frames of context on either side of a crop
    steps, warmup : int; the learning rate rises over the warm-up and falls as a half cosine over all steps
    learning_rate, weight_decay, max_norm : float; max_norm is the largest norm of a gradient
    validation_share : float; share of the speakers that are held out to decide when to stop
    validation_clips : int; clips of theirs that are used, spread evenly
    validate_every, checkpoint_every, sample_every : int, steps; a sample is one clip as sound
    patience : int; validations without a gain of a thousandth after which the training stops
    autocast : bool; products in bfloat16 on CUDA
    seed : int
    """

    width: int = 192
    context: int = 5
    slow_dilations: tuple[int, ...] = (1, 2, 4, 8)
    fast_dilations: tuple[int, ...] = (1, 2, 4)
    ridge: float | None = None
    delta_weight: float = 0.5
    scales: tuple[int, ...] = (2, 4, 8)
    scale_weight: float = 0.5
    batch_size: int = 24
    crop_frames: int = 140
    margin: int = 6
    steps: int = 1_500
    warmup: int = 50
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    max_norm: float = 1.0
    validation_share: float = 0.15
    validation_clips: int = 48
    validate_every: int = 250
    checkpoint_every: int = 250
    sample_every: int = 500
    patience: int = 6
    autocast: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"a context of {self.context} frames; expected an odd number, such as 5")
        if self.steps < 0 or self.batch_size < 1 or self.crop_frames < max(2, *self.scales):
            raise ValueError(
                f"{self.steps} steps of {self.batch_size} crops of {self.crop_frames} mel frames; expected "
                f"at least 0, 1, and the largest of the scales {self.scales}"
            )

    @property
    def receptive_field(self) -> int:
        """Encoder frames that one mel frame depends on, an odd number; interpolation adds its neighbour."""
        blocks = sum(self.slow_dilations) + math.ceil(sum(self.fast_dilations) * pairs.MEL_HOP)
        return 1 + 2 * max(self.context // 2, blocks)


class _Block(nn.Module):
    """A dilated convolution of three taps as one matrix product, after a norm and around a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.taps = (-dilation, 0, dilation)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(hidden) * mask  # outside the clip, what the clip has at its ends
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
            nn.init.zeros_(self.leave.weight)  # training starts at the linear part's output
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


class Mapper(files.Saved):
    """A trained map from one layer of one encoder to HiFi-GAN's mel-spectrogram.

    Parameters
    ----------
    network : Network
    settings : Settings
    provenance : dict
        encoder, fingerprint, layer, corpus, speakers (those trained on), n, and what training adds.
    """

    KIND = "mapper"

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
        pairs.check_hop(encoder.hop_s, encoder.name)
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
            The root-mean-square level of the spectrogram; frames don't contain their clip's.

        Returns
        -------
        log_mel : float32 array, (n_frames, 80); natural logarithm, as `audio.log_mel` gives it

        Raises
        ------
        ValueError
            If the frames are none, of another width or not finite, or `n_frames` is more than they reach.
        """
        frames = np.ascontiguousarray(frames, dtype=np.float32)
        if frames.ndim != 2 or len(frames) == 0 or frames.shape[1] != self.width:
            raise ValueError(
                f"frames of shape {frames.shape}; expected (T, {self.width}) with at least one frame, which "
                f"takes one receptive field of {self.encoder} (25 ms)"
            )
        if not np.isfinite(frames).all():
            raise ValueError("the frames hold NaN or infinity; encode a finite wave")
        most = pairs.mel_frames(len(frames))
        n_frames = most if n_frames is None else n_frames
        if not 0 < n_frames <= most + 3:
            raise ValueError(
                f"{n_frames} mel frames from {len(frames)} encoder frames; expected 1 to {most + 3}"
            )
        device = self.network.mean.device
        places = np.clip(pairs.positions(n_frames), 0, len(frames) - 1).astype(np.float32)
        ones = torch.ones(1, 1, 1, device=device)
        batch = (torch.from_numpy(x)[None].to(device) for x in (frames, places))
        return pairs.at_level(self.network(*batch, ones, ones)[0].float().cpu().numpy(), level_dbfs)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = {name: value.numpy(force=True) for name, value in self.network.state_dict().items()}
        config = {"width": self.width, "settings": asdict(self.settings), "provenance": self.provenance}
        return config, arrays

    @classmethod
    def _loaded(  # type: ignore[override]
        cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], *, device: str = "cpu"
    ) -> "Mapper":
        settings = Settings(**files.from_json(config["settings"]))
        network = Network(config["width"], settings)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(network.to(device), settings, config["provenance"])
