"""The judge: a classifier of emotion with calibrated probabilities and an accuracy that it states.

A linear discriminant with shrunken covariance classifies acoustic measures; it needs no tuning, no seed and
half a second. A temperature, fitted on held-out speakers, turns its scores into probabilities.

References
----------
Shrinkage: J. H. Friedman (1989), "Regularized Discriminant Analysis", doi:10.1080/01621459.1989.10478752.
Temperature scaling and the calibration error: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), "On
Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from emolib import audio, files, splits
from emolib.metrics import Interval, ua_interval
from emolib.ser.acoustics import VERSION, acoustics

Array = NDArray[np.float64]
#: Sampling rates in Hz: one, or one for each wave.
Rates = int | Sequence[int]
#: File in a trained part's folder that says what it was made from.
RECIPE = "recipe.json"


@dataclass(frozen=True)
class Discriminant:
    """A fitted discriminant.

    Attributes
    ----------
    mean, scale : float64 arrays, (D,); of the clips that it was fitted on
    weights : float64 array, (D, C)
    bias : float64 array, (C,)
    """

    mean: Array
    scale: Array
    weights: Array
    bias: Array

    @classmethod
    def fit(cls, X: Array, codes: NDArray, n_classes: int, shrinkage: float) -> "Discriminant":
        """Fit measures, (N, D), and class numbers, (N,), with equal prior probabilities."""
        mean, scale = X.mean(0), X.std(0) + 1e-6
        even = np.full(n_classes, 1 / n_classes)  # a corpus's class counts say nothing about a clip
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=even)
        with threadpool_limits(1):
            model.fit((X - mean) / scale, codes)
        weights, bias = model.coef_.T, model.intercept_
        if n_classes == 2:  # scikit-learn keeps one column, the second class against the first
            weights, bias = np.concatenate([np.zeros_like(weights), weights], axis=1), np.r_[0.0, bias]
        return cls(mean, scale, weights, bias)

    def scores(self, X: Array) -> Array:
        """Return the score of each class, (N, C), for measures, (N, D)."""
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise ValueError(
                f"measures of shape {X.shape}; expected (N, {len(self.mean)}), as ser.acoustics gives"
            )
        return (X - self.mean) / self.scale @ self.weights + self.bias


class Judge(files.Saved):
    """Classify emotion in speech of any level, with calibrated probabilities.

    Parameters
    ----------
    shrinkage : float in [0, 1]
        How far the covariance within classes is drawn to a multiple of the identity; on RAVDESS's published
        folds, 0.1 to 0.6 differ by less than three points.
    n_folds : int
        Groups of speakers, each held out once for calibration and for the accuracy that is stated.
    seed : int
        Of the cut into groups.

    Attributes
    ----------
    classes_ : str array, (C,), sorted
    temperature_ : float; what scores are divided by, fitted on the scores of all held-out speakers
    natural_ua_ : Interval; unweighted accuracy on natural clips of held-out speakers, 95 % over speakers
    natural_recall_ : dict; each emotion's recall on natural clips of held-out speakers
    calibration_error_ : float
        Mean distance of confidence from accuracy on held-out speakers; the temperature of each clip is fitted
        on the scores of the other groups of speakers.
    speakers_ : tuple of str; the speakers it was trained on, whom it must not judge
    n_clips_ : int
    """

    KIND = "judge"
    classes_: NDArray
    temperature_: float
    natural_ua_: Interval
    natural_recall_: dict[str, float]
    calibration_error_: float
    speakers_: tuple[str, ...]
    n_clips_: int

    def __init__(self, *, shrinkage: float = 0.3, n_folds: int = 5, seed: int = 0) -> None:
        self.shrinkage, self.n_folds, self.seed = shrinkage, n_folds, seed

    def __repr__(self) -> str:
        if not hasattr(self, "classes_"):
            return "Judge(not fitted)"
        n_classes = len(self.classes_)
        return (
            f"Judge({n_classes} emotions, {self.n_clips_} clips of {len(self.speakers_)} speakers; natural "
            f"speech of speakers held out: UA {self.natural_ua_}, chance {1 / n_classes:.3f})"
        )

    def fit(
        self, waves: Sequence[audio.Wave], sample_rates: Rates, emotions: ArrayLike, speakers: ArrayLike
    ) -> "Judge":
        """Train on waves, calibrate, and measure the accuracy on held-out speakers.

        Parameters
        ----------
        waves : sequence of N float32 arrays, (S,)
        sample_rates : int or sequence of N ints, Hz
        emotions, speakers : array-likes of str, (N,)

        Raises
        ------
        AudioError
            If a wave isn't one finite channel of speech; the message says which.
        ValueError
            As `fit_measures` does.
        """
        return self.fit_measures(_measures(waves, sample_rates), emotions, speakers)

    def fit_measures(self, X: ArrayLike, emotions: ArrayLike, speakers: ArrayLike) -> "Judge":
        """Train on measures, (N, D), as `acoustics` gives them.

        Raises
        ------
        ValueError
            If the lengths differ, there is one emotion, or too few speakers to hold any out.
        """
        X, y = np.asarray(X, np.float64), np.asarray(emotions).astype(str)
        names = np.asarray(speakers).astype(str)
        _check(X, y, names)
        self.classes_, codes = np.unique(y, return_inverse=True)
        scores, fold_of = self._held_out_scores(X, codes, names)
        self.temperature_ = fit_temperature(scores, codes)
        probability = np.empty_like(scores)
        for fold in np.unique(fold_of):  # each fold's temperature is fitted on the other folds
            own = fold_of == fold
            probability[own] = softmax(scores[own] / fit_temperature(scores[~own], codes[~own]), axis=1)
        answers = self.classes_[scores.argmax(1)]
        self.natural_ua_ = ua_interval(y, answers, names)
        self.natural_recall_ = {str(c): float((answers == c)[y == c].mean()) for c in self.classes_}
        self.calibration_error_ = calibration_error(probability.max(1), answers == y)
        self.speakers_, self.n_clips_ = tuple(np.unique(names).tolist()), len(y)
        self._discriminant = Discriminant.fit(X, codes, len(self.classes_), self.shrinkage)
        return self

    def predict_proba(self, waves: Sequence[audio.Wave], sample_rate: Rates) -> NDArray[np.float64]:
        """Return each wave's calibrated probabilities, (N, C), in the order of `classes_`.

        Parameters
        ----------
        waves : sequence of N float32 arrays, (S,)
        sample_rate : int or sequence of N ints, Hz

        Raises
        ------
        AudioError
            If a wave isn't one finite channel of speech; the message says which.
        ValueError
            If the judge isn't fitted.
        """
        return self.predict_proba_measures(_measures(waves, sample_rate))

    def predict_proba_measures(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities, (N, C), of measures, (N, D)."""
        if not hasattr(self, "classes_"):
            raise ValueError("this judge isn't fitted; call fit, or load a saved one with Judge.load")
        return softmax(self._discriminant.scores(np.asarray(X, np.float64)) / self.temperature_, axis=1)

    def predict(self, waves: Sequence[audio.Wave], sample_rate: Rates) -> NDArray:
        """Return each wave's most probable emotion, (N,)."""
        answers = self.predict_proba(waves, sample_rate).argmax(axis=1)
        return self.classes_[answers]

    def check_unseen(self, speakers: ArrayLike) -> None:
        """Raise ValueError if the judge was trained on one of these speakers, whom it then must not judge."""
        splits.check_disjoint(np.array(self.speakers_), np.asarray(speakers).astype(str))

    def column(self, emotion: str) -> int:
        """Return an emotion's column in `predict_proba`, or raise ValueError if the judge has none for it."""
        if emotion not in self.classes_:
            raise ValueError(
                f"this judge knows no {emotion!r}; it was trained on: {', '.join(map(str, self.classes_))}"
            )
        return int(np.flatnonzero(self.classes_ == emotion)[0])

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        if not hasattr(self, "classes_"):
            raise ValueError("this judge isn't fitted; there is nothing to save")
        config = {
            "ears": VERSION, "shrinkage": self.shrinkage, "n_folds": self.n_folds, "seed": self.seed,
            "classes": self.classes_.tolist(), "temperature": self.temperature_,
            "natural_ua": list(self.natural_ua_), "natural_recall": self.natural_recall_,
            "calibration_error": self.calibration_error_, "speakers": list(self.speakers_),
            "n_clips": self.n_clips_,
        }  # fmt: skip
        return config, asdict(self._discriminant)

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any) -> "Judge":
        if config.get("ears") != VERSION:
            raise ValueError(
                f"a judge of measures {config.get('ears')!r}; this version has {VERSION!r}: train it again"
            )
        judge = cls(**{name: config[name] for name in ("shrinkage", "n_folds", "seed")})
        judge.classes_, judge.natural_ua_ = np.array(config["classes"]), Interval(*config["natural_ua"])
        for name in ("temperature", "natural_recall", "calibration_error", "n_clips"):
            setattr(judge, f"{name}_", config[name])
        judge.speakers_, judge._discriminant = tuple(config["speakers"]), Discriminant(**arrays)
        return judge

    def _held_out_scores(
        self, X: NDArray, codes: NDArray, speakers: NDArray
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return each clip's scores, (N, C), by a fit without its speaker, and its fold, (N,)."""
        n_folds, n_classes = min(self.n_folds, len(np.unique(speakers))), len(self.classes_)
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=self.seed)
        scores, fold_of = np.empty((len(X), n_classes)), np.zeros(len(X), np.intp)
        for fold, (train, test) in enumerate(folds.split(X, codes, speakers)):
            if len(absent := np.setdiff1d(codes, codes[train])):
                name = str(self.classes_[absent[0]])
                raise ValueError(f"{name!r} is spoken by one group of speakers alone; two are needed")
            if len(train) <= n_classes:
                raise ValueError(
                    f"{len(train)} clips of {n_classes} emotions without a group of speakers; more "
                    f"clips than emotions are needed"
                )
            fitted = Discriminant.fit(X[train], codes[train], n_classes, self.shrinkage)
            scores[test], fold_of[test] = fitted.scores(X[test]), fold
        return scores, fold_of


