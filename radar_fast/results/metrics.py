"""Records -> the numbers of a run: SDS and accuracy per task, directory and ability, with confidence intervals.

Every number is derived from the token scores of the records (:mod:`radar_fast.scores`). Over samples it is the plain
mean of the scored ones ("micro"), but for directories whose tasks are files of MMBench or MMMU_Pro: there the
published scripts take the unweighted mean over the files ("macro"). An unscored sample is neither wrong nor zero: it
is in no mean, and counted by its reason. A mean over nothing is None, and a macro mean is over the tasks that have
one.

The order of the records does not matter, to the last bit: a resumed run has the same summary as one in a single go.
Records are read once, and a few numbers kept of each.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results.facets import KEYS, Facet, directory_facets, task_facets
from radar_fast.scores import judge

__all__ = [
    "Aggregation",
    "EngineTotals",
    "Entry",
    "RecordLike",
    "Row",
    "Summary",
    "Table",
    "collect",
    "draws_for",
    "engine_totals",
    "interval",
    "is_macro",
    "mean_of_means",
    "summarize",
]

Aggregation = Literal["macro", "micro"]

MACRO_BENCHMARKS = ("MMBench", "MMMU_Pro")

DRAWS_AT_ONCE = 1 << 18  # of the bootstrap: 2 MiB an array, which stays in the cache


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
    def answer(self) -> int | None: ...
    @property
    def logits(self) -> Sequence[Sequence[float]]:
        """One sequence a candidate, one number a token."""
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
class Row:
    """What is kept of a record."""

    task: str
    id: str
    directory: str
    ability: str
    scores: tuple[float, bool, float, bool] | None
    """sds, correct, sds_logprob, correct_logprob; None when unscored."""
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
    def sds(self) -> float | None:
        """Probability of the answer under the mean raw logits; None when unscored."""
        return None if self.scores is None else self.scores[0]


@dataclass(frozen=True, slots=True)
class Table:
    """Records reduced to what the numbers here need, sorted by task and id; made by :func:`collect`."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """The numbers of one task, directory or ability, or of everything. Shares are in 0..1; None without samples."""

    sds: float | None
    """Mean probability of the answer, from mean raw logits: the published score."""
    accuracy: float | None
    """Share of the scored samples whose answer has the highest mean raw logit."""
    sds_logprob: float | None
    """As ``sds``, from mean log-probabilities."""
    accuracy_logprob: float | None
    """As ``accuracy``, from mean log-probabilities."""
    sds_low: float | None
    """Lower end of the confidence interval of ``sds``; None without bootstrap."""
    sds_high: float | None
    """Upper end."""
    accuracy_low: float | None
    """Lower end of the confidence interval of ``accuracy``."""
    accuracy_high: float | None
    """Upper end."""
    scored: int
    """Samples that the means are over."""
    unscored: int
    """Samples left out."""
    aggregation: Aggregation
    """``micro``: mean over samples; ``macro``: unweighted mean over the tasks' means."""
    reasons: Mapping[str, int]
    """How many samples are unscored for which kind of reason, in alphabetical order."""
    facets: Mapping[str, Facet] = field(default_factory=dict)
    """Numbers that only this benchmark has, by name; see :mod:`radar_fast.results.facets`."""

    def to_dict(self) -> dict[str, object]:
        """For JSON; the keys are the fields, and for each facet its name."""
        fields = asdict(self)
        facets: dict[str, object] = fields.pop("facets")
        return fields | facets


@dataclass(frozen=True, slots=True)
class Summary:
    """All entries of a run, each mapping in alphabetical order."""

    tasks: Mapping[str, Entry]
    directories: Mapping[str, Entry]
    abilities: Mapping[str, Entry]
    overall: Entry

    def to_dict(self) -> dict[str, object]:
        """For JSON: tasks, directories, abilities, overall."""
        groups = {"tasks": self.tasks, "directories": self.directories, "abilities": self.abilities}
        named: dict[str, object] = {
            kind: {name: entry.to_dict() for name, entry in entries.items()} for kind, entries in groups.items()
        }
        return {**named, "overall": self.overall.to_dict()}


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """What the scoring cost, over all records, scored or not."""

    tokens_computed: int
    """Token positions that the language model computed, padding counted."""
    tokens_minimal: int
    """Every prefix once and every answer token once."""
    seconds: float
    """The time spent computing, from the records; a run that was resumed has the seconds of all its parts."""
    scored: int
    """Samples with a score."""
    samples_per_second: float | None
    """``scored / seconds``; None where no time is on record."""

    def to_dict(self) -> dict[str, object]:
        """For JSON; the keys are the fields."""
        return asdict(self)


def collect(records: Iterable[RecordLike]) -> Table:
    """Read the records once, for both :func:`summarize` and :func:`engine_totals`.

    Raises ResultsError for a sample that comes twice, or is scored without usable scores.
    """
    rows = sorted(map(_row_of, records), key=_key)
    for one, next_one in pairwise(rows):
        if _key(one) == _key(next_one):
            raise ResultsError(f"sample {one.id!r} of task {one.task!r} is in the records twice; keep one of them")
    return Table(tuple(rows))


