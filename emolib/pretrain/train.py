"""The training itself, and the checkpoint that nothing is lost with.

Last stage of `emolib.pretrain`. A checkpoint is one safetensors file: weights, their running mean, the
optimiser's moments, and the step and validation curve in its header. Nothing is pickled.
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from torch import nn
from tqdm.auto import tqdm
from transformers import Wav2Vec2FeatureExtractor

from emolib import atomic
from emolib.encoders import torch_device
from emolib.pretrain.batches import Batches, Speech, load_speech, measure
from emolib.pretrain.network import LOSSES, Network
from emolib.pretrain.settings import Settings
from emolib.pretrain.targets import Targets

#: Settings that may change where a training is taken up: how long to go on, and how often to look.
_FREE = ("steps", "decay_share", "validate_every", "checkpoint_every")
CHECKPOINT, TARGETS, CURVE = "checkpoint.safetensors", "targets.safetensors", "validation.csv"


@dataclass(frozen=True)
class Pretraining:
    """What a pretraining did.

    Attributes
    ----------
    folder : Path; a Hugging Face folder of a `Wav2Vec2Model`
    steps : int
    validation : DataFrame; step, the loss of the held-out clips, and its four parts unweighted
    n_clips, speech_s : int and float; clips used, held-out ones included, and their length
    skipped : list of dict; path and reason of each clip that could not be used
    seconds : float; of this call
    """

    folder: Path
    steps: int
    validation: pd.DataFrame
    n_clips: int
    speech_s: float
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def pretrain(
    manifest: pd.DataFrame,
    out: str | Path,
    settings: Settings | None = None,
    *,
    device: str = "auto",
    resume: bool = True,
    progress: bool = True,
) -> Pretraining:
    """Train a wav2vec 2.0 network on the clips of a manifest, without their labels.

    Parameters
    ----------
    manifest : DataFrame
        `path` is read, and `corpus` and `speaker` where they are there: targets are relative to the speaker.
    out : str or Path
        Folder of the network. A checkpoint in it is taken up, to weights bit-equal to an undisturbed
        training's on the same processor and number of threads; more steps than before go on from its end.
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
    start, out, settings = time.monotonic(), Path(out), settings or Settings()
    if len(manifest) == 0:
        raise ValueError("the manifest has no clips; give one with at least a path for each clip to train on")
    speech, skipped = load_speech(manifest, progress=progress)
    if len(speech.waves) < 2:
        problem = skipped[0]["reason"] if skipped else "there is one clip"
        raise ValueError(
            f"{len(speech.waves)} of {len(manifest)} clips can be used and at least 2 are needed, one to "
            f"train on and one held out; the first problem: {problem}"
        )
    identity = _identity(speech, settings)
    with atomic.locked(out):  # a second process waits, and then is told if this is another training
        if not resume:
            for name in (CHECKPOINT, TARGETS):
                (out / name).unlink(missing_ok=True)
        targets = _targets(out, identity, speech, settings, progress)
        trainer = Trainer(speech, targets, settings, torch_device(device), identity)
        trainer.run(out, progress=progress)
    return Pretraining(
        folder=out, steps=trainer.step, validation=pd.DataFrame(trainer.curve), n_clips=len(speech.waves),
        speech_s=speech.seconds, skipped=skipped, seconds=time.monotonic() - start,
    )  # fmt: skip


def _identity(speech: Speech, settings: Settings) -> str:
    """Return a hash of the speech and of the settings that have to stay."""
    fixed = {k: v for k, v in dataclasses.asdict(settings).items() if k not in _FREE}
    digest = hashlib.sha256(json.dumps(fixed).encode())
    for wave, voice in zip(speech.waves, speech.voices, strict=True):
        digest.update(wave.tobytes() + voice.encode())
    return digest.hexdigest()


def _targets(out: Path, identity: str, speech: Speech, settings: Settings, progress: bool) -> Targets:
    """Make the targets, or read them back where this training has made them before."""
    path = out / TARGETS
    if path.exists():
        with contextlib.suppress(ValueError):  # a damaged one is made again
            stored, targets = Targets.load(path)
            if stored == identity:
                return targets
    targets = measure(speech, settings, progress=progress)
    targets.save(path, identity)
    return targets


