"""Drawing of the road back to sound: what is lost by layer, against what is gained."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib.plots.style import FAINT, QUIET, SERIES


def plot_by_layer(
    table: pd.DataFrame,
    label: str,
    *,
    series: str | None = None,
    levels: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one measure by layer, with its interval as a band, and level lines named inside.

    Parameters
    ----------
    table : DataFrame with layer, value, low and high, and the column `series` where that is given
    label : str; the axis's label with its unit
    series : str, optional; the column for the colour, in the order of its first appearance
    levels : mapping of name to value, optional
    """
    ax = ax or plt.gca()
    groups = [("", table)] if series is None else list(table.groupby(series, sort=False))
    for (name, rows), shade in zip(groups, SERIES, strict=False):
        ax.plot(rows["layer"], rows["value"], "o-", color=shade, label=str(name), markersize=4, linewidth=1.8)
        ax.fill_between(rows["layer"], rows["low"], rows["high"], color=shade, alpha=0.15, linewidth=0)
    for name, value in dict(levels or {}).items():
        ax.axhline(value, color=QUIET, linewidth=1, linestyle="--", zorder=0)
        ax.annotate(
            name, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=FAINT,
            fontsize=8.5,
        )  # fmt: skip
    ax.set(xlabel="layer", ylabel=label, xticks=sorted(set(table["layer"])))
    ax.margins(y=0.12)
    return ax
