"""Clips as points on the arousal-valence plane: click one and hear it."""

import html
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets
from numpy.typing import ArrayLike

from emolib import audio, emotions
from emolib.widgets.sound import wav_bytes


class Scatter(anywidget.AnyWidget):
    """Points on the plane, one of them chosen by a click or the arrow keys.

    Attributes
    ----------
    points : list of [valence, arousal, colour]
    chosen : int; -1 before anything is chosen
    """

    _esm = Path(__file__).parent / "scatter.js"
    points: Any = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)


class AudibleScatter(widgets.VBox):
    """A scatter of clips that plays the one that is clicked.

    Parameters
    ----------
    points : array-like, (N, 2); valence, arousal; what lies outside [-1, 1] is drawn on the border
    manifest : DataFrame, N rows, with clip, emotion, speaker and path

    Raises
    ------
    ValueError
        If the numbers of points and clips differ, or a point isn't finite.
    """

    def __init__(self, points: ArrayLike, manifest: pd.DataFrame) -> None:
        places = np.asarray(points, dtype=np.float64)
        if places.shape != (len(manifest), 2) or not np.isfinite(places).all():
            n = len(manifest)
            raise ValueError(f"points of shape {places.shape} for {n} clips; expected ({n}, 2), all finite")
        self._manifest = manifest.reset_index(drop=True)
        colours = [emotions.COLOURS[word] for word in manifest["emotion"]]
        rows = [[float(v), float(a), colour] for (v, a), colour in zip(places, colours, strict=True)]
        self.scatter = Scatter(points=rows)
        self.player = widgets.Audio(value=b"", format="wav", autoplay=True, loop=False)
        self.words = widgets.HTML("click a point to hear its clip")
        super().__init__(children=[self.scatter, self.words, self.player])
        self.scatter.observe(self._play, "chosen")

    def __repr__(self) -> str:
        return f"AudibleScatter({len(self._manifest)} clips)"

    def _play(self, change: Any) -> None:
        row = self._manifest.iloc[change["new"]]
        valence, arousal, _ = self.scatter.points[change["new"]]
        text = f"{row['clip']}: {row['emotion']}, speaker {row['speaker']}"
        self.words.value = html.escape(f"{text}; valence {valence:+.2f}, arousal {arousal:+.2f}")
        try:
            self.player.value = wav_bytes(*audio.load_clip(row))
        except audio.AudioError as error:
            self.words.value = html.escape(str(error))
