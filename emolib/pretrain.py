"""Training from speech alone: what the recipes of the shipped encoder and of a vocoder share.

How a network was made is told beside it, in ``models/<name>/recipe.py``, and `recipe` imports that.
``recipe("wav2vec2-nano").pretrain(manifest, out)`` makes an encoder for `emolib.encoders`;
``recipe("hifigan-nano").train_vocoder(manifest, out)`` makes a vocoder for `emolib.vocoder`.
"""

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import librosa
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from emolib import audio, paths
from emolib.training import Loss, Training

#: The file of a training's validations.
CURVE = "validation.csv"
_TOP_DB = 40.0  # what is quieter than this, at either end, is not the clip
#: Numbers of clips.
Clips = NDArray[np.int64]


def recipe(model: str) -> ModuleType:
    """Import the ``recipe.py`` beside a shipped model, or beside its card where no weights are shipped.

    Raises
    ------
    ValueError
        If there is none.
    """
    folder, package = paths.CHECKOUT / "models" / model, f"emolib_{model.replace('-', '_')}"
    if not (folder / "recipe.py").is_file():
        raise ValueError(f"no recipe.py in {folder}; expected a checkout of emolib, or its wheel")
    if package not in sys.modules:  # a folder whose files import one another
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
    return importlib.import_module(f"{package}.recipe")


@dataclass(frozen=True)
class Pretraining:
    """What a training did.

    Attributes
    ----------
    folder : Path; of the network
    steps : int
    validation : DataFrame; step, and what was measured of the held-out clips
    n_clips, speech_s : int and float; clips used, held-out ones included, and their length with silence
    skipped : list of dict; path and reason of each clip that could not be used
    seconds : float; of this call
    """

    folder: Path
    steps: int
    validation: pd.DataFrame
    n_clips: int
    speech_s: float
    skipped: list[dict[str, str]]
    seconds: float


def carry_out(
    training: Training, batch: Callable[[int], Any], loss: Loss,
    validate: Callable[[], Mapping[str, float]], export: Callable[[Training, Path], None], speech: "Speech",
    out: Path, started: float, *, name: str, progress: bool,
) -> Pretraining:  # fmt: skip
    """Run a training, export it on the way, and tell what it did.

    Parameters
    ----------
    training, batch, loss, validate, export : the training, its batch of a step, the batch's loss, its
        validation, and what writes its network; the recipe has validate_every and checkpoint_every
    speech : Speech
    out : Path; a folder that `training.in_folder` holds
    started : float, s; of `time.monotonic`, when the speech was yet to be loaded
    name : str; of the progress bar
    progress : bool
    """
    settings: Any = training.recipe

    def write() -> None:
        export(training, out)
        pd.DataFrame(training.curve).to_csv(out / CURVE, index=False)

    training.run(
        lambda step: [batch(step).to(training.accelerator.device)], loss, folder=out, validate=validate,
        validate_every=settings.validate_every, checkpoint_every=settings.checkpoint_every,
        events=[(settings.checkpoint_every, write)], name=name, progress=progress,
    )  # fmt: skip
    write()  # always: a training killed after its last checkpoint has not done so
    speech_s = sum(map(len, speech.waves)) / speech.sample_rate
    return Pretraining(
        out, training.step, pd.DataFrame(training.curve), len(speech.waves), speech_s, speech.skipped,
        time.monotonic() - started,
    )  # fmt: skip


@dataclass(frozen=True)
class Speech:
    """N clips at one sampling rate.

    Attributes
    ----------
    waves : list of int16 arrays, (S,)
    spans : int64 array, (N, 2), samples; where the clip begins and ends within the silence around it
    speakers : list of str
    sample_rate : int, Hz
    skipped : list of dict; path and reason of each clip that could not be used
    """

    waves: list[NDArray[np.int16]]
    spans: NDArray[np.int64]
    speakers: list[str]
    sample_rate: int
    skipped: list[dict[str, str]]

    def wave(self, clip: int, first: int = 0, last: int | None = None) -> audio.Wave:
        """Return one clip, or the part from one sample to another, as float32, (S,)."""
        return self.waves[clip][first:last].astype(np.float32) / np.float32(32_768)

    def chances(self, clips: Clips) -> NDArray[np.float64]:
        """Return how likely each of some clips is drawn: a speaker counts as the root of its clips."""
        speakers = np.unique(np.asarray(self.speakers)[clips], return_inverse=True)[1]
        weight = np.bincount(speakers)[speakers] ** -0.5
        return weight / weight.sum()


def load_speech(
    manifest: pd.DataFrame, sample_rate: int, *, shortest_s: float = 0.3, progress: bool = False
) -> Speech:
    """Load the clips of a manifest; each row's sound and, where it is there, `speaker` are read.

    Raises
    ------
    ValueError
        If the manifest is empty, or fewer than two clips can be used.
    """
    if len(manifest) == 0:
        raise ValueError("the manifest has no clips; give one with at least a path for each clip to train on")
    waves, spans, speakers, skipped = [], [], [], []
    for row in tqdm(manifest.to_dict("records"), "load", unit="clip", disable=not progress):
        try:
            wave, _ = audio.load_clip(row, sample_rate)
            span = librosa.effects.trim(wave, top_db=_TOP_DB)[1]
            if span[1] - span[0] < shortest_s * sample_rate:
                raise audio.AudioError(f"shorter than {shortest_s} s without its silence")
        except audio.AudioError as error:
            skipped.append({"path": str(row["path"]), "reason": str(error)})
            continue
        waves.append((np.clip(wave, -1, 1) * 32_767).astype(np.int16))
        spans.append(span)
        speakers.append(str(row.get("speaker", "")))
    if len(waves) < 2:
        problem = skipped[0]["reason"] if skipped else "there is one clip"
        raise ValueError(
            f"{len(waves)} of {len(manifest)} clips can be used and at least 2 are needed, one to train on "
            f"and one held out; the first problem: {problem}"
        )
    return Speech(waves, np.asarray(spans, np.int64), speakers, sample_rate, skipped)