def fit_temperature(scores: Array, codes: NDArray) -> float:
    """Return the temperature under which the true classes, (N,), of scores, (N, C), are likeliest."""
    rows = np.arange(len(codes))

    def cost(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[rows, codes].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-3.0, 5.0), method="bounded").x))


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the mean distance between confidence and accuracy, each (N,), over ten bins of confidence."""
    bins = np.minimum((10 * confidence).astype(int), 9)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(right))


def _measures(waves: Sequence[audio.Wave], sample_rates: Rates) -> NDArray[np.float32]:
    rates: list[Any] = [sample_rates] * len(waves) if np.ndim(sample_rates) == 0 else [*sample_rates]  # type: ignore[misc]
    if len(rates) != len(waves) or not len(waves):
        raise ValueError(f"{len(waves)} waves, {len(rates)} sampling rates; expected as many, at least one")
    measures = []
    for i, (wave, rate) in enumerate(zip(waves, rates, strict=True)):
        try:
            measures.append(acoustics(wave, int(rate)))
        except audio.AudioError as error:
            raise audio.AudioError(f"wave {i}: {str(error).removeprefix('clip: ')}") from None
    return np.stack(measures)


def _check(X: NDArray, y: NDArray, speakers: NDArray) -> None:
    if X.ndim != 2 or not len(X) == len(y) == len(speakers) > 0:
        raise ValueError(
            f"measures of shape {X.shape}, {len(y)} emotions, {len(speakers)} speakers; expected (N, D), N, N"
        )
    if not np.isfinite(X).all():
        raise ValueError(f"measures of {int((~np.isfinite(X)).any(1).sum())} clips are not finite")
    for name, values in (("emotion", y), ("speaker", speakers)):
        if len(np.unique(values)) < 2:
            raise ValueError(f"one {name}, {str(values[0])!r}; a judge needs at least two")


# ------------------------------------------------------------------------------------- from a manifest


def train(manifest: pd.DataFrame, out: str | Path | None = None, *, without: Collection[str] = ()) -> Judge:
    """Train a judge on a manifest's clips, or load it where it was trained on the same clips before.

    Parameters
    ----------
    manifest : DataFrame
        Its columns path, sha256, speaker and emotion are used.
    out : str or Path, optional
        Folder to keep the judge in; nothing is kept by default.
    without : collection of str
        Speakers to leave out: those that it is going to judge.

    Raises
    ------
    ValueError
        If a speaker to leave out isn't in the manifest, a clip can't be used, the folder holds files that
        were not made here, or as `Judge.fit` does.
    """
    if unknown := sorted(set(without) - set(manifest["speaker"])):
        known = ", ".join(sorted(set(manifest["speaker"])))
        raise ValueError(f"no speaker {', '.join(unknown)} in the manifest; it has: {known}")
    clips = manifest[~manifest["speaker"].isin(list(without))]
    if out is None:
        return _fitted(clips)
    recipe = {"ears": VERSION, "clips": digest(clips)}
    made: list[Judge] = []  # another process may replace the folder by a judge of other clips meanwhile

    def fill(place: Path) -> None:
        made.append(_fitted(clips))
        made[0].save(place)

    place = files.build_folder(Path(out), RECIPE, recipe, fill)
    return made[0] if made else Judge.load(place)


def _fitted(clips: pd.DataFrame) -> Judge:
    if clips.empty:
        raise ValueError("no clip to train a judge on; expected speakers beside those left out")
    X = np.stack([acoustics(*audio.load_clip(row)) for row in clips.to_dict("records")])
    return Judge().fit_measures(X, clips["emotion"], clips["speaker"])


def digest(clips: pd.DataFrame) -> str:
    """Return a hash of what is learned from the clips of a manifest: sounds, speakers and emotions."""
    rows = clips[["sha256", "speaker", "emotion"]].astype(str).agg("|".join, axis=1)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
