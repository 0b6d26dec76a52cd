"""The training of the autoencoder: until speakers who are held out gain nothing more.

Eighth stage of `emolib.generate`.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from emolib.generate import vae as vaes
from emolib.generate.fitting import Fit, batch_rows
from emolib.generate.mels import Mels, Normaliser
from emolib.generate.settings import Latent, Settings
from emolib.generate.spaces import tensors
from emolib.generate.vae import VAE

CHECKPOINT = "vae-checkpoint.safetensors"
_MOST_LOOKED_AT = 128  # clips; a look takes a second or two
_FEWEST_SPEAKERS = 4  # with fewer, a speaker who is held out is too much to lose


def hold_out(mels: Mels, share: float, seed: int, speakers: list[str] | None = None) -> NDArray[np.bool_]:
    """Return which clips, (N,), are held out: whole speakers', or a share of each where there are few.

    Raises
    ------
    ValueError
        If nothing is left to train on, or a speaker who is asked for isn't there.
    """
    there = np.unique(mels.speakers)
    missing = sorted(set(speakers or []) - set(there.tolist()))
    if missing:
        raise ValueError(f"holdout names {', '.join(missing)}; expected some of: {', '.join(there)}")
    rng = np.random.default_rng(seed)
    if speakers is None and len(there) < _FEWEST_SPEAKERS:
        held = np.zeros(len(mels), bool)
        held[rng.permutation(len(mels))[: max(1, round(share * len(mels)))]] = True
    else:
        drawn = rng.permutation(there)[: max(1, round(share * len(there)))]
        held = np.isin(mels.speakers, drawn if speakers is None else speakers)
    if held.all():
        raise ValueError(
            f"all {len(mels)} clips are held out and none is left to train on; give more clips or speakers"
        )
    return held


def fit_autoencoder(
    mels: Mels,
    classes: Tensor,
    normaliser: Normaliser,
    folder: Path,
    settings: Settings,
    accelerator: Accelerator,
    identity: str,
    *,
    latent: Latent = "spatial",
    speakers: list[str] | None = None,
    resume: bool = True,
    progress: bool = False,
) -> tuple[VAE, Fit]:
    """Train an autoencoder, or go on with it, and return it at its best with the record of its training."""
    held = hold_out(mels, settings.held_out, settings.seed, speakers)
    looked_at = np.flatnonzero(held)[:_MOST_LOOKED_AT]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        n_classes = int(classes.max()) + 1 if settings.vae_conditional else 0
        network = VAE(latent, settings.vae_widths, settings.latent_channels, n_classes)
    values, mask = tensors(mels.take(~held), normaliser)
    if latent == "spatial":
        network.patches.fit(values, mask, settings.beta / 2)
    of_class = classes[torch.from_numpy(~held)]
    heard = (*tensors(mels.take(looked_at), normaliser), classes[torch.from_numpy(looked_at)])
    fit = Fit(
        network.to(accelerator.device), accelerator, rate=settings.vae_rate, n_steps=settings.vae_steps,
        clip=1.0, betas=(0.9, 0.98), identity=identity,
    )  # fmt: skip
    if resume and (folder / CHECKPOINT).exists():
        fit.restore(folder / CHECKPOINT)
    bar = tqdm(
        total=settings.vae_steps, initial=fit.step, desc="autoencoder", unit="step", disable=not progress
    )
    with bar:
        while not _ended(fit, settings):
            rows = torch.from_numpy(
                batch_rows(fit.step, len(values), settings.vae_batch, settings.seed, accelerator)
            )
            part = values[rows], mask[rows], of_class[rows]
            fit.descend(_loss(fit, part, settings, fit.generator(settings.seed)).total, folder)
            bar.update()
            if fit.step % settings.vae_every == 0 or fit.step == settings.vae_steps:
                _look(fit, heard, settings)
                fit.checkpoint(folder / CHECKPOINT)
    fit.load_kept(network)
    return network.eval(), fit


def _loss(
    fit: Fit, part: tuple[Tensor, Tensor, Tensor], settings: Settings, source: torch.Generator
) -> vaes.Losses:
    device = fit.accelerator.device
    values, mask, classes = (x.to(device) for x in part)
    shape = (len(values), *fit.network.shape)  # type: ignore[misc]
    noise = torch.randn(shape, generator=source).to(device)
    with fit.accelerator.autocast():
        found = fit.whole(values, mask, classes, noise)
    return vaes.loss(found, values, mask, beta=settings.beta, spectral=settings.spectral)


@torch.no_grad()
def _look(fit: Fit, heard: tuple[Tensor, Tensor, Tensor], settings: Settings) -> None:
    """Measure the clips that are held out; keep the weights where there is a gain."""
    fit.whole.eval()
    losses = _loss(fit, heard, settings, torch.Generator().manual_seed(settings.seed))
    fit.whole.train()
    fit.looks.append({"step": fit.step, **{name: float(v) for name, v in losses._asdict().items()}})
    if best_look(fit) is fit.looks[-1]:
        fit.keep()


def best_look(fit: Fit) -> dict[str, float]:
    """Return the look at which the weights were kept: the first of the least total."""
    return min(fit.looks, key=lambda look: look["total"])


def _ended(fit: Fit, settings: Settings) -> bool:
    if fit.step >= settings.vae_steps:
        return True
    totals = [look["total"] for look in fit.looks]
    return bool(totals) and len(totals) - 1 - int(np.argmin(totals)) >= settings.vae_patience
