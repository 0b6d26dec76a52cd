"""A neural baseline: attention pooling over frames, as a scikit-learn classifier.

A linear probe sees time averages only. This small network learns which frames count: if it does better,
emotion is in the timing as well.

References
----------
Attentive pooling: K. Okabe, T. Koshinaka, K. Shinoda (2018), "Attentive Statistics Pooling for Deep Speaker
Embedding", arXiv:1803.10963.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from emolib import threads
from emolib.training import Recipe, Training


class _Network(nn.Module):
    """Project frames, weigh them, pool mean and deviation under the weights, and classify."""

    def __init__(self, width: int, hidden: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout))
        self.attend = nn.Linear(hidden, 1)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, n_classes))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        hidden = self.project(frames)
        weight = self.attend(hidden).masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
        mean = (weight * hidden).sum(1)
        deviation = ((weight * hidden.square()).sum(1) - mean.square()).clamp_min(1e-6).sqrt()
        return self.classify(torch.cat([mean, deviation], dim=1))


class AttentionPoolingClassifier(ClassifierMixin, BaseEstimator):
    """Classify sequences of frames by attention pooling.

    Parameters
    ----------
    hidden : int
        Width after the projection.
    n_epochs, batch_size : int
    learning_rate, weight_decay, dropout : float
    device : str
    seed : int

    Attributes
    ----------
    classes_ : array, (C,)
    losses_ : list of float; mean training loss of each epoch

    Notes
    -----
    X is a sequence of N arrays (T, D), each of its own length, or an array (N, D), read as N clips of one
    frame. Frames are standardised by the training set's mean and deviation.
    """

    def __init__(
        self,
        *,
        hidden: int = 64,
        n_epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        dropout: float = 0.2,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.hidden, self.n_epochs, self.batch_size = hidden, n_epochs, batch_size
        self.learning_rate, self.weight_decay, self.dropout = learning_rate, weight_decay, dropout
        self.device, self.seed = device, seed

    def fit(self, X: Sequence[ArrayLike], y: ArrayLike) -> "AttentionPoolingClassifier":
        """Train on N clips of frames and their labels."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        clips = self._check(X, reset=True)
        check_consistent_length(clips, labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class, {self.classes_[0]}; expected at least two")
        stacked = np.concatenate(clips)
        self.mean_, self.scale_ = stacked.mean(0), stacked.std(0) + 1e-6
        self._train(self._standardise(clips), torch.from_numpy(codes))
        return self

    def predict_proba(self, X: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Return each clip's class probabilities, (N, C)."""
        check_is_fitted(self)
        clips = self._standardise(self._check(X, reset=False))
        size, device = self.batch_size, next(self.network_.parameters()).device
        self.network_.eval()
        with torch.inference_mode():
            parts = [
                self.network_(*(tensor.to(device) for tensor in _padded(clips[i : i + size]))).softmax(1)
                for i in range(0, len(clips), size)
            ]
        return torch.cat(parts).double().cpu().numpy()

    def predict(self, X: Sequence[ArrayLike]) -> NDArray:
        """Return each clip's most probable label, (N,)."""
        answers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[answers]

    @threads.single()
    def _train(self, clips: list[Tensor], codes: Tensor) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = _Network(self.n_features_in_, self.hidden, len(self.classes_), self.dropout)
        per_epoch = math.ceil(len(clips) / self.batch_size)
        recipe = Recipe(
            self.n_epochs * per_epoch, self.learning_rate, warmup=self.n_epochs * per_epoch // 3,
            decay_share=0.7, weight_decay=self.weight_decay, max_norm=math.inf, seed=self.seed,
        )  # fmt: skip
        training = Training(self.network_, recipe, device=self.device)

        def batch(step: int) -> list[NDArray[np.intp]]:
            order = np.random.default_rng((self.seed, step // per_epoch)).permutation(len(clips))
            return [order[step % per_epoch * self.batch_size :][: self.batch_size]]

        def loss(rows: NDArray[np.intp]) -> Tensor:
            frames, mask = _padded([clips[row] for row in rows])
            device = training.accelerator.device
            logits = training.whole(frames.to(device), mask.to(device))
            return nn.functional.cross_entropy(logits, codes[rows].to(device))

        training.run(batch, loss)
        self.losses_ = [float(x) for x in np.mean(np.reshape(training.losses, (-1, per_epoch)), axis=1)]

    def _standardise(self, clips: list[NDArray]) -> list[Tensor]:
        return [torch.from_numpy(((clip - self.mean_) / self.scale_).astype(np.float32)) for clip in clips]

    def _check(self, X: Sequence[ArrayLike], *, reset: bool) -> list[NDArray]:
        if not (isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) == 2):
            table = validate_data(self, X, dtype=np.float64, reset=reset)  # one frame a clip
            return list(table[:, None])
        clips = [np.asarray(clip, dtype=np.float64) for clip in X]
        if reset:
            self.n_features_in_ = clips[0].shape[1]
        width = self.n_features_in_
        for i, clip in enumerate(clips):
            if clip.ndim != 2 or clip.shape[1] != width or len(clip) == 0:
                raise ValueError(
                    f"clip {i} has shape {clip.shape}; expected (T, {width}) with at least one frame"
                )
            if not np.isfinite(clip).all():
                raise ValueError(f"clip {i} holds NaN or infinite frames")
        return clips


def _padded(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return clips of differing length as frames, (B, T, D), and a mask, (B, T), true within a clip."""
    lengths = torch.tensor([len(clip) for clip in clips])
    frames = nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
    return frames, torch.arange(frames.shape[1])[None] < lengths[:, None]
