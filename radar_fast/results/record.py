"""One line of the journal: what it says of a sample, and line <-> :class:`Record`.

A line keeps everything that the summary and the exports need, token scores first: all other numbers in it can be
computed again from those. Whatever text a benchmark holds, lone surrogates included, is read back as it was.
"""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Literal

from radar_fast.errors import ResultsError
from radar_fast.sample import PASSING, AnyImage, Scored
from radar_fast.util.codec import decode, encode
from radar_fast.util.pickling import pickles_fast

__all__ = ["FORMAT", "Key", "Record", "json_of", "line_of", "record_from", "record_of"]

FORMAT = 1
"""Of a line; raised when an older reader could misread it. A line without ``format`` is of this one."""

Key = tuple[str, str]
"""(task, id)."""
TokenScores = tuple[tuple[float, ...], ...]


@pickles_fast
@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. The fields are the line's keys, beside ``format``; tuples are lists there."""

    id: str
    """The sample's id, unique within its task."""
    task: str
    """What the SDS is averaged over: the data file's name."""
    directory: str
    """The group of tasks it belongs to."""
    ability: str
    """``perception``, ``reasoning``, or a name given by the user."""
    status: Literal["scored", "unscored"]
    """``unscored`` is neither wrong nor zero."""
    reason: str | None
    """Why it is unscored: one line to read."""
    reason_kind: str | None
    """Why it is unscored: a :class:`~radar_fast.sample.ReasonKind` to count by."""
    candidates: tuple[str, ...]
    """The answer and its distractors, in the order in which they were scored."""
    answer: int | None
    """Index of the answer in ``candidates``; None where the data leave it unknown, never for a scored sample."""
    logits: TokenScores
    """Raw logits: one tuple for each candidate, with one fp32 value for each token; empty when unscored, but for
    those of ``sample.ONLY_PUBLISHED``."""
    logprobs: TokenScores
    """Log-probabilities of the same tokens (natural, never above 0); empty when unscored, but for
    those of ``sample.ONLY_PUBLISHED``."""
    sds: float | None
    """Probability of the answer under the mean raw logits; None when unscored."""
    sds_logprob: float | None
    """The same under the mean log-probabilities."""
    correct: bool | None
    """Whether the answer has the highest mean raw logit; None when unscored."""
    correct_logprob: bool | None
    """The same under the mean log-probabilities."""
    tokens_computed: int
    """Token positions that the language model computed for it, padding counted."""
    tokens_minimal: int
    """The least positions that any method must compute for this sample alone."""
    seconds: float
    """Its share of the time its batch took to compute."""
    metadata: Mapping[str, str | int]
    """What exports need: ``question`` as published, ``index`` in its file, ``file``."""
    images: tuple[str, ...] | None = None
    """A digest of each image's name below the data folder, or of its bytes where it lies inside a data file: samples
    that share one show the same image. None in a line of an earlier version."""

    @property
    def key(self) -> Key:
        """(task, id): unique in a journal."""
        return self.task, self.id

    @property
    def may_pass(self) -> bool:
        """Whether it is unscored for a reason that may be gone by the next run: a later line may then replace it."""
        return self.status == "unscored" and self.reason_kind in PASSING

    def repeats(self, other: "Record") -> bool:
        """Whether both say the same, but for what depends on how the sample was computed."""
        same = replace(self, seconds=other.seconds, tokens_computed=other.tokens_computed, images=other.images)
        return same == other


def record_of(scored: Scored, root: str | Path | None = None) -> Record:
    """The line for what an engine returned.

    ``root`` is the data folder, so that a line says the same wherever that lies; None: images are known by their path.

    Raises ResultsError for what no line can say: a score that is infinite or not a number (JSON has none; an engine
    returns such a sample as unscored), or scores that do not match the sample's candidates.
    """
    sample = scored.sample
    reason = scored.reason or sample.reason
    logits: TokenScores = ()
    logprobs: TokenScores = ()
    sds = sds_logprob = correct = correct_logprob = None
    if reason is None or (scored.reason is None and scored.candidates):  # or scored for the published files alone
        where = f"sample {sample.id!r} of task {sample.task!r}"
        logits = tuple(tuple(map(float, candidate.logits)) for candidate in scored.candidates)
        logprobs = tuple(tuple(map(float, candidate.logprobs)) for candidate in scored.candidates)
        if problem := _problem_of_scores(sample.candidates, sample.answer, logits, logprobs):
            raise ResultsError(
                f"{where}: {problem}. Nothing was written for it; the engine has to return such a sample as unscored, "
                "with a reason"
            )
        try:
            raw, normalised = scored.verdict, scored.verdict_logprob
        except ValueError as error:
            raise ResultsError(f"{where}: {error}") from error
        if reason is None and raw is not None and normalised is not None:
            sds, correct = raw.probability, raw.correct
            sds_logprob, correct_logprob = normalised.probability, normalised.correct
    return Record(
        id=sample.id,
        task=sample.task,
        directory=sample.directory,
        ability=sample.ability,
        status="scored" if reason is None else "unscored",
        reason=None if reason is None else reason.detail,
        reason_kind=None if reason is None else reason.kind.value,
        candidates=sample.candidates,
        answer=sample.answer if 0 <= sample.answer < len(sample.candidates) else None,
        logits=logits,
        logprobs=logprobs,
        sds=sds,
        sds_logprob=sds_logprob,
        correct=correct,
        correct_logprob=correct_logprob,
        tokens_computed=int(scored.tokens_computed),
        tokens_minimal=int(scored.tokens_minimal),
        seconds=float(scored.seconds),
        metadata=sample.metadata,
        images=tuple(_image_digest(image, root) for image in sample.images),
    )


