"""Drawing of what quantization does: curves by emotion against bits, ways against each other, tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib import emotions
from emolib.plots.style import INK, QUIET, SERIES

#: Share of the axis of bits beyond which two rates are not joined.
_JOINED = 0.25
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def plot_rate_curves(
    table: pd.DataFrame, column: str, label: str, *, chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a measure of each emotion against bits on a logarithmic axis, and the mean over emotions in black.

    Rates that are farther apart than a quarter of the axis are not joined: nothing is known between them.

    Parameters
    ----------
    table : DataFrame with the columns emotion, lam, bits and `column`; a row per emotion and lambda
    column, label : str; what to draw, and the name of its axis
    chance : float
    """
    ax = ax or plt.gca()
    ax.set_xscale("log", base=2)
    for name in emotions.ordered(table["emotion"].tolist()):
        curve = _with_gaps(table[table["emotion"] == name], "bits", _JOINED, ax)
        shade = emotions.COLOURS[name]
        ax.plot(curve["bits"], curve[column], "o-", color=shade, label=name, linewidth=1.6, markersize=2.5)
    mean = _with_gaps(table.groupby("lam")[["bits", column]].mean(), "bits", _JOINED, ax)
    ax.plot(mean["bits"], mean[column], "o-", color=INK, label="mean", linewidth=2.2, markersize=4)
    if chance is not None:
        ax.axhline(chance, color=QUIET, linewidth=1, linestyle=":")
    ticks = [
        tick for tick in (1, 2, 4, 8, 16, 32, 64) if table["bits"].min() / 2 < tick < 2 * table["bits"].max()
    ]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set(xlabel="bits per clip (stream's length)", ylabel=label)
    return ax


def plot_ways(
    table: pd.DataFrame, x: str, y: str, *, series: str = "way", labels: tuple[str, str] = ("", ""),
    joined: float = 1.0, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw one measure against another, a line for each value of `series`, with intervals if there are any.

    Parameters
    ----------
    table : DataFrame with the columns `series`, `x` and `y`, and low and high of `y` where known
    x, y, series : str
    labels : pair of str; names of the axes
    joined : float
        Neighbours that are farther apart than this share of the range of x, in the scale that `ax` has, are
        not joined.
    """
    ax = ax or plt.gca()
    shades = (*SERIES, "#56B4E9", "#E69F00", INK)
    for (name, rows), shade, mark in zip(table.groupby(series, sort=False), shades, _MARKS, strict=False):
        rows = _with_gaps(rows, x, joined, ax)
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
    """Draw a table of numbers as a heat map: around zero where some are negative, else from zero up.

    Parameters
    ----------
    table : DataFrame, (rows, columns); NaN stays empty
    label : str; of the colour bar
    limit : float; the end of the colours, by default the largest number
    names : pair of str; names of the axes of columns and rows
    """
    ax = ax or plt.gca()
    end = limit or float(np.nanmax(np.abs(table.to_numpy())))
    start, colours = (-end, "RdBu_r") if np.nanmin(table.to_numpy()) < 0 else (0.0, "Blues")
    sns.heatmap(
        table, vmin=start, vmax=end, cmap=colours, annot=True, fmt=".2f", annot_kws={"size": 7.5},
        linewidths=0.5, cbar_kws={"label": label, "shrink": 0.8}, ax=ax,
    )  # fmt: skip
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=45)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def _with_gaps(table: pd.DataFrame, x: str, joined: float, ax: Axes) -> pd.DataFrame:
    """Return rows in the order of x, with an empty one wherever two are too far apart to be joined."""
    rows = table.sort_values(x).reset_index(drop=True)
    places = np.asarray(ax.xaxis.get_transform().transform(rows[x].to_numpy(dtype=np.float64)))
    steps = np.diff(places)
    gaps = np.flatnonzero(steps > joined * steps.sum() * (1 + 1e-9))
    empty = pd.DataFrame(np.nan, index=gaps + 0.5, columns=rows.select_dtypes("number").columns)
    return pd.concat([rows, empty]).sort_index() if len(gaps) else rows
