"""w2v-BERT 2.0 as a frozen encoder: filter banks into a conformer.

References
----------
Seamless Communication (2023), "Seamless: Multilingual Expressive and Streaming Speech Translation",
arXiv:2312.05187.
"""

import torch
from torch import Tensor

from emolib.encoders.transformer import TransformerEncoder


class FilterBanks:
    """Turn a wave into pairs of filter bank frames by transformers' own feature extractor."""

    hop, receptive_field = 320, 560  # samples: two frames of 400, 160 apart

    def __init__(self, n_bands: int, device: torch.device) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        self._extractor = SeamlessM4TFeatureExtractor(num_mel_bins=n_bands, feature_size=n_bands)
        self._device = device

    def __call__(self, wave: Tensor) -> Tensor:
        """Turn a wave, float32 (S,), into frames, (T, 2 bands), each band normalised over the wave."""
        n_frames = (len(wave) - self.receptive_field) // self.hop + 1
        made = self._extractor(wave.cpu().numpy(), sampling_rate=16_000, return_tensors="pt")
        return made["input_features"][0, :n_frames].to(self._device)  # without the last one's padding


class W2VBertEncoder(TransformerEncoder):
    """A w2v-BERT 2.0 network, truncated at the highest layer that is asked for.

    Bands are normalised over a clip, of a clip longer than a window over each window.
    """

    MODEL_TYPES = ("wav2vec2-bert",)
    _input = "w2v-bert filter banks"
    _may_pad = False  # the convolution in each block carries what is in the padding back into the clip

    def _build_front_end(self) -> FilterBanks:
        return FilterBanks(self.network.config.feature_projection_input_dim // 2, self.device)

    def _run(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        hidden, _ = self.network.feature_projection(frames.to(self.dtype))
        return self._transformer(hidden).last_hidden_state
