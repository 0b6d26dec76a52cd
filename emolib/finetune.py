"""An encoder fine-tuned on categories, or on ratings where a corpus has them, and the features it then gives.

The network weights all hidden states, pools them over time, reduces them to 100 numbers and predicts from
those. `finetune` trains it and resumes after a kill; `FineTuned` is the result, an encoder like any other;
`infer` writes its features to a store with its answers beside them.

What no training changes is computed once: all states of a frozen encoder, and what lies under the blocks that
learn. They come from the feature store, pooled or as frames; an encoder that learns as a whole reads waves.
Weighting, pooling and bottleneck are linear, so pooled features are the mean of the frames', and a frozen
encoder's states may be pooled before anything is learned.

Some speakers are held out to choose the epoch that is kept, and others are tested: the highest of many scores
on some clips is too high an estimate for other clips.

References
----------
S.-w. Yang et al. (2021), "SUPERB", arXiv:2105.01051 (weighted layers); E. Zhou, Y. Zhang, Z. Duan (2023),
arXiv:2311.14816 (mean pooling and a bottleneck of 100). The CCC as a loss: F. Weninger et al. (2016),
"Discriminatively Trained Recurrent Neural Networks for Continuous Dimensional Emotion Recognition", IJCAI.
"""

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from emolib import audio, encoders, features, files, metrics, paths
from emolib.corpora.manifest import Skipped
from emolib.corpora.scan import measure, sound_files
from emolib.encoders import inputs_of, load_model, quiet_transformers
from emolib.encoders.transformer import attention_bias
from emolib.store import FeatureStore
from emolib.training import Recipe, Training, best, identity, in_folder

