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
from threadpoolctl import threadpool_limits

from emolib import audio, files, splits
from emolib.metrics import Interval, ua_interval
from emolib.probing import checked_features
from emolib.ser.acoustics import VERSION, acoustics

Array = NDArray[np.float64]
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

    def fit_measures(self, X: ArrayLike, emotions: ArrayLike, speakers: ArrayLike) -> "Judge":
        """Train on clips, calibrate, and measure the accuracy on held-out speakers.

        Parameters
        ----------
        X : array-like, (N, D); their measures, as `acoustics` gives them
        emotions, speakers : array-likes of str, (N,)

        Raises
        ------
        ValueError
            If the lengths differ, there is one emotion, or too few speakers to hold any out.
        """
        y, names = (np.asarray(values).astype(str) for values in (emotions, speakers))
        clips = pd.DataFrame({"emotion": y, "speaker": names})
        X = checked_features(np.asarray(X, np.float64), clips)
        self.classes_, codes = np.unique(y, return_inverse=True)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(f"one emotion, {str(y[0])!r}; a judge needs at least two")
        folds = splits.folds(clips, "speaker", n_folds=self.n_folds, seed=self.seed)

        def held_out(train: NDArray, test: NDArray) -> Array:
            if len(absent := np.setdiff1d(codes, codes[train])):
                name = str(self.classes_[absent[0]])
                raise ValueError(f"{name!r} is spoken by one group of speakers alone; two are needed")
            return Discriminant.fit(X[train], codes[train], n_classes, self.shrinkage).scores(X[test])

        scores = splits.held_out(folds, (len(X), n_classes), held_out)
        self.temperature_ = fit_temperature(scores, codes)
        probability = np.empty_like(scores)
        for train, test in folds:  # each fold's temperature is fitted on the other folds
            probability[test] = softmax(scores[test] / fit_temperature(scores[train], codes[train]), axis=1)
        answers = self.classes_[scores.argmax(1)]
        self.natural_ua_ = ua_interval(y, answers, names)
        self.natural_recall_ = {str(c): float((answers == c)[y == c].mean()) for c in self.classes_}
        self.calibration_error_ = calibration_error(probability.max(1), answers == y)
        self.speakers_, self.n_clips_ = tuple(np.unique(names).tolist()), len(y)
        self._discriminant = Discriminant.fit(X, codes, n_classes, self.shrinkage)
        return self

    def predict_proba(self, waves: Sequence[audio.Wave], sample_rate: int) -> NDArray[np.float64]:
        """Return each wave's calibrated probabilities, (N, C), in the order of `classes_`.

        Parameters
        ----------
        waves : sequence of N float32 arrays, (S,)
        sample_rate : int, Hz

        Raises
        ------
        AudioError
            If a wave isn't one finite channel of speech; the message says which.
        ValueError
            If the judge isn't fitted.
        """
        measures = []
        for i, wave in enumerate(waves):
            try:
                measures.append(acoustics(wave, sample_rate))
            except audio.AudioError as error:
                raise audio.AudioError(f"wave {i}: {str(error).removeprefix('clip: ')}") from None
        return self.predict_proba_measures(np.stack(measures))

    def predict_proba_measures(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities, (N, C), of measures, (N, D)."""
        scores = self._fitted().scores(np.asarray(X, np.float64))
        return softmax(scores / self.temperature_, axis=1)

    def predict(self, waves: Sequence[audio.Wave], sample_rate: int) -> NDArray:
        """Return each wave's most probable emotion, (N,)."""
        answers = self.predict_proba(waves, sample_rate).argmax(
            axis=1
        )  # which refuses where nothing is fitted
        return self.classes_[answers]

    def check_unseen(self, speakers: ArrayLike) -> None:
        """Raise ValueError if the judge was trained on one of these speakers, whom it then must not judge."""
        splits.check_disjoint(np.array(self.speakers_), np.asarray(speakers).astype(str))

    def column(self, emotion: str) -> int:
        """Return an emotion's column in `predict_proba`, or raise ValueError if the judge has none for it."""
        if emotion not in self.classes_:
            known = ", ".join(map(str, self.classes_))
            raise ValueError(f"this judge knows no {emotion!r}; it was trained on: {known}")
        return int(np.searchsorted(self.classes_, emotion))

    def _fitted(self) -> Discriminant:
        if not hasattr(self, "_discriminant"):
            raise ValueError("this judge isn't fitted; call fit_measures, or load a saved one")
        return self._discriminant

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = asdict(self._fitted())
        config = {
            "ears": VERSION, "shrinkage": self.shrinkage, "n_folds": self.n_folds, "seed": self.seed,
            "classes": self.classes_.tolist(), "temperature": self.temperature_,
            "natural_ua": list(self.natural_ua_), "natural_recall": self.natural_recall_,
            "calibration_error": self.calibration_error_, "speakers": list(self.speakers_),
            "n_clips": self.n_clips_,
        }  # fmt: skip
        return config, arrays

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any) -> "Judge":
        if config.get("ears") != VERSION:
            theirs = config.get("ears")
            raise ValueError(f"a judge of measures {theirs!r}; this version has {VERSION!r}: train it again")
        judge = cls(**{name: config[name] for name in ("shrinkage", "n_folds", "seed")})
        judge.classes_, judge.natural_ua_ = np.array(config["classes"]), Interval(*config["natural_ua"])
        for name in ("temperature", "natural_recall", "calibration_error", "n_clips"):
            setattr(judge, f"{name}_", config[name])
        judge.speakers_, judge._discriminant = tuple(config["speakers"]), Discriminant(**arrays)
        return judge


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
