"""Parquet files as Hugging Face's datasets are stored, images and all: a row a question.

Files lie in the folder or in the folders directly in it, cut into shards ``<split>-00000-of-00003.parquet`` or not, or
as the Hub converts them, ``<config>/<split>/0000.parquet``. An image is a column of ``{bytes, path}``, as the datasets
library writes it, of bytes, of paths relative to the folder, or of base64 as a data URI. Three layouts are known:

    MMMU, MMMU_Pro   question, options (a list as text), answer (a letter), image_1 ... image_n; ``<image k>`` in text
    MathVista        question, decoded_image, choices, answer (text), question_type, pid
    any other        the fields of :mod:`radar_fast.readers.mapping`, under the names that the user or a preset gives

To map any field that says what a question is, or to name a preset, makes it the last. pyarrow reads the files, so it
has to be installed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from radar_fast.errors import DataError, UsageError, one_line
from radar_fast.readers.embedded import embedded, from_base64, is_data_uri
from radar_fast.readers.extras import FIELD
from radar_fast.readers.layout import Layout
from radar_fast.readers.mapping import MappedRecord, Place, lettered, numbered
from radar_fast.readers.parquet_bounds import SMALL, check_pages, check_row, text_columns
from radar_fast.readers.paths import DataFolder, annotations, name_of, shown_path
from radar_fast.readers.records import Unfit, UniqueIds, kind_of, shown
from radar_fast.sample import AnyImage, ReasonKind, Sample
from radar_fast.util.printable import printable

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["ParquetReader", "find_files", "is_parquet", "load_pyarrow"]

_MAGIC = b"PAR1"
_ROWS = 16
"""Rows that are decoded at a time."""
_BUFFER = 2**20
_SHARD = re.compile(r"-\d{5}-of-\d{5}(?:-[0-9a-f]{16})?$")
_NUMBERED_SHARD = re.compile(r"\d{4,}")
"""A file of the Hub's own conversion, whose folders are its split and configuration."""
_MAPPED_IMAGE = re.compile(r"field '(\w+)'(?: \(image\))?(?:\[(\d+)\])?")

_Record = dict[str, object]


def load_pyarrow() -> Any:
    """``pyarrow``, with ``pyarrow.parquet`` in it. Raises UsageError where it is not installed."""
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"--format parquet: needs pyarrow, which is not installed ({one_line(error, 80)}): pip install '.[parquet]'"
        ) from None
    return pyarrow


