"""The interactive parts of the notebooks: a steering panel, and a pad on the arousal-valence plane.

`sketches` draws in a few milliseconds what follows a slider, `pad` is a point to drag, `panel` joins them
with the steerers, the judge and the sound.
"""

from emolib.widgets.pad import PlanePad
from emolib.widgets.panel import SteeringPanel

__all__ = ["PlanePad", "SteeringPanel"]
