"""A router over codebooks: each row is coded by one of several, and says by which.

References
----------
"Emotion-aware quantization" (2026), arXiv:2603.21224 (a router over emotion-specialised codebooks).
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emolib.codebook import coding
from emolib.codebook.coding import Codes
from emolib.codebook.quantizer import ResidualQuantizer, check_lam


class RoutedQuantizer:
    """Several codebooks, one of which codes each row; its number is the row's first code.

    Parameters
    ----------
    books : mapping of name to ResidualQuantizer
        Of equal stages, width and rates, one group each, without the context ``frame``.

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
        shapes = {(b.n_stages, b.groups, b.context, tuple(b.rates), len(b.mean_)) for b in books.values()}
        if len(shapes) != 1 or next(iter(shapes))[1:3] != (1, "stage"):
            raise ValueError(
                f"{len(books)} books of {len(shapes)} shapes; expected books of equal stages, rates and "
                f"width, one group each, with context 'stage'"
            )
        self.names, self._books = list(books), list(books.values())
        self.n_stages, self.rates = self._books[0].n_stages, self._books[0].rates
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
            chosen = self._numbers(np.asarray(names), len(X))
        picked = np.stack(tables)[chosen, np.arange(len(X))] if len(X) else tables[0]
        return np.hstack([chosen[:, None], picked]).astype(np.int16)

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Add up codes, (N, 1 + Q), to vectors, float32 (N, D)."""
        table = np.asarray(codes)
        if table.ndim != 2 or table.shape[1] != 1 + self.n_stages:
            raise ValueError(f"codes of shape {table.shape}; expected (N, {1 + self.n_stages})")
        if len(table) and not 0 <= table[:, 0].min() <= table[:, 0].max() < len(self._books):
            raise ValueError(f"books up to number {table[:, 0].max()}; expected 0 to {len(self._books) - 1}")
        X = np.empty((len(table), len(self._books[0].mean_)), dtype=np.float32)
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
        return np.hstack([np.zeros((n_rows, 1), dtype=np.int16), self._books[0].blank(n_rows)])

    def depth(self, codes: Codes) -> int:
        """Return the number of stages that any row uses."""
        return self._books[0].depth(codes[:, 1:])

    def bits(self, codes: Codes) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits, (N,)."""
        return coding.ideal_bits(self, codes)

    def lengths(self, codes: Codes, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits at each rate, (R, N), so many stages sent."""
        choice = -np.log2(self._chances.astype(np.float64))[codes[:, 0]]
        total = np.tile(choice, (len(self.rates), 1))
        for number, book in enumerate(self._books):
            own = codes[:, 0] == number
            total[:, own] += book.lengths(codes[own, 1:], depth)
        return total

    def walk(self, coder: coding.Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Give a coder the books' numbers, then book by book its rows' symbols; return what it gave back."""
        done = self.blank(len(codes))
        if len(codes):
            chances = np.tile(self._chances, (len(codes), 1))
            done[:, 0] = coder(chances, codes[:, 0].astype(np.int64), np.arange(len(codes)))
        for number, book in enumerate(self._books):
            own = np.flatnonzero(done[:, 0] == number)

            def code_own(p: NDArray, s: NDArray, rows: NDArray, own: NDArray = own) -> NDArray:
                return coder(p, s, own[rows])

            done[own, 1:] = book.walk(code_own, codes[own, 1:], rate, depth)
        return done

    def _numbers(self, names: NDArray, n_rows: int) -> NDArray[np.intp]:
        if names.shape != (n_rows,) or not set(names.tolist()) <= set(self.names):
            raise ValueError(
                f"{names.shape} names of books; expected ({n_rows},), each one of {', '.join(self.names)}"
            )
        return np.array([self.names.index(name) for name in names], dtype=np.intp)
