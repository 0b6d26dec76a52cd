"""Voices by name: espeak-ng's, a folder, or a Hugging Face id.

Weights are read as safetensors, or by transformers with ``weights_only``; nothing pickled is run.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from emolib import espeak
from emolib.encoders import locate, quiet_transformers
from emolib.tts import networks, phonemes
from emolib.tts.voices import EspeakVoice, Voice

#: What speaks unless another voice is asked for.
DEFAULT_VOICE = "en-us"
#: Model types of transformers that can be voices.
FAMILIES = ("vits", "speecht5", "fastspeech2_conformer", "fastspeech2_conformer_with_hifigan")
_VOCODERS = {
    "speecht5": ("SpeechT5HifiGan", "microsoft/speecht5_hifigan"),
    "fastspeech2_conformer": ("FastSpeech2ConformerHifiGan", "espnet/fastspeech2_conformer_hifigan"),
}
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
    """Keep the hub's warning for every failed attempt off the screen: one sentence says it at the end."""
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
        return networks.VitsVoice(name, model, tokenise, _speaker_number(speaker, config.num_speakers))
    if family == "speecht5":
        model = _weights(transformers.SpeechT5ForTextToSpeech, source)
        tokenise = _tokens_by(transformers.SpeechT5Tokenizer.from_pretrained(source))
        vector = _speaker_vector(speaker, config.speaker_embedding_dim)
        network = _vocoder(transformers, family, source, vocoder)
        return networks.SpeechT5Voice(name, model, network, tokenise, vector)
    if family == "fastspeech2_conformer":
        model = _weights(transformers.FastSpeech2ConformerModel, source)
        network = _vocoder(transformers, family, source, vocoder)
    else:
        both = _weights(transformers.FastSpeech2ConformerWithHifiGan, source)
        model, network = both.model, both.vocoder
    tokenise = _phoneme_tokens(_vocabulary(source))
    number = _speaker_number(speaker, model.config.num_speakers or 1)
    return networks.FastSpeech2Voice(name, model, network, tokenise, number)


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


def _tokens_by(tokenizer: Any) -> networks.Tokenise:
    def tokenise(text: str) -> torch.Tensor:
        numbers = tokenizer(text)["input_ids"]
        if not set(numbers) - {*tokenizer.all_special_ids}:
            raise ValueError(f"nothing in {text[:60]!r} that the voice knows; expected text in its language")
        return torch.tensor([numbers])

    return tokenise


def _vits_tokens(tokenizer: Any) -> networks.Tokenise:
    by_letters = _tokens_by(tokenizer)
    if not tokenizer.phonemize:
        return by_letters
    normalise = tokenizer.normalize_text if tokenizer.normalize else str
    tokenizer.phonemize = tokenizer.normalize = False  # it would call the package phonemizer
    return lambda text: by_letters(phonemes.ipa(normalise(text)))


def _vocabulary(source: str) -> dict[str, int]:
    """Read the token numbers of a FastSpeech2; its own tokenizer would call the package g2p_en."""
    from transformers.utils import cached_file

    path = cached_file(source, "vocab.json")
    return json.loads(Path(str(path)).read_text(encoding="utf-8"))


def _phoneme_tokens(vocabulary: dict[str, int]) -> networks.Tokenise:
    """Read a text as ARPAbet where the vocabulary has it, else as letters, and end the sentence."""
    unknown = vocabulary.get("<unk>")
    speaks_arpabet = "AH0" in vocabulary

    def tokenise(text: str) -> torch.Tensor:
        tokens = phonemes.arpabet(text) if speaks_arpabet else list(text.lower())
        numbers = [vocabulary.get(token, unknown) for token in tokens]
        known = [number for number in numbers if number is not None]
        if not set(known) - {unknown}:
            raise ValueError(f"nothing in {text[:60]!r} that the voice knows; expected text in its language")
        return torch.tensor([[*known, vocabulary["<sos/eos>"]]])

    return tokenise


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