def find_files(data: Path) -> list[Path]:
    """The ``*.parquet`` in a folder and in the folders directly in it, in no order; in those below, files that are
    numbered. Raises OSError."""
    outer = _folders(data)
    found = [file for folder in (data, *outer) for file in _files(folder)]
    inner = [folder for config in outer for folder in _folders(config)]
    return found + [file for folder in inner for file in _files(folder) if _NUMBERED_SHARD.fullmatch(file.stem)]


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _files(folder: Path) -> list[Path]:
    return [
        file
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
    layout: Layout = field(default_factory=Layout)
    """Which columns say what."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "parquet"

    @classmethod
    def open(cls, data: Path, *, layout: Layout, follow_symlinks: bool = False) -> "ParquetReader":
        """Reads a folder, or a single file.

        Raises UsageError where pyarrow is missing or the layout is of another format, DataError if there is no file or
        one cannot be used.
        """
        if layout.records is not None:
            raise UsageError(
                f"{shown_path(data)}: a layout with 'records' is for JSON files, not for parquet", path=data
            )
        load_pyarrow()
        root = data if data.is_dir() else data.parent
        found = find_files(data) if data.is_dir() else [data]
        if not found:
            raise DataError(
                f"{shown_path(data)}: no *.parquet in the folder, nor in the folders directly in it", path=data
            )
        # Shards of a split make one task, so any number of files may.
        files = annotations(found, root, follow_symlinks=follow_symlinks, task=lambda file: str(file))
        return cls(root, files, layout, follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        ids = UniqueIds()
        for file in self.files:
            number = 0
            try:
                layout, rows = self._opened(file)
                for number, row in enumerate(rows, 1):
                    place = self._place(file, number)
                    image = _images(folder, place.where, self.layout.image_folders)
                    yield _mapped(layout, row, image).sample(place, ids)
            except OSError as error:
                found = one_line(error, 200)
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file", path=file) from error
            if not number:
                raise DataError(f"{shown_path(file)}: holds no row: fill the file, or take it away", path=file)

    def _opened(self, file: Path) -> "tuple[_Columns, Iterator[_Record | Unfit]]":
        """How the file's columns are to be read, and its rows."""
        arrow = load_pyarrow()
        try:
            parquet: ParquetFile = arrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            names = parquet.schema_arrow.names
            if is_small := file.stat().st_size <= SMALL:
                texts = text_columns(parquet)
                parquet = arrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False, read_dictionary=texts)
        except OSError:
            raise
        except Exception as error:  # pyarrow's own, and whatever a damaged footer leads to
            raise DataError(
                f"{shown_path(file)}: not parquet ({one_line(error, 200)}): replace the file", path=file
            ) from error
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(
                f"{shown_path(file)}: column {shown(repeated[0])} comes more than once: rename one of them", path=file
            )
        layout = _layout(names, self.layout)
        if missing := _missing(names, layout.layout):
            column, ours = missing
            seen = ", ".join(map(shown, names[:12])) + ", ..." * (len(names) > 12) or "none"
            raise DataError(
                f"{shown_path(file)}: no column {column}; the columns are {seen}: "
                f"name the right one with --field {ours}=COLUMN",
                path=file,
            )
        columns = [name for name in names if name in layout.columns]
        if is_small:
            check_pages(file, parquet, columns)
        return layout, _rows(file, parquet, columns, is_small=is_small)

    def _place(self, file: Path, number: int) -> Place:
        inner = file.relative_to(self.root)
        where = printable(inner.as_posix())
        split = _SHARD.sub("", file.stem) or file.stem
        folders = [] if inner.parts[0] == "data" else list(inner.parts[:-1])
        if _NUMBERED_SHARD.fullmatch(file.stem) and len(inner.parts) > 1:
            # <config>/<split>/0000.parquet, or DATA is a configuration and its folders are the splits.
            split = inner.parts[-2]
            folders = [name for name in inner.parts[:-2] if name not in ("data", "default")]
        folder = "".join(f"{name}_" for name in folders)
        metadata: dict[str, str | int] = {
            "index": number - 1,
            "file": inner.as_posix(),
            "stem": file.stem,
            "line": number,
        }
        directory = name_of(self.root)
        return Place(f"{where}:{number}", f"{inner.as_posix()}:{number}", f"{folder}{split}", directory, metadata)


