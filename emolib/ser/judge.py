"""The judge: a recogniser of emotion that knows how far to trust itself.

Third stage of `emolib.ser`: acoustic measures, a linear discriminant, and a temperature, fitted on speakers
held out, that makes its probabilities mean what they say.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold

from emolib import audio, folders, splits
from emolib.metrics import Interval, speaker_bootstrap, unweighted_accuracy
from emolib.ser.acoustics import acoustics
from emolib.ser.linear import Discriminant, calibration_error, fit_discriminant, fit_temperature

_KIND = "judge"
#: Changes whenever a saved judge would hear something else.
EARS = "acoustics-1"


class Judge:
    """Recognise emotion in speech of any level, with calibrated probabilities.

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
    natural_ua_ : Interval; unweighted accuracy on natural clips of speakers held out, 95 % over speakers
    natural_recall_ : dict; each emotion's share of natural clips that are recognised, speakers held out
    calibration_error_ : float
        Mean distance of confidence from accuracy on held-out speakers; the temperature of each clip is fitted
        on the scores of the other groups of speakers.
    speakers_ : tuple of str; the speakers it was trained on, whom it must not judge
    n_clips_ : int
    """

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
        self,
        waves: Sequence[audio.Wave],
        sample_rates: int | Sequence[int],
        emotions: ArrayLike,
        speakers: ArrayLike,
    ) -> "Judge":
        """Train on waves, calibrate, and measure the accuracy on speakers held out.

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
        return self.fit_measures(_hear(waves, sample_rates), emotions, speakers)

    def fit_measures(self, X: ArrayLike, emotions: ArrayLike, speakers: ArrayLike) -> "Judge":
        """Train on measures, (N, D), as `acoustics` gives them.

        Raises
        ------
        ValueError
            If the lengths differ, there is one emotion, or too few speakers to hold any out.
        """
        X, y = np.asarray(X, np.float64), np.asarray(emotions).astype(str)
        who = np.asarray(speakers).astype(str)
        _check(X, y, who)
        self.classes_, codes = np.unique(y, return_inverse=True)
        scores, fold_of = self._held_out_scores(X, codes, who)
        self.temperature_ = fit_temperature(scores, codes)
        probability = _cross_calibrated(scores, codes, fold_of)
        answers = self.classes_[scores.argmax(1)]
        self.natural_ua_ = speaker_bootstrap(unweighted_accuracy, y, answers, who)
        self.natural_recall_ = {str(c): float((answers == c)[y == c].mean()) for c in self.classes_}
        self.calibration_error_ = calibration_error(probability.max(1), answers == y)
        self.speakers_, self.n_clips_ = tuple(np.unique(who).tolist()), len(y)
        self._discriminant = fit_discriminant(X, codes, len(self.classes_), self.shrinkage)
        return self

    def predict_proba(
        self, waves: Sequence[audio.Wave], sample_rate: int | Sequence[int]
    ) -> NDArray[np.float64]:
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
        return self.predict_proba_measures(_hear(waves, sample_rate))

    def predict_proba_measures(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities, (N, C), of measures, (N, D)."""
        if not hasattr(self, "classes_"):
            raise ValueError("this judge isn't fitted; call fit, or load a saved one with Judge.load")
        return softmax(self._discriminant.scores(np.asarray(X, np.float64)) / self.temperature_, axis=1)

    def predict(self, waves: Sequence[audio.Wave], sample_rate: int | Sequence[int]) -> NDArray:
        """Return each wave's most probable emotion, (N,)."""
        answers = self.predict_proba(waves, sample_rate).argmax(axis=1)
        return self.classes_[answers]

    def check_unheard(self, speakers: ArrayLike) -> None:
        """Raise ValueError if the judge was trained on one of these speakers, whom it then must not judge."""
        splits.check_disjoint(np.array(self.speakers_), np.asarray(speakers).astype(str))

    def column(self, emotion: str) -> int:
        """Return an emotion's column in `predict_proba`.

        Raises
        ------
        ValueError
            If the judge doesn't know it.
        """
        if emotion not in self.classes_:
            raise ValueError(
                f"this judge knows no {emotion!r}; it was trained on: {', '.join(map(str, self.classes_))}"
            )
        return int(np.flatnonzero(self.classes_ == emotion)[0])

    def save(self, folder: str | Path) -> Path:
        """Write the judge into a folder."""
        if not hasattr(self, "classes_"):
            raise ValueError("this judge isn't fitted; there is nothing to save")
        config = {
            "ears": EARS, "shrinkage": self.shrinkage, "n_folds": self.n_folds, "seed": self.seed,
            "classes": self.classes_.tolist(), "temperature": self.temperature_,
            "natural_ua": list(self.natural_ua_), "natural_recall": self.natural_recall_,
            "calibration_error": self.calibration_error_, "speakers": list(self.speakers_),
            "n_clips": self.n_clips_,
        }  # fmt: skip
        return folders.write(Path(folder), _KIND, config, asdict(self._discriminant))

    @classmethod
    def load(cls, folder: str | Path) -> "Judge":
        """Read a saved judge.

        Raises
        ------
        FileNotFoundError
            If there is none in the folder.
        ValueError
            If the folder holds something else or is damaged, or the judge hears with the measures of another
            version.
        """
        config, arrays = folders.read(Path(folder), _KIND)
        if config.get("ears") != EARS:
            raise ValueError(
                f"the judge in {folder} hears by {config.get('ears')!r}, this version {EARS!r}; train again"
            )
        judge = cls(shrinkage=config["shrinkage"], n_folds=config["n_folds"], seed=config["seed"])
        judge.classes_, judge.temperature_ = np.array(config["classes"]), config["temperature"]
        judge.natural_ua_ = Interval(*config["natural_ua"])
        judge.natural_recall_ = config["natural_recall"]
        judge.calibration_error_ = config["calibration_error"]
        judge.speakers_, judge.n_clips_ = tuple(config["speakers"]), config["n_clips"]
        judge._discriminant = Discriminant(**arrays)
        return judge

    def _held_out_scores(
        self, X: NDArray, codes: NDArray, speakers: NDArray
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return each clip's scores, (N, C), by weights that never saw its speaker, and its fold, (N,)."""
        n_folds = min(self.n_folds, len(np.unique(speakers)))
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=self.seed)
        scores, fold_of = np.empty((len(X), len(self.classes_))), np.zeros(len(X), np.intp)
        for fold, (train, test) in enumerate(folds.split(X, codes, speakers)):
            if len(absent := np.setdiff1d(codes, codes[train])):
                name = str(self.classes_[absent[0]])
                raise ValueError(f"{name!r} is spoken by one group of speakers alone; two are needed")
            if len(train) <= len(self.classes_):
                raise ValueError(
                    f"{len(train)} clips of {len(self.classes_)} emotions without a group of speakers; more "
                    f"clips than emotions are needed"
                )
            weights = fit_discriminant(X[train], codes[train], len(self.classes_), self.shrinkage)
            if len(test):
                scores[test] = weights.scores(X[test])
            fold_of[test] = fold
        return scores, fold_of


def _cross_calibrated(scores: NDArray, codes: NDArray, fold_of: NDArray) -> NDArray[np.float64]:
    """Return probabilities, (N, C): the temperature of each fold is fitted on the other folds' scores."""
    probability = np.empty_like(scores)
    for fold in np.unique(fold_of):
        own = fold_of == fold
        temperature = fit_temperature(scores[~own], codes[~own])
        probability[own] = softmax(scores[own] / temperature, axis=1)
    return probability


def _hear(waves: Sequence[audio.Wave], sample_rates: int | Sequence[int]) -> NDArray[np.float32]:
    rates = (
        list(sample_rates) if isinstance(sample_rates, Sequence | np.ndarray) else [sample_rates] * len(waves)
    )
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
    if len(np.unique(y)) < 2:
        raise ValueError(f"one emotion, {str(y[0])!r}; a judge needs at least two to tell apart")
    if len(np.unique(speakers)) < 2:
        raise ValueError(
            f"one speaker, {str(speakers[0])!r}; a judge needs two or more, so that one can be held out"
        )
