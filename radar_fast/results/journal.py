"""The results file ``samples.jsonl``: one :class:`~radar_fast.results.record.Record` per line, only ever appended to.

A run can die at any moment (SIGKILL, full disk, power) and the same command goes on where it stopped. So each
call of :meth:`Journal.append` hands its lines to the operating system at once, nothing waits in a buffer of ours,
and opening cuts off what a dead writer left half-written at the end. Damage anywhere else is not a torn write, and is
reported instead of repaired.

A sample may stand in more than one line. Where it was unscored for a reason that may pass (``Record.may_pass``), a
later line replaces the earlier one. Where two lines say the same, as when two runs wrote to a folder whose file system
has no locks, it is counted once. Anything else is an error.
"""

import contextlib
import fcntl
import itertools
import logging
import os
import stat
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from radar_fast.errors import BusyError, ResultsError
from radar_fast.results.record import Key, Record, json_of, line_of, record_from
from radar_fast.sample import PASSING
from radar_fast.util.atomic import cannot, sync_folder

__all__ = ["Journal", "read_records"]

log = logging.getLogger(__name__)

LONGEST = 64 * 2**20
"""Bytes of a line. What has more is no line of ours, and would have to be held to see where it ends."""
SYNC_SECONDS = 5.0
"""What a power failure may cost; an fsync for each call would cost more than the scoring on a network disk."""


