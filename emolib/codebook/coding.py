"""Entropy coding of codes: a model of how probable each one is, and streams as short as the model allows.

A table counts, for one stage at one rate, how often each symbol followed each context. A symbol is a code,
0 to K - 1, or K: stop, the row has no further stages. The context is the symbol of the stage before (K at the
first stage). Probabilities are whole numbers out of 2^16, so that every machine decodes with the same ones.

A table has (K + 1)^2 contexts and symbols, most of which a small corpus never shows: where there are fewer
than some ten rows for each, rates are higher than the same codes would need with tables from more data.

A stream is a header of 13 to 15 bytes and a range coder's bytes. The header: ``EQ``; one byte of format (high
half) and rate (low half); four bytes that name the codebook; a CRC-32 over everything else and the
codebook's whole fingerprint; the number of stages in use; the number of rows, seven bits a byte.

References
----------
Entropy-constrained quantization: P. A. Chou, T. Lookabaugh, R. M. Gray (1989), doi:10.1109/29.17498.
Smoothing towards the marginal, its strength chosen with each count left out once: H. Ney, U. Essen, R. Kneser
(1994), "On structuring probabilistic dependences in stochastic language modelling",
doi:10.1006/csla.1994.1001. Range coding: G. N. N. Martin (1979), "Range encoding: an algorithm for removing
redundancy from a digitised message". The coder is that of R. Bamler (2022), "Understanding Entropy Coding
With Asymmetric Numeral Systems (ANS)", arXiv:2201.01741: the package constriction.
"""

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
Symbols = NDArray[np.int64]
#: Codes symbols, (n,), under their probabilities, (n, K + 1), and returns symbols; in decoding, the symbols
#: that it is given mean nothing.
Coder = Callable[[NDArray[np.float32], Symbols], Symbols]
#: Probabilities are shares of this number.
TOTAL = 1 << 16
_STRENGTHS = 4.0 ** np.arange(-1, 8)
_MAGIC, _FORMAT = b"EQ", 1
#: Streams shorter than this, in bytes, get their last bytes trimmed, which takes a few decodings.
_TRIMMED = 1024
#: Range coders, and the family of distributions that they take.
_QUEUE = constriction.stream.queue
_FAMILY = constriction.stream.model.Categorical(perfect=False)


@dataclass(frozen=True)
class EntropyModel:
    """Probabilities of symbols at one rate.

    Attributes
    ----------
    stages : uint16 array, (Q, K + 1, K + 1); frequencies after each symbol of the stage before
    """

    stages: NDArray[np.uint16]

    @cached_property
    def bits(self) -> NDArray[np.float32]:
        """The length of every symbol in bits, (Q, K + 1, K + 1)."""
        return np.log2(np.float32(TOTAL) / self.stages).astype(np.float32)

    def probabilities(self, stage: int, before: Symbols) -> NDArray[np.float32]:
        """Return the probability of every symbol, (N, K + 1), exact in float32; before (N,)."""
        return self.stages[stage][before].astype(np.float32) / np.float32(TOTAL)

    def code_lengths(self, symbols: Symbols) -> NDArray[np.float64]:
        """Return the ideal length of each row in bits, (N,); symbols (N, Q)."""
        before, sent = _contexts(symbols, self.stages.shape[1] - 1)
        chance = self.stages[np.arange(symbols.shape[1]), before, symbols] / TOTAL
        return np.where(sent, -np.log2(chance), 0.0).sum(axis=1)


def fit_model(symbols: Symbols, n_codes: int, *, stops: float = 0.0) -> EntropyModel:
    """Count symbols into an entropy model; a context that never came up gets the marginal.

    Parameters
    ----------
    symbols : int array, (N, Q); codes, then K from the stage on at which a row stopped
    n_codes : int, K
    stops : float
        Share of the rows that count as stopping at each stage, beside those that do.
    """
    size, tables = n_codes + 1, []
    before, sent = _contexts(symbols, n_codes)
    for pairs, on in zip((before * size + symbols).T, sent.T, strict=True):
        counts = np.bincount(pairs[on], minlength=size * size).reshape(size, size)
        counts[:, n_codes] += np.ceil(stops * counts.sum(axis=1)).astype(np.int64)
        total, seen = counts.sum(axis=0), counts.sum(axis=1, keepdims=True)
        marginal = (total + 0.5) / (total.sum() + 0.5 * size)
        strength = _strength(counts, marginal)
        tables.append(_whole((counts + strength * marginal) / (seen + strength)))
    return EntropyModel(np.stack(tables))


