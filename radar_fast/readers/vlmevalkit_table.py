"""A table of VLMEvalKit's before its rows are samples: which columns it has, and images that stand in other rows.

A row's ``image`` of 64 characters or less is the index of the row whose image it is. That row may stand anywhere, so it
is looked up by its place in the file: images of other rows are not kept.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from radar_fast.errors import DataError
from radar_fast.readers.paths import shown_path
from radar_fast.readers.records import shown
from radar_fast.readers.tsv import Row, rows

__all__ = ["REFERENCE", "Columns", "OtherRows"]

REFERENCE = 64
"""Characters up to which an image is the index of another row."""

_OPTION = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class Columns:
    """The first row of a table."""

    places: Mapping[str, int]
    """Column -> its place in a row."""
    options: tuple[str, ...]
    """The option columns in alphabetical order."""

    @classmethod
    def of(cls, file: Path, header: Row | None) -> "Columns":
        """Raises DataError unless the row names the columns that a table needs."""
        name = shown_path(file)
        if header is None:
            raise DataError(f"{name}: is empty: give a table of VLMEvalKit, or take the file away")
        try:
            names = [cell.decode() for cell in header.cells]
        except UnicodeDecodeError:
            raise DataError(f"{name}: the first line is not UTF-8: give the names of the columns") from None
        for needed, one_of in (("index", {"index"}), ("question", {"question"}), ("image", {"image", "image_path"})):
            if not one_of & set(names):
                seen = ", ".join(map(shown, names[:12])) + ", ..." * (len(names) > 12) or "nothing"
                raise DataError(f"{name}: no column {needed!r}; the first line holds {seen}: is it of VLMEvalKit?")
        if repeated := sorted({column for column in names if names.count(column) > 1}):
            raise DataError(f"{name}: column {shown(repeated[0])} comes more than once: rename one of them")
        options = tuple(sorted(column for column in names if _OPTION.fullmatch(column)))
        return cls({column: place for place, column in enumerate(names)}, options)


class OtherRows:
    """Images of other rows of the same file, by the index of the row: read from their place, not kept."""

    def __init__(self, file: BinaryIO, columns: Columns) -> None:
        """``file``: the table, opened for this alone."""
        self._file = file
        self._index, self._image = columns.places["index"], columns.places.get("image", -1)
        self._places: dict[bytes, tuple[int, int]] | None = None

    def find(self, index: bytes) -> tuple[int, bytes] | None:
        """The line of the row with that index, and its image cell; None where there is none."""
        if self._places is None:
            self._places = self._find_places()
        place = self._places.get(index)
        if place is None:
            return None
        line, offset = place
        row = next(rows(self._file, line=line, offset=offset))
        return line, row.cells[self._image]

    def _find_places(self) -> dict[bytes, tuple[int, int]]:
        """Where the rows are that others refer to. Two passes, so that only those are remembered."""
        wanted = {image for _, _, image in self._scan() if len(image) <= REFERENCE}
        places: dict[bytes, tuple[int, int]] = {}
        for row, index, _ in self._scan():
            if index in wanted:
                places.setdefault(index, (row.line, row.offset))
        return places

    def _scan(self) -> Iterator[tuple[Row, bytes, bytes]]:
        lines = rows(self._file)
        next(lines, None)
        for row in lines:
            if len(row.cells) > max(self._index, self._image):
                yield row, row.cells[self._index], row.cells[self._image]
