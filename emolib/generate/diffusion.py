"""Diffusion: the network that estimates noise, its loss, and how clips are drawn from it.

The network is diffusers' `UNet2DModel` with an embedding of the class, and the schedulers are diffusers' own.

References
----------
J. Ho, A. Jain, P. Abbeel (2020), "Denoising Diffusion Probabilistic Models", arXiv:2006.11239. J. Song,
C. Meng, S. Ermon (2021), "Denoising Diffusion Implicit Models", arXiv:2010.02502. C. Lu et al. (2022),
"DPM-Solver++", arXiv:2211.01095. J. Ho, T. Salimans (2022), "Classifier-Free Diffusion Guidance",
arXiv:2207.12598. T. Salimans, J. Ho (2022), "Progressive Distillation", arXiv:2202.00512.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

N_STEPS = 1000
_BETAS = {"num_train_timesteps": N_STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
#: More than this exaggerates the class.
MOST_GUIDANCE = 20.0


class Denoiser(nn.Module):
    """A U-Net that estimates the noise in planes of latents or of spectrograms.

    Parameters
    ----------
    channels : int; size : pair of int; of the planes, (channels, *size)
    widths : sequence of int; channels of the levels, finest first; attention is at the coarsest
    layers : int; residual blocks per level
    n_classes : int; class number `n_classes` stands for none, and is learned where a label is left out

    Notes
    -----
    The estimate is sqrt(1 - a) x + sqrt(a) u(x), with a the schedule's cumulative alpha, x the noisy planes
    and u the network, which therefore learns the velocity (Salimans and Ho, 2022).
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
        """Estimate the noise in planes, (N, channels, *size), at steps, (N,), of 1000."""
        times = times.expand(len(planes))
        kept = self.kept[times][:, None, None, None]  # type: ignore[index]
        velocity = self.unet(planes, times, classes).sample.float()
        return (1 - kept).sqrt() * planes + kept.sqrt() * velocity


_EXTRA: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "timestep_spacing": "trailing"},
    ),
    "ddim": (DDIMScheduler, {"clip_sample": False, "timestep_spacing": "trailing"}),
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
}
SAMPLERS = tuple(_EXTRA)


def scheduler(sampler: str) -> Any:
    """Return one of diffusers' schedulers over 1000 steps of linear betas from 1e-4 to 0.02."""
    if sampler not in _EXTRA:
        raise ValueError(f"unknown sampler {sampler!r}; expected one of: {', '.join(SAMPLERS)}")
    kind, extra = _EXTRA[sampler]
    return kind(**_BETAS, **extra)


def noised(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Add the noise of their steps, (N,) of 1000, to planes, (N, ...)."""
    return scheduler("ddpm").add_noise(clean, noise, times)


def loss(estimate: Tensor, noise: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """Return the error of the estimated noise.

    Parameters
    ----------
    estimate, noise : float tensors, (N, channels, height, width)
    weight : float tensor that broadcasts to them; of each place
    kept : float tensor, (N,); the schedule's cumulative alpha at each clip's step

    Notes
    -----
    The mean over clips of the weighted mean squared error, divided by kept: the error of the velocity.
    Otherwise steps of much noise, where a clip's class is decided, hardly count, and a short training
    doesn't learn them.
    """
    error = (F.mse_loss(estimate, noise, reduction="none") * weight).flatten(1).sum(1)
    return (error / weight.expand_as(noise).flatten(1).sum(1) / kept).mean()


def draw(
    network: Denoiser,
    noise: Tensor,
    classes: Tensor,
    *,
    sampler: str = "dpm++",
    steps: int = 20,
    guidance: float = 2.0,
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
    generator : torch.Generator, for the noise that DDPM adds
    trace : list, optional; the planes before the first step and after each are appended to it
    """
    schedule = scheduler(sampler)
    schedule.set_timesteps(steps, device=noise.device)
    planes = noise * schedule.init_noise_sigma
    extra = {} if sampler == "ddim" else {"generator": generator}
    trace = [] if trace is None else trace
    trace.append(planes)
    for time in schedule.timesteps:
        estimate = _guided(network, schedule.scale_model_input(planes, time), time, classes, guidance)
        planes = schedule.step(estimate, time, planes, **extra).prev_sample
        trace.append(planes)
    return planes


def _guided(network: Denoiser, planes: Tensor, time: Tensor, classes: Tensor, guidance: float) -> Tensor:
    """Return the network's estimate of the noise, guided."""
    if guidance == 1.0:
        return network(planes, time, classes)
    both = torch.cat([classes, torch.full_like(classes, network.none)])
    conditional, free = network(torch.cat([planes, planes]), time, both).chunk(2)
    return free + guidance * (conditional - free)


def check_sampling(sampler: str, steps: int, guidance: float, batch: int) -> None:
    """Raise ValueError if clips can't be drawn so."""
    scheduler(sampler)
    if not 1 <= steps <= N_STEPS:
        raise ValueError(f"{steps} sampling steps; expected 1 to {N_STEPS}")
    if not 0 <= guidance <= MOST_GUIDANCE:  # also true of NaN
        raise ValueError(
            f"guidance {guidance}; expected 0 to {MOST_GUIDANCE:g}: 1 is none, 2 to 4 make a class clear, "
            f"more exaggerates it"
        )
    if batch < 1:
        raise ValueError(f"batches of {batch} clips; expected 1 or more")
