"""What all readers do with the fields of a record. Internal to the readers."""

import math
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from radar_fast.sample import Reason, ReasonKind

__all__ = [
    "Flawed",
    "Unfit",
    "UniqueIds",
    "check_candidates",
    "check_options",
    "kind_of",
    "question_of",
    "shown",
    "text_of",
]

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlong = 40
_BITS = 1024
"""Of a whole number that is taken as text."""


class Unfit(Exception):  # noqa: N818 - not an error: a record's way out to its reason, it never leaves the readers
    """This record cannot be scored. The reader that catches it yields the sample with the reason."""

    def __init__(self, kind: ReasonKind, found: str) -> None:
        super().__init__(found)
        self.kind = kind
        self.found = found

    def reason(self, where: str) -> Reason:
        """The reason, naming the record."""
        return Reason(self.kind, f"{where}: {self.found}")


@dataclass(frozen=True)
class Flawed:
    """A record that its file holds, and that cannot be read: the record's fault, not the file's."""

    found: str
    """What is wrong, on one line."""


class UniqueIds:
    """Tells repeated ids, at the cost of a hash an id."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._last: dict[int, int] = {}  # of repeated ids only: a file may repeat one id many times

    def claim(self, task: str, wanted: str) -> tuple[str, bool]:
        """An id that was not given before in this task, and whether it differs from the wanted one."""
        base = hash((task, wanted))
        if base not in self._seen:
            self._seen.add(base)
            return wanted, False
        number = self._last.get(base, 1)
        while True:
            number += 1
            unique = f"{wanted}#{number}"
            if hash((task, unique)) not in self._seen:
                break
        self._last[base] = number
        self._seen.add(hash((task, unique)))
        return unique, True


def shown(value: object) -> str:
    """Any value on one short line, for messages."""
    if isinstance(value, str) and len(value) <= 60:
        return ascii(value)
    try:
        return _REPR.repr(value)
    except ValueError:  # Python refuses to write whole numbers of more than 4,300 digits
        return "a number without end" if isinstance(value, int) else f"{kind_of(value)} with a number without end"


def kind_of(value: object) -> str:
    """What JSON calls the type of a value."""
    if isinstance(value, Flawed):
        return f"unusable ({value.found})"
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def text_of(value: object, name: str) -> str:
    """An answer or option as text: numbers and booleans through ``str()``, as Python writes them.

    Raises Unfit (``bad-record``) for null, lists, objects, and numbers that have no exact text.
    """
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Unfit(ReasonKind.BAD_RECORD, f"{name} holds half a surrogate pair, which no tokenizer reads: fix it")
        return value
    if isinstance(value, float) and math.isnan(value):
        raise Unfit(ReasonKind.BAD_RECORD, f"{name} is NaN, which is no text: fill it in")
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) < 2.0**63):
        # A parser makes floats of integers beyond 64 bits: their text would be another number's.
        raise Unfit(ReasonKind.BAD_RECORD, f"{name} is a number too large to be exact: write it as a string")
    if isinstance(value, bool | int | float):
        if isinstance(value, int) and value.bit_length() > _BITS:
            raise Unfit(ReasonKind.BAD_RECORD, f"{name} is a number of {value.bit_length()} bits: write it as a string")
        return str(value)
    raise Unfit(ReasonKind.BAD_RECORD, f"{name} is {kind_of(value)}, not a string or number: write it as a string")


def question_of(value: object, name: str) -> str:
    """The question. Raises Unfit (``bad-record``) unless it is a string with something in it."""
    if not isinstance(value, str):
        found = "is missing" if value is None else f"is {kind_of(value)}"
        raise Unfit(ReasonKind.BAD_RECORD, f"{name} {found}: give the question as a string")
    if not value.strip():
        raise Unfit(ReasonKind.BAD_RECORD, f"{name} is blank: give the question as a string")
    return text_of(value, name)


def check_candidates(answer: str, distractors: Iterable[str], answer_name: str, distractors_name: str) -> None:
    """Raises Unfit (``empty-candidate`` or ``ambiguous-answer``) for candidates that cannot be told apart."""
    if not answer.strip():
        raise Unfit(ReasonKind.EMPTY_CANDIDATE, f"{answer_name} is {shown(answer)}: there is nothing to score")
    for number, distractor in enumerate(distractors):
        if not distractor.strip():
            found = f"{distractors_name}[{number}] is {shown(distractor)}: there is nothing to score"
            raise Unfit(ReasonKind.EMPTY_CANDIDATE, found)
        if distractor == answer:
            found = f"{distractors_name}[{number}] equals {answer_name} {shown(answer)}: remove one of them"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)


def check_options(options: Sequence[str], answer: int, names: Sequence[str]) -> None:
    """Raises Unfit (``no-distractor``, ``empty-candidate`` or ``ambiguous-answer``) unless the answer can be told from
    the other options. ``names``: what messages call each option.
    """
    if len(options) < 2:
        raise Unfit(ReasonKind.NO_DISTRACTOR, f"{names[0]} is the only option: give at least one wrong answer")
    for name, option in zip(names, options, strict=True):
        if not option.strip():
            raise Unfit(ReasonKind.EMPTY_CANDIDATE, f"{name} is {shown(option)}: there is nothing to score")
    if options.count(options[answer]) > 1:
        other = next(name for place, name in enumerate(names) if place != answer and options[place] == options[answer])
        found = f"{other} equals the answer {shown(options[answer])} of {names[answer]}: remove one of them"
        raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
