"""PGPS9K, plane geometry problems, each asked twice: as the textbook has it, and with its diagram put into words.

``DATA/test.json`` (any ``*.json`` of that shape) holds one object, ``prob_<n>`` -> record, and images lie in
``DATA/Diagram_Visual`` or ``DATA/Diagram``. Every record makes a sample in each of two tasks, under the same id:
``PGPS9K_base`` asks ``text`` alone, ``PGPS9K_full`` puts the diagram's structural and semantic clauses before it, in
the words of the published evaluation (github.com/yaoguany/Bridging-Modality-Gap, ``eval/pgps9k``). The gap between the
two is what a model does not read off the picture.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from radar_fast.errors import DataError
from radar_fast.readers.json_stream import members
from radar_fast.readers.paths import DataFolder, annotations, shown_path, task_of
from radar_fast.readers.records import Unfit, UniqueIds, kind_of, question_of, shown, text_of
from radar_fast.sample import Part, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = ["PGPS9KReader", "find_files"]

_FIELDS = {"diagram", "parsing_stru_seqs", "parsing_sem_seqs", "choices"}
_FOLDERS = ("Diagram_Visual", "Diagram")
_VERSIONS = ("base", "full")


def find_files(data: Path) -> list[Path]:
    """The annotation files directly in a folder, in no order; empty if none is of this format.

    Raises OSError if the folder cannot be listed.
    """
    return [
        file
        for file in data.iterdir()
        if file.name.endswith(".json") and not file.name.startswith(".") and file.is_file() and _is_pgps9k(file)
    ]


def _is_pgps9k(file: Path) -> bool:
    try:
        # Some, for the first may be the one that lacks a field.
        for _, record in islice(members(file), 8):
            if not isinstance(record, dict):
                return False  # JSON lines: no need to read to where the second line begins
            if record.keys() >= _FIELDS:
                return True
    except DataError:
        pass
    return False


@dataclass(frozen=True)
class PGPS9KReader:
    """Reads PGPS9K lazily, one record at a time, and as often as asked.

    Iterating raises DataError where a file is not JSON, not one object, or empty. What is wrong with one record
    becomes the ``reason`` of its two samples.
    """

    root: Path
    """The data folder."""
    files: tuple[Path, ...]
    """The annotation files in the order in which they are read."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "pgps9k"

    @classmethod
    def open(cls, data: Path, *, follow_symlinks: bool = False) -> "PGPS9KReader":
        """Raises DataError if there is no annotation file, or one of them cannot be used."""
        files = annotations(find_files(data), data, follow_symlinks=follow_symlinks)
        if not files:
            raise DataError(
                f"{shown_path(data)}: no PGPS9K annotations: expected test.json, one object prob_<n> -> record with "
                f"{', '.join(sorted(_FIELDS))}",
                path=data,
            )
        return cls(data, files, follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        images = next((name for name in _FOLDERS if (self.root / name).is_dir()), _FOLDERS[0])
        ids = UniqueIds()
        for file in self.files:
            # The other splits of the dataset have the same ids, so only test.json goes without its name.
            prefix = "" if task_of(file) == "test" else f"{task_of(file)}_"
            for index, (problem, record) in enumerate(members(file)):
                unique, repeated = ids.claim(prefix, problem)
                for version in _VERSIONS:
                    place = _Place(f"PGPS9K_{prefix}{version}", version, file.name, index, unique, repeated)
                    yield _sample(place, record, folder, images)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sample stands, and which of the two it is."""

    task: str
    version: str
    file: str
    index: int
    id: str
    repeated: bool


def _sample(place: _Place, record: object, folder: DataFolder, images: str) -> Sample:
    parts: tuple[Part, ...] = ()
    candidates: tuple[str, ...] = ()
    answer, reason = 0, None
    metadata: dict[str, str | int] = {
        "question": "",
        "index": place.index,
        "file": place.file,
        "version": place.version,
    }
    try:
        if place.repeated:
            raise Unfit(ReasonKind.BAD_RECORD, "the id stands in the file more than once: rename or remove one of them")
        if not isinstance(record, dict):
            raise Unfit(ReasonKind.BAD_RECORD, f"the record is {kind_of(record)}: give an object with its fields")
        # What describes the problem; that some end in spaces is no other type.
        described = {name: record.get(name) for name in ("type", "book")}
        metadata |= {name: value.strip() for name, value in described.items() if isinstance(value, str)}
        text = question_of(record.get("text"), "field 'text'")
        if place.version == "full":
            text = _full_text(record, text)
        metadata["question"] = text
        candidates, answer = _candidates(record)
        parts = (folder.image(f"{images}/{_file_name(record.get('diagram'))}"), text)
    except Unfit as unfit:
        where = printable(place.file)
        reason = unfit.reason(f"{where}, {shown(place.id.split('#')[0])}")
        parts, candidates, answer = (), (), 0
    return Sample(
        place.id, place.task, "PGPS9K", "reasoning", parts, candidates, answer, metadata, reason, ordered=True
    )


def _file_name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        found = "missing" if value is None else shown(value)
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'diagram' is {found}: give the name of the image file")
    return value


def _candidates(record: dict[str, object]) -> tuple[tuple[str, ...], int]:
    """The choices as published, shortest decimal text that is the same number, and the one nearest to the answer.

    Choices are rounded to fewer decimals than the answer in some records, so none may equal it.
    """
    value = record.get("choices")
    if value is None or value == []:
        found = "missing" if value is None else "empty"
        raise Unfit(ReasonKind.NO_DISTRACTOR, f"field 'choices' is {found}: give the choices as numbers")
    if not isinstance(value, list):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'choices' is {kind_of(value)}: give a list of numbers")
    texts = tuple(text_of(entry, f"choices[{number}]") for number, entry in enumerate(value))
    numbers = [_number(entry, f"choices[{number}]") for number, entry in enumerate(value)]
    if len(numbers) < 2:
        raise Unfit(ReasonKind.NO_DISTRACTOR, "field 'choices' has one entry: give at least one wrong choice")
    target = _number(record.get("answer"), "field 'answer'")
    distances = [abs(number - target) for number in numbers]
    nearest = distances.index(min(distances))
    # As close as float arithmetic can tell: 24.5 is as far from 24 as from 25, and a choice twice is not one.
    tied = [number for number, distance in enumerate(distances) if math.isclose(distance, min(distances), abs_tol=1e-9)]
    if len(tied) > 1:
        found = f"answer {shown(record.get('answer'))} is as near to choices[{tied[0]}] as to choices[{tied[1]}]"
        raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct one of them")
    return texts, nearest


def _number(value: object, name: str) -> float:
    """A finite number, or a string of one, as the answer is."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    found = "missing" if value is None else shown(value)
    raise Unfit(ReasonKind.BAD_RECORD, f"{name} is {found}: give a number")


def _full_text(record: dict[str, object], text: str) -> str:
    """The published full-text prompt without its orders to reason and to box the answer; without any clause the
    question alone. Where there are no semantic clauses, the published prompt has ``, .`` for the full stop here."""
    structural = [_in_words(clause) for clause in _clauses(record, "parsing_stru_seqs")]
    clauses = [clause for clause in (*structural, *_clauses(record, "parsing_sem_seqs")) if clause]
    if not clauses:
        return text
    return f"In this problem, {', '.join(clauses)}.\nBased on these conditions, answer the question: {text}"


def _clauses(record: dict[str, object], name: str) -> list[str]:
    value = record.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        found = "missing" if value is None else shown(value)
        raise Unfit(ReasonKind.BAD_RECORD, f"field {name!r} is {found}: give a list of strings")
    return [text_of(entry, f"{name}[{number}]") for number, entry in enumerate(value)]


def _in_words(clause: str) -> str:
    """A structural clause as the published evaluation words it; empty where it says nothing (two points on a line).

    Its rules as they are, also where they read oddly: of three points on a line the outer two are its ends, of more
    the last two.
    """
    match clause.split():
        case ["line", name, "lieson", *points] if points:
            return f"{', '.join(points)} lie on line {name}"
        case ["line", first, middle, last]:
            return f"{middle} is on line {first}{last}"
        case ["line", *on, first, last] if len(on) >= 2:
            return f"{', '.join(on)} are on line {first}{last}"
        case ["\\odot", name, "lieson", *points] if points:
            return f"In \\odot {name}, point {', '.join(points)} lie on \\odot {name}"
    return ""
