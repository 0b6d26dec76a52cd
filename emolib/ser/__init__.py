"""Recognisers of emotion: the judge of steered and generated speech, one that more data may help, and a
published network's head.

`Judge` reads hand-made acoustic measures (`acoustics`) that no steerer uses, at one level; it is trained on
speakers other than those it judges, calibrated, and states its accuracy on natural speech beside every
answer. `train` makes one from a manifest. `ResNetRecogniser` reads log-mel-spectrograms; it is the classifier
that real, augmented or generated data may help. `dimensional` predicts arousal, dominance and valence by a
published network.

Examples
--------
>>> from emolib import ser
>>> ser.Judge()
Judge(not fitted)
"""

from emolib.ser.acoustics import acoustics
from emolib.ser.dimensions import DIMENSIONS, DimensionalModel, dimensional
from emolib.ser.judge import Judge, digest, train
from emolib.ser.network import ResNetRecogniser, ResNetSettings
