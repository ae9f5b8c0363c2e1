"""Processes that end when the one that started them has ended, however it did: nobody closes what is killed.

The starter writes its name into the environment of what it starts; each of those, and what they start in turn, watches
the starter from a thread. The kernel's own way, PR_SET_PDEATHSIG, is tied to the *thread* that started a process, which
may well end before its process, and does not reach grandchildren.
"""

import contextlib
import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = [
    "STARTER",
    "end_when_orphaned",
    "end_with_parent",
    "end_with_starter",
    "ending_with_us",
    "name_of",
    "segments_of",
    "segments_of_ours",
    "unlink_segments",
]

STARTER = "RADAR_FAST_STARTER"
"""The environment variable: process id and start time of whoever started this process, e.g. ``4711:8812034``."""

_SEGMENT = re.compile(r"(/dev/shm/(?:vllm_dist_|psm_|torch_)\S+)$", re.MULTILINE)
"""Of vLLM's workers on a CPU, Python's, and torch's. Python removes its own after a process that was killed, the others
stay until the machine is started anew."""
_LOOK_SECONDS = 0.5
_watching_in = 0
_hooked = False
_with_parent: re.Pattern[str] | None = None
"""Names of processes that end with their parent; None before :func:`end_with_parent`."""


def name_of(pid: int) -> str:
    """A process by its id and, as ids are used again, the time at which it was started; ``""`` if it is not there."""
    if not Path("/proc/self/stat").exists():
        return f"{pid}:"
    try:
        # The second field, the command, is in brackets and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else f"{pid}:{int(fields[19])}"


@contextlib.contextmanager
def ending_with_us() -> Iterator[None]:
    """What is started in here, by whatever library, ends with this process if it loads :mod:`radar_fast`.

    Outside of it nothing is changed: what a program starts for itself is its own.
    """
    before = os.environ.get(STARTER)
    _hook()
    os.environ[STARTER] = name_of(os.getpid())
    try:
        yield
    finally:
        if before is None:
            del os.environ[STARTER]
        else:
            os.environ[STARTER] = before


def end_with_starter() -> None:
    """In a process that was started so: see that it ends with its starter. Elsewhere, and twice, it does nothing."""
    global _watching_in
    named = os.environ.get(STARTER)
    if not named or _watching_in == os.getpid() or named == name_of(os.getpid()):
        return
    _watching_in = os.getpid()
    _hook()
    _end_with(int(named.partition(":")[0]), named)


def end_with_parent(names: re.Pattern[str]) -> None:
    """See that processes of multiprocessing end with their parent, if their own name is one of ``names``.

    For a library's processes, where a program of others has started that library: nothing names a starter then, and
    what else the program runs is not touched. Counts for this process, and for those forked from it. Where a starter is
    named, :func:`end_with_starter` watches that instead.
    """
    import multiprocessing.util  # whoever only asks for the rest of this module does without

    global _with_parent
    if _with_parent is None:
        # Once the name is known, which it is not yet while os.fork returns. The registry holds no more than the object.
        multiprocessing.util.register_after_fork(end_with_parent, lambda _: _look_for_parent())
    _with_parent = names
    _look_for_parent()


def _look_for_parent() -> None:
    import multiprocessing

    global _watching_in
    parent = multiprocessing.parent_process()
    if parent is None or _watching_in == os.getpid() or _with_parent is None or parent.pid is None:
        return
    if _with_parent.match(multiprocessing.current_process().name):
        _watching_in = os.getpid()
        _end_with(parent.pid, name_of(parent.pid) if parent.is_alive() else "")


def _end_with(pid: int, named: str) -> None:
    """End this process with another: now if it is not there by that name, else as soon as it has ended."""
    watched: int | None = None
    if hasattr(os, "pidfd_open"):
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            os._exit(1)
        except OSError:
            watched = None  # a kernel, or a sandbox, that has none
    if name_of(pid) != named or not named:
        os._exit(1)  # it ended before this process came so far
    threading.Thread(target=_watch, args=(pid, named, watched), name="end-with-starter", daemon=True).start()


def end_when_orphaned(parent: int) -> None:
    """End this process soon after its parent, without a thread: by a timer, which processes forked from it do not have.

    For a process that forks, and hence may have one thread only. A socket to the parent would not do: a process that
    the parent has forked may hold the other end of it, and nobody reads from this one while libraries are imported.
    """

    def look(number: int, frame: object) -> None:  # noqa: ARG001 - the signature of a handler
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1e-3, _LOOK_SECONDS)


def segments_of(pid: int) -> set[Path]:
    """The shared memory that a process has mapped under a name, of the libraries that make it for their processes."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return set()
    return {Path(found) for found in _SEGMENT.findall(maps)}


def segments_of_ours() -> set[Path]:
    """That of the processes that end with this one."""
    wanted = f"{STARTER}={name_of(os.getpid())}".encode()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = wanted in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or somebody else's
            continue
        found |= segments_of(int(process.name)) if ours else set()
    return found


def unlink_segments(segments: Iterable[Path]) -> None:
    """Remove the names, where they are still there: the memory goes with the last process that has it mapped."""
    for segment in segments:
        with contextlib.suppress(OSError):
            segment.unlink()


def _watch(pid: int, named: str, watched: int | None) -> None:
    if watched is not None:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll()
    else:
        while _is_there(pid) and name_of(pid) == named:
            time.sleep(_LOOK_SECONDS)
    unlink_segments(segments_of(os.getpid()))
    os._exit(1)  # not sys.exit: in a thread that ends the thread, and a library's exit handlers may wait for the dead


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _hook() -> None:
    """A forked process has imported everything already, so that nothing but the fork tells it to watch."""
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=end_with_starter)
