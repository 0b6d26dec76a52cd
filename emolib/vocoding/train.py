"""The training of a vocoder on the clips of a manifest.

Last stage of `emolib.vocoding`.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emolib import atomic
from emolib.encoders import torch_device
from emolib.vocoding.batches import Batches, Speech, load_speech, split
from emolib.vocoding.generator import generator_config
from emolib.vocoding.settings import Settings
from emolib.vocoding.trainer import CHECKPOINT, Trainer

#: Settings that may change where a training is taken up: how long to go on, when discriminators join in, and
#: how often to look.
_FREE = (
    "steps", "decay_share", "adversarial_from", "adversarial_weight", "match_weight", "discriminator_rate",
    "learning_rate", "average", "refine", "validate_every", "checkpoint_every",
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """What a training did.

    Attributes
    ----------
    folder : Path; a folder that `vocoder.load` reads
    steps : int
    validation : DataFrame
        step, and of the held-out clips the training's loss, log-mel L1 and PESQ, with n_pesq, the number of
        clips that PESQ could rate; it finds no utterance in the others, or is given silence.
    n_clips, speech_s : int and float; clips used, held-out ones included, and their length
    skipped : list of dict; path and reason of each clip that could not be used
    seconds : float; of this call
    """

    folder: Path
    steps: int
    validation: pd.DataFrame
    n_clips: int
    speech_s: float
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    manifest: pd.DataFrame,
    out: str | Path,
    settings: Settings | None = None,
    *,
    hold_out: Collection[str] = (),
    device: str = "auto",
    resume: bool = True,
    progress: bool = True,
) -> Training:
    """Train a HiFi-GAN generator on the clips of a manifest.

    Parameters
    ----------
    manifest : DataFrame
        Each row's sound and, where it is there, `speaker` are read.
    out : str or Path
        Folder of the vocoder. A checkpoint in it is taken up, to weights bit-equal to an undisturbed
        training's on the same processor and number of threads; more steps than before go on from its end.
        ``heard/`` in it lets the held-out clips be listened to as the training goes.
    settings : Settings, optional
        The recipe measured in ``models/hifigan-nano`` by default.
    hold_out : collection of str
        Speakers that are never trained on; validation clips are theirs.
    device : str
        ``auto`` takes CUDA where there is one.
    resume : bool
        False starts again, whatever lies in `out`.
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ValueError
        If the manifest is empty or holds no usable clip, a held-out speaker isn't there, the settings don't
        fit the mel-spectrogram, the checkpoint in `out` is of other settings or speech, or the loss isn't
        finite; the last good checkpoint then stays.
    """
    start, out, settings = time.monotonic(), Path(out), settings or Settings()
    config = generator_config(settings)
    if len(manifest) == 0:
        raise ValueError("the manifest has no clips; give one with at least a path for each clip to train on")
    speech, skipped = load_speech(manifest, progress=progress)
    if len(speech.waves) < 2:
        problem = skipped[0]["reason"] if skipped else "there is one clip"
        raise ValueError(
            f"{len(speech.waves)} of {len(manifest)} clips can be used and at least 2 are needed, one to "
            f"train on and one held out; the first problem: {problem}"
        )
    training, validation = split(speech, hold_out, settings)
    batches = Batches(speech, training, settings)
    held_out = Batches(speech, validation, settings).validation()
    identity = _identity(speech, training, settings)
    trainer = Trainer(batches, held_out, config, torch_device(device), identity)
    with atomic.locked(out):  # a second process waits, and then is told if this is another training
        if not resume:
            (out / CHECKPOINT).unlink(missing_ok=True)
        trainer.run(out, progress=progress)
    return Training(
        folder=out, steps=trainer.step, validation=pd.DataFrame(trainer.curve), n_clips=len(speech.waves),
        speech_s=speech.seconds, skipped=skipped, seconds=time.monotonic() - start,
    )  # fmt: skip


def _identity(speech: Speech, training: NDArray[np.int64], settings: Settings) -> str:
    """Return a hash of the speech and of the settings that have to stay."""
    fixed = {k: v for k, v in dataclasses.asdict(settings).items() if k not in _FREE}
    digest = hashlib.sha256(json.dumps(fixed).encode() + training.tobytes())
    for wave, voice in zip(speech.waves, speech.voices, strict=True):
        digest.update(wave.tobytes() + voice.encode())
    return digest.hexdigest()
