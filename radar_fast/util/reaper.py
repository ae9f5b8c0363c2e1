"""A process that waits for another to end, and then ends what that one has left.

:mod:`radar_fast.util.orphans` is for processes that load this package and watch for themselves. Programs of others,
such as those of a Ray cluster, do not, and may outlive their starter for a minute or for ever.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from radar_fast.util.orphans import STARTER, name_of

__all__ = ["end_started_by", "reaping"]

GRACE_SECONDS = 1.0
"""For those that watch for themselves, and put things away as they end."""
ROUNDS = 3
"""Looks at all processes: while one is killed it may start another."""


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """A context in which a process watches over this one: should it be killed, everything that it started within
    :func:`radar_fast.util.orphans.ending_with_us`, and what that started in turn, is killed too."""
    environment = {name: value for name, value in os.environ.items() if name != STARTER}
    command = [sys.executable, "-m", "radar_fast.util.reaper", name_of(os.getpid())]
    process = subprocess.Popen(  # noqa: S603 - our own module
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not meant for it
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(name: str) -> None:
    pid = int(name.partition(":")[0])
    with contextlib.suppress(OSError, AttributeError):
        watched = os.pidfd_open(pid)
        if name_of(pid) == name:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            poll.poll()
        return
    while name_of(pid) == name:  # no pidfd here
        time.sleep(GRACE_SECONDS)


def _started_by(name: str) -> Iterator[int]:
    wanted = f"{STARTER}={name}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)


def end_started_by(name: str) -> None:
    """Kill everything that the process of that name (:func:`radar_fast.util.orphans.name_of`) has started within
    :func:`radar_fast.util.orphans.ending_with_us`, and what that started in turn."""
    for _ in range(ROUNDS):
        for pid in list(_started_by(name)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(GRACE_SECONDS / ROUNDS)


def main(name: str) -> None:
    """Wait for the process of that name to end, and end what it has left."""
    _wait_for(name)
    time.sleep(GRACE_SECONDS)
    end_started_by(name)


if __name__ == "__main__":
    main(sys.argv[1])
