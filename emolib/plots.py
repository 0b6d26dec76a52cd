"""All drawing: functions from data to axes, in one style, and the saving of figures with their numbers.

Every function takes an optional ``ax`` and returns the axes that it drew on; none shows or saves. Colours and
order of emotions are those of `emolib.emotions`.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import librosa
import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from scipy.stats import gaussian_kde

from emolib import emotions
from emolib.audio import EMOGEN_MEL, HIFIGAN_MEL, MelSpec, Wave
from emolib.metrics import Interval

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
#: Heights of level lines by their names.
Levels = Mapping[str, float] | None


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


# ------------------------------------------------------------------------------------- a corpus and its clips


def plot_counts(manifest: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the number of clips of each emotion as bars, split by gender."""
    ax = ax or plt.gca()
    table = pd.crosstab(manifest["emotion"], manifest["gender"])
    table = table.loc[emotions.ordered(table.index.tolist())]
    colours = [emotions.COLOURS[name] for name in table.index]
    base = np.zeros(len(table))
    for gender, alpha in zip(table.columns, np.linspace(1.0, 0.45, max(2, table.shape[1])), strict=False):
        bars = ax.bar(table.index, table[gender], bottom=base, color=colours, alpha=alpha, width=0.75)
        words = [(gender or "?") if n else "" for n in table[gender]]
        ax.bar_label(bars, words, label_type="center", color="white", fontsize=8)
        base += table[gender].to_numpy()
    ax.bar_label(ax.containers[-1], [f"{n:.0f}" for n in base], padding=2)  # type: ignore[arg-type]
    ax.set(ylabel="clips")
    ax.margins(y=0.12)  # room for the totals
    ax.tick_params(axis="x", rotation=30)
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
        ax.scatter(values, heights, s=4, color=emotions.COLOURS[name], alpha=0.45, **_DOTS)
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
    names, shades = _order_and_shades(words.tolist())
    for name in names:
        x, y = points[words == name].T
        ax.scatter(x, y, s=9, color=shades[name], alpha=0.8, label=name, **_DOTS)
    ax.set(xticks=[], yticks=[])
    if len(names) <= 24:  # more colours than that can't be distinguished
        columns = 1 if len(names) <= 12 else 2
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, handletextpad=0.2, ncols=columns)
    return ax


def plot_plane(
    points: NDArray,
    labels: ArrayLike,
    *,
    anchors: Mapping[str, NDArray] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw clips on the plane of valence and arousal, coloured by emotion, and the anchors as crosses.

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
        x, y = points[words == name].T
        ax.scatter(x, y, s=10, color=emotions.COLOURS[name], alpha=0.55, label=name, **_DOTS)
    for name, anchor in (anchors or {}).items():
        colour = emotions.COLOURS[name]
        ax.plot(*anchor, "P", color=colour, markersize=11, markeredgecolor="white", zorder=4)
    _affect_frame(ax)
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2.2, handletextpad=0.2)
    return ax


def plot_moves(
    starts: NDArray, ends: NDArray, labels: ArrayLike, *, ax: Axes | None = None, crosses: bool = False
) -> Axes:
    """Draw one arrow per emotion on the plane of valence and arousal.

    Parameters
    ----------
    starts, ends : arrays, (C, 2); valence, arousal
    labels : array-like of emotions, (C,)
    crosses : bool; mark the starts as anchors are marked in `plot_plane`, else as small dots
    """
    ax = ax or plt.gca()
    marker, size = ("P", 11) if crosses else ("o", 5)
    for start, end, name in zip(starts, ends, np.asarray(labels).tolist(), strict=True):
        colour = emotions.COLOURS[name]
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=arrow, zorder=5)
        ax.plot(*start, marker, color=colour, markersize=size, markeredgecolor="white", zorder=4)
        (right, up), above = end - start, end[1] >= start[1]
        side = 0 if abs(right) < abs(up) / 4 else 1 if right > 0 else -1
        ax.annotate(
            name, end, xytext=(4 * side, 4 if above else -4), textcoords="offset points",
            ha=("center", "left", "right")[side], va="bottom" if above else "top", color=colour,
            fontsize=8.5, fontweight="bold", path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
    _affect_frame(ax)
    return ax


def plot_wave(wave: Wave, sample_rate: int, *, colour: str = INK, ax: Axes | None = None) -> Axes:
    """Draw a wave against time in seconds."""
    ax = ax or plt.gca()
    ax.plot(np.arange(len(wave)) / sample_rate, wave, color=colour, linewidth=0.4, rasterized=True)
    ax.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, len(wave) / sample_rate))
    return ax


