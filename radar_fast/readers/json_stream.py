"""A file that is one JSON object or list -> its members or items, one at a time: a large file takes no more memory than
a small one.

Where a record begins and ends is told by its brackets and strings; what is between is parsed as one text. So what is
odd in a record, such as NaN or a number of 5,000 digits, is that record's, and only a file that is no JSON is refused.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from radar_fast.errors import DataError
from radar_fast.readers.json_text import HalfPair, NotJson, parse
from radar_fast.readers.paths import shown_path
from radar_fast.readers.records import Flawed

__all__ = ["items", "members"]

Piece = TypeVar("Piece")

_MAX_DEPTH = 64
"""Records are three levels deep. Nesting without a bound would cost the interpreter's stack."""
_MAX_RECORD = 96 * 2**20
"""Bytes of a record, and of all that is in memory at a time."""
_READ = 2**16
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)
"""A string, or a bracket; a quote alone is a string that the buffer does not hold to its end."""
_SCALAR = re.compile(rb'[^\s,:"\[\]{}]+')
_NAMES = ((b"{", "an object"), (b"[", "a list"), (b'"', "a string"), (b"tf", "a boolean"), (b"n", "null"))


class _NotThisJson(Exception):  # noqa: N818 - private to this file
    """Well-formed so far, but not what is read here."""


def members(path: Path) -> Iterator[tuple[str, object]]:
    """The members of the object in file order; a repeated key comes again.

    A value that is JSON but no text, for half a surrogate pair in it, comes as :class:`Flawed`.

    Raises DataError if the file cannot be read, is not JSON in UTF-8 (a byte order mark is fine), is not one object,
    or has no member. What comes before a syntax error is yielded first.
    """
    return _stream(path, _members, "give one object, question id -> record")


def items(path: Path, key: str | None = None) -> Iterator[object]:
    """The items of the list in file order; with a ``key``, of the list that the file's object has there.

    Values and errors are those of :func:`members`; DataError also where the object has no such key.
    """
    if key is None:
        return _stream(path, _items, "give one list of records")
    return _stream(path, lambda text: _items_at(text, key), f"give one object with a list of records under {key!r}")


def _stream(path: Path, pieces: "Callable[[_Text], Iterator[Piece]]", remedy: str) -> Iterator[Piece]:
    count = 0
    try:
        with path.open("rb") as file:
            for piece in pieces(_Text(file)):
                yield piece
                count += 1
    except _NotThisJson as error:
        raise DataError(f"{shown_path(path)}: {error}: {remedy}", path=path) from None
    except OSError as error:
        raise DataError(
            f"{shown_path(path)}: cannot be read ({error.strerror or error}): check the file", path=path
        ) from error
    except NotJson as error:
        message = f"{shown_path(path)}: not JSON: {_position(path, error, count)}: repair the file"
        raise DataError(message) from error
    if not count:
        raise DataError(f"{shown_path(path)}: holds no record: fill the file, or take it away", path=path)


def _members(text: "_Text") -> Iterator[tuple[str, object]]:
    for key in _keys(text):
        yield key, _value(text)
    text.end()


def _items(text: "_Text") -> Iterator[object]:
    text.enter(b"[")
    yield from _listed(text)
    text.end()


def _items_at(text: "_Text", wanted: str) -> Iterator[object]:
    found = False
    for key in _keys(text):
        if key == wanted and not found:
            text.enter(b"[", f"what it has under {wanted!r}")
            yield from _listed(text)
            found = True
        else:
            text.value()
    text.end()
    if not found:
        raise _NotThisJson(f"the object has nothing under {wanted!r}")


def _listed(text: "_Text") -> Iterator[object]:
    """Up to the bracket that closes the list."""
    if text.taken(b"]"):
        return
    while True:
        yield _value(text)
        if text.taken(b"]"):
            return
        text.take(b",")


def _keys(text: "_Text") -> Iterator[str]:
    """Keys of the object; what takes one reads its value before it asks for the next."""
    text.enter(b"{")
    if text.taken(b"}"):
        return
    while True:
        if text.peek() != b'"':
            raise NotJson("a key in quotes is expected")
        key = _key(text.value())
        text.take(b":")
        yield key
        if text.taken(b"}"):
            return
        text.take(b",")


