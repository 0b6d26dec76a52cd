"""emolib: a lab for the geometry of emotion in speech.

The modules follow the signal path, and each imports only from those before it:

``paths`` ``emotions`` ``atomic`` ``folders`` ``source`` ``threads`` ``training`` ``audio`` ``world``
``demo`` ``corpora`` ``metrics`` ``splits`` ``encoders`` ``store`` ``scheduling`` ``features`` ``probing``
``channels`` ``quality`` ``voices`` ``prosody`` ``phase`` ``vocoder`` ``attention`` ``pretrain`` ``finetune``
``av`` ``gallery`` ``codebook`` ``generate`` ``ser`` ``results`` ``report`` ``axis`` ``mapper`` ``steering``
``tts`` ``studies`` ``plots`` ``widgets`` ``sweep`` ``cli``

Importing the package imports none of them, so ``import emolib`` costs nothing: write
``from emolib import corpora``.
"""

__version__ = "0.1.0"
