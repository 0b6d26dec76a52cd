"""`AVLearner`: from features and categories to valence and arousal, as a scikit-learn transformer.

References
----------
The idea, and the method ``umap``: E. Zhou, Y. Zhang, Z. Duan (2023), "Learning Arousal-Valence Representation
from Categorical Emotion Labels of Speech", arXiv:2311.14816. The method ``anchored`` is this project's
(`emolib.av.reductions`). Classes that are numbers are laid around a circle, after J. A. Russell (1980), "A
circumplex model of affect", Journal of Personality and Social Psychology 39(6), 1161-1178.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from emolib import demo, emotions, files
from emolib.av.reductions import Barycentre, Layout, Settings, assign_folds, fit_barycentre, fit_layout
from emolib.corpora.manifest import read_table
from emolib.probing import LabelledTransformer

Method = Literal["anchored", "umap"]
Anchors = str | Mapping[str, Sequence[float]] | None

#: Every emotion's anchor: the table of EmoDB, IEMOCAP's where that lacks one, and the demo corpus's calm.
JOINED: Mapping[str, emotions.Anchor] = MappingProxyType(
    {"calm": demo.ANCHORS["calm"]} | dict(emotions.ANCHORS["iemocap"]) | dict(emotions.ANCHORS["emodb"])
)
#: Parameters of the closed form; all others are umap's.
_CLOSED_FORM = ("method", "shrinkage", "temperature", "within", "seed")


def resolve(classes: ArrayLike, anchors: Anchors = None) -> NDArray[np.float64]:
    """Return where classes lie on the plane.

    Parameters
    ----------
    classes : array-like, (C,)
    anchors : str or mapping, optional
        ``joined`` (the default), ``emodb``, ``iemocap``, a CSV as `read_anchors` reads it, or a mapping from
        class to (valence, arousal). Where none is given and the classes are numbers, they are laid evenly
        around the unit circle.

    Returns
    -------
    points : float64 array, (C, 2); valence, arousal

    Raises
    ------
    ValueError
        If the table is unknown, lacks a class, or holds a point that is not two finite numbers.
    """
    names = np.asarray(classes)
    if anchors is None and names.dtype.kind in "biuf":
        angles = 2 * np.pi * np.arange(len(names)) / len(names)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    known: Mapping[str, Mapping[str, Sequence[float]]] = {"joined": JOINED, **emotions.ANCHORS}
    if anchors is None or isinstance(anchors, str):
        name = "joined" if anchors is None else anchors
        table = known.get(name) or dict(JOINED) | read_anchors(name)
    else:
        table = anchors
    if lacking := [str(name) for name in names.tolist() if name not in table]:
        raise ValueError(
            f"no anchor for {', '.join(lacking)}; the table has {', '.join(map(str, table))}: "
            f"give anchors as a mapping from class to (valence, arousal), or as a CSV with the columns word, "
            f"arousal and valence, each in [-1, 1] (`--anchors FILE`)"
        )
    points = np.array([table[name] for name in names.tolist()], dtype=np.float64)
    if points.shape != (len(names), 2) or not np.isfinite(points).all():
        raise ValueError(f"anchors {points.tolist()}; expected (valence, arousal) of each, both finite")
    return points


def read_anchors(csv: str) -> dict[str, emotions.Anchor]:
    """Read anchors from a CSV with the columns word (or emotion), arousal and valence.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no CSV, lacks a column, or a coordinate isn't a number in [-1, 1].
    """
    if not csv.lower().endswith(".csv"):
        raise ValueError(
            f"unknown anchors {csv!r}; expected joined, {', '.join(emotions.ANCHORS)}, a CSV with the "
            f"columns word, arousal and valence, or a mapping from class to (valence, arousal)"
        )
    rows = read_table(csv).rename(columns=str.lower).rename(columns={"emotion": "word"})
    if missing := [name for name in ("word", "arousal", "valence") if name not in rows.columns]:
        raise ValueError(f"{csv}: lacks the columns {', '.join(missing)}; expected word, arousal and valence")
    points = rows[["valence", "arousal"]].apply(pd.to_numeric, errors="coerce")
    inside = points.abs().le(1).all(axis=1)
    if not inside.all():
        row = rows[~inside].iloc[0]
        found = f"arousal {row['arousal']!r} and valence {row['valence']!r}"
        raise ValueError(f"{csv}: {row['word']!r} has {found}; expected numbers in [-1, 1]")
    anchors = map(emotions.Anchor._make, points.to_numpy(float).tolist())
    return dict(zip(map(emotions.from_label, rows["word"]), anchors, strict=True))


class AVLearner(files.Saved, LabelledTransformer):
    """Reduce features to valence and arousal, given each clip's category and where categories lie.

    Parameters
    ----------
    method : {"anchored", "umap"}
        ``anchored``, the default, has a closed form, maps a clip in microseconds, and was the better one on
        human ratings (notebook 05). ``umap`` is the published way, on stock umap-learn.
    shrinkage, temperature, within : float, optional
        Of ``anchored``: how round the classes are taken to be (0 to 1), how soft their probabilities are
        (above 0), and how much of a clip's place within its class is kept. By default each is chosen on
        held-out clips by categories alone.
    n_neighbors, n_epochs, negative_sample_rate, min_dist, spread, learning_rate, target_weight, \
