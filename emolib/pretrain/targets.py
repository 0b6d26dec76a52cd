"""What the encoder learns to predict: sound units, acoustics and expression.

Targets are relative to the speaker, so `speaker` is read from the manifest; emotion labels never are.

- units: k-means clusters of MFCCs and their deltas, without the speaker's mean, one a frame, as in HuBERT's
  first round; predicted where the frame is masked
- acoustics: pitch, voicing, energy and voice quality relative to the speaker, then pitch, MFCCs, their
  changes and voice quality as they are, 41 values a frame, to be regressed
- expression: functionals over the whole clip, relative to the speaker and as they are, to be regressed, and
  k-means clusters of the relative ones

References
----------
W.-N. Hsu et al. (2021), "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of
Hidden Units", arXiv:2106.07447. M. Ravanelli et al. (2020), "Multi-task self-supervised learning for Robust
Speech Recognition", arXiv:2001.09239 (PASE+: acoustics as targets). F. Eyben et al. (2016), "GeMAPS", IEEE
Transactions on Affective Computing 7(2), 190-202.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from sklearn.cluster import MiniBatchKMeans

from emolib import files
from emolib.pretrain.measures import N_MFCC, VOICE, Array, Frames

N_ACOUSTICS = 9 + (N_MFCC - 1) + N_MFCC + len(VOICE)
PITCH = 8  # the column of pitch itself, which a change of speed moves
PITCH_SCALE_ST = 6.0
_MIDDLE_ST = 12 * np.log2(180.0)  # between women's and men's voices, semitones above 1 Hz
_CLIP = 4.0  # standard deviations beyond which a target says no more
_FIT_ROWS = 100_000  # frames that k-means sees
_PCA = 30  # components of the functionals that are clustered


class Targets(NamedTuple):
    """Targets of N clips whose frames follow one another, T frames in all.

    Attributes
    ----------
    starts : int64 array, (N + 1,); clip n has the frames starts[n] to starts[n + 1]
    units : int64 array, (T,), in [0, K)
    acoustics : float32 array, (T, A = 41), about unit scale, in [-4, 4]
    known : bool array, (T, 41); False where a value doesn't exist, as pitch where unvoiced
    expression : float32 array, (N, E), unit variance, in [-4, 4]
    expression_units : int64 array, (N,)
    """

    starts: NDArray[np.int64]
    units: NDArray[np.int64]
    acoustics: Array
    known: NDArray[np.bool_]
    expression: Array
    expression_units: NDArray[np.int64]

    def save(self, path: Path, identity: str) -> None:
        """Write the targets as safetensors, and what they were made from beside them."""
        tensors = {name: np.ascontiguousarray(value) for name, value in self._asdict().items()}
        files.write_file(path, save(tensors, {"identity": identity}))

    @classmethod
    def load(cls, path: Path) -> "tuple[str, Targets]":
        """Read the identity and the targets that `save` wrote; raise ValueError if the file is damaged."""
        with files.open_tensors(path, framework="np") as file:
            return file.metadata()["identity"], cls(**{name: file.get_tensor(name) for name in cls._fields})


def make_targets(
    clips: Sequence[Frames],
    functionals: Array,
    voices: Sequence[str],
    *,
    n_units: int,
    n_expression_units: int,
    seed: int,
) -> Targets:
    """Turn the measures of N clips into targets.

    Parameters
    ----------
    clips : sequence of N Frames
    functionals : float32 array, (N, E)
    voices : sequence of N str
        Whose clip it is.
    n_units, n_expression_units : int
        Clusters of frames, and of clips.

    Raises
    ------
    ValueError
        If there are more units than frames, or more expression units than clips.
    """
    starts = np.cumsum([0] + [len(frames.f0_hz) for frames in clips])
    for k, n, what in ((n_units, starts[-1], "frames"), (n_expression_units, len(clips), "clips")):
        if k > n:
            raise ValueError(
                f"a vocabulary of {k} units for {n} {what}; it can't be larger: lower it or add speech"
            )
    owner = np.unique(np.asarray(voices), return_inverse=True)[1]
    mfcc = np.concatenate([frames.mfcc for frames in clips])
    sound, sound_known = _sound(clips)
    mfcc = mfcc - _means(mfcc, np.repeat(owner, np.diff(starts)))
    cepstra = np.concatenate([_with_deltas(mfcc[a:b]) for a, b in pairwise(starts)])
    pairs = [_prosody(clip, *typical) for clip, typical in zip(clips, _typical(clips, owner), strict=True)]
    expression = np.column_stack(
        [functionals - _means(functionals, owner), functionals - functionals.mean(axis=0)]
    )
    expression = np.clip(expression / (expression.std(axis=0) + 1e-6), -_CLIP, _CLIP)
    return Targets(
        starts=starts,
        units=_cluster(cepstra / (cepstra.std(axis=0) + 1e-6), n_units, seed),
        acoustics=np.column_stack([np.concatenate([values for values, _ in pairs]), sound]).astype(
            np.float32
        ),
        known=np.column_stack([np.concatenate([known for _, known in pairs]), sound_known]),
        expression=expression.astype(np.float32),
        expression_units=_cluster(
            _principal(expression[:, : functionals.shape[1]]), n_expression_units, seed
        ),
    )


def _means(rows: Array, owner: NDArray[np.int64]) -> Array:
    """Return, for each row, the mean of its owner's rows."""
    sums = np.zeros((owner.max() + 1, rows.shape[1]))
    np.add.at(sums, owner, rows)
    return (sums / np.bincount(owner)[:, None])[owner].astype(np.float32)


