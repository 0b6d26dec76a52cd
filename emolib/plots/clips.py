"""Drawing of a corpus and its clips: counts, waves, spectrograms, distributions, maps, the affect plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import librosa
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from emolib import emotions
from emolib.audio import EMOGEN_MEL, HIFIGAN_MEL, MelSpec, Wave
from emolib.plots.style import INK, QUIET


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
        _dots(ax, np.column_stack([values, heights]), emotions.COLOURS[name], size=4, alpha=0.45)
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
        _dots(ax, points[words == name], shades[name], size=9, alpha=0.8, label=name)
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
        _dots(ax, points[words == name], emotions.COLOURS[name], size=10, alpha=0.55, label=name)
    for name, (valence, arousal) in (anchors or {}).items():
        colour = emotions.COLOURS[name]
        ax.plot(valence, arousal, "P", color=colour, markersize=11, markeredgecolor="white", zorder=4)
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
        above = end[1] >= start[1]
        ax.annotate(
            name, end, xytext=(0, 4 if above else -4), textcoords="offset points", ha="center",
            va="bottom" if above else "top", color=colour, fontsize=8.5, fontweight="bold",
        )  # fmt: skip
    _affect_frame(ax)
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
    top = _decibel(log_mel, spec).max()
    place = (0, log_mel.shape[0] * spec.hop_length / spec.sample_rate, 0, spec.n_mels)
    _picture(ax, log_mel.T, place, spec, limits or (top - 80, top))
    ticks_khz = [0.5, 1, 2, 4, 8]
    centres_hz = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    bands = np.interp(1000 * np.array(ticks_khz), centres_hz, np.arange(spec.n_mels) + 0.5)
    ax.set_yticks(bands, [f"{khz:g}" for khz in ticks_khz])
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)")
    return ax


def plot_mel_grid(
    columns: Mapping[str, Sequence[NDArray]],
    *,
    spec: MelSpec = EMOGEN_MEL,
    range_db: float = 60.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw log-mel-spectrograms in a grid: a column per class, a row per clip.

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
            top = _decibel(mel, spec).max()
            place = (i + 0.02, i + 0.98, n_rows - j - 0.96, n_rows - j - 0.04)
            _picture(ax, mel, place, spec, (top - range_db, top))
    _strip(ax, names, n_rows)
    for tick, name in zip(ax.xaxis.get_major_ticks(), names, strict=True):
        tick.label2.set(color=emotions.COLOURS[name] if known else INK, fontweight="bold")
    ax.tick_params(labeltop=True, labelbottom=False)
    return ax


def plot_denoising(
    steps: Sequence[NDArray],
    labels: Sequence[str],
    *,
    spec: MelSpec = EMOGEN_MEL,
    range_db: float = 60.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw a sample from noise to speech as a strip.

    Parameters
    ----------
    steps : sequence of K float32 arrays, (M, T); log-mel-spectrograms, the noisiest first
    labels : sequence of K str; such as the share of the steps that are done
    spec : MelSpec
    range_db : float, dB; what is drawn below the last picture's loudest band: all have one scale
    """
    ax = ax or plt.gca()
    top = _decibel(steps[-1], spec).max()
    for i, mel in enumerate(steps):
        _picture(ax, mel, (i + 0.02, i + 0.98, 0, 1), spec, (top - range_db, top))
    _strip(ax, labels, 1)
    ax.set_xlabel("share of the steps done")
    return ax


def _order_and_shades(words: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Return different labels in their order, with their colours."""
    if set(words) <= set(emotions.EMOTIONS):
        return emotions.ordered(words), emotions.COLOURS
    names = sorted(set(words))
    return names, dict(zip(names, sns.color_palette("husl", len(names)), strict=True))


def _dots(
    ax: Axes, points: NDArray, shade: Any, *, size: float, alpha: float, label: str | None = None
) -> None:
    ax.scatter(
        points[:, 0], points[:, 1], s=size, color=shade, alpha=alpha, linewidths=0, label=label,
        rasterized=True,
    )  # fmt: skip


def _affect_frame(ax: Axes) -> None:
    ax.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.set(xlabel="valence (-1 to 1)", ylabel="arousal (-1 to 1)", xlim=(-1.1, 1.1), ylim=(-1, 1))
    ax.set_aspect("equal")


def _decibel(log_mel: NDArray, spec: MelSpec) -> NDArray:
    return log_mel * (20 / spec.power) / np.log(10)


def _picture(
    ax: Axes,
    mel: NDArray,
    place: tuple[float, float, float, float],
    spec: MelSpec,
    limits: tuple[float, float],
) -> None:
    """Draw a log-mel-spectrogram, (M, T), within limits in dB, at left, right, bottom and top."""
    ax.imshow(
        _decibel(mel, spec), origin="lower", aspect="auto", extent=place, vmin=limits[0], vmax=limits[1],
        interpolation="nearest",
    )  # fmt: skip


def _strip(ax: Axes, labels: Sequence[str], n_rows: int) -> None:
    """Name the columns of a grid of pictures, and draw no frame."""
    ax.set(xlim=(0, len(labels)), ylim=(0, n_rows), yticks=[])
    ax.set_xticks(np.arange(len(labels)) + 0.5, labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
