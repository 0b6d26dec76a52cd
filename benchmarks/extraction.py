"""Extraction of one layer from files, against the loop that everyone writes.

One process, the same weights (an untrained wav2vec2-base at layer 5, and Whisper tiny.en at layer 2), two
threads, 120 clips of RAVDESS. Theirs: librosa.load at 16 kHz, transformers' feature extractor and model with
``output_hidden_states=True``, one index of it, clip by clip; for Whisper that is 30 s of input whatever the
clip. Ours: `audio.load` and an encoder of that layer. Both start from files and end with arrays.
"""

import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from emolib import audio, corpora, encoders

N_CLIPS, N_THREADS, SAMPLE_RATE = 120, 2, 16_000
Features = list[NDArray[np.float32]]
Run = Callable[[Sequence[Path]], Features]


def corpus_name() -> str:
    """Return "ravdess" where EMOLIB_CORPORA is set, else "demo"."""
    return "ravdess" if os.environ.get("EMOLIB_CORPORA") else "demo"


def clips(n_clips: int = N_CLIPS) -> list[Path]:
    """Return files of the corpus, evenly spread over its speakers and emotions."""
    manifest = corpora.load(corpus_name())
    chosen = np.linspace(0, len(manifest) - 1, min(n_clips, len(manifest))).astype(int)
    return [Path(path) for path in manifest["path"].iloc[chosen]]


def save_untrained(folder: Path) -> None:
    """Save an untrained wav2vec2-base with its preprocessor."""
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def usual_loop(model: Any, extractor: Any, layer: int) -> Run:
    """Return the loop that everyone writes."""

    def run(files: Sequence[Path]) -> Features:
        features = []
        for file in files:
            wave, _ = librosa.load(file, sr=SAMPLE_RATE)
            [inputs] = extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt").values()
            with torch.no_grad():
                states = model(inputs, output_hidden_states=True).hidden_states
            features.append(states[layer][0].numpy())
        return features

    return run


def ours(name: str, layer: int, precision: encoders.Precision) -> Run:
    """Return emolib's way, its encoder loaded."""
    encoder = encoders.load(name, layers=[layer], device="cpu", precision=precision)

    def run(files: Sequence[Path]) -> Features:
        waves = [audio.load(file, SAMPLE_RATE)[0] for file in files]
        return [states[0] for states in encoder.encode(waves, SAMPLE_RATE)]

    return run


def timed(run: Run, files: Sequence[Path]) -> tuple[float, Features]:
    """Return the seconds that a run takes once it is warm, and its features."""
    run(files[:4])
    gc.collect()
    started = time.perf_counter()
    features = run(files)
    return time.perf_counter() - started, features


def measure(n_clips: int = N_CLIPS) -> dict[str, float]:
    """Return ratios of wall time (theirs over ours) and how far the features are apart.

    Returns
    -------
    metrics : dict
        Of wav2vec2-base, and with ``whisper_`` in front of Whisper. extraction_fp32, extraction_bf16: how
        many times as fast ours is; extraction_realtime: seconds of speech a second in fp32;
        extraction_max_difference: the largest difference in fp32 over the features' standard deviation (for
        Whisper what attention takes from the silence); extraction_cosine_bf16: of each clip the mean cosine
        of its frames, of those the smallest; extraction_cosine_bf16_frame: the smallest of any frame;
        extraction_theirs_s and the like: seconds.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    try:
        files = clips(n_clips)
        with tempfile.TemporaryDirectory() as folder:
            save_untrained(Path(folder))
            model = transformers.AutoModel.from_pretrained(folder).eval()
            extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
            found = _compared(usual_loop(model, extractor, 5), folder, 5, files)
        whisper = encoders.load_model("whisper-tiny.en")[0].encoder.eval()
        loop = usual_loop(whisper, transformers.WhisperFeatureExtractor(), 2)
        found |= {f"whisper_{k}": v for k, v in _compared(loop, "whisper-tiny.en", 2, files).items()}
    finally:
        torch.set_num_threads(n_threads)
    return found


def _compared(loop: Run, name: str, layer: int, files: Sequence[Path]) -> dict[str, float]:
    usual_s, usual = timed(loop, files)
    fp32_s, fp32 = timed(ours(name, layer, "float32"), files)
    bf16_s, bf16 = timed(ours(name, layer, "bfloat16"), files)
    usual = [theirs[: len(own)] for theirs, own in zip(usual, fp32, strict=True)]
    spread = np.concatenate(usual).std()
    cosines = [_cosines(a, b) for a, b in zip(usual, bf16, strict=True)]
    return {
        "extraction_fp32": usual_s / fp32_s,
        "extraction_bf16": usual_s / bf16_s,
        "extraction_realtime": sum(librosa.get_duration(path=file) for file in files) / fp32_s,
        "extraction_max_difference": max(
            float(np.abs(a - b).max() / spread) for a, b in zip(usual, fp32, strict=True)
        ),
        "extraction_cosine_bf16": min(float(cosine.mean()) for cosine in cosines),
        "extraction_cosine_bf16_frame": min(float(cosine.min()) for cosine in cosines),
        "extraction_theirs_s": usual_s,
        "extraction_fp32_s": fp32_s,
        "extraction_bf16_s": bf16_s,
    }


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


if __name__ == "__main__":
    corpus = corpus_name()
    if corpus == "demo":
        print("EMOLIB_CORPORA is not set: clips of the demo corpus, not of RAVDESS")
    print(f"{N_CLIPS} clips of {corpus}, {N_THREADS} threads")
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
