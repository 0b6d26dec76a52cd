"""The training of a generator: normaliser and autoencoder first, then the diffusion, in one folder.

All of them see the clips that they are given and no others: give training speakers only where speakers have
to be kept apart. The diffusion also learns from the clips that decide when the autoencoder is done.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import files, threads
from emolib.generate import networks
from emolib.generate.generator import Generator, LatentSpace, Settings, tensors
from emolib.generate.mels import Mels, Normaliser
from emolib.training import CHECKPOINT, Recipe, Training, best, identity, in_folder

CURVE, VAE_CURVE, PREVIEWS, AUTOENCODER = "losses.csv", "autoencoder.csv", "previews", "autoencoder"
_MOST_VALIDATED = 128  # clips; a validation takes a second or two
_FEWEST_SPEAKERS = 4  # with fewer, a speaker who is held out is too much to lose


@threads.single()
def train(
    mels: Mels, out: str | Path, settings: Settings | None = None, *, classes: Sequence[str] | None = None,
    device: str = "auto", resume: bool = True, progress: bool = False,
) -> Generator:  # fmt: skip
    """Train a generator on clips.

    Parameters
    ----------
    mels : Mels
    out : str or Path
        Folder of the generator. A training that was stopped there is resumed, a finished generator of the
        same settings and clips is returned at once. ``previews/`` shows a clip of each class as the training
        goes on, ``losses.csv`` and ``autoencoder.csv`` hold its losses and validations.
    settings : Settings, optional; `Settings` with its defaults where not given
    classes : sequence of str, optional; those of the clips by default
    device : str
    resume : bool; False starts again
    progress : bool; show progress bars on standard error

    Raises
    ------
    ValueError
        If a setting is out of range, a class has no clip or a clip no class, no clip is left to train on, the
        folder holds something of other settings or other clips, or the loss isn't finite; the last good
        checkpoint then stays.
    """
    started, out, settings = time.perf_counter(), Path(out), (settings or Settings()).check()
    there = sorted(set(mels.labels.tolist()))
    names = there if classes is None else sorted(classes)
    if empty := sorted(set(names) - set(there)):
        raise ValueError(f"no clip of class {', '.join(empty)}; leave it out, or give clips of it")
    # None stands where older folders may name speakers
    words, free = (mels.labels, mels.speakers), ("checkpoint_every", "preview_every")
    own = identity(settings, names, None, mels.values, mels.mask, *words, free=free)
    with in_folder(out, own, resume=resume):
        if resume and (out / files.CONFIG).is_file():
            done = Generator.load(out, device=device)
            if done.record.get("identity") == own:
                return done
            raise ValueError(
                f"{out} holds a generator of other settings or other clips; give another folder, or "
                f"resume=False to start again"
            )
        if not resume:
            shutil.rmtree(out / AUTOENCODER, ignore_errors=True)
        generator = Generator(names, settings, Normaliser.fit(mels), device=device)
        codes = generator.codes(mels.labels)
        record = {"identity": own, "n_clips": len(mels), "n_speakers": len(np.unique(mels.speakers))}
        if isinstance(generator.space, LatentSpace):
            fit = _fit_autoencoder(generator.space, mels, settings, out, own, device, progress)
            generator.space.to(fit.accelerator.device).fit(mels)
            pd.DataFrame(fit.curve).to_csv(out / VAE_CURVE, index=False)
            kept = fit.curve[best(fit.curve, fit.recipe)]
            record |= {"autoencoder": kept, "autoencoder_s": round(time.perf_counter() - started, 1)}
        fit = _fit_diffusion(generator, mels, codes, out, own, device, progress)
        steps = np.arange(1, len(fit.losses) + 1)
        pd.DataFrame({"step": steps, "loss": fit.losses}).to_csv(out / CURVE, index=False)
        record |= {
            "loss": float(np.mean(fit.losses[-200:])),
            "seconds": round(time.perf_counter() - started, 1),
        }
        generator.record = record
        if fit.accelerator.is_main_process:
            generator.save(out)
            (out / CHECKPOINT).unlink(missing_ok=True)
            shutil.rmtree(out / AUTOENCODER, ignore_errors=True)
        fit.accelerator.wait_for_everyone()
    return generator


def _fit_autoencoder(
    space: LatentSpace, mels: Mels, settings: Settings, out: Path, own: str, device: str, progress: bool
) -> Training:  # fmt: skip
    """Train the autoencoder until held-out speakers gain nothing more, and leave it at its best."""
    held = hold_out(mels, settings.held_out, settings.seed)
    values, mask = tensors(mels.take(~held), space.normaliser)
    held_out = tensors(mels.take(np.flatnonzero(held)[:_MOST_VALIDATED]), space.normaliser)
    space.vae.patches.fit(values, mask, settings.beta / 2)
    recipe = Recipe(
        settings.vae_steps, settings.vae_rate, min(50, settings.vae_steps), decay_share=0.5,
        betas=(0.9, 0.98), metric="total", patience=settings.vae_patience, seed=settings.seed,
    )  # fmt: skip
    fit = Training(space.vae, recipe, own, device=device, precision=settings.precision)

    def measure(values: Tensor, mask: Tensor, source: torch.Generator) -> networks.Losses:
        noise = torch.randn((len(values), *space.shape), generator=source)
        values, mask, noise = (x.to(fit.accelerator.device) for x in (values, mask, noise))
        found = fit.whole(values, mask, noise)
        return networks.vae_loss(found, values, mask, beta=settings.beta, spectral=settings.spectral)

    def validate() -> dict[str, float]:
        losses = measure(*held_out, torch.Generator().manual_seed(settings.seed))
        return {name: float(value) for name, value in losses._asdict().items()}

    fit.run(
        lambda step: [_rows(step, len(values), settings.vae_batch, fit)],
        lambda rows: measure(values[rows], mask[rows], fit.generator()).total,
        folder=out / AUTOENCODER, validate=validate, validate_every=settings.vae_every,
        checkpoint_every=settings.vae_every, name="autoencoder", progress=progress,
    )  # fmt: skip
    return fit


def _fit_diffusion(
    generator: Generator, mels: Mels, codes: Tensor, out: Path, own: str, device: str, progress: bool
) -> Training:
    """Train the denoiser and leave it with its averaged weights."""
    settings, network = generator.settings, generator.denoiser
    recipe = Recipe(
        settings.steps, settings.rate, min(50, settings.steps), decay_share=0.5, max_norm=settings.clip,
        average=settings.average, seed=settings.seed,
    )  # fmt: skip
    fit = Training(network, recipe, own, device=device, precision=settings.precision)
    planes, weights = (x.to(fit.accelerator.device) for x in generator.space.encode(mels))
    codes = codes.to(planes.device)

    def loss(rows: Tensor) -> Tensor:
        """Return the loss of a batch at random steps, some of it without its class."""
        source, clean = fit.generator(), planes[rows]
        noise = torch.randn(clean.shape, generator=source).to(clean.device)
        times = torch.randint(0, networks.N_STEPS, (len(clean),), generator=source).to(clean.device)
        left_out = (torch.rand(len(clean), generator=source) < settings.label_dropout).to(clean.device)
        known = torch.where(left_out, network.none, codes[rows])
        noisy = networks.scheduler("ddpm").add_noise(clean, noise, times)
        estimate = fit.whole(noisy, times, known)
        return networks.noise_loss(estimate, noise, weights[rows], network.kept[times])  # type: ignore[index]

    def preview() -> None:
        """Write a picture of one clip of each class, side by side."""
        from matplotlib.image import imsave

        with fit.with_kept():
            made = generator.sample(generator.classes, steps=10)
        (out / PREVIEWS).mkdir(exist_ok=True)
        path, picture = out / PREVIEWS / f"step-{fit.step:06d}.png", np.concatenate(list(made.values), axis=1)
        imsave(path, picture, origin="lower", cmap="magma", vmin=-16, vmax=5)

    fit.run(
        lambda step: [_rows(step, len(mels), settings.batch, fit)], loss, folder=out,
        checkpoint_every=settings.checkpoint_every, events=[(settings.preview_every, preview)],
        name="diffusion", progress=progress,
    )  # fmt: skip
    return fit


def _rows(step: int, n_rows: int, batch: int, fit: Training) -> NDArray[np.intp]:
    """Return the rows of this process's batch of a step."""
    own, seed = fit.accelerator, fit.recipe.seed
    return batch_rows(step * own.num_processes + own.process_index, n_rows, batch, seed)


def batch_rows(step: int, n_rows: int, batch: int, seed: int) -> NDArray[np.intp]:
    """Return the rows of a step's batch: every row once per pass, in an order drawn by the pass's number."""
    passes, places = np.divmod(np.arange(step * batch, (step + 1) * batch), n_rows)
    orders = {n: np.random.default_rng((seed, n)).permutation(n_rows) for n in np.unique(passes).tolist()}
    return np.array([orders[n][place] for n, place in zip(passes.tolist(), places, strict=True)])


def hold_out(mels: Mels, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which clips, (N,), are held out: whole speakers', or a share of each where there are few.

    Raises ValueError if nothing is left to train on.
    """
    there, rng = np.unique(mels.speakers), np.random.default_rng(seed)
    if len(there) < _FEWEST_SPEAKERS:
        held = np.zeros(len(mels), bool)
        held[rng.permutation(len(mels))[: max(1, round(share * len(mels)))]] = True
    else:
        drawn = rng.permutation(there)[: max(1, round(share * len(there)))]
        held = np.isin(mels.speakers, drawn)
    if held.all():
        raise ValueError(
            f"all {len(mels)} clips are held out and none is left to train on; give more clips or speakers"
        )
    return held
