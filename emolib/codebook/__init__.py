"""Codebooks: what quantization does to emotion, in real bits.

`quantizer` turns vectors to codes and back, `training` finds the codebooks and searches for codes, `coding`
knows how long codes are and writes them as streams, `routing` chooses among several codebooks, `measures`
codes a corpus or a file, and says what became of each emotion.
"""

from emolib.codebook.coding import pack, unpack
from emolib.codebook.quantizer import ResidualQuantizer
from emolib.codebook.routing import RoutedQuantizer
