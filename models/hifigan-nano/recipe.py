"""Training of a small HiFi-GAN generator by spectral losses, without discriminators.

References
----------
R. Yamamoto, E. Song, J.-M. Kim (2020), "Parallel WaveGAN", arXiv:1910.11480 (the multi-resolution loss).
J. Kong, J. Kim, J. Bae (2020), "HiFi-GAN", arXiv:2010.05646 (the generator and the mel loss).
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from emolib import audio, quality, vocoder
from emolib.audio import HIFIGAN_MEL as MEL
from emolib.pretrain import Clips, Pretraining, Speech, carry_out, load_speech
from emolib.training import Recipe, Training, identity, in_folder

#: Settings that may change where a training is resumed: how long it is, how fast, and how often to look.
FREE = ("steps", "decay_share", "learning_rate", "average", "refine", "validate_every", "checkpoint_every")
SAMPLES = "samples"
_N_SAMPLES = 2  # clips that are written at each validation
_LEVELS_DBFS = (-42.0, -18.0)  # clips are set to a level between these at random
_AROUND_S = 0.1  # of the silence around a clip is kept
_LONGEST_VALIDATION = 4 * MEL.sample_rate  # samples
_MARGIN = (MEL.n_fft - MEL.hop_length) // 2
_SMALLEST = 1e-4  # magnitudes below it count as silence


@dataclass(frozen=True)
class VocoderSettings(Recipe):
    """The generator, its losses and optimiser; by default as measured in ``models/hifigan-nano``.

    `training.Recipe` describes the rest; what is written is the running mean of the weights.

    Attributes
    ----------
    channels : int; of the first layer, halved at every stage
    rates : tuple of int; factors of upsampling, which multiply to the hop; kernels are twice as long
    block_kernels, dilations : tuple of int; of the residual blocks, every dilation in every one
    batch_size : int
    segment_frames : int; mel frames per segment
    stft_sizes : tuple of int, samples; windows of the spectral loss, from pulses to harmonics
    refine : int; iterations of `phase.fit_to_mel` that the saved vocoder adds
    validate_every, checkpoint_every : int, steps
    validation_clips : int; clips that are held out
    """

    channels: int = 256
    rates: tuple[int, ...] = (4, 4, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7)
    dilations: tuple[int, ...] = (1, 3, 5)
    batch_size: int = 8
    segment_frames: int = 64
    stft_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    steps: int = 12_000
    warmup: int = 200
    decay_share: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.001
    max_norm: float = 5.0
    average: float = 0.998
    betas: tuple[float, float] = (0.8, 0.99)
    refine: int = 60
    validate_every: int = 500
    checkpoint_every: int = 500
    validation_clips: int = 8


def train_vocoder(
    manifest: pd.DataFrame, out: str | Path, settings: VocoderSettings | None = None, *,
    hold_out: Collection[str] = (), device: str = "auto", resume: bool = True, progress: bool = True,
) -> Pretraining:  # fmt: skip
    """Train a HiFi-GAN generator on the clips of a manifest.

    Parameters
    ----------
    manifest : DataFrame
        Each row's sound and, where it is there, `speaker` are read.
    out : str or Path
        Folder of the vocoder. A checkpoint in it is resumed, to weights bit-equal to an undisturbed
        training's on the same processor and number of threads; more steps than before continue from its end.
        ``samples/`` in it holds held-out clips as they sounded at each validation.
    settings : VocoderSettings, optional
    hold_out : collection of str
        Speakers that are never trained on; validation clips are theirs.
    device : str
        ``auto`` takes CUDA where there is one.
    resume : bool
        False starts again, whatever lies in `out`.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    done : Pretraining
        Its validation has the training's loss, log-mel L1, PESQ without and with refinement, and n_pesq, the
        number of clips that PESQ could rate; it finds no utterance in the others, or is given silence.

    Raises
    ------
    ValueError
        If fewer than two clips can be used, a held-out speaker isn't there, the settings don't fit the
        mel-spectrogram, the checkpoint in `out` is of other settings or speech, or the loss isn't finite; the
        last good checkpoint then stays.
    """
    started, out, settings = time.monotonic(), Path(out), settings or VocoderSettings()
    config = generator_config(settings)
    speech = load_speech(manifest, MEL.sample_rate, shortest_s=0.05, progress=progress)
    clips, held_out = split(speech, hold_out, settings)
    key = identity(settings, speech.speakers, clips, *speech.waves, free=FREE)

    with in_folder(out, key, resume=resume):
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = untrained(config, *_statistics(speech, clips, settings))
        training = Training(network, settings, key, device=device)
        references = [_wave(speech, clip)[:_LONGEST_VALIDATION] for clip in held_out]
        references = [wave[: MEL.frames(len(wave)) * MEL.hop_length] for wave in references]

        def loss(waves: Tensor) -> Tensor:
            with torch.autocast(waves.device.type, torch.bfloat16):
                made = training.whole(log_mel(waves))
            return loss_of(made.float(), waves[:, _MARGIN:-_MARGIN], settings)

        return carry_out(
            training, lambda step: draw(speech, clips, settings, step), loss,
            lambda: _validate(network, references, settings, out / SAMPLES, training.step),
            export, speech, out, started, name="train", progress=progress,
        )  # fmt: skip


def export(training: Training, out: Path) -> None:
    """Write the averaged generator, half precision."""
    with training.with_kept() as network:
        vocoder.HiFiGAN(network, device=str(training.accelerator.device)).save(out, half=True)  # type: ignore[arg-type]


def split(speech: Speech, hold_out: Collection[str], settings: VocoderSettings) -> tuple[Clips, Clips]:
    """Return the clips to train on and those to validate with: the held-out speakers', else some of all."""
    speakers = np.asarray(speech.speakers)
    if unknown := sorted(set(hold_out) - set(speech.speakers)):
        raise ValueError(
            f"held-out speaker {unknown[0]!r} is not in the manifest; expected one such as {speakers[0]!r}"
        )
    order = np.random.default_rng(settings.seed).permutation(len(speakers))
    away = order[np.isin(speakers[order], list(hold_out))] if hold_out else order
    validation = away[: settings.validation_clips]
    training = np.setdiff1d(order, away if hold_out else validation)
    if not len(training) or not len(validation):
        raise ValueError(
            f"{len(training)} clips to train on and {len(validation)} to validate with, of {len(speakers)}; "
            f"at least one of each is needed: add clips or hold out less"
        )
    return training, np.sort(validation)