repulsion_strength
        Of ``umap``: UMAP's own, the published values by default.
    seed : int
        Of ``umap``; ``anchored`` has nothing random.

    Attributes
    ----------
    classes_ : array, (C,)
    anchors_ : float64 array, (C, 2); valence, arousal
    embedding_ : float64 array, (N, 2); the training clips' places
    provenance_ : dict; empty, to be filled with where the features came from, and kept by `save`
    settings_ : Settings; of ``anchored``: what was chosen, and the CCC with the own class's anchor that
        held-out clips reach with it, NaN where none could be held out

    Notes
    -----
    `transform` maps every clip by itself, whatever else is in the call. Features should be comparable across
    speakers first: `standardise_speakers`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["angry", "sad", "happy"], 20)
    >>> X = rng.standard_normal((60, 8)) + 4 * (y == "angry")[:, None]
    >>> AVLearner().fit_transform(X, y, "emodb").shape
    (60, 2)
    """

    KIND = "AVLearner"

    def __init__(
        self, method: Method = "anchored", *, shrinkage: float | None = None,
        temperature: float | None = None, within: float | None = None, n_neighbors: int = 20,
        n_epochs: int = 150, negative_sample_rate: int = 10, min_dist: float = 0.1, spread: float = 1.0,
        learning_rate: float = 0.01, target_weight: float = 0.1, repulsion_strength: float = 0.1,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.method, self.seed = method, seed
        self.shrinkage, self.temperature, self.within = shrinkage, temperature, within
        self.n_neighbors, self.n_epochs, self.learning_rate = n_neighbors, n_epochs, learning_rate
        self.negative_sample_rate, self.repulsion_strength = negative_sample_rate, repulsion_strength
        self.min_dist, self.spread, self.target_weight = min_dist, spread, target_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, anchors: Anchors = None, *,
        groups: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """Fit the reduction.

        Parameters
        ----------
        X : array-like, (N, D)
        y : array-like, (N,); categories
        anchors : str or mapping, optional
            ``joined`` (the default), ``emodb``, ``iemocap``, or a mapping from category to (valence,
            arousal). Categories that are numbers are laid around a circle where none is given.
        groups : array-like, (N,), optional
            Speakers: what is chosen on held-out clips is then chosen on held-out speakers.

        Raises
        ------
        ValueError
            If a feature is not finite, a category has no anchor or is the only one, or there are too few
            clips for UMAP's neighbours.
        """
        self._check_parameters()
        self.provenance_: dict[str, Any] = {}
        features, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"1 class, {self.classes_[0]!r}; expected at least two to lay out")
        self.anchors_ = resolve(self.classes_, anchors)
        if self.method == "umap":
            options = {k: value for k, value in self.get_params().items() if k not in _CLOSED_FORM}
            self.reduction_: Any = fit_layout(features, codes, self.anchors_, options, self.seed)
            self.embedding_ = self.reduction_.places
            return self
        check_consistent_length(features, groups)
        folds = assign_folds(codes, None if groups is None else column_or_1d(groups))
        fixed = (self.shrinkage, self.temperature, self.within)
        self.reduction_, self.settings_ = fit_barycentre(features, codes, self.anchors_, folds, fixed)
        self.embedding_ = self.reduction_(features)
        return self

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike | None = None, anchors: Anchors = None, *,
        groups: ArrayLike | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Fit the reduction and return the training clips' places, (N, 2): valence, arousal."""
        return self.fit(X, y, anchors, groups=groups).embedding_.copy()

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return clips' places, (N, 2): valence, arousal."""
        check_is_fitted(self)
        return self.reduction_(validate_data(self, X, dtype=np.float64, reset=False))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray:
        """Return the columns' names, valence and arousal."""
        check_is_fitted(self)
        return np.array(["valence", "arousal"], dtype=object)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        check_is_fitted(self)
        parts = vars(self.reduction_).items()
        arrays = {name: value for name, value in parts if isinstance(value, np.ndarray)}
        arrays |= {"anchors_": self.anchors_, "embedding_": self.embedding_}
        config = {
            "parameters": self.get_params(),
            "classes": self.classes_.tolist(),
            "settings": self.settings_._asdict() if self.method == "anchored" else None,
            "provenance": self.provenance_,
        }
        return config, arrays

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any) -> Self:
        learner = cls(**config["parameters"])
        learner.classes_, learner.provenance_ = np.array(config["classes"]), config["provenance"]
        learner.anchors_, learner.embedding_ = arrays.pop("anchors_"), arrays.pop("embedding_")
        if learner.method == "umap":
            learner.reduction_ = Layout(**arrays, n_neighbors=learner.n_neighbors)
        else:
            learner.settings_ = Settings(**config["settings"])
            learner.reduction_ = Barycentre(**arrays, temperature=learner.settings_.temperature)
        learner.n_features_in_ = len(learner.reduction_.mean)
        return learner

    def _check_parameters(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"unknown method {self.method!r}; expected {', '.join(get_args(Method))}")
        for name, low, high in (("shrinkage", 0, 1), ("temperature", 1e-3, np.inf), ("within", 0, np.inf)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value}; expected {low:g} to {high:g}, or None to have it chosen")