CURVE, ANSWERS = "validation.csv", "answers.csv"
AXES = ("valence", "arousal")
#: Settings that may change where a training is resumed: how long it is.
FREE = ("n_epochs", "patience")
_KIND, _ENCODER = "fine-tuned encoder", "encoder"
Free = int | Literal["all"]
#: Numbers of clips.
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """How an encoder is fine-tuned.

    Attributes
    ----------
    target : {"emotion", "ratings"}; cross-entropy over categories, or 1 - CCC over valence and arousal
    free_layers : int or "all"; blocks that learn, from the top. 0 leaves the encoder frozen and takes
        seconds, "all" frees the front end as well
    warm_start : bool; where something of the encoder learns, begin with the head of a frozen one: a head
        that knows nothing first undoes what the encoder knows (A. Kumar et al. 2022, arXiv:2202.10054).
        Nothing worse than it on held-out speakers is kept
    bottleneck : int; width of the features that the answer is read off; dropout : float, of them
    head_rate, encoder_rate : float; learning rates of what is new and of what was trained before
    weight_decay : float
    class_weights : bool; weigh every class the same, however many clips it has
    n_epochs : int, at most; patience : int; epochs without a gain after which it ends
    held_out : float; share of the speakers that decide when to end and which epoch is kept
    tested : float; share of the speakers that decide nothing, and whose score is the one to quote; 0 for none
    batch_size : int, clips; accumulation : int; batches a step
    crop_s : float, s; training clips are cut at random to this length where the encoder learns
    precision : {"no", "bf16", "fp16"}
    seed : int
    """

    target: Literal["emotion", "ratings"] = "emotion"
    free_layers: Free = 0
    warm_start: bool = True
    bottleneck: int = 100
    dropout: float = 0.3
    head_rate: float = 3e-3
    encoder_rate: float = 1e-4
    weight_decay: float = 0.01
    class_weights: bool = True
    n_epochs: int = 60
    patience: int = 10
    held_out: float = 0.15
    tested: float = 0.0
    batch_size: int = 32
    accumulation: int = 1
    crop_s: float = 3.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0

    def check(self) -> "Settings":
        """Return these settings, or raise ValueError if one of them is out of its range."""
        if self.target not in ("emotion", "ratings"):
            raise ValueError(f"unknown target {self.target!r}; expected 'emotion' or 'ratings'")
        if self.free_layers != "all" and (not isinstance(self.free_layers, int) or self.free_layers < 0):
            raise ValueError(f"free_layers={self.free_layers!r}; expected a whole number from 0, or 'all'")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"unknown precision {self.precision!r}; expected 'no', 'bf16' or 'fp16'")
        if not 0 < self.held_out < 1 or not 0 <= self.tested < 1:
            raise ValueError(
                f"held_out={self.held_out}, tested={self.tested}; expected shares of the speakers, between 0 "
                f"and 1; 0 tests nobody"
            )
        for name in ("bottleneck", "n_epochs", "patience", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected 1 or more")
        return self


#: What frees an encoder's top and takes minutes on two cores: few epochs at a low rate, on short cuts.
TOP_BLOCKS = Settings(
    free_layers=2, encoder_rate=5e-5, head_rate=3e-4, n_epochs=4, patience=2, crop_s=2.0, precision="bf16"
)


class Cut(NamedTuple):
    """The output of an encoder's frozen part for some clips, from which its free blocks continue.

    Attributes
    ----------
    below : float32 tensor, (B, k, D); pooled states at the layers under the first free block's input
    frames : float32 tensor, (B, T, D); what enters the first free block, padded
    lengths : int tensor, (B,); frames that count
    """

    below: Tensor
    frames: Tensor
    lengths: Tensor


class Speech:
    """The clips of a training.

    Attributes
    ----------
    manifest : DataFrame; the clips that could be used
    states : float32 tensor, (N, L, D), pooled; None where the whole encoder learns
    frames : list of float16 tensors, (T, D); what enters the first block that learns
    hop_s : float, s; of frames
    waves : list of float32 arrays, (S,), of an encoder that learns as a whole
    encoder : network, or a baseline's name
    normalise : bool; whether it wants waves of zero mean and unit variance
    fingerprint : str; of the encoder's weights, before they learn
    skipped : list of dict, clip and reason
    """

    def __init__(self, manifest: pd.DataFrame, encoder: str, settings: Settings, device: str) -> None:
        self.states: Tensor | None = None
        self.frames: list[Tensor] = []
        self.waves: list[audio.Wave] = []
        self.encoder: Any = encoder
        self.normalise, self.sample_rate, n_free = False, 16_000, settings.free_layers
        if encoder not in encoders.BASELINES:
            self.encoder, self.sample_rate, self.normalise = load_model(encoder)
        elif n_free != 0:
            raise ValueError(f"encoder {encoder!r} has nothing that learns; use free_layers=0")
        if n_free and n_free != "all" and n_free > (n_blocks := len(self.encoder.encoder.layers)):
            raise ValueError(f"free_layers={n_free}; the encoder has {n_blocks}: expected at most that")
        # WavLM can't continue from stored frames: its blocks hand on a bias of positions from the first one
        if n_free == 0 or (n_free != "all" and self.encoder.config.model_type != "wavlm"):
            self._read(manifest, encoder, n_free, device)
        else:
            self._load(manifest)
            self.fingerprint = encoders.load(encoder, device="cpu").fingerprint

    def _read(self, manifest: pd.DataFrame, encoder: str, n_free: int, device: str) -> None:
        """Read pooled states and the frames that enter the first free block, extracting what is missing."""
        done = features.extract(manifest, encoder, device=device)
        self.skipped, self.fingerprint = done.skipped, done.store.config.fingerprint
        self.manifest = manifest[~done.store.missing(manifest)].reset_index(drop=True)
        clips = self.manifest["clip"].tolist()
        pooled = [done.store.pooled(layer, "mean", clips) for layer in done.store.config.layers]
        self.states = torch.from_numpy(np.stack(pooled, axis=1))
        if n_free:
            layer = self.first_free = len(self.encoder.encoder.layers) - n_free
            done = features.extract(self.manifest, encoder, layers=[layer], frames=True, device=device)
            self.hop_s = done.store.config.hop_s
            self.frames = [torch.from_numpy(done.store.frames(clip, layer)).half() for clip in clips]

    def _load(self, manifest: pd.DataFrame) -> None:
        waves, reasons = features.load_waves(manifest, self.sample_rate)
        self.skipped = [{"clip": clip, "reason": reason} for clip, reason in reasons.items()]
        self.manifest = manifest[manifest["clip"].isin(waves)].reset_index(drop=True)
        self.waves = [waves[clip] for clip in self.manifest["clip"]]

    def batch(self, rows: Rows, crop_s: float = np.inf, rng: np.random.Generator | None = None) -> Any:
        """Return pooled states, or frames or waves: of whole clips, or cut at random to a length in s."""

        def cut(clip: Any, rate_hz: float) -> Any:
            if rng is None:
                return clip
            most = max(1, round(crop_s * rate_hz))
            start = int(rng.integers(max(0, len(clip) - most) + 1))
            return clip[start : start + most]

        if self.states is None:
            return [cut(self.waves[row], self.sample_rate) for row in rows]
        if not self.frames:
            return self.states[rows]
        frames = [cut(self.frames[row], 1 / self.hop_s) for row in rows]
        lengths = torch.tensor([len(part) for part in frames])
        padded = torch.nn.utils.rnn.pad_sequence([part.float() for part in frames], batch_first=True)
        return Cut(self.states[rows][:, : self.first_free], padded, lengths)


def usable(manifest: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the clips that settings can train on; raise ValueError if there are too few, or no ratings."""
    if settings.target == "ratings":
        manifest = manifest[manifest[list(AXES)].notna().all(axis=1)]
        if manifest.empty:
            raise ValueError("no clip has valence and arousal; the target 'ratings' needs them")
    elif manifest["emotion"].nunique() < 2:
        raise ValueError(f"{manifest['emotion'].nunique()} emotion in the manifest; expected at least two")
    if manifest["speaker"].nunique() < (least := 3 if settings.tested else 2):
        raise ValueError(
            f"{manifest['speaker'].nunique()} speaker; expected at least {least}: some to train on, some to "
            f"choose the epoch by{', and some to test on' if settings.tested else ''}"
        )
    return manifest.reset_index(drop=True)


# ------------------------------------------------------------------------------------- the network


class Head(nn.Module):
    """From all layers' states to features and an answer.

    Parameters
    ----------
    n_layers, width : int; L and D of the encoder
    bottleneck, n_out : int
    dropout : float
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_layers: int, width: int, bottleneck: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(n_layers))
        self.register_buffer("mean", torch.zeros(n_layers, width))
        self.register_buffer("scale", torch.ones(n_layers, width))
        self.squeeze = nn.Linear(width, bottleneck)
        self.answer = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(bottleneck, n_out))

    def standardise(self, states: Tensor) -> None:
        """Learn every layer's mean and deviation from pooled states, (N, L, D)."""
        self.mean.copy_(states.mean(0))
        self.scale.copy_(states.std(0, correction=0).clamp_min(1e-4))

    def features(self, states: Tensor) -> Tensor:
        """Turn states, (..., L, D), into features, (..., B)."""
        weight = self.mix.softmax(0)
        return self.squeeze((weight[:, None] * (states - self.mean) / self.scale).sum(-2))

    def forward(self, states: Tensor) -> Tensor:
        """Turn pooled states, (N, L, D), into logits or ratings, (N, C)."""
        return self.answer(self.features(states))


