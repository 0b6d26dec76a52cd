"""A training in progress: its steps, its validation, its checkpoint, and its sound.

Every batch is a function of the seed and the step, so a training that was killed and taken up again ends
bit-equal to an undisturbed one on the same processor and number of threads.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from emolib import atomic, audio, threads
from emolib.mapper.crops import Crops
from emolib.mapper.linear import fit_linear_part
from emolib.mapper.network import Mapper, Network
from emolib.mapper.pairs import Mel, Pairs, mel_l1
from emolib.mapper.settings import Settings

CHECKPOINT, CURVE, SAMPLES = "checkpoint.safetensors", "validation.csv", "samples"
Vocode = Callable[[Mel], audio.Wave]


class Trainer:
    """A training in progress; `step` steps of it are done."""

    def __init__(
        self,
        pairs: Pairs,
        training: list[str],
        held_out: list[str],
        settings: Settings,
        device: torch.device,
        identity: str,
        provenance: dict[str, Any],
    ) -> None:
        self.settings, self.device, self.identity, self.provenance = settings, device, identity, provenance
        seen, unseen = pairs.of(set(training)), pairs.of(set(held_out))
        chosen = np.linspace(0, len(unseen) - 1, min(settings.validation_clips, len(unseen)))
        self.held_out = unseen.at([round(i) for i in chosen])
        self.crops = Crops(seen, settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = Network(seen.frames[0].shape[1], settings)
        self.seen = seen
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay
        )
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}

    @threads.single()
    def run(self, out: Path, vocode: Vocode, *, progress: bool = False) -> None:
        """Train to the end, from the checkpoint in `out` where there is one, and write the mapper there.

        The network then has the weights that were best.
        """
        settings = self.settings
        if (out / CHECKPOINT).exists():
            self.network.to(self.device)
            self.restore(out / CHECKPOINT)
        else:
            fit_linear_part(self.network, self.seen, settings)
            self.network.to(self.device)
            self.validate()
        bar = tqdm(total=settings.steps, initial=self.step, desc="mapper", unit="step", disable=not progress)
        with bar:
            while not ended(self.state(), settings):
                loss = self.advance(out)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                last = self.step == settings.steps
                if last or self.step % settings.validate_every == 0:
                    self.validate()
                if last or self.step % settings.sample_every == 0:
                    self.sample(out, vocode)
                if last or self.step % settings.checkpoint_every == 0:
                    self.checkpoint(out / CHECKPOINT)
        self.checkpoint(out / CHECKPOINT)
        self.export(out)

    def advance(self, out: Path) -> float:
        """Take one step and return its loss."""
        settings = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(self.step, settings)
        batch = self.crops.batch(self.step).to(self.device)
        self.network.train()
        fast = (
            settings.autocast and self.device.type == "cuda"
        )  # a processor emulates bfloat16, ten times slower
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            predicted = self.network(*batch.inputs)
        loss = losses(predicted, batch.mels, batch.mel_inside, settings)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):  # before the weights have changed
            raise ValueError(
                f"the loss at step {self.step + 1} is {loss.item()}; the last good checkpoint in {out} is "
                f"kept: start again with a learning rate below {settings.learning_rate:g}"
            )
        self.optimiser.step()
        self.step += 1
        return loss.item()

    def validate(self) -> None:
        """Measure the held-out speakers' clips, and keep the weights if they are the best so far."""
        mapper = self.mapper()
        pairs = zip(self.held_out.frames, self.held_out.mels, strict=True)
        errors = [mel_l1(mapper.map(frames, n_frames=len(mel)), mel) for frames, mel in pairs]
        self.curve.append({"step": self.step, "mel_l1": float(np.mean(errors))})
        if self.curve[-1]["mel_l1"] <= min(row["mel_l1"] for row in self.curve):
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}

    def sample(self, out: Path, vocode: Vocode) -> None:
        """Write the first held-out clip as sound, and its original mel-spectrogram's sound beside it."""
        frames, mel = self.held_out.frames[0], self.held_out.mels[0]
        log_mel = self.mapper().map(frames, n_frames=len(mel))
        for name, content in (("original", mel), (f"step-{self.step:06d}", log_mel)):
            path = out / SAMPLES / f"{name}.wav"
            if name != "original" or not path.exists():
                audio.write(path, audio.level(vocode(content)), audio.HIFIGAN_MEL.sample_rate)

    def mapper(self) -> Mapper:
        """Return the mapper of the weights as they are now."""
        return Mapper(self.network, self.settings, self.provenance)

    def state(self) -> dict[str, Any]:
        """Return what of the training is no tensor."""
        return {"identity": self.identity, "step": self.step, "curve": self.curve}

    def checkpoint(self, path: Path) -> None:
        """Write everything that the training needs to go on, whole or not at all."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for name, parameter in self.network.named_parameters():
            for moment, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{moment}.{name}"] = value
        data = save({k: v.contiguous() for k, v in tensors.items()}, {"state": json.dumps(self.state())})
        atomic.write_file(path, data)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to another training, or is damaged.
        """
        with atomic.open_tensors(path, str(self.device)) as file:
            state = json.loads(file.metadata()["state"])
            if state["identity"] != self.identity:
                raise ValueError(
                    f"{path} was made from other clips, settings or encoder weights; give another folder"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.step, self.curve = state["step"], state["curve"]
        for part in ("network.", "best."):
            self.best = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            self.network.load_state_dict(self.best if part == "network." else self.network.state_dict())
        for name, parameter in self.network.named_parameters():
            moments = ("step", "exp_avg", "exp_avg_sq")
            found = {
                m: tensors[f"optimiser.{m}.{name}"] for m in moments if f"optimiser.{m}.{name}" in tensors
            }
            if found:
                self.optimiser.state[parameter] = found

    def export(self, out: Path) -> None:
        """Write the mapper with its best weights, and the validation curve."""
        self.network.load_state_dict(self.best)
        best = min(row["mel_l1"] for row in self.curve)
        self.provenance |= {"steps": self.step, "mel_l1": best, "linear_l1": self.curve[0]["mel_l1"]}
        # the model's config.json is written last of all, and says that everything is there
        atomic.write_file(out / CURVE, pd.DataFrame(self.curve).to_csv(index=False).encode())
        self.mapper().save(out)


def losses(predicted: Tensor, target: Tensor, inside: Tensor, settings: Settings) -> Tensor:
    """Return the training loss of mel frames, (B, M, 80).

    Notes
    -----
    The mean absolute error, that of the differences between neighbouring frames, and that of averages over
    squares of several frames and bands: the last two see the movement and the envelope that a blurred answer
    gets wrong.
    """
    error = (predicted - target) * inside
    total = error.abs().sum() / (inside.sum() * error.shape[2])
    if settings.delta_weight:
        total = total + settings.delta_weight * (error.diff(dim=1) * inside[:, 1:]).abs().mean()
    if settings.scales:
        coarse = [nn.functional.avg_pool2d(error[:, None], scale).abs().mean() for scale in settings.scales]
        total = total + settings.scale_weight * torch.stack(coarse).sum()
    return total


def schedule(step: int, settings: Settings) -> float:
    """Return the factor on the learning rate: up over the warm-up, then down as a half cosine."""
    fall = 0.5 * (1 + math.cos(math.pi * step / max(1, settings.steps)))
    return min((step + 1) / max(1, settings.warmup), 1.0) * fall


def ended(state: dict[str, Any], settings: Settings) -> bool:
    """Tell whether all steps are done, or too many validations have brought no gain."""
    values = [row["mel_l1"] for row in state["curve"]]
    record, since = math.inf, 0
    for value in values:
        record, since = (value, 0) if value < 0.999 * record else (record, since + 1)
    return state["step"] >= settings.steps or since >= settings.patience
