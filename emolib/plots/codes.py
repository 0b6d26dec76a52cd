"""Drawing of what quantization does: curves by emotion against bits, ways against each other, tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib import emotions
from emolib.plots.style import INK, QUIET, SERIES

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def plot_rate_curves(
    table: pd.DataFrame, column: str, label: str, *, chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a measure of each emotion against bits on a logarithmic axis, and the mean over emotions in black.

    Parameters
    ----------
    table : DataFrame with the columns emotion, lam, bits and `column`; a row an emotion and lambda
    column, label : str; what to draw, and the name of its axis
    chance : float
    """
    ax = ax or plt.gca()
    for name in emotions.ordered(table["emotion"].tolist()):
        curve = table[table["emotion"] == name].sort_values("bits")
        ax.plot(curve["bits"], curve[column], "-", color=emotions.COLOURS[name], label=name, linewidth=1.6)
    mean = table.groupby("lam")[["bits", column]].mean().sort_values("bits")
    ax.plot(mean["bits"], mean[column], "o-", color=INK, label="mean", linewidth=2.2, markersize=4)
    if chance is not None:
        ax.axhline(chance, color=QUIET, linewidth=1, linestyle=":")
    ax.set_xscale("log", base=2)
    ticks = [
        tick for tick in (1, 2, 4, 8, 16, 32, 64) if table["bits"].min() / 2 < tick < 2 * table["bits"].max()
    ]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set(xlabel="bits a clip (stream's length)", ylabel=label)
    return ax


def plot_ways(
    table: pd.DataFrame, x: str, y: str, *, series: str = "way", labels: tuple[str, str] = ("", ""),
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw one measure against another, a line for each value of `series`, with intervals if there are any.

    Parameters
    ----------
    table : DataFrame with the columns `series`, `x` and `y`, and low and high of `y` where known
    x, y, series : str
    labels : pair of str; names of the axes
    """
    ax = ax or plt.gca()
    shades = (*SERIES, "#56B4E9", "#E69F00", INK)
    for (name, rows), shade, mark in zip(table.groupby(series, sort=False), shades, _MARKS, strict=False):
        rows = rows.sort_values(x)
        ax.plot(rows[x], rows[y], mark + "-", color=shade, label=str(name), markersize=4.5, linewidth=1.6)
        if {"low", "high"} <= set(rows):
            ax.fill_between(rows[x], rows["low"], rows["high"], color=shade, alpha=0.12, linewidth=0)
    ax.legend(loc="best")
    ax.set(xlabel=labels[0] or x, ylabel=labels[1] or y)
    return ax


def plot_matrix(
    table: pd.DataFrame, label: str, *, limit: float | None = None, names: Sequence[str] = ("", ""),
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw a table of numbers as a heat map around zero.

    Parameters
    ----------
    table : DataFrame, (rows, columns); NaN stays empty
    label : str; of the colour bar
    limit : float; the end of the colours, by default the largest number
    names : pair of str; names of the axes of columns and rows
    """
    ax = ax or plt.gca()
    end = limit or float(np.nanmax(np.abs(table.to_numpy())))
    sns.heatmap(
        table, vmin=-end, vmax=end, cmap="RdBu_r", annot=True, fmt=".2f", annot_kws={"size": 7.5},
        linewidths=0.5, cbar_kws={"label": label, "shrink": 0.8}, ax=ax,
    )  # fmt: skip
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=45)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax
