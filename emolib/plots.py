"""All drawing: functions from data to axes, in one style, and the saving of figures with their numbers.

Every function takes an optional ``ax`` and returns the axes that it drew on; none shows or saves. Colours and
order of emotions are those of `emolib.emotions`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from emolib import emotions
from emolib.audio import HIFIGAN_MEL, MelSpec, Wave

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


def plot_counts(manifest: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the number of clips of each emotion as bars, split by gender."""
    ax = ax or plt.gca()
    table = pd.crosstab(manifest["emotion"], manifest["gender"])
    table = table.loc[emotions.ordered(table.index.tolist())]
    base = np.zeros(len(table))
    for gender, alpha in zip(table.columns, np.linspace(1.0, 0.45, max(2, table.shape[1])), strict=False):
        colours = [emotions.COLOURS[name] for name in table.index]
        bars = ax.bar(table.index, table[gender], bottom=base, color=colours, alpha=alpha, width=0.75)
        words = [(gender or "?") if n else "" for n in table[gender]]
        ax.bar_label(bars, words, label_type="center", color="white", fontsize=8)
        base += table[gender].to_numpy()
    ax.bar_label(ax.containers[-1], [f"{n:.0f}" for n in base], padding=2)  # type: ignore[arg-type]
    ax.set(ylabel="clips")
    ax.margins(y=0.12)  # room for the totals
    ax.tick_params(axis="x", rotation=30)
    return ax


def plot_wave(wave: Wave, sample_rate: int, *, colour: str = INK, ax: Axes | None = None) -> Axes:
    """Draw a wave against time in seconds."""
    ax = ax or plt.gca()
    ax.plot(np.arange(len(wave)) / sample_rate, wave, color=colour, linewidth=0.4, rasterized=True)
    ax.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, len(wave) / sample_rate))
    return ax


def plot_mel(
    log_mel: NDArray,
    *,
    spec: MelSpec = HIFIGAN_MEL,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a log-mel-spectrogram, (T, M), in dB; the same `limits`, in dB, make several comparable."""
    ax = ax or plt.gca()
    decibel = log_mel.T * (20 / spec.power) / np.log(10)
    low, high = limits or (decibel.max() - 80, decibel.max())
    duration_s = log_mel.shape[0] * spec.hop_length / spec.sample_rate
    ax.imshow(
        decibel, origin="lower", aspect="auto", extent=(0, duration_s, 0, spec.n_mels), vmin=low, vmax=high,
        interpolation="nearest",
    )  # fmt: skip
    ticks_khz = [0.5, 1, 2, 4, 8]
    ax.set_yticks([_mel_position(1000 * khz, spec) for khz in ticks_khz], [f"{khz:g}" for khz in ticks_khz])
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)")
    return ax


def plot_by_emotion(
    table: pd.DataFrame, column: str, label: str, *, ax: Axes | None = None, zero: bool = False
) -> Axes:
    """Draw the distribution of one column by emotion: every clip a dot, the quartiles a box.

    Parameters
    ----------
    table : DataFrame with the columns emotion and `column`
    column : str
    label : str; the axis's label with its unit
    zero : bool; draw a line at zero
    """
    ax = ax or plt.gca()
    order = emotions.ordered(table["emotion"].tolist())
    groups = [table.loc[table["emotion"] == name, column].to_numpy() for name in order]
    rng = np.random.default_rng(0)  # of the dots' heights, which mean nothing
    for row, (name, values) in enumerate(zip(order, groups, strict=True)):
        heights = row + rng.uniform(-0.3, 0.3, len(values))
        ax.scatter(
            values, heights, s=4, color=emotions.COLOURS[name], alpha=0.45, linewidths=0, rasterized=True
        )
    lines = {"color": INK, "linewidth": 1.1}
    ax.boxplot(
        groups, positions=range(len(order)), tick_labels=order, orientation="horizontal", showfliers=False,
        widths=0.55, boxprops=lines, medianprops=lines, whiskerprops=lines, capprops=lines,
    )  # fmt: skip
    ax.set_ylim(len(order) - 0.5, -0.5)
    if zero:
        ax.axvline(0, color=QUIET, linewidth=1, zorder=0)
    ax.set(xlabel=label, ylabel="")
    return ax


def plot_map(points: NDArray, labels: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw points in the plane, (N, 2), coloured by label; emotions get their own colours."""
    ax = ax or plt.gca()
    words = np.asarray(labels)
    known = set(words.tolist()) <= set(emotions.EMOTIONS)
    names = emotions.ordered(words.tolist()) if known else sorted(set(words.tolist()))
    shades = (
        emotions.COLOURS if known else dict(zip(names, sns.color_palette("husl", len(names)), strict=True))
    )
    for name in names:
        rows = points[words == name]
        ax.scatter(
            rows[:, 0],
            rows[:, 1],
            s=9,
            color=shades[name],
            label=name,
            linewidths=0,
            alpha=0.8,
            rasterized=True,
        )
    ax.set(xticks=[], yticks=[])
    if len(names) <= 24:  # more colours than that can't be told apart
        columns = 1 if len(names) <= 12 else 2
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, handletextpad=0.2, ncols=columns)
    return ax


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
    _name_levels(ax, dict(baselines or {}) | ({"chance": chance} if chance is not None else {}))
    ax.set(xlabel="layer (0 = the transformer's input)", ylabel="unweighted accuracy", xticks=range(last + 1))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=len(curves))
    return ax


def _name_levels(ax: Axes, levels: Mapping[str, float]) -> None:
    """Draw level lines, each named at its right end; names that would overlap are moved apart."""
    ax.set_ylim(min(0.9 * min(levels.values(), default=1.0), ax.get_ylim()[0]), None)
    gap, lowest = 0.055 * (ax.get_ylim()[1] - ax.get_ylim()[0]), -np.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        ax.axhline(value, color=QUIET, linewidth=1, linestyle=":" if name == "chance" else "--", zorder=0)
        lowest = max(value, lowest + gap)
        ax.annotate(
            name, (1.01, lowest), xycoords=("axes fraction", "data"), va="center", color=FAINT, fontsize=8.5
        )


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
        ax.bar_label(
            bars, [f"{v:.2f}" for v in rows["value"]], label_type="center", color="white", fontsize=8
        )
    if chance is not None:
        ax.axhline(chance, color=QUIET, linewidth=1, linestyle=":")
        ax.annotate("chance", (len(groups) - 0.5, chance), ha="right", va="bottom", color=FAINT, fontsize=8)
    ax.set_xticks(range(len(groups)), groups)
    ax.legend(loc="upper left", ncols=len(names))
    ax.set(ylabel="unweighted accuracy", ylim=(0, table["high"].max() * 1.25), yticks=np.arange(0, 1.01, 0.2))
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


def _mel_position(frequency_hz: float, spec: MelSpec) -> float:
    """Return the place of a frequency on a mel-spectrogram's axis of bands."""
    import librosa

    edges = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    return float(np.interp(frequency_hz, edges, np.arange(spec.n_mels) + 0.5))
