"""The numbers of samples -> one entry: their means, intervals and counts."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from radar_fast.results import measures
from radar_fast.results.intervals import Design, cluster_means, level_interval, share_interval
from radar_fast.results.summary import Aggregation, Entry, Estimate

__all__ = ["MACRO_BENCHMARKS", "entry_of", "is_macro"]

Floats = NDArray[np.float64]

MACRO_BENCHMARKS = ("MMBench", "MMMU_Pro")


def is_macro(names: Iterable[str]) -> bool:
    """Whether a directory with task files of these names is averaged over its files, as published."""
    return any(benchmark in name for name in names for benchmark in MACRO_BENCHMARKS)


def entry_of(
    design: Design,
    scores: Mapping[str, Floats],
    candidates: Floats,
    reasons: Iterable[str],
    aggregation: Aggregation,
    confidence: float | None,
) -> Entry:
    """The entry of some samples.

    Args:
        design: of the scored ones; its groups are the tasks where ``aggregation`` is ``macro``.
        scores: measure -> (scored,) numbers, for each of :data:`~radar_fast.results.measures.MEASURES`.
        candidates: (scored,): how many candidates each has.
        reasons: the kind of reason of each unscored one.
        aggregation: what the means are over.
        confidence: of the intervals, in 0..1; None for none.
    """
    estimates = {
        measure.name: _estimate(measure, design, scores[measure.name], confidence) for measure in measures.MEASURES
    }
    for pooled in measures.POOLED:
        parts = [pooled.of(*(scores[name][places] for name in pooled.needs)) for places in design.members]
        estimates[pooled.name] = Estimate(sum(parts) / len(parts) if parts else None)
    counted = Counter(reasons)
    return Entry(
        estimates=estimates,
        scored=design.samples,
        unscored=counted.total(),
        aggregation=aggregation,
        reasons=dict(sorted(counted.items())),
        clusters=design.clusters,
        chance=design.mean(1 / candidates),
    )


def _estimate(measure: measures.Measure, design: Design, values: Floats, confidence: float | None) -> Estimate:
    if not measure.interval or confidence is None or not design.enough:
        return Estimate(design.mean(values))
    if measure.share:
        return Estimate(design.mean(values), *share_interval(design, values, confidence))
    [mean] = cluster_means(design, [values])
    return (
        Estimate(None) if mean is None else Estimate(mean.value, *level_interval(mean, confidence, 0.0, measure.most))
    )
