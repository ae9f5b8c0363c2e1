"""Student's t distribution, without a library that would be installed for it alone.

The tests compare with SciPy. This module imports nothing of ours.
"""

import math
from functools import lru_cache
from statistics import NormalDist

__all__ = ["two_sided_p", "two_sided_quantile"]

_NORMAL = 1e7
"""Degrees of freedom from which the normal distribution is taken: the quantiles differ by less than 1e-7 there."""


def two_sided_p(t: float, freedom: float) -> float:
    """The probability of a value at least as far from 0 as ``t``.

    It is the regularised incomplete beta function I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t^2): M.
    Abramowitz and I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.1 and 26.5.27.

    Args:
        t: a finite number, or infinity.
        freedom: degrees of freedom, above 0; infinity for the normal distribution.
    """
    if freedom > _NORMAL:
        return math.erfc(abs(t) / math.sqrt(2))
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@lru_cache(maxsize=4096)
def two_sided_quantile(confidence: float, freedom: float) -> float:
    """The t > 0 for which a value lies in -t..t with probability ``confidence``, in 0..1.

    ``freedom`` as in :func:`two_sided_p`, which is inverted by Newton's method from a bracket that shrinks.
    """
    if freedom > _NORMAL:
        return NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > 1 - confidence:
        low, high = high, 2 * high
    # The density of |t|, which is the slope: 2 c (1 + t^2 / freedom)^(-(freedom + 1) / 2).
    c = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    t = (low + high) / 2
    for _ in range(100):
        above = two_sided_p(t, freedom) - (1 - confidence)
        low, high = (t, high) if above > 0 else (low, t)
        step = above / (2 * c * (1 + t * t / freedom) ** (-(freedom + 1) / 2))
        t_next = t + step if low < t + step < high else (low + high) / 2
        if abs(t_next - t) <= 1e-14 * t:
            break
        t = t_next
    return t


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by its continued fraction: Abramowitz and Stegun, 26.5.8, as W. H. Press and others, Numerical
    Recipes (third edition, 2007), section 6.4, evaluate it (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
