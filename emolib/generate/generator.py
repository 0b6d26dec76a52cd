"""A trained generator: its settings, the space in which it diffuses, the clips it draws, and its folder.

References
----------
R. Rombach et al. (2022), "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv:2112.10752:
diffusion in an autoencoder's latent space. J. Ho, A. Jain, P. Abbeel (2020), "Denoising Diffusion
Probabilistic Models", arXiv:2006.11239: the schedule, the learning rate's order and the running mean of the
weights. J. Ho, T. Salimans (2022), "Classifier-Free Diffusion Guidance", arXiv:2207.12598: the share of
labels left out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from emolib import files
from emolib.generate.mels import N_FRAMES, N_MELS, Mels, Normaliser, centred
from emolib.generate.networks import N_STEPS, PATCH, VAE, Denoiser, draw, padded
from emolib.training import torch_device

Labels = Sequence[str] | NDArray[Any]
Mask = NDArray[np.bool_]
#: The speaker of every generated clip.
SPEAKER = "generated"
#: More than this exaggerates the class.
MOST_GUIDANCE = 20.0
#: Of the twenty sampling steps, every so many is a picture of `Generator.denoise`.
EVERY = 4
#: Weight of what is padding, in the diffusion's loss.
PADDING_WEIGHT = 0.1
_SPECTROGRAM_FRAMES = 176  # a multiple of 16, for four halvings
_BATCH = 64


@dataclass(frozen=True)
class Settings:
    """How a generator is built and trained; the defaults take some six minutes on one core.

    Attributes
    ----------
    space : {"latent", "mel"}; what diffuses: the autoencoder's latents, or the spectrograms themselves
    vae_widths : pair of int; channels of the autoencoder, finer and coarser
    latent_channels : int; channels of the latent, of 8 by 12 places
    vae_steps : int, at most; vae_every : int; steps from one validation to the next
    vae_patience : int; validations without a gain after which the autoencoder is done
    vae_batch : int, clips; vae_rate : float; the highest learning rate
    beta : float; weight of the divergence, in nats, beside the squared error; both per mel bin
    spectral : float; weight of the spectral part of the error
    held_out : float; share of the speakers whose clips decide when the autoencoder is done
    widths : tuple of int; channels of the U-Net's levels, finest first; layers : int; blocks per level
    steps, batch : int; of the diffusion; rate : float; its learning rate; clip : float; of a gradient's norm
    average : float; share of the running mean of the weights that each step keeps
    label_dropout : float; share of the clips whose class is left out, for guidance
    precision : {"no", "bf16", "fp16"}; what to compute in
    checkpoint_every, preview_every : int, steps; 0 for no previews
    seed : int
    """

    space: Literal["latent", "mel"] = "latent"
    vae_widths: tuple[int, int] = (64, 96)
    latent_channels: int = 32
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
    precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_every: int = 500
    preview_every: int = 1000
    seed: int = 0

    @classmethod
    def full(cls) -> "Settings":
        """Return settings for an accelerator: minutes there, hours on two cores."""
        return cls(
            vae_steps=3000, vae_every=250, vae_batch=32, steps=4000, batch=128, rate=5e-4, average=0.999,
            checkpoint_every=1000, preview_every=2000,
        )  # fmt: skip

    @classmethod
    def quick(cls) -> "Settings":
        """Return settings for the demo corpus and tests: about a minute on two cores."""
        return cls(
            vae_steps=100, vae_every=50, steps=800, average=0.99, checkpoint_every=400, preview_every=400
        )

    def check(self) -> "Settings":
        """Return these settings if they can be trained with; raise ValueError if one is out of its range."""
        counts = ("steps", "batch", "vae_steps", "vae_every", "vae_patience", "vae_batch", "latent_channels",
                  "layers", "checkpoint_every")  # fmt: skip
        ranges = {
            ("space",): (lambda x: x in ("latent", "mel"), "'latent' or 'mel'"),
            ("precision",): (lambda x: x in ("no", "bf16", "fp16"), "'no', 'bf16' or 'fp16'"),
            counts: (lambda x: x >= 1, "1 or more"),
            ("preview_every",): (lambda x: x >= 0, "0 or more"),
            ("held_out", "average", "label_dropout"): (lambda x: 0 <= x < 1, "a share, from 0 to below 1"),
            ("rate", "clip", "vae_rate", "beta", "spectral"): (lambda x: x >= 0, "a number of 0 or more"),
            ("vae_widths",): (lambda x: len(x) == 2, "two"),
            ("widths",): (len, "at least one"),
            ("vae_widths", "widths"): (lambda x: all(w >= 8 and w % 8 == 0 for w in x), "multiples of 8"),
        }
        for names, (holds, expected) in ranges.items():
            for name in names:
                if not holds(getattr(self, name)):
                    raise ValueError(f"{name}={getattr(self, name)!r}; expected {expected}")
        return self


class LatentSpace(nn.Module):
    """Means of the autoencoder's posteriors, each channel scaled to unit variance.

    They contain how long a clip is, too: a length is generated together with the sound.
    """

    def __init__(self, vae: VAE, normaliser: Normaliser) -> None:
        super().__init__()
        self.vae, self.normaliser, self.shape = vae, normaliser, vae.shape
        self.register_buffer("centre", torch.zeros(vae.shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(vae.shape[0], 1, 1))

    def fit(self, mels: Mels) -> None:
        """Measure mean and deviation of every channel on training clips."""
        latents = self._latents(mels).double()
        self.centre = latents.mean((0, 2, 3)).float()[:, None, None]
        self.scale = latents.std((0, 2, 3)).clamp(min=1e-3).float()[:, None, None]

    @torch.no_grad()
    def _latents(self, mels: Mels) -> Tensor:
        values, mask = (x.to(self.scale.device).split(_BATCH) for x in tensors(mels, self.normaliser))
        return torch.cat([self.vae.encode(*part).mean for part in zip(values, mask, strict=True)])

    def encode(self, mels: Mels) -> tuple[Tensor, Tensor]:
        """Return planes, (N, *shape), and the weight of each place in the loss, a shape that broadcasts."""
        planes = (self._latents(mels) - self.centre) / self.scale
        mask = torch.from_numpy(mels.mask).float().to(planes.device)
        share = padded(mask).unflatten(1, (-1, PATCH)).mean(2)
        return planes, PADDING_WEIGHT + (1 - PADDING_WEIGHT) * share[:, None, None]

    @torch.no_grad()
    def decode(self, planes: Tensor, mask: Mask | None = None) -> tuple[NDArray[np.float32], Mask]:
        """Return log-mel-spectrograms, (N, 128, 172), and masks, (N, 172): those given, or the planes'."""
        decoded = [self.vae.decode(part) for part in (planes * self.scale + self.centre).split(_BATCH)]
        lengths = torch.cat([logits.sigmoid().sum(1) for _, logits in decoded])
        mask = _masks(lengths) if mask is None else mask
        return self.normaliser.invert(torch.cat([values for values, _ in decoded]).cpu().numpy(), mask), mask


