"""Voices that turn text into speech, plain or with prosodic settings: espeak-ng's, and networks.

WORLD (`world.reshape`) gives a plain rendition the pitch, timing, level and voice quality of some settings.
FastSpeech2 predicts a pitch, an energy and a duration for each phoneme: there the predictors are steered.

References
----------
Y. Ren et al. (2021), "FastSpeech 2: Fast and high-quality end-to-end text to speech", arXiv:2006.04558, with
the conformer blocks of P. Guo et al. (2021), arXiv:2010.13956.
"""

import contextlib
import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from emolib import audio, world
from emolib.audio import Wave
from emolib.demo import espeak, speech
from emolib.world import Settings

#: About a minute of speech.
MAX_CHARACTERS = 1000
#: Settings that change nothing.
PLAIN = Settings()
#: FastSpeech2 predicts pitch and energy in standard deviations over its training speech, which no published
#: configuration states. These are assumed: one reader's log F0 spreads by about 0.23, the level by 6 dB.
PITCH_SD_ST, ENERGY_SD_DB = 4.0, 6.0
_SEED = 0
_SILENCE_DB = 45.0  # the range that `world.analyse` keeps as well
_EDGE_S = 0.04


class Voice(ABC):
    """Something that speaks.

    Attributes
    ----------
    name : str
    sample_rate : int, Hz; of everything it says
    """

    name: str
    sample_rate: int

    def say(self, text: str, settings: Settings = PLAIN) -> tuple[Wave, int]:
        """Speak a text.

        Parameters
        ----------
        text : str
            At most `MAX_CHARACTERS` characters.
        settings : Settings
            What is done to the plain rendition; nothing by default.

        Returns
        -------
        wave : float32 array, (S,), in [-1, 1]
            Without silence but 40 ms on either side, at -30 dBFS plus the settings' level: the loudest anger
            still has headroom. Equal samples for equal arguments.
        sample_rate : int, Hz

        Raises
        ------
        ValueError
            If there is nothing to speak, too much of it, or what the voice said has no pitch to reshape.
        """
        words = check_text(text)
        wave = self._plain(words) if settings == PLAIN else self._shaped(words, settings)
        if not np.isfinite(wave).all() or not wave.any():
            raise ValueError(f"voice {self.name!r} says nothing for {words[:60]!r}; try other words")
        edge = round(_EDGE_S * self.sample_rate)
        spoken = np.pad(audio.trim(wave, _SILENCE_DB), edge)
        return audio.level(spoken, speech.LEVEL_DBFS + settings.level_db), self.sample_rate

    @abstractmethod
    def _plain(self, text: str) -> Wave:
        """Return the plain rendition of a text, (S,), at any level."""

    def _shaped(self, text: str, settings: Settings) -> Wave:
        """Return a rendition with settings, (S,), at any level."""
        plain = world.analyse(self._plain(text), self.sample_rate)
        return world.synthesise(world.reshape(plain, settings, np.random.default_rng(_SEED)))


class EspeakVoice(Voice):
    """A voice of espeak-ng, which is embedded: a language of `espeak.voices`, with a variant behind a plus.

    Raises
    ------
    ValueError
        If espeak-ng has no such language or variant.
    """

    sample_rate = 22_050

    def __init__(self, name: str = "en-us") -> None:
        language, plus, variant = name.partition("+")
        if language not in espeak.voices() or (plus and variant not in espeak.variants()):
            raise ValueError(
                f"unknown voice {name!r}; expected a language of espeak-ng such as 'en-us' or 'de', alone or "
                f"with a variant as in 'en-us+f2'"
            )
        self.name = name

    def _plain(self, text: str) -> Wave:
        wave, sample_rate = espeak.speak(text, voice=self.name)
        return audio.resample(wave, sample_rate, self.sample_rate)


class NetworkVoice(Voice):
    """A network of the transformers library.

    Parameters
    ----------
    name : str
    model : torch module
    tokenise : callable; from a text to token numbers, (1, N)
    generate : callable; from token numbers to a wave, (S,), by a seeded pass
    sample_rate : int, Hz
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenise: Callable[[str], torch.Tensor],
        generate: Callable[[torch.Tensor], torch.Tensor],
        sample_rate: int,
    ) -> None:
        self.name, self.sample_rate = name, sample_rate
        self._model, self._tokenise, self._generate = model, tokenise, generate

    def _plain(self, text: str) -> Wave:
        tokens = self._tokenise(text)
        limit = getattr(self._model.config, "max_text_positions", None)
        if limit and tokens.shape[1] > limit:
            raise ValueError(
                f"a text of {tokens.shape[1]} tokens; voice {self.name!r} takes {limit}: speak it in parts"
            )
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return self._generate(tokens).float().numpy()


class FastSpeech2Voice(NetworkVoice):
    """A FastSpeech2-Conformer, whose own predictors follow the settings (`steered`).

    They follow shift and range of pitch, rate, and level. The other settings, of voice quality and of the
    contour's shape, have no counterpart in it and are left out.
    """

    def _shaped(self, text: str, settings: Settings) -> Wave:
        with steered(self._model, settings):
            return self._plain(text)


@contextlib.contextmanager
def steered(model: Any, settings: Settings) -> Iterator[None]:
    """Steer the pitch, energy and duration predictors of a FastSpeech2-Conformer while the context is open.

    Parameters
    ----------
    model : FastSpeech2ConformerModel
    settings : Settings
        Of which ``pitch_st``, ``range_log``, ``level_db`` and ``rate_log`` are used.

    Notes
    -----
    With m the mean over the phonemes, a pitch p becomes m + exp(range_log) (p - m) + pitch_st / PITCH_SD_ST,
    an energy gains level_db / ENERGY_SD_DB, and a duration d, before it is rounded to frames, becomes
    exp(-rate_log) d. Hooks do so; the network itself is left as it was.
    """
    stretch = math.exp(-settings.rate_log)

    def pitch(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        mean = predicted.mean(dim=1, keepdim=True)
        return mean + math.exp(settings.range_log) * (predicted - mean) + settings.pitch_st / PITCH_SD_ST

    def energy(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        return predicted + settings.level_db / ENERGY_SD_DB

    def duration(_module: Any, _inputs: Any, predicted: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.expm1(predicted).clamp(min=0) * stretch)  # it predicts log(frames + 1)

    handles = [
        model.pitch_predictor.register_forward_hook(pitch),
        model.energy_predictor.register_forward_hook(energy),
        model.duration_predictor.linear.register_forward_hook(duration),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_text(text: str) -> str:
    """Return a text with its white space tidied.

    Raises
    ------
    ValueError
        If it is empty, longer than `MAX_CHARACTERS`, holds control characters, or no letter and no digit.
    """
    words = " ".join(text.split())
    if not words:
        raise ValueError(f"empty text {text[:20]!r}; expected at least one word")
    if len(words) > MAX_CHARACTERS:
        raise ValueError(
            f"a text of {len(words)} characters; expected at most {MAX_CHARACTERS}: speak it in parts"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in words):
        raise ValueError(f"control characters in {words[:60]!r}; expected plain text")
    if not any(character.isalnum() for character in words):
        raise ValueError(f"nothing to speak in {words[:60]!r}; expected at least one letter or digit")
    return words
