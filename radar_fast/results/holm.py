"""Holm's correction: of many p-values some are small by chance."""

from collections.abc import Sequence

__all__ = ["holm"]


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for being many, in the order given: the chance that any of the true null hypotheses is
    rejected at a level stays below that level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979),
    65-70: the k-th smallest of n, from 0, is multiplied by n - k; none is below the one before, nor above 1.
    """
    corrected = list(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected
