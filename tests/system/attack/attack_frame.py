"""Attempts in a process that may be killed: what went wrong, how long it took, how much memory it had.

An :class:`Attack` is a class of inputs with a seed each. Its attempts run one after the other in a forked process; what
is counted of them is a row of the table. A failure is known by its class and seed, and comes again with them.
"""

import contextlib
import logging
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path

__all__ = ["Attack", "MismatchError", "Row", "attack", "table"]

CPU_SECONDS = 10.0
"""That a single attempt may take, its processes counted once they have ended."""
WALL_SECONDS = 60.0
"""The same on the clock, for one that waits; not counted is what it waits for a CPU, as on a busy machine it does."""


def _nothing() -> None:
    """To prepare."""


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
    prepare: Callable[[], None] = _nothing
    """Imports, and whatever else is not to be counted with the first attempt."""
    few: int = 9
    """How many attempts are enough where there is little time."""


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


def attack(
    attacks: Sequence[Attack],
    seconds: float | None,
    first_seed: int = 0,
    done: Callable[[Row], None] = lambda _: None,
) -> list[Row]:
    """Spend the seconds on the classes in equal shares; those in a row that prepare the same share a process.

    Without seconds, each class gets as many attempts as are :attr:`Attack.few`, the same on every machine. ``done`` is
    told of each class as it ends.
    """
    rows: list[Row] = []
    for _, group in groupby(attacks, key=lambda each: each.prepare):
        alike = list(group)
        victim = _Victim(alike)
        try:
            for place, each in enumerate(alike):
                share = None if seconds is None else seconds / len(attacks)
                rows.append(_one(each, place, share, first_seed, victim))
                done(rows[-1])
        finally:
            victim.end()
    return rows


def _one(each: Attack, place: int, seconds: float | None, seed: int, victim: "_Victim") -> Row:
    row = Row(each.name)
    end = time.monotonic() + (seconds or 0.0)
    while not row.attempts or (row.attempts < each.few if seconds is None else time.monotonic() < end):
        outcome, detail, mib = victim.suffer(place, seed)
        row.attempts += 1
        row.peak_mib = max(row.peak_mib, mib)
        if outcome:
            setattr(row, outcome, getattr(row, outcome) + 1)
        if outcome not in ("", "refused") and len(row.failures) < 20:
            row.failures.append(f"{each.name}, seed {seed}: {detail}")
        seed += 1
    return row


class _Victim:
    """The process in which attempts run; another one once it has died or had to be killed."""

    def __init__(self, attacks: Sequence[Attack]) -> None:
        self._attacks = attacks
        self._start()

    def suffer(self, place: int, seed: int) -> tuple[str, str, float]:
        """One attempt: what became of it, a line of detail, and the MiB that it took."""
        self._pipe.send((place, seed))
        if over := _waited(self._pipe, self._process.pid or 0):
            self._restart()
            return "timeouts", over, 0.0
        try:
            outcome, detail, mib = self._pipe.recv()
        except (EOFError, OSError):
            self._restart()
            return "tracebacks", "its process has died", 0.0
        return outcome, detail, mib

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _restart(self) -> None:
        self.end()
        self._start()

    def _start(self) -> None:
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(self._attacks, theirs), daemon=False)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is prepared


def _waited(pipe: Connection, pid: int) -> str:
    """Wait for the answer of a process; where that takes too long, how long it has taken."""
    started, cpu = time.monotonic() - _kept_waiting(pid), _cpu_seconds(pid)
    while not pipe.poll(0.1):
        wall, spent = time.monotonic() - _kept_waiting(pid) - started, _cpu_seconds(pid) - cpu
        if spent > CPU_SECONDS:
            return f"over {CPU_SECONDS:g} s of CPU time"
        if wall > WALL_SECONDS:
            return f"over {WALL_SECONDS:g} s, {spent:.1f} of them on a CPU"
    return ""


def _kept_waiting(pid: int) -> float:
    """Seconds that the main thread of a process could have run, and had no CPU."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # it has ended; a kernel without
        return 0.0


def _cpu_seconds(pid: int) -> float:
    """Of a process, and of those of its own that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended, which its pipe tells
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _serve(attacks: Sequence[Attack], pipe: Connection) -> None:
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries have much to say of what they are given
    attacks[0].prepare()
    # An attempt that would take the machine down is to fail instead.
    most = _status("VmSize") * 1024 + 16 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    pipe.send(None)
    while True:
        try:
            place, seed = pipe.recv()
        except EOFError:
            return
        each = attacks[place]
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
        except BaseException as error:
            outcome, detail = "tracebacks", _account(error)
        mib = (_peak() - before) / 1024
        shutil.rmtree(folder, ignore_errors=True)
        pipe.send((outcome, detail, max(0.0, mib)))


def _account(error: BaseException) -> str:
    """One line: what was raised, and where, the innermost place first."""
    frames = traceback.extract_tb(error.__traceback__)[:0:-1]
    places = [f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}" for frame in frames[:8]]
    return f"{type(error).__name__}: {ascii(str(error))[:300]} at {' < '.join(places)}"


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
