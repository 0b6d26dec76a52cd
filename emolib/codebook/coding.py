"""How a residual quantizer's codes are laid out in a stream, and what they cost: what `stream` asks of it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from emolib.codebook import stream
from emolib.codebook.entropy import EntropyModel

Codes = NDArray[np.int16]


class StageCoding:
    """The codec's part of `ResidualQuantizer`, which has these attributes and describes them."""

    n_stages: int
    groups: int
    context: str
    rates: Sequence[float]
    n_codes_: int
    mean_: NDArray[np.float32]
    scale_: float
    codes_: list[NDArray[np.float32]]
    models_: list[list[EntropyModel]]
    _fingerprint: bytes

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
        used = (codes.reshape(-1, self.groups, self.n_stages) >= 0).any(axis=(0, 1))
        return int(used.sum())

    def cheapest_rate(self, codes: Codes) -> int:
        """Return the number of the rate whose entropy models make these codes shortest."""
        depth = self.depth(codes)
        return int(np.argmin([self.lengths(codes, rate, depth).sum() for rate in range(len(self.rates))]))

    def lengths(self, codes: Codes, rate: int, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits, (N,), at a rate, so many stages sent."""
        table = codes.reshape(-1, self.groups, self.n_stages)[:, :, :depth].astype(np.int64)
        table = np.where(table < 0, self.n_codes_, table)
        lengths = [model.code_lengths(table[:, g]) for g, model in enumerate(self.models_[rate])]
        return np.sum(lengths, axis=0)

    def walk(self, coder: stream.Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Give a coder every symbol in the order of the stream, and return the codes that it gave back."""
        given = codes.reshape(len(codes), self.groups, self.n_stages)
        done = np.full(given.shape, self.n_codes_)
        for g, model in enumerate(self.models_[rate]):
            for q in range(depth):
                before = done[:, g, q - 1] if q else np.full(len(done), self.n_codes_)
                sent = np.flatnonzero(before != self.n_codes_) if q else np.arange(len(done))
                symbols = np.where(given[sent, g, q] < 0, self.n_codes_, given[sent, g, q]).astype(np.int64)
                if model.rows is None:
                    if len(sent):
                        done[sent, g, q] = coder(model.probabilities(q, before[sent]), symbols, sent)
                    continue
                for at, row in enumerate(sent):
                    above = done[row - 1 : row, g, q] if row else np.array([self.n_codes_])
                    probabilities = model.probabilities(q, before[row : row + 1], above)
                    done[row, g, q] = coder(probabilities, symbols[at : at + 1], sent[at : at + 1])[0]
        return np.where(done == self.n_codes_, -1, done).astype(np.int16).reshape(codes.shape)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {"mean": self.mean_}
        tensors |= {f"codes.{g}": codes for g, codes in enumerate(self.codes_)}
        for r, models in enumerate(self.models_):
            for g, model in enumerate(models):
                tensors[f"{r}.{g}.stages"] = model.stages
                if model.rows is not None and model.weights is not None:
                    tensors |= {f"{r}.{g}.rows": model.rows, f"{r}.{g}.weights": model.weights}
        return tensors

    def _set_fingerprint(self) -> None:
        shape = [self.n_stages, self.n_codes_, self.groups, self.context, list(self.rates), self.scale_]
        digest = hashlib.sha256(json.dumps(shape).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode() + np.ascontiguousarray(tensor).tobytes())
        self._fingerprint = digest.digest()
