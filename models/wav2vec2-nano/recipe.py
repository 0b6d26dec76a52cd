"""Pretraining of a small wav2vec 2.0 encoder without labels: its recipe, its network, and the training.

Sound units and acoustics are predicted from the middle of the network, expression from the top. The front
end starts as a spectrogram: a convolution as long as a frame, followed by a rectifying activation, is half of
a short-time Fourier transform, as filters of one frequency in four phases sum to its magnitude. A network of
this size would need most of its training to find that out from noise.

References
----------
A. Baevski et al. (2020), "wav2vec 2.0", arXiv:2006.11477 (the network). W.-N. Hsu et al. (2021), "HuBERT",
arXiv:2106.07447 (masked prediction of clusters). S. Chen et al. (2022), "WavLM", arXiv:2110.13900 (prediction
and denoising at once). N. Zeghidour et al. (2018), "Learning Filterbanks from Raw Speech for Phone
Recognition", arXiv:1711.01161 (filters that start as a mel filter bank and are trained further).
"""

import contextlib
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from emolib.pretrain import Pretraining, Speech, carry_out, load_speech
from emolib.training import Recipe, Training, identity, in_folder

from . import targets as measures
from .batches import Batch, Batches
from .targets import Frames, Targets

#: Settings that may change where a training is resumed: how long it is, and how often to look.
FREE = ("steps", "decay_share", "validate_every", "checkpoint_every")
TARGETS = "targets.safetensors"
LOSSES = ("unit", "acoustic", "expression", "expression_unit")
_PHASES = 4
_LEVEL_SHARE = 24  # one channel of so many has a constant output
_SPLIT_HZ = 1_000.0
_LOW_SHARE = 0.5  # of the filters lie below 1 kHz, where they resolve harmonics


