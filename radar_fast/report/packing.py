"""Arrays and JSON -> blocks of a page: base64 of a raw deflate stream, which a browser unpacks by itself."""

import base64
import json
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "packed_array", "packed_json"]

_LEVEL = 9
"""Of zlib: a page is written once, and sent and opened many times."""


def packed(data: bytes) -> str:
    """The bytes as base64 of a raw deflate stream: ``DecompressionStream("deflate-raw")`` reads it."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(compressor.compress(data) + compressor.flush()).decode("ascii")


def packed_array(values: NDArray[np.generic]) -> str:
    """An array of unsigned integers, in C order and little-endian, as typed arrays of every browser in use are."""
    return packed(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())


def packed_json(value: object) -> str:
    """Whatever JSON can say; no NaN. A lone surrogate, which UTF-8 has no bytes for, becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return packed(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