def _with_deltas(mfcc: Array) -> NDArray:
    """Append first and second time derivatives over five frames: (T, 13) to (T, 39)."""

    def delta(x: NDArray) -> NDArray:
        padded = np.pad(x, ((2, 2), (0, 0)), mode="edge")
        return (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10

    first = delta(mfcc)
    return np.concatenate([mfcc, first, delta(first)], axis=1)


def _typical(clips: Sequence[Frames], owner: NDArray[np.int64]) -> list[tuple[float, NDArray]]:
    """Return, for each clip, its speaker's median pitch (semitones) and mean voice quality, (7,)."""
    habits: dict[int, tuple[float, NDArray]] = {}
    for voice in np.unique(owner):
        own = [clip for clip, of in zip(clips, owner, strict=True) if of == voice]
        f0_hz = np.concatenate([clip.f0_hz[clip.voiced] for clip in own])
        quality = np.concatenate([clip.voice[clip.voiced] for clip in own])
        silent = len(f0_hz) == 0
        habits[int(voice)] = (
            0.0 if silent else float(np.median(12 * np.log2(f0_hz))),
            np.zeros(quality.shape[1]) if silent else quality.mean(axis=0, dtype=np.float64),
        )
    return [habits[int(voice)] for voice in owner]


def _prosody(clip: Frames, pitch_st: float, quality: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return a clip's prosody relative to its speaker's habit, (T, 9), and where each value is known."""
    voiced, spoken, level = clip.voiced, clip.spoken, clip.energy_db - clip.peak_db
    absolute_st = 12 * np.log2(np.maximum(clip.f0_hz, 1))
    pitch = np.where(voiced, absolute_st - pitch_st, 0)
    alpha, _, slope, _, hnr, h1_h2, _ = (clip.voice - quality).T
    step = np.r_[0, np.diff(pitch)]
    values = [
        pitch / 4,
        2 * voiced - 1,
        (np.maximum(level, -50) + 15) / 12,
        alpha / 6,
        slope / 3,
        hnr / 4,
        h1_h2 / 6,
        step,
        np.where(voiced, absolute_st - _MIDDLE_ST, 0) / PITCH_SCALE_ST,
    ]
    always, steady = np.ones_like(voiced), voiced & np.r_[False, voiced[:-1]]
    known = [voiced, always, always, spoken, spoken, voiced, voiced, steady, voiced]
    return np.clip(np.stack(values, axis=1), -_CLIP, _CLIP), np.stack(known, axis=1)


def _sound(clips: Sequence[Frames]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return MFCCs, their changes and voice quality at unit variance, (T, 32), and where they are known."""
    spoken = np.concatenate([clip.spoken for clip in clips])
    voiced = np.concatenate([clip.voiced for clip in clips])
    mfcc = np.concatenate([_with_deltas(clip.mfcc)[:, 1 : 2 * N_MFCC] for clip in clips])  # without the level
    values = np.column_stack([mfcc, np.concatenate([clip.voice for clip in clips])])
    known = np.repeat(spoken[:, None], values.shape[1], axis=1)
    known[:, -2:] = voiced[:, None]  # differences between harmonics
    scaled = (values - values[spoken].mean(axis=0)) / (values[spoken].std(axis=0) + 1e-6)
    return np.clip(scaled, -_CLIP, _CLIP), known


def _principal(rows: Array) -> Array:
    """Project rows, (N, E), on their leading principal components, (N, at most 30)."""
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    return rows @ axes[:_PCA].T


def _cluster(rows: Array, k: int, seed: int) -> NDArray[np.int64]:
    """Assign rows to k clusters that k-means finds on a sample of them."""
    sample = np.random.default_rng(seed).permutation(len(rows))[:_FIT_ROWS]
    k_means = MiniBatchKMeans(k, batch_size=8192, n_init=3, random_state=seed).fit(rows[sample])
    return k_means.predict(rows).astype(np.int64)
