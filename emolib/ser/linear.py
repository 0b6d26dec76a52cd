"""A linear discriminant with a shrunken covariance, and what makes its scores into probabilities.

Second stage of `emolib.ser`: it needs no tuning, no seed and half a second.

References
----------
Shrinkage: J. H. Friedman (1989), "Regularized Discriminant Analysis", doi:10.1080/01621459.1989.10478752.
Temperature scaling and the calibration error: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), "On
Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]


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

    def scores(self, X: Array) -> Array:
        """Return the score of each class, (N, C), for measures, (N, D)."""
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise ValueError(
                f"measures of shape {X.shape}; expected (N, {len(self.mean)}), as ser.acoustics gives"
            )
        return (X - self.mean) / self.scale @ self.weights + self.bias


def fit_discriminant(X: Array, codes: NDArray, n_classes: int, shrinkage: float) -> Discriminant:
    """Fit a discriminant to measures, (N, D), and class numbers, (N,), whatever the classes' counts."""
    mean, scale = X.mean(0), X.std(0) + 1e-6
    even = np.full(n_classes, 1 / n_classes)  # how often a corpus holds a class tells nothing of a clip
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=even)
    with threadpool_limits(1):
        model.fit((X - mean) / scale, codes)
    weights, bias = model.coef_.T, model.intercept_
    if n_classes == 2:  # scikit-learn keeps one column, the second class against the first
        weights, bias = np.concatenate([np.zeros_like(weights), weights], axis=1), np.r_[0.0, bias]
    return Discriminant(mean, scale, weights, bias)


def fit_temperature(scores: Array, codes: NDArray) -> float:
    """Return the temperature under which the right answers are the most probable.

    Parameters
    ----------
    scores : float64 array, (N, C); of clips that the weights were not fitted on
    codes : int array, (N,); their classes
    """
    rows = np.arange(len(codes))

    def cost(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[rows, codes].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-3.0, 5.0), method="bounded").x))


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Return the mean distance between confidence and accuracy, each (N,), over ten bins of confidence."""
    bins = np.minimum((10 * confidence).astype(int), 9)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(right))
