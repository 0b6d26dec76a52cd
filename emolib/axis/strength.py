"""Is stronger further? Projections against the intensity that a corpus names.

Part of `emolib.axis`. All intervals are over speakers, on axes that never heard them.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib.axis.directions import Floats
from emolib.axis.scores import HeldOut, auc_interval
from emolib.metrics import Interval, mean_interval, speaker_bootstrap

STEPS = ("normal", "strong")


def ladder(held_out: HeldOut, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the mean projection of the source emotion and of each intensity of the target, with intervals.

    Parameters
    ----------
    held_out : HeldOut
    manifest : DataFrame, N rows; intensity is used

    Returns
    -------
    table : DataFrame; step, n, value, low, high; from the source emotion up

    Raises
    ------
    ValueError
        If the target's clips do not come in both intensities, normal and strong.
    """
    rungs = _rungs(held_out, manifest)
    rows = []
    for step, mask in rungs.items():
        values, speakers = held_out.projections[mask], held_out.speakers[mask]
        interval = mean_interval(values, speakers)
        rows.append({"step": step, "n": int(mask.sum()), **interval._asdict()})
    return pd.DataFrame(rows)


def strength_auc(held_out: HeldOut, manifest: pd.DataFrame) -> Interval:
    """Return how often a strong clip of the target emotion projects further than a normal one: an AUC."""
    _, normal, strong = _rungs(held_out, manifest).values()
    rows = normal | strong
    return auc_interval(held_out.projections[rows], strong[rows], held_out.speakers[rows])


def evenness(held_out: HeldOut, manifest: pd.DataFrame) -> Interval:
    """Return how far the normal target lies on the way from the source to the strong target.

    Returns
    -------
    share : Interval; 0.5 if the projection rises evenly, 1 if normal lies where strong does, 0 if at the
        source; NaN where strong does not lie beyond the source, for there is then no way to be on
    """
    masks = list(_rungs(held_out, manifest).values())
    rung = np.select(masks, np.arange(len(masks)), -1)
    rows = rung >= 0
    return speaker_bootstrap(_share, rung[rows], held_out.projections[rows], held_out.speakers[rows])


def _rungs(held_out: HeldOut, manifest: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Return which clips are of the source, the normal target and the strong target."""
    intensity = manifest["intensity"].astype(object).fillna("").to_numpy().astype(str)
    is_target = held_out.emotions == held_out.target
    masks = {f"{held_out.target}, {step}": is_target & (intensity == step) for step in STEPS}
    if not all(mask.any() for mask in masks.values()):
        found = sorted(set(intensity[is_target].tolist()))
        raise ValueError(
            f"intensities {found} of {held_out.target!r}; expected clips of both {' and '.join(STEPS)}"
        )
    return {held_out.source: held_out.emotions == held_out.source} | masks


def _share(rung: NDArray, projections: Floats) -> float:
    source, normal, strong = (
        projections[rung == step].mean() if (rung == step).any() else np.nan for step in range(3)
    )
    return float((normal - source) / (strong - source)) if strong > source else float("nan")
