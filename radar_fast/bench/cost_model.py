"""What a sample costs, by part, as a sum of few terms whose factors are fitted to measurements.

A part's seconds are taken to be proportional to the work that :mod:`radar_fast.bench.roofline` counts, with a share for
each sample and each batch: see :data:`TERMS`. Where measured and modelled part, the machine does something that the
arithmetic does not know of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radar_fast.bench.roofline import Architecture, Work

__all__ = ["APART", "TERMS", "Point", "fit", "modelled", "terms_of"]

APART = 0.2
"""Measured and modelled part company from this share on."""

TERMS: Mapping[str, tuple[str, ...]] = {
    "vision": ("operations", "patches", "batches"),
    "language": ("prefix operations", "answer operations", "positions", "batches"),
    "head": ("operations", "batches"),
    "host": ("samples", "tokens", "patches"),
}
"""Part of the time -> what its seconds are a sum of, each times a factor."""


@dataclass(frozen=True)
class Point:
    """A workload that was measured."""

    sweep: str
    """What varies: ``prefix``, ``candidates``, ``answer``, ``image`` or ``vocabulary``."""
    value: int
    """Of it."""
    batches: int
    """That its samples made."""
    terms: Mapping[str, tuple[float, ...]]
    """Part -> amounts of its TERMS, of all samples together."""
    seconds: Mapping[str, float]
    """Part -> what it took."""


def terms_of(architecture: Architecture, works: Sequence[Work], batches: int) -> dict[str, tuple[float, ...]]:
    """Part -> amounts of its TERMS: operations as the roofline counts them, the rest as numbers."""
    patches = sum(sum(work.images) for work in works)
    prefix = [(work.prefix, work.prefix * (work.prefix + 1) // 2) for work in works]
    answers = [
        (work.positions - positions, work.pairs - pairs) for work, (positions, pairs) in zip(works, prefix, strict=True)
    ]
    return {
        "vision": (sum(architecture.vision(image) for work in works for image in work.images), patches, batches),
        "language": (
            sum(architecture.language(*each) for each in prefix),
            sum(architecture.language(*each) for each in answers),
            sum(work.positions for work in works),
            batches,
        ),
        "head": (sum(architecture.head(work.head_rows) for work in works), batches),
        "host": (len(works), sum(work.prefix + sum(work.answers) for work in works), patches),
    }


def fit(points: Sequence[Point]) -> dict[str, tuple[float, ...]]:
    """Part -> a factor for each of its TERMS, none below 0, that makes the relative errors' squares least.

    A term whose factor would be negative is left out, and the others are fitted anew.
    """
    return {
        part: _non_negative(
            np.array([point.terms[part] for point in points], dtype=np.float64),
            np.array([point.seconds[part] for point in points], dtype=np.float64),
        )
        for part in TERMS
    }


def modelled(factors: Mapping[str, tuple[float, ...]], point: Point) -> dict[str, float]:
    """Part -> seconds by the fitted factors."""
    return {part: float(np.dot(factors[part], point.terms[part])) for part in TERMS}


def _non_negative(amounts: np.ndarray, seconds: np.ndarray) -> tuple[float, ...]:
    used = seconds > 0
    amounts, seconds = amounts[used], seconds[used]
    factors = np.zeros(amounts.shape[1])
    left = [column for column in range(amounts.shape[1]) if amounts[:, column].any()]
    while left and len(seconds):
        relative = amounts[:, left] / seconds[:, None]
        scale = np.linalg.norm(relative, axis=0)  # operations are many, batches few
        found = np.linalg.lstsq(relative / scale, np.ones(len(seconds)), rcond=None)[0] / scale
        if (found >= 0).all():
            factors[left] = found
            break
        left.remove(left[int(np.argmin(found * scale))])
    return tuple(map(float, factors))
