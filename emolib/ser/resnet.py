"""A residual network that hears emotion in log-mel-spectrograms: the recogniser that more data may help.

Last stage of the ResNet. However many clips there are, it takes the same number of steps over batches in
which every class is drawn alike, so that what more data brings is not what more updates bring.

References
----------
One cycle of the learning rate: L. N. Smith, N. Topin (2018), "Super-Convergence: Very Fast Training of Neural
Networks Using Large Learning Rates", arXiv:1708.07120. Label smoothing: C. Szegedy et al. (2016), "Rethinking
the Inception Architecture for Computer Vision", arXiv:1512.00567. The network: `emolib.ser.residual`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib import folders, threads
from emolib.encoders import torch_device
from emolib.ser.residual import ResNet
from emolib.ser.settings import ResNetSettings
from emolib.ser.specaugment import mixup, spec_augment
from emolib.ser.spectrograms import Array, Batch, Spectrograms, check, pack, speech_of

_KIND = "recogniser"


class ResNetRecogniser:
    """Recognise emotion in log-mel-spectrograms.

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

    classes_: NDArray[Any]
    mean_: Array
    scale_: Array
    losses_: list[float]

    def __init__(self, settings: ResNetSettings | None = None, *, device: str = "auto") -> None:
        self.settings, self.device = (settings or ResNetSettings()).check(), device

    def fit(self, mels: Spectrograms, *, normalised_by: Spectrograms | None = None) -> "ResNetRecogniser":
        """Train on clips.

        Parameters
        ----------
        mels : Spectrograms; N clips
        normalised_by : Spectrograms, optional
            The clips whose level and spread normalise every clip, by default those that are trained on.
            Recognisers that are compared should share them, so that only their training clips differ.

        Raises
        ------
        ValueError
            If shapes are wrong, a value isn't finite, a clip has no speech, there is one class, or the loss
            stops being a number.
        """
        check(mels)
        labels = np.asarray(mels.labels).astype(str)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class, {str(labels[0])!r}; expected at least two to tell apart")
        scale = mels if normalised_by is None else normalised_by
        check(scale)
        speech = np.concatenate(speech_of(scale), axis=1)
        self.mean_ = speech.mean(1, dtype=np.float64).astype(np.float32)
        self.scale_ = np.maximum(speech.std(1, dtype=np.float64), 0.1).astype(np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            self._build()
            self.losses_ = self._train(self._pack(mels), codes)
        self._network.eval()
        return self

    def predict_proba(self, mels: Spectrograms) -> NDArray[np.float64]:
        """Return each clip's probabilities, (N, C), in the order of `classes_`.

        Raises
        ------
        ValueError
            If the recogniser isn't fitted, or the spectrograms can't be heard.
        """
        scores = self._heard(mels, lambda network, x, frames: network(x, frames))
        return torch.softmax(scores.double(), dim=1).numpy()

    def predict(self, mels: Spectrograms) -> NDArray[Any]:
        """Return each clip's most probable class, (N,)."""
        answers = self.predict_proba(mels).argmax(axis=1)
        return self.classes_[answers]

    def features(self, mels: Spectrograms) -> Array:
        """Return what the answer is read off, (N, D): mean and deviation over time of the last block."""
        return self._heard(mels, lambda network, x, frames: network.features(x, frames)).numpy()

    def save(self, folder: str | Path) -> Path:
        """Write the recogniser into a folder."""
        arrays = {name: value.numpy(force=True) for name, value in self._fitted().state_dict().items()}
        arrays |= {"mean": self.mean_, "scale": self.scale_}
        config = {"settings": asdict(self.settings), "classes": self.classes_.tolist()}
        return folders.write(Path(folder), _KIND, config, arrays)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> "ResNetRecogniser":
        """Read a saved recogniser.

        Raises
        ------
        ValueError
            If there is none in the folder, or it is damaged.
        """
        try:
            config, arrays = folders.read(Path(folder), _KIND)
            settings = ResNetSettings(**config["settings"] | {"widths": tuple(config["settings"]["widths"])})
            found = cls(settings, device=device)
            found.classes_, found.losses_ = np.array(config["classes"]), []
            found.mean_, found.scale_ = arrays.pop("mean"), arrays.pop("scale")
            found._build()
            found._network.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = str(error).splitlines()[0]
            raise ValueError(f"{folder} holds no recogniser ({problem}); name a folder of `save`") from error
        found._network.eval()
        return found

    def warm_start(self, mels: Spectrograms, settings: ResNetSettings) -> "ResNetRecogniser":
        """Return a copy of this recogniser, with its normalisation, that is trained on by other clips.

        Raises
        ------
        ValueError
            As `fit` does, and if a label is none of `classes_`.
        """
        check(mels)
        labels = np.asarray(mels.labels).astype(str)
        if strange := sorted(set(labels) - set(self.classes_)):
            raise ValueError(f"labels {', '.join(strange)}; expected some of {', '.join(self.classes_)}")
        other = ResNetRecogniser(settings, device=self.device)
        other.classes_, other.mean_, other.scale_ = self.classes_, self.mean_, self.scale_
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            other._build()
            other._network.load_state_dict(self._fitted().state_dict())
            other.losses_ = other._train(other._pack(mels), np.searchsorted(self.classes_, labels))
        other._network.eval()
        return other

    def _fitted(self) -> ResNet:
        if not hasattr(self, "_network"):
            raise ValueError("this recogniser isn't fitted; call fit, or load a saved one")
        return self._network

    def _build(self) -> None:
        settings, self._device = self.settings, torch_device(self.device)
        network = ResNet(len(self.classes_), settings.widths, settings.dropout)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @threads.single()
    def _train(self, packed: Batch, codes: NDArray[np.intp]) -> list[float]:
        settings, network = self.settings, self._network
        optimiser = torch.optim.AdamW(
            network.parameters(), settings.rate, weight_decay=settings.weight_decay, fused=True
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.rate, total_steps=max(settings.steps + 1, 11), pct_start=0.2
        )
        rng, losses = np.random.default_rng(settings.seed), []
        network.train()
        for _ in range(settings.steps):
            x, frames, targets = self._batch(packed, codes, rng)
            scores = self._scores(lambda net, *heard: net(*heard), x, frames)
            wanted = torch.from_numpy(targets).to(self._device)
            loss = nn.functional.cross_entropy(scores, wanted, label_smoothing=settings.label_smoothing)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()}; train again with a lower rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            losses.append(float(loss.item()))
        return losses

    def _batch(
        self, packed: Batch, codes: NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.int64], Array]:
        """Draw clips, each class alike, and a crop of each: (B, M, T), frames (B,), targets (B, C)."""
        settings, (whole, n_frames) = self.settings, packed
        present = np.unique(codes)
        drawn = present[rng.permutation(np.resize(rng.permutation(len(present)), settings.batch_size))]
        rows = np.array([rng.choice(np.flatnonzero(codes == code)) for code in drawn])
        width = min(settings.crop, whole.shape[2])
        starts = (rng.random(len(rows)) * np.maximum(n_frames[rows] - width + 1, 1)).astype(int)
        x = np.stack([whole[row, :, start : start + width] for row, start in zip(rows, starts, strict=True)])
        frames = np.minimum(n_frames[rows], width)
        targets = np.eye(len(self.classes_), dtype=np.float32)[drawn]
        if settings.mixup:
            x, targets = mixup(x, targets, rng, alpha=settings.mixup)
            frames = np.full_like(frames, frames.max())  # of two mixed clips the longer speaks to its end
        return (spec_augment(x, rng) if settings.spec_augment else x), frames, targets

    def _pack(self, mels: Spectrograms) -> Batch:
        """Return normalised speech moved to the front, zeros behind it, (N, M, T), and its frames, (N,)."""
        return pack(speech_of(mels), self.mean_, self.scale_)

    def _scores(self, ask: Any, x: Array, frames: NDArray[np.int64]) -> Tensor:
        heard = torch.from_numpy(x).to(self._device), torch.from_numpy(frames).to(self._device)
        half = self._device.type == "cuda" and self._network.training  # answers are float32 on every device
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            return ask(self._network, *heard).float()

    @torch.inference_mode()
    def _heard(self, mels: Spectrograms, ask: Any) -> Tensor:
        self._fitted()
        check(mels)
        if mels.values.shape[1] != len(self.mean_):
            raise ValueError(f"{mels.values.shape[1]} bands; this recogniser hears {len(self.mean_)}")
        x, frames = self._pack(mels)
        parts = [self._scores(ask, x[i : i + 64], frames[i : i + 64]) for i in range(0, len(x), 64)]
        return torch.cat(parts).cpu()
