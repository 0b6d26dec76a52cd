"""Diffusion: the network that tells noise, how it is taught, and how clips are drawn from it.

Fifth stage of `emolib.generate`. The network is diffusers' `UNet2DModel` with an embedding of the class, and
the schedulers are diffusers' own, so that no equation of a sampler is written down here a second time.

References
----------
J. Ho, A. Jain, P. Abbeel (2020), "Denoising Diffusion Probabilistic Models", arXiv:2006.11239. J. Song,
C. Meng, S. Ermon (2021), "Denoising Diffusion Implicit Models", arXiv:2010.02502. C. Lu et al. (2022),
"DPM-Solver++", arXiv:2211.01095. J. Ho, T. Salimans (2022), "Classifier-Free Diffusion Guidance",
arXiv:2207.12598. Enhancement: C. Meng et al. (2022), "SDEdit", arXiv:2108.01073.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLERS = ("dpm++", "ddim", "ddpm")
N_STEPS = 1000
_BETAS = {"num_train_timesteps": N_STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
#: More than this is no longer guidance but the class's caricature.
MOST_GUIDANCE = 20.0


class Denoiser(nn.Module):
    """A U-Net that tells the noise in planes of latents or of spectrograms.

    Parameters
    ----------
    channels : int; size : pair of int; of the planes, (channels, *size)
    widths : sequence of int; channels of the levels, finest first; attention is at the coarsest
    layers : int; residual blocks a level
    n_classes : int; class number `n_classes` stands for none, and is taught where a label is left out

    Notes
    -----
    The noise that is told is sqrt(1 - a) x + sqrt(a) u(x), with a the schedule's cumulative alpha, x the
    noisy planes and u the network: what x shows of its noise by itself need not pass through the network.
    u is the velocity of T. Salimans, J. Ho (2022), arXiv:2202.00512.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], widths: Sequence[int], layers: int, n_classes: int
    ) -> None:
        super().__init__()
        plain = len(widths) - 1
        self.none = n_classes
        self.unet: Any = UNet2DModel(
            sample_size=size, in_channels=channels, out_channels=channels, block_out_channels=tuple(widths),
            layers_per_block=layers, down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain, num_class_embeds=n_classes + 1,
            norm_num_groups=8, attention_head_dim=min(32, widths[-1]),
        )  # fmt: skip
        kept = scheduler("ddpm").alphas_cumprod
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, planes: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Return the noise in planes, (N, channels, *size), at steps, (N,), of 1000."""
        times = times.expand(len(planes))
        kept = self.kept[times][:, None, None, None]  # type: ignore[index]
        velocity = self.unet(planes, times, classes).sample.float()
        return (1 - kept).sqrt() * planes + kept.sqrt() * velocity


def scheduler(sampler: str) -> Any:
    """Return one of diffusers' schedulers over 1000 steps of linear betas from 1e-4 to 0.02.

    Raises
    ------
    ValueError
        If there is no such sampler.
    """
    if sampler == "ddpm":
        return DDPMScheduler(**_BETAS, clip_sample=False)
    if sampler == "ddim":
        return DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    if sampler == "dpm++":
        return DPMSolverMultistepScheduler(
            **_BETAS,
            algorithm_type="dpmsolver++",
            solver_order=2,
            timestep_spacing="trailing",
            use_karras_sigmas=False,
        )
    raise ValueError(f"unknown sampler {sampler!r}; expected one of: {', '.join(SAMPLERS)}")


def noised(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Return planes, (N, ...), with the noise of their step, (N,), of 1000."""
    return scheduler("ddpm").add_noise(clean, noise, times)


def loss(told: Tensor, noise: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """Return the error of the noise that was told.

    Parameters
    ----------
    told, noise : float tensors, (N, channels, height, width)
    weight : float tensor that broadcasts to them; of each place
    kept : float tensor, (N,); the schedule's cumulative alpha at each clip's step

    Notes
    -----
    The mean over clips of the weighed mean squared error, over kept: the error of the velocity. Otherwise
    steps of much noise, where a clip's class is decided, hardly count, and a short training doesn't get
    to them.
    """
    error = (F.mse_loss(told, noise, reduction="none") * weight).flatten(1).sum(1)
    return (error / weight.expand_as(noise).flatten(1).sum(1) / kept).mean()


def draw(
    network: Denoiser,
    noise: Tensor,
    classes: Tensor,
    *,
    sampler: str = "dpm++",
    steps: int = 20,
    guidance: float = 2.0,
    start: Tensor | None = None,
    strength: float = 1.0,
    generator: torch.Generator | None = None,
    trace: list[Tensor] | None = None,
) -> Tensor:
    """Turn noise into planes of some classes.

    Parameters
    ----------
    network : Denoiser
    noise : float tensor, (N, channels, ...)
    classes : int tensor, (N,)
    sampler : {"ddpm", "ddim", "dpm++"}; steps : int, 1 to 1000
    guidance : float
        How far to go from the unconditional noise through the conditional: 1 is no guidance, 0 no class.
    start : float tensor, like `noise`, optional
        Planes to begin with instead of pure noise: they are noised to `strength` of the way first.
    strength : float in [0, 1]; 0 gives `start` back
    generator : torch.Generator, for the noise that DDPM adds
    trace : list, optional; the planes before the first step and after each are appended to it
    """
    schedule = scheduler(sampler)
    schedule.set_timesteps(steps, device=noise.device)
    times = schedule.timesteps
    planes = noise * schedule.init_noise_sigma
    if start is not None and strength == 0:
        return start
    if start is not None:
        first = min(int((times >= strength * N_STEPS).sum()), len(times) - 1)
        planes = schedule.add_noise(start, noise, times[first : first + 1])
        if hasattr(schedule, "set_begin_index"):
            schedule.set_begin_index(first)
        times = times[first:]
    if trace is not None:
        trace.append(planes)
    for time in times:
        told = _told(network, schedule.scale_model_input(planes, time), time, classes, guidance)
        extra = {} if sampler == "ddim" else {"generator": generator}
        planes = schedule.step(told, time, planes, **extra).prev_sample
        if trace is not None:
            trace.append(planes)
    return planes


def _told(network: Denoiser, planes: Tensor, time: Tensor, classes: Tensor, guidance: float) -> Tensor:
    """Return the noise that the network tells, guided."""
    if guidance == 1.0:
        return network(planes, time, classes)
    both = torch.cat([classes, torch.full_like(classes, network.none)])
    told: Tensor = network(torch.cat([planes, planes]), time, both)
    conditional, free = told.chunk(2)
    return free + guidance * (conditional - free)


def check_sampling(sampler: str, steps: int, guidance: float, batch: int) -> None:
    """Raise ValueError if clips can't be drawn so."""
    scheduler(sampler)
    if not 1 <= steps <= N_STEPS:
        raise ValueError(f"{steps} sampling steps; expected 1 to {N_STEPS}")
    if not 0 <= guidance <= MOST_GUIDANCE:  # also true of NaN
        raise ValueError(
            f"guidance {guidance}; expected 0 to {MOST_GUIDANCE:g}: 1 is none, 2 to 4 make a class "
            f"plain, more makes a caricature of it"
        )
    if batch < 1:
        raise ValueError(f"batches of {batch} clips; expected 1 or more")
