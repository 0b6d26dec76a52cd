"""Text to speech with an emotion: what to change in a plain voice, how far, and the place on an axis.

All settings are differences from the plain rendition, so that alpha scales them: 0 leaves the voice as it is,
below 0 it goes the other way. They come from an emotion's name, or from what two reference clips differ in.

References
----------
N. H. de Jong, T. Wempe (2009), "Praat script to detect syllable nuclei and measure speech rate
automatically", Behavior Research Methods 41(2), 385-390, doi:10.3758/BRM.41.2.385.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from emolib import audio, demo, emotions, encoders, paths, prosody
from emolib.audio import Wave
from emolib.axis import EmotionAxis
from emolib.demo import speech
from emolib.encoders import Encoder
from emolib.steering.base import Steerer
from emolib.tts.loading import DEFAULT_VOICE, load_voice
from emolib.tts.voices import Voice
from emolib.world import HOP_MS, Settings, Speech

#: Where each emotion lies on the plane of affect.
ANCHORS: Mapping[str, emotions.Anchor] = MappingProxyType(
    {**emotions.ANCHORS["emodb"], **emotions.ANCHORS["iemocap"], **demo.ANCHORS}
)
#: What two clips of different words can show, and how far each difference is believed.
LIMITS: Mapping[str, float] = MappingProxyType(
    {"pitch_st": 12.0, "range_log": 1.0, "rate_log": 0.5, "level_db": 12.0, "tilt_db": 4.0}
)
_DB = 10 / math.log(10)
_NUCLEI_HZ = (300.0, 3500.0)  # where vowels are loud, and hum and friction are not
#: Two clips: what alpha 0 is, and what alpha 1.
Clips = tuple[str | Path, str | Path]
#: Largest distance of two references on the axis, in steps from one emotion to the other, that is used.
_MOST_STEPS = 1.5
_SENTENCES = ("s1", "s2")
#: How far alpha reaches: plainly, and with extrapolation.
ALPHA, ALPHA_EXTRAPOLATED = 1.0, 2.0


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

    def __call__(self, wave: Wave, sample_rate: int) -> float:
        """Return the score of a wave, (S,)."""
        features = _pooled(self._encoder, wave, sample_rate, self._layer, self._pooling)
        return float(self.axis.project(features[None])[0])


def speak(
    text: str,
    *,
    voice: str | Voice = DEFAULT_VOICE,
    target: str | Steerer | None = None,
    alpha: float = 1.0,
    clips: Clips | None = None,
    score: AxisScore | None = None,
    allow_extrapolation: bool = False,
) -> tuple[Wave, int]:
    """Speak a text with emotion.

    Parameters
    ----------
    text : str
        At most `voices.MAX_CHARACTERS` characters, in the voice's language.
    voice : str or Voice
        As `load_voice` takes it, or one that is loaded.
    target : str or Steerer, optional
        An emotion, rendered by rule (`toward`), angry by default; or a steerer, latent, prosodic or
        hybrid, which then moves the plain voice by alpha as it moves any recording.
    alpha : float, in [-1, 1]
        How far to go: 0 is the plain voice, sample for sample, 1 the target, and below 0 lies its opposite.
    clips : pair of str or Path, optional
        Two reference clips in place of a target, a calm and an angry one for instance: alpha 1 changes the
        voice by what changes from the first to the second (`settings_between`).
    score : AxisScore, optional
        Adds what the clips differ in beyond what can be measured; see `settings_between`.
    allow_extrapolation : bool
        Let alpha reach 2 and -2.

    Returns
    -------
    wave : float32 array, (S,), in [-1, 1]
    sample_rate : int, Hz; the voice's

    Raises
    ------
    ValueError
        If the text, voice, target, alpha or a reference can't be used; the message says why.

    Examples
    --------
    >>> wave, sample_rate = speak("Where have you been?", target="angry", alpha=0.5)
    >>> sample_rate
    22050
    """
    if clips is not None and target is not None:
        raise ValueError(f"both a target, {target!r}, and reference clips; expected one of them")
    speaker = load_voice(voice) if isinstance(voice, str) else voice
    if isinstance(target, Steerer):
        plain, sample_rate = speaker.say(text)
        return target.steer(plain, sample_rate, alpha), sample_rate
    settings = settings_between(*clips, score) if clips is not None else toward(target or "angry")
    settings = scaled(settings, alpha, allow_extrapolation=allow_extrapolation)
    return speaker.say(text, settings)


def settings_between(source: str | Path, target: str | Path, score: AxisScore | None = None) -> Settings:
    """Return what changes from one reference clip to another, in prosody and in an encoder's space.

    Parameters
    ----------
    source, target : str or Path
    score : AxisScore, optional

    Returns
    -------
    Settings
        Pitch, range, rate, level and tilt as measured (`difference`). With `score`, contour shapes
        and voice quality as well: those by which the rules tell the axis's two emotions apart
        (`shapes`), as many times as the clips' embeddings lie apart on the axis, at most 1.5 times.

    Raises
    ------
    ValueError
        If a clip can't be read, is silent, too short, too long, or whispered.
    """
    measured = difference(source, target)
    if score is None:
        return measured
    steps = score(*audio.load(target)) - score(*audio.load(source))
    steps = min(max(steps, -_MOST_STEPS), _MOST_STEPS)
    return together(measured, shapes(score.axis.source_, score.axis.target_, steps))


def toward(emotion: str) -> Settings:
    """Return what the rules of `demo.speech` change between the neutral voice and an emotion."""
    anchor = ANCHORS[emotions.check(emotion)]
    neutral = speech.express("neutral", *ANCHORS["neutral"])
    return _difference(speech.express(emotion, anchor.valence, anchor.arousal), neutral)


def shapes(source: str, target: str, weight: float) -> Settings:
    """Return `weight` times what the rules say of two emotions and `difference` can't measure."""
    difference = asdict(_difference(toward(target), toward(source)))
    return Settings(**{name: 0.0 if name in LIMITS else weight * d for name, d in difference.items()})


