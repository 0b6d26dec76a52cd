"""Drawing of the plane of valence and arousal: clips, anchors, moves, and places against ratings."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from emolib import emotions
from emolib.plots.style import INK, QUIET


def plot_plane(
    points: NDArray,
    labels: ArrayLike,
    *,
    anchors: Mapping[str, NDArray] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw clips on the plane, coloured by emotion, and the anchors of the emotions as labelled crosses.

    Parameters
    ----------
    points : array, (N, 2); valence, arousal
    labels : array-like of emotions, (N,)
    anchors : mapping of emotion to (valence, arousal), optional
    legend : bool
    """
    ax = ax or plt.gca()
    words = np.asarray(labels)
    for name in emotions.ordered(words.tolist()):
        rows = points[words == name]
        ax.scatter(
            rows[:, 0], rows[:, 1], s=10, color=emotions.COLOURS[name], alpha=0.55, linewidths=0, label=name,
            rasterized=True,
        )  # fmt: skip
    for name, (valence, arousal) in (anchors or {}).items():
        colour = emotions.COLOURS[name]
        ax.plot(valence, arousal, "P", color=colour, markersize=11, markeredgecolor="white", zorder=4)
    _frame(ax)
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2.2, handletextpad=0.2)
    return ax


def plot_moves(
    starts: NDArray, ends: NDArray, labels: ArrayLike, *, ax: Axes | None = None, crosses: bool = False
) -> Axes:
    """Draw one arrow per emotion, from where it starts to where it ends.

    Parameters
    ----------
    starts, ends : arrays, (C, 2); valence, arousal
    labels : array-like of emotions, (C,)
    crosses : bool; mark the starts as anchors are marked in `plot_plane`, else as small dots
    """
    ax = ax or plt.gca()
    for start, end, name in zip(starts, ends, np.asarray(labels).tolist(), strict=True):
        colour = emotions.COLOURS[name]
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=arrow, zorder=5)
        marker, size = ("P", 11) if crosses else ("o", 5)
        ax.plot(*start, marker, color=colour, markersize=size, markeredgecolor="white", zorder=4)
        above = end[1] >= start[1]
        offset = (0, 4 if above else -4)
        ax.annotate(
            name, end, xytext=offset, textcoords="offset points", ha="center",
            va="bottom" if above else "top", color=colour, fontsize=8.5, fontweight="bold",
        )  # fmt: skip
    _frame(ax)
    return ax


def plot_agreement(
    placed: NDArray, ratings: NDArray, labels: ArrayLike, axis: str, *, ax: Axes | None = None
) -> Axes:
    """Draw clips' places on one axis against their ratings, (N,) each, and each emotion's mean as a dot."""
    ax = ax or plt.gca()
    words = np.asarray(labels)
    for name in emotions.ordered(words.tolist()):
        rows, colour = words == name, emotions.COLOURS[name]
        ax.scatter(ratings[rows], placed[rows], s=7, color=colour, alpha=0.4, linewidths=0, rasterized=True)
        ax.plot(
            ratings[rows].mean(), placed[rows].mean(), "o", color=colour, markersize=9, zorder=4,
            markeredgecolor=INK, label=name,
        )  # fmt: skip
    ax.plot([-1, 1], [-1, 1], color=QUIET, linewidth=1, zorder=0)
    ax.set(xlabel=f"rated {axis} (-1 to 1)", ylabel=f"placed {axis} (-1 to 1)", xlim=(-1, 1), ylim=(-1, 1))
    ax.set_aspect("equal")
    return ax


def _frame(ax: Axes) -> None:
    ax.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.set(xlabel="valence (-1 to 1)", ylabel="arousal (-1 to 1)", xlim=(-1.1, 1.1), ylim=(-1, 1))
    ax.set_aspect("equal")
