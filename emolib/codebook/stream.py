"""Bitstreams: codes as the fewest bytes that the entropy model allows, and back, exactly.

A stream is a header of 13 to 15 bytes and a range coder's bytes. The header: ``EQ``; one byte of format (high
half) and rate (low half); four bytes that name the codebook; a CRC-32 over everything else and the
codebook's whole fingerprint; the number of stages in use; the number of rows, seven bits a byte.

References
----------
Range coding: G. N. N. Martin (1979), "Range encoding: an algorithm for removing redundancy from a digitised
message". The coder is that of R. Bamler (2022), "Understanding Entropy Coding With Asymmetric Numeral Systems
(ANS)", arXiv:2201.01741: the package constriction.
"""

import contextlib
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emolib.codebook.entropy import Symbols

#: Codes the symbols, (n,), of some rows, (n,), under their probabilities, (n, K + 1), and returns symbols; on
#: the way back those that it is given mean nothing.
Coder = Callable[[NDArray[np.float32], Symbols, NDArray[np.intp]], Symbols]
_MAGIC, _FORMAT = b"EQ", 1
#: Streams shorter than this, in bytes, get their last bytes trimmed, which takes a few decodings.
_TRIMMED = 1024


class Codec(Protocol):
    """What a stream needs of a quantizer."""

    @property
    def fingerprint(self) -> bytes:
        """Return 32 bytes that change with anything that decoding depends on."""
        ...

    def walk(self, coder: Coder, codes: NDArray[np.int16], rate: int, depth: int) -> NDArray[np.int16]:
        """Code a table of codes symbol by symbol in a fixed order; return what was coded."""
        ...

    def cheapest_rate(self, codes: NDArray[np.int16]) -> int:
        """Return the number of the entropy model that makes codes shortest."""
        ...

    def depth(self, codes: NDArray[np.int16]) -> int:
        """Return the number of stages that any row uses."""
        ...

    def blank(self, n_rows: int) -> NDArray[np.int16]:
        """Return a table of codes to decode into."""
        ...


def pack(codec: Codec, codes: NDArray[np.int16]) -> bytes:
    """Write codes as a stream."""
    rate, depth = codec.cheapest_rate(codes), codec.depth(codes)
    encoder, family = _coders()[0](), _family()

    def encode(probabilities: NDArray[np.float32], symbols: Symbols, _: NDArray[np.intp]) -> Symbols:
        encoder.encode(symbols.astype(np.int32), family, probabilities)
        return symbols

    codec.walk(encode, codes, rate, depth)
    payload = _trimmed(codec, codes, rate, depth, encoder.get_compressed().astype(">u4").tobytes())
    start = _MAGIC + bytes([_FORMAT << 4 | rate]) + codec.fingerprint[:4]
    end = bytes([depth]) + _number(len(codes)) + payload
    return start + _checksum(codec, start + end) + end


def unpack(codec: Codec, data: bytes) -> NDArray[np.int16]:
    """Read codes from a stream.

    Raises
    ------
    ValueError
        If the bytes are no stream, or one of another format or codebook, or are damaged or cut short.
    """
    if len(data) < 13 or data[:2] != _MAGIC:
        raise ValueError(f"{len(data)} bytes that are no .emoq stream; expected one that `pack` wrote")
    if data[2] >> 4 != _FORMAT:
        raise ValueError(
            f"an .emoq stream of format {data[2] >> 4}; expected {_FORMAT}: is it newer, or damaged?"
        )
    if data[3:7] != codec.fingerprint[:4]:
        raise ValueError(
            f"the stream was written with codebook {data[3:7].hex()}, this one is "
            f"{codec.fingerprint[:4].hex()}; decode with the codebook that encoded"
        )
    if data[7:11] != _checksum(codec, data[:7] + data[11:]):
        raise ValueError("the stream is damaged or cut short: its checksum does not fit; encode again")
    n_rows, used = _read_number(data[12:])
    return _decode(codec, data[12 + used :], n_rows, data[2] & 15, data[11])


def _decode(codec: Codec, payload: bytes, n_rows: int, rate: int, depth: int) -> NDArray[np.int16]:
    # trimmed bytes were zeros, and the coder reads a little past the end
    words = np.frombuffer(payload + bytes(-len(payload) % 4 + 8), dtype=">u4").astype(np.uint32)
    decoder, family = _coders()[1](words), _family()

    def decode(probabilities: NDArray[np.float32], _: Symbols, __: NDArray[np.intp]) -> Symbols:
        if not len(probabilities):
            return np.empty(0, dtype=np.int64)
        return np.asarray(decoder.decode(family, probabilities)).astype(np.int64)

    try:
        return codec.walk(decode, codec.blank(n_rows), rate, depth)
    except AssertionError:  # the coder's word for bytes that no symbols lead to
        raise ValueError("the stream's bytes fit no codes; encode again") from None


def _trimmed(codec: Codec, codes: NDArray[np.int16], rate: int, depth: int, payload: bytes) -> bytes:
    """Drop last bytes that decoding can do without: the coder ends on whole words of four."""
    if len(payload) > _TRIMMED:
        return payload
    for n_kept in range(max(0, len(payload) - 3), len(payload)):
        for carry in (0, 1):
            number = int.from_bytes(payload[:n_kept]) + carry
            if number >> 8 * n_kept:
                continue
            shorter = number.to_bytes(n_kept)
            with contextlib.suppress(ValueError):
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
    value = 0
    for used, byte in enumerate(data, 1):
        value = value << 7 | byte & 127
        if byte < 128:
            return value, used
    raise ValueError("the stream ends before its number of rows")


def _coders() -> tuple[Any, Any]:
    import constriction

    return constriction.stream.queue.RangeEncoder, constriction.stream.queue.RangeDecoder


def _family() -> Any:
    import constriction

    return constriction.stream.model.Categorical(perfect=False)
