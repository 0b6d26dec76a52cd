"""Networks of the wav2vec 2.0 family by name: from a folder, from the hub, or untrained.

Weights are read as safetensors, or by transformers with ``weights_only``; nothing pickled is run.

References
----------
wav2vec 2.0 arXiv:2006.11477, HuBERT arXiv:2106.07447, WavLM arXiv:2110.13900, data2vec arXiv:2202.03555; the
models themselves come from the transformers library.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from emolib import paths, whisper_wheel

#: Model types of transformers that can be encoders: those of the wav2vec 2.0 layout, and Whisper's.
MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")
#: Published models that are their configuration class's defaults: `random:` needs no hub for them.
_DEFAULT_CONFIGS = {
    "facebook/wav2vec2-base": "wav2vec2",
    "facebook/hubert-base-ls960": "hubert",
    "microsoft/wavlm-base": "wavlm",
    "facebook/data2vec-audio-base": "data2vec-audio",
    "openai/whisper-tiny.en": "whisper",
}

#: What torch raises where a file of weights holds more than weights; nothing else here touches pickles.
_PICKLED = torch.serialization.pickle.UnpicklingError


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
    try:
        with quiet_transformers() as transformers:
            if name.startswith("random:"):
                model = _untrained(transformers, bare, source, seed)
            else:
                model = _trained(transformers, source)
            known = name.startswith("random:") and bare in _DEFAULT_CONFIGS
            sample_rate, normalise = (16_000, True) if known else _preprocessing(transformers, source)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError, _PICKLED) as error:
        raise ValueError(_explain(name, source, error)) from error
    _check_download(source)
    if model.config.model_type not in MODEL_TYPES:
        raise ValueError(
            f"encoder {name!r} is a {model.config.model_type!r} model; expected {', '.join(MODEL_TYPES)}"
        )
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


def _trained(transformers: ModuleType, source: str) -> Any:
    model, report = transformers.AutoModel.from_pretrained(
        source, dtype=torch.float32, output_loading_info=True
    )
    # transformers fills what a file lacks with random numbers; only training ever uses the mask's embedding
    lacking = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if lacking and model.config.model_type in MODEL_TYPES:
        raise ValueError(f"its weights lack {len(lacking)} of the model's tensors, the first is {lacking[0]}")
    return model


def _check_download(source: str) -> None:
    """Raise ValueError if the weights that the hub sent are not those whose SHA-256 it announced.

    huggingface_hub compares sizes alone; it names a large file in its cache by the announced digest.
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return
    for name in ("model.safetensors", "pytorch_model.bin"):
        cached = try_to_load_from_cache(source, name)
        blob = Path(cached).resolve() if isinstance(cached, str) else None
        if blob is None or re.fullmatch("[0-9a-f]{64}", blob.name) is None:
            continue
        with blob.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != blob.name:
                raise ValueError(f"{blob} is not what the hub announced; delete it and load again")


def _untrained(transformers: ModuleType, bare: str, source: str, seed: int) -> Any:
    if bare in _DEFAULT_CONFIGS:
        config = transformers.AutoConfig.for_model(_DEFAULT_CONFIGS[bare])
    else:
        config = transformers.AutoConfig.from_pretrained(source)
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


def _explain(name: str, source: str, error: Exception) -> str:
    if Path(source).is_dir():
        reason = " ".join(str(error).split())
        return f"encoder {name!r}: the folder {source} holds no usable model ({reason})"
    return _unknown(name)


def _unknown(name: str) -> str:
    if name.removeprefix("random:") == paths.DEFAULT_ENCODER:
        return (
            f"unknown encoder {name!r}: it comes with a checkout of emolib, in models/, and none is here; "
            f"run in one, or set EMOLIB_HOME to one"
        )
    places = {paths.models(), paths.CHECKOUT / "models"}
    folders = sorted({path.parent.name for at in places for path in at.glob("*/preprocessor_config.json")})
    return (
        f"unknown encoder {name!r}; expected {', '.join(('logmel', 'prosody', *folders))}, a local folder, "
        f"or a Hugging Face id that can be reached from here; random:<name> is its untrained architecture"
    )


def _preprocessing(transformers: ModuleType, source: str) -> tuple[int, bool]:
    """Read the sampling rate and normalisation of a model from its preprocessor configuration."""
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError):  # there is none; nearly all models of the family normalise, at 16 kHz
        return 16_000, True
    return int(extractor.sampling_rate), bool(getattr(extractor, "do_normalize", False))
