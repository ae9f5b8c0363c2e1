"""Processes that a test means to kill or starve."""

import os

__all__ = ["uncovered"]


def uncovered() -> dict[str, str]:
    """The environment without what makes coverage measure a process.

    A process that is killed leaves half a coverage file behind, one whose files are limited cannot write it, and one
    that is interrupted while coverage holds its lock waits for that lock for ever.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
