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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from radar_fast.results import measures
from radar_fast.results.bootstrap import check_resampling, draws_for, enough, intervals, mean_of_means
from radar_fast.results.facets import directory_facets, task_facets
from radar_fast.results.outcomes import Outcome, RecordLike, Table, collect
from radar_fast.results.shares import wilson_of_means
from radar_fast.results.summary import Aggregation, EngineTotals, Entry, Estimate, Summary

__all__ = ["is_macro", "summarize"]

MACRO_BENCHMARKS = ("MMBench", "MMMU_Pro")


def summarize(
    records: Iterable[RecordLike] | Table,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    samples: int | None = None,
    engine: Mapping[str, object] | None = None,
) -> Summary:
    """The numbers of a run.

    Intervals are percentile bootstraps, and Wilson's for accuracies; a macro mean resamples within each of its tasks.
    The draws of an entry depend on ``seed``, its name and its own samples, not on what else is in the run. There is no
    interval over fewer than :data:`~radar_fast.results.bootstrap.LEAST` samples, of a macro mean in any of its tasks.

    Args:
        records: read once.
        bootstrap: resamples of the scored samples for each interval; 0 for no interval of either kind.
        seed: of the resamples.
        confidence: of the intervals, in 0..1.
        samples: how many the benchmark has, where that is known.
        engine: what ``run.json`` says of the engine.

    Raises:
        UsageError: an argument is out of range.
        ResultsError: a sample comes twice, or is scored without usable scores.
    """
    check_resampling("summarize", bootstrap, seed, confidence)
    outcomes = (records if isinstance(records, Table) else collect(records)).outcomes

    def entry(name: str, members: Sequence[Outcome], aggregation: Aggregation = "micro") -> Entry:
        return _entry(members, aggregation, bootstrap, confidence, draws_for(seed, name))

    return Summary(
        tasks={
            name: replace(entry(f"task {name}", group), facets=task_facets(group))
            for name, group in _grouped(outcomes, _task).items()
        },
        directories={
            name: replace(
                entry(f"directory {name}", group, "macro" if is_macro(map(_task, group)) else "micro"),
                facets=directory_facets(group),
            )
            for name, group in _grouped(outcomes, lambda outcome: outcome.directory).items()
        },
        abilities={
            name: entry(f"ability {name}", group)
            for name, group in _grouped(outcomes, lambda outcome: outcome.ability).items()
        },
        overall=entry("overall", outcomes),
        engine=_engine_totals(outcomes, engine or {}),
        missing=None if samples is None else max(0, samples - len(outcomes)),
    )


def is_macro(names: Iterable[str]) -> bool:
    """Whether a directory with task files of these names is averaged over its files, as published."""
    return any(benchmark in name for name in names for benchmark in MACRO_BENCHMARKS)


def _task(outcome: Outcome) -> str:
    return outcome.task


def _grouped(outcomes: Iterable[Outcome], name_of: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(name_of(outcome), []).append(outcome)
    return dict(sorted(groups.items()))


def _entry(
    outcomes: Sequence[Outcome], aggregation: Aggregation, bootstrap: int, confidence: float, draws: np.random.Generator
) -> Entry:
    # A micro mean is a macro mean over a single group.
    groups = list(_grouped(outcomes, _task).values()) if aggregation == "macro" else [outcomes]
    scores = [kept for group in groups if (kept := [one.scores for one in group if one.scores is not None])]
    reasons = Counter(outcome.reason_kind or "unknown" for outcome in outcomes if outcome.scores is None)
    ends: dict[str, tuple[float, float]] = {}
    if bootstrap and enough(scores):
        with_interval = [measure for measure in measures.MEASURES if measure.interval]
        resampled = [measure.name for measure in with_interval if not measure.share]
        ends = intervals(scores, resampled, bootstrap, confidence, draws)
        ends |= {
            measure.name: wilson_of_means(scores, measure.name, confidence)
            for measure in with_interval
            if measure.share
        }
    return Entry(
        estimates={
            measure.name: Estimate(mean_of_means(scores, measure.name), *ends.get(measure.name, (None, None)))
            for measure in measures.MEASURES
        },
        scored=sum(map(len, scores)),
        unscored=reasons.total(),
        aggregation=aggregation,
        reasons=dict(sorted(reasons.items())),
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
