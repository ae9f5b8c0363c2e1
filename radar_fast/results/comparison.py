"""Two result folders -> what changed between them, sample by sample.

A difference is the second run's number less the first's, over the samples that both have scored. Those of one sample
go together, so what is hard about a sample counts for neither side, and a difference can be told from chance with far
fewer samples than two separate intervals would need. The interval is that of the pairs' mean difference
(:mod:`radar_fast.results.intervals`), by clusters; there is none over fewer than
:data:`~radar_fast.results.intervals.LEAST` of them.

Of many tasks some differ by chance: p-values are corrected by Holm's procedure over the tasks, over the directories and
over the abilities, each for itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results import measures
from radar_fast.results.clusters import Links, cluster_codes
from radar_fast.results.difference import Change, Comparison, Difference
from radar_fast.results.differing import told_differences
from radar_fast.results.entries import is_macro
from radar_fast.results.folder import ResultFolder
from radar_fast.results.holm import holm
from radar_fast.results.intervals import Design, check_confidence, cluster_means
from radar_fast.results.journal import read_records
from radar_fast.results.outcomes import Outcome, Table, collect
from radar_fast.results.record import Key, Record
from radar_fast.results.summary import Aggregation

__all__ = ["Run", "change_of", "compare", "compare_tables", "corrected", "read_run"]


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
    samples: int | None = None
    """How many the benchmark has; None where its ``run.json`` does not say."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options as given."""

    @property
    def missing(self) -> int | None:
        """How many of them it lacks as yet."""
        return None if self.samples is None else max(0, self.samples - len(self.table.outcomes))


def compare(
    first: str | Path,
    second: str | Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    confidence: float | None = 0.95,
) -> Comparison:
    """Compare two result folders.

    Args:
        first: a result folder.
        second: another, or the same where ``pairs`` sets tasks of one run against each other.
        pairs: (task of the first, task of the second): compare these alone, by the samples' ids. Without them a task
            is compared with the one of the same name.
        confidence: of the intervals, in 0..1; None for none. A difference is significant at the level that this leaves.

    Raises:
        UsageError: an argument out of range, a task in ``pairs`` that is not there, or one that comes twice.
        ResultsError: a folder cannot be read, the two share no scored sample, or the same (task, id) is another
            question in each.
    """
    check_confidence("compare", confidence)
    one = read_run(first)
    other = one if Path(second) == Path(first) else read_run(second)
    if not pairs:
        _require_same_questions(one, other)
    outcomes = _renamed(one.table.outcomes, other.table.outcomes, pairs)
    comparison = compare_tables(*outcomes, confidence=confidence)
    if not comparison.overall.paired:
        raise ResultsError(
            f"{first} and {second}: no sample is scored in both, so there is nothing to compare: "
            "name two runs on the same benchmark"
        )
    return replace(
        comparison,
        first=str(first),
        second=str(second),
        differing=tuple(_differing(one, other)),
        first_missing=one.missing,
        second_missing=other.missing,
    )


def read_run(path: str | Path) -> Run:
    """A result folder's records, and what they are of. Raises ResultsError where it cannot be read."""
    folder = ResultFolder(path)
    manifest = folder.manifest()
    questions: dict[Key, int] = {}

    def noted() -> Iterator[Record]:
        for record in read_records(folder.samples):
            question = record.metadata.get("question")
            if question:
                questions[record.key] = hash(question)
            yield record

    return Run(
        folder.path,
        collect(noted()),
        manifest.identity,
        manifest.model,
        questions,
        manifest.samples,
        manifest.configuration,
    )


def compare_tables(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    *,
    confidence: float | None = 0.95,
) -> Comparison:
    """Compare the outcomes of two runs by (task, id). Directory and ability are the first run's."""
    check_confidence("compare", confidence)
    ours, theirs = ({outcome.key: outcome for outcome in outcomes} for outcomes in (first, second))
    couples = [_Couple(ours.get(key), theirs.get(key)) for key in sorted(ours.keys() | theirs.keys())]

    def differences(by: str) -> dict[str, Difference]:
        found = {}
        for name, group in _grouped(couples, by).items():
            macro = by == "directory" and is_macro(couple.either.task for couple in group)
            found[name] = _difference(group, "macro" if macro else "micro", confidence)
        return corrected(found)

    [overall] = corrected({"overall": _difference(couples, "micro", confidence)}).values()
    return Comparison(differences("task"), differences("directory"), differences("ability"), overall)