def together(one: Settings, other: Settings) -> Settings:
    """Return the sum of two settings."""
    return Settings(**{name: value + getattr(other, name) for name, value in asdict(one).items()})


def scaled(settings: Settings, alpha: float, *, allow_extrapolation: bool = False) -> Settings:
    """Return `alpha` times the settings; jitter, shimmer and pauses never fall below 0."""
    check_alpha(alpha, allow_extrapolation=allow_extrapolation)
    values = {name: alpha * value for name, value in asdict(settings).items()}
    return Settings(**values | {name: max(values[name], 0.0) for name in speech.NEVER_NEGATIVE})


def check_alpha(alpha: float, *, allow_extrapolation: bool = False) -> None:
    """Raise ValueError unless alpha is in [-1, 1], or with `allow_extrapolation` in [-2, 2]."""
    reach = ALPHA_EXTRAPOLATED if allow_extrapolation else ALPHA
    if not -reach <= alpha <= reach:  # also true of NaN
        more = "" if allow_extrapolation else f", or to {ALPHA_EXTRAPOLATED:g} with allow_extrapolation"
        raise ValueError(f"alpha {alpha}; expected a number from {-reach:g} to {reach:g}{more}")


def _difference(settings: Settings, other: Settings) -> Settings:
    return together(settings, Settings(**{name: -value for name, value in asdict(other).items()}))


