"""A file that is one JSON object or list -> its members or items, one at a time: a large file takes no more memory than
a small one."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import ijson

from radar_fast.errors import DataError
from radar_fast.readers.paths import shown_path

__all__ = ["items", "members"]

Piece = TypeVar("Piece")

_MAX_DEPTH = 64
"""Records are three levels deep. Nesting without a bound would cost memory, and then the interpreter's stack."""
_BOM = b"\xef\xbb\xbf"
_NAMES = {
    "start_map": "an object",
    "start_array": "a list",
    "string": "a string",
    "number": "a number",
    "boolean": "a boolean",
    "null": "null",
}

_Event = tuple[str, object]


class _NotThisJson(Exception):  # noqa: N818 - private to this file
    """Well-formed so far, but not what is read here."""


def members(path: Path) -> Iterator[tuple[str, object]]:
    """The members of the object in file order; a repeated key comes again.

    Raises DataError if the file cannot be read, is not JSON in UTF-8 (a byte order mark is fine), is not one object,
    or has no member. What comes before a syntax error is yielded first.
    """
    return _stream(path, _members, "give one object, question id -> record")


def items(path: Path) -> Iterator[object]:
    """The items of the list in file order.

    Raises DataError if the file cannot be read, is not JSON in UTF-8 (a byte order mark is fine), is not one list, or
    has no item. What comes before a syntax error is yielded first.
    """
    return _stream(path, _items, "give one list of records")


def _stream(path: Path, pieces: Callable[[Iterator[_Event]], Iterator[Piece]], remedy: str) -> Iterator[Piece]:
    count = 0
    try:
        with path.open("rb") as file:
            if file.read(len(_BOM)) != _BOM:
                file.seek(0)
            # With use_float an integer beyond 64 bits is a syntax error. Without, ijson 3.6's C parser hands it to
            # Python, and crashes the process where it has more digits than Python converts.
            events = ijson.basic_parse(file, use_float=True)
            for piece in pieces(events):
                yield piece
                count += 1
    except _NotThisJson as error:
        raise DataError(f"{shown_path(path)}: {error}: {remedy}") from None
    except OSError as error:
        raise DataError(f"{shown_path(path)}: cannot be read ({error.strerror or error}): check the file") from error
    except (ijson.JSONError, ValueError, ArithmeticError, RecursionError, SystemError) as error:
        # Invalid UTF-8 is a ValueError; the others are what ijson's several parsers make of numbers without end.
        message = f"{shown_path(path)}: not JSON: {_position(path, error, count)}: repair the file"
        raise DataError(message) from error
    if not count:
        raise DataError(f"{shown_path(path)}: holds no record: fill the file, or take it away")


def _members(events: Iterator[_Event]) -> Iterator[tuple[str, object]]:
    event, _ = _next(events)
    if event != "start_map":
        raise _NotThisJson(f"its top level is {_NAMES.get(event, event)}")
    while True:
        event, key = _next(events)
        if event == "end_map":
            break
        yield str(key), _value(events, _next(events), depth=1)
    _finish(events)


def _items(events: Iterator[_Event]) -> Iterator[object]:
    event, _ = _next(events)
    if event != "start_array":
        raise _NotThisJson(f"its top level is {_NAMES.get(event, event)}")
    while (entry := _next(events))[0] != "end_array":
        yield _value(events, entry, depth=1)
    _finish(events)


def _finish(events: Iterator[_Event]) -> None:
    for _ in events:  # to the end of the file, where a parser complains about what follows
        pass


def _value(events: Iterator[_Event], first: _Event, depth: int) -> object:
    event, value = first
    if event not in ("start_map", "start_array"):
        return value
    if depth == _MAX_DEPTH:
        raise _NotThisJson(f"it is nested deeper than {_MAX_DEPTH} levels")
    if event == "start_array":
        items: list[object] = []
        while (entry := _next(events))[0] != "end_array":
            items.append(_value(events, entry, depth + 1))
        return items
    fields: dict[str, object] = {}
    while (entry := _next(events))[0] != "end_map":
        fields[str(entry[1])] = _value(events, _next(events), depth + 1)
    return fields


def _next(events: Iterator[_Event]) -> _Event:
    entry = next(events, None)
    if entry is None:
        raise ijson.IncompleteJSONError("the file ends within a value")
    return entry


def _position(path: Path, error: Exception, count: int) -> str:
    """What is wrong and where. The streaming parser does not say where, so Python's own is asked, on failure only."""
    try:
        with path.open("rb") as file:
            json.loads(_text(file))
    except json.JSONDecodeError as exact:
        return f"line {exact.lineno} column {exact.colno}: {exact.msg}"
    except UnicodeDecodeError as exact:
        return f"byte {exact.start} is not UTF-8"
    except (OSError, ValueError, RecursionError, MemoryError):
        pass
    # The parser quotes the text around the place on further lines.
    found = " ".join(str(error).replace("(right here)", "").replace("------^", "").split())
    return f"after {count} or more records: {found[:200]}"


def _text(file: BinaryIO) -> str:
    return file.read().decode("utf-8-sig")
