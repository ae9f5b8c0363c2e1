"""What a small parquet file may unfold to: a value that is repeated a million times takes a few bytes of it.

A file's footer says how large its columns are once they are read, and each page says so again; both are looked at
before anything is decoded. Texts stay one copy each until a row is taken, and a row is measured before it is.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radar_fast.errors import DataError
from radar_fast.readers.paths import shown_path
from radar_fast.readers.records import Unfit, shown
from radar_fast.sample import ReasonKind

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["SMALL", "check_pages", "check_row", "text_columns"]

SMALL = 16 * 2**20
"""Bytes of a file up to which it is looked at: no larger one unfolds to many times its size without being a trap, and
its pages are too many to look at."""
_MAX_BYTES = 256 * 2**20
"""Of the columns of a row group, and of one row, once they are read."""
_MAX_VALUES = 8_000_000
"""Of a row group's columns together."""
_VALUE = 64
"""Bytes that a value takes in Python beside its text."""
_HEADER = 2**13
"""Bytes that are read of a page to find its sizes, which stand first, and where the header ends."""
_MAX_PAGES = 20_000
"""Of a column of a small file."""


def check_pages(file: Path, parquet: "ParquetFile", columns: Iterable[str]) -> None:
    """Raises DataError where the columns that are to be read unfold to more than a row group may, by what the footer
    or their own pages say. Raises OSError."""
    wanted, metadata = set(columns), parquet.metadata
    with file.open("rb") as stream:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = [group.column(place) for place in range(group.num_columns)]
            read = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted]
            for chunk in read:
                _check_chunk(file, stream, chunk)
            size = sum(chunk.total_uncompressed_size for chunk in read)
            values = sum(chunk.num_values for chunk in read)
            if size > _MAX_BYTES or values > _MAX_VALUES:
                found = f"row group {number} would take {size} bytes and {values} values to read"
                raise DataError(
                    f"{shown_path(file)}: {found}, of a file of {file.stat().st_size} bytes; "
                    "write it in smaller groups",
                    path=file,
                )


def _check_chunk(file: Path, stream: Any, chunk: Any) -> None:
    """Raises DataError where a column's pages claim more bytes than its footer does."""
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    at = min(start for start in starts if start) if any(starts) else 0
    end, claimed, column = at + chunk.total_compressed_size, 0, shown(chunk.path_in_schema)
    for _ in range(_MAX_PAGES):
        if at >= end:
            return
        stream.seek(at)
        try:
            uncompressed, compressed, header = _page(stream.read(_HEADER))
        except ValueError:
            return  # damaged: pyarrow says what is wrong
        claimed += uncompressed
        # Only what is large: there are writers whose footers are not exact.
        if claimed > max(chunk.total_uncompressed_size, _MAX_BYTES) or min(uncompressed, compressed) < 0:
            found = f"a page of column {column} claims {uncompressed} bytes, all of it together were said to be"
            raise DataError(f"{shown_path(file)}: {found} {chunk.total_uncompressed_size}: replace the file", path=file)
        if header is None:
            return
        at += header + compressed
    raise DataError(
        f"{shown_path(file)}: column {column} has more than {_MAX_PAGES} pages: write it in larger ones", path=file
    )


def _page(raw: bytes) -> tuple[int, int, int | None]:
    """(bytes once read, bytes in the file, bytes of the header) of a page: thrift's compact protocol. The last is None
    where the header does not end in what was read."""
    reader, whole = _Thrift(raw), False
    sizes: dict[int, int] = {}
    try:
        for field, kind in reader.fields():
            if kind in (4, 5, 6):
                sizes[field] = reader.zigzag()
            else:
                reader.skip(kind)
        whole = True
    except IndexError:
        pass
    return sizes.get(2, 0), sizes.get(3, 0), reader.at if whole else None


class _Thrift:
    """A struct of thrift's compact protocol. Raises IndexError where it is cut off, ValueError where it is none."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self.at = raw, 0

    def fields(self) -> "Iterable[tuple[int, int]]":
        """(number, type) of each field; what takes one reads its value before it asks for the next."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            yield number, head & 15

    def zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        if depth > 8:
            raise ValueError("nested too deeply")
        if kind in (1, 2):
            return
        if kind == 3:
            self.at += 1
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            self.at += self._varint()
        elif kind in (9, 10):
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            for _ in range(min(count, _HEADER)):
                self.skip(head & 15, depth + 1)
        elif kind == 12:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ValueError("no type of a page's header")

    def _byte(self) -> int:
        self.at += 1
        return self._raw[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number without end")


def text_columns(parquet: "ParquetFile") -> list[str]:
    """The columns of texts and bytes, which are to be read as one copy of each."""
    schema = parquet.schema
    columns = (schema.column(place) for place in range(len(schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def check_row(arrow: Any, row: Any) -> None:
    """Raises Unfit for a row, a record batch of one, that would take more than a row may."""
    taken = sum(_taken(arrow, column) for column in row.columns)
    if taken > _MAX_BYTES:
        raise Unfit(ReasonKind.BAD_RECORD, f"the row would take {taken} bytes, at most {_MAX_BYTES} are read: split it")


def _taken(arrow: Any, array: Any) -> int:
    """Bytes of an array's values in Python."""
    kind = array.type
    if arrow.types.is_dictionary(kind):
        lengths = arrow.compute.binary_length(array.dictionary)
        return int(arrow.compute.sum(lengths.take(array.indices.drop_null())).as_py() or 0) + _VALUE * len(array)
    if arrow.types.is_list(kind) or arrow.types.is_large_list(kind):
        return _taken(arrow, array.flatten()) + _VALUE * len(array)
    if arrow.types.is_struct(kind):
        return sum(_taken(arrow, inner) for inner in array.flatten())
    if arrow.types.is_string(kind) or arrow.types.is_binary(kind) or arrow.types.is_large_string(kind):
        return int(arrow.compute.sum(arrow.compute.binary_length(array)).as_py() or 0) + _VALUE * len(array)
    return _VALUE * len(array)
