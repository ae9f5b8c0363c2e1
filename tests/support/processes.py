"""Processes that a test means to kill or starve."""

import os
import re
import time
import uuid
from pathlib import Path

__all__ = ["Marked", "uncovered"]


def uncovered() -> dict[str, str]:
    """The environment without what makes coverage measure a process.

    A process that is killed leaves half a coverage file behind, one whose files are limited cannot write it, and one
    that is interrupted while coverage holds its lock waits for that lock for ever.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Marked:
    """Everything that a command starts, found by a mark in its environment, whoever its parent is by now."""

    def __init__(self, **more: str) -> None:
        self._mark = f"RADAR_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.environment = {**uncovered(), **more, name: value}
        self._segments = _names()
        self._seen: set[int] = set()

    def processes(self) -> dict[int, str]:
        """Those that are there, zombies left out: pid -> command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
                except OSError:
                    continue
        self._seen |= found.keys()
        return found

    def segments(self) -> set[str]:
        """Names in /dev/shm that have come since, and that no process on this machine has mapped.

        Names that say whose they are count only where that process was among :meth:`processes`.
        """
        new = {name for name in _names() - self._segments if self._may_be_ours(name)}
        for entry in Path("/proc").iterdir():
            if new and entry.name.isdigit():
                try:
                    maps = (entry / "maps").read_text()
                except OSError:
                    continue
                new = {name for name in new if f"/dev/shm/{name}\n" not in maps}
        return new & _names()

    def _may_be_ours(self, name: str) -> bool:
        owner = re.match(r"sem\.loky-(\d+)-", name)
        return owner is None or int(owner[1]) in self._seen

    def left_after(self, seconds: float) -> tuple[dict[int, str], set[str]]:
        """What is left of the processes and segments after at most so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (self.processes() or self.segments()):
            time.sleep(0.05)
        return self.processes(), self.segments()


def _names() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir()}
