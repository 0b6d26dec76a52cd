"""Entropy models of one group of stages at every rate, each trained on the codes that the rate below chose.

References
----------
P. A. Chou, T. Lookabaugh, R. M. Gray (1989), "Entropy-constrained vector quantization",
doi:10.1109/29.17498.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emolib.codebook import search
from emolib.codebook.entropy import EntropyModel, Symbols, fit_model

#: Stops that a rate's first entropy model counts at each stage, in shares of the rows: where stopping seems
#: dear it is never tried. At a high lambda a start with many stops is tried as well; the cheaper stays.
FIRST_STOPS, MANY_STOPS_FROM = (0.1, 10.0), 0.03


def train_models(
    rows: NDArray[np.float32],
    codes: NDArray[np.float32],
    rates: Sequence[float],
    starts: NDArray[np.bool_] | None,
) -> list[EntropyModel]:
    """Return the entropy models of one group by rate.

    Parameters
    ----------
    rows : float32 array, (N, D), centred
    codes : float32 array, (Q, K, D)
    rates : sequence of float; lambda, rising from 0
    starts : bool array, (N,), optional; where given, the row before is a context too
    """
    n_codes = codes.shape[1]
    symbols = search.choose(rows, codes, None, 0.0)
    models = [fit_model(symbols, n_codes, starts)]
    for lam in list(rates)[1:]:
        shares = FIRST_STOPS if lam >= MANY_STOPS_FROM else FIRST_STOPS[:1]
        settled = [_settle(rows, codes, symbols, lam, share) for share in shares]
        symbols = min(settled, key=lambda found: found[0])[1]
        models.append(fit_model(symbols, n_codes, starts))
    return models


def _settle(
    rows: NDArray[np.float32], codes: NDArray[np.float32], symbols: Symbols, lam: float, stops: float
) -> tuple[float, Symbols]:
    """Choose codes anew under a model of earlier ones with extra stops; return what they cost, and them."""
    n_codes = codes.shape[1]
    for share in (stops, 0.0):
        symbols = search.choose(rows, codes, fit_model(symbols, n_codes, stops=share), lam)
    return cost(rows, codes, symbols, fit_model(symbols, n_codes), lam), symbols


def cost(
    rows: NDArray[np.float32], codes: NDArray[np.float32], symbols: Symbols, model: EntropyModel, lam: float
) -> float:
    """Return distortion + lambda x bits of chosen symbols."""
    padded = np.concatenate([codes, np.zeros_like(codes[:, :1])], axis=1)
    left = rows - sum(padded[q][column] for q, column in enumerate(symbols.T))
    return float(np.square(left).sum() + lam * model.code_lengths(symbols).sum())
