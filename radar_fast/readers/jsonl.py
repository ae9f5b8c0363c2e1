"""JSON under the user's field names: one object on each line, one list of objects, or one object of objects.

PuzzleVQA is read as published.

Annotation files are the ``*.jsonl`` and ``*.json`` directly in the folder; image paths are relative to it. What the
fields are, and how they are mapped, is in :mod:`radar_fast.readers.mapping`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import ClassVar

from radar_fast.errors import DataError
from radar_fast.readers.embedded import from_base64, is_data_uri
from radar_fast.readers.json_stream import items, members
from radar_fast.readers.json_text import HalfPair, NotJson, parse
from radar_fast.readers.layout import Layout
from radar_fast.readers.mapping import MappedRecord, Place
from radar_fast.readers.paths import DataFolder, annotations, name_of, shown_path, task_of
from radar_fast.readers.records import Flawed, Unfit, UniqueIds, kind_of, shown
from radar_fast.sample import AnyImage, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = ["JsonlReader", "find_files", "is_json_lines"]

_BOM = b"\xef\xbb\xbf"
_ENDINGS = (".jsonl", ".json")
_LOOK = 8
"""Records that are looked at to tell how a file is laid out."""
_MAX_LINE = 96 * 2**20
"""Bytes of a line. Longer ones are read past, and not kept."""
_SHORT = 2**20
"""Bytes of a first line that is looked at as a whole."""
_BEGINNING = 1024
"""Bytes that are kept of a line that is too long: it is no JSON, as it is cut off."""


class _Shape(Enum):
    """How the records of a file stand in it."""

    LINES = auto()
    """One object a line."""
    LIST = auto()
    """The file is one list of objects."""
    OBJECT = auto()
    """The file is one object, id -> object."""


def find_files(data: Path) -> list[Path]:
    """The ``*.jsonl`` and ``*.json`` directly in a folder, in no order. Raises OSError if it cannot be listed."""
    return [
        file
        for file in data.iterdir()
        if file.name.endswith(_ENDINGS) and not file.name.startswith(".") and not file.is_dir()
    ]


def is_json_lines(file: Path, records: str | None = None) -> bool:
    """Whether a file begins with a JSON object on a line, or is a list or an object of objects; with ``records``,
    whether it is an object with a list there. Raises OSError if the file cannot be read.
    """
    if not file.is_file():
        return False
    if records is not None:
        return _any(items(file, records))
    return _shape(file) is not _Shape.LINES or next(
        (isinstance(_parsed(line), dict) for _, line in _lines(file)), False
    )


@dataclass(frozen=True)
class JsonlReader:
    """Reads JSON lazily, one record at a time, and as often as asked.

    Iterating raises DataError where a file cannot be read or holds no JSON object at all. What is wrong with one record
    becomes the ``reason`` of its sample.
    """

    root: Path
    """The data folder: image paths are relative to it."""
    files: tuple[Path, ...]
    """The annotation files in the order in which they are read."""
    layout: Layout = field(default_factory=Layout)
    """Which fields say what."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "jsonl"

    @classmethod
    def open(cls, data: Path, *, layout: Layout, follow_symlinks: bool = False) -> "JsonlReader":
        """Reads a folder, or a single file and the images beside it.

        Raises DataError if there is no annotation file or one cannot be used.
        """
        root = data if data.is_dir() else data.parent
        found = find_files(data) if data.is_dir() else [data]
        if not found:
            raise DataError(
                f"{shown_path(data)}: no JSON lines: expected *.jsonl or *.json directly in the folder", path=data
            )
        files = annotations(found, root, follow_symlinks=follow_symlinks)
        return cls(root, files, layout, follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        ids = UniqueIds()
        for file in self.files:
            try:
                no_image = self._survey(file)
                for index, (number, key, record) in enumerate(self._records(file)):
                    mapped = self._record(folder, record, no_image, f"{_shown_name(file)}:{number}")
                    yield mapped.sample(self._place(file, number, key, index), ids)
            except OSError as error:
                found = error.strerror or error
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file", path=file) from error

    def _records(self, file: Path) -> Iterator[tuple[int, str | None, object]]:
        """(line or place from 1, the record's key in an object of records, the record) in order."""
        if self.layout.records is not None:
            yield from ((number, None, record) for number, record in enumerate(items(file, self.layout.records), 1))
            return
        shape = _shape(file)
        if shape is _Shape.LIST:
            yield from ((number, None, record) for number, record in enumerate(items(file), 1))
        elif shape is _Shape.OBJECT:
            yield from ((number, key, record) for number, (key, record) in enumerate(members(file), 1))
        else:
            yield from ((number, None, _parsed(line)) for number, line in _lines(file))

    def _record(self, folder: DataFolder, record: object, no_image: bool, where: str) -> MappedRecord:
        def image(entry: object, name: str) -> AnyImage:
            if not isinstance(entry, str) or not entry:
                found = f"{name} is {shown(entry)}: give a path or a list of paths, or null for no image"
                raise Unfit(ReasonKind.BAD_RECORD, found)
            if is_data_uri(entry):
                return from_base64(f"{where} {name.removeprefix('field ')}", entry.encode("utf-8", "replace"))
            return folder.image(entry, self.layout.image_folders)

        if isinstance(record, dict):
            return MappedRecord(self.layout, record, image, no_image)
        found = f"the record is {kind_of(record)}: give an object with its fields"
        return MappedRecord(self.layout, {}, image, problem=Unfit(ReasonKind.BAD_RECORD, found))

    def _place(self, file: Path, number: int, key: str | None, index: int) -> Place:
        where = f"{_shown_name(file)}:{number}"
        return Place(
            where if key is None else f"{where} ({shown(key)})",
            f"{file.name}:{number}" if key is None or not key.strip() else key,
            task_of(file),
            name_of(self.root),
            {"index": index, "file": file.name, "stem": file.stem, "line": number},
        )

    def _survey(self, file: Path) -> bool:
        """Whether the mapped image field is in no record. Reads on to the first record that has it: mostly the first.

        A record may lack an image, so only a look at the others tells a text-only question from a mistyped name.
        Raises DataError for a file without any record.
        """
        names, empty = self.layout.names("image"), True
        for _, _, record in self._records(file):
            if isinstance(record, dict):
                empty = False
                if "image" not in self.layout or any(name in record for name in names):
                    return False
        if empty:
            raise DataError(
                f"{shown_path(file)}: no line is a JSON object in UTF-8, nor is the file a list or object of them: "
                "give one object a line, or take the file away",
                path=file,
            )
        return True


def _shown_name(file: Path) -> str:
    return printable(file.name)


def _shape(file: Path) -> _Shape:
    """How the file's records stand in it, from how it begins.

    A first line that is JSON by itself makes JSON lines where another follows, whatever it is: a line that is no
    record harms no other. An object whose values are all objects is no record, which has a question.
    """
    with file.open("rb") as stream:
        first = stream.readline(_SHORT).removeprefix(_BOM).strip()
        while not first and (raw := stream.readline(_SHORT)):
            first = raw.strip()
        alone = all(not line.strip() for line in iter(lambda: stream.readline(_SHORT), b""))
    if first[:1] not in (b"{", b"["):
        return _Shape.LINES
    whole = _parsed(first)  # a long line is cut off, and so is none by itself
    if not isinstance(whole, Flawed) and not alone:
        return _Shape.LINES
    if isinstance(whole, dict):
        return _Shape.OBJECT if whole and all(isinstance(value, dict) for value in whole.values()) else _Shape.LINES
    if first.startswith(b"["):
        return _Shape.LIST if _any(items(file)) else _Shape.LINES
    try:
        seen = [isinstance(record, dict) for _, record in islice(members(file), _LOOK)]
    except DataError:
        return _Shape.LINES
    return _Shape.OBJECT if seen and all(seen) else _Shape.LINES


def _any(records: Iterator[object]) -> bool:
    """Whether any of the first ones is a record."""
    try:
        return any(isinstance(record, dict) for record in islice(records, _LOOK))
    except DataError:
        return False


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1; of one that is too long, its beginning."""
    with file.open("rb") as stream:
        number = 0
        while raw := stream.readline(_MAX_LINE + 1):
            number += 1
            line = raw
            while len(raw) > _MAX_LINE and not raw.endswith(b"\n"):
                raw, line = stream.readline(_MAX_LINE + 1), line[:_BEGINNING]
            if line := (line.removeprefix(_BOM) if number == 1 else line).strip():
                yield number, line


def _parsed(line: bytes) -> object:
    """The value of a line; why there is none where it is not JSON."""
    try:
        return parse(line)
    except NotJson as error:
        return Flawed(f"not JSON: {error}")
    except HalfPair as error:
        return Flawed(str(error))
