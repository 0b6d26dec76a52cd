"""Whisper's encoder as a frozen encoder: over the true length of a clip, and only the layers asked for.

The published model reads 30 s at a time, padded with silence. Here the network sees the clip and a short
margin of silence, whose frames are thrown away: a clip of 3 s costs a tenth of the work, and its pooled
features hold no silence. Positions are absolute and start at the clip's beginning, as in the padded input,
so what differs is only what attention takes from the silence.

References
----------
A. Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emolib.encoders.transformer import TransformerEncoder, attention_bias

#: Silence behind a clip, in s, that the network sees and whose frames are thrown away.
MARGIN_S = 0.5


class WhisperFrontEnd:
    """Turn a wave into the transformer's input: log-mel-spectrogram, two convolutions, positions.

    Parameters
    ----------
    encoder : transformers' WhisperEncoder
    """

    hop, receptive_field = 320, 400  # samples: two mel frames of 160, each of 400

    def __init__(self, encoder: Any) -> None:
        from transformers.audio_utils import mel_filter_bank

        self._encoder = encoder
        device = encoder.conv1.weight.device
        filters = mel_filter_bank(201, encoder.config.num_mel_bins, 0, 8_000, 16_000, "slaney", "slaney")
        self._filters = torch.from_numpy(filters.T.astype(np.float32)).to(device)
        self._window = torch.hann_window(400, device=device)

    @torch.no_grad()
    def __call__(self, wave: Tensor) -> Tensor:
        """Turn a wave, float32 (S,), into frames, (T + margin, D)."""
        longest = self._encoder.embed_positions.num_embeddings * self.hop
        padded = functional.pad(wave, (0, min(round(MARGIN_S * 16_000), longest - len(wave))))
        spectrum = torch.stft(padded, 400, 160, window=self._window, return_complex=True)
        mel = self._filters @ spectrum[:, :-1].abs().square()
        log_mel = mel.clamp(min=1e-10).log10()
        log_mel = (torch.maximum(log_mel, log_mel.max() - 8) + 4) / 4
        hidden = log_mel[None].to(self._encoder.conv1.weight.dtype)
        for conv in (self._encoder.conv1, self._encoder.conv2):
            hidden = functional.gelu(conv(hidden))
        frames = hidden[0].T
        return frames + self._encoder.embed_positions.weight[: len(frames)]


class WhisperEncoder(TransformerEncoder):
    """The encoder of a Whisper model, truncated at the highest layer that is asked for.

    Layer 0 is the input of the first block, k the output of block k, before the norm that follows the last.
    """

    MODEL_TYPES = ("whisper",)
    _input = f"whisper {MARGIN_S}"
    _starts_at_zero = True  # as every mel frame is centred on its sample, with the wave mirrored at its ends
    window_s = 25.0  # with its margins a window stays within the 30 s that Whisper has positions for

    def _network(self, model: Any) -> Any:
        return model.encoder

    def _build_front_end(self) -> WhisperFrontEnd:
        return WhisperFrontEnd(self.network)

    def _run(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        bias = None if valid is None else attention_bias(valid, self.dtype)
        for block in self.network.layers:
            out = block(frames, bias)
            frames = out[0] if isinstance(out, tuple) else out
        return frames
