"""JSON of ours, written and read by one pair of functions: whatever the one writes, the other reads.

Texts may hold lone surrogates: Python's for the bytes of a path or an option that are no UTF-8. Most JSON libraries
neither write nor read those.
"""

import json
import re

import orjson

__all__ = ["decode", "encode"]


def encode(value: object, *, indent: bool = False) -> bytes:
    """JSON in UTF-8, one line unless indented, with a newline at its end.

    Raises ValueError for what JSON cannot say. NaN and infinity are the caller's to look for: orjson makes them null.
    """
    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return orjson.dumps(value, option=options)
    except orjson.JSONEncodeError:
        pass  # a lone surrogate, or an integer beyond 64 bits: orjson takes neither, Python's json both
    try:
        text = json.dumps(value, indent=2 if indent else None, ensure_ascii=False, allow_nan=False)
        if not _SPLIT_PAIR.search(text):
            text = json.dumps(value, indent=2 if indent else None, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text.encode("utf-8", "surrogatepass") + b"\n"


# Two halves of a surrogate pair as two characters: as JSON escapes they would be read back as one character. So such
# a line holds them raw, which strict UTF-8 does not allow; every other line is plain JSON for any reader.
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def decode(data: bytes) -> object:
    """What JSON says. Raises ValueError for what is none, is nested too deeply, or has a number of too many digits."""
    # Not orjson: it refuses lone surrogates, and rounds integers beyond 64 bits.
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