class Whole(nn.Module):
    """Encoder and head as one module, so that gradients of both are joined across GPUs.

    Parameters
    ----------
    encoder : network, or a baseline's name
    head : Head
    normalise : bool; whether it wants waves of zero mean and unit variance
    """

    def __init__(self, encoder: Any, head: Head, normalise: bool) -> None:
        super().__init__()
        self.encoder = encoder if isinstance(encoder, nn.Module) else None
        self.head, self.normalise = head, normalise

    def forward(self, batch: Tensor | Cut | list[audio.Wave]) -> Tensor:
        """Turn pooled states, (N, L, D), stored frames, or waves into answers, (N, C)."""
        return self.head(states_of(self.encoder, batch, self.normalise).to(self.head.mix.device))


def free(model: Any, layers: Free) -> list[nn.Parameter]:
    """Freeze a network but for its top layers, and return what may learn.

    Its own masking and dropping of layers are turned off: every state of every frame is read.
    """
    model.config.apply_spec_augment, model.config.layerdrop = False, 0.0
    model.requires_grad_(layers == "all")
    if layers != "all" and layers:
        model.encoder.layers[-layers:].requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def states_of(model: Any, batch: Tensor | Cut | list[audio.Wave], normalise: bool) -> Tensor:
    """Return pooled states at every layer, (N, L, D): as given, from stored frames on, or of waves."""
    if isinstance(batch, Tensor):
        return batch
    return resumed_states(model, batch) if isinstance(batch, Cut) else pooled_states(model, batch, normalise)


