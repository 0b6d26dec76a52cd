"""The generator that is trained: its configuration, and weights to start from.

Fourth stage of `emolib.vocoding`.
"""

from math import prod

from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from emolib import hifigan
from emolib.audio import HIFIGAN_MEL
from emolib.vocoding.settings import Settings


def generator_config(settings: Settings) -> SpeechT5HifiGanConfig:
    """Return the transformers configuration of a generator.

    Raises
    ------
    ValueError
        If the rates don't multiply to the hop of the mel-spectrogram.
    """
    spec = HIFIGAN_MEL
    mel = {
        "model_in_dim": spec.n_mels, "sampling_rate": spec.sample_rate, "n_fft": spec.n_fft,
        "fmin": spec.fmin, "fmax": spec.fmax,
    }  # fmt: skip
    architecture = {
        "upsample_initial_channel": settings.channels,
        "upsample_rates": list(settings.rates),
        "upsample_kernel_sizes": list(settings.kernels),
        "resblock_kernel_sizes": list(settings.block_kernels),
        "resblock_dilation_sizes": [list(settings.dilations) for _ in settings.block_kernels],
    }
    config = SpeechT5HifiGanConfig.from_dict(
        {**mel, **architecture, "normalize_before": True, "refine": settings.refine}
    )
    if hifigan.mel_spec(config) != spec:
        raise ValueError(
            f"rates {settings.rates} multiply to {prod(settings.rates)}; expected the hop of the "
            f"mel-spectrogram, {spec.hop_length}"
        )
    return config


def untrained(config: SpeechT5HifiGanConfig, mean: Tensor, scale: Tensor) -> SpeechT5HifiGan:
    """Return a generator ready to learn: unit variance from layer to layer, residual branches near zero.

    transformers draws weights with a deviation of 0.01, which weight norm makes up for in the original;
    without it next to nothing would come through 30 layers.
    """
    network = hifigan.build(config)
    network.mean.copy_(mean)
    network.scale.copy_(scale)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, config.leaky_relu_slope, nonlinearity="leaky_relu")
            if "convs2" in name or name == "conv_post":
                module.weight.data *= 0.2
        elif isinstance(module, nn.ConvTranspose1d):  # each output hears kernel / stride of the taps
            taps = module.in_channels * module.kernel_size[0] / module.stride[0]
            nn.init.normal_(module.weight, std=(2 / taps) ** 0.5)
    return network
