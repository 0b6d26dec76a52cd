"""Drawing of generated speech and of what it does to a recogniser: gains, protocols, spectrograms."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from emolib import emotions
from emolib.audio import EMOGEN_MEL, MelSpec
from emolib.plots.style import FAINT, INK, QUIET, SERIES

_MARKS = ("o", "s", "^", "D")


def plot_gains(table: pd.DataFrame, *, score: str = "ua", ax: Axes | None = None) -> Axes:
    """Draw what each condition gains over real clips and classical augmentation, in points.

    Parameters
    ----------
    table : DataFrame
        Rows of one protocol and share, as `Study.differences` gives them: condition, and a score with
        its _low and _high.
    score : {"ua", "wa", "macro_f1"}
    """
    ax = ax or plt.gca()
    rows = np.arange(len(table))[::-1]
    value, low, high = (100 * table[f"{score}{end}"].to_numpy() for end in ("", "_low", "_high"))
    shades = np.where(low > 0, SERIES[2], np.where(high < 0, SERIES[1], FAINT))
    ax.hlines(rows, low, high, color=shades.tolist(), linewidth=2)
    ax.scatter(value, rows, color=shades.tolist(), s=28, zorder=3)
    ax.axvline(0, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks(rows, table["condition"].tolist())
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set(xlabel=f"{score.replace('_', ' ').upper()} over real + classical (points)")
    return ax


def plot_by_amount(
    table: pd.DataFrame, x: str, label: str, *, score: str = "ua", chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw scores against an amount of clips on a logarithmic axis, a line for each series, with intervals.

    Parameters
    ----------
    table : DataFrame
        As `Study.table` gives it, with the columns series and `x`; a series with a single amount is
        drawn as a level across.
    x, label : str; the column of the amount, above 0, and the axis's name
    score : {"ua", "wa", "macro_f1"}
    chance : float, optional
    """
    ax = ax or plt.gca()
    names = table["series"].drop_duplicates().tolist()
    shades = (INK, *SERIES)
    for i, name in enumerate(names):
        rows, shade = table[table["series"] == name].sort_values(x), shades[i % len(shades)]
        value, low, high = (100 * rows[f"{score}{end}"].to_numpy() for end in ("", "_low", "_high"))
        if len(rows) == 1:
            ax.axhline(value[0], color=shade, linestyle="--", linewidth=1.3, label=name)
            ax.axhspan(low[0], high[0], color=shade, alpha=0.08, linewidth=0)
            continue
        mark = _MARKS[i % len(_MARKS)]
        ax.plot(rows[x], value, mark + "-", color=shade, label=name, markersize=4.5, linewidth=1.6)
        ax.fill_between(rows[x], low, high, color=shade, alpha=0.12, linewidth=0)
    if chance is not None:
        ax.axhline(100 * chance, color=QUIET, linewidth=1, linestyle=":")
    ax.set_xscale("log", base=2)
    lines = table.groupby("series")[x].transform("size") > 1
    ticks = sorted(set(table.loc[lines, x] if lines.any() else table[x]))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.legend(loc="best")
    ax.set(xlabel=label, ylabel=f"{score.replace('_', ' ').upper()} (%)")
    return ax


def plot_protocols(
    table: pd.DataFrame, *, score: str = "ua", chance: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the conditions of both protocols as bars beside each other, with intervals over speakers.

    Parameters
    ----------
    table : DataFrame; rows of one share, as `Study.table` gives them
    score : {"ua", "wa", "macro_f1"}
    chance : float, optional
    """
    ax = ax or plt.gca()
    shades = {"disjoint": SERIES[0], "flattering": SERIES[1]}
    words = {"disjoint": "speakers apart", "flattering": "flattering: speakers shared"}
    ordered = pd.concat([table[table["protocol"] == name] for name in shades])
    rows = np.arange(len(ordered))[::-1] - 0.6 * (ordered["protocol"] == "flattering").to_numpy()
    value, low, high = (100 * ordered[f"{score}{end}"].to_numpy() for end in ("", "_low", "_high"))
    for name, shade in shades.items():
        own = (ordered["protocol"] == name).to_numpy()
        if own.any():
            ax.barh(rows[own], value[own], height=0.7, color=shade, label=words[name])
    ax.hlines(rows, low, high, color=INK, linewidth=1.3)
    for row, number, end in zip(rows, value, np.fmax(value, high), strict=True):
        ax.annotate(
            f"{number:.1f}", (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    if chance is not None:
        ax.axvline(100 * chance, color=QUIET, linewidth=1, linestyle=":")
    ax.set_yticks(rows, ordered["condition"].tolist())
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.set(xlabel=f"{score.replace('_', ' ').upper()} (%)", xlim=(0, 108))
    return ax


def plot_mel_grid(
    columns: Mapping[str, Sequence[NDArray]],
    *,
    spec: MelSpec = EMOGEN_MEL,
    range_db: float = 60.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw log-mel-spectrograms in a grid: a column a class, a row a clip.

    Parameters
    ----------
    columns : mapping of a class to float32 arrays, each (M, T); emotions get their own order and colours
    spec : MelSpec
    range_db : float, dB; what is drawn below the loudest band of a clip
    """
    ax = ax or plt.gca()
    known = set(columns) <= set(emotions.EMOTIONS)
    names = emotions.ordered(set(columns)) if known else list(columns)
    n_rows = max(len(columns[name]) for name in names)
    for i, name in enumerate(names):
        for j, mel in enumerate(columns[name]):
            place = (i + 0.02, i + 0.98, n_rows - j - 0.96, n_rows - j - 0.04)
            _picture(ax, mel, place, spec, range_db)
    ax.set(xlim=(0, len(names)), ylim=(0, n_rows), yticks=[])
    ax.set_xticks(np.arange(len(names)) + 0.5, names)
    for tick, name in zip(ax.xaxis.get_major_ticks(), names, strict=True):
        tick.label2.set(color=emotions.COLOURS[name] if known else INK, fontweight="bold")
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return ax


def plot_denoising(
    steps: Sequence[NDArray],
    labels: Sequence[str],
    *,
    spec: MelSpec = EMOGEN_MEL,
    range_db: float = 60.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw a sample on its way from noise to speech, as a strip.

    Parameters
    ----------
    steps : sequence of K float32 arrays, (M, T); log-mel-spectrograms, the noisiest first
    labels : sequence of K str; such as the share of the steps that are done
    spec : MelSpec
    range_db : float, dB; what is drawn below the last picture's loudest band: all have one scale
    """
    ax = ax or plt.gca()
    loudest = float(steps[-1].max())
    for i, mel in enumerate(steps):
        _picture(ax, mel, (i + 0.02, i + 0.98, 0, 1), spec, range_db, loudest)
    ax.set(xlim=(0, len(steps)), ylim=(0, 1), yticks=[])
    ax.set_xticks(np.arange(len(steps)) + 0.5, labels)
    ax.set_xlabel("share of the steps done")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _picture(
    ax: Axes, mel: NDArray, place: tuple[float, float, float, float], spec: MelSpec, range_db: float,
    loudest: float | None = None,
) -> None:  # fmt: skip
    """Draw a log-mel-spectrogram below its loudest band, or below a given one."""
    scale = (20 / spec.power) / np.log(10)
    decibel, top = mel * scale, scale * float(mel.max() if loudest is None else loudest)
    ax.imshow(
        decibel, origin="lower", aspect="auto", extent=place, vmin=top - range_db, vmax=top,
        interpolation="nearest",
    )  # fmt: skip
