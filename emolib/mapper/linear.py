"""The linear map from frames to mel frames, in closed form: baseline and starting point of every mapper.

Ridge regression on the standardised frames of a short context, aligned with the mel frames. It is the best
that a straight map can do in squared error, and takes seconds.

References
----------
A. E. Hoerl, R. W. Kennard (1970), "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
Technometrics 12(1), 55-67, doi:10.1080/00401706.1970.10488634.
"""

import numpy as np
import torch
from torch import Tensor

from emolib.mapper.alignment import align, positions, shifted
from emolib.mapper.network import Mapper, Network
from emolib.mapper.pairs import Pairs
from emolib.mapper.settings import Settings, linear_only
from emolib.store import StoreConfig

#: Mel frames that the fit takes at most, spread evenly: some thousand unknowns a band need no more.
MAX_FRAMES = 30_000


def fit_linear(
    pairs: Pairs, config: StoreConfig, layer: int, *, context: int = 1, settings: Settings | None = None
) -> Mapper:
    """Fit the linear map of one layer.

    Parameters
    ----------
    pairs : Pairs
    config : StoreConfig
        Of the store that they were read from; it names the encoder.
    layer : int
    context : int, odd
        Encoder frames that one mel frame is predicted from.
    settings : Settings, optional
        Its `ridge` is used.

    Returns
    -------
    mapper : Mapper without residual blocks
    """
    settings = linear_only(settings or Settings(), context)
    network = Network(config.width, settings)
    fit_linear_part(network, pairs, settings)
    provenance = {
        "encoder": config.encoder, "fingerprint": config.fingerprint, "layer": layer,
        "speakers": sorted(set(pairs.speakers)), "n": len(pairs),
    }  # fmt: skip
    return Mapper(network, settings, provenance)


@torch.no_grad()
def fit_linear_part(network: Network, pairs: Pairs, settings: Settings) -> None:
    """Set a network's standardisation and linear part from pairs, in place; sums are taken in float64."""
    mean, deviation = _moments(pairs)
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    n_unknowns = network.linear.in_features + 1
    gram = torch.zeros(n_unknowns, n_unknowns, dtype=torch.float64)
    cross = torch.zeros(n_unknowns, network.linear.out_features, dtype=torch.float64)
    step = max(1, -(-sum(len(mel) for mel in pairs.mels) // MAX_FRAMES))
    for frames, mel in zip(pairs.frames, pairs.mels, strict=True):
        places = torch.from_numpy(positions(len(mel))[::step].astype(np.float32))[None]
        inside = network.standardise(torch.from_numpy(frames).float()[None], torch.ones(1, 1, 1))
        design = align(shifted(inside, network.offsets), places)[0]
        design = torch.cat([design, torch.ones(len(design), 1)], dim=1)
        gram += (design.T @ design).double()
        cross += (design.T @ torch.from_numpy(mel[::step])).double()
    penalty = torch.full((n_unknowns,), settings.ridge * float(gram[-1, -1]), dtype=torch.float64)
    penalty[-1] = 0  # the constant is free
    solution = torch.linalg.solve(gram + torch.diag(penalty), cross)
    network.linear.weight.copy_(solution[:-1].T)
    network.linear.bias.copy_(solution[-1])


def _moments(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of every feature over all frames."""
    n = sum(len(frames) for frames in pairs.frames)
    mean = sum(frames.sum(axis=0, dtype=np.float64) for frames in pairs.frames) / n
    square = sum(np.square(frames - mean).sum(axis=0) for frames in pairs.frames) / n
    return torch.from_numpy(mean), torch.from_numpy(np.sqrt(square) + 1e-5)
