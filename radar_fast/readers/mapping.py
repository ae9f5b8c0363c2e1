"""Records under the user's field names -> samples: what JSON lines and parquet files have in common.

``fields`` maps our names to the file's:

    question       str; ``<image>`` or ``<image n>`` says where the images go, else they come first
    image          an image, or a list of images; absent or null: no image
    options        list of all answer options
    answer         the text of the right one, compared after ``str()``
    answer_index   its position among the options, from 0; used only where it is mapped
    distractors    list of wrong answers, in place of ``options``
    id, task       default to ``<file>:<line>`` and the file's name without its ending
    ability        defaults to ``other``
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from radar_fast.errors import UsageError
from radar_fast.readers.extras import FIELD, NO_EXTRAS, extras_of
from radar_fast.readers.records import Unfit, UniqueIds, check_candidates, kind_of, question_of, shown, text_of
from radar_fast.sample import AnyImage, Part, Reason, ReasonKind, Sample

__all__ = ["CONTENT", "FIELDS", "MappedRecord", "Place", "check_fields"]

CONTENT = ("question", "image", "options", "answer", "answer_index", "distractors")
"""Our names for what a question says."""
FIELDS = (*CONTENT, "id", "task", "ability")
"""Our names, the keys of a field mapping."""

_TAG = re.compile(r"<image(?: (\d+))?>")


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


@dataclass(slots=True)
class MappedRecord:
    """One record on its way to a sample."""

    fields: Mapping[str, str]
    """Our field names -> the file's; the others are called the same."""
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
        try:
            # One after the other: what is known before something fails still places the sample in the results.
            task = self._name("task") or task
            ability = self._name("ability") or ability
            wanted = self._name("id") or wanted
            if self.problem is not None:
                raise self.problem
            extras = extras_of(self.record.get(FIELD))
            candidates, answer = self._candidates()
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
        question = self._get("question")
        metadata = {"question": question if isinstance(question, str) else "", **extras.metadata, **place.metadata}
        # Distractors come without an order, so the answer was put first.
        ordered = reason is None and (not self._distracted if extras.ordered is None else extras.ordered)
        return Sample(
            unique, task, place.directory, ability, parts, candidates, answer, metadata, reason, ordered=ordered
        )

    @property
    def _distracted(self) -> bool:
        return self._mapped("distractors") or self._get("options") is None

    def _mapped(self, ours: str) -> bool:
        return ours in self.fields

    def _get(self, ours: str) -> object:
        return self.record.get(self.fields.get(ours, ours))

    def _named(self, ours: str) -> str:
        """The field as messages call it."""
        theirs = self.fields.get(ours, ours)
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

    def _images(self) -> tuple[AnyImage, ...]:
        value = self._get("image")
        if self.no_image:
            found = f"{self._named('image')} is in no record of the file: correct the name, or do not map image"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if value is None:
            return ()
        if isinstance(value, list):
            return tuple(self.image(entry, f"{self._named('image')}[{at}]") for at, entry in enumerate(value))
        return (self.image(value, self._named("image")),)

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
        return tuple(part for part in parts if part != "")

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
