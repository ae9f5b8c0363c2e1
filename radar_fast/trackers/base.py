"""The seam between a series and whatever tracks it."""

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Numbers", "Tracker"]

Numbers = Mapping[str, float]
"""Key -> finite number."""


class Tracker(Protocol):
    """One run of a tracker. Any exception of its library may come out of it."""

    def log(self, step: int, numbers: Numbers) -> None:
        """Add the numbers of a training step."""
        ...

    def close(self) -> None:
        """Have everything written."""
        ...
