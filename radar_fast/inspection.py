"""What a benchmark holds, and every problem in it that can be found without a model."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from radar_fast.images import read_image
from radar_fast.oddities import Odd, OddCounter, Oddity, oddities_of
from radar_fast.sample import AnyImage, Reason, Sample
from radar_fast.util.ahead import map_ahead

__all__ = ["TaskReport", "inspect_samples", "odd_pictures"]

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def inspect_samples(samples: Iterable[Sample], odd: OddCounter | None = None) -> dict[str, TaskReport]:
    """Read every sample and decode every image of it, several at a time.

    Args:
        samples: of a benchmark, in order.
        odd: also told of every image, to count those that are read oddly.

    Returns:
        Task -> report, in the order of the data.

    Raises:
        DataError: a whole file cannot be read.
    """

    def look(sample: Sample) -> tuple[Sample, Reason | None, list[tuple[AnyImage, tuple[Oddity, ...]]]]:
        reason = _reason(sample)
        kinds = [(image, oddities_of(image)) for image in sample.images] if odd is not None and reason is None else []
        return sample, reason, kinds

    reports: dict[str, TaskReport] = {}
    for sample, reason, kinds in _in_threads(look, samples):
        report = reports.setdefault(sample.task, TaskReport(sample.task, sample.ability))
        report.add(sample, reason)
        for image, found in kinds:
            if odd is not None and odd.wants(sample.task, image):
                odd.add(image, found)
    return reports


def odd_pictures(samples: Iterable[Sample]) -> dict[Oddity, Odd]:
    """The pictures that the published rule reads oddly: how many of each kind, and the first of them.

    Headers are read, several at a time; only pictures with an alpha channel are decoded. 15,000 JPEG files take about a
    second on two CPU cores.

    Raises:
        DataError: a whole file cannot be read.
    """
    counter = OddCounter()

    def images() -> Iterator[AnyImage]:
        for sample in samples:
            yield from (image for image in sample.images if sample.reason is None and counter.wants(sample.task, image))

    for image, found in _in_threads(lambda image: (image, oddities_of(image)), images()):
        counter.add(image, found)
    return counter.found


def _in_threads(look: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Each looked at, in order."""
    workers = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        yield from map_ahead(pool, look, items, ahead=8 * workers)


def _reason(sample: Sample) -> Reason | None:
    if sample.reason is not None:
        return sample.reason
    for image in sample.images:
        if isinstance(problem := read_image(image), Reason):
            return problem
    return None
