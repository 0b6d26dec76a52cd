"""The training, and the checkpoint after every epoch that nothing more than an epoch is lost with.

Fifth stage of `emolib.finetune`. Speakers that are held out decide when to end and which epoch is kept.
Accelerate runs it in mixed precision, with accumulated gradients, and on several GPUs by its own launcher.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from emolib import audio, encoders
from emolib.finetune import model as folders
from emolib.finetune import network
from emolib.finetune.settings import Settings
from emolib.finetune.speech import AXES, Speech, identity_of, usable
from emolib.metrics import ccc, unweighted_accuracy

CHECKPOINT, CURVE = "checkpoint.safetensors", "validation.csv"


@dataclass(frozen=True)
class Training:
    """What a fine-tuning did.

    Attributes
    ----------
    folder : Path; for `FineTuned`
    curve : DataFrame; epoch, training loss, and score of the held-out speakers: UA, or mean CCC
    best_epoch : int; score : float; of the epoch that was kept
    held_out : list of str; speakers
    n_clips : int; skipped : list of dict, clip and reason of each that could not be used
    seconds : float; of this call
    """

    folder: Path
    curve: pd.DataFrame
    best_epoch: int
    score: float
    held_out: list[str]
    n_clips: int
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0


class _Network(nn.Module):
    """Encoder and head as one module, so that gradients of both are joined across GPUs."""

    def __init__(self, encoder: Any, head: network.Head, normalise: bool) -> None:
        super().__init__()
        self.encoder = encoder if isinstance(encoder, nn.Module) else None
        self.head, self.normalise = head, normalise

    def forward(self, heard: Tensor | list[audio.Wave]) -> Tensor:
        if isinstance(heard, Tensor):
            return self.head(heard.to(self.head.mix.device))
        return self.head(network.pooled_states(self.encoder, heard, self.normalise))


def finetune(
    manifest: pd.DataFrame,
    out: str | Path,
    settings: Settings | None = None,
    *,
    encoder: str = encoders.DEFAULT,
    device: str = "auto",
    resume: bool = True,
    progress: bool = False,
) -> Training:
    """Fine-tune an encoder on the categories of a manifest, or on its ratings.

    Parameters
    ----------
    manifest : DataFrame, as `corpora.load` returns it
    out : str or Path
        Folder of the result. A checkpoint in it is taken up; a finished training there is returned at once.
    settings : Settings, optional
        A frozen encoder under categories by default.
    encoder : str; a name for `encoders.load`
    device : str
    resume : bool; False starts again
    progress : bool

    Raises
    ------
    ValueError
        If a setting is out of range, there are fewer than two classes or speakers, ratings are asked for and
        none are there, or the folder holds a training of something else.
    """
    started, settings, out = time.perf_counter(), (settings or Settings()).check(), Path(out)
    manifest = usable(manifest, settings)
    speech = Speech(manifest, encoder, settings, device)
    identity = identity_of(speech.manifest, settings, encoder)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(speech, settings, device, identity)
    if resume and (out / CHECKPOINT).exists():
        trainer.restore(out / CHECKPOINT)
    trainer.run(out, progress=progress)
    return Training(
        out, pd.DataFrame(trainer.curve), trainer.best_epoch, trainer.best_score, trainer.held_out,
        len(speech.manifest), speech.skipped, time.perf_counter() - started,
    )  # fmt: skip


class Trainer:
    """A training in progress; `len(curve)` epochs of it are done."""

    def __init__(self, speech: Speech, settings: Settings, device: str, identity: str) -> None:
        self.speech, self.settings, self.identity = speech, settings, identity
        self.accelerator = Accelerator(
            mixed_precision=settings.precision, gradient_accumulation_steps=settings.accumulation,
            cpu=encoders.torch_device(device).type == "cpu",
        )  # fmt: skip
        self._targets()
        self._split()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._build()
        self.curve: list[dict[str, float]] = []
        self.best_epoch, self.best_score = 0, -np.inf
        self.best: dict[str, Tensor] = {}

    def _targets(self) -> None:
        manifest = self.speech.manifest
        if self.settings.target == "ratings":
            self.classes = list(AXES)
            self.targets = torch.from_numpy(manifest[list(AXES)].to_numpy(np.float32))
            self.weight = None
            return
        names, codes = np.unique(manifest["emotion"].to_numpy().astype(str), return_inverse=True)
        self.classes, self.targets = names.tolist(), torch.from_numpy(codes)
        weight = torch.from_numpy(len(codes) / (len(names) * np.bincount(codes))).float()
        self.weight = weight.to(self.accelerator.device) if self.settings.class_weights else None

    def _split(self) -> None:
        speakers = self.speech.manifest["speaker"].to_numpy().astype(str)
        names = np.random.default_rng(self.settings.seed).permutation(np.unique(speakers))
        n_held = min(len(names) - 1, max(1, round(self.settings.held_out * len(names))))
        self.held_out = sorted(names[:n_held].tolist())
        held = np.isin(speakers, self.held_out)
        self.train_rows, self.held_rows = np.flatnonzero(~held), np.flatnonzero(held)

    def _build(self) -> None:
        settings, speech = self.settings, self.speech
        learning: list[nn.Parameter] = []
        if isinstance(speech.encoder, nn.Module):
            learning = network.free(speech.encoder, settings.free_layers)
        look = self.train_rows
        if speech.states is None:  # a sample tells the level and spread of every layer
            look = look[:: max(1, len(look) // 64)]
        pooled = self._pooled(look)
        n_layers, width = pooled.shape[1:]
        head = network.Head(n_layers, width, settings.bottleneck, len(self.classes), settings.dropout)
        head.standardise(pooled)
        self.network = _Network(speech.encoder, head, speech.normalise)
        groups = [{"params": list(head.parameters()), "lr": settings.head_rate}]
        groups += [{"params": learning, "lr": settings.encoder_rate}] if learning else []
        optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.whole, self.optimiser = self.accelerator.prepare(self.network, optimiser)

    @torch.no_grad()
    def _pooled(self, rows: NDArray[np.intp]) -> Tensor:
        """Return whole clips' pooled states, (n, L, D)."""
        if self.speech.states is not None:
            return self.speech.states[rows]
        encoder = self.speech.encoder.eval()
        waves = [self.speech.waves[row] for row in rows]
        return torch.cat([network.pooled_states(encoder, [wave], self.speech.normalise) for wave in waves])

    def run(self, out: Path, *, progress: bool = False) -> None:
        """Train to the end, and write the best epoch's network."""
        settings = self.settings
        bar = tqdm(total=settings.n_epochs, initial=len(self.curve), desc="finetune", disable=not progress)
        with bar:
            while not self._ended():
                loss = self.epoch(len(self.curve))
                score = self.validate()
                self.curve.append({"epoch": len(self.curve) + 1, "loss": loss, "score": score})
                if score > self.best_score:
                    self.best_epoch, self.best_score = len(self.curve), score
                    self.best = {name: value.detach().clone() for name, value in self._learned().items()}
                if self.accelerator.is_main_process:
                    self.checkpoint(out / CHECKPOINT)
                bar.update()
        self._load(self.best)
        if self.accelerator.is_main_process:
            pd.DataFrame(self.curve).to_csv(out / CURVE, index=False)
            folders.write(
                out, self.speech.encoder, self.speech.normalise, self.network.head, self.classes, settings,
                self.identity,
            )  # fmt: skip

    def _ended(self) -> bool:
        done = len(self.curve)
        return done >= self.settings.n_epochs or (
            done > 0 and done - self.best_epoch >= self.settings.patience
        )

    def epoch(self, number: int) -> float:
        """Hear every training clip once, in an order and with dropout that the epoch's number fixes."""
        settings, accelerator = self.settings, self.accelerator
        rng = np.random.default_rng((settings.seed, number))
        order = rng.permutation(self.train_rows)
        own = order[accelerator.process_index :: accelerator.num_processes]
        losses = []
        self.whole.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed * 1_000_003 + number)
            for start in range(0, len(own), settings.batch_size):
                rows = own[start : start + settings.batch_size]
                if self.settings.target == "ratings" and len(rows) < 2:
                    continue  # a single clip has no concordance
                losses.append(self._step(rows, rng))
        return float(np.mean(losses))

    def _step(self, rows: NDArray[np.intp], rng: np.random.Generator) -> float:
        states = self.speech.states
        heard = states[rows] if states is not None else self.speech.crops(rows, self.settings.crop_s, rng)
        with self.accelerator.accumulate(self.whole), self.accelerator.autocast():
            loss = self._loss(self.whole(heard), self.targets[rows].to(self.accelerator.device))
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()}; start again with a lower learning rate")
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.whole.parameters(), 5.0)
            self.optimiser.step()
            self.optimiser.zero_grad()
        return float(loss.item())

    def _loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        if self.settings.target == "ratings":
            return network.ccc_loss(answers, targets)
        return network.classification_loss(answers, targets, self.weight)

    @torch.no_grad()
    def validate(self) -> float:
        """Return the held-out speakers' UA, or their CCC averaged over the axes."""
        self.network.eval()
        head = self.network.head
        answers = head(self._pooled(self.held_rows).to(head.mix.device)).cpu()
        truth = self.targets[self.held_rows].numpy()
        if self.settings.target == "ratings":
            return float(np.mean([ccc(truth[:, i], answers[:, i].numpy()) for i in range(2)]))
        return unweighted_accuracy(truth, answers.argmax(1).numpy())

    def _learned(self) -> dict[str, Tensor]:
        """Return what training changes: the head, and what is free of the encoder."""
        tensors = {f"head.{name}": value for name, value in self.network.head.state_dict().items()}
        named = self.network.named_parameters()
        return tensors | {
            name: p.data for name, p in named if p.requires_grad and not name.startswith("head.")
        }

    def _load(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._learned().items():
                value.copy_(tensors[name])

    def checkpoint(self, path: Path) -> None:
        """Write everything that the training needs to go on, whole or not at all."""
        tensors = {f"now.{name}": value for name, value in self._learned().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{moment}": value for moment, value in state.items()}
        progress = {
            "identity": self.identity, "curve": self.curve, "best_epoch": self.best_epoch,
            "best_score": self.best_score,
        }  # fmt: skip
        unfinished = path.with_suffix(".tmp")
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(whole, unfinished, {"progress": json.dumps(progress)})
        unfinished.replace(path)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to other settings, another encoder or other speech.
        """
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != self.identity:
                raise ValueError(
                    f"{path} was made from other settings, another encoder or other speech; give another "
                    f"folder, or resume=False to start again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.curve, self.best_epoch = progress["curve"], progress["best_epoch"]
        self.best_score = progress["best_score"]
        self.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}
        self._load({name[4:]: value for name, value in tensors.items() if name.startswith("now.")})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, moment = name.split(".")
                state.setdefault(int(number), {})[moment] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
