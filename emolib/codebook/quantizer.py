"""The residual quantizer: vectors to few codes, fewer bits as lambda rises, and back; a router over several.

References
----------
N. Zeghidour et al. (2021), "SoundStream: An End-to-End Neural Audio Codec", arXiv:2107.03312 (residual
quantization of features); "Emotion-aware quantization" (2026), arXiv:2603.21224 (a router over
emotion-specialised codebooks).
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from emolib import files
from emolib.codebook import coding, training
from emolib.codebook.coding import Codes, EntropyModel
from emolib.codebook.training import RATES, Array

#: What a saved codebook says of itself besides; no other values can be read.
_SHAPE = {"groups": 1, "context": "stage", "rates": list(RATES)}


class ResidualQuantizer(files.Saved, TransformerMixin, BaseEstimator):
    """Quantize vectors by codes of what earlier codes left over.

    Parameters
    ----------
    n_stages : int, Q
        Codes a row, at most; 255 at most.
    n_codes : int, K
        Codes to choose from at each stage; 4,096 at most. Fewer are trained, with a warning, where the rows
        are fewer than twice as many.
    seed : int

    Attributes
    ----------
    mean_ : float32 array, (D,); what a row decodes to that stopped before the first stage
    scale_ : float; root of the mean squared distance of the training rows from `mean_`
    n_codes_ : int; codes a stage
    codes_ : float32 array, (Q, K, D), in units of `scale_`
    models_ : list of EntropyModel, one for each of `training.RATES`; `encode` tries the two around its lambda
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
    codes_: Array
    models_: list[EntropyModel]
    provenance_: dict[str, Any]
    _fingerprint: bytes

    def __init__(self, n_stages: int = 8, n_codes: int = 256, *, seed: int = 0) -> None:
        self.n_stages = n_stages
        self.n_codes = n_codes
        self.seed = seed

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train codebooks and entropy models.

        Parameters
        ----------
        X : array-like, (N, D); N of at least 2
        y : ignored

        Raises
        ------
        ValueError
            If X is not a finite table of at least two rows, or a parameter is out of its range.
        """
        table: NDArray = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        for name, most in {"n_stages": 255, "n_codes": 4096}.items():
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or not 1 <= value <= most:
                raise ValueError(f"{name}={value!r}; expected a whole number, 1 to {most}")
        self.provenance_, self.n_codes_ = {}, _affordable(self.n_codes, len(table))
        self.mean_ = table.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = float(np.sqrt(np.square(table - self.mean_, dtype=np.float64).sum(axis=1).mean()))
        self.scale_ = float(np.float32(spread if spread > 0 else 1.0))
        with threadpool_limits(1):  # so that a seed fixes the outcome on any number of cores
            rows = self.centred(table)
            self.codes_ = training.train_stages(rows, self.n_stages, self.n_codes_, self.seed)
            self._train_models(rows)
        return self

    def with_codes(self, codes: Array, X: ArrayLike) -> Self:
        """Return a quantizer of given codes, its origin this one's and its entropy models trained on X.

        Parameters
        ----------
        codes : float32 array, (Q, K, D), in units of this one's `scale_`
        X : array-like, (N, D)
        """
        made = clone(self).set_params(n_stages=codes.shape[0], n_codes=codes.shape[1])
        made.n_features_in_, made.n_codes_, made.provenance_ = self.n_features_in_, codes.shape[1], {}
        made.mean_, made.scale_, made.codes_ = self.mean_, self.scale_, np.asarray(codes, dtype=np.float32)
        made._train_models(made.centred(X))
        return made

    def encode(self, X: ArrayLike, lam: float = 0.0) -> Codes:
        """Choose codes.

        Parameters
        ----------
        X : array-like, (N, D)
        lam : float
            Share of the variance that a bit must save; 0 for all stages and the least distortion.

        Returns
        -------
        codes : int16 array, (N, Q); -1 where a row has stopped

        Raises
        ------
        ValueError
            If X does not suit, or lam is negative or not finite.
        """
        check_is_fitted(self)
        table: NDArray = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        rows, lam, tried = self.centred(table), check_lam(lam), []
        above = int(np.searchsorted(RATES, lam))
        for rate in sorted({max(above - 1, 1), min(above, len(RATES) - 1)}) if lam else [0]:
            model = self.models_[rate]
            symbols = training.choose(rows, self.codes_, model, lam)
            tried.append((training.cost(rows, self.codes_, symbols, model, lam) if lam else 0.0, symbols))
        _, symbols = min(tried, key=lambda entry: entry[0])
        return np.where(symbols == self.n_codes_, -1, symbols).astype(np.int16)

    def decode(self, codes: ArrayLike) -> Array:
        """Add up codes, (N, Q), to vectors, float32 (N, D): the same on every machine.

        Raises
        ------
        ValueError
            If the codes are not such a table.
        """
        total = training.add_up(self.codes_, self._checked(codes))
        return total * np.float32(self.scale_) + self.mean_

    def transform(self, X: ArrayLike) -> NDArray:
        """Return what is left of X, (N, D), after coding at full rate."""
        codes = self.encode(X)
        dtype = np.asarray(X).dtype
        return self.decode(codes).astype(dtype if dtype in (np.float32, np.float64) else np.float64)

    def bits(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits, (N,), under the rate that suits them best."""
        return coding.ideal_bits(self, self._checked(codes).astype(np.int16))

    def compress(self, X: ArrayLike, lam: float = 0.0) -> bytes:
        """Encode into a stream, whose length in bytes is the rate."""
        return coding.pack(self, self.encode(X, lam))

    def decompress(self, data: bytes) -> Array:
        """Decode a stream, (N, D); a damaged, cut or foreign one raises ValueError."""
        return self.decode(coding.unpack(self, data))

    def centred(self, X: ArrayLike) -> Array:
        """Return rows as seen from `mean_`, in units of `scale_`."""
        return ((np.asarray(X) - self.mean_) / self.scale_).astype(np.float32, order="C")

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that change with anything that decoding depends on."""
        check_is_fitted(self)
        return self._fingerprint

    def blank(self, n_rows: int) -> Codes:
        """Return a table of codes with every row stopped before the first stage, (n_rows, Q)."""
        return np.full((n_rows, self.n_stages), -1, dtype=np.int16)

    def lengths(self, codes: Codes, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits at each rate, (R, N), so many stages sent."""
        symbols = np.where(codes < 0, self.n_codes_, codes)[:, :depth].astype(np.int64)
        return np.stack([model.code_lengths(symbols) for model in self.models_])

    def walk(self, coder: coding.Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Give a coder every symbol in the order of the stream, and return the codes that it gave back."""
        given = np.where(codes < 0, self.n_codes_, codes).astype(np.int64)
        done = np.full((len(codes), 1 + self.n_stages), self.n_codes_)  # K is the context of the first stage
        sent = np.arange(len(codes))
        for q in range(depth):
            chances = self.models_[rate].probabilities(q, done[sent, q])
            done[sent, q + 1] = coder(chances, given[sent, q])
            sent = sent[done[sent, q + 1] != self.n_codes_]
        return np.where(done == self.n_codes_, -1, done)[:, 1:].astype(np.int16)

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        check_is_fitted(self)
        config = self.get_params() | _SHAPE | {
            "n_codes_": self.n_codes_, "scale_": self.scale_, "n_features": int(self.n_features_in_),
            "fingerprint": self.fingerprint.hex(), "provenance": self.provenance_,
        }  # fmt: skip
        return config, self._arrays()

    @classmethod
    def _loaded(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]], **_: Any) -> Self:
        if other := [name for name, value in _SHAPE.items() if config[name] != value]:
            raise ValueError(f"a codebook with {other[0]}={config[other[0]]!r} can't be read; fit another")
        made = cls(**{name: config[name] for name in cls().get_params()})
        made.n_features_in_, made.n_codes_ = config["n_features"], config["n_codes_"]
        made.provenance_, made.scale_, made.mean_ = config["provenance"], config["scale_"], arrays["mean"]
        made.codes_ = arrays["codes.0"]
        made.models_ = [EntropyModel(arrays[f"{r}.0.stages"]) for r in range(len(RATES))]
        made._set_fingerprint()
        if made.fingerprint.hex() != config["fingerprint"]:
            raise ValueError("the codebook was altered: its weights are not those of config.json; fit again")
        return made

    def _arrays(self) -> dict[str, NDArray[Any]]:
        tables = {f"{r}.0.stages": model.stages for r, model in enumerate(self.models_)}
        return {"mean": self.mean_, "codes.0": self.codes_, **tables}

    def _set_fingerprint(self) -> None:
        shape = [self.n_stages, self.n_codes_, *_SHAPE.values(), self.scale_]
        digest = hashlib.sha256(json.dumps(shape).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        self._fingerprint = digest.digest()

    def _train_models(self, rows: Array) -> None:
        self.models_ = training.train_models(rows, self.codes_)
        self._set_fingerprint()

    def _checked(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Return codes, or say what is wrong with them."""
        check_is_fitted(self)
        table, width = np.asarray(codes), self.n_stages
        if table.shape[1:] != (width,) or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"codes of shape {table.shape} and type {table.dtype}; expected integers, (N, {width})"
            )
        if table.size and not -1 <= table.min() <= table.max() < self.n_codes_:
            raise ValueError(f"codes from {table.min()} to {table.max()}; expected -1 to {self.n_codes_ - 1}")
        if ((table[:, :-1] < 0) & (table[:, 1:] >= 0)).any():
            raise ValueError("a code follows a -1; expected -1 from the stage on at which a row stops")
        return table.astype(np.int64)


