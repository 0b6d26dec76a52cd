"""Everything that the training of a vocoder depends on but the speech.

The defaults are the recipe whose measures stand in ``models/hifigan-nano``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The generator, what it is judged by and how it is optimised.

    Attributes
    ----------
    channels : int; of the first layer, halved at every stage
    rates, kernels : tuple of int; factors of upsampling, which multiply to the hop, and their kernels
    block_kernels, dilations : tuple of int; of the residual blocks, every dilation in every one
    batch_size : int
    segment_frames : int; mel frames a segment
    quietest_dbfs, loudest_dbfs : float, dB; clips are set to a level between them at random
    stft_sizes : tuple of int, samples; windows of the spectral loss, from pulses to harmonics
    stft_weight, mel_weight : float; factors on the losses
    adversarial_from : int; the step at which discriminators join in; at `steps` or above they never do
    adversarial_weight, match_weight : float; factors on the generator's adversarial and matching losses
    discriminator_rate : float; factor on the discriminators' learning rate
    steps, warmup : int
    decay_share : float; share of the steps, at the end, over which the rate falls to 0
    learning_rate, weight_decay, max_norm : float; max_norm is the largest norm of a gradient
    average : float; decay of the running mean of the weights, which is what is shipped
    refine : int; iterations of `phase.fit_to_mel` that the saved vocoder adds
    seed : int
    autocast : bool; bfloat16 products
    validate_every, checkpoint_every : int, steps
    validation_clips : int; clips that are held out
    """

    channels: int = 256
    rates: tuple[int, ...] = (4, 4, 4, 4)
    kernels: tuple[int, ...] = (8, 8, 8, 8)
    block_kernels: tuple[int, ...] = (3, 7)
    dilations: tuple[int, ...] = (1, 3, 5)
    batch_size: int = 8
    segment_frames: int = 64
    quietest_dbfs: float = -42.0
    loudest_dbfs: float = -18.0
    stft_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    stft_weight: float = 1.0
    mel_weight: float = 1.0
    adversarial_from: int = 1_000_000
    adversarial_weight: float = 0.1
    match_weight: float = 0.2
    discriminator_rate: float = 0.5
    steps: int = 12_000
    warmup: int = 200
    decay_share: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.001
    max_norm: float = 5.0
    average: float = 0.998
    refine: int = 60
    seed: int = 0
    autocast: bool = True
    validate_every: int = 500
    checkpoint_every: int = 500
    validation_clips: int = 8
