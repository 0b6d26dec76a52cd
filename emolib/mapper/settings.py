"""Everything that a mapper depends on but the speech; first stage of `emolib.mapper`."""

import math
from dataclasses import dataclass
from typing import Any

from emolib.mapper.alignment import MEL_HOP


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
        blocks = sum(self.slow_dilations) + math.ceil(sum(self.fast_dilations) * MEL_HOP)
        return 1 + 2 * max(self.context // 2, blocks)


def from_stored(stored: dict[str, Any]) -> Settings:
    """Return settings as json kept them."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    return Settings(**values)
