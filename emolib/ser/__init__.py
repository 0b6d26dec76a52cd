"""The emotion recognisers: one that judges steered and generated speech, and one to be helped by more data.

`Judge` hears hand-made acoustic measures (`emolib.ser.acoustics`) that no steerer uses, on one level; it is
trained on speakers other than those it judges, calibrated, and states its accuracy on natural speech beside
every verdict. `train` makes one from a manifest. `ResNetRecogniser` hears log-mel-spectrograms; it is the
recogniser that more data, real, augmented or generated, may help.

Examples
--------
>>> from emolib import ser
>>> ser.Judge()
Judge(not fitted)
"""

from emolib.ser.acoustics import acoustics
from emolib.ser.judge import Judge
from emolib.ser.resnet import ResNetRecogniser, ResNetSettings
from emolib.ser.specaugment import mixup, spec_augment
from emolib.ser.training import digest, train

__all__ = [
    "Judge",
    "ResNetRecogniser",
    "ResNetSettings",
    "acoustics",
    "digest",
    "mixup",
    "spec_augment",
    "train",
]
