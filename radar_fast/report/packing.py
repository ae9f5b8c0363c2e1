"""Arrays and JSON -> blocks of a page: a raw deflate stream, which a browser unpacks by itself, as text in base 85.

Base 85 takes a quarter more than the bytes, base64 a third. The alphabet is that of :func:`base64.b85encode` with a
comma for ``<``, so that no block can end its element.
"""

import base64
import json
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHABET", "packed", "packed_array", "packed_json"]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"
"""Digits of 0 to 84; ``data.js`` has the same."""

_LEVEL = 9
"""Of zlib: a page is written once, and sent and opened many times."""


def packed(data: bytes) -> str:
    """The bytes as text of a raw deflate stream: ``DecompressionStream("deflate-raw")`` reads what that says."""
    return (
        base64.b85encode(min((_deflated(data, strategy) for strategy in _STRATEGIES), key=len))
        .translate(_AS_PAGE)
        .decode("ascii")
    )


_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY)
"""Numbers that hardly repeat are smaller where zlib does not look for repetitions."""
_MEMORY = 9
"""Of zlib, the most."""
_AS_PAGE = bytes.maketrans(b"<", b",")


def _deflated(data: bytes, strategy: int) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, strategy)
    return compressor.compress(data) + compressor.flush()


def packed_array(values: NDArray[np.generic]) -> str:
    """An array of unsigned integers, in C order and little-endian, as typed arrays of every browser in use are."""
    return packed(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())


def packed_json(value: object) -> str:
    """Whatever JSON can say; no NaN. A lone surrogate, which UTF-8 has no bytes for, becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return packed(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
