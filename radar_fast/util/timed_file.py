"""A file that may be read for so many seconds: what stops a decoder that has got lost in it."""

import time
from typing import Any, BinaryIO

__all__ = ["TimedFile", "TookTooLongError"]


class TookTooLongError(Exception):
    """More than its seconds have gone by, in one line. No OSError, which decoders take for the end of a file."""


class TimedFile:
    """The file, whose ``read`` raises TookTooLongError once the reading thread has spent its seconds.

    Seconds are CPU time of the thread that makes it, so that neither a slow disk nor a busy machine uses them up. What
    never comes back to read is not stopped.
    """

    def __init__(self, inner: BinaryIO, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds
        self._end = time.thread_time() + seconds

    def read(self, size: int = -1) -> bytes:
        """As the file's own."""
        if time.thread_time() > self._end:
            raise TookTooLongError(f"it takes more than {self._seconds:g} s of CPU time")
        return self._inner.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
