"""The plane of a whole corpus, each clip placed by a reduction fitted without its speaker, and its agreement.

Ratings are read in this module only: to evaluate, or by the baselines that say so.

References
----------
Judged by the concordance correlation coefficient of L. I.-K. Lin (1989), doi:10.2307/2532051.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mode

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emolib import splits
from emolib.av.learner import Anchors, AVLearner, resolve
from emolib.av.reductions import assign_folds
from emolib.metrics import Interval, ccc, speaker_bootstrap
from emolib.probing import checked_features

AXES = ("valence", "arousal")
#: Penalties that the ridge regression on the ratings chooses from.
ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 6, 13))


@dataclass(frozen=True)
class Plane:
    """Where clips were placed, and how people rated them.

    Attributes
    ----------
    points : float64 array, (N, 2); valence, arousal
    ratings : float64 array, (N, 2); NaN where a clip has none
    speakers : str array, (N,)
    layer : int, optional; the layer, or the one chosen most often where each fold chose its own
    """

    points: NDArray[np.float64]
    ratings: NDArray[np.float64]
    speakers: NDArray
    layer: int | None = None

    @property
    def rated(self) -> NDArray[np.bool_]:
        """Tell which clips have ratings on both axes, (N,)."""
        return np.asarray(np.isfinite(self.ratings).all(axis=1))

    @property
    def arousal(self) -> Interval:
        """CCC of arousal with its interval over speakers; NaN where no clip is rated."""
        return self._ccc("arousal")

    @property
    def valence(self) -> Interval:
        """CCC of valence with its interval over speakers; NaN where no clip is rated."""
        return self._ccc("valence")

    def __len__(self) -> int:
        return len(self.points)

    def _ccc(self, axis: str) -> Interval:
        column, rated = AXES.index(axis), self.rated
        if not rated.any():
            return Interval(np.nan, np.nan, np.nan)
        return speaker_bootstrap(
            ccc, self.ratings[rated, column], self.points[rated, column], self.speakers[rated]
        )


def place(
    layers: Mapping[int, ArrayLike], manifest: pd.DataFrame, folds: Sequence[splits.Fold], *,
    learner: AVLearner | None = None, anchors: Anchors = None,
) -> Plane:  # fmt: skip
    """Place every clip of a corpus by a reduction that was fitted without its fold.

    Parameters
    ----------
    layers : mapping of layer to features, (N, D)
        Where there are several, each fold takes the one that is best on its held-out training speakers, by
        categories.
    manifest : DataFrame, N rows
        speaker and emotion are used; arousal and valence are only kept to judge by.
    folds : list of (train, test), as `splits.folds` returns them
    learner : AVLearner, optional
        It is cloned for each fold.
    anchors : str or mapping, optional; as for `AVLearner.fit`

    Raises
    ------
    ValueError
        If the lengths differ, a clip is in no test fold, or as `AVLearner.fit` does.
    """
    tables, y, speakers = _checked(layers, manifest)
    chosen: list[int] = []

    def answer(train: NDArray, test: NDArray) -> NDArray:
        part = {layer: X[train] for layer, X in tables.items()}
        layer, fitted = _fit_best(part, y[train], speakers[train], learner or AVLearner(), anchors)
        chosen.append(layer)
        return fitted.transform(tables[layer][test])

    points = splits.held_out(folds, (len(y), 2), answer)
    return Plane(points, _ratings(manifest), speakers, mode(sorted(chosen)))


def transfer(
    layers: Mapping[int, ArrayLike], manifest: pd.DataFrame, unseen_layers: Mapping[int, ArrayLike],
    unseen: pd.DataFrame, *, learner: AVLearner | None = None, anchors: Anchors = None,
) -> Plane:  # fmt: skip
    """Fit a reduction on one corpus, or several joined, and place the clips of another with it.

    Parameters
    ----------
    layers, manifest : as for `place`
    unseen_layers, unseen : the same of the corpus to be placed
    learner, anchors : as for `place`

    Raises
    ------
    ValueError
        If the lengths differ, a speaker is in both, or as `AVLearner.fit` does.
    """
    tables, y, speakers = _checked(layers, manifest)
    others, _, unseen_speakers = _checked(unseen_layers, unseen)
    splits.check_disjoint(speakers, unseen_speakers)
    with threadpool_limits(1):
        layer, fitted = _fit_best(tables, y, speakers, learner or AVLearner(), anchors)
        points = fitted.transform(others[layer])
    return Plane(points, _ratings(unseen), unseen_speakers, layer)


def lines(
    manifest: pd.DataFrame, features: ArrayLike, folds: Sequence[splits.Fold], anchors: Anchors = None
) -> dict[str, Plane]:
    """Return the planes that a reduction is compared with: an oracle, an upper bound and a supervised one.

    Parameters
    ----------
    manifest : DataFrame, N rows
        Clips without ratings are placed, and neither learned from nor judged.
    features : array-like, (N, D)
        What the supervised baseline is trained on.
    folds : list of (train, test)
    anchors : str or mapping, optional

    Returns
    -------
    lines : dict
        ``anchor of the true class``: each clip at the anchor of its label; an oracle, because a reduction
        has to predict it. ``mean rating of the true class``: the best that a single point per class can do.
        ``ridge on the ratings``: trained on other speakers' ratings, its penalty chosen on held-out training
        speakers, as `AVLearner` chooses.
    """
    tables, emotion, speakers = _checked({0: features}, manifest)
    ratings, (classes, codes) = _ratings(manifest), np.unique(emotion, return_inverse=True)
    placed = {
        "anchor of the true class": resolve(classes, anchors)[codes],
        "mean rating of the true class": pd.DataFrame(ratings).groupby(codes).transform("mean").to_numpy(),
        "ridge on the ratings": _supervised(tables[0], ratings, codes, speakers, folds),
    }
    return {name: Plane(points, ratings, speakers) for name, points in placed.items()}


def _supervised(
    X: NDArray, ratings: NDArray, codes: NDArray[np.intp], speakers: NDArray, folds: Sequence[splits.Fold]
) -> NDArray[np.float64]:
    """Predict each clip's ratings by a ridge regression on other folds' ratings; NaN where there are none.

    The penalty is chosen as `AVLearner.fit` chooses: by CCC, on the same held-out training speakers.
    """
    points, rated = np.full(ratings.shape, np.nan), np.isfinite(ratings).all(axis=1)
    for train, test in folds:
        known = train[rated[train]]
        if len(known) < 2:
            continue
        inner = PredefinedSplit(assign_folds(codes[known], speakers[known]))
        model = make_pipeline(StandardScaler(), Ridge())
        search = GridSearchCV(model, {"ridge__alpha": ALPHAS}, scoring=make_scorer(_mean_ccc), cv=inner)
        with threadpool_limits(1):
            points[test] = search.fit(X[known], ratings[known]).predict(X[test])
    return points


def _mean_ccc(ratings: NDArray, points: NDArray) -> float:
    return float(np.nanmean([ccc(ratings[:, k], points[:, k]) for k in range(len(AXES))]))


def _fit_best(
    tables: Mapping[int, NDArray], y: NDArray, speakers: NDArray, learner: AVLearner, anchors: Anchors
) -> tuple[int, AVLearner]:
    """Return the layer whose held-out clips come nearest to their own anchors, and a learner fitted on it."""
    if len(tables) == 1:
        [(layer, X)] = tables.items()
        return layer, clone(learner).fit(X, y, anchors, groups=speakers)
    guide = learner if learner.method == "anchored" else AVLearner()
    fitted = {k: clone(guide).fit(X, y, anchors, groups=speakers) for k, X in tables.items()}
    best = max(fitted, key=lambda k: np.nan_to_num(fitted[k].settings_.score, nan=-2.0))
    if learner.method == "anchored":
        return best, fitted[best]
    return best, clone(learner).fit(tables[best], y, anchors, groups=speakers)


def _ratings(manifest: pd.DataFrame) -> NDArray[np.float64]:
    return manifest[list(AXES)].to_numpy(dtype=np.float64)


def _checked(
    layers: Mapping[int, ArrayLike], manifest: pd.DataFrame
) -> tuple[dict[int, NDArray[np.float64]], NDArray, NDArray]:
    """Return features by layer, and the emotions and speakers of a manifest's clips."""
    if not layers:
        raise ValueError("no layers; expected at least one")
    tables = {k: checked_features(np.asarray(X, dtype=np.float64), manifest) for k, X in layers.items()}
    y, speakers = (manifest[name].to_numpy().astype(str) for name in ("emotion", "speaker"))
    return tables, y, speakers
