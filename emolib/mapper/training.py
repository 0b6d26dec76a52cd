"""The training of a mapper: its linear part in closed form, the rest on random crops of clips.

Some speakers are held out to decide when to stop. The linear map is the baseline and starting point of every
mapper: ridge regression on the standardised frames of a context, aligned with the mel frames. Its penalty is
the one with the least error on training speakers who are held out. Of a wide context, frames more than `NEAR`
away are averaged in blocks of `BLOCK` on the frames' `N_COMPONENTS` leading components: on RAVDESS nearly as
good as a weight for every frame, with a third of the unknowns. The result is one linear map in either case.

References
----------
A. E. Hoerl, R. W. Kennard (1970), "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
Technometrics 12(1), 55-67, doi:10.1080/00401706.1970.10488634.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emolib import audio, files, paths, threads
from emolib.mapper.network import Mapper, Mel, Network, Pairs, Settings, align, load_pairs, mel_l1, shifted
from emolib.store import FIRST_FRAME_S, FeatureStore, StoreConfig
from emolib.training import Training, ended, identity, in_folder, torch_device

#: Mel frames that the fit takes at most, spread evenly: some thousand unknowns per band need no more.
MAX_FRAMES = 30_000
#: Frames on either side that have a weight for every feature; farther ones are averaged in blocks.
NEAR, BLOCK, N_COMPONENTS = 2, 6, 64
#: Penalties to choose from, and the one for a single speaker, where nobody can be held out.
RIDGES, RIDGE_ALONE = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0), 0.3
#: Groups of speakers, each held out once to choose the penalty.
N_GROUPS = 4


def fit_linear(
    pairs: Pairs, config: StoreConfig, layer: int, *, context: int = 1, ridge: float | None = None
) -> Mapper:
    """Fit the linear map of one layer.

    Parameters
    ----------
    pairs : Pairs
    config : StoreConfig
        Of the store that they were read from; it names the encoder.
    layer : int
    context : int, odd
        Encoder frames that one mel frame is predicted from; `Settings.receptive_field` is the mapper's.
    ridge : float, optional
        Penalty relative to the mean variance of a feature; by default the one of `RIDGES` with the least
        error on held-out speakers of the pairs.

    Returns
    -------
    mapper : Mapper without residual blocks; its settings hold the penalty
    """
    settings = Settings(context=context, slow_dilations=(), fast_dilations=(), ridge=ridge)
    network = Network(config.width, settings)
    settings = replace(settings, ridge=fit_linear_part(network, pairs, settings))
    learned = {"speakers": sorted(set(pairs.speakers)), "n": len(pairs)}
    return Mapper(network, settings, _origin(config, layer) | learned)


def _origin(config: StoreConfig, layer: int) -> dict[str, Any]:
    """Return what a mapper's provenance says of the frames that it reads."""
    origin = {"encoder": config.encoder, "fingerprint": config.fingerprint, "layer": layer}
    return origin | {"first_frame_s": config.first_frame_s}


