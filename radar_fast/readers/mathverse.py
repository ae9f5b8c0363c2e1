"""MathVerse, every problem in several versions that move what is known from the text into the diagram.

``DATA/testmini.json`` and ``testmini_text_only.json`` (any ``*.json`` of that shape) hold one list of records, one a
problem and version; images lie below ``DATA/images`` or ``DATA``. Every version is a task, and a sample's id is its
``problem_index``, so that the versions of a problem pair up. The spread over the versions is the modality gap.

The choices stand inside ``question``. They are taken out of it and become the candidates; ``--candidates letter`` lists
them again. ``Vision Only`` has no text at all: its choices are those of the problem's other versions, which the file
must hold. What has no choices (``free-form``) cannot be scored.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from radar_fast.errors import DataError
from radar_fast.readers.json_stream import items
from radar_fast.readers.paths import DataFolder, annotations, shown_path
from radar_fast.readers.records import Unfit, UniqueIds, kind_of, shown, text_of
from radar_fast.sample import Part, Reason, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = ["VERSIONS", "MathVerseReader", "find_files"]

VERSIONS = (
    "Text Dominant",
    "Text Lite",
    "Text Only",
    "Vision Intensive",
    "Vision Dominant",
    "Vision Only",
)
"""What ``problem_version`` says, as published."""

_FIELDS = {"sample_index", "problem_index", "problem_version", "question_type"}
_HEADING = re.compile(r"(?:^|\n)Choices?:[^\S\n]*\n")
_LINE = re.compile(r"\s*([A-Z])[^\S\n]*[:.][^\S\n]*(.*)", re.DOTALL)
_STRAY = re.compile(r"\n\d+\s*\Z")
_LETTER = re.compile(r"\(?([A-Z])\)?")


def find_files(data: Path) -> list[Path]:
    """The annotation files directly in a folder, in no order; empty if none is of this format.

    Raises OSError if the folder cannot be listed.
    """
    return [
        file
        for file in data.iterdir()
        if file.name.endswith(".json") and not file.name.startswith(".") and file.is_file() and _is_mathverse(file)
    ]


def _is_mathverse(file: Path) -> bool:
    try:
        # Some, for the first may be the one that lacks a field.
        return any(isinstance(record, dict) and record.keys() >= _FIELDS for record in islice(items(file), 8))
    except DataError:
        return False


@dataclass(frozen=True)
class MathVerseReader:
    """Reads MathVerse lazily, one record at a time, and as often as asked; every file twice, for the choices of
    ``Vision Only``.

    Iterating raises DataError where a file is not JSON, not one list, or empty. What is wrong with one record becomes
    the ``reason`` of its sample.
    """

    root: Path
    """The data folder."""
    files: tuple[Path, ...]
    """The annotation files in the order in which they are read."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "mathverse"

    @classmethod
    def open(cls, data: Path, *, follow_symlinks: bool = False) -> "MathVerseReader":
        """Raises DataError if there is no annotation file, or one of them cannot be used."""
        files = annotations(find_files(data), data, follow_symlinks=follow_symlinks)
        if not files:
            raise DataError(
                f"{shown_path(data)}: no MathVerse annotations: expected testmini.json, one list of records with "
                f"{', '.join(sorted(_FIELDS))}",
                path=data,
            )
        return cls(data, files, follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        images = "images/" if (self.root / "images").is_dir() else ""
        ids = UniqueIds()
        for file in self.files:
            listed = _choices_by_problem(file)
            for index, record in enumerate(items(file)):
                yield _sample(_Place(file.name, index, folder, images, ids, listed), record)


Choices = tuple[str, ...]


def _choices_by_problem(file: Path) -> dict[str, Choices]:
    """The choices of every problem that lists them in one of its versions; the first version counts."""
    found: dict[str, Choices] = {}
    for record in items(file):
        if not isinstance(record, dict):
            continue
        problem, question = record.get("problem_index"), record.get("question")
        if isinstance(problem, str) and isinstance(question, str) and problem not in found:
            try:
                _, choices = _split(question)
            except Unfit:
                continue
            if choices:
                found[problem] = choices
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record stands, and what is known around it."""

    file: str
    index: int
    folder: DataFolder
    images: str
    ids: UniqueIds
    listed: Mapping[str, Choices]
    """Choices by problem, for questions that list none."""


def _sample(place: _Place, record: object) -> Sample:
    parts: tuple[Part, ...] = ()
    candidates: Choices = ()
    answer, reason = 0, None
    task, wanted = "MathVerse", f"{place.file}:{place.index}"
    metadata: dict[str, str | int] = {"question": "", "index": place.index, "file": place.file}
    fields = record if isinstance(record, dict) else {}
    try:
        if not isinstance(record, dict):
            raise Unfit(ReasonKind.BAD_RECORD, f"the record is {kind_of(record)}: give an object with its fields")
        # One after the other: what is known before something fails still places the sample in the results.
        wanted = _text(record, "problem_index")
        version = _text(record, "problem_version")
        if version not in VERSIONS:
            raise Unfit(
                ReasonKind.BAD_RECORD,
                f"field 'problem_version' is {shown(version)}: it is one of {', '.join(VERSIONS)}",
            )
        task = f"MathVerse_{version.replace(' ', '_')}"
        metadata |= {"version": version, "sample": _text(record, "sample_index"), **_described(record)}
        question = _question(record)
        metadata["question"] = question
        _check_type(record)
        text, choices = _split(question)
        candidates = choices or place.listed.get(wanted, ())
        answer = _answer(record, candidates)
        image = record.get("image")
        if not isinstance(image, str):
            raise Unfit(ReasonKind.BAD_RECORD, f"field 'image' is {shown(image)}: give a path, or '' for no image")
        parts = (*((place.folder.image(place.images + image),) if image else ()), *((text,) if text.strip() else ()))
        if not parts:
            raise Unfit(ReasonKind.NOTHING_TO_ASK, "neither 'image' nor 'question' says anything: give one of them")
    except Unfit as unfit:
        reason = _reason(place, fields, unfit)
    unique, repeated = place.ids.claim(task, wanted)
    if repeated and reason is None:
        found = "its problem_index comes more than once in this version: rename or remove one of them"
        reason = _reason(place, fields, Unfit(ReasonKind.BAD_RECORD, found))
    if reason is not None:
        parts, candidates, answer = (), (), 0
    return Sample(unique, task, "MathVerse", "reasoning", parts, candidates, answer, metadata, reason, ordered=True)


def _reason(place: _Place, record: Mapping[str, object], unfit: Unfit) -> Reason:
    file = printable(place.file)
    return unfit.reason(f"{file}, sample_index {shown(record.get('sample_index'))} (record {place.index + 1})")


def _text(record: Mapping[str, object], name: str) -> str:
    """An id or name: a string, or a whole number as one."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        found = "missing" if value is None else shown(value)
        raise Unfit(ReasonKind.BAD_RECORD, f"field {name!r} is {found}: give a string")
    return text_of(value, f"field {name!r}")


def _described(record: Mapping[str, object]) -> dict[str, str]:
    """Subject and subfield, where they are there: for reading, not for scoring."""
    inner = record.get("metadata")
    if not isinstance(inner, dict):
        return {}
    return {name: inner[name] for name in ("subject", "subfield") if isinstance(inner.get(name), str)}


def _check_type(record: Mapping[str, object]) -> None:
    kind = record.get("question_type")
    if kind == "free-form":
        raise Unfit(ReasonKind.NO_DISTRACTOR, "field 'question_type' is 'free-form': there are no choices to score")
    if kind != "multi-choice":
        found = "missing" if kind is None else shown(kind)
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'question_type' is {found}: it is multi-choice or free-form")


def _question(record: Mapping[str, object]) -> str:
    value = record.get("question")
    if not isinstance(value, str):
        found = "missing" if value is None else kind_of(value)
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'question' is {found}: give a string, '' for Vision Only")
    return text_of(value, "field 'question'")


def _split(question: str) -> tuple[str, Choices]:
    """The question without its choices, and those; no choices where there is no heading.

    A line without the letter that is due continues the choice before it, as a formula over two lines does; but two
    published records end in a line with a stray number, and that is left out. Raises Unfit for choices that do not
    begin with A.
    """
    headings = list(_HEADING.finditer(question))
    if not headings:
        return question, ()
    choices: list[str] = []
    for line in _STRAY.sub("", question[headings[-1].end() :]).split("\n"):
        found = _LINE.match(line)
        if found and found[1] == chr(ord("A") + len(choices)):
            choices.append(found[2])
        elif choices:
            choices[-1] += f"\n{line}"
        elif line.strip():
            found_line = f"field 'question' has {shown(line)} after 'Choices:': choices begin with 'A:' or 'A.'"
            raise Unfit(ReasonKind.BAD_RECORD, found_line)
    return question[: headings[-1].start()], tuple(choice.strip() for choice in choices)


def _answer(record: Mapping[str, object], choices: Choices) -> int:
    """The place of the right choice: a letter, a letter in brackets, or the text of exactly one choice.

    Raises Unfit unless it is one of several choices, and no other reads the same.
    """
    if not choices:
        found = "no choices in field 'question', nor in another version of the problem: put them in"
        raise Unfit(ReasonKind.NO_DISTRACTOR, found)
    if len(choices) < 2:
        raise Unfit(ReasonKind.NO_DISTRACTOR, "field 'question' has one choice: give at least one wrong one")
    for number, choice in enumerate(choices):
        if not choice:
            raise Unfit(
                ReasonKind.EMPTY_CANDIDATE, f"choice {chr(ord('A') + number)} is blank: there is nothing to score"
            )
    key = _text(record, "answer").strip()
    letter = _LETTER.fullmatch(key)
    answer = choices[place] if letter and (place := ord(letter[1]) - ord("A")) < len(choices) else key
    if choices.count(answer) == 1:
        return choices.index(answer)
    found = "is not one" if answer not in choices else "stands more than once"
    found = f"field 'answer' is {shown(key)}, which {found} of the {len(choices)} choices"
    raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: give the letter of one, and no choice twice")
