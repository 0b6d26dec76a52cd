"""`ProsodyTransform`: what changes in a voice from one emotion to another, learned from the same sentences.

Two linear maps, each with the ridge penalty that predicts held-out speakers best: one from an utterance's
statistics to their change, one from a frame and its place in the phrase to the change of its pitch, energy,
local rate, envelope and noise. Because they are linear, transforms from one emotion can be blended.

References
----------
A. E. Hoerl, R. W. Kennard (1970), "Ridge regression: Biased estimation for nonorthogonal problems",
Technometrics 12(1), doi:10.1080/00401706.1970.10488634.
Contours beyond averages: Z. Inanoglu, S. Young (2009), "Data-driven emotion conversion in spoken English",
Speech Communication 51(3), doi:10.1016/j.specom.2008.09.006.
Variance that regression removes: T. Toda, A. W. Black, K. Tokuda (2007), "Voice conversion based on
maximum-likelihood estimation of spectral parameter trajectory", IEEE TASLP 15(8),
doi:10.1109/TASL.2007.907344.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from emolib.files import Saved
from emolib.prosody import analysis
from emolib.prosody.analysis import N_BANDS, N_NOISE, N_WHOLE, SILENCE, STATISTICS, Contours
from emolib.prosody.pairs import LEAST_SPEAKERS, Pair, frame_changes
from emolib.world import Array, Speech

#: Version of what is learned: a saved transform is learned anew where this has changed.
VERSION = 4
#: Penalties tried, relative to the number of rows; the last one leaves little but the mean.
PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 30.0)
#: Columns of a change.
PITCH, ENERGY, RATE = 0, 1, 2
BANDS, NOISE = slice(3, 3 + N_BANDS), slice(3 + N_BANDS, 3 + N_BANDS + N_NOISE)
_INVERSE_ROUNDS = 2  # of the iteration for delta below 0; more change little
_SETTLING_FRAMES = 5  # what is predicted moves no faster than a phone; the source's own roughness stays
_STRETCH = 3.0  # a frame becomes at most three times as long or as short
_F0_HZ = (62.0, 700.0)  # what is rendered can be analysed again
_MEAN_F0_HZ = (70.0, 450.0)  # no voice is moved beyond, but one that is there already may stay


class Knob(NamedTuple):
    """A change apart from emotion: its limits, the value that changes nothing, and what it does in words."""

    low: float
    high: float
    default: float
    text: str


#: The knobs of `ProsodyTransform.apply`, by name.
KNOBS: Mapping[str, Knob] = {
    "pitch": Knob(-1.0, 1.0, 0.0, "lower or higher; 1 is six semitones up"),
    "range": Knob(-1.0, 1.0, 0.0, "flatter or livelier; 1 doubles how far the pitch moves, -1 halves it"),
    "tempo": Knob(-1.0, 1.0, 0.0, "slower or faster; 1 is one and a half times as fast"),
    "effort": Knob(-1.0, 1.0, 0.0, "softer or more forceful; 1 tilts the spectrum up by 4 dB an octave"),
    "breathiness": Knob(-1.0, 1.0, 0.0, "clearer or breathier; 1 makes most of what is above 1 kHz noise"),
}
_FULL = {"log_f0": np.log(2) / 2, "log_spread": np.log(2), "log_duration": np.log(1.5)}
_TILT, _BREATH = 0.4 * np.log(10), 4.0  # log power an octave, and logit of the aperiodicity
_UNVOICED_TILT = 0.4  # the tilt is that of the voice's source; friction follows it in part

#: Of one speaker: inputs (N, P), outputs (N, R), weights (N, R).
Rows = tuple[Array, Array, Array]


class Linear(NamedTuple):
    """A linear map from P inputs to R outputs: ``X @ weights + offset``; weights (P, R), offset (R,)."""

    weights: Array
    offset: Array

    def __call__(self, inputs: Array) -> Array:
        """Map inputs, (..., P), to outputs, (..., R)."""
        return inputs @ self.weights + self.offset


class Change(NamedTuple):
    """What is asked of speech of T frames.

    Attributes
    ----------
    utterance : float64 array, (40,); of `analysis.STATISTICS`, then of `analysis.band_spread`
    frames : float64 array, (T, 40); columns as of `pairs.frame_changes`
    """

    utterance: Array
    frames: Array

    def times(self, delta: float) -> "Change":
        """Return a change that many times as large."""
        return Change(delta * self.utterance, delta * self.frames)

    def plus(self, other: "Change") -> "Change":
        """Return the sum of two changes."""
        return Change(self.utterance + other.utterance, self.frames + other.frames)


class ProsodyTransform(Saved):
    """The change of voice from one emotion to another.

    Parameters
    ----------
    source, target : str
        Words of the vocabulary; the target of a blend is a description.

    Attributes
    ----------
    utterance_ : Linear, 7 to 40; from `analysis.voice` to the change of `statistics` and `band_spread`
    frame_ : Linear; from `analysis.frame_inputs`, (T, P), to the change of `pairs.frame_changes`, (T, 40)
    provenance : dict; corpora, speakers and the number of pairs that it was fitted on

    Examples
    --------
    >>> transform = ProsodyTransform("neutral", "angry").fit(parallel.pairs)  # doctest: +SKIP
    >>> angrier = transform.apply(recording.speech, 0.5)  # doctest: +SKIP
    """

    KIND = "prosody-transform"
    utterance_: Linear
    frame_: Linear

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.provenance: dict[str, Any] = {}
        if source == target:
            raise ValueError(f"source and target are both {source!r}; expected two different emotions")

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
        own: dict[str, list[Pair]] = {}
        for pair in pairs:
            own.setdefault(pair.speaker, []).append(pair)
        by_voice = len(own) >= LEAST_SPEAKERS
        self.utterance_ = fit_ridge([_utterance_rows(some, by_voice) for some in own.values()])
        self.frame_ = fit_ridge([_frame_rows(some, by_voice) for some in own.values()])
        corpora = sorted({pair.corpus for pair in pairs})
        self.provenance = {"corpora": corpora, "speakers": sorted(own), "pairs": len(pairs)}
        return self

    def shift(self, c: Contours) -> dict[str, float]:
        """Return the predicted change of each of `analysis.STATISTICS` at delta 1."""
        return dict(zip(STATISTICS, self.utterance_(analysis.voice(c)).tolist(), strict=False))

    def apply(
        self, speech: Speech, delta: float, seen: Contours | None = None, *,
        knobs: Mapping[str, float] | None = None,
    ) -> Speech:  # fmt: skip
        """Move speech along the transform.

        Parameters
        ----------
        speech : Speech, T frames with at least one voiced; its spoken span
        delta : float
            1 is the target as learned, 0 nothing. Below 0 the inverse, found by iteration: 1 leads back from
            where -1 leads, up to limits and rounding.
        seen : Contours, optional
            The contours of `speech`, if they are known already.
        knobs : mapping of a name in `KNOBS` to a number, optional
            Turned in the same pass, on what the emotion makes of the speech.

        Returns
        -------
        speech : Speech, of another number of frames; the same object where delta and all knobs are 0

        Raises
        ------
        ValueError
            If the transform isn't fitted, delta isn't finite, or a knob is unknown or out of its range.
        """
        if not hasattr(self, "frame_"):
            raise ValueError("a transform that isn't fitted; call fit with pairs, or load one")
        if not np.isfinite(delta):
            raise ValueError(f"delta {delta}; expected a finite number, 1 for the target as learned")
        turned = check_knobs(knobs or {})
        if delta == 0 and not any(turned.values()):
            return speech
        c = analysis.contours(speech) if seen is None else seen
        asked = self._asked(c)
        for _ in range(_INVERSE_ROUNDS if delta < 0 else 0):
            moved = apply_change(speech, c, asked.times(delta))
            assert moved.at is not None
            frames = np.interp(np.arange(len(c.voiced)), moved.at, np.arange(len(moved.at)))
            there = self._asked(analysis.contours(moved))
            asked = Change(there.utterance, there.frames[np.round(frames).astype(int)])
        return apply_change(speech, c, asked.times(delta).plus(_of_knobs(turned, c)))

    def _asked(self, c: Contours) -> Change:
        """Return the change that is predicted for speech of these contours."""
        return Change(
            self.utterance_(analysis.voice(c)),
            analysis.smooth(self.frame_(analysis.frame_inputs(c)), _SETTLING_FRAMES),
        )

    @classmethod
    def blend(cls, transforms: Sequence["ProsodyTransform"], weights: Sequence[float]) -> "ProsodyTransform":
        """Return the weighted sum of fitted transforms from one source: an emotion between emotions.

        Parameters
        ----------
        transforms : sequence of ProsodyTransform
        weights : sequence of float
            Such as the probabilities of a classifier; a sum below 1 is a weaker emotion.

        Raises
        ------
        ValueError
            If their numbers differ, there are none, a weight isn't finite, or the sources differ.
        """
        if len(transforms) != len(weights) or not transforms or not np.isfinite(weights).all():
            raise ValueError(f"{len(transforms)} transforms, weights {list(weights)}; expected a number each")
        if len(sources := {transform.source for transform in transforms}) > 1:
            raise ValueError(f"transforms from {', '.join(sorted(sources))}; expected one source emotion")
        share = np.asarray(weights, np.float64)
        name = " + ".join(f"{w:.2f} {t.target}" for t, w in zip(transforms, weights, strict=True))
        made = cls(transforms[0].source, name)
        made.provenance = {"blend_of": [transform.provenance for transform in transforms]}
        for part in ("utterance_", "frame_"):
            maps = [getattr(transform, part) for transform in transforms]
            summed = (np.tensordot(share, arrays, axes=1) for arrays in zip(*maps, strict=True))
            setattr(made, part, Linear(*summed))
        return made

    def _saved(self) -> tuple[dict[str, Any], dict[str, Array]]:
        if not hasattr(self, "frame_"):
            raise ValueError("a transform that isn't fitted can't be saved; call fit with pairs first")
        maps = {"utterance": self.utterance_, "frame": self.frame_}
        arrays = {f"{name}.{part}": a for name, of in maps.items() for part, a in of._asdict().items()}
        return {"source": self.source, "target": self.target, "provenance": self.provenance}, arrays

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, Array], **given: Any) -> "ProsodyTransform":
        made = cls(config["source"], config["target"])
        made.provenance = config["provenance"]
        made.utterance_ = Linear(arrays["utterance.weights"], arrays["utterance.offset"])
        made.frame_ = Linear(arrays["frame.weights"], arrays["frame.offset"])
        return made


def _utterance_rows(pairs: Sequence[Pair], by_voice: bool) -> Rows:
    inputs = np.array([analysis.voice(pair.source) for pair in pairs]) * by_voice
    whole = [[_whole(pair.source), _whole(pair.target)] for pair in pairs]
    changes = np.diff(whole, axis=1)[:, 0]
    return inputs, changes, np.ones_like(changes)


def _whole(c: Contours) -> Array:
    """Return what changes of an utterance as a whole, (40,)."""
    return np.append(analysis.statistics(c), analysis.band_spread(c))


def _frame_rows(pairs: Sequence[Pair], by_voice: bool) -> Rows:
    inputs = np.vstack([analysis.frame_inputs(pair.source) for pair in pairs])
    inputs[:, -N_WHOLE:] *= by_voice
    changes, weights = zip(*map(frame_changes, pairs), strict=True)
    return inputs, np.vstack(changes), np.vstack(weights)


def fit_ridge(rows: Sequence[Rows]) -> Linear:
    """Fit outputs to inputs with, for each output, the penalty that is best for a held-out speaker.

    Parameters
    ----------
    rows : sequence of inputs, outputs and weights, of one speaker each
        A row's weight may differ between outputs: an unvoiced frame says nothing about pitch. Every speaker
        counts alike.

    Returns
    -------
    map : Linear; in the inputs' own units, so that maps of equal inputs may be averaged

    Notes
    -----
    One matrix of products per speaker is enough to hold out each of them in turn at each penalty, without
    another pass over the data, and one for all outputs whose rows have equal weights. The penalty is the
    largest whose error is within one standard error of the least. With one speaker nobody can be held out,
    and the largest penalty but one is used.
    """
    inputs, outputs, weights = (np.vstack(tables) for tables in zip(*rows, strict=True))
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale < 1e-9] = 1.0
    table = np.column_stack([np.ones(len(inputs)), (inputs - mean) / scale])
    ends = np.cumsum([len(x) for x, _, _ in rows])[:-1]
    fitted = np.zeros((table.shape[1], outputs.shape[1]))
    kinds: dict[bytes, list[int]] = {}
    for column, weight in enumerate(weights.T):
        kinds.setdefault(weight.tobytes(), []).append(column)
    with threadpool_limits(1):  # threads of BLAS wait longer than they work on products of this size
        for alike in kinds.values():
            speakers = (np.split(part, ends) for part in (table, outputs[:, alike], weights[:, alike[0]]))
            fitted[:, alike] = _fit_alike([part for part in zip(*speakers, strict=True) if part[2].any()])
    return Linear(fitted[1:] / scale[:, None], fitted[0] - (mean / scale) @ fitted[1:])


def _fit_alike(parts: Sequence[Rows]) -> Array | float:
    """Return intercepts and weights, (1 + P, R), from the (1, inputs), outputs and weights of speakers."""
    if not parts:
        return 0.0
    weighted = [(x, y, x.T * (weight / weight.sum())) for x, y, weight in parts]
    squares, crosses = (np.stack(of) for of in zip(*((t @ x, t @ y) for x, y, t in weighted), strict=True))
    square, cross = squares.sum(axis=0), crosses.sum(axis=0)
    if len(parts) == 1:
        return _solve(square, cross, PENALTIES[-2:-1])[0]
    powers = np.stack([t[0] @ np.square(y) for _, y, t in weighted])
    held_out = _solve(square - squares, cross - crosses, PENALTIES)
    explained = held_out * (squares[:, None] @ held_out - 2 * crosses[:, None])
    best = _largest_within_one_error(powers[:, None] + explained.sum(axis=2))
    return _solve(square, cross, PENALTIES)[best, :, np.arange(len(best))].T


def _largest_within_one_error(errors: Array) -> NDArray[np.intp]:
    """Return, of errors by speaker, (S, A, R), the last of A within one standard error of the best, (R,)."""
    excess = errors - np.take_along_axis(errors, errors.mean(axis=0).argmin(axis=0)[None, None], axis=1)
    spread = excess.std(axis=0, ddof=1) / np.sqrt(len(errors))
    within = excess.mean(axis=0) <= spread
    return len(within) - 1 - within[::-1].argmax(axis=0)


def _solve(square: Array, cross: Array, penalties: Sequence[float]) -> Array:
    """Return ridge weights, (..., A, 1 + P, R), of products at A penalties; the first, intercept, is free."""
    penalised = np.diag([0.0, *np.ones(square.shape[-1] - 1)])
    strength = np.asarray(penalties) * square[..., :1, 0]
    left = square[..., None, :, :] + strength[..., None, None] * penalised
    return np.asarray(np.linalg.solve(left, cross[..., None, :, :]), np.float64)


def check_knobs(knobs: Mapping[str, float]) -> dict[str, float]:
    """Return all knobs, those that aren't given at 0.

    Raises
    ------
    ValueError
        If one is unknown or out of its range.
    """
    for name, value in knobs.items():
        if name not in KNOBS:
            raise ValueError(f"unknown knob {name!r}; expected one of: {', '.join(KNOBS)}")
        if not KNOBS[name].low <= value <= KNOBS[name].high:  # also true of NaN
            raise ValueError(
                f"{name} {value}; expected a number from {KNOBS[name].low:g} to {KNOBS[name].high:g}, "
                f"0 for no change"
            )
    return {name: float(knobs.get(name, knob.default)) for name, knob in KNOBS.items()}


def _of_knobs(knobs: Mapping[str, float], c: Contours) -> Change:
    """Return the change that knobs ask of speech of these contours."""
    steps = {"log_f0": knobs["pitch"], "log_spread": knobs["range"], "log_duration": -knobs["tempo"]}
    utterance = np.zeros(len(STATISTICS) + N_BANDS)
    for name, step in steps.items():
        utterance[STATISTICS.index(name)] = step * _FULL[name]
    frames = np.zeros((len(c.voiced), 3 + N_BANDS + N_NOISE))
    octaves = np.log2(analysis.band_centres(N_BANDS, 8_000.0).clip(100, 5_000) / 1_000)
    tilted = np.where(c.voiced, 1.0, _UNVOICED_TILT)[:, None]
    frames[:, BANDS] = knobs["effort"] * _TILT * tilted * octaves
    reach = np.clip(np.log2(analysis.band_centres(N_NOISE, 8_000.0) / 500) / 2, 0, 1)
    frames[:, NOISE] = knobs["breathiness"] * _BREATH * reach
    return Change(utterance, frames)


def apply_change(speech: Speech, c: Contours, asked: Change) -> Speech:
    """Return changed speech, (T', ...), with the source position of each of its frames."""
    shift = dict(zip(STATISTICS, asked.utterance.tolist(), strict=False))
    shift["log_f0"] = _within_voice(float(analysis.statistics(c)[0]), shift["log_f0"])
    log_f0 = _pitch(c, asked.frames[:, PITCH], shift)
    log_envelope = _envelope(speech, c, asked.frames, shift, asked.utterance[len(STATISTICS) :])
    at = _positions(len(c.voiced), asked.frames[:, RATE], shift["log_duration"])
    nearest = np.round(at).astype(int)
    f0_hz = np.exp(np.interp(at, np.arange(len(log_f0)), log_f0)).clip(*_F0_HZ) * c.voiced[nearest]
    noise = _aperiodicity(speech, asked.frames[:, NOISE])
    return Speech(f0_hz, log_envelope[nearest], noise[nearest], speech.sample_rate, at)


def _pitch(c: Contours, change: Array, shift: dict[str, float]) -> Array:
    """Return the new log F0, (T,): its shape first, then its spread and mean, then its jitter."""
    mean, log_spread = analysis.statistics(c)[:2]
    rough = analysis.roughness(c.log_f0)
    before = analysis.relative_pitch(c) - rough / np.exp(log_spread)
    after = before + change
    after = (after - after[c.voiced].mean()) * before[c.voiced].std() / max(after[c.voiced].std(), 1e-3)
    smooth_part = (
        mean + shift["log_f0"] + np.exp(log_spread + shift["log_spread"]) * (after + before[c.voiced].mean())
    )
    return smooth_part + rough * np.exp(shift["log_jitter"])


def _envelope(speech: Speech, c: Contours, change: Array, shift: dict[str, float], wider: Array) -> Array:
    """Return the new log envelope, (T, F): its shape, then the power of each frame, then its shimmer."""
    change = change.copy()
    change[:, BANDS] += _restored(c, change[:, BANDS], wider)
    spread = analysis.to_bins(speech.sample_rate, speech.log_envelope.shape[1], N_BANDS)
    shaped = speech.log_envelope + change[:, BANDS] @ spread
    rough = analysis.roughness(c.energy) * c.voiced
    energy = c.energy + change[:, ENERGY] + shift["level"] + rough * (np.exp(shift["log_shimmer"]) - 1)
    return shaped + (energy - np.log(np.exp(shaped).mean(axis=1)))[:, None]


def _restored(c: Contours, change: Array, wider: Array) -> Array:
    """Return what gives changed bands, (T, B), the target's variance, which a regression removes.

    It costs a part of what the regression gains in distance, and gains far more in recognition.
    """
    bands = c.bands + change
    middle, now = bands[c.voiced].mean(axis=0), analysis.band_spread(c._replace(bands=bands))
    spoken = analysis.relative_energy(c) > SILENCE
    return (bands - middle) * (np.exp(analysis.band_spread(c) + wider - now) - 1) * spoken[:, None]


def _aperiodicity(speech: Speech, change: Array) -> Array:
    """Return the new aperiodicity, (T, F)."""
    spread = analysis.to_bins(speech.sample_rate, speech.aperiodicity.shape[1], N_NOISE)
    odds_of_tone = 1 / np.clip(speech.aperiodicity, 1e-3, 1 - 1e-9) - 1  # the logit is minus their logarithm
    return 1 / (1 + odds_of_tone * np.exp(-(change @ spread)))


def _positions(n_frames: int, change: Array, log_duration: float) -> Array:
    """Return the source position, in frames, of each frame of the stretched utterance."""
    stretch = np.exp(np.clip(change + log_duration, -np.log(_STRETCH), np.log(_STRETCH)))
    stretch *= np.exp(np.clip(log_duration, -np.log(_STRETCH), np.log(_STRETCH))) / stretch.mean()
    ends = np.cumsum(stretch)
    return np.interp(np.arange(max(round(ends[-1]), 2)) + 0.5, ends - stretch / 2, np.arange(n_frames))


def _within_voice(mean: float, shift: float) -> float:
    """Return the shift of mean log F0 that stays within what voices do."""
    low, high = np.log(_MEAN_F0_HZ)
    return float(np.clip(mean + shift, min(mean, low), max(mean, high)) - mean)