def difference(source: str | Path, target: str | Path) -> Settings:
    """Measure what two clips' prosody differs in.

    Parameters
    ----------
    source, target : str or Path
        Sound files of 0.2 to 120 s, mono or stereo, at any rate: a calm clip and an angry one. Best are clips
        of one speaker and sentence at one distance from the microphone: all that differs counts as emotion.

    Returns
    -------
    Settings
        Pitch, its range, rate (syllable nuclei a second), level and spectral tilt, each at most `LIMITS`. Of
        the others, contour shapes and voice quality, two clips of different words say little: they are 0.

    Raises
    ------
    ValueError
        If a clip can't be read, is silent, too short, too long, or whispered.
    """
    before, after = measure(source), measure(target)
    return Settings(
        **{name: float(np.clip(after[name] - before[name], -most, most)) for name, most in LIMITS.items()}
    )


def measure(path: str | Path) -> dict[str, float]:
    """Return a clip's prosody under the names of `LIMITS`, in their units and logarithms.

    Raises
    ------
    ValueError
        As `difference` does.
    """
    samples, sample_rate = audio.read(path)
    try:
        speech = prosody.record(samples, sample_rate).speech
    except ValueError as error:
        raise ValueError(f"reference {Path(path).name}: {error}") from None
    measured = prosody.statistics(prosody.contours(speech)).tolist()
    values = dict(zip(prosody.STATISTICS, measured, strict=True))
    return {
        "pitch_st": 12 / math.log(2) * values["log_f0"],
        "range_log": values["log_spread"],
        "rate_log": math.log(_syllable_rate(speech)),
        "level_db": _DB * values["level"],
        "tilt_db": _DB * values["tilt"],
    }


def _syllable_rate(speech: Speech) -> float:
    """Estimate the speaking rate from syllable nuclei: peaks of loudness 2 dB above the dips beside them."""
    hertz = np.linspace(0, speech.sample_rate / 2, speech.log_envelope.shape[1])
    band = (hertz >= _NUCLEI_HZ[0]) & (hertz <= _NUCLEI_HZ[1])
    loudness = _DB * np.log(np.exp(speech.log_envelope[:, band]).mean(axis=1))
    loudness = gaussian_filter1d(np.maximum(loudness, loudness.max() - 60), 15 / HOP_MS)
    nuclei, _ = find_peaks(loudness, height=loudness.max() - 25, prominence=2)
    spoken = np.flatnonzero(loudness > loudness.max() - 35)
    duration_s = (spoken[-1] - spoken[0] + 1) * HOP_MS / 1000
    return max(len(nuclei), 1) / duration_s


def embedded_score(
    source: str = "calm", target: str = "angry", encoder: str = paths.SHIPPED_ENCODER
) -> AxisScore:
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
    Rules made these clips, and the same rules are scaled by alpha: a rising score shows that the encoder
    represents them, and is no evidence about people. For that, give `AxisScore` an axis of recorded speech.
    """
    ends = emotions.check(source), emotions.check(target)
    network = encoders.load(encoder)
    layer = network.layers[round(2 / 3 * (len(network.layers) - 1))]
    takes = list(itertools.product(demo.VOICES, _SENTENCES, ends))
    waves = (demo.render(who, demo.SENTENCES[text], word, *ANCHORS[word]) for who, text, word in takes)
    axis = EmotionAxis(source, target, "mean-difference").fit(
        np.stack([_pooled(network, *wave, layer, "mean") for wave in waves]),
        [word for _, _, word in takes],
        [who.speaker for who, _, _ in takes],
        provenance={
            "encoder": encoder, "fingerprint": network.fingerprint, "layer": layer, "pooling": "mean",
            "corpus": "demo",
        },
    )  # fmt: skip
    return AxisScore(axis, network)


def _pooled(encoder: Encoder, wave: Wave, sample_rate: int, layer: int, pooling: str) -> NDArray:
    """Return a wave's features pooled as a feature store pools them, (D,) or (2 D,)."""
    frames = encoder.encode([wave], sample_rate)[0][encoder.layers.index(layer)].astype(np.float64)
    return np.concatenate([frames.mean(axis=0)] + [frames.std(axis=0)] * pooling.endswith("std"))
