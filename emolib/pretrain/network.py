"""A wav2vec 2.0 network with heads that read its hidden states, and the losses between them and the targets.

Fifth stage of `emolib.pretrain`. Sound is predicted in the middle, expression at the top.

References
----------
A. Baevski et al. (2020), "wav2vec 2.0", arXiv:2006.11477 (the network). W.-N. Hsu et al. (2021), "HuBERT",
arXiv:2106.07447 (masked prediction of clusters). S. Chen et al. (2022), "WavLM", arXiv:2110.13900 (prediction
and denoising at once).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from emolib.pretrain.batches import Batch
from emolib.pretrain.filters import start_as_spectrogram
from emolib.pretrain.settings import Settings
from emolib.pretrain.targets import N_ACOUSTICS

LOSSES = ("unit", "acoustic", "expression", "expression_unit")


class Network(nn.Module):
    """A wav2vec 2.0 network and the linear heads that read its hidden states while it trains."""

    def __init__(self, settings: Settings, n_expression: int) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        self.encoder = Wav2Vec2Model(network_config(settings))
        start_as_spectrogram(self.first_layer)
        self.unit = nn.Linear(width, settings.n_units)
        self.acoustic = nn.Linear(width, N_ACOUSTICS)
        self.expression = nn.Linear(2 * width, n_expression)
        self.expression_unit = nn.Linear(2 * width, settings.n_expression_units)

    @property
    def first_layer(self) -> nn.Conv1d:
        """The convolution that hears the wave."""
        layer = self.encoder.feature_extractor.get_submodule("conv_layers.0.conv")
        assert isinstance(layer, nn.Conv1d)
        return layer

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four losses of a batch.

        Notes
        -----
        Units: cross-entropy of masked frames. Prosody: smooth L1 of all frames, seen or not. Expression:
        smooth L1 and cross-entropy of the clip, from mean and standard deviation of a hidden state.
        """
        settings = self.settings
        with torch.autocast(batch.waves.device.type, torch.bfloat16, enabled=settings.autocast):
            states = self.encoder(
                batch.waves,
                attention_mask=batch.heard,
                mask_time_indices=batch.masked,
                output_hidden_states=True,
            ).hidden_states
            units = self.unit(states[settings.unit_layer])[batch.masked]
            acoustics = self.acoustic(states[settings.acoustic_layer])[batch.known]
        pooled = pool(states[settings.expression_layer].float(), batch.valid)
        nothing = pooled.sum() * 0  # a batch may be without masks
        return {
            "unit": F.cross_entropy(units.float(), batch.units[batch.masked]) if len(units) else nothing,
            "acoustic": F.smooth_l1_loss(acoustics.float(), batch.acoustics[batch.known]),
            "expression": F.smooth_l1_loss(self.expression(pooled), batch.expression),
            "expression_unit": F.cross_entropy(self.expression_unit(pooled), batch.expression_units),
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses."""
        return torch.stack([getattr(self.settings, f"{name}_weight") * losses[name] for name in LOSSES]).sum()


def pool(frames: Tensor, valid: Tensor) -> Tensor:
    """Return mean and standard deviation over the valid frames: (B, T, D) to (B, 2 D)."""
    weight = valid[..., None].float()
    count = weight.sum(dim=1)
    mean = (frames * weight).sum(dim=1) / count
    variance = ((frames - mean[:, None]).square() * weight).sum(dim=1) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def network_config(settings: Settings) -> Wav2Vec2Config:
    """Return the transformers configuration of a network."""
    return Wav2Vec2Config(
        hidden_size=settings.width, num_hidden_layers=settings.n_layers, num_attention_heads=settings.n_heads,
        intermediate_size=settings.feed_forward, conv_dim=settings.conv_widths,
        conv_kernel=settings.conv_kernels, conv_stride=settings.conv_strides,
        conv_bias=True, feat_extract_norm="layer",
        do_stable_layer_norm=True, num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=16, hidden_dropout=settings.dropout, attention_dropout=0.0,
        activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0, mask_time_prob=0.05,
    )  # fmt: skip
