"""A trained generator: clips of asked-for emotions, clips made more of their emotion, and its folder.

Ninth stage of `emolib.generate`. On disk it is ``config.json`` and ``model.safetensors``.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import folders
from emolib.encoders import torch_device
from emolib.generate.diffusion import Denoiser, check_sampling, draw
from emolib.generate.mels import Mels, Normaliser
from emolib.generate.settings import Settings
from emolib.generate.spaces import LatentSpace, MelSpace
from emolib.generate.vae import VAE

_KIND = "Generator"
#: The speaker of every generated clip.
SPEAKER = "generated"


class Generator:
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
    settings : Settings
    vae : VAE or None; None where spectrograms diffuse themselves
    record : dict; what its training was: clips, speakers, seconds, losses
    """

    def __init__(
        self, classes: Sequence[str], settings: Settings, normaliser: Normaliser, *, device: str = "auto"
    ) -> None:
        self.classes, self.settings = tuple(sorted(classes)), settings
        self.device = torch_device(device)
        self.record: dict[str, Any] = {}
        n_classes = len(self.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if settings.space == "latent":
                conditional = n_classes if settings.vae_conditional else 0
                vae = VAE("spatial", settings.vae_widths, settings.latent_channels, conditional)
                self.space: LatentSpace | MelSpace = LatentSpace(vae, normaliser)
            else:
                self.space = MelSpace(normaliser)
            channels, height, width = self.space.shape
            self.denoiser = Denoiser(channels, (height, width), settings.widths, settings.layers, n_classes)
        self.space, self.denoiser = self.space.eval().to(self.device), self.denoiser.eval().to(self.device)

    @property
    def vae(self) -> VAE | None:
        """The autoencoder, where there is one."""
        return self.space.vae if isinstance(self.space, LatentSpace) else None

    def codes(self, labels: Sequence[str] | NDArray[Any]) -> Tensor:
        """Return the numbers of classes, (N,).

        Raises
        ------
        ValueError
            If a label is none of the classes, or there is none.
        """
        names = [labels] if isinstance(labels, str) else [str(label) for label in labels]
        unknown = sorted(set(names) - set(self.classes))
        if unknown:
            raise ValueError(
                f"unknown class {', '.join(unknown)}; expected some of: {', '.join(self.classes)}"
            )
        if not names:
            raise ValueError("no labels; give one class for each clip to generate")
        return torch.tensor([self.classes.index(name) for name in names], device=self.device)

    @torch.inference_mode()
    def sample(
        self,
        labels: Sequence[str] | NDArray[Any],
        *,
        sampler: str = "dpm++",
        steps: int = 20,
        guidance: float = 2.0,
        seed: int = 0,
        batch: int = 64,
    ) -> Mels:
        """Generate a clip for each label.

        Parameters
        ----------
        labels : sequence of str, (N,)
        sampler : {"dpm++", "ddim", "ddpm"}
        steps : int; 1000 is what ``ddpm`` is made for, 20 do for ``dpm++``
        guidance : float, 0 to 20; 1 is none, more makes the class plainer and the clips more alike
        seed : int; equal seeds give equal clips on one processor
        batch : int, clips at a time

        Returns
        -------
        mels : Mels; their speaker is ``generated``

        Raises
        ------
        ValueError
            If a label or the sampler is unknown, or a number is out of its range.
        """
        codes = self.codes(labels)
        check_sampling(sampler, steps, guidance, batch)
        noise = torch.randn((len(codes), *self.space.shape), generator=sources(seed)[0])
        return self._drawn(
            codes, noise, None, 1.0, sampler=sampler, steps=steps, guidance=guidance, batch=batch, seed=seed
        )

    @torch.inference_mode()
    def enhance(
        self,
        mels: Mels,
        labels: Sequence[str] | NDArray[Any] | None = None,
        strength: float = 0.5,
        *,
        sampler: str = "dpm++",
        steps: int = 20,
        guidance: float = 2.0,
        seed: int = 0,
        batch: int = 64,
    ) -> Mels:
        """Noise clips part of the way and denoise them towards a class.

        Parameters
        ----------
        mels : Mels
        labels : sequence of str, (N,), optional; the clips' own by default
        strength : float in [0, 1]; 0 only passes them through the autoencoder, 1 keeps nothing
        sampler, steps, guidance, seed, batch : as `sample`; all `steps` are those of the whole way

        Returns
        -------
        mels : Mels; lengths, speakers and clips are those that were given

        Raises
        ------
        ValueError
            As `sample`, and if the strength is out of its range.
        """
        labels = mels.labels if labels is None else np.asarray(labels).astype(str)
        codes = self.codes(labels)
        check_sampling(sampler, steps, guidance, batch)
        if not 0 <= strength <= 1:
            raise ValueError(f"strength {strength}; expected 0, nothing changed, to 1, nothing kept")
        if len(codes) != len(mels):
            raise ValueError(f"{len(codes)} labels for {len(mels)} clips; expected one for each")
        start, _ = self.space.encode(mels, codes)
        noise = torch.randn(start.shape, generator=sources(seed)[0])
        found = self._drawn(
            codes, noise, start, strength, sampler=sampler, steps=steps, guidance=guidance, batch=batch,
            seed=seed, mask=mels.mask,
        )  # fmt: skip
        return Mels(found.values, mels.mask, labels, mels.speakers, mels.clips)

    def reconstruct(self, mels: Mels) -> Mels:
        """Pass clips through the autoencoder alone; their lengths stay."""
        codes = torch.zeros(len(mels), dtype=torch.long, device=self.device)
        if self.vae is not None and self.vae.n_classes:
            codes = self.codes(mels.labels)
        with torch.inference_mode():
            values, _ = self.space.decode(self.space.encode(mels, codes)[0], codes, mels.mask)
        return Mels(values, mels.mask, mels.labels, mels.speakers, mels.clips)

    def preview(self, *, steps: int = 10, guidance: float = 2.0, seed: int = 0) -> Mels:
        """Generate one clip of each class, in a second or two."""
        return self.sample(self.classes, steps=steps, guidance=guidance, seed=seed)

    @torch.inference_mode()
    def denoise(
        self, label: str, n: int = 6, *, sampler: str = "dpm++", steps: int = 20, guidance: float = 2.0,
        seed: int = 0,
    ) -> Mels:  # fmt: skip
        """Return one clip on its way from noise: `n` looks, evenly spread over the steps, the last one done.

        Raises
        ------
        ValueError
            As `sample`, and if there are fewer than two looks or more of them than steps.
        """
        codes = self.codes([label])
        check_sampling(sampler, steps, guidance, 1)
        if not 2 <= n <= steps + 1:
            raise ValueError(f"{n} looks at {steps} steps; expected 2 to {steps + 1}")
        (first, later), trace = sources(seed), list[Tensor]()
        noise = torch.randn((1, *self.space.shape), generator=first).to(self.device)
        draw(
            self.denoiser, noise, codes, sampler=sampler, steps=steps, guidance=guidance, generator=later,
            trace=trace,
        )  # fmt: skip
        planes = torch.cat([trace[i] for i in np.linspace(0, steps, n).round().astype(int)])
        # the mask of the last look, so that all are as long
        _, mask = self.space.decode(planes[-1:], codes)
        values, _ = self.space.decode(planes, codes.expand(n), mask.repeat(n, axis=0))
        names = np.array([f"{label}-{i}" for i in range(n)])
        return Mels(values, mask.repeat(n, axis=0), np.full(n, label), np.full(n, SPEAKER), names)

    def _drawn(
        self, codes: Tensor, noise: Tensor, start: Tensor | None, strength: float, *, sampler: str,
        steps: int, guidance: float, batch: int, seed: int, mask: NDArray[np.bool_] | None = None,
    ) -> Mels:  # fmt: skip
        """Draw planes a batch at a time, and decode them."""
        source, parts = sources(seed)[1], []
        for first in range(0, len(codes), batch):
            rows = slice(first, first + batch)
            parts.append(
                draw(
                    self.denoiser,
                    noise[rows].to(self.device),
                    codes[rows],
                    sampler=sampler,
                    steps=steps,
                    guidance=guidance,
                    start=None if start is None else start[rows],
                    strength=strength,
                    generator=source,
                )
            )
        values, mask = self.space.decode(torch.cat(parts), codes, mask)
        names = np.array([self.classes[code] for code in codes.tolist()])
        clips = np.array([f"generated-{seed}-{number:05d}-{name}" for number, name in enumerate(names)])
        return Mels(values, mask, names, np.full(len(names), SPEAKER), clips)

    def save(self, folder: str | Path) -> Path:
        """Write the generator into a folder, beside what its training keeps there."""
        modules = (("denoiser", self.denoiser), ("space", self.space))
        arrays = {
            f"{part}.{name}": value.numpy(force=True)
            for part, module in modules
            for name, value in module.state_dict().items()
        }
        arrays |= {"mean": self.space.normaliser.mean, "std": self.space.normaliser.std}
        config = {"classes": self.classes, "settings": asdict(self.settings), "record": self.record}
        return folders.write(Path(folder), _KIND, config, arrays)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> "Generator":
        """Read a generator.

        Raises
        ------
        ValueError
            If the folder holds none, or a damaged one.
        """
        try:
            config, arrays = folders.read(Path(folder), _KIND)
            given: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in config["settings"].items()
            }
            settings = Settings(**given)
            normaliser = Normaliser(arrays.pop("mean"), arrays.pop("std"))
            generator = cls(config["classes"], settings.check(), normaliser, device=device)
            for name, module in (("denoiser", generator.denoiser), ("space", generator.space)):
                own = {key: array for key, array in arrays.items() if key.startswith(f"{name}.")}
                module.load_state_dict(
                    {key.removeprefix(f"{name}."): torch.from_numpy(array) for key, array in own.items()}
                )
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = str(error).splitlines()[0]
            raise ValueError(
                f"{folder} holds no generator ({problem}); make one by generate.train"
            ) from error
        generator.record = config["record"]
        return generator


def sources(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """Return two sources of noise, for the start and for the steps; those of no two seeds overlap."""
    start, steps = (int(s.generate_state(1, np.uint64)[0]) for s in np.random.SeedSequence(seed).spawn(2))
    return torch.Generator().manual_seed(start), torch.Generator().manual_seed(steps)
