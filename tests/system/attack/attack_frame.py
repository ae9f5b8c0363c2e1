"""Attempts in a process that may be killed: what went wrong, how long it took, how much memory it had.

An :class:`Attack` is a class of inputs with a seed each. Its attempts run one after the other in a forked process; what
is counted of them is a row of the table. A failure is known by its class and seed, and comes again with them.
"""

import contextlib
import logging
import multiprocessing
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

__all__ = ["Attack", "MismatchError", "Row", "attack", "table"]

PATIENCE = 10.0
"""Seconds that a single attempt may take."""


class MismatchError(Exception):
    """What came out is not what went in."""


@dataclass(frozen=True)
class Attack:
    """A class of inputs."""

    name: str
    attempt: Callable[[random.Random, Path], None]
    """Makes an input from the random numbers, in an empty folder, and hands it to radar-fast. Raises MismatchError
    where more or less comes out than went in; whatever else it raises is a failure, but for ``refuses``."""
    refuses: tuple[type[Exception], ...]
    """How bad input is refused."""
    prepare: Callable[[], None] = lambda: None
    """Imports, and whatever else is not to be counted with the first attempt."""


@dataclass
class Row:
    """What became of a class's attempts."""

    name: str
    attempts: int = 0
    refused: int = 0
    tracebacks: int = 0
    timeouts: int = 0
    mismatches: int = 0
    peak_mib: float = 0.0
    """Most memory of an attempt above what the process had before it."""
    failures: list[str] = field(default_factory=list)
    """The first of them: seed and what happened."""

    @property
    def failed(self) -> int:
        """Attempts that should not have ended as they did."""
        return self.tracebacks + self.timeouts + self.mismatches


def attack(attacks: Sequence[Attack], seconds: float, first_seed: int = 0) -> list[Row]:
    """Spend the seconds on the classes in equal shares."""
    return [_one(each, seconds / len(attacks), first_seed) for each in attacks]


def _one(each: Attack, seconds: float, seed: int) -> Row:
    row = Row(each.name)
    process, pipe = _started(each)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end or not row.attempts:
            pipe.send(seed)
            answered = pipe.poll(PATIENCE)
            try:
                outcome, detail, mib = pipe.recv() if answered else ("timeouts", f"over {PATIENCE:.0f} s", 0.0)
            except EOFError:
                outcome, detail, mib = "tracebacks", "its process has died", 0.0
            row.attempts += 1
            row.peak_mib = max(row.peak_mib, mib)
            if outcome:
                setattr(row, outcome, getattr(row, outcome) + 1)
            if outcome not in ("", "refused"):
                row.failures += [f"{each.name}, seed {seed}: {detail}"] if len(row.failures) < 20 else []
            if not answered or not process.is_alive():
                _ended(process, pipe)
                process, pipe = _started(each)
            seed += 1
    finally:
        _ended(process, pipe)
    return row


def _started(each: Attack) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_serve, args=(each, theirs), daemon=True)
    process.start()
    theirs.close()
    ours.send(None)
    ours.recv()  # it is prepared
    return process, ours


def _ended(process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
    process.kill()
    process.join()
    pipe.close()


def _serve(each: Attack, pipe: Connection) -> None:
    logging.disable()
    pipe.recv()
    each.prepare()
    # An attempt that would take the machine down is to fail instead.
    most = _status("VmSize") * 1024 + 16 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    pipe.send(None)
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        folder = Path(tempfile.mkdtemp(prefix="attack-"))
        outcome, detail = "", ""
        before = _reset_peak()
        try:
            each.attempt(random.Random(seed), folder)
        except each.refuses as error:
            outcome = "refused"
            if "\n" in str(error).strip():
                outcome, detail = "tracebacks", f"more than one line: {str(error)[:300]!a}"
        except MismatchError as error:
            outcome, detail = "mismatches", ascii(str(error))[:300]
        except BaseException:
            outcome, detail = "tracebacks", ascii(traceback.format_exc()[-600:])
        mib = (_peak() - before) / 1024
        shutil.rmtree(folder, ignore_errors=True)
        pipe.send((outcome, detail, max(0.0, mib)))


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    """KiB, as the kernel says."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def table(rows: Sequence[Row]) -> str:
    """For people."""
    names = ("class", "attempts", "refused", "tracebacks", "timeouts", "mismatches", "peak MiB")
    lines: list[tuple[str, ...]] = [names]
    for row in rows:
        counts = (row.attempts, row.refused, row.tracebacks, row.timeouts, row.mismatches, round(row.peak_mib))
        lines.append((row.name, *map(str, counts)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for first, *others in lines:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        shown.append("  ".join([first.ljust(widths[0]), *numbers]))
    return "\n".join(shown)