@dataclass(frozen=True)
class Settings(Recipe):
    """The network, what it predicts, from what, and how it is optimised; by default ``wav2vec2-nano``'s.

    `training.Recipe` describes the rest; what is shipped is the running mean of the weights.

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
        The hidden state that predicts each; the slower, the higher.
    weights : tuple of float; factors on the losses of units, acoustics, expression and expression units
    batch_size : int; crop_s : float, s
    speed : float; speeds are drawn from exp(-speed) to exp(speed)
    perturbation : float, in [0, 1]; strength of `perturb`
    masked_share : float; share of crops with masks, as a clip is encoded without them later
    mask_chance : float; chance that a mask starts at a frame; mask_frames : int; its length
    filter_rate : float; factor on the learning rate of the first layer
    dropout : float
    validate_every, checkpoint_every : int, steps
    validation_share : float; share of the clips that are held out. They are of training speakers too: their
        loss is shown while a training goes on, and chooses nothing
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
    weights: tuple[float, ...] = (0.5, 5.0, 4.0, 0.3)
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
    betas: tuple[float, float] = (0.9, 0.98)
    validate_every: int = 100
    checkpoint_every: int = 100
    validation_share: float = 0.02


def pretrain(
    manifest: pd.DataFrame, out: str | Path, settings: Settings | None = None, *, device: str = "auto",
    resume: bool = True, progress: bool = True,
) -> Pretraining:  # fmt: skip
    """Train a wav2vec 2.0 network on the clips of a manifest, without their labels.

    Parameters
    ----------
    manifest : DataFrame
        `path` is read, and `corpus` and `speaker` where they are there: targets are relative to the speaker.
    out : str or Path
        Folder of the network. A checkpoint in it is resumed, to weights bit-equal to an undisturbed
        training's on the same processor and number of threads; more steps than before continue from its end.
    settings : Settings, optional
        The recipe of ``wav2vec2-nano`` by default.
    device : str
        ``auto`` takes CUDA where there is one.
    resume : bool
        False starts again, whatever lies in `out`.
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ValueError
        If the manifest is empty or holds no usable clip, a vocabulary is larger than what it describes, the
        checkpoint in `out` is of other settings or speech, or the loss isn't finite; the last good checkpoint
        then stays.
    """
    started, out, settings = time.monotonic(), Path(out), settings or Settings()
    speech = load_speech(manifest, measures.SAMPLE_RATE, progress=progress)
    key = identity(settings, speech.speakers, *speech.waves, free=FREE)

    with in_folder(out, key, resume=resume):
        targets = _targets(out, key, speech, settings, progress)
        order = np.random.default_rng(settings.seed).permutation(len(speech.waves))
        n_held_out = max(1, round(settings.validation_share * len(order)))
        held_out = Batches(speech, targets, np.sort(order[:n_held_out]), settings).validation()
        batches = Batches(speech, targets, np.sort(order[n_held_out:]), settings)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = Network(settings, targets.expression.shape[1])
        training = Training(network, settings, key, device=device, groups=_groups(network, settings))

        def validate() -> dict[str, float]:
            parts = [network(batch.to(training.accelerator.device)) for batch in held_out]
            means = {name: torch.stack([part[name] for part in parts]).mean() for name in LOSSES}
            return {"loss": float(network.total(means)), **{k: float(v) for k, v in means.items()}}

        return carry_out(
            training, batches.training, lambda batch: network.total(training.whole(batch)), validate, export,
            speech, out, started, name="pretrain", progress=progress,
        )  # fmt: skip


def _groups(network: "Network", settings: Settings) -> list[dict[str, Any]]:
    """Return the groups of weights: the first layer learns at a rate of its own."""
    filters, rate = list(network.first_layer.parameters()), settings.learning_rate
    others = [p for p in network.parameters() if all(p is not own for own in filters)]
    return [{"params": others, "lr": rate}, {"params": filters, "lr": rate * settings.filter_rate}]


def measure(speech: Speech, settings: Settings, *, progress: bool = False) -> Targets:
    """Analyse N clips and make their targets."""
    clips, summaries = [], []
    for n in tqdm(range(len(speech.waves)), "analyse", unit="clip", disable=not progress):
        clips.append(measures.analyse(speech.wave(n)))
        first, last = speech.spans[n] // measures.HOP
        summaries.append(measures.functionals(Frames(*(track[first:last] for track in clips[-1]))))
    return measures.make_targets(clips, np.stack(summaries), speech.speakers, settings)


def _targets(out: Path, key: str, speech: Speech, settings: Settings, progress: bool) -> Targets:
    """Make the targets, or read them back where this training has made them before."""
    path = out / TARGETS
    with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged one is made again
        stored, targets = Targets.load(path)
        if stored == key:
            return targets
    targets = measure(speech, settings, progress=progress)
    targets.save(path, key)
    return targets


def export(training: Training, out: Path) -> None:
    """Write the averaged network as a Hugging Face folder, half precision."""
    with training.with_kept() as network:
        copy.deepcopy(network.get_submodule("encoder")).half().save_pretrained(out)  # type: ignore[operator]
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(out)


# ------------------------------------------------------------------------------------- the network


class Network(nn.Module):
    """A wav2vec 2.0 network and the linear heads that read its hidden states while it trains."""

    def __init__(self, settings: Settings, n_expression: int) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        config = Wav2Vec2Config(
            hidden_size=width, num_hidden_layers=settings.n_layers, num_attention_heads=settings.n_heads,
            intermediate_size=settings.feed_forward, conv_dim=settings.conv_widths,
            conv_kernel=settings.conv_kernels, conv_stride=settings.conv_strides, conv_bias=True,
            feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=32,
            num_conv_pos_embedding_groups=16, hidden_dropout=settings.dropout, attention_dropout=0.0,
            activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0, mask_time_prob=0.05,
        )  # fmt: skip
        self.encoder = Wav2Vec2Model(config)
        start_as_spectrogram(self.first_layer)
        self.unit = nn.Linear(width, settings.n_units)
        self.acoustic = nn.Linear(width, measures.N_ACOUSTICS)
        self.expression = nn.Linear(2 * width, n_expression)
        self.expression_unit = nn.Linear(2 * width, settings.n_expression_units)

    @property
    def first_layer(self) -> nn.Conv1d:
        """The convolution over the wave."""
        layer = self.encoder.feature_extractor.get_submodule("conv_layers.0.conv")
        assert isinstance(layer, nn.Conv1d)
        return layer

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four losses of a batch.

        Notes
        -----
        Units: cross-entropy of masked frames. Prosody: smooth L1 of all frames, seen or not. Expression:
        smooth L1 and cross-entropy of the clip, from mean and standard deviation of a hidden state.
        """
        settings = self.settings
        with torch.autocast(batch.waves.device.type, torch.bfloat16):
            states = self.encoder(
                batch.waves, attention_mask=batch.inside, mask_time_indices=batch.masked,
                output_hidden_states=True,
            ).hidden_states  # fmt: skip
            units = self.unit(states[settings.unit_layer])[batch.masked]
            acoustics = self.acoustic(states[settings.acoustic_layer])[batch.known]
        pooled = pool(states[settings.expression_layer].float(), batch.valid)
        nothing = pooled.sum() * 0  # a batch may be without masks
        return {
            "unit": F.cross_entropy(units.float(), batch.units[batch.masked]) if len(units) else nothing,
            "acoustic": F.smooth_l1_loss(acoustics.float(), batch.acoustics[batch.known]),
            "expression": F.smooth_l1_loss(self.expression(pooled), batch.expression),
            "expression_unit": F.cross_entropy(self.expression_unit(pooled), batch.expression_units),
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses."""
        return torch.stack([w * losses[k] for w, k in zip(self.settings.weights, LOSSES, strict=True)]).sum()


def pool(frames: Tensor, valid: Tensor) -> Tensor:
    """Return mean and standard deviation over the valid frames: (B, T, D) to (B, 2 D)."""
    weight = valid[..., None].float()
    count = weight.sum(dim=1)
    mean = (frames * weight).sum(dim=1) / count
    variance = ((frames - mean[:, None]).square() * weight).sum(dim=1) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


@torch.no_grad()
def start_as_spectrogram(layer: nn.Conv1d) -> None:
    """Set the weights of a first layer, 1 channel to C, in place.

    Notes
    -----
    A layer norm over channels follows, which would hide how loud a frame is. One channel in 24 is therefore
    constant, a bias b with zero weights: after the norm its value is b over the level of the frame.
    """
    n_constant = layer.out_channels // _LEVEL_SHARE
    n_filters = layer.out_channels - n_constant
    layer.weight.zero_()
    layer.weight[:n_filters, 0] = torch.from_numpy(filter_bank(n_filters, layer.kernel_size[0]))
    assert layer.bias is not None
    layer.bias.zero_()
    layer.bias[n_filters:] = torch.from_numpy(np.geomspace(0.01, 0.3, n_constant))


def filter_bank(n_filters: int, length: int) -> NDArray[np.float32]:
    """Return windowed sinusoids, (n_filters, length), in samples at 16 kHz.

    Notes
    -----
    Half of the filters, from 50 Hz to 1 kHz in equal steps, are as long as the frame, so that the harmonics
    of most voices are resolved. The other half, up to 7.6 kHz in steps that grow with frequency, are half as
    long and lie early or late in the frame, so that they follow its changes. Gain grows with the square
    root of frequency, against the slope of speech.
    """
    n_low = max(1, round(n_filters * _LOW_SHARE / _PHASES))
    n_high = max(0, math.ceil((n_filters - _PHASES * n_low) / (2 * _PHASES)))
    rows = [row for hz in np.linspace(50, _SPLIT_HZ, n_low) for row in _sinusoids(hz, 0, length, length)]
    for hz in np.geomspace(_SPLIT_HZ, 7_600, n_high):
        for start in (0, length - length // 2):
            rows += _sinusoids(hz, start, length // 2, length)
    return np.asarray(rows[:n_filters], np.float32)


def _sinusoids(hz: float, start: int, n: int, length: int) -> list[NDArray[np.float64]]:
    """Return one frequency in four phases, each n samples long under a Hamming window."""
    time_s = np.arange(n) / measures.SAMPLE_RATE
    rows = []
    for phase in range(_PHASES):
        row = np.zeros(length)
        row[start : start + n] = np.hamming(n) * np.cos(2 * np.pi * (hz * time_s + phase / _PHASES))
        rows.append(row * np.sqrt(hz / _SPLIT_HZ / (row @ row)))
    return rows
