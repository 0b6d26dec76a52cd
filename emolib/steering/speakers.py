"""Who makes a steerer, who judges it and who is heard: every speaker of a corpus has one role.

Beside the stages of `emolib.steering`: whoever taught a steerer neither judges it nor is steered in its
evidence.
"""

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