class Trainer:
    """A training in progress; `step` steps of it are done."""

    def __init__(
        self, speech: Speech, targets: Targets, settings: Settings, device: torch.device, identity: str
    ) -> None:
        self.settings, self.device, self.identity = settings, device, identity
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            self.network = Network(settings, targets.expression.shape[1]).to(device)
        self.average = copy.deepcopy(self.network).eval()
        filters = list(self.network.first_layer.parameters())
        others = [p for p in self.network.parameters() if all(p is not own for own in filters)]
        self.optimiser = torch.optim.AdamW(
            [{"params": others, "factor": 1.0}, {"params": filters, "factor": settings.filter_rate}],
            settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay,
        )  # fmt: skip
        order = np.random.default_rng(settings.seed).permutation(len(speech.waves))
        n_held_out = max(1, round(settings.validation_share * len(order)))
        self.held_out = Batches(speech, targets, np.sort(order[:n_held_out]), settings).validation()
        self.batches = Batches(speech, targets, np.sort(order[n_held_out:]), settings)
        self.step = 0
        self.curve: list[dict[str, float]] = []

    def run(self, out: Path, *, progress: bool = True) -> None:
        """Train to the end, from the checkpoint in `out` where there is one, and write the network there."""
        settings = self.settings
        if (out / CHECKPOINT).exists():
            self.restore(out / CHECKPOINT)
        bar = tqdm(
            total=settings.steps, initial=self.step, desc="pretrain", unit="step", disable=not progress
        )
        with bar:
            while self.step < settings.steps:
                loss = self.advance(out)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                last = self.step == settings.steps
                if last or self.step % settings.validate_every == 0:
                    self.curve.append({"step": self.step, **self.validate()})
                if last or self.step % settings.checkpoint_every == 0:
                    self.checkpoint(out / CHECKPOINT)
                    if not last:
                        self.export(out)
        self.export(out)  # always: a training killed after its last checkpoint has not come to it

    def advance(self, out: Path) -> float:
        """Take one step and return its loss."""
        settings = self.settings
        rate = settings.learning_rate * schedule(self.step, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        batch = self.batches.training(self.step).to(self.device)
        self.network.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(settings.seed * 1_000_003 + self.step)  # dropout is a function of the step
            loss = self.network.total(self.network(batch))
            self.optimiser.zero_grad()
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):  # before the weights have changed
            raise ValueError(
                f"the loss at step {self.step + 1} is {loss.item()} (norm of its gradient {norm.item()}); "
                f"the last good checkpoint in {out} is kept: start again with a learning rate below "
                f"{settings.learning_rate:g}"
            )
        self.optimiser.step()
        self.step += 1
        self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.average, self.step / (9 + self.step))
        for mean, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the losses of the held-out clips under the averaged weights."""
        parts = [self.average(batch.to(self.device)) for batch in self.held_out]
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in LOSSES}
        return {
            "loss": float(self.average.total(means)),
            **{name: float(value) for name, value in means.items()},
        }

    def checkpoint(self, path: Path) -> None:
        """Write everything that the training needs to go on, whole or not at all."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for moment, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{moment}.{name}"] = value
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
        for part, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict(
                {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            )
        for name, parameter in self.network.named_parameters():
            self.optimiser.state[parameter] = {
                moment: tensors[f"optimiser.{moment}.{name}"] for moment in ("step", "exp_avg", "exp_avg_sq")
                if f"optimiser.{moment}.{name}" in tensors
            }  # fmt: skip

    def export(self, out: Path) -> None:
        """Write the averaged network as a Hugging Face folder, half precision, and the validation curve."""
        copy.deepcopy(self.average.encoder).half().save_pretrained(out)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(out)
        pd.DataFrame(self.curve).to_csv(out / CURVE, index=False)


def schedule(step: int, settings: Settings) -> float:
    """Return the factor on the learning rate: up over the warm-up, level, and down to 0 over the decay."""
    decay = max(1, round(settings.decay_share * settings.steps))
    return min((step + 1) / max(1, settings.warmup), (settings.steps - step) / decay, 1.0)
