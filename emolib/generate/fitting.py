"""A network being fitted step by step, and the checkpoint that it is taken up from.

Seventh stage of `emolib.generate`. Everything that is random in a step comes of the seed and the step's
number, so a checkpoint needs no state of a generator of random numbers, and a training that was killed goes
on to losses equal to an undisturbed one's. Accelerate gives mixed precision and several GPUs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from emolib.atomic import write_file


class Fit:
    """A network, its optimiser, a second set of weights worth keeping, and how far it has come.

    Parameters
    ----------
    network : Module
    accelerator : Accelerator
    rate : float; the highest learning rate; n_steps : int; after which it is 0
    clip : float; largest norm of a gradient
    betas : pair of float; of AdamW
    identity : str; of the settings and the speech
    """

    def __init__(
        self, network: nn.Module, accelerator: Accelerator, *, rate: float, n_steps: int, clip: float,
        betas: tuple[float, float], identity: str,
    ) -> None:  # fmt: skip
        self.network, self.accelerator, self.identity = network, accelerator, identity
        self.rate, self.n_steps, self.clip = rate, n_steps, clip
        optimiser = torch.optim.AdamW(network.parameters(), rate, betas, weight_decay=1e-4)
        self.whole, self.optimiser = accelerator.prepare(network, optimiser)
        self.kept = {name: value.detach().clone() for name, value in network.named_parameters()}
        self.step = 0
        self.losses: list[float] = []
        self.looks: list[dict[str, float]] = []

    def descend(self, loss: Tensor, folder: Path) -> float:
        """Take one step down a loss's gradient and return the loss.

        Raises
        ------
        ValueError
            If the loss or its gradient isn't finite; weights and checkpoint then stay as they were.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * schedule(self.step, self.n_steps)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.whole.parameters(), self.clip)
        scaled = self.accelerator.scaler is not None  # which skips such a step and halves its scale itself
        if not torch.isfinite(loss) or not (scaled or torch.isfinite(norm)):
            raise ValueError(
                f"the loss at step {self.step + 1} is {loss.item()} (norm of its gradient {float(norm):g}); "
                f"the last good checkpoint in {folder} is kept: start again with a learning rate below "
                f"{self.rate:g}"
            )
        self.optimiser.step()
        self.step += 1
        self.losses.append(float(loss.item()))
        return self.losses[-1]

    @torch.no_grad()
    def average(self, most: float) -> None:
        """Move the second set of weights towards the network's: their running mean."""
        share = min(most, self.step / (9 + self.step))
        current = dict(self.network.named_parameters())
        torch._foreach_lerp_(list(self.kept.values()), [current[name].data for name in self.kept], 1 - share)

    @torch.no_grad()
    def keep(self) -> None:
        """Set the second set of weights to the network's."""
        for name, value in self.network.named_parameters():
            self.kept[name].copy_(value)

    @torch.no_grad()
    def load_kept(self, network: nn.Module) -> None:
        """Give the second set of weights to a network of the same kind."""
        for name, value in network.named_parameters():
            value.copy_(self.kept[name])

    def generator(self, seed: int) -> torch.Generator:
        """Return this step's and this process's source of random numbers."""
        number = (seed * 1_000_003 + self.step) * self.accelerator.num_processes
        return torch.Generator().manual_seed(number + self.accelerator.process_index)

    def checkpoint(self, path: Path) -> None:
        """Write everything that the fit needs to go on, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"now.{name}": value.detach() for name, value in self.network.named_parameters()}
        tensors |= {f"kept.{name}": value for name, value in self.kept.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{moment}": value for moment, value in state.items()}
        progress = {
            "identity": self.identity, "step": self.step, "losses": self.losses, "looks": self.looks,
            "scale": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
        }  # fmt: skip
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_file(path, save(whole, {"progress": json.dumps(progress)}))

    @torch.no_grad()
    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to other settings or other speech.
        """
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != self.identity:
                raise ValueError(
                    f"{path} was made from other settings or other speech; give another folder, or "
                    f"resume=False to start again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.step, self.losses, self.looks = progress["step"], progress["losses"], progress["looks"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.network.named_parameters():
            value.copy_(tensors[f"now.{name}"])
            self.kept[name].copy_(tensors[f"kept.{name}"])
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, moment = name.split(".")
                state.setdefault(int(number), {})[moment] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        if progress["scale"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(progress["scale"])


def schedule(step: int, n_steps: int, warmup: int = 50) -> float:
    """Return the factor on the learning rate: up over the warm-up, level, and down over the second half."""
    down = min(1.0, 2 * (n_steps - step) / n_steps)
    return float(min((step + 1) / min(warmup, n_steps), 0.5 - 0.5 * np.cos(np.pi * down)))


def batch_rows(step: int, n_rows: int, batch: int, seed: int, own: Any = None) -> NDArray[np.intp]:
    """Return the rows of a step's batch: every row once a pass, in an order that the pass's number fixes.

    Parameters
    ----------
    step, n_rows, batch, seed : int
    own : Accelerator, optional; each of its processes takes batches of its own
    """
    n_processes, process = (own.num_processes, own.process_index) if own else (1, 0)
    first = (step * n_processes + process) * batch
    places = np.arange(first, first + batch)
    orders = {
        number: np.random.default_rng((seed, number)).permutation(n_rows)
        for number in np.unique(places // n_rows).tolist()
    }
    return np.array([orders[place // n_rows][place % n_rows] for place in places.tolist()])
