"""Four ways to find the direction from one emotion to another, from features to a unit vector.

First stage of `emolib.axis`. Each takes the clips of both emotions, every speaker's mean taken away, and a
truth value a clip; none knows of names, files or folds.

References
----------
Mean difference: N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive Activation Addition",
arXiv:2312.06681. Its principal component: A. Zou et al. (2023), "Representation Engineering",
arXiv:2310.01405. Shrinkage: O. Ledoit, M. Wolf (2004), doi:10.1016/S0047-259X(03)00096-4. Resultant length:
K. V. Mardia, P. E. Jupp (2000), "Directional Statistics".
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import LogisticRegression

Method = Literal["mean-difference", "logistic", "lda", "pca"]
METHODS: tuple[str, ...] = get_args(Method)
Floats = NDArray[np.float64]


def find_direction(
    X: Floats, is_target: NDArray[np.bool_], groups: NDArray, method: str, regularisation: float
) -> Floats:
    """Return the unit vector from one emotion to the other.

    Parameters
    ----------
    X : float64 array, (N, D)
        Features, each speaker's mean taken away.
    is_target : bool array, (N,)
    groups : array, (N,)
        Speakers; each has clips of both emotions.
    method : {"mean-difference", "logistic", "lda", "pca"}
    regularisation : float
        scikit-learn's C of the logistic regression.

    Returns
    -------
    direction : float64 array, (D,), pointing from the mean of the one to the mean of the other

    Raises
    ------
    ValueError
        If the method is unknown or the emotions do not differ.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; expected one of: {', '.join(METHODS)}")
    differences = class_differences(X, is_target, groups)
    if method == "mean-difference":
        direction = _unit_rows(differences).mean(axis=0)
    elif method == "logistic":
        direction = _logistic(X, is_target, regularisation)
    elif method == "lda":
        direction = _lda(X, is_target)
    else:
        direction = _principal(X)
    length, towards = np.linalg.norm(direction), differences.mean(axis=0) @ direction
    if not length > 0 or towards == 0:
        raise ValueError(
            f"no direction by {method!r}: the two emotions' features have the same mean, or do not vary"
        )
    return direction / length * np.sign(towards)


def class_differences(X: Floats, is_target: NDArray[np.bool_], groups: NDArray) -> Floats:
    """Return each speaker's mean of the target clips less that of the others, (S, D), in sorted order."""
    return class_means(X[is_target], groups[is_target]) - class_means(X[~is_target], groups[~is_target])


def class_means(X: Floats, groups: NDArray) -> Floats:
    """Return the mean of each group's rows, (S, D), groups in sorted order."""
    names, codes = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), X.shape[1]))
    np.add.at(sums, codes, X)
    return sums / np.bincount(codes)[:, None]


def speaker_directions(X: Floats, is_target: NDArray[np.bool_], groups: NDArray) -> Floats:
    """Return each speaker's own axis, unit vectors (S, D); zeros where a speaker's means are the same."""
    return _unit_rows(class_differences(X, is_target, groups))


def resultant_length(directions: Floats) -> float:
    """Return the length of the mean of unit vectors, (S, D): 1 if all agree, about S ** -0.5 by chance."""
    return float(np.linalg.norm(directions.mean(axis=0)))


def _logistic(X: Floats, is_target: NDArray[np.bool_], regularisation: float) -> Floats:
    """Return the weights of a logistic regression, each feature at unit spread within the classes."""
    # at unit spread over both classes, the features that tell them apart would be shrunk the most
    deviation = _deviations(_within(X, is_target))
    model = LogisticRegression(C=regularisation, tol=1e-6, max_iter=2000)
    return model.fit(X / deviation, is_target).coef_[0] / deviation


def _lda(X: Floats, is_target: NDArray[np.bool_]) -> Floats:
    """Return Fisher's discriminant under a shrunk covariance within the classes."""
    within = _within(X, is_target)
    deviation = _deviations(within)
    within = within / deviation
    difference = X[is_target].mean(axis=0) - X[~is_target].mean(axis=0)
    share = ledoit_wolf_shrinkage(within, assume_centered=True)
    covariance = (1 - share) * within.T @ within / len(X)
    # a floor keeps it invertible where the classes have no spread, or a feature none
    covariance.flat[:: len(covariance) + 1] += share * np.square(within).mean() + 1e-9
    return solve(covariance, difference / deviation, assume_a="pos") / deviation


def _principal(X: Floats) -> Floats:
    """Return the first principal component; of more features than clips, by way of the clips."""
    centred = X - X.mean(axis=0)
    if X.shape[1] > len(X):
        return centred.T @ np.linalg.eigh(centred @ centred.T)[1][:, -1]
    return np.linalg.eigh(centred.T @ centred)[1][:, -1]


def _within(X: Floats, is_target: NDArray[np.bool_]) -> Floats:
    """Return the clips' differences from their own class's mean, (N, D)."""
    return X - class_means(X, is_target)[is_target.astype(int)]


def _deviations(X: Floats) -> Floats:
    """Return the features' standard deviations, 1 for a feature that does not vary."""
    deviation = X.std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def _unit_rows(X: Floats) -> Floats:
    """Return the rows at unit length; zeros stay zeros."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.divide(X, length, out=np.zeros_like(X), where=length > 0)
