"""The training of a mapper on random crops of clips; some speakers are held out to decide when to stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emolib import audio, files, paths, threads
from emolib.mapper.linear import fit_linear_part
from emolib.mapper.network import Mapper, Network, Settings
from emolib.mapper.pairs import Mel, Pairs, load_pairs, mel_l1, positions
from emolib.store import FeatureStore
from emolib.training import Recipe, Training, ended, identity, in_folder, torch_device

CURVE, SAMPLES = "validation.csv", "samples"
Vocode = Callable[[Mel], audio.Wave]
#: Settings that may change where a training is resumed: how long to go on, and how often to measure.
_FREE = ("steps", "patience", "validate_every", "checkpoint_every", "sample_every")


def train(
    manifest: pd.DataFrame,
    store: FeatureStore,
    layer: int,
    out: str | Path,
    settings: Settings | None = None,
    *,
    mels: Mapping[str, Mel] | None = None,
    vocode: Vocode | None = None,
    device: str = "auto",
    resume: bool = True,
    replace: bool = False,
    progress: bool = False,
) -> Mapper:
    """Train the mapper of one layer on the clips of a manifest; some speakers are held out.

    Parameters
    ----------
    manifest : DataFrame
        clip, path, speaker and sha256 are used, and corpus where it is there. Leave out the speakers that the
        mapper is to be tested on.
    store : FeatureStore, extracted with frames
    layer : int
    out : str or Path
        Folder of the mapper. A training that was stopped is resumed, a finished one is returned at once.
    settings : Settings, optional
    mels : mapping of clip to target, optional
        What `target_mels` returned, to share it among layers.
    vocode : function of a log-mel-spectrogram, optional
        Makes the samples in ``<out>/samples``; Griffin-Lim by default.
    device : str
        ``auto`` takes CUDA where there is one.
    resume : bool
        False starts again, whatever is in `out`.
    replace : bool
        Start again where `out` holds the mapper of other clips, settings or weights, instead of refusing.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    mapper : Mapper
        With the weights that did best on the held-out speakers. Its provenance adds validation_speakers,
        steps, mel_l1 and linear_l1, the latter two on clips of those speakers, before and after training.

    Raises
    ------
    ValueError
        If the manifest is empty or has one speaker, frames and targets don't fit (`load_pairs` says how),
        `out` holds another training, or the loss isn't finite; the last good checkpoint then stays.

    Notes
    -----
    One process at a time trains in a folder. A second one waits, and then finds the first one's training.
    `default_folder` gives every training a folder of its own.
    """
    out, settings = Path(out), settings or Settings()
    training, held_out = hold_out(manifest, settings)
    own = _identity(manifest, store, layer, settings)
    with in_folder(out, own, resume=resume, replace=replace) as state:
        if state is None:
            (out / files.CONFIG).unlink(missing_ok=True)  # of another training
        elif ended(state, _recipe(settings)) and (out / files.CONFIG).is_file():
            return Mapper.load(out, device=str(torch_device(device)))
        pairs = load_pairs(manifest, store, layer, mels=mels, progress=progress)
        provenance = {
            "encoder": store.config.encoder, "fingerprint": store.config.fingerprint, "layer": layer,
            "corpus": " ".join(sorted(set(manifest["corpus"]))) if "corpus" in manifest else "",
            "speakers": training, "validation_speakers": held_out, "n": len(manifest),
        }  # fmt: skip
        vocode = vocode or audio.griffin_lim
        return _fit(pairs, settings, provenance, out, own, vocode, device, progress, fresh=state is None)


@threads.single()
def _fit(
    pairs: Pairs, settings: Settings, provenance: dict[str, Any], out: Path, own: str, vocode: Vocode,
    device: str, progress: bool, *, fresh: bool,
) -> Mapper:  # fmt: skip
    """Fit the linear part, train the rest, and write the mapper with its best weights."""
    seen, held_out = (pairs.of(set(provenance[name])) for name in ("speakers", "validation_speakers"))
    chosen = np.linspace(0, len(held_out) - 1, min(settings.validation_clips, len(held_out)))
    held_out, crops = held_out.at([round(i) for i in chosen]), Crops(seen, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(seen.frames[0].shape[1], settings)
    if fresh:
        fit_linear_part(network, seen, settings)
    # a processor emulates bfloat16, ten times slower
    precision = "bf16" if settings.autocast and torch_device(device).type == "cuda" else "no"
    fit = Training(network, _recipe(settings), own, device=device, precision=precision)
    mapper = Mapper(network, settings, provenance)

    def loss(batch: Sequence[Tensor]) -> Tensor:
        *inputs, mels = (x.to(fit.accelerator.device) for x in batch)
        return losses(fit.whole(*inputs), mels, inputs[-1], settings)

    def validate() -> dict[str, float]:
        both = zip(held_out.frames, held_out.mels, strict=True)
        return {"mel_l1": float(np.mean([mel_l1(mapper.map(f, n_frames=len(m)), m) for f, m in both]))}

    def sample() -> None:
        """Write the first held-out clip as sound, and its original mel-spectrogram's sound beside it."""
        frames, mel = held_out.frames[0], held_out.mels[0]
        for name, log_mel in (
            ("original", mel), (f"step-{fit.step:06d}", mapper.map(frames, n_frames=len(mel)))
        ):  # fmt: skip
            path = out / SAMPLES / f"{name}.wav"
            if name != "original" or not path.exists():
                audio.write(path, audio.level(vocode(log_mel)), audio.HIFIGAN_MEL.sample_rate)

    fit.run(
        lambda step: [crops.batch(step)], loss, folder=out, validate=validate, validate_first=True,
        validate_every=settings.validate_every, checkpoint_every=settings.checkpoint_every,
        events=[(settings.sample_every, sample)], name="mapper", progress=progress,
    )  # fmt: skip
    values = [row["mel_l1"] for row in fit.curve]
    mapper.provenance |= {"steps": fit.step, "mel_l1": min(values), "linear_l1": values[0]}
    # the model's config.json is written last of all, and says that everything is there
    files.write_file(out / CURVE, pd.DataFrame(fit.curve).to_csv(index=False).encode())
    mapper.save(out)
    return mapper


