"""Drawing of steering: what is heard, and what it costs, against how far speech was moved."""

from collections.abc import Sequence

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib.plots.style import FAINT, QUIET, SERIES


def plot_response(
    table: pd.DataFrame, label: str, *, controls: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw a measure against delta: one line a way of steering, named at its right end, with its interval.

    Parameters
    ----------
    table : DataFrame with name, delta and value, and low and high where there is an interval
    label : str; the measure, with its unit
    controls : sequence of str; names that are drawn in grey, without an interval, under one name
    """
    ax = ax or plt.gca()
    ways = [name for name in table["name"].unique() if name not in controls]
    for i, name in enumerate(controls):
        rows = table[table["name"] == name].sort_values("delta")
        ax.plot(
            rows["delta"], rows["value"], color=QUIET, linewidth=0.9, label="" if i else "random directions"
        )
    for name, shade in zip(ways, SERIES, strict=False):
        rows = table[table["name"] == name].sort_values("delta")
        ax.plot(rows["delta"], rows["value"], "o-", color=shade, label=name, markersize=4, linewidth=1.8)
        if "low" in rows and rows["low"].notna().all():
            ax.fill_between(rows["delta"], rows["low"], rows["high"], color=shade, alpha=0.15, linewidth=0)
    ax.axvline(0, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
    ax.set(xlabel="delta (1 = one emotion further)", ylabel=label)
    return ax
