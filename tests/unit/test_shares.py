"""Wilson's interval, against published values, its own definition and the truth it is to cover."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest

from radar_fast.results import shares
from radar_fast.results.intervals import Design, share_interval


def wilson(hits: float, count: float, confidence: float) -> tuple[float, float]:
    return shares.wilson(hits, count, NormalDist().inv_cdf((1 + confidence) / 2))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_published_table(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count, 0.95) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(count - hits, count, 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("count", [1, 5, 37, 4000])
def test_its_ends_are_the_shares_that_the_sample_just_does_not_refute(count: int, confidence: float) -> None:
    # (1 + erf(z / sqrt 2)) / 2 is the normal distribution: z by bisection, not by what the code asks.
    below, above = 0.0, 10.0
    for _ in range(200):
        z = (below + above) / 2
        below, above = (z, above) if math.erf(z / math.sqrt(2)) < confidence else (below, z)
    for hits in {0, 1, count // 3, count}:
        for end in wilson(hits, count, confidence):
            assert 0 <= end <= 1
            if 0 < end < 1:
                distance = abs(hits / count - end) / math.sqrt(end * (1 - end) / count)
                assert distance == pytest.approx(z, rel=1e-6)


def test_it_covers_the_truth_at_small_counts() -> None:
    for truth in (0.1, 0.3, 0.5, 0.8):
        for count in (5, 10, 30):
            covered = 0.0
            for hits in range(count + 1):
                low, high = wilson(hits, count, 0.95)
                if low <= truth <= high:
                    covered += math.comb(count, hits) * truth**hits * (1 - truth) ** (count - hits)
            assert covered > 0.89


def of_groups(groups: Sequence[tuple[int, int]], confidence: float) -> tuple[float, float]:
    """The interval of a mean over groups of (hits, count), each sample a cluster of its own."""
    counts = [count for _, count in groups]
    right = np.concatenate([np.arange(count) < hits for hits, count in groups]).astype(np.float64)
    design = Design.of(np.arange(len(right)), np.repeat(np.arange(len(groups)), counts))
    low, high = share_interval(design, right, confidence)
    assert low is not None
    assert high is not None
    return low, high


def test_a_mean_over_one_group_is_the_groups_own() -> None:
    assert of_groups([(3, 7)], 0.95) == wilson(3, 7, 0.95)


def test_a_mean_over_groups_adds_their_distances_squared() -> None:
    groups = [(9, 10), (20, 80), (0, 5)]
    low, high = of_groups(groups, 0.9)
    each = [hits / count for hits, count in groups]
    ends = [wilson(*group, 0.9) for group in groups]
    below = sum(((share - end[0]) / 3) ** 2 for share, end in zip(each, ends, strict=True))
    above = sum(((end[1] - share) / 3) ** 2 for share, end in zip(each, ends, strict=True))
    assert (low, high) == pytest.approx((sum(each) / 3 - below**0.5, sum(each) / 3 + above**0.5))
    sure = of_groups([(5, 5), (6, 6)], 0.95)
    assert sure[1] == 1
    assert 0.5 < sure[0] < 1


def test_its_width_for_many_samples_is_the_normal_approximations() -> None:
    groups = [(600, 2000), (900, 1000)]
    low, high = of_groups(groups, 0.95)
    variance = sum(hits / count * (1 - hits / count) / count for hits, count in groups) / 4
    assert high - low == pytest.approx(2 * 1.959964 * variance**0.5, rel=5e-3)
