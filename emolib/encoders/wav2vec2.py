"""Networks of the wav2vec 2.0 family, their convolutional front end computed as matrix products.

Half the arithmetic of a truncated encoder is in the front end. transformers runs it channels first, where the
first layer and its group norm are bound by memory; this module runs the same weights frames first:

- A convolution of kernel k and stride s is a sum of ceil(k / s) matrix products over views of the input: taps
  j ... j + s of every window are rows of a strided view, so nothing is copied.
- The first layer's group norm has one group a channel. Its statistics follow from the covariance of the input
  windows (k x k numbers), so the norm is folded into the layer's weights before the product.

One clip at a time, never padded: the group norm's statistics run over time, and padding would change them.

References
----------
A. Baevski et al. (2020), "wav2vec 2.0", arXiv:2006.11477; W.-N. Hsu et al. (2021), "HuBERT",
arXiv:2106.07447; WavLM arXiv:2110.13900; data2vec arXiv:2202.03555; UniSpeech arXiv:2101.07597;
UniSpeech-SAT arXiv:2110.05752; its conformer (2020), arXiv:2010.05171.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from emolib.encoders.transformer import TransformerEncoder


class Wav2Vec2Encoder(TransformerEncoder):
    """A network of the family, of transformers' `MODEL_TYPES`, as a frozen encoder."""

    MODEL_TYPES = (
        "wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "wav2vec2-conformer",
    )  # fmt: skip

    def _build_front_end(self) -> "FrontEnd":
        encoder, config = self._transformer, self.network.config
        conformer = config.model_type == "wav2vec2-conformer"
        # elsewhere `layer_norm` comes before the blocks
        if conformer or "StableLayerNorm" in type(encoder).__name__:
            encoder.layer_norm = nn.Identity()  # a hidden state is a block's own output
        position = encoder.pos_conv_embed
        if hasattr(position, "conv") and not conformer:
            # data2vec's are short, and the conformer leaves its own unused
            position.conv = FourierConv(position.conv)
        # five positional convolutions (data2vec), a norm before one (HuBERT) or those in a conformer's blocks
        # carry what is in the padding back into the clip
        norm_before = getattr(config, "conv_pos_batch_norm", False)
        self._may_pad = not (conformer or config.model_type == "data2vec-audio" or norm_before)
        return FrontEnd(self.network.feature_extractor, self.dtype)

    def _run(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        projected = self.network.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns it bare
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's own masks
            return self._transformer(hidden, attention_mask=valid).last_hidden_state


class FrontEnd:
    """Run the convolutional layers of a transformers feature extractor on one wave.

    Parameters
    ----------
    extractor : torch.nn.Module
        The ``feature_extractor`` of a Wav2Vec2, HuBERT, WavLM or Data2VecAudio model, on its device.
    dtype : torch.dtype
        The type that products are taken in.
    """

    def __init__(self, extractor: Any, dtype: torch.dtype = torch.float32) -> None:
        self.layers = [_ConvLayer(layer, dtype) for layer in extractor.conv_layers]
        self.hop = 1  # samples between frames
        self.receptive_field = 1  # samples that one frame sees
        for layer in self.layers:
            self.receptive_field += (layer.kernel - 1) * self.hop
            self.hop *= layer.stride

    @torch.no_grad()
    def __call__(self, wave: Tensor) -> Tensor:
        """Turn a wave, float32 (S,), into frames, (T, D); its weights are frozen."""
        hidden = wave[:, None]
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class _ConvLayer:
    """One convolution with its norm and activation, frames first: (T, C_in) to (T', C_out)."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        conv: nn.Conv1d = layer.conv
        self.kernel, self.stride, self.dtype = conv.kernel_size[0], conv.stride[0], dtype
        self.norm: nn.Module | None = getattr(layer, "layer_norm", None)
        # folding a wave's norm into the weights wants them exact; elsewhere they are rounded here, once
        folds = isinstance(self.norm, nn.GroupNorm)
        # (C_out, C_in, k) to (k * C_in, C_out): tap by tap, as a window of frames lies in memory
        weight = conv.weight.detach().float().permute(2, 1, 0).reshape(-1, conv.out_channels)
        self.weight = weight if folds else weight.to(dtype)
        self.bias = None if conv.bias is None else conv.bias.detach().to(torch.float32 if folds else dtype)
        self.activation: nn.Module = layer.activation

    def __call__(self, hidden: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if isinstance(self.norm, nn.GroupNorm):
            weight, bias = self._fold_norm(hidden, self.norm)
        hidden = self._convolve(hidden.to(self.dtype), weight.to(self.dtype))
        if bias is not None:
            hidden += bias.to(self.dtype)
        if isinstance(self.norm, nn.LayerNorm):
            hidden = self.norm(hidden)
        return self.activation(hidden)

    def _convolve(self, hidden: Tensor, weight: Tensor) -> Tensor:
        width = hidden.shape[1]
        n_frames = (len(hidden) - self.kernel) // self.stride + 1
        out: Tensor | None = None
        for tap in range(0, self.kernel, self.stride):
            n_taps = min(self.stride, self.kernel - tap)
            view = hidden.as_strided(
                (n_frames, n_taps * width), (self.stride * width, 1), hidden.storage_offset() + tap * width
            )
            part = weight[tap * width : (tap + n_taps) * width]
            out = view @ part if out is None else torch.addmm(out, view, part, out=out)
        assert out is not None
        return out

    def _fold_norm(self, hidden: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Return weights and bias that hold the group norm of this wave's convolution.

        Notes
        -----
        For windows u with mean m and covariance C, the output w'u has mean w'm and variance w'Cw.
        """
        assert norm.num_groups == norm.num_channels and hidden.shape[1] == 1
        windows = hidden[:, 0].unfold(0, self.kernel, self.stride).double()
        mean = windows.mean(0)
        centred = windows - mean
        covariance = centred.T @ centred / len(windows)
        weight = self.weight.double()
        variance = ((covariance @ weight) * weight).sum(0)
        scale = norm.weight.double() * torch.rsqrt(variance + norm.eps)
        # a bias of the convolution itself would vanish with the mean
        return (weight * scale).float(), (norm.bias.double() - (mean @ weight) * scale).float()


class FourierConv(nn.Module):
    """A grouped convolution of stride 1, computed block by block as products of spectra (overlap-save).

    The positional convolution has 128 taps, and takes as long as a whole block of the transformer; its
    spectrum takes a tenth of that. In float32 whatever the input's type.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.kernel, self.groups, self.margin = conv.kernel_size[0], conv.groups, int(conv.padding[0])
        self.size = 2 * self.kernel
        weight = conv.weight.detach().float()
        spectrum = torch.fft.rfft(weight, self.size).conj()  # (C_out, C_in / G, F)
        grouped = spectrum.unflatten(0, (self.groups, -1)).permute(3, 0, 2, 1)  # (F, G, C_in / G, C_out / G)
        self.spectrum = grouped.flatten(0, 1).resolve_conj().contiguous()
        self.bias = None if conv.bias is None else conv.bias.detach().float()

    def forward(self, frames: Tensor) -> Tensor:
        """Convolve frames, (B, C, T), to (B, C, T + 2 margin - kernel + 1)."""
        n_batch, _, n_frames = frames.shape
        n_out, step = n_frames + 2 * self.margin - self.kernel + 1, self.size - self.kernel + 1
        n_blocks = -(-n_out // step)
        right = (n_blocks - 1) * step + self.size - n_frames - self.margin
        padded = nn.functional.pad(frames.float(), (self.margin, right))
        blocks = torch.fft.rfft(padded.unfold(2, self.size, step))  # (B, C, blocks, F)
        blocks = blocks.unflatten(1, (self.groups, -1)).permute(4, 1, 0, 3, 2)  # (F, G, B, blocks, C / G)
        product = torch.bmm(blocks.flatten(2, 3).flatten(0, 1), self.spectrum)
        product = product.unflatten(0, (-1, self.groups)).unflatten(2, (n_batch, n_blocks))
        waves = torch.fft.irfft(product.permute(2, 1, 4, 3, 0), self.size)  # (B, G, C / G, blocks, size)
        out = waves[..., :step].flatten(3, 4).flatten(1, 2)[..., :n_out]
        return (out if self.bias is None else out + self.bias[:, None]).to(frames.dtype)
