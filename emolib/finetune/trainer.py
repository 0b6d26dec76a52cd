"""The training itself: epochs, the score of held-out speakers after each, and the best of them.

The speakers who choose the epoch are not those whose score is quoted: the highest of many scores on some
clips is too high an estimate for others.

Sixth stage of `emolib.finetune`. Accelerate runs it in mixed precision, with accumulated gradients, and on
several GPUs by its own launcher.
"""

import contextlib
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from emolib import encoders
from emolib.finetune import network
from emolib.finetune.checkpoint import Checkpoint
from emolib.finetune.settings import Settings
from emolib.finetune.speech import AXES, Speech
from emolib.metrics import ccc, unweighted_accuracy


class Trainer:
    """A training in progress; `len(curve)` epochs of it are done."""

    def __init__(self, speech: Speech, settings: Settings, device: str, identity: str) -> None:
        self.speech, self.settings, self.identity = speech, settings, identity
        # accelerate keeps a process's first precision for good: a second training may want another
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            mixed_precision=settings.precision, cpu=encoders.torch_device(device).type == "cpu",
        )  # fmt: skip
        self._targets()
        self._split()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._build()
        self.curve: list[dict[str, float]] = []
        self.best_epoch, self.best_score = 0, -np.inf
        self.best: dict[str, Tensor] = {}

    @property
    def head(self) -> network.Head:
        """The head, as it is now."""
        return self.network.head

    def begin_with(self, head: network.Head) -> None:
        """Take over a head that was trained before; with it, this is epoch 0 and the best so far."""
        self.head.load_state_dict(head.state_dict())
        self._keep(0, self.score(self.held_rows))

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
        held, tested = self.settings.held_out, self.settings.tested
        n_held = min(len(names) - 1 - (tested > 0), max(1, round(held * len(names))))
        n_tested = min(len(names) - 1 - n_held, max(1, round(tested * len(names)))) if tested else 0
        self.held_out = sorted(names[:n_held].tolist())
        self.tested = sorted(names[n_held : n_held + n_tested].tolist())
        self.held_rows, self.tested_rows = (
            np.flatnonzero(np.isin(speakers, part)) for part in (self.held_out, self.tested)
        )
        self.train_rows = np.flatnonzero(~np.isin(speakers, [*self.held_out, *self.tested]))

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
        self.network = network.Whole(speech.encoder, head, speech.normalise)
        groups = [{"params": list(head.parameters()), "lr": settings.head_rate}]
        groups += [{"params": learning, "lr": settings.encoder_rate}] if learning else []
        optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.whole, self.optimiser = self.accelerator.prepare(self.network, optimiser)

    @torch.no_grad()
    def _pooled(self, rows: NDArray[np.intp]) -> Tensor:
        """Return whole clips' pooled states, (n, L, D)."""
        if self.speech.states is not None and not self.speech.frames:
            return self.speech.states[rows]
        encoder, normalise = self.speech.encoder.eval(), self.speech.normalise
        parts = [self.speech.whole(rows[i : i + 1]) for i in range(len(rows))]
        return torch.cat([network.states_of(encoder, part, normalise) for part in parts])

    def run(self, path: Path | None = None, *, progress: bool = False) -> None:
        """Train to the end and keep the best epoch; where a path is given, write a checkpoint after each."""
        settings = self.settings
        bar = tqdm(total=settings.n_epochs, initial=len(self.curve), desc="finetune", disable=not progress)
        with bar:
            while not self._ended():
                loss = self.epoch(len(self.curve))
                score = self.score(self.held_rows)
                self.curve.append({"epoch": len(self.curve) + 1, "loss": loss, "score": score})
                if score > self.best_score:
                    self._keep(len(self.curve), score)
                if path is not None and self.accelerator.is_main_process:
                    self.checkpoint().write(path)
                bar.update()
        self._load(self.best)

    def _keep(self, epoch: int, score: float) -> None:
        self.best_epoch, self.best_score = epoch, score
        self.best = {name: value.detach().clone() for name, value in self._learned().items()}

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
        batches = [own[i : i + settings.batch_size] for i in range(0, len(own), settings.batch_size)]
        if settings.target == "ratings":
            batches = [rows for rows in batches if len(rows) > 1]  # a single clip has no concordance
        losses: list[float] = []
        self.whole.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed * 1_000_003 + number)
            for i in range(0, len(batches), settings.accumulation):
                losses += self._step(batches[i : i + settings.accumulation], rng)
        return float(np.mean(losses))

    def _step(self, batches: list[NDArray[np.intp]], rng: np.random.Generator) -> list[float]:
        """Take one step down the mean gradient of some batches, at an epoch's end of those that are left."""
        losses = []
        for i, rows in enumerate(batches):
            heard = self.speech.training(rows, self.settings.crop_s, rng)
            last = i + 1 == len(batches)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.whole):
                with self.accelerator.autocast():
                    loss = self._loss(self.whole(heard), self.targets[rows].to(self.accelerator.device))
                if not torch.isfinite(loss):
                    raise ValueError(f"the loss is {loss.item()}; start again with a lower learning rate")
                self.accelerator.backward(loss / len(batches))
            losses.append(float(loss.item()))
        self.accelerator.clip_grad_norm_(self.whole.parameters(), 5.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return losses

    def _loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        if self.settings.target == "ratings":
            return network.ccc_loss(answers, targets)
        return network.classification_loss(answers, targets, self.weight)

    @torch.no_grad()
    def score(self, rows: NDArray[np.intp]) -> float:
        """Return the UA of some clips, or their CCC averaged over the axes; NaN of none."""
        if not len(rows):
            return float("nan")
        self.network.eval()
        head = self.network.head
        answers = head(self._pooled(rows).to(head.mix.device)).cpu()
        truth = self.targets[rows].numpy()
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

    def checkpoint(self) -> Checkpoint:
        """Return everything that the training needs to go on."""
        progress = {
            "identity": self.identity, "curve": self.curve, "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "scale": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
        }  # fmt: skip
        return Checkpoint(self._learned(), self.best, self.optimiser.state_dict()["state"], progress)

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint; of another training, it raises ValueError."""
        kept = Checkpoint.read(path, self.identity)
        self.curve, self.best_epoch = kept.progress["curve"], kept.progress["best_epoch"]
        self.best_score, self.best = kept.progress["best_score"], kept.best
        self._load(kept.now)
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": kept.optimiser})
        if kept.progress["scale"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(kept.progress["scale"])