def pooled_states(model: Any, waves: Sequence[audio.Wave], normalise: bool) -> Tensor:
    """Return waves' hidden states at every layer, averaged over frames: (B, L, D).

    Waves of one length share a batch and nothing is padded: a group norm over time would see the padding, and
    an encoder would be trained otherwise than it is used.
    """
    device = next(model.parameters()).device
    ready = [(w - w.mean()) / np.sqrt(w.var() + 1e-7) if normalise else w for w in waves]
    found: dict[int, Tensor] = {}
    for length in sorted({len(wave) for wave in ready}):
        rows = [row for row, wave in enumerate(ready) if len(wave) == length]
        batch = torch.from_numpy(np.stack([ready[row] for row in rows]).astype(np.float32))
        with inputs_of(model.encoder.layers, and_output=True) as states:
            model(batch.to(device))
        pooled = torch.stack([state.float().mean(1) for state in states], dim=1)
        found |= dict(zip(rows, pooled, strict=True))
    return torch.stack([found[row] for row in range(len(ready))])


def resumed_states(model: Any, cut: Cut) -> Tensor:
    """Return hidden states at every layer, averaged over frames, (B, L, D), from the first free block on."""
    blocks = model.encoder.layers[cut.below.shape[1] :]
    device = next(blocks.parameters()).device
    state, lengths = cut.frames.to(device), cut.lengths.to(device)
    valid = torch.arange(state.shape[1], device=device)[None] < lengths[:, None]
    autocast = torch.is_autocast_enabled(device.type)
    kind = torch.get_autocast_dtype(device.type) if autocast else state.dtype
    bias = None if valid.all() else attention_bias(valid, kind)
    pooled = [*cut.below.to(device).unbind(1), _average(state, valid)]
    for block in blocks:
        output = block(state, attention_mask=bias)
        state = output[0] if isinstance(output, tuple) else output
        pooled.append(_average(state.float(), valid))
    return torch.stack(pooled, dim=1)


def _average(state: Tensor, valid: Tensor) -> Tensor:
    weight = valid[..., None].to(state.dtype)
    return (state * weight).sum(1) / weight.sum(1)


def ccc_loss(answers: Tensor, ratings: Tensor) -> Tensor:
    """Return 1 - CCC of answers with ratings, each (N, 2), averaged over the axes."""
    a, b = answers.float(), ratings.float()
    covariance = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    spread = a.var(0, correction=0) + b.var(0, correction=0) + (a.mean(0) - b.mean(0)).square()
    return (1 - 2 * covariance / spread.clamp_min(1e-8)).mean()


# ------------------------------------------------------------------------------------- training


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
    skipped: list[dict[str, str]]
    seconds: float


def finetune(
    manifest: pd.DataFrame, out: str | Path, settings: Settings | None = None, *,
    encoder: str = paths.SHIPPED_ENCODER, device: str = "auto", resume: bool = True, progress: bool = False,
) -> FineTuning:  # fmt: skip
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
            write(out, speech, tuning.head, tuning.classes, settings, key)
    training = tuning.training
    best_epoch = int(training.curve[best(training.curve, training.recipe)]["step"]) // tuning.per_epoch
    return FineTuning(
        out, tuning.curve(), best_epoch, tuning.score(tuning.rows["tested"]),
        tuning.speakers["held out"], tuning.speakers["tested"], len(speech.manifest), speech.skipped,
        time.perf_counter() - started,
    )  # fmt: skip


