"""How often intervals hold the truth, and how well onsets are found: the figures of docs/notes/statistics.md.

    python bench/coverage.py --runs 4000

Samples come in clusters that share a difficulty; a cluster has four samples, or a number that is drawn (one or two
mostly, at times many). The measure is an SDS (a number in 0..1) or whether the sample is right. Each interval is asked
for 95%: radar-fast's own, the same blind to clusters, and the percentile bootstrap over clusters. Prints lines as they
come, then one line of JSON.
"""

import argparse
import json
import math

import numpy as np
from numpy.typing import NDArray

from radar_fast.results.growth.trend import onset
from radar_fast.results.intervals import Design, cluster_means, share_interval

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

SHARED = 1.5
"""Standard deviation of what a cluster shares, in logits; that of a sample alone is 1.5 too: half of the variance."""


def draw(clusters: int, even: bool, draws: np.random.Generator) -> tuple[Floats, Floats, Places]:
    """SDS and right of each sample, and its cluster."""
    sizes = np.full(clusters, 4) if even else np.minimum(draws.geometric(0.3, clusters), 20)
    owner = np.repeat(np.arange(clusters), sizes)
    logit = 0.4 + SHARED * draws.normal(size=clusters)[owner] + 1.5 * draws.normal(size=len(owner))
    return 1 / (1 + np.exp(-logit)), (logit > 0).astype(np.float64), owner


def bootstrap(values: Floats, owner: Places, draws: np.random.Generator, resamples: int = 500) -> tuple[float, float]:
    """The percentile bootstrap over clusters."""
    sums, counts = np.bincount(owner, weights=values), np.bincount(owner)
    picked = draws.integers(len(counts), size=(resamples, len(counts)))
    low, high = np.quantile(sums[picked].sum(axis=1) / counts[picked].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def coverage(clusters: int, even: bool, runs: int, seed: int) -> dict[str, float]:
    """The share of runs in which each interval holds the truth."""
    draws = np.random.default_rng([seed, clusters, even])
    truth = [float(np.mean(each)) for each in draw(2_000_000, True, np.random.default_rng(seed))[:2]]
    held: dict[str, int] = {}
    for _ in range(runs):
        sds, right, owner = draw(clusters, even, draws)
        design, naive = Design.of(owner), Design.of(np.arange(len(owner)))
        [clustered], [blind] = cluster_means(design, [sds]), cluster_means(naive, [sds])
        assert clustered is not None
        assert blind is not None
        for name, (low, high), target in (
            ("sds", clustered.interval(0.95), truth[0]),
            ("sds, naive", blind.interval(0.95), truth[0]),
            ("sds, bootstrap", bootstrap(sds, owner, draws), truth[0]),
            ("accuracy", share_interval(design, right, 0.95), truth[1]),
            ("accuracy, naive", share_interval(naive, right, 0.95), truth[1]),
            ("accuracy, bootstrap", bootstrap(right, owner, draws), truth[1]),
        ):
            assert low is not None
            assert high is not None
            held[name] = held.get(name, 0) + (low <= target <= high)
    return {name: count / runs for name, count in held.items()}


def onsets(rise: float, samples: int, runs: int, seed: int, steps: int = 20, starts: int = 8) -> dict[str, float]:
    """A series that is at chance before step ``starts`` and from there on rises by ``rise`` a step, on the same samples
    at each step: the share of runs whose onset is found there, within a step, and not at all."""
    draws = np.random.default_rng([seed, samples, round(rise * 1e6)])
    chance = 0.25
    found = []
    for _ in range(runs):
        hard = draws.normal(scale=0.1, size=samples)
        above = []
        for step in range(steps):
            level = chance + rise * max(0, step - starts + 1)
            sds = np.clip(level + hard + draws.normal(scale=0.1, size=samples), 0, 1)
            [mean] = cluster_means(Design.of(np.arange(samples)), [sds])
            low = None if mean is None else mean.interval(0.95)[0]
            above.append(low is not None and low > chance)
        found.append(onset(above))
    late = [math.inf if each is None else each - starts for each in found]
    return {
        "exact": sum(each == 0 for each in late) / runs,
        "within one step": sum(abs(each) <= 1 for each in late) / runs,
        "never": sum(each is None for each in found) / runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for clusters in (5, 10, 30, 100):
        for even in (True, False):
            name = f"{clusters} clusters, {'equal' if even else 'unequal'}"
            results[name] = coverage(clusters, even, arguments.runs, arguments.seed)
            print(name, " ".join(f"{key}: {value:.3f}" for key, value in results[name].items()), sep="  ", flush=True)
    for samples in (100, 400):
        for rise in (0.01, 0.02, 0.04):
            name = f"onset, {samples} samples, {rise} a step"
            results[name] = onsets(rise, samples, max(1, arguments.runs // 10), arguments.seed)
            print(name, " ".join(f"{key}: {value:.3f}" for key, value in results[name].items()), sep="  ", flush=True)
    print(json.dumps({"runs": arguments.runs, "seed": arguments.seed, **results}))


if __name__ == "__main__":
    main()