class MelSpace(nn.Module):
    """Normalised spectrograms, and a second plane that is 1 where a frame is speech and -1 where it isn't.

    Its methods take and return what those of `LatentSpace` do.
    """

    def __init__(self, normaliser: Normaliser) -> None:
        super().__init__()
        self.normaliser, self.shape = normaliser, (2, N_MELS, _SPECTROGRAM_FRAMES)

    def encode(self, mels: Mels) -> tuple[Tensor, Tensor]:
        """Return planes and the weight of each place in the loss."""
        values, mask = (F.pad(x, (0, _SPECTROGRAM_FRAMES - N_FRAMES)) for x in tensors(mels, self.normaliser))
        mask = mask.float()[:, None].expand(-1, N_MELS, -1)
        weight = PADDING_WEIGHT + (1 - PADDING_WEIGHT) * mask
        return torch.stack([values, 2 * mask - 1], 1), torch.stack([weight, torch.ones_like(weight)], 1)

    def decode(self, planes: Tensor, mask: Mask | None = None) -> tuple[NDArray[np.float32], Mask]:
        """Return log-mel-spectrograms and masks."""
        planes = planes[..., :N_FRAMES]
        mask = _masks((planes[:, 1].mean(1) > 0).sum(1)) if mask is None else mask
        return self.normaliser.invert(planes[:, 0].cpu().numpy(), mask), mask


def tensors(mels: Mels, normaliser: Normaliser) -> tuple[Tensor, Tensor]:
    """Return clips as a network reads them: normalised values, (N, 128, 172), and masks, (N, 172)."""
    return torch.from_numpy(normaliser.apply(mels)), torch.from_numpy(mels.mask)


def _masks(lengths: Tensor) -> Mask:
    """Return the masks, (N, 172), of clips of some frames, (N,)."""
    return np.stack([centred(round(float(length))) for length in lengths])


