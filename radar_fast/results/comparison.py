"""Two result folders -> what changed between them, sample by sample.

A difference is the second run's number less the first's, over the samples that both have scored. Those of one sample
go together, so what is hard about a sample counts for neither side, and a difference can be told from chance with far
fewer samples than two separate intervals would need. The interval is a percentile bootstrap over the pairs; a directory
that is averaged over its files (:mod:`radar_fast.results.metrics`) resamples within each of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results.folder import ResultFolder, differences
from radar_fast.results.journal import read_records
from radar_fast.results.metrics import Aggregation, Row, Table, collect, draws_for, interval, is_macro, mean_of_means
from radar_fast.results.record import Key, Record

__all__ = ["Comparison", "Difference", "Run", "compare", "compare_tables", "read_run"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The numbers of one task, directory or ability, or of everything. None without pairs."""

    first_sds: float | None
    """The first run's, over the pairs."""
    second_sds: float | None
    """The second run's, over the same."""
    sds: float | None
    """The second less the first."""
    sds_low: float | None
    """Lower end of the difference's confidence interval; None without bootstrap."""
    sds_high: float | None
    """Upper end."""
    first_accuracy: float | None
    """As for ``sds``."""
    second_accuracy: float | None
    """As for ``sds``."""
    accuracy: float | None
    """As for ``sds``."""
    accuracy_low: float | None
    """As for ``sds``."""
    accuracy_high: float | None
    """As for ``sds``."""
    paired: int
    """Samples that both runs have scored: what all of this is over."""
    only_first: int
    """Samples that the first run alone has scored; the second has them unscored, or not at all."""
    only_second: int
    """The reverse."""
    aggregation: Aggregation
    """``micro``: mean over pairs; ``macro``: unweighted mean over the tasks' means."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between two runs, each mapping in alphabetical order."""

    tasks: Mapping[str, Difference]
    directories: Mapping[str, Difference]
    abilities: Mapping[str, Difference]
    overall: Difference
    first: str = ""
    """The first run's folder."""
    second: str = ""
    """The second run's folder."""
    differing: tuple[str, ...] = ()
    """In what the two runs differ, a line each."""

    def to_dict(self) -> dict[str, object]:
        """For JSON; the keys are the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """What is read of a result folder."""

    path: Path
    """The folder."""
    table: Table
    """Its records."""
    identity: Mapping[str, Any]
    """What its ``run.json`` says of model, data, protocol, engine and conditions."""
    model: str | None
    """The checkpoint folder, as it was given."""
    questions: Mapping[Key, int] = field(repr=False)
    """(task, id) -> a hash of the question as published; for samples that have one."""


def compare(
    first: Path,
    second: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two result folders.

    Args:
        first: a result folder.
        second: another, or the same where ``pairs`` sets tasks of one run against each other.
        pairs: (task of the first, task of the second): compare these alone, by the samples' ids. Without them a task
            is compared with the one of the same name.
        bootstrap: resamples of each interval; 0 for none.
        seed: of the resamples.
        confidence: of the intervals, in 0..1.

    Raises:
        UsageError: an argument out of range, a task in ``pairs`` that is not there, or one that comes twice.
        ResultsError: a folder cannot be read, the two share no scored sample, or the same (task, id) is another
            question in each.
    """
    if bootstrap < 0 or seed < 0 or not 0 < confidence < 1:
        raise UsageError(
            "compare takes bootstrap and seed from 0 up and confidence between 0 and 1, "
            f"found {bootstrap}, {seed} and {confidence}"
        )
    one = read_run(first)
    other = one if second == first else read_run(second)
    if not pairs:
        _require_same_questions(one, other)
    rows = _renamed(one.table.rows, other.table.rows, pairs)
    comparison = compare_tables(*rows, bootstrap=bootstrap, seed=seed, confidence=confidence)
    if not comparison.overall.paired:
        raise ResultsError(
            f"{first} and {second}: no sample is scored in both, so there is nothing to compare: "
            "name two runs on the same benchmark"
        )
    return Comparison(
        comparison.tasks,
        comparison.directories,
        comparison.abilities,
        comparison.overall,
        str(first),
        str(second),
        tuple(_differing(one, other)),
    )


def read_run(path: Path) -> Run:
    """A result folder's records, and what they are of. Raises ResultsError where it cannot be read."""
    folder = ResultFolder(path)
    run = folder.record()
    questions: dict[Key, int] = {}

    def noted() -> Iterator[Record]:
        for record in read_records(folder.samples):
            question = record.metadata.get("question")
            if question:
                questions[record.key] = hash(question)
            yield record

    identity, configuration = run.get("identity"), run.get("configuration")
    if not isinstance(identity, dict) or not isinstance(configuration, dict):
        raise ResultsError(f"{folder.run}: has no identity and configuration; another program has written to it")
    model = configuration.get("model")
    return Run(path, collect(noted()), identity, model if isinstance(model, str) else None, questions)