def summarize(
    records: Iterable[RecordLike] | Table, *, bootstrap: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Summary:
    """The numbers of a run.

    Intervals are percentile bootstraps with ``bootstrap`` resamples of the scored samples (0: no intervals); a macro
    mean resamples within each of its tasks. The draws of an entry depend on ``seed``, its name and its own samples,
    not on what else is in the run. Raises UsageError for arguments out of range, ResultsError as :func:`collect`.
    """
    if bootstrap < 0 or seed < 0 or not 0 < confidence < 1:
        raise UsageError(
            "summarize takes bootstrap and seed from 0 up and confidence between 0 and 1, "
            f"found {bootstrap}, {seed} and {confidence}"
        )
    rows = (records if isinstance(records, Table) else collect(records)).rows

    def entry(name: str, members: Sequence[Row], aggregation: Aggregation) -> Entry:
        return _entry(members, aggregation, bootstrap, confidence, draws_for(seed, name))

    directories = _grouped(rows, lambda row: row.directory)
    return Summary(
        tasks={
            name: replace(entry(f"task {name}", group, "micro"), facets=task_facets(group))
            for name, group in _grouped(rows, _task).items()
        },
        directories={
            name: replace(
                entry(f"directory {name}", group, "macro" if is_macro(row.task for row in group) else "micro"),
                facets=directory_facets(group),
            )
            for name, group in directories.items()
        },
        abilities={
            name: entry(f"ability {name}", group, "micro")
            for name, group in _grouped(rows, lambda row: row.ability).items()
        },
        overall=entry("overall", rows, "micro"),
    )


def engine_totals(records: Iterable[RecordLike] | Table) -> EngineTotals:
    """What the scoring cost. Raises ResultsError as :func:`collect`."""
    rows = (records if isinstance(records, Table) else collect(records)).rows
    seconds = math.fsum(row.seconds for row in rows)
    scored = sum(row.scores is not None for row in rows)
    return EngineTotals(
        tokens_computed=sum(row.tokens_computed for row in rows),
        tokens_minimal=sum(row.tokens_minimal for row in rows),
        seconds=seconds,
        scored=scored,
        samples_per_second=scored / seconds if seconds > 0 else None,
    )


def is_macro(names: Iterable[str]) -> bool:
    """Whether a directory with task files of these names is averaged over its files, as published."""
    return any(benchmark in name for name in names for benchmark in MACRO_BENCHMARKS)


def draws_for(seed: int, name: str) -> np.random.Generator:
    """The random draws of what is called ``name``: its own stream, whatever else there is."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()])


def _row_of(record: RecordLike) -> Row:
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
        scores = (raw.probability, raw.correct, normalised.probability, normalised.correct)
        chosen = raw.chosen
    return Row(
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


def _key(row: Row) -> tuple[str, str]:
    return row.task, row.id


def _task(row: Row) -> str:
    return row.task


def _grouped(rows: Iterable[Row], name_of: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name_of(row), []).append(row)
    return dict(sorted(groups.items()))


def _entry(
    rows: Sequence[Row], aggregation: Aggregation, bootstrap: int, confidence: float, draws: np.random.Generator
) -> Entry:
    # A micro mean is a macro mean over a single group.
    groups = list(_grouped(rows, _task).values()) if aggregation == "macro" else [rows]
    scores = [kept for group in groups if (kept := [row.scores for row in group if row.scores is not None])]
    reasons = Counter(row.reason_kind or "unknown" for row in rows if row.scores is None)
    sds, accuracy, sds_logprob, accuracy_logprob = (mean_of_means(scores, column) for column in range(4))
    low: tuple[float | None, float | None] = (None, None)
    high = low
    if scores and bootstrap:
        low, high = interval(scores, bootstrap, confidence, draws)
    return Entry(
        sds=sds,
        accuracy=accuracy,
        sds_logprob=sds_logprob,
        accuracy_logprob=accuracy_logprob,
        sds_low=low[0],
        sds_high=high[0],
        accuracy_low=low[1],
        accuracy_high=high[1],
        scored=sum(map(len, scores)),
        unscored=reasons.total(),
        aggregation=aggregation,
        reasons=dict(sorted(reasons.items())),
    )


def mean_of_means(groups: Sequence[Sequence[tuple[float, ...]]], column: int) -> float | None:
    """The unweighted mean over the groups of each one's mean of a column; None without groups. No group is empty."""
    means = [math.fsum(scores[column] for scores in group) / len(group) for group in groups]
    return math.fsum(means) / len(means) if means else None


def interval(
    groups: Sequence[Sequence[tuple[float, ...]]], bootstrap: int, confidence: float, draws: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Percentile bootstrap of :func:`mean_of_means` in the first two columns: (low, low), (high, high).

    Resamples whole rows, within each group.
    """
    means = np.zeros((2, bootstrap))
    for group in groups:
        columns = np.array([scores[:2] for scores in group], dtype=np.float64).T
        means += _resampled_means(columns, bootstrap, draws) / len(groups)
    outside = (1 - confidence) / 2
    (first_low, second_low), (first_high, second_high) = np.quantile(means, [outside, 1 - outside], axis=1).tolist()
    return (first_low, second_low), (first_high, second_high)


def _resampled_means(columns: NDArray[np.float64], bootstrap: int, draws: np.random.Generator) -> NDArray[np.float64]:
    """Means of ``bootstrap`` resamples of (2, samples) -> (2, bootstrap), a bounded number of draws at a time."""
    samples = columns.shape[1]
    step = max(1, DRAWS_AT_ONCE // samples)
    means = np.empty((2, bootstrap))
    for start in range(0, bootstrap, step):
        stop = min(start + step, bootstrap)
        picked = draws.integers(samples, size=(stop - start, samples))
        for row in range(2):
            means[row, start:stop] = columns[row].take(picked).mean(axis=1)
    return means