class Journal:
    """An open ``samples.jsonl``: what is in it, and a way to add to it. A context manager.

    One process at a time: the file is locked as long as it is open. Not for use from several threads at once.
    """

    path: Path
    """The file."""
    repaired_bytes: int
    """How much of a half-written end was cut off when it was opened; 0 for a file that was closed properly."""
    repeated: int
    """Lines that say again what another line says; they are not counted."""
    locked: bool
    """False where the file system has no locks (some network mounts): then nobody guards against a second writer."""

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open or create the file, lock it, cut off a half-written end, and read which samples are in it.

        A last line without its newline counts as half-written, and so does any run of unreadable lines that no
        readable one follows. Raises BusyError where another process has the file open, and ResultsError where it cannot
        be opened, where an unreadable line has readable ones after it, where a line is JSON but not a record, where
        nothing in it looks like a line of ours, and where a sample is in it twice; the file is then left unchanged.
        """
        path = Path(path)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise cannot("open", path, error) from error
        try:
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use :meth:`open`. Takes over ``descriptor`` unless it raises."""
        self.path = path
        _require_regular(path, descriptor, "name another --out")
        self.locked = _lock(path, descriptor)
        self._done: set[Key] = set()
        self._passing: dict[Key, Record] = {}
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            found = _Scan(path, file)
            for record in found.records():
                self._note(record)
            if not found.good_bytes:
                _require_torn_start(path, file)
        self.repeated = found.repeated
        try:
            self.repaired_bytes = os.fstat(descriptor).st_size - found.good_bytes
            if self.repaired_bytes:
                os.ftruncate(descriptor, found.good_bytes)
            self._end = found.good_bytes
            os.fsync(descriptor)
            sync_folder(path.parent)
        except OSError as error:
            raise cannot("repair", path, error) from error
        self._synced = time.monotonic()
        self._descriptor: int | None = descriptor
        _open_journals.add(self)

    @property
    def done(self) -> Set[Key]:
        """(task, id) of every sample in the file that is not to be tried again. A live view: it grows as they come."""
        return self._done

    @property
    def passing(self) -> Mapping[Key, Record]:
        """The samples that are unscored for a reason that may pass, and may be appended once more. A live view."""
        return self._passing

    def append(self, records: Sequence[Record]) -> None:
        """Add a line for each record, in one write: when this returns, they survive the death of this process.

        One that was tried again and has failed for the same reason is not written again.

        Raises ResultsError, with nothing written, for a sample that is there already and for a number that JSON
        has no word for, and, the file closed, where its name is that of another file by now, or of none. Raises
        BusyError, with nothing written and the file closed, where it has grown or shrunk since the last call: somebody
        else writes to it. Raises ResultsError when the operating system refuses (disk full, quota, file size): the
        lines that made it whole are kept and the file is closed, readable and ready to be resumed.
        """
        records = [record for record in records if not self._fails_again(record)]
        if not records:
            return
        descriptor = self._require_open()
        data = b"".join(map(line_of, records))
        claimed: set[Key] = set()
        for record in records:
            if record.key in self._done or record.key in claimed:
                raise ResultsError(
                    f"{self.path} already has sample {record.id!r} of task {record.task!r}; an id must be unique "
                    "within its task: look for it twice in the data"
                )
            claimed.add(record.key)
        # Claimed before they are written: an interrupt right after the write must not lead to a second one.
        self._done |= claimed
        try:
            start = os.fstat(descriptor).st_size
            if not _is_at(self.path, descriptor):
                self._done -= claimed
                self._release()
                raise ResultsError(
                    f"{self.path} was removed or replaced while it was being written to, and more would be lost with "
                    "it. Give the same command again, or name another --out"
                )
            if start != self._end:
                self._done -= claimed
                self._release()
                raise BusyError(
                    f"another process writes to {self.path}, whose file system has no locks. What is in it stays; wait "
                    "for the other to end and give the same command again, or name another --out"
                )
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                self._end = start + len(data)
            except BaseException:
                kept = self._cut_back(descriptor, start, data)
                self._done.difference_update(record.key for record in records[kept:])
                for record in records[:kept]:
                    self._note(record)
                raise
        except OSError as error:
            self._release()
            raise ResultsError(
                f"cannot write to {self.path}: {error.strerror}. What is in it stays readable; once that is solved, "
                "the same command goes on from there"
            ) from error
        for record in records:
            self._note(record)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Have the disk confirm what was appended (it is otherwise asked every few seconds, and on close).

        Raises ResultsError where it does not.
        """
        try:
            os.fsync(self._require_open())
        except OSError as error:
            raise cannot("save", self.path, error) from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync, unlock and close. Doing it twice is fine."""
        if self._descriptor is not None:
            try:
                self.sync()
            finally:
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(ResultsError):  # the error under way says more than a failing sync
                self.close()

    def _fails_again(self, record: Record) -> bool:
        before = self._passing.get(record.key)
        return before is not None and (before.reason_kind, before.reason) == (record.reason_kind, record.reason)

    def _note(self, record: Record) -> None:
        if record.may_pass:
            self._done.discard(record.key)
            self._passing[record.key] = record
        else:
            self._done.add(record.key)
            self._passing.pop(record.key, None)

    def _require_open(self) -> int:
        if self._descriptor is None:
            raise ResultsError(f"{self.path} is closed; open it again to add to it")
        return self._descriptor

    def _cut_back(self, descriptor: int, start: int, data: bytes) -> int:
        """Cut off what a failed write left of a line; how many whole lines of ``data`` remain."""
        # The file knows what was written even where an interrupt came between the write and its result.
        whole = data[: os.fstat(descriptor).st_size - start]
        whole = whole[: whole.rfind(b"\n") + 1]
        self._end = start + len(whole)
        with contextlib.suppress(OSError):  # the next opening does it then
            os.ftruncate(descriptor, self._end)
        return whole.count(b"\n")

    def _release(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def read_records(path: str | Path) -> Iterator[Record]:
    """The records of a journal in the order written, read as they are asked for; the file is not touched.

    Of a sample that stands in several lines there is one record, the one that counts. A half-written end is passed
    over, so a journal that is being written can be read; what is appended after the first record was asked for is left
    out. Says in the log how many lines repeat others. Raises ResultsError as :meth:`Journal.open` does, but for a file
    in use.
    """
    path = Path(path)
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below
    except OSError as error:
        raise cannot("read", path, error) from error
    with file:
        _require_regular(path, file.fileno(), "name a result folder that a run has written")
        replaced = _replaced(path, file)
        found = _Scan(path, file)
        for record in found.records():
            if found.start not in replaced:
                yield record
        if found.repeated:
            log.warning(
                "%s: %d lines repeat what others say, and are not counted; see that no two runs write to one folder",
                path,
                found.repeated,
            )


def _replaced(path: Path, file: BinaryIO) -> set[int]:
    """Where the lines start that a later one replaces. Most journals have none: then hardly anything is parsed."""
    try:
        lines = itertools.takewhile(  # where one is too long, whoever reads on says so
            lambda line: len(line) <= LONGEST, iter(lambda: file.readline(LONGEST + 1), b"")
        )
        if not any(b"unscored" in line and any(kind.value.encode() in line for kind in PASSING) for line in lines):
            return set()
        file.seek(0)
        found = _Scan(path, file)
        last: dict[Key, int] = {}
        replaced = set()
        for record in found.records():
            if record.key in last:
                replaced.add(last[record.key])
            if record.may_pass:
                last[record.key] = found.start
        return replaced
    except OSError as error:
        raise cannot("read", path, error) from error
    finally:
        file.seek(0)


class _Scan:
    """The readable records of a file, up to where it ended at first; less the lines that repeat others."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.good_bytes = 0
        """Where the last readable line ends."""
        self.repeated = 0
        """Lines that say again what another has said."""
        self.start = 0
        """Where the line of the last record starts."""
        self._path, self._file = path, file
        self._seen: dict[Key, tuple[int, int]] = {}

    def records(self) -> Iterator[Record]:
        """One after the other; of a sample that could be tried again there may be several, of which the last counts."""
        path = self._path
        broken: int | None = None
        number = offset = 0
        try:
            # A writer may be at work: the end is where it is now. Beyond it, half a line could be read as a whole.
            end = os.fstat(self._file.fileno()).st_size
            while offset < end and (line := self._file.readline(LONGEST + 1)):
                number += 1
                if len(line) > LONGEST:
                    raise ResultsError(
                        f"{path}, line {number}: has more than {LONGEST} bytes, so that no run has written it. Move "
                        "the file away, or name another"
                    )
                start, offset = offset, offset + len(line)
                try:
                    value = json_of(line)
                except ValueError:
                    broken = broken or number
                    continue
                if broken:
                    raise ResultsError(
                        f"{path}, line {broken}: not readable as JSON, with readable lines after it, so not a write "
                        "that was cut short: the file was damaged or edited. Remove that line to have the sample "
                        "scored again, or move the file away to start over"
                    )
                record = self._record(value, f"line {number}")
                self.good_bytes = offset
                if self._is_new(record, number, start):
                    self.start = start
                    yield record
        except OSError as error:
            raise cannot("read", path, error) from error

    def _record(self, value: object, where: str) -> Record:
        try:
            return record_from(value)
        except (ValueError, OverflowError) as problem:
            raise ResultsError(
                f"{self._path}, {where}: JSON, but not a record of this version of radar-fast: {problem}. Move "
                "the file away, or name another --out"
            ) from problem

    def _is_new(self, record: Record, number: int, start: int) -> bool:
        """Whether it counts. Raises ResultsError where an earlier line says something else of the same sample."""
        first, where = self._seen.setdefault(record.key, (number, start))
        if first == number:
            return True
        earlier = self._at(where, first)
        if record.repeats(earlier):
            self.repeated += 1
            return False
        if not earlier.may_pass:
            raise ResultsError(
                f"{self._path}, lines {first} and {number}: both are sample {record.id!r} of task {record.task!r}, and "
                "say different things of it. Remove one of the lines"
            )
        self._seen[record.key] = (number, start)
        return True

    def _at(self, start: int, number: int) -> Record:
        """The record of an earlier line, which is read again: lines of one sample are rare."""
        here = self._file.tell()
        self._file.seek(start)
        line = self._file.readline()
        self._file.seek(here)
        return self._record(json_of(line), f"line {number}")


def _without_waiting(path: str, flags: int) -> int:
    """Open a pipe without waiting for its writer: it is refused then."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file still goes by a name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _require_regular(path: Path, descriptor: int, remedy: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ResultsError(f"{path} is not a regular file; {remedy}")


def _lock(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"another process is writing to {path}; wait for it to end, or name another --out") from error
    except OSError:
        return False  # no locks on this file system: rare, and no reason to refuse the user's only shared disk
    return True


def _require_torn_start(path: Path, file: BinaryIO) -> None:
    """Refuse to cut a file to nothing that cannot be a half-written first line: it is somebody else's."""
    file.seek(0)
    start = file.read(1 << 16).lstrip(b"\0")
    if start and not start.startswith(b"{"):
        raise ResultsError(f"{path} holds something other than results; move it away, or name another --out")


# A lock belongs to all processes that hold the descriptor. Worker processes that are forked while a journal is open
# would keep it locked after its writer was killed, so they let go of it.
_open_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _let_go() -> None:
    for journal in list(_open_journals):
        journal._release()


os.register_at_fork(after_in_child=_let_go)