def plot_mel(log_mel: NDArray, *, limits: tuple[float, float] | None = None, ax: Axes | None = None) -> Axes:
    """Draw a log-mel-spectrogram, (T, M), in dB; the same `limits`, in dB, make several comparable."""
    ax, spec = ax or plt.gca(), HIFIGAN_MEL
    level_db = _decibel(log_mel, spec)
    place = (0, log_mel.shape[0] * spec.hop_length / spec.sample_rate, 0, spec.n_mels)
    _picture(ax, level_db.T, place, limits or (level_db.max() - 80, level_db.max()))
    ticks_khz = [0.5, 1, 2, 4, 8]
    centres_hz = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    bands = np.interp(1000 * np.array(ticks_khz), centres_hz, np.arange(spec.n_mels) + 0.5)
    ax.set_yticks(bands, [f"{khz:g}" for khz in ticks_khz])
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)")
    return ax


def plot_mel_grid(columns: Mapping[str, Sequence[NDArray]], *, ax: Axes | None = None) -> Axes:
    """Draw log-mel-spectrograms in a grid: a column per class, a row per clip.

    Parameters
    ----------
    columns : mapping of a class to float32 arrays, each (M, T) of `EMOGEN_MEL`; emotions get their own order
        and colours
    """
    ax = ax or plt.gca()
    names, shades = _order_and_shades(list(columns))
    n_rows = max(len(columns[name]) for name in names)
    for i, name in enumerate(names):
        for j, mel in enumerate(columns[name]):
            level_db = _decibel(mel, EMOGEN_MEL)
            place = (i + 0.02, i + 0.98, n_rows - j - 0.96, n_rows - j - 0.04)
            _picture(ax, level_db, place, (level_db.max() - _RANGE_DB, level_db.max()))
    _strip(ax, names, n_rows)
    for tick, name in zip(ax.xaxis.get_major_ticks(), names, strict=True):
        tick.label2.set(color=shades[name], fontweight="bold")
    ax.tick_params(labeltop=True, labelbottom=False)
    return ax


