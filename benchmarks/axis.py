"""Judging an axis on held-out speakers, against the loops that everyone writes.

One process, one thread, 24 speakers with 16 clips of two emotions each in 256 dimensions (RAVDESS's calm and
angry under wav2vec2-nano), random numbers with a planted direction. Theirs: for each speaker a scikit-learn
pipeline of scaler and logistic regression, then `roc_auc_score` on 1,000 resamples of the speakers; and
`roc_auc_score` for each of 200 random directions. Ours: `cross_project`, `HeldOut.auc` and `random_aucs`.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from emolib import axis, metrics, probing, splits

N_SPEAKERS, N_EACH, WIDTH, N_DIRECTIONS, REPEATS = 24, 8, 256, 200, 3


def clips() -> tuple[np.ndarray, pd.DataFrame]:
    """Return features, (N, D), and the manifest of their clips."""
    rng = np.random.default_rng(0)
    rows = [(f"{s:02d}", e) for s in range(N_SPEAKERS) for e in ("calm", "angry") for _ in range(N_EACH)]
    manifest = pd.DataFrame(rows, columns=["speaker", "emotion"])
    X = rng.standard_normal((len(rows), WIDTH)) + rng.standard_normal((N_SPEAKERS, WIDTH)).repeat(16, axis=0)
    return X + np.outer(manifest["emotion"] == "angry", 0.15 * rng.standard_normal(WIDTH)), manifest


def usual_loso(X: np.ndarray, manifest: pd.DataFrame) -> tuple[float, float, float]:
    """Return AUC and interval by the loop that everyone writes."""
    centred, y = probing.centre_speakers(X, manifest["speaker"]), (manifest["emotion"] == "angry").to_numpy()
    scores = np.empty(len(y))
    for train, test in splits.folds(manifest, "loso"):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        scores[test] = model.fit(centred[train], y[train]).decision_function(centred[test])
    return metrics.speaker_bootstrap(roc_auc_score, y, scores, manifest["speaker"].to_numpy())


def our_loso(X: np.ndarray, manifest: pd.DataFrame) -> tuple[float, float, float]:
    """Return AUC and interval by emolib."""
    return axis.cross_project(X, manifest, splits.folds(manifest, "loso")).auc


def usual_random(X: np.ndarray, manifest: pd.DataFrame) -> np.ndarray:
    """Return the AUCs of random directions, one after the other."""
    centred, y = probing.centre_speakers(X, manifest["speaker"]), manifest["emotion"] == "angry"
    directions = np.random.default_rng(0).standard_normal((WIDTH, N_DIRECTIONS))
    return np.array([roc_auc_score(y, centred @ direction) for direction in directions.T])


def fastest(call: Callable, *arguments: object) -> tuple[float, object]:
    """Return the least seconds that a call took, and what it returned."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer = call(*arguments)
        seconds.append(time.perf_counter() - started)
    return min(seconds), answer


def measure() -> dict[str, float]:
    """Return axis_loso and axis_random (times as fast as the usual loops), and the seconds behind them."""
    X, manifest = clips()
    with threadpool_limits(1):
        theirs_s, theirs = fastest(usual_loso, X, manifest)
        ours_s, ours = fastest(our_loso, X, manifest)
        each_s, each = fastest(usual_random, X, manifest)
        random_s, drawn = fastest(lambda: axis.random_aucs(X, manifest, n_directions=N_DIRECTIONS))
    if not np.allclose(each, drawn) or abs(theirs[0] - ours[0]) > 0.05:
        raise ValueError(f"the loops disagree: AUC {theirs[0]:.3f} by theirs, {ours[0]:.3f} by ours")
    return {
        "axis_loso": theirs_s / ours_s,
        "axis_random": each_s / random_s,
        "axis_loso_s": ours_s,
        "axis_loso_theirs_s": theirs_s,
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
