"""JSON as people write it -> values: NaN and numbers of any size are read, so that they harm no record but their own.

orjson reads what the standard allows, fast. What it refuses is tried again with Python's parser, which knows ``NaN``
and ``Infinity``. Whole numbers beyond 64 bits come out as floats: what asks for them says that they are not exact.
"""

import json
import re

import orjson

__all__ = ["HalfPair", "NotJson", "parse"]

_DIGITS = 18
"""Up to here a whole number fits 64 bits; Python refuses to convert numbers without end."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class NotJson(ValueError):  # noqa: N818 - private to the readers, which say what it means
    """The text is not JSON, on one line."""


class HalfPair(ValueError):  # noqa: N818 - likewise
    """The text is JSON, but a string in it holds half a surrogate pair, which is no text."""


def parse(raw: bytes) -> object:
    """The value of a JSON text in UTF-8.

    Raises:
        NotJson: not JSON, not UTF-8, or nested too deeply.
        HalfPair: a string in it is no text.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        found = error.msg
    try:
        value = json.loads(raw.decode(), parse_int=_whole, parse_constant=float)
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise HalfPair("a string in it holds half a surrogate pair, which no tokenizer reads") from None
    except (ValueError, RecursionError):
        raise NotJson(found) from None
    return value


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)
