"""Means and their intervals: resampling, within groups, with draws that depend on a name.

A mean over groups is the unweighted mean of each group's mean; over a single group that is the plain mean. Intervals
are percentile bootstraps, which resample whole samples within each group: measures of one sample go together.

A percentile bootstrap of very few samples promises what it does not keep: measured on normal draws, the nominal 95%
hold the truth in 0% of cases for one sample, 50% for two, 75% for three, 87% for five and 94% for twenty. Below
:data:`LEAST` there is no interval.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import UsageError

__all__ = ["LEAST", "check_resampling", "draws_for", "enough", "intervals", "mean_of_means"]

LEAST = 5
"""Samples that an interval needs; in every group, where a mean is over groups."""

DRAWS_AT_ONCE = 1 << 18  # 2 MiB an array, which stays in the cache

Group = Sequence[Mapping[str, float]]
"""Samples, each with a number under each name."""


def check_resampling(caller: str, bootstrap: int, seed: int, confidence: float) -> None:
    """Raise UsageError, in the name of ``caller``, for arguments that no bootstrap can have."""
    if bootstrap < 0 or seed < 0 or not 0 < confidence < 1:
        raise UsageError(
            f"{caller} takes bootstrap and seed from 0 up and confidence between 0 and 1, "
            f"found {bootstrap}, {seed} and {confidence}"
        )


def draws_for(seed: int, name: str) -> np.random.Generator:
    """The random draws of what is called ``name``: its own stream, whatever else there is."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()])


def enough(groups: Sequence[Group]) -> bool:
    """Whether there are samples enough for an interval: :data:`LEAST` in every group, and at least one group."""
    return bool(groups) and all(len(group) >= LEAST for group in groups)


def mean_of_means(groups: Sequence[Group], name: str) -> float | None:
    """The mean over groups of what is called ``name``; None without groups. No group is empty."""
    means = [math.fsum(sample[name] for sample in group) / len(group) for group in groups]
    return math.fsum(means) / len(means) if means else None


def intervals(
    groups: Sequence[Group], names: Sequence[str], bootstrap: int, confidence: float, draws: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """The interval of :func:`mean_of_means` for each of ``names``: name -> (low, high); the draws are the same for all.

    ``bootstrap`` is the number of resamples, at least 1. No group is empty, and there is at least one.
    """
    means = np.zeros((len(names), bootstrap))
    for group in groups:
        columns = np.array([[sample[name] for sample in group] for name in names], dtype=np.float64)
        means += _resampled_means(columns, bootstrap, draws) / len(groups)
    outside = (1 - confidence) / 2
    low, high = np.quantile(means, [outside, 1 - outside], axis=1).tolist()
    return dict(zip(names, zip(low, high, strict=True), strict=True))


def _resampled_means(columns: NDArray[np.float64], bootstrap: int, draws: np.random.Generator) -> NDArray[np.float64]:
    """Means of ``bootstrap`` resamples of (names, samples) -> (names, bootstrap), a bounded number of draws at once."""
    count, samples = columns.shape
    step = max(1, DRAWS_AT_ONCE // samples)
    means = np.empty((count, bootstrap))
    for start in range(0, bootstrap, step):
        stop = min(start + step, bootstrap)
        picked = draws.integers(samples, size=(stop - start, samples))
        for row in range(count):
            means[row, start:stop] = columns[row].take(picked).mean(axis=1)
    return means
