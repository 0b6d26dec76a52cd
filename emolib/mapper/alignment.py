"""One clock for an encoder's frames, 50 a second, and mel frames, 86.13 a second.

Encoder frame t of the wav2vec 2.0 family sees samples 320 t to 320 t + 399 at 16 kHz, so its centre lies at
sample 320 t + 199.5. Mel frame m of `audio.log_mel` is centred on sample 256 m + 128 at 22,050 Hz. A mel
frame therefore falls between two encoder frames, and is interpolated between them at its exact place.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib.audio import HIFIGAN_MEL

RATE, HOP, FIELD = 16_000, 320, 400
HOP_S = HOP / RATE
_FIRST_S = (FIELD - 1) / 2 / RATE
_MEL_HOP_S = HIFIGAN_MEL.hop_length / HIFIGAN_MEL.sample_rate
#: From one mel frame to the next, in encoder frames.
MEL_HOP = _MEL_HOP_S / HOP_S


def check_hop(hop_s: float, encoder: str) -> None:
    """Raise ValueError unless frames come every 20 ms, as in the wav2vec 2.0 family."""
    if not np.isclose(hop_s, HOP_S, rtol=1e-6):
        raise ValueError(
            f"{encoder} gives a frame every {1000 * hop_s:.4g} ms; a mapper reads one every "
            f"{1000 * HOP_S:.0f} ms: use a network of the wav2vec 2.0 family"
        )


def mel_frames(n_frames: int) -> int:
    """Return how many whole mel frames the samples under `n_frames` encoder frames hold.

    A clip can hold up to two more: its last samples, too few for another encoder frame, were not seen.
    """
    seconds = ((n_frames - 1) * HOP + FIELD) / RATE
    return HIFIGAN_MEL.frames(int(seconds * HIFIGAN_MEL.sample_rate))


def positions(n_mels: int, start: int = 0) -> NDArray[np.float64]:
    """Return where mel frames lie among encoder frames: 2.5 is half-way between frames 2 and 3.

    Parameters
    ----------
    n_mels : int; number of mel frames
    start : int; the first of them

    Returns
    -------
    positions : float64 array, (n_mels,); not clipped to the frames that a clip has
    """
    centres_s = (np.arange(start, start + n_mels) + 0.5) * _MEL_HOP_S
    return np.asarray((centres_s - _FIRST_S) / HOP_S, dtype=np.float64)


def align(frames: Tensor, places: Tensor) -> Tensor:
    """Interpolate encoder frames linearly at the places of mel frames; the first and last frames are held.

    Parameters
    ----------
    frames : (B, T, C)
    places : (B, M); as `positions` gives them, relative to the first of `frames`

    Returns
    -------
    aligned : (B, M, C)
    """
    n_batch, n_frames, _ = frames.shape
    places = places.clamp(0, n_frames - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=n_frames - 1)
    first = torch.arange(n_batch, device=frames.device)[:, None] * n_frames
    flat = frames.flatten(0, 1)
    weight = (places - low)[..., None].to(frames.dtype)
    # two products rather than a + w (b - a): at a whole place, the frame itself, bit for bit
    return flat[low + first] * (1 - weight) + flat[high + first] * weight


def shifted(frames: Tensor, offsets: Sequence[int]) -> Tensor:
    """Lay the frames at t + each offset side by side: (B, T, C) to (B, T, C len(offsets)).

    Beyond either end there are zeros.
    """
    reach, n_frames = max(abs(offset) for offset in offsets), frames.shape[1]
    padded = nn.functional.pad(frames, (0, 0, reach, reach))
    return torch.cat([padded[:, reach + o : reach + o + n_frames] for o in offsets], dim=-1)
