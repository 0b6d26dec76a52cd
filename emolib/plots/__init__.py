"""All drawing: functions from data to axes, in one style, and the saving of figures with their numbers.

Every function takes an optional ``ax`` and returns the axes that it drew on; none shows or saves. Colours and
order of emotions are those of `emolib.emotions`.
"""

from emolib.plots.clips import (
    plot_by_emotion,
    plot_counts,
    plot_denoising,
    plot_map,
    plot_mel,
    plot_mel_grid,
    plot_moves,
    plot_plane,
    plot_wave,
)
from emolib.plots.scores import (
    plot_auc_by_layer,
    plot_bars,
    plot_by_layer,
    plot_controls,
    plot_gains,
    plot_ladder,
    plot_layer_curve,
    plot_matrix,
    plot_protocols,
    plot_rate_curves,
    plot_response,
    plot_series,
    plot_similarity,
    plot_spread,
    plot_transfer,
    plot_ways,
)
from emolib.plots.style import FAINT, INK, QUIET, SERIES, STYLE, save_figure, use_style

__all__ = [
    "FAINT", "INK", "QUIET", "SERIES", "STYLE", "plot_auc_by_layer", "plot_bars", "plot_by_emotion",
    "plot_by_layer", "plot_controls", "plot_counts", "plot_denoising", "plot_gains", "plot_ladder",
    "plot_layer_curve", "plot_map", "plot_matrix", "plot_mel", "plot_mel_grid", "plot_moves", "plot_plane",
    "plot_protocols", "plot_rate_curves", "plot_response", "plot_series", "plot_similarity", "plot_spread",
    "plot_transfer", "plot_wave", "plot_ways", "save_figure", "use_style",
]  # fmt: skip