def _frozen_head(speech: Speech, encoder: str, settings: Settings, device: str) -> Head:
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
            learning = free(speech.encoder, settings.free_layers)
        if speech.states is None:  # a sample tells the level and spread of every layer
            look = look[:: max(1, len(look) // 64)]
        pooled = self._pooled(look)
        n_layers, width = pooled.shape[1:]
        self.head = Head(n_layers, width, settings.bottleneck, len(self.classes), settings.dropout)
        self.head.standardise(pooled)
        self.network = Whole(speech.encoder, self.head, speech.normalise)
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

    def _steps(self, epoch: int) -> list[list[Rows]]:
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
    def _pooled(self, rows: Rows) -> Tensor:
        """Return whole clips' pooled states, (n, L, D)."""
        if self.speech.states is not None and not self.speech.frames:
            return self.speech.states[rows]
        encoder, normalise = self.speech.encoder.eval(), self.speech.normalise
        parts = [self.speech.batch(rows[i : i + 1]) for i in range(len(rows))]
        return torch.cat([states_of(encoder, part, normalise) for part in parts])

    def run(self, folder: Path | None = None, validate_first: bool = False, progress: bool = False) -> None:
        """Train to the end and keep the best epoch; in a folder, with a checkpoint after each."""
        settings, own = self.settings, self.training.accelerator

        def batches(step: int) -> Sequence[Any]:
            rng = np.random.default_rng((settings.seed, step, own.process_index))
            some = self._steps(step // self.per_epoch)[step % self.per_epoch]
            return [(rows, self.speech.batch(rows, settings.crop_s, rng)) for rows in some]

        def loss(batch: tuple[Rows, Any]) -> Tensor:
            rows, clips = batch
            answers, targets = self.training.whole(clips), self.targets[rows].to(own.device)
            if settings.target == "ratings":
                return ccc_loss(answers, targets)
            weight = None if self.weight is None else self.weight.to(own.device)
            return F.cross_entropy(answers.float(), targets, weight)

        self.training.run(
            batches, loss, folder=folder, validate=lambda: {"score": self.score(self.rows["held out"])},
            validate_first=validate_first, validate_every=self.per_epoch, checkpoint_every=self.per_epoch,
            name="finetune", progress=progress,
        )  # fmt: skip

    def curve(self) -> pd.DataFrame:
        """Return each epoch's mean training loss, and score of the held-out speakers."""
        losses = [float(np.mean(own)) for own in np.reshape(self.training.losses, (-1, self.per_epoch))]
        scores = [row["score"] for row in self.training.curve if row["step"]]  # but for a warm start's
        return pd.DataFrame({"epoch": range(1, len(losses) + 1), "loss": losses, "score": scores})

    @torch.no_grad()
    def score(self, rows: Rows) -> float:
        """Return the UA of some clips, or their CCC averaged over the axes; NaN of none."""
        if not len(rows):
            return float("nan")
        self.network.eval()
        answers = self.head(self._pooled(rows).to(self.head.mix.device)).cpu()
        truth = self.targets[rows].numpy()
        if self.settings.target == "ratings":
            return float(np.mean([metrics.ccc(truth[:, i], answers[:, i].numpy()) for i in range(2)]))
        return metrics.unweighted_accuracy(truth, answers.argmax(1).numpy())


# ------------------------------------------------------------------------------------- the result


class FineTuned:
    """A fine-tuned encoder: as any `encoders.Encoder`, with one layer, 0, as wide as its bottleneck.

    Parameters
    ----------
    folder : str or Path; where `finetune` wrote it
    device : str

    Attributes
    ----------
    classes : list of str; what it classifies, or valence and arousal
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
            config, arrays = files.read_model(folder, _KIND)
            self.settings, self.classes = Settings(**config["settings"]), list(config["classes"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            why = f"{folder} holds no fine-tuned encoder ({error}); make one by `finetune`"
            raise ValueError(why) from error
        base = config["baseline"] or str(folder / _ENCODER)
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
        self.sample_rate = self._base.sample_rate
        self.hop_s, self.first_frame_s = self._base.hop_s, self._base.first_frame_s
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


def write(folder: Path, speech: Speech, head: Head, classes: list[str], settings: Settings, key: str) -> None:
    """Write a fine-tuned encoder, or a baseline's name in its place; ``config.json`` comes last."""
    baseline = speech.encoder if isinstance(speech.encoder, str) else None
    if baseline is None:
        with quiet_transformers():
            speech.encoder.save_pretrained(folder / _ENCODER)
        Wav2Vec2FeatureExtractor(do_normalize=speech.normalise).save_pretrained(folder / _ENCODER)
    arrays = {name: value.numpy(force=True) for name, value in head.state_dict().items()}
    fingerprint = encoders.load(baseline or str(folder / _ENCODER), device="cpu").fingerprint
    config = {
        "encoder": fingerprint, "classes": classes, "settings": asdict(settings), "baseline": baseline,
        "identity": key,
    }  # fmt: skip
    files.write_model(folder, _KIND, config, arrays)


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
    skipped: list[dict[str, str]]


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
    files.write_file(target / ANSWERS, table.to_csv(index=False, float_format="%.6f").encode())
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
    root = Path(folder)
    sounds = {path: measure(path) for path in sound_files(root)}
    skipped = [{"path": str(p), "reason": s.reason} for p, s in sounds.items() if isinstance(s, Skipped)]
    corpus = paths.folder_name(root.resolve().name)
    rows = [
        {"clip": path.relative_to(root).as_posix(), "corpus": corpus, "path": str(path), "start_s": math.nan,
         "end_s": math.nan, "sha256": sound.sha256, "duration_s": sound.duration_s}
        for path, sound in sounds.items() if not isinstance(sound, Skipped)
    ]  # fmt: skip
    if not rows:
        raise ValueError(f"no usable sound in {folder} ({len(skipped)} files were unfit)")
    manifest = pd.DataFrame(rows)
    manifest.attrs["skipped"] = skipped
    return manifest
