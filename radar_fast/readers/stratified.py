"""A part of a benchmark that stands for all of it: the same samples each time, every task in its proportion."""

import hashlib
from collections.abc import Iterable

from radar_fast.errors import UsageError
from radar_fast.sample import Sample

__all__ = ["stratified"]


def stratified(samples: Iterable[Sample], limit: int) -> list[Sample]:
    """At most ``limit`` samples, in their order, of those that a reader found fit.

    Every task gets its share, rounded so that they add up (largest remainders), and at least one sample as long as
    there is room. Which of a task's samples are taken hangs on their ids alone: neither on their order nor on chance.

    Args:
        samples: read once.
        limit: at least 1.

    Raises:
        UsageError: ``limit`` is below 1.
    """
    if limit < 1:
        raise UsageError(f"limit {limit}: must be at least 1")
    fit = [sample for sample in samples if sample.reason is None]
    if len(fit) <= limit:
        return fit
    tasks: dict[str, list[int]] = {}
    for index, sample in enumerate(fit):
        tasks.setdefault(sample.task, []).append(index)
    shares = _shares({task: len(indices) for task, indices in tasks.items()}, limit)
    taken: set[int] = set()
    for task, indices in tasks.items():
        taken.update(sorted(indices, key=lambda index: _drawn(fit[index]))[: shares[task]])
    return [fit[index] for index in sorted(taken)]


def _shares(counts: dict[str, int], limit: int) -> dict[str, int]:
    """How many of each task, ``limit`` in all."""
    total = sum(counts.values())
    shares = {task: limit * count // total for task, count in counts.items()}
    # Tasks that got nothing come first, then those that were cut down most.
    waiting = sorted(counts, key=lambda task: (shares[task] > 0, -(limit * counts[task] % total), task))
    for task in waiting[: limit - sum(shares.values())]:
        shares[task] += 1
    for task in sorted(task for task, share in shares.items() if not share):
        most = max(shares, key=lambda other: (shares[other], other))
        if shares[most] < 2:
            break
        shares[most] -= 1
        shares[task] = 1
    return shares


def _drawn(sample: Sample) -> bytes:
    return hashlib.blake2b("\0".join(sample.key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
