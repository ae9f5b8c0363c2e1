"""VLMEvalKit's tables: ``<dataset>.tsv``, a row a question, its image in it as base64.

Columns: ``index``, ``image`` or ``image_path``, ``question``, ``hint``, the options ``A``, ``B``, ... and the letter
of the ``answer``; ``category``, ``l2-category`` and ``split`` say what a question is about. Without option columns the
answer is Yes or No; with ``question_type`` and ``choices`` the options are a list, as in MathVista. Facts: VLMEvalKit
at e8e78f05, ``vlmeval/dataset/image_base.py``, ``image_mcq.py``, ``image_yorn.py``, ``image_vqa.py``.

An ``image`` of 64 characters or less is the index of the row whose image it is.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import ClassVar

from radar_fast.errors import DataError
from radar_fast.readers.embedded import from_base64, is_data_uri
from radar_fast.readers.extras import FIELD, NO_EXTRAS, extras_of
from radar_fast.readers.literals import is_list, items_of
from radar_fast.readers.paths import DataFolder, annotations, name_of, shown_path, task_of
from radar_fast.readers.records import Unfit, UniqueIds, check_options, question_of, shown
from radar_fast.readers.tsv import MAX_ROW, Row, UnclosedQuote, rows
from radar_fast.readers.vlmevalkit_table import REFERENCE, Columns, OtherRows
from radar_fast.sample import AnyImage, Part, Reason, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = [
    "CIRCULAR",
    "MISSING",
    "VLMEvalKitReader",
    "find_files",
    "interleaves",
    "is_table",
    "read_row",
    "split_tags",
    "why_no_table",
]

CIRCULAR = ("mmbench", "ccbench", "circular", "mmcr")
"""A dataset with one of these in its name, whatever the case, asks each question once a rotation of its options."""
MISSING = frozenset({"", "nan", "NaN"})
"""Cells that hold nothing. pandas also takes None, NA, null and others for missing; as options those are answers."""

_NO_IMAGE = frozenset(word.encode() for word in MISSING)
_ROTATION = 1_000_000
"""Rotations of a question have its index plus multiples of this."""
_TAG = re.compile(r"<image (\d+)>")


def find_files(data: Path) -> list[Path]:
    """The ``*.tsv`` directly in a folder, in no order. Raises OSError if it cannot be listed."""
    return [
        file
        for file in data.iterdir()
        if file.name.endswith(".tsv") and not file.name.startswith(".") and not file.is_dir()
    ]


def is_table(file: Path) -> bool:
    """Whether a file begins with the columns of this format. Raises OSError."""
    return why_no_table(file) is None


def why_no_table(file: Path) -> str | None:
    """What keeps a file from being a table of this format, in one line; None for one that is. Raises OSError."""
    name = shown_path(file)
    if not file.is_file():
        return f"{name}: is no regular file"
    try:
        with file.open("rb") as stream:
            Columns.of(file, next(rows(stream), None))
    except DataError as error:
        return str(error)
    except UnclosedQuote:
        return f"{name}: the file ends within a quoted cell of its first line"
    return None


def interleaves(dataset: str) -> bool:
    """Whether ``<image k>`` in a question of the dataset says where its images go; elsewhere it is plain text."""
    return "mmmu" in dataset.lower()


def split_tags(question: str, images: tuple[AnyImage, ...]) -> tuple[Part, ...]:
    """The question with its images where the tags are.

    Raises Unfit (``image-tag-mismatch``) unless each tag has an image and each image a tag.
    """
    tags = list(_TAG.finditer(question))
    # Six digits at most: Python refuses to convert numbers without end.
    order = [int(tag[1]) - 1 if len(tag[1]) < 7 else len(images) for tag in tags]
    if set(order) != set(range(len(images))):
        found = f"column 'question' holds {len(tags)} image tags ({shown(tags[0][0])}, ...)"
        raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, f"{found}, which do not pair with {len(images)} images: correct one")
    parts: list[Part] = []
    end = 0
    for tag, number in zip(tags, order, strict=True):
        parts += [question[end : tag.start()], images[number]]
        end = tag.end()
    parts.append(question[end:])
    return tuple(part for part in parts if part != "")


@dataclass(frozen=True)
class VLMEvalKitReader:
    """Reads VLMEvalKit's tables lazily, one row at a time, and as often as asked.

    Iterating raises DataError where a file is no such table, holds no row, or ends within quotes. What is wrong with
    one row becomes the ``reason`` of its sample.
    """

    root: Path
    """The data folder: image paths are relative to it."""
    files: tuple[Path, ...]
    """The tables in the order in which they are read."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "vlmevalkit"

    @classmethod
    def open(cls, data: Path, *, follow_symlinks: bool = False) -> "VLMEvalKitReader":
        """Reads a folder, or a single file. Raises DataError if there is no table, or one of them cannot be used."""
        root = data if data.is_dir() else data.parent
        found = find_files(data) if data.is_dir() else [data]
        if not found:
            raise DataError(
                f"{shown_path(data)}: no tables of VLMEvalKit: expected *.tsv directly in the folder", path=data
            )
        return cls(root, annotations(found, root, follow_symlinks=follow_symlinks), follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        ids = UniqueIds()
        for file in self.files:
            try:
                with file.open("rb") as stream, file.open("rb") as other:
                    lines = rows(stream)
                    columns = Columns.of(file, next(lines, None))
                    table = _Table(self.root, folder, file, columns, ids, OtherRows(other, columns))
                    empty = True
                    for index, row in enumerate(lines):
                        empty = False
                        yield _Line(table, row, index).sample()
            except UnclosedQuote as error:
                found = f"the file ends within a quoted cell of the row that begins on line {error.line}"
                raise DataError(
                    f"{shown_path(file)}: {found}: it is cut off, or a quote is not closed", path=file
                ) from None
            except OSError as error:
                found = error.strerror or str(error)
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file", path=file) from error
            if empty:
                raise DataError(f"{shown_path(file)}: holds no row: fill the file, or take it away", path=file)


def read_row(file: Path, names: Sequence[str], cells: Sequence[bytes]) -> Sample:
    """The sample of one row of a table that need not exist: what a writer asks before it writes the row."""
    columns = Columns.of(file, Row(1, 0, tuple(name.encode() for name in names)))
    root = file.parent
    table = _Table(
        root, DataFolder(root, follow_symlinks=False), file, columns, UniqueIds(), OtherRows(io.BytesIO(), columns)
    )
    return _Line(table, Row(2, 0, tuple(cells)), 0).sample()


@dataclass(frozen=True)
class _Table:
    """What all rows of a file share."""

    root: Path
    folder: DataFolder
    file: Path
    columns: Columns
    ids: UniqueIds
    others: OtherRows

    @property
    def name(self) -> str:
        return printable(self.file.name)


@dataclass(slots=True)
class _Line:
    """One row on its way to a sample."""

    table: _Table
    row: Row
    number: int
    letters: str = ""
    """Of the options that have a column each."""

    def sample(self) -> Sample:
        task, where = task_of(self.table.file), f"{self.table.name}:{self.row.line}"
        wanted, ability = f"{self.table.file.name}:{self.row.line}", "other"
        metadata: dict[str, str | int] = {
            "question": "",
            "index": self.number,
            "file": self.table.file.name,
            "stem": self.table.file.stem,
            "line": self.row.line,
        }
        parts: tuple[Part, ...] = ()
        candidates: tuple[str, ...] = ()
        answer, reason, extras = 0, None, NO_EXTRAS
        try:
            self._check_shape()
            # One after the other: what is known before something fails still places the sample in the results.
            index = self._text("index")
            if index is None:
                raise Unfit(ReasonKind.BAD_RECORD, "column 'index' is empty: give every row an index of its own")
            wanted = index
            metadata |= self._described(index)
            ability = str(metadata.get("l2-category") or metadata.get("category") or ability)
            extras = extras_of(self._text(FIELD))
            metadata |= extras.metadata
            ability = extras.ability or ability
            metadata["question"] = self._text("question") or ""
            candidates, answer = self._candidates()
            if self.letters != ascii_uppercase[: len(self.letters)]:
                metadata.setdefault("letters", self.letters)
            parts = self._parts()
        except Unfit as unfit:
            reason = unfit.reason(where)
            candidates, answer = (), 0
        unique, repeated = self.table.ids.claim(task, wanted)
        if repeated:
            found = f"column 'index': {shown(wanted)} stands in the file more than once: rename one of them"
            reason = Reason(ReasonKind.BAD_RECORD, f"{where}: {found}")
            parts, candidates, answer = (), (), 0
        directory = name_of(self.table.root)
        ordered = reason is None and extras.ordered is not False
        return Sample(unique, task, directory, ability, parts, candidates, answer, metadata, reason, ordered=ordered)

    def _check_shape(self) -> None:
        cells, columns = len(self.row.cells), len(self.table.columns.places)
        if not cells:
            found = f"the row is longer than {MAX_ROW} bytes, which no image within bounds needs: make it smaller"
            raise Unfit(ReasonKind.UNREADABLE_IMAGE, found)
        if cells != columns:
            found = f"the row has {cells} cells, the first line {columns}: quote cells that hold tabs or line ends"
            raise Unfit(ReasonKind.BAD_RECORD, found)

    def _cell(self, column: str) -> bytes:
        place = self.table.columns.places.get(column)
        return b"" if place is None else self.row.cells[place]

    def _text(self, column: str) -> str | None:
        """The cell as it stands; None where it holds nothing, or there is no such column."""
        try:
            text = self._cell(column).decode()
        except UnicodeDecodeError:
            raise Unfit(ReasonKind.BAD_RECORD, f"column {column!r} is not UTF-8: repair the file") from None
        return None if text in MISSING else text

    def _described(self, index: str) -> dict[str, str | int]:
        """What is known of a row beside its question: for metrics and exports."""
        named = {name: self._text(name) for name in ("category", "l2-category", "split", "hint")}
        described: dict[str, str | int] = {name: text for name, text in named.items() if text is not None}
        dataset = task_of(self.table.file).lower()
        if any(part in dataset for part in CIRCULAR):
            group = self._text("g_index")
            if group is not None:
                described["group"] = int(group) if _is_whole(group) else group
            elif _is_whole(index):  # others tell nothing of rotations
                described["group"] = int(index) % _ROTATION
        if "hallusion" in dataset and len(places := index.split("_")) > 5:
            # As VLMEvalKit counts: over the questions of a figure, and over the figures of a question.
            picture = f"{described.get('l2-category', '')}_{places[3]}"
            described |= {"group_figure": f"{picture}_{places[4]}", "group_question": f"{picture}_{places[5]}"}
        return described

    # Candidates --------------------------------------------------------------------------------------------------

    def _candidates(self) -> tuple[tuple[str, ...], int]:
        """The candidates in the table's order, and which of them is right."""
        columns = self.table.columns
        if {"question_type", "choices"} <= columns.places.keys():
            return self._choices()
        if not columns.options:
            return self._yes_or_no()
        options = {letter: text for letter in columns.options if (text := self._text(letter)) is not None}
        if not options:
            found = f"columns {columns.options[0]!r} to {columns.options[-1]!r} are empty: an open question"
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{found} has no candidates to score")
        self.letters = "".join(options)
        letter = self._answer().strip()
        if letter not in options:
            found = f"column 'answer' is {shown(letter)}, which is none of the options {', '.join(options)}: correct it"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
        return self._checked(tuple(options.values()), list(options).index(letter), list(map(repr, options)))

    def _choices(self) -> tuple[tuple[str, ...], int]:
        kind = self._text("question_type")
        if kind != "multi_choice":
            found = f"column 'question_type' is {shown(kind or '')}: only 'multi_choice' has candidates to score"
            raise Unfit(ReasonKind.NO_DISTRACTOR, found)
        choices = items_of(self._text("choices") or "", "column 'choices'")
        answer, letter = self._answer(), self._text("answer_option")
        if letter is None:
            if answer not in choices:
                found = f"column 'answer' is {shown(answer)}, which is none of the choices: correct it"
                raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
            place = choices.index(answer)
        else:
            place = ord(letter) - ord("A") if len(letter) == 1 else -1
            if not 0 <= place < len(choices) or choices[place] != answer:
                found = f"column 'answer' is {shown(answer)}, but 'answer_option' {shown(letter)} says otherwise"
                raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct one of them")
        return self._checked(choices, place, [f"'choices' entry {number}" for number in range(len(choices))])

    def _yes_or_no(self) -> tuple[tuple[str, ...], int]:
        answer = self._answer()
        said = answer.strip().lower()
        if said not in ("yes", "no"):
            found = f"there are no option columns, and column 'answer' is {shown(answer)}, neither Yes nor No"
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{found}: an open question has no candidates to score")
        return ("Yes", "No"), int(said == "no")

    def _answer(self) -> str:
        answer = self._text("answer")
        if answer is None:
            found = "is empty" if "answer" in self.table.columns.places else "is not there"
            raise Unfit(
                ReasonKind.BAD_RECORD, f"column 'answer' {found}: a TEST split holds none, and cannot be scored"
            )
        return answer

    def _checked(self, options: tuple[str, ...], answer: int, names: list[str]) -> tuple[tuple[str, ...], int]:
        check_options(options, answer, [f"column {name}" for name in names])
        for name, option in zip(names, options, strict=True):
            if tag := _TAG.search(option):
                found = f"column {name} holds {tag[0]}: images in options cannot be scored"
                raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
        return options, answer

    # The question and its images ---------------------------------------------------------------------------------

    def _parts(self) -> tuple[Part, ...]:
        """Images first, as VLMEvalKit puts them; where the tags are in datasets that have them there."""
        question = question_of(self._text("question"), "column 'question'")
        images = self._images()
        if interleaves(task_of(self.table.file)) and _TAG.search(question):
            return split_tags(question, images)
        return (*images, question)

    def _images(self) -> tuple[AnyImage, ...]:
        """The images of the row; none where both columns are empty: then the question is text only."""
        cell, line = self._cell("image"), self.row.line
        if cell in _NO_IMAGE:
            paths = self._text("image_path")
            return () if paths is None else tuple(map(self._file, _texts(paths, "column 'image_path'")))
        if len(cell) <= REFERENCE and not is_data_uri(cell):
            line, cell = self._shared(cell)
        name = f"{self.table.name}:{line} image"
        if not (cell.startswith(b"[") and cell.endswith(b"]")):
            return (from_base64(name, cell),)
        try:
            items = items_of(cell.decode("ascii"), "column 'image'")
        except UnicodeDecodeError:
            raise Unfit(ReasonKind.UNREADABLE_IMAGE, f"image {name} is no base64: replace it") from None
        return tuple(from_base64(f"{name}[{number}]", item.encode()) for number, item in enumerate(items))

    def _shared(self, index: bytes) -> tuple[int, bytes]:
        """The line and cell of the row that has the image."""
        shared = f"column 'image' is {shown(index.decode('utf-8', 'replace'))}, the index of another row"
        found = self.table.others.find(index)
        if found is None:
            raise Unfit(ReasonKind.MISSING_IMAGE, f"{shared}, which is not there: add it")
        if len(found[1]) <= REFERENCE:
            raise Unfit(ReasonKind.MISSING_IMAGE, f"{shared}, which has no image of its own: give it one")
        return found

    def _file(self, path: str) -> AnyImage:
        """As given, or else where VLMEvalKit puts the images of a dataset."""
        image = self.table.folder.image(path)
        if image.size < 0:
            inner = self.table.folder.image(f"images/{task_of(self.table.file)}/{path}")
            return inner if inner.size >= 0 else image
        return image


def _texts(text: str, name: str) -> tuple[str, ...]:
    return items_of(text, name) if is_list(text) else (text,)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
