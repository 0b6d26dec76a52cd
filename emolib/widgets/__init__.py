"""The interactive parts of the notebooks: a steering panel, an upload, a pad and a scatter on the plane."""

from emolib.widgets.controls import AudibleScatter, PlanePad, Upload
from emolib.widgets.panel import SteeringPanel

__all__ = ["AudibleScatter", "PlanePad", "SteeringPanel", "Upload"]
