"""Probing every layer with the layer chosen on training speakers, against the loop that everyone writes.

One process, real features: the demo corpus under the embedded encoder, all hidden states, pooled to mean and
deviation, folds by speaker. Theirs: for each fold, scikit-learn's `GridSearchCV`-like loop of pipeline and
`LogisticRegression` over layers with `GroupKFold`, on BLAS's default threads, then `recall_score` on 1,000
resamples of the speakers. Ours: `choose_layer` and `Probe.ua`. Both choose among the same layers.
"""

import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib import corpora, features, metrics, probing, splits


def layers_of(manifest: pd.DataFrame) -> dict[int, NDArray]:
    """Return the pooled features of each hidden state, (N, D)."""
    store = features.extract(manifest).store
    return {k: store.pooled(k, "mean+std", manifest["clip"].tolist()) for k in store.config.layers}


def usual(layers: dict[int, NDArray], manifest: pd.DataFrame) -> tuple[float, float, float]:
    """Return UA and interval by the loop that everyone writes."""
    y, speakers = manifest["emotion"].to_numpy(), manifest["speaker"].to_numpy()
    answers = np.empty(len(y), dtype=object)
    for train, test in splits.folds(manifest, "speaker"):
        scores = {}
        for layer, X in layers.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
            inner = cross_val_predict(model, X[train], y[train], groups=speakers[train], cv=GroupKFold(3))
            scores[layer] = recall_score(y[train], inner, average="macro")
        X = layers[max(scores, key=lambda layer: scores[layer])]
        answers[test] = model.fit(X[train], y[train]).predict(X[test])
    return metrics.speaker_bootstrap(macro_recall, y, answers.astype(str), speakers)


def macro_recall(y_true: NDArray, y_pred: NDArray) -> float:
    """Return the mean recall of the true classes, by scikit-learn."""
    return float(recall_score(y_true, y_pred, labels=np.unique(y_true), average="macro"))


def ours(layers: dict[int, NDArray], manifest: pd.DataFrame) -> tuple[float, float, float]:
    """Return UA and interval by emolib."""
    return probing.choose_layer(layers, manifest, splits.folds(manifest, "speaker")).ua


def measure() -> dict[str, float]:
    """Return probe (times as fast as the usual loop) and the seconds and UA of both."""
    manifest = corpora.load("demo")
    layers = layers_of(manifest)
    started = time.perf_counter()
    answer = ours(layers, manifest)
    between = time.perf_counter()
    theirs = usual(layers, manifest)
    ended = time.perf_counter()
    if abs(answer[0] - theirs[0]) > 0.05:
        raise ValueError(f"the loops disagree: UA {theirs[0]:.3f} by theirs, {answer[0]:.3f} by ours")
    return {
        "probe": (ended - between) / (between - started),
        "probe_s": between - started,
        "probe_theirs_s": ended - between,
        "probe_ua": answer[0],
        "probe_theirs_ua": theirs[0],
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
