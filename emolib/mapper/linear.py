"""The linear map from frames to mel frames, in closed form: baseline and starting point of every mapper.

Ridge regression on the standardised frames of a context, aligned with the mel frames. Its penalty is the one
with the least error on training speakers who are held out. Of a wide context, frames more than `NEAR` away
are averaged in blocks of `BLOCK` on the frames' `N_COMPONENTS` leading components: on RAVDESS nearly as good
as a weight for every frame, with a third of the unknowns. The result is one linear map in either case.

References
----------
A. E. Hoerl, R. W. Kennard (1970), "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
Technometrics 12(1), 55-67, doi:10.1080/00401706.1970.10488634.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from emolib.mapper.network import Mapper, Network, Settings
from emolib.mapper.pairs import Pairs, align, positions, shifted
from emolib.store import StoreConfig

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
    provenance = {
        "encoder": config.encoder, "fingerprint": config.fingerprint, "layer": layer,
        "speakers": sorted(set(pairs.speakers)), "n": len(pairs),
    }  # fmt: skip
    return Mapper(network, settings, provenance)


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
        places = torch.from_numpy(positions(len(mel))[::step].astype(np.float32))[None]
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
