"""Intervals of shares, such as an accuracy: how many of n samples are right.

The usual interval of a mean has no width where all samples are right, or none; Wilson's has.
"""

import math
from collections.abc import Sequence

__all__ = ["combined", "wilson"]


def wilson(hits: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a share, without continuity correction: the shares p for which
    ``|hits / count - p| <= quantile sqrt(p (1 - p) / count)``.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; method 3 of R. G. Newcombe, "Two-sided confidence intervals for the
    single proportion", Statistics in Medicine 17 (1998), 857-872.

    Args:
        hits: how many are right, 0..count; a fraction where samples are worth less than their number.
        count: how many there are, above 0.
        quantile: 1.96 for 95%.

    Returns:
        (low, high), within 0..1.
    """
    square = quantile**2
    middle = 2 * hits + square
    spread = math.sqrt(square * (square + 4 * hits * (count - hits) / count))
    whole = 2 * (count + square)
    low = 0.0 if hits == 0 else (middle - spread) / whole
    high = 1.0 if hits == count else (middle + spread) / whole
    return low, high


def combined(ends: Sequence[tuple[float, float, float]], stretched: float = 1.0) -> tuple[float, float]:
    """The interval of an unweighted mean of shares, from those of each; of a single share, its own.

    The distances from each share to the ends of its interval are added as standard errors are: squared, each with its
    weight. G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (2008), 1693-1702, equations for a sum of parameters; for two of them it is R. G.
    Newcombe's method 10 (Statistics in Medicine 17 (1998), 873-890).

    Args:
        ends: (share, low, high) of each; at least one.
        stretched: by how much the distances grow, where the shares do not vary independently.

    Returns:
        (low, high), within 0..1.
    """
    if len(ends) == 1:  # as it is, without another rounding
        return ends[0][1:]
    mean = math.fsum(share for share, _, _ in ends) / len(ends)
    below = math.hypot(*(share - low for share, low, _ in ends)) * stretched / len(ends)
    above = math.hypot(*(high - share for share, _, high in ends)) * stretched / len(ends)
    return max(0.0, mean - below), min(1.0, mean + above)
