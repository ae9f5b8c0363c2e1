"""Which of a dataset's samples to score, and what they are said to measure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from radar_fast.errors import UsageError
from radar_fast.sample import Sample
from radar_fast.util.choices import did_you_mean

__all__ = ["Selection"]

_SHOWN = 6
"""Names of tasks in an error."""


@dataclass(frozen=True)
class Selection:
    """Which samples to score. Raises UsageError at birth for what can select or name nothing."""

    tasks: tuple[str, ...] = ()
    """Only tasks whose name matches one of these globs, case and all; empty: all tasks."""
    limit: int | None = None
    """At most so many samples of each task, the first ones, whether or not they can be scored."""
    abilities: tuple[tuple[str, str], ...] = ()
    """(glob on the task, ability): the first that matches replaces what the reader says."""

    def __post_init__(self) -> None:
        if not all(self.tasks):
            raise UsageError("--tasks: the glob is empty: leave it out to take all tasks")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit: {self.limit} samples of each task: give 1 or more, or leave it out to take all")
        for glob, ability in self.abilities:
            if not glob or not ability.strip():
                raise UsageError(f"--ability: {glob!r} -> {ability!r}: give a glob on the task and a name")

    def apply(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The selected samples in the same order, lazily.

        Raises:
            UsageError: after the last sample, where a glob of ``tasks`` matches no task.
        """
        taken: Counter[str] = Counter()
        names: dict[str, None] = {}
        for sample in samples:
            names[sample.task] = None
            if self.tasks and not any(fnmatchcase(sample.task, glob) for glob in self.tasks):
                continue
            if self.limit is not None and taken[sample.task] >= self.limit:
                continue
            taken[sample.task] += 1
            ability = next((name for glob, name in self.abilities if fnmatchcase(sample.task, glob)), sample.ability)
            yield sample if ability == sample.ability else replace(sample, ability=ability)
        for glob in self.tasks:
            if names and not any(fnmatchcase(name, glob) for name in names):
                meant = did_you_mean(glob.strip("*"), names)
                few = ", ".join(list(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
                raise UsageError(f"--tasks {glob}: matches no task{meant}; the data have {len(names)}: {few}")