def check_lam(lam: float) -> float:
    """Return lambda, or raise ValueError where it is negative or not finite."""
    if not np.isfinite(lam) or lam < 0:
        raise ValueError(f"lam={lam}; expected 0 (all bits) or a positive, finite number")
    return float(lam)


def _affordable(n_codes: int, n_rows: int) -> int:
    """Return how many codes so many rows can train, two rows each; warn where fewer than asked for."""
    most = max(1, n_rows // 2)
    if n_codes > most:
        message = f"{n_rows} rows are too few for {n_codes} codes, which takes two rows each: training {most}"
        warnings.warn(message, UserWarning, stacklevel=3)
    return min(n_codes, most)


class RoutedQuantizer:
    """Several codebooks, one of which codes each row; its number is the row's first code.

    Parameters
    ----------
    books : mapping of name to ResidualQuantizer
        Of equal stages and width.

    Raises
    ------
    ValueError
        If the books differ in these.

    Notes
    -----
    A number of a book costs log2(number of books) bits. Without a name given, each row takes the book of
    least distortion + lam x bits, distortion in units of the first book's `scale_` squared.
    """

    def __init__(self, books: Mapping[str, ResidualQuantizer]) -> None:
        shapes = {(book.n_stages, len(book.mean_)) for book in books.values()}
        if len(shapes) != 1:
            raise ValueError(f"{len(books)} books of {len(shapes)} shapes; expected equal stages and width")
        self.names, self._books = list(books), list(books.values())
        self.n_stages = self._books[0].n_stages
        share = coding.TOTAL // len(self.names)
        self._chances = np.full(len(self.names), share / coding.TOTAL, dtype=np.float32)
        self._chances[0] += np.float32((coding.TOTAL - share * len(self.names)) / coding.TOTAL)

    def encode(self, X: ArrayLike, lam: float = 0.0, *, names: ArrayLike | None = None) -> Codes:
        """Choose a book and codes for each row.

        Parameters
        ----------
        X : array-like, (N, D)
        lam : float
        names : array-like of str, (N,), optional
            The book of each row, such as a classifier's answer.

        Returns
        -------
        codes : int16 array, (N, 1 + Q); the book's number first
        """
        X, lam, scale = np.asarray(X), check_lam(lam), self._books[0].scale_
        tables = [book.encode(X, lam * (scale / book.scale_) ** 2) for book in self._books]
        if names is None:
            costs = [
                np.square(X - book.decode(table)).sum(axis=1) / scale**2 + lam * book.bits(table)
                for book, table in zip(self._books, tables, strict=True)
            ]
            chosen = np.argmin(costs, axis=0)
        else:
            chosen = self._numbers(np.asarray(names))
        picked = np.stack(tables)[chosen, np.arange(len(X))]
        return np.hstack([chosen[:, None], picked]).astype(np.int16)

    def _numbers(self, names: NDArray) -> NDArray[np.intp]:
        if unknown := sorted(set(names.tolist()) - set(self.names)):
            raise ValueError(f"no book {unknown[0]!r}; expected one of {', '.join(self.names)}")
        return np.array([self.names.index(name) for name in names])

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Add up codes, (N, 1 + Q), to vectors, float32 (N, D)."""
        table = np.asarray(codes)
        X = np.full((len(table), len(self._books[0].mean_)), np.nan, dtype=np.float32)
        for number, book in enumerate(self._books):
            own = table[:, 0] == number
            X[own] = book.decode(table[own, 1:])
        return X

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that change with any of the books."""
        return hashlib.sha256(b"".join(book.fingerprint for book in self._books)).digest()

    def blank(self, n_rows: int) -> Codes:
        """Return a table of codes to decode into, (n_rows, 1 + Q)."""
        return np.full((n_rows, 1 + self.n_stages), -1, dtype=np.int16)

    def lengths(self, codes: Codes, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits at each rate, (R, N), so many stages sent."""
        choice = -np.log2(self._chances.astype(np.float64))[codes[:, 0]]
        total = np.tile(choice, (len(RATES), 1))
        for number, book in enumerate(self._books):
            own = codes[:, 0] == number
            total[:, own] += book.lengths(codes[own, 1:], depth)
        return total

    def walk(self, coder: coding.Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Give a coder the books' numbers, then book by book its rows' symbols; return what it gave back."""
        done, chances = self.blank(len(codes)), np.tile(self._chances, (len(codes), 1))
        done[:, 0] = coder(chances, codes[:, 0].astype(np.int64))
        for number, book in enumerate(self._books):
            own = done[:, 0] == number
            done[own, 1:] = book.walk(coder, codes[own, 1:], rate, depth)
        return done