def _contexts(symbols: Symbols, n_codes: int) -> tuple[Symbols, NDArray[np.bool_]]:
    """Return the symbols of the stage before, and which symbols are sent: all up to the first stop."""
    first = np.full((len(symbols), 1), n_codes)
    before = np.hstack([first, symbols[:, :-1]])
    return before, np.hstack([first == n_codes, before[:, 1:] != n_codes])


def _strength(counts: NDArray, marginal: NDArray) -> float:
    """Choose how many observations the marginal weighs: the likeliest, each observation left out once."""
    at, symbol = np.nonzero(counts)
    n, row = counts[at, symbol], counts.sum(axis=1)[at]
    weighed = _STRENGTHS[:, None]
    left_out = (n - 1 + weighed * marginal[symbol]) / (row - 1 + weighed)
    return float(_STRENGTHS[(n * np.log(left_out)).sum(axis=1).argmax()])


def _whole(probabilities: NDArray) -> NDArray[np.uint16]:
    """Round probabilities, (..., K + 1), to whole numbers of at least 1 that add up to 2^16."""
    whole = 1 + np.floor(probabilities * (TOTAL - probabilities.shape[-1])).astype(np.int64)
    largest = whole.argmax(axis=-1)[..., None]
    missing = TOTAL - whole.sum(axis=-1, keepdims=True)
    np.put_along_axis(whole, largest, np.take_along_axis(whole, largest, -1) + missing, -1)
    return whole.astype(np.uint16)


class Codec(Protocol):
    """What a stream needs of a quantizer."""

    n_stages: int

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that change with anything that decoding depends on."""

    def blank(self, n_rows: int) -> Codes:
        """Return a table of codes to decode into; the stages are its last columns."""

    def lengths(self, codes: Codes, depth: int) -> NDArray[np.float64]:
        """Return the ideal length of each row's code in bits at each rate, (R, N), so many stages sent."""

    def walk(self, coder: Coder, codes: Codes, rate: int, depth: int) -> Codes:
        """Code a table of codes symbol by symbol in a fixed order; return what was coded."""


def _depth(codec: Codec, codes: Codes) -> int:
    """Return the number of stages that any row uses."""
    return int((codes[:, -codec.n_stages :] >= 0).any(axis=0).sum())


def ideal_bits(codec: Codec, codes: Codes) -> NDArray[np.float64]:
    """Return the ideal length of each row's code in bits, (N,), under the rate that suits them best."""
    lengths = codec.lengths(codes, _depth(codec, codes))
    return lengths[lengths.sum(axis=1).argmin()]


def pack(codec: Codec, codes: Codes) -> bytes:
    """Write codes as a stream."""
    depth = _depth(codec, codes)
    rate = int(codec.lengths(codes, depth).sum(axis=1).argmin())
    encoder = _QUEUE.RangeEncoder()

    def encode(probabilities: NDArray[np.float32], symbols: Symbols) -> Symbols:
        encoder.encode(symbols.astype(np.int32), _FAMILY, probabilities)
        return symbols

    codec.walk(encode, codes, rate, depth)
    payload = _trimmed(codec, codes, rate, depth, encoder.get_compressed().astype(">u4").tobytes())
    start = _MAGIC + bytes([_FORMAT << 4 | rate]) + codec.fingerprint[:4]
    end = bytes([depth]) + _number(len(codes)) + payload
    return start + _checksum(codec, start + end) + end


def bits_per_row(codec: Codec, codes: Codes) -> float:
    """Return the length of the codes' stream in bits, header included, over the number of rows."""
    return 8 * len(pack(codec, codes)) / len(codes)


