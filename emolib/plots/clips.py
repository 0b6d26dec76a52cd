"""Drawing of a corpus and its clips: counts, waves, spectrograms, distributions, maps."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from emolib import emotions
from emolib.audio import HIFIGAN_MEL, MelSpec, Wave
from emolib.plots.style import INK, QUIET


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


def _mel_position(frequency_hz: float, spec: MelSpec) -> float:
    """Return the place of a frequency on a mel-spectrogram's axis of bands."""
    import librosa

    edges = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax)[1:-1]
    return float(np.interp(frequency_hz, edges, np.arange(spec.n_mels) + 0.5))
