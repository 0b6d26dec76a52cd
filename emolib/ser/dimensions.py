"""Arousal, dominance and valence as audEERING's published network predicts them.

It is a wav2vec 2.0 with a regression head, fine-tuned on ratings of MSP-Podcast:
``audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim`` and others of its layout.

References
----------
J. Wagner et al. (2023), "Dawn of the Transformer Era in Speech Emotion Recognition: Closing the Valence Gap",
doi:10.1109/TPAMI.2023.3263585, arXiv:2203.07378.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import linear

from emolib import audio, encoders, features
from emolib.encoders.wav2vec2 import Wav2Vec2Encoder

#: In the order of the published head's outputs.
DIMENSIONS = ("arousal", "dominance", "valence")
_HEAD = ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias")


class DimensionalModel:
    """A network with a regression head, as an encoder that gives one frame of three values per clip.

    Parameters
    ----------
    name : str
        A folder in ``models/``, any folder, or a Hugging Face id.
    device : str
        ``auto`` takes CUDA where there is one.

    Raises
    ------
    ValueError
        If there is no such network, or it is none with a head for `DIMENSIONS`.

    Notes
    -----
    With h the mean over the frames of the last hidden state, the values are U tanh(W h + b) + c.
    """

    layers: tuple[int, ...] = (0,)
    width, hop_s, first_frame_s = len(DIMENSIONS), math.inf, 0.0

    def __init__(self, name: str, device: str = "auto") -> None:
        model, self.sample_rate, normalise = encoders.load_model(name)
        config, head = model.config, encoders.read_tensors(name, "classifier.")
        labels = [label.removeprefix("LABEL_") for label in config.id2label.values()]
        labels = list(DIMENSIONS) if labels == ["0", "1", "2"] else labels  # a config that names none
        supported = config.model_type == "wav2vec2" and not config.add_adapter
        if not supported or set(labels) != set(DIMENSIONS) or set(head) != set(_HEAD):
            raise ValueError(
                f"{name!r} is a {config.model_type!r} model with outputs {labels} and the tensors "
                f"{sorted(head)} in its classifier; expected a wav2vec2 model with outputs "
                f"{', '.join(DIMENSIONS)} and {', '.join(_HEAD)}, such as "
                f"audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
            )
        rows = [labels.index(dimension) for dimension in DIMENSIONS]
        self._dense = head["dense.weight"], head["dense.bias"]
        self._out = head["out_proj.weight"][rows], head["out_proj.bias"][rows]
        # the encoder returns a block's own output, without the norm behind the last one
        self._norm = model.encoder.layer_norm if config.do_stable_layer_norm else nn.Identity()
        self._encoder = Wav2Vec2Encoder(
            name, model, self.sample_rate, normalise,
            layers=[config.num_hidden_layers], device=encoders.torch_device(device),
        )  # fmt: skip
        digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in (*self._dense, *self._out)))
        self.fingerprint = f"{self._encoder.fingerprint}-{digest.hexdigest()[:16]}"
        self.name = f"dimensional:{name}"

    @torch.inference_mode()
    def encode(self, waves: Sequence[audio.Wave], sample_rate: int) -> list[NDArray[np.float32]]:
        """Predict `DIMENSIONS` of mono waves, each about 0 to 1: a float32 array (1, 1, 3) per wave."""
        found = []
        for state in self._encoder.encode(waves, sample_rate):
            mean = self._norm(torch.from_numpy(state[0])).mean(dim=0)
            values = linear(torch.tanh(linear(mean, *self._dense)), *self._out)
            found.append(values.numpy()[None, None])
        return found


def dimensional(
    manifest: pd.DataFrame, name: str, *, url: str | Path | None = None, device: str = "auto",
    progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Predict arousal, dominance and valence of clips by a network with a regression head.

    Parameters
    ----------
    manifest : DataFrame
        As `corpora.load` returns it.
    name, device : as for `DimensionalModel`
    url : str or Path, optional
        Store that keeps the predictions; ``data/features/<corpus>/dimensional-<name>`` by default.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    manifest : DataFrame
        A copy with the columns predicted_arousal, predicted_dominance and predicted_valence: about -1 to 1,
        as ratings are (the network's 0 is -1, its 1 is 1); NaN where a clip could not be encoded, which
        ``attrs["skipped"]`` then lists with the reason.

    Raises
    ------
    ValueError
        As `DimensionalModel` and `features.extract` do.
    """
    model = DimensionalModel(name, device)
    done = features.extract(manifest, model, frames=False, url=url, progress=progress)
    known = ~done.store.missing(manifest)
    values = np.full((len(manifest), len(DIMENSIONS)), np.nan)
    values[known] = 2 * done.store.pooled(0, "mean", manifest["clip"][known].tolist()) - 1
    predicted = manifest.assign(**{f"predicted_{k}": v for k, v in zip(DIMENSIONS, values.T, strict=True)})
    predicted.attrs["skipped"] = [*manifest.attrs.get("skipped", []), *done.skipped]
    return predicted
