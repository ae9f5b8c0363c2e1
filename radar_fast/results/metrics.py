"""Records -> the numbers of a run: SDS and accuracy per task, directory and ability, with confidence intervals.

Every number is derived from the token scores of the records (:mod:`radar_fast.results.measures`). Over samples it is
the plain mean of the scored ones ("micro"), but for directories whose tasks are files of MMBench or MMMU_Pro: there
the published scripts take the unweighted mean over the files ("macro"). An unscored sample is neither wrong nor zero:
it is in no mean, and counted by its reason. A mean over nothing is None, and a macro mean is over the tasks that have
one.

The order of the records does not matter, to the last bit: a resumed run has the same summary as one in a single go.
Records are read once, and a few numbers kept of each (:mod:`radar_fast.results.outcomes`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from radar_fast.results import measures
from radar_fast.results.clusters import cluster_codes
from radar_fast.results.entries import entry_of, is_macro
from radar_fast.results.facets import directory_facets, task_facets
from radar_fast.results.intervals import Design, check_confidence
from radar_fast.results.outcomes import Outcome, RecordLike, Table, collect
from radar_fast.results.summary import Aggregation, EngineTotals, Entry, Summary

__all__ = ["is_macro", "summarize"]


def summarize(
    records: Iterable[RecordLike] | Table,
    *,
    confidence: float | None = 0.95,
    samples: int | None = None,
    engine: Mapping[str, object] | None = None,
) -> Summary:
    """The numbers of a run.

    Intervals are those of :mod:`radar_fast.results.intervals`: samples that share an image or a group are one cluster,
    and there is none over fewer than :data:`~radar_fast.results.intervals.LEAST` clusters, of a macro mean in any of
    its tasks.

    Args:
        records: read once.
        confidence: of the intervals, in 0..1; None for no intervals.
        samples: how many the benchmark has, where that is known.
        engine: what ``run.json`` says of the engine.

    Raises:
        UsageError: an argument is out of range.
        ResultsError: a sample comes twice, or is scored without usable scores.
    """
    check_confidence("summarize", confidence)
    outcomes = (records if isinstance(records, Table) else collect(records)).outcomes

    def entries(by: str) -> dict[str, Entry]:
        return {name: _entry(group, _aggregation(by, group), confidence) for name, group in _grouped(outcomes, by)}

    tasks, directories = entries("task"), entries("directory")
    for name, group in _grouped(outcomes, "task"):
        tasks[name] = replace(tasks[name], facets=task_facets(group))
    for name, group in _grouped(outcomes, "directory"):
        directories[name] = replace(directories[name], facets=directory_facets(group))
    return Summary(
        tasks=tasks,
        directories=directories,
        abilities=entries("ability"),
        overall=_entry(outcomes, "micro", confidence),
        engine=_engine_totals(outcomes, engine or {}),
        missing=None if samples is None else max(0, samples - len(outcomes)),
    )


def _aggregation(by: str, members: Iterable[Outcome]) -> Aggregation:
    return "macro" if by == "directory" and is_macro(outcome.task for outcome in members) else "micro"


def _grouped(outcomes: Iterable[Outcome], by: str) -> list[tuple[str, list[Outcome]]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(attrgetter(by)(outcome), []).append(outcome)
    return sorted(groups.items())


def _entry(outcomes: Sequence[Outcome], aggregation: Aggregation, confidence: float | None) -> Entry:
    clusters = cluster_codes(one.links for one in outcomes)
    places = [place for place, one in enumerate(outcomes) if one.scores is not None]
    kept = [one.scores for one in outcomes if one.scores is not None]
    tasks = None  # a micro mean is a macro mean over a single group
    if aggregation == "macro":
        tasks = np.unique([outcomes[place].task for place in places], return_inverse=True)[1].astype(np.intp)
    return entry_of(
        Design.of(clusters[places], tasks),
        {measure.name: np.array([scores[measure.name] for scores in kept]) for measure in measures.MEASURES},
        np.array([outcomes[place].candidates for place in places], np.float64),
        [one.reason_kind or "unknown" for one in outcomes if one.scores is None],
        aggregation,
        confidence,
    )


def _engine_totals(outcomes: Sequence[Outcome], described: Mapping[str, object]) -> EngineTotals:
    seconds = math.fsum(outcome.seconds for outcome in outcomes)
    scored = sum(outcome.scores is not None for outcome in outcomes)
    return EngineTotals(
        tokens_computed=sum(outcome.tokens_computed for outcome in outcomes),
        tokens_minimal=sum(outcome.tokens_minimal for outcome in outcomes),
        seconds=seconds,
        scored=scored,
        samples_per_second=scored / seconds if seconds > 0 else None,
        described=described,
    )
