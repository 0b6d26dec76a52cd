"""Codebooks: what quantization does to emotion, in real bits.

`quantizer` turns vectors to codes and back, `entropy` knows how long codes are, `search` chooses them,
`stream` writes and reads them, `training` finds the codebooks; `measures` and `controls` say what became of
an emotion, and what another change of equal size would have done; `biased` and `routing` are codebooks of one
emotion each; `conditioning` turns an embedding into prosody, and with `cast` and `spoken` it is heard.
"""

from emolib.codebook.quantizer import ResidualQuantizer
from emolib.codebook.routing import RoutedQuantizer
from emolib.codebook.stream import pack, unpack

__all__ = ["ResidualQuantizer", "RoutedQuantizer", "pack", "unpack"]
