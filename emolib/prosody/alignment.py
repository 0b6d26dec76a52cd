"""Which frame of one rendition of a sentence belongs to which of another.

Third stage of `emolib.prosody`: by phone labels where a corpus has them (EmoDB), by dynamic time warping
elsewhere.

References
----------
Dynamic time warping: H. Sakoe, S. Chiba (1978), "Dynamic programming algorithm optimization for spoken word
recognition", IEEE TASSP 26(1), doi:10.1109/TASSP.1978.1163055. EmoDB's labels: F. Burkhardt et al. (2005), "A
database of German emotional speech", Interspeech.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray

from emolib.prosody.features import Contours, smooth
from emolib.world import HOP_MS

Array = NDArray[np.float64]

_STRIDE = 2  # every 10 ms: a phone is longer, and the matrix is a quarter as large
_BAND = 0.3  # how far, in shares of the longer clip, the path may leave the diagonal
_RATE_FRAMES = 31  # local rate is one of syllables, not of frames


class Phone(NamedTuple):
    """A labelled stretch of speech: its label and where it ends, in s from the start of the spoken span."""

    label: str
    end_s: float


def path(source: Array, target: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of frames that dynamic time warping matches.

    Parameters
    ----------
    source, target : float arrays, (T, K) and (T', K); compared by Euclidean distance

    Returns
    -------
    at_source, at_target : integer arrays, (P,); both never fall, from the first frames to the last
    """
    band = max(_BAND, 1.2 * abs(len(source) - len(target)) / max(len(source), len(target)))
    _, steps = librosa.sequence.dtw(
        source.T, target.T, metric="euclidean", global_constraints=band < 1, band_rad=min(band, 1.0)
    )
    return steps[::-1, 0], steps[::-1, 1]


def positions(source: Contours, target: Contours) -> Array:
    """Return where in the target, in frames, each frame of the source is found: (T,), never falling.

    The match is made on the spectrum's shape, its level relative to the loudest, and the voicing.
    """
    at_source, at_target = path(_spectral_view(source)[::_STRIDE], _spectral_view(target)[::_STRIDE])
    known = np.unique(at_source)
    mean = np.array([at_target[at_source == frame].mean() for frame in known])
    return _monotonic(np.interp(np.arange(len(source.voiced)), _STRIDE * known, _STRIDE * mean), target)


def shared_phones(source: Sequence[Phone], target: Sequence[Phone]) -> Array:
    """Return where the phones that both renditions have end in each of them, (K, 2), s; in order."""
    labels = [phone.label for phone in source], [phone.label for phone in target]
    blocks = SequenceMatcher(None, *labels, autojunk=False).get_matching_blocks()
    matched = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
    return np.array([(source[i].end_s, target[j].end_s) for i, j in matched]).reshape(-1, 2)


def positions_by_phones(ends_s: Array, n_source: int, n_target: int) -> Array:
    """Return what `positions` does from the ends, (K, 2), of shared phones: linear between them.

    Parameters
    ----------
    ends_s : float array, (K, 2), s from the start of either span; as `shared_phones` gives them
    n_source, n_target : int; frames of either span
    """
    frames = ends_s * 1000 / HOP_MS
    last = np.array([n_source - 1, n_target - 1])
    inside = ((frames > 0) & (frames < last)).all(axis=1)
    anchors = np.vstack([[0, 0], frames[inside], last])
    return np.maximum.accumulate(np.interp(np.arange(n_source), anchors[:, 0], anchors[:, 1]))


def read_phones(label_file: str | Path) -> list[Phone]:
    """Read a label file of EmoDB (``lablaut/03a01Faxx.lablaut``); ends are in s from the start of the file.

    Diacritics and remarks are left out, so that equal phones have equal labels.

    Raises
    ------
    ValueError
        If the file holds no labels.
    """
    text = Path(label_file).read_text(encoding="latin-1")
    rows = re.findall(r"^\s*([0-9.]+)\s+-?\d+[ ]?([^\t;\n]*)", text.partition("#")[2], flags=re.MULTILINE)
    phones = [Phone(re.sub(r"[^A-Za-z@]", "", label), float(end)) for end, label in rows]
    if not phones:
        raise ValueError(f"{label_file}: no labels; expected lines of an end (s), a colour and a phone")
    return phones


def log_rate(at: Array) -> Array:
    """Return the logarithm of the local stretch, (T,), that positions, (T,), ask of a source."""
    stretch = np.gradient(smooth(at, _RATE_FRAMES))
    return np.log(np.clip(smooth(stretch, _RATE_FRAMES), 0.25, 4.0))


def _spectral_view(c: Contours) -> Array:
    """Return what frames are matched by, (T, 34): bands as deviations, level and voicing of like weight."""
    bands = c.bands - c.bands[c.voiced].mean(axis=0)
    level = np.maximum(c.energy - c.energy.max(), -10.0)
    return np.column_stack([bands, 2 * level, 4.0 * c.voiced])


def _monotonic(at: Array, target: Contours) -> Array:
    return np.clip(np.maximum.accumulate(at), 0, len(target.voiced) - 1)
