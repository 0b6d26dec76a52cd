"""A point on the arousal-valence plane to drag with the mouse or move with the arrow keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from emolib import emotions


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
