"""Parquet files as Hugging Face's datasets are stored, images and all: a row a question.

Files lie in the folder or in the folders directly in it, cut into shards ``<split>-00000-of-00003.parquet`` or not. An
image is a column of ``{bytes, path}``, as the datasets library writes it, of bytes, or of paths relative to the folder.
Three layouts are known:

    MMMU, MMMU_Pro   question, options (a list as text), answer (a letter), image_1 ... image_n; ``<image k>`` in text
    MathVista        question, decoded_image, choices, answer (text), question_type, pid
    any other        the fields of :mod:`radar_fast.readers.mapping`, under the names that ``--field`` gives

To map any field that says what a question is makes it the last. pyarrow reads the files, so it has to be installed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from radar_fast.errors import DataError, UsageError, one_line
from radar_fast.readers.embedded import embedded
from radar_fast.readers.extras import FIELD
from radar_fast.readers.literals import items_of
from radar_fast.readers.mapping import CONTENT, FIELDS, MappedRecord, Place, check_fields
from radar_fast.readers.paths import DataFolder, annotations, shown_path
from radar_fast.readers.records import Unfit, UniqueIds, kind_of, shown
from radar_fast.sample import AnyImage, ReasonKind, Sample

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["ParquetReader", "find_files", "is_parquet", "load_pyarrow"]

_MAGIC = b"PAR1"
_ROWS = 16
"""Rows that are decoded at a time."""
_BUFFER = 2**20
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?:-[0-9a-f]{16})?$")
_GATHERED = "image_n"
"""What the list of image_1, image_2, ... is called on its way to the mapping."""
_MAPPED_IMAGE = re.compile(r"field '(\w+)'(?: \(image\))?(?:\[(\d+)\])?")
_NUMBERED = re.compile(r"image_([1-9]\d?)")

_Record = dict[str, object]


def load_pyarrow() -> Any:
    """``pyarrow``, with ``pyarrow.parquet`` in it. Raises UsageError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"--format parquet: needs pyarrow, which is not installed ({one_line(error, 80)}): pip install '.[parquet]'"
        ) from None
    return pyarrow


def find_files(data: Path) -> list[Path]:
    """The ``*.parquet`` in a folder and in the folders directly in it, in no order. Raises OSError."""
    folders = [data, *(entry for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith("."))]
    return [
        file
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".parquet") and not file.name.startswith(".") and not file.is_dir()
    ]


