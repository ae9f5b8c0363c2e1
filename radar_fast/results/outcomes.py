"""Records -> outcomes: the few numbers that are kept of each sample, in an order that the records' does not change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from radar_fast.errors import ResultsError
from radar_fast.results import measures
from radar_fast.results.clusters import Links, links_of
from radar_fast.results.facets import KEYS
from radar_fast.results.judged import Gatherer

__all__ = ["Outcome", "RecordLike", "Table", "collect", "unusable"]


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
    @property
    def images(self) -> Sequence[str] | None:
        """A digest of each image; None where that is not known."""
        ...


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
    candidates: int = 2
    """How many it has."""
    links: Links = ()
    """What puts it into a cluster with others: see :mod:`radar_fast.results.clusters`."""

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
    outcomes: list[Outcome] = []
    scored: list[int] = []
    gathered = Gatherer()
    for record in records:
        if record.status == "scored":
            try:
                gathered.add(record.candidates, record.answer, record.logits, record.logprobs)
            except ValueError as error:
                raise unusable(record.task, record.id, error) from error
            scored.append(len(outcomes))
        outcomes.append(_unscored(record))
    try:
        judged = gathered.judged()
    except ValueError as error:
        bad = outcomes[scored[error.args[1]]]
        raise unusable(bad.task, bad.id, error) from error
    columns = {measure.name: measure.of(judged).tolist() for measure in measures.MEASURES}
    rows = zip(scored, judged.answers.tolist(), judged.chosen.tolist(), strict=True)
    for number, (place, answer, chosen) in enumerate(rows):
        scores = {name: column[number] for name, column in columns.items()}
        outcomes[place] = replace(outcomes[place], scores=scores, answer=answer, chosen=chosen)
    outcomes.sort(key=lambda outcome: outcome.key)
    for one, next_one in pairwise(outcomes):
        if one.key == next_one.key:
            raise ResultsError(f"sample {one.id!r} of task {one.task!r} is in the records twice; keep one of them")
    return Table(tuple(outcomes))


def unusable(task: str, name: str, error: ValueError) -> ResultsError:
    """What to raise for a scored sample without usable scores."""
    return ResultsError(f"sample {name!r} of task {task!r} is scored, but {error.args[0]}; remove its line and resume")


def _unscored(record: RecordLike) -> Outcome:
    """What is kept of a record before its scores are looked at."""
    return Outcome(
        task=record.task,
        id=record.id,
        directory=record.directory,
        ability=record.ability,
        scores=None,
        answer=None,
        chosen=None,
        reason_kind=record.reason_kind,
        tokens_computed=record.tokens_computed,
        tokens_minimal=record.tokens_minimal,
        seconds=record.seconds,
        facts={key: record.metadata[key] for key in KEYS if key in record.metadata},
        candidates=len(record.candidates),
        links=links_of(record.task, record.directory, record.id, record.images, record.metadata),
    )
