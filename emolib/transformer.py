"""Frozen networks of the wav2vec 2.0 family as encoders: only the layers asked for, and no padding that
counts.

The front end runs clip by clip (`emolib.frontend`), the transformer on batches filled by length.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emolib import audio
from emolib.frontend import FourierConv, FrontEnd


class TransformerEncoder:
    """A frozen wav2vec 2.0-like network, truncated at the highest layer that is asked for.

    The front end runs clip by clip and unpadded; the transformer runs on batches filled by length. Neither
    changes an answer, beyond float32 rounding. Hidden states equal transformers' own ``hidden_states``.
    """

    #: Longer clips are cut into windows of this length, each with a margin of context that is thrown away.
    window_s, margin_s = 30.0, 2.0

    def __init__(
        self,
        name: str,
        model: Any,
        sample_rate: int,
        normalise: bool,
        *,
        layers: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.sample_rate, self._normalise = sample_rate, normalise
        config = model.config
        self.name, self.dtype, self.device = name, dtype, torch.device(device)
        self.layers = check_layers(layers, config.num_hidden_layers, name)
        self.width = config.hidden_size
        preprocessing = f"{self.sample_rate} {self._normalise}"
        precision = str(dtype).removeprefix("torch.")
        self.fingerprint = f"{hash_weights(model, preprocessing)}-{precision}"
        self._model = _truncate(model, max(self.layers)).to(self.device)
        self._front_end: Any = FrontEnd(
            self._model.feature_extractor, dtype
        )  # it rounds weights itself, once
        position = self._model.encoder.pos_conv_embed
        quick = FourierConv(position.conv) if hasattr(position, "conv") else None  # data2vec's are short
        self._model.to(dtype)
        if quick is not None:
            position.conv = quick
        self.hop_s = self._front_end.hop / self.sample_rate
        # data2vec's five positional convolutions, or a norm before HuBERT's one, carry what is in the padding
        # back into the clip
        norm_before = getattr(config, "conv_pos_batch_norm", False)
        self._may_pad = config.model_type != "data2vec-audio" and not norm_before
        self._frame_budget = 2_000 if self.device.type == "cpu" else 60_000

    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to hidden states.

        Parameters
        ----------
        waves : sequence of float32 arrays, (S,), each of its own length
        sample_rate : int, Hz; waves are resampled to the model's rate

        Returns
        -------
        hidden_states : list of float32 arrays, (L, T, D), in the order of `waves` and of `layers`

        Raises
        ------
        AudioError
            If a wave is shorter than the front end's receptive field or not finite.
        """
        pieces: list[torch.Tensor] = []
        owners: list[tuple[int, slice]] = []
        for index, wave in enumerate(waves):
            ready = self._prepare(wave, sample_rate, index)
            for span, keep in self._windows(len(ready)):
                pieces.append(ready[span])
                owners.append((index, keep))
        states = self._encode_pieces(pieces)
        joined: list[list[NDArray[np.float32]]] = [[] for _ in waves]
        for (index, keep), state in zip(owners, states, strict=True):
            joined[index].append(state[:, keep])
        return [parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) for parts in joined]

    def _prepare(self, wave: audio.Wave, sample_rate: int, index: int) -> torch.Tensor:
        wave = audio.resample(np.asarray(wave, np.float32), sample_rate, self.sample_rate)
        if wave.ndim != 1 or len(wave) < self._front_end.receptive_field:
            raise audio.AudioError(
                f"wave {index} of shape {wave.shape}; {self.name} needs one channel of at least "
                f"{self._front_end.receptive_field} samples at {self.sample_rate} Hz"
            )
        if not np.isfinite(wave).all():
            raise audio.AudioError(f"wave {index} holds NaN or infinite samples")
        if self._normalise:  # over the whole clip, as its feature extractor does
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        return torch.from_numpy(np.ascontiguousarray(wave))

    def _windows(self, n_samples: int) -> Iterator[tuple[slice, slice]]:
        """Yield spans of samples and, for each, the frames of it to keep; one span for a short clip."""
        hop, field = self._front_end.hop, self._front_end.receptive_field
        n_frames = self._front_end.frames(n_samples)
        window, margin = round(self.window_s / self.hop_s), round(self.margin_s / self.hop_s)
        if n_frames <= window:
            yield slice(0, n_samples), slice(None)
            return
        for start in range(0, n_frames, window):
            stop = min(start + window, n_frames)
            first, last = max(0, start - margin), min(n_frames, stop + margin)
            yield slice(first * hop, (last - 1) * hop + field), slice(start - first, stop - first)

    @torch.inference_mode()
    def _encode_pieces(self, pieces: list[torch.Tensor]) -> list[NDArray[np.float32]]:
        lengths = [self._front_end.frames(len(piece)) for piece in pieces]
        states: dict[int, NDArray[np.float32]] = {}
        for batch in _batches(lengths, self._frame_budget, self._may_pad):
            frames = [self._front_end(pieces[i].to(self.device)) for i in batch]
            hidden = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            outputs = self._transform(hidden, torch.tensor([len(part) for part in frames]))
            for row, i in enumerate(batch):
                states[i] = torch.stack([layer[row, : lengths[i]] for layer in outputs]).float().cpu().numpy()
        return [states[i] for i in range(len(pieces))]

    def _transform(self, frames: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """Turn padded frames, (B, T, D_in), into the states of `layers`, each (B, T, D)."""
        mask = None
        if int(lengths.min()) < frames.shape[1]:
            mask = (torch.arange(frames.shape[1])[None] < lengths[:, None]).to(self.device)
        projected = self._model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns it bare
        encoder = self._model.encoder
        with inputs_of(encoder.layers) as states, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's own masks
            states.append(encoder(hidden, attention_mask=mask).last_hidden_state)
        return [states[layer] for layer in self.layers]


@contextlib.contextmanager
def inputs_of(blocks: torch.nn.ModuleList) -> Iterator[list[torch.Tensor]]:
    """Collect what enters the blocks of a transformer, each (B, T, D), while the context is open."""
    states: list[torch.Tensor] = []
    handles = [block.register_forward_pre_hook(lambda _, args: states.append(args[0])) for block in blocks]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _batches(lengths: list[int], budget: int, may_pad: bool) -> Iterator[list[int]]:
    """Yield indices of clips of similar length, as many as fit `budget` frames with their padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batch[0]] if batch else lengths[index]
        full = longest * (len(batch) + 1) > budget
        if batch and (full or not (may_pad or lengths[index] == longest)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def check_layers(layers: Sequence[int] | None, n_blocks: int, name: str) -> tuple[int, ...]:
    """Return the layers that were asked for, all of a network's by default; ValueError where it lacks one."""
    chosen = tuple(range(n_blocks + 1)) if layers is None else tuple(int(layer) for layer in layers)
    wrong = [layer for layer in chosen if not 0 <= layer <= n_blocks]
    if wrong or not chosen:
        raise ValueError(f"layers {wrong} of {name!r}; it has 0 (the transformer's input) to {n_blocks}")
    return chosen


def _truncate(model: Any, top: int) -> Any:
    """Drop the blocks above `top` and the norm after the last: a hidden state is a block's own output."""
    model.encoder.layers = model.encoder.layers[:top]
    if "StableLayerNorm" in type(model.encoder).__name__:  # elsewhere `layer_norm` stands before the blocks
        model.encoder.layer_norm = torch.nn.Identity()
    return model.requires_grad_(False).eval()


def hash_weights(model: torch.nn.Module, preprocessing: str) -> str:
    """Return a digest of a network's weights and of how its input is prepared, 16 hexadecimal digits."""
    digest = hashlib.sha256(preprocessing.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
