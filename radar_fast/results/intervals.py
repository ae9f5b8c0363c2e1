"""Means over samples in clusters, and how far they can be trusted: the delete-one-cluster jackknife with Student's t.

With the mean of all samples and the means of all but each cluster's, the jackknife's variance is

    (G - 1) / G * sum over clusters of (mean without the cluster - mean)^2

for G clusters, and the interval takes Student's t. This is CV3 of J. G. MacKinnon, M. O.
Nielsen and M. D. Webb, "Cluster-robust inference: a guide to empirical practice", Journal of Econometrics 232 (2023),
272-299, who recommend it for few or unequal clusters; its origin is J. W. Tukey's jackknife (1958). Where each sample
is a cluster of its own it is the usual interval of a mean, s / sqrt(n) with t.

The degrees of freedom are one less than the number of clusters, as far as those are of one size: of clusters with n
samples each it is (sum n)^2 / sum n^2 (L. Kish, Survey Sampling, 1965, 11.7), which a few large ones make small. That
unequal clusters need fewer is known from R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear
regression with multi-stage samples", Survey Methodology 28 (2002), 169-181. docs/notes/statistics.md has the coverage
beside that of a percentile bootstrap, which this has replaced: that of few clusters promises what it does not keep.

A mean over groups ("macro") is the unweighted mean of each group's mean, as the published scripts take it over the
files of a directory. A cluster is then left out of all groups at once, and the degrees of freedom are Satterthwaite's
(Biometrics Bulletin 2 (1946), 110-114).

Below :data:`LEAST` clusters there is no interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import UsageError
from radar_fast.results.shares import combined, wilson
from radar_fast.results.student import two_sided_p, two_sided_quantile

__all__ = ["LEAST", "Design", "Mean", "check_confidence", "cluster_means", "level_interval", "share_interval"]

LEAST = 5
"""Clusters that an interval needs; in every group, where a mean is over groups."""

Floats = NDArray[np.float64]


def check_confidence(caller: str, confidence: float | None) -> None:
    """Raise UsageError, in the name of ``caller``, for what no confidence can be."""
    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(f"{caller} takes a confidence between 0 and 1, or None for no intervals; found {confidence}")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over samples, and what is known of its error."""

    value: float
    """The mean; of several groups, of their means."""
    error: float | None
    """Its standard error; None with too few clusters."""
    freedom: float
    """Degrees of freedom of Student's t; infinity for the normal distribution."""

    def interval(self, confidence: float) -> tuple[float, float] | tuple[None, None]:
        """(low, high), symmetric; None twice without an error."""
        if self.error is None:
            return None, None
        reach = self.error * two_sided_quantile(confidence, self.freedom) if self.error else 0.0
        return self.value - reach, self.value + reach

    @property
    def p(self) -> float | None:
        """The two-sided p-value of the mean being 0; None without an error."""
        if self.error is None:
            return None
        if self.error == 0:
            return float(self.value == 0)
        return two_sided_p(self.value / self.error, self.freedom)

    def detectable(self, confidence: float, power: float = 0.8) -> float | None:
        """The minimum detectable effect: the true mean of which a two-sided test at ``1 - confidence`` finds, with
        probability ``power``, that it is not 0. H. S. Bloom, "Minimum detectable effects", Evaluation Review 19 (1995),
        547-556: the sum of both quantiles of t, times the standard error."""
        if self.error is None:
            return None
        found = two_sided_quantile(2 * power - 1, self.freedom)
        return self.error * (two_sided_quantile(confidence, self.freedom) + found)


