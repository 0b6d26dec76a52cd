"""Who makes a steerer, who judges it and who is heard: every speaker of a corpus has one role.

Beside the stages of `emolib.steering`: whoever taught a steerer neither judges it nor is steered in its
evidence.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import pandas as pd

from emolib import emotions


class Roles(NamedTuple):
    """Speakers of a corpus, each in one role.

    Attributes
    ----------
    makers : tuple of str; axis, mapper and transforms are learned from them
    judges : tuple of str; the judge is trained on them
    heard : tuple of str; their clips are steered and judged
    """

    makers: tuple[str, ...]
    judges: tuple[str, ...]
    heard: tuple[str, ...]


def roles(manifest: pd.DataFrame) -> Roles:
    """Deal out the speakers of a corpus: a quarter makes, half of them judge, a quarter is heard.

    Raises
    ------
    ValueError
        If there are fewer than five speakers: two make, two judge, one is heard.
    """
    table = manifest[["gender", "speaker"]].astype(str).drop_duplicates("speaker")
    speakers = table.sort_values(["gender", "speaker"])["speaker"].tolist()
    if len(speakers) < 5:
        raise ValueError(
            f"{len(speakers)} speakers; steering needs at least five: two to learn from, two to judge, one "
            f"to be heard"
        )
    makers, heard = speakers[::4], speakers[3::4]
    return Roles(tuple(makers), tuple(sorted({*speakers} - {*makers, *heard})), tuple(heard))


def rotations(manifest: pd.DataFrame, n_groups: int = 6) -> list[Roles]:
    """Deal the speakers into groups, each of them heard once; the rest teach.

    Parameters
    ----------
    manifest : DataFrame; gender and speaker are used: groups are alike in gender where that can be
    n_groups : int; fewer where there are fewer speakers

    Raises
    ------
    ValueError
        If there are fewer than five speakers.
    """
    table = manifest[["gender", "speaker"]].astype(str).drop_duplicates("speaker")
    names = table.sort_values(["gender", "speaker"])["speaker"].tolist()
    if len(names) < 5:
        raise ValueError(f"{len(names)} speakers; a trial needs at least five: makers, judges and one heard")
    n_groups = min(n_groups, len(names))
    groups = [names[k::n_groups] for k in range(n_groups)]
    dealt = []
    for k in range(n_groups):
        rest = [groups[(k + i) % n_groups] for i in range(1, n_groups)]
        n_judges = max(1, round(0.4 * len(rest)))
        while sum(map(len, rest[:n_judges])) < 2:  # a judge holds some of its speakers out
            n_judges += 1
        judges, makers = chain(*rest[:n_judges]), chain(*rest[n_judges:])
        dealt.append(Roles(tuple(sorted(makers)), tuple(sorted(judges)), tuple(sorted(groups[k]))))
    return dealt


def at_full_strength(manifest: pd.DataFrame, source: str, targets: Sequence[str]) -> pd.DataFrame:
    """Return the clips in the source emotion, and of each target the strong ones, where it has any."""
    is_target = manifest["emotion"].isin(list(targets))
    strong = manifest["intensity"] == "strong"
    has_strong = manifest["emotion"].isin(manifest.loc[strong, "emotion"])
    return manifest[(manifest["emotion"] == source) | (is_target & (strong | ~has_strong))]


def check_emotions(manifest: pd.DataFrame, *wanted: str) -> None:
    """Raise ValueError if an emotion is unknown, named twice, or not in a manifest."""
    present = set(manifest["emotion"])
    for word in wanted:
        if emotions.check(word) not in present:
            raise ValueError(
                f"no clip of {word!r} in these of {corpus_name(manifest)}; they have: "
                f"{', '.join(emotions.ordered(present))}"
            )
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"source and target are both {wanted[0]!r}; expected two emotions")


def corpus_name(manifest: pd.DataFrame) -> str:
    """Return the name of a manifest's corpus, or of its corpora."""
    return "+".join(sorted(set(manifest["corpus"].astype(str))))
