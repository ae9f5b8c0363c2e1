"""Intervals by clusters: against SciPy, against leaving out one cluster after the other, and against cases by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radar_fast.results.clusters import cluster_codes, links_of
from radar_fast.results.holm import holm
from radar_fast.results.intervals import Design, cluster_means, level_interval, share_interval
from radar_fast.results.student import two_sided_p, two_sided_quantile


@pytest.mark.parametrize("freedom", [1, 1.7, 2, 4, 9.3, 30, 1e3, 1e6, 1e9, math.inf])
def test_students_t_is_that_of_scipy(freedom: float) -> None:
    theirs = stats.norm if math.isinf(freedom) else stats.t(freedom)
    for t in (0.0, 1e-6, 0.3, 1.0, 2.5, -2.5, 40.0):
        assert two_sided_p(t, freedom) == pytest.approx(2 * theirs.sf(abs(t)), rel=1e-6, abs=1e-300)
    for confidence in (0.01, 0.5, 0.95, 0.9999):
        assert two_sided_quantile(confidence, freedom) == pytest.approx(theirs.isf((1 - confidence) / 2), rel=1e-6)
    assert two_sided_p(math.inf, freedom) == 0


def test_samples_of_their_own_have_the_usual_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, size=40)
    [mean] = cluster_means(Design.of(np.arange(40)), [values])
    assert mean is not None
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert mean.interval(0.95) == pytest.approx(expected)
    assert mean.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6, abs=1e-300)


def left_out(values: np.ndarray, clusters: np.ndarray, groups: np.ndarray) -> list[float]:
    """The mean of groups' means without each cluster."""
    means = []
    for cluster in np.unique(clusters):
        kept = clusters != cluster
        means.append(float(np.mean([values[kept & (groups == group)].mean() for group in np.unique(groups)])))
    return means


def test_the_error_is_that_of_leaving_out_each_cluster() -> None:
    draws = np.random.default_rng(1)
    values, clusters = draws.random(60), draws.integers(9, size=60)
    [mean] = cluster_means(Design.of(clusters), [values])
    without = np.array(left_out(values, clusters, np.zeros(60)))
    assert mean is not None
    assert mean.error == pytest.approx(math.sqrt(8 / 9 * np.sum((without - values.mean()) ** 2)))
    sizes = np.bincount(clusters)
    assert mean.freedom == pytest.approx(sizes.sum() ** 2 / np.sum(sizes**2) - 1)


def test_a_mean_over_groups_leaves_a_cluster_out_of_all_of_them() -> None:
    draws = np.random.default_rng(2)
    groups, clusters = np.repeat([0, 1], 60), np.tile(np.repeat(np.arange(20), 3), 2)
    shared = draws.normal(size=20)[clusters]  # each cluster is in both groups: they vary together
    values = shared + draws.normal(scale=0.1, size=120)
    [mean] = cluster_means(Design.of(clusters, groups), [values])
    without = np.array(left_out(values, clusters, groups))
    assert mean is not None
    assert mean.error == pytest.approx(math.sqrt(19 / 20 * np.sum((without - mean.value) ** 2)))
    [apart] = cluster_means(Design.of(clusters + 20 * groups, groups), [values])
    assert apart is not None
    assert mean.error > 1.3 * (apart.error or 0), "as if they were independent"


def test_twice_the_same_samples_tell_nothing_new() -> None:
    values, right = np.random.default_rng(3).random(30), (np.arange(30) % 3 > 0).astype(np.float64)
    once, twice = Design.of(np.arange(30)), Design.of(np.tile(np.arange(30), 2))
    [one], [two] = cluster_means(once, [values]), cluster_means(twice, [np.tile(values, 2)])
    assert one is not None
    assert two is not None
    assert two.interval(0.95) == pytest.approx(one.interval(0.95))
    low, high = share_interval(twice, np.tile(right, 2), 0.95)
    alone = share_interval(once, right, 0.95)
    assert low == pytest.approx(alone[0], abs=0.01), "but for Student's t"
    assert high == pytest.approx(alone[1], abs=0.01)
    naive = share_interval(Design.of(np.arange(60)), np.tile(right, 2), 0.95)
    assert (high or 0) - (low or 0) > 1.3 * ((naive[1] or 0) - (naive[0] or 0))


def test_a_share_of_1_counts_each_cluster_once() -> None:
    design = Design.of(np.repeat(np.arange(10), 5))
    low, high = share_interval(design, np.ones(50), 0.95)
    quantile = stats.t.ppf(0.975, 9)
    assert high == 1
    assert low == pytest.approx(10 / (10 + quantile**2))  # Wilson's for 10 of 10


@pytest.mark.parametrize(("clusters", "with_interval"), [(4, False), (5, True)])
def test_too_few_clusters_have_no_interval_however_many_samples(clusters: int, with_interval: bool) -> None:
    design = Design.of(np.arange(100) % clusters)
    values = np.random.default_rng(4).random(100)
    [mean] = cluster_means(design, [values])
    assert mean is not None
    ends = [*level_interval(mean, 0.95, 0, 1), *share_interval(design, (values > 0.5).astype(float), 0.95)]
    assert [end is not None for end in ends] == [with_interval] * 4
    assert (mean.detectable(0.95) is not None) == (mean.p is not None) == with_interval


def test_the_detectable_effect_is_found_in_four_of_five_cases() -> None:
    values = np.random.default_rng(5).normal(size=30)
    [mean] = cluster_means(Design.of(np.arange(30)), [values])
    assert mean is not None
    effect = mean.detectable(0.95)
    assert effect is not None
    critical, away = stats.t.ppf(0.975, 29), effect / (mean.error or 0)
    power = stats.nct.sf(critical, 29, away) + stats.nct.cdf(-critical, 29, away)
    assert power == pytest.approx(0.8, abs=0.01)


def test_an_interval_of_scores_stays_within_their_range() -> None:
    [mean] = cluster_means(Design.of(np.arange(6)), [np.array([1.0, 1, 1, 1, 1, 0])])
    assert mean is not None
    low, high = level_interval(mean, 0.95, 0, 1)
    assert high == 1
    assert low is not None
    assert 0 < low < mean.value


# Clusters


def test_what_is_connected_is_one_cluster() -> None:
    links = [("a",), ("b",), ("a", "c"), (), ("c",), (), ("b", "b")]
    assert cluster_codes(links).tolist() == [0, 1, 0, 2, 0, 3, 1]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=30))
def test_clusters_are_the_components_of_a_graph(links: list[list[int]]) -> None:
    codes = cluster_codes(map(tuple, links)).tolist()
    together = [set(each) for each in links]
    near = [
        {there for there in range(len(links)) if one == there or together[there] & each}
        for one, each in enumerate(together)
    ]
    reach = near
    for _ in links:  # by walking, as far as there are samples
        reach = [set[int]().union(*(near[there] for there in mine)) for mine in reach]
    for one, mine in enumerate(reach):
        assert {place for place, code in enumerate(codes) if code == codes[one]} == mine


def test_links_are_images_groups_of_a_task_and_versions_of_a_directory() -> None:
    same = links_of("t", "d", "q1", ("i",), {"group": 1})
    assert same == ("i", ("group", "t", 1))
    assert links_of("u", "d", "q1", None, {"group": 1}) != same[1:]
    easy, hard = (links_of(task, "d", "q1", (), {"version": task}) for task in ("easy", "hard"))
    assert easy == hard != links_of("easy", "d", "q2", (), {"version": "easy"})


def test_holm_by_hand() -> None:
    # Holm (1979): the smallest of four times four, the next times three, none below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
