"""JSON lines: one object a line, under the user's field names. PuzzleVQA is read as it lies.

Annotation files are the ``*.jsonl`` and ``*.json`` directly in the folder; image paths are relative to it. ``fields``
maps our names to the file's:

    question       str; ``<image>`` or ``<image n>`` says where the images go, else they come first
    image          str, or list of str; absent or null: no image
    options        list of all answer options
    answer         the text of the right one, compared after ``str()``
    answer_index   its position among the options, from 0; used only where it is mapped
    distractors    list of wrong answers, in place of ``options``
    id, task       default to ``<file>:<line>`` and the file's name without its ending
    ability        defaults to ``other``
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import orjson

from radar_fast.errors import DataError, UsageError
from radar_fast.readers.paths import DataFolder, annotations, shown_path, task_of
from radar_fast.readers.records import (
    Unfit,
    UniqueIds,
    check_candidates,
    kind_of,
    question_of,
    shown,
    text_of,
)
from radar_fast.sample import ImageFile, Part, Reason, ReasonKind, Sample

__all__ = ["FIELDS", "JsonlReader", "check_fields", "find_files", "is_json_lines"]

FIELDS = ("question", "image", "options", "answer", "answer_index", "distractors", "id", "task", "ability")
"""Our names, the keys of a field mapping."""

_BOM = b"\xef\xbb\xbf"
_TAG = re.compile(r"<image(?: (\d+))?>")
_ENDINGS = (".jsonl", ".json")


def check_fields(fields: Mapping[str, str]) -> None:
    """Raises UsageError for a mapping that names what there is not, or contradicts itself."""
    for ours, theirs in fields.items():
        if ours not in FIELDS:
            raise UsageError(f"--field: {shown(ours)} is no field here: use {', '.join(FIELDS)}")
        if not theirs:
            raise UsageError(f"--field: {ours} is mapped to {shown(theirs)}: name a field of the file")
    for one, other, why in (
        ("answer", "answer_index", "the answer is given either as text or as a position"),
        ("options", "distractors", "the wrong answers stand in either of them"),
        ("answer_index", "distractors", "a position needs the options it counts"),
    ):
        if one in fields and other in fields:
            raise UsageError(f"--field: {one} and {other} are both mapped, but {why}: name one of them")


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
                    yield _Line(self, folder, ids, file, index, number, no_image).sample(_parsed(line))
            except OSError as error:
                found = error.strerror or error
                raise DataError(f"{shown_path(file)}: cannot be read ({found}): check the file") from error

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


@dataclass(slots=True)
class _Line:
    """One record on its way to a sample."""

    reader: JsonlReader
    folder: DataFolder
    ids: UniqueIds
    file: Path
    index: int
    number: int
    no_image: bool
    """The mapped image field is in no record of the file."""
    record: dict[str, object] = field(default_factory=dict)

    def sample(self, record: object) -> Sample:
        if isinstance(record, dict):
            self.record = record
        wanted, task, ability = f"{self.file.name}:{self.number}", task_of(self.file), "other"
        parts: tuple[Part, ...] = ()
        candidates: tuple[str, ...] = ()
        answer, reason = 0, None
        try:
            if isinstance(record, orjson.JSONDecodeError):
                raise Unfit(ReasonKind.BAD_RECORD, f"the line is not JSON ({record.msg}): repair it")
            if not isinstance(record, dict):
                raise Unfit(ReasonKind.BAD_RECORD, f"the line is {kind_of(record)}: give an object with its fields")
            # One after the other: what is known before something fails still places the sample in the results.
            task = self._name("task") or task
            ability = self._name("ability") or ability
            wanted = self._name("id") or wanted
            candidates, answer = self._candidates()
            parts = self._parts()
        except Unfit as unfit:
            reason = unfit.reason(self._where)
            candidates, answer = (), 0
        unique, repeated = self.ids.claim(task, wanted)
        if repeated:
            found = (
                f"{self._named('id')} {shown(wanted)} stands in task {shown(task)} more than once: rename one of them"
            )
            reason = Reason(ReasonKind.BAD_RECORD, f"{self._where}: {found}")
            parts, candidates, answer = (), (), 0
        question = self._get("question")
        metadata: dict[str, str | int] = {
            "question": question if isinstance(question, str) else "",
            "index": self.index,
            "file": self.file.name,
            "stem": self.file.stem,
            "line": self.number,
        }
        directory = self.reader.root.absolute().name
        return Sample(unique, task, directory, ability, parts, candidates, answer, metadata, reason)

    @property
    def _where(self) -> str:
        return f"{self.file.name if self.file.name.isprintable() else ascii(self.file.name)}:{self.number}"

    def _mapped(self, ours: str) -> bool:
        return ours in self.reader.fields

    def _get(self, ours: str) -> object:
        return self.record.get(self.reader.fields.get(ours, ours))

    def _named(self, ours: str) -> str:
        """The field as messages call it."""
        theirs = self.reader.fields.get(ours, ours)
        return f"field {shown(theirs)}" if theirs == ours else f"field {shown(theirs)} ({ours})"

    def _name(self, ours: str) -> str | None:
        """Id, task or ability; None where the record leaves it to the default."""
        value = self._get(ours)
        if value is None:
            if self._mapped(ours):
                # Never the default: it would put the record where the user did not.
                raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is missing: fill it in, or do not map {ours}")
            return None
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            found = f"{self._named(ours)} is {shown(value)}: give a string or an integer"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        return str(value)

    def _list(self, ours: str) -> tuple[str, ...] | None:
        value = self._get(ours)
        if value is None:
            if self._mapped(ours):
                raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is missing: give a list, or map another field")
            return None
        if not isinstance(value, list):
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is {kind_of(value)}: give a list")
        texts = tuple(text_of(entry, f"{self._named(ours)} entry {number}") for number, entry in enumerate(value))
        for number, text in enumerate(texts):
            if tag := _TAG.search(text):
                found = f"{self._named(ours)} entry {number} holds {tag[0]}: images in options cannot be scored"
                raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
        return texts

    def _candidates(self) -> tuple[tuple[str, ...], int]:
        """The candidates in the order of the record, and which of them is right."""
        options = None if self._mapped("distractors") else self._list("options")
        distractors = None if self._mapped("options") else self._list("distractors")
        if options is not None and distractors is not None:
            found = "both 'options' and 'distractors' are there: map the one that is meant"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if options is None and distractors is None:
            found = "neither 'options' nor 'distractors' is there: give one of them, or map its name"
            raise Unfit(ReasonKind.NO_DISTRACTOR, found)
        if options is None:
            return self._with_distractors(distractors or ())
        answer = self._index(len(options)) if self._mapped("answer_index") else self._position(options)
        if len(options) < 2:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} has no wrong answer: give at least one")
        for number, option in enumerate(options):
            if not option.strip():
                found = f"{self._named('options')} entry {number} is {shown(option)}: there is nothing to score"
                raise Unfit(ReasonKind.EMPTY_CANDIDATE, found)
        if (times := options.count(options[answer])) > 1:
            found = f"the answer {shown(options[answer])} stands {times} times in {self._named('options')}: keep one"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
        return options, answer

    def _with_distractors(self, distractors: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        if self._mapped("answer_index"):
            found = f"{self._named('answer_index')} needs {self._named('options')}, which is missing"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        answer = self._answer()
        if not distractors:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('distractors')} is empty: give at least one")
        check_candidates(answer, distractors, self._named("answer"), self._named("distractors"))
        return (answer, *distractors), 0

    def _answer(self) -> str:
        value = self._get("answer")
        if value is None:
            # To take it for a position, or not, would be to guess.
            hint = "map answer_index to use the position" if "answer_index" in self.record else "give the right option"
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named('answer')} is missing: {hint}")
        return text_of(value, self._named("answer"))

    def _position(self, options: tuple[str, ...]) -> int:
        answer = self._answer()
        if answer in options:
            return options.index(answer)
        if not options:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} is empty: give the options")
        found = f"{self._named('answer')} {shown(answer)} is none of {self._named('options')}"
        raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct it, or map answer_index if it is a position")

    def _index(self, count: int) -> int:
        value = self._get("answer_index")
        if isinstance(value, bool) or not isinstance(value, int):
            found = "missing" if value is None else shown(value)
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named('answer_index')} is {found}: give an integer, from 0")
        if not count:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} is empty: give the options")
        if not 0 <= value < count:
            found = (
                f"{self._named('answer_index')} is {value}, but there are {count} options, counted from 0: correct it"
            )
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
        return value

    def _images(self) -> tuple[ImageFile, ...]:
        value = self._get("image")
        if self.no_image:
            found = f"{self._named('image')} is in no record of the file: correct the name, or do not map image"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if value is None:
            return ()
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            found = f"{self._named('image')} is {shown(value)}: give a path or a list of paths, or null for no image"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        return tuple(self.folder.image(path) for path in paths)

    def _parts(self) -> tuple[Part, ...]:
        """Images where the tags are, or before the question where there is no tag. The text stays as it is."""
        question = question_of(self._get("question"), self._named("question"))
        images = self._images()
        tags = list(_TAG.finditer(question))
        order = self._order(tags, len(images)) if tags else list(range(len(images)))
        if not tags:
            return (*images, question)
        parts: list[Part] = []
        end = 0
        for tag, position in zip(tags, order, strict=True):
            parts += [question[end : tag.start()], images[position]]
            end = tag.end()
        parts.append(question[end:])
        return tuple(part for part in parts if isinstance(part, ImageFile) or part)

    def _order(self, tags: list[re.Match[str]], count: int) -> list[int]:
        """Which image stands at each tag. Raises Unfit unless each tag has an image and each image a tag."""
        numbers = [tag[1] for tag in tags]
        if all(number is None for number in numbers):
            order = list(range(len(numbers)))
        elif None in numbers:
            found = f"{self._named('question')} mixes <image> and <image n>: use one of them"
            raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
        else:
            # Nine digits at most: Python refuses to convert numbers without end.
            order = [int(number) - 1 if len(number) < 10 else count for number in numbers]
        if set(order) != set(range(count)):
            found = f"{self._named('question')} holds {len(tags)} image tags ({shown(tags[0][0])}, ...)"
            raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, f"{found}, which do not pair with {count} images: correct one")
        return order
