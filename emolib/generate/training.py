"""The training of a generator: normaliser and autoencoder first, then the diffusion, in one folder.

Tenth stage of `emolib.generate`. All of them see the clips that they are given and no others: whoever wants
speakers kept apart gives training speakers only. The diffusion learns from the clips too that the
autoencoder's end was decided by.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from emolib import atomic, folders, threads
from emolib.encoders import torch_device
from emolib.generate import diffusion
from emolib.generate.autoencoding import CHECKPOINT as VAE_CHECKPOINT
from emolib.generate.autoencoding import best_look, fit_autoencoder
from emolib.generate.fitting import Fit, batch_rows
from emolib.generate.generator import Generator
from emolib.generate.mels import Mels, Normaliser
from emolib.generate.settings import Settings
from emolib.generate.spaces import LatentSpace

CHECKPOINT, CURVE, VAE_CURVE, PREVIEWS = "checkpoint.safetensors", "losses.csv", "autoencoder.csv", "previews"


@threads.single()
def train(
    mels: Mels,
    out: str | Path,
    settings: Settings | None = None,
    *,
    classes: Sequence[str] | None = None,
    holdout: Sequence[str] | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: bool = False,
) -> Generator:
    """Train a generator on clips.

    Parameters
    ----------
    mels : Mels
    out : str or Path
        Folder of the generator. A checkpoint in it is taken up, a finished generator of the same settings and
        clips is returned at once. ``previews/`` shows a clip of each class as the training goes,
        ``losses.csv`` and ``autoencoder.csv`` how it went.
    settings : Settings, optional; `Settings.full` by default
    classes : sequence of str, optional; those of the clips by default
    holdout : sequence of str, optional
        Speakers whose clips tell when the autoencoder is done; drawn from those of the clips by default.
    device : str
    resume : bool; False starts again
    progress : bool; show progress bars on standard error

    Raises
    ------
    ValueError
        If a setting is out of range, a class has no clip, there are fewer than two clips, the folder holds
        something of other settings or other clips, or the loss isn't finite; the last good checkpoint then
        stays.
    """
    started, out, settings = time.perf_counter(), Path(out), (settings or Settings.full()).check()
    names = _classes(mels, classes)
    identity = _identity(mels, settings, names, holdout)
    with atomic.locked(out):  # a second process waits, and then finds the generator finished
        done = _finished(out, identity, device) if resume else None
        if done is not None:
            return done
        accelerator = Accelerator(
            mixed_precision=settings.precision, cpu=torch_device(device).type == "cpu",
        )  # fmt: skip
        generator = Generator(names, settings, Normaliser.fit(mels), device=str(accelerator.device))
        codes = generator.codes(mels.labels)
        generator.record = {
            "identity": identity,
            "n_clips": len(mels),
            "n_speakers": len(np.unique(mels.speakers)),
        }
        if isinstance(generator.space, LatentSpace):
            vae, fit = fit_autoencoder(
                mels, codes.cpu(), generator.space.normaliser, out, settings, accelerator, identity,
                speakers=None if holdout is None else list(holdout), resume=resume, progress=progress,
            )  # fmt: skip
            generator.space.vae.load_state_dict(vae.state_dict())
            generator.space.fit(mels, codes)
            pd.DataFrame(fit.looks).to_csv(out / VAE_CURVE, index=False)
            generator.record |= {"autoencoder": best_look(fit), "autoencoder_s": _seconds(started)}
        fit = _fit_diffusion(
            generator, mels, codes, out, accelerator, identity, resume=resume, progress=progress
        )
        generator.record |= {"loss": float(np.mean(fit.losses[-200:])), "seconds": _seconds(started)}
        if accelerator.is_main_process:
            generator.save(out)
            for name in (CHECKPOINT, VAE_CHECKPOINT):
                (out / name).unlink(missing_ok=True)
        accelerator.wait_for_everyone()
    return generator


def _fit_diffusion(
    generator: Generator, mels: Mels, codes: Tensor, out: Path, accelerator: Accelerator, identity: str, *,
    resume: bool, progress: bool,
) -> Fit:  # fmt: skip
    """Train the denoiser and leave its averaged weights in the generator."""
    settings = generator.settings
    planes, weights = generator.space.encode(mels, codes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        channels, height, width = generator.space.shape
        network = diffusion.Denoiser(
            channels, (height, width), settings.widths, settings.layers, len(generator.classes)
        ).to(accelerator.device)
    fit = Fit(
        network, accelerator, rate=settings.rate, n_steps=settings.steps, clip=settings.clip,
        betas=(0.9, 0.999), identity=identity,
    )  # fmt: skip
    if resume and (out / CHECKPOINT).exists():
        fit.restore(out / CHECKPOINT)
    with tqdm(
        total=settings.steps, initial=fit.step, desc="diffusion", unit="step", disable=not progress
    ) as bar:
        while fit.step < settings.steps:
            rows = batch_rows(fit.step, len(mels), settings.batch, settings.seed, accelerator)
            loss = fit.descend(_loss(fit, planes[rows], codes[rows], weights[rows], settings), out)
            fit.average(settings.average)
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
            last = fit.step == settings.steps
            if not last and fit.step % settings.checkpoint_every == 0:
                fit.checkpoint(out / CHECKPOINT)
            if settings.preview_every and (last or fit.step % settings.preview_every == 0):
                fit.load_kept(generator.denoiser)
                _write_preview(generator.preview(), out / PREVIEWS / f"step-{fit.step:06d}.png")
    fit.load_kept(generator.denoiser)
    steps = np.arange(1, len(fit.losses) + 1)
    pd.DataFrame({"step": steps, "loss": fit.losses}).to_csv(out / CURVE, index=False)
    return fit


def _loss(fit: Fit, planes: Tensor, codes: Tensor, weight: Tensor, settings: Settings) -> Tensor:
    """Return the loss of a batch at random steps, some of it without its class."""
    source, device = fit.generator(settings.seed), planes.device
    noise = torch.randn(planes.shape, generator=source).to(device)
    times = torch.randint(0, diffusion.N_STEPS, (len(planes),), generator=source).to(device)
    left_out = (torch.rand(len(planes), generator=source) < settings.label_dropout).to(device)
    network = fit.network
    assert isinstance(network, diffusion.Denoiser)
    told_of = torch.where(left_out, network.none, codes)
    with fit.accelerator.autocast():
        told = fit.whole(diffusion.noised(planes, noise, times), times, told_of)
    return diffusion.loss(told, noise, weight, network.kept[times])  # type: ignore[index]


def _write_preview(mels: Mels, path: Path) -> None:
    """Write a picture of clips side by side."""
    from matplotlib.image import imsave

    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.concatenate(list(mels.values), axis=1), origin="lower", cmap="magma", vmin=-16, vmax=5)


def _classes(mels: Mels, classes: Sequence[str] | None) -> list[str]:
    if len(mels) < 2:
        raise ValueError(
            f"{len(mels)} clips; expected at least 2, one of them held out, and better a hundred"
        )
    there = np.unique(mels.labels).tolist()
    names = sorted(there if classes is None else classes)
    empty, unknown = sorted(set(names) - set(there)), sorted(set(there) - set(names))
    if empty:
        raise ValueError(f"no clip of class {', '.join(empty)}; leave it out, or give clips of it")
    if unknown:
        raise ValueError(
            f"clips of {', '.join(unknown)}, none of the classes {', '.join(names)}; take them out"
        )
    return names


def _identity(mels: Mels, settings: Settings, names: Sequence[str], holdout: Sequence[str] | None) -> str:
    """Return what decides the weights, as one word."""
    given = {k: v for k, v in asdict(settings).items() if k not in ("checkpoint_every", "preview_every")}
    digest = hashlib.sha256(json.dumps([given, names, None if holdout is None else sorted(holdout)]).encode())
    for part in (mels.values, mels.mask):  # noqa: PD011
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update("\n".join([*mels.labels, *mels.speakers]).encode())
    return digest.hexdigest()


def _finished(out: Path, identity: str, device: str) -> Generator | None:
    """Return the finished generator in a folder."""
    if not (out / folders.CONFIG).is_file():
        return None
    generator = Generator.load(out, device=device)
    if generator.record.get("identity") != identity:
        raise ValueError(
            f"{out} holds a generator of other settings or other clips; give another folder, or resume=False "
            f"to start again"
        )
    return generator


def _seconds(started: float) -> float:
    return round(time.perf_counter() - started, 1)
