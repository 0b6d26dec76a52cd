"""Voices by name: espeak-ng's, a folder, or a Hugging Face id.

Weights are read as safetensors, or by transformers with ``weights_only``; nothing pickled is run.
espeak-ng's pronunciations replace the packages that the networks' own tokenizers ask for (phonemizer, which
calls espeak-ng itself, and g2p_en, which downloads a dictionary).

References
----------
J. Kim, J. Kong, J. Son (2021), "Conditional variational autoencoder with adversarial learning for end-to-end
text-to-speech" (VITS), arXiv:2106.06103.
J. Ao et al. (2022), "SpeechT5: Unified-modal encoder-decoder pre-training for spoken language processing",
arXiv:2110.07205.
ARPAbet: R. Weide (1998), "The Carnegie Mellon pronouncing dictionary", release 0.6.
"""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from emolib.demo import espeak
from emolib.encoders import locate, quiet_transformers
from emolib.tts.voices import EspeakVoice, FastSpeech2Voice, NetworkVoice, Voice

DEFAULT_VOICE = "en-us"
Tokenise = Callable[[str], torch.Tensor]
#: Model types of transformers that can be voices.
FAMILIES = ("vits", "speecht5", "fastspeech2_conformer", "fastspeech2_conformer_with_hifigan")
_VOCODERS = {
    "speecht5": ("SpeechT5HifiGan", "microsoft/speecht5_hifigan"),
    "fastspeech2_conformer": ("FastSpeech2ConformerHifiGan", "espnet/fastspeech2_conformer_hifigan"),
}
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
_UNUSABLE = (OSError, KeyError, TypeError, ValueError, RuntimeError, ImportError, SafetensorError)


def load_voice(
    name: str = DEFAULT_VOICE, *, vocoder: str | None = None, speaker: str | int | None = None
) -> Voice:
    """Load a voice.

    Parameters
    ----------
    name : str
        A language of `espeak.voices`, alone or with a variant (``"en-us+f2"``); a folder in ``models/``, any
        folder, or a Hugging Face id of a VITS, SpeechT5 or FastSpeech2-Conformer model.
    vocoder : str, optional
        Folder or id of the HiFi-GAN that a SpeechT5 or a bare FastSpeech2-Conformer needs; the folder
        ``vocoder`` inside the model's by default, else the one published with the family.
    speaker : str or int, optional
        The number of a speaker, for networks that have several (0 by default); for SpeechT5 a ``.npy`` file
        of an x-vector (zeros by default).

    Raises
    ------
    ValueError
        If there is no such voice, it is not whole, it is of another family, or it takes no such vocoder or
        speaker.
    """
    if name.partition("+")[0] in espeak.voices():
        if vocoder is not None or speaker is not None:
            raise ValueError(f"voice {name!r} is espeak-ng's; it takes neither a vocoder nor a speaker")
        return EspeakVoice(name)
    source = locate(name)
    if source is None:
        raise ValueError(_unknown(name))
    try:
        with quiet_transformers() as transformers, _quiet_hub():
            return _load_network(transformers, name, source, vocoder, speaker)
    except _UNUSABLE as error:
        raise ValueError(_explain(name, source, error)) from error


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Silence the hub's warning for every failed attempt: one sentence says it at the end."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _load_network(
    transformers: Any, name: str, source: str, vocoder: str | None, speaker: str | int | None
) -> Voice:
    config = transformers.AutoConfig.from_pretrained(source)
    family = config.model_type
    if family not in FAMILIES:
        raise ValueError(f"a {family!r} model; expected {', '.join(FAMILIES)}")
    if family == "vits":
        model = _weights(transformers.VitsModel, source)
        tokenise = _vits_tokens(transformers.VitsTokenizer.from_pretrained(source))
        number = _speaker_number(speaker, config.num_speakers)
        return NetworkVoice(
            name,
            model,
            tokenise,
            lambda t: model(t, speaker_id=number).waveform[0],
            int(config.sampling_rate),
        )
    if family == "speecht5":
        model = _weights(transformers.SpeechT5ForTextToSpeech, source)
        tokenise = _tokens_by(transformers.SpeechT5Tokenizer.from_pretrained(source))
        vector = _speaker_vector(speaker, config.speaker_embedding_dim)
        sound = _vocoder(transformers, family, source, vocoder)
        rate = int(sound.config.sampling_rate)
        return NetworkVoice(
            name, model, tokenise, lambda t: model.generate_speech(t, vector, vocoder=sound), rate
        )
    if family == "fastspeech2_conformer":
        model = _weights(transformers.FastSpeech2ConformerModel, source)
        sound = _vocoder(transformers, family, source, vocoder)
    else:
        both = _weights(transformers.FastSpeech2ConformerWithHifiGan, source)
        model, sound = both.model, both.vocoder
    number = _speaker_number(speaker, model.config.num_speakers or 1)
    ids = None if number is None else torch.tensor([number])
    return FastSpeech2Voice(  # its vocoder's configuration states no rate
        name,
        model,
        _phoneme_tokens(source),
        lambda t: sound(model(t, speaker_ids=ids).spectrogram)[0],
        22_050,
    )


