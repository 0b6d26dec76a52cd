"""The interactive parts of the notebooks: a steering panel, a pad and a scatter on the arousal-valence plane.

`sketches` draws in a few milliseconds what follows a slider, `pad` is a point to drag, `upload` takes a
recording, `panel` joins them with the steerers, the judge and the sound; `scatter` plays the clip that is
clicked.
"""

from emolib.widgets.pad import PlanePad
from emolib.widgets.panel import SteeringPanel
from emolib.widgets.scatter import AudibleScatter
from emolib.widgets.upload import Upload

__all__ = ["AudibleScatter", "PlanePad", "SteeringPanel", "Upload"]