def draw(speech: Speech, clips: Clips, settings: VocoderSettings, step: int) -> Tensor:
    """Return a step's segments, (B, S), at random levels, with the margins that their frames reach into."""
    rng, cut = np.random.default_rng((settings.seed, step)), []
    wanted = settings.segment_frames * MEL.hop_length + 2 * _MARGIN
    for clip in rng.choice(clips, settings.batch_size, p=speech.chances(clips)):
        wave = audio.level(_wave(speech, clip), rng.uniform(*_LEVELS_DBFS))
        padded = np.pad(wave, _MARGIN, mode="reflect")
        start = int(rng.integers(0, max(1, len(padded) - wanted + 1)))
        segment = padded[start : start + wanted]
        cut.append(np.pad(segment, (0, wanted - len(segment))))
    return torch.from_numpy(np.stack(cut))


def _wave(speech: Speech, clip: int) -> audio.Wave:
    """Return a clip with little of the silence around it."""
    around, (first, last) = round(_AROUND_S * MEL.sample_rate), speech.spans[clip]
    return speech.wave(clip, max(0, first - around), last + around)


def _statistics(speech: Speech, clips: Clips, settings: VocoderSettings) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each mel band over some clips, each (M,)."""
    steps = np.random.default_rng(settings.seed).integers(2**31, size=max(1, 256 // settings.batch_size))
    frames = torch.cat([log_mel(draw(speech, clips, settings, int(step))).flatten(0, 1) for step in steps])
    return frames.double().mean(dim=0).float(), frames.double().std(dim=0).clamp(min=0.1).float()


# ------------------------------------------------------------------------------------- losses


def loss_of(made: Tensor, target: Tensor, settings: VocoderSettings) -> Tensor:
    """Return the sum of the mel and the spectral loss of waves, (B, S), against waves, (B, S).

    Notes
    -----
    The spectral loss is, at each window size, the mean absolute difference of log magnitudes plus the norm of
    the difference of magnitudes over the norm of the target's; the mean over the sizes. None of it depends on
    the absolute phase, which a mel-spectrogram doesn't hold.
    """
    losses = []
    for size in settings.stft_sizes:
        own, wanted = (_magnitudes(waves, size) for waves in (made, target))
        distance = (wanted - own).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
        losses.append((own.log() - wanted.log()).abs().mean() + distance.mean())
    padded = (F.pad(waves[:, None], (_MARGIN, _MARGIN), mode="reflect") for waves in (made, target))
    own, wanted = (log_mel(waves[:, 0]) for waves in padded)
    return (own - wanted).abs().mean() + torch.stack(losses).mean()


def _magnitudes(waves: Tensor, size: int) -> Tensor:
    """Return magnitudes, (B, size // 2 + 1, T), of waves, (B, S), at a hop of a quarter window."""
    window = torch.hann_window(size, device=waves.device)
    spectrum = torch.stft(waves, size, size // 4, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=_SMALLEST**2).sqrt()


def log_mel(waves: Tensor) -> Tensor:
    """Return log-mel-spectrograms, (B, T, M), of waves with a margin on either side, as `audio.log_mel`."""
    window = torch.hann_window(MEL.n_fft, device=waves.device)
    spectrum = torch.stft(waves, MEL.n_fft, MEL.hop_length, window=window, center=False, return_complex=True)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    bands = torch.tensor(audio.mel_filters(MEL), device=waves.device) @ magnitude
    return bands.clamp(min=MEL.floor).log().transpose(1, 2)


# ------------------------------------------------------------------------------------- validation


def _validate(
    network: SpeechT5HifiGan, references: list[audio.Wave], settings: VocoderSettings, out: Path, step: int
) -> dict[str, float]:
    """Measure the weights on the held-out clips, and write the first clips' waves."""
    made, rate, rows = vocoder.HiFiGAN(network, device=str(network.device)), MEL.sample_rate, []
    for n, wave in enumerate(references):
        frames = audio.log_mel(wave, rate)
        plain, refined = made.vocode(frames, refine=0), made.vocode(frames)
        loss = loss_of(torch.from_numpy(plain)[None], torch.from_numpy(wave)[None], settings).item()
        scores = [_pesq(wave, given, rate) for given in (plain, refined)]
        rows.append([loss, quality.log_mel_l1(wave, plain, rate), *scores])
        if n < _N_SAMPLES:
            audio.write(out / f"{n}-step-{step:06d}.flac", audio.level(refined), rate)
    table = pd.DataFrame(rows, columns=["loss", "log_mel_l1", "pesq", "pesq_refined"])
    n_pesq = int(table[["pesq", "pesq_refined"]].notna().all(axis=1).sum())
    return {str(k): float(v) for k, v in table.mean().items()} | {"n_pesq": n_pesq}


def _pesq(reference: audio.Wave, degraded: audio.Wave, sample_rate: int) -> float:
    """Return PESQ, or NaN where it finds nothing to rate: a short clip, or an untrained network's silence."""
    try:
        return quality.pesq(reference, degraded, sample_rate)
    except ValueError:
        return float("nan")


# ------------------------------------------------------------------------------------- the generator


def generator_config(settings: VocoderSettings) -> SpeechT5HifiGanConfig:
    """Return the transformers configuration of a generator.

    Raises
    ------
    ValueError
        If the rates don't multiply to the hop of the mel-spectrogram.
    """
    if prod(settings.rates) != MEL.hop_length:
        raise ValueError(
            f"rates {settings.rates} multiply to {prod(settings.rates)}; expected the hop of the "
            f"mel-spectrogram, {MEL.hop_length}"
        )
    return SpeechT5HifiGanConfig.from_dict(
        {
            "model_in_dim": MEL.n_mels, "sampling_rate": MEL.sample_rate, "n_fft": MEL.n_fft,
            "fmin": MEL.fmin, "fmax": MEL.fmax, "upsample_initial_channel": settings.channels,
            "upsample_rates": list(settings.rates), "upsample_kernel_sizes": [2 * r for r in settings.rates],
            "resblock_kernel_sizes": list(settings.block_kernels),
            "resblock_dilation_sizes": [list(settings.dilations) for _ in settings.block_kernels],
            "normalize_before": True, "refine": settings.refine,
        }
    )  # fmt: skip


def untrained(config: SpeechT5HifiGanConfig, mean: Tensor, scale: Tensor) -> SpeechT5HifiGan:
    """Return a generator ready to learn: unit variance from layer to layer, residual branches near zero.

    transformers draws weights with a deviation of 0.01, which weight norm makes up for in the original;
    without it next to nothing would come through 30 layers.
    """
    network = vocoder.build(config)
    network.mean.copy_(mean)
    network.scale.copy_(scale)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, config.leaky_relu_slope, nonlinearity="leaky_relu")
            if "convs2" in name or name == "conv_post":
                module.weight.data *= 0.2
        elif isinstance(module, nn.ConvTranspose1d):  # each output has kernel / stride of the taps
            taps = module.in_channels * module.kernel_size[0] / module.stride[0]
            nn.init.normal_(module.weight, std=(2 / taps) ** 0.5)
    return network
