"""The cells of a study: one training each, in the order of how much they decide.

Fifth stage of `emolib.augment`.
"""

from dataclasses import dataclass

from emolib.augment.protocol import DECIDING, Condition, Protocol
from emolib.augment.settings import Settings


@dataclass(frozen=True)
class Cell:
    """One training: what it learns from, on which fold, with which seed."""

    protocol: Protocol
    fold: int
    share: float
    condition: Condition
    seed: int

    @property
    def source(self) -> str:
        """The name of the training clips, and of the generator that sees no others."""
        return f"{self.protocol}-fold{self.fold}-real{100 * self.share:g}"

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        words = "".join(c if c.isalnum() else "-" for c in self.condition.name.replace(" %", ""))
        return f"{self.source}-{words}-seed{self.seed}"


def cells_of(settings: Settings) -> list[Cell]:
    """Return the cells: one seed of what decides, its other seeds, the flattering protocol, the rest."""
    found = [
        (condition not in DECIDING, seed, settings.shares.index(share), i, fold, condition)
        for i, condition in enumerate(settings.conditions)
        for share in settings.shares
        for seed in settings.seeds
        for fold in settings.folds
        if not condition.generated or share in settings.generated_shares
    ]
    found.sort(key=lambda entry: entry[:5])
    cells = [
        Cell("disjoint", fold, settings.shares[share], condition, seed)
        for _, seed, share, _, fold, condition in found
    ]
    leaking = [Cell("flattering", 0, 1.0, c, seed) for seed in settings.seeds for c in settings.flattering]
    n_deciding = sum(not rest for rest, *_ in found)
    return cells[:n_deciding] + leaking + cells[n_deciding:]