def is_parquet(file: Path) -> bool:
    """Whether a file begins as parquet does. Needs no pyarrow. Raises OSError."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


@dataclass(frozen=True)
class ParquetReader:
    """Reads parquet files lazily, a few rows at a time, and as often as asked.

    Iterating raises DataError where a file cannot be read, holds no row, or lacks the columns of a question. What is
    wrong with one row becomes the ``reason`` of its sample.
    """

    root: Path
    """The data folder: image paths are relative to it."""
    files: tuple[Path, ...]
    """The files in the order in which they are read."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Our field names -> the file's columns, as the user mapped them."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "parquet"

    @classmethod
    def open(cls, data: Path, *, fields: Mapping[str, str], follow_symlinks: bool = False) -> "ParquetReader":
        """Reads a folder, or a single file.

        Raises UsageError for a wrong field mapping or where pyarrow is missing, DataError if there is no file or one
        cannot be used.
        """
        check_fields(fields)
        load_pyarrow()
        root = data if data.is_dir() else data.parent
        found = find_files(data) if data.is_dir() else [data]
        if not found:
            raise DataError(f"{shown_path(data)}: no *.parquet in the folder, nor in the folders directly in it")
        # Shards of a split make one task, so any number of files may.
        files = annotations(found, root, follow_symlinks=follow_symlinks, task=lambda file: str(file))
        return cls(root, files, dict(fields), follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        ids = UniqueIds()
        for file in self.files:
            number = 0
            try:
                layout, rows = self._opened(file)
                for number, row in enumerate(rows, 1):
                    place = self._place(file, number)
                    yield _mapped(layout, row, _images(folder, place.where)).sample(place, ids)
            except OSError as error:
                found = one_line(error, 200)
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file") from error
            if not number:
                raise DataError(f"{shown_path(file)}: holds no row: fill the file, or take it away")

    def _opened(self, file: Path) -> "tuple[_Layout, Iterator[_Record | Unfit]]":
        """How the file's columns are to be read, and its rows."""
        arrow = load_pyarrow()
        try:
            parquet: ParquetFile = arrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            names = parquet.schema_arrow.names
        except OSError:
            raise
        except Exception as error:  # pyarrow's own, and whatever a damaged footer leads to
            raise DataError(f"{shown_path(file)}: not parquet ({one_line(error, 200)}): replace the file") from error
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{shown_path(file)}: column {shown(repeated[0])} comes more than once: rename one of them")
        layout = _layout(names, self.fields)
        if layout.fields.get("question", "question") not in names:
            seen = ", ".join(map(shown, names[:12])) or "none"
            raise DataError(
                f"{shown_path(file)}: no column {layout.fields.get('question', 'question')!r}; the columns are {seen}: "
                "name the right one with --field question=COLUMN"
            )
        return layout, _rows(file, parquet, [name for name in names if name in layout.columns])

    def _place(self, file: Path, number: int) -> Place:
        inner = file.relative_to(self.root)
        where = inner.as_posix() if inner.as_posix().isprintable() else ascii(inner.as_posix())
        split = _SHARD.sub("", file.stem) or file.stem
        folder = "" if len(inner.parts) == 1 or inner.parts[0] == "data" else f"{inner.parts[0]}_"
        metadata: dict[str, str | int] = {
            "index": number - 1,
            "file": inner.as_posix(),
            "stem": file.stem,
            "line": number,
        }
        directory = self.root.absolute().name
        return Place(f"{where}:{number}", f"{inner.as_posix()}:{number}", f"{folder}{split}", directory, metadata)


def _rows(file: Path, parquet: "ParquetFile", columns: list[str]) -> Iterator[_Record | Unfit]:
    """The rows, or why one cannot be had; a few in memory at a time."""
    done = 0
    with parquet:
        batches = parquet.iter_batches(_ROWS, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # OSError, ArrowInvalid, ...: pages that are damaged or cut off
                found = f"cannot be read after row {done} ({one_line(error, 200)})"
                raise DataError(f"{shown_path(file)}: {found}: replace the file") from error
            if batch is None:
                return
            for at in range(batch.num_rows):
                try:
                    [row] = batch.slice(at, 1).to_pylist()
                except (ValueError, OverflowError, TypeError) as error:  # text that is no UTF-8, dates out of range
                    yield Unfit(ReasonKind.BAD_RECORD, f"the row cannot be read ({one_line(error, 120)}): repair it")
                else:
                    yield row
            done += batch.num_rows


# Layouts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How the columns of a file make a record for the field mapping."""

    fields: Mapping[str, str]
    """Our names -> those of the converted record."""
    columns: frozenset[str]
    """What is read of the file."""
    convert: Callable[[_Record], _Record]
    """From a row to a record. Raises Unfit."""
    no_image: bool = False
    """The image column that the user mapped is not there."""


def _layout(names: list[str], fields: Mapping[str, str]) -> _Layout:
    columns = set(names)
    numbered = sorted((name for name in columns if _NUMBERED.fullmatch(name)), key=lambda name: int(name[6:]))
    own = frozenset(fields.get(ours, ours) for ours in ("id", "task", "ability"))
    if not fields.keys() & set(CONTENT):
        if {"question", "options", "answer", "image_1"} <= columns:
            content = frozenset(("question", "options", "answer", "question_type", *numbered))
            mapping = {"image": _GATHERED, "answer_index": "answer", **fields}
            return _Layout(mapping, own | content, lambda row: _mmmu(row, numbered))
        if {"question", "decoded_image", "choices", "answer", "question_type"} <= columns:
            content = frozenset(("question", "decoded_image", "choices", "answer", "question_type", "pid"))
            named = {"id": "pid"} if "pid" in columns else {}
            mapping = {"image": "decoded_image", "options": "choices", **named, **fields}
            return _Layout(mapping, own | content, _mathvista)
    wanted = frozenset((*(fields.get(ours, ours) for ours in FIELDS), FIELD))
    options = fields.get("options", "options")
    no_image = "image" in fields and fields["image"] not in columns
    return _Layout(fields, wanted, lambda row: _listed(row, options), no_image)


def _mapped(layout: _Layout, row: _Record | Unfit, image: Callable[[object, str], AnyImage]) -> MappedRecord:
    if isinstance(row, Unfit):
        return MappedRecord(layout.fields, {}, image, problem=row)
    try:
        return MappedRecord(layout.fields, layout.convert(row), image, layout.no_image)
    except Unfit as unfit:
        return MappedRecord(layout.fields, row, image, problem=unfit)


def _mmmu(row: _Record, numbered: list[str]) -> _Record:
    if row.get("question_type") == "open":
        raise Unfit(ReasonKind.NO_DISTRACTOR, "field 'question_type' is 'open': there are no candidates to score")
    letter = row["answer"]
    if letter is None or letter in ("", "?"):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'answer' is {shown(letter)}: a test split holds none")
    if not isinstance(letter, str) or not re.fullmatch("[A-Z]", letter.strip()):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'answer' is {shown(letter)}: give the letter of the right option")
    images = [row[name] for name in numbered]
    while images and images[-1] is None:
        images.pop()
    return _listed({**row, _GATHERED: images, "answer": ord(letter.strip()) - ord("A")}, "options")


def _mathvista(row: _Record) -> _Record:
    if row["question_type"] != "multi_choice":
        found = f"field 'question_type' is {shown(row['question_type'])}: only 'multi_choice' has candidates to score"
        raise Unfit(ReasonKind.NO_DISTRACTOR, found)
    if not row["answer"]:
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'answer' is {shown(row['answer'])}: a test split holds none")
    return _listed(row, "choices")


def _listed(row: _Record, name: str) -> _Record:
    """The row with the options as a list, where they are written as text."""
    options = row.get(name)
    return {**row, name: list(items_of(options, f"field {shown(name)}"))} if isinstance(options, str) else row


# Images --------------------------------------------------------------------------------------------------------------


def _images(folder: DataFolder, where: str) -> Callable[[object, str], AnyImage]:
    """What makes images of the entries of one row's image column."""

    def image(entry: object, name: str) -> AnyImage:
        data, path = entry, entry
        if isinstance(entry, dict):
            data, path = entry.get("bytes"), entry.get("path")
        if isinstance(data, bytes):
            return embedded(f"{where} {_column(name)}", data)
        if isinstance(path, str) and path:
            return folder.image(path)
        found = "an object without bytes and path" if isinstance(entry, dict) else kind_of(entry)
        raise Unfit(ReasonKind.BAD_RECORD, f"column {_column(name)} is {found}: give {{bytes, path}}, bytes, or a path")

    return image


def _column(name: str) -> str:
    """The column that messages of the mapping call ``name``."""
    match = _MAPPED_IMAGE.fullmatch(name)
    if match is None:
        return name.removeprefix("field ")
    column, place = match[1], match[2]
    return f"image_{int(place) + 1}" if column == _GATHERED else f"{column}[{place}]" if place else column
