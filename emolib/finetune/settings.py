"""Everything that a fine-tuning depends on but the speech.

First stage of `emolib.finetune`.
"""

from dataclasses import dataclass
from typing import Literal

Target = Literal["emotion", "ratings"]
Free = int | Literal["all"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Settings:
    """How an encoder is fine-tuned.

    Attributes
    ----------
    target : {"emotion", "ratings"}; cross-entropy over categories, or 1 - CCC over valence and arousal
    free_layers : int or "all"; blocks that learn, from the top. 0 leaves the encoder frozen and takes
        seconds, "all" frees the front end as well
    warm_start : bool; where something of the encoder learns, begin with the head of a frozen one: a head
        that knows nothing first undoes what the encoder knows (A. Kumar et al. 2022, arXiv:2202.10054).
        Nothing worse than it on held-out speakers is kept
    bottleneck : int; width of the features that the answer is read off; dropout : float, of them
    head_rate, encoder_rate : float; learning rates of what is new and of what was trained before
    weight_decay : float
    class_weights : bool; weigh every class the same, however many clips it has
    n_epochs : int, at most; patience : int; epochs without a gain after which it ends
    held_out : float; share of the speakers that decide when to end and which epoch is kept
    tested : float; share of the speakers that decide nothing, and whose score is the one to quote; 0 for none
    batch_size : int, clips; accumulation : int; batches a step
    crop_s : float, s; training clips are cut at random to this length where the encoder learns
    precision : {"no", "bf16", "fp16"}
    seed : int
    """

    target: Target = "emotion"
    free_layers: Free = 0
    warm_start: bool = True
    bottleneck: int = 100
    dropout: float = 0.3
    head_rate: float = 3e-3
    encoder_rate: float = 1e-4
    weight_decay: float = 0.01
    class_weights: bool = True
    n_epochs: int = 60
    patience: int = 10
    held_out: float = 0.15
    tested: float = 0.0
    batch_size: int = 32
    accumulation: int = 1
    crop_s: float = 3.0
    precision: Precision = "no"
    seed: int = 0

    def check(self) -> "Settings":
        """Return these settings if they can be trained with.

        Raises
        ------
        ValueError
            If one of them is out of its range.
        """
        if self.target not in ("emotion", "ratings"):
            raise ValueError(f"unknown target {self.target!r}; expected 'emotion' or 'ratings'")
        if self.free_layers != "all" and (not isinstance(self.free_layers, int) or self.free_layers < 0):
            raise ValueError(f"free_layers={self.free_layers!r}; expected a whole number from 0, or 'all'")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"unknown precision {self.precision!r}; expected 'no', 'bf16' or 'fp16'")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out}; expected a share of the speakers, between 0 and 1")
        if not 0 <= self.tested < 1:
            raise ValueError(f"tested={self.tested}; expected a share of the speakers, from 0 to below 1")
        for name in ("bottleneck", "n_epochs", "patience", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected 1 or more")
        return self


#: What frees an encoder's top and takes minutes on two cores: few epochs at a low rate, on short cuts.
TOP_BLOCKS = Settings(
    free_layers=2, encoder_rate=5e-5, head_rate=3e-4, n_epochs=4, patience=2, crop_s=2.0, precision="bf16"
)
