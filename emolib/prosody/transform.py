"""`ProsodyTransform`: what changes in a voice from one emotion to another, learned from the same sentences.

Last stage of `emolib.prosody`. Two linear maps, each with the penalty that serves unheard speakers: one from
an utterance's statistics to their change, one from what a frame is and where in the phrase it stands to the
change of its pitch, energy, local rate, envelope and noise. Being linear, transforms from one emotion can be
blended.

References
----------
Contours beyond averages: Z. Inanoglu, S. Young (2009), "Data-driven emotion conversion in spoken English",
Speech Communication 51(3), doi:10.1016/j.specom.2008.09.006.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from emolib import emotions, folders
from emolib.prosody import reshaping, ridge
from emolib.prosody.features import (
    N_BANDS,
    N_VOICE,
    N_WHOLE,
    STATISTICS,
    Contours,
    contours,
    frame_inputs,
    liveliness,
    smooth,
    statistics,
    voice,
)
from emolib.prosody.pairs import Pair, frame_changes
from emolib.prosody.reshaping import Change
from emolib.prosody.ridge import Linear
from emolib.world import Speech

Array = NDArray[np.float64]

#: Of what is learned: a transform that is kept is learned anew where this has changed.
VERSION = 3
_KIND = "prosody-transform"
_LEAST_SPEAKERS = 6  # what a few voices differ by is chance
_HOMEWARD = 2  # rounds in which a way back finds what leads here; more change little
_SETTLING_FRAMES = 5  # what is predicted moves no faster than a phone; the source's own roughness stays


class ProsodyTransform:
    """The change of voice from one emotion to another.

    Parameters
    ----------
    source, target : str
        Words of the vocabulary. A blend and a transform by reference clips carry a description as their
        target.

    Attributes
    ----------
    utterance_ : Linear, 7 to 40; from `features.voice` to the change of `statistics` and of `liveliness`
    frame_ : Linear; from `features.frame_inputs`, (T, P), to the change of `pairs.frame_changes`, (T, 40)
    provenance : dict; corpora, speakers and the number of pairs that it was fitted on

    Examples
    --------
    >>> transform = ProsodyTransform("neutral", "angry").fit(parallel.pairs)  # doctest: +SKIP
    >>> angrier = transform.apply(recording.speech, 0.5)  # doctest: +SKIP
    """

    utterance_: Linear
    frame_: Linear

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = emotions.check(source), emotions.check(target)
        self.provenance: dict[str, Any] = {}
        if source == target:
            raise ValueError(f"source and target are both {source!r}; expected two different emotions")

    def __repr__(self) -> str:
        fitted = f", fitted on {self.provenance.get('pairs', 0)} pairs" if hasattr(self, "frame_") else ""
        return f"ProsodyTransform({self.source!r}, {self.target!r}{fitted})"

    def fit(self, pairs: Sequence[Pair]) -> "ProsodyTransform":
        """Learn from pairs of renditions of equal sentences by equal speakers.

        Parameters
        ----------
        pairs : sequence of Pair
            As `pairs.pairs` makes them. Every speaker counts alike, however many pairs there are of each. Of
            fewer than six speakers the mean change is learned, not how it depends on the voice.

        Raises
        ------
        ValueError
            If there are no pairs.
        """
        if not pairs:
            raise ValueError(f"no pairs to learn {self.source} to {self.target} from; expected at least one")
        by_speaker: dict[str, list[Pair]] = {}
        for pair in pairs:
            by_speaker.setdefault(pair.speaker, []).append(pair)
        by_voice = len(by_speaker) >= _LEAST_SPEAKERS
        self.utterance_ = ridge.fit(
            {who: _utterance_rows(some, by_voice) for who, some in by_speaker.items()}
        )
        self.frame_ = ridge.fit({who: _frame_rows(some, by_voice) for who, some in by_speaker.items()})
        self.provenance = {
            "corpora": sorted({pair.corpus for pair in pairs}),
            "speakers": sorted(by_speaker),
            "pairs": len(pairs),
        }
        return self

    def shift(self, c: Contours) -> dict[str, float]:
        """Return the predicted change of each of `features.STATISTICS` at delta 1."""
        return dict(zip(STATISTICS, self.utterance_(voice(c)).tolist(), strict=False))

    def apply(self, speech: Speech, delta: float, seen: Contours | None = None) -> Speech:
        """Move speech along the transform.

        Parameters
        ----------
        speech : Speech, T frames with at least one voiced; its spoken span
        delta : float
            1 is the target as learned, 0 nothing. Below 0 the way back: from where -1 leads, 1 leads home,
            but for what limits and rounding keep. Any rate and voicing stay as they are.
        seen : Contours, optional
            Those of `speech`, where they are at hand already.

        Returns
        -------
        speech : Speech, of another number of frames; the same object where delta is 0

        Raises
        ------
        ValueError
            If the transform isn't fitted or delta isn't finite.
        """
        if not hasattr(self, "frame_"):
            raise ValueError("a transform that isn't fitted; call fit with pairs, or load one")
        if not np.isfinite(delta):
            raise ValueError(f"delta {delta}; expected a finite number, 1 for the target as learned")
        if delta == 0:
            return speech
        c = contours(speech) if seen is None else seen
        asked = self._asked(c)
        moved, at = reshaping.carry_out(speech, c, asked.times(delta))
        for _ in range(_HOMEWARD if delta < 0 else 0):
            frames = np.interp(np.arange(len(c.voiced)), at, np.arange(len(at)))
            there = self._asked(contours(moved))
            asked = Change(there.utterance, there.frames[np.round(frames).astype(int)])
            moved, at = reshaping.carry_out(speech, c, asked.times(delta))
        return moved

    def _asked(self, c: Contours) -> Change:
        """Return the change that is predicted for speech of these contours."""
        return Change(self.utterance_(voice(c)), smooth(self.frame_(frame_inputs(c)), _SETTLING_FRAMES))

    @classmethod
    def blend(cls, transforms: Sequence["ProsodyTransform"], weights: Sequence[float]) -> "ProsodyTransform":
        """Return the weighted sum of fitted transforms from one source: an emotion between emotions.

        Parameters
        ----------
        transforms : sequence of ProsodyTransform
        weights : sequence of float
            Such as an emotion embedding's or a judge's shares; a sum below 1 is a weaker emotion.

        Raises
        ------
        ValueError
            If their numbers differ, there are none, a weight isn't finite, or the sources differ.
        """
        if len(transforms) != len(weights) or not transforms:
            raise ValueError(f"{len(transforms)} transforms and {len(weights)} weights; expected one each")
        if not np.isfinite(weights).all():
            raise ValueError(f"weights {list(weights)}; expected finite numbers")
        if len(sources := {transform.source for transform in transforms}) > 1:
            raise ValueError(f"transforms from {', '.join(sorted(sources))}; expected one source emotion")
        name = " + ".join(f"{w:.2f} {t.target}" for t, w in zip(transforms, weights, strict=True))
        utterance = _weighted([transform.utterance_ for transform in transforms], weights)
        frame = _weighted([transform.frame_ for transform in transforms], weights)
        provenance = {"blend_of": [transform.provenance for transform in transforms]}
        return cls._of(transforms[0].source, name, utterance, frame, provenance)

    @classmethod
    def from_references(
        cls, source: Speech, target: Speech, *, same_words: bool = False
    ) -> "ProsodyTransform":
        """Return the change between two clips, for use on any other: references in place of emotion names.

        Parameters
        ----------
        source, target : Speech
            Best of one speaker, for a difference of speakers is carried over as well. With one reference, the
            clip that is to be changed is the source.
        same_words : bool
            Whether the clips say the same, so that their durations can be compared; else the rate stays.

        Notes
        -----
        Contours can't be learned from one clip: only averages are carried over, and of the envelope only its
        first four cosine coefficients, since the rest tells words and speakers apart.
        """
        before, after = contours(source), contours(target)
        shift = np.append(statistics(after) - statistics(before), np.zeros(N_BANDS))
        if not same_words:
            shift[STATISTICS.index("log_duration")] = 0.0
        change = np.zeros(reshaping.N_CHANGES)
        change[reshaping.BANDS] = _coarse(_voiced_mean(after, "bands") - _voiced_mean(before, "bands"))
        change[reshaping.NOISE] = _voiced_mean(after, "noise") - _voiced_mean(before, "noise")
        n_inputs = frame_inputs(before).shape[1]
        utterance = Linear(np.zeros((N_VOICE, len(shift))), shift)
        return cls._of("clip", "reference", utterance, Linear(np.zeros((n_inputs, len(change))), change), {})

    @classmethod
    def _of(
        cls, source: str, target: str, utterance: Linear, frame: Linear, provenance: dict[str, Any]
    ) -> "ProsodyTransform":
        """Return a fitted transform, whose names need not be of the vocabulary."""
        made = cls.__new__(cls)
        made.source, made.target, made.provenance = source, target, provenance
        made.utterance_, made.frame_ = utterance, frame
        return made

    def save(self, folder: str | Path) -> Path:
        """Write the transform into a folder."""
        if not hasattr(self, "frame_"):
            raise ValueError("a transform that isn't fitted can't be saved; call fit with pairs first")
        arrays = {
            f"{name}.{part}": getattr(linear, part)
            for name, linear in (("utterance", self.utterance_), ("frame", self.frame_))
            for part in ("weights", "offset")
        }
        config = {"source": self.source, "target": self.target, "provenance": self.provenance}
        return folders.write(Path(folder), _KIND, config, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> "ProsodyTransform":
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no transform in the folder.
        ValueError
            If what lies there is something else, or damaged.
        """
        config, arrays = folders.read(Path(folder), _KIND)
        utterance, frame = (
            Linear(arrays[f"{name}.weights"], arrays[f"{name}.offset"]) for name in ("utterance", "frame")
        )
        return cls._of(config["source"], config["target"], utterance, frame, config["provenance"])