@torch.no_grad()
def fit_linear_part(network: Network, pairs: Pairs, settings: Settings) -> float:
    """Set a network's standardisation and linear part from pairs, in place, and return the penalty."""
    mean, deviation, axes = _moments(pairs)
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    taps = _taps(settings.context // 2)
    names = sorted(set(pairs.speakers))
    groups = [pairs.of(set(names[k::N_GROUPS])) for k in range(min(N_GROUPS, len(names)))]
    step = max(1, -(-sum(len(mel) for mel in pairs.mels) // MAX_FRAMES))
    products = torch.stack([_products(network, group, taps, axes, step) for group in groups])
    ridge = _choose(products) if settings.ridge is None else settings.ridge
    solution = _solve(products.sum(0), ridge)
    network.linear.weight.copy_(_spread(solution[:-1], network.offsets, taps, axes))
    network.linear.bias.copy_(solution[-1])
    return ridge


def _taps(reach: int) -> list[list[int]]:
    """Return the offsets that share a weight: near ones have their own, far ones come in blocks."""
    near = [[offset] for offset in range(-min(NEAR, reach), min(NEAR, reach) + 1)]
    offsets = list(range(NEAR + 1, reach + 1))
    far = [offsets[first : first + BLOCK] for first in range(0, len(offsets), BLOCK)]
    return [*near, *far, *([-offset for offset in block] for block in far)]


def _inputs(frames: Tensor, taps: list[list[int]], axes: Tensor) -> Tensor:
    """Return what the map is fitted to, (1, T, inputs), of standardised frames, (1, T, D)."""
    near = [offset for block in taps for offset in block if abs(offset) <= NEAR]
    components, far = frames @ axes, taps[len(near) :]
    blocks = [shifted(components, block).unflatten(-1, (len(block), -1)).sum(-2) for block in far]
    scaled = [part / len(block) ** 0.5 for part, block in zip(blocks, far, strict=True)]
    return torch.cat([shifted(frames, near), *scaled], dim=-1)


def _spread(solution: Tensor, offsets: Sequence[int], taps: list[list[int]], axes: Tensor) -> Tensor:
    """Return the weight of every feature of every offset, (80, offsets D), of a solution, (inputs, 80)."""
    by_offset, start = {}, 0
    for block in taps:
        near = abs(block[0]) <= NEAR
        weight = solution[start : start + axes.shape[1 - near]]
        start += len(weight)
        for offset in block:
            by_offset[offset] = weight if near else axes.double() @ weight / len(block) ** 0.5
    return torch.cat([by_offset[offset] for offset in offsets]).T


def _products(network: Network, pairs: Pairs, taps: list[list[int]], axes: Tensor, step: int) -> Tensor:
    """Return inputs by inputs and targets, (P, P + 80), over every `step`-th mel frame.

    The last input is the constant.
    """
    rows = []
    for frames, mel in zip(pairs.frames, pairs.mels, strict=True):
        places = torch.from_numpy(pairs.positions(len(mel))[::step].astype(np.float32))[None]
        inside = network.standardise(torch.from_numpy(frames).float()[None], torch.ones(1, 1, 1))
        rows.append(align(_inputs(inside, taps, axes), places)[0])
    design = torch.nn.functional.pad(torch.cat(rows), (0, 1), value=1.0)
    target = torch.from_numpy(np.concatenate([mel[::step] for mel in pairs.mels]))
    return torch.cat([design.T @ design, design.T @ target], dim=1).double()


def _solve(products: Tensor, ridge: float) -> Tensor:
    """Return the weights, (P, 80), of the least penalised squared error."""
    gram, cross = products.tensor_split([len(products)], dim=1)
    penalty = torch.full((len(gram),), ridge * float(gram[-1, -1]), dtype=torch.float64)
    penalty[-1] = 0  # the constant is free
    return torch.cholesky_solve(cross, torch.linalg.cholesky(gram + torch.diag(penalty)))


def _choose(products: Tensor) -> float:
    """Return the penalty with the least error on groups of speakers, (G, P, P + 80), each held out once."""
    if len(products) < 2:
        return RIDGE_ALONE
    errors = dict.fromkeys(RIDGES, 0.0)
    for own in products:
        gram, cross = own.tensor_split([len(own)], dim=1)
        for ridge in RIDGES:
            weights = _solve(products.sum(0) - own, ridge)
            errors[ridge] += float((weights * (gram @ weights - 2 * cross)).sum())  # less the targets' square
    return min(RIDGES, key=errors.__getitem__)


def _moments(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and deviation of every feature over all frames, and the leading components, (D, P)."""
    n = sum(len(frames) for frames in pairs.frames)
    mean = sum(frames.sum(axis=0, dtype=np.float64) for frames in pairs.frames) / n
    square = sum(np.square(frames - mean).sum(axis=0) for frames in pairs.frames) / n
    deviation = np.sqrt(square) + 1e-5
    correlation = sum((z := (frames - mean) / deviation).T @ z for frames in pairs.frames)
    axes = np.linalg.eigh(correlation)[1][:, ::-1][:, :N_COMPONENTS].astype(np.float32)
    return torch.from_numpy(mean), torch.from_numpy(deviation), torch.from_numpy(axes)


# ------------------------------------------------------------------------------------- the linear part


CURVE, SAMPLES = "validation.csv", "samples"
Vocode = Callable[[Mel], audio.Wave]
#: Settings that may change where a training is resumed: how long to go on, and how often to measure.
_FREE = ("steps", "patience", "validate_every", "checkpoint_every", "sample_every")


def train(
    manifest: pd.DataFrame, store: FeatureStore, layer: int, out: str | Path,
    settings: Settings | None = None, *, mels: Mapping[str, Mel] | None = None, vocode: Vocode | None = None,
    device: str = "auto", resume: bool = True, replace: bool = False, progress: bool = False,
) -> Mapper:  # fmt: skip
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
        elif ended(state, settings) and (out / files.CONFIG).is_file():
            return Mapper.load(out, device=str(torch_device(device)))
        pairs = load_pairs(manifest, store, layer, mels=mels, progress=progress)
        corpus = " ".join(sorted(set(manifest["corpus"]))) if "corpus" in manifest else ""
        learned = {"speakers": training, "validation_speakers": held_out, "n": len(manifest)}
        provenance = _origin(store.config, layer) | {"corpus": corpus} | learned
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
    fit = Training(network, settings, own, device=device, precision=precision)
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
        sounds = {"original": mel, f"step-{fit.step:06d}": mapper.map(frames, n_frames=len(mel))}
        for name, log_mel in sounds.items():
            wave = audio.level(vocode(log_mel))
            audio.write(out / SAMPLES / f"{name}.wav", wave, audio.HIFIGAN_MEL.sample_rate)

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
    clips = sorted(zip(manifest["clip"], manifest["speaker"], manifest["sha256"], strict=True))
    config = store.config
    decided = [config.encoder, config.fingerprint, layer, clips]
    if config.first_frame_s != FIRST_FRAME_S:  # what was trained before this was known goes on
        decided.append(config.first_frame_s)
    return identity(settings, *decided, free=_FREE)


class Crops:
    """Random crops of clips; long clips are drawn more often, as they hold more."""

    def __init__(self, pairs: Pairs, settings: Settings) -> None:
        self.pairs, self.settings = pairs, settings
        lengths = np.array([len(mel) for mel in pairs.mels], dtype=np.float64)
        self._chance = lengths / lengths.sum()
        self._n_frames = int(np.ceil(pairs.positions(settings.crop_frames)[-1])) + 2 + 2 * settings.margin

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
        places = self.pairs.positions(n_mels, first_mel)
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
