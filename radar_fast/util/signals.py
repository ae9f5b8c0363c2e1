"""Signals that ask a process to end, as exceptions: whatever is open is closed on the way out."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["end_when_asked"]


def end_when_asked() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit(128 + number) in the main thread. For a program, not for a library.

    A signal that is ignored, as under nohup, stays so, and so does a handler that somebody else has set. The second
    signal ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _handler_of(os.getpid()))


def _handler_of(pid: int) -> Callable[[int, FrameType | None], None]:
    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != pid:  # forked, with our handler in it: what is open here is not its own
            os._exit(128 + number)
        raise SystemExit(128 + number)

    return end