class Generator(files.Saved):
    """A class-conditional generator of mel-spectrograms.

    Parameters
    ----------
    classes : sequence of str
    settings : Settings
    normaliser : Normaliser
    device : str

    Attributes
    ----------
    classes : tuple of str, sorted
    space : LatentSpace or MelSpace; denoiser : Denoiser
    record : dict; what its training was: clips, speakers, seconds, losses
    """

    KIND = "Generator"

    def __init__(
        self, classes: Sequence[str], settings: Settings, normaliser: Normaliser, *, device: str = "auto"
    ) -> None:
        self.classes, self.settings = tuple(sorted(classes)), settings
        self.device, self.record = torch_device(device), dict[str, Any]()
        self.space: LatentSpace | MelSpace
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if settings.space == "latent":
                self.space = LatentSpace(VAE(settings.vae_widths, settings.latent_channels), normaliser)
            else:
                self.space = MelSpace(normaliser)
            torch.manual_seed(settings.seed)
            self.denoiser = Denoiser(self.space.shape, settings.widths, settings.layers, len(self.classes))
        self._parts = nn.ModuleDict({"denoiser": self.denoiser, "space": self.space}).eval().to(self.device)

    def codes(self, labels: Labels) -> Tensor:
        """Return the numbers of classes, (N,); raise ValueError if a label is no class, or there is none."""
        names = [str(label) for label in labels]
        if unknown := sorted(set(names) - set(self.classes)):
            raise ValueError(
                f"unknown class {', '.join(unknown)}; expected some of: {', '.join(self.classes)}"
            )
        if not names:
            raise ValueError("no labels; give one class for each clip to generate")
        return torch.tensor([self.classes.index(name) for name in names], device=self.device)

    @torch.inference_mode()
    def sample(
        self, labels: Labels, *, sampler: str = "dpm++", steps: int = 20, guidance: float = 2.0, seed: int = 0
    ) -> Mels:
        """Generate a clip for each label.

        Parameters
        ----------
        labels : sequence of str, (N,)
        sampler : {"dpm++", "ddim", "ddpm"}
        steps : int; 1000 is what ``ddpm`` is made for, 20 are enough for ``dpm++``
        guidance : float, 0 to 20; 1 is none, more makes the class clearer and the clips more alike
        seed : int; equal seeds give equal clips on one processor

        Returns
        -------
        mels : Mels; their speaker is ``generated``

        Raises
        ------
        ValueError
            If a label or the sampler is unknown, or a number is out of its range.
        """
        codes = self.codes(labels)
        if not 1 <= steps <= N_STEPS:
            raise ValueError(f"{steps} sampling steps; expected 1 to {N_STEPS}")
        if not 0 <= guidance <= MOST_GUIDANCE:  # also true of NaN
            raise ValueError(
                f"guidance {guidance}; expected 0 to {MOST_GUIDANCE:g}: 1 is none, 2 to 4 make a class "
                f"clear, more exaggerates it"
            )
        start, later = sources(seed)
        noise = torch.randn((len(codes), *self.space.shape), generator=start)
        parts = [
            draw(self.denoiser, own.to(self.device), of_class, sampler, steps, guidance, later)
            for own, of_class in zip(noise.split(_BATCH), codes.split(_BATCH), strict=True)
        ]
        values, mask = self.space.decode(torch.cat(parts))
        names = np.array([self.classes[code] for code in codes.tolist()])
        clips = np.array([f"generated-{seed}-{number:05d}-{name}" for number, name in enumerate(names)])
        return Mels(values, mask, names, np.full(len(names), SPEAKER), clips)

    @torch.inference_mode()
    def reconstruct(self, mels: Mels) -> Mels:
        """Pass clips through the autoencoder alone; their lengths stay."""
        values, _ = self.space.decode(self.space.encode(mels)[0], mels.mask)
        return Mels(values, mels.mask, mels.labels, mels.speakers, mels.clips)

    @torch.inference_mode()
    def denoise(self, label: str, *, seed: int = 0) -> Mels:
        """Return one clip at six of its sampling steps, evenly spread from noise to the finished clip."""
        (start, later), trace = sources(seed), list[Tensor]()
        noise = torch.randn((1, *self.space.shape), generator=start).to(self.device)
        draw(self.denoiser, noise, self.codes([label]), generator=later, trace=trace)
        planes = torch.cat(trace[::EVERY])
        n = len(planes)
        mask = self.space.decode(planes[-1:])[1].repeat(n, axis=0)  # of the finished clip: all are as long
        names = np.array([f"{label}-{i}" for i in range(n)])
        return Mels(self.space.decode(planes, mask)[0], mask, np.full(n, label), np.full(n, SPEAKER), names)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = {name: value.numpy(force=True) for name, value in self._parts.state_dict().items()}
        arrays |= {"mean": self.space.normaliser.mean, "std": self.space.normaliser.std}
        return {"classes": self.classes, "settings": asdict(self.settings), "record": self.record}, arrays

    @classmethod
    def _loaded(  # type: ignore[override]
        cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], *, device: str = "auto"
    ) -> "Generator":
        settings = files.from_json(config["settings"])
        settings.pop("vae_conditional", None)  # of older folders
        normaliser = Normaliser(arrays.pop("mean"), arrays.pop("std"))
        generator = cls(config["classes"], Settings(**settings).check(), normaliser, device=device)
        generator._parts.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        generator.record = config["record"]
        return generator


def sources(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """Return two sources of noise, for the start and for the steps; those of no two seeds overlap."""
    start, steps = (int(s.generate_state(1, np.uint64)[0]) for s in np.random.SeedSequence(seed).spawn(2))
    return torch.Generator().manual_seed(start), torch.Generator().manual_seed(steps)