def _image_digest(image: AnyImage, root: str | Path | None) -> str:
    name = image.key if root is None else image.key.removeprefix(f"{os.path.abspath(root)}/")  # noqa: PTH100 - as readers
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def line_of(record: Record) -> bytes:
    """The record as JSON and a newline, in one line.

    Raises ResultsError for a number that JSON has no word for, and metadata other than text and whole numbers.
    """
    where = f"sample {record.id!r} of task {record.task!r}"
    numbers = (record.seconds, record.sds, record.sds_logprob)
    tokens = (token for scores in (record.logits, record.logprobs) for candidate in scores for token in candidate)
    if not all(number is None or math.isfinite(number) for number in (*numbers, *tokens)):
        raise ResultsError(
            f"{where}: a score or time is infinite or not a number, which JSON cannot hold; the engine has to return "
            "such a sample as unscored"
        )
    if not all(isinstance(value, str | int) for value in record.metadata.values()):
        raise ResultsError(f"{where}: metadata may hold text and whole numbers only, found {dict(record.metadata)}")
    value = {"format": FORMAT} | {field.name: getattr(record, field.name) for field in fields(record)}
    value["metadata"] = dict(record.metadata)
    if record.images is None:
        del value["images"]
    try:
        return encode(value)
    except ValueError as error:
        raise ResultsError(f"{where} cannot be written as JSON: {error}") from error


def json_of(line: bytes) -> object:
    """The JSON in a line. Raises ValueError for a line that is cut short or is not JSON."""
    if not line.endswith(b"\n"):
        raise ValueError("no newline at its end")
    return decode(line)


def record_from(value: object) -> Record:
    """The record that a line's JSON says; fields that :class:`Record` lacks are ignored.

    Raises ValueError, with what is wrong, for JSON that is not a record.
    """
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    if value.get("format", FORMAT) != FORMAT:
        raise ValueError(f"it is of format {value['format']!a:.40}, and this version reads format {FORMAT}")
    arguments = {}
    for name, is_right in _CHECKS.items():
        if name not in value:
            raise ValueError(f"it has no {name!r}")
        if not is_right(value[name]):
            raise ValueError(f"{name!r} has the wrong type")
        arguments[name] = value[name]
    arguments["candidates"] = tuple(value["candidates"])
    if (images := value.get("images")) is not None:
        if not _texts(images):
            raise ValueError("'images' has the wrong type")
        arguments["images"] = tuple(images)
    for name in ("logits", "logprobs"):
        arguments[name] = tuple(tuple(map(float, tokens)) for tokens in value[name])
    record = Record(**arguments)
    if record.status == "scored":
        problem = _problem_of_scores(record.candidates, record.answer, record.logits, record.logprobs)
        if problem:
            raise ValueError(problem)
    return record


def _problem_of_scores(
    candidates: Sequence[str], answer: int | None, logits: TokenScores, logprobs: TokenScores
) -> str | None:
    """What keeps these from being the scores of those candidates."""
    if answer is None or not 0 <= answer < len(candidates):
        return f"answer {answer} is not an index into its {len(candidates)} candidates"
    if not len(candidates) == len(logits) == len(logprobs):
        return f"{len(candidates)} candidates, but scores of {len(logits)} and {len(logprobs)}"
    for index, (raw, normalised) in enumerate(zip(logits, logprobs, strict=True)):
        if not raw or len(raw) != len(normalised):
            return f"candidate {index} has {len(raw)} logits and {len(normalised)} log-probabilities"
        if not all(map(math.isfinite, raw)) or not all(map(math.isfinite, normalised)):
            return f"candidate {index} has a score that is infinite or not a number"
    return None


Check = Callable[[object], bool]
MOST = sys.float_info.max


def _one_of(*types: type) -> Check:
    return lambda value: type(value) in types  # not isinstance: true and false are not numbers


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _number(value: object) -> bool:
    # A whole number of more digits than a float has room for cannot be compared with one.
    return type(value) in (int, float) and -MOST <= value <= MOST  # type: ignore[operator] # it is a number


_TEXT = _one_of(str)
_TEXT_OR_NULL = _one_of(str, NoneType)
_FLAG_OR_NULL = _one_of(bool, NoneType)
_texts = _list_of(_TEXT)
_CHECKS: dict[str, Check] = {
    "id": _TEXT,
    "task": _TEXT,
    "directory": _TEXT,
    "ability": _TEXT,
    "status": lambda value: value in ("scored", "unscored"),
    "reason": _TEXT_OR_NULL,
    "reason_kind": _TEXT_OR_NULL,
    "candidates": _texts,
    "answer": lambda value: value is None or _count(value),
    "logits": _list_of(_list_of(_number)),
    "logprobs": _list_of(_list_of(_number)),
    "sds": lambda value: value is None or _number(value),
    "sds_logprob": lambda value: value is None or _number(value),
    "correct": _FLAG_OR_NULL,
    "correct_logprob": _FLAG_OR_NULL,
    "tokens_computed": _count,
    "tokens_minimal": _count,
    "seconds": _number,
    "metadata": lambda value: isinstance(value, dict) and all(isinstance(item, str | int) for item in value.values()),
}
