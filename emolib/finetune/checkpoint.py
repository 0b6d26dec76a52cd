"""What a training needs to go on after a kill, in one file.

Fifth stage of `emolib.finetune`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from emolib import atomic

State = dict[int, dict[str, Tensor]]


class Checkpoint(NamedTuple):
    """A training between two epochs.

    Attributes
    ----------
    now, best : mappings of name to tensor; what learns, as it is and as it was at the best epoch
    optimiser : mapping of a parameter's number to its moments
    progress : mapping, of what json holds; ``identity`` says what the training depends on
    """

    now: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: State
    progress: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        tensors = {f"now.{name}": value for name, value in self.now.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.optimiser.items():
            tensors |= {f"optimiser.{number}.{moment}": value for moment, value in state.items()}
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        atomic.write_file(path, save(whole, {"progress": json.dumps(dict(self.progress))}))

    @classmethod
    def read(cls, path: Path, identity: str) -> "Checkpoint":
        """Read a checkpoint.

        Raises
        ------
        ValueError
            If it belongs to other settings, another encoder or other speech, or is damaged.
        """
        with atomic.open_tensors(path) as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != identity:
                raise ValueError(
                    f"{path} was made from other settings, another encoder or other speech; give another "
                    f"folder, or resume=False to start again"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        optimiser: State = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, moment = name.split(".")
                optimiser.setdefault(int(number), {})[moment] = value
        now, best = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("now.", "best.")
        )
        return cls(now, best, optimiser, progress)
