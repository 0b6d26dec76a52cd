"""Drawing of scores: curves by layer, bars with intervals, similarities."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from emolib.plots.style import FAINT, INK, QUIET, SERIES, name_levels


def plot_layer_curve(
    curves: Mapping[str, pd.DataFrame],
    *,
    baselines: Mapping[str, float] | None = None,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw accuracy by layer with its interval, and baselines as level lines named at their end.

    Parameters
    ----------
    curves : mapping of name to DataFrame with layer, value, low and high
    baselines : mapping of name to value
    chance : float
    """
    ax = ax or plt.gca()
    for (name, curve), shade in zip(curves.items(), SERIES, strict=False):
        ax.plot(curve["layer"], curve["value"], "o-", color=shade, label=name, markersize=4.5, linewidth=1.8)
        ax.fill_between(curve["layer"], curve["low"], curve["high"], color=shade, alpha=0.15, linewidth=0)
    last = int(max(curve["layer"].max() for curve in curves.values()))
    name_levels(ax, dict(baselines or {}) | ({"chance": chance} if chance is not None else {}))
    ax.set(xlabel="layer (0 = the transformer's input)", ylabel="unweighted accuracy", xticks=range(last + 1))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=len(curves))
    return ax


def plot_bars(
    table: pd.DataFrame, group: str, series: str, *, chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw grouped bars with intervals.

    Parameters
    ----------
    table : DataFrame with the columns `group`, `series`, value, low and high
    group, series : str; columns for the position on the axis and for the colour
    chance : float
    """
    ax = ax or plt.gca()
    groups, names = table[group].unique(), table[series].unique()
    width = 0.8 / len(names)
    for j, name in enumerate(names):
        rows = table[table[series] == name].set_index(group).loc[groups]
        at = np.arange(len(groups)) + (j - (len(names) - 1) / 2) * width
        errors = np.abs(np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]))
        bars = ax.bar(at, rows["value"], width * 0.92, color=SERIES[j % len(SERIES)], label=name)
        ax.errorbar(at, rows["value"], yerr=errors, fmt="none", color=INK, linewidth=1, capsize=2)
        shown = [f"{v:.2f}" if v > 0.05 else "" for v in rows["value"]]  # a lower bar has no room for it
        ax.bar_label(bars, shown, label_type="center", color="white", fontsize=8)
    if chance is not None:
        ax.axhline(chance, color=QUIET, linewidth=1, linestyle=":")
        ax.annotate(
            "chance", (1.01, chance), xycoords=("axes fraction", "data"), va="center", color=FAINT, fontsize=8
        )
    ax.set_xticks(range(len(groups)), groups)
    ax.legend(loc="upper left", ncols=len(names))
    top = np.nanmax(table[["value", "high"]].to_numpy(float))  # high is NaN where there is no interval
    ax.set(ylabel="unweighted accuracy", ylim=(0, top * 1.25), yticks=np.arange(0, 1.01, 0.2))
    return ax


def plot_similarity(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a table of cosine similarities as a heat map, -1 to 1."""
    ax = ax or plt.gca()
    sns.heatmap(
        table, vmin=-1, vmax=1, cmap="RdBu_r", annot=True, fmt=".2f", annot_kws={"size": 8}, square=True,
        linewidths=0.5, cbar_kws={"label": "cosine similarity", "shrink": 0.8}, ax=ax,
    )  # fmt: skip
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=45)
    return ax
