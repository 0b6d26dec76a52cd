"""Voices that turn text into speech, plain or with prosodic settings; espeak-ng's are here.

The first stage of text to speech: a plain rendition, which WORLD (`world.reshape`) then gives the pitch,
timing, level and voice quality of some settings.
"""

import unicodedata
from abc import ABC, abstractmethod

import numpy as np

from emolib import audio, espeak, speakers, world
from emolib.audio import Wave
from emolib.world import Settings

#: About a minute of speech.
MAX_CHARACTERS = 1000
#: Settings that change nothing.
PLAIN = Settings()
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
        return audio.level(spoken, speakers.LEVEL_DBFS + settings.level_db), self.sample_rate

    @abstractmethod
    def _plain(self, text: str) -> Wave:
        """Return the plain rendition of a text, (S,), at any level."""

    def _shaped(self, text: str, settings: Settings) -> Wave:
        """Return a rendition with settings, (S,), at any level."""
        speech = world.analyse(self._plain(text), self.sample_rate)
        return world.synthesise(world.reshape(speech, settings, np.random.default_rng(_SEED)))


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
