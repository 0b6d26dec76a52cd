"""Codebooks: what quantization does to emotion, in real bits.

`quantizer` turns vectors to codes and back, by one codebook or the best of several, `training` finds the
codebooks and searches for codes, `coding` knows how long codes are and writes them as streams, `measures`
codes a corpus or a file, and says what became of each emotion.
"""

from emolib.codebook.coding import pack, unpack
from emolib.codebook.quantizer import ResidualQuantizer, RoutedQuantizer
