"""What frozen transformers have in common: only the layers asked for, and no padding that counts.

A front end turns one wave at a time into the frames that enter the transformer, so padding can't change them.
The transformer runs on batches filled by length, with the padding masked.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emolib import audio


class FrontEnd(Protocol):
    """What turns a wave, float32 (S,), into the transformer's input, (T, D).

    Attributes
    ----------
    hop, receptive_field : int, samples; from frame to frame, and of what one frame sees
    """

    hop: int
    receptive_field: int

    def __call__(self, wave: Tensor) -> Tensor:
        """Turn a wave into frames."""
        ...


#: Of a piece of a clip: its first frame, how many it has, and how many the clip has.
Place = tuple[int, int, int]


class TransformerEncoder:
    """A frozen network, truncated at the highest layer that is asked for.

    A family gives `MODEL_TYPES`, `_build_front_end` and `_run`. Hidden states equal transformers' own.

    Parameters
    ----------
    name : str
    model : transformers model
    sample_rate : int, Hz
    normalise : bool; whether it wants waves of zero mean and unit variance
    layers : sequence of int or None; None for all
    device : torch.device
    dtype : torch.dtype; what it computes in

    Attributes
    ----------
    network : torch.nn.Module; the network itself, without the blocks above the highest layer
    """

    #: transformers' names of the architectures that a family covers.
    MODEL_TYPES: tuple[str, ...] = ()
    #: Longer clips are cut into windows of this length, each with a margin of context that is thrown away.
    window_s, margin_s = 30.0, 2.0

    _front_end: FrontEnd
    _variance_floor = 1e-7  # of transformers' feature extractors
    #: Of each clip in the batch that is running; hooks read it.
    places: Sequence[Place] = ()
    _input = ""  # of a family that takes plain waves at 16 kHz: what its front end makes of them
    _may_pad = True  # False where a network lets padding reach the clip
    _starts_at_zero = False  # True where the first frame is centred on the first sample

    def __init__(
        self, name: str, model: Any, sample_rate: int, normalise: bool, *, layers: Sequence[int] | None,
        device: torch.device, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        self.name, self.dtype, self.device = name, dtype, device
        self.sample_rate, self._normalise = (16_000, False) if self._input else (sample_rate, normalise)
        self.n_blocks = model.config.num_hidden_layers
        self.layers = check_layers(layers, self.n_blocks, name)
        self.width = model.config.hidden_size
        self.network: Any = self._network(model).requires_grad_(False).eval()
        preparation = self._input or f"{self.sample_rate} {self._normalise}"  # features change with it
        self.fingerprint = f"{_digest(self.network, preparation)}-{str(dtype).removeprefix('torch.')}"
        self._transformer = getattr(self.network, "encoder", self.network)
        self._transformer.layers = self._transformer.layers[: max(self.layers)]
        self.network.to(self.device)
        self._front_end = self._build_front_end()
        self.network.to(self.dtype)
        self.hop_s = self._front_end.hop / self.sample_rate
        centre = 0 if self._starts_at_zero else (self._front_end.receptive_field - 1) / 2
        self.first_frame_s = centre / self.sample_rate
        self._frame_budget = 2_000 if self.device.type == "cpu" else 60_000
        # hooks collect the states of whatever runs, so a second thread has to wait
        self._running = threading.Lock()

    def _network(self, model: Any) -> Any:
        """Return the part of a model that is used."""
        return model

    def _build_front_end(self) -> FrontEnd:
        """Build the front end of a network that is on its device, and in float32 yet."""
        raise NotImplementedError

    def _run(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        """Run the network on padded frames, (B, T, D_in), and return its last block's output, (B, T, D)."""
        raise NotImplementedError

    def _transform(self, frames: Tensor, valid: Tensor | None) -> list[Tensor]:
        """Turn padded frames, (B, T, D_in), into the states of `layers`, each (B, T, D).

        `valid`, (B, T), is False in the padding; None where there is none.
        """
        with inputs_of(self._transformer.layers) as states:
            states.append(self._run(frames, valid))
        return [states[layer] for layer in self.layers]

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
        pieces: list[Tensor] = []
        owners: list[tuple[int, slice]] = []
        places: list[Place] = []
        for index, wave in enumerate(waves):
            ready = self._ready(wave, sample_rate, index)
            for span, keep in self._windows(len(ready)):
                pieces.append(ready[span])
                owners.append((index, keep))
                here = self.frames(len(pieces[-1]))
                places.append((span.start // self._front_end.hop, here, self.frames(len(ready))))
        joined: list[list[NDArray[np.float32]]] = [[] for _ in waves]
        for (index, keep), state in zip(owners, self._encode_pieces(pieces, places), strict=True):
            joined[index].append(state[:, keep])
        return [parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) for parts in joined]

    def frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave of `n_samples` samples."""
        return max(0, (n_samples - self._front_end.receptive_field) // self._front_end.hop + 1)

    def _ready(self, wave: audio.Wave, sample_rate: int, index: int) -> Tensor:
        wave = fit_wave(wave, sample_rate, index, self, self._front_end.receptive_field)
        if self._normalise:  # over the whole clip, as its feature extractor does
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + self._variance_floor)
        return torch.from_numpy(np.ascontiguousarray(wave))

    def _windows(self, n_samples: int) -> Iterator[tuple[slice, slice]]:
        """Yield spans of samples and, for each, the frames of it to keep; one span for a short clip."""
        hop, field = self._front_end.hop, self._front_end.receptive_field
        n_frames = self.frames(n_samples)
        window, margin = round(self.window_s / self.hop_s), round(self.margin_s / self.hop_s)
        if n_frames <= window:
            yield slice(0, n_samples), slice(None)
            return
        for start in range(0, n_frames, window):
            stop = min(start + window, n_frames)
            first, last = max(0, start - margin), min(n_frames, stop + margin)
            yield slice(first * hop, (last - 1) * hop + field), slice(start - first, stop - first)

    # else a GPU's convolutions round to ten bits, and states differ from a processor's by half a percent
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    @torch.inference_mode()
    def _encode_pieces(self, pieces: list[Tensor], places: list[Place]) -> list[NDArray[np.float32]]:
        lengths = [here for _, here, _ in places]
        states: dict[int, NDArray[np.float32]] = {}
        for batch in _batches(lengths, self._frame_budget, self._may_pad):
            frames = [self._front_end(pieces[i].to(self.device)) for i in batch]
            padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            valid = torch.arange(padded.shape[1]) < torch.tensor([[len(part)] for part in frames])
            with self._running:
                self.places = [places[i] for i in batch]
                outputs = self._transform(padded, None if valid.all() else valid.to(self.device))
                self.places = []
            for row, i in enumerate(batch):
                states[i] = torch.stack([layer[row, : lengths[i]] for layer in outputs]).float().cpu().numpy()
        return [states[i] for i in range(len(pieces))]


@contextlib.contextmanager
def inputs_of(blocks: torch.nn.ModuleList, *, and_output: bool = False) -> Iterator[list[Tensor]]:
    """Collect what enters the blocks of a transformer, each (B, T, D), while the context is open.

    With `and_output`, also what leaves the last.
    """
    states: list[Tensor] = []

    def keep(given: Any) -> None:
        states.append(given[0] if isinstance(given, tuple) else given)

    handles = [block.register_forward_pre_hook(lambda _, args: keep(args)) for block in blocks]
    if and_output:
        handles.append(blocks[-1].register_forward_hook(lambda _, __, output: keep(output)))
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def attention_bias(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what keeps attention off the padding, (B, 1, 1, T): 0 where frames, (B, T), are valid."""
    bias = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
    return bias.masked_fill(~valid, torch.finfo(dtype).min)[:, None, None]


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


def fit_wave(wave: audio.Wave, sample_rate: int, index: int, encoder: Any, shortest: int) -> audio.Wave:
    """Return a wave at an encoder's rate; AudioError unless it is one channel of enough finite samples."""
    wave = audio.resample(np.asarray(wave, np.float32), sample_rate, encoder.sample_rate)
    if wave.ndim != 1 or len(wave) < shortest:
        raise audio.AudioError(
            f"wave {index} of shape {wave.shape}; {encoder.name} needs one channel of at least "
            f"{shortest} samples at {encoder.sample_rate} Hz"
        )
    if not np.isfinite(wave).all():
        raise audio.AudioError(f"wave {index} holds NaN or infinite samples")
    return wave


def check_layers(layers: Sequence[int] | None, n_blocks: int, name: str) -> tuple[int, ...]:
    """Return the layers that were asked for, all of a network's by default; ValueError where it lacks one."""
    chosen = tuple(range(n_blocks + 1)) if layers is None else tuple(int(layer) for layer in layers)
    wrong = [layer for layer in chosen if not 0 <= layer <= n_blocks]
    if wrong or not chosen:
        raise ValueError(f"layers {wrong} of {name!r}; it has 0 (the transformer's input) to {n_blocks}")
    return chosen


def _digest(model: torch.nn.Module, preprocessing: str) -> str:
    """Return a digest of a network's weights and of how its input is prepared, 16 hexadecimal digits."""
    digest = hashlib.sha256(preprocessing.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