def default_folder(manifest: pd.DataFrame, store: FeatureStore, layer: int, settings: Settings) -> Path:
    """Return where a mapper belongs: ``models/mapper-<corpus>-<encoder>-layer<k>-<digest>``.

    The digest is of all that decides the mapper: clips, the encoder's weights, and settings with their seed
    and number of steps. Trainings that differ in any of them never share a folder.
    """
    corpus, encoder = "+".join(sorted(set(manifest["corpus"]))), paths.folder_name(store.config.encoder)
    ends = (settings.steps, settings.patience, settings.validate_every)
    own = _identity(manifest, store, layer, settings)
    return paths.trained(f"mapper-{corpus}-{encoder}-layer{layer}", own, ends)


def hold_out(manifest: pd.DataFrame, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the speakers to train on and those held out to decide when to stop, drawn by the seed.

    Raises ValueError if there are fewer than two.
    """
    speakers = sorted(set(manifest["speaker"]))
    if len(speakers) < 2:
        raise ValueError(
            f"{len(manifest)} clips of {len(speakers)} speakers; a mapper needs at least two speakers, one "
            f"to train on and one held out"
        )
    order = np.random.default_rng(settings.seed).permutation(len(speakers))
    n_held_out = min(len(speakers) - 1, max(1, round(settings.validation_share * len(speakers))))
    held_out = {speakers[i] for i in order[:n_held_out]}
    return [s for s in speakers if s not in held_out], sorted(held_out)


def leave_out(manifest: pd.DataFrame, speakers: Sequence[str]) -> pd.DataFrame:
    """Return a manifest without the clips of some speakers; raise ValueError if one isn't in it."""
    known = set(manifest["speaker"])
    if unknown := [name for name in speakers if name not in known]:
        raise ValueError(f"no speaker {', '.join(unknown)}; expected some of: {', '.join(sorted(known))}")
    return manifest[~manifest["speaker"].isin(list(speakers))]


def _identity(manifest: pd.DataFrame, store: FeatureStore, layer: int, settings: Settings) -> str:
    """Return a hash of the clips, the encoder's weights, the layer and the settings that have to stay."""
    fixed = {name: value for name, value in asdict(settings).items() if name not in _FREE}
    clips = sorted(zip(manifest["clip"], manifest["speaker"], manifest["sha256"], strict=True))
    return identity(fixed, store.config.encoder, store.config.fingerprint, layer, clips)


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        settings.steps, settings.learning_rate, settings.warmup, betas=(0.9, 0.98),
        weight_decay=settings.weight_decay, max_norm=settings.max_norm, metric="mel_l1",
        patience=settings.patience, min_gain=1e-3, seed=settings.seed,
    )  # fmt: skip


