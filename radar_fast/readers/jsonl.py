"""JSON lines: one object per line, under the user's field names. PuzzleVQA is read unchanged.

Annotation files are the ``*.jsonl`` and ``*.json`` directly in the folder; image paths are relative to it. What the
fields are, and how they are mapped, is in :mod:`radar_fast.readers.mapping`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import orjson

from radar_fast.errors import DataError
from radar_fast.readers.mapping import MappedRecord, Place, check_fields
from radar_fast.readers.paths import DataFolder, annotations, shown_path, task_of
from radar_fast.readers.records import Unfit, UniqueIds, kind_of, shown
from radar_fast.sample import AnyImage, ReasonKind, Sample

__all__ = ["JsonlReader", "find_files", "is_json_lines"]

_BOM = b"\xef\xbb\xbf"
_ENDINGS = (".jsonl", ".json")


def find_files(data: Path) -> list[Path]:
    """The ``*.jsonl`` and ``*.json`` directly in a folder, in no order. Raises OSError if it cannot be listed."""
    return [
        file
        for file in data.iterdir()
        if file.name.endswith(_ENDINGS) and not file.name.startswith(".") and not file.is_dir()
    ]


def is_json_lines(file: Path) -> bool:
    """Whether the first line that is not blank is a JSON object. Raises OSError if the file cannot be read."""
    if not file.is_file():
        return False
    return next((isinstance(_parsed(line), dict) for _, line in _lines(file)), False)


@dataclass(frozen=True)
class JsonlReader:
    """Reads JSON lines lazily, one record at a time, and as often as asked.

    Iterating raises DataError where a file cannot be read or holds no JSON object at all. What is wrong with one line
    becomes the ``reason`` of its sample.
    """

    root: Path
    """The data folder: image paths are relative to it."""
    files: tuple[Path, ...]
    """The annotation files in the order in which they are read."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Our field names -> the file's, as the user mapped them; the others are called the same."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "jsonl"

    @classmethod
    def open(cls, data: Path, *, fields: Mapping[str, str], follow_symlinks: bool = False) -> "JsonlReader":
        """Reads a folder, or a single file and the images beside it.

        Raises UsageError for a wrong field mapping, DataError if there is no annotation file or one cannot be used.
        """
        check_fields(fields)
        root = data if data.is_dir() else data.parent
        found = find_files(data) if data.is_dir() else [data]
        if not found:
            raise DataError(f"{shown_path(data)}: no JSON lines: expected *.jsonl or *.json directly in the folder")
        files = annotations(found, root, follow_symlinks=follow_symlinks)
        return cls(root, files, dict(fields), follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        ids = UniqueIds()
        for file in self.files:
            try:
                no_image = self._survey(file)
                for index, (number, line) in enumerate(_lines(file)):
                    yield self._record(folder, _parsed(line), no_image).sample(self._place(file, number, index), ids)
            except OSError as error:
                found = error.strerror or error
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file") from error

    def _record(self, folder: DataFolder, record: object, no_image: bool) -> MappedRecord:
        def image(entry: object, name: str) -> AnyImage:
            if not isinstance(entry, str) or not entry:
                found = f"{name} is {shown(entry)}: give a path or a list of paths, or null for no image"
                raise Unfit(ReasonKind.BAD_RECORD, found)
            return folder.image(entry)

        if isinstance(record, dict):
            return MappedRecord(self.fields, record, image, no_image)
        found = f"the line is {kind_of(record)}: give an object with its fields"
        if isinstance(record, orjson.JSONDecodeError):
            found = f"the line is not JSON ({record.msg}): repair it"
        return MappedRecord(self.fields, {}, image, problem=Unfit(ReasonKind.BAD_RECORD, found))

    def _place(self, file: Path, number: int, index: int) -> Place:
        shown_name = file.name if file.name.isprintable() else ascii(file.name)
        return Place(
            f"{shown_name}:{number}",
            f"{file.name}:{number}",
            task_of(file),
            self.root.absolute().name,
            {"index": index, "file": file.name, "stem": file.stem, "line": number},
        )

    def _survey(self, file: Path) -> bool:
        """Whether the mapped image field is in no record. Reads on to the first record that has it: mostly line 1.

        A record may lack an image, so only a look at the others tells a text-only question from a mistyped name.
        Raises DataError for a file without any record.
        """
        empty = True
        for _, line in _lines(file):
            record = _parsed(line)
            if isinstance(record, dict):
                empty = False
                if "image" not in self.fields or self.fields["image"] in record:
                    return False
        if empty:
            raise DataError(
                f"{shown_path(file)}: no line is a JSON object in UTF-8: give one object a line, or take the file away"
            )
        return True


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1."""
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            line = (raw.removeprefix(_BOM) if number == 1 else raw).strip()
            if line:
                yield number, line


def _parsed(line: bytes) -> object:
    """The value of a line; the exception itself where it is not JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return error
