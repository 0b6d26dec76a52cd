"""The leak audit: what a test set shares with whatever a recogniser learned from.

Second stage of `emolib.augment`. A gain of more than five points is treated as a leak until this table says
otherwise.
"""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from emolib.augment.distances import distances, fingerprints, near_distance
from emolib.generate.mels import Mels

#: The share of clips that may lie near another by chance: 1 % would, among the clips of one speaker.
NEAR_LIMIT = 0.05


def audit(
    train: Mels,
    test: Mels,
    generated: Mels | None = None,
    *,
    saw: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Count what the test clips share with the training clips, the generated clips, and whoever took part.

    Parameters
    ----------
    train, test : Mels; real clips
    generated : Mels, optional
    saw : mapping of a name to clip ids, optional
        What each part of the system learned from: the normalisation, the generator, the network that chose.

    Returns
    -------
    table : DataFrame
        check, value, of (how many were checked), share, limit (the largest share that is no leak) and leak.
        A clip is near another where they are nearer than all but 1 % of the training clips are to the nearest
        other clip of their speaker. Copies of a training clip are no leak, but tell whether a generator
        learned by heart.

    Raises
    ------
    ValueError
        If there is no training or no test clip.
    """
    if not len(train) or not len(test):
        raise ValueError(f"{len(train)} training and {len(test)} test clips; expected at least one of each")
    near, known = near_distance(train), set(fingerprints(train))
    speakers, named = set(train.speakers) & set(test.speakers), set(train.clips) & set(test.clips)
    rows = [
        ("speakers of the test clips in the training set", len(speakers), len(set(test.speakers)), 0.0),
        ("test clips in the training set, by name", len(named), len(test), 0.0),
        ("test clips in the training set, by content", _count(test, known), len(test), 0.0),
        ("test clips near a training clip", _near(test, train, near), len(test), NEAR_LIMIT),
    ]
    if generated is not None and len(generated):
        copies, n = _count(generated, set(fingerprints(test))), len(generated)
        rows += [
            ("generated clips that are a test clip", copies, n, 0.0),
            ("generated clips near a test clip", _near(generated, test, near), n, NEAR_LIMIT),
            ("generated clips near a training clip", _near(generated, train, near), n, 1.0),
        ]
    for who, clips in (saw or {}).items():
        seen = int(np.isin(test.clips, list(clips)).sum())
        rows.append((f"test clips that the {who} saw", seen, len(test), 0.0))
    table = pd.DataFrame(rows, columns=["check", "value", "of", "limit"])
    table["share"] = table["value"] / table["of"]
    table["leak"] = table["share"] > table["limit"]
    return table[["check", "value", "of", "share", "limit", "leak"]]


def _count(mels: Mels, known: set[str]) -> int:
    return sum(name in known for name in fingerprints(mels))


def _near(mels: Mels, others: Mels, limit: float) -> int:
    return int((distances(mels, others).min(1) < limit).sum())
