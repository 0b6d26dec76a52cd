"""emolib: a lab for the geometry of emotion in speech.

The spine, from a recording to a number and back to sound. Who knows these parts knows the package:

``audio``      a recording: read, resample, set its level, its log-mel spectrogram
``corpora``    a corpus: a table with one row per clip (path, speaker, emotion, ...)
``encoders``   clips become hidden states: an array of layers x frames x width per clip
``store``      hidden states on disk, each clip of a corpus encoded once
``features``   encode what a store does not hold yet
``splits``     which clips train and which test, with no speaker on both sides
``metrics``    a score with its interval over speakers
``probing``    how well a linear classifier reads emotion from one layer
``axis``       the direction from one emotion to another, and where a clip lies on it
``steering``   move a clip along that direction, or along what speakers do with their voice
``vocoder``    a mel spectrogram becomes sound

From a recording to a number::

    from emolib import corpora, features, probing, splits

    manifest = corpora.load("ravdess")
    store = features.extract(manifest).store
    X = store.pooled(2, "mean+std", manifest["clip"])
    print(probing.cross_validate(X, manifest, splits.folds(manifest, "emobox")).ua)

The rest is built on these. ``ser`` judges emotion independently of the encoder; ``av`` places emotions on the
plane of arousal and valence; ``codebook`` quantizes features; ``prosody``, ``mapper``, ``tts`` and
``generate`` make sound; ``finetune`` trains encoders further; ``plots``, ``widgets`` and ``report`` are the
pages; ``sweep`` and ``cli`` run everything in batches; ``studies`` holds the longer experiments of single
notebooks, and nothing depends on it. docs/architecture.md shows the floors of the house and its two main
paths.

Importing the package imports none of these, so ``import emolib`` costs nothing.
"""

__version__ = "0.1.0"
