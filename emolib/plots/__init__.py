"""All drawing: functions from data to axes, in one style, and the saving of figures with their numbers.

Every function takes an optional ``ax`` and returns the axes that it drew on; none shows or saves. Colours and
order of emotions are those of `emolib.emotions`.
"""

from emolib.plots.clips import plot_by_emotion, plot_counts, plot_map, plot_mel, plot_wave
from emolib.plots.scores import plot_bars, plot_layer_curve, plot_similarity
from emolib.plots.style import FAINT, INK, QUIET, SERIES, STYLE, save_figure, use_style

__all__ = [
    "FAINT",
    "INK",
    "QUIET",
    "SERIES",
    "STYLE",
    "plot_bars",
    "plot_by_emotion",
    "plot_counts",
    "plot_layer_curve",
    "plot_map",
    "plot_mel",
    "plot_similarity",
    "plot_wave",
    "save_figure",
    "use_style",
]
