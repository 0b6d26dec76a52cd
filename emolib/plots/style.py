"""The one look of every figure, and the saving of figures with their numbers."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
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
    with mpl.rc_context({"svg.hashsalt": "emolib"}):  # without it, the names inside are random
        fig.savefig(folder / f"{name}.svg", metadata={"Date": None})
    if data is not None:
        data.to_csv(folder / f"{name}.csv", index=False, float_format="%.4f")
