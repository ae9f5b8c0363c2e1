"""Which steps of a training are to be scored, and in which order."""

import re
from dataclasses import dataclass

from radar_fast.errors import UsageError
from radar_fast.util.choices import check_one_of

__all__ = ["ORDERS", "Wanted", "steps_of"]

ORDERS = ("oldest", "newest")


@dataclass(frozen=True)
class Wanted:
    """What ``--every``, ``--steps``, ``--until`` and ``--order`` ask for.

    Raises:
        UsageError: at birth, where it cannot be.
    """

    every: int | None = None
    """Only steps that this divides."""
    steps: frozenset[int] | None = None
    """Only these; None: all."""
    until: int | None = None
    """No step beyond it; with it, or a later one, the watch ends."""
    order: str = "oldest"
    """Which of several comes first: one of :data:`ORDERS`."""

    def __post_init__(self) -> None:
        check_one_of("order", self.order, ORDERS)
        if self.every is not None and self.every < 1:
            raise UsageError(f"--every {self.every}: must be at least 1")
        if self.every is not None and self.steps is not None:
            raise UsageError("--every: --steps says already which steps; give one of the two")
        if self.until is not None and self.until < 0:
            raise UsageError(f"--until {self.until}: must be at least 0")

    def takes(self, step: int) -> bool:
        """Whether a step is to be scored."""
        if self.until is not None and step > self.until:
            return False
        return step in self.steps if self.steps is not None else self.every is None or step % self.every == 0

    def is_last(self, step: int) -> bool:
        """Whether nothing comes after a step."""
        ends = [max(self.steps)] if self.steps else []
        ends += [] if self.until is None else [self.until]
        return bool(ends) and step >= min(ends)


def steps_of(text: str) -> frozenset[int]:
    """The steps that ``100,200,1000`` names. Raises UsageError."""
    if not re.fullmatch(r"[0-9]{1,15}(,[0-9]{1,15})*", text):
        raise UsageError(f"--steps {text}: is not a list of steps, such as 1000,2000,4000")
    return frozenset(map(int, text.split(",")))
