"""Drawing of directions: AUC by layer and method, controls, transfer between corpora, intensities."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from emolib.metrics import Interval
from emolib.plots.style import FAINT, INK, QUIET, SERIES


def plot_auc_by_layer(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw AUC by layer, a line a method with its interval as a band.

    Parameters
    ----------
    table : DataFrame with the columns method, layer, value, low and high
    """
    ax = ax or plt.gca()
    for (method, curve), shade in zip(table.groupby("method", sort=False), SERIES, strict=False):
        ax.plot(curve["layer"], curve["value"], "o-", color=shade, label=method, markersize=4, linewidth=1.8)
        ax.fill_between(curve["layer"], curve["low"], curve["high"], color=shade, alpha=0.13, linewidth=0)
    bottom = min(
        0.5, np.nanmin(table[["value", "low"]].to_numpy(float))
    )  # low is NaN where there is no interval
    ax.set(xlabel="layer (0 = the transformer's input)", ylabel="AUC", ylim=(bottom, 1.005))
    ax.axhline(0.5, color=QUIET, linewidth=1, linestyle=":", zorder=0)
    ax.set_xticks(sorted(set(table["layer"])))
    return ax


def plot_controls(
    observed: Mapping[str, Interval], controls: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Draw the AUC of axes beside those of controls, each draw a dot, on one scale.

    Parameters
    ----------
    observed : mapping of name to Interval
    controls : mapping of name to AUCs, (K,)
    """
    ax = ax or plt.gca()
    names = [*observed, *controls]
    for row, interval in enumerate(observed.values()):
        ax.plot(
            [interval.low, interval.high], [row, row], color=SERIES[1], linewidth=2.5, solid_capstyle="butt"
        )
        ax.plot(interval.value, row, "o", color=SERIES[1], markersize=6)
    rng = np.random.default_rng(0)  # of the dots' heights, which mean nothing
    for row, aucs in enumerate(map(np.asarray, controls.values()), start=len(observed)):
        heights = row + rng.uniform(-0.28, 0.28, len(aucs))
        ax.scatter(aucs, heights, s=7, color=SERIES[0], alpha=0.5, linewidths=0, rasterized=True)
        ax.plot([aucs.mean()] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=1.3)
    ax.axvline(0.5, color=QUIET, linewidth=1, linestyle=":", zorder=0)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="AUC", xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    return ax


def plot_transfer(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw AUC by the corpus that an axis was fitted on (rows) and tried on (columns) as a heat map."""
    ax = ax or plt.gca()
    sns.heatmap(
        table, vmin=0.5, vmax=1, cmap="cividis", annot=True, fmt=".2f", annot_kws={"size": 9}, square=True,
        linewidths=0.5, cbar_kws={"label": "AUC", "shrink": 0.8}, ax=ax,
    )  # fmt: skip
    ax.set(xlabel="tried on", ylabel="fitted on")
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    return ax


def plot_ladder(tables: Mapping[str, pd.DataFrame], *, ax: Axes | None = None) -> Axes:
    """Draw the mean projection by intensity with its interval, one line a corpus or method.

    Parameters
    ----------
    tables : mapping of name to DataFrame with the columns step, value, low and high, as `axis.ladder` returns
    """
    ax = ax or plt.gca()
    for number, (name, table) in enumerate(tables.items()):
        at = np.arange(len(table)) + 0.06 * (number - (len(tables) - 1) / 2)
        errors = np.abs(np.stack([table["value"] - table["low"], table["high"] - table["value"]]))
        shade = SERIES[number % len(SERIES)]
        ax.errorbar(at, table["value"], yerr=errors, fmt="o-", color=shade, capsize=3, label=name)
    steps = next(iter(tables.values()))["step"].tolist()
    ax.axhline(0, color=QUIET, linewidth=1, zorder=0)
    ax.axhline(1, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    ax.annotate("the target's mean", (1.01, 1), xycoords=("axes fraction", "data"), va="center", color=FAINT)
    ax.set_xticks(range(len(steps)), steps)
    ax.set(ylabel="projection (0 = source, 1 = target)", xlim=(-0.4, len(steps) - 0.6))
    return ax
