"""Text to speech by espeak-ng: small, offline, and the same samples every time.

The library and its data come in the wheel of ``espeakng_loader`` (GPL-3.0-or-later, bound at run time);
nothing is read from the system.

References
----------
J. Duddington, R. H. Dunn and contributors (1995-2024), "eSpeak NG", https://github.com/espeak-ng/espeak-ng.
"""

import _ctypes
import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from emolib.audio import Wave

#: Speaking rates that espeak-ng renders without its own time compression, in words per minute.
RATES = (80, 450)
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _IPA = 2, 0x8000, 1, 0x02
_RATE = 1
_SEED = 1
_ONE_AT_A_TIME = threading.Lock()
_PUNCTUATION = re.compile(r"([.,;:!?]+)(?=\s|$)")
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(text: str, *, voice: str = "en-us", rate: int = 175) -> tuple[Wave, int]:
    """Speak a text.

    Parameters
    ----------
    text : str
        Plain text in the voice's language; punctuation shapes phrasing and intonation.
    voice : str
        A language of `voices`, alone or with one of `variants` behind a plus sign: ``"en-us+f2"``.
    rate : int, words a minute, 80 to 450
        espeak-ng's own default.

    Returns
    -------
    wave : float32 array, (S,)
        Equal samples for equal arguments, in any process and after any history.
    sample_rate : int, Hz

    Raises
    ------
    ValueError
        If the voice is unknown, the rate out of range, or the text holds nothing that can be spoken.

    Notes
    -----
    espeak-ng draws its breath noise from a generator seeded by the clock and carries state from one utterance
    to the next. The library is therefore loaded, seeded and unloaded around each one, which costs about 5 ms.
    """
    _check(text, voice, rate)
    with _library(voice) as (library, sample_rate):
        library.espeak_SetParameter(_RATE, int(rate), 0)
        samples = _synthesise(library, text)
    if not samples.any():
        raise ValueError(f"nothing to speak in {text!r}; expected at least one word of language {voice!r}")
    return (samples / np.float32(32768)).astype(np.float32), sample_rate


def ipa(text: str, voice: str = "en-us") -> str:
    """Return a text's pronunciation in the International Phonetic Alphabet.

    Words are separated by spaces, stress is marked before its syllable, and punctuation is kept.

    Raises
    ------
    ValueError
        If espeak-ng refuses the voice.
    """
    parts = _PUNCTUATION.split(text)
    clauses, marks = parts[::2], [*parts[1::2], ""]
    with _library(voice) as (library, _):
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        spoken = [_pronounce(library, clause) + mark for clause, mark in zip(clauses, marks, strict=True)]
    return " ".join(clause for clause in spoken if clause)


def _pronounce(library: Any, clause: str) -> str:
    """Return the IPA of some words, which the library takes in several steps."""
    left = ctypes.c_char_p(clause.strip().encode())
    spoken = []
    while left.value:
        spoken.append((library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA) or b"").decode())
    return " ".join(spoken)


@lru_cache(maxsize=1)
def voices() -> tuple[str, ...]:
    """Return the languages that `speak` takes as a voice, sorted: ``"de"``, ``"en-us"``, ``"pl"`` ..."""
    files = [path for path in (_data() / "lang").rglob("*") if path.is_file()]
    return tuple(sorted(path.name.lower() for path in files if _has_dictionary(path)))


def _has_dictionary(language: Path) -> bool:
    """Tell whether the wheel holds the pronunciations that a language's file asks for."""
    named = re.search(r"^dictionary\s+(\S+)", language.read_text("utf-8"), re.MULTILINE)
    return (_data() / f"{named[1] if named else language.name.split('-')[0]}_dict").exists()


@lru_cache(maxsize=1)
def variants() -> tuple[str, ...]:
    """Return the speaker variants that may follow a language and a plus sign: ``"f1"``, ``"m3"`` ..."""
    return tuple(sorted(path.name for path in (_data() / "voices" / "!v").iterdir()))


def _data() -> Path:
    return Path(espeakng_loader.get_data_path())


def _check(text: str, voice: str, rate: int) -> None:
    """Raise ValueError for arguments that espeak-ng would mend in silence."""
    if not text.strip():
        raise ValueError(f"empty text {text!r}; expected at least one word")
    if "\0" in text:
        raise ValueError("text with a NUL character; expected plain text")
    language, plus, variant = voice.partition("+")
    if language not in voices():
        raise ValueError(f"unknown voice {voice!r}; expected a language of espeak.voices(), such as 'en-us'")
    if plus and variant not in variants():
        raise ValueError(f"unknown variant {variant!r} of voice {voice!r}; expected one of espeak.variants()")
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"rate {rate}; expected {RATES[0]} to {RATES[1]}")


@contextmanager
def _library(voice: str) -> Iterator[tuple[Any, int]]:
    """Load espeak-ng in a fresh state with a voice, for one thread at a time, and unload it afterwards."""
    with _ONE_AT_A_TIME:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        try:
            sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(_data()).encode(), _DONT_EXIT)
            if sample_rate <= 0:
                raise RuntimeError(f"espeak-ng can't start from {_data()}; reinstall espeakng-loader")
            library.espeak_ng_SetRandSeed(_SEED)
            if status := library.espeak_SetVoiceByName(voice.encode()):
                raise ValueError(f"espeak-ng refuses voice {voice!r} (code {status}); see espeak.voices()")
            yield library, sample_rate
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)


def _synthesise(library: Any, text: str) -> np.ndarray:
    """Collect the int16 samples, (S,), of one utterance."""
    chunks: list[np.ndarray] = []

    def collect(samples: Any, count: int, _events: int) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(collect)  # espeak-ng holds no reference of its own
    library.espeak_SetSynthCallback(callback)
    raw = text.encode()
    if status := library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None):
        raise RuntimeError(f"espeak-ng can't speak {text!r} (code {status})")
    library.espeak_Synchronize()
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
