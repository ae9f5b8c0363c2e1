"""What a reader of a page has to know before believing its numbers, one line each."""

from collections import Counter
from collections.abc import Iterator

from radar_fast.results.growth import Growth

__all__ = ["remarks"]


def remarks(growth: Growth) -> Iterator[str]:
    """What the series says of itself, unscored samples, and runs that are not alike."""
    yield from growth.notes
    unscored = [Counter(reasons.values()) for reasons in growth.samples.reasons]
    by_count: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for step, counted in zip(growth.steps, unscored, strict=True):
        if counted:
            by_count.setdefault(tuple(sorted(counted.items())), []).append(step.label)
    for counts, labels in by_count.items():
        total = sum(count for _, count in counts)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
        where = "every step" if len(labels) == len(growth.steps) else f"step {_some(labels)}"
        yield f"{total} {'sample is' if total == 1 else 'samples are'} unscored at {where}: {kinds}"


def _some(labels: list[str]) -> str:
    return ", ".join(labels) if len(labels) < 5 else f"{labels[0]} and {len(labels) - 1} more"
