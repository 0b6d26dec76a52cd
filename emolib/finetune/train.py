"""A fine-tuning from manifest to folder; after a kill, nothing more than an epoch is lost.

Seventh stage of `emolib.finetune`. Speakers that are held out decide when to end and which epoch is kept.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emolib import atomic, encoders
from emolib.finetune import model, network
from emolib.finetune.settings import Settings
from emolib.finetune.speech import Speech, identity_of, usable
from emolib.finetune.trainer import Trainer

CHECKPOINT, CURVE = "checkpoint.safetensors", "validation.csv"


@dataclass(frozen=True)
class Training:
    """What a fine-tuning did.

    Attributes
    ----------
    folder : Path; for `FineTuned`
    curve : DataFrame; epoch, training loss, and score of the held-out speakers: UA, or mean CCC
    best_epoch : int; the epoch that was kept; 0 is the frozen encoder of a warm start
    score : float; of the tested speakers at that epoch, which they had no part in choosing; NaN without any
    held_out, tested : list of str; the speakers that chose the epoch, and those of `score`
    n_clips : int; skipped : list of dict, clip and reason of each that could not be used
    seconds : float; of this call
    """

    folder: Path
    curve: pd.DataFrame
    best_epoch: int
    score: float
    held_out: list[str]
    tested: list[str]
    n_clips: int
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def finetune(
    manifest: pd.DataFrame,
    out: str | Path,
    settings: Settings | None = None,
    *,
    encoder: str = encoders.DEFAULT,
    device: str = "auto",
    resume: bool = True,
    progress: bool = False,
) -> Training:
    """Fine-tune an encoder on the categories of a manifest, or on its ratings.

    Parameters
    ----------
    manifest : DataFrame, as `corpora.load` returns it
    out : str or Path
        Folder of the result. A checkpoint in it is taken up; a finished training there is returned at once.
    settings : Settings, optional
        A frozen encoder under categories by default.
    encoder : str; a name for `encoders.load`
    device : str
    resume : bool; False starts again
    progress : bool

    Raises
    ------
    ValueError
        If a setting is out of range, there are fewer than two classes or too few speakers, ratings are asked
        for and none are there, or the folder holds a training of something else.
    """
    started, settings, out = time.perf_counter(), (settings or Settings()).check(), Path(out)
    manifest = usable(manifest, settings)
    speech = Speech(manifest, encoder, settings, device)
    identity = identity_of(speech, settings)
    with atomic.locked(out):  # a second process waits, and then is told if this is another training
        unfinished = resume and (out / CHECKPOINT).exists()
        first = None
        if settings.warm_start and settings.free_layers != 0 and not unfinished:
            first = _frozen(speech, encoder, settings, device)
        trainer = Trainer(speech, settings, device, identity)
        if unfinished:
            trainer.restore(out / CHECKPOINT)
        elif first is not None:
            trainer.begin_with(first)
        trainer.run(out / CHECKPOINT, progress=progress)
        if trainer.accelerator.is_main_process:
            pd.DataFrame(trainer.curve).to_csv(out / CURVE, index=False)
            model.write(
                out, speech.encoder, speech.normalise, trainer.head, trainer.classes, settings, identity
            )
    return Training(
        out, pd.DataFrame(trainer.curve), trainer.best_epoch, trainer.score(trainer.tested_rows),
        trainer.held_out, trainer.tested, len(speech.manifest), speech.skipped, time.perf_counter() - started,
    )  # fmt: skip


def _frozen(speech: Speech, encoder: str, settings: Settings, device: str) -> network.Head:
    """Return the head that is trained with nothing of the encoder free."""
    frozen = dataclasses.replace(
        settings, free_layers=0, precision="no",
        **{name: getattr(Settings, name) for name in ("head_rate", "n_epochs", "patience")},
    )  # fmt: skip
    trainer = Trainer(Speech(speech.manifest, encoder, frozen, device), frozen, device, "")
    trainer.run()
    return trainer.head
