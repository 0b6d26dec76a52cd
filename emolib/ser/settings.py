"""How a `ser.ResNetRecogniser` is built and trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ResNetSettings:
    """How a `ResNetRecogniser` is built and trained.

    Attributes
    ----------
    widths : tuple of int; channels of the stem and of each block
    steps : int; of the optimiser, whatever the number of clips
    batch_size : int, clips
    crop : int, frames; what a step hears of a clip, cut at random from its speech: 64 frames are 1.5 s of
        `audio.EMOGEN_MEL`. A judged clip is heard whole
    rate : float; the highest learning rate of the cycle
    weight_decay, label_smoothing, dropout : float
    spec_augment : bool; hide bands and frames of each clip
    mixup : float; alpha of the Beta distribution that shares of mixed clips come from, 0 for no mixing
    seed : int; of weights, batches, crops and augmentation
    """

    widths: tuple[int, ...] = (16, 24, 48, 96)
    steps: int = 600
    batch_size: int = 32
    crop: int = 64
    rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout: float = 0.2
    spec_augment: bool = False
    mixup: float = 0.0
    seed: int = 0

    def check(self) -> "ResNetSettings":
        """Return these settings if they can be trained with.

        Raises
        ------
        ValueError
            If one of them is out of its range.
        """
        for name in ("steps", "batch_size", "crop"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected 1 or more")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(
                f"widths={self.widths}; expected two or more numbers of channels, each 1 or more"
            )
        if self.rate <= 0 or self.mixup < 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"rate={self.rate}, mixup={self.mixup}, dropout={self.dropout}; expected a rate above 0, a "
                f"mixup from 0, a dropout from 0 to below 1"
            )
        return self
