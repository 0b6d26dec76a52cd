"""The neural baseline: attention pooling over frames, as a scikit-learn classifier.

A linear probe sees time averages only. This small network learns which frames to listen to: if it does
better, emotion is in the timing as well.

References
----------
Attentive pooling: K. Okabe, T. Koshinaka, K. Shinoda (2018), "Attentive Statistics Pooling for Deep Speaker
Embedding", arXiv:1803.10963.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from emolib import threads
from emolib.store import FeatureStore


class FrameDataset(Dataset):
    """The frames of clips, each with its label, for PyTorch.

    Parameters
    ----------
    store : FeatureStore, extracted with frames
    clips : sequence of str, N
    layer : int
    labels : sequence of int, N, optional
        Class numbers; -1 where left out.
    """

    def __init__(
        self, store: FeatureStore, clips: Sequence[str], layer: int, labels: Sequence[int] | None = None
    ) -> None:
        self.store, self.clips, self.layer = store, list(clips), layer
        self.labels = [-1] * len(self.clips) if labels is None else [int(label) for label in labels]
        if len(self.labels) != len(self.clips):
            raise ValueError(f"{len(self.labels)} labels for {len(self.clips)} clips; expected as many")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one clip's frames, float32 (T, D), and its label."""
        return torch.from_numpy(self.store.frames(self.clips[index], self.layer)), self.labels[index]


def pad_frames(items: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Collate clips of differing length: frames (B, T, D), mask (B, T), true in the clip, and labels (B,)."""
    frames = nn.utils.rnn.pad_sequence([item[0] for item in items], batch_first=True)
    lengths = torch.tensor([len(item[0]) for item in items])
    mask = torch.arange(frames.shape[1])[None] < lengths[:, None]
    return frames, mask, torch.tensor([item[1] for item in items])


def frame_loader(
    dataset: Dataset, *, batch_size: int = 32, shuffle: bool = False, seed: int = 0
) -> DataLoader:
    """Return a PyTorch loader of padded batches over a `FrameDataset`; `seed` fixes its order."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size, shuffle=shuffle, collate_fn=pad_frames, generator=generator)


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
        self.hidden = hidden
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.device = device
        self.seed = seed

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
            raise ValueError(f"one class, {self.classes_[0]}; expected at least two to tell apart")
        stacked = np.concatenate(clips)
        self.mean_, self.scale_ = stacked.mean(0), stacked.std(0) + 1e-6
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._train(self._standardise(clips), codes)
        return self

    def predict_proba(self, X: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Return each clip's class probabilities, (N, C)."""
        check_is_fitted(self)
        clips = self._standardise(self._check(X, reset=False))
        loader = frame_loader([(clip, -1) for clip in clips], batch_size=self.batch_size)  # type: ignore[arg-type]
        self.network_.eval()
        with torch.inference_mode():
            parts = [
                self.network_(f.to(self.device), m.to(self.device)).softmax(1).cpu() for f, m, _ in loader
            ]
        return torch.cat(parts).double().numpy()

    def predict(self, X: Sequence[ArrayLike]) -> NDArray:
        """Return each clip's most probable label, (N,)."""
        answers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[answers]

    @threads.single()
    def _train(self, clips: list[Tensor], codes: NDArray) -> None:
        self.network_ = _Network(self.n_features_in_, self.hidden, len(self.classes_), self.dropout).to(
            self.device
        )
        data = list(zip(clips, codes.tolist(), strict=True))
        loader = frame_loader(data, batch_size=self.batch_size, shuffle=True, seed=self.seed)  # type: ignore[arg-type]
        optimizer = torch.optim.AdamW(
            self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.n_epochs * len(loader)
        )
        self.network_.train()
        self.losses_ = []
        for _ in range(self.n_epochs):
            losses = []
            for frames, mask, target in loader:
                logits = self.network_(frames.to(self.device), mask.to(self.device))
                loss = nn.functional.cross_entropy(logits, target.to(self.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            self.losses_.append(float(np.mean(losses)))

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