def plot_denoising(steps: Sequence[NDArray], labels: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw a sample from noise to speech as a strip.

    Parameters
    ----------
    steps : sequence of K float32 arrays, (M, T) of `EMOGEN_MEL`, the noisiest first; all have the last one's
        scale
    labels : sequence of K str; such as the share of the steps that are done
    """
    ax = ax or plt.gca()
    levels_db = [_decibel(mel, EMOGEN_MEL) for mel in steps]
    for i, level_db in enumerate(levels_db):
        top = levels_db[-1].max()
        _picture(ax, level_db, (i + 0.02, i + 0.98, 0, 1), (top - _RANGE_DB, top))
    _strip(ax, labels, 1)
    ax.set_xlabel("share of the steps done")
    return ax


def _order_and_shades(words: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Return different labels in their order, with their colours."""
    if not set(words).isdisjoint(emotions.EMOTIONS):  # with words of a corpus of one's own among them
        return emotions.ordered(words), emotions.COLOURS
    names = sorted(set(words))
    return names, dict(zip(names, sns.color_palette("husl", len(names)), strict=True))


def _affect_frame(ax: Axes) -> None:
    ax.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
    ticks, limits = np.linspace(-1, 1, 5), (-1.1, 1.1)
    ax.set(xlabel="valence (-1 to 1)", xlim=limits, xticks=ticks)
    ax.set(ylabel="arousal (-1 to 1)", ylim=limits, yticks=ticks, aspect="equal")


def _decibel(log_mel: NDArray, spec: MelSpec) -> NDArray:
    return log_mel * (20 / spec.power) / np.log(10)


def _picture(ax: Axes, level_db: NDArray, place: Any, limits: tuple[float, float]) -> None:
    """Draw a mel-spectrogram, (M, T), in dB within limits, at left, right, bottom and top."""
    image = ax.imshow(level_db, origin="lower", aspect="auto", extent=place, interpolation="nearest")
    image.set_clim(*limits)


def _strip(ax: Axes, labels: Sequence[str], n_rows: int) -> None:
    """Name the columns of a grid of pictures, and draw no frame."""
    ax.set(xlim=(0, len(labels)), ylim=(0, n_rows), yticks=[])
    ax.set_xticks(np.arange(len(labels)) + 0.5, labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


_DOTS: Any = {"linewidths": 0, "rasterized": True}  # many of them in a small svg
_RANGE_DB = 60.0  # below the loudest band of a picture in a grid
_DASHES = ("-", "--", ":", "-.")  # with four colours, enough for sixteen series
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_JOINED = 0.25  # share of the axis of bits beyond which two rates are not joined

# ------------------------------------------------------------------------------------- curves


def plot_series(
    table: pd.DataFrame, x: str, y: str, by: str, *, levels: Levels = None, joined: float = 1.0,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw one line per series, with its interval as a band where the table has the columns low and high.

    Parameters
    ----------
    table : DataFrame
    x, y, by : str; columns for the position, the height, and the series
    levels : mapping of name to value, drawn as level lines named at their right end
    joined : float
        Neighbours that are farther apart than this share of the range of x, in the scale that `ax` has, are
        not joined.
    """
    ax = ax or plt.gca()
    looks = zip(itertools.cycle(itertools.product(_DASHES, SERIES)), itertools.cycle(_MARKS), strict=True)
    for (name, rows), ((dash, shade), mark) in zip(table.groupby(by, sort=False), looks, strict=False):
        _curve(ax, _with_gaps(rows, x, joined, ax), x, y, name, shade, dash + mark)
    if levels:
        _name_levels(ax, levels)
    ax.set(xlabel=x, ylabel=y)
    ax.legend(fontsize=8)
    return ax


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
    low, high = table["bits"].min() / 2, 2 * table["bits"].max()
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64) if low < tick < high]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set(xlabel="bits per clip (stream's length)", ylabel=label)
    return ax


def plot_ladder(tables: Mapping[str, pd.DataFrame], *, ax: Axes | None = None) -> Axes:
    """Draw the mean projection by intensity with its interval, one line per corpus or method.

    Parameters
    ----------
    tables : mapping of name to DataFrame with the columns step, value, low and high, as `axis.ladder` returns
    """
    ax = ax or plt.gca()
    for number, (name, table) in enumerate(tables.items()):
        at = np.arange(len(table)) + 0.06 * (number - (len(tables) - 1) / 2)
        shade = SERIES[number % len(SERIES)]
        ax.errorbar(at, table["value"], yerr=_errors(table), fmt="o-", color=shade, capsize=3, label=name)
    steps = next(iter(tables.values()))["step"].tolist()
    ax.axhline(0, color=QUIET, linewidth=1, zorder=0)
    ax.axhline(1, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    _name_level(ax, "the target's mean", 1, None)
    ax.set_xticks(range(len(steps)), steps)
    ax.set(ylabel="projection (0 = source, 1 = target)", xlim=(-0.4, len(steps) - 0.6))
    return ax


def plot_ridges(values: ArrayLike, labels: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of one number for each emotion, as rows of densities that overlap a little.

    Parameters
    ----------
    values : array-like, (N,)
    labels : array-like of emotions, (N,); one of a single clip, or without spread, has no density
    """
    ax = ax or plt.gca()
    numbers, of = np.asarray(values, dtype=np.float64), np.asarray(labels)
    words, shades = _order_and_shades(of.tolist())
    low, high = np.quantile(numbers, [0.002, 0.998])
    at = np.linspace(low, high, 300)
    for row, word in enumerate(reversed(words)):
        own = numbers[of == word]
        if len(own) > 1 and own.std() > 0:
            density = gaussian_kde(own)(at)
            top = row + 1.5 * density / density.max()
            ax.fill_between(at, row, top, color=shades[word], alpha=0.75, linewidth=0, zorder=-row)
            ax.plot(at, top, color="white", linewidth=1, zorder=-row)
        ax.plot([own.mean()] * 2, [row, row + 0.3], color=INK, linewidth=1.5)
    ax.set_yticks(range(len(words)), reversed(words))
    ax.grid(axis="x", color=QUIET, linewidth=0.4)
    return ax


# ------------------------------------------------------------------------------------- bars and rows


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
        rows = table[table[series] == name].set_index(group).reindex(groups)
        at = np.arange(len(groups)) + (j - (len(names) - 1) / 2) * width
        bars = ax.bar(at, rows["value"], width * 0.92, color=SERIES[j % len(SERIES)], label=name)
        ax.errorbar(at, rows["value"], yerr=_errors(rows), fmt="none", color=INK, linewidth=1, capsize=2)
        shown = [f"{v:.2f}" if v > 0.05 else "" for v in rows["value"]]
        box = {"facecolor": SERIES[j % len(SERIES)], "edgecolor": "none", "pad": 0.5}  # hides the whisker
        ax.bar_label(bars, shown, label_type="center", color="white", fontsize=8, bbox=box)
        for x, value, high in zip(at, rows["value"], rows["high"].fillna(rows["value"]), strict=True):
            if value <= 0.05:  # no room within the bar
                ax.annotate(f"{value:.2f}", (x, high), (0, 2), textcoords="offset points", ha="center",
                            color=FAINT, fontsize=8)  # fmt: skip
    if chance is not None:
        ax.axhline(chance, color=QUIET, linewidth=1, linestyle=":")
        _name_level(ax, "chance", chance, 8)
    ax.set_xticks(range(len(groups)), groups)
    ax.legend(loc="upper left", ncols=len(names))
    top = np.nanmax(table[["value", "high"]].to_numpy(float))  # high is NaN where there is no interval
    ax.set(ylabel="unweighted accuracy", ylim=(0, top * 1.25), yticks=np.arange(0, 1.01, 0.2))
    return ax


def plot_protocols(table: pd.DataFrame, *, chance: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the UA of both protocols' conditions as bars beside each other, with intervals over speakers.

    Parameters
    ----------
    table : DataFrame; rows of one share, as `Study.table` gives them
    chance : float, optional
    """
    ax = ax or plt.gca()
    words = {"disjoint": "speakers apart", "flattering": "flattering: speakers shared"}
    ordered = pd.concat([table[table["protocol"] == name] for name in words])
    rows = np.arange(len(ordered))[::-1] - 0.6 * (ordered["protocol"] == "flattering").to_numpy()
    value, low, high = 100 * ordered[["ua", "ua_low", "ua_high"]].to_numpy(float).T
    for (name, label), shade in zip(words.items(), SERIES, strict=False):
        own = (ordered["protocol"] == name).to_numpy()
        if own.any():
            ax.barh(rows[own], value[own], height=0.7, color=shade, label=label)
    ax.hlines(rows, low, high, color=INK, linewidth=1.3)
    for row, number, end in zip(rows, value, np.fmax(value, high), strict=True):
        ax.annotate(
            f"{number:.1f}", (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    if chance is not None:
        ax.axvline(100 * chance, color=QUIET, linewidth=1, linestyle=":")
    ax.set_yticks(rows, ordered["condition"].tolist())
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.set(xlabel="UA (%)", xlim=(0, 108))
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
    for row, (value, low, high, *_) in enumerate(observed.values()):
        ax.plot([low, high], [row, row], color=SERIES[1], linewidth=2.5, solid_capstyle="butt")
        ax.plot(value, row, "o", color=SERIES[1], markersize=6)
    rng = np.random.default_rng(0)  # of the dots' heights, which mean nothing
    for row, aucs in enumerate(map(np.asarray, controls.values()), start=len(observed)):
        heights = row + rng.uniform(-0.28, 0.28, len(aucs))
        ax.scatter(aucs, heights, s=7, color=SERIES[0], alpha=0.5, **_DOTS)
        ax.plot([aucs.mean()] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=1.3)
    ax.axvline(0.5, color=QUIET, linewidth=1, linestyle=":", zorder=0)
    names = [*observed, *controls]
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="AUC", xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    return ax


def plot_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw each row's value as a dot on its interval: the columns value, low and high; rows are named."""
    ax = ax or plt.gca()
    at = np.arange(len(table))[::-1]
    ax.hlines(at, table["low"], table["high"], color=QUIET, linewidth=3)
    ax.plot(table["value"], at, "o", color=INK, markersize=4)
    ax.axvline(0, color=QUIET, linewidth=1, linestyle=":", zorder=0)
    ax.set_yticks(at, table.index)
    ax.set_ylim(-0.6, len(table) - 0.4)
    return ax


# ------------------------------------------------------------------------------------- heat maps


def plot_transfer(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw AUC by the corpus that an axis was fitted on (rows) and tried on (columns) as a heat map."""
    ax = _heat_map(table, "AUC", (0.5, 1), "cividis", ax, size=9)
    ax.set(xlabel="tried on", ylabel="fitted on", aspect="equal")
    return ax


def plot_similarity(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a table of cosine similarities as a heat map, -1 to 1."""
    ax = _heat_map(table, "cosine similarity", (-1, 1), "RdBu_r", ax)
    ax.set_aspect("equal")
    ax.tick_params(axis="x", rotation=45)
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
    end = limit or float(np.nanmax(np.abs(table.to_numpy())))
    start, colours = (-end, "RdBu_r") if np.nanmin(table.to_numpy()) < 0 else (0.0, "Blues")
    ax = _heat_map(table, label, (start, end), colours, ax, size=7.5)
    ax.tick_params(axis="x", rotation=45)
    ax.set(xlabel=names[0], ylabel=names[1])
    return ax


def _heat_map(
    table: pd.DataFrame, label: str, limits: tuple[float, float], cmap: str, ax: Axes | None, size: float = 8
) -> Axes:
    ax = sns.heatmap(
        table, vmin=limits[0], vmax=limits[1], cmap=cmap, annot=True, fmt=".2f", annot_kws={"size": size},
        linewidths=0.5, cbar_kws={"label": label, "shrink": 0.8}, ax=ax or plt.gca(),
    )  # fmt: skip
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="y", rotation=0)
    return ax


# ------------------------------------------------------------------------------------- parts


def _curve(ax: Axes, rows: pd.DataFrame, x: str, y: str, name: object, shade: str, look: str = "o-") -> None:
    """Draw a line with markers, and its interval as a band where there is one."""
    ax.plot(rows[x], rows[y], look, color=shade, label=str(name), markersize=4, linewidth=1.8)
    if {"low", "high"} <= set(rows):
        ax.fill_between(rows[x], rows["low"], rows["high"], color=shade, alpha=0.15, linewidth=0)


def _errors(rows: pd.DataFrame) -> NDArray:
    """Return how far the interval reaches below and above the value, (2, N)."""
    return np.abs(np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]))


def _with_gaps(table: pd.DataFrame, x: str, joined: float, ax: Axes) -> pd.DataFrame:
    """Return rows in the order of x, with an empty one wherever two are too far apart to be joined."""
    rows = table.sort_values(x).reset_index(drop=True)
    places = np.asarray(ax.xaxis.get_transform().transform(rows[x].to_numpy(dtype=np.float64)))
    steps = np.diff(places)
    gaps = np.flatnonzero(steps > joined * steps.sum() * (1 + 1e-9))
    empty = pd.DataFrame(np.nan, index=gaps + 0.5, columns=rows.select_dtypes("number").columns)
    return pd.concat([rows, empty]).sort_index() if len(gaps) else rows


def _name_levels(ax: Axes, levels: Mapping[str, float]) -> None:
    """Draw level lines, each named at its right end; names that would overlap are moved apart."""
    ax.set_ylim(min(0.9 * min(levels.values(), default=1.0), ax.get_ylim()[0]), None)
    gap, lowest = 0.055 * (ax.get_ylim()[1] - ax.get_ylim()[0]), -np.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        ax.axhline(value, color=QUIET, linewidth=1, linestyle=":" if name == "chance" else "--", zorder=0)
        lowest = max(value, lowest + gap)
        _name_level(ax, name, lowest)


def _name_level(ax: Axes, name: str, y: float, size: float | None = 8.5) -> None:
    """Write the name of a level at its right end; None is the size of other text."""
    place = ("axes fraction", "data")
    ax.annotate(name, (1.01, y), xycoords=place, va="center", color=FAINT, fontsize=size)
