"""The emotion recogniser that judges steered and generated speech.

`Judge` hears hand-made acoustic measures (`emolib.ser.acoustics`) that no steerer uses, on one level; it is
trained on speakers other than those it judges, calibrated, and states its accuracy on natural speech beside
every verdict. `train` makes one from a manifest.

Examples
--------
>>> from emolib import ser
>>> ser.Judge()
Judge(not fitted)
"""

from emolib.ser.acoustics import acoustics
from emolib.ser.judge import Judge
from emolib.ser.training import digest, train

__all__ = ["Judge", "acoustics", "digest", "train"]
