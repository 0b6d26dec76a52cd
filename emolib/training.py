"""The one training loop: steps, validation, averaged or best weights, and a checkpoint that survives a kill.

Everything random in a step is a function of the seed and the step's number. So a training that was stopped
and resumed ends with weights bit-equal to an undisturbed one's, on the same processor and number of threads.
Accelerate moves it to a GPU or several, and computes in mixed precision.
"""

import contextlib
import dataclasses
import hashlib
import json
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from emolib import files

CHECKPOINT = "checkpoint.safetensors"
Loss = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a network is trained; the settings of a training inherit from it.

    Parameters
    ----------
    steps : int
    learning_rate : float; the highest, of parameters whose group has no ``lr`` of its own
    warmup : int; steps over which the rate rises from 0
    decay_share : float; of the steps: the last ones, over which the rate falls to 0 as half a cosine
    betas, weight_decay : of AdamW
    max_norm : float; a longer gradient is shortened to it
    average : float; decay of the running mean of the weights, 0 for none; the mean follows faster at first
    metric : str; of validation; where no weights are averaged, those of its least value are kept
    highest : bool; those of its highest value instead
    patience : int; validations in a row without a gain after which the training ends
    min_gain : float; relative, for a validation to count as a gain
    seed : int
    """

    steps: int
    learning_rate: float
    warmup: int = 50
    decay_share: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    max_norm: float = 1.0
    average: float = 0.0
    metric: str = "loss"
    highest: bool = False
    patience: int = 1_000_000
    min_gain: float = 0.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Return the factor on the learning rate at a step."""
        rise = min((step + 1) / max(1, self.warmup), 1.0)
        if not self.decay_share:
            return rise
        left = min(1.0, (self.steps - step) / (self.decay_share * self.steps))
        return float(rise * 0.5 * (1 - np.cos(np.pi * left)))


