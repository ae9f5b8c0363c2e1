"""What vLLM says while it starts: a line of it for the user, and all of it in a file, where it does not."""

import contextlib
import os
import re
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from radar_fast.errors import one_line

__all__ = ["StartupLog", "root_cause"]

_DRAIN_SECONDS = 0.3

_RAISED = re.compile(r"\b([A-Z]\w*(?:Error|Exception)): (\S.*)")
_SAYS_NOTHING = ("Engine core initialization failed", "WorkerProc initialization failed", "Executor failed")
"""How errors begin that only point to another."""


class StartupLog:
    """A context in which standard error, of this process and of those that it starts, is kept back.

    What a start that succeeds has said is then written after all, as is everything that its processes say from then
    on; of one that fails it goes to a file by :meth:`keep`. Where the user has asked vLLM for more than errors nothing
    is kept back.
    """

    def __init__(self) -> None:
        self._said: list[bytes] = []
        self._through = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR") != "ERROR"

    @property
    def text(self) -> str:
        """What was said so far."""
        return b"".join(self._said).decode(errors="replace")

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        self._real = os.dup(2)
        read, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)
        threading.Thread(target=self._read, args=(read,), name="vllm-says", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(self._real, 2)
        time.sleep(_DRAIN_SECONDS if kind else 0)  # processes that hold the other end may live on: it has no end
        if kind is None and not self._through:
            self._write(b"".join(self._said))
        self._through = True

    def keep(self, file: Path | None) -> str:
        """Write what was said, and the traceback at hand, to ``file``; where that is, for the end of a message."""
        if file is None:
            return ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{self.text}\n{traceback.format_exc()}", errors="replace")
        except OSError as error:
            return f" (vLLM's own account cannot be written to {file}: {error.strerror})"
        return f" (vLLM's own account is in {file})"

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb", buffering=0) as stream:
            while chunk := stream.read(2**16):
                through = self._through
                self._said.append(chunk)
                if through:
                    self._write(chunk)

    def _write(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._real, chunk)


def root_cause(error: BaseException, said: str) -> str:
    """One line of why: the error's own; where that only points to another process, the last that was raised there."""
    if not any(hint in str(error) for hint in _SAYS_NOTHING):
        return _bare(one_line(error))
    raised = [
        match for match in map(_RAISED.search, said.splitlines()) if match and not match[2].startswith(_SAYS_NOTHING)
    ]
    return _bare(one_line(Exception(raised[-1][2]) if raised else error))


def _bare(text: str) -> str:
    """Without what pydantic writes around a message."""
    return re.sub(r"\s*\[type=.*", "", re.sub(r"^\d+ validation errors? for \w+ (Value error, )?", "", text))
