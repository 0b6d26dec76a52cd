"""From English text to the phonemes that a voice was trained on: IPA for VITS, ARPAbet for FastSpeech2.

espeak-ng's pronunciations stand in for the packages that those voices' own tokenizers ask for (phonemizer,
which calls espeak-ng itself, and g2p_en, which downloads a dictionary).

References
----------
ARPAbet: R. Weide (1998), "The Carnegie Mellon pronouncing dictionary", release 0.6.
"""

import ctypes
import re

from emolib import espeak

_IPA, _UTF8 = 0x02, 1
_PUNCTUATION = re.compile(r"([.,;:!?]+)(?=\s|$)")
_STRESS = {"ˈ": "1", "ˌ": "2"}
_VOWELS = {
    "ɑː": "AA", "ɑ": "AA", "æ": "AE", "a": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔː": "AO", "ɔ": "AO",
    "oː": "AO", "aʊ": "AW", "aɪ": "AY", "ɚ": "ER", "ɜː": "ER", "ɛ": "EH", "eɪ": "EY", "e": "EY", "ɪ": "IH",
    "ᵻ": "IH", "iː": "IY", "i": "IY", "oʊ": "OW", "o": "OW", "ɔɪ": "OY", "ʊ": "UH", "uː": "UW", "u": "UW",
}  # fmt: skip
_CONSONANTS = {
    "b": "B", "tʃ": "CH", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "h": "HH", "dʒ": "JH", "k": "K", "x": "K",
    "l": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "s": "S", "ʃ": "SH", "t": "T", "ɾ": "T",
    "ʔ": "T", "θ": "TH", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_SYMBOL = re.compile("|".join([*sorted([*_VOWELS, *_CONSONANTS], key=len, reverse=True), "\\S"]))
_SYLLABIC = re.compile("(.)\u0329")  # a consonant that is a syllable: ARPAbet puts a vowel before it


def ipa(text: str, voice: str = "en-us") -> str:
    """Return a text's pronunciation in the International Phonetic Alphabet.

    Parameters
    ----------
    text : str
    voice : str
        A language of `espeak.voices`.

    Returns
    -------
    str
        Words apart, stress marked before its syllable, punctuation kept.

    Raises
    ------
    ValueError
        If espeak-ng refuses the voice.
    """
    parts = _PUNCTUATION.split(text)
    words, marks = parts[::2], [*parts[1::2], ""]
    with espeak._ONE_AT_A_TIME, espeak._library() as (library, _):
        if status := library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"voice {voice!r} is refused by espeak-ng (code {status}); see espeak.voices()")
        spoken = [_pronounce(library, clause) + mark for clause, mark in zip(words, marks, strict=True)]
    return " ".join(clause for clause in spoken if clause)


def _pronounce(library: ctypes.CDLL, clause: str) -> str:
    """Return the IPA of some words; the library takes them in as many steps as it likes."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    left = ctypes.c_char_p(clause.strip().encode())
    spoken = []
    while left.value:
        spoken.append((library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA) or b"").decode())
    return " ".join(spoken)


def arpabet(text: str) -> list[str]:
    """Return an English text's pronunciation in ARPAbet: ``["HH", "AH0", "L", "OW1", "."]``.

    Vowels end in their stress (0 none, 1 primary, 2 secondary); punctuation stands as it is, word borders are
    left out, and a sound that ARPAbet lacks is ``"<unk>"``.
    """
    tokens: list[str] = []
    stress = "0"
    for symbol in _SYMBOL.findall(_SYLLABIC.sub(r"ə\1", ipa(text))):
        if symbol in _STRESS:
            stress = _STRESS[symbol]
        elif symbol in _VOWELS:
            tokens.append(_VOWELS[symbol] + stress)
            stress = "0"
        elif symbol != "ː":  # a mark of length that stands alone says nothing in ARPAbet
            tokens.append(symbol if symbol in ".,;:!?" else _CONSONANTS.get(symbol, "<unk>"))
    return tokens
