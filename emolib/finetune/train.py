"""A fine-tuning from manifest to folder, and the features and answers that an encoder then gives.

Some speakers are held out to choose the epoch that is kept, and others are tested: the highest of many scores
on some clips is too high an estimate for other clips.
"""

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emolib import features, metrics, paths
from emolib.corpora.manifest import Skipped
from emolib.corpora.scan import measure, sound_files
from emolib.files import write_file
from emolib.finetune import network
from emolib.finetune.network import AXES, FineTuned, Settings, Speech, usable
from emolib.store import FeatureStore
from emolib.training import Recipe, Training, best, identity, in_folder

CURVE, ANSWERS = "validation.csv", "answers.csv"
#: Settings that may change where a training is resumed: how long it is.
FREE = ("n_epochs", "patience")


@dataclass(frozen=True)
class FineTuning:
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
    encoder: str = paths.SHIPPED_ENCODER,
    device: str = "auto",
    resume: bool = True,
    progress: bool = False,
) -> FineTuning:
    """Fine-tune an encoder on the categories of a manifest, or on its ratings.

    Parameters
    ----------
    manifest : DataFrame, as `corpora.load` returns it
    out : str or Path
        Folder of the result. A checkpoint in it is resumed; a finished training there is returned at once.
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
    speech = Speech(usable(manifest, settings), encoder, settings, device)
    rows = speech.manifest[["clip", "sha256", "speaker", "emotion", *AXES]].to_csv(index=False)
    key = identity(settings, speech.fingerprint, rows, free=FREE)
    with in_folder(out, key, resume=resume) as unfinished:
        tuning = Tuning(speech, settings, device, key)
        warm = settings.warm_start and settings.free_layers != 0
        if warm and unfinished is None:
            tuning.head.load_state_dict(_frozen_head(speech, encoder, settings, device).state_dict())
        tuning.run(out, validate_first=warm, progress=progress)
        if tuning.training.accelerator.is_main_process:
            tuning.curve().to_csv(out / CURVE, index=False)
            network.write(out, speech, tuning.head, tuning.classes, settings, key)
    return FineTuning(
        out, tuning.curve(), tuning.best_epoch(), tuning.score(tuning.rows["tested"]),
        tuning.speakers["held out"], tuning.speakers["tested"], len(speech.manifest), speech.skipped,
        time.perf_counter() - started,
    )  # fmt: skip


def _frozen_head(speech: Speech, encoder: str, settings: Settings, device: str) -> network.Head:
    """Return the head that is trained with nothing of the encoder free."""
    frozen = dataclasses.replace(
        settings, free_layers=0, precision="no",
        **{name: getattr(Settings, name) for name in ("head_rate", "n_epochs", "patience")},
    )  # fmt: skip
    tuning = Tuning(Speech(speech.manifest, encoder, frozen, device), frozen, device)
    tuning.run()
    return tuning.head


class Tuning:
    """A fine-tuning in progress.

    Attributes
    ----------
    classes : list of str; head : Head; training : Training
    speakers, rows : dicts; who is held out, tested and trained on, and the numbers of their clips
    """

    def __init__(self, speech: Speech, settings: Settings, device: str, key: str = "") -> None:
        self.speech, self.settings, manifest = speech, settings, speech.manifest
        self.weight: Tensor | None = None
        if settings.target == "ratings":
            self.classes = list(AXES)
            self.targets = torch.from_numpy(manifest[list(AXES)].to_numpy(np.float32))
        else:
            names, codes = np.unique(manifest["emotion"].to_numpy().astype(str), return_inverse=True)
            self.classes, self.targets = names.tolist(), torch.from_numpy(codes)
            if settings.class_weights:
                self.weight = torch.from_numpy(len(codes) / (len(names) * np.bincount(codes))).float()
        self._split(manifest["speaker"].to_numpy().astype(str))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._build(device, key)

    def _split(self, speakers: NDArray[Any]) -> None:
        names = np.random.default_rng(self.settings.seed).permutation(np.unique(speakers))
        held, tested = self.settings.held_out, self.settings.tested
        n_held = min(len(names) - 1 - (tested > 0), max(1, round(held * len(names))))
        n_tested = min(len(names) - 1 - n_held, max(1, round(tested * len(names)))) if tested else 0
        parts = np.split(names, [n_held, n_held + n_tested])
        kinds = ("held out", "tested", "train")
        self.speakers = {kind: sorted(part.tolist()) for kind, part in zip(kinds, parts, strict=True)}
        self.rows = {name: np.flatnonzero(np.isin(speakers, own)) for name, own in self.speakers.items()}

    def _build(self, device: str, key: str) -> None:
        settings, speech, look = self.settings, self.speech, self.rows["train"]
        learning: list[nn.Parameter] = []
        if isinstance(speech.encoder, nn.Module):
            learning = network.free(speech.encoder, settings.free_layers)
        if speech.states is None:  # a sample tells the level and spread of every layer
            look = look[:: max(1, len(look) // 64)]
        pooled = self._pooled(look)
        n_layers, width = pooled.shape[1:]
        self.head = network.Head(n_layers, width, settings.bottleneck, len(self.classes), settings.dropout)
        self.head.standardise(pooled)
        self.network = network.Whole(speech.encoder, self.head, speech.normalise)
        groups = [{"params": list(self.head.parameters()), "lr": settings.head_rate}]
        groups += [{"params": learning, "lr": settings.encoder_rate}] if learning else []
        self.per_epoch = len(self._steps(0))
        recipe = Recipe(
            settings.n_epochs * self.per_epoch, settings.head_rate, warmup=0, decay_share=0.0, max_norm=5.0,
            weight_decay=settings.weight_decay, metric="score", highest=True, patience=settings.patience,
            seed=settings.seed,
        )  # fmt: skip
        precision = settings.precision
        self.training = Training(self.network, recipe, key, device=device, precision=precision, groups=groups)

    def _steps(self, epoch: int) -> list[list[NDArray[np.intp]]]:
        """Return an epoch's steps, each of some batches of clips; the last one takes what is left."""
        size, together = self.settings.batch_size, self.settings.accumulation
        order = np.random.default_rng((self.settings.seed, epoch)).permutation(self.rows["train"])
        rank, n = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
        own = order[: len(order) // n * n][rank::n]  # each process of one training has clips of its own
        batches = [own[i : i + size] for i in range(0, len(own), size)]
        if self.settings.target == "ratings":
            batches = [rows for rows in batches if len(rows) > 1]  # a single clip has no concordance
        return [batches[i : i + together] for i in range(0, len(batches), together)]

    @torch.no_grad()
    def _pooled(self, rows: NDArray[np.intp]) -> Tensor:
        """Return whole clips' pooled states, (n, L, D)."""
        if self.speech.states is not None and not self.speech.frames:
            return self.speech.states[rows]
        encoder, normalise = self.speech.encoder.eval(), self.speech.normalise
        parts = [self.speech.batch(rows[i : i + 1]) for i in range(len(rows))]
        return torch.cat([network.states_of(encoder, part, normalise) for part in parts])

    def run(self, folder: Path | None = None, validate_first: bool = False, progress: bool = False) -> None:
        """Train to the end and keep the best epoch; in a folder, with a checkpoint after each."""
        settings, own = self.settings, self.training.accelerator

        def batches(step: int) -> Sequence[Any]:
            rng = np.random.default_rng((settings.seed, step, own.process_index))
            some = self._steps(step // self.per_epoch)[step % self.per_epoch]
            return [(rows, self.speech.batch(rows, settings.crop_s, rng)) for rows in some]

        def loss(batch: tuple[NDArray[np.intp], Any]) -> Tensor:
            rows, clips = batch
            answers, targets = self.training.whole(clips), self.targets[rows].to(own.device)
            if settings.target == "ratings":
                return network.ccc_loss(answers, targets)
            weight = None if self.weight is None else self.weight.to(own.device)
            return F.cross_entropy(answers.float(), targets, weight)

        self.training.run(
            batches, loss, folder=folder, validate=lambda: {"score": self.score(self.rows["held out"])},
            validate_first=validate_first, validate_every=self.per_epoch, checkpoint_every=self.per_epoch,
            name="finetune", progress=progress,
        )  # fmt: skip

    def curve(self) -> pd.DataFrame:
        """Return each epoch's mean training loss, and score of the held-out speakers."""
        per_epoch, losses = self.per_epoch, self.training.losses
        rows = [
            {"epoch": epoch, "loss": float(np.mean(losses[(epoch - 1) * per_epoch : epoch * per_epoch])),
             "score": row["score"]}
            for row in self.training.curve if (epoch := int(row["step"]) // per_epoch)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def best_epoch(self) -> int:
        """Return the epoch whose weights are kept."""
        row = self.training.curve[best(self.training.curve, self.training.recipe)]
        return int(row["step"]) // self.per_epoch

    @torch.no_grad()
    def score(self, rows: NDArray[np.intp]) -> float:
        """Return the UA of some clips, or their CCC averaged over the axes; NaN of none."""
        if not len(rows):
            return float("nan")
        self.network.eval()
        answers = self.head(self._pooled(rows).to(self.head.mix.device)).cpu()
        truth = self.targets[rows].numpy()
        if self.settings.target == "ratings":
            return float(np.mean([metrics.ccc(truth[:, i], answers[:, i].numpy()) for i in range(2)]))
        return metrics.unweighted_accuracy(truth, answers.argmax(1).numpy())


# ------------------------------------------------------------------------------------- inference


@dataclass(frozen=True)
class Inference:
    """What was written.

    Attributes
    ----------
    store : FeatureStore; layer 0
    answers : DataFrame; clip, the predicted class (where classes were learned), one column per class or axis
    path : Path; where the answers lie, as CSV
    skipped : list of dict, clip and reason
    """

    store: FeatureStore
    answers: pd.DataFrame
    path: Path
    skipped: list[dict[str, str]] = field(default_factory=list)


def infer(
    folder: str | Path, manifest: pd.DataFrame, *, url: str | Path | None = None, device: str = "auto"
) -> Inference:
    """Write a fine-tuned encoder's features of the clips of a manifest, and its answers.

    Parameters
    ----------
    folder : str or Path; as `finetune` wrote it
    manifest : DataFrame, as `corpora.load` or `files_manifest` returns it
    url : str or Path, optional
        The store's folder; ``data/features/<corpus>/finetuned-<folder>`` by default. ``answers.csv`` is put
        there.
    device : str

    Raises
    ------
    ValueError
        If the folder holds no fine-tuned encoder, or as `features.extract` does.
    """
    encoder = FineTuned(folder, device=device)
    target = Path(url) if url else paths.feature_store(str(manifest["corpus"].iloc[0]), encoder.name)
    done = features.extract(manifest, encoder, url=target, device=device)
    clips = manifest["clip"][~done.store.missing(manifest)].tolist()
    read = encoder.answers(done.store.pooled(0, "mean", clips))
    table = pd.DataFrame(read, columns=encoder.classes)
    if encoder.settings.target == "emotion":
        table.insert(0, "predicted", np.array(encoder.classes)[read.argmax(axis=1)])
    table.insert(0, "clip", clips)
    write_file(target / ANSWERS, table.to_csv(index=False, float_format="%.6f").encode())
    return Inference(done.store, table, target / ANSWERS, done.skipped)


def files_manifest(folder: str | Path) -> pd.DataFrame:
    """Return a manifest of every sound file under a folder, without labels, for `infer`.

    Returns
    -------
    manifest : DataFrame
        clip, corpus, path, start_s, end_s, sha256 and duration_s; ``manifest.attrs["skipped"]`` lists
        what can't be used.

    Raises
    ------
    ValueError
        If there is no usable sound in it.
    """
    root, rows, skipped = Path(folder), [], []
    for path in sound_files(root):
        sound = measure(path)
        if isinstance(sound, Skipped):
            skipped.append({"path": str(path), "reason": sound.reason})
            continue
        rows.append(
            {"clip": path.relative_to(root).as_posix(), "corpus": paths.folder_name(root.resolve().name),
             "path": str(path), "start_s": math.nan, "end_s": math.nan, "sha256": sound.sha256,
             "duration_s": sound.duration_s}
        )  # fmt: skip
    if not rows:
        raise ValueError(f"no usable sound in {folder} ({len(skipped)} files were unfit)")
    manifest = pd.DataFrame(rows)
    manifest.attrs["skipped"] = skipped
    return manifest
