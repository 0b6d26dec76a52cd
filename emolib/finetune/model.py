"""The result of a fine-tuning: an encoder of one layer, whose answers can be read off its pooled features.

Third stage of `emolib.finetune`. On disk it is a folder: ``config.json``, ``model.safetensors`` (the head)
and ``encoder/``, which transformers reads.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import Wav2Vec2FeatureExtractor
from transformers.utils import logging

from emolib import audio, encoders, folders
from emolib.finetune.network import Head
from emolib.finetune.settings import Settings

_KIND, ENCODER = "fine-tuned encoder", "encoder"


class FineTuned:
    """A fine-tuned encoder: as any `encoders.Encoder`, with one layer, 0, as wide as its bottleneck.

    Parameters
    ----------
    folder : str or Path; where `finetune` wrote it
    device : str

    Attributes
    ----------
    classes : list of str; what it tells apart, or valence and arousal
    settings : Settings

    Raises
    ------
    ValueError
        If there is no fine-tuned encoder in the folder.
    """

    layers: tuple[int, ...] = (0,)

    def __init__(self, folder: str | Path, *, device: str = "auto") -> None:
        folder = Path(folder)
        try:
            config, arrays = folders.read(folder, _KIND)
            self.settings, self.classes = Settings(**config["settings"]), list(config["classes"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder} holds no fine-tuned encoder ({error}); make one by `finetune`"
            ) from error
        base = config["baseline"] or str(folder / ENCODER)
        self._base = encoders.load(base, device=device)
        if self._base.fingerprint != config.get("encoder"):
            raise ValueError(
                f"the encoder in {folder} is not the one that its head was trained with; make it anew by "
                f"`finetune`"
            )
        n_layers, width = arrays["mean"].shape
        self.head = Head(n_layers, width, self.settings.bottleneck, len(self.classes), 0.0).eval()
        self.head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        self.name = f"finetuned-{folder.resolve().name}"
        self.sample_rate, self.hop_s = self._base.sample_rate, self._base.hop_s
        self.width = self.settings.bottleneck
        self.fingerprint = f"{self._base.fingerprint}-{config['sha256'][:16]}"

    @torch.inference_mode()
    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Encode mono waves to features, one float32 array (1, T, B) a wave."""
        states = self._base.encode(waves, sample_rate)
        frames = [self.head.features(torch.from_numpy(state).transpose(0, 1)) for state in states]
        return [frame.numpy()[None] for frame in frames]

    @torch.inference_mode()
    def answers(self, features: ArrayLike) -> NDArray[np.float64]:
        """Read class probabilities, or valence and arousal, (N, C), off pooled features, (N, B)."""
        out = self.head.answer(torch.from_numpy(np.asarray(features, dtype=np.float32)))
        return (out.softmax(1) if self.settings.target == "emotion" else out).double().numpy()


def write(
    folder: Path,
    model: Any,
    normalise: bool,
    head: Head,
    classes: Sequence[str],
    settings: Settings,
    identity: str,
) -> None:
    """Write a fine-tuned encoder, or a baseline's name in its place; ``config.json`` comes last."""
    if not isinstance(model, str):
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model.save_pretrained(folder / ENCODER)
        finally:
            if shown:
                logging.enable_progress_bar()
        Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder / ENCODER)
    arrays = {name: value.numpy(force=True) for name, value in head.state_dict().items()}
    base = model if isinstance(model, str) else str(folder / ENCODER)
    config = {
        "encoder": encoders.load(base, device="cpu").fingerprint,
        "classes": list(classes), "settings": asdict(settings),
        "baseline": model if isinstance(model, str) else None, "identity": identity,
    }  # fmt: skip
    folders.write(folder, _KIND, config, arrays)
