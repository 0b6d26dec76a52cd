"""A residual network that classifies emotion in log-mel-spectrograms: the classifier that more data may help.

However many clips there are, it takes the same number of steps over batches in which every class is drawn
equally often, so that what more data brings is not what more updates bring. Classical augmentation changes
the batches: SpecAugment hides bands and frames, mixup mixes clips in pairs. Padding never changes an answer;
in training, the batch norms' statistics include padded frames, which are zero.

References
----------
K. He, X. Zhang, S. Ren, J. Sun (2016), "Deep Residual Learning for Image Recognition", arXiv:1512.03385. Mean
and deviation over time: D. Snyder et al. (2018), "X-vectors: Robust DNN Embeddings for Speaker Recognition",
doi:10.1109/ICASSP.2018.8461375. Label smoothing: C. Szegedy et al. (2016), "Rethinking the Inception
Architecture for Computer Vision", arXiv:1512.00567. D. S. Park et al. (2019), "SpecAugment: A Simple Data
Augmentation Method for Automatic Speech Recognition", arXiv:1904.08779. H. Zhang, M. Cisse, Y. N. Dauphin,
D. Lopez-Paz (2018), "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib import files, threads
from emolib.training import Recipe, Training, torch_device

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ResNetSettings:
    """How a `ResNetRecogniser` is built and trained.

    Attributes
    ----------
    widths : tuple of int; channels of the stem and of each block
    steps : int; of the optimiser, whatever the number of clips
    batch_size : int, clips
    crop : int, frames; length of the training crops, cut at random from a clip's speech: 64 frames are 1.5 s
        of `audio.EMOGEN_MEL`. A judged clip is read whole
    rate : float; the highest learning rate
    weight_decay, label_smoothing, dropout : float
    spec_augment : bool; hide bands and frames of each clip
    mixup : float; alpha of the Beta distribution that shares of mixed clips come from, 0 for no mixing
    seed : int; of weights, batches, crops and augmentation
    """

    widths: tuple[int, ...] = (16, 24, 48, 96)
    steps: int = 600
    batch_size: int = 32
    crop: int = 64
    rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout: float = 0.2
    spec_augment: bool = False
    mixup: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch_size, self.crop, *self.widths)
        if min(counts) < 1 or len(self.widths) < 2 or self.rate <= 0 or self.mixup < 0:
            raise ValueError(
                f"{self}; expected whole numbers from 1, two or more widths, a rate above 0, a mixup from 0"
            )


class Spectrograms(Protocol):
    """What the classifier is trained on and applied to, such as `generate.Mels`."""

    @property
    def values(self) -> NDArray[Any]:
        """Log-mel-spectrograms, float32 (N, M, T)."""

    @property
    def mask(self) -> NDArray[Any]:
        """True where there is speech and no padding, bool (N, T)."""

    @property
    def labels(self) -> NDArray[Any]:
        """The classes, str (N,)."""


class ResNetRecogniser(files.Saved):
    """Classify emotion in log-mel-spectrograms.

    Parameters
    ----------
    settings : ResNetSettings, optional
    device : str

    Attributes
    ----------
    classes_ : str array, (C,), sorted
    mean_, scale_ : float32 arrays, (M,); level and spread of each band, of the speech that `fit` was given
    losses_ : list of float; of each step
    """

    KIND = "recogniser"

    def __init__(self, settings: ResNetSettings | None = None, *, device: str = "auto") -> None:
        self.settings, self.device = settings or ResNetSettings(), device

    def fit(self, mels: Spectrograms, *, normalised_by: Spectrograms | None = None) -> "ResNetRecogniser":
        """Train on clips.

        Parameters
        ----------
        mels : Spectrograms; N clips
        normalised_by : Spectrograms, optional
            The clips whose level and spread normalise every clip, by default those that are trained on.
            Classifiers that are compared should share them, so that only their training clips differ.

        Raises
        ------
        ValueError
            If shapes are wrong, a value isn't finite, a clip has no speech, there is one class, or the loss
            stops being a number.
        """
        labels = _checked(mels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class, {str(labels[0])!r}; expected at least two")
        if normalised_by is not None:
            _checked(normalised_by)
        speech = np.concatenate(_speech(normalised_by or mels), axis=1)
        self.mean_ = speech.mean(1, dtype=np.float64).astype(np.float32)
        self.scale_ = np.maximum(speech.std(1, dtype=np.float64), 0.1).astype(np.float32)
        return self._train(mels, codes)

    def warm_start(self, mels: Spectrograms, settings: ResNetSettings) -> "ResNetRecogniser":
        """Return a copy of this classifier, with its normalisation, that is trained further on other clips.

        Raises
        ------
        ValueError
            As `fit` does, and if a label is none of `classes_`.
        """
        labels = _checked(mels)
        if unknown := sorted(set(labels) - set(self.classes_)):
            raise ValueError(f"labels {', '.join(unknown)}; expected some of {', '.join(self.classes_)}")
        other = ResNetRecogniser(settings, device=self.device)
        other.classes_, other.mean_, other.scale_ = self.classes_, self.mean_, self.scale_
        return other._train(mels, np.searchsorted(self.classes_, labels), self._fitted().state_dict())

    def predict_proba(self, mels: Spectrograms) -> NDArray[np.float64]:
        """Return each clip's probabilities, (N, C), in the order of `classes_`.

        Raises
        ------
        ValueError
            If the classifier isn't fitted, or the spectrograms are unfit.
        """
        return torch.softmax(self._answers(mels, "forward").double(), dim=1).numpy()

    def predict(self, mels: Spectrograms) -> NDArray[Any]:
        """Return each clip's most probable class, (N,)."""
        answers = self.predict_proba(mels).argmax(axis=1)  # which refuses where nothing is fitted
        return self.classes_[answers]

    def features(self, mels: Spectrograms) -> Array:
        """Return the input of the last layer, (N, D): mean and deviation over time of the last block."""
        return self._answers(mels, "features").numpy()

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = {name: value.numpy(force=True) for name, value in self._fitted().state_dict().items()}
        config = {"settings": asdict(self.settings), "classes": self.classes_.tolist()}
        return config, arrays | {"mean": self.mean_, "scale": self.scale_}

    @classmethod
    def _loaded(
        cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **given: Any
    ) -> "ResNetRecogniser":
        found = cls(ResNetSettings(**files.from_json(config["settings"])), **given)
        found.classes_, found.losses_ = np.array(config["classes"]), []
        found.mean_, found.scale_ = arrays.pop("mean"), arrays.pop("scale")
        found._build()
        found._network.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        found._network.eval()
        return found

    def _fitted(self) -> "ResNet":
        if not hasattr(self, "_network"):
            raise ValueError("this recogniser isn't fitted; call fit, or load a saved one")
        return self._network

    def _build(self) -> None:
        network = ResNet(len(self.classes_), self.settings.widths, self.settings.dropout)
        self._network = network.to(torch_device(self.device), memory_format=torch.channels_last)  # type: ignore[call-overload]

    @threads.single()
    def _train(
        self, mels: Spectrograms, codes: NDArray[np.intp], weights: dict[str, Tensor] | None = None
    ) -> "ResNetRecogniser":
        settings, packed = self.settings, self._packed(mels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._build()
        if weights is not None:
            self._network.load_state_dict(weights)
        recipe = Recipe(
            settings.steps, settings.rate, warmup=settings.steps // 5, decay_share=0.8,
            weight_decay=settings.weight_decay, max_norm=math.inf, seed=settings.seed,
        )  # fmt: skip
        half = "bf16" if torch_device(self.device).type == "cuda" else "no"  # answers are float32
        training = Training(self._network, recipe, device=self.device, precision=half)

        def loss(batch: Any) -> Tensor:
            x, frames, targets = (torch.from_numpy(a).to(training.accelerator.device) for a in batch)
            scores = training.whole(x, frames).float()
            return F.cross_entropy(scores, targets, label_smoothing=settings.label_smoothing)

        training.run(lambda step: [self._batch(*packed, codes, step)], loss)
        self.losses_ = training.losses
        return self

    def _batch(
        self, packed: Array, n_frames: NDArray[np.int64], codes: NDArray[np.intp], step: int
    ) -> tuple[Array, NDArray[np.int64], Array]:
        """Draw crops, equally many of each class: (B, M, T), their frames, (B,), and targets, (B, C)."""
        settings, rng = self.settings, np.random.default_rng((self.settings.seed, step))
        present = np.unique(codes)
        drawn = present[rng.permutation(np.resize(rng.permutation(len(present)), settings.batch_size))]
        rows = np.array([rng.choice(np.flatnonzero(codes == code)) for code in drawn])
        width = min(settings.crop, packed.shape[2])
        starts = (rng.random(len(rows)) * np.maximum(n_frames[rows] - width + 1, 1)).astype(int)
        x = np.stack([packed[row, :, start : start + width] for row, start in zip(rows, starts, strict=True)])
        frames = np.minimum(n_frames[rows], width)
        targets = np.eye(len(self.classes_), dtype=np.float32)[drawn]
        if settings.mixup:
            x, targets = mixup(x, targets, rng, settings.mixup)
            frames = np.full_like(frames, frames.max())  # a mixed clip ends with the longer of the two
        return (spec_augment(x, rng) if settings.spec_augment else x), frames, targets

    def _packed(self, mels: Spectrograms) -> tuple[Array, NDArray[np.int64]]:
        """Return normalised speech moved to the front, zeros behind it, (N, M, T), and its frames, (N,)."""
        speech = _speech(mels)
        n_frames = np.array([clip.shape[1] for clip in speech])
        packed = np.zeros((len(speech), len(self.mean_), int(n_frames.max())), np.float32)
        for row, clip in enumerate(speech):
            packed[row, :, : n_frames[row]] = (clip - self.mean_[:, None]) / self.scale_[:, None]
        return packed, n_frames

    @torch.inference_mode()
    def _answers(self, mels: Spectrograms, method: str) -> Tensor:
        network = self._fitted()
        _checked(mels)
        if mels.values.shape[1] != len(self.mean_):
            raise ValueError(f"{mels.values.shape[1]} bands; this recogniser reads {len(self.mean_)}")
        x, frames = (torch.from_numpy(array).to(network.head.weight.device) for array in self._packed(mels))
        parts = [getattr(network, method)(x[i : i + 64], frames[i : i + 64]) for i in range(0, len(x), 64)]
        return torch.cat(parts).cpu()


def _speech(mels: Spectrograms) -> list[Array]:
    """Return each clip without its padding, (M, T).

    The silence before and after speech stays: relative to a wave's peak, its noise shows how loud the speaker
    was.
    """
    return [value[:, mask] for value, mask in zip(mels.values, mels.mask, strict=True)]


def _checked(mels: Spectrograms) -> NDArray[np.str_]:
    """Return the labels, (N,); raise ValueError if the spectrograms are unfit, which the message explains."""
    values, mask = np.asarray(mels.values), np.asarray(mels.mask)
    if values.ndim != 3 or not len(values) or mask.shape != (len(values), values.shape[2]):
        raise ValueError(f"shapes {values.shape} and {mask.shape}; expected (N, M, T) and a mask, (N, T)")
    if len(mels.labels) != len(values):
        raise ValueError(f"{len(mels.labels)} labels for {len(values)} clips; expected one each")
    if not np.isfinite(values[np.broadcast_to(mask[:, None], values.shape)]).all():
        raise ValueError("a spectrogram holds NaN or infinity; expected finite natural logarithms")
    if not mask.any(1).all():
        raise ValueError(f"{int((~mask.any(1)).sum())} clips have no frame of speech; leave them out")
    return np.asarray(mels.labels).astype(str)


# ------------------------------------------------------------------------------------- augmentation


def spec_augment(batch: Array, rng: np.random.Generator) -> Array:
    """Return a normalised batch, (B, M, T), with a stripe of bands and one of frames set to the mean, 0.

    Notes
    -----
    The widths are drawn uniformly, from 0 to 16 bands and to 8 frames, and to half the batch's at most. Time
    warping, the third part of SpecAugment, is left out: its authors found that it adds least.
    """
    kept = np.ones_like(batch, dtype=bool)
    for axis, most in ((1, 16), (2, 8)):
        length = batch.shape[axis]
        places, widths = np.arange(length), rng.integers(0, min(most, length // 2) + 1, len(batch))
        starts = rng.integers(0, length - widths + 1)
        hidden = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
        kept &= ~np.expand_dims(hidden, 3 - axis)
    return batch * kept


def mixup(batch: Array, targets: Array, rng: np.random.Generator, alpha: float) -> tuple[Array, Array]:
    """Return a batch in which each clip is mixed with another, and its targets mixed likewise.

    Parameters
    ----------
    batch : float32 array, (B, M, T)
    targets : float32 array, (B, C); probabilities
    rng : Generator
    alpha : float above 0; of the Beta distribution that shares are drawn from
    """
    other, share = rng.permutation(len(batch)), rng.beta(alpha, alpha, len(batch)).astype(np.float32)
    keep = share[:, None, None]
    mixed = keep * batch + (1 - keep) * batch[other]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[other]


# ------------------------------------------------------------------------------------- the network


class ResNet(nn.Module):
    """From normalised log-mel-spectrograms to scores of classes.

    Parameters
    ----------
    n_classes : int
    widths : sequence of int; channels of the stem and of each block. Every block but the first halves the
        resolution, and the stem quarters it
    dropout : float; of the features
    """

    def __init__(self, n_classes: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = itertools.pairwise(widths)
        self.blocks = nn.ModuleList(_Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(2 * widths[-1], n_classes)

    def features(self, x: Tensor, frames: Tensor) -> Tensor:
        """Return mean and deviation over time of the last block's output, (N, D).

        Parameters
        ----------
        x : float32 tensor, (N, M, T); zero where there is padding, which only follows speech
        frames : int tensor, (N,); the number of frames of speech
        """
        height = torch.linspace(-1, 1, x.shape[1], device=x.device)  # a filter may know its band
        x = torch.stack([x, height[None, :, None].expand_as(x)], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        whole = bool((frames >= x.shape[-1]).all())  # nothing to hide, as in most crops
        places = torch.arange(x.shape[-1], device=x.device)
        mask = None if whole else (places < frames[:, None])[:, None, None]  # (N, 1, 1, T)
        x, mask = self.stem(_hide(x, mask)), _halve(mask)
        x = _hide(torch.relu(self.norm(x)), mask)
        x, mask = nn.functional.max_pool2d(x, 2, ceil_mode=True), _halve(mask)
        for i, block in enumerate(self.blocks):
            mask = mask if i == 0 else _halve(mask)
            x = block(x, mask)
        x = x.float().mean(2)  # over bands: (N, C, T)
        return _statistics(x, torch.ones_like(x[:, :1]) if mask is None else mask[:, 0].float())

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Return scores, (N, C)."""
        return self.head(self.dropout(self.features(x, frames)))


class _Block(nn.Module):
    """Two convolutions of 3 x 3 and the input added to them."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = _hide(torch.relu(self.norms[0](self.first(x))), mask)
        return _hide(torch.relu(self.norms[1](self.second(h)) + self.shortcut(x)), mask)


def _halve(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[..., ::2]


def _hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x with zeros in the padding."""
    return x if mask is None else x * mask.to(x.dtype)


def _statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Return mean and deviation of x, (N, C, T), over the frames that the mask, (N, 1, T), keeps."""
    count = mask.sum(-1).clamp(min=1)
    mean = (x * mask).sum(-1) / count
    variance = ((x - mean[..., None]).square() * mask).sum(-1) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)