class Crops:
    """Random crops of clips; long clips are drawn more often, as they hold more."""

    def __init__(self, pairs: Pairs, settings: Settings) -> None:
        self.pairs, self.settings = pairs, settings
        lengths = np.array([len(mel) for mel in pairs.mels], dtype=np.float64)
        self._chance = lengths / lengths.sum()
        self._n_frames = int(np.ceil(positions(settings.crop_frames)[-1])) + 2 + 2 * settings.margin

    def batch(self, step: int) -> list[Tensor]:
        """Return the batch of one step, a function of the seed and the step: crops side by side."""
        rng = np.random.default_rng([self.settings.seed, step])
        rows = rng.choice(len(self.pairs), self.settings.batch_size, p=self._chance)
        crops = [self.crop(int(row), float(rng.random())) for row in rows]
        return [torch.from_numpy(np.stack(parts)) for parts in zip(*crops, strict=True)]

    def crop(self, row: int, where: float) -> tuple[np.ndarray, ...]:
        """Return one crop of a clip, `where` from 0 (at its beginning) to 1 (at its end).

        Returns
        -------
        frames : (T, D), with a margin around the crop; places : (M,), of the mel frames among them
        inside, mel_inside : (T, 1) and (M, 1); 1 within the clip, 0 beyond its ends
        mels : (M, 80)
        """
        frames, mel, n_mels = self.pairs.frames[row], self.pairs.mels[row], self.settings.crop_frames
        first_mel = round(where * max(0, len(mel) - n_mels))
        places = positions(n_mels, first_mel)
        first = int(np.floor(max(places[0], 0))) - self.settings.margin
        asked = np.arange(first, first + self._n_frames)
        own = np.clip(asked, 0, len(frames) - 1)
        part = mel[first_mel : first_mel + n_mels]
        within = np.clip(places, 0, len(frames) - 1) - first  # beyond the ends, the first or last frame
        return (
            frames[own].astype(np.float32),
            within.astype(np.float32),
            (asked == own).astype(np.float32)[:, None],
            (np.arange(n_mels) < len(part)).astype(np.float32)[:, None],
            np.pad(part, ((0, n_mels - len(part)), (0, 0))),
        )


def losses(predicted: Tensor, target: Tensor, inside: Tensor, settings: Settings) -> Tensor:
    """Return the training loss of mel frames, (B, M, 80).

    Notes
    -----
    The mean absolute error, that of the differences between neighbouring frames, and that of averages over
    squares of several frames and bands: the last two measure the movement and the envelope, which a blurred
    spectrogram gets wrong.
    """
    error = (predicted - target) * inside
    total = error.abs().sum() / (inside.sum() * error.shape[2])
    if settings.delta_weight:
        total = total + settings.delta_weight * (error.diff(dim=1) * inside[:, 1:]).abs().mean()
    if settings.scales:
        coarse = [nn.functional.avg_pool2d(error[:, None], scale).abs().mean() for scale in settings.scales]
        total = total + settings.scale_weight * torch.stack(coarse).sum()
    return total
