"""Everything that a generator depends on but the speech.

Second stage of `emolib.generate`.

References
----------
J. Ho, A. Jain, P. Abbeel (2020), "Denoising Diffusion Probabilistic Models", arXiv:2006.11239: the schedule,
the learning rate's order and the running mean of the weights. J. Ho, T. Salimans (2022), "Classifier-Free
Diffusion Guidance", arXiv:2207.12598: the share of labels left out. R. Rombach et al. (2022),
"High-Resolution Image Synthesis with Latent Diffusion Models", arXiv:2112.10752: diffusion in an
autoencoder's latent space.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

Space = Literal["latent", "mel"]
Latent = Literal["spatial", "utterance"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Settings:
    """How a generator is built and trained; the defaults are those of `full`.

    Attributes
    ----------
    space : {"latent", "mel"}; what diffuses: the autoencoder's latents, or the spectrograms themselves
    vae_widths : pair of int; channels of the autoencoder, finer and coarser
    latent_channels : int; channels of the spatial latent, of 8 by 12 places
    vae_conditional : bool; tell the autoencoder the class
    vae_steps : int, at most; vae_every : int; steps between looks at clips that are held out
    vae_patience : int; looks without a gain after which the autoencoder is done
    vae_batch : int, clips; vae_rate : float; the highest learning rate
    beta : float; weight of the divergence, in nats, beside the squared error; both a mel bin
    spectral : float; weight of the spectral part of the error
    held_out : float; share of the speakers whose clips tell when the autoencoder is done
    widths : tuple of int; channels of the U-Net's levels, finest first; layers : int; blocks a level
    steps, batch : int; of the diffusion; rate : float; its learning rate; clip : float; of a gradient's norm
    average : float; share of the running mean of the weights that each step keeps
    label_dropout : float; share of the clips whose class is left out, for guidance
    precision : {"no", "bf16", "fp16"}; of the accelerator
    checkpoint_every, preview_every : int, steps; 0 for no previews
    seed : int
    """

    space: Space = "latent"
    vae_widths: tuple[int, int] = (64, 96)
    latent_channels: int = 32
    vae_conditional: bool = False
    vae_steps: int = 300
    vae_every: int = 100
    vae_patience: int = 3
    vae_batch: int = 16
    vae_rate: float = 1e-3
    beta: float = 0.1
    spectral: float = 0.25
    held_out: float = 0.1
    widths: tuple[int, ...] = (64, 128)
    layers: int = 1
    steps: int = 2500
    batch: int = 16
    rate: float = 3e-4
    clip: float = 0.5
    average: float = 0.998
    label_dropout: float = 0.1
    precision: Precision = "no"
    checkpoint_every: int = 500
    preview_every: int = 1000
    seed: int = 0

    @classmethod
    def full(cls, **changes: Any) -> "Settings":
        """Return settings for hundreds of people's clips: some six minutes on one core."""
        return replace(cls(), **changes).check()

    @classmethod
    def quick(cls, **changes: Any) -> "Settings":
        """Return settings for the demo corpus and tests: about a minute on two cores."""
        few = cls(
            vae_steps=100, vae_every=50, steps=800, average=0.99, preview_every=400, checkpoint_every=400
        )
        return replace(few, **changes).check()

    def check(self) -> "Settings":
        """Return these settings if they can be trained with.

        Raises
        ------
        ValueError
            If one of them is out of its range.
        """
        for name, known in (("space", ("latent", "mel")), ("precision", ("no", "bf16", "fp16"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; expected one of: {', '.join(known)}"
                )
        least = {"steps": 1, "batch": 1, "vae_steps": 1, "vae_every": 1, "vae_patience": 1, "vae_batch": 1,
                 "latent_channels": 1, "layers": 1, "checkpoint_every": 1, "preview_every": 0}  # fmt: skip
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name}={getattr(self, name)}; expected {value} or more")
        for name in ("held_out", "average", "label_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected a share, from 0 to below 1")
        for name in ("rate", "clip", "vae_rate", "beta", "spectral"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; expected a number that isn't negative")
        widths = (*self.vae_widths, *self.widths)
        if len(self.vae_widths) != 2 or not self.widths or any(w < 8 or w % 8 for w in widths):
            raise ValueError(
                f"vae_widths={self.vae_widths} and widths={self.widths}; expected two and at least one, each "
                f"a multiple of 8"
            )
        return self