def _utterance_rows(pairs: Sequence[Pair], by_voice: bool) -> tuple[Array, Array, Array]:
    inputs = np.array([voice(pair.source) for pair in pairs]) * by_voice
    before, after = (
        np.array([np.append(statistics(c), liveliness(c)) for c in side])
        for side in ([pair.source for pair in pairs], [pair.target for pair in pairs])
    )
    return inputs, after - before, np.ones_like(before)


def _frame_rows(pairs: Sequence[Pair], by_voice: bool) -> tuple[Array, Array, Array]:
    inputs = np.vstack([frame_inputs(pair.source) for pair in pairs])
    inputs[:, -N_WHOLE:] *= by_voice
    changes, weights = zip(*map(frame_changes, pairs), strict=True)
    return inputs, np.vstack(changes), np.vstack(weights)


def _weighted(maps: Sequence[Linear], weights: Sequence[float]) -> Linear:
    """Return the weighted sum of linear maps."""
    share = np.asarray(weights, np.float64)
    return Linear(
        np.tensordot(share, [linear.weights for linear in maps], axes=1),
        np.tensordot(share, [linear.offset for linear in maps], axes=1),
    )


def _voiced_mean(c: Contours, name: Literal["bands", "noise"]) -> Array:
    """Return the mean over voiced frames of the contours of that name."""
    return getattr(c, name)[c.voiced].mean(axis=0)


def _coarse(bands: Array) -> Array:
    """Return the part of a spectrum, (B,), in its first four cosine coefficients above the mean."""
    kept = np.zeros_like(bands)
    kept[1:5] = dct(bands, norm="ortho")[1:5]
    return idct(kept, norm="ortho")
