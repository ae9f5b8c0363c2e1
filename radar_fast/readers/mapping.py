"""Records under the user's field names -> samples: what JSON lines and parquet files have in common.

A :class:`~radar_fast.readers.layout.Layout` maps our names to the file's:

    question       str; ``<image>`` or ``<image n>`` says where the images go, else they come first
    image          an image, a list of images, or several fields of one each; absent or null: no image
    options        list of all answer options, or several fields of one each, of which some may be empty
    answer         the text of the right one, compared after ``str()``
    answer_index   its position among the options, from 0; used only where it is mapped
    answer_letter  its letter, as ``A``, ``(B)`` or ``c.``; used only where it is mapped
    distractors    list of wrong answers, in place of ``options``
    hint           what stands before the question
    id, task       default to ``<file>:<line>`` and the file's name without its ending
    ability        defaults to ``other``

Without ``options`` the fields ``A``, ``B``, ... are the options and ``answer`` is a letter, as in VLMEvalKit's tables;
without ``image`` the fields ``image_1``, ``image_2``, ... are the images, as in MMMU.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_uppercase

from radar_fast.readers.extras import FIELD, NO_EXTRAS, extras_of
from radar_fast.readers.layout import CONTENT, FIELDS, Layout, check_fields
from radar_fast.readers.letters import letter_of, letters_of_columns, split_options
from radar_fast.readers.literals import items_of
from radar_fast.readers.records import Unfit, UniqueIds, check_candidates, kind_of, question_of, shown, text_of
from radar_fast.readers.tags import TAG, placed
from radar_fast.sample import AnyImage, Part, Reason, ReasonKind, Sample

__all__ = ["CONTENT", "FIELDS", "MappedRecord", "Place", "check_fields", "lettered", "numbered"]

_IMAGE = re.compile(r"image_([1-9]\d?)")
_POSITION = re.compile(r"\s*(\d{1,9})\s*", re.ASCII)


def lettered(names: "Mapping[str, object] | list[str]") -> tuple[str, ...]:
    """Those of the fields that hold an option each by the published layout: ``A``, ``B``, ..."""
    found = tuple(letter for letter in ascii_uppercase if letter in names)
    return found if len(found) > 1 else ()


def numbered(names: "Mapping[str, object] | list[str]") -> tuple[str, ...]:
    """Those of the fields that hold an image each by the published layout: ``image_1``, ``image_2``, ..."""
    return tuple(sorted(filter(_IMAGE.fullmatch, names), key=lambda name: int(name[6:])))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands, and what its sample is called unless the record says otherwise."""

    where: str
    """For messages: the file and the line or row, on one line."""
    id: str
    task: str
    directory: str
    metadata: Mapping[str, str | int]
    """What the sample's metadata hold beside the question."""


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of a record, none of them empty."""

    texts: tuple[str, ...]
    letters: tuple[str, ...]
    """What each is called."""
    names: tuple[str, ...]
    """What messages call each."""
    places: tuple[int, ...]
    """Where each stands, empty ones counted."""
    by_letter: bool = False
    """Whether ``answer`` is a letter by the published layout."""


@dataclass(slots=True)
class MappedRecord:
    """One record on its way to a sample."""

    layout: Layout
    """Which of its fields say what."""
    record: Mapping[str, object]
    """By the file's names; empty where there is a ``problem``."""
    image: Callable[[object, str], AnyImage]
    """From one entry of the image field, and what messages call it, to the image. Raises Unfit."""
    no_image: bool = False
    """The mapped image field is in no record of the file."""
    problem: Unfit | None = None
    """What makes the record unfit before its fields are looked at."""

    def sample(self, place: Place, ids: UniqueIds) -> Sample:
        """The sample, with its reason where the record is unfit; ``ids`` tells repeated ones."""
        wanted, task, ability = place.id, place.task, "other"
        parts: tuple[Part, ...] = ()
        candidates: tuple[str, ...] = ()
        answer, reason, extras = 0, None, NO_EXTRAS
        described: dict[str, str | int] = {}
        try:
            # One after the other: what is known before something fails still places the sample in the results.
            task = self._name("task") or task
            ability = self._name("ability") or ability
            wanted = self._name("id") or wanted
            if self.problem is not None:
                raise self.problem
            extras = extras_of(self.record.get(FIELD))
            described = self._described()
            self._check_only()
            candidates, answer, letters = self._candidates()
            if letters != tuple(ascii_uppercase[: len(letters)]):
                described["letters"] = "".join(letters)
            parts = self._parts()
        except Unfit as unfit:
            reason = (self.problem or unfit).reason(place.where)
            candidates, answer = (), 0
        unique, repeated = ids.claim(task, wanted)
        if repeated:
            found = (
                f"{self._named('id')} {shown(wanted)} stands in task {shown(task)} more than once: rename one of them"
            )
            reason = Reason(ReasonKind.BAD_RECORD, f"{place.where}: {found}")
            parts, candidates, answer = (), (), 0
        metadata = {"question": self._published_question(), **described, **extras.metadata, **place.metadata}
        # Distractors come without an order, so the answer was put first.
        ordered = reason is None and (not self._distracted if extras.ordered is None else extras.ordered)
        return Sample(
            unique, task, place.directory, ability, parts, candidates, answer, metadata, reason, ordered=ordered
        )

    @property
    def _distracted(self) -> bool:
        if self.layout.fixed_options or self.layout.options_in_question:
            return False
        return "distractors" in self.layout or ("options" not in self.layout and self._unlisted)

    @property
    def _unlisted(self) -> bool:
        """Whether there are no options under their usual names."""
        return self._get("options") is None and not lettered(self.record)

    def _get(self, ours: str) -> object:
        names = self.layout.names(ours)
        return self.record.get(names[0]) if names else None

    def _named(self, ours: str) -> str:
        """The field as messages call it: mostly there is no message, but who reads a value is told its name."""
        if (called := self.layout.called.get(ours)) is None:
            names = self.layout.names(ours)
            theirs = " + ".join(map(shown, names)) or "none"
            called = f"field {theirs}" if names == (ours,) else f"field {theirs} ({ours})"
            self.layout.called[ours] = called
        return called

    def _published_question(self) -> str:
        question = self._get("question")
        if not isinstance(question, str):
            return ""
        return question.encode("utf-8", "replace").decode()

    def _name(self, ours: str) -> str | None:
        """Id, task or ability; None where the record leaves it to the default."""
        names = self.layout.names(ours)
        values = [self.record.get(name) for name in names]
        if not names or values == [None]:
            if ours in self.layout:
                # Never the default: it would put the record where the user did not.
                raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is missing: fill it in, or do not map {ours}")
            return None
        for value in values:
            if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
                found = f"{self._named(ours)} is {shown(values[0] if len(values) == 1 else values)}"
                raise Unfit(ReasonKind.BAD_RECORD, f"{found}: give a string or an integer")
        return "_".join(text_of(value, self._named(ours)) for value in values)

    def _described(self) -> dict[str, str | int]:
        """The hint, and what results count by."""
        described: dict[str, str | int] = {}
        hint = self._get("hint")
        if not (_is_empty(hint) or (isinstance(hint, str) and not hint.strip())):
            described["hint"] = text_of(hint, self._named("hint"))
        for ours, names in self.layout.metadata.items():
            values = [self.record.get(name) for name in names]
            if all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
                described[ours] = "_".join(text_of(value, f"field {shown(names[0])} ({ours})") for value in values)
        return described

    def _check_only(self) -> None:
        for name, allowed in self.layout.only.items():
            value = self.record.get(name)
            if value is not None and value not in allowed:
                found = f"field {shown(name)} is {shown(value)}: only {' and '.join(map(repr, allowed))} are scored"
                raise Unfit(ReasonKind.NO_DISTRACTOR, found)

    # Candidates ------------------------------------------------------------------------------------------------------

    def _list(self, ours: str) -> tuple[str, ...] | None:
        value = self._get(ours)
        if value is None:
            if ours in self.layout:
                raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is missing: give a list, or map another field")
            return None
        if isinstance(value, str):
            value = list(items_of(value, self._named(ours)))
        if not isinstance(value, list):
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named(ours)} is {kind_of(value)}: give a list")
        texts = tuple(text_of(entry, f"{self._named(ours)} entry {number}") for number, entry in enumerate(value))
        for number, text in enumerate(texts):
            if tag := TAG.search(text):
                found = f"{self._named(ours)} entry {number} holds {tag[0]}: images in options cannot be scored"
                raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
        return texts

    def _columns(self, names: tuple[str, ...]) -> _Options:
        """Options that have a field each; empty ones, also NaN as pandas has it, are none."""
        letters, kept = letters_of_columns(names), []
        for place, (name, letter) in enumerate(zip(names, letters, strict=True)):
            value = self.record.get(name)
            if _is_empty(value):
                continue
            text = text_of(value, f"field {shown(name)}")
            if tag := TAG.search(text):
                found = f"field {shown(name)} holds {tag[0]}: images in options cannot be scored"
                raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
            kept.append((text, letter, f"field {shown(name)}", place))
        if not kept:
            found = f"fields {shown(names[0])} to {shown(names[-1])} are empty: an open question has no candidates"
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{found} to score")
        texts, called, fields, places = zip(*kept, strict=True)
        return _Options(texts, called, fields, places, by_letter=all(len(name) == 1 for name in names))

    def _option_columns(self) -> tuple[str, ...]:
        """The fields that hold an option each; none where one field lists them."""
        names = self.layout.names("options")
        if len(names) > 1:
            return names
        return lettered(self.record) if "options" not in self.layout and self._get("options") is None else ()

    def _options(self) -> _Options | None:
        """All options in the order of the record; None where it has distractors instead."""
        if self.layout.fixed_options:
            texts: tuple[str, ...] | None = self.layout.fixed_options
        elif self.layout.options_in_question:
            _, texts = split_options(question_of(self._get("question"), self._named("question")))
            if not texts:
                found = f"{self._named('question')} lists no options 'A. ...': an open question has no candidates"
                raise Unfit(ReasonKind.NO_DISTRACTOR, f"{found} to score")
        elif names := self._option_columns():
            return self._columns(names)
        else:
            texts = self._list("options")
        if texts is None:
            return None
        letters = tuple(ascii_uppercase[: len(texts)])
        names = tuple(f"{self._named('options')} entry {number}" for number in range(len(texts)))
        return _Options(texts, letters, names, tuple(range(len(texts))))

    def _candidates(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        """The candidates in the order of the record, which of them is right, and their letters."""
        mapped = self.layout.fixed_options or self.layout.options_in_question or "options" in self.layout
        options = None if "distractors" in self.layout else self._options()
        distractors = None if mapped else self._list("distractors")
        if options is not None and distractors is not None:
            found = "both 'options' and 'distractors' are there: map the one that is meant"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if options is None and distractors is None:
            found = "neither 'options' nor 'distractors' is there: give one of them, or map its name"
            raise Unfit(ReasonKind.NO_DISTRACTOR, found)
        if options is None:
            return (*self._with_distractors(distractors or ()), ())
        if "answer_index" in self.layout:
            answer = self._index(options)
        elif "answer_letter" in self.layout:
            answer = self._letter(options)
        else:
            answer = self._position(options)
        if len(options.texts) < 2:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} has no wrong answer: give at least one")
        for name, option in zip(options.names, options.texts, strict=True):
            if not option.strip():
                found = f"{name} is {shown(option)}: there is nothing to score"
                raise Unfit(ReasonKind.EMPTY_CANDIDATE, found)
        right = options.texts[answer]
        if (times := options.texts.count(right)) > 1:
            found = f"the answer {shown(right)} stands {times} times in {self._named('options')}: keep one"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, found)
        return options.texts, answer, options.letters if len(options.texts) <= len(ascii_uppercase) else ()

    def _with_distractors(self, distractors: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        for ours in ("answer_index", "answer_letter"):
            if ours in self.layout:
                found = f"{self._named(ours)} needs {self._named('options')}, which is missing"
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

    def _position(self, options: _Options) -> int:
        """The place of an answer that is an option's text; in fields ``A``, ``B``, ... its letter."""
        answer = self._answer()
        at = options.texts.index(answer) if answer in options.texts else None
        letter = letter_of(answer)
        if options.by_letter and letter in options.letters:
            named = options.letters.index(letter)
            if at not in (None, named):
                found = f"{self._named('answer')} {shown(answer)} is the letter of one option and the text of another"
                raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: map answer_letter if it is a letter")
            return named
        if at is not None:
            return at
        if not options.texts:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} is empty: give the options")
        other = "map answer_index if it is a position"
        if letter:
            other = "map answer_letter if it is a letter"
        found = f"{self._named('answer')} {shown(answer)} is none of {self._named('options')}"
        if options.by_letter:
            found, other = f"{found} (fields {', '.join(options.letters)})", "give the letter of one that is there"
        raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct it, or {other}")

    def _letter(self, options: _Options) -> int:
        value = self._get("answer_letter")
        letter = letter_of(value) if isinstance(value, str) else None
        if letter is None:
            found = "missing" if value is None else shown(value)
            hint = "give the letter of the right option, as A, (A) or a.; a test split may hold none"
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named('answer_letter')} is {found}: {hint}")
        if not options.texts:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} is empty: give the options")
        if letter not in options.letters:
            found = f"{self._named('answer_letter')} is {shown(value)}, but there are {len(options.texts)} options"
            found = f"{found}: {', '.join(options.letters)}"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct it")
        return options.letters.index(letter)

    def _index(self, options: _Options) -> int:
        value, count = self._get("answer_index"), len(options.texts)
        if isinstance(value, str) and (match := _POSITION.fullmatch(value)):
            value = int(match[1])
        if isinstance(value, bool) or not isinstance(value, int):
            found = "missing" if value is None else shown(value)
            raise Unfit(ReasonKind.BAD_RECORD, f"{self._named('answer_index')} is {found}: give an integer, from 0")
        if not count:
            raise Unfit(ReasonKind.NO_DISTRACTOR, f"{self._named('options')} is empty: give the options")
        if not 0 <= value < count and value not in options.places:
            found = f"{self._named('answer_index')} is {shown(value)}, but there are {count} options, counted from 0"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: correct it")
        if value >= count or options.places[value] != value:
            found = f"{self._named('answer_index')} is {value}, and one of the fields before it is empty"
            hint = "whether that is counted is not known; give a letter and map answer_letter"
            raise Unfit(ReasonKind.AMBIGUOUS_ANSWER, f"{found}: {hint}")
        return value

    # The question and its images -------------------------------------------------------------------------------------

    def _images(self) -> tuple[AnyImage, ...]:
        names = self.layout.names("image")
        if self.no_image:
            found = f"{self._named('image')} is in no record of the file: correct the name, or do not map image"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if "image" not in self.layout and self._get("image") is None:
            names = numbered(self.record) or names
        values = [self.record.get(name) for name in names]
        # Fewer images than fields: those that are left over are the last ones, as tags count them.
        while values and values[-1] is None:
            values.pop()
        images: list[AnyImage] = []
        for name, value in zip(names, values, strict=False):
            called = self._named("image") if len(names) == 1 else f"field {shown(name)} (image)"
            if isinstance(value, list):
                images += [self.image(entry, f"{called}[{at}]") for at, entry in enumerate(value)]
            else:
                images.append(self.image(value, called))
        return tuple(images)

    def _parts(self) -> tuple[Part, ...]:
        """Images where the tags are, or before the question where there is no tag. The text stays as it is."""
        question = question_of(self._get("question"), self._named("question"))
        if self.layout.options_in_question:
            question = question_of(split_options(question)[0], f"{self._named('question')} before its options")
        return placed(question, self._images(), self._named("question"))


def _is_empty(value: object) -> bool:
    """Whether a cell holds nothing: NaN is what pandas has there."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
