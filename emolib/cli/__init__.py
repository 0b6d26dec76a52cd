"""The command line: each command a few lines over the package, one module a group of them."""

from emolib.cli import (
    augment,
    av,
    axis,
    data,
    features,
    finetune,
    generate,
    mapper,
    quantize,
    runs,
    steer,
    training,
    tts,
    vocoder,
)
from emolib.cli.app import app

__all__ = [
    "app",
    "augment",
    "av",
    "axis",
    "data",
    "features",
    "finetune",
    "generate",
    "mapper",
    "quantize",
    "runs",
    "steer",
    "training",
    "tts",
    "vocoder",
]
