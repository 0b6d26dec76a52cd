"""Frozen speech encoders by name, all behind one interface: waves to hidden states.

Names are ``whisper-tiny.en``, ``wav2vec2-nano``, any Hugging Face id or local folder of a wav2vec2, HuBERT,
WavLM, data2vec-audio, UniSpeech, UniSpeech-SAT, wav2vec2-conformer, w2v-BERT 2.0, emotion2vec or Whisper;
``random:<name>`` is the same architecture untrained; ``logmel``, ``prosody``, ``egemaps`` and ``compare`` are
the hand-made baselines. A family of networks is one file: a class with `MODEL_TYPES` that builds on
`transformer.TransformerEncoder` and is listed in `loading.FAMILIES`.
"""

from emolib.encoders.loading import (
    BASELINES,
    DEFAULT,
    Encoder,
    Precision,
    load,
    load_deferred,
    load_model,
    locate,
    quiet_transformers,
    read_tensors,
)
from emolib.encoders.transformer import TransformerEncoder, inputs_of
from emolib.training import torch_device

__all__ = [
    "BASELINES", "DEFAULT", "Encoder", "Precision", "TransformerEncoder", "inputs_of", "load",
    "load_deferred", "load_model", "locate", "quiet_transformers", "read_tensors", "torch_device",
]  # fmt: skip
