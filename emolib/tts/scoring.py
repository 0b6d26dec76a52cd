"""Where speech lies on an emotion axis: the score that a spoken result is printed with.

The axis is one that was fitted and saved, or one fitted here on a few sentences of the embedded voices.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from emolib import audio, demo, emotions, encoders, speakers
from emolib.axis import EmotionAxis
from emolib.encoders import Encoder
from emolib.tts.dial import ANCHORS

_SENTENCES = ("s1", "s2")


class AxisScore:
    """Projects speech onto an axis: 0 is the mean of the source emotion's clips, 1 that of the target's.

    Parameters
    ----------
    axis : EmotionAxis
    encoder : Encoder, optional
        The one that the axis was fitted on; by default it is loaded by the name that the axis gives.

    Raises
    ------
    ValueError
        If the axis doesn't say which encoder, layer and pooling it is of, or is of another encoder.

    Notes
    -----
    Every voice has an offset of its own on an axis. Compare a result's score with that of the plain voice.
    """

    def __init__(self, axis: EmotionAxis, encoder: Encoder | None = None) -> None:
        of = axis.provenance
        if None in (of["encoder"], of["layer"], of["pooling"]):
            raise ValueError(
                f"the axis {axis.source_} to {axis.target_} doesn't say which encoder, layer and pooling it "
                f"is of; fit one from a feature store"
            )
        self.axis, self._layer, self._pooling = axis, int(of["layer"]), str(of["pooling"])
        self._encoder = encoder or encoders.load(of["encoder"], layers=[self._layer])
        axis.check(encoder=self._encoder.name, fingerprint=self._encoder.fingerprint)

    def __call__(self, wave: audio.Wave, sample_rate: int) -> float:
        """Return the score of a wave, (S,)."""
        features = _pooled(self._encoder, wave, sample_rate, self._layer, self._pooling)
        return float(self.axis.project(features[None])[0])


def embedded(source: str = "calm", target: str = "angry", encoder: str = encoders.DEFAULT) -> AxisScore:
    """Fit an axis on two sentences of each of the eight embedded voices; it takes seconds.

    Parameters
    ----------
    source, target : str
        Emotions.
    encoder : str
        A name for `encoders.load`; its layer is two thirds of the way up.

    Raises
    ------
    ValueError
        If the encoder or an emotion is unknown, or both emotions are the same.

    Notes
    -----
    Rules made these clips, and the same rules turn the dial: a rising score shows that the encoder hears the
    dial, and is no evidence about people. For that, give `AxisScore` an axis of recorded speech.
    """
    ends = emotions.check(source), emotions.check(target)
    listener = encoders.load(encoder)
    layer = listener.layers[round(2 / 3 * (len(listener.layers) - 1))]
    rendered = list(_rendered(ends))
    axis = EmotionAxis(source, target, "mean-difference").fit(
        np.stack([_pooled(listener, wave, rate, layer, "mean") for _, _, wave, rate in rendered]),
        [emotion for _, emotion, _, _ in rendered],
        [speaker for speaker, _, _, _ in rendered],
        provenance={
            "encoder": encoder, "fingerprint": listener.fingerprint, "layer": layer, "pooling": "mean",
            "corpus": "demo",
        },
    )  # fmt: skip
    return AxisScore(axis, listener)


def _rendered(ends: tuple[str, str]) -> Iterator[tuple[str, str, audio.Wave, int]]:
    """Yield speaker, emotion, wave and sampling rate of each clip that an embedded axis is fitted on."""
    for voice in speakers.VOICES:
        for sentence in _SENTENCES:
            for word in ends:
                wave, rate = speakers.render(voice, demo.SENTENCES[sentence], word, *ANCHORS[word])
                yield voice.speaker, word, wave, rate


def _pooled(encoder: Encoder, wave: audio.Wave, sample_rate: int, layer: int, pooling: str) -> NDArray:
    """Return a wave's features pooled as a feature store pools them, (D,) or (2 D,)."""
    frames = encoder.encode([wave], sample_rate)[0][encoder.layers.index(layer)].astype(np.float64)
    return np.concatenate([frames.mean(axis=0)] + [frames.std(axis=0)] * pooling.endswith("std"))