def compare_tables(
    first: Sequence[Row], second: Sequence[Row], *, bootstrap: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Comparison:
    """Compare the rows of two runs by (task, id); the draws of an entry depend on ``seed``, its name and its pairs.

    Directory and ability are the first run's.
    """
    ours, theirs = ({(row.task, row.id): row for row in rows} for rows in (first, second))
    couples = [_Couple(ours.get(key), theirs.get(key)) for key in sorted(ours.keys() | theirs.keys())]

    def difference(name: str, members: Sequence[_Couple], aggregation: Aggregation = "micro") -> Difference:
        draws = draws_for(seed, f"difference {name}")
        low: tuple[float | None, float | None] = (None, None)
        high = low
        groups = _grouped(members, "task").values() if aggregation == "macro" else [members]
        scores = [kept for group in groups if (kept := [pair for couple in group if (pair := couple.scores)])]
        if scores and bootstrap:
            low, high = interval(scores, bootstrap, confidence, draws)
        sds, accuracy, first_sds, first_accuracy, second_sds, second_accuracy = (
            mean_of_means(scores, column) for column in range(6)
        )
        return Difference(
            first_sds=first_sds,
            second_sds=second_sds,
            sds=sds,
            sds_low=low[0],
            sds_high=high[0],
            first_accuracy=first_accuracy,
            second_accuracy=second_accuracy,
            accuracy=accuracy,
            accuracy_low=low[1],
            accuracy_high=high[1],
            paired=sum(map(len, scores)),
            only_first=sum(couple.only_first for couple in members),
            only_second=sum(couple.only_second for couple in members),
            aggregation=aggregation,
        )

    return Comparison(
        tasks={name: difference(f"task {name}", group) for name, group in _grouped(couples, "task").items()},
        directories={
            name: difference(
                f"directory {name}", group, "macro" if is_macro(couple.row.task for couple in group) else "micro"
            )
            for name, group in _grouped(couples, "directory").items()
        },
        abilities={name: difference(f"ability {name}", group) for name, group in _grouped(couples, "ability").items()},
        overall=difference("overall", couples),
    )


@dataclass(frozen=True, slots=True)
class _Couple:
    """One sample in two runs; at least one of them has it."""

    first: Row | None
    second: Row | None

    @property
    def row(self) -> Row:
        row = self.first or self.second
        if row is None:
            raise ValueError("a couple of nothing")
        return row

    @property
    def scores(self) -> tuple[float, ...] | None:
        """Difference of sds and of accuracy, then sds and accuracy of each; None unless both have scored it."""
        if self.first is None or self.second is None or self.first.scores is None or self.second.scores is None:
            return None
        (first_sds, first_correct), (second_sds, second_correct) = self.first.scores[:2], self.second.scores[:2]
        gained = (second_sds - first_sds, float(second_correct) - float(first_correct))
        return (*gained, first_sds, float(first_correct), second_sds, float(second_correct))

    @property
    def only_first(self) -> bool:
        return _is_scored(self.first) and not _is_scored(self.second)

    @property
    def only_second(self) -> bool:
        return _is_scored(self.second) and not _is_scored(self.first)


def _is_scored(row: Row | None) -> bool:
    return row is not None and row.scores is not None


def _grouped(couples: Sequence[_Couple], by: str) -> dict[str, list[_Couple]]:
    groups: dict[str, list[_Couple]] = {}
    for couple in couples:
        groups.setdefault(getattr(couple.row, by), []).append(couple)
    return dict(sorted(groups.items()))


def _renamed(
    first: Sequence[Row], second: Sequence[Row], pairs: Sequence[tuple[str, str]]
) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows of the paired tasks alone, each pair under one name; without pairs all rows as they are."""
    if not pairs:
        return first, second
    renamed = []
    for rows, side in ((first, 0), (second, 1)):
        tasks = [pair[side] for pair in pairs]
        for task in tasks:
            if tasks.count(task) > 1:
                raise UsageError(f"--pair: task {task!r} comes twice on one side: pair it once a comparison")
            if all(row.task != task for row in rows):
                known = sorted({row.task for row in rows})
                raise UsageError(f"--pair: no task {task!r} in the {('first', 'second')[side]} run: it has {known}")
        names = {pair[side]: f"{pair[0]} -> {pair[1]}" for pair in pairs}
        renamed.append([replace(row, task=names[row.task]) for row in rows if row.task in names])
    return renamed[0], renamed[1]


def _require_same_questions(first: Run, second: Run) -> None:
    for key in sorted(first.questions.keys() & second.questions.keys()):
        if first.questions[key] != second.questions[key]:
            task, name = key
            raise ResultsError(
                f"{first.path} and {second.path}: sample {name!r} of task {task!r} is another question in each: these "
                "are runs on different benchmarks; name two on the same, or set tasks against each other with --pair"
            )


def _differing(first: Run, second: Run) -> Iterator[str]:
    """In what the identities of two runs differ, a line each."""
    for part in sorted(first.identity.keys() | second.identity.keys()):
        ours, theirs = first.identity.get(part), second.identity.get(part)
        if ours == theirs:
            continue
        if part == "model":
            # Fingerprints of many files tell that they differ, and the folders' names which is which.
            yield f"model: {first.model or 'none'} and {second.model or 'none'}"
        else:
            yield from differences(ours, theirs, part)
