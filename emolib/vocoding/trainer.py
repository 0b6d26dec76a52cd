"""A training in progress, and the checkpoint that nothing is lost with.

Fifth stage of `emolib.vocoding`. A checkpoint is one safetensors file: weights, their running mean, the
optimisers' moments, and the step and validation curve in its header. Nothing is pickled.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from emolib import atomic, audio, hifigan, quality
from emolib.audio import HIFIGAN_MEL
from emolib.vocoder import HiFiGAN
from emolib.vocoding.batches import Batch, Batches
from emolib.vocoding.discriminators import Discriminators, discriminator_loss, generator_loss, same_level
from emolib.vocoding.generator import untrained
from emolib.vocoding.losses import log_mel, spectral_loss
from emolib.vocoding.settings import Settings

CHECKPOINT, CURVE, HEARD = "checkpoint.safetensors", "validation.csv", "heard"
_N_HEARD = 2  # clips that are written at each validation


class Trainer:
    """A training in progress; `step` steps of it are done."""

    def __init__(
        self,
        batches: Batches,
        held_out: list[tuple[NDArray[np.float32], audio.Wave]],
        config: SpeechT5HifiGanConfig,
        device: torch.device,
        identity: str,
    ) -> None:
        settings = batches.settings
        self.settings, self.batches, self.held_out = settings, batches, held_out
        self.device, self.identity = device, identity
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            self.generator = untrained(config, *batches.statistics()).eval().to(device)
            self.judges = Discriminators().to(device)
        self.average = copy.deepcopy(self.generator).eval()
        self.optimiser = self._optimiser(self.generator)
        self.judges_optimiser = self._optimiser(self.judges)
        self.step = 0
        self.curve: list[dict[str, float]] = []

    def _optimiser(self, module: nn.Module) -> torch.optim.AdamW:
        settings = self.settings
        return torch.optim.AdamW(
            module.parameters(), settings.learning_rate, (0.8, 0.99), weight_decay=settings.weight_decay
        )

    def run(self, out: Path, *, progress: bool = True) -> None:
        """Train to the end, from the checkpoint in `out` where there is one, and write the vocoder there."""
        settings = self.settings
        if (out / CHECKPOINT).exists():
            self.restore(out / CHECKPOINT)
        bar = tqdm(total=settings.steps, initial=self.step, desc="train", unit="step", disable=not progress)
        with bar:
            while self.step < settings.steps:
                loss = self.advance(out)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                last = self.step == settings.steps
                if last or self.step % settings.validate_every == 0:
                    self.curve.append({"step": self.step, **self.validate(out)})
                if last or self.step % settings.checkpoint_every == 0:
                    self.checkpoint(out / CHECKPOINT)
                    if not last:
                        self.export(out)
        self.export(out)  # always: a training killed after its last checkpoint has not come to it

    def advance(self, out: Path) -> float:
        """Take one step and return its loss."""
        settings = self.settings
        rate = settings.learning_rate * schedule(self.step, settings)
        adversarial = self.step >= settings.adversarial_from
        batch = self.batches.training(self.step).to(self.device)
        self.generator.train()
        waves = self.generate(self.generator, batch.log_mel)
        if adversarial:
            self._teach_judges(batch, waves.detach(), rate * settings.discriminator_rate, out)
        loss = self.loss(waves, batch)
        total = loss + self._fool_judges(batch, waves) if adversarial else loss
        _descend(total, self.generator, self.optimiser, rate, self.step, settings.max_norm, out)
        self.step += 1
        self._average()
        return loss.item()

    def generate(self, network: SpeechT5HifiGan, frames: Tensor) -> Tensor:
        """Return the waves, (B, S), of log-mel-spectrograms, (B, T, M)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            waves: Tensor = network(frames)
        return waves.float()

    def loss(self, waves: Tensor, batch: Batch) -> Tensor:
        """Return the weighted sum of the spectral and the mel loss."""
        settings = self.settings
        target = log_mel(batch.waves, HIFIGAN_MEL)
        mel = (log_mel(waves, HIFIGAN_MEL) - target).abs().mean()
        return settings.mel_weight * mel + settings.stft_weight * spectral_loss(
            waves, batch.waves, settings.stft_sizes
        )

    def _teach_judges(self, batch: Batch, waves: Tensor, rate: float, out: Path) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            real = self.judges(same_level(batch.waves, batch.waves))
            fake = self.judges(same_level(waves, batch.waves))
        loss = discriminator_loss(real, fake)
        _descend(loss, self.judges, self.judges_optimiser, rate, self.step, self.settings.max_norm, out)

    def _fool_judges(self, batch: Batch, waves: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            with torch.no_grad():
                real = self.judges(same_level(batch.waves, batch.waves))
            fake = self.judges(same_level(waves, batch.waves))
        fooled, distance = generator_loss(real, fake)
        return self.settings.adversarial_weight * fooled + self.settings.match_weight * distance

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.average, self.step / (9 + self.step))
        for mean, current in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)

    @torch.no_grad()
    def validate(self, out: Path) -> dict[str, float]:
        """Measure the averaged weights on the held-out clips, and leave two of them to be heard."""
        vocoder = HiFiGAN(self.average, device=str(self.device))
        rate, rows = HIFIGAN_MEL.sample_rate, []
        for n, (frames, wave) in enumerate(self.held_out):
            plain, refined = vocoder.vocode(frames, refine=0), vocoder.vocode(frames)
            batch = Batch(torch.from_numpy(frames)[None], torch.from_numpy(wave)[None])
            loss = self.loss(torch.from_numpy(plain)[None], batch).item()
            scores = [_pesq(wave, given, rate) for given in (plain, refined)]
            rows.append([loss, quality.log_mel_l1(wave, plain, rate), *scores])
            if n < _N_HEARD:
                audio.write(out / HEARD / f"{n}-step-{self.step:06d}.flac", audio.level(refined), rate)
        table = pd.DataFrame(rows, columns=["loss", "log_mel_l1", "pesq", "pesq_refined"])
        n_pesq = int(table[["pesq", "pesq_refined"]].notna().all(axis=1).sum())
        return {str(k): float(v) for k, v in table.mean().items()} | {"n_pesq": n_pesq}

    def checkpoint(self, path: Path) -> None:
        """Write everything that the training needs to go on, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, (module, optimiser) in self._optimisers().items():
            for key, parameter in module.named_parameters():
                for moment, value in optimiser.state[parameter].items():
                    tensors[f"{name}.{moment}.{key}"] = value
        progress = {"step": self.step, "curve": self.curve, "identity": self.identity}
        whole = {name: value.contiguous() for name, value in tensors.items()}
        atomic.write_file(path, save(whole, {"progress": json.dumps(progress)}))

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to other settings or other speech, or is damaged.
        """
        with atomic.open_tensors(path, str(self.device)) as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != self.identity:
                raise ValueError(
                    f"{path} was made from other settings or other speech; give another folder, or "
                    f"resume=False to start again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.step, self.curve = progress["step"], progress["curve"]
        for name, module in self._modules().items():
            module.load_state_dict(
                {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )
        for name, (module, optimiser) in self._optimisers().items():
            for key, parameter in module.named_parameters():
                moments = {
                    moment: tensors[f"{name}.{moment}.{key}"] for moment in ("step", "exp_avg", "exp_avg_sq")
                    if f"{name}.{moment}.{key}" in tensors
                }  # fmt: skip
                if moments:
                    optimiser.state[parameter] = moments

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "average": self.average, "judges": self.judges}

    def _optimisers(self) -> dict[str, tuple[nn.Module, torch.optim.AdamW]]:
        return {
            "optimiser": (self.generator, self.optimiser),
            "judges_optimiser": (self.judges, self.judges_optimiser),
        }

    def export(self, out: Path) -> None:
        """Write the averaged generator, half precision, and the validation curve."""
        hifigan.save_network(self.average, out, half=True)
        pd.DataFrame(self.curve).to_csv(out / CURVE, index=False)


def _pesq(reference: audio.Wave, degraded: audio.Wave, sample_rate: int) -> float:
    """Return PESQ, or NaN where it finds nothing to rate: a short clip, or an untrained network's silence."""
    try:
        return quality.pesq(reference, degraded, sample_rate)
    except ValueError:
        return float("nan")


def schedule(step: int, settings: Settings) -> float:
    """Return the factor on the learning rate: up over the warm-up, level, and down to 0 over the decay."""
    decay = max(1, round(settings.decay_share * settings.steps))
    return min((step + 1) / max(1, settings.warmup), (settings.steps - step) / decay, 1.0)


def _descend(
    loss: Tensor,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    rate: float,
    step: int,
    max_norm: float,
    out: Path,
) -> None:
    """Move a module's weights down its loss's gradient, unless that isn't finite."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):  # before the weights have changed
        raise ValueError(
            f"the loss at step {step + 1} is {loss.item()} (norm of its gradient {norm.item()}); the last "
            f"good checkpoint in {out} is kept: start again with a learning rate below {rate:g}"
        )
    optimiser.step()
