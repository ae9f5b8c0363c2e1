"""Intervals of shares, such as an accuracy: how many of n samples are right.

A bootstrap of a share has no width where all samples are right, or none; Wilson's interval has.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

__all__ = ["wilson", "wilson_of_means"]


def wilson(hits: float, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share, without continuity correction: the shares p for which
    ``|hits / count - p| <= z sqrt(p (1 - p) / count)``.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; method 3 of R. G. Newcombe, "Two-sided confidence intervals for the
    single proportion", Statistics in Medicine 17 (1998), 857-872.

    Args:
        hits: how many are right, 0..count.
        count: how many there are, at least 1.
        confidence: in 0..1; 0.95 for z = 1.96.

    Returns:
        (low, high), within 0..1.
    """
    square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    middle = 2 * hits + square
    spread = math.sqrt(square * (square + 4 * hits * (count - hits) / count))
    whole = 2 * (count + square)
    low = 0.0 if hits == 0 else (middle - spread) / whole
    high = 1.0 if hits == count else (middle + spread) / whole
    return low, high


def wilson_of_means(
    groups: Sequence[Sequence[Mapping[str, float]]], name: str, confidence: float
) -> tuple[float, float]:
    """The interval of an unweighted mean over groups of each one's share; of a single group, its Wilson interval.

    The distances from each group's share to the ends of its own interval are added as standard errors are: squared,
    each with its weight. G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general
    approach", Statistics in Medicine 27 (2008), 1693-1702, equations for a sum of parameters; for two of them it is
    R. G. Newcombe's method 10 (Statistics in Medicine 17 (1998), 873-890).

    Args:
        groups: samples, each with 0 or 1 under ``name``; none of them empty.
        name: the measure.
        confidence: in 0..1.

    Returns:
        (low, high), within 0..1.
    """
    shares, below, above = [], [], []
    for group in groups:
        hits = math.fsum(sample[name] for sample in group)
        low, high = wilson(hits, len(group), confidence)
        share = hits / len(group)
        shares.append(share)
        below.append(share - low)
        above.append(high - share)
    if len(groups) == 1:  # as it is, without another rounding
        return low, high
    mean = math.fsum(shares) / len(groups)
    return max(0.0, mean - math.hypot(*below) / len(groups)), min(1.0, mean + math.hypot(*above) / len(groups))
