"""Where an axis comes from, and whether it belongs to the features that it is applied to.

Part of `emolib.axis`. A provenance is a flat dict: encoder, fingerprint, layer, pooling, corpus, speakers, n,
commit and emolib; what is not known is None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from emolib import __version__

#: What an axis and the features that it is applied to must share.
IDENTITY = ("encoder", "fingerprint", "layer", "pooling")


def describe(given: Mapping[str, object] | None, speakers: Sequence[object], n: int) -> dict[str, Any]:
    """Return the provenance of an axis fitted on `n` clips of both emotions."""
    unknown: dict[str, Any] = dict.fromkeys((*IDENTITY, "corpus", "commit"))
    own = {"speakers": [str(name) for name in speakers if name is not None], "n": n, "emolib": __version__}
    return unknown | dict(given or {}) | own


def join(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance of an axis made of several; its n is the sum of theirs."""
    speakers = sorted({name for part in parts for name in part["speakers"]})
    corpora = sorted({name for part in parts if part["corpus"] for name in part["corpus"].split(" + ")})
    return dict(parts[0]) | {
        "speakers": speakers,
        "corpus": " + ".join(corpora) or None,
        "n": sum(part["n"] for part in parts),
    }


def check_same(own: Mapping[str, Any], other: Mapping[str, Any], axis: str) -> None:
    """Raise ValueError if two provenances hold known, different things of `IDENTITY`.

    Parameters
    ----------
    own, other : mappings; of the axis, and of the features or the axis that it meets
    axis : str; the axis's name in the message
    """
    shared = [name for name in IDENTITY if None not in (own.get(name), other.get(name))]
    # the same weights under another path are the same encoder
    same = "fingerprint" in shared and own["fingerprint"] == other["fingerprint"]
    differing = [name for name in shared if own[name] != other[name] and not (same and name == "encoder")]
    if differing:
        mine, theirs = (", ".join(f"{name} {of[name]}" for name in differing) for of in (own, other))
        raise ValueError(
            f"the axis {axis} was fitted on features of {mine}; these are of {theirs}: fit one on features "
            f"like these, or take features like its own"
        )