def _rows(file: Path, parquet: "ParquetFile", columns: list[str], *, is_small: bool) -> Iterator[_Record | Unfit]:
    """The rows, or why one cannot be had; a few in memory at a time. Those of a small file may be larger than it."""
    arrow = load_pyarrow()
    done = 0
    with parquet:
        batches = parquet.iter_batches(_ROWS, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # OSError, ArrowInvalid, ...: pages that are damaged or cut off
                found = f"cannot be read after row {done} ({one_line(error, 200)})"
                raise DataError(f"{shown_path(file)}: {found}: replace the file", path=file) from error
            if batch is None:
                return
            for at in range(batch.num_rows):
                try:
                    if is_small:
                        check_row(arrow, batch.slice(at, 1))
                    [row] = batch.slice(at, 1).to_pylist()
                except Unfit as unfit:
                    yield unfit
                except (ValueError, OverflowError, TypeError) as error:  # text that is no UTF-8, dates out of range
                    yield Unfit(ReasonKind.BAD_RECORD, f"the row cannot be read ({one_line(error, 120)}): repair it")
                else:
                    yield row
            done += batch.num_rows


# Layouts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Columns:
    """How the columns of a file make a record for the field mapping."""

    layout: Layout
    """Our names -> those of the converted record."""
    columns: frozenset[str]
    """What is read of the file."""
    convert: Callable[[_Record], _Record] = dict
    """From a row to a record. Raises Unfit."""
    no_image: bool = False
    """The image column that the user mapped is not there."""


def _layout(names: list[str], layout: Layout) -> _Columns:
    columns, usual = set(names), frozenset(numbered(names))
    if not layout.says_content:
        if {"question", "options", "answer", "image_1"} <= columns:
            mmmu = replace(layout, fields={"answer_letter": ("answer",), **layout.fields})
            return _Columns(mmmu, mmmu.columns | usual | {"question_type"}, _mmmu)
        if {"question", "decoded_image", "choices", "answer", "question_type"} <= columns:
            named = {"id": ("pid",)} if "pid" in columns else {}
            fields = {"image": ("decoded_image",), "options": ("choices",), **named, **layout.fields}
            mathvista = replace(layout, fields=fields)
            return _Columns(mathvista, mathvista.columns | {"question_type"}, _mathvista)
    read = layout.columns | {FIELD} | frozenset(lettered(names))
    no_image = "image" in layout and not columns.intersection(layout.names("image"))
    return _Columns(layout, read if "image" in layout else read | usual, no_image=no_image)


def _missing(names: list[str], layout: Layout) -> tuple[str, str] | None:
    """A column that every question needs and the file has not, as messages call it, and our name for it.

    One that the user named and that is not there is each row's fault: it is the user's to say so.
    """
    columns = set(names)
    if not columns.intersection(layout.names("question")):
        return " or ".join(map(repr, layout.names("question"))), "question"
    given = layout.fixed_options or layout.options_in_question or "options" in layout or "distractors" in layout
    if not given and not columns & {"options", "distractors"} and not lettered(names):
        return "'options', 'distractors', or 'A' and 'B'", "options"
    if not any(ours in layout for ours in ("answer", "answer_index", "answer_letter")) and "answer" not in columns:
        return "'answer'", "answer"
    return None


def _mapped(columns: _Columns, row: _Record | Unfit, image: Callable[[object, str], AnyImage]) -> MappedRecord:
    if isinstance(row, Unfit):
        return MappedRecord(columns.layout, {}, image, problem=row)
    try:
        return MappedRecord(columns.layout, columns.convert(row), image, columns.no_image)
    except Unfit as unfit:
        return MappedRecord(columns.layout, row, image, problem=unfit)


def _mmmu(row: _Record) -> _Record:
    if row.get("question_type") == "open":
        raise Unfit(ReasonKind.NO_DISTRACTOR, "field 'question_type' is 'open': there are no candidates to score")
    if row["answer"] in (None, "", "?"):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'answer' is {shown(row['answer'])}: a test split holds none")
    return row


def _mathvista(row: _Record) -> _Record:
    if row["question_type"] != "multi_choice":
        found = f"field 'question_type' is {shown(row['question_type'])}: only 'multi_choice' has candidates to score"
        raise Unfit(ReasonKind.NO_DISTRACTOR, found)
    if not row["answer"]:
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'answer' is {shown(row['answer'])}: a test split holds none")
    return row


# Images --------------------------------------------------------------------------------------------------------------


def _images(folder: DataFolder, where: str, folders: tuple[str, ...]) -> Callable[[object, str], AnyImage]:
    """What makes images of the entries of one row's image column."""

    def image(entry: object, name: str) -> AnyImage:
        data, path = entry, entry
        if isinstance(entry, dict):
            data, path = entry.get("bytes"), entry.get("path")
        if isinstance(data, bytes):
            return embedded(f"{where} {_column(name)}", data)
        if isinstance(path, str) and is_data_uri(path):
            return from_base64(f"{where} {_column(name)}", path.encode("utf-8", "replace"))
        if isinstance(path, str) and path:
            return folder.image(path, folders)
        found = "an object without bytes and path" if isinstance(entry, dict) else kind_of(entry)
        raise Unfit(ReasonKind.BAD_RECORD, f"column {_column(name)} is {found}: give {{bytes, path}}, bytes, or a path")

    return image


def _column(name: str) -> str:
    """The column that messages of the mapping call ``name``."""
    match = _MAPPED_IMAGE.fullmatch(name)
    if match is None:
        return name.removeprefix("field ")
    column, place = match[1], match[2]
    return f"{column}[{place}]" if place else column