def _weights(kind: Any, source: str) -> Any:
    """Load a network, whole: transformers fills what a file lacks with random numbers."""
    model, report = kind.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    if lacking := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(lacking)} of the model's tensors, the first is {lacking[0]}")
    return model.requires_grad_(False).eval()


def _vocoder(transformers: Any, family: str, source: str, vocoder: str | None) -> Any:
    kind, published = _VOCODERS[family]
    beside = Path(source) / "vocoder"
    chosen = vocoder or (str(beside) if beside.is_dir() else published)
    try:
        return _weights(getattr(transformers, kind), chosen)
    except _UNUSABLE as error:
        raise ValueError(
            f"its vocoder {chosen!r} can't be loaded; put one into {beside} or name another with vocoder="
        ) from error


def _speaker_number(speaker: str | int | None, n_speakers: int) -> int | None:
    if n_speakers <= 1 and speaker is None:
        return None
    number = int(speaker or 0) if str(speaker or 0).isdecimal() else -1
    if not 0 <= number < n_speakers:
        raise ValueError(f"unknown speaker {speaker!r}; expected a number from 0 to {n_speakers - 1}")
    return number


def _speaker_vector(speaker: str | int | None, width: int) -> torch.Tensor:
    if speaker is None:
        return torch.zeros(1, width)
    vector = np.load(str(speaker), allow_pickle=False)
    if vector.size != width or not np.isfinite(vector).all():
        raise ValueError(f"an x-vector of shape {vector.shape} in {speaker}; expected {width} finite numbers")
    return torch.from_numpy(vector.astype(np.float32).reshape(1, width))


def _known(text: str, numbers: Sequence[int], special: Collection[int | None]) -> torch.Tensor:
    """Return token numbers, (1, N), or raise ValueError if none of them is of a sound or letter."""
    if not set(numbers) - set(special):
        raise ValueError(f"nothing in {text[:60]!r} that the voice knows; expected text in its language")
    return torch.tensor([numbers])


def _tokens_by(tokenizer: Any) -> Tokenise:
    def tokenise(text: str) -> torch.Tensor:
        return _known(text, tokenizer(text)["input_ids"], tokenizer.all_special_ids)

    return tokenise


def _vits_tokens(tokenizer: Any) -> Tokenise:
    by_letters = _tokens_by(tokenizer)
    if not tokenizer.phonemize:
        return by_letters
    normalise = tokenizer.normalize_text if tokenizer.normalize else str
    tokenizer.phonemize = tokenizer.normalize = False  # it would call the package phonemizer
    return lambda text: by_letters(espeak.ipa(normalise(text)))


def _phoneme_tokens(source: str) -> Tokenise:
    """Read a text as ARPAbet where the vocabulary has it, else as letters, and end the sentence."""
    from transformers.utils import cached_file  # its own tokenizer would call the package g2p_en

    vocabulary = json.loads(Path(str(cached_file(source, "vocab.json"))).read_text(encoding="utf-8"))
    unknown = vocabulary.get("<unk>")
    speaks_arpabet = "AH0" in vocabulary

    def tokenise(text: str) -> torch.Tensor:
        tokens = arpabet(text) if speaks_arpabet else list(text.lower())
        numbers = [vocabulary.get(token, unknown) for token in tokens]
        end = vocabulary["<sos/eos>"]
        return _known(text, [*(n for n in numbers if n is not None), end], [unknown, end])

    return tokenise


def arpabet(text: str) -> list[str]:
    """Return an English text's pronunciation in ARPAbet: ``["HH", "AH0", "L", "OW1", "."]``.

    Vowels end in their stress (0 none, 1 primary, 2 secondary); punctuation is kept, word borders are left
    out, and a sound that ARPAbet lacks is ``"<unk>"``.
    """
    tokens: list[str] = []
    stress = "0"
    for symbol in _SYMBOL.findall(_SYLLABIC.sub(r"ə\1", espeak.ipa(text))):
        if symbol in _STRESS:
            stress = _STRESS[symbol]
        elif symbol in _VOWELS:
            tokens.append(_VOWELS[symbol] + stress)
            stress = "0"
        elif symbol != "ː":  # a mark of length that stands alone says nothing in ARPAbet
            tokens.append(symbol if symbol in ".,;:!?" else _CONSONANTS.get(symbol, "<unk>"))
    return tokens


def _unknown(name: str) -> str:
    return (
        f"unknown voice {name!r}; expected a language of espeak-ng (en-us, de, en-us+f2 ...), a folder, "
        f"or a Hugging Face id of a VITS, SpeechT5 or FastSpeech2-Conformer that can be reached from here"
    )


def _explain(name: str, source: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "sentencepiece" in reason.lower():
        return f"voice {name!r} needs the package sentencepiece to read its text: pip install sentencepiece"
    if Path(source).is_dir():
        return f"voice {name!r}: the folder {source} holds no usable voice ({reason})"
    return _unknown(name)
