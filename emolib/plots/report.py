"""Drawing of what many runs found: series over corpora and encoders, and how far seeds are apart."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib.plots.style import INK, QUIET, SERIES, name_levels

#: With four colours, enough for sixteen series.
_DASHES = ("-", "--", ":", "-.")


def plot_series(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    *,
    levels: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one line a series, with its interval where the table has one.

    Parameters
    ----------
    table : DataFrame with the columns `x`, `y`, `by`, and optionally low and high
    x, y, by : str; columns for the position, the height, and the series
    levels : mapping of name to value, drawn as level lines named at their right end
    """
    ax = ax or plt.gca()
    looks = itertools.cycle(itertools.product(_DASHES, SERIES))
    for (name, rows), (dash, shade) in zip(table.groupby(by, sort=False), looks, strict=False):
        rows = rows.sort_values(x)
        ax.plot(
            rows[x], rows[y], dash, color=shade, label=str(name), marker="o", markersize=3.5, linewidth=1.6
        )
        if {"low", "high"} <= set(rows):
            ax.fill_between(rows[x], rows["low"], rows["high"], color=shade, alpha=0.12, linewidth=0)
    if levels:
        name_levels(ax, levels)
    ax.set(xlabel=x, ylabel=y)
    ax.legend(fontsize=8)
    return ax


def plot_spread(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw each result's mean over seeds and its least and greatest, one row a result.

    Parameters
    ----------
    table : DataFrame with label, mean, low, high and n
    """
    ax = ax or plt.gca()
    at = np.arange(len(table))[::-1]
    ax.hlines(at, table["low"], table["high"], color=QUIET, linewidth=3)
    ax.plot(table["mean"], at, "o", color=INK, markersize=4)
    labels = [f"{label} ({n} seeds)" for label, n in zip(table["label"], table["n"], strict=True)]
    ax.set_yticks(at, labels)
    ax.set(xlabel="mean, least and greatest over seeds", ylim=(-0.6, len(table) - 0.4))
    return ax
