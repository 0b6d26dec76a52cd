"""Parts that the browser draws: a point to drag on the plane, an upload in pieces, clips to click."""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import soundfile as sf
import traitlets
from numpy.typing import ArrayLike

from emolib import audio, emotions
from emolib.audio import Wave

#: Six minutes of stereo at 48 kHz and 32 bits; 16 bits take half.
MOST_BYTES = 150_000_000


def wav_bytes(wave: Wave, sample_rate: int) -> bytes:
    """Return a wave, (S,), as a wav file of 16 bits; what passes full scale is clipped."""
    file = io.BytesIO()
    sf.write(file, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


class PlanePad(anywidget.AnyWidget):
    """A plane with the emotions' anchors on it and one point that a person moves.

    Parameters
    ----------
    anchors : mapping of emotion to (valence, arousal), each in [-1, 1]

    Attributes
    ----------
    valence, arousal : float, in [-1, 1]; where the point is, set when it is let go
    """

    _esm = Path(__file__).parent / "pad.js"
    valence = traitlets.Float(0.0).tag(sync=True)
    arousal = traitlets.Float(0.0).tag(sync=True)
    #: What is drawn: name, valence, arousal and colour of each anchor.
    anchors: Any = traitlets.List().tag(sync=True)

    def __init__(self, anchors: Mapping[str, tuple[float, float]]) -> None:
        rows: list[Any] = [
            {"name": name, "valence": v, "arousal": a, "colour": emotions.COLOURS[emotions.check(name)]}
            for name, (v, a) in anchors.items()
        ]
        super().__init__(anchors=rows)

    @traitlets.validate("valence", "arousal")
    def _inside(self, proposal: Any) -> float:
        return min(1.0, max(-1.0, float(proposal["value"])))


class Upload(anywidget.AnyWidget):
    """A button that sends a file in pieces.

    Jupyter's servers close the connection without a message where one has more than 10 MB, so a file that is
    sent as one message would be lost. A file over the limit is refused in the page.

    Parameters
    ----------
    take : callable (name, content)
        What is done with a file that has arrived.
    most_bytes : int
    """

    _esm = Path(__file__).parent / "upload.js"
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)

    def __init__(self, take: Callable[[str, bytes], None], *, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(most_bytes=most_bytes)
        self._take, self._content = take, bytearray()
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], pieces: Sequence[Any]) -> None:
        if message["at"] == 0:
            self._content = bytearray()
        if message["at"] != len(self._content):
            return  # a piece of a file that another one has replaced
        for piece in pieces:
            self._content += piece
        if len(self._content) == message["size"]:
            content, self._content = bytes(self._content), bytearray()
            self._take(message["name"], content)


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
