"""Embeddings to mel-spectrograms, against scikit-learn's multi-layer perceptron on the same frames.

One process. The demo corpus, layer 0 of the embedded encoder, tested on two speakers left out of everything.
Theirs: `StandardScaler` and `MLPRegressor` (two hidden layers as wide as ours, early stopping, all else by
default) from three neighbouring frames, repeated onto the mel's clock, to one mel frame. Ours: `mapper.train`
as it stands. The error is the mean absolute difference of the log-mel-spectrograms at one level.
"""

import tempfile
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib import corpora, features, mapper

LAYER, WIDTH, SEED = 0, 192, 0


def context(frames: NDArray[np.float32], n_mels: int) -> NDArray[np.float32]:
    """Return three neighbouring frames for each mel frame, (n_mels, 3 D)."""
    places = np.clip(np.rint(mapper.positions(n_mels)).astype(int), 0, len(frames) - 1)
    padded = np.pad(frames, ((1, 1), (0, 0)), mode="edge")
    return np.hstack([padded[places], padded[places + 1], padded[places + 2]])


def train_theirs(pairs: list[tuple[NDArray, NDArray]]) -> Pipeline:
    """Train the perceptron on pairs of frames, (T, D), and mel-spectrograms, (M, 80)."""
    X = np.concatenate([context(frames, len(mel)) for frames, mel in pairs])
    Y = np.concatenate([mel for _, mel in pairs])
    model = MLPRegressor(hidden_layer_sizes=(WIDTH, WIDTH), early_stopping=True, random_state=SEED)
    return make_pipeline(StandardScaler(), model).fit(X, Y)


def measure() -> dict[str, float]:
    """Return mapper_error and mapper_training (theirs over ours), mapper_mapping, and the two errors.

    Returns
    -------
    metrics : dict
        mapper_error: their error on unseen speakers over ours (above 1: ours is nearer); mapper_training:
        their seconds of training over ours; mapper_mapping: times as fast as theirs, clip by clip.
    """
    manifest = corpora.load("demo")
    store = features.extract(manifest, layers=[LAYER], frames=True).store
    held = sorted(manifest["speaker"].unique())[-2:]
    training = mapper.leave_out(manifest, held)
    test = manifest[manifest["speaker"].isin(held)]
    mels = mapper.target_mels(manifest)
    frames = {clip: store.frames(clip, LAYER) for clip in manifest["clip"]}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        ours = mapper.train(training, store, LAYER, folder, mels=mels)
        between = time.perf_counter()
    theirs = train_theirs([(frames[clip], mels[clip]) for clip in training["clip"]])
    trained = time.perf_counter()
    answers = [ours.map(frames[clip], n_frames=len(mels[clip])) for clip in test["clip"]]
    mapped = time.perf_counter()
    rivals = [theirs.predict(context(frames[clip], len(mels[clip]))) for clip in test["clip"]]
    ended = time.perf_counter()
    targets = [mels[clip] for clip in test["clip"]]
    error = float(np.mean([mapper.mel_l1(a, b) for a, b in zip(answers, targets, strict=True)]))
    rival_error = float(np.mean([mapper.mel_l1(a, b) for a, b in zip(rivals, targets, strict=True)]))
    return {
        "mapper_error": rival_error / error,
        "mapper_training": (trained - between) / (between - started),
        "mapper_mapping": (ended - mapped) / (mapped - trained),
        "mapper_l1": error,
        "mapper_theirs_l1": rival_error,
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:30s} {value:.6g}")
