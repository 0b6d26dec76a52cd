"""Everything that a pretraining depends on but the speech.

The defaults are the recipe of ``models/wav2vec2-nano``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The network, what it predicts, what it hears and how it is optimised.

    Attributes
    ----------
    width, n_layers, n_heads, feed_forward : int
        Of the transformer; width is also D of every hidden state.
    conv_widths, conv_kernels, conv_strides : tuple of int
        Of the front end. Strides multiply to the hop of 320 samples, the receptive field is 400 samples, as
        in wav2vec 2.0; the first layer starts as `filter_bank`.
    n_units, n_expression_units : int
        Clusters of frames and of clips.
    unit_layer, acoustic_layer, expression_layer : int
        The hidden state that predicts each; what is slower stands higher.
    unit_weight, acoustic_weight, expression_weight, expression_unit_weight : float
        Factors on the losses.
    batch_size : int; crop_s : float, s
    speed : float; speeds are drawn from exp(-speed) to exp(speed)
    perturbation : float, in [0, 1]; strength of `perturb`
    masked_share : float; share of crops with masks, as a clip is encoded without them later
    mask_chance : float; chance that a mask starts at a frame; mask_frames : int; its length
    steps, warmup : int; decay_share : float; share of the steps, at the end, over which the rate falls to 0
    learning_rate, weight_decay, dropout, max_norm : float; max_norm is the largest norm of a gradient
    filter_rate : float; factor on the learning rate of the first layer
    average : float; decay of the running mean of the weights, which is what is shipped
    seed : int
    autocast : bool; bfloat16 products
    validate_every, checkpoint_every : int, steps
    validation_share : float; share of the clips that are held out
    """

    width: int = 256
    n_layers: int = 5
    n_heads: int = 4
    feed_forward: int = 640
    conv_widths: tuple[int, ...] = (768, 320)
    conv_kernels: tuple[int, ...] = (400, 1)
    conv_strides: tuple[int, ...] = (320, 1)
    n_units: int = 128
    n_expression_units: int = 64
    unit_layer: int = 3
    acoustic_layer: int = 3
    expression_layer: int = 5
    unit_weight: float = 0.5
    acoustic_weight: float = 5.0
    expression_weight: float = 4.0
    expression_unit_weight: float = 0.3
    batch_size: int = 24
    crop_s: float = 2.2
    speed: float = 0.05
    perturbation: float = 0.95
    masked_share: float = 0.5
    mask_chance: float = 0.05
    mask_frames: int = 10
    steps: int = 2000
    warmup: int = 200
    decay_share: float = 0.25
    learning_rate: float = 1.5e-3
    filter_rate: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.05
    max_norm: float = 5.0
    average: float = 0.995
    seed: int = 0
    autocast: bool = True
    validate_every: int = 100
    checkpoint_every: int = 100
    validation_share: float = 0.02
