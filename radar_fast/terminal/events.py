"""What goes on as JSON lines, for machines: an object a line, with ``event`` and ``time`` (seconds since 1970, UTC).

| event | when | beside those |
|---|---|---|
| ``started`` | scoring begins | ``name``, ``total``, ``done`` |
| ``progress`` | at most once a second, and at the end | ``name``, ``total``, ``done`` |
| ``unscored`` | a sample cannot be scored | ``name``, ``task``, ``id``, ``reason_kind``, ``reason`` |
| ``done`` | its summary is written | ``name``, ``out``, ``scored``, ``unscored``, ``missing``, ``sds``, ``accuracy`` |
| ``failed`` | a checkpoint was not scored | ``name``, ``out``, ``error``, ``try_again`` |
| ``said`` | a line for a person | ``text`` |
"""

import logging
import sys
import time
from pathlib import Path
from typing import BinaryIO

from radar_fast.errors import BusyError, IncompleteError, RadarError, UsageError
from radar_fast.results.record import Record
from radar_fast.results.summary import Summary
from radar_fast.terminal.progress import HandingOn, Progress
from radar_fast.util.codec import encode

__all__ = ["EventProgress"]

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Least time between two ``progress`` lines, in seconds."""


class EventProgress(HandingOn):
    """Writes events, and hands everything on to another progress."""

    def __init__(self, target: str | Path | None, inner: Progress) -> None:
        """``target``: a file, which is appended to, ``-`` for standard output, or None: no events.

        Raises:
            UsageError: the file cannot be opened.
        """
        super().__init__(inner)
        self._name, self._total, self._done, self._told = "", 0, 0, 0.0
        self._running = False
        self._file = None if target is None else _opened(str(target))

    def say(self, text: str) -> None:
        """Write ``said``."""
        self._write("said", text=text)
        self._inner.say(text)

    def start(self, name: str, total: int, done: int) -> None:
        """Write ``started``."""
        self._name, self._total, self._done, self._running = name, total, done, True
        self._told = time.monotonic()
        self._write("started", name=name, total=total, done=done)
        self._inner.start(name, total, done)

    def advance(self) -> None:
        """Count one more; write ``progress`` if it is due."""
        self._done += 1
        if time.monotonic() - self._told >= INTERVAL:
            self._tell()
        self._inner.advance()

    def unscored(self, record: Record) -> None:
        """Write ``unscored``."""
        self._write(
            "unscored",
            name=self._name,
            task=record.task,
            id=record.id,
            reason_kind=record.reason_kind,
            reason=record.reason,
        )
        self._inner.unscored(record)

    def stop(self) -> None:
        """Write the last ``progress``."""
        if self._running:
            self._running = False
            self._tell()
        self._inner.stop()

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """Write ``done``."""
        overall = summary.overall
        self._write(
            "done",
            name=name,
            out=str(out),
            scored=overall.scored,
            unscored=overall.unscored,
            missing=summary.missing,
            sds=overall.sds,
            accuracy=overall.accuracy,
        )
        self._inner.done(name, out, summary)

    def failed(self, name: str, out: Path, error: RadarError) -> None:
        """Write ``failed``."""
        again = isinstance(error, BusyError | IncompleteError)
        self._write("failed", name=name, out=str(out), error=str(error), try_again=again)
        self._inner.failed(name, out, error)

    def close(self) -> None:
        """Write no more. Calling it twice is fine."""
        if self._file is not None and self._file is not sys.stdout.buffer:
            self._file.close()
        self._file = None

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._write("progress", name=self._name, total=self._total, done=self._done)

    def _write(self, event: str, **values: object) -> None:
        if self._file is None:
            return
        line = {"event": event, "time": round(time.time(), 3), **values}
        try:
            self._file.write(encode(line))
            self._file.flush()
        except (OSError, ValueError) as error:  # the scores are worth more than the news of them
            log.warning("--events: cannot be written any more (%s)", error)
            self.close()


def _opened(target: str) -> BinaryIO:
    if target == "-":
        return sys.stdout.buffer
    try:
        return Path(target).open("ab")
    except OSError as error:
        raise UsageError(f"--events {target}: cannot be written ({error.strerror}); name another file") from None
