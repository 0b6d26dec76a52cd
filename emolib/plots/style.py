"""The one look of every figure, and the saving of figures with their numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Settings of every figure; `use_style` applies them.
STYLE: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "image.cmap": "magma",
}
INK, FAINT, QUIET = "#222222", "#666666", "#9A9A9A"
#: Colours of what is compared and is no emotion (Okabe and Ito 2008).
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def use_style() -> None:
    """Apply the project's look to every figure that follows."""
    mpl.rcParams.update(STYLE)


def save_figure(fig: Figure, name: str, folder: Path, data: pd.DataFrame | None = None) -> None:
    """Write a figure as png and svg, and the numbers in it as csv.

    Parameters
    ----------
    fig : Figure
    name : str, such as "01_layer_curve"
    folder : Path, as `paths.gallery` gives it
    data : DataFrame, optional
    """
    folder.mkdir(parents=True, exist_ok=True)
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})
    with mpl.rc_context({"svg.hashsalt": "emolib"}):  # without it, names inside are drawn by chance
        fig.savefig(folder / f"{name}.svg", metadata={"Date": None})
    if data is not None:
        data.to_csv(folder / f"{name}.csv", index=False, float_format="%.4f")


def name_levels(ax: Axes, levels: Mapping[str, float]) -> None:
    """Draw level lines, each named at its right end; names that would overlap are moved apart."""
    ax.set_ylim(min(0.9 * min(levels.values(), default=1.0), ax.get_ylim()[0]), None)
    gap, lowest = 0.055 * (ax.get_ylim()[1] - ax.get_ylim()[0]), -np.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        ax.axhline(value, color=QUIET, linewidth=1, linestyle=":" if name == "chance" else "--", zorder=0)
        lowest = max(value, lowest + gap)
        ax.annotate(
            name, (1.01, lowest), xycoords=("axes fraction", "data"), va="center", color=FAINT, fontsize=8.5
        )