def corrected(differences: Mapping[str, Difference]) -> dict[str, Difference]:
    """The same with Holm's p-values, for each measure over all of them."""
    found = dict(differences)
    for kind in measures.compared():
        ps = {name: p for name, each in found.items() if (p := each.changes[kind].p) is not None}
        for name, p in zip(ps, holm(list(ps.values())), strict=True):
            changes = {**found[name].changes, kind: replace(found[name].changes[kind], p_holm=p)}
            found[name] = replace(found[name], changes=changes)
    return found


def _difference(members: "Sequence[_Couple]", aggregation: Aggregation, confidence: float | None) -> Difference:
    scores = [couple.scores for couple in members]
    places = [place for place, each in enumerate(scores) if each is not None]
    pairs = [each for each in scores if each is not None]
    clusters = cluster_codes(couple.links for couple in members)[places]
    tasks = None
    if aggregation == "macro":
        tasks = np.unique([members[place].either.task for place in places], return_inverse=True)[1].astype(np.intp)
    design = Design.of(clusters, tasks)
    changes = {}
    for kind in measures.compared():
        before, after = (np.array([pair[side][kind] for pair in pairs], np.float64) for side in (0, 1))
        changes[kind] = change_of(design, before, after, confidence)
    return Difference(
        changes=changes,
        paired=len(pairs),
        only_first=sum(couple.only_first for couple in members),
        only_second=sum(couple.only_second for couple in members),
        aggregation=aggregation,
        clusters=design.clusters,
    )


def change_of(
    design: Design, before: NDArray[np.float64], after: NDArray[np.float64], confidence: float | None
) -> Change:
    """What became of a measure: (pairs,) numbers of the first run, and of the second, in clusters."""
    first, second = design.mean(before), design.mean(after)
    [gained] = cluster_means(design, [after - before])
    if gained is None:
        return Change(None, None, None, None, None)
    if confidence is None:
        return Change(first, second, gained.value, None, None)
    low, high = gained.interval(confidence)
    return Change(first, second, gained.value, low, high, gained.p, None, gained.detectable(confidence), 1 - confidence)


@dataclass(frozen=True, slots=True)
class _Couple:
    """One sample in two runs; at least one of them has it."""

    first: Outcome | None
    second: Outcome | None

    @property
    def either(self) -> Outcome:
        outcome = self.first or self.second
        if outcome is None:
            raise ValueError("a couple of nothing")
        return outcome

    @property
    def links(self) -> Links:
        """Of either run: one that was asked without its images does not know them."""
        return (self.first.links if self.first else ()) + (self.second.links if self.second else ())

    @property
    def scores(self) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
        """The scores of each; None unless both have scored it."""
        if self.first is None or self.second is None or self.first.scores is None or self.second.scores is None:
            return None
        return self.first.scores, self.second.scores

    @property
    def only_first(self) -> bool:
        return _is_scored(self.first) and not _is_scored(self.second)

    @property
    def only_second(self) -> bool:
        return _is_scored(self.second) and not _is_scored(self.first)


def _is_scored(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.scores is not None


def _grouped(couples: Sequence[_Couple], by: str) -> dict[str, list[_Couple]]:
    groups: dict[str, list[_Couple]] = {}
    for couple in couples:
        groups.setdefault(getattr(couple.either, by), []).append(couple)
    return dict(sorted(groups.items()))


def _renamed(
    first: Sequence[Outcome], second: Sequence[Outcome], pairs: Sequence[tuple[str, str]]
) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
    """The outcomes of the paired tasks alone, each pair under one name; without pairs all of them unchanged."""
    if not pairs:
        return first, second
    renamed = []
    for outcomes, side in ((first, 0), (second, 1)):
        tasks = [pair[side] for pair in pairs]
        for task in tasks:
            if tasks.count(task) > 1:
                raise UsageError(f"--pair: task {task!r} comes twice on one side: pair it once per comparison")
            if all(outcome.task != task for outcome in outcomes):
                known = sorted({outcome.task for outcome in outcomes})
                raise UsageError(f"--pair: no task {task!r} in the {('first', 'second')[side]} run: it has {known}")
        names = {pair[side]: f"{pair[0]} -> {pair[1]}" for pair in pairs}
        renamed.append([replace(one, task=names[one.task]) for one in outcomes if one.task in names])
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
    """In what the identities of two runs differ, one line each."""
    for part in sorted(first.identity.keys() | second.identity.keys()):
        ours, theirs = first.identity.get(part), second.identity.get(part)
        if ours == theirs or part == "version":
            continue
        if part == "model":
            # Fingerprints of many files tell that they differ, and the folders' names which is which.
            yield f"model: {first.model or 'none'} and {second.model or 'none'}"
        else:
            yield from told_differences({part: ours}, {part: theirs}, first.options, second.options)