class Training:
    """A network that is being trained; `step` steps of it are done.

    Parameters
    ----------
    network : Module
    recipe : Recipe
    identity : str; `identity` of all that decides the weights
    device : str; ``auto`` takes CUDA where there is one
    precision : {"no", "bf16", "fp16"}; what to compute in
    groups : list of dict, optional; of AdamW, each with its ``lr``; what learns in one group by default

    Attributes
    ----------
    losses : list of float; of each step
    curve : list of dict; step and what each validation returned
    kept : dict of name to tensor; the averaged or the best weights of what is trained, with its buffers
    accelerator : Accelerator; network : Module; whole : the same, as accelerate calls it on several GPUs
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, identity: str = "", *, device: str = "auto",
        precision: str = "no", groups: list[dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        from accelerate import Accelerator  # a second to import, and encoders import this module
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state()  # accelerate would keep the process's first precision for good
        chosen = torch_device(device)
        if chosen.index:
            torch.cuda.set_device(chosen)  # which accelerate takes
        self.accelerator = Accelerator(mixed_precision=precision, cpu=chosen.type == "cpu")
        self.network, self.recipe, self.identity = network, recipe, identity
        learning = [{"params": [p for p in network.parameters() if p.requires_grad]}]
        optimiser = torch.optim.AdamW(
            groups or learning, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay,
            fused=precision != "fp16",
        )  # fmt: skip
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self.whole, self.optimiser = self.accelerator.prepare(network, optimiser)
        # accelerate leaves a network that computes in mixed precision for good; `advance` alone should
        self.accelerator.unwrap_model(self.whole, keep_fp32_wrapper=False)
        self.step, self.losses, self.curve = 0, list[float](), list[dict[str, float]]()
        self.kept = self._copied()

    # ------------------------------------------------------------------------------------- the loop

    def run(
        self,
        batches: Callable[[int], Sequence[Any]],
        loss: Loss,
        *,
        folder: Path | None = None,
        validate: Callable[[], Mapping[str, float]] | None = None,
        validate_first: bool = False,
        validate_every: int = 0,
        checkpoint_every: int = 0,
        events: Sequence[tuple[int, Callable[[], None]]] = (),
        name: str = "training",
        progress: bool = False,
    ) -> None:
        """Train to the end, from the checkpoint in `folder` where there is one.

        The network then has the kept weights, and is in evaluation mode.

        Parameters
        ----------
        batches : function of a step's number; returns the batches whose mean gradient the step follows
        loss : function of a batch; returns a scalar; may draw from torch's own generator or from `generator`
        folder : Path, optional; where ``checkpoint.safetensors`` is written and found
        validate : function, optional; measures the averaged weights, or those of now where none are averaged
        validate_first : bool; before the first step too, so that the weights as they came can be kept
        validate_every, checkpoint_every : int; in steps; 0 for never; a last step counts too
        events : sequence of (every, function); what is called every so many steps, after the last one too

        Raises
        ------
        ValueError
            If a loss or its gradient isn't finite, or the checkpoint is another training's or damaged.
        """
        path = None if folder is None else folder / CHECKPOINT
        if path is not None and path.exists():
            self.restore(path)
        elif validate is not None and validate_first:
            self._validate(validate)
        bar = tqdm(total=self.recipe.steps, initial=self.step, desc=name, unit="step", disable=not progress)
        with bar, _asked_to_stop() as stopped:
            while not ended(self.state(), self.recipe):
                self.advance(batches(self.step), loss, folder)
                bar.update()
                bar.set_postfix(loss=f"{self.losses[-1]:.3f}")
                if validate is not None and self._due(validate_every):
                    self._validate(validate)
                if path is not None and (self._due(checkpoint_every) or stopped.is_set()):
                    self.checkpoint(path)
                if stopped.is_set():
                    raise SystemExit(128 + signal.SIGTERM)
                for every, happens in events:
                    if self._due(every):
                        happens()
        self.load_kept()
        self.network.eval()

    def _due(self, every: int) -> bool:
        return bool(every) and (self.step % every == 0 or ended(self.state(), self.recipe))

    def advance(self, batches: Sequence[Any], loss: Loss, folder: Path | None = None) -> float:
        """Take one step down the mean gradient of the batches and return their mean loss."""
        own, rate = self.accelerator, self.recipe.rate(self.step)
        for group, highest in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = highest * rate
        self.network.train()
        values = []
        with torch.random.fork_rng(devices=[own.device] if own.device.type == "cuda" else []):
            torch.default_generator.manual_seed(self._number())  # dropout is a function of the step
            if own.device.type == "cuda":  # else torch.manual_seed would note each call for later
                torch.cuda.manual_seed(self._number())
            for i, batch in enumerate(batches):
                last = i + 1 == len(batches)
                with contextlib.nullcontext() if last else own.no_sync(self.whole):
                    with own.autocast():
                        value = loss(batch)
                    own.backward(value / len(batches))
                values.append(float(value.item()))
        norm = own.clip_grad_norm_(self.whole.parameters(), self.recipe.max_norm)
        scaled = own.scaler is not None  # which skips such a step and halves its scale itself
        if not np.isfinite(values).all() or not (scaled or torch.isfinite(norm)):
            kept = f"; the last good checkpoint in {folder} is kept" if folder else ""
            raise ValueError(
                f"the loss at step {self.step + 1} is {np.mean(values)} "
                f"(norm of its gradient {float(norm):g}){kept}: "
                f"start again with a learning rate below {self.recipe.learning_rate:g}"
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self.losses.append(float(np.mean(values)))
        if self.recipe.average:
            self._average()
        return self.losses[-1]

    def generator(self) -> torch.Generator:
        """Return this step's and this process's source of random numbers, the same on every device."""
        return torch.Generator().manual_seed(self._number())

    def _number(self) -> int:
        number = (self.recipe.seed * 1_000_003 + self.step) * self.accelerator.num_processes
        return number + self.accelerator.process_index

    @torch.no_grad()
    def _average(self) -> None:
        now, decay = self._weights(), min(self.recipe.average, self.step / (9 + self.step))
        means = [name for name, value in now.items() if value.is_floating_point()]
        follow = get_ema_multi_avg_fn(decay)
        follow([self.kept[name] for name in means], [now[name] for name in means], None)
        for name in now.keys() - means:
            self.kept[name].copy_(now[name])

    def _validate(self, validate: Callable[[], Mapping[str, float]]) -> None:
        self.network.eval()
        with torch.no_grad(), self.with_kept() if self.recipe.average else contextlib.nullcontext():
            self.curve.append({"step": self.step, **validate()})
        if not self.recipe.average and best(self.curve, self.recipe) == len(self.curve) - 1:
            self.kept = self._copied()

    # --------------------------------------------------------------------------------- kept weights

    def _weights(self) -> dict[str, Tensor]:
        """Return what training changes: parameters that learn, and buffers."""
        learning = {name: p.detach() for name, p in self.network.named_parameters() if p.requires_grad}
        return learning | {name: b.detach() for name, b in self.network.named_buffers() if b is not None}

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._weights().items()}

    @torch.no_grad()
    def load_kept(self) -> None:
        """Give the network its kept weights."""
        if self.recipe.average or self.curve:
            self._load(self.kept)

    @contextlib.contextmanager
    def with_kept(self) -> Iterator[nn.Module]:
        """Lend the network with its kept weights, in evaluation mode; afterwards it goes on as it was."""
        now, training = self._copied(), self.network.training
        self.load_kept()
        try:
            yield self.network.eval()
        finally:
            self._load(now)
            self.network.train(training)

    @torch.no_grad()
    def _load(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self._weights().items():
            value.copy_(values[name])

    # ----------------------------------------------------------------------------------- checkpoint

    def state(self) -> dict[str, Any]:
        """Return what of the training is no tensor."""
        scaler = self.accelerator.scaler
        return {
            "identity": self.identity, "step": self.step, "losses": self.losses, "curve": self.curve,
            "scale": None if scaler is None else scaler.state_dict(),
        }  # fmt: skip

    def checkpoint(self, path: Path) -> None:
        """Write everything that the training needs to go on, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"now.{name}": value for name, value in self._weights().items()}
        tensors |= {f"kept.{name}": value for name, value in self.kept.items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{moment}": value for moment, value in moments.items()}
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        files.write_file(path, save(whole, {"state": json.dumps(self.state())}))

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to another training, or is damaged.
        """
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "kept": {}, "optimiser": {}}
        with _checkpoint(path, self.identity) as (file, state):
            for name in file.keys():  # noqa: SIM118
                part, _, rest = name.partition(".")
                parts[part][rest] = file.get_tensor(name)
        self.step, self.losses, self.curve = state["step"], state["losses"], state["curve"]
        self._load(parts["now"])
        self.kept = {name: value.to(self.accelerator.device) for name, value in parts["kept"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, moment = name.split(".")
            moments.setdefault(int(number), {})[moment] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        if state["scale"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scale"])


@contextlib.contextmanager
def _checkpoint(path: Path, identity: str | None) -> Iterator[tuple[Any, Any]]:
    """Open a checkpoint, of this training where an identity is given; lend the file and its state."""
    with files.open_tensors(path) as file:
        state = json.loads(file.metadata()["state"])
        if identity not in (None, state["identity"]):
            raise ValueError(
                f"{path} was made from other clips, settings or encoder weights; give another folder, or "
                f"start again in this one (`--replace`, or resume=False)"
            )
        yield file, state


@contextlib.contextmanager
def in_folder(
    folder: Path, identity: str, *, resume: bool = True, replace: bool = False
) -> Iterator[dict[str, Any] | None]:
    """Let one process at a time train in a folder; lend its checkpoint's state, or None where it starts anew.

    A second process waits, and then finds the first one's training.

    Parameters
    ----------
    identity : str; of the training that is to come
    resume : bool; False deletes a checkpoint
    replace : bool; delete the checkpoint of another training instead of refusing

    Raises
    ------
    ValueError
        If the checkpoint is another training's, or damaged.
    """
    path = folder / CHECKPOINT
    with files.locked(folder):
        state = None
        if resume and path.exists():
            with _checkpoint(path, None if replace else identity) as (_, state):
                state = state if state["identity"] == identity else None
        if state is None:
            path.unlink(missing_ok=True)
        yield state


def best(curve: Sequence[Mapping[str, float]], recipe: Recipe) -> int:
    """Return the place in the curve of the first of its best validations."""
    values = np.array([row[recipe.metric] for row in curve])
    return int(np.nanargmax(values) if recipe.highest else np.nanargmin(values))


def ended(state: Mapping[str, Any], recipe: Recipe) -> bool:
    """Tell whether all steps are done, or too many validations in a row have brought no gain."""
    record, since = np.inf, 0
    for row in state["curve"] if not recipe.average else []:
        value = -row[recipe.metric] if recipe.highest else row[recipe.metric]
        gained = value < record - recipe.min_gain * abs(record if np.isfinite(record) else 0)
        record, since = (value, 0) if gained else (record, since + 1)
    return state["step"] >= recipe.steps or since >= recipe.patience


def identity(*parts: Any, free: Collection[str] = ()) -> str:
    """Return a hash of what decides a training: arrays by their bytes, all else as json holds it.

    Of settings, those that are `free` are left out: they may change where a training is resumed.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            if dataclasses.is_dataclass(part) and not isinstance(part, type):
                part = {k: v for k, v in dataclasses.asdict(part).items() if k not in free}
            digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def torch_device(name: str = "auto") -> torch.device:
    """Return a torch device; ``auto`` takes CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:<n>") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch sees no CUDA here; use device='cpu' or 'auto'")
    return device


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Turn SIGTERM into an event, so that a scheduler that ends a job loses no step; main thread only."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
