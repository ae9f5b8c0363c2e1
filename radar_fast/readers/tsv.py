"""Tab-separated rows as pandas writes them, one at a time: ``to_csv(sep="\\t")`` quotes cells that hold a tab, a quote
or a line end, and doubles the quotes within.

Python's own ``csv`` would do but for the length of a cell: its bound is one for the whole process, and what exceeds it
ends the file. Here a cell that is too long costs its row, and no more memory than the bound.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO

__all__ = ["MAX_ROW", "Row", "UnclosedQuote", "rows"]

MAX_ROW = 96 * 2**20
"""Bytes of a row. Longer ones are read past, and their cells not kept."""

_PIECE = 2**20
_BOM = b"\xef\xbb\xbf"


class UnclosedQuote(Exception):  # noqa: N818 - private to the readers, which say what it means
    """The file ends within quotes; ``line`` is where the row began."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file."""

    line: int
    """The line on which it begins, from 1. A quoted cell may hold line ends, so rows are fewer than lines."""
    offset: int
    """Where it begins in the file, in bytes."""
    cells: tuple[bytes, ...]
    """Without quotes; empty where the row is longer than :data:`MAX_ROW`."""


class _State(Enum):
    START = auto()
    PLAIN = auto()
    QUOTED = auto()
    QUOTE = auto()
    """After a quote within quotes: it closes the cell, or is the first of two."""


def rows(file: BinaryIO, *, line: int = 1, offset: int = 0) -> Iterator[Row]:
    """The rows from ``offset`` on, which must be the start of one, on ``line``; blank lines are none.

    Raises UnclosedQuote at the end of the file, and OSError.
    """
    file.seek(offset)
    row = _Unfinished(line, offset)
    while piece := file.readline(_PIECE):
        size, ends = len(piece), piece.endswith(b"\n")
        if offset == 0 and size >= len(_BOM):
            piece = piece.removeprefix(_BOM)
        if row.untouched and ends and b'"' not in piece:  # nearly every row: nothing to look at but tabs
            whole = piece[:-2] if piece.endswith(b"\r\n") else piece[:-1]
            if whole:
                yield Row(line, offset, tuple(whole.split(b"\t")))
            row = _Unfinished(line + 1, offset + size)
        elif row.take(piece):
            if cells := row.finish():
                yield Row(row.line, row.offset, cells[0])
            row = _Unfinished(line + 1, offset + size)
        line += ends
        offset += size
    if row.state is _State.QUOTED:
        raise UnclosedQuote(row.line)
    if not row.untouched and (cells := row.finish()):
        yield Row(row.line, row.offset, cells[0])


class _Unfinished:
    """A row of which more may follow."""

    def __init__(self, line: int, offset: int) -> None:
        self.line, self.offset = line, offset
        self.state = _State.START
        self.untouched = True
        self._cells: list[bytes] = []
        self._parts: list[bytes] = []
        self._kept = 0
        self._quoted = False

    def take(self, piece: bytes) -> bool:
        """Read on to the end of the piece, which is at most one line. Whether the row ends there."""
        self.untouched = False
        at = 0
        while at < len(piece):
            if self.state is _State.START:
                self.state = _State.QUOTED if piece[at] == ord('"') else _State.PLAIN
                at += self.state is _State.QUOTED
                self._quoted |= self.state is _State.QUOTED
            elif self.state is _State.PLAIN:
                tab = piece.find(b"\t", at)
                self._keep(piece[at:] if tab < 0 else piece[at:tab])
                if tab < 0:
                    return piece.endswith(b"\n")
                self._close()
                at = tab + 1
            elif self.state is _State.QUOTED:
                quote = piece.find(b'"', at)
                self._keep(piece[at:] if quote < 0 else piece[at:quote])
                at = len(piece) if quote < 0 else quote + 1
                if quote >= 0:
                    self.state = _State.QUOTE
            elif piece[at] == ord('"'):
                self._keep(b'"')
                self.state = _State.QUOTED
                at += 1
            elif piece[at:] in (b"\n", b"\r\n"):
                return True
            else:  # the cell is closed; what follows but a tab or line end belongs to it, as pandas takes it
                self.state = _State.PLAIN
        return False

    def finish(self) -> list[tuple[bytes, ...]]:
        """The cells, in a list; no list where the line was blank."""
        last = b"".join(self._parts)
        last = last.removesuffix(b"\n").removesuffix(b"\r") if self.state is _State.PLAIN else last
        if self._kept > MAX_ROW:
            return [()]
        return [(*self._cells, last)] if last or self._cells or self._quoted else []

    def _keep(self, part: bytes) -> None:
        self._kept += len(part)
        if self._kept <= MAX_ROW:
            self._parts.append(part)
        else:
            self._parts.clear()
            self._cells.clear()

    def _close(self) -> None:
        if self._kept <= MAX_ROW:
            self._cells.append(b"".join(self._parts))
        self._parts.clear()
        self.state = _State.START
