"""Generated speech in training sets: protocols, recognisers, the gain with its interval, and the leak audit.

`study` runs the grid: what a recogniser is trained on, by how much real and generated speech there is, tested
on speakers that nothing in it heard; and the flattering protocol, which shows what a leak is worth. `audit`
counts what a test set shares with all that took part.

Examples
--------
>>> from emolib import augment
>>> augment.Settings.of("quick").folds
(0,)
"""

from emolib.augment.amounts import by_generated, by_real
from emolib.augment.audit import audit
from emolib.augment.cells import Cell
from emolib.augment.grid import Grid
from emolib.augment.protocol import (
    ALONE,
    BOTH,
    CLASSICAL,
    EQUAL,
    FLATTERING,
    REAL,
    Condition,
    conditions,
    halves,
    leaky,
    share_of,
)
from emolib.augment.settings import Settings
from emolib.augment.statistics import counts_of, intervals
from emolib.augment.study import Study, study

__all__ = [
    "ALONE",
    "BOTH",
    "CLASSICAL",
    "EQUAL",
    "FLATTERING",
    "REAL",
    "Cell",
    "Condition",
    "Grid",
    "Settings",
    "Study",
    "audit",
    "by_generated",
    "by_real",
    "conditions",
    "counts_of",
    "halves",
    "intervals",
    "leaky",
    "share_of",
    "study",
]
