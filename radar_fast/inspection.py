"""What a benchmark holds, and every problem in it that can be found without a model."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from radar_fast.images import read_image
from radar_fast.sample import Reason, Sample
from radar_fast.util.ahead import map_ahead

__all__ = ["TaskReport", "inspect_samples"]


@dataclass(slots=True)
class TaskReport:
    """What one task holds."""

    task: str
    """The task's name."""
    ability: str
    """What it is said to measure; ``several`` where its samples differ."""
    samples: int = 0
    """How many samples it has."""
    images: int = 0
    """How many images they have together."""
    fewest_candidates: int | None = None
    """Fewest candidates of a sample, of those that have any; None where none has."""
    most_candidates: int = 0
    """Most candidates of a sample."""
    problems: list[tuple[str, Reason]] = field(default_factory=list)
    """(sample id, why it cannot be scored), for each sample that cannot."""

    def add(self, sample: Sample, reason: Reason | None) -> None:
        """Count one more sample."""
        self.samples += 1
        self.images += len(sample.images)
        if sample.ability != self.ability:
            self.ability = "several"
        if sample.candidates:
            count = len(sample.candidates)
            self.fewest_candidates = min(count, self.fewest_candidates or count)
            self.most_candidates = max(count, self.most_candidates)
        if reason is not None:
            self.problems.append((sample.id, reason))


def inspect_samples(samples: Iterable[Sample]) -> dict[str, TaskReport]:
    """Read every sample and decode every image of it, several at a time.

    Returns:
        Task -> report, in the order of the data.

    Raises:
        DataError: a whole file cannot be read.
    """
    reports: dict[str, TaskReport] = {}
    for sample, reason in _with_reasons(samples):
        report = reports.setdefault(sample.task, TaskReport(sample.task, sample.ability))
        report.add(sample, reason)
    return reports


def _with_reasons(samples: Iterable[Sample]) -> Iterator[tuple[Sample, Reason | None]]:
    workers = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        yield from map_ahead(pool, lambda sample: (sample, _reason(sample)), samples, ahead=8 * workers)


def _reason(sample: Sample) -> Reason | None:
    if sample.reason is not None:
        return sample.reason
    for image in sample.images:
        if isinstance(problem := read_image(image), Reason):
            return problem
    return None
