"""The residual quantizer: vectors to few codes, to fewer bits as lambda rises, and back.

References
----------
N. Zeghidour et al. (2021), "SoundStream: An End-to-End Neural Audio Codec", arXiv:2107.03312 (residual
quantization of features); D. Yang et al. (2023), "HiFi-Codec: Group-residual Vector quantization for High
Fidelity Audio Codec", arXiv:2305.02765 (groups).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from emolib.codebook import multirate, search, stream, training
from emolib.codebook.checks import affordable, check_codes, check_lam, check_parameters, starts_of
from emolib.codebook.coding import Codes
from emolib.codebook.saved import SavedQuantizer

Context = Literal["stage", "frame"]
#: Shares of the variance that a bit is worth, for which entropy models are kept.
RATES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class ResidualQuantizer(SavedQuantizer):
    """Quantize vectors by codes of what earlier codes left over.

    Parameters
    ----------
    n_stages : int, Q
        Codes a row and group, at most; 255 at most.
    n_codes : int, K
        Codes to choose from at each stage; 4,096 at most. Fewer are trained, with a warning, where the rows
        are fewer than twice as many.
    groups : int, G
        The columns are cut into so many groups, each with stages of its own.
    context : {"stage", "frame"}
        What the entropy model knows of: ``stage``, the code of the stage before; ``frame``, also the code of
        the row before at the same stage, and rows are then one sequence in time.
    rates : sequence of float
        Values of lambda that entropy models are trained for, rising from 0; 16 at most. `encode` tries
        the two around its own.
    beam : int
        Hypotheses a row in the search; 1 is greedy.
    n_iter, n_epochs : int
        Iterations of k-means a stage, and passes of moving averages after it.
    seed : int

    Attributes
    ----------
    mean_ : float32 array, (D,); what a row decodes to that stopped before the first stage
    scale_ : float; root of the mean squared distance of the training rows from `mean_`
    n_codes_ : int; codes a stage
    codes_ : list of float32 arrays, (Q, K, D / G), one a group, in units of `scale_`
    models_ : list of lists of EntropyModel, by rate, then by group
    provenance_ : dict; empty, to be filled with where the rows came from; it is saved, too

    Notes
    -----
    `encode` takes the codes of least ``|x - x'|^2 / scale_^2 + lam x bits``. So lambda is the share of the
    variance that one bit must save; 0 spends all bits, and at 1 no bit is worth its cost.

    Entropy models are trained from the lowest rate to the highest, each on the codes chosen under the model
    of the rate below and then under its own.
    """

    mean_: NDArray[np.float32]
    scale_: float

    def __init__(
        self,
        n_stages: int = 8,
        n_codes: int = 256,
        *,
        groups: int = 1,
        context: Context = "stage",
        rates: Sequence[float] = RATES,
        beam: int = 1,
        n_iter: int = 5,
        n_epochs: int = 12,
        seed: int = 0,
    ) -> None:
        self.n_stages = n_stages
        self.n_codes = n_codes
        self.groups = groups
        self.context = context
        self.rates = rates
        self.beam = beam
        self.n_iter = n_iter
        self.n_epochs = n_epochs
        self.seed = seed

    def fit(
        self, X: ArrayLike, y: object = None, *, lengths: Sequence[int] | None = None
    ) -> "ResidualQuantizer":
        """Train codebooks and entropy models.

        Parameters
        ----------
        X : array-like, (N, D); N of at least 2
        y : ignored
        lengths : sequence of int, optional
            Rows of each sequence, for the context ``frame``; X is a single sequence by default.

        Raises
        ------
        ValueError
            If X is not a finite table of at least two rows, or a parameter is out of its range.
        """
        table: NDArray = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_parameters(self, table.shape[1])
        self.provenance_ = {}
        starts = starts_of(len(table), lengths)
        self.n_codes_ = affordable(self.n_codes, len(table))
        self.mean_ = table.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = float(np.sqrt(np.square(table - self.mean_, dtype=np.float64).sum(axis=1).mean()))
        self.scale_ = float(np.float32(spread if spread > 0 else 1.0))
        with threadpool_limits(1):  # so that a seed fixes the outcome on any number of cores
            groups = self._split(self.centred(table))
            self.codes_ = [self._train(rows, g) for g, rows in enumerate(groups)]
            by_group = [
                multirate.train_models(rows, codes, self.rates, starts if self.context == "frame" else None)
                for rows, codes in zip(groups, self.codes_, strict=True)
            ]
        self.models_ = [list(models) for models in zip(*by_group, strict=True)]
        self._set_fingerprint()
        return self

    def with_codes(self, codes: NDArray[np.float32], X: ArrayLike) -> "ResidualQuantizer":
        """Return a quantizer of given codes, its origin this one's and its entropy models trained on X.

        Parameters
        ----------
        codes : float32 array, (Q, K, D), in units of this one's `scale_`
        X : array-like, (N, D)

        Raises
        ------
        ValueError
            If the quantizer has groups or knows the row before, or the codes have another width.
        """
        check_is_fitted(self)
        if (
            self.groups != 1
            or self.context != "stage"
            or codes.ndim != 3
            or codes.shape[2] != len(self.mean_)
        ):
            raise ValueError(
                f"codes of shape {codes.shape} for {self.groups} groups, context {self.context!r}; expected "
                f"(Q, K, {len(self.mean_)}), one group and 'stage'"
            )
        made = clone(self).set_params(n_stages=codes.shape[0], n_codes=codes.shape[1])
        made.n_features_in_, made.n_codes_ = self.n_features_in_, codes.shape[1]
        made.provenance_ = {}
        made.mean_, made.scale_, made.codes_ = self.mean_, self.scale_, [np.asarray(codes, dtype=np.float32)]
        rows = made.centred(validate_data(made, X, dtype=[np.float64, np.float32], reset=False))
        models = multirate.train_models(rows, made.codes_[0], self.rates, None)
        made.models_ = [[model] for model in models]
        made._set_fingerprint()
        return made

    def encode(self, X: ArrayLike, lam: float = 0.0, *, n_stages: int | None = None) -> Codes:
        """Choose codes.

        Parameters
        ----------
        X : array-like, (N, D)
            With the context ``frame``, one sequence.
        lam : float
            Share of the variance that a bit must save; 0 for all stages and the least distortion.
        n_stages : int, optional
            Use the first stages only: the other way to save bits.

        Returns
        -------
        codes : int16 array, (N, G x Q); stages of the first group first, -1 where a row has stopped

        Raises
        ------
        ValueError
            If X does not suit, lam is negative or not finite, or there are no so many stages.
        """
        check_is_fitted(self)
        table: NDArray = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        lam, used = check_lam(lam), self.n_stages if n_stages is None else n_stages
        if not 1 <= used <= self.n_stages:
            raise ValueError(f"n_stages={used}; expected 1 to {self.n_stages}")
        groups = self._split(self.centred(table))
        tried = [self._choose(groups, rate, lam, used) for rate in self._rates_around(lam)]
        return min(tried, key=lambda found: found[0])[1]

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Add up codes, (N, G x Q), to vectors, float32 (N, D): the same on every machine.

        Raises
        ------
        ValueError
            If the codes are not such a table.
        """
        check_is_fitted(self)
        table = check_codes(codes, self.n_stages, self.groups, self.n_codes_)
        parts = []
        for g, stages in enumerate(self.codes_):
            total = np.zeros((len(table), stages.shape[2]), dtype=np.float32)
            for q, stage in enumerate(stages):
                used = table[:, g, q] >= 0
                total[used] += stage[table[used, g, q]]
            parts.append(total)
        return np.hstack(parts) * np.float32(self.scale_) + self.mean_

    def transform(self, X: ArrayLike) -> NDArray:
        """Return what is left of X, (N, D), after coding at full rate."""
        codes = self.encode(X)
        dtype = np.asarray(X).dtype
        return self.decode(codes).astype(dtype if dtype in (np.float32, np.float64) else np.float64)

    def bits(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits, (N,), under the rate that suits them best."""
        check_is_fitted(self)
        table = (
            check_codes(codes, self.n_stages, self.groups, self.n_codes_)
            .reshape(-1, self.groups * self.n_stages)
            .astype(np.int16)
        )
        return self.lengths(table, self.cheapest_rate(table), self.depth(table))

    def compress(self, X: ArrayLike, lam: float = 0.0) -> bytes:
        """Encode into a stream, whose length in bytes is the rate."""
        return stream.pack(self, self.encode(X, lam))

    def decompress(self, data: bytes) -> NDArray[np.float32]:
        """Decode a stream, (N, D); a damaged, cut or foreign one raises ValueError."""
        check_is_fitted(self)
        return self.decode(stream.unpack(self, data))

    def centred(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return rows as seen from `mean_`, in units of `scale_`."""
        return ((np.asarray(X) - self.mean_) / self.scale_).astype(np.float32)

    def _split(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [np.ascontiguousarray(part) for part in np.array_split(rows, self.groups, axis=1)]

    def _train(self, rows: NDArray[np.float32], group: int) -> NDArray[np.float32]:
        return training.train_stages(
            rows,
            self.n_stages,
            self.n_codes_,
            n_iter=self.n_iter,
            n_epochs=self.n_epochs,
            seed=self.seed + group,
        )

    def _rates_around(self, lam: float) -> list[int]:
        """Return the numbers of the rates next to lambda, below and above."""
        above = int(np.searchsorted(list(self.rates), lam))
        last = len(self.rates) - 1
        return [0] if lam == 0 else sorted({min(max(above - 1, 1), last), min(above, last)})

    def _choose(
        self, groups: list[NDArray[np.float32]], rate: int, lam: float, used: int
    ) -> tuple[float, Codes]:
        """Return what the codes chosen under one rate's models cost, and them."""
        codes = self.blank(len(groups[0])).reshape(-1, self.groups, self.n_stages)
        cost = 0.0
        for g, (rows, model) in enumerate(zip(groups, self.models_[rate], strict=True)):
            symbols = search.choose(rows, self.codes_[g][:used], model, lam, self.beam)
            codes[:, g, :used] = np.where(symbols == self.n_codes_, -1, symbols)
            cost += multirate.cost(rows, self.codes_[g], symbols, model, lam) if lam > 0 else 0.0
        return cost, codes.reshape(len(codes), self.groups * self.n_stages)
