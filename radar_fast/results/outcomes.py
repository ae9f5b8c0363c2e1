"""Records -> outcomes: the few numbers that are kept of each sample, in an order that the records' does not change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from radar_fast.errors import ResultsError
from radar_fast.results import measures
from radar_fast.results.facets import KEYS
from radar_fast.scores import judge

__all__ = ["Outcome", "RecordLike", "Table", "collect"]


class RecordLike(Protocol):
    """What is read of a record; :class:`radar_fast.results.record.Record` has it."""

    @property
    def id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def directory(self) -> str: ...
    @property
    def ability(self) -> str: ...
    @property
    def status(self) -> str:
        """``scored`` or ``unscored``."""
        ...

    @property
    def reason_kind(self) -> str | None: ...
    @property
    def candidates(self) -> Sequence[str]: ...
    @property
    def answer(self) -> int | None: ...
    @property
    def logits(self) -> Sequence[Sequence[float]]:
        """One sequence for each candidate, with one number for each token."""
        ...

    @property
    def logprobs(self) -> Sequence[Sequence[float]]: ...
    @property
    def tokens_computed(self) -> int: ...
    @property
    def tokens_minimal(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def metadata(self) -> Mapping[str, str | int]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a record."""

    task: str
    id: str
    directory: str
    ability: str
    scores: Mapping[str, float] | None
    """The sample's number for each of :data:`~radar_fast.results.measures.MEASURES`; None when unscored."""
    answer: int | None
    """Index of the right candidate; None when unscored."""
    chosen: int | None
    """Index of the candidate with the highest mean raw logit; None when unscored."""
    reason_kind: str | None
    tokens_computed: int
    tokens_minimal: int
    seconds: float
    facts: Mapping[str, str | int]
    """Of the metadata, what :mod:`radar_fast.results.facets` counts by."""

    @property
    def key(self) -> tuple[str, str]:
        """(task, id): unique in a run."""
        return self.task, self.id

    @property
    def sds(self) -> float | None:
        """Probability of the answer under the mean raw logits; None when unscored."""
        return None if self.scores is None else self.scores["sds"]


@dataclass(frozen=True, slots=True)
class Table:
    """The outcomes of a run, sorted by task and id; made by :func:`collect`."""

    outcomes: tuple[Outcome, ...]


def collect(records: Iterable[RecordLike]) -> Table:
    """Read the records once, and keep a few numbers of each.

    Raises ResultsError for a sample that comes twice, or is scored without usable scores.
    """
    outcomes = sorted(map(_outcome_of, records), key=lambda outcome: outcome.key)
    for one, next_one in pairwise(outcomes):
        if one.key == next_one.key:
            raise ResultsError(f"sample {one.id!r} of task {one.task!r} is in the records twice; keep one of them")
    return Table(tuple(outcomes))


def _outcome_of(record: RecordLike) -> Outcome:
    scores = chosen = None
    if record.status == "scored":
        try:
            if record.answer is None:
                raise ValueError("it has no answer")
            raw, normalised = judge(record.logits, record.answer), judge(record.logprobs, record.answer)
        except ValueError as error:
            raise ResultsError(
                f"sample {record.id!r} of task {record.task!r} is scored, but {error}; remove its line and resume"
            ) from error
        judged = measures.Judged(record.candidates, record.answer, record.logits, record.logprobs, raw, normalised)
        scores = {measure.name: measure.of(judged) for measure in measures.MEASURES}
        chosen = raw.chosen
    return Outcome(
        record.task,
        record.id,
        record.directory,
        record.ability,
        scores,
        None if scores is None else record.answer,
        chosen,
        record.reason_kind,
        record.tokens_computed,
        record.tokens_minimal,
        record.seconds,
        {key: record.metadata[key] for key in KEYS if key in record.metadata},
    )
