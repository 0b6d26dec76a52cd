"""The residual quantizer: vectors to few codes, to fewer bits as lambda rises, and back.

References
----------
N. Zeghidour et al. (2021), "SoundStream: An End-to-End Neural Audio Codec", arXiv:2107.03312 (residual
quantization of features); D. Yang et al. (2023), "HiFi-Codec: Group-residual Vector quantization for High
Fidelity Audio Codec", arXiv:2305.02765 (groups).
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from emolib import files
from emolib.codebook import coding, training
from emolib.codebook.coding import Codes, EntropyModel
from emolib.codebook.training import Array

Context = Literal["stage", "frame"]
#: Shares of the variance that a bit is worth, for which entropy models are kept.
RATES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class ResidualQuantizer(files.Saved, TransformerMixin, BaseEstimator):
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
        What the entropy model knows: ``stage``, the code of the stage before; ``frame``, also the code of
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

    KIND, ALONE = "codebook", True

    n_features_in_: int
    mean_: Array
    scale_: float
    n_codes_: int
    codes_: list[Array]
    models_: list[list[EntropyModel]]
    provenance_: dict[str, Any]
    _fingerprint: bytes

    def __init__(
        self, n_stages: int = 8, n_codes: int = 256, *, groups: int = 1, context: Context = "stage",
        rates: Sequence[float] = RATES, beam: int = 1, n_iter: int = 5, n_epochs: int = 12, seed: int = 0,
    ) -> None:  # fmt: skip
        self.n_stages = n_stages
        self.n_codes = n_codes
        self.groups = groups
        self.context = context
        self.rates = rates
        self.beam = beam
        self.n_iter = n_iter
        self.n_epochs = n_epochs
        self.seed = seed

    def fit(self, X: ArrayLike, y: object = None, *, lengths: Sequence[int] | None = None) -> Self:
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
        _check_parameters(self, table.shape[1])
        self.provenance_ = {}
        starts = _starts(len(table), lengths)
        self.n_codes_ = _affordable(self.n_codes, len(table))
        self.mean_ = table.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = float(np.sqrt(np.square(table - self.mean_, dtype=np.float64).sum(axis=1).mean()))
        self.scale_ = float(np.float32(spread if spread > 0 else 1.0))
        with threadpool_limits(1):  # so that a seed fixes the outcome on any number of cores
            groups = self._split(self.centred(table))
            sizes = self.n_stages, self.n_codes_, self.n_iter, self.n_epochs
            train = training.train_stages
            self.codes_ = [train(rows, *sizes, self.seed + g) for g, rows in enumerate(groups)]
            self._train_models(groups, starts if self.context == "frame" else None)
        return self

    def with_codes(self, codes: Array, X: ArrayLike) -> Self:
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
        fits = codes.ndim == 3 and codes.shape[2] == len(self.mean_)
        if not fits or self.groups != 1 or self.context != "stage":
            raise ValueError(
                f"codes of shape {codes.shape} for {self.groups} groups, context {self.context!r}; expected "
                f"(Q, K, {len(self.mean_)}), one group and 'stage'"
            )
        made = clone(self).set_params(n_stages=codes.shape[0], n_codes=codes.shape[1])
        made.n_features_in_, made.n_codes_, made.provenance_ = self.n_features_in_, codes.shape[1], {}
        made.mean_, made.scale_, made.codes_ = self.mean_, self.scale_, [np.asarray(codes, dtype=np.float32)]
        rows = made.centred(validate_data(made, X, dtype=[np.float64, np.float32], reset=False))
        made._train_models([rows], None)
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
        return min(tried, key=lambda entry: entry[0])[1]

    def decode(self, codes: ArrayLike) -> Array:
        """Add up codes, (N, G x Q), to vectors, float32 (N, D): the same on every machine.

        Raises
        ------
        ValueError
            If the codes are not such a table.
        """
        table, parts = self._checked(codes), []
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
        table = self._checked(codes).reshape(-1, self.groups * self.n_stages)
        return coding.ideal_bits(self, table.astype(np.int16))

    def compress(self, X: ArrayLike, lam: float = 0.0) -> bytes:
        """Encode into a stream, whose length in bytes is the rate."""
        return coding.pack(self, self.encode(X, lam))

    def decompress(self, data: bytes) -> Array:
        """Decode a stream, (N, D); a damaged, cut or foreign one raises ValueError."""
        check_is_fitted(self)
        return self.decode(coding.unpack(self, data))

    def centred(self, X: ArrayLike) -> Array:
        """Return rows as seen from `mean_`, in units of `scale_`."""
        return ((np.asarray(X) - self.mean_) / self.scale_).astype(np.float32)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that change with anything that decoding depends on."""
        check_is_fitted(self)
        return self._fingerprint

    def blank(self, n_rows: int) -> Codes:
        """Return a table of codes with every row stopped before the first stage, (n_rows, G x Q)."""
        return np.full((n_rows, self.groups * self.n_stages), -1, dtype=np.int16)

    def depth(self, codes: Codes) -> int:
        """Return the number of stages that any row and group uses."""
        return int((codes.reshape(-1, self.groups, self.n_stages) >= 0).any(axis=(0, 1)).sum())

    def lengths(self, codes: Codes, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits at each rate, (R, N), so many stages sent."""
        table = codes.reshape(-1, self.groups, self.n_stages)[:, :, :depth].astype(np.int64)
        table = np.where(table < 0, self.n_codes_, table)
        by_group = [[m.code_lengths(table[:, g]) for g, m in enumerate(each)] for each in self.models_]
        return np.sum(by_group, axis=1)

    def walk(self, coder: coding.Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Give a coder every symbol in the order of the stream, and return the codes that it gave back."""
        given = np.where(codes < 0, self.n_codes_, codes).astype(np.int64)
        given = given.reshape(len(codes), self.groups, self.n_stages)
        done = np.full(given.shape, self.n_codes_)
        for g, model in enumerate(self.models_[rate]):
            for q in range(depth):
                before = done[:, g, q - 1] if q else np.full(len(done), self.n_codes_)
                sent = np.flatnonzero(before != self.n_codes_) if q else np.arange(len(done))
                # a row whose context is the row before waits for it; row 0 finds K at the end of the table
                for rows in [sent][: len(sent)] if model.rows is None else sent[:, None]:
                    chances = model.probabilities(q, before[rows], done[rows - 1, g, q])
                    done[rows, g, q] = coder(chances, given[rows, g, q], rows)
        return np.where(done == self.n_codes_, -1, done).astype(np.int16).reshape(codes.shape)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        check_is_fitted(self)
        config = self.get_params() | {
            "rates": list(self.rates), "n_codes_": self.n_codes_, "scale_": self.scale_,
            "n_features": int(self.n_features_in_), "fingerprint": self.fingerprint.hex(),
            "provenance": self.provenance_,
        }  # fmt: skip
        return config, self._arrays()

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **_: Any) -> Self:
        made = cls(**{name: config[name] for name in cls().get_params()})
        made.n_features_in_, made.n_codes_ = config["n_features"], config["n_codes_"]
        made.provenance_, made.scale_, made.mean_ = config["provenance"], config["scale_"], arrays["mean"]
        groups = range(made.groups)
        made.codes_ = [arrays[f"codes.{g}"] for g in groups]

        def model(at: str) -> EntropyModel:
            return EntropyModel(arrays[at + "stages"], arrays.get(at + "rows"), arrays.get(at + "weights"))

        made.models_ = [[model(f"{r}.{g}.") for g in groups] for r in range(len(made.rates))]
        made._set_fingerprint()
        if made.fingerprint.hex() != config["fingerprint"]:
            raise ValueError("the codebook was altered: its weights are not those of config.json; fit again")
        return made

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"mean": self.mean_}
        arrays |= {f"codes.{g}": codes for g, codes in enumerate(self.codes_)}
        for r, models in enumerate(self.models_):
            for g, model in enumerate(models):
                for name in ("stages", "rows", "weights"):
                    if (array := getattr(model, name)) is not None:
                        arrays[f"{r}.{g}.{name}"] = array
        return arrays

    def _set_fingerprint(self) -> None:
        shape = [self.n_stages, self.n_codes_, self.groups, self.context, list(self.rates), self.scale_]
        digest = hashlib.sha256(json.dumps(shape).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        self._fingerprint = digest.digest()

    def _train_models(self, groups: list[Array], starts: NDArray[np.bool_] | None) -> None:
        """Set the entropy models of all groups, and the fingerprint."""
        pairs = zip(groups, self.codes_, strict=True)
        by_group = [training.train_models(rows, codes, self.rates, starts) for rows, codes in pairs]
        self.models_ = [list(models) for models in zip(*by_group, strict=True)]
        self._set_fingerprint()

    def _split(self, rows: Array) -> list[Array]:
        return [np.ascontiguousarray(part) for part in np.array_split(rows, self.groups, axis=1)]

    def _rates_around(self, lam: float) -> list[int]:
        """Return the numbers of the rates next to lambda, below and above."""
        above = int(np.searchsorted(list(self.rates), lam))
        last = len(self.rates) - 1
        return [0] if lam == 0 else sorted({min(max(above - 1, 1), last), min(above, last)})

    def _choose(self, groups: list[Array], rate: int, lam: float, used: int) -> tuple[float, Codes]:
        """Return what the codes chosen under one rate's models cost, and them."""
        codes = self.blank(len(groups[0])).reshape(-1, self.groups, self.n_stages)
        cost = 0.0
        for g, (rows, model) in enumerate(zip(groups, self.models_[rate], strict=True)):
            symbols = training.choose(rows, self.codes_[g][:used], model, lam, self.beam)
            codes[:, g, :used] = np.where(symbols == self.n_codes_, -1, symbols)
            cost += training.cost(rows, self.codes_[g], symbols, model, lam) if lam > 0 else 0.0
        return cost, codes.reshape(len(codes), self.groups * self.n_stages)

    def _checked(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Return codes as (N, G, Q), or say what is wrong with them."""
        check_is_fitted(self)
        table, width = np.asarray(codes), self.groups * self.n_stages
        if table.ndim != 2 or table.shape[1] != width or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"codes of shape {table.shape} and type {table.dtype}; expected integers, (N, {width})"
            )
        table = table.astype(np.int64).reshape(len(table), self.groups, self.n_stages)
        if table.size and not -1 <= table.min() <= table.max() < self.n_codes_:
            raise ValueError(f"codes from {table.min()} to {table.max()}; expected -1 to {self.n_codes_ - 1}")
        if ((table[..., :-1] < 0) & (table[..., 1:] >= 0)).any():
            raise ValueError("a code follows a -1; expected -1 from the stage on at which a row stops")
        return table


def check_lam(lam: float) -> float:
    """Return lambda, or raise ValueError where it is negative or not finite."""
    if not np.isfinite(lam) or lam < 0:
        raise ValueError(f"lam={lam}; expected 0 (all bits) or a positive, finite number")
    return float(lam)


def _check_parameters(quantizer: ResidualQuantizer, n_features: int) -> None:
    """Raise ValueError where a parameter is out of its range."""
    most = {"n_stages": 255, "n_codes": 4096, "groups": n_features, "beam": 256}
    for name in (*most, "n_iter", "n_epochs"):
        value, least, limit = getattr(quantizer, name), int(name in most), most.get(name, np.inf)
        if not isinstance(value, int | np.integer) or not least <= value <= limit:
            upper = f"to {limit}" if name in most else "or more"
            raise ValueError(f"{name}={value!r}; expected a whole number, {least} {upper}")
    if quantizer.context not in ("stage", "frame"):
        raise ValueError(f"context={quantizer.context!r}; expected 'stage' or 'frame'")
    rates = list(quantizer.rates)
    rising = rates == sorted({*rates}) and np.isfinite(rates).all()
    if not (1 <= len(rates) <= 16 and rates[0] == 0 and rising):
        raise ValueError(f"rates={quantizer.rates}; expected 1 to 16 numbers that rise from 0")


def _affordable(n_codes: int, n_rows: int) -> int:
    """Return how many codes so many rows can train, two rows each; warn where fewer than asked for."""
    most = max(1, n_rows // 2)
    if n_codes > most:
        message = f"{n_rows} rows are too few for {n_codes} codes, which takes two rows each: training {most}"
        warnings.warn(message, UserWarning, stacklevel=3)
    return min(n_codes, most)


def _starts(n_rows: int, lengths: Sequence[int] | None) -> NDArray[np.bool_]:
    """Return which rows begin a sequence, (N,)."""
    sizes = [n_rows] if lengths is None else [int(length) for length in lengths]
    if sum(sizes) != n_rows or min(sizes) < 1:
        raise ValueError(f"lengths add up to {sum(sizes)}; expected positive numbers, {n_rows} in all")
    starts = np.zeros(n_rows, dtype=bool)
    starts[np.cumsum([0, *sizes[:-1]])] = True
    return starts
