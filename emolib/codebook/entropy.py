"""The entropy model: how probable each code is after the code before it, as whole numbers.

A table counts, for one stage of one group at one rate, how often each symbol followed each context. A symbol
is a code, 0 to K - 1, or K: stop, the row has no further stages. The context is the symbol of the stage
before (K at the first stage) and, where asked for, the symbol of the row before at the same stage.
Probabilities are whole numbers out of 2^16, so that every machine decodes with the same ones.

A table has (K + 1)^2 contexts and symbols, most of which a small corpus never shows: where there are fewer
than some ten rows for each, rates are higher than the same codes would need with tables from more data.

References
----------
Entropy-constrained quantization: P. A. Chou, T. Lookabaugh, R. M. Gray (1989), doi:10.1109/29.17498.
Smoothing towards the marginal, its strength chosen with each count left out once: H. Ney, U. Essen, R. Kneser
(1994), "On structuring probabilistic dependences in stochastic language modelling",
doi:10.1006/csla.1994.1001.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int64]
#: Probabilities are shares of this number.
TOTAL = 1 << 16
#: Weights of the two contexts are sixteenths.
PARTS = 16
_STRENGTHS = 4.0 ** np.arange(-1, 8)


@dataclass(frozen=True)
class EntropyModel:
    """Probabilities of one group's symbols at one rate.

    Attributes
    ----------
    stages : uint16 array, (Q, K + 1, K + 1); frequencies after each symbol of the stage before
    rows : uint16 array, (Q, K + 1, K + 1), optional; frequencies after each symbol of the row before
    weights : uint8 array, (Q,); sixteenths that `rows` has in the mixture
    """

    stages: NDArray[np.uint16]
    rows: NDArray[np.uint16] | None = None
    weights: NDArray[np.uint8] | None = None
    _lengths: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lengths = np.log2(np.float32(TOTAL) / self.stages) if self.rows is None else np.empty(0, np.float32)
        object.__setattr__(self, "_lengths", lengths.astype(np.float32))

    def probabilities(self, stage: int, before: Symbols, above: Symbols | None = None) -> NDArray[np.float32]:
        """Return the probability of every symbol, (N, K + 1), exact in float32.

        Parameters
        ----------
        stage : int
        before : int array, (N,); symbols of the stage before
        above : int array, (N,); symbols of the row before at this stage; needed where `rows` is
        """
        table = self.stages[stage][before].astype(np.float32)
        if self.rows is not None and self.weights is not None:
            assert above is not None
            share = int(self.weights[stage])
            table = (PARTS - share) * table + share * self.rows[stage][above].astype(np.float32)
            return table / np.float32(TOTAL * PARTS)
        return table / np.float32(TOTAL)

    def bits(self, stage: int, before: Symbols, above: Symbols | None = None) -> NDArray[np.float32]:
        """Return the length of every symbol in bits, (N, K + 1)."""
        if self.rows is None:
            return self._lengths[stage][before]
        return -np.log2(self.probabilities(stage, before, above))

    def code_lengths(self, symbols: Symbols) -> NDArray[np.float64]:
        """Return the ideal length of each row in bits, (N,); symbols (N, Q), in sequence where it matters."""
        n_codes, total = self.stages.shape[1] - 1, np.zeros(len(symbols))
        for q in range(symbols.shape[1]):
            before = symbols[:, q - 1] if q else np.full(len(symbols), n_codes)
            chance = self.stages[q][before, symbols[:, q]] / TOTAL
            if self.rows is not None and self.weights is not None:
                share = self.weights[q] / PARTS
                above = np.concatenate([[n_codes], symbols[:-1, q]])[: len(symbols)]
                chance = (1 - share) * chance + share * self.rows[q][above, symbols[:, q]] / TOTAL
            total -= np.where((before != n_codes) | (q == 0), np.log2(chance), 0.0)
        return total


def fit_model(
    symbols: Symbols, n_codes: int, starts: NDArray[np.bool_] | None = None, *, stops: float = 0.0
) -> EntropyModel:
    """Count symbols into an entropy model.

    Parameters
    ----------
    symbols : int array, (N, Q); codes, then K from the stage on at which a row stopped
    n_codes : int, K
    starts : bool array, (N,), optional
        Where given, the row before is a context too; true at the first row of each sequence.
    stops : float
        Share of the rows that count as stopping at each stage, beside those that do.
    """
    stages = np.stack([_table(*_pairs(symbols, q, n_codes), n_codes, stops) for q in range(symbols.shape[1])])
    if starts is None:
        return EntropyModel(stages)
    above = np.vstack([np.full((1, symbols.shape[1]), n_codes), symbols[:-1]])
    above[starts] = n_codes
    alive = _alive(symbols, n_codes)
    rows = np.stack(
        [
            _table(above[alive[:, q], q], symbols[alive[:, q], q], n_codes)
            for q in range(symbols.shape[1])
        ]
    )  # fmt: skip
    weights = [_weigh(stages[q], rows[q], symbols, above, q, n_codes) for q in range(symbols.shape[1])]
    return EntropyModel(stages, rows, np.array(weights, dtype=np.uint8))


def _alive(symbols: Symbols, n_codes: int) -> NDArray[np.bool_]:
    """Tell which symbols are sent, (N, Q): all up to the first stop."""
    first = np.ones((len(symbols), 1), dtype=bool)
    return np.hstack([first, symbols[:, :-1] != n_codes])


def _pairs(symbols: Symbols, stage: int, n_codes: int) -> tuple[Symbols, Symbols]:
    """Return the contexts and the symbols that were sent at a stage."""
    if stage == 0:
        return np.full(len(symbols), n_codes), symbols[:, 0]
    sent = symbols[:, stage - 1] != n_codes
    return symbols[sent, stage - 1], symbols[sent, stage]


def _table(contexts: Symbols, symbols: Symbols, n_codes: int, stops: float = 0.0) -> NDArray[np.uint16]:
    """Return frequencies out of 2^16, (K + 1, K + 1); a context that never came up gets the marginal."""
    size = n_codes + 1
    counts = np.bincount(contexts * size + symbols, minlength=size * size).reshape(size, size)
    counts[:, n_codes] += np.ceil(stops * counts.sum(axis=1)).astype(np.int64)
    total = counts.sum(axis=0)
    marginal = (total + 0.5) / (total.sum() + 0.5 * size)
    strength = _strength(counts, marginal)
    smooth = (counts + strength * marginal) / (counts.sum(axis=1, keepdims=True) + strength)
    return _whole(smooth)


def _strength(counts: NDArray, marginal: NDArray) -> float:
    """Choose how many observations the marginal weighs: the likeliest, each observation left out once."""
    at, symbol = np.nonzero(counts)
    n, row = counts[at, symbol], counts.sum(axis=1)[at]

    def likelihood(strength: float) -> float:
        left_out = (n - 1 + strength * marginal[symbol]) / (row - 1 + strength)
        return float((n * np.log(left_out)).sum())

    return float(max(_STRENGTHS, key=likelihood))


def _whole(probabilities: NDArray) -> NDArray[np.uint16]:
    """Round probabilities, (..., K + 1), to whole numbers of at least 1 that add up to 2^16."""
    size = probabilities.shape[-1]
    whole = 1 + np.floor(probabilities * (TOTAL - size)).astype(np.int64)
    largest = whole.argmax(axis=-1)[..., None]
    missing = TOTAL - whole.sum(axis=-1, keepdims=True)
    np.put_along_axis(whole, largest, np.take_along_axis(whole, largest, -1) + missing, -1)
    return whole.astype(np.uint16)


def _weigh(stage: NDArray, row: NDArray, symbols: Symbols, above: Symbols, q: int, n_codes: int) -> int:
    """Return the sixteenths of the table by rows that make the sent symbols of a stage likeliest."""
    before = np.full(len(symbols), n_codes) if q == 0 else symbols[:, q - 1]
    sent = _alive(symbols, n_codes)[:, q]
    own = stage[before[sent], symbols[sent, q]].astype(np.float64)
    other = row[above[sent, q], symbols[sent, q]].astype(np.float64)
    shares = range(PARTS + 1)
    return max(shares, key=lambda share: float(np.log((PARTS - share) * own + share * other).sum()))