def codes_at_bits(
    encode: Callable[[float], Codes], codec: Codec, bits: float, *, n_halvings: int = 12, seed: int = 0
) -> Codes:
    """Return codes whose stream takes so many bits a row, or as nearly so many as can be had with fewer.

    Lambda is found by bisection. Not every rate has a lambda: between two neighbouring ones, a share of the
    rows, drawn at random, gets the codes of the richer.

    Parameters
    ----------
    encode : callable of lambda; codes of the rows in question
    codec : Codec; what packs them
    bits : float; as `bits_per_row` measures them
    n_halvings : int
    seed : int; of the rows that get the richer codes
    """

    low, high = 1e-4, 1.0
    for _ in range(n_halvings):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if bits_per_row(codec, encode(middle)) > bits else (low, middle)
    rich, poor = encode(low), encode(high)
    order, few, many = np.random.default_rng(seed).permutation(len(rich)), 0, len(rich)
    while few < many:
        n_rich = (few + many + 1) // 2
        mixed = poor.copy()
        mixed[order[:n_rich]] = rich[order[:n_rich]]
        few, many = (n_rich, many) if bits_per_row(codec, mixed) <= bits else (few, n_rich - 1)
    poor[order[:few]] = rich[order[:few]]
    return poor


def unpack(codec: Codec, data: bytes) -> Codes:
    """Read codes from a stream.

    Raises
    ------
    ValueError
        If the bytes are no stream, or one of another format or codebook, or are damaged or cut short.
    """
    if len(data) < 13 or data[:2] != _MAGIC:
        raise ValueError(f"{len(data)} bytes that are no .emoq stream; expected one that `pack` wrote")
    if data[2] >> 4 != _FORMAT:
        raise ValueError(f"an .emoq stream of format {data[2] >> 4}; expected {_FORMAT}: newer, or damaged?")
    if data[3:7] != codec.fingerprint[:4]:
        raise ValueError(
            f"the stream was written with codebook {data[3:7].hex()}, this one is "
            f"{codec.fingerprint[:4].hex()}; decode with the codebook that encoded"
        )
    if data[7:11] != _checksum(codec, data[:7] + data[11:]):
        raise ValueError("the stream is damaged or cut short: its checksum does not fit; encode again")
    n_rows, used = _read_number(data[12:])
    return _decode(codec, data[12 + used :], n_rows, data[2] & 15, data[11])


def _decode(codec: Codec, payload: bytes, n_rows: int, rate: int, depth: int) -> Codes:
    # trimmed bytes were zeros, and the coder reads a little past the end
    words = np.frombuffer(payload + bytes(-len(payload) % 4 + 8), dtype=">u4").astype(np.uint32)
    decoder = _QUEUE.RangeDecoder(words)

    def decode(probabilities: NDArray[np.float32], _: Symbols) -> Symbols:
        return decoder.decode(_FAMILY, probabilities).astype(np.int64)

    return codec.walk(decode, codec.blank(n_rows), rate, depth)


def _trimmed(codec: Codec, codes: Codes, rate: int, depth: int, payload: bytes) -> bytes:
    """Drop last bytes that decoding can do without: the coder ends on whole words of four."""
    if len(payload) > _TRIMMED:
        return payload
    for n_kept in range(max(0, len(payload) - 3), len(payload)):
        for carry in (0, 1):
            number = int.from_bytes(payload[:n_kept]) + carry
            if number >> 8 * n_kept:
                continue
            shorter = number.to_bytes(n_kept)
            with contextlib.suppress(AssertionError):  # bytes that no symbols lead to
                if np.array_equal(_decode(codec, shorter, len(codes), rate, depth), codes):
                    return shorter
    return payload


def _checksum(codec: Codec, data: bytes) -> bytes:
    return zlib.crc32(codec.fingerprint + data).to_bytes(4)


def _number(value: int) -> bytes:
    """Write a whole number, seven bits a byte, the last of them without the high bit."""
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127 | 128)
    return bytes(reversed(parts))


def _read_number(data: bytes) -> tuple[int, int]:
    """Return a number and how many bytes it took."""
    used, value = next(place for place, byte in enumerate(data, 1) if byte < 128), 0
    for byte in data[:used]:
        value = value << 7 | byte & 127
    return value, used