def _key(raw: bytes) -> str:
    """Half a surrogate pair in it is replaced: a key that is no text is a key all the same."""
    try:
        return str(json.loads(raw.decode())).encode("utf-8", "replace").decode()
    except ValueError as error:  # also UnicodeDecodeError
        raise NotJson(str(error)) from None


def _value(text: "_Text") -> object:
    try:
        return parse(text.value())
    except HalfPair as error:
        return Flawed(str(error))


class _Text:
    """A file of JSON, of which a piece is in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = file.read(_READ).removeprefix(_BOM)
        self._at = 0

    def peek(self) -> bytes:
        """The next byte that is no white space, not taken; empty at the end."""
        while True:
            rest = self._buffer[self._at : self._at + 64].lstrip(_SPACE)
            if rest:
                self._at = self._buffer.index(rest[:1], self._at)
                return rest[:1]
            self._at = min(self._at + 64, len(self._buffer))
            if self._at == len(self._buffer) and not self._more():
                return b""

    def taken(self, mark: bytes) -> bool:
        """Whether the next byte is that, which is then taken."""
        if self.peek() != mark:
            return False
        self._at += 1
        return True

    def take(self, mark: bytes) -> None:
        """Raises NotJson unless the next byte is that."""
        if not self.taken(mark):
            raise NotJson(f"{mark.decode()} is expected")

    def enter(self, mark: bytes, what: str = "its top level") -> None:
        """Take the bracket that opens an object or a list. Raises _NotThisJson for any other value."""
        if self.taken(mark):
            return
        first = self.peek()
        name = next((name for marks, name in _NAMES if first and first in marks), "a number")
        if name not in ("a list", "an object"):
            with contextlib.suppress(HalfPair):  # it is JSON, of another kind
                parse(self.value())
        raise _NotThisJson(f"{what} is {name}")

    def end(self) -> None:
        """Raises NotJson unless nothing but white space is left."""
        if self.peek():
            raise NotJson("something follows the value")

    def value(self) -> bytes:
        """The text of the next value, which may still be no JSON: brackets and strings are all that is looked at."""
        if self.peek() in (b"{", b"[", b'"'):
            return self._nested()
        while True:
            match = _SCALAR.match(self._buffer, self._at)
            if (match and match.end() < len(self._buffer)) or not self._more():
                break
        match = _SCALAR.match(self._buffer, self._at)
        if match is None:
            raise NotJson("a value is expected")
        self._at = match.end()
        return match[0]

    def _nested(self) -> bytes:
        depth, searched = 0, 0
        while True:
            match = _TOKEN.search(self._buffer, self._at + searched)
            token = match[0] if match else b'"'
            if match is None or token == b'"':
                searched = match.start() - self._at if match else len(self._buffer) - self._at
                if not self._more():
                    raise NotJson("the file ends within a value")
                continue
            searched = match.end() - self._at
            if token in (b"[", b"{"):
                depth += 1
                if depth >= _MAX_DEPTH:
                    raise _NotThisJson(f"it is nested deeper than {_MAX_DEPTH} levels")
            elif token in (b"]", b"}"):
                depth -= 1
            if depth <= 0:
                raw = self._buffer[self._at : self._at + searched]
                self._at += searched
                return raw

    def _more(self) -> bool:
        """Read on, as much again as there is; what is taken is forgotten. Whether there was anything."""
        kept = self._buffer[self._at :]
        if len(kept) > _MAX_RECORD:
            raise _NotThisJson(f"a value in it is longer than {_MAX_RECORD} bytes")
        piece = self._file.read(max(_READ, len(kept)))
        self._buffer, self._at = kept + piece, 0
        return bool(piece)


def _position(path: Path, error: Exception, count: int) -> str:
    """What is wrong and where. The stream does not say where, so Python's own parser is asked, on failure only."""
    try:
        if path.stat().st_size <= 4 * _MAX_RECORD:
            json.loads(path.read_bytes().decode("utf-8-sig"), parse_int=len)
    except json.JSONDecodeError as exact:
        return f"line {exact.lineno} column {exact.colno}: {exact.msg}"
    except UnicodeDecodeError as exact:
        return f"byte {exact.start} is not UTF-8"
    except (OSError, ValueError, RecursionError, MemoryError):
        pass
    return f"after {count} or more records: {' '.join(str(error).split())[:200]}"