@dataclass(frozen=True, slots=True)
class Design:
    """How samples fall into clusters and groups: made once, and used for each of their numbers."""

    samples: int
    """How many there are."""
    clusters: int
    """How many clusters they are in."""
    independent: bool
    """Whether each sample is a cluster of its own."""
    members: tuple[NDArray[np.intp], ...]
    """The samples of each group, by place."""
    enough: bool
    """Whether there are clusters enough for an interval."""
    _cell: NDArray[np.intp]
    """(samples,): a cluster within a group, numbered."""
    _group: NDArray[np.intp]
    """(cells,): the group of each."""
    _cluster: NDArray[np.intp]
    """(cells,): the cluster of each."""
    _count: Floats
    """(cells,): its samples."""

    @classmethod
    def of(cls, clusters: NDArray[np.intp], groups: NDArray[np.intp] | None = None) -> "Design":
        """The design of samples with these codes, any numbers from 0 up; ``groups`` None: a single group."""
        where = np.zeros_like(clusters) if groups is None else np.unique(groups, return_inverse=True)[1]
        names, codes = np.unique(clusters, return_inverse=True)
        cells, cell = np.unique(where * max(1, len(names)) + codes, return_inverse=True)
        group, cluster = np.divmod(cells, max(1, len(names)))
        amount = int(where.max()) + 1 if len(where) else 0
        return cls(
            samples=len(clusters),
            clusters=len(names),
            independent=len(names) == len(clusters),
            members=tuple(np.flatnonzero(where == number) for number in range(amount)),
            enough=amount > 0 and int(np.bincount(group).min()) >= LEAST,
            _cell=cell.astype(np.intp),
            _group=group.astype(np.intp),
            _cluster=cluster.astype(np.intp),
            _count=np.bincount(cell).astype(np.float64),
        )

    def mean(self, values: Floats) -> float | None:
        """The mean of (samples,) numbers; None without samples."""
        means = [math.fsum(values[places].tolist()) / len(places) for places in self.members]
        return math.fsum(means) / len(means) if means else None

    def errors(self, values: Floats) -> tuple[Floats, float]:
        """The variance of each group's mean, and that of the mean over groups, to which a cluster in several groups
        adds once."""
        groups = len(self.members)
        sums = np.bincount(self._cell, weights=values).astype(np.float64)
        total = np.bincount(self._group, weights=sums)
        count = np.bincount(self._group, weights=self._count)
        cells = np.bincount(self._group).astype(np.float64)
        moved = (total[self._group] - sums) / (count[self._group] - self._count) - (total / count)[self._group]
        moved *= np.sqrt((cells - 1) / cells)[self._group]
        within = np.bincount(self._group, weights=moved**2).astype(np.float64)
        if groups == 1:
            return within, float(within[0])
        return within, float(np.sum(np.bincount(self._cluster, weights=moved) ** 2)) / groups**2

    def freedoms(self) -> Floats:
        """(groups,): degrees of freedom of each group's variance, at least 1."""
        total = np.bincount(self._group, weights=self._count)
        squares = np.bincount(self._group, weights=self._count**2)
        return np.maximum(1.0, total**2 / squares - 1)

    def freedom(self, within: Floats) -> float:
        """Degrees of freedom of the mean over groups, from the variances of the groups' means."""
        freedoms = self.freedoms()
        spent = float(np.sum(within**2 / freedoms))
        return float(np.sum(within)) ** 2 / spent if spent else float(freedoms.min())


def cluster_means(design: Design, columns: Sequence[Floats]) -> list[Mean | None]:
    """The mean of each column of (samples,) numbers; None without samples."""
    means: list[Mean | None] = []
    for values in columns:
        value = design.mean(values)
        if value is None:
            means.append(None)
        elif not design.enough:
            means.append(Mean(value, None, math.inf))
        elif np.ptp(values) == 0:  # else rounding would give it a width
            means.append(Mean(value, 0.0, float(design.freedoms().min())))
        else:
            within, variance = design.errors(values)
            means.append(Mean(value, math.sqrt(variance), design.freedom(within)))
    return means


def level_interval(mean: Mean, confidence: float, least: float, most: float) -> tuple[float, float] | tuple[None, None]:
    """The interval of a mean of numbers in ``least..most``, cut to that range."""
    low, high = mean.interval(confidence)
    return (None, None) if low is None or high is None else (max(least, low), min(most, high))


def share_interval(design: Design, values: Floats, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """The interval of a share, the mean of (samples,) zeros and ones: Wilson's, of the samples that the clusters are
    worth.

    Where each sample is a cluster of its own, that is Wilson's interval as it is (:mod:`radar_fast.results.shares`).
    Else the number of samples is divided by the design effect, the jackknife's variance over that of independent
    samples (never below 1), and the normal quantile is Student's: E. L. Korn and B. I. Graubard, "Confidence intervals
    for proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24
    (1998), 193-201, with Wilson's interval as in C. Franco, R. J. A. Little, T. A. Louis and E. V. Slud, "Comparative
    study of confidence intervals for proportions in complex sample surveys", Journal of Survey Statistics and
    Methodology 7 (2019), 334-364. Shares of 0 and 1 have no variance to be estimated: each cluster then counts once.
    """
    if not design.enough:
        return None, None
    within, variance = design.errors(values)
    cells, freedoms = np.bincount(design._group), design.freedoms()
    ends = []
    for number, places in enumerate(design.members):
        count = float(len(places))
        share = math.fsum(values[places].tolist()) / count
        clusters = int(cells[number])
        if clusters == count:
            quantile = two_sided_quantile(confidence, math.inf)
        else:
            quantile = two_sided_quantile(confidence, float(freedoms[number]))
            simple = share * (1 - share) / (count - 1)
            count = count / max(1.0, float(within[number]) / simple) if simple else float(clusters)
        ends.append((share, *wilson(share * count, count, quantile)))
    shared = variance * len(ends) ** 2 / float(np.sum(within)) if np.any(within) else 1.0
    return combined(ends, math.sqrt(max(1.0, shared)) if len(ends) > 1 else 1.0)
